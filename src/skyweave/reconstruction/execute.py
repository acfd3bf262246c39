"""Carry out a plan, unit by unit, in memory or into a store that survives a kill."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import xarray as xr

from skyweave.finite import NotFiniteError
from skyweave.io.progress import Progress
from skyweave.io.regions import Note, Regions
from skyweave.reconstruction.output import PROVENANCE, summarise
from skyweave.reconstruction.plan import Plan, Unit

__all__ = ["available_memory", "run_plan"]

UNIT = re.compile(r"t(\d+)-(\d+) m(\d+)-(\d+)")
CONFLICT = PROVENANCE.index("conflict")


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

    def found(self, notes: Mapping[str, Note]) -> Note:
        """Attributes of the output that follow from the notes of all units."""


def run_plan(
    plan: Plan,
    job: Work,
    template: xr.Dataset,
    dims: tuple[str, str, str],
    names: Sequence[str],
    quantiles: Sequence[float],
    *,
    out: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    message: str = "reconstruct",
    progress: bool = True,
) -> xr.Dataset:
    """Run the units that are not done yet, then the summary of each segment whose members are complete.

    Args:
        plan: the units.
        job: computes them.
        template: of the output, with its provenance where it has one.
        dims: names of time, latitude and longitude.
        names: of the variables.
        quantiles: that are kept.
        out, overwrite, progress: as in `skyweave.reconstruct`.
        message: what is done, for the history.

    Raises:
        NotFiniteError: values that are not finite, with the members and times of the unit; it is not marked as done.
    """
    segments = sorted({(u.t0, u.t1) for u in plan.units})
    _, _, _, height, width = plan.shape
    longest = max(t1 - t0 for t0, t1 in segments)
    chunks: dict[Hashable, int] = {
        "member": plan.batch,
        **dict(zip(dims, (longest, height, width), strict=True)),
    }
    with (
        Regions(
            template,
            None if out is None else Path(out),
            plan.settings,
            message=message,
            chunks=chunks,
            overwrite=overwrite,
        ) as regions,
        Progress(len(plan.units), "units", progress) as bar,
    ):
        there = _members_done(regions.done)
        for t0, t1 in segments:
            summary = f"t{t0}-{t1} summary"
            units = [u for u in plan.units if (u.t0, u.t1) == (t0, t1)]
            left = [] if summary in regions.done else _left(units, there.get((t0, t1), set()))
            bar.skip(len(units) - len(left))
            for unit in left:
                _make(unit, plan, job, regions, dims, names, bar)
            if summary not in regions.done:
                _summarise(t0, t1, job, regions, dims, names, quantiles)
        return regions.finish(job.found)


def _members_done(done: set[str]) -> dict[tuple[int, int], set[int]]:
    """Members that are there of each segment."""
    there: dict[tuple[int, int], set[int]] = {}
    for name in done:
        if found := UNIT.fullmatch(name):
            t0, t1, m0, m1 = map(int, found.groups())
            there.setdefault((t0, t1), set()).update(range(m0, m1))
    return there


def _left(units: Sequence[Unit], there: set[int]) -> list[Unit]:
    """What is not done of the units of a segment; an earlier run may have had other batches."""
    left = []
    for unit in units:
        lacking = [m for m in range(unit.m0, unit.m1) if m not in there]
        parts = np.split(lacking, np.flatnonzero(np.diff(lacking) > 1) + 1) if lacking else []
        left += [Unit(unit.t0, unit.t1, int(part[0]), int(part[-1]) + 1) for part in parts]
    return left


def _make(
    unit: Unit,
    plan: Plan,
    job: Work,
    regions: Regions,
    dims: tuple[str, str, str],
    names: Sequence[str],
    bar: Progress,
) -> None:
    """Compute one unit, put it and mark it."""
    begun, steps = bar.done, 0

    def step(index: int) -> None:
        nonlocal steps
        steps += 1
        bar.to(begun + min(1.0, steps / max(plan.evaluations, 1)))

    try:
        values = job.work(unit, step)
    except NotFiniteError as error:
        raise NotFiniteError(
            f"members {unit.m0} to {unit.m1 - 1}, times {unit.t0} to {unit.t1 - 1}: {error}; nothing of "
            "this unit was written"
        ) from None
    place = {"member": slice(unit.m0, unit.m1), dims[0]: slice(unit.t0, unit.t1)}
    regions.put({name: values[:, :, c] for c, name in enumerate(names)}, place)
    regions.mark(unit.name, job.note(unit))
    bar.to(begun + 1)


def _summarise(
    t0: int,
    t1: int,
    job: Work,
    regions: Regions,
    dims: tuple[str, str, str],
    names: Sequence[str],
    quantiles: Sequence[float],
) -> None:
    """Mean, spread, quantiles and conflicts of a segment whose members are complete."""
    verdict, place = job.verdict(t0, t1), {dims[0]: slice(t0, t1)}
    for c, name in enumerate(names):
        members = regions.read(name, place)
        parts = summarise(members, quantiles)
        regions.put({f"{name}_{suffix}": values for suffix, values in parts.items()}, place)
        if verdict is not None:
            verdict.add(c, members)
    if verdict is not None and (hit := verdict.disagreeing()).any():
        flags = {f"{name}_provenance": regions.template[f"{name}_provenance"].values[t0:t1] for name in names}
        changed = {
            n: np.where(hit[:, c], CONFLICT, old).astype(old.dtype)
            for c, (n, old) in enumerate(flags.items())
        }
        regions.put(changed, place)
    regions.mark(f"t{t0}-{t1} summary", None if verdict is None else verdict.note())


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
