"""Odd flags of quality, in tables, spreadsheets and NetCDF; see `odd_cases`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from odd_cases import Refused, odd
from skyweave.io import read_reports
from skyweave.observe.observation import PointObservation
from skyweave.observe.points import point_rows
from table_cases import STATE, read, sheet

NAMES = (
    "qc",
    "quality",
    "flag",
    "QC_T2M",
    "t2m_qc",
    "t2m_quality_code",
    "t2mQC",
    "T2M QC Flag",
    "qflag",
    "DQF",
)
WIDE = "time,lat,lon,t2m,msl,{}\n" + "".join(
    f"2020-06-01,{50 + k},7,{280 + k},1010,{flag}\n" for k, flag in enumerate("0149")
)


def values(table: pd.DataFrame, variable: str = "t2m") -> list[float]:
    return list(table.loc[table["variable"] == variable, "value"])


def told(table: pd.DataFrame) -> bool:
    return any("not applied" in note and "quality: {" in note for note in table.attrs["notes"])


for _name in NAMES:

    @odd(
        "table",
        f"a column {_name} of which nobody says anything: no variable, and told",
        {"names": ["t2m", "msl"], "told": True},
    )
    def _(folder: Path, name=_name) -> Any:
        table = read(folder, WIDE.format(name))
        return {"names": list(table["variable"].unique()), "told": told(table)}


for _what, _quality, _right in (
    ("the greatest flag kept", {"t2m_qc": 1}, [280.0, 281.0]),
    ("the least and the greatest flag", {"t2m_qc": [1, 4]}, [281.0, 282.0]),
    ("the flags that are kept, as texts", {"t2m_qc": ["0", "9"]}, [280.0, 283.0]),
    ("no flag, said so", {}, [280.0, 281.0, 282.0, 283.0]),
    ("a flag that is not there", {"t2m_qv": 1}, Refused("t2m_qv", "did you mean 't2m_qc'")),
    ("three numbers for flags", {"t2m_qc": [0, 1, 4]}, Refused("single flags are texts")),
):

    @odd("table", f"{_what}: its own variable alone is screened", _right)
    def _(folder: Path, quality=_quality) -> Any:
        table = read(folder, WIDE.format("t2m_qc"), quality=quality)
        assert len(values(table, "msl")) == 4
        assert not told(table)
        return values(table)


@odd("table", "a flag of all columns", ([280.0], [1010.0]))
def _(folder: Path) -> Any:
    table = read(folder, WIDE.format("qc"), quality={"qc": 0})
    return values(table), values(table, "msl")


LONG = "time,lat,lon,variable,value,QC\n" + "".join(
    f"2020-06-01,{50 + k},7,t2m,{cells}\n" for k, cells in enumerate(("280,V", "281,V", "ERR,X", "283,"))
)


@odd("table", "flags in letters; a value that is none, of a bad flag; one without a flag", [280.0, 281.0])
def _(folder: Path) -> Any:
    table = read(folder, LONG, quality={"QC": "V"})
    assert any("'X': 1, without one: 1" in note for note in table.attrs["notes"])
    return values(table)


@odd("table", "flags in letters, and a number as the limit", Refused("'V'", "no number", "quality"))
def _(folder: Path) -> Any:
    return read(folder, LONG, quality={"QC": 1})


@odd("table", "flags in a spreadsheet", [280.0])
def _(folder: Path) -> Any:
    day = pd.Timestamp("2020-06-01").to_pydatetime()
    rows = [["time", "lat", "lon", "t2m", "quality"], [day, 50.0, 7.0, 280.0, 1], [day, 51.0, 7.0, 281.0, 2]]
    return values(read_reports(sheet(folder / "a.xlsx", rows), quality={"quality": 1}))


@odd("table", "a table of pandas with flags, given as it is", (4, True))
def _(_: Path) -> Any:
    table = pd.DataFrame({"time": "2020-06-01", "lat": [50.0, 51, 52, 53], "lon": 7.0, "variable": "t2m"})
    table = table.assign(time=pd.Timestamp("2020-06-01"), value=280.0, qc=[0, 1, 4, 9])
    report = point_rows(PointObservation(table, error=1.0), "st", STATE).report
    return report.used, any("'qc' holds quality flags that are not applied" in note for note in report.notes)


@odd("table", "an index of air quality is no flag", [40.0, 50.0])
def _(folder: Path) -> Any:
    text = "time,lat,lon,air_quality\n2020-06-01,50,7,40\n2020-06-01,51,7,50\n"
    return values(read(folder, text), "air_quality")


@odd("table", "a cloud water called qc, with its unit, is no flag", [1e-4, 2e-4])
def _(folder: Path) -> Any:
    table = read(folder, "time,lat,lon,t,qc [kg kg-1]\n2020-06-01,50,7,280,1e-4\n2020-06-01,51,7,281,2e-4\n")
    assert not told(table)
    return values(table, "qc")


def stations(folder: Path, linked: bool) -> Path:
    flags = {"flag_values": np.array([1, 2, 4], "i1"), "flag_meanings": "good doubtful bad"}
    values = {"units": "K"} | ({"ancillary_variables": "flag_t"} if linked else {})
    ds = xr.Dataset(
        {
            "t2m": (("station", "time"), [[280.0, 281.0], [282.0, 283.0]], values),
            "flag_t" if linked else "t2m_qc": (("station", "time"), np.array([[1, 2], [4, 1]], "i1"), flags),
            "msl": (("station", "time"), np.full((2, 2), 1010.0), {"units": "hPa"}),
        },
        {
            "lat": ("station", [50.0, 51.0], {"standard_name": "latitude"}),
            "lon": ("station", [7.0, 8.0], {"standard_name": "longitude"}),
            "time": pd.date_range("2020-06-01", periods=2, freq="h"),
        },
        {"featureType": "timeSeries"},
    )
    ds.to_netcdf(folder / "s.nc", engine="h5netcdf")
    return folder / "s.nc"


for _linked, _flag in ((True, "flag_t"), (False, "t2m_qc")):
    for _what, _quality, _right in (
        ("nothing said", None, (4, True)),
        ("the greatest", {_flag: 1}, (2, False)),
        ("by their meanings", {_flag: ["good", "doubtful"]}, (3, False)),
        ("a meaning that there is none of", {_flag: ["god"]}, Refused("no flag means 'god'", "'good'")),
    ):

        @odd("table", f"CF flags {_flag} of stations, {_what}", _right)
        def _(folder: Path, linked=_linked, quality=_quality) -> Any:
            table = read_reports(stations(folder, linked), quality=quality)
            assert len(values(table, "msl")) == 4
            assert set(table["variable"]) == {"t2m", "msl"}
            return len(values(table)), told(table)
