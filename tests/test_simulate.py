"""Laws of the simulators: exact fractions, area-uniform networks, noise of the stated size."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from skyweave.errors import SkyweaveError
from skyweave.grid import Grid
from skyweave.observe.errors import ErrorModel
from skyweave.observe.simulate import (
    add_noise,
    cloud_mask,
    sample_points,
    station_network,
    station_table,
)

WORLD = Grid(np.arange(-89, 90, 2.0), np.arange(0, 360, 2.0))


def plane(grid, times=None):
    lat, lon = grid.mesh()
    field = 2.0 + 0.5 * lat - 0.25 * lon
    if times is None:
        return xr.DataArray(field, dims=("lat", "lon"), coords={"lat": grid.lat, "lon": grid.lon}, name="t")
    stack = field + np.arange(len(times))[:, None, None]
    coords = {"time": times, "lat": grid.lat, "lon": grid.lon}
    return xr.DataArray(stack, dims=("time", "lat", "lon"), coords=coords, name="t")


@settings(max_examples=30, deadline=None)
@given(fraction=st.floats(0, 1), h=st.integers(1, 12), w=st.integers(1, 12), scale=st.floats(0, 5))
def test_the_missing_fraction_is_exact_in_every_map(fraction, h, w, scale):
    mask = cloud_mask((3, h, w), fraction, np.random.default_rng(0), scale)
    assert mask.shape == (3, h, w)
    assert np.all((~mask).sum((1, 2)) == round(fraction * h * w))


def test_clouds_cluster_and_independent_gaps_do_not():
    def agreement(mask):
        return np.mean(mask[:, 1:] == mask[:, :-1])

    rng = np.random.default_rng(1)
    # Independent cells of one half agree with their neighbour half of the time (standard error 0.004).
    assert abs(agreement(cloud_mask(WORLD, 0.5, rng, 0.0)) - 0.5) < 0.02
    assert agreement(cloud_mask(WORLD, 0.5, rng, 4.0)) > 0.85


def test_clouds_are_continuous_across_the_seam_of_a_global_grid():
    mask = np.stack([cloud_mask(WORLD, 0.5, np.random.default_rng(k), 4.0) for k in range(20)])
    assert np.mean(mask[..., 0] == mask[..., -1]) > 0.85


def test_fraction_is_checked():
    with pytest.raises(SkyweaveError, match="fraction"):
        cloud_mask((4, 4), 1.2, np.random.default_rng(0))


def test_stations_are_uniform_in_area():
    table = station_network(WORLD, 20_000, np.random.default_rng(0))
    # Half of the sphere lies within 30 degrees of the equator (sin 30 = 1/2); standard error 0.0035.
    reach = np.sin(np.radians(89))
    assert abs(np.mean(np.abs(table["lat"]) < 30) - 0.5 / reach) < 0.015
    assert abs(np.mean(table["lon"] < 0) - 0.5) < 0.015


def test_stations_keep_to_the_land():
    land = np.zeros(WORLD.shape, bool)
    land[30:40, 170:] = True
    table = station_network(WORLD, 100, np.random.default_rng(0), land)
    i, j = WORLD.index(table["lat"], table["lon"])
    assert np.all(land[np.round(i).astype(int), np.round(j).astype(int) % 180])
    with pytest.raises(SkyweaveError, match="no cell"):
        station_network(WORLD, 3, np.random.default_rng(0), np.zeros(WORLD.shape, bool))


@pytest.mark.parametrize("method", ["bilinear", "bicubic"])
def test_points_see_a_constant_as_it_is(method):
    grid = Grid(np.arange(40, 50.0), np.arange(0, 10.0))
    flat = plane(grid) * 0 + 7.0
    table = station_network(grid, 50, np.random.default_rng(0))
    np.testing.assert_allclose(sample_points(flat, table["lat"], table["lon"], method), 7.0)


def test_bilinear_points_are_exact_for_a_plane_in_any_dimension_order():
    grid = Grid(np.arange(50, 39, -1.0), np.arange(0, 10.0))
    times = np.array(["2020-01-01", "2020-01-02"], "M8[ns]")
    field = plane(grid, times).transpose("lon", "time", "lat")
    table = station_network(grid, 50, np.random.default_rng(0))
    expected = 2 + 0.5 * table["lat"] - 0.25 * table["lon"]
    np.testing.assert_allclose(sample_points(field, table["lat"], table["lon"]), [expected, expected + 1])
    with pytest.raises(SkyweaveError, match="bilinear"):
        sample_points(field, [45.0], [5.0], "cubic")


def test_noise_has_the_variance_of_its_model():
    values = np.full(200_000, 8.0)
    noisy = add_noise(values, ErrorModel(3.0, 0.5, 12.0), np.random.default_rng(0))
    # sigma = 13 (see the error model's test); standard error of the estimate 13 / sqrt(2 n) = 0.02.
    assert abs(np.std(noisy - values) - 13.0) < 0.1
    gaps = add_noise(plane(WORLD).where(WORLD.mesh()[0] > 0), 1.0, np.random.default_rng(0))
    assert isinstance(gaps, xr.DataArray)
    assert np.array_equal(np.isnan(gaps.values), WORLD.mesh()[0] <= 0)


def test_station_table_holds_every_station_and_time():
    grid = Grid(np.arange(40, 50.0), np.arange(0, 10.0))
    times = np.array(["2020-01-01", "2020-01-02"], "M8[ns]")
    stations = station_network(grid, 5, np.random.default_rng(0))
    table = station_table(plane(grid, times).to_dataset(), stations, 1e-9, np.random.default_rng(0))
    expected = 2 + 0.5 * table["lat"] - 0.25 * table["lon"] + (table["time"] == times[1])
    assert len(table) == 10
    np.testing.assert_allclose(table["value"], expected, atol=1e-6)
