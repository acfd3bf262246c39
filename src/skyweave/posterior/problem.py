"""What a posterior is sampled from: the prior on a grid, what was observed, and the solver that belongs to both."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor

from skyweave.covariance.stationary import StateCovariance
from skyweave.diffusion.denoiser import Denoiser
from skyweave.posterior.kalman import KalmanSolver, Observed, Solver

__all__ = ["LEVEL", "GridPrior", "Problem", "climatological_mean"]

LEVEL = 20.0
"""Noise level at which the prior is asked for its mean: far above its variance, inside what it was trained for."""


class GridPrior(Denoiser, Protocol):
    """A prior on one grid and stretch of time: a denoiser that knows the covariance of its own errors."""

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """``(T, C, H, W)`` of its states."""
        ...

    def covariance(
        self, sigma: float, x_hat: Tensor | None = None, x_sigma: Tensor | None = None
    ) -> StateCovariance:
        """Covariance of the state given its noisy version; the prior's own for ``sigma = inf``."""
        ...


class Problem:
    """A prior and observations of one segment; everything that samples the posterior takes it.

    Args:
        prior: on the segment's grid and times.
        observed: operator, values in physical units, error covariance.
        solver: of the Kalman update with these observations; by default a `KalmanSolver`, which takes
            `skyweave.observe.segment.Observations`. Its factors serve all members and batches.
    """

    def __init__(self, prior: GridPrior, observed: Observed, solver: Solver | None = None) -> None:
        self.prior, self.observed = prior, observed
        self.solver = solver or KalmanSolver(observed)  # type: ignore[arg-type]
        self._stiffness: float | None = None

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """``(T, C, H, W)`` of its states."""
        return self.prior.shape

    @property
    def n(self) -> int:
        """Number of observations."""
        return self.observed.operator.n

    def innovation(self, x_hat: Tensor) -> Tensor:
        """``y - H(x_hat)``, shape ``(M, n)``, physical units."""
        return self.observed.y.to(x_hat) - self.observed.operator(x_hat)

    def stiffness(self, like: Tensor, iterations: int = 30) -> float:
        """Largest eigenvalue of ``J^T R^{-1} J`` at the mean state, by power iteration, a tenth added for safety.

        Args:
            like: states, whose kind of numbers and device are taken.
            iterations: of the power iteration.
        """
        if self._stiffness is None:
            op = self.observed.operator
            v = torch.randn(1, *op.shape, generator=torch.Generator().manual_seed(0)).to(like)
            x = torch.zeros_like(v)
            for _ in range(iterations):
                v = v / v.norm()
                v = op.vjp(x, self.observed.R.solve(op.jvp(x, v)))
            self._stiffness = 1.1 * float(v.norm())
        return self._stiffness


def climatological_mean(prior: GridPrior, draws: int = 2, seed: int = 0) -> Tensor:
    """The prior's mean state, shape ``(T, C, H, W)``: its answer to noise and to the same noise reversed, averaged."""
    device = prior.covariance(math.inf).variance().device
    noise = torch.randn(draws, *prior.shape, generator=torch.Generator().manual_seed(seed)).to(device)
    with torch.no_grad():
        return prior(LEVEL * torch.cat([noise, -noise]), noise.new_tensor(LEVEL)).mean(0)
