"""The writer of regions: killed anywhere it goes on, one process at a time, on disk before it says so."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import xarray as xr

from region_cases import CHANGES, TOLD, in_child, killed_at, limited, make, result, same
from skyweave.errors import SkyweaveError
from skyweave.io.disk import clear_dead
from skyweave.io.outputs import lock_of, partial_folder
from skyweave.io.regions import Regions, block_length
from skyweave.io.store import partial_store
from skyweave.io.tensors import write_tensors
from skyweave.io.write import write

NAMES = ["o.zarr", "o.nc"]


def changes_of(path: Path, overwrite: bool, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the changes to the disk that an uninterrupted run makes."""
    made: list[str] = []
    with monkeypatch.context() as patch:
        for name in CHANGES:
            real = getattr(os, name)
            patch.setattr(os, name, lambda *a, _n=name, _r=real, **k: (made.append(_n), _r(*a, **k))[1])
        make(path, overwrite).close()
    return made


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_killed_anywhere_and_given_again_it_ends_as_if_it_had_not_been(
    tmp_path, monkeypatch, name, overwrite
):
    monkeypatch.setattr(os, "fsync", lambda handle: None)  # a kill loses nothing of what the system holds

    def fresh() -> Path:
        folder = tmp_path / "run"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        if overwrite:
            make(folder / name, seed=1).close()
        return folder / name

    count = len(changes_of(fresh(), overwrite, monkeypatch))
    # Here and there, and at each step of the end.
    for number in sorted({*range(1, count, 61), *range(max(1, count - 9), count + 1)}):
        path = fresh()
        status, told = in_child(killed_at(number, lambda p=path: make(p, overwrite)))
        assert status in (0, -signal.SIGKILL), (number, told)
        if status == 0:  # threads had made one change less
            same(path)
            continue
        if overwrite:  # the older output or the new one is there, under one name or another
            assert path.exists() or list(path.parent.glob(".*.old-*")), number
        if path.exists() and not overwrite and not (partial_folder(path) / "complete.json").exists():
            with pytest.raises(SkyweaveError, match="exists already"):  # its lock was all that was left
                make(path)
        else:
            make(path, overwrite).close()
        same(path)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("overwrite", [False, True])
def test_only_what_is_missing_is_made_again(tmp_path, monkeypatch, name, overwrite):
    path, mark, marked = tmp_path / name, Regions.mark, []
    if overwrite:
        make(path, seed=1).close()

    def dying(self, unit, note=None):
        if unit == "time 2":
            raise KeyboardInterrupt
        mark(self, unit, note)

    monkeypatch.setattr(Regions, "mark", dying)
    with pytest.raises(KeyboardInterrupt):
        make(path, overwrite)
    if overwrite:
        with xr.open_dataset(path, engine="zarr" if name == "o.zarr" else "h5netcdf") as old:
            np.testing.assert_array_equal(old.x, result(1).x)
    monkeypatch.setattr(Regions, "mark", lambda self, u, note=None: (marked.append(u), mark(self, u, note)))
    make(path, overwrite).close()
    assert marked == ["time 2", "mean 2"]
    same(path)


def interrupted(path: Path, monkeypatch: pytest.MonkeyPatch, units: int = 3, **how) -> None:
    """A run that was stopped after some units."""
    mark, marked = Regions.mark, []

    def dying(self, unit, note=None):
        if len(marked) == units:
            raise KeyboardInterrupt
        marked.append(unit)
        mark(self, unit, note)

    with monkeypatch.context() as patch:
        patch.setattr(Regions, "mark", dying)
        with pytest.raises(KeyboardInterrupt):
            make(path, **how)


def test_other_settings_or_data_are_refused_with_what_differs_and_replaced_when_allowed(
    tmp_path, monkeypatch
):
    path = tmp_path / "o.zarr"
    interrupted(path, monkeypatch)
    with pytest.raises(SkyweaveError, match=r"other settings or data \(seed 0, now 1\)"):
        make(path, seed=1)
    with pytest.raises(SkyweaveError, match=r"other settings or data \(data\)"):
        make(path, data="new")
    assert len(list((partial_folder(path) / "units").iterdir())) == 3
    make(path, overwrite=True, seed=1).close()
    same(path, 1)


def test_before_the_first_mark_nothing_is_kept(tmp_path, monkeypatch):
    path = tmp_path / "o.zarr"
    interrupted(path, monkeypatch, units=0)
    assert json.loads(make(path, seed=1).attrs["made_with"])["seed"] == 1
    same(path, 1)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"unit": "time 1"}', b"\xff\xfe"])
def test_a_damaged_marker_is_a_unit_to_be_made_again(tmp_path, monkeypatch, content):
    path = tmp_path / "o.zarr"
    interrupted(path, monkeypatch, units=4)
    for marker in (partial_folder(path) / "units").iterdir():
        if json.loads(marker.read_bytes())["unit"] == "time 1":
            marker.write_bytes(content)
    again, mark = [], Regions.mark
    monkeypatch.setattr(Regions, "mark", lambda self, u, note=None: (again.append(u), mark(self, u, note)))
    make(path).close()
    assert again == ["time 1", "time 2", "mean 2"]
    same(path)


def test_values_are_on_the_disk_before_their_marker_and_all_of_it_before_its_name(tmp_path, monkeypatch):
    path, synced = tmp_path / "o.zarr", set()
    fsync, replace, rename = os.fsync, os.replace, os.rename

    def checked(folder: Path) -> None:
        files = [p for p in folder.rglob("*") if p.is_file()]
        assert files
        assert not [p for p in files if p.stat().st_ino not in synced]

    def counted(handle):
        synced.add(os.fstat(handle).st_ino)
        fsync(handle)

    def replaced(source, target, **k):
        if Path(target).parent.name == "units":
            checked(partial_store(path))
        if Path(target) == path:
            checked(Path(source))
        replace(source, target, **k)

    def renamed(source, target, **k):
        if Path(target) == partial_store(path):
            checked(Path(source))
        rename(source, target, **k)

    monkeypatch.setattr(os, "fsync", counted)
    monkeypatch.setattr(os, "replace", replaced)
    monkeypatch.setattr(os, "rename", renamed)
    make(path).close()
    same(path)


# ---- one writer at a time


def holding(path: Path) -> Regions:
    return Regions(result().chunk(), path, {"seed": 0}, message="test")


@pytest.mark.parametrize("name", NAMES)
def test_of_two_processes_one_goes_on_and_the_other_is_told_who_holds_it(tmp_path, monkeypatch, name):
    path = tmp_path / name
    interrupted(path, monkeypatch)
    lock = lock_of(path)
    lock.acquire()
    kept = sorted(p for p in partial_folder(path).rglob("*") if p.is_file())
    for work in (
        lambda: make(path),
        lambda: make(path, overwrite=True, seed=1),
        lambda: write(result(), path),
    ):
        status, told = in_child(work)
        assert status == TOLD
        assert f"is being written by process {os.getpid()} on {socket.gethostname()}" in told
    assert sorted(p for p in partial_folder(path).rglob("*") if p.is_file()) == kept
    lock.release()
    make(path).close()
    same(path)


def test_what_a_dead_process_held_is_taken_over(tmp_path):
    path = tmp_path / "o.zarr"

    def dies() -> None:
        holding(path).__enter__()
        os.kill(os.getpid(), signal.SIGKILL)

    assert in_child(dies)[0] == -signal.SIGKILL
    assert (partial_folder(path) / "lock").exists()
    make(path).close()
    same(path)


def test_a_lock_of_another_machine_is_left_and_named(tmp_path):
    path = tmp_path / "o.zarr"
    lock = partial_folder(path) / "lock"
    lock.parent.mkdir()
    lock.write_text(
        json.dumps({"host": "elsewhere", "machine": "other", "pid": 1, "start": "1", "since": "noon"})
    )
    with pytest.raises(
        SkyweaveError, match=r"process 1 on elsewhere \(since noon\), on another .*remove .*lock"
    ):
        make(path)
    lock.unlink()
    make(path).close()
    same(path)


def test_without_locks_of_the_system_the_number_and_start_of_the_process_decide(tmp_path, monkeypatch):
    from skyweave.io import lock as module

    monkeypatch.setattr(module, "fcntl", None)
    path = tmp_path / "o.zarr"
    first = lock_of(path)
    first.acquire()
    with pytest.raises(SkyweaveError, match=f"process {os.getpid()} on"):
        lock_of(path).acquire()
    held = json.loads(first.file.read_text())
    first.file.write_text(json.dumps(held | {"start": "0"}))  # another process that had our number
    second = lock_of(path)
    second.acquire()
    second.release()


# ---- what is left behind


def test_leftovers_of_dead_writers_are_cleared_and_nothing_else(tmp_path):
    for name in NAMES:
        path = tmp_path / name
        write(result(), path)
        (tmp_path / f".{name}.0123abcd.tmp").write_text("half")
        (tmp_path / f".{name}.old-0123abcd").mkdir()
        (tmp_path / f".{name}.notes.tmp").write_text("mine")
        write(result(1), path, overwrite=True)
        assert (tmp_path / f".{name}.notes.tmp").exists()
        assert not list(tmp_path.glob(f".{name}.*0123abcd*"))
    (tmp_path / ".prior.safetensors.999999.partial").write_text("half")
    (tmp_path / f".prior.safetensors.{os.getppid()}.partial").write_text("alive")
    clear_dead(tmp_path / "prior.safetensors")
    assert [p.name for p in tmp_path.glob(".prior*")] == [f".prior.safetensors.{os.getppid()}.partial"]


def test_an_older_output_that_a_kill_left_without_its_name_gets_it_back(tmp_path):
    path = tmp_path / "o.zarr"
    make(path, seed=1).close()
    path.rename(tmp_path / ".o.zarr.old-0123abcd")
    with pytest.raises(SkyweaveError, match="exists already"):
        make(path)
    same(path, 1)


@pytest.mark.parametrize("umask", [0o022, 0o027])
def test_files_get_the_mode_that_the_umask_says(tmp_path, umask):
    import torch

    before = os.umask(umask)
    try:
        for name in NAMES:
            make(tmp_path / name).close()
            write(result(), tmp_path / f"whole-{name}")
        write_tensors({"a": torch.ones(2)}, {"kind": "test"}, tmp_path / "t.safetensors")
    finally:
        os.umask(before)
    files = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert {p.stat().st_mode & 0o777 for p in files} == {0o666 & ~umask}


# ---- a full disk


@pytest.mark.parametrize("size", [50, 700])
@pytest.mark.parametrize("name", NAMES)
def test_a_full_disk_is_an_error_and_the_run_goes_on_when_there_is_room(tmp_path, name, size):
    path = tmp_path / name
    status, told = in_child(limited(size, lambda: make(path)))
    assert status == TOLD, told
    assert "cannot be written (" in told
    make(path).close()
    same(path)


def test_a_netcdf_file_that_does_not_fit_leaves_a_complete_run(tmp_path, monkeypatch):
    path = tmp_path / "o.nc"
    # The units fit, the file of all of them does not.
    status, told = in_child(limited(20000, lambda: make(path)))
    assert status == TOLD, told
    assert "the same command finishes it" in told
    assert not [p for p in partial_folder(path).iterdir() if p.suffix == ".nc"]
    monkeypatch.setattr(Regions, "put", None)
    make(path).close()
    same(path)


@pytest.mark.parametrize("size", [50, 5000, 20000, 200000])
@pytest.mark.parametrize("name", NAMES)
def test_a_whole_file_that_does_not_fit_leaves_what_was_there(tmp_path, name, size):
    path = tmp_path / name
    write(result(), path)
    values = np.random.default_rng(0).normal(size=(8, 300, 300))
    large = xr.Dataset({"x": (("time", "row", "column"), da.from_array(values, chunks=(1, 300, 300)))})
    status, told = in_child(limited(size, lambda: write(large, path, overwrite=True)))
    assert status == TOLD, told
    assert "cannot be written (" in told
    with xr.open_dataset(path, engine="zarr" if name == "o.zarr" else "h5netcdf") as found:
        np.testing.assert_array_equal(found.x, result().x)
    assert [p.name for p in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", NAMES)
def test_no_thread_writes_after_an_error_was_told(tmp_path, name):
    """Twenty failing writes leave nothing, whatever the other threads were about."""
    rng = np.random.default_rng(0)

    def block(block_info=None):
        if block_info[None]["chunk-location"][0] == 5:
            raise OSError("disk on fire")
        return rng.random((1, 50, 50))

    lazy = da.map_blocks(block, chunks=((1,) * 12, (50,), (50,)), dtype=float, meta=np.zeros((0, 0, 0)))
    for number in range(20):
        with pytest.raises(SkyweaveError, match="disk on fire"):
            write(xr.Dataset({"x": (("time", "row", "column"), lazy)}), tmp_path / f"{number}{name}")
    assert not list(tmp_path.iterdir())


# ---- sizes of units


@pytest.mark.parametrize(("count", "expected"), [(1, 1), (16, 1), (17, 2), (160, 10), (1000, 63)])
def test_a_small_run_is_many_units(count, expected):
    assert block_length(count, 100) == expected
    assert block_length(count, 2**26) == 1
    assert block_length(count, 100, most=4) == min(expected, 4)
