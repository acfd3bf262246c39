"""Every road of the posterior follows the device of its states: run on one that refuses to mix, and compared."""

import math

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from pretended_device import DEVICE, MixedDevicesError, There, pretended, there
from skyweave.covariance.by_noise_level import ErrorCovarianceModel, estimate_error_covariance
from skyweave.covariance.stationary import StationaryCovariance
from skyweave.covariance.torus import signed
from skyweave.cycle.analysis import analysis_problem
from skyweave.cycle.ensemble import ensemble_covariance
from skyweave.cycle.forecast import GaussianForecast, as_source
from skyweave.diffusion.noise import NoiseStream
from skyweave.observe.errors import CorrelatedBlock, ErrorCovariance, unit_vectors
from skyweave.observe.operator import StateOperator
from skyweave.observe.segment import Observations
from skyweave.posterior.background import Background
from skyweave.posterior.guidance import GUIDANCE
from skyweave.posterior.kalman import KalmanSolver
from skyweave.posterior.problem import Problem, climatological_mean
from skyweave.posterior.sample import Method, sample_posterior
from skyweave.posterior.samplers import SAMPLERS
from skyweave.prior.analytic import GaussianPrior, red_spectrum
from skyweave.transform import Log10Standardise, StateTransform

N = 16
SHAPE = (1, 1, N, N)
LOG = StateTransform((Log10Standardise(0.0, 0.1, 1e-3),))


def prior(device="cpu"):
    spectrum = red_spectrum(N, N).float()
    return GaussianPrior(there(spectrum) if device != "cpu" else spectrum, SHAPE)


def observations(count=30, transform=None, seed=0):
    """Means of two cells, some of them with correlated errors; numbers of the CPU, as they come from files."""
    rng = np.random.default_rng(seed)
    cells = rng.permutation(N * N)[: 2 * count]
    rows = np.arange(count).repeat(2)
    matrix = sp.csr_array((np.full(2 * count, 0.5), (rows, cells)), shape=(count, N * N))
    block = CorrelatedBlock(np.arange(4), unit_vectors(np.arange(4.0), np.zeros(4)), 100.0, "exponential")
    operator = StateOperator(matrix, SHAPE, transform)
    y = operator(torch.from_numpy(rng.standard_normal((1, *SHAPE))).float())[0]
    return Observations(operator, y, ErrorCovariance(np.full(count, 0.04), (block,)))


def same(road, atol=2e-4):
    """What a road gives on both devices."""
    plain = road("cpu")
    with pretended():
        on_device = road(DEVICE)
        assert isinstance(on_device, There), "the result left the device"
        found = on_device.cpu()
    torch.testing.assert_close(found, plain, atol=atol, rtol=1e-3)


def drawn(method, observed=None, solver=None, background=prior):
    def road(device):
        seen = observed or observations()
        problem = Problem(background(device), seen, None if solver is None else solver(seen))
        noise = NoiseStream(3, range(2), range(problem.shape[0]), device)
        return sample_posterior(problem, noise, method)

    return road


def test_the_pretended_device_refuses_to_mix():
    with pretended():
        x = there(torch.ones(3))
        assert float((x * 2 + torch.tensor(1.0)).sum()) == 9.0
        assert isinstance(torch.zeros(2, device=x.device), There)
        assert isinstance(torch.ones(3).to(x), There)
        with pytest.raises(MixedDevicesError):
            x + torch.ones(3)
        with pytest.raises(MixedDevicesError):
            x.index_select(0, torch.arange(2))
        with pytest.raises((TypeError, RuntimeError)):
            x.numpy()


@pytest.mark.parametrize("start", ["analysis", "noise"])
@pytest.mark.parametrize("guidance", GUIDANCE)
def test_guidance(guidance, start):
    same(drawn(Method(guidance=guidance, steps=5, start=start, sampler="dpm++2m")), atol=2e-3)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_samplers(sampler):
    options = {"langevin_steps": 3} if sampler == "daps" else {}
    options |= {"churn": 4.0, "guided_corrector": False} if sampler == "heun" else {}
    steps = 10 if sampler == "daps" else 6
    same(drawn(Method(sampler=sampler, steps=steps, start="noise", sampler_options=options)), atol=2e-3)


@pytest.mark.parametrize(
    ("count", "transform", "limit"),
    [(30, LOG, 1200), (100, None, 0), (126, None, 0), (126, LOG, 0)],
    ids=["not linear", "iterated", "in two levels", "not linear in two levels"],
)
def test_solvers(count, transform, limit, monkeypatch):
    monkeypatch.setattr("skyweave.posterior.kalman.COLUMNS", 100)
    observed = observations(count, transform)

    def road(device):
        background = prior(device)
        x = NoiseStream(0, range(3), [0], device).normal(0, SHAPE[1:])
        solver = KalmanSolver(observed, limit=limit, tolerance=1e-4, iterations=300)
        return solver.update(0.1 * x, background.covariance(1.0), 1.0)

    same(road, atol=2e-3)


def test_observations_that_weigh_many_cells(monkeypatch):
    monkeypatch.setattr("skyweave.posterior.kalman.WIDE", 10)
    same(drawn(Method(steps=4)))


def sequence(frames):
    def background(device):
        lag = signed(12).double()
        space = torch.exp(-0.5 * (lag[:, None] ** 2 + lag[None, :] ** 2) / 4.0)
        kernels = (0.6 ** torch.arange(3.0))[:, None, None, None, None] * space
        model = ErrorCovarianceModel(
            torch.tensor([0.1, 100.0]).double(), kernels.float().expand(2, 3, 1, 1, 12, 12)
        )
        shape = (frames, 1, N, N)
        return Background(lambda x, sigma: x / (1 + sigma**2), model.on(shape, device=device), shape)

    return background


def test_sequences_with_the_covariance_of_a_prior_of_windows():
    observed = observations()
    wide = sp.csr_array(sp.hstack([observed.operator.matrix] + [sp.csr_array((30, N * N))] * 2))
    observed = Observations(StateOperator(wide, (3, 1, N, N)), observed.y, observed.R)
    same(drawn(Method(steps=4), observed, background=sequence(3)))


def test_the_mean_of_a_prior():
    same(lambda device: climatological_mean(sequence(2)(device)))


def test_an_estimated_covariance_comes_back_to_be_stored():
    states = NoiseStream(0, range(4), [0]).normal(0, (1, 8, 8))[:, 0]
    with pretended():
        x = there(states)
        found = estimate_error_covariance(lambda z, sigma, _: z / (1 + sigma**2), [(x, x)])
        assert not isinstance(found.kernels, There)
    plain = estimate_error_covariance(lambda z, sigma, _: z / (1 + sigma**2), [(states, states)])
    torch.testing.assert_close(found.kernels, plain.kernels)


def forecast(device, aggregate=None):
    n = N if aggregate is None else N // 2
    climate = GaussianPrior(red_spectrum(n, n).float(), (1, 1, n, n)).covariance(math.inf)
    if device != "cpu":
        climate = StationaryCovariance(there(climate.spectrum), climate.shape, climate.torus)
    members = NoiseStream(1, range(12), [0], device).normal(0, climate.shape[1:])
    members = climate.color(members[:, None, 0])[:, 0]
    mean = members.mean(0)
    if aggregate is not None:
        error = StationaryCovariance(0.2 * climate.spectrum, climate.shape, climate.torus)
        return GaussianForecast(mean, error, aggregate)
    spread = ensemble_covariance(0.5 * (members - mean), climate.padded, periodic=(True, True))
    return as_source(mean, spread, climate)


@pytest.mark.parametrize("observed", [True, False], ids=["observed", "alone"])
@pytest.mark.parametrize("coarse", [False, True], ids=["one grid", "coarser"])
@pytest.mark.parametrize("limit", [0, 1200], ids=["iterated", "direct"])
def test_a_forecast_fused(observed, coarse, limit):
    block = sp.kron(sp.eye(N // 2), np.full((1, 2), 0.5))
    G = sp.csr_array(sp.kron(block, block)) if coarse else None

    def road(device):
        problem = analysis_problem(
            prior(device), forecast(device, G), observations() if observed else None, tolerance=1e-4
        )
        problem.solver.limit = limit
        return sample_posterior(problem, NoiseStream(3, range(2), [0], device), Method(steps=4))

    same(road, atol=5e-3)
