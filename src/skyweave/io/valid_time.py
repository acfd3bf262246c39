"""The time that fields are valid at, as the dimension of fields: stated, or a forecast's start plus its lead time."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping
from typing import Any, TypeVar

import cftime
import numpy as np
import pandas as pd
import xarray as xr

from skyweave.coordinates import find_axis
from skyweave.errors import SkyweaveError, note
from skyweave.io.axes import LEAD_NAMES, has_dates, lead_unit, time_role

__all__ = ["lead_seconds", "with_valid_time"]

Data = TypeVar("Data", xr.Dataset, xr.DataArray)


def with_valid_time(
    data: Data, where: str = "dataset", *, plane: Collection[Hashable] = (), forecasts: bool = False
) -> Data:
    """Fields along the time that they are valid at, whatever they were along.

    CF standard names decide, then names. Where only the start of a forecast and its lead times are stated, the valid
    time is their sum. Forecasts of several starts and several lead times become one series where each valid time occurs
    once.

    Args:
        data: dates decoded.
        where: file named in errors.
        plane: dimensions of the cells where they are not those of latitude and longitude; a time of each cell is not
            the time of the fields.
        forecasts: leave forecasts of several starts and lead times as they are.

    Raises:
        SkyweaveError: several forecasts for one time, lead times without a unit, or a time that may be either.
    """
    plane = plane or _plane(data)
    coords = {str(n): c for n, c in data.coords.items() if c.ndim <= 2 and not set(plane) & set(c.dims)}
    by_role: dict[str, list[str]] = {"time": [], "reference": [], "lead": []}
    for name, coord in coords.items():
        role = time_role(name, coord)
        if role == "lead" or (role is not None and has_dates(coord)):
            by_role[role].append(name)
    lead = min(by_role["lead"], key=lambda n: (_plainly(coords[n]), coords[n].ndim == 0), default=None)
    valid = min(by_role["time"], key=lambda n: (_plainly(coords[n]), n.lower() != "valid_time"), default=None)
    reference = min(
        by_role["reference"], key=lambda n: (_plainly(coords[n]), coords[n].ndim == 0), default=None
    )
    named = valid is not None and _plainly(coords[valid]) and valid.lower() != "valid_time"
    if valid is not None and lead is not None and named and _is_start(coords[valid], coords[lead], where):
        reference, valid = valid, None
        start = coords[reference].assign_attrs(standard_name="forecast_reference_time")
        data = data.assign_coords({reference: start})
    if valid is None and reference is not None and lead is not None:
        stamps = _sum(data[reference], data[lead], where)
        valid = next(n for n in ("valid_time", "time_valid") if n not in coords)
        data = data.assign_coords({valid: stamps})
    if valid is None and reference is not None and not forecasts:
        data, valid = _as_analyses(data, reference, coords, where), reference
    if valid is None:
        return data
    return _along(data, valid, lead, where, forecasts)


def _as_analyses(data: Data, reference: str, coords: Mapping[str, xr.DataArray], where: str) -> Data:
    """The start of forecasts as the time of fields, where nothing says that there is a lead time."""
    for name, coord in coords.items():
        if name.lower() in LEAD_NAMES:
            lead_seconds(coord, where)  # it has no unit, else it would have been a lead time
    note(
        f"{where}: {reference!r} says when forecasts start, and nothing states a lead time or a valid time: fields are "
        "taken to be valid at these times, as analyses are"
    )
    return data.assign_coords({reference: data[reference].assign_attrs(standard_name="time")})


def lead_seconds(coord: xr.DataArray, where: str) -> np.ndarray:
    """Lead times in seconds, of durations or of numbers that state their unit.

    Raises:
        SkyweaveError: numbers without a unit, or with one that is no duration.
    """
    unit = lead_unit(coord)
    if unit is None:
        found = coord.attrs.get("units")
        raise SkyweaveError(
            f"{where}: lead times {coord.name!r} "
            f"{'state no units' if not found else f'are in {found!r}, which is no duration known here'}; set their "
            "units to 'hours', or give valid times (standard_name 'time')"
        )
    if coord.dtype.kind == "m":
        return np.asarray(coord.values / np.timedelta64(1, "s"), np.float64)
    return np.asarray(coord.values, np.float64) * unit


def _plane(data: xr.Dataset | xr.DataArray) -> set[Hashable]:
    try:
        return {d for axis in ("latitude", "longitude") for d in data[find_axis(data, axis)].dims}
    except SkyweaveError:
        return set()


def _plainly(coord: xr.DataArray) -> bool:
    """Whether only its name says what it is."""
    return str(coord.attrs.get("standard_name", "")) not in (
        "time",
        "forecast_reference_time",
        "forecast_period",
    )


def _is_start(time: xr.DataArray, lead: xr.DataArray, where: str) -> bool:
    """Whether a time without a standard name is the start of forecasts; lead times across it say so."""
    if lead.ndim and set(lead.dims) <= set(time.dims):
        return False
    if lead.ndim and lead.size > 1:
        return True
    seconds = float(lead_seconds(lead, where).ravel()[0])
    if seconds == 0:
        return False
    raise SkyweaveError(
        f"{where}: {time.name!r} has no standard_name, and there is a lead time of {seconds / 3600:g} h: does it say "
        "when forecasts start, or what time they are for? Give it the standard_name 'forecast_reference_time' or 'time'"
        f" (`ncatted -a standard_name,{time.name},o,c,time IN OUT`)"
    )


def _sum(start: xr.DataArray, lead: xr.DataArray, where: str) -> xr.DataArray:
    """Start and lead time added, over the dimensions of both."""
    seconds = xr.DataArray(lead_seconds(lead, where), dims=lead.dims)
    plain = start.reset_coords(drop=True).drop_vars([d for d in start.dims if d in start.coords])
    if start.dtype == object:
        origin, *_ = np.atleast_1d(start.values).ravel()
        since = xr.apply_ufunc(lambda v: (v - origin).total_seconds(), plain, vectorize=True)
        values = np.asarray((since + seconds).values)
        dates = cftime.num2date(values, f"seconds since {origin.isoformat()}", calendar=origin.calendar)
        stamps = (since + seconds).copy(data=np.asarray(dates, object).reshape(values.shape))
    else:
        parts = (seconds * 1e9).round().astype("int64").astype("timedelta64[ns]")
        stamps = plain.astype("datetime64[ns]") + parts
    stamps.attrs = {"standard_name": "time", "long_name": "time that the forecast is for"}
    stamps.name = None
    return stamps


def _along(data: Data, valid: str, lead: str | None, where: str, forecasts: bool) -> Data:
    """The valid time made a dimension where it lies along another, or along two."""
    dims: list[Hashable] = list(data[valid].dims)
    if len(dims) > 1:
        own: list[Hashable] = [] if lead is None else list(data[lead].dims)
        single = [d for d in (*own, *dims) if data.sizes[d] == 1]
        # One of several dimensions of a single step is kept for the time.
        single = single if len(set(single)) < len(dims) else [d for d in single if d != dims[0]]
        data = data.squeeze(list(dict.fromkeys(single)))
        dims = list(data[valid].dims)
    if len(dims) > 1:
        return data if forecasts else _one_series(data, valid, where)
    if dims and dims[0] != valid:
        attrs, encoding = data[valid].attrs, data[valid].encoding
        data = data.swap_dims({dims[0]: valid})
        data[valid].attrs, data[valid].encoding = attrs, encoding
    return data


def _one_series(data: Data, valid: str, where: str) -> Data:
    stamps = data[valid]
    dims = [str(d) for d in stamps.dims]
    flat = pd.Index(stamps.values.ravel())
    if stamps.ndim > 2 or not flat.is_unique or bool(flat.isna().any()):
        repeated = flat[flat.duplicated()]
        told = f"{str(repeated[0])[:19]} is forecast {int((flat == repeated[0]).sum())} times" if len(repeated) else (
            "some have no valid time"
        )  # fmt: skip
        labels: Any = data[dims[-1]].values if dims[-1] in data.coords else np.arange(data.sizes[dims[-1]])
        raise SkyweaveError(
            f"{where}: holds forecasts along {' and '.join(f'{d} ({data.sizes[d]})' for d in dims)}, and {told}; pick "
            f"one, as with select={{{dims[-1]!r}: {labels[0]}}} in Python or, from the command line, `skyweave regrid "
            f"FILE --select {dims[-1]}={labels[0]} --like FILE --out ONE.nc`; `skyweave fuse` takes them as they are"
        )
    stacked = data.stack({"_series": dims}, create_index=False)
    series = stacked.swap_dims({"_series": valid}).sortby(valid)
    return series.transpose(valid, ...)
