"""Settings are written once: each is a keyword, a key and a flag, and counts in a resume unless marked as free."""

from __future__ import annotations

import inspect
import json
from dataclasses import fields

import numpy as np
import pytest
import xarray as xr
import zarr

from scene_cases import place, seen_at, white_prior
from skyweave.cli.cycle_settings import CycleConfig
from skyweave.cli.downscale import InferenceFlags
from skyweave.cli.flags import Flags, SampleFlags
from skyweave.cli.fuse_settings import FuseConfig
from skyweave.cli.settings import ReconstructConfig
from skyweave.cycle import CycleSettings, assimilate, fuse
from skyweave.downscale.inference import InferenceSection
from skyweave.errors import SkyweaveError
from skyweave.evaluate.tuning import tune
from skyweave.io.store import partial_store
from skyweave.keywords import declared, made_with, settings_of
from skyweave.observe.observation import GridObservation
from skyweave.posterior.sample import Method
from skyweave.reconstruction.diagnose import diagnose_sources
from skyweave.reconstruction.reconstruct import plan, reconstruct, sample, scene
from skyweave.reconstruction.run import Reconstruction
from skyweave.reconstruction.settings import FieldOfFile, FusionSettings, PriorSettings, Settings

LEFT = np.arange(18) < 9
CHANGES = {
    "members": 5,
    "seed": 1,
    "sampler": "heun",
    "steps": 8,
    "options": {"rho": 7.0},
    "batch": 3,
    "autocast": True,
    "device": "auto",
    "cluster": "local:2",
    "method": "mmps",
    "tile": (8, 8),
    "stride": 2,
    "domain_mask": np.broadcast_to(LEFT, (16, 18)),
    "quantiles": (0.5,),
    "recalibrate": True,
    "weights": "innovations",
    "anchor": ["a"],
    "innovations": {"times": 3},
    "on_conflict": "widen",
    "information": "stated",
    "reach": 0.3,
    "local": False,
    "extrapolate": True,
    "inflation": 1.2,
    "adaptive": False,
    "update": "afresh",
    "localisation_km": 500.0,
    "refine_from": 0.5,
    "refine_steps": 8,
}
FREE = {"batch", "device", "cluster"}
ROADS = (Settings, FusionSettings, PriorSettings, CycleSettings)


@pytest.mark.parametrize("kind", ROADS)
def test_every_setting_counts_in_a_resume_unless_it_is_free(kind):
    assert set(declared(kind)) <= set(CHANGES)
    whole = (lambda s: s.whole().settled()) if kind in (FusionSettings, PriorSettings) else kind.settled
    base = made_with(whole(kind()))
    for name, own in declared(kind).items():
        assert own.free == (name in FREE), name
        value = "refuse" if (kind, name) == (FusionSettings, "on_conflict") else CHANGES[name]
        changed = made_with(whole(kind(**{name: value})))
        assert (changed == base) == own.free, name
        json.dumps(changed, allow_nan=False)


@pytest.mark.parametrize(
    ("kind", "section", "functions"),
    [
        (Settings, ReconstructConfig, (reconstruct, plan, scene, diagnose_sources, tune)),
        (FusionSettings, FuseConfig, (fuse,)),
        (CycleSettings, CycleConfig, (assimilate,)),
        (PriorSettings, None, (sample,)),
    ],
)
def test_every_setting_is_a_keyword_and_a_key_with_one_help(kind, section, functions):
    for name, own in declared(kind).items():
        assert own.help, name
        for function in functions:
            assert name in inspect.signature(function).parameters
            assert own.help in function.__doc__
        if section is not None:
            assert declared(section)[name].help == own.help


@pytest.mark.parametrize(
    ("kind", "flags"), [(Settings, Flags), (PriorSettings, SampleFlags), (InferenceSection, InferenceFlags)]
)
def test_every_setting_is_a_flag_or_says_why_not(kind, flags):
    known = {own.name for own in fields(flags)}
    for name, own in declared(kind).items():
        assert (name in known) != bool(own.flag.absent), name


@pytest.fixture
def case():
    like = place(times=1)
    return white_prior(), GridObservation(seen_at(like), error=0.5), like


def killed_after(monkeypatch, count: int) -> None:
    work, calls = Reconstruction.work, []

    def dies(self, unit, step):
        calls.append(unit)
        if len(calls) > count:
            raise KeyboardInterrupt
        return work(self, unit, step)

    monkeypatch.setattr(Reconstruction, "work", dies)


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ({"autocast": False}, {"autocast": True}, "autocast False, now True"),
        # As many cells, and the same observations within both.
        (
            {"domain_mask": np.broadcast_to(LEFT, (16, 18))},
            {"domain_mask": np.broadcast_to(np.roll(LEFT, 1), (16, 18))},
            "domain_mask 16 x 18",
        ),
        ({"on_conflict": "warn"}, {"on_conflict": "refuse"}, "on_conflict warn, now refuse"),
    ],
)
def test_a_run_of_other_settings_is_not_resumed(case, tmp_path, monkeypatch, before, after, told):
    prior, _, like = case
    seen = seen_at(like)
    observed = GridObservation(seen.where(xr.DataArray(np.arange(18) == 4, dims="lon")), error=0.5)
    call = {"like": like, "members": 4, "batch": 2, "steps": 4, "progress": False, "out": tmp_path / "a.zarr"}
    killed_after(monkeypatch, 1)
    with pytest.raises(KeyboardInterrupt):
        reconstruct(prior, observed, **call, **before)
    with pytest.raises(SkyweaveError, match=f"made with other settings or data .*{told}"):
        reconstruct(prior, observed, **call, **after)


@pytest.mark.parametrize("batch", [1, 3, None])
def test_a_run_is_resumed_with_another_batch(case, tmp_path, monkeypatch, batch):
    prior, observed, like = case
    call = {"like": like, "members": 4, "steps": 4, "progress": False}
    with monkeypatch.context() as patch:
        killed_after(patch, 1)
        with pytest.raises(KeyboardInterrupt):
            reconstruct(prior, observed, **call, batch=2, out=tmp_path / "a.zarr")
    resumed = reconstruct(prior, observed, **call, batch=batch, out=tmp_path / "a.zarr")
    whole = reconstruct(prior, observed, **call, batch=2)
    np.testing.assert_allclose(resumed.a, whole.a, rtol=1e-4, atol=1e-3)


def test_a_run_begun_before_every_setting_was_recorded_is_told_so(case, tmp_path, monkeypatch):
    prior, observed, like = case
    call = {"like": like, "members": 4, "batch": 2, "steps": 4, "progress": False, "out": tmp_path / "a.zarr"}
    with monkeypatch.context() as patch:
        killed_after(patch, 1)
        with pytest.raises(KeyboardInterrupt):
            reconstruct(prior, observed, **call)
    group = zarr.open_group(str(partial_store(tmp_path / "a.zarr")), mode="r+")
    old = json.loads(group.attrs["made_with"])
    group.attrs["made_with"] = json.dumps(
        {key: old[key] for key in old if key != "autocast"} | {"mask": None}
    )
    with pytest.raises(SkyweaveError, match="an earlier version of skyweave began it"):
        reconstruct(prior, observed, **call)
    reconstruct(prior, observed, **call, overwrite=True)


def test_a_unit_is_computed_in_batches_and_the_batch_has_no_say(case):
    prior, observed, like = case
    prior.metadata["calibration"] = {"spread_factor": 1.5}
    call = {"like": like, "members": 5, "steps": 4, "progress": False, "recalibrate": True}
    made = plan(prior, observed, like=like, members=5, recalibrate=True, batch=2)
    assert [list(part) for part in made.batches(made.units[0])] == [[0, 1], [2, 3], [4]]
    few, all_ = reconstruct(prior, observed, batch=2, **call), reconstruct(prior, observed, batch=5, **call)
    np.testing.assert_allclose(few.a, all_.a, rtol=1e-4, atol=1e-3)


def test_settings_are_an_object_or_keywords_or_both(case):
    prior, observed, like = case
    own = Settings(members=3, steps=4)
    made = reconstruct(prior, observed, like=like, settings=own, progress=False)
    assert made.sizes["member"] == 3
    plain = reconstruct(prior, observed, like=like, members=3, steps=4, progress=False)
    np.testing.assert_array_equal(made.a, plain.a)
    assert plan(prior, observed, like=like, settings=own, members=2).shape[0] == 2
    with pytest.raises(SkyweaveError, match="settings are Settings, not PriorSettings"):
        plan(prior, observed, like=like, settings=PriorSettings())


def test_a_mask_may_lie_in_a_file(case, tmp_path):
    prior, observed, like = case
    inside = np.broadcast_to(LEFT, (16, 18)).astype("i1")
    wanted = xr.DataArray(inside, dims=("lat", "lon"), coords=like.drop_vars("time").coords)
    wanted.rename("inside").to_netcdf(tmp_path / "mask.nc", engine="h5netcdf")
    call = {"like": like, "members": 2, "steps": 4, "progress": False}
    known = FieldOfFile(str(tmp_path / "mask.nc"), "inside")
    named = reconstruct(prior, observed, domain_mask=known, **call)
    given = reconstruct(prior, observed, domain_mask=wanted, **call)
    xr.testing.assert_equal(named.a, given.a)
    assert bool(named.a.isnull().any())


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"stride": 2}, "stride is for priors of windows"),
        ({"sampler": "daps", "method": "mmps"}, "takes the place of guidance"),
        ({"anchor": ["a"]}, "no source has a bias to be estimated"),
        ({"innovations": {"times": 3}}, "none are: give weights: innovations"),
        ({"innovations": {"tims": 3}}, "did you mean 'times'"),
        ({"domain_mask": {"path": "a.nc"}}, "domain_mask: variable: missing"),
        ({"membrs": 3}, r"reconstruct takes no 'membrs' \(did you mean 'members'\?\)"),
        ({"members": True}, "a whole number is needed"),
        ({"steps": 2}, "steps = 2: input should be greater than or equal to 4"),
        ({"method": Method(steps=8), "quantiles": (2,)}, "quantiles"),
    ],
)
def test_what_means_nothing_is_refused(case, settings, told):
    prior, observed, like = case
    with pytest.raises(SkyweaveError, match=told):
        reconstruct(prior, observed, like=like, progress=False, **settings)


def test_what_another_road_takes_is_refused(case):
    prior, _, like = case
    with pytest.raises(SkyweaveError, match="sample takes no 'weights'"):
        sample(prior, like, weights="innovations")
    with pytest.raises(SkyweaveError, match="there is no guidance"):
        sample(prior, like, sampler="dps")
    for kind, name in ((FusionSettings, "weights"), (FusionSettings, "stride"), (CycleSettings, "quantiles")):
        with pytest.raises(SkyweaveError, match=f"takes no '{name}'"):
            settings_of(kind, None, {name: 1}, "this")


@pytest.mark.parametrize("kind", [FusionSettings, CycleSettings])
def test_methods_that_take_errors_as_independent_are_refused_beside_a_forecast(kind):
    assert kind(method="mmps").drawn.guidance == "mmps"
    for method in ("sda", "dps", "multimodal"):
        with pytest.raises(SkyweaveError, match=f"method {method} takes errors as independent"):
            kind(method=method).settled()
