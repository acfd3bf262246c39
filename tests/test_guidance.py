"""Guidance methods and the Kalman solver against exact posteriors."""

import math

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from skyweave.diffusion.noise import NoiseStream
from skyweave.errors import SkyweaveError
from skyweave.observe.errors import ErrorCovariance
from skyweave.observe.operator import StateOperator
from skyweave.observe.segment import Observations
from skyweave.posterior.background import Background
from skyweave.posterior.guidance import GUIDANCE
from skyweave.posterior.kalman import KalmanSolver, conjugate_gradients, innovation_covariance
from skyweave.posterior.preconditioner import Partition, two_level
from skyweave.posterior.problem import Problem
from skyweave.posterior.sample import Method, sample_posterior
from skyweave.posterior.start import analysis_start
from skyweave.prior.analytic import DenseGaussianPrior, GaussianMixturePrior, GaussianPrior, red_spectrum
from skyweave.transform import Log1pQuantile, StateTransform

SHAPE = (1, 1, 12, 12)


def some_cells(count=40, error=0.2, seed=0, transform=None, shape=SHAPE):
    """Cells and pair means of a field, with a draw of the prior as truth."""
    rng = np.random.default_rng(seed)
    n = int(np.prod(shape))
    rows = np.arange(count).repeat(2)
    columns = np.concatenate([rng.choice(n, 2, replace=False) for _ in range(count)])
    weights = np.where(np.arange(2 * count) % 4 < 2, np.tile([1.0, 0.0], count), 0.5)
    operator = StateOperator(sp.csr_array((weights, (rows, columns)), shape=(count, n)), shape, transform)
    prior = GaussianPrior(red_spectrum(*shape[2:]), shape)
    truth = prior.sample(torch.randn(1, *shape, generator=torch.Generator().manual_seed(seed)))
    y = operator(truth)[0] + error * torch.from_numpy(rng.standard_normal(count)).float()
    return prior, Observations(operator, y, ErrorCovariance(np.full(count, error**2)))


def exact(prior, case):
    """Mean and covariance of the posterior of a Gaussian prior, from the textbook formula."""
    n = case.operator.matrix.shape[1]
    V = prior.covariance(math.inf).dense(torch.arange(n)).double()
    H = torch.from_numpy(case.operator.matrix.toarray())
    S = H @ V @ H.T + case.R.dense()
    K = torch.linalg.solve(S, H @ V).T
    return K @ case.y.double(), V - K @ H @ V


def test_solver_is_the_textbook_update():
    prior, case = some_cells()
    mean, _ = exact(prior, case)
    V = prior.covariance(math.inf)
    x = KalmanSolver(case).update(torch.zeros(3, *SHAPE), V)
    torch.testing.assert_close(x.reshape(3, -1).double(), mean.expand(3, -1), atol=2e-4, rtol=1e-3)


def test_iterative_and_direct_solutions_agree():
    prior, case = some_cells()
    V, x_hat = prior.covariance(1.0), torch.randn(4, *SHAPE, generator=torch.Generator().manual_seed(1))
    direct = KalmanSolver(case).update(x_hat, V)
    solver = KalmanSolver(case, limit=0, tolerance=1e-5, iterations=300)
    torch.testing.assert_close(solver.update(x_hat, V), direct, atol=1e-4, rtol=1e-3)
    assert solver.applications > 0


def test_a_member_does_not_depend_on_its_batch():
    prior, case = some_cells()
    noise = lambda members: NoiseStream(7, members, [0])  # noqa: E731
    whole = sample_posterior(Problem(prior, case), noise(range(5)))
    one = sample_posterior(Problem(prior, case), noise([3]))
    torch.testing.assert_close(one[0], whole[3], atol=2e-4, rtol=1e-3)


def test_nonlinear_operator_is_linearised_at_the_state():
    transform = StateTransform((Log1pQuantile(0.1, 1.2),))
    _, case = some_cells(transform=transform)
    x = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(3))
    v = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(4))
    step = 1e-3
    numeric = (case.operator(x + step * v) - case.operator(x - step * v)) / (2 * step)
    torch.testing.assert_close(case.operator.jvp(x, v), numeric, atol=2e-3, rtol=2e-3)
    u = torch.randn(2, case.operator.n, generator=torch.Generator().manual_seed(5))
    left = (case.operator.jvp(x, v) * u).sum(1)
    right = (v * case.operator.vjp(x, u)).flatten(1).sum(1)
    torch.testing.assert_close(left, right, atol=1e-4, rtol=1e-4)
    dense = torch.from_numpy(case.operator.jacobian(x[0]).toarray()).float()
    torch.testing.assert_close(dense @ v[0].ravel(), case.operator.jvp(x, v)[0], atol=1e-4, rtol=1e-4)


def test_posterior_through_a_nonlinear_operator_fits_its_observations():
    transform = StateTransform((Log1pQuantile(0.1, 1.2),))
    prior, case = some_cells(count=30, transform=transform, error=0.05)
    x = sample_posterior(Problem(prior, case), NoiseStream(0, range(32), [0]))
    misfit = (case.operator(x) - case.y) / 0.05
    # The members' misfit has the observation error and their own spread in it: of order one, not of order ten.
    assert 0.3 < float(misfit.pow(2).mean().sqrt()) < 2.0


def test_conjugate_gradients_solve_each_row_by_itself():
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(20, 20, generator=generator, dtype=torch.float64)
    spd = matrix @ matrix.T + torch.eye(20)
    b = torch.randn(3, 20, generator=generator, dtype=torch.float64)
    b[1] *= 1e4
    apply = lambda u: u @ spd  # noqa: E731
    together, _ = conjugate_gradients(apply, b, tolerance=1e-10, iterations=200)
    alone, _ = conjugate_gradients(apply, b[:1], tolerance=1e-10, iterations=200)
    torch.testing.assert_close(together, torch.linalg.solve(spd, b.T).T, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(together[:1], alone)


@pytest.mark.parametrize("guidance", ["covariance", "mmps"])
def test_exact_methods_reach_the_exact_posterior(guidance):
    prior, case = some_cells()
    mean, covariance = exact(prior, case)
    options = {"iterations": 60, "tolerance": 1e-5} if guidance == "mmps" else {}
    method = Method(guidance=guidance, sampler="dpm++2m", steps=32, guidance_options=options)
    x = (
        sample_posterior(Problem(prior, case), NoiseStream(0, range(400), [0]), method)
        .reshape(400, -1)
        .double()
    )
    spread = covariance.diagonal().mean().sqrt()
    assert float((x.mean(0) - mean).pow(2).mean().sqrt() / spread) < 0.1
    assert float(x.var(0).mean().sqrt() / spread) == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("start", ["analysis", "noise"])
def test_start_does_not_matter(start):
    prior, case = some_cells()
    mean, covariance = exact(prior, case)
    method = Method(sampler="dpm++2m", steps=32, start=start, sigma_max=10 if start == "analysis" else 100)
    x = (
        sample_posterior(Problem(prior, case), NoiseStream(0, range(300), [0]), method)
        .reshape(300, -1)
        .double()
    )
    spread = covariance.diagonal().mean().sqrt()
    assert float((x.mean(0) - mean).pow(2).mean().sqrt() / spread) < 0.12
    assert float(x.var(0).mean().sqrt() / spread) == pytest.approx(1, abs=0.04)


@pytest.mark.parametrize("guidance", GUIDANCE)
def test_every_method_brings_the_prior_closer_to_the_truth(guidance):
    """A law for the list of methods: with accurate observations, the error at observed rows falls by half."""
    prior, case = some_cells(count=60, error=0.1)
    # The paper's constants are those of a coarse grid, far from these observations.
    own = {"sigma_y": "stated", "gamma": 1.0, "half": True} if guidance == "multimodal" else {}
    method = Method(guidance, "dpm++2m-sde", 32, "noise", 50, guidance_options=own)
    noise = NoiseStream(0, range(16), [0])
    x = sample_posterior(Problem(prior, case), noise, method)
    free = prior.sample(torch.randn(16, *SHAPE, generator=torch.Generator().manual_seed(9)))
    error = lambda z: float((case.operator(z) - case.y).pow(2).mean().sqrt())  # noqa: E731
    assert error(x) < 0.5 * error(free)


@pytest.mark.parametrize("guidance", GUIDANCE)
def test_a_guided_denoiser_is_a_denoiser(guidance):
    prior, case = some_cells()
    guided = GUIDANCE[guidance](Problem(prior, case))
    x = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(2))
    out = guided(x, torch.tensor(0.7))
    assert out.shape == x.shape
    assert torch.isfinite(out).all()
    assert not out.requires_grad


def test_weight_is_a_division_of_the_error():
    prior, case = some_cells()
    doubled = Observations(case.operator, case.y, case.R.scaled(1 / 2.0))
    twice = Observations(
        StateOperator(sp.csr_array(sp.vstack([case.operator.matrix] * 2)), SHAPE),
        case.y.repeat(2),
        ErrorCovariance(np.tile(case.R.variance, 2)),
    )
    V, zero = prior.covariance(math.inf), torch.zeros(1, *SHAPE)
    # Observing everything twice is the same as giving it a weight of two.
    torch.testing.assert_close(
        KalmanSolver(doubled).update(zero, V), KalmanSolver(twice).update(zero, V), atol=1e-4, rtol=1e-3
    )


def test_gaussian_denoisers_agree():
    prior = GaussianPrior(red_spectrum(8, 8), (1, 1, 8, 8))
    matrix = prior.covariance(math.inf).dense(torch.arange(64))
    dense = DenseGaussianPrior(matrix, (1, 1, 8, 8))
    x = torch.randn(3, 1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(prior(x, torch.tensor(0.5)), dense(x, torch.tensor(0.5)), atol=1e-4, rtol=1e-4)
    n = torch.arange(64)
    torch.testing.assert_close(
        prior.covariance(0.5).dense(n), dense.covariance(0.5).dense(n), atol=1e-4, rtol=1e-3
    )


def test_tweedie_covariance_is_the_jacobian():
    prior = GaussianPrior(red_spectrum(8, 8), (1, 1, 8, 8))
    x = torch.randn(1, 1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    sigma = torch.tensor(0.6)
    J = torch.autograd.functional.jacobian(lambda z: prior(z, sigma), x).reshape(64, 64)
    torch.testing.assert_close(0.36 * J, prior.covariance(0.6).dense(torch.arange(64)), atol=1e-4, rtol=1e-3)


def test_mixture_covariance_is_the_jacobian_and_depends_on_the_flow():
    shape = (1, 1, 6, 6)
    parts = [GaussianPrior(a * red_spectrum(6, 6), shape, m) for a, m in ((0.3, 0.2), (1.0, -0.2))]
    prior = GaussianMixturePrior(parts, [0.4, 0.6])
    sigma = 0.8
    found = []
    for seed in (0, 1):
        x = torch.randn(1, *shape, generator=torch.Generator().manual_seed(seed))
        J = torch.autograd.functional.jacobian(lambda z: prior(z, torch.tensor(sigma)), x).reshape(36, 36)
        V = prior.covariance(sigma, None, x)
        columns = torch.stack([(V @ e.reshape(1, *shape)).ravel() for e in torch.eye(36)])
        torch.testing.assert_close(columns, sigma**2 * J, atol=2e-4, rtol=2e-3)
        found.append(columns)
    assert not torch.allclose(found[0], found[1], atol=1e-3)


def test_innovation_covariance_does_not_depend_on_how_it_is_made():
    prior, case = some_cells()
    from skyweave.posterior.kalman import by_columns

    V = prior.covariance(1.0)
    whole = innovation_covariance(torch.zeros(SHAPE), V, case)
    by_columns = by_columns(case.operator.matrix, V) + case.R.dense()
    torch.testing.assert_close(whole, by_columns, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("settings", "word"),
    [({"guidance": "covarience"}, "covariance"), ({"sampler": "huen"}, "heun"), ({"steps": 2}, "at least")],
)
def test_unknown_names_are_refused_with_a_hint(settings, word):
    with pytest.raises(SkyweaveError, match=word):
        Method(**settings)


@pytest.mark.parametrize("sampler", ["dpm++2m", "dpm++2m-sde", "heun", "ancestral"])
@pytest.mark.parametrize("start", ["analysis", "noise"])
@pytest.mark.parametrize("steps", [8, 16, 33])
def test_no_method_takes_more_evaluations_than_it_says(sampler, start, steps):
    prior, case = some_cells(count=5)
    calls = []

    def counting(x, sigma):
        calls.append(1)
        return prior(x, sigma)

    method = Method(sampler=sampler, start=start, steps=steps)
    problem = Problem(Background(counting, prior.covariance, SHAPE), case)
    sample_posterior(problem, NoiseStream(0, [0], [0]), method)
    assert len(calls) == method.evaluations() <= steps


def test_analysis_start_has_the_posterior_and_its_noise():
    """A draw at ``sigma`` is the exact posterior plus noise: its mean and covariance are known."""
    prior, case = some_cells(count=10)
    mean, covariance = exact(prior, case)
    noise = NoiseStream(0, range(4000), [0])
    x = analysis_start(Problem(prior, case), 2.0, noise).reshape(4000, -1).double()
    wanted = covariance + 4.0 * torch.eye(len(mean))
    # In the directions that the observations leave free as well as in those that they bind.
    values, vectors = torch.linalg.eigh(wanted)
    ratio = (((x - mean) @ vectors) ** 2).mean(0) / values
    assert float((ratio - 1).abs().max()) < 0.12
    assert float(ratio.mean()) == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("kind", ["cells", "means"])
def test_two_level_preconditioner_saves_iterations_and_keeps_the_answer(kind):
    shape = (1, 1, 96, 96)
    prior = GaussianPrior(red_spectrum(96, 96), shape)
    cells = np.arange(96 * 96)
    if kind == "cells":
        groups = cells[np.random.default_rng(0).random(len(cells)) < 0.5][:, None]
    else:
        groups = cells.reshape(32, 3, 32, 3).transpose(0, 2, 1, 3).reshape(-1, 9)
    rows = np.repeat(np.arange(len(groups)), groups.shape[1])
    weights = np.full(rows.size, 1 / groups.shape[1])
    operator = StateOperator(
        sp.csr_array((weights, (rows, groups.ravel())), shape=(len(groups), len(cells))), shape
    )
    case = Observations(
        operator,
        torch.randn(len(groups), generator=torch.Generator().manual_seed(0)),
        ErrorCovariance(np.full(len(groups), 1e-3)),
    )
    V, x = prior.covariance(10.0), torch.zeros(1, *shape)
    innovation = case.y[None] - operator(x)
    apply = lambda u: operator.jvp(x, V @ operator.vjp(x, u)) + case.R @ u  # noqa: E731
    levels = two_level(V, Partition.of(operator.matrix, shape, case.R))
    plain, many = conjugate_gradients(apply, innovation, tolerance=1e-5, iterations=500)
    fast, few = conjugate_gradients(apply, innovation, precondition=levels, tolerance=1e-5, iterations=500)
    assert few < many / 2
    torch.testing.assert_close(fast, plain, atol=1e-2 * float(plain.abs().max()), rtol=1e-2)
    u = torch.randn(2, len(groups), generator=torch.Generator().manual_seed(1))
    left, right = (levels(u[:1]) * u[1:]).sum(), (levels(u[1:]) * u[:1]).sum()
    torch.testing.assert_close(left, right, rtol=1e-3, atol=1e-2)
