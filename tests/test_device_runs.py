"""Training, calibration and whole reconstructions on a device that refuses to mix, compared with the CPU."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import xarray as xr

from device_cases import N
from pretended_device import DEVICE, There, pretended
from prior_cases import SMALLEST
from scene_cases import STD, place, seen_at, white_prior
from skyweave.config import parse_config
from skyweave.diffusion.noise import NoiseStream
from skyweave.evaluate import tune
from skyweave.learn import processes
from skyweave.observe.observation import GridObservation
from skyweave.posterior import calibration
from skyweave.posterior.calibration import calibrate
from skyweave.posterior.sample import Method
from skyweave.prior import train as prior_training
from skyweave.prior.config import TrainConfig
from skyweave.prior.storage import open_prior, save_prior
from skyweave.prior.train import train
from skyweave.reconstruction import expectation_maximisation
from skyweave.reconstruction.reconstruct import reconstruct
from source_cases import labelled

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
