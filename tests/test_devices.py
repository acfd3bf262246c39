"""Every road of the posterior follows the device of its states: run on one that refuses to mix, and compared."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from device_cases import SHAPE, N, observations, prior, same
from pretended_device import MixedDevicesError, There, pretended, there
from scene_cases import white_prior
from skyweave.covariance.by_noise_level import ErrorCovarianceModel, estimate_error_covariance
from skyweave.covariance.torus import signed
from skyweave.diffusion.noise import NoiseStream
from skyweave.grid import Grid
from skyweave.observe.operator import StateOperator
from skyweave.observe.segment import Observations, SegmentObservations
from skyweave.posterior.background import Background, bind
from skyweave.posterior.guidance import GUIDANCE
from skyweave.posterior.kalman import KalmanSolver
from skyweave.posterior.problem import Problem, climatological_mean
from skyweave.posterior.sample import Method, sample_posterior
from skyweave.posterior.samplers import SAMPLERS
from skyweave.sources.widening import find_widening
from skyweave.transform import Log10Standardise, StateTransform

LOG = StateTransform((Log10Standardise(0.0, 0.1, 1e-3),))


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


def test_a_learnt_prior_and_what_its_observations_say_of_it():
    """The network on a grid, and the widening, which leaves observations out and draws without them."""
    grid = Grid(np.arange(55.0, 55 - N, -1), np.arange(0.0, N))
    seen = observations(40)
    zero = np.zeros(40, np.int64)
    loud = SegmentObservations(
        seen.operator, 4 * seen.y, seen.R, channel=zero, cell=zero - 1, frame=zero, source=zero
    )

    def road(device):
        opened = white_prior()
        bound = bind(opened, grid, None, device=device)

        def noise(members):
            return NoiseStream(0, range(members), [0], device)

        x = sample_posterior(Problem(bound, seen), noise(2), Method(steps=4))
        widened = find_widening(loud, bound, opened.transform, noise=noise)
        return x + torch.from_numpy(widened.scale).mean().to(x)

    same(road, atol=5e-3)
