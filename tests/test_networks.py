"""Networks: their parameter counts, the formulas they compute, dropout, initialisation."""

import math

import pytest
import torch
from exact import seeded
from torch import nn
from torch.nn import functional as F

from lib.models import conv_vae, mlp_vae
from lib.networks import ConvDecoder, ConvEncoder, Dropout, ResidualMLP, parameter_count

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


# Appendix E.3: widths of encoder and decoder; parameters of decoder, encoder, of a mixture of 5 and of DeMissVAE,
# all with 50 latents; of decoder and encoder with other latent dimensions
PICTURES = {
    "MNIST": (
        (32, 64, 128, 256), (128, 64, 32, 32), (1_840_288, 2_820_452, 2_924_537, 2_820_164),
        {25: (1_737_888, 2_807_602), 100: (2_045_088, 2_846_152), 200: (2_454_688, 2_897_552)},
    ),
    "Omniglot": (
        (64, 128, 256, 512), (256, 128, 64, 64), (6_936_896, 11_219_556, 11_427_321, 11_218_980),
        {25: (6_732_096, 11_193_906), 100: (7_346_496, 11_270_856), 200: (8_165_696, 11_373_456)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("data", PICTURES)
def test_parameter_counts_of_the_paper_for_pictures(data):
    encoder, decoder, (decoding, *encoding), others = PICTURES[data]
    widths = {"encoder_widths": encoder, "decoder_widths": decoder}
    kinds = ({}, {"family": "mixture", "components": 5}, {"encoder_input": "completed"})
    for kind, expected in zip(kinds, encoding, strict=True):
        model = conv_vae(50, **widths, **kind)
        assert (parameter_count(model.decoder), parameter_count(model.encoder)) == (decoding, expected)
    for latent_dim, expected in others.items():
        model = conv_vae(latent_dim, **widths)
        assert (parameter_count(model.decoder), parameter_count(model.encoder)) == expected


def test_parameter_count_of_the_smallest_networks_for_pictures():
    model = conv_vae(50, encoder_widths=(32, 128, 128, 128), decoder_widths=(64, 32, 32, 32), blocks=1)
    assert parameter_count(model) == 1_275_844  # "1.275 million"


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
    h = torch.relu(F.linear(x, network.input.weight, network.input.bias))
    for block in network.blocks:
        inner = torch.relu(F.linear(h, block.first.weight, block.first.bias))
        h = torch.relu(h + F.linear(inner, block.second.weight, block.second.bias))
    return F.linear(h, network.output.weight, network.output.bias)


def test_residual_network_and_its_gradient_are_the_formula():
    network = ResidualMLP(4, 3, width=16, blocks=3).double()
    x = torch.randn(2, 5, 4, dtype=torch.float64, generator=seeded(), requires_grad=True)
    leaves = [x, *network.parameters()]
    results = [(out, *torch.autograd.grad(out.square().sum(), leaves)) for out in (network(x), written_out(network, x))]
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
    assert not any(isinstance(module, Dropout) for module in ResidualMLP(4, 3).modules())


def test_runs_as_one_drop_units_of_their_own():
    """A warning, of an operation that is looped over the runs, would be an error here."""
    out = torch.vmap(Dropout(0.25), randomness="different")(torch.ones(2, 400, 8))
    assert out.unique().tolist() == pytest.approx([0, 4 / 3])
    kept = (out != 0).double()
    assert ((kept.mean((1, 2)) - 0.75).abs() < 4.5 * math.sqrt(0.1875 / 3200)).all()
    assert abs((kept[0] == kept[1]).double().mean() - 0.625) < 0.05  # independent


# The convolutional networks

WIDTHS = (3, 4, 5, 5)  # the last stage keeps its channels
NETWORKS = {
    "encoder": lambda **options: ConvEncoder(2, 6, WIDTHS, **options).double(),
    "decoder": lambda **options: ConvDecoder(4, WIDTHS, **options).double(),
}


def rows(name, *shape):
    return torch.randn(*shape, 1568 if name == "encoder" else 4, dtype=torch.float64, generator=seeded())


def norm(h, layer):
    """Over rows and positions, by their own mean and variance or, in evaluation, by those kept."""
    mean, variance = layer.running_mean, layer.running_var
    if layer.training:
        mean, variance = h.mean((0, 2, 3)), h.var((0, 2, 3), correction=0)
    mean, variance, weight, bias = (v[:, None, None] for v in (mean, variance, layer.weight, layer.bias))
    return weight * (h - mean) / torch.sqrt(variance + 1e-5) + bias


def block_written_out(block, h, *, stride=1, double=False):
    def grown(h):
        return h.repeat_interleave(2, 2).repeat_interleave(2, 3) if double else h

    inner = torch.relu(norm(F.conv2d(h, block.first.weight, stride=stride, padding=1), block.first_norm))
    inner = norm(F.conv2d(grown(inner), block.second.weight, padding=1), block.second_norm)
    if inner.shape != h.shape:
        conv, layer = block.shortcut
        h = norm(F.conv2d(grown(h), conv.weight, stride=stride), layer)
    return torch.relu(inner + h)


def encoder_written_out(network, x):
    h = torch.stack(x.chunk(2, -1), 1).view(-1, 2, 28, 28)  # image and mask
    conv, layer, _ = network.input
    h = torch.relu(norm(F.conv2d(h, conv.weight, padding=1), layer))
    sides = [28, 14, 7, 4]
    for number, block in enumerate(network.stages):
        stage, place = divmod(number, 2)
        h = block_written_out(block, h, stride=2 if stage and not place else 1)
        assert h.shape[1:] == (WIDTHS[stage], sides[stage], sides[stage])
    return F.linear(h.flatten(2).mean(-1), network.output.weight, network.output.bias)


def decoder_written_out(network, z):
    h = F.linear(z, network.input.weight, network.input.bias).view(-1, 2 * WIDTHS[0], 4, 4)
    for number, (stage, side) in enumerate(zip(network.stages, [8, 14, 28, 28], strict=True)):
        for place, block in enumerate(stage):
            h = block_written_out(block, h, double=number < 3 and not place)
        assert h.shape[1:] == (WIDTHS[number], side, side)
        if number == 0:
            h = F.interpolate(h, size=(7, 7))
    return F.conv2d(h, network.output.weight, padding=1).flatten(1)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", NETWORKS)
def test_convolutional_networks_and_their_gradients_are_the_formula(name, training):
    """Two rows of three draws are one batch of six."""
    network = NETWORKS[name](dropout=0.0).train(training)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):  # away from their start, at which they do nothing
            for values, low, high in ((module.running_mean, -1, 1), (module.running_var, 0.5, 2),
                                      (module.weight.data, 0.5, 2), (module.bias.data, -1, 1)):  # fmt: skip
                values.uniform_(low, high, generator=seeded(values.numel()))
    written_out = {"encoder": encoder_written_out, "decoder": decoder_written_out}[name]
    x = rows(name, 3, 2).requires_grad_()
    expected = written_out(network, x.flatten(0, 1)).view(3, 2, -1)
    found = network(x)
    assert found.shape == (3, 2, 6 if name == "encoder" else 784)
    leaves = [x, *network.parameters()]
    slope = torch.randn(found.shape, dtype=found.dtype, generator=seeded(2))
    gradients = [torch.autograd.grad(out, leaves, slope) for out in (found, expected)]
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(*gradients)


def test_dropout_takes_whole_channels_before_the_shortcut():
    network = NETWORKS["encoder"](dropout=0.3)
    block, seen = network.stages[2], {}
    block.second_norm.register_forward_hook(lambda _, i, o: seen.update(before=o.detach().clone()))
    block.dropout.register_forward_hook(lambda _, i, o: seen.update(after=o.detach().clone()))
    block.shortcut.register_forward_hook(lambda _, i, o: seen.update(shortcut=o.detach().clone()))
    block.register_forward_hook(lambda _, i, o: seen.update(out=o.detach()))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network(rows("encoder", 300))
    kept = (seen["after"] != 0).flatten(2)
    assert (kept.all(2) | ~kept.any(2)).all()  # all 14 x 14 positions or none
    kept = kept.all(2)
    assert abs(kept.double().mean() - 0.7) < 4.5 * math.sqrt(0.21 / kept.numel())
    torch.testing.assert_close(seen["after"], kept[..., None, None] * seen["before"] / 0.7)
    torch.testing.assert_close(seen["out"], torch.relu(seen["after"] + seen["shortcut"]))
    assert sum(isinstance(m, nn.Dropout2d) for m in network.modules()) == 8
    assert not any(isinstance(m, nn.Dropout2d) for m in NETWORKS["decoder"](dropout=0.0).modules())


def test_statistics_of_the_pictures_are_kept_in_training_alone():
    network = NETWORKS["decoder"]()
    before = {name: values.clone() for name, values in network.named_buffers()}
    network.eval()(rows("decoder", 4))
    assert all(torch.equal(before[name], values) for name, values in network.named_buffers())
    network.train()(rows("decoder", 4))
    assert not any(torch.equal(before[name], values) for name, values in network.named_buffers())


# Initialisation


def test_initialisation_is_uniform_within_one_over_root_fan_in():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        modules = [*mlp_vae(5, 2).modules(), *conv_vae(50, blocks=1).modules()]
    layers = [module for module in modules if isinstance(module, (nn.Linear, nn.Conv2d))]
    assert len(layers) == 16 + (1 + 4 * 2 + 3 + 1) + (1 + 4 * 2 + 3 + 1)  # with three shortcuts in each
    for module in layers:
        limit = 1 / math.sqrt(module.weight[0].numel())
        assert (module.bias is None) == isinstance(module, nn.Conv2d)
        for values in (module.weight, module.bias) if module.bias is not None else (module.weight,):
            assert values.abs().max() <= limit
            if values.numel() >= 100:
                assert values.abs().max() > 0.95 * limit
                error = limit**2 * math.sqrt(4 / 45 / values.numel())  # of the mean square of a uniform
                assert abs(values.square().mean() - limit**2 / 3) < 4.5 * error
