"""A job of small units that fail or die as they are told to: what the laws of engines are tested with."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path

import dask.array as da
import numpy as np
import xarray as xr

from skyweave.engine.job import Engine, run_units
from skyweave.io.progress import Progress
from skyweave.io.regions import Regions

TIMES, CELLS = 6, 4


@dataclass(frozen=True)
class Part:
    """One time, or the mean of two."""

    k: int
    needs: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"{'mean' if self.needs else 'time'} {self.k}"

    @property
    def weight(self) -> float:
        return 0.0 if self.needs else 1.0


UNITS = [
    part
    for k in range(0, TIMES, 2)
    for part in (Part(k), Part(k + 1), Part(k, (f"time {k}", f"time {k + 1}")))
]


@dataclass(frozen=True)
class Powers:
    """Time ``k`` holds ``k`` to the powers of 0 to 3.

    Args:
        folder: where each try of a unit leaves a file.
        once, always, dies: times that fail at first, each time, and that kill their process at first.
    """

    folder: Path
    once: tuple[int, ...] = ()
    always: tuple[int, ...] = ()
    dies: tuple[int, ...] = ()

    def work(self, unit, out, step):
        if unit.needs:
            place = {"time": slice(unit.k, unit.k + 2)}
            out.put({"mean": np.repeat(out.read("x", place).mean(0)[None], 2, 0)}, place)
            return {}
        tries = len(list(self.folder.glob(f"{unit.k} *")))
        (self.folder / f"{unit.k} {tries} {os.getpid()}").touch()
        if unit.k in self.always or (unit.k in self.once and not tries):
            raise RuntimeError(f"time {unit.k} cannot be computed")
        if unit.k in self.dies and not tries:
            os.kill(os.getpid(), signal.SIGKILL)
        values = float(unit.k) ** np.arange(CELLS, dtype=np.float32)
        out.put({"x": values[None]}, {"time": slice(unit.k, unit.k + 1)})
        return {"sum": float(values.sum())}

    def tried(self) -> list[int]:
        """Time of each try."""
        return sorted(int(path.name.split()[0]) for path in self.folder.iterdir())


def run(job: Powers, engine: Engine, path: Path | None) -> xr.Dataset:
    """The whole run."""
    empty = xr.Dataset(
        {name: (("time", "cell"), da.zeros((TIMES, CELLS), dtype="f4")) for name in ("x", "mean")}
    )
    with (
        Regions(empty, path, {"what": "powers"}, message="test", chunks={"time": 1}) as regions,
        Progress(TIMES, "units", wanted=False) as bar,
    ):
        run_units(job, UNITS, regions, bar, engine)
        return regions.finish(lambda notes: {"sum": sum(note.get("sum", 0) for note in notes.values())})


def same(found: xr.Dataset) -> None:
    """It is what it should be."""
    x = np.arange(TIMES, dtype=np.float32)[:, None] ** np.arange(CELLS, dtype=np.float32)
    np.testing.assert_array_equal(found.x, x)
    np.testing.assert_array_equal(found["mean"], np.repeat(x.reshape(-1, 2, CELLS).mean(1), 2, 0))
    assert found.attrs["sum"] == x.sum()
