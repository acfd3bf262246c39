"""The protocol of samplers, and the step numbers under which they draw noise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from torch import Tensor

from skyweave.diffusion.denoiser import Denoiser
from skyweave.diffusion.noise import NoiseStream

__all__ = ["NOISE_OFFSET", "Progress", "Sampler"]

NOISE_OFFSET = 16
"""Step number of a sampler's first noise; smaller ones belong to the initial state."""

Progress = Callable[[int], None]


class Sampler(Protocol):
    """Takes states from the first noise level to none.

    Args of a call: the denoiser; states of variance ``sigmas[0]**2`` more than the clean ones,
    ``(M, T, C, H, W)``; noise levels, decreasing; the noise stream; a callback after each step.
    """

    def __call__(
        self,
        denoiser: Denoiser,
        x: Tensor,
        sigmas: Tensor,
        noise: NoiseStream,
        progress: Progress | None = None,
    ) -> Tensor: ...

    def evaluations(self, steps: int) -> int:
        """Denoiser evaluations for a schedule of that many levels."""
        ...

    def gain(self, variance: Tensor, sigmas: Tensor) -> Tensor:
        """Standard deviation produced over the true one, for Gaussian modes of that variance, in closed form."""
        ...
