"""The ancestral sampler: a draw from the Gaussian bridge at every step, as in DDPM."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from skyweave.diffusion.samplers.linear import LinearSampler, Step

__all__ = ["Ancestral"]


@dataclass(frozen=True)
class Ancestral(LinearSampler):
    r"""Draws ``x_{i+1}`` given ``x_i`` and the denoised state.

    .. math:: x_{i+1} = \frac{\sigma_{i+1}^2}{\sigma_i^2} x_i
              + \left(1 - \frac{\sigma_{i+1}^2}{\sigma_i^2}\right) D_i
              + \sigma_{i+1} \sqrt{1 - \frac{\sigma_{i+1}^2}{\sigma_i^2}}\, n_i

    Reference: Ho et al. 2020, https://arxiv.org/abs/2006.11239, Eq. 6-7, in the EDM convention.
    """

    def step(self, sigmas: Tensor, i: int) -> Step:
        keep = float(sigmas[i + 1] / sigmas[i]) ** 2
        return keep, 1 - keep, 0.0, float(sigmas[i + 1]) * (1 - keep) ** 0.5
