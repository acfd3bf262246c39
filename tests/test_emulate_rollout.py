"""Forecasts as datasets, their scores, and their errors as sources: recovered where they are known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from emulate_cases import SPEC, drifting, global_grid, settings, written
from skyweave import GridObservation
from skyweave.cli import main
from skyweave.emulate import (
    Emulator,
    FunctionForecaster,
    Hindcast,
    Persistence,
    fit_forecaster,
    forecast,
    forecast_states,
    hindcast_errors,
    open_forecast,
    train_emulator,
)
from skyweave.emulate.hindcast import error_reach, hindcast_starts
from skyweave.errors import SkyweaveError
from skyweave.evaluate.forecasts import score_forecasts
from skyweave.grid import Grid
from skyweave.io.regions import Regions
from skyweave.io.write import write
from skyweave.observe.errors import correlation, unit_vectors
from skyweave.state import StateSpec, Variable, to_tensor

SIX = 21600.0
GRID = Grid(np.arange(35.0, 66, 2.5), np.arange(-20.0, 21, 2.5))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rollout")
    written(path)
    return path


@pytest.fixture(scope="module")
def emulator(folder: Path) -> Emulator:
    return train_emulator(settings(folder / "world.nc", folder / "run"))


@pytest.fixture(scope="module")
def world() -> xr.Dataset:
    return drifting(60, seed=2)


# ---- rollouts


def test_a_rollout_is_one_step_after_another(emulator, world):
    start = world.isel(time=[4])
    made = forecast(emulator, start, 5, every=2)
    assert dict(made.sizes) == {"init_time": 1, "lead_time": 3, "member": 1, "lat": 12, "lon": 24}
    x = to_tensor(start, SPEC)
    torch.testing.assert_close(torch.from_numpy(made.t.values[0, 0, 0]), x[0, 0])
    for k in range(4):
        x = emulator.step(x, world.time.values[4 + k])
    torch.testing.assert_close(torch.from_numpy(made.q.values[0, 2, 0]), x[0, 1])
    assert made.lead_time.attrs["standard_name"] == "forecast_period"
    assert made.time.values[0, 2] == world.time.values[8]
    assert made.t.attrs["units"] == "K"


def test_members_differ_by_their_draws_and_not_by_their_batch(emulator, world):
    start = world.isel(time=[4])
    many = forecast(emulator.stochastic(seed=1), start, 3, members=4, perturb=1.0)
    few = forecast(emulator.stochastic(seed=1), start, 3, members=2, perturb=1.0)
    xr.testing.assert_allclose(many.isel(member=slice(0, 2)), few, rtol=1e-5, atol=1e-4)
    np.testing.assert_array_equal(many.t.values[0, 0, 0], start.t.values[0])  # the first starts as it was
    spread = many.t.std("member").mean(("lat", "lon"))[0]
    assert float(spread[0]) > 0
    assert float(spread[3]) > float(spread[0])
    own = start.isel(time=0).expand_dims(member=[5, 6]).copy(deep=True)
    own["t"][1] += 1
    pair = forecast(emulator, own.expand_dims("time"), 1)
    assert pair.member.values.tolist() == [5, 6]
    assert float((pair.t[0, 0, 1] - pair.t[0, 0, 0]).mean()) == pytest.approx(1, abs=1e-3)


def test_a_stopped_forecast_goes_on_where_it_was(emulator, world, tmp_path, monkeypatch):
    from skyweave.emulate import rollout as module

    monkeypatch.setattr(module, "UNIT_BYTES", 3 * 4 * 2 * 2 * 12 * 24)  # three lead times of two members
    start = world.isel(time=[4, 9])
    how = {"members": 2, "perturb": 1.0}
    noisy = emulator.stochastic(seed=3)
    whole = forecast(noisy, start, 7, out=tmp_path / "whole.zarr", **how).load()
    xr.testing.assert_allclose(whole.drop_attrs(), forecast(noisy, start, 7, **how).drop_attrs())
    done, mark = [], Regions.mark

    def stop_after_two(self, unit, note=None):
        mark(self, unit, note)
        done.append(unit)
        if len(done) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Regions, "mark", stop_after_two)
        with pytest.raises(KeyboardInterrupt):
            forecast(noisy, start, 7, out=tmp_path / "again.zarr", **how)
    with pytest.raises(SkyweaveError, match="other settings"):
        forecast(emulator.stochastic(seed=4), start, 7, out=tmp_path / "again.zarr", **how)
    again = forecast(noisy, start, 7, out=tmp_path / "again.zarr", **how).load()
    xr.testing.assert_equal(again, whole)


def test_what_was_written_can_be_looked_up_as_a_forecast(emulator, world, tmp_path):
    made = forecast(emulator, world.isel(time=[4]), 3, out=tmp_path / "f.nc")
    back = open_forecast(tmp_path / "f.nc", SPEC)
    state = to_tensor(world.isel(time=[4]), SPEC)
    after = back.step(state, world.time.values[4])
    np.testing.assert_allclose(after[0, 0], made.t.values[0, 1, 0], rtol=1e-6)


def test_alike_members_wrong_fields_and_runaways_are_refused(emulator, world):
    start = world.isel(time=[4])
    with pytest.raises(SkyweaveError, match="all be alike"):
        forecast(emulator, start, 2, members=3)
    with pytest.raises(SkyweaveError, match="no variable 'q'"):
        forecast(emulator, start.drop_vars("q"), 2)
    with pytest.raises(SkyweaveError, match="grid"):
        forecast(emulator, start.isel(lat=slice(1, None)), 2)
    with pytest.raises(SkyweaveError, match="this forecaster is none"):
        forecast(Persistence(SPEC, global_grid(), SIX), start, 2, members=2, perturb=1.0)
    growing = FunctionForecaster(lambda x, t: x * 1e20, SPEC, global_grid(), SIX)
    with pytest.raises(SkyweaveError, match=r"ran away.*after 2 steps"):
        list(forecast_states(growing, to_tensor(start, SPEC), None, 3))


# ---- scores


def test_scores_are_what_they_are_called(world):
    grid = global_grid()
    climate = fit_forecaster("climatology", drifting(200, seed=3), SPEC)
    ahead = world.roll(time=-1)

    def oracle(x, time):
        # The truth with a known error: 2 K everywhere.
        k = int((time - world.time.values[0]) / np.timedelta64(6, "h"))
        return to_tensor(ahead.isel(time=[k]), SPEC) + torch.tensor([2.0, 0.0])[:, None, None]

    model = FunctionForecaster(oracle, SPEC, grid, SIX)
    scores = score_forecasts(model, world, steps=3, starts=8, climatology=climate)
    np.testing.assert_allclose(scores.rmse.sel(model="forecast", variable="t"), 2, rtol=1e-4)
    np.testing.assert_allclose(scores.rmse.sel(model="forecast", variable="q"), 0, atol=1e-5)
    np.testing.assert_allclose(scores.acc.sel(model="forecast", variable="q"), 1, atol=1e-6)
    assert list(scores.model.values) == ["forecast", "persistence", "climatology"]
    # Persistence by hand.
    places = hindcast_starts(world.time.values, 3, 8, SIX)
    change = world.t.values[places + 2] - world.t.values[places]
    by_hand = np.sqrt((change**2 * grid.area / grid.area.sum()).sum((1, 2)).mean())
    assert float(scores.rmse.sel(model="persistence", variable="t")[1]) == pytest.approx(by_hand, rel=1e-5)
    with pytest.raises(SkyweaveError, match="climatology of the training data"):
        score_forecasts(model, world, steps=3)


def test_starts_are_followed_by_all_their_steps():
    times = np.datetime64("2001-01-01", "ns") + np.arange(20) * np.timedelta64(6, "h")
    gappy = np.delete(times, 9)
    places = hindcast_starts(gappy, 4, 100, SIX)
    assert places.tolist() == [*range(5), *range(9, 15)]
    assert len(hindcast_starts(times, 4, 3, SIX)) == 3
    with pytest.raises(SkyweaveError, match="no 11 times in a row"):
        hindcast_starts(gappy, 10, 3, SIX)
    with pytest.raises(SkyweaveError, match="steps by 24 h, the data by 6 h"):
        hindcast_starts(times, 4, 3, 86400.0)


# ---- errors as sources


def correlated(count: int, length: float, kind: str, seed: int) -> np.ndarray:
    """Fields of unit variance whose correlation is known, ``(count, H, W)``."""
    lat, lon = (part.ravel() for part in GRID.mesh())
    position = unit_vectors(lat, lon)
    chord = 6371 * np.linalg.norm(position[:, None] - position[None], axis=-1)
    factor = np.linalg.cholesky(correlation(chord, length, kind) + 1e-6 * np.eye(len(lat)))
    noise = np.random.default_rng(seed).standard_normal((count, len(lat)))
    return (noise @ factor.T).reshape(count, *GRID.shape)


@pytest.mark.parametrize(("kind", "length"), [("exponential", 700.0), ("gaspari-cohn", 900.0)])
def test_the_reach_of_errors_is_recovered(kind, length):
    found, shape = error_reach(correlated(150, length, kind, 0) * 3.0, GRID)
    assert shape == kind
    assert found == pytest.approx(length, rel=0.15)


def test_hindcasts_recover_the_error_that_forecasts_were_given():
    # Forecasts of an autoregressive world whose errors add up: variance 4 k, bias k / 10, at k steps.
    spec = StateSpec((Variable("t", "K"),))
    fields = correlated(241, 600.0, "gaspari-cohn", 1)
    truth = np.zeros((241, *GRID.shape))
    for k in range(1, len(truth)):
        truth[k] = 0.9 * truth[k - 1] + fields[k]
    time = np.datetime64("2001-01-01", "ns") + np.arange(len(truth)) * np.timedelta64(6, "h")
    data = xr.Dataset(
        {"t": (("time", "lat", "lon"), truth, {"units": "K"})},
        {"time": time, "lat": GRID.lat, "lon": GRID.lon},
    )
    noise = iter(correlated(400, 800.0, "gaspari-cohn", 2))

    def step(x, when):
        k = int((when - time[0]) / np.timedelta64(6, "h"))
        error = x[0, 0].double().numpy() - truth[k]
        return torch.from_numpy(truth[k + 1] + error + 0.1 + 2 * next(noise))[None, None]

    found = hindcast_errors(FunctionForecaster(step, spec, GRID, SIX), data, steps=4, starts=60)
    np.testing.assert_allclose([d[0] for d in found.deviation], 2 * np.sqrt([1, 2, 3, 4]), rtol=0.1)
    np.testing.assert_allclose([b[0] for b in found.bias], 0.1 * np.arange(1, 5), atol=0.25)
    np.testing.assert_allclose([x[0] for x in found.length_km], 800, rtol=0.2)
    assert found.starts == 60

    # Through JSON, to an error model that an observation takes.
    back = Hindcast.from_dict(json.loads(json.dumps(found.to_dict())))
    assert back == found
    error = back.error("t", np.timedelta64(9, "h"))
    assert error.absolute == pytest.approx((found.deviation[0][0] + found.deviation[1][0]) / 2)
    assert error.correlation_length_km == pytest.approx(800, rel=0.2)
    assert error.correlation == "gaspari-cohn"
    assert back.error("t", 1.5 * 3600).absolute == pytest.approx(found.deviation[0][0] / 2)
    assert back.error("t", 1e9).absolute == found.deviation[-1][0]
    assert back.mean_error("t", SIX) == found.bias[0][0]
    assert GridObservation(data.t.isel(time=0), error=error).model.correlation_length_km is not None
    with pytest.raises(SkyweaveError, match="no variable 'q'"):
        back.error("q", SIX)
    with pytest.raises(SkyweaveError, match="above zero"):
        back.error("t", 0)


# ---- the command line


def test_train_forecast_and_score_from_the_command_line(folder, tmp_path, capsys):
    config = settings(folder / "world.nc", tmp_path / "run", steps=4, residuals=3)
    text = json.dumps(config.model_dump(mode="json", by_alias=True))  # JSON is YAML
    (tmp_path / "run.yaml").write_text(text)
    assert main(["emulate", "train", str(tmp_path / "run.yaml")]) == 0
    shown = capsys.readouterr().out
    assert "SFNO" in shown
    assert "error" in shown
    file = str(tmp_path / "run/emulator.safetensors")
    assert main(["info", file]) == 0
    assert "emulator of t (K), q (g kg-1)" in capsys.readouterr().out
    write(drifting(30, seed=8), tmp_path / "new.nc")
    words = ["emulate", "forecast", file, "--initial", str(tmp_path / "new.nc"), "--steps", "3"]
    words += ["--members", "2", "--perturb", "1", "--out", str(tmp_path / "f.zarr")]
    assert main(words) == 0
    with xr.open_zarr(tmp_path / "f.zarr") as made:
        assert dict(made.sizes) == {"init_time": 1, "lead_time": 4, "member": 2, "lat": 12, "lon": 24}
        assert made.init_time.values[0] == np.datetime64("2001-01-08T06", "ns")
    assert main(words) == 2  # it exists
    capsys.readouterr()
    words = ["emulate", "score", file, "--data", str(tmp_path / "new.nc"), "--steps", "4", "--starts", "5"]
    assert main([*words, "--out", str(tmp_path / "scores.nc")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("5 forecasts from 2001-01-01")
    assert sum("RMSE" in line for line in lines) == 6
    assert sum("ACC" in line for line in lines) == 4
    assert set(xr.open_dataset(tmp_path / "scores.nc").data_vars) == {"rmse", "acc"}
    assert main(["emulate", "score", file, "--data", str(tmp_path / "absent.nc")]) == 2
