"""Kriging: the textbook's equations, other software, and the spread of its members."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from baseline_cases import GLOBE, GRID, PLAIN, SPEC, observe, points, scattered
from skyweave.baselines import BASELINES
from skyweave.baselines.kriging import krige, normalised_points, random_field
from skyweave.baselines.located import LocatedObservations, locate
from skyweave.baselines.variogram import Semivariogram, Variogram, fit_variogram, semivariogram
from skyweave.errors import SkyweaveError
from skyweave.grid import Grid, great_circle
from skyweave.observe.errors import EARTH_RADIUS_KM
from skyweave.regrid import bilinear, block_mean, nearest
from skyweave.transform import Log10Standardise, StateTransform

PLAIN_VARIOGRAM = Variogram(0.1, 0.9, 300.0)
KRIGING = ("kriging", "space-time-kriging")


def chords(lat1, lon1, lat2, lon2) -> np.ndarray:
    """Chords in km by way of the great circle, which the code under test does not take."""
    arc = great_circle(lat1[:, None], lon1[:, None], lat2[None], lon2[None])
    return 2 * EARTH_RADIUS_KM * np.sin(arc / (2 * EARTH_RADIUS_KM))


def textbook(variogram: Variogram, lat, lon, z, errors, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """The dense system of semivariances with a Lagrange multiplier, of all observations."""
    n = len(z)
    system = np.ones((n + 1, n + 1))
    # Errors lower the covariance of an observation with itself against that with any other.
    system[:n, :n] = variogram(chords(lat, lon, lat, lon)) - np.diag(errors)
    system[n, n] = 0.0
    right = np.ones((n + 1, grid.size))
    right[:n] = variogram(chords(lat, lon, *(axis.ravel() for axis in grid.mesh())))
    solved = np.linalg.solve(system, right)
    return z @ solved[:n], (solved * right).sum(0)


def simulated(grid: Grid, frames: int, variogram: Variogram, seed: int) -> np.ndarray:
    """A Gaussian field of the variogram, by the Cholesky factor of the covariance, ``(T, 1, H, W)``."""
    lat, lon = (np.tile(axis.ravel(), frames) for axis in grid.mesh())
    frame = np.repeat(np.arange(frames), grid.size)
    gamma = variogram(chords(lat, lon, lat, lon), np.abs(frame[:, None] - frame))
    factor = np.linalg.cholesky(variogram.variance - gamma + 1e-9 * np.eye(len(lat)))
    return (factor @ np.random.default_rng(seed).standard_normal(len(lat))).reshape(frames, 1, *grid.shape)


# ---- the equations


@pytest.mark.parametrize("grid", [GRID, GLOBE], ids=["region", "globe"])
@pytest.mark.parametrize("nugget", [0.0, 0.2])
def test_the_weights_are_those_of_the_dense_textbook_system(grid, nugget):
    variogram = Variogram(nugget, 0.9, 400.0 if grid is GRID else 4000.0)
    lat, lon = scattered(grid, 25)
    lat[0], lon[0] = grid.lat[3], grid.lon[4]  # on a cell's centre, where the nugget shows
    rng = np.random.default_rng(1)
    z, errors = rng.normal(size=25), rng.uniform(0, 0.3, 25)
    expected, variance = textbook(variogram, lat, lon, z, errors, grid)
    at = variogram.coordinates(*(axis.ravel() for axis in grid.mesh()))
    found = krige(variogram.coordinates(lat, lon), z[:, None], errors, at, variogram, neighbours=25)
    np.testing.assert_allclose(found[0][:, 0], expected, atol=1e-7)
    np.testing.assert_allclose(found[1], variance, atol=1e-7)


def test_other_software_agrees():
    gstools = pytest.importorskip("gstools")
    lat, lon = scattered(GRID, 25)
    z = np.random.default_rng(1).normal(size=25)
    model = gstools.Exponential(
        latlon=True, var=0.9, len_scale=400.0, nugget=0.0, geo_scale=EARTH_RADIUS_KM, rescale=1.0
    )
    other = gstools.krige.Ordinary(model, (lat, lon), z, exact=True)
    mean, variance = other.structured((GRID.lat, GRID.lon_unwrapped))
    variogram = Variogram(0.0, 0.9, 400.0)
    at = variogram.coordinates(*(axis.ravel() for axis in GRID.mesh()))
    ours = krige(variogram.coordinates(lat, lon), z[:, None], np.zeros(25), at, variogram, 25)
    np.testing.assert_allclose(ours[0][:, 0], np.asarray(mean).ravel(), atol=1e-6)
    np.testing.assert_allclose(ours[1], np.asarray(variance).ravel(), atol=1e-6)


def test_weights_sum_to_one_and_columns_share_them():
    lat, lon = scattered(GRID, 60)
    of = PLAIN_VARIOGRAM.coordinates(lat, lon)
    at = PLAIN_VARIOGRAM.coordinates(*(axis.ravel() for axis in GRID.mesh()))
    z = np.random.default_rng(0).normal(size=60)
    values = np.stack([np.ones(60), z, 5.0 - 3.0 * z], axis=1)
    found, _ = krige(of, values, np.full(60, 0.1), at, PLAIN_VARIOGRAM, neighbours=12)
    np.testing.assert_allclose(found[:, 0], 1.0, atol=1e-9)
    np.testing.assert_allclose(found[:, 2], 5.0 - 3.0 * found[:, 1], atol=1e-9)


@pytest.mark.parametrize("nugget", [0.0, 0.3])
def test_exact_observations_are_honoured_and_certain(nugget):
    variogram = Variogram(nugget, 0.7, 300.0)
    cells = np.random.default_rng(1).choice(GRID.size, 50, replace=False)
    at = variogram.coordinates(*(axis.ravel() for axis in GRID.mesh()))
    z = np.random.default_rng(2).normal(size=50)
    found, variance = krige(at[cells], z[:, None], np.zeros(50), at, variogram)
    np.testing.assert_allclose(found[cells, 0], z, atol=1e-6)
    np.testing.assert_allclose(variance[cells], 0.0, atol=1e-6)
    assert np.delete(variance, cells).min() > nugget


def test_reports_of_one_place_are_averaged_by_their_errors():
    variogram = Variogram(0.2, 0.8, 300.0)
    of = variogram.coordinates(np.array([45.0, 45.0]), np.array([355.0, 355.0]))
    found, variance = krige(of, np.array([[1.0], [4.0]]), np.array([0.1, 0.2]), of[:1], variogram)
    assert found[0, 0] == pytest.approx(2.0, abs=1e-6)
    assert variance[0] == pytest.approx(1 / (1 / 0.1 + 1 / 0.2), abs=1e-6)


def test_the_nearest_observations_are_found_across_the_date_line():
    grid = Grid(np.linspace(-5, 5, 5), np.linspace(175, 185, 5))
    lat, lon, z = np.array([0.0, 0.0, 0.0]), np.array([-179.0, 179.0, 120.0]), np.array([1.0, 3.0, 50.0])
    at = PLAIN_VARIOGRAM.coordinates(*(axis.ravel() for axis in grid.mesh()))
    of = PLAIN_VARIOGRAM.coordinates(lat, lon)
    found, _ = krige(of, z[:, None], np.full(3, 0.1), at, PLAIN_VARIOGRAM, 2)
    assert found.reshape(5, 5)[2, 2] == pytest.approx(2.0)


@pytest.mark.parametrize("name", KRIGING)
def test_a_cell_needs_neighbours(name):
    observed = observe(nearest(GRID, *scattered(GRID, 20)), np.full((1, 1, *GRID.shape), 280.0))
    with pytest.raises(SkyweaveError, match="at least one observation"):
        BASELINES[name](observed, SPEC, GRID, neighbours=0)


# ---- the variogram


def test_the_semivariogram_is_half_the_mean_squared_difference_less_errors():
    rng = np.random.default_rng(0)
    lat, lon = scattered(GRID, 30)
    given = points(lat, lon, rng.normal(size=30))
    found = semivariogram(given, given.value, np.full(30, 0.05))
    distance = chords(lat, lon, lat, lon)
    # The bins end at half of the extent.
    half_extent = 0.5 * np.linalg.norm(np.ptp(Variogram(0, 1, 1.0).coordinates(lat, lon), axis=0))
    i, j = np.nonzero(np.triu(distance < half_extent, 1))
    assert 100 < len(i) < 435
    assert found.pairs.sum() == pytest.approx(len(i))
    half = 0.5 * (given.value[i] - given.value[j]) ** 2 - 0.05
    assert np.average(found.gamma, weights=found.pairs) == pytest.approx(half.mean())
    assert np.average(found.distance, weights=found.pairs) == pytest.approx(distance[i, j].mean())
    # The pairs of the first bin are the nearest ones.
    first = np.argsort(distance[i, j])[: round(found.pairs[0])]
    assert found.gamma[0] == pytest.approx(half[first].mean())


@pytest.mark.parametrize("truth", [Variogram(0.3, 1.5, 250.0), Variogram(0.1, 0.8, 400.0, 3.0)])
def test_a_semivariogram_that_is_exponential_is_fitted_exactly(truth):
    lag, distance = (k.ravel() for k in np.meshgrid(np.arange(8.0), np.linspace(30, 900, 16), indexing="ij"))
    if not np.isfinite(truth.steps):
        lag, distance = np.zeros(16), np.linspace(30, 900, 16)
    found = fit_variogram(Semivariogram(distance, lag, truth(distance, lag), np.full(len(lag), 100.0)))
    assert found is not None
    assert found.length == pytest.approx(truth.length, rel=0.05)
    assert found.sill == pytest.approx(truth.sill, rel=0.05)
    assert found.nugget == pytest.approx(truth.nugget, abs=0.05)
    if np.isfinite(truth.steps):
        assert found.steps == pytest.approx(truth.steps, rel=0.05)


def test_the_variogram_of_a_simulated_field_is_recovered_with_and_without_errors():
    truth = Variogram(0.0, 1.0, 150.0)
    lat, lon = (axis.ravel() for axis in GRID.mesh())
    factor = np.linalg.cholesky(truth.variance - truth(chords(lat, lon, lat, lon)) + 1e-9 * np.eye(len(lat)))
    rng = np.random.default_rng(0)
    frames = 30
    z = (factor @ rng.standard_normal((len(lat), frames))).T.ravel()
    frame = np.repeat(np.arange(frames), len(lat))
    zero = np.zeros(len(z), np.int64)
    where = LocatedObservations(np.tile(lat, frames), np.tile(lon, frames), frame, zero, z, zero + 1.0)
    noisy = z + rng.normal(0, 0.5, len(z))
    for values, error in ((z, 0.0), (noisy, 0.25)):
        found = fit_variogram(semivariogram(where, values, np.full(len(z), error)))
        assert found is not None
        h = np.array([60.0, 150.0, 300.0])
        np.testing.assert_allclose(found(h), truth(h), rtol=0.1)


def test_frames_share_their_pairs_by_time_lag():
    # Values that depend on time alone: half the squared difference of the frames, at any distance.
    lat, lon = scattered(GRID, 40)
    frame = np.repeat(np.arange(5), 40)
    zero = np.zeros(200, np.int64)
    where = LocatedObservations(np.tile(lat, 5), np.tile(lon, 5), frame, zero, frame * 2.0, zero + 1.0)
    found = semivariogram(where, where.value, np.zeros(200), lags=3)
    np.testing.assert_allclose(found.gamma, 0.5 * (2.0 * found.lag) ** 2, atol=1e-12)
    assert set(found.lag) == {0.0, 1.0, 2.0, 3.0}


# ---- spread


@pytest.mark.parametrize(
    ("name", "truth"),
    [("kriging", Variogram(0.1, 0.9, 300.0)), ("space-time-kriging", Variogram(0.05, 0.9, 300.0, 3.0))],
)
def test_errors_have_the_kriging_variance_and_so_have_members(name, truth):
    grid = GRID.isel(slice(0, 12), slice(0, 12))
    ratios, spreads, hits = [], [], []
    for seed in range(12):
        state = simulated(grid, 2, truth, seed)
        lat, lon = scattered(grid, 25, seed)
        one = nearest(grid, lat, lon)
        observed = observe(sp.block_diag([one, one]), state, error=0.3, transform=None)
        observed.y.add_(torch.from_numpy(np.random.default_rng(seed).normal(0, 0.3, 50)).float())
        draws = BASELINES[name](observed, SPEC, grid, members=60, seed=seed, variogram=truth)
        best = BASELINES[name](observed, SPEC, grid, variogram=truth)[0]
        where = locate(observed, grid)
        lat_of, lon_of = (np.tile(axis.ravel(), 2) for axis in grid.mesh())
        frames = np.repeat([0, 1], grid.size)
        if name == "kriging":
            parts = []
            for t in (0, 1):
                here = where.where(where.frame == t)
                of = truth.coordinates(here.lat, here.lon)
                at = truth.coordinates(lat_of[frames == t], lon_of[frames == t])
                parts.append(krige(of, here.value[:, None], here.variance, at, truth)[1])
            variance = np.concatenate(parts)
        else:
            of = truth.coordinates(where.lat, where.lon, where.frame)
            at = truth.coordinates(lat_of, lon_of, frames)
            variance = krige(of, where.value[:, None], where.variance, at, truth, 48)[1]
        ratios.append(((best - state).ravel() ** 2).mean() / variance.mean())
        spreads.append(draws.var(axis=0, ddof=1).mean() / variance.mean())
        low, high = np.quantile(draws, [0.05, 0.95], axis=0)
        hits.append(((state >= low) & (state <= high)).mean())
    assert np.mean(ratios) == pytest.approx(1.0, abs=0.1)
    assert np.mean(spreads) == pytest.approx(1.0, abs=0.05)
    assert 0.84 < np.mean(hits) < 0.93


def test_unconditional_fields_are_exponential_in_three_and_four_dimensions():
    coefficients = np.random.default_rng(0).standard_normal((2048, 4000))
    for dimension in (3, 4):
        at = np.zeros((5, dimension))
        at[1:, dimension - 1] = [0.1, 0.5, 1.0, 2.5]
        field = random_field(at, coefficients, seed=1)
        covariance = field @ field[0] / 4000
        np.testing.assert_allclose(covariance, np.exp(-at[:, dimension - 1]), atol=0.06)


@pytest.mark.parametrize("name", KRIGING)
def test_members_do_not_depend_on_how_many_there_are(name):
    state = simulated(GRID.isel(slice(0, 12), slice(0, 12)), 2, Variogram(0.1, 0.9, 300.0, 3.0), 1)
    grid = GRID.isel(slice(0, 12), slice(0, 12))
    observed = observe(sp.csr_array(sp.block_diag([block_mean(grid, 2)] * 2)), state, 0.3, None)
    few, many = (BASELINES[name](observed, SPEC, grid, members=m, seed=3) for m in (2, 5))
    np.testing.assert_allclose(few, many[:2], atol=1e-5)
    assert float(np.abs(many[0] - many[1]).max()) > 0.1
    other = BASELINES[name](observed, SPEC, grid, members=2, seed=4)
    assert float(np.abs(other - few).max()) > 0.1


# ---- time


def test_a_single_frame_is_kriged_the_same_in_space_and_time():
    state = simulated(GRID, 1, PLAIN_VARIOGRAM, 3)
    observed = observe(bilinear(GRID, *scattered(GRID, 60)), state, 0.2, None)
    space, both = (BASELINES[name](observed, SPEC, GRID, neighbours=20) for name in KRIGING)
    np.testing.assert_allclose(space, both, atol=1e-5)


def test_other_frames_help_and_spread_grows_away_from_observed_ones():
    truth = Variogram(0.0, 1.0, 300.0, 20.0)
    grid = GRID.isel(slice(0, 12), slice(0, 12))
    state = simulated(grid, 7, truth, 5)
    frame = [nearest(grid, *scattered(grid, 30, t)) for t in range(7)]
    frame[3] = frame[4] = sp.csr_array((0, grid.size))
    observed = observe(sp.csr_array(sp.block_diag(frame)), state, 0.1, None)
    draws = {name: BASELINES[name](observed, SPEC, grid, members=30, seed=1) for name in KRIGING}
    error = {name: np.sqrt(((d.mean(0) - state) ** 2).mean((1, 2, 3))) for name, d in draws.items()}
    assert error["space-time-kriging"].mean() < 0.9 * error["kriging"].mean()
    spread = draws["space-time-kriging"].std(axis=0).mean((1, 2, 3))
    assert spread[[3, 4]].min() > spread[[0, 1, 2, 5, 6]].max()
    assert spread[[3, 4]].mean() > 1.1 * spread[[0, 1, 2, 5, 6]].mean()
    # Frame by frame kriging knows nothing of such frames; its members say so.
    lost = draws["kriging"][:, 3:5].std(axis=0).mean()
    assert lost == pytest.approx(state.std(), rel=0.35)


# ---- units


def test_values_are_kriged_in_normalised_units():
    transform = StateTransform((Log10Standardise(-0.7, 0.4, 1e-3),))
    z = torch.from_numpy(simulated(GRID, 1, PLAIN_VARIOGRAM, 2))
    state = transform.inverse(z).numpy()
    observed = observe(nearest(GRID, *scattered(GRID, 60)), state, error=0.02, transform=transform)
    where = locate(observed, GRID)
    normal, variance = normalised_points(where, transform)
    np.testing.assert_allclose(variance, 4e-4 / (where.value * np.log(10) * 0.4) ** 2, rtol=1e-4)
    draws = BASELINES["kriging"](observed, SPEC, GRID, transform=transform, members=20)
    assert draws.min() > 0
    # The member's logarithms vary about the estimate, which is their median.
    best = BASELINES["kriging"](observed, SPEC, GRID, transform=transform)
    assert np.median(np.log(draws) - np.log(best)) == pytest.approx(0.0, abs=0.1)
    assert normal.std() < 3


def test_few_observations_take_the_variance_of_normalised_values():
    state = np.full((1, 1, *GRID.shape), 281.0)
    observed = observe(nearest(GRID, [45.0], [0.0]), state, error=0.1)
    draws = BASELINES["kriging"](observed, SPEC, GRID, transform=PLAIN, members=200, seed=0)
    far = draws[:, 0, 0, 0, 0]
    # One observation: the variance is twice that of a value, less what they share at a third of no extent.
    assert far.std() == pytest.approx(10 * np.sqrt(2), rel=0.2)
