"""Carry out a plan, unit by unit, in memory or into a store that survives a kill."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
import xarray as xr

from skyweave.finite import NotFiniteError
from skyweave.io.store import (
    create_store,
    done_units,
    finish_store,
    mark_done,
    partial_store,
    unit_notes,
    write_region,
)
from skyweave.reconstruction.output import PROVENANCE, summarise
from skyweave.reconstruction.plan import Plan, Unit

__all__ = ["MemorySink", "Progress", "StoreSink", "run_plan"]

CONFLICT = PROVENANCE.index("conflict")

Note = dict[str, Any]
"""What is found on the way, JSON values."""


class Verdict(Protocol):
    """Looks at the complete members of a segment, one variable after the other."""

    def add(self, channel: int, members: np.ndarray) -> None:
        """The members of a variable, physical, ``(M, t, H, W)``."""

    def disagreeing(self) -> np.ndarray:
        """Cells whose observations the result contradicts, ``(t, C, H, W)``."""

    def note(self) -> Note: ...


class Work(Protocol):
    """Computes what a plan consists of."""

    def work(self, unit: Unit, step: Callable[[int], None]) -> np.ndarray:
        """The members of a unit, physical, ``(m, t, C, H, W)``."""

    def note(self, unit: Unit) -> Note:
        """What was found while the unit was computed."""

    def verdict(self, t0: int, t1: int) -> Verdict | None:
        """Judges the members of a segment; ``None`` where nothing was observed."""


def run_plan(
    plan: Plan,
    job: Work,
    sink: MemorySink | StoreSink,
    names: Sequence[str],
    quantiles: Sequence[float],
    progress: bool = True,
) -> None:
    """Run the units that are not done yet, then the summary of each segment whose members are complete.

    Raises:
        NotFiniteError: values that are not finite, with the members and times of the unit; it is not marked as done.
    """
    segments = sorted({(u.t0, u.t1) for u in plan.units})
    with Progress(len(plan.units), plan.evaluations, progress) as bar:
        for t0, t1 in segments:
            summary = f"t{t0}-{t1} summary"
            units = [u for u in plan.units if (u.t0, u.t1) == (t0, t1)]
            if summary in sink.done:
                bar.skip(len(units))
                continue
            for unit in units:
                if unit.name in sink.done:
                    bar.skip(1)
                    continue
                try:
                    values = job.work(unit, bar.step)
                except NotFiniteError as error:
                    raise NotFiniteError(
                        f"members {unit.m0} to {unit.m1 - 1}, times {unit.t0} to {unit.t1 - 1}: {error}; nothing of "
                        "this unit was written"
                    ) from None
                sink.put_members(unit, names, values)
                sink.mark(unit.name, job.note(unit))
                bar.unit()
            verdict = job.verdict(t0, t1)
            for c, name in enumerate(names):
                members = sink.members(t0, t1, name)
                sink.put_summary(t0, t1, name, summarise(members, quantiles), c)
                if verdict is not None:
                    verdict.add(c, members)
            if verdict is not None and (hit := verdict.disagreeing()).any():
                sink.put_conflicts(t0, t1, names, hit)
            sink.mark(summary, None if verdict is None else verdict.note())


@dataclass(eq=False)
class MemorySink:
    """Holds the result."""

    dataset: xr.Dataset
    done: set[str] = field(default_factory=set)
    notes: dict[str, Note] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, var in self.dataset.data_vars.items():
            if not str(name).endswith("_provenance"):
                self.dataset[name] = (var.dims, np.full(var.shape, np.nan, dtype=var.dtype), var.attrs)

    def mark(self, name: str, note: Note | None = None) -> None:
        self.done.add(name)
        self.notes[name] = note or {}

    def put_conflicts(self, t0: int, t1: int, names: Sequence[str], hit: np.ndarray) -> None:
        for c, name in enumerate(names):
            self.dataset[f"{name}_provenance"].values[t0:t1][hit[:, c]] = CONFLICT

    def put_members(self, unit: Unit, names: Sequence[str], values: np.ndarray) -> None:
        for c, name in enumerate(names):
            self.dataset[name].values[unit.m0 : unit.m1, unit.t0 : unit.t1] = values[:, :, c]

    def members(self, t0: int, t1: int, name: str) -> np.ndarray:
        return self.dataset[name].values[:, t0:t1]

    def put_summary(self, t0: int, t1: int, name: str, parts: Mapping[str, np.ndarray], channel: int) -> None:
        for suffix, values in parts.items():
            target = self.dataset[f"{name}_{suffix}"].values
            if suffix == "quantile":
                target[:, t0:t1] = values
            else:
                target[t0:t1] = values

    def finish(self, attrs: Callable[[Mapping[str, Note]], Note]) -> xr.Dataset:
        """The result, with the attributes that follow from the notes."""
        self.dataset.attrs |= attrs(self.notes)
        return self.dataset


@dataclass(eq=False)
class StoreSink:
    """Writes each unit to its own region of a Zarr store and then marks it done."""

    template: xr.Dataset
    path: Path
    plan: Plan
    overwrite: bool
    dims: tuple[str, str, str]
    done: set[str] = field(default_factory=set)
    message: str = "reconstruct"

    def __post_init__(self) -> None:
        members, _, _, height, width = self.plan.shape
        self.digest = self.plan.digest
        if partial_store(self.path).is_dir() and not self.overwrite:
            self.done = done_units(self.path, self.digest, self.plan.settings)
        if not self.done:
            segment = max(u.t1 - u.t0 for u in self.plan.units)
            chunks: dict[Hashable, int] = {
                "member": self.plan.batch,
                self.dims[0]: segment,
                self.dims[1]: height,
                self.dims[2]: width,
            }
            create_store(
                self.template, self.path, chunks=chunks, overwrite=self.overwrite, message=self.message
            )
            flags = self.template[[n for n in self.template.data_vars if str(n).endswith("_provenance")]]
            if flags.data_vars:
                write_region(flags, self.path, {self.dims[0]: slice(0, flags.sizes[self.dims[0]])})

    def mark(self, name: str, note: Note | None = None) -> None:
        mark_done(self.path, name, self.digest, note)
        self.done.add(name)

    def put_conflicts(self, t0: int, t1: int, names: Sequence[str], hit: np.ndarray) -> None:
        fields = {}
        for c, name in enumerate(names):
            flags = self.template[f"{name}_provenance"].values[t0:t1].copy()
            flags[hit[:, c]] = CONFLICT
            fields[f"{name}_provenance"] = (self.dims, flags)
        write_region(xr.Dataset(fields), self.path, {self.dims[0]: slice(t0, t1)})

    def put_members(self, unit: Unit, names: Sequence[str], values: np.ndarray) -> None:
        fields = {n: (("member", *self.dims), values[:, :, c]) for c, n in enumerate(names)}
        region = {"member": slice(unit.m0, unit.m1), self.dims[0]: slice(unit.t0, unit.t1)}
        write_region(xr.Dataset(fields), self.path, region)

    def members(self, t0: int, t1: int, name: str) -> np.ndarray:
        with xr.open_zarr(
            partial_store(self.path), consolidated=False, chunks=None, mask_and_scale=False
        ) as ds:
            return ds[name].isel({self.dims[0]: slice(t0, t1)}).values

    def put_summary(self, t0: int, t1: int, name: str, parts: Mapping[str, np.ndarray], channel: int) -> None:
        fields = {
            f"{name}_{suffix}": ((("quantile",) if suffix == "quantile" else ()) + self.dims, values)
            for suffix, values in parts.items()
        }
        write_region(xr.Dataset(fields), self.path, {self.dims[0]: slice(t0, t1)})

    def finish(self, attrs: Callable[[Mapping[str, Note]], Note]) -> xr.Dataset:
        """The finished store, with the attributes that follow from the notes of all its units."""
        finish_store(self.path, overwrite=self.overwrite, attrs=attrs(unit_notes(self.path)))
        return xr.open_zarr(self.path)


class Progress:
    """A bar on a terminal, plain timed lines in a log, nothing when not asked for."""

    def __init__(self, units: int, steps: int, wanted: bool) -> None:
        self.total, self.steps, self.done, self.inside = units, steps, 0, 0
        self.began = self.spoken = time.monotonic()
        self.bar: Any = None
        self.wanted = wanted
        if wanted and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                MofNCompleteColumn,
                TextColumn,
                TimeElapsedColumn,
                TimeRemainingColumn,
            )
            from rich.progress import Progress as Bar

            self.bar = Bar(
                TextColumn("reconstructing"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("units"),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=Console(stderr=True),
            )
            self.task = self.bar.add_task("units", total=units)

    def __enter__(self) -> Self:
        if self.bar is not None:
            self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.stop()

    def step(self, index: int) -> None:
        """One step of the sampler inside the current unit."""
        self.inside += 1
        self._show(self.done + min(1.0, self.inside / max(self.steps, 1)))

    def unit(self) -> None:
        self.done, self.inside = self.done + 1, 0
        self._show(self.done)

    def skip(self, count: int) -> None:
        self.done += count
        self._show(self.done)

    def _show(self, position: float) -> None:
        if self.bar is not None:
            self.bar.update(self.task, completed=position)
            return
        now = time.monotonic()
        if self.wanted and (now - self.spoken > 10 or (position == self.total and now - self.began > 10)):
            self.spoken = now
            print(
                f"{now - self.began:7.0f} s  reconstructed {position:.1f} of {self.total} units",
                file=sys.stderr,
                flush=True,
            )


def available_memory() -> float:
    """Half of the memory that is free on this machine, or 2 GiB where that is not known."""
    try:
        with open("/proc/meminfo") as handle:
            for line in handle:
                if line.startswith("MemAvailable:"):
                    return 0.5 * 1024 * float(line.split()[1])
    except OSError:
        pass
    return 2 * 2**30
