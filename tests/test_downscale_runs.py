"""From files to a long fine record: fitting, predicting, rolling out; each resumed as if never interrupted."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr

import downscale_files as case
from skyweave.config import parse_config
from skyweave.downscale.config import DownscaleConfig
from skyweave.downscale.prediction import area_models
from skyweave.downscale.prediction.area_models import AreaModels
from skyweave.downscale.prediction.extension import area_days, predict, predict_days, rollout, rollout_area
from skyweave.downscale.settings import merge
from skyweave.downscale.storage import open_downscaler, open_encoder
from skyweave.downscale.training import epochs as train_module
from skyweave.downscale.training import fitting, pretraining
from skyweave.downscale.training.fitting import fit, model_path
from skyweave.errors import SkyweaveError
from skyweave.evaluate.downscaling import evaluate
from skyweave.evaluate.rollouts import evaluate_rollout
from skyweave.io.lock import Lock

QUIET = {"tell": lambda text: None}


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("downscale")
    config = case.config(folder)
    return config, fit(config, models=["ddpm", "unet"], **QUIET)


def weights(path):
    return open_downscaler(path).model.state_dict()


def same(a, b):
    return all(torch.equal(a[k], b[k]) for k in a)


def test_fitting_leaves_models_that_share_a_frozen_encoder(fitted):
    config, done = fitted
    assert [(f.model, f.status) for f in done] == [("ddpm", "trained"), ("unet", "trained")]
    encoder, facts = open_encoder(config.out / "all-all" / "encoder-unet.safetensors")
    assert set(facts["scores"]) == {"mae", "r2", "mae_persistence", "r2_persistence", "days"}
    for f in done:
        trained = open_downscaler(f.path)
        for key, value in encoder.state_dict().items():
            assert torch.equal(value, trained.model.state_dict()[f"encoder.{key}"])
        json.dumps(trained.metadata)
    assert not list(config.out.rglob("*checkpoint*"))


def test_one_process_at_a_time_trains_into_a_folder(fitted):
    config, _ = fitted
    lock = Lock(config.out / "lock", config.out)
    lock.acquire()
    try:
        with pytest.raises(
            SkyweaveError, match=rf"is being written by process {os.getpid()} on .*; wait for it"
        ):
            fit(config, **QUIET)
    finally:
        lock.release()
    assert fit(config, **QUIET)[0].status == "finished before"
    assert not (config.out / "lock").exists()


def test_predicting_loads_no_trainer():
    """In an interpreter of its own, for here it is loaded."""
    script = (
        "import sys, skyweave.downscale.prediction.extension; "
        "print([name for name in sys.modules if name.startswith('skyweave.downscale.training')])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_days_of_scores_are_those_that_the_model_was_not_trained_on(fitted):
    config, _ = fitted
    split = config.split.model_copy(update={"fractions": (0.5, 0.25, 0.25)})
    changed = config.model_copy(update={"split": split})
    models = AreaModels(changed, "all")
    for days in ("test", "validation"):
        np.testing.assert_array_equal(area_days(models, days), area_days(AreaModels(config, "all"), days))
    with pytest.raises(
        SkyweaveError, match=r"ddpm\.safetensors: its training days are not those of the config"
    ):
        evaluate(changed)
    with pytest.raises(SkyweaveError, match=r"its training days .*train anew"):
        evaluate_rollout(changed)
    # Older files tell the first and the last training day alone.
    del models.trained["all"].metadata["split"]
    with pytest.raises(
        SkyweaveError, match=r"2005-06-03T00:00 to 2005-07-2.*, now 2005-06-03T00:00 to 2005-07-0"
    ):
        area_days(models, "test")
    models.config = config
    assert len(area_days(models, "test")) == 7


def test_what_is_finished_is_skipped(fitted, monkeypatch):
    config, _ = fitted
    monkeypatch.setattr(fitting, "train_network", None)
    monkeypatch.setattr(pretraining, "train_network", None)
    again = fit(config, models=["ddpm", "unet"], **QUIET)
    assert [f.status for f in again] == ["finished before"] * 2
    longer = config.model_copy(update={"options": with_training(config.options, max_minutes=99.0)})
    assert fit(longer, **QUIET)[0].status == "finished before", "more time is not another model"


def with_training(section, **changes):
    return section.model_copy(update={"training": section.training.model_copy(update=changes)})


def test_other_settings_are_refused_and_overwritten_when_asked(tmp_path):
    config = case.config(tmp_path)
    fit(config, models=["unet"], **QUIET)
    before = weights(model_path(config, "all", "all", "unet"))
    other = config.model_copy(update={"options": with_training(config.options, lr=1e-4)})
    with pytest.raises(SkyweaveError, match=r"settings or data \(options\.training\.lr .*, now 0\.0001\)"):
        fit(other, models=["unet"], **QUIET)
    assert fit(other, models=["unet"], overwrite=True, **QUIET)[0].status == "trained"
    assert not same(before, weights(model_path(config, "all", "all", "unet")))


def test_a_killed_fit_continues_to_the_same_weights(fitted, tmp_path, monkeypatch):
    whole, _ = fitted
    config = case.config(tmp_path)
    original, calls = train_module._Run._step, []

    def dies(self):
        calls.append(1)
        if len(calls) in (9, 27):  # in the second epoch of the encoder, and of the downscaler
            raise KeyboardInterrupt
        return original(self)

    monkeypatch.setattr(train_module._Run, "_step", dies)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            fit(config, **QUIET)
        assert list(config.out.rglob("*checkpoint*"))
    fit(config, **QUIET)
    ours, theirs = (weights(model_path(c, "all", "all")) for c in (config, whole))
    assert same(ours, theirs)


def two_areas(folder):
    return case.config(
        folder,
        areas={"north": {"lat": [24, 40]}, "south": {"lat": [0, 25.2]}},
        seasons=["JJA", "DJF"],
        model="unet",
        patch=4,
        stride=4,
    )


def test_a_season_without_days_does_not_stop_the_rest(tmp_path):
    config = two_areas(tmp_path)
    done = fit(config, **QUIET)
    assert [(f.area, f.season, f.status) for f in done] == [
        ("north", "JJA", "trained"),
        ("north", "DJF", "skipped"),
        ("south", "JJA", "trained"),
        ("south", "DJF", "skipped"),
    ]
    assert "DJF: 0 days can be targets" in done[1].reason
    with pytest.raises(SkyweaveError, match="nothing was trained"):
        fit(config.model_copy(update={"seasons": ("DJF",)}), **QUIET)


@pytest.mark.slow
def test_jobs_give_the_same_models(tmp_path, capfd):
    config = two_areas(tmp_path)
    done = fit(config, jobs=2)
    assert [f.status for f in done] == ["trained", "skipped", "trained", "skipped"]
    alone = config.model_copy(update={"out": tmp_path / "alone"})
    fit(alone, **QUIET)
    for area in ("north", "south"):
        assert same(*(weights(model_path(c, area, "JJA")) for c in (config, alone)))


def test_predictions_have_the_callers_coordinates_and_do_not_depend_on_their_company(fitted):
    config, _ = fitted
    path = predict(config, progress=False)["all"]
    ds = xr.open_zarr(path)
    fine = xr.open_dataset(config.fine.paths[0])
    assert ds.dust.dims == ("member", "time", "lat", "lon")
    for axis in ("lat", "lon"):
        np.testing.assert_array_equal(ds[axis], fine[axis])
    assert set(ds.time.values) <= set(fine.time.values)
    assert ds.dust.attrs["units"] == "1"
    assert (ds.dust > 0).all()
    np.testing.assert_allclose(ds.dust_mean, ds.dust.mean("member"), rtol=1e-5)
    np.testing.assert_allclose(ds.dust_spread, ds.dust.std("member", ddof=1), rtol=1e-4)
    models = AreaModels(config, "all")
    days = area_days(models, "test")
    assert len(days) == ds.sizes["time"] == 7
    few = replace(config.inference, members=1, batch=3)
    alone = predict_days(models, days[3:4], few, progress=False)
    np.testing.assert_allclose(alone.dust[0, 0], ds.dust[0, 3], rtol=1e-4)
    with pytest.raises(SkyweaveError, match="exists already"):
        predict(config, progress=False)
    period = predict(config, days=("2005-07-01", "2005-07-03"), progress=False, settings=few, model="unet")[
        "all"
    ]
    assert xr.open_zarr(period).sizes["time"] == 3


def test_a_rollout_begins_with_the_true_days_and_goes_on_with_its_own(fitted):
    config, _ = fitted
    models = AreaModels(config, "all")
    how = config.inference
    out = rollout_area(models, how, end="2005-08-20", progress=False)
    assert str(out.time.values[0])[:10] == "2005-08-10", "the day after the last fine day"
    first = case.OVERLAP
    # By hand: the last true days, then the members' own.
    true = models.record.fine.read(np.array([first - 2, first - 1]))
    lags = np.stack([true, true])
    for place in range(3):
        day = models.day(first + place, range(2), how, lags=lags)
        np.testing.assert_array_equal(day[:, 0], out.dust.values[:, place])
        lags = np.concatenate([lags[:, 1:], day[:, None]], axis=1)
    # With true lags a day of a rollout is a prediction.
    inside = rollout_area(models, how, start="2005-08-01", end="2005-08-01", progress=False)
    again = predict_days(models, models.record.index("2005-08-01"), how, progress=False)
    np.testing.assert_allclose(inside.dust, again.dust, rtol=1e-5)


@pytest.mark.parametrize("block", [2, 16])
def test_a_killed_rollout_continues_bit_for_bit(fitted, tmp_path, monkeypatch, block):
    config, _ = fitted
    models = AreaModels(config, "all")
    how = {"progress": False, "block": block, "end": "2005-08-19"}
    whole = rollout_area(models, config.inference, path=tmp_path / "whole.zarr", **how)
    original, calls = area_models.AreaModels.day, []

    def dies(self, *args, **given):
        calls.append(1)
        if len(calls) in (3, 7, 10):  # of ten days
            raise KeyboardInterrupt
        return original(self, *args, **given)

    monkeypatch.setattr(area_models.AreaModels, "day", dies)
    path = tmp_path / "killed.zarr"
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            rollout_area(models, config.inference, path=path, **how)
    other = replace(config.inference, seed=1)
    if block == 2:
        with pytest.raises(SkyweaveError, match=r"other settings or data \(inference\.seed 0, now 1\)"):
            rollout_area(models, other, path=path, **how)
    killed = rollout_area(models, config.inference, path=path, **how)
    for name in whole.data_vars:
        np.testing.assert_array_equal(whole[name].values, killed[name].values)
    held = rollout_area(models, config.inference, **how)
    np.testing.assert_array_equal(whole.dust.values, held.dust.values)


def test_a_deterministic_model_has_one_member(fitted):
    config, _ = fitted
    models = AreaModels(config, "all", "unet")
    out = rollout_area(models, config.inference, end="2005-08-12", progress=False)
    assert out.sizes["member"] == 1
    assert "dust_spread" not in out


def test_the_seasons_model_is_taken_for_each_day(tmp_path):
    config = case.config(tmp_path, seasons=["JJA", "SON"], model="unet", split={"least_days": 4})
    # Days of June to August train; there are none of autumn in the overlap.
    done = fit(config, **QUIET)
    assert [f.status for f in done] == ["trained", "skipped"]
    coarse, _, _ = case.records(days=110)
    coarse.to_netcdf(tmp_path / "longer.nc")
    longer = config.coarse.model_copy(update={"paths": [str(tmp_path / "longer.nc")]})
    config = config.model_copy(update={"coarse": longer})
    with pytest.raises(SkyweaveError, match=r"no model for 18 of 40 days, the first on 2005-09-01 \(SON\)"):
        rollout(config, progress=False)
    out = rollout(config, end="2005-08-31", progress=False)["all"]
    assert xr.open_zarr(out).sizes["time"] == 22


def test_refusals(fitted, tmp_path):
    config, _ = fitted
    nothing = config.model_copy(update={"out": tmp_path / "elsewhere"})
    with pytest.raises(SkyweaveError, match="skyweave downscale fit"):
        predict(nothing)
    with pytest.raises(SkyweaveError, match="did you mean"):
        fit(config, models=["dppm"])
    with pytest.raises(SkyweaveError, match="beyond the fine record use rollout"):
        predict(config, days=("2005-08-20", "2005-08-25"))
    with pytest.raises(SkyweaveError, match="'test', 'validation'"):
        predict(config, days="tset")
    with pytest.raises(
        SkyweaveError, match=r"complete days are from 2005-06-01 to 2005-08-09; leave start out"
    ):
        rollout(config, start="2005-08-20")
    with pytest.raises(
        SkyweaveError, match=r"begins on 2005-08-10.*give a later end.*has 2005-06-01 to 2005-08-29"
    ):
        rollout(config, end="2005-08-01")
    with pytest.raises(SkyweaveError, match=r"end 2006: the coarse record.*has 2005-06-01 to 2005-08-29"):
        rollout(config, end="2006")
    with pytest.raises(SkyweaveError, match=r"end 2005-08-30: the coarse record"):
        rollout(config, end="2005-08-30")
    for wrong in ({"end": "2005-02-30"}, {"end": "9999"}, {"start": "0000"}):
        with pytest.raises(SkyweaveError):
            rollout(config, **wrong)
    with pytest.raises(SkyweaveError, match="cannot read '2005-02-30' to '2005-08-01'"):
        predict(config, days=("2005-02-30", "2005-08-01"))
    for wrong in ({"end": "August"}, {"start": "1.8.2005"}):
        with pytest.raises(SkyweaveError, match="is not a date; write 2015"):
            rollout(config, **wrong)
    (tmp_path / "file").touch()
    with pytest.raises(SkyweaveError, match="file: cannot be made a folder"):
        predict(config, out=tmp_path / "file")
    with pytest.raises(SkyweaveError, match="cannot be made a folder"):
        fit(config.model_copy(update={"out": tmp_path / "file" / "x"}), **QUIET)
    with pytest.raises(SkyweaveError, match="members"):
        predict(config, settings=replace(config.inference, members=0))
    coarse, fine, _ = case.records()
    whole = case.settings(config.out.parent)
    coarse.dust[80] = np.nan
    coarse.to_netcdf(tmp_path / "gaps.nc")
    with pytest.raises(SkyweaveError, match="gaps on 2005-08-20"):
        rollout(parse_config(merge(whole, {"coarse": {"paths": str(tmp_path / "gaps.nc")}}), DownscaleConfig))
    fine.isel(lat=slice(0, 10)).to_netcdf(tmp_path / "less.nc")
    with pytest.raises(SkyweaveError, match="trained on"):
        rollout(parse_config(merge(whole, {"fine": {"paths": str(tmp_path / "less.nc")}}), DownscaleConfig))
