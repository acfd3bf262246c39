"""Baselines: what a user would pick instead, each called in the same way.

``BASELINES[name](observed, spec, grid, *, transform, climatology, members, seed)`` takes

- observed: observations of one segment (`skyweave.observe.assemble.SegmentObservations`), or whatever has
their
  ``operator`` on states ``(T, C, H, W)``, values ``y`` and error covariance ``R``;
- spec, grid: variables with their bounds, and grid of the state;
- transform: between physical and normalised states, as in the operator;
- climatology: a `Climatology` of training data on this grid; climatology and optimal interpolation need it,
the
  others take its mean for variables that are never observed;
- members, seed: size and seed of the ensemble; deterministic methods always return one member;

and returns an array ``(M, T, C, H, W)`` in physical units. A new baseline is one file and one line here.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from skyweave.baselines.climatology import Climatology, climatological
from skyweave.baselines.dineof import dineof
from skyweave.baselines.interpolation import bicubic, linear, nearest
from skyweave.baselines.inverse_distance import inverse_distance
from skyweave.baselines.kriging import kriging, space_time_kriging
from skyweave.baselines.optimal_interpolation import optimal_interpolation
from skyweave.baselines.temporal import persistence, temporal_interpolation

__all__ = ["BASELINES", "Climatology"]

Baseline = Callable[..., NDArray[np.float32]]

BASELINES: dict[str, Baseline] = {
    "nearest": nearest,
    "linear": linear,
    "bicubic": bicubic,
    "inverse-distance": inverse_distance,
    "kriging": kriging,
    "space-time-kriging": space_time_kriging,
    "temporal-interpolation": temporal_interpolation,
    "persistence": persistence,
    "dineof": dineof,
    "climatology": climatological,
    "optimal-interpolation": optimal_interpolation,
}
