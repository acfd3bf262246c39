"""Grids, states and observations that the tests of the baselines share."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import torch

from skyweave.baselines.located import LocatedObservations
from skyweave.grid import Grid
from skyweave.observe.errors import ErrorCovariance
from skyweave.observe.operator import StateOperator
from skyweave.observe.segment import Observations
from skyweave.prior.analytic import GaussianPrior, red_spectrum
from skyweave.state import StateSpec, Variable
from skyweave.transform import Standardise, StateTransform

GRID = Grid(np.linspace(50, 42.5, 16), np.linspace(350, 368.8, 20) % 360)
GLOBE = Grid(np.linspace(-85, 85, 18), np.arange(0, 360, 10.0))
SPEC = StateSpec((Variable("t2m", "K"),))
PLAIN = StateTransform((Standardise(280.0, 10.0),))


def observe(matrix, state: np.ndarray, error: float = 0.1, transform=PLAIN) -> Observations:
    """Values of a physical state (T, C, H, W) under a matrix on all of it."""
    operator = StateOperator(sp.csr_array(matrix), state.shape, transform)
    y = torch.from_numpy(np.asarray(matrix @ state.ravel())).float()
    return Observations(operator, y, ErrorCovariance(np.full(len(y), error**2)))


def scattered(grid: Grid, n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    lat = rng.uniform(grid.lat.min(), grid.lat.max(), n)
    return lat, grid.lon[0] + rng.uniform(0, 1, n) * (grid.lon_unwrapped[-1] - grid.lon[0])


def points(lat, lon, value) -> LocatedObservations:
    n = len(value)
    zero = np.zeros(n, np.int64)
    return LocatedObservations(np.asarray(lat), np.asarray(lon), zero, zero, np.asarray(value), np.ones(n))


def red_states(n: int, shape: tuple[int, int], channels: int = 1, seed: int = 0) -> torch.Tensor:
    """Physical training states: cells out of a larger periodic red field."""
    H, W = shape
    prior = GaussianPrior(red_spectrum(2 * H, 2 * W), (1, 1, 2 * H, 2 * W))
    noise = torch.randn(n, 1, channels, 2 * H, 2 * W, generator=torch.Generator().manual_seed(seed))
    x = torch.stack([prior.sample(noise[:, :, [c]])[:, 0, 0] for c in range(channels)], dim=1)
    if channels == 2:
        x[:, 1] = 0.8 * x[:, 0] + 0.6 * x[:, 1]
    return 280.0 + 10.0 * x[..., :H, :W]
