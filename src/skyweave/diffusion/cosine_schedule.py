"""The squared-cosine noise schedule of the DDPM, and its levels in the convention of this package."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["CosineSchedule"]


@dataclass(frozen=True)
class CosineSchedule:
    r"""The squared-cosine schedule of T steps.

    .. math:: \bar\alpha_t = \frac{f(t)}{f(0)}, \quad f(t) = \cos^2\left(\frac{t/T + s}{1 + s}\frac\pi2\right), \quad
              \beta_t = \min\left(1 - \frac{\bar\alpha_t}{\bar\alpha_{t-1}}, 0.999\right)

    The clipped betas define the process, so ``alpha_bar`` is their product. A DDPM state
    ``x_t = sqrt(alpha_bar) x_0 + sqrt(1 - alpha_bar) n`` is ``sqrt(alpha_bar)`` times ``x_0 + sigma n`` with

    .. math:: \sigma_t = \sqrt{(1 - \bar\alpha_t) / \bar\alpha_t},

    so one network serves the samplers of either convention.

    Args:
        steps: T.
        s: offset that keeps the first steps from being too small.

    Reference: Nichol and Dhariwal 2021, https://arxiv.org/abs/2102.09672, Eq. 17.
    """

    steps: int = 1000
    s: float = 0.008

    def betas(self) -> Tensor:
        """``beta_1 .. beta_T``, float64, shape ``(T,)``."""
        t = torch.arange(self.steps + 1, dtype=torch.float64) / self.steps
        f = torch.cos((t + self.s) / (1 + self.s) * (math.pi / 2)) ** 2
        return (1 - f[1:] / f[:-1]).clamp(max=0.999)

    def alpha_bars(self) -> Tensor:
        """``alpha_bar_1 .. alpha_bar_T``, float64, shape ``(T,)``."""
        return (1 - self.betas()).cumprod(0)

    def sigmas(self) -> Tensor:
        """``sigma_1 .. sigma_T``, increasing, float64, shape ``(T,)``."""
        alpha_bars = self.alpha_bars()
        return ((1 - alpha_bars) / alpha_bars).sqrt()

    def descending(self, count: int) -> Tensor:
        """``count`` of the levels from ``sigma_T`` down to ``sigma_1``, evenly spaced in t.

        Raises:
            ValueError: more than T levels, or fewer than two.
        """
        if not 2 <= count <= self.steps:
            raise ValueError(f"{count} steps of a schedule that has {self.steps}; choose 2 to {self.steps}")
        index = torch.linspace(self.steps - 1, 0, count, dtype=torch.float64).round().long()
        return self.sigmas()[index]
