"""Diffusion in a learnt latent space: fewer cells to denoise, decoded once."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from skyweave.diffusion.loss import denoising_errors, draw_sigma, edm_loss
from skyweave.diffusion.network import UNet
from skyweave.diffusion.precondition import PreconditionedNetwork
from skyweave.downscale.models.ddpm import sample_from
from skyweave.downscale.models.downscaler import Domain, Downscaler, Noise, Sampling, TrainingSample
from skyweave.downscale.models.encoder import TransferEncoder, misfit
from skyweave.downscale.models.target_form import Channels
from skyweave.downscale.settings import ModelSection

__all__ = ["LatentDownscaler"]

FACTOR = 2
"""Cells along a latent cell."""
JITTER = 0.1
"""Standard deviation of the noise on latent variables while the decoder learns; theirs is one."""
MEMORY = 0.02
"""Share of a batch in the running moments of the latent variables."""


class LatentDownscaler(Downscaler):
    r"""An autoencoder, and a diffusion model of its latent variables, trained together.

    .. math:: z = \frac{E(w, k) - m}{s}, \qquad
              L = \|D(z + \epsilon n, k) - w\|^2 + L_{EDM}(\mathrm{sg}(z), k)

    with the running mean and deviation ``m, s`` of each latent channel, so that noise levels mean the same throughout,
    and without a gradient from the diffusion to the encoder (``sg``). Both are given what is known (``k``). A latent
    cell is two cells wide, so a step of the sampler costs a quarter; days, patches and strides must be even.

    Args:
        channels, config, encoder: as in `Downscaler`; ``config.latent`` is the number of latent channels.

    Reference: Rombach et al. 2021, https://arxiv.org/abs/2112.10752, which the downscaling paper proposes in
    section 5.2.
    """

    name: ClassVar[str] = "latent"
    factor: ClassVar[int] = FACTOR
    mean: Tensor
    variance: Tensor

    def __init__(self, channels: Channels, config: ModelSection, encoder: TransferEncoder | None) -> None:
        super().__init__(channels, config, encoder)
        width, count = config.network.base, config.latent
        self.encode = nn.Sequential(
            nn.Conv2d(channels.fine + self.known_count, 2 * width, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(2 * width, 2 * width, FACTOR, stride=FACTOR),
            nn.SiLU(),
            nn.Conv2d(2 * width, count, 3, padding=1),
        )
        self.expand = nn.Sequential(
            nn.Conv2d(count, 2 * width, 3, padding=1),
            nn.SiLU(),
            nn.Upsample(scale_factor=FACTOR, mode="nearest"),
        )
        self.finish = nn.Sequential(
            nn.Conv2d(2 * width + self.known_count, 2 * width, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(2 * width, channels.fine, 3, padding=1),
        )
        self.reduce = nn.Conv2d(self.known_count, 2 * width, FACTOR, stride=FACTOR)
        network = UNet(count + 2 * width, count, config.network.architecture())
        self.denoiser = PreconditionedNetwork(network)
        self.register_buffer("mean", torch.zeros(count))
        self.register_buffer("variance", torch.ones(count))

    def _decode(self, z: Tensor, known: Tensor) -> Tensor:
        return self.squash(self.finish(torch.cat([self.expand(z), known], dim=1)))

    def _latent(self, clean: Tensor, known: Tensor) -> Tensor:
        """Latent variables of a target, of zero mean and unit variance."""
        raw = self.encode(torch.cat([clean.nan_to_num(0.0), known], dim=1))
        if self.training:
            with torch.no_grad():
                self.mean.lerp_(raw.mean((0, 2, 3)), MEMORY)
                self.variance.lerp_((raw - self.mean[:, None, None]).square().mean((0, 2, 3)), MEMORY)
        return (raw - self.mean[:, None, None]) / self.variance.clamp(min=1e-8).sqrt()[:, None, None]

    def loss(self, sample: TrainingSample, generator: torch.Generator) -> Tensor:
        """Error of the decoded target, and denoising error of its latent variables."""
        known, clean = self.known(sample), self.target_form(sample.target, sample)
        z = self._latent(clean, known)
        jitter, noise = (torch.randn(z.shape, generator=generator).to(z) for _ in range(2))
        rebuilt = misfit(self._decode(z + JITTER * jitter, known), clean, self.config.loss)
        sigma = draw_sigma(len(z), self.config.p_mean, self.config.p_std, generator).to(z)
        clean = z.detach()
        errors = denoising_errors(self.denoiser, clean, sigma, noise, self.reduce(known))
        return rebuilt + edm_loss(errors, clean)

    def draw(self, domain: Domain, noise: Noise, sampling: Sampling) -> Tensor:
        """Sample latent variables from pure noise on the domain, then decode them there."""

        def denoise(x_sigma: Tensor, sigma: Tensor) -> Tensor:
            def patches(fields: Tensor, known: Tensor) -> Tensor:
                return self.denoiser(fields, sigma.to(fields).expand(len(fields)), self.reduce(known))

            return domain(patches, x_sigma, given=FACTOR, made=FACTOR)

        shape = (self.config.latent, domain.shape[0] // FACTOR, domain.shape[1] // FACTOR)
        start = noise.normal(0, shape).to(self.device)
        z = sample_from(denoise, start, noise, sampling, self.config)
        return domain(self._decode, z, given=FACTOR)
