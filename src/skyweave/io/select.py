"""Regions and periods of a dataset, with the coordinates' own values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from skyweave.errors import SkyweaveError, did_you_mean
from skyweave.grid import Grid
from skyweave.io.axes import find_time, has_dates, moments, time_role
from skyweave.io.time_units import why_undated


def select_region(
    ds: xr.Dataset, region: Mapping[str, tuple[float, float]], where: str = "dataset"
) -> xr.Dataset:
    """Cut a region out, across 0 or 180 degrees and over the poles; coordinates keep their own values.

    Args:
        ds: gridded dataset.
        region: ``{"lat": (south, north), "lon": (west, east)}`` in degrees; either may be left out.
        where: file named in errors.

    Raises:
        SkyweaveError: unknown keys, bounds that are not two numbers, or no grid point inside.
    """
    for key, bounds in region.items():
        if key not in ("lat", "lon"):
            raise SkyweaveError(
                f"region: unknown key {key!r}{did_you_mean(key, ['lat', 'lon'])}; give "
                f"{{'lat': (south, north), 'lon': (west, east)}}"
            )
        if len(bounds) != 2 or not all(np.isfinite(float(b)) for b in bounds):
            raise SkyweaveError(f"region: {key} must be two numbers in degrees, not {bounds!r}")
    grid = Grid.from_dataset(ds)
    kwargs: dict[str, Any] = {k: (float(b[0]), float(b[1])) for k, b in region.items()}
    try:
        i, j = grid.region(**kwargs)
    except SkyweaveError as exc:
        raise SkyweaveError(str(exc) if where in str(exc) else f"{where}: {exc}") from exc
    return ds.isel({grid.lat_name: as_slice(i), grid.lon_name: as_slice(j)})


def as_slice(index: np.ndarray) -> slice | np.ndarray:
    """A slice where the indices are consecutive: dask then reads less and keeps its chunks."""
    index = np.asarray(index)
    if index.size and np.array_equal(index, np.arange(index[0], index[0] + index.size)):
        return slice(int(index[0]), int(index[0]) + index.size)
    return index


def select_time(ds: xr.Dataset, time: Any, where: str = "dataset") -> xr.Dataset:
    """Keep the steps from start to end, both included, in the order they have.

    A step with bounds belongs where their middle lies: the mean of January is January's, whether it is stamped with the
    month's beginning, its middle or its end.

    Args:
        ds: dataset with dates.
        time: ``(start, end)``, or one date or part of a date; either end may be None; UTC.
        where: file named in errors.

    Raises:
        SkyweaveError: no dates, a date that cannot be read, or no step in the period.
    """
    name = find_time(ds)
    if name is None or name not in ds.coords or not has_dates(ds[name]):
        found = (
            why_undated(ds[name]) if name is not None and name in ds.coords else "there is no time coordinate"
        )
        raise SkyweaveError(f"{where}: a period was asked for, but the file has no dates ({found})")
    if time_role(name, ds[name]) == "reference":
        raise SkyweaveError(
            f"{where}: a period was asked for, but {name!r} says when forecasts start, and there are several lead "
            "times; select one of them first"
        )
    start, end = _period(time)
    index = moments(ds, name)
    ordered = index.sort_values()
    inside = ordered[between(ordered, start, end)]
    keep = np.flatnonzero(index.isin(inside))
    if keep.size == 0:
        raise SkyweaveError(f"{where}: no time step from {start} to {end}; the file has {span_of(ds)}")
    return ds.isel({name: as_slice(keep)})


def between(ordered: pd.Index, start: Any, end: Any) -> slice:
    """The part of an index in order from start to end, both included; either may be None or part of a date; UTC.

    Raises:
        SkyweaveError: no dates of the index's calendar.
    """
    try:
        return ordered.slice_indexer(_utc(start), _utc(end))
    except (ValueError, TypeError, KeyError) as exc:
        told = " to ".join(repr(date) for date in (start, end) if date is not None)
        raise SkyweaveError(
            f"time: cannot read {told}: no such time in the calendar of these; write dates as 2019-03-01T06:00"
        ) from exc


def begin_of(date: str) -> np.datetime64:
    """The first moment of a date or part of one, UTC."""
    return pd.Timestamp(_utc(date)).to_datetime64()


def _period(time: Any) -> tuple[Any, Any]:
    if isinstance(time, slice):
        time = (time.start, time.stop)
    pair = (time, time) if isinstance(time, str) or not isinstance(time, Sequence) else tuple(time)
    if len(pair) != 2:
        raise SkyweaveError(f"time: give (start, end), not {len(pair)} values")
    return _utc(pair[0]), _utc(pair[1])


def _utc(moment: Any) -> Any:
    """Text with a zone ('Z', '+02:00') as plain UTC; the rest as it is: '2019-03' keeps meaning a month."""
    if isinstance(moment, np.datetime64):
        return pd.Timestamp(moment)
    if isinstance(moment, str) and "T" in moment.replace(" ", "T") and ("Z" in moment or "+" in moment):
        try:
            return str(pd.Timestamp(moment).tz_convert(None).isoformat())
        except (ValueError, TypeError) as exc:
            raise SkyweaveError(f"time: cannot read {moment!r}; write dates as 2019-03-01T06:00") from exc
    return moment


def span_of(ds: xr.Dataset) -> str:
    time = find_time(ds)
    if time is None or time not in ds.coords or ds[time].size == 0:
        return "no dates"
    return f"{ds[time].values.flat[0]!s:.19} to {ds[time].values.flat[-1]!s:.19}, {ds[time].size} steps"
