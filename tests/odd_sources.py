"""Odd sources, as flags and YAML name them: names, units, fills, flags of quality; see `odd_cases`."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from odd_cases import Refused, odd
from skyweave.cli import main
from skyweave.cli.describe import describe_source
from skyweave.cli.info import described_data
from skyweave.cli.open_sources import Place, open_source
from skyweave.cli.source_flags import grid_flag, points_flag
from skyweave.cli.source_settings import GridSource, PointSource
from skyweave.errors import SkyweaveError
from skyweave.io import open_fields
from skyweave.io.regridded import regrid_fields
from skyweave.io.undeclared import with_known_fills
from skyweave.observe.grids import grid_rows
from skyweave.observe.points import point_rows
from table_cases import STATE

NAN = np.nan
PLACE = Place(None, None, "era5")
TABLE = "time,lat,lon,{}\n2020-06-01,50,7,{}\n2020-06-01,51,7,{}\n"


def points(folder: Path, text: str, tail: str = "=1", **keys: Any) -> Any:
    """The observation of a table, given as a flag and further keys."""
    (folder / "x.csv").write_text(text)
    return open_source(PointSource(**{**points_flag(f"{folder / 'x.csv'}{tail}"), **keys}), {}, PLACE)


def written(folder: Path, text: str, name: str = "x.csv") -> str:
    (folder / name).write_text(text)
    return str(folder / name)


def used(source: Any) -> list[float]:
    """The values of a source of points as they are used, in kelvin."""
    return list(point_rows(source, "x", STATE).value)


def fields(folder: Path, values: Any, name: str = "t2m", flags: Any = None, **attrs: Any) -> Path:
    """A map of 2 x 3 values over 50-51 N, 7-9 E, with flags beside it."""
    axes = {
        "time": pd.to_datetime(["2020-06-01"]),
        "lat": ("lat", [50.0, 51.0], {"units": "degrees_north"}),
        "lon": ("lon", [7.0, 8.0, 9.0], {"units": "degrees_east"}),
    }
    dims = ("time", "lat", "lon")
    ds = xr.Dataset({name: (dims, np.reshape(values, (1, 2, 3)).astype("f4"), {"units": "K", **attrs})}, axes)
    if flags is not None:
        about = {"flag_values": np.array([0, 1, 2], "i1"), "flag_meanings": "good fair bad"}
        ds["qc"] = (dims, np.reshape(flags, (1, 2, 3)).astype("i1"), about)
    ds.to_netcdf(folder / "g.nc", engine="h5netcdf")
    return folder / "g.nc"


def grid(path: Path, tail: str = ":t2m=1", **keys: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return open_source(GridSource(**{**grid_flag(f"{path}{tail}"), **keys}), {}, PLACE)


SIX = [280.0, 281, 282, 283, 284, 285]

# ---- names

odd(
    "table", "t2m asked of a table of t: the flag that works", Refused("x.csv:t2m=t=1", "variables: {t2m: t}")
)(lambda folder: points(folder, TABLE.format("t", 280, 281), ":t2m=1"))
odd("table", "and that flag", [280.0, 281.0])(
    lambda folder: used(points(folder, TABLE.format("t", 280, 281), ":t2m=t=1"))
)
odd("table", "a column P asked for as p=10%", Refused("x.csv:p=", "=10%"))(
    lambda folder: points(folder, TABLE.format("msl", 280, 281), ":p=10%")
)
odd("file", "t2m asked of a grid of t: the flag that works", Refused("g.nc:t2m=t=1", "of: t2m"))(
    lambda folder: grid(fields(folder, SIX, "t"))
)
odd("file", "z@500 of a grid, by a prior that calls it otherwise", Refused("--grid PATH:NAME=z@500"))(
    lambda folder: grid_rows(grid(fields(folder, SIX, "z@500"), ":z@500=1"), "x", STATE)
)


@odd("table", "no longitude but edges of cells: none is proposed", {"refused": True, "proposed": False})
def _(folder: Path) -> Any:
    try:
        points(folder, "time,lat,lon_w,lon_e,t2m\n2020-06-01,50,7,8,280\n")
    except ValueError as refusal:
        text = str(refusal)
        return {"refused": "'lon_w', 'lon_e' are edges" in text, "proposed": "did you mean" in text}
    return {}


# ---- units

odd("table", "an elevation in feet", [304.8, 609.6])(
    lambda folder: list(points(folder, "time,lat,lon,elevation [ft],t2m\n2020-06-01,50,7,1000,280\n"
                                       "2020-06-01,51,7,2000,280\n").table["elevation"])
)  # fmt: skip
odd("table", "an elevation in hPa", Refused("elevation [hPa]", "another kind"))(
    lambda folder: points(folder, "time,lat,lon,elevation [hPa],t2m\n2020-06-01,50,7,1000,280\n")
)
odd("table", "latitude and longitude in radian", [[50.0], [-10.0]])(
    lambda folder: [list(v) for v in points(
        folder, f"time,lat (rad),lon (rad),t2m\n2020-06-01,{np.deg2rad(50)},{np.deg2rad(-10)},280\n"
    ).table[["lat", "lon"]].to_numpy().T]
)  # fmt: skip
odd("table", "a temperature in degF by its heading", [283.15, 288.15])(
    lambda folder: used(points(folder, TABLE.format("t2m [degF]", 50, 59)))
)
odd("table", "Celcius in a heading", Refused("did you mean 'Celsius'", "units: K (or another)"))(
    lambda folder: used(points(folder, TABLE.format("t2m [Celcius]", 10, 15)))
)
odd("table", "Celcius in a heading, and the key that its refusal names", [283.15, 288.15])(
    lambda folder: used(points(folder, TABLE.format("t2m [Celcius]", 10, 15), units="degC"))
)
odd("file", "units Celcius of a grid", Refused("did you mean 'Celsius'", "units: K (or another)"))(
    lambda folder: grid_rows(grid(fields(folder, SIX, units="Celcius")), "x", STATE)
)
odd("file", "units Celcius of a grid, and the key that its refusal names", [283.15] * 6)(
    lambda folder: list(
        grid_rows(grid(fields(folder, [10.0] * 6, units="Celcius"), units="degC"), "x", STATE).value
    )
)
odd("table", "one name in two units", Refused("'t2m [K]'", "'t2m [degC]'", "variables: {NAME:"))(
    lambda folder: points(folder, TABLE.format("t2m [K],t2m [degC]", "280,7", "281,8"))
)
odd("table", "one name in two units, of which one is named", [280.15, 281.15])(
    lambda folder: used(
        points(folder, TABLE.format("t2m [K],t2m [degC]", "280,7", "281,8"), ":t2m=t2m [degC]=1")
    )
)
odd(
    "table",
    "a unit in the heading of values, and another in their rows",
    Refused("'K'", "'degC'", "correct one"),
)(
    lambda folder: points(
        folder,
        "time,lat,lon,variable,value [K],units\n2020-06-01,50,7,t2m,280,degC\n2020-06-01,51,7,t2m,7,degC\n",
    )
)


# ---- text among numbers

MOSTLY_TEXT = "time,lat,lon,t2m\n" + "".join(
    f"2020-06-01,{50 + k},7,{cell}\n" for k, cell in enumerate(("280", "calm", "bad", "bad"))
)


@odd("table", "a variable that is mostly text: its cells are named", True)
def _(folder: Path) -> bool:
    source = points(folder, MOSTLY_TEXT.replace("t2m", "msl,t2m").replace(",7,", ",7,1010,"))
    return any(
        "1 of its cells are numbers, 3 are not ('calm' in row 2" in n for n in source.table.attrs["notes"]
    )


odd("table", "words that the caller says are missing", [280.0])(
    lambda folder: used(points(folder, MOSTLY_TEXT, missing=["bad", "calm"]))
)


# ---- fills and flags of grids

odd(
    "file", "-9999 in observations, beyond the bounds of their variable", Refused("-9999", "missing: [-9999]")
)(lambda folder: grid_rows(grid(fields(folder, [-9999.0, *SIX[1:]])), "x", STATE))
odd("file", "-9999 in observations, named as the refusal says", SIX[1:])(
    lambda folder: list(
        grid_rows(grid(fields(folder, [-9999.0, *SIX[1:]]), missing=[-9999.0]), "x", STATE).value
    )
)
for _what, _quality in (
    ("the greatest", {"qc": 1}),
    ("both", {"qc": (0, 1)}),
    ("meanings", {"qc": ["good", "fair"]}),
):
    odd("file", f"flags of a grid, {_what} kept", SIX[:3])(
        lambda folder, q=_quality: list(
            grid_rows(grid(fields(folder, SIX, flags=[0, 1, 1, 2, 2, 2]), quality=q), "x", STATE).value
        )
    )


@odd("file", "flags of a grid of which nobody says anything are told", True)
def _(folder: Path) -> bool:
    path = fields(folder, SIX, flags=[0, 1, 1, 2, 2, 2])
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        open_fields(path, "t2m")
    return any("'qc', which are not applied" in str(n.message) for n in told)


@odd("file", "flags have no mean on another grid, and are left out", {"names": ["t2m"], "told": True})
def _(folder: Path) -> Any:
    ds = open_fields(fields(folder, SIX, flags=[0, 1, 1, 2, 2, 2]))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        moved = regrid_fields(ds, STATE.grid)
    return {"names": list(moved.data_vars), "told": any("have no mean" in str(n.message) for n in told)}


@odd("file", "attributes of the old grid on another", ["GRIB_paramId", "cell_methods", "units"])
def _(folder: Path) -> Any:
    keys = {
        "GRIB_paramId": 167,
        "GRIB_gridType": "regular_ll",
        "GRIB_Nx": 3,
        "GRIB_latitudeOfFirstGridPointInDegrees": 50.0,
    }
    ds = open_fields(fields(folder, SIX, **keys)).assign_attrs(geospatial_lat_min=50.0)
    moved = regrid_fields(ds, STATE.grid)
    assert not moved.attrs
    return sorted(moved.t2m.attrs)


@odd("file", "check names the file of a mean of members and of a level", [True, True])
def _(folder: Path) -> Any:
    rng = np.random.default_rng(0)
    axes = {
        "number": [0, 1, 2],
        "plev": ("plev", [500.0, 850.0], {"units": "hPa", "axis": "Z"}),
        "lat": ("lat", [50.0, 51.0], {"units": "degrees_north"}),
        "lon": ("lon", [7.0, 8.0], {"units": "degrees_east"}),
    }
    ds = xr.Dataset(
        {"t": (("number", "plev", "lat", "lon"), rng.normal(280, 1, (3, 2, 2, 2)), {"units": "K"})}, axes
    )
    ds.to_zarr(folder / "e.zarr")
    ds.isel(number=0, drop=True).to_zarr(folder / "l.zarr")
    lines = [
        describe_source(grid(folder / name, f":t2m=t@500{error}"))[0]
        for name, error in (("e.zarr", ""), ("l.zarr", "=1"))
    ]
    return [str(folder) in line for line in lines]


# ---- fills of other inputs, and what a file is


@odd("file", "-9999 in a truth, and the command that its refusal names", {"refused": True, "left": 5})
def _(folder: Path) -> Any:
    path = fields(folder, [-9999.0, *SIX[1:]])
    try:
        with_known_fills(open_fields(path))
    except SkyweaveError as refusal:
        told = "skyweave regrid FILE --like FILE --missing=-9999 --out COPY" in str(refusal)
    main(["regrid", str(path), "--like", str(path), "--missing=-9999", "--out", str(folder / "copy.nc")])
    copy = with_known_fills(open_fields(folder / "copy.nc"))
    return {"refused": told, "left": int(copy.t2m.notnull().sum())}


odd("table", "info of a table", ["t2m (degC): 2 reports"])(
    lambda folder: [
        line.partition("variable")[2].strip()
        for line in described_data(Path(written(folder, TABLE.format("t2m [degC]", 10, 15))))[1:2]
    ]
)
odd("file", "info of YAML", {"status": 2})(
    lambda folder: {"status": main(["info", written(folder, "prior: era5\n", "c.yaml")])}
)
