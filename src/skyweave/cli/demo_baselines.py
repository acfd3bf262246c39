"""What the demo compares with: interpolation of the same observations, and optimal interpolation."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import xarray as xr
from scipy.spatial import cKDTree

from skyweave.cli.demo_cases import ERRORS, Case
from skyweave.errors import SkyweaveError
from skyweave.grid import Grid
from skyweave.observe.assemble import assemble
from skyweave.posterior.kalman import KalmanSolver
from skyweave.prior.error_covariance import ErrorCovarianceModel
from skyweave.prior.storage import LearntPrior
from skyweave.regrid import bicubic, coarsen

__all__ = ["baselines"]

NEIGHBOURS = 12
CLIMATOLOGY = 80.0  # noise level at which a denoiser knows nothing of the state but its mean


def baselines(
    case: Case, prior: LearntPrior, truth: xr.Dataset, grid: Grid, members: int, seed: int
) -> Iterator[tuple[str, np.ndarray, float, int]]:
    """Name, states ``(M, 1, C, H, W)`` in physical units, seconds and network evaluations of each baseline.

    Bicubic interpolation where a coarse grid is all there is; inverse distance weighting of all values;
    optimal interpolation.
    """
    names = prior.spec.names
    if case.coarse is not None and case.points is None:
        begun = time.perf_counter()
        lat, lon = grid.mesh()
        weights = bicubic(coarsen(grid, case.factor), lat, lon, outside="edge")
        fields = np.stack([(weights @ case.coarse[name].ravel()).reshape(grid.shape) for name in names])
        yield "bicubic", fields[None, None], time.perf_counter() - begun, 0
    begun = time.perf_counter()
    fields = np.stack([inverse_distance(*case.scattered(name, grid), grid) for name in names])
    yield "inverse distance", fields[None, None], time.perf_counter() - begun, 0
    begun = time.perf_counter()
    analysis = optimal_interpolation(case, prior, truth, grid, members, seed)
    yield "optimal interpolation", analysis, time.perf_counter() - begun, 1


def inverse_distance(lat: np.ndarray, lon: np.ndarray, values: np.ndarray, grid: Grid) -> np.ndarray:
    """Mean of the nearest values, weighted with ``1 / d^2`` of the chord ``d``, shape ``(H, W)``."""
    tree = cKDTree(_unit_vectors(lat, lon))
    distance, which = tree.query(_unit_vectors(*grid.mesh()).reshape(-1, 3), k=min(NEIGHBOURS, len(values)))
    weights = 1 / np.maximum(distance, 1e-9) ** 2
    return ((weights * values[which]).sum(1) / weights.sum(1)).reshape(grid.shape)


def _unit_vectors(lat: np.ndarray, lon: np.ndarray) -> np.ndarray:
    a, b = np.deg2rad(lat), np.deg2rad(lon)
    return np.stack([np.cos(a) * np.cos(b), np.cos(a) * np.sin(b), np.sin(a)], axis=-1)


def optimal_interpolation(
    case: Case, prior: LearntPrior, truth: xr.Dataset, grid: Grid, members: int, seed: int
) -> np.ndarray:
    r"""Draws of the Gaussian analysis with climatological mean and covariance.

    .. math:: x_a = x_b + K (y + \epsilon - H(x_b)), \quad x_b \sim N(\bar x, V), \quad
              K = V H^T (H V H^T + R)^{-1}

    Mean and covariance are those the prior has of a state it knows nothing about.

    Raises:
        SkyweaveError: no covariance is stored with the prior.

    Reference: Gandin 1963; the draw is Matheron's rule (Journel and Huijbregts 1978).
    """
    model = ErrorCovarianceModel.from_tensors(prior.attachments)
    if model is None:
        raise SkyweaveError("the prior has no covariance stored with it")
    times = truth.time.values
    shape = (1, len(ERRORS), *grid.shape)
    observed = assemble(case.sources, prior.spec, grid, times, prior.transform).segment(0, 1)
    V: Any = model.on(shape, periodic=grid.periodic)(math.inf)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        mean = prior.denoiser(grid, times)(torch.zeros(1, *shape), torch.tensor(CLIMATOLOGY))
        background = mean + V.color(torch.randn(members, *V.noise_shape, generator=generator))
        noise = torch.randn(members, len(observed.y), generator=generator)
        analysis = KalmanSolver(iterations=2000).update(
            background, V, observed, y=observed.y + observed.R.sample(noise)
        )
        return prior.transform.inverse(analysis).numpy()
