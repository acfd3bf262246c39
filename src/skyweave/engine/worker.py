"""What a worker of a cluster does: it opens a job once, and carries out bundles of its units."""

from __future__ import annotations

import pickle
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skyweave.engine.job import Job, Named, cause_of
from skyweave.errors import SkyweaveError
from skyweave.io.regions import Note, RegionWriter

__all__ = ["TOPIC", "Bundle", "Outcome", "carry_out", "pack", "version_here"]

TOPIC = "skyweave-units"
"""Under which workers tell that a unit is done."""

_ALONE = threading.Lock()
_HELD: dict[str, Job[Any]] = {}


@dataclass(frozen=True)
class Bundle:
    """Units that one worker carries out one after the other.

    Args:
        run: names the run, whose job is opened once by every worker.
        units: in their order.
        writer: puts them into the output; ``None`` where their values are sent back.
        version: of skyweave that asks for them.
        threads: that the worker computes with; its own number where it is None.
    """

    run: str
    units: tuple[Named, ...]
    writer: RegionWriter | None
    version: str
    threads: int | None = None


@dataclass
class Outcome:
    """What became of a unit.

    Args:
        unit: its name.
        note: what was found; ``None`` where it failed.
        cause: why it failed; empty where it was not tried, for a unit that it needs failed.
        where: address of the worker.
        pieces: values and regions, where they are sent back.
    """

    unit: str
    note: Note | None = None
    cause: str = ""
    where: str = ""
    pieces: list[tuple[dict[str, NDArray[Any]], dict[str, slice]]] = field(default_factory=list)


class Gathered:
    """Values of a unit that are sent back to whoever asked for them."""

    def __init__(self) -> None:
        self.pieces: list[tuple[dict[str, NDArray[Any]], dict[str, slice]]] = []

    def put(self, fields: Mapping[str, NDArray[Any]], region: Mapping[str, slice]) -> None:
        self.pieces.append((dict(fields), dict(region)))

    def read(self, name: str, region: Mapping[str, slice]) -> np.ndarray:
        raise TypeError("units that read others are carried out where these are")


def version_here() -> str:
    """Version of skyweave in this process."""
    return version("skyweave")


def carry_out(bundle: Bundle, packed: bytes) -> list[Outcome]:
    """Carry out a bundle; a unit that fails does not end it.

    Args:
        bundle: the units.
        packed: the job.

    Raises:
        SkyweaveError: another version of skyweave asks, or the run has ended.
    """
    import dask
    from distributed import get_worker

    worker, out = get_worker(), []
    if version_here() != bundle.version:
        raise SkyweaveError(f"skyweave {version_here()} is installed here, {bundle.version} asks for units")
    # One unit at a time in a process, whose memory and accelerator are one; files are read by this thread, and not by
    # tasks of the cluster.
    with _ALONE, dask.config.set(scheduler="synchronous"):
        job, failed = _opened(bundle, packed), set[str]()
        for unit in bundle.units:
            if bundle.writer is not None:
                bundle.writer.check_wanted()
            made = Outcome(unit.name) if failed.intersection(unit.needs) else _one(unit, job, bundle.writer)
            made.where = worker.address
            out.append(made)
            if made.note is None:
                failed.add(unit.name)
            else:
                worker.log_event(TOPIC, (bundle.run, unit.name))
    return out


def _opened(bundle: Bundle, packed: bytes) -> Job[Any]:
    if bundle.run not in _HELD:
        _HELD.clear()  # that of a run before
        _HELD[bundle.run] = pickle.loads(packed)
    if bundle.threads is not None and "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(bundle.threads)
    return _HELD[bundle.run]


def _one(unit: Named, job: Job[Any], writer: RegionWriter | None) -> Outcome:
    done = None if writer is None else writer.note_of(unit.name)
    if done is not None:
        return Outcome(unit.name, done)  # by a worker that was lost before it could say so
    gathered = Gathered()
    try:
        note = job.work(unit, gathered if writer is None else writer, lambda share: None)
        if writer is not None:
            writer.mark(unit.name, note)
    except Exception as error:
        return Outcome(unit.name, cause=cause_of(error))
    return Outcome(unit.name, note, pieces=gathered.pieces)


def pack(job: Job[Any]) -> bytes:
    """A job as it is sent.

    Raises:
        SkyweaveError: it holds what cannot be sent, such as an open file.
    """
    import cloudpickle

    try:
        return bytes(cloudpickle.dumps(job))
    except (TypeError, pickle.PicklingError, AttributeError) as error:
        raise SkyweaveError(
            f"what the run is made of cannot be sent to the workers of a cluster ({error}); give data that xarray "
            "opened from files, or that are in memory"
        ) from error
