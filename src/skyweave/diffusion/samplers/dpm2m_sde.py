"""The stochastic form of DPM-Solver++(2M): fresh noise at every step forgets earlier errors."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from skyweave.diffusion.denoiser import Denoiser
from skyweave.diffusion.noise import NoiseStream
from skyweave.diffusion.samplers.base import NOISE_OFFSET, Progress
from skyweave.diffusion.samplers.dpm2m import _coefficients

__all__ = ["DPM2MSDE"]


@dataclass(frozen=True)
class DPM2MSDE:
    r"""SDE-DPM-Solver++(2M) in the EDM convention.

    With ``h_i = log(sigma_i / sigma_{i+1})`` and ``\tilde D`` as in DPM-Solver++(2M),

    .. math:: x_{i+1} = e^{-2h_i} x_i + (1 - e^{-2h_i}) \tilde D + \sigma_{i+1} \sqrt{1 - e^{-2h_i}}\, n_i .

    Reference: Lu et al. 2022, "DPM-Solver++", Appendix (SDE-DPM-Solver++(2M)).
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
        previous: Tensor | None = None
        for i, sigma in enumerate(sigmas):
            d = denoiser(x, sigma.to(x))
            if progress is not None:
                progress(i)
            if i == len(sigmas) - 1:
                return d
            decay, extrapolation = _coefficients(sigmas, i)
            estimate = d if previous is None else d + extrapolation * (d - previous)
            fresh = float(sigmas[i + 1]) * (1 - decay**2) ** 0.5
            x = (
                decay**2 * x
                + (1 - decay**2) * estimate
                + fresh * noise.normal(NOISE_OFFSET + i, x.shape[2:]).to(x)
            )
            previous = d
        return x

    def evaluations(self, steps: int) -> int:
        return steps

    def gain(self, variance: Tensor, sigmas: Tensor) -> Tensor:
        # Second moments of the pair (x, previous d), which the linear recursion maps to the next pair.
        moments = torch.zeros(2, 2, *variance.shape, dtype=variance.dtype)
        moments[0, 0] = variance + sigmas[0] ** 2
        zero = torch.zeros_like(variance)
        for i, sigma in enumerate(sigmas):
            shrink = variance / (variance + sigma**2)
            if i == len(sigmas) - 1:
                return shrink * torch.sqrt(moments[0, 0] / variance)
            decay, extrapolation = _coefficients(sigmas, i)
            keep, pull = decay**2, 1 - decay**2
            step = torch.stack(
                [
                    torch.stack([keep + pull * shrink * (1 + extrapolation), zero - pull * extrapolation]),
                    torch.stack([shrink, zero]),
                ]
            )
            moments = torch.einsum("ij...,jk...,lk...->il...", step, moments, step)
            moments[0, 0] += sigmas[i + 1] ** 2 * pull
        return torch.sqrt(moments[0, 0] / variance)
