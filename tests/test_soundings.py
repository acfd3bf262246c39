"""Soundings as observations: exact profiles, drift, moving platforms, quality control; laws of every count."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

from skyweave.errors import SkyweaveError
from skyweave.grid import EARTH_RADIUS, Grid
from skyweave.io.igra import read_igra
from skyweave.observe.assemble import assemble
from skyweave.observe.background_check import background_departure
from skyweave.observe.observation import PointObservation
from skyweave.observe.profiles import complete, drift, pressures_of_heights, sorted_levels
from skyweave.observe.quantities import quantity_of
from skyweave.observe.sounding_errors import sounding_error
from skyweave.observe.sounding_values import prepared
from skyweave.observe.soundings import QualityControl, sounding_observations
from skyweave.state import StateSpec, Variable
from skyweave.thermodynamics import standard_height, standard_temperature

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("SKYWEAVE_DATA", ROOT.parent / "shared" / "data")) / "igra-radiosondes"
NOMINAL, RELEASE = np.datetime64("2015-06-15T00"), np.datetime64("2015-06-14T23:30")
MANDATORY = np.array([1000.0, 925, 850, 700, 500, 400, 300, 250, 200, 150, 100, 70, 50, 30, 20, 10])
R_OVER_G = 287.05 / 9.80665


def spec_of(levels=(850.0, 600.0, 500.0), quantities=("air_temperature", "eastward_wind", "northward_wind")):
    units = {"air_temperature": "K", "geopotential_height": "m", "geopotential": "m2 s-2"}
    units |= {"specific_humidity": "kg kg-1", "relative_humidity": "%"}
    return StateSpec(
        tuple(Variable(f"{q}{p:g}", units.get(q, "m s-1"), q, level=p) for q in quantities for p in levels)
    )


def profile(pressure=MANDATORY, sounding=0, lat=48.0, lon=16.0, **columns) -> pd.DataFrame:
    """A dry sounding of the standard atmosphere, with what is given in its place."""
    p = np.asarray(pressure, float)
    table = pd.DataFrame(
        {
            "station": "XXM00012345", "sounding": sounding, "time": NOMINAL, "release": RELEASE, "lat": lat, "lon": lon,
            "elapsed": np.nan, "level_type": 1, "level_kind": 0, "pressure": p, "height": standard_height(p),
            "temperature": standard_temperature(p), "dew_point": np.nan, "relative_humidity": np.nan,
            "specific_humidity": 0.0, "u": 10.0, "v": 0.0,
        }
    )  # fmt: skip
    return table.assign(**columns)


def values(observation: PointObservation, name: str) -> np.ndarray:
    table = observation.table
    return table.loc[table["variable"] == name, "value"].to_numpy()


def the_sums_add_up(report) -> None:
    for variable in report.variables:
        assert variable.given == variable.used + sum(variable.dropped.values())
    assert report.used == sum(v.used for v in report.variables)
    assert str(report)


# ---- interpolation


def test_profiles_linear_in_log_pressure_are_interpolated_exactly():
    x = np.log(1000 / MANDATORY)
    truth = {"air_temperature": (290, -18), "eastward_wind": (3, 7), "northward_wind": (-2, 4)}
    table = profile(temperature=290 - 18 * x, u=3 + 7 * x, v=-2 + 4 * x, height=np.nan)
    levels = (910.0, 850.0, 600.0, 333.0, 35.0)
    spec = spec_of(levels)
    observation, report = sounding_observations(table, spec, drift=False, quality=None, maximum_gap=2.0)
    for variable in spec.variables:
        a, b = truth[variable.standard_name]
        expected = a + b * np.log(1000 / variable.level)
        np.testing.assert_allclose(values(observation, variable.name), expected, rtol=1e-12)
    assert report.dropped == {}
    the_sums_add_up(report)
    assert (observation.table["time"] == NOMINAL).all()
    assert (observation.table[["lat", "lon"]] == [48.0, 16.0]).to_numpy().all()
    # At a reported level the report itself, to the last digit.
    assert values(observation, "air_temperature850")[0] == table.loc[2, "temperature"]


def test_heights_follow_the_hypsometric_equation_between_reported_ones():
    # Temperature linear in log pressure: the integral is known.
    x = np.log(1000 / MANDATORY)
    t0, slope, z0 = 290.0, -50.0, 100.0
    t = t0 + slope * x

    def height(x):
        return z0 + R_OVER_G * (t0 * x + 0.5 * slope * x**2)

    x = x[:8]
    table = profile(MANDATORY[:8], temperature=t[:8], height=height(x))
    spec = spec_of((600.0, 500.0), ("geopotential_height", "geopotential"))
    observation, _ = sounding_observations(table, spec)
    wanted = height(np.log(1000 / 600))
    assert values(observation, "geopotential_height600")[0] == pytest.approx(wanted, abs=1e-6)
    assert values(observation, "geopotential600")[0] == pytest.approx(9.80665 * wanted, abs=1e-5)
    assert values(observation, "geopotential_height500")[0] == pytest.approx(table.loc[4, "height"], abs=1e-9)
    # Linear interpolation between 700 and 500 hPa would be 20 m off.
    linear = np.interp(np.log(1000 / 600), x[3:5], height(x[3:5]))
    assert abs(linear - wanted) > 15


def test_nothing_is_extrapolated_and_wide_gaps_are_left_open():
    table = profile([850.0, 700.0, 300.0, 250.0])
    spec = spec_of((925.0, 850.0, 600.0, 275.0, 200.0), ("air_temperature",))
    observation, report = sounding_observations(table, spec)
    assert observation.table["variable"].tolist() == ["air_temperature850", "air_temperature275"]
    assert report.dropped == {"outside the sounding": 2, "levels too far apart": 1}
    the_sums_add_up(report)
    _, wider = sounding_observations(table, spec, maximum_gap=2.5)
    assert wider.dropped == {"outside the sounding": 2}
    assert report.unused == {"air_temperature": {700.0: 1, 300.0: 1, 250.0: 1}}
    assert "3 air_temperature (700, 300, 250 hPa)" in str(report)


def test_soundings_do_not_mix():
    warm = profile([850.0, 500.0], 7, temperature=[280.0, 250.0])
    cold = profile([600.0], 9, temperature=[240.0], lat=10.0)
    none = profile([850.0, 500.0], 11, temperature=np.nan)
    spec = spec_of((700.0, 600.0), ("air_temperature",))
    table = pd.concat([warm, cold, none], ignore_index=True)
    observation, report = sounding_observations(table, spec, maximum_gap=2.0, drift=False)
    assert report.soundings == 3
    drops = [v.dropped for v in report.variables]
    assert drops == [{"not reported": 1, "outside the sounding": 1}, {"not reported": 1}]
    np.testing.assert_array_equal(observation.table["sounding"], [0, 0, 1])
    alone = sounding_observations(warm, spec, maximum_gap=2.0, drift=False)[0]
    together = observation.table.loc[observation.table["sounding"] == 0, "value"]
    np.testing.assert_array_equal(together, alone.table["value"])


def test_the_order_of_levels_does_not_matter():
    table = profile(
        temperature=standard_temperature(MANDATORY) + np.sin(MANDATORY), elapsed=np.arange(16) * 300.0
    )
    shuffled = table.sample(frac=1, random_state=0).reset_index(drop=True)
    one, two = (sounding_observations(t, spec_of())[0].table for t in (table, shuffled))
    pd.testing.assert_frame_equal(one, two)


def test_wind_only_levels_take_their_pressure_from_the_soundings_heights():
    heights = [float(standard_height(np.array(602.0))), 50000.0, np.nan]
    aloft = profile([1.0] * 3, temperature=np.nan, level_type=3, height=heights, u=33.0).assign(
        pressure=np.nan
    )
    at500 = MANDATORY == 500
    rest = profile(u=np.where(at500, 30.0, np.nan), v=np.where(at500, 0.0, np.nan))
    both = pd.concat([rest, aloft], ignore_index=True)
    observation, report = sounding_observations(both, spec_of((600.0,), ("eastward_wind",)))
    assert report.dropped == {}
    np.testing.assert_allclose(values(observation, "eastward_wind600"), 33.0, atol=0.1)
    assert report.wind_only == (2, 1)
    assert report.no_pressure == 1
    mass = complete(sorted_levels(prepared(rest, "")))
    heights = np.array([0.5, 3.0, 5.9, 10.4, 15.0]) * 1000
    found = pressures_of_heights(mass, pd.DataFrame({"sounding": 0, "height": heights}))
    np.testing.assert_allclose(standard_height(found), heights, atol=1.5)


def test_the_surface_level_serves_variables_without_a_level_only_when_named():
    table = profile([985.0, 925, 850], level_kind=[1, 0, 0], temperature=[288.0, 285.0, 281.0])
    spec = StateSpec(
        (Variable("t2m", "degC", "air_temperature"), Variable("t850", "K", "air_temperature", level=850))
    )
    observation, _ = sounding_observations(table, spec)
    assert observation.table["variable"].tolist() == ["t850"]
    observation, report = sounding_observations(table, spec, variables=["t2m"])
    np.testing.assert_allclose(observation.table["value"], [288.0 - 273.15])
    assert observation.table["level"].tolist() == [985.0]
    assert "surface" in str(report)
    with pytest.raises(SkyweaveError, match="another kind"):
        sounding_observations(table, spec, variables={"t2m": "eastward_wind"})


# ---- drift and time


@pytest.fixture
def climbing() -> pd.DataFrame:
    """A level a minute, 300 m apart, in a wind of 20 m/s."""
    z = np.arange(0, 15001, 300.0)
    p = np.exp(
        np.interp(z, standard_height(np.geomspace(1000, 100, 400)), np.log(np.geomspace(1000, 100, 400)))
    )
    return profile(p, height=standard_height(p), u=20.0, v=0.0, level_kind=np.r_[1, np.zeros(50, int)])


def drifted(table: pd.DataFrame, **kwargs) -> pd.DataFrame:
    return drift(complete(sorted_levels(prepared(table, ""))), **kwargs)


@pytest.mark.parametrize("lat", [0.0, 48.0, -70.0])
def test_a_steady_wind_carries_the_balloon_as_far_as_it_blows(climbing, lat):
    path = drifted(climbing.assign(lat=lat, v=0.0))
    rise = path["full_height"] - path["full_height"][0]
    np.testing.assert_allclose(path["since"], rise / 5, rtol=1e-9, atol=1e-6)
    metres = 20 * path["since"]
    east = np.rad2deg(metres / (EARTH_RADIUS * np.cos(np.deg2rad(lat))))
    np.testing.assert_allclose(path["at_lon"] - 16, east, rtol=2e-4)
    north = drifted(climbing.assign(lat=lat, u=0.0, v=-20.0))
    np.testing.assert_allclose(north["at_lat"] - lat, -np.rad2deg(metres / EARTH_RADIUS), atol=1e-10)
    np.testing.assert_allclose(north["at_lon"], 16)


def test_a_balloon_from_the_pole_goes_where_the_wind_says(climbing):
    # At the pole north is along the station's meridian; after the first step the wind is along the local one.
    for lat, away in ((90.0, -1), (-90.0, 1)):
        path = drifted(climbing.assign(lat=lat, u=0.0, v=away * 20.0))
        metres = 20 * path["since"]
        np.testing.assert_allclose(path["at_lat"] - lat, away * np.rad2deg(metres / EARTH_RADIUS), atol=1e-6)
        np.testing.assert_allclose(path["at_lon"], 16, atol=1e-6)


def test_elapsed_times_win_over_the_ascent_and_fill_in_between(climbing):
    elapsed = np.full(len(climbing), np.nan)
    elapsed[[0, 10, 50]] = [0, 400, 3000]
    path = drifted(climbing.assign(elapsed=elapsed))
    assert path["since"].to_numpy()[[0, 10, 50]] == pytest.approx([0, 400, 3000])
    assert (np.diff(path["since"]) > 0).all()
    fast = drifted(climbing, ascent_rate=10.0)
    np.testing.assert_allclose(fast["since"] * 2, drifted(climbing)["since"])


def test_wind_that_changes_with_height_is_integrated(climbing):
    # A wind linear in time turns displacement into a parabola, which the trapezoid rule meets.
    seconds = drifted(climbing)["since"].to_numpy()
    path = drifted(climbing.assign(lat=0.0, u=0.0, v=0.01 * seconds))
    expected = np.rad2deg(0.005 * seconds**2 / EARTH_RADIUS)
    np.testing.assert_allclose(path["at_lat"], expected, atol=1e-9)


def test_every_value_has_its_own_time_and_place_also_across_the_date_line(climbing):
    table = climbing.assign(lon=179.95, lat=10.0)
    spec = spec_of((900.0, 500.0, 200.0), ("air_temperature",))
    observation, _ = sounding_observations(table, spec)
    found = observation.table
    assert (found["lon"].abs() <= 180).all()
    assert found["lon"].iloc[0] > 179
    assert found["lon"].iloc[2] < -179
    minutes = (found["time"] - RELEASE).dt.total_seconds() / 60
    heights = standard_height(np.array([900.0, 500.0, 200.0])) - climbing["height"][0]
    np.testing.assert_allclose(minutes, heights / 300, atol=0.05)
    without = sounding_observations(table, spec, drift=False)[0].table
    assert (without["lon"] == 179.95).all()
    assert (without["time"] == NOMINAL).all()


def test_the_release_is_assumed_half_an_hour_ahead_where_it_is_missing_or_absurd(climbing):
    spec = spec_of((900.0,), ("air_temperature",))
    expected = sounding_observations(climbing, spec)[0].table["time"]
    for release in (pd.NaT, NOMINAL - np.timedelta64(11, "h")):
        observation, report = sounding_observations(climbing.assign(release=release), spec)
        pd.testing.assert_series_equal(observation.table["time"], expected)
        assert report.assumed_release == 1


TIMES = np.datetime64("2015-06-14T18") + np.arange(3) * np.timedelta64(6, "h")
REGIONS = {
    "ordinary": (Grid(np.arange(40.0, 61), np.arange(0.0, 41)), 16.0),
    "date line": (Grid(np.arange(60.0, 39, -1), np.arange(165.0, 196) % 360), 179.0),
    "date line, western": (Grid(np.arange(40.0, 61), (np.arange(165.0, 196) + 180) % 360 - 180), -179.8),
}


@pytest.mark.parametrize("region", list(REGIONS))
def test_a_state_linear_in_time_and_space_is_predicted_exactly_along_the_path(climbing, region):
    grid, lon = REGIONS[region]
    spec = spec_of((900.0, 700.0, 500.0, 300.0, 150.0), ("air_temperature",))
    observation, _ = sounding_observations(climbing.assign(lon=lon, v=5.0), spec, time="interpolate")
    found = observation.table
    assert found[["time", "lat", "lon"]].nunique().tolist() == [5, 5, 5]

    def truth(channel, seconds, lat, lon):
        east = (lon - grid.lon[0]) % 360
        return (
            200 + 3 * channel + 1e-3 * seconds + 0.7 * (lat - 50) - 0.4 * east + 1e-5 * seconds * (lat - 50)
        )

    lat, lon_ = grid.mesh()
    seconds = (TIMES - TIMES[0]) / np.timedelta64(1, "s")
    state = np.stack([[truth(c, s, lat, lon_) for c in range(5)] for s in seconds])
    got = assemble(observation, spec, grid, TIMES)
    predicted = got.operator(torch.from_numpy(state)[None])[0].numpy()
    when = (found["time"].to_numpy() - TIMES[0]) / np.timedelta64(1, "s")
    channel = np.array([spec.channel(v) for v in found["variable"]])
    expected = truth(channel, when, found["lat"].to_numpy(), found["lon"].to_numpy())
    order = np.argsort(got.channel)
    np.testing.assert_allclose(predicted[order], expected[np.argsort(channel)], atol=1e-8)
    assert (got.last > got.first).all()


def test_a_time_window_also_limits_interpolation_in_time(climbing):
    grid, _ = REGIONS["ordinary"]
    spec = spec_of((900.0, 500.0, 200.0), ("air_temperature",))
    late = climbing.assign(time=NOMINAL + np.timedelta64(3, "h"), release=NOMINAL + np.timedelta64(150, "m"))
    table = pd.concat([climbing, late.assign(sounding=1)], ignore_index=True)
    for window, used in (("1h", 3), (None, 6), ("3h", 6)):
        observation, _ = sounding_observations(table, spec, time="interpolate", time_window=window)
        assert assemble(observation, spec, grid, TIMES).n == used


def test_bicubic_rows_of_winds_turn_round_at_the_pole():
    globe = Grid(np.arange(-89.0, 90, 2), np.arange(0.0, 360, 2))
    spec = StateSpec((Variable("t500", "K", level=500), Variable("u500", "m s-1", level=500)))
    lat, lon = globe.mesh()
    # A uniform flow across the pole: its eastward component changes sign from one side to the other.
    east = -20 * np.sin(np.deg2rad(lon)) * np.ones_like(lat)
    state = torch.from_numpy(np.stack([np.full(globe.shape, 250.0), east]))[None, None]
    table = pd.DataFrame({"lat": 89.6, "lon": [90.0, 90.0], "variable": ["t500", "u500"], "value": 0.0})
    points = PointObservation(table, error=1.0, interpolation="bicubic")
    got = assemble(points, spec, globe).operator(state)[0].numpy()
    np.testing.assert_allclose(got, [250.0, -20.0], rtol=2e-3)


# ---- errors


def test_errors_come_from_the_table_or_from_the_caller():
    spec = spec_of((850.0, 500.0), ("air_temperature", "eastward_wind", "geopotential", "relative_humidity"))
    table = profile(relative_humidity=0.5)
    plain = sounding_observations(table, spec)[0].table.set_index("variable")["error"]
    assert plain["air_temperature500"] == pytest.approx(0.8)
    assert plain["eastward_wind500"] == pytest.approx(2.1)
    assert plain["relative_humidity500"] == pytest.approx(20.0)  # the state has it in percent
    assert plain["geopotential500"] == pytest.approx(9.80665 * np.hypot(4, R_OVER_G * 0.3 * np.log(2)))
    errors = {"air_temperature": {1000: 2.0, 500: 1.0}, "eastward_wind850": 9.0, "relative_humidity": 0.1}
    own = sounding_observations(table, spec, errors=errors)[0].table.set_index("variable")["error"]
    assert own["air_temperature500"] == 1.0
    assert own["air_temperature850"] == pytest.approx(1 + np.log(850 / 500) / np.log(2))
    assert own["eastward_wind850"] == 9.0
    assert own["eastward_wind500"] == plain["eastward_wind500"]
    assert own["relative_humidity500"] == pytest.approx(10.0)
    # Specific humidity: the share of saturation that the error of relative humidity is.
    q = sounding_error("specific_humidity", np.array([850.0]), np.array([283.15]))
    assert q[0] == pytest.approx(0.2 * 0.622 * 12.27 / 850, rel=0.01)
    with pytest.raises(SkyweaveError, match=r"errors for 'air_temprature'.*did you mean 'air_temperature'"):
        sounding_observations(table, spec, errors={"air_temprature": 1.0})
    with pytest.raises(SkyweaveError, match="must be positive"):
        sounding_observations(table, spec, errors={"air_temperature": {500: 0.0}})


# ---- quality control


DENSE = np.geomspace(1000, 50, 40)


def dense(**columns) -> pd.DataFrame:
    return profile(DENSE, **columns)


def test_a_clean_sounding_passes_every_check():
    _, report = sounding_observations(dense(), spec_of((850.0, 500.0, 200.0)))
    assert report.rejected == {}
    assert report.dropped == {}


def spoilt(column: str, row: int, change: float) -> pd.DataFrame:
    table = dense()
    table.loc[row, column] += change
    return table


@pytest.mark.parametrize(
    ("table", "reason", "quantity", "number"),
    [
        (spoilt("temperature", 20, 90.0), "implausible", "air_temperature", 1),
        (spoilt("height", 20, 5000.0), "implausible", "geopotential_height", 1),
        (spoilt("u", 20, 400.0), "implausible", "wind", 1),
        (spoilt("specific_humidity", 20, 0.1), "implausible", "specific_humidity", 1),
        (spoilt("temperature", 20, 9.0), "superadiabatic", "air_temperature", 1),
        (spoilt("temperature", 20, -9.0), "superadiabatic", "air_temperature", 1),
        (spoilt("height", 20, 200.0), "hypsometric", "geopotential_height", 1),
        (spoilt("u", 20, 60.0), "wind shear", "wind", 1),
        (spoilt("v", 20, -60.0), "wind shear", "wind", 1),
    ],
)
def test_each_check_finds_its_error_and_blames_the_right_level(table, reason, quantity, number):
    level = float(DENSE[20])
    names = {"wind": ("eastward_wind", "northward_wind")}.get(quantity, (quantity,))
    spec = spec_of((level, float(DENSE[5])), names)
    observation, report = sounding_observations(table, spec, maximum_gap=1.01)
    assert report.rejected[reason][quantity] == number
    assert sum(sum(by.values()) for by in report.rejected.values()) == number
    assert {v.name: v.dropped for v in report.variables if v.level == level} == {
        f"{n}{level:g}": {"rejected by quality control": 1} for n in names
    }
    the_sums_add_up(report)
    # A wider gap bridges the rejected level with what is around it.
    observation, report = sounding_observations(table, spec)
    assert report.dropped == {}
    clean, _ = sounding_observations(dense(), spec)
    tolerance = {"geopotential_height": 2.0, "wind": 1e-9, "specific_humidity": 1e-9}.get(quantity, 0.6)
    np.testing.assert_allclose(observation.table["value"], clean.table["value"], atol=tolerance)
    # Without quality control the error goes through.
    blind, report = sounding_observations(table, spec, quality=None)
    assert report.rejected == {}
    assert np.abs(blind.table["value"] - clean.table["value"]).max() > 5 * tolerance


def test_checks_can_be_left_out_and_tightened():
    table = spoilt("temperature", 20, 9.0)
    spec = spec_of((850.0,), ("air_temperature",))
    lax = QualityControl(superadiabatic=None)
    assert sounding_observations(table, spec, quality=lax)[1].rejected == {}
    # From 280 K at 1000 hPa the limit falls to 200 K at 100 hPa; the standard atmosphere has 217 K there.
    strict = QualityControl(ranges={"air_temperature": {1000: (280.0, 320.0), 100: (220.0, 320.0)}})
    rejected = sounding_observations(profile(), spec, quality=strict)[1].rejected["implausible"][
        "air_temperature"
    ]
    limit = np.interp(-np.log(MANDATORY), [-np.log(1000), -np.log(100)], [280.0, 220.0])
    assert rejected == (standard_temperature(MANDATORY) < limit).sum() > 3
    for bad in ({"hypsometric": 0.0}, {"shear": (1.0, -1.0)}, {"ranges": {"temperature": {}}}):
        with pytest.raises(SkyweaveError, match="quality control"):
            QualityControl(**bad)


def test_a_wrong_layer_mean_temperature_rejects_heights_and_temperatures():
    # A sensor that stops: the temperatures from 500 to 300 hPa are far too warm for the reported heights.
    t = standard_temperature(MANDATORY) + np.where((MANDATORY <= 400) & (MANDATORY >= 300), 15.0, 0.0)
    quality = QualityControl(superadiabatic=None)
    _, report = sounding_observations(profile(temperature=t), spec_of((850.0,)), quality=quality)
    assert report.rejected["hypsometric"]["air_temperature"] >= 2
    assert report.rejected["hypsometric"]["geopotential_height"] >= 2


def test_humidity_is_not_believed_where_the_air_is_too_cold_for_sensors():
    table = profile(specific_humidity=1e-6, relative_humidity=0.1)
    spec = spec_of((150.0, 70.0), ("specific_humidity", "relative_humidity"))
    table["dew_point"] = 200.0
    _, report = sounding_observations(table, spec)
    assert [v.used for v in report.variables] == [1, 0, 1, 0]
    assert report.rejected["too high for humidity"] == {"specific_humidity": 5, "relative_humidity": 5}


@pytest.fixture
def background() -> xr.Dataset:
    grid, _ = REGIONS["ordinary"]
    lat, lon = grid.mesh()
    field = 250 + 0.1 * (lat - 50) + 0.2 * (lon - 16)
    data = np.stack([field, field + 6.0])
    dims = ("time", "latitude", "longitude")
    coords = {"time": TIMES[:2], "latitude": grid.lat, "longitude": grid.lon}
    attrs = {"units": "K"}
    ds = xr.Dataset({"t500": (dims, data, attrs)}, coords)
    ds.latitude.attrs, ds.longitude.attrs = {"units": "degrees_north"}, {"units": "degrees_east"}
    return ds


def points(value, time="2015-06-14T21", lat=48.3, lon=16.35, error=0.8) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "time": [np.datetime64(time)],
            "lat": lat,
            "lon": lon,
            "variable": "t500",
            "value": value,
            "error": error,
        }
    )


def test_the_departure_from_the_background_is_in_standard_deviations(background):
    spec = spec_of((500.0,), ("air_temperature",))
    spec = StateSpec((replace(spec.variables[0], name="t500"), Variable("u500", "m s-1", level=500)))
    truth = 253 + 0.1 * (48.3 - 50) + 0.2 * 0.35  # half-way in time
    got = background_departure(points(truth + 5.0), spec, background, {"t500": 0.6})
    assert got[0] == pytest.approx(5.0)
    assert background_departure(points(truth), spec, background, 0.6)[0] == pytest.approx(0, abs=1e-4)
    fields = xr.full_like(background, 0.6)
    assert background_departure(points(truth + 5.0), spec, background, fields)[0] == pytest.approx(
        5.0, rel=1e-4
    )
    spread = xr.concat([background - 0.6, background + 0.6], "member", join="override")
    spread["t500"].attrs["units"] = "K"
    assert background_departure(points(truth + 5.0), spec, spread)[0] == pytest.approx(5.0, rel=1e-4)
    # Outside in space or time there is nothing to compare with; a window takes the nearest time.
    assert np.isnan(background_departure(points(truth, lat=10.0), spec, background, 1.0))[0]
    late = points(256.0, time="2015-06-15T04")
    assert np.isnan(background_departure(late, spec, background, 1.0))[0]
    assert np.isfinite(background_departure(late, spec, background, 1.0, "6h"))[0]
    with pytest.raises(SkyweaveError, match="error of the background"):
        background_departure(points(truth), spec, background)
    with pytest.raises(SkyweaveError, match="error of t500 is None"):
        background_departure(points(truth), spec, background, {"u500": 1.0})


def test_what_departs_too_far_from_the_background_is_dropped_and_counted(background):
    good = profile(temperature=np.interp(MANDATORY, MANDATORY[::-1], standard_temperature(MANDATORY)[::-1]))
    good = good.assign(temperature=np.where(MANDATORY == 500, 255.5, good["temperature"]))
    good["height"] = np.nan
    bad = good.assign(sounding=1, temperature=good["temperature"] + 12.0, lat=49.0)
    away = good.assign(sounding=2, lat=5.0)
    spec = StateSpec((Variable("t500", "K", "air_temperature", level=500),))
    table = pd.concat([good, bad, away], ignore_index=True)
    observation, report = sounding_observations(
        table, spec, background=background, background_error=1.0, time_window="6h"
    )
    assert report.dropped == {"too far from the background": 1}
    assert observation.table["sounding"].tolist() == [0, 2]
    assert report.not_compared == 1
    the_sums_add_up(report)
    lax = QualityControl(departure=None)
    kwargs = {"background": background, "background_error": 1.0}
    assert sounding_observations(table, spec, quality=lax, **kwargs)[1].used == 3


# ---- names, bad input


@pytest.mark.parametrize(
    ("variable", "quantity"),
    [
        (Variable("anything", "K", "air_temperature"), "air_temperature"),
        (Variable("t850", "K", level=850), "air_temperature"),
        (Variable("U_500", "m s-1", level=500), "eastward_wind"),
        (Variable("z500", "m2 s-2", level=500), "geopotential"),
        (Variable("z500", "m**2 s**-2", level=500), "geopotential"),
        (Variable("z500", "m", level=500), "geopotential_height"),
        (Variable("zg_500hPa", "m", level=500), "geopotential_height"),
        (Variable("q850", "kg kg-1", level=850), "specific_humidity"),
        (Variable("10m_u_component_of_wind", "m s-1"), "eastward_wind"),
        (Variable("msl", "Pa"), None),
        (Variable("t850", "1", "cloud_area_fraction"), None),
    ],
)
def test_variables_are_known_by_standard_name_then_by_name(variable, quantity):
    assert quantity_of(variable) == quantity


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"variables": ["t85"]}, "did you mean 't850'"),
        ({"variables": {"t850": "air_temprature"}}, "did you mean 'air_temperature'"),
        ({"variables": ["msl"]}, "of no known quantity"),
        ({"variables": []}, "no variable was named"),
        ({"maximum_gap": 0.5}, "maximum_gap is 0.5"),
        ({"ascent_rate": 0.0}, "ascent_rate is 0.0"),
        ({"time_window": "soon"}, None),
    ],
)
def test_bad_settings_are_named(change, expected):
    spec = StateSpec((Variable("t850", "K", level=850), Variable("msl", "Pa")))
    if expected is None:
        observation, _ = sounding_observations(profile(), spec, **change)
        with pytest.raises(SkyweaveError, match="90min"):
            assemble(observation, spec, REGIONS["ordinary"][0], TIMES)
        return
    with pytest.raises(SkyweaveError, match=expected):
        sounding_observations(profile(), spec, **change)


def test_states_and_tables_that_cannot_be_used_are_named():
    surface = StateSpec((Variable("t2m", "K", "air_temperature"), Variable("msl", "Pa")))
    with pytest.raises(SkyweaveError, match="none of the variables t2m, msl has a pressure level"):
        sounding_observations(profile(), surface)
    with pytest.raises(SkyweaveError, match="lacks column pressure"):
        sounding_observations(profile().drop(columns="pressure"), spec_of())
    with pytest.raises(SkyweaveError, match="lacks rows"):
        sounding_observations(profile().iloc[:0], spec_of())
    with pytest.raises(SkyweaveError, match="no observation is left") as caught:
        sounding_observations(profile([100.0, 50.0]), spec_of())
    assert "outside the sounding" in str(caught.value)
    kelvin = StateSpec((Variable("t850", "m", "air_temperature", level=850),))
    with pytest.raises(SkyweaveError, match="another kind"):
        sounding_observations(profile(), kelvin)


def test_the_report_is_plain_data():
    import json

    table = pd.concat([spoilt("temperature", 20, 9.0), profile([100.0], 1)], ignore_index=True)
    _, report = sounding_observations(table, spec_of())
    again = json.loads(json.dumps(report.to_dict()))
    assert again["soundings"] == 2
    assert again["rejected"] == {"superadiabatic": {"air_temperature": 1}}
    assert sum(v["used"] for v in again["variables"]) == report.used


# ---- real soundings


@pytest.mark.realdata
def test_real_soundings_become_plausible_observations():
    table = read_igra(DATA)
    levels = (925.0, 850.0, 700.0, 600.0, 500.0, 300.0, 200.0, 100.0, 50.0)
    quantities = (
        "air_temperature",
        "geopotential_height",
        "specific_humidity",
        "eastward_wind",
        "northward_wind",
    )
    spec = spec_of(levels, quantities)
    observation, report = sounding_observations(table, spec)
    the_sums_add_up(report)
    assert report.soundings == table.attrs["counts"]["soundings"]
    # Nearly every sounding reaches every level but the highest, and nearly nothing is rejected.
    assert report.used > 0.95 * sum(
        v.given for v in report.variables if "humidity" not in v.quantity or v.level >= 100
    )
    own = {k: v for k, v in report.rejected.items() if k != "too high for humidity"}
    for quantity in report.values:
        rejected = sum(by.get(quantity, 0) for by in own.values())
        assert rejected <= 0.005 * report.values[quantity]
    # Reported mandatory heights and temperatures obey the hypsometric equation within their rounding.
    found = observation.table
    at = found[found["variable"] == "geopotential_height500"]
    assert at["value"].between(5000, 6000).all()
    blind = table.assign(height=table["height"].where(table["pressure"] != 500))
    filled = sounding_observations(blind, spec_of((500.0,), ("geopotential_height",)), maximum_gap=2.0)[
        0
    ].table
    both = at.merge(filled, on="sounding")
    assert len(both) > 0.95 * len(at)
    error = both["value_x"] - both["value_y"]
    assert error.std() < 6
    assert abs(error.mean()) < 3
    # Where it does not report them, the balloon is within an hour and a half and 250 km of its launch.
    late = (found["time"] - table["time"].min()).dt.total_seconds()
    assert (late > -3 * 3600).all()
    place = found.merge(table.drop_duplicates("sounding")[["sounding", "time", "lat", "lon"]], on="sounding")
    km = Grid.distance(place["lat_x"], place["lon_x"], place["lat_y"], place["lon_y"])
    hours = (place["time_x"] - place["time_y"]).dt.total_seconds() / 3600
    assert hours.between(-1.5, 2.0).all()
    assert np.max(km) < 400
    assert np.median(km[place["level"] == 500]) > 3
