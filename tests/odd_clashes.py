"""Odd inputs that say two things: files that differ, columns that do, places that are none; see `odd_cases`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from axis_cases import read as quietly
from odd_cases import Refused, odd
from odd_sources import SIX, fields
from skyweave.io import open_fields
from skyweave.observe.grids import grid_rows
from skyweave.observe.observation import GridObservation
from table_cases import STATE, read, row


def days(folder: Path, *parts: dict[str, Any]) -> Any:
    """Files of one day each, whose variable x has these attributes; and their values at one place."""
    axes = {
        "lat": ("lat", [50.0, 51.0], {"units": "degrees_north"}),
        "lon": ("lon", [7.0, 8.0], {"units": "degrees_east"}),
    }
    for k, attrs in enumerate(parts):
        own = dict(attrs)
        value, height = own.pop("value", 280.0), own.pop("height", 2.0)
        x = np.full((1, 2, 2), value, own.pop("dtype", "f4"))
        coords = axes | {
            "time": [pd.Timestamp("2020-06-01") + pd.Timedelta(k, "D")],
            "height": ((), height, {"units": "m"}),
        }
        xr.Dataset({"x": (("time", "lat", "lon"), x, own)}, coords).to_netcdf(
            folder / f"{k}.nc", engine="h5netcdf"
        )
    return quietly(str(folder / "*.nc"), "x").x.values[:, 0, 0]


for _what, _parts, _right in (
    ("files in K and in degC become one series", ({"units": "K"}, {"units": "degC", "value": 10.0}), [280.0, 283.15]),
    ("files in K and in whole degC", ({"units": "K"}, {"units": "degC", "value": 10, "dtype": "i2"}), [280.0, 283.15]),
    ("files in K and in hPa", ({"units": "K"}, {"units": "hPa"}), Refused("1.nc", "'hPa'", "another kind")),
    ("files of which one states no unit", ({"units": "K"}, {}), Refused("1.nc", "states no units", "'K'")),
    ("files of two quantities", ({"standard_name": "air_temperature"}, {"standard_name": "dew_point_temperature"}),
     Refused("dew_point_temperature", "one quantity")),
    ("files of two heights", ({"height": 2.0}, {"height": 10.0}), Refused("its height is 10", "one level")),
):  # fmt: skip
    odd("file", _what, _right)(lambda folder, parts=_parts: days(folder, *parts))


@odd("file", "variables in a group of HDF 5", Refused("'PRODUCT'", "ncks -g PRODUCT"))
def _(folder: Path) -> Any:
    with xr.open_dataset(fields(folder, SIX)) as ds:
        ds.load().to_netcdf(folder / "p.nc", group="PRODUCT", engine="h5netcdf")
    return open_fields(folder / "p.nc")


@odd("file", "a field of text", Refused("t2m(lat, lon) of text"))
def _(folder: Path) -> Any:
    axes = {
        "lat": ("lat", [50.0, 51.0], {"units": "degrees_north"}),
        "lon": ("lon", [7.0, 8.0], {"units": "degrees_east"}),
    }
    xr.Dataset({"t2m": (("lat", "lon"), np.full((2, 2), "280.0"))}, axes).to_netcdf(
        folder / "a.nc", engine="h5netcdf"
    )
    return open_fields(folder / "a.nc")


@odd("file", "a standard deviation given as the value of its quantity is told", True)
def _(folder: Path) -> bool:
    ds = open_fields(fields(folder, SIX, cell_methods="time: standard_deviation"))
    notes = grid_rows(GridObservation(ds.t2m, 1.0), "x", STATE).report.notes
    return any("calls it a standard_deviation" in note for note in notes)


for _what, _text, _asked, _right in (
    ("two latitudes that differ", "time,lat,latitude,lon,t2m\n2020-06-01,50,40,7,280\n", {},
     Refused("'lat' and 'latitude'", "50 and 40", "columns: {lat: lat}")),
    ("two latitudes that differ, of which one is named", "time,lat,latitude,lon,t2m\n2020-06-01,50,40,7,280\n",
     {"columns": {"lat": "latitude"}}, (40.0, 7.0, 280.0)),
    ("two latitudes alike", "time,lat,latitude,lon,t2m\n2020-06-01,50,50.0,7,280\n", {}, (50.0, 7.0, 280.0)),
    ("two columns of values", "time,lat,lon,variable,value,observed\n2020-06-01,50,7,t2m,280,290\n", {},
     Refused("'value' and 'observed'", "280 and 290")),
    ("a time and the time for which it is", "time,valid_time,lat,lon,t2m\n2020-06-01T03:00,2020-06-01T09:00,50,7,280\n",
     {}, Refused("two columns of times differ", "columns: {time:")),
    ("a nominal time and the real one", "time,obs_time,lat,lon,t2m\n2020-06-01T06:00,2020-06-01T05:50,50,7,280\n", {},
     (50.0, 7.0, 280.0)),
):  # fmt: skip
    odd("table", _what, _right)(lambda folder, text=_text, asked=_asked: row(read(folder, text, **asked)))


@odd("table", "a place of 0 N 0 E among others is told", True)
def _(folder: Path) -> bool:
    table = read(folder, "time,lat,lon,t2m\n2020-06-01,0,0,280\n2020-06-01,50,7,280\n")
    return any("1 of 2 reports lie at 0 N 0 E" in note for note in table.attrs["notes"])
