"""Odd reports that are no tables of text: spreadsheets, NetCDF, AERONET, IGRA; see `odd_cases`."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from odd_cases import Refused, odd
from skyweave.io import read_aeronet, read_igra, read_reports
from table_cases import (
    HEAD,
    ROW,
    row,
    sheet,
    value_case,
)

SOUNDING = b"#GMM00010393 2020 01 01 00 2330    1 ncdc-gts ncdc-gts  522167   141167\n"


@odd(
    "table",
    "a spreadsheet with a title, dates and times of day apart",
    {"time": "2020-06-01T06:30", "row": (50.5, 7.1, 13.25)},
)
def _(folder: Path) -> Any:
    day, clock = pd.Timestamp("2020-06-01").to_pydatetime(), pd.Timestamp("2020-06-01 06:30").time()
    rows = [["Station book"], ["date", "time", "lat", "lon", "t2m"], [day, clock, 50.5, 7.1, 13.25]]
    table = read_reports(sheet(folder / "a.xlsx", rows))
    return {"time": f"{table['time'].iloc[0]:%Y-%m-%dT%H:%M}", "row": row(table)}


@odd("table", "stations by times in NetCDF, with fill values", {"n": 5, "mean": 281.0, "station": "B"})
def _(folder: Path) -> dict[str, Any]:
    values = np.array([[280.0, 281.0, -999.9], [282.0, 283.0, 279.0]], np.float32)
    ds = xr.Dataset(
        {"t2m": (("station", "time"), values, {"units": "K"}), "station_name": ("station", ["A", "B"])},
        {
            "lat": ("station", [50.0, 51.0], {"standard_name": "latitude"}),
            "lon": ("station", [7.0, 8.0], {"standard_name": "longitude"}),
            "time": pd.date_range("2020-06-01", periods=3, freq="h"),
        },
        {"featureType": "timeSeries"},
    )
    ds.to_netcdf(folder / "s.nc", engine="h5netcdf", encoding={"t2m": {"_FillValue": np.float32(-999.9)}})
    table = read_reports(folder / "s.nc")
    return {"n": len(table), "mean": table["value"].mean(), "station": table["station"].iloc[-1]}


@odd("table", "samples in a contiguous ragged array", {"lat": [50.0, 50.0, 51.0], "value": [1.0, 2.0, 3.0]})
def _(folder: Path) -> dict[str, list[float]]:
    ds = xr.Dataset(
        {
            "rows": ("station", [2, 1], {"sample_dimension": "obs"}),
            "pm": ("obs", [1.0, 2.0, 3.0], {"units": "1"}),
        },
        {
            "lat": ("station", [50.0, 51.0], {"standard_name": "latitude"}),
            "lon": ("station", [7.0, 8.0], {"standard_name": "longitude"}),
            "time": ("obs", pd.date_range("2020-06-01", periods=3, freq="h")),
        },
        {"featureType": "timeSeries"},
    )
    ds.to_netcdf(folder / "s.nc", engine="h5netcdf")
    table = read_reports(folder / "s.nc")
    return {key: list(table[key]) for key in ("lat", "value")}


@odd("table", "a grid given as reports", Refused("grid", "--grid", "t2m"))
def _(folder: Path) -> Any:
    axes = {"lat": [50.0, 51.0], "lon": [7.0, 8.0]}
    xr.Dataset({"t2m": (("lat", "lon"), np.ones((2, 2)))}, axes).to_netcdf(folder / "g.nc", engine="h5netcdf")
    return read_reports(folder / "g.nc")


for words, content, hints in (
    ("IGRA soundings given as reports", SOUNDING, ("IGRA", "--soundings")),
    ("a Parquet file", b"PAR1\x00\x00", ("Parquet", "CSV")),
    ("JSON lines", b'{"time": "2020-06-01", "lat": 1}\n', ("JSON",)),
    ("a web page", b"<!DOCTYPE html><html>", ("web page",)),
    ("an old spreadsheet", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", (".xlsx",)),
):  # fmt: skip
    value_case(words, content, Refused(*hints))


@odd("table", "a zip archive of tables", Refused("zip", "unpack"))
def _(folder: Path) -> Any:
    with zipfile.ZipFile(folder / "t.zip", "w") as archive:
        archive.writestr("a.csv", HEAD + ROW)
    return read_reports(folder / "t.zip")


# ---- AERONET and IGRA

WAVES = (675, 500, 440)


def aeronet(kind: str, moments: list[str], extra: str = "") -> str:
    """An AERONET file whose AOD follows a power law of exponent -1.2 from 0.3 at 500 nm."""
    aod = ",".join(f"{0.3 * (w / 500) ** -1.2:.6f}" for w in WAVES)
    names = ",".join(f"AOD_{w}nm" for w in WAVES)
    heading = (f"Date(dd:mm:yyyy),Time(hh:mm:ss),{names},Data_Quality_Level,AERONET_Site_Name,Site_Latitude(Degrees),"
               "Site_Longitude(Degrees),Site_Elevation(m)" + extra)  # fmt: skip
    filling = ",".join("3" for _ in extra.split(",")[1:])
    rows = [
        f"01:06:2020,{m},{aod},lev20,Capo_Verde,16.733,-22.935,60.0" + (f",{filling}" if filling else "")
        for m in moments
    ]
    top = [
        "AERONET Version 3;",
        "Capo_Verde",
        "Version 3: AOD Level 2.0",
        "The following",
        "Contact: PI=x",
        kind,
    ]
    return "\n".join([*top, heading, *rows]) + "\n"


AOD550 = 0.3 * (550 / 500) ** -1.2
POINTS = "All Points,UNITS can be found at,,, https"
value_case("AERONET given as reports", aeronet(POINTS, ["09:05:00", "09:15:00"]), (16.733, -22.935, AOD550))
value_case(
    "AERONET daily averages",
    aeronet("Daily Averages,UNITS", ["12:00:00"]),
    Refused("daily averages", "All Points"),
)
value_case(
    "AERONET daily averages by their counts",
    aeronet("x", ["12:00:00"], ",N[AOD_500nm]"),
    Refused("daily averages"),
)
value_case(
    "AERONET cut within its last line", aeronet(POINTS, ["09:05:00", "09:15:00"])[:-12], Refused("truncated")
)


@odd("table", "an AERONET row with commas too many", {"n": 2, "dropped": 1})
def _(folder: Path) -> dict[str, int]:
    lines = aeronet(POINTS, ["09:05:00", "09:15:00", "09:25:00"]).splitlines()
    lines[-1] = lines[-1].replace("lev20", "lev20,,")
    (folder / "a.lev20").write_text("\n".join(lines) + "\n")
    table = read_aeronet(folder / "a.lev20", window=None)
    return {"n": len(table), "dropped": sum(table.attrs["dropped"].values())}


@odd("table", "an IGRA file with a byte above 127", Refused("line 2", "damaged"))
def _(folder: Path) -> Any:
    level = b"21     0 101320   112B  150B  800    32     0     0 \n"
    (folder / "GMM00010393-data.txt").write_bytes(SOUNDING + level.replace(b"B", b"\xff"))
    return read_igra(folder / "GMM00010393-data.txt")
