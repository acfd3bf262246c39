"""Builders of small fields with odd axes; see `odd_cases`."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import xarray as xr

from skyweave.io import find_time, open_fields

LAT, LON = np.arange(40.0, 44), np.arange(0.0, 5)
START = np.datetime64("2020-06-01T00", "ns")
HOURS = pd.date_range("2020-01-01", periods=48, freq="h").values
REFERENCE = {"standard_name": "forecast_reference_time"}
LEAD = {"standard_name": "forecast_period", "units": "hours"}
VALID = {"standard_name": "time"}


def fields(folder, coords=None, dims=("time",), values=None, lat=LAT, lon=LON, name="a.nc", raw=None, **more):
    """A file of one variable, x, of which each map is its number along `dims`, and what else a case needs."""
    coords = coords or {}
    shape = [
        len(np.atleast_1d(coords[d][1])) if d in coords and coords[d][0] == d else more.get(d, 1)
        for d in dims
    ]
    number = np.arange(int(np.prod(shape)), dtype="f4") if values is None else np.asarray(values, "f4")
    axes = {"lat": lat if isinstance(lat, tuple) else ("lat", lat, {"units": "degrees_north"})}
    axes |= {"lon": lon if isinstance(lon, tuple) else ("lon", lon, {"units": "degrees_east"})}
    y, x = (np.size(axes[n][1]) for n in ("lat", "lon"))
    full = number.reshape(*shape, 1, 1) + np.zeros((y, x), "f4")
    ds = xr.Dataset({"x": ((*dims, "lat", "lon"), full, {"units": "K"})}, {**axes, **coords})
    ds = ds if raw is None else raw(ds)
    ds.to_netcdf(folder / name, encoding=more.get("encoding"))
    return folder / name


def read(path, *args, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return open_fields(path, *args, **kwargs)


def times(path, **kwargs):
    """First and last time that fields are valid at, and how many there are, as text."""
    ds = read(path, **kwargs)
    stamps = ds[find_time(ds)].values
    return f"{str(stamps[0])[:13]} {str(stamps[-1])[:13]} {len(stamps)}"


def numbers(path, **kwargs):
    """The number of each map, in the order of time."""
    return read(path, **kwargs).x.values[..., 0, 0].ravel()
