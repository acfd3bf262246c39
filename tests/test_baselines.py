"""Baselines: what each must reproduce, and optimal interpolation against brute force."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from skyweave.baselines import BASELINES, Climatology
from skyweave.baselines.interpolation import linear_map, nearest_map
from skyweave.baselines.inverse_distance import inverse_distance_map
from skyweave.baselines.located import LocatedObservations, locate
from skyweave.baselines.optimal_interpolation import analyse
from skyweave.errors import SkyweaveError
from skyweave.grid import Grid
from skyweave.observe.errors import EARTH_RADIUS_KM, ErrorCovariance
from skyweave.observe.operator import StateOperator
from skyweave.posterior.kalman import KalmanSolver
from skyweave.prior.analytic import GaussianPrior, red_spectrum
from skyweave.prior.error_covariance import ErrorCovarianceModel, default_levels
from skyweave.prior.presets import find_preset
from skyweave.prior.storage import LearntPrior, build_network
from skyweave.regrid import bicubic, bilinear, block_mean, nearest
from skyweave.state import StateSpec, Variable
from skyweave.transform import Log10Standardise, Standardise, StateTransform

ENSEMBLES = ("climatology", "optimal-interpolation")
GRID = Grid(np.linspace(50, 42.5, 16), np.linspace(350, 368.8, 20) % 360)
GLOBE = Grid(np.linspace(-85, 85, 18), np.arange(0, 360, 10.0))
SPEC = StateSpec((Variable("t2m", "K"),))
PLAIN = StateTransform((Standardise(280.0, 10.0),))


@dataclass(frozen=True, eq=False)
class Observations:
    operator: StateOperator
    y: torch.Tensor
    R: ErrorCovariance


def observe(matrix, state: np.ndarray, error: float = 0.1, transform=PLAIN) -> Observations:
    """Values of a physical state (T, C, H, W) under a matrix on all of it."""
    operator = StateOperator(sp.csr_array(matrix), state.shape, transform)
    y = torch.from_numpy(np.asarray(matrix @ state.ravel())).float()
    return Observations(operator, y, ErrorCovariance(np.full(len(y), error**2)))


def scattered(grid: Grid, n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    lat = rng.uniform(grid.lat.min(), grid.lat.max(), n)
    return lat, grid.lon[0] + rng.uniform(0, 1, n) * (grid.lon_unwrapped[-1] - grid.lon[0])


def points(lat, lon, value) -> LocatedObservations:
    n = len(value)
    zero = np.zeros(n, np.int64)
    return LocatedObservations(np.asarray(lat), np.asarray(lon), zero, zero, np.asarray(value), np.ones(n))


def red_states(n: int, shape: tuple[int, int], channels: int = 1, seed: int = 0) -> torch.Tensor:
    """Physical training states: cells out of a larger periodic red field."""
    H, W = shape
    prior = GaussianPrior(red_spectrum(2 * H, 2 * W), (1, 1, 2 * H, 2 * W))
    noise = torch.randn(n, 1, channels, 2 * H, 2 * W, generator=torch.Generator().manual_seed(seed))
    x = torch.stack([prior.sample(noise[:, :, [c]])[:, 0, 0] for c in range(channels)], dim=1)
    if channels == 2:
        x[:, 1] = 0.8 * x[:, 0] + 0.6 * x[:, 1]
    return 280.0 + 10.0 * x[..., :H, :W]


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


@pytest.mark.parametrize("name", ["nearest", "inverse-distance"])
def test_a_cell_that_was_observed_keeps_its_value(name):
    state = red_states(1, GRID.shape, seed=8)[None, 0].numpy()
    cells = np.random.default_rng(1).choice(GRID.size, 40, replace=False)
    lat, lon = (a.ravel()[cells] for a in GRID.mesh())
    fields = BASELINES[name](observe(nearest(GRID, lat, lon), state), SPEC, GRID)
    np.testing.assert_allclose(fields.ravel()[cells], state.ravel()[cells], rtol=1e-6)


@pytest.mark.parametrize("name", ENSEMBLES)
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
    np.testing.assert_allclose(fields - 280, lowered * (wave - 280), atol=0.15)


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


# ---- climatology


@pytest.mark.parametrize("holes", [False, True])
@pytest.mark.parametrize("periodic", [False, True])
def test_lag_covariance_is_the_mean_over_pairs(holes, periodic):
    states = torch.randn(5, 2, 6, 8, generator=torch.Generator().manual_seed(0)) + 3.0
    if holes:
        states[torch.rand(states.shape, generator=torch.Generator().manual_seed(1)) < 0.2] = torch.nan
    known = Climatology.fit(states, patch=(6, 8), local=False, periodic=periodic, frames=2)
    a = (states - states.nanmean((0, 2, 3), keepdim=True)).double().numpy()
    a = a / np.sqrt(np.nanmean(a**2, (0, 2, 3), keepdims=True))
    for lag, c, d, dy, dx in [(0, 0, 0, 0, 0), (0, 0, 1, 2, -3), (1, 1, 0, -1, 2), (1, 0, 0, 1, 0)]:
        pairs = []
        for n in range(5 - lag):
            for y in range(6):
                for x in range(8):
                    x2 = (x + dx) % 8 if periodic else x + dx
                    if 0 <= y + dy < 6 and 0 <= x2 < 8:
                        pairs.append(a[n + lag, c, y + dy, x2] * a[n, d, y, x])
        assert float(known.lags[lag, c, d, dy, dx]) == pytest.approx(np.nanmean(pairs), abs=1e-5)


def test_the_covariance_of_a_red_field_is_recovered():
    states = red_states(400, (16, 20), channels=2)
    transform = StateTransform((Standardise(280.0, 10.0), Standardise(280.0, 10.0)))
    V = Climatology.fit(states, transform, local=False).covariance()
    truth = GaussianPrior(red_spectrum(32, 40), (1, 1, 32, 40)).covariance(float("inf")).kernel[0, 0]
    kernel = V.kernel
    assert float(kernel[0, 0, 0, 0]) == pytest.approx(1.0, abs=0.1)
    for dy, dx in [(0, 0), (1, 0), (0, 3), (-2, 4), (5, 5)]:
        assert float(kernel[0, 0, dy, dx]) == pytest.approx(float(truth[dy, dx]), abs=0.1)
        assert float(kernel[0, 1, dy, dx]) == pytest.approx(0.8 * float(truth[dy, dx]), abs=0.1)


@pytest.mark.parametrize(("shape", "periodic"), [((8, 10), False), ((40, 30), False), ((16, 20), True)])
def test_the_covariance_is_positive_keeps_the_variance_and_serves_other_domains(shape, periodic):
    known = Climatology.fit(red_states(20, (16, 20)), PLAIN, patch=(24, 20), local=False, frames=2)
    mean = torch.zeros(1, *shape)
    V = Climatology(mean, torch.ones(1, *shape) * 2, known.lags).covariance(3, periodic=periodic)
    cells = torch.arange(0, V.shape[0] * shape[0] * shape[1], 7)
    dense = V.dense(cells).double()
    assert torch.allclose(dense, dense.T, atol=1e-5)
    assert float(torch.linalg.eigvalsh(dense).min()) > -1e-4
    np.testing.assert_allclose(dense.diagonal(), 4.0, rtol=1e-4)
    assert float((V @ torch.ones(1, *V.shape)).abs().sum()) > 0


def test_local_statistics_are_those_of_each_cell_and_travel_with_a_selection():
    states = red_states(40, GRID.shape)
    states[:, :, 3, 4] = 300.0 + 5.0 * (states[:, :, 3, 4] - 280.0)
    known = Climatology.fit(states, PLAIN, local=True).isel([3, 4], [4, 5, 6])
    z = PLAIN.forward(states)[:, 0, 3:5, 4:7]
    np.testing.assert_allclose(known.mean[0], z.mean(0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(known.deviation[0], z.std(0), rtol=1e-4)


def test_climatological_members_have_the_climatology_s_mean_and_deviation(trained):
    observed = observe(nearest(GRID, [45.0], [0.0]), np.full((1, 1, *GRID.shape), 280.0))
    draws = BASELINES["climatology"](
        observed, SPEC, GRID, transform=PLAIN, climatology=trained, members=400, seed=1
    )
    mean, deviation = 280 + 10 * float(trained.mean[0, 0, 0]), 10 * float(trained.deviation[0, 0, 0])
    assert draws.mean() == pytest.approx(mean, abs=0.1 * deviation)
    assert draws.std(axis=0).mean() == pytest.approx(deviation, rel=0.05)


def test_a_prior_s_climatology_is_what_it_says_of_a_state_it_knows_nothing_about():
    # The last layer of an untrained network is zero: it denoises white noise of unit variance.
    spec = StateSpec((Variable("a", "K"), Variable("b", "K")), resolution=(0.5, 1.0))
    transform = StateTransform((Standardise(280.0, 10.0),) * 2)
    network = build_network(2, 0, find_preset("tiny").architecture, 1.0).eval().requires_grad_(False)
    levels = default_levels()
    lags = Climatology.fit(red_states(50, (12, 14), 2), transform, local=False).lags[0]
    attachments = ErrorCovarianceModel(levels, lags.expand(len(levels), *lags.shape)).to_tensors()
    prior = LearntPrior(spec, transform, (12, 14), network, attachments=attachments)
    known = Climatology.from_prior(prior, GRID, None)
    assert float(known.mean.abs().max()) < 1e-6
    assert float((known.deviation - 1).abs().max()) == 0.0
    ours = known.covariance().kernel
    model = ErrorCovarianceModel.from_tensors(attachments)
    assert model is not None
    # A domain larger than the patch: both taper the same lags the same way.
    theirs = model.on((1, 2, *GRID.shape))(float("inf")).kernel
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours[..., :6, :7], theirs[..., :6, :7], atol=0.05)
    with pytest.raises(SkyweaveError, match="calibrate"):
        Climatology.from_prior(replace(prior, attachments={}), GRID, None)


def test_a_window_s_covariance_becomes_one_by_time_lag():
    spec = StateSpec((Variable("a", "K"),), resolution=(0.5, 1.0), window=3)
    network = build_network(1, 0, find_preset("tiny").architecture, 1.0).eval().requires_grad_(False)
    levels = default_levels()
    kernels = torch.zeros(len(levels), 3, 3, 24, 28)
    for t in range(3):
        for u in range(3):
            kernels[:, t, u, 0, 0] = 0.5 ** abs(t - u)
    attachments = ErrorCovarianceModel(levels, kernels).to_tensors()
    prior = LearntPrior(spec, PLAIN, (12, 14), network, attachments=attachments)
    V = Climatology.from_prior(prior, GRID, None).covariance(5)
    lag = torch.arange(5)[:, None] - torch.arange(5)
    # Frames farther apart than the window are independent, but for what positive eigenvalues cost.
    expected = torch.where(lag.abs() < 3, 0.5 ** lag.abs().float(), 0.0)
    np.testing.assert_allclose(V.kernel[:, :, 0, 0], expected, atol=0.02)


@pytest.mark.parametrize(
    "states", [torch.zeros(1, 1, 4, 4), torch.zeros(4, 4), torch.full((5, 1, 4, 4), torch.nan)]
)
def test_training_data_that_say_nothing_are_refused(states):
    with pytest.raises(SkyweaveError, match="climatology"):
        Climatology.fit(states)


# ---- optimal interpolation


def mixed_matrix(frames: int = 1, channels: int = 1) -> sp.csr_array:
    """Stations and block means of the first channel, and stations of the last, in every frame."""
    lat, lon = scattered(GRID, 15, seed=3)
    first = sp.vstack([bilinear(GRID, lat, lon), block_mean(GRID, 4)])
    last = bicubic(GRID, *scattered(GRID, 10, seed=4))
    one = sp.block_diag([first, *[sp.csr_array((0, GRID.size))] * max(channels - 2, 0), last])
    if channels == 1:
        one = sp.vstack([first, last])
    return sp.csr_array(sp.block_diag([one] * frames))


def brute_force(observed: Observations, known: Climatology, frames: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and covariance of the exact posterior of normalised states, with dense matrices."""
    V = known.covariance(frames)
    size = int(np.prod(V.shape))
    B = V.dense(torch.arange(size)).double()
    b = known.mean.expand(frames, *known.mean.shape).reshape(-1).double()
    J = torch.from_numpy(observed.operator.jacobian(torch.zeros(V.shape)).toarray())
    H_b = observed.operator(b.float().reshape(1, *V.shape))[0].double()
    gain = torch.linalg.solve(J @ B @ J.T + observed.R.dense(), J @ B).T
    return b + gain @ (observed.y.double() - H_b), B - gain @ J @ B


@pytest.mark.parametrize(("frames", "channels"), [(1, 1), (2, 2)])
def test_optimal_interpolation_is_the_exact_gaussian_posterior(frames, channels):
    spec = StateSpec(tuple(Variable(f"v{c}", "K") for c in range(channels)))
    transform = StateTransform((Standardise(280.0, 10.0),) * channels)
    train = red_states(60, GRID.shape, channels)
    known = Climatology.fit(train, transform, local=True, frames=frames)
    state = red_states(frames, GRID.shape, channels, seed=9).numpy()
    observed = observe(mixed_matrix(frames, channels), state, error=0.5, transform=transform)
    mean, covariance = brute_force(observed, known, frames)
    options = {"transform": transform, "climatology": known}
    analysis = BASELINES["optimal-interpolation"](observed, spec, GRID, **options)
    exact = 280 + 10 * mean.reshape(1, frames, channels, *GRID.shape).numpy()
    np.testing.assert_allclose(analysis, exact, atol=0.02)

    members = 600
    draws = BASELINES["optimal-interpolation"](observed, spec, GRID, members=members, seed=2, **options)
    deviation = 10 * covariance.diagonal().clamp_min(0).sqrt().reshape(exact.shape).numpy()
    # Standard errors: s / sqrt(M) of the mean, s / sqrt(2 M) of the deviation; four of them and some rounding.
    assert (np.abs(draws.mean(0) - exact[0]) < 4.5 * deviation[0] / np.sqrt(members) + 0.02).all()
    np.testing.assert_allclose(
        draws.std(axis=0, ddof=1), deviation[0], rtol=4.5 / np.sqrt(2 * members), atol=0.02
    )
    # Linear functionals hold the covariances between cells to account.
    weights = np.random.default_rng(0).normal(size=(5, exact.size))
    variance = ((weights @ covariance.numpy()) * weights).sum(1) * 100
    drawn = (weights @ draws.reshape(members, -1).T).var(axis=1, ddof=1)
    np.testing.assert_allclose(drawn, variance, rtol=4.5 * np.sqrt(2 / members))


def test_the_iterative_solution_is_the_direct_one(trained):
    state = red_states(1, GRID.shape, seed=7)[None, 0].numpy()
    observed = observe(mixed_matrix(), state, error=0.5)
    V, mean = trained.covariance(), trained.mean[None, None]
    direct = analyse(observed, mean, V, KalmanSolver(limit=1000))
    iterative = analyse(observed, mean, V, KalmanSolver(limit=0, tolerance=1e-3, iterations=2000))
    np.testing.assert_allclose(iterative, direct, atol=5e-3)


def test_members_do_not_depend_on_how_many_there_are(trained):
    observed = observe(mixed_matrix(), red_states(1, GRID.shape, seed=7)[None, 0].numpy(), error=0.5)
    options = {"transform": PLAIN, "climatology": trained, "seed": 3}
    few, many = (
        BASELINES["optimal-interpolation"](observed, SPEC, GRID, members=m, **options) for m in (2, 5)
    )
    np.testing.assert_allclose(few, many[:2], atol=1e-3)


def test_gauss_newton_finds_the_minimum_of_a_nonlinear_problem():
    transform = StateTransform((Log10Standardise(-0.7, 0.4, 1e-3),))
    train = transform.inverse((red_states(100, GRID.shape) - 280) / 10)
    known = Climatology.fit(train, transform, local=False)
    state = transform.inverse((red_states(1, GRID.shape, seed=11) - 280) / 10).numpy()[None, 0]
    observed = observe(mixed_matrix(), state, error=0.02, transform=transform)
    V, mean = known.covariance(), known.mean[None, None]
    x = analyse(observed, mean, V, KalmanSolver(limit=1000, tolerance=1e-4, iterations=2000))
    # At the minimum x - mean = V J^T R^-1 (y - H(x)).
    op = observed.operator
    gradient = (x - mean) - V @ op.vjp(x, observed.R.solve(observed.y - op(x)))
    first = V @ op.vjp(mean, observed.R.solve(observed.y - op(mean)))
    assert float(gradient.norm()) < 0.01 * float(first.norm())
    misfit = (observed.y - op(x)).square().mean().sqrt()
    assert float(misfit) < 0.1 * float((observed.y - op(mean)).square().mean().sqrt())
    draws = BASELINES["optimal-interpolation"](
        observed, SPEC, GRID, transform=transform, climatology=known, members=5
    )
    assert draws.min() > 0


def test_optimal_interpolation_beats_interpolation_on_its_own_climate(trained):
    rng = np.random.default_rng(0)
    errors: dict[str, list[float]] = {"optimal-interpolation": [], "linear": [], "inverse-distance": []}
    for seed in range(6):
        state = red_states(1, GRID.shape, seed=50 + seed)[None, 0].numpy()
        observed = observe(bilinear(GRID, *scattered(GRID, 30, seed)), state, error=1.0)
        observed.y.add_(torch.from_numpy(rng.normal(0, 1.0, 30)).float())
        for name in errors:
            field = BASELINES[name](observed, SPEC, GRID, transform=PLAIN, climatology=trained)
            errors[name].append(float(np.mean((field - state) ** 2)))
    best = np.mean(errors["optimal-interpolation"])
    assert best < 0.95 * min(np.mean(errors["linear"]), np.mean(errors["inverse-distance"]))
