"""Station tables: every layout of the same reports gives the same table; bad cells are named."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from skyweave.errors import SkyweaveError
from skyweave.io import read_stations

DATA = Path(os.environ.get("SKYWEAVE_DATA", Path(__file__).parents[2] / "shared" / "data"))

REPORTS = pd.DataFrame(
    {
        "time": np.array(
            ["2020-01-01T00:00", "2020-01-01T00:00", "2020-01-01T06:30", "2020-01-02"], "datetime64[ns]"
        ),
        "lat": [48.2, -33.9, 0.0, np.nan],
        "lon": [16.4, 151.2, 359.5, 10.0],
        "variable": ["t2m"] * 4,
        "value": [271.5, 295.25, np.nan, 280.0],
        "error": [0.5, 0.5, 0.25, 1.0],
    }
)


def same(table: pd.DataFrame, expected: pd.DataFrame = REPORTS) -> None:
    pd.testing.assert_frame_equal(
        table[list(expected.columns)], expected, check_dtype=False, check_exact=True
    )
    assert table.time.dtype == np.dtype("datetime64[ns]")


@pytest.mark.parametrize("separator", [",", ";", "\t", ", "])
@pytest.mark.parametrize("form", ["%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%MZ", "%Y%m%d%H%M"])
def test_csv_in_any_dress_is_the_same_table(tmp_path, separator, form):
    text = (
        REPORTS.assign(time=REPORTS.time.dt.strftime(form))
        .to_csv(index=False, na_rep="")
        .replace(",", separator)
    )
    (tmp_path / "a.csv").write_text("# written by hand\n\n" + text)
    same(read_stations(tmp_path / "a.csv"))
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(text.encode("utf-8-sig")))
    same(read_stations(str(tmp_path / "a.csv.gz")))


@pytest.mark.parametrize(
    "names",
    [
        {"time": "Date_Time", "lat": "Latitude", "lon": "LONGITUDE", "value": "obs", "error": "sigma"},
        {"time": "valid_time", "lat": "lat (degrees_north)", "lon": "lng", "variable": "parameter"},
        {"time": "timestamp", "lon": "long", "error": "uncertainty", "value": "Observed Value"},
    ],
)
def test_usual_names_are_understood(names):
    same(read_stations(REPORTS.rename(columns=names)))


def test_other_names_and_constants_are_given():
    table = REPORTS.drop(columns=["variable", "lat", "error"]).rename(columns={"value": "z"})
    out = read_stations(table, columns={"value": "z"}, constants={"variable": "t2m", "lat": 5, "error": 0.1})
    same(out, REPORTS.assign(lat=5.0, error=0.1))
    out = read_stations(table, variables="t2m", columns={"value": "z"}, constants={"lat": 5})
    assert out.error.isna().all()
    assert set(out.variable) == {"t2m"}


def test_wide_and_long_are_the_same_table():
    second = REPORTS.assign(variable="rh", value=[0.1, np.nan, 0.3, 0.4], error=np.nan)
    wide = REPORTS[["time", "lat", "lon"]].assign(
        **{
            "station": ["A1", "B", "007", "C"],
            "t2m [K]": REPORTS.value,
            "rh": second.value,
            "t2m_error": REPORTS.error,
            "remark": ["fine", "", "ice", "3"],
        }
    )
    out = read_stations(wide)
    same(out, pd.concat([REPORTS, second], ignore_index=True))
    assert list(out.station[:4]) == ["A1", "B", "007", "C"]
    assert list(out.units) == ["K"] * 4 + [""] * 4
    same(read_stations(wide, variables=["t2m"]))


def test_identifiers_keep_their_zeros(tmp_path):
    (tmp_path / "a.csv").write_text("station,time,lat,lon,t2m\n00307,2020-01-01,1,2,280\n")
    out = read_stations(tmp_path / "a.csv")
    assert out.station[0] == "00307"
    assert list(out.variable) == ["t2m"]


def test_zones_are_turned_to_utc():
    zoned = REPORTS.assign(time=REPORTS.time.dt.tz_localize("UTC").dt.tz_convert("Asia/Tokyo"))
    same(read_stations(zoned))
    text = REPORTS.assign(time=zoned.time.map(lambda t: t.isoformat()))
    assert text.time[0] == "2020-01-01T09:00:00+09:00"
    same(read_stations(text))
    same(read_stations(zoned.set_index("time")))


def test_numbers_that_mean_missing():
    table = REPORTS.assign(value=REPORTS.value.fillna(-999), error=[-999, 1, 1, 1])
    out = read_stations(table, missing=[-999])
    np.testing.assert_array_equal(out.value, REPORTS.value)
    assert np.isnan(out.error[0])


def test_input_is_left_alone():
    table = REPORTS.copy()
    read_stations(table, variables="t2m")
    pd.testing.assert_frame_equal(table, REPORTS)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (
            lambda t: t.drop(columns="lat"),
            r"no column for 'lat' .*latitude.*found: time, lon, variable, value, error",
        ),
        (lambda t: t.drop(columns=["value", "error"]), "no column for 'value'"),
        (lambda t: t.drop(columns="variable"), "no column for 'variable'"),
        (lambda t: t.assign(value=["1", "2", "three", "4"]), r"column 'value': row 3 holds 'three'"),
        (lambda t: t.assign(lon=["1", "E 2", "3", "x"]), r"column 'lon': row 2 holds 'E 2'.*2 such rows"),
        (lambda t: t.assign(error=["1", "2", "3", "?"]), r"column 'error': row 4 holds"),
        (
            lambda t: t.assign(time=["2020-01-01", "01/02/2020", "", "x"]),
            r"row 2 holds '01/02/2020'.*not a date",
        ),
        (lambda t: t.assign(time=[0, 1, 2, 3]), r"row 1 holds .*not a date"),
        (lambda t: t.iloc[:0], "no rows"),
        (lambda t: pd.concat([t, t[["lat"]]], axis=1), "'lat' is there twice"),
    ],
)
def test_bad_tables_are_refused_with_the_place(change, match):
    with pytest.raises(SkyweaveError, match=match):
        read_stations(change(REPORTS))


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"variables": ["t2n"]}, r"no observation of 't2n' \(did you mean 't2m'\?\); it has: t2m"),
        ({"columns": {"value": "valeu"}}, r"no column 'valeu' \(did you mean 'value'\?\)"),
        ({"columns": {"latt": "lat"}}, "unknown role 'latt'"),
        ({"constants": {"eror": 1}}, r"unknown column 'eror' \(did you mean 'error'\?\)"),
    ],
)
def test_bad_requests_are_refused(arguments, match):
    with pytest.raises(SkyweaveError, match=match):
        read_stations(REPORTS, **arguments)


def test_bad_files_are_refused(tmp_path):
    REPORTS.to_csv(tmp_path / "stations.csv", index=False)
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "grid.nc").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(range(256)))
    whole = gzip.compress(REPORTS.to_csv().encode())
    (tmp_path / "short.csv.gz").write_bytes(whole[: len(whole) // 2])
    for name, match in [
        ("station.csv", "did you mean 'stations.csv'"),
        ("empty.csv", "is empty"),
        ("grid.nc", "not a text table"),
        ("short.csv.gz", "cannot be read"),
        (".", "is a folder"),
    ]:
        with pytest.raises(SkyweaveError, match=match):
            read_stations(tmp_path / name)


@pytest.mark.realdata
def test_real_tables():
    (path,) = DATA.glob("noaa-us-stations-*/*.csv.gz")
    out = read_stations(path, variables=["Tmax", "Tmin"], columns={"variable": "proc", "value": "z"})
    raw = pd.read_csv(path)
    assert len(out) == raw.proc.isin(["Tmax", "Tmin"]).sum()
    assert out.value.mean() == pytest.approx(raw.z[raw.proc.isin(["Tmax", "Tmin"])].mean())
    for path in DATA.glob("merra2-aod-points-hourly/*.csv"):
        out = read_stations(path, constants={"lat": -30.2, "lon": -70.8})
        assert {"TOTEXTTAU", "TOTANGSTR"} <= set(out.variable)
        with pytest.raises(SkyweaveError, match="no column for 'lat'"):
            read_stations(path)
