"""The variational autoencoder: `encode(x, m)` gives a posterior, `decode(z)` a likelihood."""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn
from torch.nn.functional import softplus

from .distributions import Bernoulli, DiagonalGaussian, MixtureOfGaussians
from .networks import SIDE, ConvDecoder, ConvEncoder, ResidualMLP
from .shapes import Bool, Float, Tensor

Family = Literal["gaussian", "mixture"]
EncoderInput = Literal["masked", "completed", "completed+mask"]
Likelihood = Literal["gaussian", "bernoulli"]


class VAE(nn.Module):
    """Encoder and decoder networks with the meaning of their outputs (sections 2 and 4.1).

    Args:
        encoder: network from `encoder_width(...)` inputs to `posterior_width(...)` outputs.
        decoder: network from L latents to 2 D outputs (Gaussian: locations, raw scales) or D logits (Bernoulli).
        latent_dim: L.
        family: posterior family; "mixture" has `components` diagonal Gaussians.
        encoder_input: "masked" = [x, zeros where missing; m]; "completed" = a completed row; "completed+mask" = both.
        likelihood: "gaussian" or "bernoulli" (pixels in {-1, +1}).
        encoder_floor, decoder_floor: added to the standard deviations softplus(raw); 0 for none.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        *,
        latent_dim: int,
        family: Family = "gaussian",
        components: int = 1,
        encoder_input: EncoderInput = "masked",
        likelihood: Likelihood = "gaussian",
        encoder_floor: float = 0.0,
        decoder_floor: float = 0.0,
    ):
        super().__init__()
        posterior_width(latent_dim, family, components)  # refuses impossible combinations
        self.encoder, self.decoder = encoder, decoder
        self.latent_dim, self.family, self.components = latent_dim, family, components
        self.encoder_input, self.likelihood = encoder_input, likelihood
        self.encoder_floor, self.decoder_floor = encoder_floor, decoder_floor

    def extra_repr(self) -> str:
        names = ("latent_dim", "family", "components", "encoder_input", "likelihood", "encoder_floor", "decoder_floor")
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in names)

    def encode(self, x: Float[Tensor, "*K B D"], m: Bool[Tensor, "B D"]) -> DiagonalGaussian | MixtureOfGaussians:
        """The posterior approximation q(z | x_obs), or q(z | x) of completed rows.

        A "masked" encoder puts zeros at missing positions itself: whatever stands there, NaN included, never
        reaches it.
        """
        if self.encoder_input == "masked":
            x = torch.cat([torch.where(m, x, 0.0), m.to(x.dtype)], -1)
        elif self.encoder_input == "completed+mask":
            x = torch.cat([x, m.to(x.dtype).expand_as(x)], -1)
        out = self.encoder(x)
        if self.family == "gaussian":
            loc, raw = out.chunk(2, -1)
            return DiagonalGaussian(loc, _scale(raw, self.encoder_floor))
        shape = (self.components, self.latent_dim)
        loc, raw, logits = out.split([math.prod(shape), math.prod(shape), self.components], -1)
        scale = _scale(raw.unflatten(-1, shape), self.encoder_floor)
        return MixtureOfGaussians(logits, loc.unflatten(-1, shape), scale)

    def decode(self, z: Float[Tensor, "*S B L"]) -> DiagonalGaussian | Bernoulli:
        """The likelihood p(x | z), factorised over features."""
        out = self.decoder(z)
        if self.likelihood == "bernoulli":
            return Bernoulli(out)
        loc, raw = out.chunk(2, -1)
        return DiagonalGaussian(loc, _scale(raw, self.decoder_floor))

    def train(self, mode: bool = True) -> "VAE":
        """As of any module, but a decoder all of whose parameters are fixed stays in evaluation mode: fitting an
        encoder to it neither moves its statistics nor drops its units."""
        super().train(mode)
        if not any(p.requires_grad for p in self.decoder.parameters()):
            self.decoder.eval()
        return self

    @staticmethod
    def log_prior(z: Float[Tensor, "*S B L"]) -> Float[Tensor, "*S B"]:
        """log N(z; 0, I)."""
        return -0.5 * (z.square().sum(-1) + z.shape[-1] * math.log(2 * math.pi))


def _scale(raw: Tensor, floor: float) -> Tensor:
    sigma = softplus(raw)
    return sigma + floor if floor else sigma


def encoder_width(features: int, encoder_input: EncoderInput) -> int:
    """Inputs of the encoder: D, or 2 D where it reads the mask."""
    return features if encoder_input == "completed" else 2 * features


def posterior_width(latent_dim: int, family: Family, components: int) -> int:
    """Outputs of the encoder: 2 L for a Gaussian, K (2 L + 1) for a mixture. ValueError for an impossible K."""
    if components < 1 or (family == "gaussian" and components != 1):
        raise ValueError(
            f"components={components} with family={family!r}: a mixture needs at least 1, a Gaussian exactly 1."
        )
    return 2 * latent_dim if family == "gaussian" else components * (2 * latent_dim + 1)


def mlp_vae(
    features: int,
    latent_dim: int,
    *,
    family: Family = "gaussian",
    components: int = 1,
    encoder_input: EncoderInput = "masked",
    width: int = 200,
    encoder_blocks: int = 3,
    decoder_blocks: int = 3,
    dropout: float = 0.0,
    encoder_floor: float = 0.0,
    decoder_floor: float = 0.0,
) -> VAE:
    """A VAE of residual MLPs with a Gaussian decoder (appendix E.1); the defaults are the paper's for MoG."""
    inputs, outputs = encoder_width(features, encoder_input), posterior_width(latent_dim, family, components)
    return VAE(
        ResidualMLP(inputs, outputs, width=width, blocks=encoder_blocks, dropout=dropout),
        ResidualMLP(latent_dim, 2 * features, width=width, blocks=decoder_blocks, dropout=dropout),
        latent_dim=latent_dim,
        family=family,
        components=components,
        encoder_input=encoder_input,
        encoder_floor=encoder_floor,
        decoder_floor=decoder_floor,
    )


def conv_vae(
    latent_dim: int,
    *,
    family: Family = "gaussian",
    components: int = 1,
    encoder_input: EncoderInput = "masked",
    encoder_widths: Sequence[int] = (32, 64, 128, 256),
    decoder_widths: Sequence[int] = (128, 64, 32, 32),
    blocks: int = 2,
    dropout: float = 0.3,
    encoder_floor: float = 1e-5,
) -> VAE:
    """A VAE of convolutional residual networks with a Bernoulli decoder, for pictures of 28 x 28 pixels in {-1, +1}
    (appendix E.3); the defaults are the paper's for MNIST."""
    channels = encoder_width(SIDE**2, encoder_input) // SIDE**2
    outputs = posterior_width(latent_dim, family, components)
    return VAE(
        ConvEncoder(channels, outputs, encoder_widths, blocks=blocks, dropout=dropout),
        ConvDecoder(latent_dim, decoder_widths, blocks=blocks, dropout=dropout),
        latent_dim=latent_dim,
        family=family,
        components=components,
        encoder_input=encoder_input,
        likelihood="bernoulli",
        encoder_floor=encoder_floor,
    )
