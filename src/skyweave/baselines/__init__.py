"""Baselines: what a user would pick instead, each called in the same way.

``BASELINES[name](Given(observed=..., spec=..., grid=..., ...), **options)`` returns an array ``(M, T, C, H, W)`` in
physical units; what can be given is said in `Given`, the options are those of one baseline. A new baseline is one
file and one line here.
"""

from collections.abc import Callable
from typing import Concatenate

import numpy as np
from numpy.typing import NDArray

from skyweave.baselines.climatological import climatological
from skyweave.baselines.climatology import Climatology
from skyweave.baselines.dineof import dineof
from skyweave.baselines.given import Given
from skyweave.baselines.interpolation import bicubic, linear, nearest
from skyweave.baselines.inverse_distance import inverse_distance
from skyweave.baselines.kriging import kriging, space_time_kriging
from skyweave.baselines.optimal_interpolation import optimal_interpolation
from skyweave.baselines.temporal import persistence, temporal_interpolation

__all__ = ["BASELINES", "Baseline", "Climatology", "Given"]

Baseline = Callable[Concatenate[Given, ...], NDArray[np.float32]]
"""What is given, then options of its own by name; members ``(M, T, C, H, W)`` in physical units."""

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
