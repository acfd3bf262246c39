"""Laws of grids: any order and longitude convention names the same places."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from skyweave.errors import SkyweaveError
from skyweave.grid import EARTH_RADIUS, Grid, great_circle

LAT = np.arange(-89.5, 90, 1.0)
CONVENTIONS = {
    "0..360": np.arange(0.0, 360),
    "-180..180": np.arange(-180.0, 180),
    "descending": np.arange(359.0, -1, -1),
    "jump": np.concatenate([np.arange(200.0, 360), np.arange(0.0, 200)]),
}


@pytest.mark.parametrize("lon", CONVENTIONS.values(), ids=CONVENTIONS)
@pytest.mark.parametrize("lat", [LAT, LAT[::-1]], ids=["ascending", "descending"])
def test_global_grid_covers_the_sphere(lat, lon):
    grid = Grid(lat, lon)
    assert grid.periodic
    assert grid.area.sum() == pytest.approx(4 * np.pi * EARTH_RADIUS**2, rel=1e-12)
    np.testing.assert_allclose(np.abs(np.diff(grid.lon_bounds)), 1)
    assert grid.contains([0, 89.99, -90], [-170, 190, 725]).all()


@pytest.mark.parametrize("lon", CONVENTIONS.values(), ids=CONVENTIONS)
@settings(deadline=None)
@given(where=st.floats(-500, 500))
def test_index_names_the_same_place_in_any_convention(lon, where):
    grid = Grid(LAT[::-1], lon)
    i, j = grid.index(12.25, where)
    low = int(np.floor(j))
    t = j - low
    west, east = grid.lon[low], grid.lon[(low + 1) % lon.size]
    place = west + t * ((east - west + 180) % 360 - 180)
    assert (place - where + 180) % 360 - 180 == pytest.approx(0, abs=1e-9)
    assert grid.lat[0] - i == pytest.approx(12.25)


def test_index_of_centres_is_their_number():
    grid = Grid(np.array([50.0, 48, 45, 44]), np.array([350.0, 355, 0, 10]))
    i, j = grid.index(*grid.mesh())
    np.testing.assert_allclose(i, np.arange(4)[:, None] + np.zeros(4))
    np.testing.assert_allclose(j, np.arange(4) + np.zeros((4, 1)))


def test_outside_is_nan_and_clamp_takes_the_nearer_edge():
    grid = Grid(np.arange(40.0, 51), np.arange(-5.0, 6))
    i, j = grid.index([45, 45, 30, np.nan, 50.5], [20, 340, 0, 0, 5.5])
    assert np.isnan(i[:4]).all()
    assert np.isnan(j[:4]).all()
    assert (i[4], j[4]) == (10.5, 10.5)
    i, j = grid.index([45, 45, 30], [20, 340, 0], clamp=True)
    np.testing.assert_allclose(j, [10.5, -0.5, 5])
    np.testing.assert_allclose(i, [5, 5, -0.5])


def test_grid_points_on_the_poles_have_half_cells():
    grid = Grid(np.linspace(90, -90, 181), np.arange(360.0))
    assert (grid.lat_bounds[0], grid.lat_bounds[1]) == (90, 89.5)
    assert grid.area.sum() == pytest.approx(4 * np.pi * EARTH_RADIUS**2)
    assert (grid.area > 0).all()
    assert grid.index(90, 0)[0] == 0


@pytest.mark.parametrize("lon", CONVENTIONS.values(), ids=CONVENTIONS)
@pytest.mark.parametrize("box", [(-20, 20), (170, -170), (340, 380), (10, 30)])
def test_region_is_one_piece_and_exactly_the_box(lon, box):
    grid = Grid(LAT, lon)
    part = grid.isel(*grid.region((-10, 10), box))
    assert part.shape == (20, (box[1] - box[0]) % 360 + 1)
    assert not part.periodic
    assert part.resolution == (1, 1)
    assert (((part.lon - box[0]) % 360) <= (box[1] - box[0]) % 360).all()


def test_empty_region_and_whole_circle():
    grid = Grid(np.arange(40.0, 51), np.arange(-5.0, 6))
    with pytest.raises(SkyweaveError, match=r"longitudes \(100, 120\)"):
        grid.region(None, (100, 120))
    with pytest.raises(SkyweaveError, match="latitudes"):
        grid.region((-10, 0), None)
    assert Grid(LAT, CONVENTIONS["jump"]).region(None, (-180, 180))[1].size == 360


def test_great_circle_against_known_arcs():
    quarter = np.pi / 2 * EARTH_RADIUS / 1000
    np.testing.assert_allclose(great_circle([0, 0, 90], [0, 359, 0], [90, 0, 0], [77, 89, 5]), quarter)
    assert Grid.distance(10, 359.9, 10, -0.1) == pytest.approx(0, abs=1e-6)


@settings(deadline=None)
@given(
    lat=st.lists(st.floats(-90, 90), min_size=2, max_size=12, unique_by=lambda v: round(v, 2)),
    start=st.floats(-400, 400),
    steps=st.lists(st.floats(0.5, 25), min_size=1, max_size=12),
)
def test_round_trip_and_containment(lat, start, steps):
    grid = Grid(np.sort(lat), start + np.cumsum(steps))
    again = Grid.from_dict(json.loads(json.dumps(grid.to_dict())))
    assert again.same_as(grid)
    assert grid.contains(*grid.mesh()).all()
    np.testing.assert_allclose(np.diff(grid.lon_bounds), np.abs(np.diff(grid.lon_bounds)))


@pytest.mark.parametrize(
    ("lat", "lon", "message"),
    [
        ([0, 1, 1], [0, 1], "not strictly monotonic"),
        ([0, 100], [0, 1], "not degrees"),
        ([0, np.nan], [0, 1], "not finite"),
        ([0, 1], [0, 10, 5], "not monotonic"),
        ([0, 1], [3, 3], "not monotonic"),
        ([0, 1], np.arange(361), "repeats the first"),
        ([[0, 1]], [0, 1], "1-D"),
    ],
)
def test_refuses_what_is_not_a_grid(lat, lon, message):
    with pytest.raises(SkyweaveError, match=message):
        Grid(np.array(lat), np.array(lon))


def dataset(lat="lat", lon="lon", lat_attrs=None, lon_attrs=None):
    return xr.Dataset(
        {"t": ((lon, lat), np.zeros((4, 3)))},
        {lat: (lat, [50.0, 49, 48], lat_attrs or {}), lon: (lon, [350.0, 355, 0, 5], lon_attrs or {})},
    )


@pytest.mark.parametrize(
    ("lat", "lon", "lat_attrs", "lon_attrs"),
    [
        ("a", "b", {"standard_name": "latitude"}, {"standard_name": "longitude"}),
        ("a", "b", {"units": "degrees_north"}, {"units": "degrees_east"}),
        ("latitude", "longitude", {}, {}),
        ("nav_lat", "nav_lon", {}, {}),
        ("LAT", "LON", {}, {}),
        ("y", "x", {"units": "degrees"}, {"units": "degrees"}),
    ],
)
def test_found_by_meaning_then_name(lat, lon, lat_attrs, lon_attrs):
    grid = Grid.from_dataset(dataset(lat, lon, lat_attrs, lon_attrs))
    assert (grid.lat_name, grid.lon_name) == (lat, lon)
    np.testing.assert_allclose(grid.lon_unwrapped, [350, 355, 360, 365])
    assert Grid.from_dataset(dataset(lat, lon, lat_attrs, lon_attrs)["t"]).shape == (3, 4)


def test_refuses_rotated_projected_curvilinear_points_and_scalars():
    with pytest.raises(SkyweaveError, match=r"no latitude found.*grid_latitude"):
        Grid.from_dataset(
            dataset("rlat", "rlon", {"standard_name": "grid_latitude"}, {"standard_name": "grid_longitude"})
        )
    with pytest.raises(SkyweaveError, match="no latitude found"):
        Grid.from_dataset(dataset("y", "x", {"units": "m"}, {"units": "m"}))
    curved = xr.Dataset(coords={"lat": (("y", "x"), np.zeros((2, 2))), "lon": (("y", "x"), np.zeros((2, 2)))})
    with pytest.raises(SkyweaveError, match="two-dimensional"):
        Grid.from_dataset(curved)
    points = xr.Dataset(coords={"lat": ("site", [1.0, 2]), "lon": ("site", [1.0, 2])})
    with pytest.raises(SkyweaveError, match="points, not a grid"):
        Grid.from_dataset(points)
    with pytest.raises(SkyweaveError, match="single value"):
        Grid.from_dataset(dataset().isel(lat=0))


def test_coordinate_over_a_dimension_of_another_name():
    ds = dataset().rename_dims(lat="row", lon="column")
    assert Grid.from_dataset(ds).dims_in(ds) == ("row", "column")


def test_a_description_has_no_noise_of_the_last_bit():
    grid = Grid(np.arange(8.0, 20.5, 0.5), np.arange(0.0, 20.5, 0.625) - 8.9e-13)
    assert grid.describe().startswith("8 to 20 N, 0 to 20 E, 25 x 33 cells")


@settings(deadline=None)
@given(
    widths=st.lists(st.floats(0.5, 20), min_size=2, max_size=9),
    start=st.floats(-400, 400),
    places=st.floats(0.2, 0.8),
    turned=st.booleans(),
)
def test_given_edges_are_kept_through_json_parts_and_conventions(widths, start, places, turned):
    edges = np.concatenate([[0.0], np.cumsum(widths)])
    lon_edges, lat_edges = start + edges, -90 + edges
    lon, lat = (e[:-1] + places * np.diff(e) for e in (lon_edges, lat_edges))
    if turned:
        lon, lat, lon_edges, lat_edges = lon[::-1], lat[::-1], lon_edges[::-1], lat_edges[::-1]
    grid = Grid(lat, lon, lat_edges=lat_edges, lon_edges=lon_edges)
    sines = np.abs(np.diff(np.sin(np.deg2rad(lat_edges))))
    np.testing.assert_allclose(grid.area.sum(1) / grid.area.sum(), sines / sines.sum(), rtol=1e-9)
    again = Grid.from_dict(json.loads(json.dumps(grid.to_dict())))
    assert again.same_as(grid)
    np.testing.assert_allclose(again.lon_bounds, grid.lon_bounds, atol=1e-9)
    part = grid.isel(slice(1, None), slice(0, -1))
    np.testing.assert_allclose(part.area, grid.area[1:, :-1])
    assert not Grid(lat, lon, lat_edges=lat_edges + 0.1, lon_edges=lon_edges).same_as(grid)
    # A place belongs to the cell between whose edges it lies.
    middle = (lat_edges[:-1] + lat_edges[1:]) / 2, (lon_edges[:-1] + lon_edges[1:]) / 2
    i, j = grid.index(middle[0][:, None], middle[1], by_cell=True)
    np.testing.assert_array_equal(np.floor(i + 0.5)[:, 0], np.arange(lat.size))
    np.testing.assert_array_equal(np.floor(j + 0.5)[0], np.arange(lon.size))


@pytest.mark.parametrize("edges", [[0, 1], [0, 3, 5], [1, 0.4, 2]])
def test_edges_that_do_not_fit_are_refused(edges):
    with pytest.raises(SkyweaveError, match="lat_edges"):
        Grid(np.array([0.5, 1.5]), np.array([0.0, 1]), lat_edges=np.array(edges, float))
