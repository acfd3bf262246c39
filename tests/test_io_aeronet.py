"""AERONET: the law of Angstrom, levels, windows and errors as the docstring states them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from skyweave.errors import SkyweaveError
from skyweave.grid import Grid
from skyweave.io import read_aeronet, read_stations
from skyweave.io.aeronet import INSTRUMENT_ERROR, angstrom_interpolation
from skyweave.observe.observation import PointObservation

DATA = Path(os.environ.get("SKYWEAVE_DATA", Path(__file__).parents[2] / "shared" / "data"))
WAVES = (1640, 1020, 870, 675, 560, 500, 440, 380, 340)


def power_law(waves, alpha=1.3, at550=0.4) -> np.ndarray:
    return at550 * (np.asarray(waves, float) / 550) ** -alpha


def measurements(times, aod=None, *, site="Test_Site", waves=WAVES, exact=None) -> pd.DataFrame:
    times = pd.to_datetime(list(times))
    aod = np.broadcast_to(power_law(waves) if aod is None else aod, (len(times), len(waves)))
    frame = pd.DataFrame(
        {"Date(dd:mm:yyyy)": times.strftime("%d:%m:%Y"), "Time(hh:mm:ss)": times.strftime("%H:%M:%S")}
    )
    for k, wave in enumerate(waves):
        frame[f"AOD_{wave}nm"] = np.where(np.isfinite(aod[:, k]), aod[:, k], -999.0)
    frame["AOD_Empty"], frame["440-870_Angstrom_Exponent"] = -999.0, 1.3
    frame["AERONET_Site_Name"] = site
    frame["Site_Latitude(Degrees)"], frame["Site_Longitude(Degrees)"] = 16.7325, -22.9355
    frame["Site_Elevation(m)"] = 60.0
    for k, wave in enumerate(waves):
        frame[f"Exact_Wavelengths_of_AOD(um)_{wave}nm"] = -999.0 if exact is None else exact[k] / 1000
    return frame


def lev(path: Path, frame: pd.DataFrame, level: str = "20", column: bool = True) -> Path:
    if column:
        frame = frame.assign(Data_Quality_Level=f"lev{level}")
    head = [
        "AERONET Version 3; ",
        "Test_Site",
        f"Version 3: AOD Level {level[0]}.{level[1]}",
        "The following data are automatically cloud cleared.",
        "Contact: PI=Some_One; PI Email=some.one@example.org",
        "All Points,UNITS can be found at,,, https://aeronet.gsfc.nasa.gov/new_web/units.html",
    ]
    path.write_text("\n".join(head) + "\n" + frame.to_csv(index=False, float_format="%.6f"))
    return path


# ---- the law


@pytest.mark.parametrize("method", ["angstrom", "quadratic"])
@pytest.mark.parametrize("wanted", [400.0, 550.0, 800.0])
def test_a_power_law_is_met_exactly(method, wanted):
    aod = power_law(WAVES)[None] * np.array([[0.1], [1.0], [7.0]])
    found = angstrom_interpolation(aod, np.array(WAVES), wanted, method)
    np.testing.assert_allclose(found, power_law([wanted]) * [0.1, 1.0, 7.0], rtol=1e-12)


def test_a_curved_spectrum_is_met_by_the_quadratic_only():
    logs = np.log(np.array(WAVES) / 550)
    aod = np.exp(-1.2 - 1.1 * logs - 0.4 * logs**2)[None]
    assert angstrom_interpolation(aod, np.array(WAVES), 550, "quadratic")[0] == pytest.approx(
        np.exp(-1.2), rel=1e-12
    )
    straight = angstrom_interpolation(aod, np.array(WAVES), 550)[0]
    assert 1e-5 < abs(straight / np.exp(-1.2) - 1) < 0.01


def test_the_nearest_wavelengths_on_either_side_are_used():
    waves = np.array([870.0, 675.0, 500.0, 440.0])
    aod = np.array([[9.0, 0.2, 0.3, 9.0], [0.1, np.nan, 0.3, 9.0], [0.1, 0.2, np.nan, np.nan]])
    found = angstrom_interpolation(aod, waves, 550)
    for row, (a, b) in enumerate([((675, 0.2), (500, 0.3)), ((870, 0.1), (500, 0.3))]):
        alpha = -np.log(a[1] / b[1]) / np.log(a[0] / b[0])
        assert found[row] == pytest.approx(b[1] * (550 / b[0]) ** -alpha, rel=1e-12)
    assert np.isnan(found[2])  # nothing on the short side
    assert np.isnan(
        angstrom_interpolation(np.array([[0.1, 0.3]]), np.array([1640.0, 500.0]), 550)[0]
    )  # too far
    assert angstrom_interpolation(aod[:1], waves, 675.0)[0] == 0.2  # measured there


@pytest.mark.parametrize("method", ["angstrom", "quadratic"])
def test_clean_air_below_zero_is_kept(method):
    found = angstrom_interpolation(
        np.array([[0.004, -0.002, 0.001]]), np.array([675.0, 500.0, 440.0]), 550, method
    )
    part = np.log(550 / 500) / np.log(675 / 500)
    assert found[0] == pytest.approx(-0.002 + part * 0.006)


# ---- files


def test_means_are_centred_on_the_hour(tmp_path):
    times = ["2020-06-14 10:30:00", "2020-06-14 11:29:59", "2020-06-14 11:30:00", "2020-06-14 12:10:00"]
    aod = power_law(WAVES) * np.array([[1.0], [1.5], [2.0], [2.2]])
    table = read_aeronet(lev(tmp_path / "a.lev20", measurements(times, aod)))
    assert list(table.time.astype(str)) == ["2020-06-14 11:00:00", "2020-06-14 12:00:00"]
    np.testing.assert_allclose(table.value, [0.4 * 1.25, 0.4 * 2.1], atol=1e-5)
    np.testing.assert_array_equal(table["count"], [2, 2])
    # s / sqrt(2) of two values is half their difference.
    np.testing.assert_allclose(table.error, [0.1, 0.04], atol=1e-5)
    assert set(table.variable) == {"AOD"}
    assert set(table.station) == {"Test_Site"}
    np.testing.assert_allclose(table[["lat", "lon", "elevation"]], [[16.7325, -22.9355, 60]] * 2)
    half = read_aeronet(tmp_path / "a.lev20", window="30min", minimum_count=1)
    assert list(half.time.dt.strftime("%H:%M")) == ["10:30", "11:30", "12:00"]
    np.testing.assert_array_equal(half["count"], [1, 2, 1])
    np.testing.assert_allclose(half.error[[0, 2]], INSTRUMENT_ERROR)


def test_steady_air_has_the_error_of_the_instrument(tmp_path):
    times = pd.date_range("2020-06-14 11:31", periods=50, freq="min")
    table = read_aeronet(lev(tmp_path / "a.lev20", measurements(times)))
    assert table.error.tolist() == [INSTRUMENT_ERROR]
    assert table["count"].tolist() == [50]


def test_lonely_and_unusable_measurements_are_counted(tmp_path):
    times = ["2020-06-14 10:00", "2020-06-14 10:05", "2020-06-14 13:00", "2020-06-14 10:10"]
    aod = np.tile(power_law(WAVES), (4, 1))
    aod[3, 4:] = np.nan
    path = lev(tmp_path / "a.lev20", measurements(times, aod))
    table = read_aeronet(path)
    assert len(table) == 1
    assert table.attrs["dropped"] == {"no AOD on both sides of the wavelength": 1, "too few in the window": 1}
    assert len(read_aeronet(path, minimum_count=1)) == 2
    every = read_aeronet(path, window=None)
    assert list(every.time.dt.strftime("%H:%M")) == ["10:00", "10:05", "13:00"]
    assert set(every.error) == {INSTRUMENT_ERROR}
    with pytest.raises(
        SkyweaveError, match=r"no AOD at 550 nm is left \(1 measurements: no AOD on both sides.*; 3 "
    ):
        read_aeronet(path, minimum_count=5)


def test_exact_wavelengths_are_used_where_stated(tmp_path):
    exact = np.array(WAVES) + np.linspace(-3, 3, len(WAVES))
    times = ["2020-06-14 10:00", "2020-06-14 10:05"]
    frame = measurements(times, power_law(exact), exact=exact)
    assert read_aeronet(lev(tmp_path / "a.lev20", frame)).value[0] == pytest.approx(0.4, abs=2e-6)
    nominal = frame.drop(columns=[c for c in frame if c.startswith("Exact")])
    off = read_aeronet(lev(tmp_path / "b.lev20", nominal)).value[0]
    assert abs(off - 0.4) > 1e-5


def test_several_stations_and_overlapping_files(tmp_path):
    times = pd.date_range("2020-06-14 08:00", periods=60, freq="5min")
    lev(tmp_path / "a.lev20", measurements(times[:40]))
    lev(tmp_path / "b.lev20", measurements(times[20:]))
    lev(tmp_path / "c.lev15", measurements(times, site="Other"), "15")
    table = read_aeronet(str(tmp_path / "*.lev*"))
    assert table.groupby("station")["count"].sum().to_dict() == {"Other": 60, "Test_Site": 60}
    assert table.time.is_monotonic_increasing


def test_the_web_service_in_html_is_read(tmp_path):
    frame = measurements(["2020-06-14 10:00", "2020-06-14 10:05"]).rename(
        columns={"AERONET_Site_Name": "AERONET_Site"}
    )
    plain = lev(tmp_path / "plain.txt", frame)
    lines = plain.read_text().splitlines()
    (tmp_path / "web.html").write_text("<html><body>" + "<br>\n".join(lines) + "<br>\n</body></html>\n")
    pd.testing.assert_frame_equal(read_aeronet(tmp_path / "web.html"), read_aeronet(plain))


def test_levels_too_low_are_refused(tmp_path):
    frame = measurements(["2020-06-14 10:00", "2020-06-14 10:05"])
    for level, column in (("15", True), ("15", False), ("10", True)):
        path = lev(tmp_path / f"a.lev{level}", frame, level, column)
        number = f"{level[0]}.{level[1]}"
        with pytest.raises(
            SkyweaveError, match=rf"level {number}, below minimum_level=2.0; .*minimum_level={number}"
        ):
            read_aeronet(path, minimum_level=2.0)
        assert len(read_aeronet(path, minimum_level=float(number))) == 1
    with pytest.raises(SkyweaveError, match="has levels"):
        read_aeronet(path, minimum_level=1.2)


def test_files_that_are_something_else(tmp_path):
    frame = measurements(["2020-06-14 10:00", "2020-06-14 10:05"])
    (tmp_path / "a.csv").write_text("time,lat,lon,AOD\n2020-01-01,1,2,0.3\n")
    with pytest.raises(SkyweaveError, match=r"a\.csv: is not an AERONET version 3 file.*read_stations"):
        read_aeronet(tmp_path / "a.csv")
    with pytest.raises(SkyweaveError, match="holds no measurement"):
        read_aeronet(lev(tmp_path / "b.lev20", frame[:0]))
    sda = frame.drop(columns=[c for c in frame if c.startswith("AOD")])
    with pytest.raises(SkyweaveError, match=r"without AOD_<wavelength>nm.*SDA"):
        read_aeronet(lev(tmp_path / "c.lev20", sda))
    with pytest.raises(SkyweaveError, match=r"measurement 2 holds 'x' as AOD_500nm"):
        read_aeronet(lev(tmp_path / "d.lev20", frame.assign(AOD_500nm=[0.2, "x"])))
    with pytest.raises(SkyweaveError, match=r"measurement 1 has the time '2020-06-14"):
        read_aeronet(lev(tmp_path / "e.lev20", frame.assign(**{"Date(dd:mm:yyyy)": "2020-06-14"})))
    with pytest.raises(SkyweaveError, match="window 'often'"):
        read_aeronet(lev(tmp_path / "f.lev20", frame), window="often")
    with pytest.raises(SkyweaveError, match="did you mean"):
        read_aeronet(tmp_path / "f.lev2")


def test_the_table_is_what_observations_take(tmp_path):
    times = pd.date_range("2020-06-14 08:00", periods=30, freq="5min")
    table = read_aeronet(lev(tmp_path / "a.lev20", measurements(times)))
    again = read_stations(table)
    pd.testing.assert_frame_equal(
        again[["time", "lat", "lon", "variable", "value", "error"]], table[table.columns[:6]]
    )
    assert PointObservation(table, name="AERONET").label == "AERONET"


@pytest.mark.realdata
def test_real_files_agree_with_their_own_angstrom_exponent():
    folder = DATA / "aeronet-2020-06"
    table = read_aeronet(str(folder / "*.lev*"))
    assert set(table.station) == {"Capo_Verde", "Roque_Muchachos"}
    assert Grid(np.arange(10.0, 31), np.arange(-30.0, -9)).contains(table.lat, table.lon).all()
    every = read_aeronet(str(folder / "*Capo_Verde.lev20"), window=None)
    raw = pd.read_csv(next(folder.glob("*Capo_Verde.lev20")), skiprows=6)
    expected = raw["AOD_500nm"] * (550 / 500.8) ** -raw["500-870_Angstrom_Exponent"]
    np.testing.assert_allclose(every.value, expected[expected > 0], rtol=0.03, atol=0.003)
    curved = read_aeronet(str(folder / "*.lev*"), method="quadratic")
    np.testing.assert_allclose(curved.value, table.value, atol=0.015)
    with pytest.raises(SkyweaveError, match=r"Roque_Muchachos\.lev15: holds AOD of level 1\.5"):
        read_aeronet(str(folder / "*.lev*"), minimum_level=2.0)
