"""Odd tables of reports; see `odd_cases`."""

from __future__ import annotations

import gzip
import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from odd_cases import Refused, odd
from skyweave.errors import SkyweaveError
from skyweave.grid import Grid
from skyweave.io import read_aeronet, read_igra, read_reports, read_stations
from skyweave.observe.match import TimeAxis
from skyweave.observe.observation import PointObservation
from skyweave.observe.points import point_rows
from skyweave.observe.rows import Frame
from skyweave.state import StateSpec, Variable

PLACE = "50.5,7.1"
SOUNDING = b"#GMM00010393 2020 01 01 00 2330    1 ncdc-gts ncdc-gts  522167   141167\n"


def times(folder: Path, text: str, **asked: Any) -> list[str]:
    """The times of a table, as text."""
    (folder / "t.csv").write_text(text, encoding="utf-8")
    return list(read_reports(folder / "t.csv", **asked)["time"].dt.strftime("%Y-%m-%dT%H:%M"))


def dated(heading: str, *cells: str) -> str:
    """A table with some columns of times before a place and a value."""
    return f"{heading},lat,lon,t2m\n" + "".join(f"{cell},{PLACE},280\n" for cell in cells)


def read(folder: Path, text: str | bytes, name: str = "t.csv", **asked: Any) -> pd.DataFrame:
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_reports(folder / name, **asked)


def row(table: pd.DataFrame) -> tuple[float, ...]:
    """Latitude, longitude and value of the first row."""
    return tuple(float(table[c].iloc[0]) for c in ("lat", "lon", "value"))


def time_case(what: str, text: str, right: Any, **asked: Any) -> None:
    odd("table", what, right)(lambda folder: times(folder, text, **asked))


def value_case(what: str, text: str | bytes, right: Any, **asked: Any) -> None:
    odd("table", what, right)(lambda folder: row(read(folder, text, **asked)))


TWO = ["2020-06-01T06:00", "2020-06-01T18:00"]
for words, heading, cells in (
    ("date and hour in two columns", "date,hour", ("2020-06-01,6", "2020-06-01,18")),
    ("date and HH", "date,HH", ("20200601,06", "20200601,18")),
    ("date and hhmm", "date,hhmm", ("20200601,600", "20200601,1800")),
    ("date and time as HHMM", "date,time", ("2020-06-01,0600", "2020-06-01,1800")),
    ("date and time of day", "Date,Time", ("2020-06-01,06:00", "2020-06-01,18:00")),
    ("date and time of day in halves", "Date,Time", ("2020-06-01,06:00 AM", "2020-06-01,06:00 PM")),
    ("date and a column utc", "date,utc", ("20200601,06", "20200601,18")),
    ("date, hour and minute", "date,hour,minute", ("2020-06-01,6,0", "2020-06-01,18,0")),
    ("year, month, day and hour", "year,month,day,hour", ("2020,6,1,6", "2020,6,1,18")),
    ("midnights beside hours", "time,hour", ("2020-06-01 00:00:00,6", "2020-06-01 00:00:00,18")),
    ("spellings that change from row to row", "time", ("20200601T0600Z", "2020/06/01 18:00:00.0")),
    ("the month by its name", "time", ("1-Jun-2020 06:00", "01 June 2020 18:00")),
    ("blanks in dates, and UTC", "time", ("2020 06 01 06:00 UTC", "2020 06 01 18:00 UTC")),
    ("offsets in some rows", "time", ("2020-06-01T08:00+02:00", "2020-06-01T18:00")),
    ("a zone in the heading", "time [CEST]", ("2020-06-01 08:00", "2020-06-01 20:00")),
    ("a column of zones", "time,time_zone", ("2020-06-01 08:00,CEST", "2020-06-01 13:00,EST")),
    ("a column of offsets", "time,utc_offset", ("2020-06-01T01:00,-5", "2020-06-01T20:30,2.5")),
    ("UTC in the heading beside offsets", "time_utc,utc_offset", ("2020-06-01T06:00,-5", "2020-06-01T18:00,-5")),
    ("seconds since 1970 by the heading", "unix_time", ("1590991200", "1591034400")),
    ("hours since 1900 by the heading", "time [hours since 1900-01-01]", ("1055550", "1055562")),
):  # fmt: skip
    # 1055550 h are 43981.25 days; 2020-06-01 is day 43981 from 1900-01-01, as 120 * 365 + 29 + 152.
    time_case(words, dated(heading, *cells), TWO)
for words, heading, cells, asked in (
    ("seconds since 1970, said so", "time", ("1590991200", "1591034400"), {"time_format": "epoch_s"}),
    ("milliseconds since 1970, said so", "time", ("1590991200000", "1591034400000"), {"time_format": "epoch_ms"}),
    ("numbers of a spreadsheet, said so", "time", ("43983.25", "43983.75"), {"time_format": "excel"}),
    ("day before month, said so", "time", ("01/06/2020 06:00", "01/06/2020 18:00"), {"time_format": "%d/%m/%Y %H:%M"}),
    ("two columns, said so", "day0,h", ("2020-06-01,6", "2020-06-01,18"), {"columns": {"time": ["day0", "h"]}}),
    ("local times, zone said", "time (local)", ("2020-06-01 08:00", "2020-06-01 20:00"), {"time_zone": "+02:00"}),
    ("local times, city said", "time", ("2020-06-01 08:00", "2020-06-01 20:00"), {"time_zone": "Europe/Berlin"}),
):  # fmt: skip
    time_case(words, dated(heading, *cells), TWO, **asked)
time_case("24:00 is the next midnight", dated("time", "2020-06-01T24:00"), ["2020-06-02T00:00"])
time_case("local times in summer and winter", dated("time", "2020-01-01 12:00", "2020-07-01 12:00"),
          ["2020-01-01T11:00", "2020-07-01T10:00"], time_zone="Europe/Paris")  # fmt: skip
for words, heading, cell, hints in (
    ("local times without a zone", "time (local)", "2020-06-01 06:00", ("local", "time_zone")),
    ("an abbreviation of several zones", "time [CST]", "2020-06-01 06:00", ("CST", "several", "time_zone")),
    ("day and month that may be either", "time", "03/04/2019", ("time_format", "%d/%m/%Y", "%m/%d/%Y")),
    ("seconds since 1970 without a word", "time", "1590969600", ("time_format: epoch_s",)),
    ("seconds that look like a date", "time", "1512010100", ("time_format: epoch_s",)),
    ("milliseconds without a word", "time", "1590969600000", ("time_format: epoch_ms",)),
    ("numbers of a spreadsheet without a word", "time", "43983.25", ("time_format: excel",)),
    ("a time of day without a date", "time", "06:00", ("date", "columns: {time: [date, hour]}")),
    ("a year alone", "time", "1800", ("not a date", "time_format: '%Y'")),
    (
        "two times of day that differ",
        "time,hour",
        "2020-06-01T06:00,8",
        ("which is the time", "columns: {time: time}"),
    ),
    ("a day that no month has", "time", "2020-06-31", ("row 1", "not a date")),
    ("an hour that no day has", "date,hour", "2020-06-01,25", ("row 1", "no time of day")),
):
    time_case(words, dated(heading, cell), Refused(*hints))

HEAD, ROW = "time,lat,lon,t2m\n", "2020-06-01T00:00,50.5,7.1,13.25\n"
RIGHT = (50.5, 7.1, 13.25)
for words, text, right in (
    ("decimal commas between semicolons", "time;lat;lon;t2m\n2020-06-01T00:00;50,5;7,1;13,25\n", RIGHT),
    ("decimal commas in quotes", HEAD + '2020-06-01T00:00,"50,5","7,1","13,25"\n', RIGHT),
    ("decimal commas between tabs", "time\tlat\tlon\tt2m\n2020-06-01T00:00\t50,5\t7,1\t13,25\n", RIGHT),
    ("a comma of thousands beside decimal ones", "time;lat;lon;z\n2020-06-01;50,5;7,1;1,125\n", (50.5, 7.1, 1.125)),
    ("decimal commas between commas", HEAD + "2020-06-01,50,5,7,1,13,2\n", Refused("row 1", "7 fields", "decimal")),
    ("a comma of thousands or decimals", HEAD + '2020-06-01,50.5,7.1,"101,325"\n', Refused("row 1", "decimal: ','")),
    ("separators of thousands", HEAD + '2020-06-01T00:00,50.5,7.1,"1,101,325"\n', Refused("row 1", "thousands")),
    ("a field too many in one row", HEAD + ROW + ROW.strip() + ",9\n", Refused("row 2", "5 fields", "has 4")),
    ("a row cut short", HEAD + ROW + "2020-06-01T00:00,48.9\n", Refused("row 2 (the last)", "2 fields", "cut short")),
    ("a line below the table", HEAD + ROW + "1 report\n", Refused("row 2 (the last)", "below the table")),
    ("a separator at the end of each row", HEAD + ROW.strip() + ",\n", RIGHT),
    ("titles above the heading, comments, empty lines", "Hourly data\n\n# made by hand\n" + HEAD + "\n" + ROW, RIGHT),
    ("a heading in a comment", "# " + HEAD + ROW, RIGHT),
    ("units below the heading", HEAD + "UTC,deg,deg,K\n" + ROW, RIGHT),
    ("a comma in a unit, between semicolons", "time;lat;lon;t2m [K, 2 m]\n2020-06-01;50.5;7.1;13.25\n", RIGHT),
    ("two columns of one name", "time,lat,lon,t2m,t2m\n2020-06-01,50.5,7.1,1,2\n", Refused("t2m", "twice")),
    ("a quotation mark that does not close", HEAD[:-1] + ",note\n" + ROW.strip() + ',"a\n' + ROW, Refused("quot")),
    ("UTF-16", (HEAD + ROW).encode("utf-16"), RIGHT),
    ("UTF-8 with its mark, CR LF", (HEAD + ROW).replace("\n", "\r\n").encode("utf-8-sig"), RIGHT),
    ("Latin-1", (HEAD.replace("time", "station,time") + "Orléans," + ROW).encode("latin-1"), RIGHT),
    ("letters of the hemispheres", HEAD + "2020-06-01,33.9S,70.5W,1\n", (-33.9, -70.5, 1)),
    ("degrees and minutes", HEAD + "2020-06-01,48°51'36\"N,2°24'E,1\n", (48 + 51 / 60 + 36 / 3600, 2.4, 1)),
    ("sixty minutes", HEAD + "2020-06-01,48°60'N,2,1\n", Refused("lat", "48°60'N")),
    ("latitudes and longitudes exchanged", HEAD + "2020-06-01,139.7,35.7,1\n", Refused("139.7", "exchanged")),
    ("a plain minus of typographers", HEAD + "2020-06-01,50.5,\u22127.1,1\n", (50.5, -7.1, 1)),
    ("an underscore in a number", HEAD + "2020-06-01,50.5,7.1,1_3\n" + ROW * 2, Refused("1_3", "not a number")),
):  # fmt: skip
    value_case(words, text, right)
value_case(
    "a comma, said to be decimal", HEAD + '2020-06-01,50.5,7.1,"101,325"\n', (50.5, 7.1, 101.325), decimal=","
)


time_case("hours with decimals", dated("date,hour", "2020-06-01,6.5"), ["2020-06-01T06:30"])
time_case("hours with a letter", dated("date,hour", "2020-06-01,06h"),
          Refused("column 'hour'", "'06h'", "dates alone"))  # fmt: skip
value_case("hemispheres in columns of their own", "time,lat,NS,lon,EW,t2m\n2020-06-01,33,S,70,W,280\n",
           Refused("'NS' holds S", "33.5S"))  # fmt: skip
value_case("a footnote behind the only value", "time,lat,lon,t2m\n2020-06-01,33,70,280*\n",
           Refused("column 't2m'", "280*", "not a number"))  # fmt: skip
value_case("an error with a unit, of values without one", "time,lat,lon,t2m,t2m_error [K]\n2020-06-01,33,70,50,1\n",
           Refused("t2m_error [K]", "its values have none"))  # fmt: skip


@odd("table", "an error in kelvin of values in degF", 1.8)
def _(folder: Path) -> float:
    table = read(folder, "time,lat,lon,t2m [degF],t2m_error [K]\n2020-06-01,33,70,50,1\n")
    return round(float(table["error"].iloc[0]), 9)


@odd("table", "a unit in the heading of the values, another in that of the errors", ("degF", 1.8))
def _(folder: Path) -> tuple[str, float]:
    table = read(folder, "time,lat,lon,variable,value [degF],error [K]\n2020-06-01,33,70,t2m,50,1\n")
    return table["units"].iloc[0], round(float(table["error"].iloc[0]), 9)


@odd("table", "words for missing values", {"t2m": [np.nan, np.nan, np.nan, 280.5], "msl": [np.nan] * 4})
def _(folder: Path) -> dict[str, list[float]]:
    text = "time,lat,lon,t2m,msl\n" + "".join(f"2020-06-01,1,2,{a},{b}\n" for a, b in
                                              (("M", "//"), ("-", "//"), ("null", "//"), ("280.5", "//")))  # fmt: skip
    table = read(folder, text)
    assert "1 'M'" in str(table.attrs["notes"])
    assert "4 '//'" in str(table.attrs["notes"])
    return {name: list(part) for name, part in table.groupby("variable", sort=False)["value"]}


@odd(
    "table",
    "-999 far from all values, and 999 among pressures",
    {"t": [np.nan, 280.0, 281.0], "p": [999.0, 995.0, 1010.0]},
)
def _(folder: Path) -> dict[str, list[float]]:
    table = read(
        folder, "time,lat,lon,t,p\n2020-06-01,1,2,-999,999\n2020-06-01,1,3,280,995\n2020-06-01,1,4,281,1010\n"
    )
    assert "1 of -999" in str(table.attrs["notes"])
    return {name: list(part) for name, part in table.groupby("variable", sort=False)["value"]}


@odd("table", "-999 said to be a number", (1, 2, -999.0))
def _(folder: Path) -> tuple[float, ...]:
    return row(read(folder, "time,lat,lon,t\n2020-06-01,1,2,-999\n2020-06-01,1,3,280\n", missing=[]))


@odd("table", "one line of two megabytes", {"refused": True, "short": True})
def _(folder: Path) -> dict[str, bool]:
    try:
        read(folder, "1,2," * 500_000)
    except SkyweaveError as refusal:
        return {"refused": "no heading of a table" in str(refusal), "short": len(str(refusal)) < 1000}
    return {}


@odd(
    "table",
    "a gzip that unpacks to 400 megabytes of blanks",
    Refused("unpacks to more than", "decompress it"),
)
def _(folder: Path) -> Any:
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=1) as out:
        for _ in range(100):
            out.write(b" " * 4_000_000)
    return read(folder, packed.getvalue(), "t.csv.gz")


@odd("table", "a column by another name, with its unit", {"variable": "t2m", "value": 13.25, "units": "°C"})
def _(folder: Path) -> dict[str, Any]:
    table = read(folder, "time,lat,lon,T (°C)\n2020-06-01,50.5,7.1,13.25\n", variables={"t2m": "T"})
    return {key: table[key].iloc[0] for key in ("variable", "value", "units")}


# ---- other kinds of file


def sheet(path: Path, rows: list[list[Any]]) -> Path:
    import openpyxl

    book = openpyxl.Workbook()
    for cells in rows:
        book.active.append(cells)
    book.save(path)
    return path


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


# ---- what the matching makes of them

STATE = Frame(
    StateSpec((Variable("t2m", "K", bounds=(150.0, 400.0)),)),
    Grid(np.arange(40.0, 60), np.arange(0.0, 30)),
    TimeAxis.of(np.array(["2020-06-01"], "M8[ns]")),
)


def matched(values: list[float], errors: list[float] | None = None, **asked: Any) -> Any:
    """Rows of reports of one place and time."""
    table = pd.DataFrame({"time": "2020-06-01", "lat": 50.0, "lon": 7.0, "variable": "t2m", "value": values})
    if errors is not None:
        table["error"] = errors
    return point_rows(PointObservation(read_stations(table.assign(station="03772")), **asked), "st", STATE)


@odd("table", "twins of different values", {"value": [281.0], "sd": [0.5**0.5], "used": 2})
def _(_: Path) -> dict[str, Any]:
    rows = matched([280.0, 282.0], error=1.0)
    return {"value": list(rows.value), "sd": list(np.sqrt(rows.R.variance)), "used": rows.report.used}


@odd("table", "twins of different errors", {"value": [(280 + 4 * 281) / 5], "sd": [0.2**0.5]})
def _(_: Path) -> dict[str, Any]:
    rows = matched([280.0, 281.0], [1.0, 0.5])
    return {"value": list(rows.value), "sd": list(np.sqrt(rows.R.variance))}


@odd("table", "twins wholly alike beside another", {"value": [281.0], "dropped": 2})
def _(_: Path) -> dict[str, Any]:
    rows = matched([280.0, 282.0, 280.0, 280.0], error=1.0)
    return {"value": list(rows.value), "dropped": rows.report.dropped["duplicated"]}


@odd("table", "twins that disagree beyond their errors", {"value": [285.0], "sd": [5.0], "told": True})
def _(_: Path) -> dict[str, Any]:
    # chi-square 2 * 5^2 / 1 = 50 on one degree of freedom: 1/2 of the variance, times 50.
    rows = matched([280.0, 290.0], error=1.0)
    told = any("disagree" in note and "station 03772" in note for note in rows.report.notes)
    return {"value": list(rows.value), "sd": list(np.sqrt(rows.R.variance)), "told": told}


@odd("table", "an error in the flag beside a column", {"sd": [0.25, 0.5], "told": True})
def _(_: Path) -> dict[str, Any]:
    table = pd.DataFrame(
        {"time": "2020-06-01", "lat": [50.0, 51.0], "lon": 7.0, "t2m": 280.0, "t2m_error": [0.25, np.nan]}
    )
    rows = point_rows(PointObservation(read_stations(table), error=0.5), "st", STATE)
    told = any("1 from the table's column" in note for note in rows.report.notes)
    return {"sd": list(np.sqrt(rows.R.variance)), "told": told}


@odd(
    "table",
    "a value beyond the bound is named",
    "out of range: station 03772 at 2020-06-01T00:00 t2m = 1200 K, above the bound 400 K",
)
def _(_: Path) -> str:
    return next(
        note for note in matched([280.0, 1200.0], error=1.0).report.notes if note.startswith("out of range")
    )


@odd("table", "a year that no clock of nanoseconds holds, 3020", Refused("3020", "which is not a date"))
def _(folder: Path):
    path = folder / "a.csv"
    path.write_text("time,lat,lon,t2m\n3020-01-05T11:00,48,2,280\n")
    return read_stations(path)


@odd("table", "three million lines of nothing", Refused("of hardly a character each"))
def _(folder: Path):
    path = folder / "a.csv"
    path.write_text("time,lat,lon,t2m\n" + "\n" * 3_000_000)
    return read_stations(path)
