"""Baselines: what all of them must reproduce; where observations lie; interpolation."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from baseline_cases import GLOBE, GRID, PLAIN, SPEC, observe, points, red_states, scattered
from skyweave.baselines import BASELINES, Climatology
from skyweave.baselines.interpolation import linear_map, nearest_map
from skyweave.baselines.inverse_distance import inverse_distance_map
from skyweave.baselines.located import LocatedObservations, locate
from skyweave.errors import SkyweaveError
from skyweave.grid import Grid
from skyweave.observe.errors import EARTH_RADIUS_KM
from skyweave.regrid import bicubic, bilinear, block_mean, nearest
from skyweave.state import StateSpec, Variable
from skyweave.transform import Standardise, StateTransform

CLIMATOLOGICAL = ("climatology", "optimal-interpolation")
ENSEMBLES = (*CLIMATOLOGICAL, "kriging", "space-time-kriging")


@pytest.fixture(scope="module")
def trained() -> Climatology:
    return Climatology.fit(red_states(200, GRID.shape), PLAIN, local=False)


# ---- all of them


@pytest.mark.parametrize("name", sorted(BASELINES))
@pytest.mark.parametrize("grid", [GRID, GLOBE], ids=["region", "globe"])
def test_every_baseline_returns_a_constant_that_was_observed(name, grid):
    state = np.full((2, 1, *grid.shape), 280.0)
    once = bilinear(grid, *scattered(grid, 25))
    frame = sp.block_diag([once, once])
    climatology = Climatology.fit(red_states(30, grid.shape), PLAIN, local=False, periodic=grid.periodic)
    observed = observe(frame, state)
    # The climatological mean is close to 280, not equal to it.
    flat = Climatology(torch.zeros_like(climatology.mean), climatology.deviation, climatology.lags)
    fields = BASELINES[name](observed, SPEC, grid, transform=PLAIN, climatology=flat)
    assert fields.shape == (1, 2, 1, *grid.shape)
    assert fields.dtype == np.float32
    np.testing.assert_allclose(fields, 280.0, atol=1e-3)


@pytest.mark.parametrize("name", sorted(BASELINES))
def test_every_baseline_is_the_same_again_and_keeps_to_the_bounds(name, trained):
    bounded = StateSpec((Variable("t2m", "K", bounds=(275.0, 285.0)),))
    state = np.clip(red_states(1, GRID.shape, seed=5)[None, 0].numpy(), 275, 285)
    observed = observe(nearest(GRID, *scattered(GRID, 30)), state)
    options = {"transform": PLAIN, "climatology": trained, "members": 3, "seed": 4}
    first, second = (BASELINES[name](observed, bounded, GRID, **options) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert first.min() >= 275
    assert first.max() <= 285


@pytest.mark.parametrize("name", sorted(BASELINES))
def test_every_baseline_is_the_same_in_other_units(name, trained):
    # A linear change of units changes the transform and the observations; the normalised climatology stays.
    state = red_states(2, GRID.shape, seed=6).numpy()
    frame = bilinear(GRID, *scattered(GRID, 30))
    matrix = sp.block_diag([frame, frame])
    fahrenheit = StateTransform((Standardise(280.0 * 1.8 - 459.67, 18.0),))
    options = {"climatology": trained, "members": 3, "seed": 1}
    kelvin = BASELINES[name](observe(matrix, state, 0.5), SPEC, GRID, transform=PLAIN, **options)
    other = observe(matrix, 1.8 * state - 459.67, 0.9, fahrenheit)
    converted = BASELINES[name](other, SPEC, GRID, transform=fahrenheit, **options)
    assert kelvin.shape == (3 if name in ENSEMBLES else 1, 2, 1, *GRID.shape)
    np.testing.assert_allclose(converted, 1.8 * kelvin - 459.67, atol=0.02)


@pytest.mark.parametrize("name", ["nearest", "inverse-distance", "temporal-interpolation", "dineof"])
def test_a_cell_that_was_observed_keeps_its_value(name):
    state = red_states(1, GRID.shape, seed=8)[None, 0].numpy()
    cells = np.random.default_rng(1).choice(GRID.size, 40, replace=False)
    lat, lon = (a.ravel()[cells] for a in GRID.mesh())
    fields = BASELINES[name](observe(nearest(GRID, lat, lon), state), SPEC, GRID)
    np.testing.assert_allclose(fields.ravel()[cells], state.ravel()[cells], rtol=1e-6)


@pytest.mark.parametrize("name", CLIMATOLOGICAL)
def test_a_climatology_is_asked_for_where_there_is_none_or_another_grid_s(name, trained):
    observed = observe(nearest(GRID, *scattered(GRID, 5)), np.full((1, 1, *GRID.shape), 280.0))
    with pytest.raises(SkyweaveError, match="needs a climatology"):
        BASELINES[name](observed, SPEC, GRID, transform=PLAIN)
    with pytest.raises(SkyweaveError, match="isel"):
        BASELINES[name](observed, SPEC, GRID, transform=PLAIN, climatology=trained.isel(range(8), range(20)))


# ---- where observations lie


@pytest.mark.parametrize("grid", [GRID, GLOBE], ids=["region", "globe"])
def test_centroids_give_back_the_positions_of_points_and_blocks(grid):
    # Inside the outermost centres: half a cell beyond them a value is taken from the edge.
    lat, lon = scattered(grid, 40)
    if grid.periodic:
        lon[0] = 358.0  # between the last column and the first
    state = np.zeros((1, 1, *grid.shape))
    for method, cells in ((bilinear, 1e-6), (bicubic, 0.06)):
        if method is bicubic:
            lat = np.clip(
                lat, grid.lat.min() + 2 * grid.resolution[0], grid.lat.max() - 2 * grid.resolution[0]
            )
            inside = grid.index(lat, lon)[1]
            keep = grid.periodic | ((inside > 1) & (inside < grid.shape[1] - 2))
            lat, lon = lat[keep], lon[keep]
        found = locate(observe(method(grid, lat, lon), state), grid)
        assert np.abs(found.lat - lat).max() < cells * grid.resolution[0]
        assert np.abs((found.lon - lon + 180) % 360 - 180).max() < cells * grid.resolution[1]
    blocks = locate(observe(block_mean(grid, 2), state), grid)
    np.testing.assert_allclose(
        blocks.lat.reshape(-1, grid.shape[1] // 2)[:, 0], grid.lat.reshape(-1, 2).mean(1)
    )


def test_frame_channel_and_sums_are_read_from_the_matrix():
    matrix = sp.lil_array((2, 3 * 2 * GRID.size))
    matrix[0, 2 * 2 * GRID.size + GRID.size + 5] = 1.0  # frame 2, channel 1
    matrix[1, [7, 8]] = 2.0  # a sum of four values in two cells
    found = locate(observe(matrix, np.full((3, 2, *GRID.shape), 3.0), error=0.4, transform=None), GRID)
    assert found.frame.tolist() == [2, 0]
    assert found.channel.tolist() == [1, 0]
    np.testing.assert_allclose(found.value, 3.0)
    np.testing.assert_allclose(found.variance, [0.16, 0.01])


# ---- interpolation


def test_bicubic_upsampling_reproduces_quadratics_inside():
    i, j = np.meshgrid(np.arange(24.0), np.arange(32.0), indexing="ij")
    grid = Grid(np.linspace(40, 51.5, 24), np.linspace(-5, 10.5, 32))
    state = 280 + 0.02 * i**2 - 0.03 * i * j + 0.01 * j**2
    centres = nearest(grid, *(a.ravel() for a in np.meshgrid(grid.lat[1::2], grid.lon[1::2], indexing="ij")))
    fields = BASELINES["bicubic"](observe(centres, state[None, None]), SPEC, grid)[0, 0, 0]
    np.testing.assert_allclose(fields[4:-4, 4:-4], state[4:-4, 4:-4], rtol=1e-6)


@pytest.mark.parametrize("scatter", [False, True], ids=["coarse grid", "stations"])
def test_bicubic_is_closer_to_a_smooth_field_than_linear(scatter):
    i, j = np.meshgrid(np.arange(24.0), np.arange(32.0), indexing="ij")
    grid = Grid(np.linspace(40, 51.5, 24), np.linspace(-5, 10.5, 32))
    state = 280 + 5 * np.sin(i / 4) * np.cos(j / 5)
    matrix = bilinear(grid, *scattered(grid, 120)) if scatter else block_mean(grid, 4)
    observed = observe(matrix, state[None, None])
    inside = np.s_[5:-5, 5:-5]
    errors = {
        name: np.sqrt(np.mean((BASELINES[name](observed, SPEC, grid)[0, 0, 0] - state)[inside] ** 2))
        for name in ("nearest", "linear", "bicubic")
    }
    assert errors["bicubic"] < 0.9 * errors["linear"] < 0.8 * errors["nearest"]


def test_bicubic_upsampling_wraps_around_the_globe():
    wave = 280 + 10 * np.cos(np.deg2rad(GLOBE.lon))[None, :].repeat(18, 0)
    observed = observe(block_mean(GLOBE, 3), wave[None, None])
    fields = BASELINES["bicubic"](observed, SPEC, GLOBE)[0, 0, 0]
    # The mean over three cells lowers the wave by sin(1.5 d) / (3 sin(0.5 d)), d = 10 degrees.
    lowered = np.sin(np.deg2rad(15)) / (3 * np.sin(np.deg2rad(5)))
    # Rows whose four neighbours are on one side of the poles: a wave that does not vanish there has a jump across them.
    middle = slice(6, 12)
    np.testing.assert_allclose((fields - 280)[middle], lowered * (wave - 280)[middle], atol=0.15)


@pytest.mark.parametrize("name", ["linear", "bicubic"])
def test_scattered_interpolation_is_exact_for_planes_inside_the_hull(name):
    i, j = np.meshgrid(np.arange(16.0), np.arange(20.0), indexing="ij")
    plane = 280 + 0.5 * i - 0.3 * j
    lat, lon = scattered(GRID, 60)
    corners = np.meshgrid(GRID.lat[[0, -1]], GRID.lon[[0, -1]], indexing="ij")
    lat, lon = np.append(lat, corners[0]), np.append(lon, corners[1])
    fields = BASELINES[name](observe(bilinear(GRID, lat, lon), plane[None, None]), SPEC, GRID)
    np.testing.assert_allclose(fields[0, 0, 0], plane, atol=2e-3)


def test_linear_interpolation_knows_that_the_globe_is_round():
    lat, lon = np.array([0.0, 5, -5, 0, 5, -5]), np.array([350.0, 350, 350, 20, 20, 20])
    field = linear_map(points(lat, lon, [0.0, 0, 0, 3, 3, 3]), GLOBE)
    row = int(np.argmin(np.abs(GLOBE.lat - 5)))
    np.testing.assert_allclose(field[row, [35, 0, 1, 2]], [0, 1, 2, 3], atol=1e-9)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_points_that_span_no_triangle_fall_back_to_the_nearest(n):
    given = points(np.linspace(43, 50, n), np.linspace(352, 352, n), np.arange(n))
    np.testing.assert_array_equal(linear_map(given, GRID), nearest_map(given, GRID))


def test_reports_of_one_place_are_averaged_by_their_errors():
    base = points([45.0, 45.0, 48.0, 43.0], [355.0, 355.0, 0.0, 2.0], [1.0, 4.0, 2.0, 2.0])
    given = LocatedObservations(
        base.lat, base.lon, base.frame, base.channel, base.value, np.array([1.0, 2.0, 1, 1])
    )
    field = linear_map(given, Grid(np.array([44.0, 45.0, 46.0]), np.array([354.0, 355.0, 356.0])))
    assert field[1, 1] == pytest.approx(2.0)


def test_unobserved_frames_are_interpolated_in_time_and_variables_take_their_climatology():
    spec = StateSpec((Variable("t2m", "K"), Variable("msl", "Pa")))
    area = GRID.size
    matrix = sp.lil_array((2, 5 * 2 * area))
    matrix[0, 1 * 2 * area + 3] = matrix[1, 3 * 2 * area + 9] = 1.0
    state = np.zeros((5, 2, *GRID.shape))
    state[1], state[3] = 10.0, 20.0
    observed = observe(matrix, state, transform=None)
    fields = BASELINES["nearest"](observed, spec, GRID)[0]
    np.testing.assert_allclose(fields[:, 0, 0, 0], [10, 10, 15, 20, 20])
    assert np.isnan(fields[:, 1]).all()
    known = Climatology(torch.full((2, *GRID.shape), 7.0), torch.ones(2, *GRID.shape), torch.zeros(1))
    fields = BASELINES["nearest"](observed, spec, GRID, climatology=known)[0]
    assert (fields[:, 1] == 7.0).all()


# ---- inverse distance


@pytest.mark.parametrize("grid", [GRID, GLOBE], ids=["region", "globe"])
def test_inverse_distance_is_exact_on_the_observations_and_bounded_by_them(grid):
    rng = np.random.default_rng(2)
    cells = rng.choice(grid.size, 30, replace=False)
    lat, lon = (a.ravel()[cells] for a in grid.mesh())
    value = rng.normal(280, 10, 30)
    field = inverse_distance_map(points(lat, lon + 360, value), grid)
    np.testing.assert_allclose(field.ravel()[cells], value, rtol=1e-9)
    assert value.min() - 1e-9 <= field.min() <= field.max() <= value.max() + 1e-9


def test_inverse_distance_takes_its_power_and_its_neighbours():
    state = red_states(1, GRID.shape, seed=8)[None, 0].numpy()
    observed = observe(nearest(GRID, *scattered(GRID, 30)), state)
    one = BASELINES["inverse-distance"](observed, SPEC, GRID, neighbours=1)
    np.testing.assert_array_equal(one, BASELINES["nearest"](observed, SPEC, GRID))
    even = BASELINES["inverse-distance"](observed, SPEC, GRID, power=0.0, neighbours=30)
    free = ~np.isin(np.arange(GRID.size), observed.operator.matrix.indices)
    np.testing.assert_allclose(even.ravel()[free], float(observed.y.mean()), rtol=1e-6)


def test_inverse_distance_weighs_by_the_square_of_the_chord():
    lat, lon, value = np.array([10.0, 40.0, -20.0]), np.array([355.0, 20.0, 190.0]), np.array([1.0, 2.0, 4.0])
    field = inverse_distance_map(points(lat, lon, value), GLOBE)
    where = 14, 35
    distance = np.sin(Grid.distance(GLOBE.lat[where[0]], GLOBE.lon[where[1]], lat, lon) / EARTH_RADIUS_KM / 2)
    assert field[where] == pytest.approx((value / distance**2).sum() / (1 / distance**2).sum(), rel=1e-9)
