"""Decoupled annealing posterior sampling: estimate, draw given the observations, add fresh noise, again and again."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from skyweave.covariance.plain import ScaledIdentity
from skyweave.covariance.stationary import StateCovariance
from skyweave.diffusion.denoiser import Denoiser
from skyweave.diffusion.noise import NoiseStream
from skyweave.diffusion.samplers import NOISE_OFFSET, Progress
from skyweave.posterior.problem import Problem

__all__ = ["DAPS"]

PER_LEVEL = 4096
"""Numbers of noise streams that one level may use."""


@dataclass(frozen=True)
class DAPS:
    r"""DAPS as in AODDiff, and with the choices that make it calibrated.

    At each noise level: (1) an estimate ``x_hat`` of the clean state, (2) a draw of

    .. math:: p(x_0 \mid x_\sigma, y) \propto \exp\Big(-\tfrac{1}{2 r^2}\|x_0 - \hat x\|^2
              - \sum_m \lambda_m \|A_m(x_0) - y_m\|^2\Big)

    and (3) fresh noise, ``x = x_0 + \sigma_{next}\, n``. The weights ``lambda_m = 1 / (2 sigma_m^2)`` are those of the
    sources' error covariances ``R``, so that the second term is ``(A x_0 - y)^T R^{-1} (A x_0 - y) / 2``.

    The paper takes the estimate from a few Euler steps of the probability flow, ``r`` constant or of the size of the
    noise, and the draw from Langevin steps ``x_0 <- x_0 - eta grad J + sqrt(2 eta) n`` that begin at the estimate.
    Exact instead: the estimate is the denoiser's own (Tweedie), the covariance of the draw is the prior's error
    covariance ``V_sigma`` in place of ``r^2 I``, and the draw is that of the Gaussian (Matheron's rule).

    Args:
        estimate: "ode" or "tweedie".
        ode_steps: Euler steps of the estimate.
        draw: "langevin" or "exact".
        width: "sigma" (``r = sigma``), "covariance" (``V_sigma`` of the prior; exact draws only), or ``r`` itself.
        langevin_steps: ``J``.
        eta: step size; by default half of the largest that is stable.

    Reference: Zhang et al. 2025, "Improving diffusion inverse problem solving with decoupled noise annealing",
    Algorithm 1; AODDiff, Section 3.3.
    """

    estimate: Literal["ode", "tweedie"] = "ode"
    ode_steps: int = 5
    draw: Literal["langevin", "exact"] = "langevin"
    width: Literal["sigma", "covariance"] | float = "sigma"
    langevin_steps: int = 100
    eta: float | None = None

    def __post_init__(self) -> None:
        if self.width == "covariance" and self.draw != "exact":
            raise ValueError("width 'covariance' needs exact draws")
        if not 0 < self.langevin_steps < PER_LEVEL - 8 or self.ode_steps < 1:
            raise ValueError(
                "steps of the draw and of the estimate must be positive, and those of a draw fewer"
            )

    def __call__(
        self,
        problem: Problem,
        x: Tensor,
        sigmas: Tensor,
        noise: NoiseStream,
        progress: Progress | None = None,
    ) -> Tensor:
        """As a `skyweave.diffusion.samplers.Sampler`, but of the problem and not of a guided denoiser."""
        for i, sigma in enumerate(sigmas):
            level, stream = float(sigma), NOISE_OFFSET + i * PER_LEVEL
            x_hat = self._estimate(problem.prior, x, level)
            if self.draw == "exact":
                x = self._exact(x_hat, level, problem, noise, stream)
            else:
                x = self._langevin(x_hat, level, problem, noise, stream)
            if progress is not None:
                progress(i)
            if i < len(sigmas) - 1:
                x = x + float(sigmas[i + 1]) * noise.normal(stream, x.shape[2:]).to(x)
        return x

    def evaluations(self, steps: int) -> int:
        """Those of the estimates, one for each noise level."""
        return steps * self._inner()

    def gain(self, variance: Tensor, sigmas: Tensor) -> Tensor:
        """As `Sampler.gain`."""
        spread = variance + sigmas[0] ** 2
        for i, sigma in enumerate(sigmas):
            level = float(sigma)
            factor = torch.ones_like(variance)
            for here, there in self._flow(level):
                shrink = variance / (variance + here**2)
                factor = factor * (1 + (there - here) / here * (1 - shrink))
            spread = factor**2 * spread + self._own_variance(variance, level)
            if i < len(sigmas) - 1:
                spread = spread + sigmas[i + 1] ** 2
        return torch.sqrt(spread / variance)

    def _own_variance(self, variance: Tensor, level: float) -> Tensor:
        if self.width == "covariance":
            return variance * level**2 / (variance + level**2)
        r2 = self._radius(level) ** 2
        if self.draw == "exact":
            return torch.full_like(variance, r2)
        eta = self._eta(level, 0.0)
        decay = 1 - eta / r2
        return torch.full_like(variance, 2 * eta * (1 - decay ** (2 * self.langevin_steps)) / (1 - decay**2))

    def _inner(self) -> int:
        return self.ode_steps if self.estimate == "ode" else 1

    def _flow(self, level: float) -> list[tuple[float, float]]:
        """Noise levels of the Euler steps, the last to zero."""
        n, rho = self._inner(), 7.0
        ends = [(level ** (1 / rho) * (1 - k / n)) ** rho for k in range(n)]
        return list(zip(ends, [*ends[1:], 0.0], strict=True))

    def _estimate(self, denoiser: Denoiser, x: Tensor, level: float) -> Tensor:
        for here, there in self._flow(level):
            d = denoiser(x, x.new_tensor(here))
            x = d if there == 0 else x + (there - here) / here * (x - d)
        return x

    def _radius(self, level: float) -> float:
        return level if isinstance(self.width, str) else float(self.width)

    def _exact(
        self, x_hat: Tensor, level: float, problem: Problem, noise: NoiseStream, stream: int
    ) -> Tensor:
        V: StateCovariance
        if self.width == "covariance":
            V = problem.prior.covariance(level, x_hat)
        else:
            V = ScaledIdentity(self._radius(level) ** 2, problem.shape)
        white = noise.around(V.noise_shape[0]).normal(stream + 1, V.noise_shape[1:])
        background = x_hat + V.color(white).to(x_hat)
        if not problem.n:
            return background
        observed = problem.observed
        errors = observed.R.sample(observed.noise(noise, stream + 2))
        y = observed.y.to(errors) + errors
        return problem.solver.update(background, V, (self.width, level), y=y)

    def _langevin(
        self, x_hat: Tensor, level: float, problem: Problem, noise: NoiseStream, stream: int
    ) -> Tensor:
        r2, x, observed = self._radius(level) ** 2, x_hat, problem.observed
        eta = self._eta(level, problem.stiffness(x) if problem.n else 0.0)
        for j in range(self.langevin_steps):
            gradient = (x - x_hat) / r2
            if problem.n:
                misfit = observed.R.solve(-problem.innovation(x))
                gradient = gradient + observed.operator.vjp(x, misfit)
            x = x - eta * gradient + math.sqrt(2 * eta) * noise.normal(stream + 8 + j, x.shape[2:]).to(x)
        return x

    def _eta(self, level: float, stiffness: float) -> float:
        """Step size: half of what stability allows, ``1 / (1 / r^2 + |J^T R^{-1} J|)``."""
        return self.eta if self.eta is not None else 1 / (1 / self._radius(level) ** 2 + stiffness)
