"""Conditioning channels: closed forms of place and time, and static fields brought to another grid."""

import cftime
import numpy as np
import pytest

from skyweave.errors import SkyweaveError
from skyweave.grid import Grid
from skyweave.prior.conditioning import CONDITIONING, Conditioning, StaticField, clock
from skyweave.prior.insolation import insolation

GRID = Grid(np.array([-30.0, 0.0, 30.0, 60.0]), np.array([0.0, 90.0, 180.0, 270.0]))


def channels(*names, times=None, static=None):
    return Conditioning(names, static or {}).bind(GRID).channels(times).numpy()


def test_place_is_where_the_cell_is_on_the_sphere():
    out = channels("latitude", "longitude")
    assert out.shape == (1, 3, 4, 4)
    np.testing.assert_allclose(out[0, 0, :, 0], [-0.5, 0, 0.5, np.sqrt(0.75)], atol=1e-6)
    np.testing.assert_allclose(out[0, 1, 0], [0, 1, 0, -1], atol=1e-6)
    np.testing.assert_allclose(out[0, 2, 0], [1, 0, -1, 0], atol=1e-6)


def test_longitudes_a_turn_apart_are_the_same_place():
    there = Conditioning(("longitude", "hour")).bind(Grid(GRID.lat, GRID.lon - 360))
    times = np.array(["2020-03-01T05:00"], dtype="datetime64[ns]")
    np.testing.assert_allclose(there.channels(times), channels("longitude", "hour", times=times), atol=1e-6)


def test_the_hour_is_local_solar_time():
    # Noon at Greenwich is six in the evening at 90 E: both see the phase of their own clock.
    noon, evening = np.array(["2020-03-01T12", "2020-03-01T18"], dtype="datetime64[ns]")
    out = channels("hour", times=np.array([noon, evening]))
    np.testing.assert_allclose(out[0, :, 0, 1], out[1, :, 0, 0], atol=1e-6)
    np.testing.assert_allclose(out[0, :, 0, 0], [0, -1], atol=1e-6)


def test_the_year_closes():
    days = np.array(["2019-12-31T23:00", "2020-01-01T00:00"], dtype="datetime64[ns]")
    before, after = channels("day_of_year", times=days)
    assert np.abs(before - after).max() < 0.02
    np.testing.assert_allclose(after[:, 0, 0], [0, 1], atol=1e-6)


@pytest.mark.parametrize("calendar", ["noleap", "360_day", "standard"])
def test_the_clock_reads_other_calendars(calendar):
    hours, days = clock([cftime.datetime(2001, 2, 3, 6, 30, calendar=calendar)])
    assert hours[0] == 6.5
    assert days[0] == pytest.approx((30 if calendar == "360_day" else 31) + 2 + 6.5 / 24)


def test_every_name_adds_the_channels_it_says():
    times = np.array(["2020-03-01"], dtype="datetime64[ns]")
    static = {name: StaticField(GRID, np.zeros(GRID.shape)) for name in ("elevation", "land_sea_mask")}
    for name, count in CONDITIONING.items():
        assert channels(name, times=times, static=static).shape[1] == count


def test_static_fields_are_interpolated_and_elevation_is_in_km():
    coarse = Grid(np.array([-40.0, 0.0, 40.0, 80.0]), np.arange(0.0, 360.0, 30.0))
    height = np.broadcast_to(1000.0 + 10.0 * coarse.lat[:, None], coarse.shape)
    out = channels("elevation", static={"elevation": StaticField(coarse, height)})
    np.testing.assert_allclose(out[0, 0, :, 2], 1 + 0.01 * GRID.lat, rtol=1e-5)


def test_a_static_field_that_does_not_cover_the_grid_is_refused():
    small = Grid(np.array([0.0, 10.0]), np.array([0.0, 10.0]))
    with pytest.raises(SkyweaveError, match="elevation stored in this prior covers"):
        Conditioning(("elevation",), {"elevation": StaticField(small, np.zeros((2, 2)))}).bind(GRID)


def test_channels_of_time_need_times():
    with pytest.raises(SkyweaveError, match="conditioned on hour"):
        channels("hour")


def test_the_sun_stands_where_it_should():
    equinox = np.array(["2021-03-20T12:00", "2021-03-20T00:00"], dtype="datetime64[ns]")
    noon, midnight = channels("insolation", times=equinox)[:, 0]
    assert noon[1, 0] == pytest.approx(1.0, abs=0.03)  # overhead at the equator, at Greenwich
    assert noon[2, 0] == pytest.approx(np.cos(np.pi / 6), abs=0.03)
    assert noon[1, 2] == 0
    assert midnight[1, 2] == pytest.approx(1.0, abs=0.03)
    june, december = channels(
        "insolation", times=np.array(["2021-06-21T12:00", "2021-12-21T12:00"], dtype="datetime64[ns]")
    )[:, 0]
    # Noon at 30 N: 6.6 degrees from the zenith in June, 53.4 in December; the sun is nearest in January.
    assert june[2, 0] == pytest.approx(np.cos(np.deg2rad(30 - 23.44)) * 0.968, abs=0.005)
    assert december[2, 0] == pytest.approx(np.cos(np.deg2rad(30 + 23.44)) * 1.033, abs=0.005)


def test_the_year_of_sunlight_is_a_quarter_of_the_solar_constant():
    hours, days = np.meshgrid(np.arange(0, 24, 2.0), np.arange(365.0))
    lat = np.arange(-85, 90, 10.0)
    mean = insolation(hours.ravel(), days.ravel(), lat[:, None], 0.0).mean(1)
    weights = np.cos(np.deg2rad(lat))
    assert (mean * weights).sum() / weights.sum() == pytest.approx(0.25, abs=0.002)
