"""The IGRA reader: values by hand, codes, times, duplicates, damaged files; humidity against other formulas."""

from __future__ import annotations

import gzip
import os
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from skyweave.errors import SkyweaveError
from skyweave.io.igra import read_igra, read_station_list
from skyweave.thermodynamics import (
    dew_point,
    geopotential,
    relative_humidity,
    saturation_vapour_pressure,
    specific_humidity,
    standard_height,
    standard_temperature,
    vapour_pressure,
    virtual_temperature,
    wind_components,
)

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("SKYWEAVE_DATA", ROOT.parent / "shared" / "data")) / "igra-radiosondes"
NAME = "XXM00012345"


def level(
    kind="10",
    elapsed=-9999,
    p=-9999,
    z=-9999,
    t=-9999,
    rh=-9999,
    dpd=-9999,
    wdir=-9999,
    wspd=-9999,
    flags="   ",
) -> str:
    """A level's line, from the numbers as the format has them."""
    return f"{kind} {elapsed:5d} {p:6d}{flags[0]}{z:5d}{flags[1]}{t:5d}{flags[2]}{rh:5d} {dpd:5d} {wdir:5d} {wspd:5d} "


def head(n: int, date="2015 06 15", hour="00", release="2331", lat=482333, lon=163500, name=NAME) -> str:
    return f"#{name} {date} {hour} {release} {n:4d} ncdc-gts {'':8} {lat:7d} {lon:8d}"


def sounding(*levels: str, **kwargs) -> str:
    return "\n".join([head(len(levels), **kwargs), *levels]) + "\n"


FULL = sounding(
    level("21", elapsed=0, p=100000, z=120, t=153, dpd=21, wdir=180, wspd=30, flags="BAB"),
    level("10", elapsed=130, p=92500, z=763, t=100, rh=555, wdir=90, wspd=50),
    level("30", elapsed=201, z=1000, wdir=270, wspd=100),
    level("22", p=50000, z=5720, t=-8888, dpd=46, wdir=0, wspd=0),
)


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / f"{NAME}-data.txt"


def test_every_column_is_what_the_line_says(file):
    table = read_igra(write(file, FULL))
    assert table["station"].unique().tolist() == [NAME]
    assert table["source"].unique().tolist() == ["ncdc-gts"]
    assert table["time"].unique() == np.datetime64("2015-06-15T00")
    assert table["release"].unique() == np.datetime64("2015-06-14T23:31")
    np.testing.assert_allclose(table[["lat", "lon"]].to_numpy(), [[48.2333, 16.35]] * 4)
    np.testing.assert_array_equal(table["elapsed"], [0, 90, 121, np.nan])
    assert table["level_type"].tolist() == [2, 1, 3, 2]
    assert table["level_kind"].tolist() == [1, 0, 0, 2]
    np.testing.assert_array_equal(table["pressure"], [1000, 925, np.nan, 500])
    np.testing.assert_array_equal(table["height"], [120, 763, 1000, 5720])
    np.testing.assert_allclose(table["temperature"], [288.45, 283.15, np.nan, np.nan])
    np.testing.assert_allclose(table["dew_point"][0], 286.35)
    np.testing.assert_allclose(table["relative_humidity"][1], 0.555)
    np.testing.assert_allclose(table["u"], [0, -5, 10, 0], atol=1e-12)
    np.testing.assert_allclose(table["v"], [3, 0, 0, 0], atol=1e-12)
    flags = table[["pressure_flag", "height_flag", "temperature_flag"]]
    assert flags.iloc[0].tolist() == ["B", "A", "B"]
    assert (flags.iloc[1:] == "").to_numpy().all()
    assert table.attrs["counts"] == {
        "soundings": 1,
        "levels": 4,
        "values removed by IGRA's quality control": 1,
    }
    assert table.attrs["units"]["specific_humidity"] == "kg kg-1"


def test_humidity_of_either_kind_is_the_same_air(file):
    t, dpd = 288.45, 2.1
    rh = float(relative_humidity(t, t - dpd))
    text = sounding(
        level("21", p=100000, t=153, dpd=21),
        level("10", p=100000, t=153, rh=round(rh * 1000)),
        level("20", p=100000, t=153, rh=100, dpd=21),
    )
    table = read_igra(write(file, text))
    np.testing.assert_allclose(table["specific_humidity"], table["specific_humidity"][0], rtol=1e-3)
    np.testing.assert_allclose(table["dew_point"], t - dpd, atol=0.01)
    # The reported relative humidity stays as reported, the specific one is of the dew-point depression.
    np.testing.assert_allclose(table["relative_humidity"], [rh, rh, 0.1], atol=5e-4)


@pytest.mark.parametrize("pack", ["plain", "gz", "zip", "folder", "list"])
def test_packed_or_not_one_file_or_many(tmp_path, pack):
    plain = write(tmp_path / f"{NAME}-data.txt", FULL)
    other = sounding(level("21", p=99000, t=100), name="YYM00000001", date="2015 06 14")
    if pack == "plain":
        found = read_igra(plain)
    elif pack == "gz":
        path = tmp_path / "a-data.txt.gz"
        path.write_bytes(gzip.compress(FULL.encode()))
        found = read_igra(path)
    elif pack == "zip":
        path = tmp_path / "a-data.txt.zip"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a-data.txt", FULL)
        found = read_igra(path)
    else:
        second = write(tmp_path / "YYM00000001-data-beg2015.txt", other)
        write(tmp_path / "igra2-station-list.txt", "not data\n")
        found = read_igra(tmp_path if pack == "folder" else [plain, second])
        assert found["station"].tolist() == ["YYM00000001"] + [NAME] * 4
        assert found["sounding"].tolist() == [0, 1, 1, 1, 1]
        found = found[found["station"] == NAME].drop(columns="sounding").reset_index(drop=True)
        pd.testing.assert_frame_equal(found, read_igra(plain).drop(columns="sounding"))
        return
    pd.testing.assert_frame_equal(found, read_igra(plain))


@pytest.mark.parametrize(
    ("hour", "release", "time", "released"),
    [
        ("12", "1134", "2015-06-15T12:00", "2015-06-15T11:34"),
        ("00", "2331", "2015-06-15T00:00", "2015-06-14T23:31"),
        ("23", "0010", "2015-06-15T23:00", "2015-06-16T00:10"),
        ("12", "9999", "2015-06-15T12:00", None),
        ("12", "1199", "2015-06-15T12:00", "2015-06-15T11:30"),
        ("99", "1134", "2015-06-15T11:34", "2015-06-15T11:34"),
    ],
)
def test_times_of_launch(file, hour, release, time, released):
    table = read_igra(write(file, sounding(level(p=50000, t=-100), hour=hour, release=release)))
    assert table["time"][0] == np.datetime64(time)
    assert (
        pd.isna(table["release"][0]) if released is None else table["release"][0] == np.datetime64(released)
    )
    assert table.attrs["counts"].get("nominal hours missing", 0) == int(hour == "99")


def test_unknown_codes_and_impossible_values_are_missing_and_counted(file):
    text = sounding(
        level("10", p=-7777, z=1500, t=20),
        level("10", p=50000, t=900, rh=-5, dpd=-1, wdir=365, wspd=99),
        level("47", p=40000, z=-5000, t=-4000, wdir=-8888, wspd=9000, elapsed=175, flags="C  "),
        level("20", p=0, t=10),
    )
    table = read_igra(write(file, text))
    counts = table.attrs["counts"]
    expected = {
        "unknown codes of pressure": 1, "impossible values of pressure": 1, "impossible values of temperature": 1,
        "unknown codes of temperature": 1, "unknown codes of relative humidity": 1,
        "unknown codes of dew-point depression": 1, "impossible values of wind direction": 1,
        "impossible values of wind speed": 1, "unknown codes of height": 1, "impossible values of elapsed time": 1,
        "unknown level types": 1, "unknown flags": 1, "values removed by IGRA's quality control": 1,
    }  # fmt: skip
    assert counts == expected | {"soundings": 1, "levels": 4}
    assert table["temperature"].notna().tolist() == [True, False, False, True]
    assert table[["u", "v", "elapsed", "dew_point"]].isna().to_numpy().all()
    assert table["pressure"].notna().tolist() == [False, True, True, False]


def test_of_duplicate_launches_the_fuller_is_kept(tmp_path):
    thin = sounding(level("10", p=50000, t=-100), release="2300")
    full = sounding(level("10", p=50000, t=-110, dpd=30, wdir=1, wspd=20), release="2345")
    later = sounding(level("10", p=50000, t=-120), hour="12", release="1130")
    one = write(tmp_path / "a-data.txt", thin + later)
    two = write(tmp_path / "b-data.txt", full)
    for order in ([one, two], [two, one]):
        table = read_igra(order)
        np.testing.assert_allclose(table["temperature"], [262.15, 261.15])
        assert table["sounding"].tolist() == [0, 1]
        assert table.attrs["counts"]["duplicate launches"] == 1


def test_positions_come_from_the_list_where_the_head_has_none(tmp_path, file):
    line = f"{NAME}  48.2486   16.3564  200.0    WIEN/HOHE WARTE                1910 2018  79141"
    ship = "ZZV000SHIP1 -98.8888 -998.8888 -998.8    A SHIP                         1960 1970    100"
    stations = write(tmp_path / "igra2-station-list.txt", f"{line}\n{ship}\n")
    text = sounding(level(p=50000, t=-100), lat=-999999, lon=-9999999)
    ship_text = sounding(level(p=50000, t=-100), lat=-988888, lon=-9988888, name="ZZV000SHIP1")
    here = sounding(
        level(p=50000, t=-100), lat=-105000, lon=-1795000, name="ZZV000SHIP1", hour="12", release="1130"
    )
    write(file, text + ship_text + here)
    table = read_igra(file, stations=stations)
    assert table[["lat", "lon"]].to_numpy().tolist() == [[48.2486, 16.3564], [-10.5, -179.5]]
    assert table.attrs["counts"]["soundings without a position"] == 1
    with pytest.raises(SkyweaveError, match="no sounding with a time and a position"):
        read_igra(write(file, text))
    listed = read_station_list(stations)
    assert listed["mobile"].tolist() == [False, True]
    assert listed.loc[0, ["elevation", "name", "first_year", "soundings"]].tolist() == [
        200.0, "WIEN/HOHE WARTE", 1910, 79141,
    ]  # fmt: skip
    assert listed.loc[1, ["lat", "lon", "elevation"]].isna().all()


def test_only_the_period_asked_for(file):
    days = [
        sounding(level(p=50000, t=-100), date=f"2015 06 {d:02d}", hour="12", release="1130")
        for d in range(1, 31)
    ]
    write(file, "".join(days))
    assert len(read_igra(file, period=("2015-06-03", "2015-06-05"))) == 3
    assert len(read_igra(file, period=(np.datetime64("2015-06-03"), np.datetime64("2015-06-05")))) == 2
    with pytest.raises(SkyweaveError, match="no sounding with a time and a position between 2016") as caught:
        read_igra(file, period=("2016", "2017"))
    assert "; its times are 2015-06-01 12:00 to 2015-06-30 12:00" in str(caught.value)
    other = write(file.parent / "other-data.txt", sounding(level(p=50000, t=-100), date="2014 01 02"))
    with pytest.raises(
        SkyweaveError, match=r"\(2 files\).* its times are 2014-01-02 00:00 to 2015-06-30 12:00"
    ):
        read_igra([file, other], period=("2016", "2017"))
    with pytest.raises(SkyweaveError, match="two dates"):
        read_igra(file, period=("soon", "later"))


LINES = FULL.splitlines()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\n".join(LINES[:-1]) + "\n", "line 1 announces 4 levels, found 3 before the end.*truncated"),
        (FULL[:-20], "line 5, the last one, is cut short.*truncated"),
        ("\n".join(LINES[:2] + LINES[3:] + LINES) + "\n", "announces 4 levels, found 3: the file is damaged"),
        (FULL.replace("  763", "  7x3"), "line 3 has '  7x3' in columns 17 to 21, where the height"),
        (FULL.replace("2015 06 15", "2015 06 31"), "date 2015-6-31, which does not exist"),
        ("station,time\n", "is not an IGRA file: it starts with 'station,time'"),
        ("", "starts with 'nothing'"),
        ("#03005 2015 06 15\n", "not the head of an IGRA sounding"),
        ("#030052015061500233100041\n", "is of IGRA version 1"),
        (LINES[0] + "  1234" * 14 + "\n", "derived parameters"),
    ],
)
def test_damaged_and_foreign_files_are_named(file, text, expected):
    with pytest.raises(SkyweaveError, match=expected) as caught:
        read_igra(write(file, text))
    assert str(file) in str(caught.value)


def test_truncated_archives_and_absent_files_are_named(tmp_path):
    packed = gzip.compress((FULL * 50).encode())
    half = tmp_path / "a-data.txt.gz"
    half.write_bytes(packed[: len(packed) // 2])
    with pytest.raises(SkyweaveError, match=r"a-data.txt.gz: is truncated or damaged"):
        read_igra(half)
    broken = tmp_path / "b-data.txt.zip"
    broken.write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(SkyweaveError, match=r"b-data.txt.zip: is truncated or damaged"):
        read_igra(broken)
    with pytest.raises(SkyweaveError, match="no such file"):
        read_igra(tmp_path / "c-data.txt")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(SkyweaveError, match="no IGRA data files"):
        read_igra(empty)
    with pytest.raises(SkyweaveError, match="not one of an IGRA 2 station list"):
        read_station_list(write(tmp_path / "list.txt", FULL))


# ---- formulas


def goff_gratch(t: np.ndarray) -> np.ndarray:
    """Saturation over water, hPa: Goff (1957), as in the Smithsonian tables."""
    r = 373.16 / t
    log = (
        -7.90298 * (r - 1) + 5.02808 * np.log10(r) - 1.3816e-7 * (10 ** (11.344 * (1 - 1 / r)) - 1)
        + 8.1328e-3 * (10 ** (-3.49149 * (r - 1)) - 1) + np.log10(1013.246)
    )  # fmt: skip
    return 10**log


def test_saturation_is_that_of_goff_and_gratch():
    t = np.linspace(223.15, 318.15, 96)
    np.testing.assert_allclose(saturation_vapour_pressure(t), goff_gratch(t), rtol=5e-3)
    np.testing.assert_allclose(dew_point(saturation_vapour_pressure(t)), t, rtol=1e-12)
    assert np.isnan(dew_point(0.0))


def test_humidities_are_inverse_to_each_other():
    e, p = np.array([0.01, 1.0, 20.0]), np.array([100.0, 500.0, 1000.0])
    q = specific_humidity(e, p)
    np.testing.assert_allclose(vapour_pressure(q, p), e, rtol=1e-12)
    # A mixing ratio of 0.622 e / (p - e), so that q = r / (1 + r).
    r = 0.622 * e / (p - e)
    np.testing.assert_allclose(q, r / (1 + r), rtol=1e-12)
    assert np.isnan(specific_humidity(20.0, 10.0))
    # Moist air is lighter: the ideal gas law of the mixture, with the molar masses of both.
    t, moist = 290.0, q[2]
    dry_mass = (p[2] - e[2]) + 0.622 * e[2]
    np.testing.assert_allclose(virtual_temperature(t, moist), t * p[2] / dry_mass, rtol=1e-12)


def test_wind_components_and_geopotential():
    u, v = wind_components([0, 90, 180, 270, 45, np.nan], [1, 2, 3, 4, np.sqrt(2), 0])
    np.testing.assert_allclose(u, [0, -2, 0, 4, -1, 0], atol=1e-12)
    np.testing.assert_allclose(v, [-1, 0, 3, 0, -1, 0], atol=1e-12)
    assert geopotential(5500.0) == pytest.approx(5500 * 9.80665)


def test_the_standard_atmosphere_is_the_published_one():
    # U.S. Standard Atmosphere 1976, Table I: pressures at geopotential heights.
    p = [1013.25, 898.76, 540.20, 226.32, 120.45, 54.749, 25.110, 8.6802, 2.7752, 1.1091]
    z = [0, 1000, 5000, 11000, 15000, 20000, 25000, 32000, 40000, 47000]
    np.testing.assert_allclose(standard_height(p), z, atol=2)
    t = [288.15, 281.65, 255.65, 216.65, 216.65, 216.65, 221.65, 228.65, 251.05, 270.65]
    np.testing.assert_allclose(standard_temperature(p), t, atol=0.02)


# ---- real files


@pytest.mark.realdata
def test_every_real_sounding_is_read():
    lines: list[str] = []
    for path in sorted(DATA.glob("*-data*.txt.gz")):
        with gzip.open(path, "rt") as handle:
            lines += handle.read().splitlines()
    heads = [line for line in lines if line.startswith("#")]
    table = read_igra(DATA)
    counts = table.attrs["counts"]
    assert counts["soundings"] + counts.get("duplicate launches", 0) == len(heads) > 300
    assert counts["levels"] == len(table)
    if "duplicate launches" not in counts:
        assert counts["levels"] == len(lines) - len(heads)
    assert not any(what.startswith(("unknown", "impossible")) for what in counts)
    # "10 -9999  50000  5720B -131B-9999    46   215   110" of 2015-06-15 00 UTC.
    row = table[
        (table["station"] == "AUM00011035") & (table["time"] == "2015-06-15") & (table["pressure"] == 500)
    ].iloc[0]
    assert row["release"] == pd.Timestamp("2015-06-14T23:31")
    assert (row["height"], row["level_type"]) == (5720, 1)
    assert row["temperature"] == pytest.approx(273.15 - 13.1)
    assert row["dew_point"] == pytest.approx(273.15 - 13.1 - 4.6)
    assert row["u"] == pytest.approx(11 * np.sin(np.deg2rad(35)))
    assert row["v"] == pytest.approx(11 * np.cos(np.deg2rad(35)))
    assert row["specific_humidity"] == pytest.approx(0.622 * 1.531 / 500, rel=0.005)


@pytest.mark.realdata
def test_the_real_station_list():
    stations = read_station_list(DATA / "igra2-station-list.txt")
    text = (DATA / "igra2-station-list.txt").read_text().splitlines()
    assert len(stations) == len(text)
    wien = stations[stations["station"] == "AUM00011035"].iloc[0]
    assert (wien["lat"], wien["lon"], wien["elevation"]) == (48.2486, 16.3564, 200.0)
    assert stations["mobile"].sum() == stations["lat"].isna().sum() > 50
    assert stations["lat"].abs().max() <= 90
