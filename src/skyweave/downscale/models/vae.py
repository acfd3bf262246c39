"""The FiLM-conditioned variational autoencoder."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from skyweave.diffusion.network import CellNorm, UNet
from skyweave.downscale.models.downscaler import Domain, Downscaler, Noise, Sampling, TrainingSample
from skyweave.downscale.models.encoder import TransferEncoder
from skyweave.downscale.models.target_form import Channels
from skyweave.downscale.settings import ModelSection

__all__ = ["VAEDownscaler", "elbo_loss"]


class FiLMBlock(nn.Module):
    """Residual block on the latent field, scaled and shifted by what is known: ``(1 + gamma) norm(x) + beta``."""

    def __init__(self, width: int, context: int) -> None:
        super().__init__()
        self.norm = CellNorm(width)
        self.film = nn.Conv2d(context, 2 * width, 1)
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        gamma, beta = self.film(context).chunk(2, dim=1)
        return x + self.conv(F.silu((1 + gamma) * self.norm(x) + beta))


class VAEDownscaler(Downscaler):
    r"""A latent field ``z`` decoded under feature-wise modulation by what is known.

    .. math:: L = \frac{1}{2 s^2}\|w - \mu_\theta(z, k)\|^2 + \log s + \beta\, KL(q(z \mid w, k) \,\|\, N(0, I)),
              \qquad z \sim q

    per cell, with the scale ``s`` of the reconstruction learnt along. The latent field has the resolution of the
    target, so patches anywhere can be cut from one field of noise. Members are decoded means: the part of the
    variance that the decoder leaves to ``s`` is not drawn, for it would be white.

    Args:
        channels, config, encoder: as in `Downscaler`; ``config.latent`` is the number of latent channels,
            ``config.kl_weight`` is beta.

    Reference: downscaling paper, section 2.2.2, ``f^VAE``; FiLM: Perez et al. 2018; learnt scale: Rybkin et al. 2021.
    """

    name: ClassVar[str] = "vae"
    encoder_kind: ClassVar[str] = "lstm"

    def __init__(self, channels: Channels, config: ModelSection, encoder: TransferEncoder | None) -> None:
        super().__init__(channels, config, encoder)
        width = config.network.base
        self.context = UNet(self.known_count, 2 * width, config.network.architecture())
        self.infer = nn.Sequential(
            nn.Conv2d(channels.fine + 2 * width, 2 * width, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(2 * width, 2 * width, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(2 * width, 2 * config.latent, 3, padding=1),
        )
        self.lift = nn.Conv2d(config.latent, width, 3, padding=1)
        self.blocks = nn.ModuleList(
            [FiLMBlock(width, 2 * width) for _ in range(2 * len(config.network.multipliers))]
        )
        self.last = nn.Conv2d(3 * width, channels.fine, 3, padding=1)
        self.log_scale = nn.Parameter(torch.zeros(channels.fine))

    def _context(self, known: Tensor) -> Tensor:
        return self.context(known, known.new_zeros(len(known)))

    def decode(self, z: Tensor, context: Tensor) -> Tensor:
        """Mean of the target given latent field and context."""
        x = self.lift(z)
        for block in self.blocks:
            x = block(x, context)
        return self.squash(self.last(torch.cat([x, context], dim=1)))

    def loss(self, sample: TrainingSample, generator: torch.Generator) -> Tensor:
        """Negative evidence lower bound for each cell."""
        clean = self.target_form(sample.target, sample)
        context = self._context(self.known(sample))
        mean, log_variance = self.infer(torch.cat([clean.nan_to_num(0.0), context], dim=1)).chunk(2, dim=1)
        log_variance = log_variance.clamp(-10, 4)
        fresh = torch.randn(mean.shape, generator=generator).to(mean)
        decoded = self.decode(mean + (0.5 * log_variance).exp() * fresh, context)
        return elbo_loss(clean, decoded, self.log_scale, mean, log_variance, self.config.kl_weight)

    def draw(self, domain: Domain, noise: Noise, sampling: Sampling) -> Tensor:
        """Decoded latent fields drawn from the standard normal."""
        z = noise.normal(0, (self.config.latent, *domain.shape)).to(self.log_scale)
        return domain(lambda fields, known: self.decode(fields, self._context(known)), z)


def elbo_loss(
    clean: Tensor, decoded: Tensor, log_scale: Tensor, mean: Tensor, log_variance: Tensor, kl_weight: float
) -> Tensor:
    r"""Gaussian reconstruction error and Kullback-Leibler divergence, per cell and variable of the target.

    .. math:: KL = \tfrac12 \sum (\mu^2 + e^{v} - 1 - v)

    Args:
        clean: ``(B, C, H, W)``, NaN where missing.
        decoded: like `clean`.
        log_scale: ``(C,)``, logarithm of the standard deviation of the reconstruction.
        mean, log_variance: of the latent variables, ``(B, ...)``.
        kl_weight: beta.

    Reference: Kingma and Welling 2014, Appendix B.
    """
    known = clean.isfinite()
    log_s = log_scale[:, None, None].expand_as(clean)
    error = (decoded - torch.where(known, clean, decoded)) * torch.exp(-log_s)
    reconstruction = (0.5 * error.square() + log_s)[known].mean()
    divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)
    return reconstruction + kl_weight * divergence.sum() / known.sum().clamp(min=1)
