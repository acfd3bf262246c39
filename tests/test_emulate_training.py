"""An emulator learns a drifting world; interruption changes nothing; its file keeps all; bad input is refused."""

from __future__ import annotations

import json
import resource
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from emulate_cases import SPEC, drifting, global_grid, settings, written
from skyweave.config import parse_config
from skyweave.emulate import (
    Emulator,
    EmulatorConfig,
    Forecaster,
    open_emulator,
    save_emulator,
    train_emulator,
)
from skyweave.emulate import train as training
from skyweave.errors import SkyweaveError
from skyweave.evaluate.forecasts import score_forecasts
from skyweave.grid import Grid
from skyweave.io.lock import Lock
from skyweave.io.write import write
from skyweave.learn.checkpoint import load_checkpoint
from skyweave.prior.storage import read_tensors, write_tensors
from skyweave.state import to_tensor

WHEN = np.datetime64("2001-03-01T06", "ns")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("emulate")
    written(path)
    return path


@pytest.fixture(scope="module")
def emulator(folder: Path) -> Emulator:
    return train_emulator(settings(folder / "world.nc", folder / "run", steps=80))


@pytest.fixture(scope="module")
def unseen() -> xr.Dataset:
    return drifting(80, seed=9)


def metrics(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


# ---- learning


def test_training_lessens_the_loss_and_beats_persistence_on_a_world_that_drifts(folder, emulator, unseen):
    losses = [line["loss"] for line in metrics(folder / "run") if "loss" in line]
    assert losses[-1] < 0.5 * losses[0]
    scores = score_forecasts(emulator, unseen, steps=4, starts=12, name="emulator")
    error = scores.rmse.sel(model="emulator") / scores.rmse.sel(model="persistence")
    assert float(error.max()) < 0.75
    gain = scores.acc.sel(model="emulator") - scores.acc.sel(model="persistence")
    assert float(gain[:, 1:].min()) > 0.15


def test_a_trained_network_still_commutes_with_rotation(emulator, unseen):
    # The world's drift is the same at all longitudes and so is its forcing, the latitude.
    x = to_tensor(unseen.isel(time=[5]), SPEC)
    torch.testing.assert_close(
        emulator.step(x.roll(5, -1), WHEN), emulator.step(x, WHEN).roll(5, -1), atol=1e-3, rtol=1e-4
    )


def test_it_is_a_forecaster_and_members_do_not_depend_on_their_batch(emulator, unseen):
    assert isinstance(emulator, Forecaster)
    assert emulator.time_step == 21600
    x = to_tensor(unseen.isel(time=[5, 15, 25]), SPEC)
    noisy = emulator.stochastic(seed=4)
    for model in (emulator, noisy):
        together = model.step(x, WHEN, members=[0, 1, 2])
        torch.testing.assert_close(model.step(x[2:], WHEN, members=[2]), together[2:], atol=1e-3, rtol=1e-5)
    drawn = noisy.step(x, WHEN) - emulator.step(x, WHEN)
    assert float(drawn.abs().max()) > 0.01
    assert float((drawn[0] - drawn[1]).abs().max()) > 0.01
    other = emulator.stochastic(seed=5).step(x, WHEN) - emulator.step(x, WHEN)
    assert float((drawn - other).abs().max()) > 0.01


def test_draws_have_the_covariance_of_the_residuals(emulator):
    many = emulator.draw(WHEN, range(4000)) / emulator.integrator.deviation[:, None, None]
    wanted = emulator.residuals.square().mean(0)
    assert float((many.square().mean(0) - wanted).norm() / wanted.norm()) < 0.1
    product = (many[:, 0, 3, 4] * many[:, 1, 3, 4]).mean()
    assert float(product) == pytest.approx(
        float((emulator.residuals[:, 0, 3, 4] * emulator.residuals[:, 1, 3, 4]).mean()), abs=0.1
    )


def test_statistics_are_of_the_training_period_alone(folder, tmp_path):
    data = xr.load_dataset(folder / "world.nc")
    late = data.time >= np.datetime64("2001-02-15")
    data["t"] = data.t.where(~late, data.t * 1.5)
    write(data, tmp_path / "changed.nc")
    short = {"steps": 1, "residuals": 1, "hindcast": {"steps": 1, "starts": 2}}
    one = train_emulator(settings(folder / "world.nc", tmp_path / "a", **short))
    two = train_emulator(settings(tmp_path / "changed.nc", tmp_path / "b", **short))
    assert one.transform == two.transform
    torch.testing.assert_close(one.integrator.deviation, two.integrator.deviation, rtol=0, atol=0)
    torch.testing.assert_close(one.climatology.coefficients, two.climatology.coefficients, rtol=0, atol=0)


# ---- interruption


def test_resumed_equals_uninterrupted(folder, tmp_path, monkeypatch):
    config = settings(
        folder / "world.nc", tmp_path / "whole", steps=12, checkpoint_every=6, validate_every=6, log_every=3,
        loss={"rollout": 2, "rollout_after": 0.5}, residuals=2,
    )  # fmt: skip
    whole = train_emulator(config)
    from skyweave.emulate import train as module

    broken = config.model_copy(update={"out": tmp_path / "broken"})
    step = module._Run._step

    def until_eight(self):
        if self.progress.step == 8:
            raise KeyboardInterrupt
        return step(self)

    with monkeypatch.context() as patch:
        patch.setattr(module._Run, "_step", until_eight)
        with pytest.raises(KeyboardInterrupt):
            train_emulator(broken)
    resumed = train_emulator(broken)
    assert resumed.fingerprint() == whole.fingerprint()
    strip = [{k: v for k, v in line.items() if k != "seconds"} for line in metrics(tmp_path / "broken")]
    assert strip == [
        {k: v for k, v in line.items() if k != "seconds"} for line in metrics(tmp_path / "whole")
    ]
    with pytest.raises(SkyweaveError, match=r"other settings \(batch\)"):
        train_emulator(broken.model_copy(update={"batch": 3}))
    # What is finished is not trained again, only put together.
    assert train_emulator(broken).fingerprint() == whole.fingerprint()
    # Runs of before told their settings by the keys of their file.
    with monkeypatch.context() as patch:
        told = config.model_dump(mode="json", by_alias=True)
        patch.setattr(module._Run, "_comparable", lambda run: {k: told[k] for k in told if k not in run.free})
        earlier = train_emulator(config.model_copy(update={"out": tmp_path / "earlier"}))
    assert "validate" in load_checkpoint(tmp_path / "earlier" / "checkpoint.safetensors").config["split"]
    again = train_emulator(config.model_copy(update={"out": tmp_path / "earlier"}))
    assert again.fingerprint() == earlier.fingerprint()


def test_a_second_process_is_told_who_trains_here(folder, tmp_path):
    config = settings(folder / "world.nc", tmp_path / "run", steps=2, validate_every=2, residuals=2)
    (tmp_path / "run").mkdir()
    lock = Lock(tmp_path / "run" / "lock", tmp_path / "run")
    lock.acquire()
    with pytest.raises(SkyweaveError, match="run: is being written by process"):
        train_emulator(config)
    lock.release()
    (tmp_path / "run").mkdir()
    train_emulator(config)
    assert not (tmp_path / "run" / "lock").exists()


def test_changed_data_are_refused(folder, tmp_path):
    path = tmp_path / "world.nc"
    world = xr.load_dataset(folder / "world.nc")
    write(world, path)
    config = settings(path, tmp_path / "run", steps=4, validate_every=2, residuals=2)
    made = train_emulator(config)
    write(world, path, overwrite=True)  # the same values, written anew
    assert train_emulator(config).fingerprint() == made.fingerprint()
    world.t.values[-20:] += 1.0
    write(world, path, overwrite=True)
    with pytest.raises(SkyweaveError, match=r"holds a run on other data.*choose another `out`"):
        train_emulator(config)


@pytest.mark.parametrize(
    ("size", "message"), [(50, r"metrics\.jsonl: cannot be"), (4000, "cannot be written")]
)
def test_a_full_disk_keeps_what_was_learnt(folder, tmp_path, size, message):
    config = settings(
        folder / "world.nc", tmp_path / "run", steps=4, log_every=1, validate_every=2, residuals=2
    )
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        with pytest.raises(SkyweaveError, match=message):
            train_emulator(config)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list((tmp_path / "run").glob(".*"))
    train_emulator(config)
    assert [line["step"] for line in metrics(tmp_path / "run") if "loss" in line] == [1, 2, 3, 4]


def test_a_time_budget_ends_the_run(folder, tmp_path, monkeypatch):
    step = training._Run._step

    def slow(self):
        self.started -= 60
        return step(self)

    monkeypatch.setattr(training._Run, "_step", slow)
    made = train_emulator(
        settings(folder / "world.nc", tmp_path / "out", steps=10**6, max_minutes=30, validate_every=10**6)
    )
    assert 0 < made.metadata["steps"] < 2000


# ---- the file


def test_an_emulator_survives_its_file(emulator, tmp_path, unseen):
    emulator = replace(emulator, metadata=emulator.metadata | {"note": "kept"})
    save_emulator(emulator, tmp_path / "e.safetensors")
    back = open_emulator(tmp_path / "e.safetensors")
    x = to_tensor(unseen.isel(time=[3]), SPEC)
    torch.testing.assert_close(back.step(x, WHEN), emulator.step(x, WHEN), rtol=0, atol=0)
    assert back.spec == emulator.spec
    assert back.grid.same_as(emulator.grid)
    assert back.metadata["note"] == "kept"
    assert back.hindcast == emulator.hindcast
    assert back.metadata["training_range"][1].startswith("2001-02-14")
    with pytest.raises(SkyweaveError, match="exists"):
        save_emulator(emulator, tmp_path / "e.safetensors")


def test_files_that_are_none_are_refused(emulator, tmp_path):
    with pytest.raises(SkyweaveError, match="no such file"):
        open_emulator(tmp_path / "absent.safetensors")
    save_emulator(emulator, tmp_path / "e.safetensors")
    header, tensors = read_tensors(tmp_path / "e.safetensors", "an emulator")
    for change, message in (
        ({"kind": "learnt prior"}, "not an emulator"),
        ({"schema_version": 99}, "newer"),
        ({"network": {"kind": "other"}}, "incomplete or damaged"),
        ({"network": {"width": 64}}, "incomplete or damaged"),
    ):
        write_tensors(tensors, header | change, tmp_path / "bad.safetensors")
        with pytest.raises(SkyweaveError, match=message):
            open_emulator(tmp_path / "bad.safetensors")


# ---- other data


def test_a_region_with_land_a_bound_and_sunlight(tmp_path):
    grid = Grid(np.arange(30.0, 60, 2.5), np.arange(-20.0, 20, 2.5))
    data = drifting(200, grid=grid)
    data["t"][:, 2, 3] = np.nan
    write(data, tmp_path / "region.nc")
    config = settings(
        tmp_path / "region.nc",
        tmp_path / "run",
        data={
            "paths": str(tmp_path / "region.nc"), "variables": ["t", "q"], "conditioning": ["insolation", "hour"],
        },
        network={"kind": "auto", "width": 8, "multipliers": [1, 2]},
        bounds={"q": [4.9, None]},
        steps=6,
        batch=2,
        loss={"spectral": 0.5},
    )  # fmt: skip
    made = train_emulator(config)
    x = to_tensor(data.isel(time=[100]), made.spec)
    after = made.step(x, data.time.values[100])
    assert torch.equal(after.isnan(), x.isnan())
    assert float(after[:, 1].min()) >= 4.9 - 1e-5
    with pytest.raises(SkyweaveError, match="depends on time"):
        made.step(x, None)


def test_unusable_data_and_settings_are_refused(folder, tmp_path):
    data = drifting(240)
    data["q"][:] = 5.0
    data["q"][:, 0] += np.arange(24)  # varies in space, and never in time
    write(data, tmp_path / "still.nc")
    with pytest.raises(SkyweaveError, match="q: does not change in time"):
        train_emulator(settings(tmp_path / "still.nc", tmp_path / "a"))
    data = drifting(240)
    data["t"][7, 3, 3] = np.nan
    write(data, tmp_path / "gaps.nc")
    with pytest.raises(SkyweaveError, match="t: values are missing here and there"):
        train_emulator(settings(tmp_path / "gaps.nc", tmp_path / "b"))
    values = settings(folder / "world.nc", tmp_path / "c").model_dump(mode="json", by_alias=True)
    with pytest.raises(
        SkyweaveError, match=r"(?s)2 errors.*loss.rolout: unknown key.*did you mean 'rollout'"
    ):
        parse_config(values | {"loss": {"rolout": 2}, "batch": 0}, EmulatorConfig)
    tropics = values | {"data": {**values["data"], "region": {"lat": [-40, 40]}}}
    with pytest.raises(SkyweaveError, match="'unet' for a region"):
        train_emulator(EmulatorConfig.model_validate(tropics))


def test_what_cannot_be_stepped_is_refused(emulator):
    x = torch.zeros(1, 2, *global_grid().shape)
    with pytest.raises(SkyweaveError, match="this emulator steps states"):
        emulator.step(x[:, :1], WHEN)
    bare = replace(emulator, residuals=emulator.residuals[:0], metadata={})
    with pytest.raises(SkyweaveError, match="no stored residuals"):
        bare.stochastic()
    with pytest.raises(SkyweaveError, match="no hindcast errors"):
        _ = bare.hindcast
