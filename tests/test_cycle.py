"""Cycling against the exact Kalman filter, and the laws of its parts: what a forecast adds, how it is fused."""

import math
from dataclasses import dataclass, fields, replace

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from skyweave.covariance.stationary import StationaryCovariance
from skyweave.cycle.analysis import analysis_problem
from skyweave.cycle.base import EnsembleCycler, adapted
from skyweave.cycle.climate import Climate
from skyweave.cycle.ensemble import ensemble_covariance, lag_covariance, local_deviation
from skyweave.cycle.forecast import GaussianForecast, aggregated, as_source
from skyweave.cycle.fused import FusedObserved, FusedSolver, ZonalInverse
from skyweave.cycle.letkf import LETKFCycler, LETKFSettings
from skyweave.cycle.run import Cycler
from skyweave.cycle.settings import CycleSettings
from skyweave.cycle.transform import Domain
from skyweave.diffusion.noise import NoiseStream
from skyweave.errors import SkyweaveError
from skyweave.observe.assemble import SegmentObservations, Source
from skyweave.observe.errors import ErrorCovariance
from skyweave.observe.operator import StateOperator
from skyweave.posterior.sample import Method, sample_posterior
from skyweave.prior.analytic import GaussianPrior, red_spectrum
from skyweave.state import StateSpec, Variable
from skyweave.transform import Standardise, StateTransform

N = 16
SHAPE = (1, 1, N, N)
CELLS = torch.arange(N * N)
SPECTRUM = red_spectrum(N, N)
PRIOR = GaussianPrior(SPECTRUM, SHAPE)
CLIMATE = PRIOR.covariance(math.inf)
MEMORY = 0.9


def stationary(spectrum):
    return StationaryCovariance(spectrum[None, None, None].float(), SHAPE, (1, N, N))


ERROR = stationary(SPECTRUM * (1 - MEMORY**2))
"""What is added in every step so that the climate stays what it is."""


class Shift:
    """A linear model: everything moves east by one cell and forgets a tenth."""

    def step(self, state, time):
        return MEMORY * torch.roll(state, 1, -1)


@dataclass
class Stations:
    """New places in every cycle; stands for `ObservationSet`."""

    truth: torch.Tensor
    count: int = 25
    error: float = 0.3
    empty: tuple = ()

    sources = (Source("stations", 1.0),)

    def segment(self, k, _):
        generator = torch.Generator().manual_seed(1000 + k)
        place = torch.randperm(N * N, generator=generator)[: self.count]
        noise = self.error * torch.randn(self.count, generator=generator)
        n = 0 if k in self.empty else self.count
        H = sp.csr_array((np.ones(n), (np.arange(n), place[:n].numpy())), shape=(n, N * N))
        y = (self.truth[k].reshape(-1)[place] + noise)[:n]
        zero = np.zeros(n, np.int64)
        R = ErrorCovariance(np.full(n, self.error**2))
        return SegmentObservations(
            StateOperator(H, SHAPE),
            y,
            R,
            source=zero[:n],
            channel=zero[:n],
            cell=place[:n].numpy(),
            frame=zero[:n],
        )


def world(cycles):
    generator = torch.Generator().manual_seed(1)
    x = PRIOR.sample(torch.randn(1, *SHAPE, generator=generator))
    out = []
    for _ in range(cycles):
        x = Shift().step(x, None) + ERROR.color(torch.randn(1, *SHAPE, generator=generator))
        out.append(x[0])
    return torch.stack(out)


def cycler(truth, members=64, **options):
    settings = CycleSettings(members=members, reach=1.0, local=False, extrapolate=True, **options)
    return Cycler(
        climate=Climate(prior=lambda k: PRIOR, periodic=(True, True)),
        spec=StateSpec((Variable("a", "1"),)),
        transform=StateTransform((Standardise(0.0, 1.0),)),
        model=Shift(),
        observed=Stations(truth),
        identities=list(range(len(truth))),
        times=np.arange(len(truth)),
        settings=settings,
        model_error=ERROR,
    )


def kalman(truth):
    """Means and variances of the exact filter, begun with the climate."""
    C, Q = CLIMATE.dense(CELLS).double(), ERROR.dense(CELLS).double()
    A = Shift().step(torch.eye(N * N).reshape(-1, 1, N, N), None).reshape(N * N, N * N).T.double()
    m, P, out = torch.zeros(N * N, dtype=torch.float64), C, []
    stations = Stations(truth)
    for k in range(len(truth)):
        if k:
            m, P = A @ m, A @ P @ A.T + Q
        seen = stations.segment(k, k + 1)
        H = torch.from_numpy(seen.operator.matrix.toarray())
        S = H @ P @ H.T + seen.R.dense()
        K = P @ H.T @ torch.linalg.inv(S)
        m, P = m + K @ (seen.y.double() - H @ m), P - K @ H @ P
        out.append((m, P.diagonal()))
    return out


def test_cycles_are_those_of_the_kalman_filter():
    truth = world(45)
    exact, found = kalman(truth), list(cycler(truth).run())
    late = range(10, len(truth))

    def rms(values):
        return float(torch.stack(list(values)).square().mean().sqrt())

    error = rms(found[k].analysis.mean(0).reshape(-1).double() - truth[k].reshape(-1) for k in late)
    best = rms(exact[k][0] - truth[k].reshape(-1) for k in late)
    spread = rms(found[k].analysis.std(0) for k in late)
    expected = rms(exact[k][1].sqrt() for k in late)
    # The mean of 64 members has an error of its own, 1/64 of the variance.
    assert error == pytest.approx(math.sqrt(best**2 + expected**2 / 64), rel=0.05)
    assert spread == pytest.approx(expected, rel=0.05)
    # Innovations are as large as forecast and observation errors say.
    assert np.mean([found[k].innovation["stations"][1] for k in late]) == pytest.approx(1.0, abs=0.08)


def test_refined_members_are_better_than_the_transform_that_they_begin_with():
    truth, places = world(30), Domain.torus(N, N)
    exact, late = kalman(truth), range(8, 30)
    own = replace(cycler(truth, members=32), domain=places, radius=8.0)
    found = list(own.run())
    start = found[0].analysis
    shared = {f.name: getattr(own, f.name) for f in fields(EnsembleCycler)}
    filtered = LETKFCycler(**shared, domain=places, settings=LETKFSettings(radius=8.0))
    transformed = [found[0], *filtered.run(start, 1)]

    def error(cycles):
        return math.sqrt(
            np.mean([(cycles[k].analysis.mean(0) - truth[k]).square().mean().item() for k in late])
        )

    def spread(cycles):
        return math.sqrt(np.mean([cycles[k].analysis.var(0).mean().item() for k in late]))

    expected = math.sqrt(np.mean([exact[k][1].mean().item() for k in late]))
    best = math.sqrt(np.mean([(exact[k][0] - truth[k].reshape(-1)).square().mean().item() for k in late]))
    assert error(found) < 0.97 * error(transformed)
    assert best < error(found) < 1.13 * best
    assert 0.93 < spread(found) / expected < 1.07


def test_members_are_kept_where_nothing_is_observed():
    truth = world(3)
    own = replace(cycler(truth, members=8), domain=Domain.torus(N, N), radius=8.0)
    own = replace(own, observed=Stations(truth, empty=(1,)))
    found = list(own.run())
    torch.testing.assert_close(found[1].analysis, found[1].forecast)
    assert float((found[2].analysis - found[2].forecast).abs().max()) > 0.1


def test_prior_times_source_is_the_forecast():
    P = stationary(0.4 * SPECTRUM**0.8)
    mean = PRIOR.sample(torch.randn(1, *SHAPE, generator=torch.Generator().manual_seed(0)))[0, 0] * 0.7
    source = as_source(mean, P, CLIMATE)
    C, F = CLIMATE.dense(CELLS).double(), source.error.dense(CELLS).double()
    gain = C @ torch.linalg.inv(C + F)
    torch.testing.assert_close(C - gain @ C, P.dense(CELLS).double(), atol=3e-3, rtol=0)
    torch.testing.assert_close(
        gain @ source.mean.reshape(-1).double(), mean.reshape(-1).double(), atol=2e-2, rtol=0
    )


def test_a_forecast_no_better_than_the_climate_adds_next_to_nothing():
    source = as_source(torch.zeros(1, N, N), CLIMATE, CLIMATE)
    assert float(source.error.variance().mean()) > 30 * float(CLIMATE.variance().mean())


def test_fused_updates_are_exact_in_two_iterations():
    truth = world(1)
    observed = Stations(truth).segment(0, 1)
    source = as_source(0.5 * truth[0, 0], stationary(0.3 * SPECTRUM), CLIMATE)
    fused = FusedObserved(source, SHAPE, observed)
    solver = FusedSolver(fused, tolerance=1e-4, limit=0)
    x = torch.zeros(2, *SHAPE)
    got = solver.update(x, CLIMATE, key=0)
    H = torch.cat([torch.eye(N * N), torch.from_numpy(observed.operator.matrix.toarray()).float()])
    R = torch.block_diag(source.error.dense(CELLS), observed.R.dense().float()).double()
    C = CLIMATE.dense(CELLS).double()
    S = H.double() @ C @ H.T.double() + R
    want = C @ H.T.double() @ torch.linalg.solve(S, fused.y.double())
    torch.testing.assert_close(got[1].reshape(-1).double(), want, atol=2e-3, rtol=0)
    assert solver.applications <= 3


def test_a_local_standard_deviation_is_solved_too():
    scale = torch.linspace(0.5, 2, N)[:, None].expand(N, N)[None, None]
    source = GaussianForecast(world(1)[0, 0], stationary(0.3 * SPECTRUM).scaled(scale))
    fused = FusedObserved(source, SHAPE, None)
    solver = FusedSolver(fused, tolerance=1e-3, limit=0)
    got = solver.update(torch.zeros(1, *SHAPE), CLIMATE, key=0)
    C, F = CLIMATE.dense(CELLS).double(), source.error.dense(CELLS).double()
    want = C @ torch.linalg.solve(C + F, fused.y.double())
    torch.testing.assert_close(got[0].reshape(-1).double(), want, atol=0.01, rtol=0)


def test_the_inverse_by_zonal_wavenumber_is_exact_on_a_channel_of_latitudes():
    h, C = 12, 2
    generator = torch.Generator().manual_seed(0)
    draws = torch.randn(40, C, h, N, generator=generator).cumsum(2) + torch.randn(
        40, C, 1, N, generator=generator
    )
    V = ensemble_covariance(draws - draws.mean(0), (24, N), periodic=(False, True), local=False)
    F = ensemble_covariance(draws[:20] - draws[:20].mean(0), (24, N), periodic=(False, True), local=False)
    F = F.scaled(torch.linspace(0.5, 2, h)[None, None, None, :, None])
    cells = torch.arange(C * h * N)
    dense = V.dense(cells).double() + F.dense(cells).double()
    r = torch.randn(3, 1, C, h, N, generator=generator)
    got = ZonalInverse.of(V, F)(r).reshape(3, -1).double()
    want = torch.linalg.solve(dense, r.reshape(3, -1).double().T).T
    torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-3 * float(want.abs().max()))


def test_a_single_analysis_is_the_exact_posterior():
    truth = world(1)
    P = stationary(0.3 * SPECTRUM)
    mean = 0.8 * PRIOR.sample(torch.randn(1, *SHAPE, generator=torch.Generator().manual_seed(3)))[0, 0]
    observed = Stations(truth).segment(0, 1)
    problem = analysis_problem(PRIOR, as_source(mean, P, CLIMATE), observed)
    members = sample_posterior(problem, NoiseStream(0, range(800), [0]), Method(steps=32))
    H = torch.from_numpy(observed.operator.matrix.toarray())
    Pd = P.dense(CELLS).double()
    K = Pd @ H.T @ torch.linalg.inv(H @ Pd @ H.T + observed.R.dense())
    want = mean.reshape(-1).double()
    want = want + K @ (observed.y.double() - H @ want)
    variance = (Pd - K @ H @ Pd).diagonal()
    got = members.reshape(800, -1).double()
    assert float((got.mean(0) - want).square().mean() / (variance / 800).mean()) < 1.5
    assert float(got.var(0).mean() / variance.mean()) == pytest.approx(1.0, abs=0.04)


def test_the_model_on_a_coarser_grid():
    block = sp.kron(sp.eye(N // 2), np.full((1, 2), 0.5))
    G = sp.csr_array(sp.kron(block, block))
    n = N // 2
    coarse = aggregated(CLIMATE, G, (n, n), (n, n))
    dense = torch.from_numpy(G.toarray()) @ CLIMATE.dense(CELLS).double() @ torch.from_numpy(G.toarray()).T
    torch.testing.assert_close(coarse.dense(torch.arange(n * n)).double(), dense, atol=2e-3, rtol=0)
    source = GaussianForecast(torch.randn(1, n, n), StationaryCovariance(
        0.2 * coarse.spectrum, (1, 1, n, n), (1, n, n)), G)  # fmt: skip
    fused = FusedObserved(source, SHAPE, None)
    solver = FusedSolver(fused, tolerance=1e-3, limit=0)
    got = solver.update(torch.zeros(1, *SHAPE), CLIMATE, key=0)
    want = (CLIMATE.dense(CELLS).double() @ torch.from_numpy(G.toarray()).T) @ torch.linalg.solve(
        1.2 * dense, fused.y.double()
    )
    torch.testing.assert_close(got[0].reshape(-1).double(), want, atol=0.01, rtol=0)


def test_covariances_of_an_ensemble():
    draws = CLIMATE.color(torch.randn(400, *SHAPE, generator=torch.Generator().manual_seed(0)))[:, 0]
    anomalies = draws - draws.mean(0)
    found = ensemble_covariance(anomalies, (N, N), periodic=(True, True), reach=1.0, local=False)
    torch.testing.assert_close(found.kernel, CLIMATE.kernel, atol=0.05, rtol=0)
    # Off the torus the estimate is over pairs inside the domain.
    open_ = lag_covariance(anomalies[..., :8, :8])
    torch.testing.assert_close(open_[0, 0, :4, :4].float(), CLIMATE.kernel[0, 0, :4, :4], atol=0.06, rtol=0)
    ramp = torch.linspace(0.5, 2.0, N)[None, :, None]
    local = local_deviation(anomalies * ramp, (False, True), cells=1.0)
    assert float(local[0, -2].mean() / local[0, 1].mean()) == pytest.approx(
        float(ramp[0, -2, 0] / ramp[0, 1, 0]), rel=0.15
    )
    with pytest.raises(ValueError, match="three members"):
        ensemble_covariance(anomalies[:2], (N, N))


def test_inflation_finds_the_factor_that_innovations_ask_for():
    rng = np.random.default_rng(0)
    factor, error = 1.0, np.full(50, 0.3)
    anomalies = rng.normal(size=(400, 50))
    anomalies *= math.sqrt(0.5) / anomalies.std(0, ddof=1)
    found = []
    for _ in range(600):
        factor = adapted(factor, rng.normal(0, math.sqrt(3 * 0.5 + 0.3), 50), anomalies, error)
        found.append(factor)
    assert np.mean(found[200:]) == pytest.approx(3.0, rel=0.05)
    assert adapted(1.7, np.ones(3), np.zeros((5, 3)), np.ones(3)) == 1.7
    # One observation cannot change much; nor can fifty that all see the same error.
    d = np.full(50, 3.0)
    alone = adapted(1.0, d[:1], anomalies[:, :1], error[:1])
    same = adapted(1.0, d, np.repeat(anomalies[:, :1], 50, 1), error)
    assert 1.0 < alone < 1.5
    assert same < 1 + 0.5 * (adapted(1.0, d, anomalies, error) - 1)


def test_an_overconfident_model_is_inflated_until_innovations_fit():
    truth = world(30)
    one = cycler(truth)
    one.model_error = stationary(0.1 * SPECTRUM * (1 - MEMORY**2))
    found = list(one.run())[10:]
    assert np.mean([c.inflation for c in found]) > 1.3
    assert np.mean([c.innovation["stations"][1] for c in found]) == pytest.approx(1.0, abs=0.15)


def test_members_do_not_depend_on_their_batch_and_cycles_can_be_continued():
    truth = world(4)
    whole = list(cycler(truth, members=6).run())
    small = list(cycler(truth, members=6, batch=4).run())
    for a, b in zip(whole, small, strict=True):
        torch.testing.assert_close(a.analysis, b.analysis, atol=2e-3, rtol=0)
    again = list(cycler(truth, members=6).run(whole[1].analysis, 2, whole[1].inflation))
    torch.testing.assert_close(again[-1].analysis, whole[-1].analysis, rtol=0, atol=0)


def test_a_cycle_without_observations_keeps_the_forecast():
    truth = world(6)
    one = cycler(truth, members=64)
    one.observed = Stations(truth, empty=(5,))
    last = list(one.run())[-1]
    assert last.forecast is not None
    difference = last.analysis.mean(0) - last.forecast.mean(0)
    assert float(difference.square().mean()) < 0.1 * float(last.forecast.var(0).mean())
    assert float(last.analysis.var(0).mean() / last.forecast.var(0).mean()) == pytest.approx(1.0, abs=0.08)
    assert last.innovation == {}


@pytest.mark.parametrize("coarse", [False, True])
def test_the_operator_of_forecast_and_observations_is_its_jacobian(coarse):
    n = N // 2 if coarse else N
    block = sp.kron(sp.eye(N // 2), np.full((1, 2), 0.5))
    error = StationaryCovariance(torch.ones(1, 1, 1, n, n // 2 + 1), (1, 1, n, n), (1, n, n))
    source = GaussianForecast(
        torch.zeros(1, n, n), error, sp.csr_array(sp.kron(block, block)) if coarse else None
    )
    fused = FusedObserved(source, SHAPE, Stations(world(1)).segment(0, 1))
    v = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(0))
    J = torch.from_numpy(fused.operator.jacobian(torch.zeros(SHAPE)).toarray()).float()
    torch.testing.assert_close(fused.operator.jvp(v, v), v.flatten(1) @ J.T, atol=1e-5, rtol=1e-5)
    problem, noise = analysis_problem(PRIOR, source, None), NoiseStream(0, [0], [0])
    with pytest.raises(SkyweaveError, match="daps-exact"):
        sample_posterior(problem, noise, Method(sampler="daps", steps=16))
    with pytest.raises(SkyweaveError, match="at least 11"):
        sample_posterior(problem, noise, Method(sampler="daps", steps=10))
