"""What goes into the networks and what their outputs mean: encoder inputs, floors, likelihoods, frozen decoders."""

import pytest
import torch
from exact import seeded
from torch import nn
from torch.nn.functional import softplus

from lib.distributions import Bernoulli, DiagonalGaussian, MixtureOfGaussians
from lib.models import VAE, conv_vae, encoder_width, mlp_vae, posterior_width

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


# Pictures


def pictures(rows: int = 4):
    g = seeded()
    x = torch.where(torch.rand(rows, 784, generator=g) < 0.5, 1.0, -1.0)
    return x, torch.rand(rows, 784, generator=g) < 0.5


SMALL = {"encoder_widths": (4, 4, 4, 4), "decoder_widths": (4, 4, 4, 4), "blocks": 1}


@pytest.mark.parametrize(("kind", "channels"), [("masked", 2), ("completed", 1), ("completed+mask", 2)])
def test_pictures_have_a_channel_for_the_values_and_one_for_the_mask(kind, channels):
    x, m = pictures()
    model = conv_vae(3, encoder_input=kind, **SMALL)
    seen = []
    model.encoder.input[0].register_forward_hook(lambda _, inputs, out: seen.append(inputs[0]))
    q = model.encode(x, m)
    assert isinstance(q, DiagonalGaussian) and q.loc.shape == q.scale.shape == (4, 3)
    values = x.where(m, 0.0) if kind == "masked" else x
    assert torch.equal(seen[0], torch.stack([values, m.float()], 1)[:, :channels].view(4, channels, 28, 28))


def test_missing_pixels_never_reach_the_encoder():
    x, m = pictures()
    model = conv_vae(3, family="mixture", components=5, **SMALL).eval()
    q, same = model.encode(x, m), model.encode(x.where(m, torch.nan), m)
    assert q.loc.shape == (4, 5, 3)
    assert torch.equal(q.loc, same.loc) and torch.equal(q.scale, same.scale) and torch.equal(q.logits, same.logits)
    assert not torch.equal(q.loc, model.encode(-x, m).loc)
    assert model.encoder_floor == 1e-5


def test_pictures_are_decoded_to_a_logit_per_pixel():
    p = conv_vae(3, **SMALL).decode(torch.randn(2, 4, 3, generator=seeded()))
    assert isinstance(p, Bernoulli) and p.logits.shape == (2, 4, 784)


def test_a_frozen_decoder_stays_as_it_is_while_its_encoder_is_trained():
    """Neither do its statistics move nor are units dropped, and the encoder does both."""
    model = conv_vae(3, dropout=0.5, **SMALL)
    x, m = pictures()
    z = torch.randn(4, 3, generator=seeded())
    assert not torch.equal(model.decode(z).logits, model.decode(z).logits)
    model.decoder.requires_grad_(False)
    model.train()
    before = {name: values.clone() for name, values in model.named_buffers()}
    assert torch.equal(model.decode(z).logits, model.decode(z).logits)
    model.encode(x, m)
    moved = {name.split(".")[0] for name, values in model.named_buffers() if not torch.equal(values, before[name])}
    assert moved == {"encoder"} and model.training and model.encoder.training
    assert not torch.equal(model.encode(x, m).loc, model.encode(x, m).loc)
    model.eval()
    assert not any(module.training for module in model.modules())
    model.decoder.output.requires_grad_(True)  # no longer frozen as a whole
    assert model.train() is model and all(module.training for module in model.modules())
