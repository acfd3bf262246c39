"""Noise levels from largest to smallest, and the choice of them for a known spectrum."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["NoiseSchedule"]


@dataclass(frozen=True)
class NoiseSchedule:
    r"""Karras noise levels.

    .. math:: \sigma_i = \left(\sigma_{max}^{1/\rho} + \tfrac{i}{N-1}
              (\sigma_{min}^{1/\rho} - \sigma_{max}^{1/\rho})\right)^\rho,\quad i = 0 \dots N-1,

    with geometric spacing as the limit ``rho = inf``. A sampler evaluates the denoiser at every level and
    ends with the estimate at the last one.

    Geometric spacing is the default: for Gaussian modes of any variance between ``sigma_min**2`` and
    ``sigma_max**2`` it has the smallest worst-case error of spread (see `Sampler.gain`), while
    rho = 7 spends its steps on the smallest scales.

    Args:
        steps: number of noise levels, at least 2.
        sigma_max: largest level, in normalised units.
        sigma_min: smallest level; below the standard deviation of the smallest mode of interest.
        rho: exponent; 7 in EDM and the multimodal paper.

    Raises:
        ValueError: if the levels are not positive and decreasing.

    Reference: Karras et al. 2022, Eq. 5.
    """

    steps: int = 32
    sigma_max: float = 20.0
    sigma_min: float = 0.01
    rho: float = math.inf

    def __post_init__(self) -> None:
        if self.steps < 2 or not 0 < self.sigma_min < self.sigma_max or self.rho <= 0:
            raise ValueError(
                f"a noise schedule needs steps >= 2, 0 < sigma_min < sigma_max and rho > 0, not {self}"
            )

    def sigmas(self) -> Tensor:
        """Noise levels in decreasing order, float64, shape ``(steps,)``."""
        u = torch.linspace(0, 1, self.steps, dtype=torch.float64)
        if math.isinf(self.rho):
            return torch.exp(math.log(self.sigma_max) + u * math.log(self.sigma_min / self.sigma_max))
        top, bottom = self.sigma_max ** (1 / self.rho), self.sigma_min ** (1 / self.rho)
        return (top + u * (bottom - top)) ** self.rho
