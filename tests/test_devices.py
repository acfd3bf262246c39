"""Every road of the posterior follows the device of its states: run on one that refuses to mix, and compared."""

import json
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse as sp
import torch
import xarray as xr

from emulate_cases import SPEC, drifting, written
from emulate_cases import settings as emulator_settings
from pretended_device import DEVICE, MixedDevicesError, There, pretended, there
from prior_cases import SMALLEST
from scene_cases import STD, place, seen_at, white_prior
from skyweave.config import parse_config
from skyweave.covariance.by_noise_level import ErrorCovarianceModel, estimate_error_covariance
from skyweave.covariance.stationary import StationaryCovariance
from skyweave.covariance.torus import signed
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
from skyweave.evaluate import tune
from skyweave.grid import Grid
from skyweave.learn import processes
from skyweave.learn.processes import Alone
from skyweave.observe.assemble import ObservationSet
from skyweave.observe.errors import CorrelatedBlock, ErrorCovariance, unit_vectors
from skyweave.observe.observation import GridObservation
from skyweave.observe.operator import StateOperator
from skyweave.observe.report import Report
from skyweave.observe.segment import Observations, SegmentObservations, Source
from skyweave.posterior import calibration
from skyweave.posterior.background import Background, bind
from skyweave.posterior.calibration import calibrate
from skyweave.posterior.guidance import GUIDANCE
from skyweave.posterior.kalman import KalmanSolver
from skyweave.posterior.problem import Problem, climatological_mean
from skyweave.posterior.sample import Method, sample_posterior
from skyweave.posterior.samplers import SAMPLERS
from skyweave.prior import train as prior_training
from skyweave.prior.analytic import GaussianPrior, red_spectrum
from skyweave.prior.config import TrainConfig
from skyweave.prior.storage import open_prior, save_prior
from skyweave.prior.train import train
from skyweave.reconstruction import expectation_maximisation
from skyweave.reconstruction.reconstruct import reconstruct
from skyweave.sources.widening import find_widening
from skyweave.state import StateSpec, Variable, to_tensor
from skyweave.transform import Log10Standardise, Standardise, StateTransform
from source_cases import labelled

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


NO_OP = pytest.mark.filterwarnings("ignore:for .* copying from a non-meta parameter")
"""Torch takes the pretended device by its name for one without numbers."""


@pytest.fixture
def any_device(monkeypatch):
    """The pretended device may be asked for by name."""
    for module in (processes, calibration):
        monkeypatch.setattr(module, "usable_device", torch.device)


def training(out, **changes):
    labelled(NoiseStream(0, range(8), [0]).normal(0, (N, N))[:, 0].numpy()).to_netcdf(out / "a.nc")
    values = {
        "data": {"paths": str(out / "a.nc"), "variables": "a", "conditioning": ["latitude"]},
        "split": {"train": ["2020-01-01", "2020-01-05"], "validate": ["2020-01-06", "2020-01-08"]},
        "network": SMALLEST,
        "patch": N,
        "batch": 4,
        "steps": 2,
        "validation_patches": 4,
        "validation_sigmas": [1.0],
        "validate_every": 1,
        "log_every": 1,
        "optimiser": {"lr": 1e-2, "warmup": 0},
        "autocast": False,
        "out": str(out),
    }
    return parse_config(values | changes, TrainConfig)


@NO_OP
@pytest.mark.parametrize("kind", ["fields", "windows with gaps"])
def test_training(kind, tmp_path, any_device):
    """Losses of a run that is broken off and continued on the device: the second step has the first one's weights."""
    changes = {"window": 3, "corruption": {}} if kind == "windows with gaps" else {}

    def learnt(device):
        (tmp_path / device).mkdir()
        config = training(tmp_path / device, **changes)
        dies = [True]

        def stop_once(run, step=prior_training._Run._step):
            if run.progress.step == 1 and dies:
                dies.clear()
                raise KeyboardInterrupt
            return step(run)

        config = config.model_copy(update={"device": device, "checkpoint_every": 1})
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(prior_training._Run, "_step", stop_once)
            with pytest.raises(KeyboardInterrupt):
                train(config)
        assert not isinstance(next(train(config).network.parameters()), There)  # it is kept where files are
        told = [json.loads(line) for line in (config.out / "metrics.jsonl").read_text().splitlines()]
        return [line.get("loss", line.get("validation_mean")) for line in told]

    plain = learnt("cpu")
    with pretended():
        found = learnt("meta")
    assert len(plain) == 4
    np.testing.assert_allclose(found, plain, rtol=1e-4)


@NO_OP
def test_expectation_maximisation(tmp_path, any_device, monkeypatch):
    """Completions learnt from and drawn on the device."""

    def calibrated(config, report=None):
        path = config.out / "prior.safetensors"
        known = replace(open_prior(path), attachments=white_prior().attachments)
        save_prior(known, path, overwrite=True)
        return known

    monkeypatch.setattr(expectation_maximisation, "calibrate_run", calibrated)  # a test of its own

    def completed(device):
        (tmp_path / device).mkdir()
        config = training(tmp_path / device)
        gappy = xr.load_dataset(tmp_path / device / "a.nc")
        gappy.a.values[:, 3:7, 3:9] = np.nan
        (tmp_path / device / "a.nc").unlink()
        gappy.to_netcdf(tmp_path / device / "a.nc")
        config = config.model_copy(update={"device": device})
        expectation_maximisation.learn_by_expectation_maximisation(config, rounds=2, method=Method(steps=4))
        return xr.load_dataset(tmp_path / device / "round_1" / "completed.nc").a.values

    plain = completed("cpu")
    with pretended():
        found = completed("meta")
    np.testing.assert_allclose(found, plain, atol=5e-3, rtol=1e-3)


@pytest.mark.parametrize("weights", ["stated", "innovations"])
def test_reconstruct(weights, any_device):
    """From labels to labels: the plan, the checks of the scene, the draws and their summaries."""
    like = place(times=2)
    how = None if weights == "stated" else {"method": "leave-out", "members": 4, "steps": 4, "iterations": 1}
    given = GridObservation(seen_at(like, 4 * STD), error=1.0, name="x")

    def made(device):
        return reconstruct(
            white_prior(), given, like=like, members=4, steps=4, device=device, weights=weights,
            innovations=how, on_conflict="widen", progress=False,
        )  # fmt: skip

    plain = made("cpu")
    with pretended():
        found = made("meta")
    for name in plain:
        np.testing.assert_allclose(found[name], plain[name], atol=2e-2, rtol=1e-3, err_msg=name)


def test_tune(any_device):
    like = place()
    truth = seen_at(like, share=1.0)
    given = GridObservation(truth + 1.0, error=1.0, name="x")
    grid = {"observations.x.weight": [0.5, 2.0]}

    def scores(device):
        found = tune(
            white_prior(),
            given,
            truth.to_dataset(),
            grid,
            like=like,
            members=4,
            steps=4,
            device=device,
            progress=False,
        )
        return [result.card.overall["crps"] for result in found]

    plain = scores("cpu")
    with pretended():
        found = scores("meta")
    np.testing.assert_allclose(found, plain, rtol=1e-3)


def test_calibration():
    fields = NoiseStream(0, range(3), [0]).normal(0, (1, 16, 16))[:, 0]
    batch = SimpleNamespace(fields=fields, conditioning=torch.zeros(3, 0, 16, 16))
    sampler = SimpleNamespace(batch=lambda index: batch, whole_circle=False)

    def scores(device):
        done = calibrate(
            white_prior(),
            sampler,
            batches=1,
            max_lag=4,
            cases=1,
            members=4,
            method=Method(steps=4),
            device=device,
        )
        kernels = done.attachments["covariance.kernels"]
        assert not isinstance(kernels, There)
        assert not isinstance(next(done.network.parameters()), There)
        return kernels, done.metadata["calibration"]["spread_factor"]

    plain = scores("cpu")
    with pretended():
        found = scores(DEVICE)
    torch.testing.assert_close(found[0], plain[0], atol=2e-3, rtol=0)
    assert found[1] == pytest.approx(plain[1], rel=1e-2)
