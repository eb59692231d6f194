"""The least a computation could take: its bare matrix products, a fused optimiser step, a large square product.

Products are pairs of operands of the right shapes, multiplied again and again; nothing is computed with them.
"""

import time
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from lib.runs import Run

from .common import Block, wait

Products = list[tuple[Tensor, Tensor]]


def multiply(products: Products) -> Block:
    """Each product once, into memory of its own: a step needs all its activations and gradients later."""
    shapes = [(*left.shape[:-1], right.shape[-1]) for left, right in products]
    work = [(*pair, pair[0].new_empty(shape)) for pair, shape in zip(products, shapes, strict=True)]

    def block(steps: int) -> None:
        for _ in range(steps):
            for left, right, result in work:
                torch.matmul(left, right, out=result)

    return block


def in_turn(*blocks: Block) -> Block:
    """One of each, again and again: each finds the caches as the others leave them."""

    def block(steps: int) -> None:
        for _ in range(steps):
            for part in blocks:
                part(1)

    return block


def flop(products: Products) -> int:
    """Floating-point operations, an addition and a multiplication counted as two."""
    return sum(2 * left.numel() * right.shape[-1] for left, right in products)


def step_products(run: Run, *, sampler: bool, runs: int = 1) -> Products:
    """The products of one training step; of `runs` runs as one, stacked.

    Gradients with respect to the input are needed everywhere but in the encoder's first layer, whose input is
    data. Two objectives go back through the decoder twice: for its weights (to the inputs of all layers but the
    first), and for the encoder (to the inputs of all layers, no weights).
    """
    encoder, decoder = linear_layers(run.model.encoder), linear_layers(run.model.decoder)
    rows = run.settings.batch_size * run.settings.budget  # decoded, whatever the method
    encoded = rows if run.method.imputes else run.settings.batch_size
    two = run.method.theta != run.method.phi
    stack = (runs,) if runs > 1 else ()

    def parts() -> Iterator[tuple[Tensor, Tensor]]:
        yield from _layers(encoder, (*stack, encoded), forward=1, weights=1, inputs=1, first_input=0)
        yield from _layers(decoder, (*stack, rows), forward=1, weights=1, inputs=2 if two else 1, first_input=1)
        if sampler:  # latents of all completions, decoded once for their weights and for the values drawn
            yield from _layers(encoder, (*stack, encoded), forward=1)
            yield from _layers(decoder, (*stack, rows), forward=1)

    return list(parts())


def forward_products(network: nn.Module, rows: int) -> Products:
    """The products of a network applied to so many rows."""
    return list(_layers(linear_layers(network), (rows,), forward=1))


def optimiser_steps(run: Run, runs: int = 1) -> Block:
    """Fused AMSGrad on as many parameters, in one tensor."""
    count = runs * sum(p.numel() for p in run.model.parameters())
    parameter = nn.Parameter(torch.zeros(count, device=run.device))
    parameter.grad = torch.full_like(parameter, 1e-3)
    optimiser = torch.optim.Adam([parameter], 1e-3, amsgrad=True, fused=True)

    def block(steps: int) -> None:
        for _ in range(steps):
            optimiser.step()

    return block


def square_peak(device: str = "cpu", rounds: int = 20) -> float:
    """10^9 operations per second in one large square product of single precision, at best: the machine's peak."""
    n = 8192 if torch.device(device).type == "cuda" else 1024
    a, b = torch.randn(2, n, n, device=device)
    seconds = []
    for _ in range(rounds):
        wait(device)
        start = time.perf_counter()
        a @ b
        wait(device)
        seconds.append(time.perf_counter() - start)
    return round(2e-9 * n**3 / min(seconds), 1)


def linear_layers(network: nn.Module) -> list[nn.Linear]:
    """Linear layers in the order in which they are applied. TypeError for layers whose products are not known here."""
    leaves = [module for module in network.modules() if not list(module.children())]
    if other := {type(m).__name__ for m in leaves if not isinstance(m, nn.Linear) and list(m.parameters())}:
        raise TypeError(f"no floor is known for layers of type {', '.join(other)}: add theirs to benchmarks/floors.py.")
    return [module for module in leaves if isinstance(module, nn.Linear)]


def _layers(
    layers: Iterable[nn.Linear], rows: tuple[int, ...], *, forward=0, weights=0, inputs=0, first_input=0
) -> Iterator[tuple[Tensor, Tensor]]:
    """So many products of each kind for each layer; `rows` [*R, B]."""
    *stack, _ = rows
    for number, layer in enumerate(layers):
        make = {"device": layer.weight.device}
        w = torch.randn(*stack, layer.out_features, layer.in_features, **make)
        x, g = torch.randn(*rows, layer.in_features, **make), torch.randn(*rows, layer.out_features, **make)
        yield from forward * [(x, w.mT)]
        yield from weights * [(g.mT, x)]
        yield from (inputs if number else first_input) * [(g, w)]
