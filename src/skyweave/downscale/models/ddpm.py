"""Diffusion downscalers: the paper's DDPM, and the EDM-preconditioned form that is the default."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from skyweave.diffusion.cosine_schedule import CosineSchedule
from skyweave.diffusion.denoiser import Denoiser
from skyweave.diffusion.loss import denoising_errors, draw_sigma, edm_loss
from skyweave.diffusion.network import UNet
from skyweave.diffusion.noise import NoiseStream
from skyweave.diffusion.precondition import PreconditionedNetwork, coefficients
from skyweave.diffusion.samplers import DDIM, DPM2M, DPM2MSDE, Ancestral, Heun, Sampler
from skyweave.diffusion.schedule import NoiseSchedule
from skyweave.downscale.models.downscaler import Domain, Downscaler, Noise, Sampling, TrainingSample
from skyweave.downscale.models.encoder import TransferEncoder, misfit
from skyweave.downscale.models.target_form import Channels
from skyweave.downscale.settings import ModelSection
from skyweave.errors import SkyweaveError, did_you_mean

__all__ = ["SAMPLERS", "DiffusionDownscaler", "sample_from"]

SAMPLERS: dict[str, Callable[[], Sampler]] = {
    "dpm++2m": DPM2M,
    "dpm++2m-sde": DPM2MSDE,
    "ddim": DDIM,
    "ddpm": Ancestral,
    "heun": Heun,
}
"""Samplers by the name they have in a configuration; "ddpm" is ancestral sampling."""

_START = 0
"""Step number of the initial noise."""


class CleanImageNetwork(nn.Module):
    r"""The clean-image prediction of a DDPM as a denoiser.

    The network sees ``x_t = x_sigma / sqrt(1 + sigma^2)`` and predicts ``x_0`` itself.

    Args:
        network: takes ``(B, C + K, H, W)`` and the noise level.
        squash: brings its output into the range of the data.
    """

    def __init__(self, network: UNet, squash: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.network, self.squash = network, squash

    def forward(self, x: Tensor, sigma: Tensor, conditioning: Tensor) -> Tensor:
        c = coefficients(sigma.reshape(-1, 1, 1, 1).to(x))
        return self.squash(self.network(torch.cat([c.scale * x, conditioning], dim=1), c.noise.flatten()))


class DiffusionDownscaler(Downscaler):
    r"""A conditional denoiser, and samplers that draw the fine day with it.

    - ``formulation = "edm"``: ``D = c_skip x + c_out F``, squared error weighted to be even over noise levels
      (`skyweave.diffusion.loss`). Its minimum is the conditional mean, so members have the right spread.
    - ``formulation = "ddpm"``: squared-cosine schedule of 1000 steps, t uniform, the clean image predicted; with
      ``output = "sigmoid"``, ``target = "unit"`` and ``loss = "mae"`` it is the paper's. An absolute error learns
      the median, which is the mean only of a symmetric distribution.

    Args:
        channels, config, encoder: as in `Downscaler`.

    Reference: downscaling paper, section 2.2.2, ``f^DDPM``; Karras et al. 2022 (EDM).
    """

    name: ClassVar[str] = "ddpm"

    def __init__(self, channels: Channels, config: ModelSection, encoder: TransferEncoder | None) -> None:
        super().__init__(channels, config, encoder)
        network = UNet(channels.fine + self.known_count, channels.fine, config.network.architecture())
        self.schedule = CosineSchedule(config.timesteps)
        self.denoiser: PreconditionedNetwork | CleanImageNetwork
        if config.formulation == "edm":
            if config.output != "linear":
                raise SkyweaveError(
                    "formulation 'edm' has a linear output; a sigmoid needs formulation 'ddpm'"
                )
            self.denoiser = PreconditionedNetwork(network)
        else:
            self.denoiser = CleanImageNetwork(network, self.squash)

    def loss(self, sample: TrainingSample, generator: torch.Generator) -> Tensor:
        """Denoising error of the target at random noise levels."""
        known, clean = self.known(sample), self.target_form(sample.target, sample)
        noise = torch.randn(clean.shape, generator=generator).to(clean)
        batch = len(clean)
        if isinstance(self.denoiser, PreconditionedNetwork):
            sigma = draw_sigma(batch, self.config.p_mean, self.config.p_std, generator).to(clean)
            return edm_loss(denoising_errors(self.denoiser, clean, sigma, noise, known), clean)
        t = torch.randint(self.config.timesteps, (batch,), generator=generator)
        sigma = self.schedule.sigmas()[t].to(clean)
        noisy = clean.nan_to_num(0.0) + sigma[:, None, None, None] * noise
        return misfit(self.denoiser(noisy, sigma, known), clean, self.config.loss)

    def draw(self, domain: Domain, noise: Noise, sampling: Sampling) -> Tensor:
        """Sample from pure noise, every step's estimate evaluated on the domain."""
        schedule = self.schedule if self.config.formulation == "ddpm" else None

        def denoise(x_sigma: Tensor, sigma: Tensor) -> Tensor:
            def patches(fields: Tensor, known: Tensor) -> Tensor:
                return self.denoiser(fields, sigma.to(fields).expand(len(fields)), known)

            return domain(patches, x_sigma)

        start = noise.normal(_START, (self.channels.fine, *domain.shape)).to(self.device)
        return sample_from(denoise, start, noise, sampling, self.config, schedule)


def sample_from(
    denoiser: Denoiser,
    start: Tensor,
    noise: Noise,
    sampling: Sampling,
    config: ModelSection,
    schedule: CosineSchedule | None = None,
) -> Tensor:
    """Take white noise to samples with the sampler and the number of steps asked for.

    Args:
        denoiser: of fields ``(M, B, C, H, W)``.
        start: white noise of that shape.
        noise: of the sampler's steps.
        sampling: sampler and number of network evaluations.
        config: range of noise levels.
        schedule: of a network trained with one; its own levels, evenly spaced in t, are those of "ddim" and "ddpm".

    Raises:
        SkyweaveError: an unknown sampler, or more steps than the schedule has.
    """
    if sampling.sampler not in SAMPLERS:
        hint = did_you_mean(sampling.sampler, list(SAMPLERS))
        raise SkyweaveError(f"no sampler {sampling.sampler!r}{hint}; there are {', '.join(SAMPLERS)}")
    sampler = SAMPLERS[sampling.sampler]()
    count = sampling.steps
    while count > 2 and sampler.evaluations(count) > sampling.steps:
        count -= 1
    lowest, highest = config.sigma_min, config.sigma_max
    if schedule is not None:
        if sampling.sampler in ("ddim", "ddpm") and count > schedule.steps:
            raise SkyweaveError(f"{count} steps of a schedule of {schedule.steps}; take fewer")
        own = schedule.sigmas()
        lowest, highest = max(lowest, float(own[0])), min(highest, float(own[-1]))
    if schedule is not None and sampling.sampler in ("ddim", "ddpm"):
        sigmas = schedule.descending(count)
    else:
        sigmas = NoiseSchedule(max(count, 2), highest, lowest).sigmas()
    return sampler(denoiser, float(sigmas[0]) * start, sigmas, cast(NoiseStream, noise))
