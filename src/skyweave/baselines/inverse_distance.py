"""Inverse distance weighting on the sphere (Shepard)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from skyweave.baselines.climatology import Climatology
from skyweave.baselines.located import Floats, LocatedObservations, Observed, fill_maps
from skyweave.grid import Grid
from skyweave.observe.errors import unit_vectors
from skyweave.state import StateSpec
from skyweave.transform import StateTransform

__all__ = ["inverse_distance", "inverse_distance_map"]

NEIGHBOURS = 12
POWER = 2.0


def inverse_distance(
    observed: Observed,
    spec: StateSpec,
    grid: Grid,
    *,
    transform: StateTransform | None = None,
    climatology: Climatology | None = None,
    members: int = 1,
    seed: int = 0,
) -> NDArray[np.float32]:
    """Inverse distance weighting with power 2 of the 12 nearest; arguments as in `skyweave.baselines`."""
    fallback = None if climatology is None else climatology.physical_mean(transform)
    return fill_maps(observed, spec, grid, inverse_distance_map, fallback)


def inverse_distance_map(
    points: LocatedObservations, grid: Grid, power: float = POWER, neighbours: int = NEIGHBOURS
) -> Floats:
    r"""Mean of the nearest values, weighted by distance.

    .. math:: \hat x(r) = \frac{\sum_k d_k^{-p} v_k}{\sum_k d_k^{-p}}

    with great-circle distances ``d_k``; a cell on an observation takes its value.

    Args:
        points: at least one observation.
        grid: where the map is wanted, ``H x W``.
        power: ``p``.
        neighbours: how many observations a cell looks at.

    Reference: Shepard (1968), doi 10.1145/800186.810616.
    """
    tree = cKDTree(unit_vectors(points.lat, points.lon))
    count = min(neighbours, len(points.value))
    chord, which = tree.query(unit_vectors(*grid.mesh()).reshape(-1, 3), k=[*range(1, count + 1)])
    angle = 2 * np.arcsin(np.clip(chord / 2, 0.0, 1.0))
    # Within a metre or so an observation is in the cell's own place. Ratios to the nearest angle keep the power
    # from overflowing.
    ratio = np.maximum(angle, 1e-7) / np.maximum(angle[:, :1], 1e-7)
    on_top = angle[:, :1] < 1e-7
    weight = np.where(on_top, (angle < 1e-7).astype(float), ratio**-power)
    return ((weight * points.value[which]).sum(1) / weight.sum(1)).reshape(grid.shape)
