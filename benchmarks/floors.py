"""The least a computation could take: its bare matrix products and convolutions, a fused optimiser step, a large square
product.

Products have operands of the right shapes and are made again and again; nothing is computed with them.
"""

import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lib import samplers
from lib.networks import SIDE
from lib.runs import Run

from .common import Block, wait


class Product(NamedTuple):
    """`make()` makes the product; its floating-point operations, an addition and a multiplication counted as two."""

    make: Callable[[], object]
    flop: int


Products = list[Product]


def product(left: Tensor, right: Tensor) -> Product:
    """Of two matrices, into memory of its own: a step needs all its activations and gradients later."""
    result = left.new_empty(*left.shape[:-1], right.shape[-1])
    return Product(lambda: torch.matmul(left, right, out=result), 2 * left.numel() * right.shape[-1])


def multiply(products: Products) -> Block:
    """Each product once."""

    def block(steps: int) -> None:
        for _ in range(steps):
            for each in products:
                each.make()

    return block


def in_turn(*blocks: Block) -> Block:
    """One of each, again and again: each finds the caches as the others leave them."""

    def block(steps: int) -> None:
        for _ in range(steps):
            for part in blocks:
                part(1)

    return block


def flop(products: Products) -> int:
    return sum(each.flop for each in products)


def step_products(run: Run, *, sampler: bool, runs: int = 1) -> Products:
    """The products of one training step; of `runs` runs as one, stacked.

    Gradients with respect to the input are needed everywhere but in the encoder's first layer, whose input is
    data. Two objectives go back through the decoder twice: for its weights (to the inputs of all layers but the
    first), and for the encoder (to the inputs of all layers, no weights).
    """
    encoder, decoder = layers(run.model.encoder), layers(run.model.decoder)
    rows = run.settings.batch_size * run.settings.budget  # decoded, whatever the method
    encoded = rows if run.method.imputes else run.settings.batch_size
    two = run.method.theta != run.method.phi
    stack = (runs,) if runs > 1 else ()
    found = _products(encoder, (*stack, encoded), forward=1, weights=1, inputs=1, first_input=0)
    found += _products(decoder, (*stack, rows), forward=1, weights=1, inputs=2 if two else 1, first_input=1)
    return found + (sampler_products(run, stack) if sampler else [])


def sampler_products(run: Run, stack: tuple[int, ...] = ()) -> Products:
    """Those of one call of the conditional sampler for a mini-batch. Equal ones share their memory, as nothing is kept
    from one iteration to the next."""
    calls, rows = [], slice(run.settings.batch_size)
    networks = (run.model.encoder, run.model.decoder)
    hooks = [
        network.register_forward_pre_hook(lambda network, inputs: calls.append((network, inputs[0].shape[:-1].numel())))
        for network in networks
    ]
    state = type(run.state)(*(stored[:, rows] for stored in run.state))
    noise = torch.Generator(run.device).manual_seed(0)
    samplers.impute(run.sampler, run.model, run.m[rows], state, steps=run.settings.sampler_steps, generator=noise)
    for hook in hooks:
        hook.remove()
    of = {call: _products(layers(call[0]), (*stack, call[1]), forward=1) for call in dict.fromkeys(calls)}
    return [each for call in calls for each in of[call]]


def forward_products(network: nn.Module, rows: int) -> Products:
    """The products of a network applied to so many rows."""
    return _products(layers(network), (rows,), forward=1)


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


Layers = list[tuple[nn.Linear | nn.Conv2d, torch.Size]]


def layers(network: nn.Module) -> Layers:
    """Linear and convolutional layers in the order in which they are applied, with the shape of a row of their input.
    TypeError for layers whose products are not known here."""
    leaves = [module for module in network.modules() if not list(module.children()) and list(module.parameters())]
    if other := {type(m).__name__ for m in leaves if not isinstance(m, nn.Linear | nn.Conv2d | nn.BatchNorm2d)}:
        raise TypeError(f"no floor is known for layers of type {', '.join(other)}: add theirs to benchmarks/floors.py.")
    leaves = [leaf for leaf in leaves if not isinstance(leaf, nn.BatchNorm2d)]
    found, first, training = [], leaves[0], network.training
    hooks = [m.register_forward_hook(lambda m, inputs, _: found.append((m, inputs[0].shape[1:]))) for m in leaves]
    width = first.in_features if isinstance(first, nn.Linear) else first.in_channels * SIDE**2
    with torch.no_grad():
        network.eval()(first.weight.new_zeros(1, width))  # in training it would move the statistics of the batch
    network.train(training)
    for hook in hooks:
        hook.remove()
    return found


def _products(layers: Layers, rows: tuple[int, ...], *, forward=0, weights=0, inputs=0, first_input=0) -> Products:
    """So many products of each kind for each layer; `rows` [*R, B]."""
    found: Products = []
    for number, (layer, shape) in enumerate(layers):
        of = _linear if isinstance(layer, nn.Linear) else _convolution
        kinds = zip(of(layer, rows, shape), (forward, weights, inputs if number else first_input), strict=True)
        found += [make() for make, count in kinds for _ in range(count)]
    return found


def _linear(layer: nn.Linear, rows: tuple[int, ...], shape: torch.Size) -> Iterator[Callable[[], Product]]:
    """Of a layer: forward, gradient of the weights, gradient of the input."""
    make = {"device": layer.weight.device}
    w = torch.randn(*rows[:-1], layer.out_features, layer.in_features, **make)
    x, g = torch.randn(*rows, layer.in_features, **make), torch.randn(*rows, layer.out_features, **make)
    yield from (lambda: product(x, w.mT), lambda: product(g.mT, x), lambda: product(g, w))


def _convolution(layer: nn.Conv2d, rows: tuple[int, ...], shape: torch.Size) -> Iterator[Callable[[], Product]]:
    """The same of convolutions, with the channels of a pixel side by side in memory. Only of a single run."""
    (count,), (stride, *_), (padding, *_) = rows, layer.stride, layer.padding
    w = torch.randn_like(layer.weight)
    x = torch.randn(count, *shape, device=w.device).contiguous(memory_format=torch.channels_last)
    g = torch.randn_like(torch.nn.functional.conv2d(x, w, None, stride, padding))
    flop = 2 * g.numel() * w[0].numel()

    def gradient(*which: bool) -> Callable[[], object]:
        geometry = ([stride] * 2, [padding] * 2, [1, 1], False, [0, 0], 1)
        return lambda: torch.ops.aten.convolution_backward(g, x, w, None, *geometry, [*which, False])

    yield lambda: Product(lambda: torch.nn.functional.conv2d(x, w, None, stride, padding), flop)
    yield lambda: Product(gradient(False, True), flop)
    yield lambda: Product(gradient(True, False), flop)
