"""Departure of point observations from a background field: what differs too much is not believed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from skyweave.errors import SkyweaveError
from skyweave.grid import Grid
from skyweave.observe.match import TimeAxis, TimeMatch
from skyweave.observe.rows import Frame, expand, point_weights
from skyweave.state import StateSpec, time_dim, to_tensor

__all__ = ["BackgroundError", "background_departure"]

BackgroundError = float | Mapping[str, float] | xr.Dataset | None


def background_departure(
    table: pd.DataFrame,
    spec: StateSpec,
    background: xr.Dataset,
    error: BackgroundError = None,
    window: Any = None,
) -> NDArray[np.float64]:
    r"""Departure of each observation from the background in standard deviations of their difference.

    .. math:: d = \frac{y - H x_b}{\sqrt{\sigma_b^2 + \sigma_o^2}},

    with the background linear in space and, between its times, in time. Errors of both are taken to be independent.

    Args:
        table: columns time, lat, lon, variable, value, error, the last two in the units of ``spec``.
        spec: has the variables of the table.
        background: holds the variables; a dimension ``member`` makes it an ensemble, whose mean is taken and
            whose standard deviation is ``sigma_b``.
        error: ``sigma_b`` in the units of ``spec``: a number, one per variable, or fields.
        window: farthest from the background's first and last time that it is used, such as ``"3h"``; half its
            step by default, for a single time nothing but the time itself.

    Returns:
        Shape ``(n,)``; NaN where there is no background.

    Raises:
        SkyweaveError: no ``sigma_b``, or a variable that the background lacks.
    """
    names = set(table["variable"])
    own = replace(spec, variables=tuple(v for v in spec.variables if v.name in names))
    spread: Any = error
    if "member" in background.dims:
        spread = background.std("member", keep_attrs=True) if error is None else error
        background = background.mean("member", keep_attrs=True)
    if spread is None:
        raise SkyweaveError(
            "background check: the error of the background is not known; give it (a standard deviation per "
            "variable, or fields), or a background with a dimension 'member'"
        )
    time = time_dim(background)
    stamps = background[time].values if time is not None and time in background.coords else None
    state = Frame(own, Grid.from_dataset(background), TimeAxis.of(stamps))
    match = _match(state.times, table, window)
    place = table[["lat", "lon"]].to_numpy(float).T
    channel = np.array([own.channel(name) for name in table["variable"]], np.int64)
    used = np.flatnonzero(match.inside & state.grid.contains(*place))
    weights = point_weights("bilinear", own, state.grid, place[0][used], place[1][used], channel[used])
    matrix = expand(weights, channel[used], match.take(used), state)

    def seen(ds: xr.Dataset) -> NDArray[np.float64]:
        return matrix @ to_tensor(ds, own, state.grid).numpy().astype(np.float64).ravel()

    if isinstance(spread, xr.Dataset):
        sigma = seen(spread)
    else:
        each = [_number(spread, name) for name in own.names]
        sigma = np.array(each)[channel[used]]
    y, sigma_o = (table[c].to_numpy(float)[used] for c in ("value", "error"))
    out = np.full(len(table), np.nan)
    out[used] = (y - seen(background)) / np.sqrt(sigma**2 + sigma_o**2)
    return out


def _match(axis: TimeAxis, table: pd.DataFrame, window: Any) -> TimeMatch:
    """Linear between the background's times, the nearest one beyond them."""
    n = len(table)
    when = np.zeros(n) if axis.values is None else axis.number(table["time"].to_numpy(), "background check")
    width = axis.window(window, "background check")
    between, near = axis.match(when, width, "interpolate"), axis.match(when, width, "nearest")
    if axis.values is None:
        return near
    parts = [
        np.where(between.inside, getattr(between, k), getattr(near, k)) for k in ("first", "last", "weight")
    ]
    return TimeMatch(parts[0], parts[1], parts[2], between.inside | near.inside)


def _number(error: float | Mapping[str, float], name: str) -> float:
    value = error.get(name) if isinstance(error, Mapping) else error
    if value is None or not float(value) >= 0:
        raise SkyweaveError(f"background check: the error of {name} is {value}; give a standard deviation")
    return float(value)
