"""Inverse distance weighting on the sphere (Shepard)."""

from __future__ import annotations

from functools import partial

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
    power: float = POWER,
    neighbours: int = NEIGHBOURS,
) -> NDArray[np.float32]:
    """Inverse distance weighting; `power` and `neighbours` are those of `inverse_distance_map`.

    Arguments as in `skyweave.baselines`.
    """
    fallback = None if climatology is None else climatology.physical_mean(transform)
    method = partial(inverse_distance_map, power=power, neighbours=neighbours)
    return fill_maps(observed, spec, grid, method, fallback)


def inverse_distance_map(
    points: LocatedObservations, grid: Grid, power: float = POWER, neighbours: int = NEIGHBOURS
) -> Floats:
    r"""Mean of the nearest values, weighted by distance.

    .. math:: \hat x(r) = \frac{\sum_k d_k^{-p} v_k}{\sum_k d_k^{-p}}

    with chords ``d_k`` of the unit sphere; a cell on an observation takes its value.

    Args:
        points: at least one observation.
        grid: where the map is wanted, ``H x W``.
        power: ``p``.
        neighbours: how many observations a cell looks at.

    Reference: Shepard (1968), doi 10.1145/800186.810616.
    """
    tree = cKDTree(unit_vectors(points.lat, points.lon))
    count = min(neighbours, len(points.value))
    found = tree.query(unit_vectors(*grid.mesh()).reshape(-1, 3), k=[*range(1, count + 1)])
    chord, which = (np.asarray(part) for part in found)
    # Within a metre or so an observation is in the cell's own place. Ratios to the nearest chord keep the power
    # from overflowing.
    on_top = chord[:, :1] < 1e-7
    ratio = np.maximum(chord, 1e-7) / np.maximum(chord[:, :1], 1e-7)
    weight = np.where(on_top, (chord < 1e-7).astype(float), ratio**-power)
    return ((weight * points.value[which]).sum(1) / weight.sum(1)).reshape(grid.shape)
