"""Several runs of one setting as one: stacked weights, one vectorised step, on a GPU one captured graph.

The science stays written for one run: `torch.vmap` maps a method's bounds, and its sampler, over the runs. They may
differ in seeds, rows, masks and step counts, not in networks or settings. Each keeps its own random numbers, clipping,
learning rate and optimiser state: a step of the group is a step of each run, up to rounding. Only what dropout draws
is shared out differently, so that with dropout a run in a group is another draw of the same law.
"""

import warnings
from collections.abc import Sequence

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from . import samplers
from .runs import Run
from .shapes import Float, Tensor
from .streams import Streams

_WARM_UP = 3  # ordinary steps before a capture, in which libraries and the optimiser make what they keep


def obstacle(run: Run) -> str:
    """Why a run can only be trained alone; empty if it can be grouped."""
    if any(True for _ in run.model.buffers()):
        return "its networks keep statistics of the batch"
    if len(run.encoder + run.decoder) != len(list(run.model.parameters())):
        return "some of its parameters are fixed"
    if run.method.imputes and run.sampler.alone:
        return f"its sampler ({run.sampler.name}) is written for a single run"
    if run.settings.optimiser != "amsgrad":
        return f"its optimiser ({run.settings.optimiser}) is written for a single run"
    if run.settings.gradient == "dreg":
        return "gradient 'dreg' hooks into the backward pass of a single run"
    return ""


class Group:
    """Runs that are stepped together. From then on their weights, rows and imputations are views of stacked tensors,
    so that each run can still be evaluated, saved or stepped by itself; `release` gives a run storage of its own.

    fixed_shapes: every step has the shape of a full batch, as a captured graph needs it (the default on a GPU): blank
        rows fill up the last batch of an epoch, draw noise and count for nothing. Otherwise that step is taken by each
        run itself, and all random numbers are those of the run alone.
    """

    def __init__(self, runs: Sequence[Run], fixed_shapes: bool | None = None):
        self.runs = list(runs)
        first, count = self.runs[0], len(self.runs)
        self.device, self.method, self.settings = first.device, first.method, first.settings
        self.each = torch.arange(count, device=self.device).unsqueeze(1)  # [R, 1]
        self.weights = torch.stack([run.weights.detach() for run in self.runs])  # [R, P]
        self.gradient = torch.zeros_like(self.weights)
        views = [view.detach().requires_grad_() for view in first.layout.views(self.weights)]
        self.encoder, self.decoder = views[: len(first.encoder)], views[len(first.encoder) :]
        self.amsgrad = _AMSGrad(self.runs, self.weights, self.gradient)

        self.blank = max(len(run.x) for run in self.runs)  # number of the row that fills up incomplete batches
        self.x, self.m = (torch.stack([_filled(getattr(r, name), self.blank, 0) for r in self.runs]) for name in "xm")
        self.state = []
        if self.method.imputes:
            states = zip(*(run.state for run in self.runs), strict=True)
            self.state = [torch.stack([_filled(t, self.blank, 1) for t in ts]) for ts in states]  # [R, K, N + 1, ...]
        batches = max(run.steps_per_epoch for run in self.runs)
        self.batch = self.settings.batch_size
        self.orders = torch.full((count, batches, self.batch), self.blank, device=self.device)
        self.position = torch.zeros(count, dtype=torch.long, device=self.device)  # of each run in its epoch
        for r, run in enumerate(self.runs):
            run.place(self.weights[r], self.gradient[r])
            run.x, run.m = self.x[r, : len(run.x)], self.m[r, : len(run.m)]
            if run.state is not None:
                run.state = type(run.state)(*(stored[r, :, : len(run.x)] for stored in self.state))
            run.order = None  # to be filled in here

        self.objective = _Objective(first)
        self.noise = Streams(run.noise for run in self.runs)
        self.steps: dict[bool, _Captured] = {}  # with and without the sampler
        self.captures = self.device.type == "cuda"
        self.fixed_shapes = self.captures if fixed_shapes is None else fixed_shapes

    def train_step(self) -> Float[Tensor, "R 2"]:
        """One mini-batch of every run; returns its decoder's negative bound and the norm of its gradient."""
        for r, run in enumerate(self.runs):
            position = run.step % run.steps_per_epoch
            if position == 0 or run.order is None:
                run.shuffle()
                self.orders[r].view(-1)[: len(run.order)] = run.order
                self.position[r] = position
        self.amsgrad.set_learning_rates()
        refresh = {run.refreshes for run in self.runs}
        short = any((run.step + 1) % run.steps_per_epoch == 0 and len(run.x) % self.batch for run in self.runs)
        # Some runs enter their second epoch a little before others.
        if len(refresh) == 2 or (short and not self.fixed_shapes):
            losses = torch.stack([run.train_step() for run in self.runs])
            self.position += 1
            return losses
        losses = self._captured_step(refresh.pop()) if self.captures else self._step(refresh.pop())
        for run in self.runs:
            if run.snr:
                run.snr.add(run.weights.grad)
            run.step += 1
        return losses

    def release(self, run: Run) -> None:
        """Gives a run that leaves storage of its own."""
        run.place(run.weights.data.clone(), run.weights.grad.clone())
        state = run.optimiser.state[run.weights]
        state |= {name: value.clone() for name, value in state.items()}
        run.x, run.m = run.x.clone(), run.m.clone()
        if run.state is not None:
            run.state = type(run.state)(*(stored.clone() for stored in run.state))

    def _step(self, refresh: bool) -> Tensor:
        """The work on the device: no value comes back to the host, every tensor that stays is changed in place."""
        rows = self.orders[self.each.squeeze(1), self.position]  # [R, B]
        self.position += 1
        real = rows < self.blank
        weight = real / real.sum(1, keepdim=True)  # the mean over the rows that are there
        x, m = self.x[self.each, rows], self.m[self.each, rows]  # [R, B, D]
        state = [stored[self.each, :, rows].transpose(1, 2) for stored in self.state]  # [R, K, B, ...]

        theta, phi, state = self._bounds(x, m, weight, state, refresh)
        if refresh:
            for stored, new in zip(self.state, state, strict=True):
                stored[self.each, :, rows] = new.transpose(1, 2)
        # Summed over runs: the gradient of each with respect to its own weights is what it would be alone.
        if self.method.theta == self.method.phi:
            gradients = torch.autograd.grad(theta.sum(), self.encoder + self.decoder)
        else:
            decoder = torch.autograd.grad(theta.sum(), self.decoder, retain_graph=True)
            gradients = torch.autograd.grad(phi.sum(), self.encoder) + decoder
        self.runs[0].layout.pack(gradients, out=self.gradient)
        norm = torch.linalg.vector_norm(self.gradient, dim=1)
        self.amsgrad.descend(norm)
        return torch.stack([theta.detach(), norm], 1)

    def _bounds(self, x, m, weight, state, refresh: bool):
        """Losses [R] of decoders and encoders, and the refreshed imputations."""
        named = dict(zip(self.objective.order, self.encoder + self.decoder, strict=True))

        def one(named, x, m, weight, *state):
            arguments = (x, m, weight, state, self.noise, refresh)
            return torch.func.functional_call(self.objective, named, arguments)

        with _StackedLinear():
            theta, phi, *state = torch.vmap(one, randomness="different")(named, x, m, weight, *state)
        return theta, phi, state

    def _captured_step(self, refresh: bool) -> Tensor:
        step = self.steps.setdefault(refresh, _Captured(lambda: self._step(refresh), self.noise))
        states = [generator.get_state() for generator in self.noise] if step.due else []
        try:
            return step()
        except RuntimeError as error:
            if not step.due:
                raise
            self.captures = False
            # Generators that were in a failed capture are of no more use.
            for run, state in zip(self.runs, states, strict=True):
                run.noise = torch.Generator(self.device)
                run.noise.set_state(state)
            self.noise = Streams(run.noise for run in self.runs)
            warnings.warn(f"the step cannot be captured as a CUDA graph ({error}); it runs without one.", stacklevel=2)
            return self._step(refresh)


class _Objective(nn.Module):
    """What one run computes from one mini-batch."""

    def __init__(self, run: Run):
        super().__init__()
        self.model, self.method, self.settings, self.sampler = run.model, run.method, run.settings, run.sampler
        self.kind = type(run.state)
        names = {id(p): name for name, p in self.named_parameters()}
        self.order = [names[id(p)] for p in run.encoder + run.decoder]

    def forward(self, x, m, weight, state, noise, refresh):
        if self.method.imputes:
            state = self.kind(*state)
            if refresh:
                options = {"steps": self.settings.sampler_steps, "generator": noise}
                state = samplers.impute(self.sampler, self.model, m, state, **options)
            x = state.x
        theta, phi = self.method.bounds(
            self.model, x, m, self.settings.budget, gradient=self.settings.gradient, generator=noise
        )
        return -(theta * weight).sum(), -(phi * weight).sum(), *state


class _StackedLinear(TorchFunctionMode):
    """Linear layers as a product and a sum. What `torch.vmap` makes of them also multiplies every bias by one, forward
    and backward, and on a GPU each such kernel counts."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is torch.nn.functional.linear and len(args) == 3 and args[0].ndim == 2 and args[2] is not None:
            x, weight, bias = args
            return torch.mm(x, weight.T).add_(bias)
        return function(*args, **(kwargs or {}))


class _AMSGrad:
    """The optimisers of the runs as one: `torch.optim.Adam` with amsgrad, written for stacked weights [R, P].

    PyTorch's fused update takes one learning rate and one scale of the gradient for all that it updates, and of a few
    hundred thousand weights of one run it keeps no more than a handful of a GPU's processors busy. The state belongs
    to the runs' own optimisers, as views, so that each can still be saved or stepped alone.
    """

    def __init__(self, runs: Sequence[Run], weights: Tensor, gradient: Tensor):
        self.runs, self.weights, self.gradient = runs, weights, gradient
        self.options = runs[0].optimiser.param_groups[0]
        self.clip_norm = runs[0].settings.clip_norm
        self.mean, self.square, self.largest = (torch.zeros_like(weights) for _ in range(3))
        self.steps, self.rates = weights.new_zeros(2, len(runs), 1).unbind()
        for r, run in enumerate(runs):
            state = run.optimiser.state[run.weights]  # empty before the first step
            own = {"step": self.steps[r, 0]}
            own |= {"exp_avg": self.mean[r], "exp_avg_sq": self.square[r], "max_exp_avg_sq": self.largest[r]}
            for name, value in state.items():
                own[name].copy_(value)
            state |= own
            self.rates[r] = run.learning_rate

    def set_learning_rates(self) -> None:
        for r, run in enumerate(self.runs if self.runs[0].settings.schedule != "constant" else ()):
            self.rates[r] = run.learning_rate

    @torch.no_grad()
    def descend(self, norm: Float[Tensor, " R"]) -> None:
        """One step of each run along its gradient, which has this norm, clipped."""
        b1, b2 = self.options["betas"]
        gradient = self.gradient / ((norm + 1e-6) / self.clip_norm).clamp(min=1).unsqueeze(1)
        self.steps += 1
        self.mean.lerp_(gradient, 1 - b1)
        self.square.mul_(b2).addcmul_(gradient, gradient, value=1 - b2)
        torch.maximum(self.largest, self.square, out=self.largest)
        # rate * mean / (1 - b1^t) / (sqrt(largest / (1 - b2^t)) + eps)
        unbiased = (1 - b2**self.steps).sqrt()
        rate = self.rates * unbiased / (1 - b1**self.steps)
        self.weights.addcdiv_(rate * self.mean, self.largest.sqrt().add_(self.options["eps"] * unbiased), value=-1)


class _Captured:
    """A step that is recorded once as a CUDA graph and then replayed: one launch instead of hundreds."""

    def __init__(self, step, generators):
        self.step, self.generators = step, generators
        self.calls, self.graph, self.output = 0, None, None

    @property
    def due(self) -> bool:
        """Whether the next call captures (or, after one that failed, whether it was to capture)."""
        return self.graph is None and self.calls >= _WARM_UP

    def __call__(self) -> Tensor:
        if self.calls < _WARM_UP:
            self.calls += 1
            return self._aside()
        if self.graph is None:
            self.graph = self._capture()
        self.graph.replay()
        return self.output.clone()

    def _capture(self):
        graph = torch.cuda.CUDAGraph()
        for generator in self.generators:
            graph.register_generator_state(generator)
        stream = torch.cuda.current_stream()
        try:
            with torch.cuda.graph(graph):
                self.output = self.step()
        finally:
            torch.cuda.set_stream(stream)  # a capture that fails leaves its own stream behind
        return graph

    def _aside(self) -> Tensor:
        """On a stream of its own, as a capture will be."""
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            output = self.step()
        torch.cuda.current_stream().wait_stream(aside)
        return output


def _filled(values: Tensor, rows: int, dim: int) -> Tensor:
    """Copies of its first row after the last, `rows` + 1 in all: the blank row has ordinary values and no weight."""
    index = torch.arange(rows + 1, device=values.device)
    index[values.shape[dim] :] = 0
    return values.index_select(dim, index)
