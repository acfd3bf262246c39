"""The ancestral sampler: a draw from the Gaussian bridge at every step, as in DDPM."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from skyweave.diffusion.denoiser import Denoiser
from skyweave.diffusion.noise import NoiseStream
from skyweave.diffusion.samplers.base import NOISE_OFFSET, Progress

__all__ = ["Ancestral"]


@dataclass(frozen=True)
class Ancestral:
    r"""Draws ``x_{i+1}`` given ``x_i`` and the denoised state.

    .. math:: x_{i+1} = \frac{\sigma_{i+1}^2}{\sigma_i^2} x_i
              + \left(1 - \frac{\sigma_{i+1}^2}{\sigma_i^2}\right) D_i
              + \sigma_{i+1} \sqrt{1 - \frac{\sigma_{i+1}^2}{\sigma_i^2}}\, n_i

    Reference: Ho et al. 2020, Eq. 6-7, in the EDM convention.
    """

    stochastic: bool = True

    def __call__(
        self,
        denoiser: Denoiser,
        x: Tensor,
        sigmas: Tensor,
        noise: NoiseStream,
        progress: Progress | None = None,
    ) -> Tensor:
        for i, sigma in enumerate(sigmas):
            d = denoiser(x, sigma.to(x))
            if progress is not None:
                progress(i)
            if i == len(sigmas) - 1:
                return d
            keep = float(sigmas[i + 1] / sigma) ** 2
            fresh = float(sigmas[i + 1]) * (1 - keep) ** 0.5
            x = keep * x + (1 - keep) * d + fresh * noise.normal(NOISE_OFFSET + i, x.shape[2:]).to(x)
        return x

    def evaluations(self, steps: int) -> int:
        return steps

    def gain(self, variance: Tensor, sigmas: Tensor) -> Tensor:
        moment = variance + sigmas[0] ** 2
        for i, sigma in enumerate(sigmas):
            shrink = variance / (variance + sigma**2)
            if i == len(sigmas) - 1:
                return shrink * torch.sqrt(moment / variance)
            keep = (sigmas[i + 1] / sigma) ** 2
            moment = (keep + (1 - keep) * shrink) ** 2 * moment + sigmas[i + 1] ** 2 * (1 - keep)
        return torch.sqrt(moment / variance)
