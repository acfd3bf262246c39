"""Training on windows and on gaps: what is cut out of the record, what is refused, the road to a prior in use."""

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

import skyweave
from prior_cases import SMALLEST
from skyweave.config import parse_config
from skyweave.errors import SkyweaveError
from skyweave.grid import Grid
from skyweave.posterior.calibration import calibrate
from skyweave.prior.conditioning import Conditioning
from skyweave.prior.config import TrainConfig
from skyweave.prior.data import PatchSampler, Record, regular, time_step
from skyweave.prior.prepare import prepare
from skyweave.prior.train import train
from skyweave.state import StateSpec, Variable


def field(times, gaps=0.0, seed=0):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(len(times), 16, 20)).cumsum(0) / 4
    values[rng.random(values.shape) < gaps] = np.nan
    lat = ("lat", np.arange(16.0), {"units": "degrees_north"})
    lon = ("lon", np.arange(20.0), {"units": "degrees_east"})
    array = xr.DataArray(
        values.astype(np.float32), {"time": times, "lat": lat, "lon": lon}, ("time", "lat", "lon"), name="a"
    )
    return array.assign_attrs(units="K")


def hours(n):
    return pd.date_range("2020-01-01", periods=n, freq="1h")


def sampler(array, window, **options):
    dataset = array.to_dataset()
    grid = Grid.from_dataset(dataset)
    record = Record(dataset, StateSpec((Variable("a", "K"),), window=window), grid)
    return PatchSampler(record, Conditioning().bind(grid), (16, 20), 40, window=window, **options)


def test_windows_are_consecutive_frames_of_the_record():
    array = field(hours(12))
    batch = sampler(array, 5).batch(0)
    assert batch.fields.shape == (40, 5, 1, 16, 20)
    values = torch.from_numpy(array.values)
    firsts = {next(t for t in range(8) if torch.equal(w[:, 0], values[t : t + 5])) for w in batch.fields}
    assert firsts == set(range(8))


def test_windows_do_not_cross_a_break_in_time():
    times = hours(20).delete([9])
    array = field(times)
    values = torch.from_numpy(array.values)
    starts = {
        next(t for t in range(15) if torch.equal(w[:, 0], values[t : t + 5]))
        for step in range(4)
        for w in sampler(array, 5).batch(step).fields
    }
    # Hour 9 is missing: positions 5 to 8 would begin a window that jumps over it.
    assert starts == {*range(5), *range(9, 15)}


def test_a_window_longer_than_any_stretch_is_refused():
    with pytest.raises(SkyweaveError, match="a window of 7 frames is longer than any stretch"):
        sampler(field(hours(6)), 7)
    with pytest.raises(SkyweaveError, match="a window of 5 frames is longer than any stretch"):
        sampler(field(hours(20)[[0, 1, 2, 5, 6, 7, 11, 12]]), 5)


def test_the_time_step_is_the_commonest():
    times = hours(10).delete([4]).to_numpy()
    assert time_step(times) == 3600
    np.testing.assert_array_equal(np.flatnonzero(~regular(times)), [3])


def test_patches_of_which_little_is_there_are_drawn_again():
    array = field(hours(12))
    array[:, :, :] = np.where(np.arange(12)[:, None, None] < 6, np.nan, array)
    plain = sampler(array, 1).batch(0).fields.isfinite().flatten(1).any(1).float().mean()
    chosen = sampler(array, 1, min_observed=0.5).batch(0).fields.isfinite().flatten(1).any(1).float().mean()
    assert 0.2 < float(plain) < 0.8
    assert float(chosen) == 1


def config(path, out, **changes):
    values = {
        "data": {"paths": str(path), "variables": "a"},
        "split": {"train": ["2020-01-01", "2020-01-03"], "validate": ["2020-01-04", "2020-01-04"]},
        "network": SMALLEST,
        "patch": 16,
        "window": 3,
        "corruption": {},
        "batch": 4,
        "steps": 6,
        "checkpoint_every": 3,
        "validate_every": 3,
        "validation_patches": 4,
        "validation_sigmas": [0.2, 2.0],
        "autocast": False,
        "device": "cpu",
        "out": str(out),
    }
    return parse_config(values | changes, TrainConfig)


def test_a_record_with_gaps_can_be_filled_by_the_prior_learnt_from_it(tmp_path):
    array = field(hours(96), gaps=0.3)
    array.to_netcdf(tmp_path / "a.nc")
    settings = config(tmp_path / "a.nc", tmp_path / "run")
    prior = calibrate(train(settings), prepare(settings, 4).validation, batches=2, cases=1, members=3)
    assert prior.network.masked
    assert (prior.spec.window, prior.spec.time_step) == (3, 3600.0)
    gappy = array[80:90]
    out = skyweave.reconstruct(
        prior, skyweave.GridObservation(gappy, error=0.05, operator="mask"), members=3, progress=False
    )
    assert bool(out.a.notnull().all())
    seen = gappy.notnull().values
    assert float(np.abs(out.a_mean.values - gappy.values)[seen].mean()) < 0.1
    # What was filled is less certain than what was seen.
    assert float(out.a_spread.values[~seen].mean()) > 2 * float(out.a_spread.values[seen].mean())


def test_a_killed_run_on_windows_continues_as_if_it_had_not_been(tmp_path, monkeypatch):
    field(hours(96), gaps=0.3).to_netcdf(tmp_path / "a.nc")
    whole = train(config(tmp_path / "a.nc", tmp_path / "whole"))
    import skyweave.prior.train as module

    step = module._Run._step

    def dies(self):
        if self.progress.step == 4:
            raise KeyboardInterrupt
        return step(self)

    monkeypatch.setattr(module._Run, "_step", dies)
    with pytest.raises(KeyboardInterrupt):
        train(config(tmp_path / "a.nc", tmp_path / "part"))
    monkeypatch.setattr(module._Run, "_step", step)
    resumed = train(config(tmp_path / "a.nc", tmp_path / "part"))
    assert resumed.fingerprint() == whole.fingerprint()


def test_a_run_can_begin_with_the_weights_of_another(tmp_path):
    field(hours(96), gaps=0.3).to_netcdf(tmp_path / "a.nc")
    first = train(config(tmp_path / "a.nc", tmp_path / "one"))
    still = {"optimiser": {"lr": 1e-12, "final_lr": 0.0, "warmup": 0}, "steps": 1, "ema_half_life": 1e-6}
    path = tmp_path / "one" / "prior.safetensors"
    second = train(config(tmp_path / "a.nc", tmp_path / "two", start_from=str(path), seed=5, **still))
    x, sigma = torch.randn(1, 3, 1, 16, 20), torch.tensor([0.5])
    torch.testing.assert_close(second.network(x, sigma), first.network(x, sigma), rtol=1e-4, atol=1e-5)
    with pytest.raises(SkyweaveError, match="its network is not the one configured here"):
        train(config(tmp_path / "a.nc", tmp_path / "three", start_from=str(path), corruption=None))


def test_an_even_window_is_refused():
    with pytest.raises(SkyweaveError, match="window 4: an odd number of frames"):
        config("a.nc", "out", window=4)
