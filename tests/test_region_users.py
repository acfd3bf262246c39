"""The laws of resumable outputs, over everything that writes one."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import downscale_files as case
from skyweave import reconstruct, sample
from skyweave.cli import main
from skyweave.cycle import CycleSettings, assimilate, fuse
from skyweave.downscale.prediction.area_models import AreaModels
from skyweave.downscale.prediction.extension import area_days, predict_days, rollout_area
from skyweave.downscale.training.fitting import fit
from skyweave.emulate import fit_forecaster, forecast
from skyweave.errors import SkyweaveError
from skyweave.io import open_fields, write
from skyweave.io.formats import expand
from skyweave.io.inputs import check_unchanged, file_states
from skyweave.io.outputs import lock_of
from skyweave.io.regions import Regions
from skyweave.io.regridded import regrid_fields, regular_grid, write_in_blocks
from skyweave.observe.observation import GridObservation
from skyweave.posterior.sample import Method
from skyweave.prior.storage import save_prior
from test_assimilate import GRID, SPEC, TIMES, field, half, prior  # noqa: F401  (the fixture is used by name)
from test_fuse import FORECAST, PAST, west

LIKE = field().to_dataset()
FEW = LIKE.isel(time=slice(0, 3))


@dataclass(frozen=True)
class User:
    """What writes an output; ``setting`` and ``data`` other than zero are other ones.

    Args:
        run: ``run(world, out, overwrite, setting, data)``.
        setting, data: how a difference is named.
        times: units at least, so that a kill loses little.
    """

    run: Callable[[dict[str, Any], Path, bool, int, int], Any]
    setting: str
    data: str
    times: int


def observations(data):
    array = half().data.copy() + data
    return GridObservation(array, error=0.5, operator="mask", name="west")


def reconstructed(world, out, overwrite, setting, data):
    call = {"like": FEW, "members": 4, "batch": 2, "steps": 4, "seed": setting, "progress": False}
    return reconstruct(world["prior"], observations(data), out=out, overwrite=overwrite, **call)


def sampled(world, out, overwrite, setting, data):
    like = FEW if not data else LIKE
    call = {"members": 4, "batch": 2, "steps": 4, "seed": setting, "progress": False}
    return sample(world["prior"], like, out=out, overwrite=overwrite, **call)


def fused(world, out, overwrite, setting, data):
    call = {"members": 3, "steps": 4, "seed": setting, "progress": False}
    return fuse(world["prior"], FORECAST + data, [west()], PAST, out=out, overwrite=overwrite, **call)


def model(data):
    """A model that is fitted on data."""
    times = np.datetime64("2019-01-01", "ns") + np.arange(12) * np.timedelta64(6, "h")
    return fit_forecaster("climatology", field(times, seed=data).to_dataset(), SPEC)


def cycled(world, out, overwrite, setting, data):
    settings = CycleSettings(members=4, seed=setting, method=Method(steps=4))
    call = {"settings": settings, "times": TIMES, "progress": False}
    return assimilate(world["prior"], model(data), half(), out=out, overwrite=overwrite, **call)


def forecasted(world, out, overwrite, setting, data):
    start = LIKE.isel(time=[0, 1]) + data
    return forecast(
        model(0), start.assign(a=start.a.assign_attrs(units="K")), 4 + setting, out=out, overwrite=overwrite
    )


def models(world, data):
    """Of an area, with its coarse record as it is or another in its place."""
    path = Path(world["config"].coarse.paths[0])
    if data:
        other = xr.load_dataset(path) * 1.5
        other.dust.attrs["units"] = "1"
        other.to_netcdf(path.with_name("other.nc"))
        path.with_name("other.nc").replace(path)
    return AreaModels(world["config"], "all", "unet")


def predicted(world, out, overwrite, setting, data):
    found, how = models(world, data), replace(world["config"].inference, stride=4 + setting)
    days = area_days(found, "test")
    return predict_days(found, days, how, path=out, overwrite=overwrite, progress=False)


def rolled_out(world, out, overwrite, setting, data):
    how = replace(world["config"].inference, stride=4 + setting)
    return rollout_area(
        models(world, data), how, end="2005-08-14", path=out, overwrite=overwrite, progress=False
    )


def regridded(world, out, overwrite, setting, data):
    path = world["folder"] / "in.nc"
    if data or not path.exists():
        write(LIKE + data, path, overwrite=True)
    moved = regrid_fields(open_fields(path), regular_grid(2.0, GRID))
    message = f"regridded {setting}"
    return write_in_blocks(moved, out, overwrite=overwrite, message=message, inputs=expand(path))


USERS = {
    "reconstruct": User(reconstructed, "seed 0, now 1", "observations", 9),
    "sample": User(sampled, "seed 0, now 1", "times", 9),
    "fuse": User(fused, "seed 0, now 1", "forecast", 8),
    "cycle": User(cycled, r"settings\.seed 0, now 1", "model_data", 5),
    "forecast": User(forecasted, "leads", "initial_states_digest", 10),
    "predict": User(predicted, r"inference\.stride 4, now 5", "coarse_data", 7),
    "rollout": User(rolled_out, r"inference\.stride 4, now 5", "coarse_data", 5),
    "regrid": User(regridded, "message regridded 0, now regridded 1", "input_data", 5),
}
EVERY = pytest.mark.parametrize("name", USERS)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    config = case.config(tmp_path_factory.mktemp("downscale"))
    fit(config, models=["unet"], tell=lambda text: None)
    return config


@pytest.fixture
def world(prior, fitted, tmp_path, monkeypatch):  # noqa: F811
    """What the users read, in a folder of its own."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    folder = tmp_path / "inputs"
    folder.mkdir()
    coarse = folder / "coarse.nc"
    coarse.write_bytes(Path(fitted.coarse.paths[0]).read_bytes())
    own = fitted.coarse.model_copy(update={"paths": [str(coarse)]})
    return {"prior": prior, "config": fitted.model_copy(update={"coarse": own}), "folder": folder}


def marks(patch, monkeypatch, until: int | None = None) -> list[str]:
    """The units that are marked from now on; the run ends when so many are."""
    made, mark = [], patch

    def marking(self, unit, note=None):
        if len(made) == until:
            raise KeyboardInterrupt
        made.append(unit)
        mark(self, unit, note)

    monkeypatch.setattr(Regions, "mark", marking)
    return made


@EVERY
def test_killed_with_overwrite_and_given_again_equals_uninterrupted(world, tmp_path, monkeypatch, name):
    user, out, mark = USERS[name], tmp_path / "o.zarr", Regions.mark
    units = marks(mark, monkeypatch)
    user.run(world, out, False, 0, 0)
    whole = xr.open_zarr(out).load()
    assert len(units) >= user.times
    marks(mark, monkeypatch, until=2)
    with pytest.raises(KeyboardInterrupt):
        user.run(world, out, True, 0, 0)
    xr.testing.assert_identical(xr.open_zarr(out).load(), whole)  # the older one, until there is another
    again = marks(mark, monkeypatch)
    user.run(world, out, True, 0, 0)
    assert again == units[2:]
    made = xr.open_zarr(out).load()
    xr.testing.assert_equal(made, whole)
    assert {k: v for k, v in made.attrs.items() if k != "history"} == {
        k: v for k, v in whole.attrs.items() if k != "history"
    }
    assert sorted(p.name for p in tmp_path.iterdir()) == ["inputs", "o.zarr"]


@EVERY
def test_other_settings_other_data_and_a_second_process_are_refused(world, tmp_path, monkeypatch, name):
    user, out, mark = USERS[name], tmp_path / "o.zarr", Regions.mark
    marks(mark, monkeypatch, until=2)
    with pytest.raises(KeyboardInterrupt):
        user.run(world, out, False, 0, 0)
    made = marks(mark, monkeypatch)
    lock = lock_of(out)
    lock.acquire()
    with pytest.raises(SkyweaveError, match="is being written by process"):
        user.run(world, out, False, 0, 0)
    lock.release()
    with pytest.raises(SkyweaveError, match=rf"other settings or data \(.*{user.setting}"):
        user.run(world, out, False, 1, 0)
    with pytest.raises(SkyweaveError, match=rf"other settings or data \(.*{user.data}"):
        user.run(world, out, False, 0, 1)
    assert not made


@EVERY
@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("o.txt", "cannot tell the format"),
        ("o.NC", "in small letters"),
        ("o.zarr.zip", "cannot tell the format"),
        ("n" * 245 + ".zarr", "at most"),
        ("link.zarr", "is a symbolic link"),
        ("dangling.zarr", "is a symbolic link"),
        ("no/o.zarr", "does not exist"),
        ("there.zarr", "exists already"),
    ],
)
def test_names_that_cannot_be_written_are_refused_at_once(world, tmp_path, monkeypatch, name, path, message):
    made = marks(Regions.mark, monkeypatch)
    (tmp_path / "there.zarr").mkdir()
    (tmp_path / "link.zarr").symlink_to(tmp_path / "there.zarr")
    (tmp_path / "dangling.zarr").symlink_to(tmp_path / "nothing.zarr")
    with pytest.raises(SkyweaveError, match=message):
        USERS[name].run(world, tmp_path / path, False, 0, 0)
    assert not made
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize("name", ["reconstruct", "sample", "fuse", "forecast", "regrid"])
def test_netcdf_holds_what_zarr_holds_and_is_continued_too(world, tmp_path, monkeypatch, name):
    user, mark = USERS[name], Regions.mark
    user.run(world, tmp_path / "o.zarr", False, 0, 0)
    marks(mark, monkeypatch, until=2)
    with pytest.raises(KeyboardInterrupt):
        user.run(world, tmp_path / "o.nc", False, 0, 0)
    assert len(marks(mark, monkeypatch)) == 0
    user.run(world, tmp_path / "o.nc", False, 0, 0)
    with xr.open_dataset(tmp_path / "o.nc", engine="h5netcdf") as made:
        xr.testing.assert_equal(made.load(), xr.open_zarr(tmp_path / "o.zarr").load())


# ---- an output is never an input


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_an_output_is_never_an_input(world, tmp_path, monkeypatch, suffix):
    path = tmp_path / f"in{suffix}"
    write(LIKE, path)
    with pytest.raises(SkyweaveError, match="is an input of this command"):
        sample(world["prior"], open_fields(path), out=path, overwrite=True, members=2)
    with pytest.raises(SkyweaveError, match="is an input of this command"):
        forecast(model(0), open_fields(path).isel(time=[0]), 2, out=path, overwrite=True)
    with pytest.raises(SkyweaveError, match="is an input of this command"):
        write_in_blocks(open_fields(path), path, overwrite=True, inputs=[str(path)])
    monkeypatch.chdir(tmp_path)
    xr.testing.assert_equal(open_fields(path).load(), open_fields(path))


def test_the_commands_refuse_their_inputs_by_any_name(prior, tmp_path, monkeypatch, capsys):  # noqa: F811
    write(LIKE, tmp_path / "in.nc")
    save_prior(prior, tmp_path / "p.safetensors")
    monkeypatch.chdir(tmp_path)
    before = (tmp_path / "in.nc").read_bytes()
    for words in (
        ["regrid", str(tmp_path / "in.nc"), "--out", "in.nc", "--resolution", "2", "--overwrite"],
        ["regrid", "i*.nc", "--out", "./in.nc", "--resolution", "2", "--overwrite"],
        ["sample", "p.safetensors", "--like", "in.nc", "--out", str(tmp_path / "in.nc"), "--overwrite"],
        [
            "emulate",
            "forecast",
            "e.safetensors",
            "--initial",
            "in.nc",
            "--steps",
            "2",
            "--out",
            "in.nc",
            "--overwrite",
        ],
    ):
        assert main(words) == 2
        assert "is an input of this command" in capsys.readouterr().err, words
    assert (tmp_path / "in.nc").read_bytes() == before


def test_an_input_that_changes_while_it_is_read_ends_the_run(world, tmp_path, monkeypatch):
    user, mark, out = USERS["regrid"], Regions.mark, tmp_path / "o.zarr"

    def growing(self, unit, note=None):
        mark(self, unit, note)
        with (world["folder"] / "in.nc").open("ab") as handle:
            handle.write(b"0")

    monkeypatch.setattr(Regions, "mark", growing)
    with pytest.raises(SkyweaveError, match=r"in\.nc: changed while it was read"):
        user.run(world, out, False, 0, 0)
    assert not out.exists()


def test_files_are_known_by_their_size_and_last_change(tmp_path):
    write(LIKE, tmp_path / "a.zarr")
    (tmp_path / "b.nc").write_bytes(b"1234")
    states = file_states([tmp_path / "a.zarr", tmp_path / "b.nc", "https://example.org/c.nc"])
    assert states["https://example.org/c.nc"] is None
    check_unchanged(states)
    (tmp_path / "b.nc").write_bytes(b"12345")
    with pytest.raises(
        SkyweaveError, match=r"b\.nc: changed while it was read \(4 bytes before, now 5 bytes\)"
    ):
        check_unchanged(states)


def test_a_resume_may_have_other_batches(world, tmp_path, monkeypatch):
    """Such as one after a run that was killed for memory."""
    mark, out = Regions.mark, tmp_path / "o.zarr"
    call = {"like": FEW, "members": 6, "steps": 4, "progress": False}
    whole = reconstruct(world["prior"], observations(0), batch=4, **call)
    made = marks(mark, monkeypatch, until=2)
    with pytest.raises(KeyboardInterrupt):
        reconstruct(world["prior"], observations(0), out=out, batch=4, **call)
    assert made == ["t0-1 m0-4", "t0-1 m4-6"]
    made = marks(mark, monkeypatch, until=2)
    with pytest.raises(KeyboardInterrupt):
        reconstruct(world["prior"], observations(0), out=out, batch=3, **call)
    assert made == ["t0-1 summary", "t1-2 m0-4"]  # the units stay as they were cut
    made = marks(mark, monkeypatch)
    again = reconstruct(world["prior"], observations(0), out=out, batch=5, **call)
    assert made[:2] == ["t1-2 m4-6", "t1-2 summary"]
    for name in whole.data_vars:
        np.testing.assert_allclose(again[name], whole[name], rtol=1e-5, atol=1e-2)
