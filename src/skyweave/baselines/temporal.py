"""Interpolation in time, and persistence: what the frames before and after say, without errors or climatology."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from skyweave.baselines.climatology import Climatology
from skyweave.baselines.gappy import fill_space, fill_time, gappy_maps
from skyweave.baselines.interpolation import linear_map
from skyweave.baselines.located import Floats, Observed, locate
from skyweave.grid import Grid
from skyweave.state import StateSpec, apply_bounds
from skyweave.transform import StateTransform

__all__ = ["persistence", "temporal_interpolation"]


def temporal_interpolation(
    observed: Observed,
    spec: StateSpec,
    grid: Grid,
    *,
    transform: StateTransform | None = None,
    climatology: Climatology | None = None,
    members: int = 1,
    seed: int = 0,
) -> NDArray[np.float32]:
    r"""Each cell linear in time between the frames in which it was observed.

    .. math:: \hat x(t) = \frac{(t_2 - t)\, x(t_1) + (t - t_1)\, x(t_2)}{t_2 - t_1}

    with ``t_1 <= t <= t_2`` the nearest such frames, and the value of the nearest before the first and after the
    last. Cells that were never observed are interpolated linearly in space, frame by frame; with a single frame
    all gaps are.

    Arguments as in `skyweave.baselines`.
    """
    maps = fill_time(gappy_maps(observed, grid))
    for t, c in np.ndindex(*maps.shape[:2]):
        maps[t, c] = fill_space(maps[t, c], grid)
    return _finished(maps, spec, transform, climatology)


def persistence(
    observed: Observed,
    spec: StateSpec,
    grid: Grid,
    *,
    transform: StateTransform | None = None,
    climatology: Climatology | None = None,
    members: int = 1,
    seed: int = 0,
) -> NDArray[np.float32]:
    r"""The last observed map carried on.

    .. math:: \hat x(t) = \hat x(\max\{t' \le t : \text{something was observed at } t'\})

    where observed maps have their gaps filled linearly in space. Frames before the first observed one take its
    map.

    Arguments as in `skyweave.baselines`.
    """
    points = locate(observed, grid)
    maps = np.full(observed.operator.shape, np.nan)
    for c in range(maps.shape[1]):
        here = points.where(points.channel == c)
        frames = np.unique(here.frame)
        last: Floats | None = None
        for t in range(len(maps) if len(frames) else 0):
            if last is None or t in frames:
                last = linear_map(here.where(here.frame == max(t, frames[0])), grid)
            maps[t, c] = last
    return _finished(maps, spec, transform, climatology)


def _finished(
    maps: Floats, spec: StateSpec, transform: StateTransform | None, climatology: Climatology | None
) -> NDArray[np.float32]:
    """One member of maps ``(T, C, H, W)``, the climatological mean where a variable was never observed."""
    if climatology is not None:
        maps = np.where(np.isnan(maps), climatology.physical_mean(transform), maps)
    return apply_bounds(torch.from_numpy(maps[None]), spec)[0].float().numpy()
