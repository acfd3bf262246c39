"""Methods for one map, applied to each frame of each variable by itself."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from skyweave.baselines.given import Given
from skyweave.baselines.located import Floats, LocatedObservations
from skyweave.grid import Grid

__all__ = ["fill_maps"]


def fill_maps(given: Given, method: Callable[[LocatedObservations, Grid], Floats]) -> NDArray[np.float32]:
    """Apply a method to each frame of each variable by itself.

    Frames without observations are interpolated linearly in time between those that have some, and take the
    nearest one's map before the first and after the last. A variable that is never observed takes the climatological
    mean, NaN without one.

    Args:
        given: observations, state and climatology.
        method: makes a map ``(H, W)`` of at least one observation.

    Returns:
        One member, ``(1, T, C, H, W)``, physical units.
    """
    T, C, H, W = given.shape
    points, fallback = given.points(), given.physical_mean()
    maps = np.full((T, C, H, W), np.nan)
    for c in range(C):
        here = points.where(points.channel == c)
        frames = np.unique(here.frame)
        for t in frames:
            maps[t, c] = method(here.where(here.frame == t), given.grid)
        if len(frames) == 0:
            if fallback is not None:
                maps[:, c] = fallback[c]
            continue
        for t in np.setdiff1d(np.arange(T), frames):
            after = int(np.searchsorted(frames, t))
            left, right = frames[max(after - 1, 0)], frames[min(after, len(frames) - 1)]
            share = (t - left) / (right - left) if left < t < right else 0.0
            source = right if after == 0 else left
            maps[t, c] = maps[source, c] + (share * (maps[right, c] - maps[left, c]) if share else 0.0)
    return given.bounded(torch.from_numpy(maps[None]))
