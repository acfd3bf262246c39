"""Which coordinate of a dataset is the time that its fields are valid at, which a forecast's start or lead time."""

from __future__ import annotations

from collections.abc import Hashable

import cftime
import numpy as np
import pandas as pd
import xarray as xr

from skyweave.coordinates import edge_names, is_edge

__all__ = [
    "LEAD_NAMES", "LEAD_UNITS", "REFERENCE_NAMES", "TIME_NAMES", "find_time", "has_dates", "lead_unit", "moments",
    "time_role",
]  # fmt: skip

TIME_NAMES = ("valid_time", "time", "t", "times", "date", "datetime", "xtime")
REFERENCE_NAMES = (
    "init_time", "forecast_reference_time", "initial_time", "reference_time", "forecast_time0", "analysis_time",
)  # fmt: skip
LEAD_NAMES = ("lead_time", "prediction_timedelta", "step", "forecast_period", "lead", "leadtime")
LEAD_UNITS = {
    "ns": 1e-9, "nanosecond": 1e-9, "us": 1e-6, "microsecond": 1e-6, "ms": 1e-3, "millisecond": 1e-3,
    "s": 1.0, "sec": 1.0, "second": 1.0, "min": 60.0, "minute": 60.0, "h": 3600.0, "hr": 3600.0,
    "hour": 3600.0, "d": 86400.0, "day": 86400.0, "w": 604800.0, "week": 604800.0,
}  # fmt: skip


def has_dates(var: xr.DataArray | xr.Variable) -> bool:
    """Whether the values are dates: numpy's, or cftime's of another calendar."""
    if np.issubdtype(var.dtype, np.datetime64):
        return True
    return (
        var.dtype == object and var.size > 0 and isinstance(np.asarray(var.values).flat[0], cftime.datetime)
    )


def time_role(name: Hashable, coord: xr.DataArray) -> str | None:
    """What a coordinate says of time: "time" (valid at), "reference" (a forecast's start), "lead", or None.

    Its CF standard name decides; then its name, and for lead times a unit of duration.
    """
    if is_edge(coord):
        return None
    stated = {"time": "time", "forecast_reference_time": "reference", "forecast_period": "lead"}
    standard, lower = str(coord.attrs.get("standard_name", "")), str(name).lower()
    if standard in stated:
        return stated[standard]
    if lower in REFERENCE_NAMES:
        return "reference"
    if lower in LEAD_NAMES:
        return "lead" if lead_unit(coord) else None
    return "time" if coord.attrs.get("axis") == "T" or lower in TIME_NAMES else None


def lead_unit(coord: xr.DataArray) -> float | None:
    """Seconds in one unit of a coordinate of lead times, 1 for durations; None where it does not say its unit."""
    if np.issubdtype(coord.dtype, np.timedelta64):
        return 1.0
    units = str(coord.attrs.get("units", "")).strip().lower()
    if coord.dtype.kind not in "iuf" or not units:
        return None
    return LEAD_UNITS.get(units, LEAD_UNITS.get(units.rstrip("s")))


def find_time(ds: xr.Dataset | xr.DataArray) -> str | None:
    """Name of the coordinate of the time that fields are valid at, or of a time axis without dates, or None.

    What has the standard name ``time`` comes first, then dates on a dimension, then dates of the whole file that are
    called time; when a forecast started counts only where nothing else has dates, and when a file was made never.
    """
    dated = {str(n): c for n, c in ds.coords.items() if c.ndim <= 1 and not is_edge(c) and has_dates(c)}
    roles = {n: time_role(n, c) for n, c in dated.items()}
    known = {n: c for n, c in dated.items() if roles[n] == "time" or (n in ds.dims and roles[n] is None)}

    def rank(name: str) -> tuple[bool, bool, bool, bool, bool, int]:
        coord, lower = known[name], name.lower()
        place = TIME_NAMES.index(lower) if lower in TIME_NAMES else len(TIME_NAMES)
        stated = coord.attrs.get("standard_name") == "time"
        return (
            coord.ndim == 0,
            not stated,
            lower != "valid_time",
            name not in ds.dims,
            roles[name] is None,
            place,
        )

    if known:
        return min(known, key=rank)
    for dim in ds.dims:
        if (dim in ds.coords and time_role(dim, ds[dim]) == "time") or str(dim).lower() in (
            "time",
            "valid_time",
        ):
            return str(dim)
    return next((n for n in dated if roles[n] == "reference" and n in ds.dims), None)


def moments(ds: xr.Dataset | xr.DataArray, name: str) -> pd.Index:
    """When the steps along a time axis are: the middle of their bounds where they have bounds, else their stamps."""
    low, high = (ds.indexes[name] if n not in ds.coords else pd.Index(ds[n].values) for n in edge_names(name))
    return low + (high - low) / 2
