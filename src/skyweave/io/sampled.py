"""NetCDF of discrete samples (CF chapter 9): points, time series of stations and trajectories as one table."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from skyweave.coordinates import is_geostationary
from skyweave.errors import SkyweaveError, did_you_mean
from skyweave.io.axes import has_dates
from skyweave.io.flags import Quality, flag_fields, kept, left_out, meaning_words, unapplied
from skyweave.io.formats import open_one

__all__ = ["is_sampled", "sampled_table"]

NAMES = {
    "lat": ("lat", "latitude", "station_lat", "station_latitude"),
    "lon": ("lon", "longitude", "station_lon", "station_longitude"),
    "elevation": ("alt", "altitude", "elevation", "station_elevation", "surface_altitude", "height"),
    "station": ("station_name", "station_id", "station", "platform_name", "name", "id"),
    "time": ("time", "obs_time", "valid_time", "datetime"),
}
STANDARD = {
    "lat": ("latitude",),
    "lon": ("longitude",),
    "elevation": ("altitude", "surface_altitude", "height_above_mean_sea_level"),
    "station": ("platform_name", "platform_id", "station_wmo_id"),
    "time": ("time",),
}
MOST = 8
"""Variables that are named as left out, at most."""
ERROR_TAILS = ("_error", "_err", "_sigma", "_std", "_uncertainty")


def is_sampled(ds: xr.Dataset) -> bool:
    """Whether places are a list: latitude and longitude share one dimension, or the file says that it holds samples."""
    lat, lon = _find(ds, "lat"), _find(ds, "lon")
    if lat is None or lon is None:
        return False
    if is_geostationary(ds):
        return False  # the place is that below the satellite
    if str(ds.attrs.get("featureType", "")).lower() in ("point", "timeseries", "trajectory"):
        return True
    together = ds[lat].dims == ds[lon].dims
    named = str(ds[lat].dims[0]) if ds[lat].ndim == 1 else ""
    return together and (ds[lat].ndim == 0 or (ds[lat].ndim == 1 and named not in (lat, lon)))


def sampled_table(
    path: str, variables: Sequence[str] | None = None, quality: Quality | None = None
) -> pd.DataFrame:
    """Reports of a NetCDF or Zarr file of points, stations or trajectories: a row per value that is not missing.

    Args:
        path: of the file; opened by `skyweave.io.formats.open_one`, so that fill values are masked.
        variables: names in the file; all by default.
        quality: which are kept by variables of flags; see `skyweave.io.flags`.

    Returns:
        time, lat, lon, variable, value, error, units, and station and elevation where the file has them.

    Raises:
        SkyweaveError: no times, or a variable along other dimensions than those of places and times.
    """
    with open_one(path) as ds:
        found: dict[str, str] = {}
        for role in NAMES:
            own = _find(ds, role)
            if own is not None:
                found[role] = own
        ds = _expanded(ds, found, path)
        _check_times(ds, found, path)
        places = {d for role in ("lat", "lon", "time") for d in ds[found[role]].dims}
        parts: list[pd.DataFrame] = []
        notes: list[str] = []
        fields = _fields(ds, set(found.values()), places, variables, quality, notes)
        for own in fields:
            parts.append(_rows(ds, own, found, *_screened(ds, own, quality, path)))
        if not parts:
            raise SkyweaveError(
                f"{path}: holds no variable at the places of {found['lat']} "
                f"({_listed(notes)}); reports lie along the dimensions of latitude and time"
            )
        table = pd.concat(parts, ignore_index=True)
        notes += [note for part in parts for note in part.attrs["notes"]]
    table.attrs = {"notes": tuple(notes)}
    return table


def _listed(notes: Sequence[str]) -> str:
    more = f"; and {len(notes) - MOST} more" if len(notes) > MOST else ""
    return "; ".join(notes[:MOST]) + more if notes else "none of numbers"


def _fields(
    ds: xr.Dataset, roles: set[str], places: set[Hashable], variables: Sequence[str] | None, quality: Quality | None,
    notes: list[str],
) -> list[str]:  # fmt: skip
    """Variables of numbers at the places, flags apart."""
    known = []
    for name, field in ds.data_vars.items():
        own = str(name)
        if own in roles or field.dtype.kind not in "fiu" or _is_error(own, ds) or not field.ndim:
            continue
        if not set(field.dims) <= places or not set(field.dims) & places:
            notes.append(f"{own} ({', '.join(map(str, field.dims))}) has other dimensions and is left out")
            continue
        if any(k in field.attrs for k in ("sample_dimension", "instance_dimension")):
            continue
        known.append(own)
    flags = {flag for own in known for flag in flag_fields(ds, own)} | set(quality or ())
    flags |= {n for n in known if any(k in ds[n].attrs for k in ("flag_values", "flag_masks"))}
    return [n for n in known if n in (variables or ()) or (variables is None and n not in flags)]


def _screened(
    ds: xr.Dataset, name: str, quality: Quality | None, path: str
) -> tuple[xr.DataArray, list[str]]:
    """Which values of a variable its flags keep, and what is to be told of them."""
    field, notes = ds[name], []
    good = xr.ones_like(field, bool)
    flags = flag_fields(ds, name)
    for flag, how in (quality or {}).items():
        if flag not in ds.variables:
            known = [str(n) for n in ds.variables]
            raise SkyweaveError(
                f"{path}: no variable {flag!r} for quality{did_you_mean(flag, known)}; it has: {', '.join(known[:30])}"
            )
        if not set(ds[flag].dims) <= set(field.dims):
            raise SkyweaveError(
                f"{path}: {flag!r} ({', '.join(map(str, ds[flag].dims))}) does not lie along {name!r} "
                f"({', '.join(map(str, field.dims))}), so it cannot screen it"
            )
        if flag not in flags and any(flag in flag_fields(ds, str(n)) for n in ds.data_vars if str(n) != flag):
            continue  # of another variable
        own = pd.Series(ds[flag].values.ravel())
        keeps = kept(own, meaning_words(ds[flag], how, f"{path}: {flag}"), f"{path}: {flag}")
        keeps_here = xr.DataArray(keeps.reshape(ds[flag].shape), dims=ds[flag].dims)
        flag_of = xr.broadcast(_bare(ds[flag]), _bare(field))[0].transpose(*field.dims)
        gone = (_bare(field).notnull() & _bare(good) & ~keeps_here).transpose(*field.dims)
        if bool(gone.any()):
            notes.append(left_out(flag, pd.Series(flag_of.values[gone.values]), name))
        good = (_bare(good) & keeps_here).transpose(*field.dims)
    if quality is None or quality:
        for flag in flags:
            if flag not in (quality or {}):
                column = pd.Series(ds[flag].values.ravel())
                notes.append(unapplied(flag, _meant(column, ds[flag]), name))
    return good, notes


def _meant(column: pd.Series, field: xr.DataArray) -> pd.Series:
    """Flags with what CF says that they mean, for messages."""
    meanings = str(field.attrs.get("flag_meanings", "")).split()
    values = np.ravel(np.asarray(field.attrs.get("flag_values", ())))
    known = {float(v): f"{v} {m}" for v, m in zip(values, meanings, strict=False)}
    return column.map(lambda cell: known.get(cell, cell)) if known else column


def _find(ds: xr.Dataset, role: str) -> str | None:
    """The variable of a role: by standard name, then by name."""
    for name in ds.variables:
        if ds[name].attrs.get("standard_name") in STANDARD[role] or (
            role == "station" and ds[name].attrs.get("cf_role") == "timeseries_id"
        ):
            return str(name)
    lower = {str(n).lower(): str(n) for n in ds.variables}
    return next((lower[n] for n in NAMES[role] if n in lower), None)


def _expanded(ds: xr.Dataset, found: dict[str, str], path: str) -> xr.Dataset:
    """Ragged arrays with the place of each sample along the samples: counts in a row, or an index."""
    for name in list(ds.variables):
        attrs = ds[name].attrs
        if "sample_dimension" in attrs:
            counts = np.nan_to_num(ds[name].values.astype(float)).astype(np.int64)
            sample, instance = str(attrs["sample_dimension"]), str(ds[name].dims[0])
            if counts.min(initial=0) < 0 or counts.sum() != ds.sizes.get(sample, -1):
                raise SkyweaveError(
                    f"{path}: {name} counts {counts.sum()} samples, {sample} has {ds.sizes.get(sample, 0)}"
                )
            index = np.repeat(np.arange(len(counts)), counts)
        elif "instance_dimension" in attrs:
            sample, instance = str(ds[name].dims[0]), str(attrs["instance_dimension"])
            index = ds[name].values.astype(np.int64)
            if index.min(initial=0) < 0 or index.max(initial=0) >= ds.sizes.get(instance, 0):
                places = ds.sizes.get(instance, 0)
                raise SkyweaveError(f"{path}: {name} points beyond the {places} places of {instance}")
        else:
            continue
        moved: dict[Any, Any] = {}
        for role in ("lat", "lon", "elevation", "station"):
            own = found.get(role)
            if own is not None and ds[own].dims == (instance,):
                moved[f"{own}_of_sample"] = ((sample,), ds[own].values[index], ds[own].attrs)
                found[role] = f"{own}_of_sample"
        return ds.drop_vars(str(name)).assign(moved)
    return ds


def _check_times(ds: xr.Dataset, found: dict[str, str], path: str) -> None:
    for role in ("lat", "lon"):
        if role not in found:
            raise SkyweaveError(
                f"{path}: no {role} of its places; it has {', '.join(map(str, ds.variables))[:300]}"
            )
    time = found.get("time")
    if time is None or not has_dates(ds[time]):
        told = (
            "no variable of times" if time is None else f"{time} with units {ds[time].attrs.get('units')!r}"
        )
        raise SkyweaveError(
            f"{path}: {told}: times need units such as 'seconds since 1970-01-01' and standard_name 'time'"
        )
    values = ds[time].values
    if values.dtype == object and values.size and values.flat[0].calendar not in (
        "standard", "gregorian", "proleptic_gregorian",
    ):  # fmt: skip
        raise SkyweaveError(
            f"{path}: its times are in the calendar {values.flat[0].calendar}, which no report is in"
        )


def _is_error(name: str, ds: xr.Dataset) -> bool:
    return any(name.endswith(tail) and name.removesuffix(tail) in ds for tail in ERROR_TAILS)


def _rows(
    ds: xr.Dataset, name: str, found: dict[str, str], good: xr.DataArray, notes: list[str]
) -> pd.DataFrame:
    """One variable as rows, without its missing values and those that flags do not keep."""
    parts = {"value": ds[name].where(_bare(good).values), **{role: ds[own] for role, own in found.items()}}
    error = next((f"{name}{tail}" for tail in ERROR_TAILS if f"{name}{tail}" in ds), None)
    if error is not None:
        parts["error"] = ds[error]
    if "station" in parts and parts["station"].ndim > 1:
        parts.pop("station")  # characters along a dimension of their own
    arrays = xr.broadcast(*(_bare(part) for part in parts.values()))
    flat = {role: array.values.ravel() for role, array in zip(parts, arrays, strict=True)}
    here = np.isfinite(flat["value"].astype(float))
    table = pd.DataFrame({role: values[here] for role, values in flat.items()})
    times = table["time"]
    if times.dtype == object:
        times = pd.to_datetime(times.map(lambda t: t.isoformat()), errors="coerce")
    table["time"] = times.astype("datetime64[ns]")
    if "station" in table:
        table["station"] = table["station"].map(_word)
    table["variable"], table["units"] = name, str(ds[name].attrs.get("units", ""))
    if "error" not in table:
        table["error"] = np.nan
    table.attrs = {"notes": notes}
    order = ["time", "lat", "lon", "variable", "value", "error", "station", "elevation", "units"]
    return table[[c for c in order if c in table]]


def _word(cell: object) -> str:
    return (cell.decode("utf-8", "replace") if isinstance(cell, bytes) else str(cell)).strip()


def _bare(part: xr.DataArray) -> xr.DataArray:
    """An array without coordinates, which broadcasting would align."""
    return xr.DataArray(part.values, dims=part.dims)
