"""Climatology, and optimal interpolation with it, against brute force."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from baseline_cases import GRID, PLAIN, SPEC, Observations, observe, red_states, scattered
from prior_cases import white_network
from skyweave.baselines import BASELINES, Climatology
from skyweave.baselines.optimal_interpolation import analyse
from skyweave.covariance.by_noise_level import ErrorCovarianceModel, default_levels
from skyweave.errors import SkyweaveError
from skyweave.posterior.kalman import KalmanSolver
from skyweave.prior.analytic import GaussianPrior, red_spectrum
from skyweave.prior.storage import LearntPrior
from skyweave.regrid import bicubic, bilinear, block_mean, nearest
from skyweave.state import StateSpec, Variable
from skyweave.transform import Log10Standardise, Standardise, StateTransform


@pytest.fixture(scope="module")
def trained() -> Climatology:
    return Climatology.fit(red_states(200, GRID.shape), PLAIN, local=False)


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
    network = white_network(2)
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
    network = white_network(1)
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
    T, _, H, W = V.shape
    same_cell = V.dense(torch.arange(T) * H * W)
    np.testing.assert_allclose(same_cell, expected, atol=0.02)


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
    direct = analyse(KalmanSolver(observed, limit=1000), mean, V)
    iterative = analyse(KalmanSolver(observed, limit=0, tolerance=1e-3, iterations=2000), mean, V)
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
    x = analyse(KalmanSolver(observed, limit=1000, tolerance=1e-4, iterations=2000), mean, V)
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
