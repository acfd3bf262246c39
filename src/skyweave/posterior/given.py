"""What is given besides the noisy state: observations, and the prior's covariance that weighs them."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from skyweave.diffusion.noise import NoiseStream
from skyweave.posterior.guidance.base import CovarianceSource
from skyweave.posterior.kalman import KalmanSolver, Observed

__all__ = ["Given", "error_noise"]


@dataclass(eq=False)
class Given:
    """Observations of a segment and what a decoupled sampler needs to draw given them.

    Args:
        prior: what knows ``V_sigma``.
        observed: operator, values, errors.
        solver: keeps factors between calls.
        key: names the observations among those that share the solver.
    """

    prior: CovarianceSource
    observed: Observed
    solver: KalmanSolver = field(default_factory=KalmanSolver)
    key: object = 0
    _stiffness: float | None = field(default=None, repr=False)

    def stiffness(self, iterations: int = 30) -> float:
        """Largest eigenvalue of ``J^T R^{-1} J`` at the mean state, by power iteration, a tenth added for safety."""
        if self._stiffness is None:
            op = self.observed.operator
            x = torch.zeros(1, *op.shape)
            v = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
            for _ in range(iterations):
                v = v / v.norm()
                v = op.vjp(x, self.observed.R.solve(op.jvp(x, v)))
            self._stiffness = 1.1 * float(v.norm())
        return self._stiffness


def error_noise(noise: NoiseStream, stream: int, observed: Observed) -> Tensor:
    """White noise for the errors of observations, ``(M, n)``: that of their own time where they state one."""
    rows = getattr(observed, "noise_rows", observed.operator.n)
    return noise.normal_vector(stream, rows, getattr(observed, "frame", None))
