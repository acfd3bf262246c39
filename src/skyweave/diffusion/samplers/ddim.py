"""The DDIM sampler: big steps along the same path that the DDPM takes in small ones."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from skyweave.diffusion.denoiser import Denoiser
from skyweave.diffusion.noise import NoiseStream
from skyweave.diffusion.samplers.base import NOISE_OFFSET, Progress

__all__ = ["DDIM"]


@dataclass(frozen=True)
class DDIM:
    r"""Moves along the estimated noise; ``eta`` of the posterior's own noise is drawn afresh.

    .. math:: x_{i+1} = D_i + \sqrt{\sigma_{i+1}^2 - s_i^2}\; \frac{x_i - D_i}{\sigma_i} + s_i n_i, \qquad
              s_i = \eta\, \sigma_{i+1} \sqrt{1 - \sigma_{i+1}^2 / \sigma_i^2}

    With ``eta = 1`` a step has the mean and the variance of the ancestral one.

    Args:
        eta: 0 is deterministic, 1 as stochastic as the DDPM.

    Reference: Song et al. 2021, https://arxiv.org/abs/2010.02502, Eq. 12 and 16, in the EDM convention.
    """

    eta: float = 0.0

    @property
    def stochastic(self) -> bool:
        return self.eta > 0

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
            keep, fresh = self._step(sigmas, i)
            x = d + keep * (x - d)
            if fresh > 0:
                x = x + fresh * noise.normal(NOISE_OFFSET + i, x.shape[2:]).to(x)
        return x

    def evaluations(self, steps: int) -> int:
        return steps

    def gain(self, variance: Tensor, sigmas: Tensor) -> Tensor:
        moment = variance + sigmas[0] ** 2
        for i, sigma in enumerate(sigmas):
            shrink = variance / (variance + sigma**2)
            if i == len(sigmas) - 1:
                return shrink * torch.sqrt(moment / variance)
            keep, fresh = self._step(sigmas, i)
            moment = (shrink + keep * (1 - shrink)) ** 2 * moment + fresh**2
        return torch.sqrt(moment / variance)

    def _step(self, sigmas: Tensor, i: int) -> tuple[float, float]:
        """What is kept of the noise that is there, and the size of the fresh one."""
        here, there = float(sigmas[i]), float(sigmas[i + 1])
        fresh = self.eta * there * (1 - (there / here) ** 2) ** 0.5
        return (there**2 - fresh**2) ** 0.5 / here, fresh
