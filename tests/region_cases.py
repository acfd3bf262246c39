"""A small run in units, and ways to stop it: killed at a counted change to the disk, or with a limit on its files."""

from __future__ import annotations

import itertools
import os
import resource
import signal
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import xarray as xr

from skyweave.errors import SkyweaveError
from skyweave.io.regions import Regions

CHANGES = ("fsync", "replace", "rename", "unlink", "rmdir")
"""Calls of the system that a run makes to change what is on the disk, and whose number does not hang on threads."""
MEMBERS, TIMES, CELLS = 2, 3, 2048
TOLD = 3
"""Exit status of a child that was told an error."""


def result(seed: int = 0) -> xr.Dataset:
    """What the run ends with, made in one go."""
    values = np.random.default_rng(seed).normal(size=(MEMBERS, TIMES, CELLS)).astype(np.float32)
    return xr.Dataset(
        {
            "x": (("member", "time", "cell"), values, {"units": "K"}),
            "x_mean": (("time", "cell"), values.mean(0)),
            "flag": (("time", "cell"), np.ones((TIMES, CELLS), np.int8)),
            "level": ((), np.float32(850.0)),
        },
        {
            "member": np.arange(MEMBERS),
            "time": np.datetime64("2020-01-01", "ns") + np.arange(TIMES) * np.timedelta64(6, "h"),
        },
        {"title": "a test"},
    )


def make(path: Path | None, overwrite: bool = False, seed: int = 0, data: str = "old") -> xr.Dataset:
    """The run: members of each time, then its mean."""
    whole = result(seed)
    lazy = {n: whole[n].copy(data=da.zeros(whole[n].shape, dtype=np.float32)) for n in ("x", "x_mean")}
    made_with = {"seed": seed, "data": data}
    with (
        dask.config.set(scheduler="synchronous"),
        Regions(
            whole.assign(lazy), path, made_with, message="test", chunks={"time": 1}, overwrite=overwrite
        ) as out,
    ):
        for t in range(TIMES):
            place = {"time": slice(t, t + 1)}
            if f"time {t}" not in out.done:
                out.put({"x": whole.x.values[:, t : t + 1]}, place)
                out.mark(f"time {t}", {"count": 1})
            if f"mean {t}" not in out.done:
                out.put({"x_mean": out.read("x", place).mean(0)}, place)
                out.mark(f"mean {t}")
        return out.finish(lambda notes: {"counted": sum(n.get("count", 0) for n in notes.values())})


def same(path: Path, seed: int = 0) -> None:
    """What is there is the whole result, bit for bit, and nothing lies beside it."""
    engine = "zarr" if path.suffix == ".zarr" else "h5netcdf"
    with xr.open_dataset(path, engine=engine) as found:
        for name, var in result(seed).variables.items():
            assert found[name].values.tobytes() == var.values.tobytes(), name
        assert found.attrs["counted"] == TIMES
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    assert not list(path.rglob("*.partial"))


def in_child(work: Callable[[], object]) -> tuple[int, str]:
    """Exit status of a child process that does it, minus the signal that killed it; and the error it was told."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            # The threads of dask's pool stayed with the parent: what is given to that pool here is never done.
            with dask.config.set(pool=ThreadPoolExecutor(2)):
                work()
            status = 0
        except SkyweaveError as error:
            os.write(writing, str(error).encode())
            status = TOLD
        except BaseException:
            os.write(writing, traceback.format_exc().encode())
        finally:
            os._exit(status)
    os.close(writing)
    with open(reading, encoding="utf-8") as told:
        text = told.read()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), text


def killed_at(number: int, work: Callable[[], object]) -> Callable[[], object]:
    """The work, killed just before a change to the disk."""

    def dying() -> object:
        count = itertools.count(1)

        def counted(real: Callable[..., object]) -> Callable[..., object]:
            def call(*args: object, **kwargs: object) -> object:
                if next(count) == number:
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(*args, **kwargs)

            return call

        for name in CHANGES:
            setattr(os, name, counted(getattr(os, name)))
        return work()

    return dying


def limited(size: int, work: Callable[[], object]) -> Callable[[], object]:
    """The work, with no file longer than so many bytes: to a writer that is a full disk."""

    def inside() -> object:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        return work()

    return inside
