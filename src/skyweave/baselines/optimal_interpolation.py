"""Optimal interpolation: the Gaussian analysis with the climatological mean and covariance (simple kriging)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skyweave.baselines.climatology import Climatology, physical_members, required
from skyweave.baselines.located import Observed
from skyweave.covariance.stationary import StationaryCovariance
from skyweave.diffusion.noise import NoiseStream
from skyweave.grid import Grid
from skyweave.observe.segment import Observations
from skyweave.posterior.kalman import KalmanSolver
from skyweave.state import StateSpec
from skyweave.transform import StateTransform

__all__ = ["analyse", "optimal_interpolation"]

DIRECT = 3000
"""Observations up to which the innovation covariance is factorised."""
FACTOR = "analysis"
"""Under which the analysis and the members share a factor; the solver lives for one call."""
TOLERANCE = 1e-3
"""Error of an iterative solve, and last step of Gauss and Newton, in standard deviations of the state."""


def optimal_interpolation(
    observed: Observed,
    spec: StateSpec,
    grid: Grid,
    *,
    transform: StateTransform | None = None,
    climatology: Climatology | None = None,
    members: int = 1,
    seed: int = 0,
) -> NDArray[np.float32]:
    r"""The analysis of a Gaussian climatology, or draws around it where more than one member is wanted.

    .. math:: x_a = \bar x + V J^T (J V J^T + R)^{-1} (y - H(x) + J (x - \bar x)), \qquad
              x_m = x_a + b_m - V J^T (J V J^T + R)^{-1} (J b_m + e_m)

    with ``b_m ~ N(0, V)`` and ``e_m ~ N(0, R)``. For linear operators members are exact draws of the
    posterior; a nonlinear one is linearised around the analysis, the minimum that Gauss-Newton steps find.

    Arguments as in `skyweave.baselines`.

    Raises:
        SkyweaveError: no climatology, or one of another grid.

    Reference: Gandin (1963); the draw is Matheron's rule (Journel and Huijbregts 1978, section VII.A).
    """
    known = required(climatology, "optimal interpolation", observed)
    T = observed.operator.shape[0]
    V = known.covariance(T, periodic=grid.periodic)
    mean = known.mean.expand(1, T, *known.mean.shape)
    seen = Observations(observed.operator, observed.y, observed.R)
    solver = KalmanSolver(seen, tolerance=TOLERANCE, iterations=2000, limit=DIRECT)
    with torch.no_grad():
        x = analyse(solver, mean, V, key=FACTOR)
        if members > 1:
            noise = NoiseStream(seed, range(members), range(T))
            b = V.color(noise.around(V.noise_shape[0]).normal(0, V.noise_shape[1:]))
            op, e = seen.operator, seen.R.sample(seen.noise(noise, 1))
            u = solver.weights(x, V, op.jvp(x, b) + e, FACTOR)
            x = x + b - (V @ op.vjp(x, u))
    return physical_members(x, transform, spec)


def analyse(
    solver: KalmanSolver,
    mean: Tensor,
    V: StationaryCovariance,
    iterations: int = 20,
    key: object = None,
) -> Tensor:
    r"""The most probable state, by Gauss-Newton steps that are halved until the cost falls.

    .. math:: \mathcal J(x) = (x - \bar x)^T V^{-1} (x - \bar x) + (y - H(x))^T R^{-1} (y - H(x))

    ``V`` need not be inverted: every iterate is ``mean + V w``, and the first term is ``w^T V w``.

    Args:
        solver: of the innovation covariance, with operator, values and errors.
        mean: normalised, ``(1, T, C, H, W)``.
        V: covariance of normalised states.
        iterations: most steps; a linear operator takes one.
        key: under which the solver keeps the factor of a linear operator, see `KalmanSolver.update`.

    Returns:
        The normalised state, ``(1, T, C, H, W)``.
    """
    observed = solver.observed
    op = observed.operator

    def cost(x: Tensor, w: Tensor) -> float:
        misfit = observed.y - op(x)
        return float(((x - mean) * w).double().sum() + (misfit * observed.R.solve(misfit)).double().sum())

    x, w = mean, torch.zeros_like(mean)
    now = cost(x, w)
    for _ in range(1 if op.linear else iterations):
        innovation = observed.y - op(x) + op.jvp(x, x - mean)
        target = op.vjp(x, solver.weights(x, V, innovation, key))
        if op.linear:
            return mean + (V @ target)
        step = 1.0
        while step > 1e-3:
            w_next = w + step * (target - w)
            x_next = mean + (V @ w_next)
            then = cost(x_next, w_next)
            if then <= now:
                break
            step /= 2
        else:
            # No step lowers the cost: this is the minimum, to the precision of the numbers.
            break
        moved = float((x_next - x).abs().max())
        x, w, now = x_next, w_next, then
        if moved < TOLERANCE:
            break
    return x
