"""Heun's method with churn: Algorithm 1 of the multimodal paper."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from skyweave.diffusion.denoiser import Denoiser, Guided
from skyweave.diffusion.noise import NoiseStream
from skyweave.diffusion.samplers.base import NOISE_OFFSET, Progress

__all__ = ["Heun"]


@dataclass(frozen=True)
class Heun:
    r"""Second-order stochastic sampler of EDM, two evaluations a step and one in the last.

    .. math:: \hat t_i = (1 + \gamma_i) t_i, \quad
              \hat x_i = x_i + \sqrt{\hat t_i^2 - t_i^2}\, n_i, \quad
              x_{i+1} = \hat x_i + \tfrac12 (d_i + d'_i)(t_{i+1} - \hat t_i),

    with ``d = (x - D(x, t)) / t``. A guided denoiser makes ``d`` the posterior drift of the paper, since
    ``d_prior - t s_l = (x - D - t^2 s_l) / t``.

    Args:
        churn: ``S_churn``.
        t_min, t_max: noise levels between which noise is added.
        noise_scale: ``S_noise`` of EDM; one in the multimodal paper.
        guided_corrector: evaluate the likelihood in the corrector too (line 15, "optional"); where it is false the
            corrector takes the prior's drift and the predictor's likelihood term, which saves its backward pass.

    Reference: multimodal paper, Algorithm 1; Karras et al. 2022, Algorithm 2.
    """

    churn: float = 0.0
    t_min: float = 0.0
    t_max: float = math.inf
    noise_scale: float = 1.0
    guided_corrector: bool = True

    def __call__(
        self,
        denoiser: Denoiser,
        x: Tensor,
        sigmas: Tensor,
        noise: NoiseStream,
        progress: Progress | None = None,
    ) -> Tensor:
        """As `skyweave.diffusion.samplers.base.Sampler`."""
        guided = denoiser if isinstance(denoiser, Guided) and not self.guided_corrector else None
        for i, (t, t_hat, t_next) in enumerate(self._levels(sigmas)):
            if t_hat > t:
                fresh = noise.normal(NOISE_OFFSET + i, x.shape[2:]).to(x)
                x = x + self.noise_scale * math.sqrt(t_hat**2 - t**2) * fresh
            change: Tensor | float = 0.0
            if guided is None:
                estimate = denoiser(x, x.new_tensor(t_hat))
            else:
                estimate, change = guided.parts(x, x.new_tensor(t_hat))
            d = (x - estimate - change) / t_hat
            x_next = x + (t_next - t_hat) * d
            if t_next > 0:
                corrector = denoiser if guided is None else guided.denoiser
                d_next = (x_next - corrector(x_next, x.new_tensor(t_next))) / t_next - change / t_hat
                x_next = x + (t_next - t_hat) * 0.5 * (d + d_next)
            x = x_next
            if progress is not None:
                progress(i)
        return x

    def evaluations(self, steps: int) -> int:
        """Two for each noise level, one for the last."""
        return 2 * steps - 1

    def gain(self, variance: Tensor, sigmas: Tensor) -> Tensor:
        """As `skyweave.diffusion.samplers.base.Sampler`."""
        moment = variance + sigmas[0] ** 2
        for t, t_hat, t_next in self._levels(sigmas):
            moment = moment + self.noise_scale**2 * (t_hat**2 - t**2)
            slope = t_hat / (variance + t_hat**2)
            factor = 1 + (t_next - t_hat) * slope
            if t_next > 0:
                factor = 1 + (t_next - t_hat) * 0.5 * (slope + t_next / (variance + t_next**2) * factor)
            moment = moment * factor**2
        return torch.sqrt(moment / variance)

    def _levels(self, sigmas: Tensor) -> list[tuple[float, float, float]]:
        """Of each step: its noise level, that level with churn, and the next one; the last ends at zero."""
        levels = [float(s) for s in sigmas]
        most = min(self.churn / len(levels), math.sqrt(2) - 1)
        churned = [t * (1 + (most if self.t_min <= t <= self.t_max else 0.0)) for t in levels]
        return list(zip(levels, churned, [*levels[1:], 0.0], strict=True))
