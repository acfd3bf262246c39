"""What a posterior is sampled from: the prior on a grid, and its mean."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from skyweave.diffusion.denoiser import Denoiser
from skyweave.posterior.guidance.base import CovarianceSource

__all__ = ["LEVEL", "Bound", "climatological_mean"]

LEVEL = 20.0
"""Noise level at which the prior is asked for its mean: far above its variance, inside what it was trained for."""


class Bound(CovarianceSource, Denoiser, Protocol):
    """A prior on one grid and stretch of time: a denoiser that knows its covariance, and its state's ``shape``."""

    shape: tuple[int, int, int, int]


def climatological_mean(background: Bound, draws: int = 2, seed: int = 0) -> Tensor:
    """The prior's mean state, shape ``(T, C, H, W)``: its answer to noise and to the same noise reversed, averaged."""
    noise = torch.randn(draws, *background.shape, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        return background(LEVEL * torch.cat([noise, -noise]), torch.tensor(LEVEL)).mean(0)
