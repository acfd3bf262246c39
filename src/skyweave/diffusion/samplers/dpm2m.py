"""DPM-Solver++(2M): a second-order multistep exponential solver, one evaluation a step."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from skyweave.diffusion.denoiser import Denoiser
from skyweave.diffusion.noise import NoiseStream
from skyweave.diffusion.samplers.base import Progress

__all__ = ["DPM2M"]


@dataclass(frozen=True)
class DPM2M:
    r"""DPM-Solver++(2M) in the EDM convention.

    With ``h_i = log(sigma_i / sigma_{i+1})`` and ``r = h_{i-1} / h_i``,

    .. math:: \tilde D = D_i + \tfrac{1}{2r}(D_i - D_{i-1}), \qquad
              x_{i+1} = e^{-h_i} x_i + (1 - e^{-h_i}) \tilde D,

    first order at the first step; the last evaluation is the answer.

    Reference: Lu et al. 2022, "DPM-Solver++", Algorithm 2.
    """

    stochastic: bool = False

    def __call__(
        self,
        denoiser: Denoiser,
        x: Tensor,
        sigmas: Tensor,
        noise: NoiseStream | None = None,
        progress: Progress | None = None,
    ) -> Tensor:
        previous: Tensor | None = None
        for i, sigma in enumerate(sigmas):
            d = denoiser(x, sigma.to(x))
            if progress is not None:
                progress(i)
            if i == len(sigmas) - 1:
                return d
            decay, extrapolation = _coefficients(sigmas, i)
            estimate = d if previous is None else d + extrapolation * (d - previous)
            x, previous = decay * x + (1 - decay) * estimate, d
        return x

    def evaluations(self, steps: int) -> int:
        return steps

    def gain(self, variance: Tensor, sigmas: Tensor) -> Tensor:
        x = torch.sqrt(variance + sigmas[0] ** 2)
        previous: Tensor | None = None
        for i, sigma in enumerate(sigmas):
            d = variance / (variance + sigma**2) * x
            if i == len(sigmas) - 1:
                return d / variance.sqrt()
            decay, extrapolation = _coefficients(sigmas, i)
            estimate = d if previous is None else d + extrapolation * (d - previous)
            x, previous = decay * x + (1 - decay) * estimate, d
        return x


def _coefficients(sigmas: Tensor, i: int) -> tuple[float, float]:
    """``e^{-h_i}`` and ``1 / (2 r)``; the latter is zero at the first step."""
    decay = float(sigmas[i + 1] / sigmas[i])
    if i == 0:
        return decay, 0.0
    h, h_last = torch.log(sigmas[i] / sigmas[i + 1]), torch.log(sigmas[i - 1] / sigmas[i])
    return decay, float(h / (2 * h_last))
