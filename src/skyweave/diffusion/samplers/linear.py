"""Samplers that are a linear recursion in the state and the last two estimates: four numbers a step."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from skyweave.diffusion.denoiser import Denoiser
from skyweave.diffusion.noise import NoiseStream
from skyweave.diffusion.samplers.base import NOISE_OFFSET, Progress

__all__ = ["LinearSampler", "Step"]

Step = tuple[float, float, float, float]
"""``a, b, c, s`` of a step."""


class LinearSampler(ABC):
    r"""A sampler whose every step is

    .. math:: x_{i+1} = a_i x_i + b_i D_i + c_i D_{i-1} + s_i n_i, \qquad D_i = D(x_i, \sigma_i),

    and whose last evaluation is the answer. A sampler says what its four numbers are; the loop and the gain, which is
    the same recursion of second moments, are here.
    """

    @abstractmethod
    def step(self, sigmas: Tensor, i: int) -> Step:
        """``a, b, c, s`` of the step from level ``i`` to ``i + 1``; ``c`` is zero in the first."""

    def __call__(
        self,
        denoiser: Denoiser,
        x: Tensor,
        sigmas: Tensor,
        noise: NoiseStream,
        progress: Progress | None = None,
    ) -> Tensor:
        """As `skyweave.diffusion.samplers.base.Sampler`."""
        last = len(sigmas) - 1
        previous = d = x
        for i, sigma in enumerate(sigmas):
            previous, d = d, denoiser(x, sigma.to(x))
            if progress is not None:
                progress(i)
            if i == last:
                break
            a, b, c, s = self.step(sigmas, i)
            x = a * x + b * d
            if c:
                x = x + c * previous
            if s:
                x = x + s * noise.normal(NOISE_OFFSET + i, x.shape[2:]).to(x)
        return d

    def evaluations(self, steps: int) -> int:
        """One for each noise level."""
        return steps

    def gain(self, variance: Tensor, sigmas: Tensor) -> Tensor:
        r"""As `Sampler.gain`: second moments of the pair ``(x_i, D_{i-1})``, taken from step to step.

        For a mode of variance ``l`` the denoiser is ``l / (l + sigma^2)``, so that each step maps the pair linearly.
        """
        zero = torch.zeros_like(variance)
        moments = torch.stack([variance + sigmas[0] ** 2, zero, zero, zero]).reshape(2, 2, *variance.shape)
        for i, sigma in enumerate(sigmas[:-1]):
            shrink = variance / (variance + sigma**2)
            a, b, c, s = self.step(sigmas, i)
            map_ = torch.stack([a + b * shrink, zero + c, shrink, zero]).reshape(moments.shape)
            moments = torch.einsum("ij...,jk...,lk...->il...", map_, moments, map_)
            moments[0, 0] += s**2
        return variance / (variance + sigmas[-1] ** 2) * torch.sqrt(moments[0, 0] / variance)
