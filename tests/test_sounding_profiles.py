"""Soundings along their path: exact profiles, drift, values of their own time and place."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from skyweave.errors import SkyweaveError
from skyweave.grid import EARTH_RADIUS, Grid
from skyweave.observe.assemble import assemble
from skyweave.observe.observation import PointObservation
from skyweave.observe.profiles import complete, drift, pressures_of_heights, sorted_levels
from skyweave.observe.sounding_values import prepared
from skyweave.observe.soundings import sounding_observations
from skyweave.state import StateSpec, Variable
from skyweave.thermodynamics import standard_height, standard_temperature
from sounding_cases import (
    MANDATORY,
    NOMINAL,
    R_OVER_G,
    REGIONS,
    RELEASE,
    TIMES,
    profile,
    spec_of,
    the_sums_add_up,
    values,
)

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
