"""Odd tables of reports: separators, decimal marks, units, missing values; see `odd_cases`."""

from __future__ import annotations

import gzip
import io
from pathlib import Path
from typing import Any

import numpy as np

from odd_cases import Refused, odd
from skyweave.errors import SkyweaveError
from skyweave.io import read_stations
from table_cases import (
    HEAD,
    RIGHT,
    ROW,
    read,
    row,
    value_case,
)

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


@odd("table", "three million lines of nothing", Refused("of hardly a character each"))
def _(folder: Path):
    path = folder / "a.csv"
    path.write_text("time,lat,lon,t2m\n" + "\n" * 3_000_000)
    return read_stations(path)
