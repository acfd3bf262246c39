"""Forecasts, cycles and emulators follow the device of their states: run on one that refuses to mix, and compared."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from device_cases import SHAPE, N, observations, prior, same
from emulate_cases import SPEC, drifting, written
from emulate_cases import settings as emulator_settings
from pretended_device import DEVICE, There, pretended, there
from skyweave.covariance.stationary import StationaryCovariance
from skyweave.cycle.analysis import analysis_problem
from skyweave.cycle.climate import Climate
from skyweave.cycle.ensemble import ensemble_covariance
from skyweave.cycle.forecast import GaussianForecast, aggregated, as_source
from skyweave.cycle.fusion import Fusion
from skyweave.cycle.lead_time import LeadTimeSkill
from skyweave.cycle.run import Cycler
from skyweave.cycle.settings import CycleSettings
from skyweave.cycle.transform import Domain, transformed
from skyweave.diffusion.noise import NoiseStream
from skyweave.emulate import FORECASTERS, fit_forecaster, train_emulator
from skyweave.learn.processes import Alone
from skyweave.observe.assemble import ObservationSet
from skyweave.observe.operator import StateOperator
from skyweave.observe.report import Report
from skyweave.observe.segment import Source
from skyweave.posterior.sample import Method, sample_posterior
from skyweave.prior.analytic import GaussianPrior, red_spectrum
from skyweave.state import StateSpec, Variable, to_tensor
from skyweave.transform import Standardise, StateTransform


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


def test_a_covariance_brought_to_a_coarser_grid():
    block = sp.kron(sp.eye(N // 2), np.full((1, 2), 0.5))
    G = sp.csr_array(sp.kron(block, block))

    def road(device):
        V = aggregated(prior(device).covariance(math.inf), G, (N // 2, N // 2), (N // 2, N // 2))
        return V.tapered((3.0, None)).spectrum

    same(road)


@pytest.mark.parametrize("update", ["afresh", "refined"])
def test_a_cycle(update):
    spec = StateSpec((Variable("t2m", "K"),))
    transform = StateTransform((Standardise(280.0, 10.0),))
    seen = observations()
    zero = np.zeros(seen.n, np.int64)
    observed = ObservationSet(
        StateOperator(seen.operator.matrix, SHAPE, transform), seen.y.double().numpy() * 10 + 280, seen.R.scaled(100.0),
        zero, zero, zero - 1, zero, zero, spec, (Source("s", 1.0),), Report(()),
    )  # fmt: skip

    class Still:
        def step(self, state, time):
            return 280 + 0.9 * (state - 280)

    how = {"refine_steps": 4} if update == "refined" else {}
    settings = CycleSettings(members=6, method=Method(steps=4), update=update, **how)
    start = 280 + 10 * NoiseStream(0, range(6), [0]).normal(0, SHAPE[1:])[:, 0]

    def analyses(device):
        background = prior(device)
        cycler = Cycler(
            climate=Climate(prior=lambda k: background, periodic=(True, True)), spec=spec, transform=transform,
            model=Still(), observed=observed, identities=[0], times=np.arange(1), settings=settings,
            domain=Domain.torus(N, N), radius=4.0,
        )  # fmt: skip
        return next(iter(cycler.run(start))).analysis

    plain = analyses("cpu")
    with pretended():
        found = analyses(DEVICE)
    assert not isinstance(found, There)  # the model and the record take it
    torch.testing.assert_close(found, plain, atol=0.3, rtol=0)


def test_a_forecast_file_fused():
    states = NoiseStream(1, range(40), [0]).normal(0, SHAPE[1:])
    truths = GaussianPrior(red_spectrum(N, N).float(), SHAPE).sample(states[:, None])
    forecasts = 0.8 * truths + 0.3 * NoiseStream(2, range(40), [0]).normal(0, SHAPE[1:])[:, None]
    plain = StateTransform((Standardise(0.0, 1.0),))
    zero = torch.zeros(())
    skill = LeadTimeSkill.fit(forecasts[:, :, 0], truths[:, :, 0], climate_mean=zero, periodic=(True, True))

    def road(device):
        climate = Climate(prior=lambda k: prior(device), periodic=(True, True))
        fusion = Fusion(climate=climate, transform=plain, frames=forecasts[0, :, 0], skill=skill, leads=(0,))
        problem = fusion.problem(0, observations())
        return sample_posterior(problem, NoiseStream(3, range(2), [0], device), Method(steps=4))

    same(road, atol=5e-3)


def test_a_local_ensemble_transform():
    seen = observations()
    segment = SimpleNamespace(operator=seen.operator, y=seen.y, R=seen.R)

    def road(device):
        x = NoiseStream(0, range(8), [0], device).normal(0, SHAPE[1:])
        return transformed(x, segment, Domain.torus(N, N), 4.0, inflation=1.1, relaxation=0.3)

    same(road)


@pytest.mark.parametrize("kind", ["sfno", "unet"])
def test_an_emulator_is_trained_and_steps(kind, tmp_path, monkeypatch):
    path = written(tmp_path, 80)
    short = {"train": ["2001-01-01", "2001-01-14"], "validate": ["2001-01-15", "2001-01-20"]}
    quick = {"split": short, "steps": 1, "batch": 2, "validation_starts": 2}
    quick |= {"hindcast": {"steps": 1, "starts": 2}, "residuals": 2}
    network = {"kind": kind, "width": 8, "layers": 1, "multipliers": [1]}

    def trained(device):
        monkeypatch.setattr("skyweave.emulate.train.launch", lambda _: Alone(device))
        config = emulator_settings(path, tmp_path / str(device), network=network, **quick)
        return train_emulator(config)

    state, time = to_tensor(drifting(1, seed=3), SPEC), np.datetime64("2001-02-01")
    plain = trained("cpu").stochastic(seed=1)
    expected = plain.step(state, time)
    with pretended():
        emulator = trained(DEVICE).stochastic(seed=1)
        assert not isinstance(emulator.integrator.mean, There)
        torch.testing.assert_close(emulator.step(state, time), expected, atol=2e-3, rtol=0)
        emulator = emulator.to(DEVICE)
        found = emulator.step(there(state), time)
        assert isinstance(found, There)
        torch.testing.assert_close(found.cpu(), expected, atol=2e-3, rtol=0)
        assert not isinstance(emulator.step(state, time), There)
        others = emulator.perturbed(there(state), time, [1, 2])
        assert isinstance(others, There)


@pytest.mark.parametrize("name", FORECASTERS)
def test_simple_forecasters(name):
    model = fit_forecaster(
        name, drifting(40), SPEC, **({"noise": True, "components": 5} if name == "linear" else {})
    )
    state, time = to_tensor(drifting(1, seed=3), SPEC), np.datetime64("2001-02-01")
    same(lambda device: model.step(state if device == "cpu" else there(state), time), atol=1e-3)
