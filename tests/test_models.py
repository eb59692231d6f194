"""Networks and what their outputs mean: parameter counts, encoder inputs, floors, initialisation."""

import math

import pytest
import torch
from exact import seeded
from torch import nn
from torch.nn.functional import linear, softplus

from lib.distributions import Bernoulli, DiagonalGaussian, MixtureOfGaussians
from lib.models import VAE, encoder_width, mlp_vae, posterior_width
from lib.networks import ResidualMLP, parameter_count

# Appendix E.1: features, latents, width, blocks of encoder and decoder, encoder's input of DeMissVAE;
# parameters of decoder, encoder, encoder of a mixture of 5, encoder of DeMissVAE
TABLE = {
    "MoG": (5, 2, 200, 3, 3, "completed", 243_810, 244_204, 248_425, 243_204),
    "POWER": (6, 16, 256, 2, 2, "completed+mask", 270_604, 274_720, 308_901, 274_720),
    "POWER without mask": (6, 16, 256, 2, 2, "completed", 270_604, 274_720, 308_901, 273_184),
    "GAS": (8, 16, 256, 2, 2, "completed", 271_632, 275_744, 309_925, 273_696),
    "HEPMASS": (21, 16, 256, 2, 2, "completed", 278_314, 282_400, 316_581, 277_024),
    "MINIBOONE": (43, 32, 256, 5, 2, "completed", 293_718, 696_640, 763_717, 685_632),
}


@pytest.mark.parametrize("data", TABLE)
def test_parameter_counts_of_the_paper(data):
    features, latent_dim, width, encoder_blocks, decoder_blocks, imputing, decoder, *encoders = TABLE[data]
    kinds = ({}, {"family": "mixture", "components": 5}, {"encoder_input": imputing})
    for kind, expected in zip(kinds, encoders, strict=True):
        model = mlp_vae(
            features,
            latent_dim,
            width=width,
            encoder_blocks=encoder_blocks,
            decoder_blocks=decoder_blocks,
            **kind,
        )
        assert parameter_count(model.decoder) == decoder
        assert parameter_count(model.encoder) == expected


@pytest.mark.parametrize(("components", "expected"), [(15, 258_475), (25, 268_525)])
def test_parameter_counts_of_larger_mixtures(components, expected):
    assert parameter_count(mlp_vae(5, 2, family="mixture", components=components).encoder) == expected


def test_frozen_parameters_are_not_counted():
    model = mlp_vae(5, 2)
    model.decoder.requires_grad_(False)
    assert parameter_count(model) == 244_204


# The residual network


def written_out(network: ResidualMLP, x):
    """h = relu(W_in x + b); h <- relu(h + W_2 relu(W_1 h + b_1) + b_2); W_out h + b."""
    h = torch.relu(linear(x, network.input.weight, network.input.bias))
    for block in network.blocks:
        inner = torch.relu(linear(h, block.first.weight, block.first.bias))
        h = torch.relu(h + linear(inner, block.second.weight, block.second.bias))
    return linear(h, network.output.weight, network.output.bias)


def test_residual_network_and_its_gradient_are_the_formula():
    network = ResidualMLP(4, 3, width=16, blocks=3).double()
    x = torch.randn(2, 5, 4, dtype=torch.float64, generator=seeded(), requires_grad=True)
    leaves = [x, *network.parameters()]
    results = [
        (out, *torch.autograd.grad(out.square().sum(), leaves))
        for out in (network(x), written_out(network, x))
    ]
    assert results[0][0].shape == (2, 5, 3)
    torch.testing.assert_close(*results)


def test_dropout_acts_between_the_two_maps_of_a_block():
    network = ResidualMLP(4, 3, width=16, blocks=1, dropout=0.3).double()
    x = torch.randn(2, 4, dtype=torch.float64, generator=seeded())
    torch.testing.assert_close(network.eval()(x), written_out(network, x))
    block, seen = network.blocks[0], []
    block.second.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network.train()(x.expand(500, -1, -1))
    h = torch.relu(network.input(x))
    inner = torch.relu(block.first(h)).repeat(500, 1)
    alive, kept = inner > 0, seen[0] != 0
    assert abs(kept[alive].double().mean() - 0.7) < 0.02
    torch.testing.assert_close(seen[0][kept], (inner / 0.7)[kept])
    assert not any(isinstance(module, nn.Dropout) for module in ResidualMLP(4, 3).modules())


def test_initialisation_is_uniform_within_one_over_root_fan_in():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = mlp_vae(5, 2)
    linears = [module for module in model.modules() if isinstance(module, nn.Linear)]
    assert len(linears) == 16
    for module in linears:
        limit = 1 / math.sqrt(module.in_features)
        for values in (module.weight, module.bias):
            assert values.abs().max() <= limit
            if values.numel() >= 100:
                assert values.abs().max() > 0.95 * limit
                error = limit**2 * math.sqrt(4 / 45 / values.numel())  # of the mean square of a uniform
                assert abs(values.square().mean() - limit**2 / 3) < 4.5 * error


# What goes into the encoder


class Recorder(nn.Module):
    """Keeps what it reads."""

    def __init__(self, outputs: int):
        super().__init__()
        self.outputs = outputs

    def forward(self, x):
        self.seen = x
        return x.new_zeros(*x.shape[:-1], self.outputs)


@pytest.mark.parametrize("kind", ["masked", "completed", "completed+mask"])
def test_encoder_inputs(kind):
    x = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    m = torch.tensor([[True, False, True], [False, True, True]])
    model = VAE(Recorder(4), nn.Identity(), latent_dim=2, encoder_input=kind)
    expected = {
        "masked": [[1.0, 0, 3, 1, 0, 1], [0, 5, 6, 0, 1, 1]],
        "completed": [[1.0, 2, 3], [4, 5, 6]],
        "completed+mask": [[1.0, 2, 3, 1, 0, 1], [4, 5, 6, 0, 1, 1]],
    }[kind]
    model.encode(x, m)
    assert model.encoder.seen.tolist() == expected
    assert encoder_width(3, kind) == len(expected[0])
    if kind != "masked":
        model.encode(x.expand(5, -1, -1), m)
        assert model.encoder.seen.tolist() == [expected] * 5


# What comes out


def outputs(*numbers):
    """A network with these outputs, whatever it reads."""
    network = nn.Linear(2, len(numbers))
    with torch.no_grad():
        network.weight.zero_()
        network.bias.copy_(torch.tensor(numbers))
    return network


@pytest.mark.parametrize("floor", [0.0, 1e-5, 0.1])
def test_order_of_outputs_and_floors(floor):
    x, m = torch.zeros(1, 1), torch.ones(1, 1, dtype=torch.bool)
    decoder = outputs(7.0, 8.0, -40.0, 0.5)
    model = VAE(
        outputs(1.0, 2.0, -40.0, 0.5), decoder, latent_dim=2, encoder_floor=floor, decoder_floor=2 * floor
    )
    q, p = model.encode(x, m), model.decode(torch.zeros(1, 2))
    assert isinstance(q, DiagonalGaussian) and isinstance(p, DiagonalGaussian)
    raw = torch.tensor([[-40.0, 0.5]])
    assert q.loc.tolist() == [[1.0, 2.0]] and p.loc.tolist() == [[7.0, 8.0]]
    torch.testing.assert_close(q.scale, softplus(raw) + floor, rtol=1e-6, atol=0)
    torch.testing.assert_close(p.scale, softplus(raw) + 2 * floor, rtol=1e-6, atol=0)
    # locations, raw scales, logits, each component after component
    mixture = VAE(
        outputs(*range(8), *([-40.0] * 8), 0.1, 0.2, 0.3, 0.4), decoder,
        latent_dim=2, family="mixture", components=4, encoder_floor=floor,
    ).encode(x, m)  # fmt: skip
    assert isinstance(mixture, MixtureOfGaussians)
    assert mixture.loc.tolist() == [[[0.0, 1.0], [2.0, 3.0], [4.0, 5.0], [6.0, 7.0]]]
    torch.testing.assert_close(mixture.logits, torch.tensor([[0.1, 0.2, 0.3, 0.4]]))
    torch.testing.assert_close(
        mixture.scale, softplus(torch.full((1, 4, 2), -40.0)) + floor, rtol=1e-6, atol=0
    )


def test_no_floor_unless_asked_for():
    model = mlp_vae(5, 2)
    assert model.encoder_floor == 0 and model.decoder_floor == 0
    model = mlp_vae(5, 2, encoder_floor=1e-5, decoder_floor=1e-4)
    assert (model.encoder_floor, model.decoder_floor) == (1e-5, 1e-4)


def test_bernoulli_decoder():
    model = VAE(nn.Identity(), outputs(0.5, -1.0, 2.0), latent_dim=2, likelihood="bernoulli")
    p = model.decode(torch.zeros(4, 1, 2))
    assert (
        isinstance(p, Bernoulli)
        and p.logits.shape == (4, 1, 3)
        and p.logits[0, 0].tolist() == [0.5, -1.0, 2.0]
    )


def test_prior_is_standard_normal():
    z = 2 * torch.randn(3, 4, 5, dtype=torch.float64, generator=seeded())
    torch.testing.assert_close(VAE.log_prior(z), torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(-1))


def test_output_widths():
    assert posterior_width(2, "gaussian", 1) == 4 and posterior_width(2, "mixture", 5) == 25
    assert posterior_width(16, "mixture", 1) == 33


@pytest.mark.parametrize(
    ("family", "components"), [("mixture", 0), ("gaussian", 0), ("gaussian", 5), ("mixture", -1)]
)
def test_impossible_numbers_of_components_are_refused(family, components):
    with pytest.raises(ValueError, match=f"components={components}"):
        mlp_vae(5, 2, family=family, components=components)
