"""Carry out a plan, unit by unit, in memory or into a store that survives a kill."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import xarray as xr

from skyweave.engine.here import InProcess
from skyweave.engine.job import Engine, Out, Step, run_units
from skyweave.finite import NotFiniteError
from skyweave.io.progress import Progress
from skyweave.io.regions import Note, Regions
from skyweave.reconstruction.output import PROVENANCE, summarise
from skyweave.reconstruction.plan import Plan, Unit

__all__ = ["Fields", "available_memory", "run_plan"]

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

    def flags(self, channel: int, t0: int, t1: int) -> np.ndarray:
        """Where the values of a variable come from in frames ``t0:t1``, ``(t, H, W)``."""

    def found(self, notes: Mapping[str, Note]) -> Note:
        """Attributes of the output that follow from the notes of all units."""


@dataclass(frozen=True)
class Summary:
    """Mean, spread, quantiles and provenance of the times ``t0:t1``, when the members that it needs are there."""

    t0: int
    t1: int
    needs: tuple[str, ...]
    weight: float = 0.0

    @property
    def name(self) -> str:
        return f"t{self.t0}-{self.t1} summary"


@dataclass(frozen=True, eq=False)
class Fields:
    """The units of a plan, and after them the summary of each segment.

    Args:
        work: computes the members.
        evaluations: of the network for each member and time.
        names: of the variables.
        time: name of its dimension.
        quantiles: that are kept.
        provenance: whether it is kept.
    """

    made: Work
    evaluations: int
    names: tuple[str, ...]
    time: str
    quantiles: tuple[float, ...]
    provenance: bool

    def work(self, unit: Unit | Summary, out: Out, step: Step) -> Note:
        """Compute one unit and put it."""
        return self._summarise(unit, out) if isinstance(unit, Summary) else self._members(unit, out, step)

    def _members(self, unit: Unit, out: Out, step: Step) -> Note:
        steps = 0

        def one(index: int) -> None:
            nonlocal steps
            steps += 1
            step(steps / max(self.evaluations, 1))

        try:
            values = self.made.work(unit, one)
        except NotFiniteError as error:
            raise NotFiniteError(
                f"members {unit.m0} to {unit.m1 - 1}, times {unit.t0} to {unit.t1 - 1}: {error}; nothing of "
                "this unit was written"
            ) from None
        place = {"member": slice(unit.m0, unit.m1), self.time: slice(unit.t0, unit.t1)}
        out.put({name: values[:, :, c] for c, name in enumerate(self.names)}, place)
        return self.made.note(unit)

    def _summarise(self, unit: Summary, out: Out) -> Note:
        """Mean, spread, quantiles and provenance of a segment whose members are complete."""
        verdict, place = self.made.verdict(unit.t0, unit.t1), {self.time: slice(unit.t0, unit.t1)}
        for c, name in enumerate(self.names):
            members = out.read(name, place)
            parts = summarise(members, self.quantiles)
            out.put({f"{name}_{suffix}": values for suffix, values in parts.items()}, place)
            if verdict is not None:
                verdict.add(c, members)
        if self.provenance:
            hit = None if verdict is None else verdict.disagreeing()
            flags = {}
            for c, name in enumerate(self.names):
                own = self.made.flags(c, unit.t0, unit.t1)
                if hit is not None:
                    own[hit[:, c]] = CONFLICT
                flags[f"{name}_provenance"] = own
            out.put(flags, place)
        return {} if verdict is None else verdict.note()


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
    engine: Engine | None = None,
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
        engine: carries the units out; this process by default.

    Raises:
        FailedUnitsError: units that could not be computed, as where values are not finite; they are not marked as done.
    """
    _, _, _, height, width = plan.shape
    longest = max(unit.t1 - unit.t0 for unit in plan.units)
    chunks: dict[Hashable, int] = {
        "member": plan.batch,
        **dict(zip(dims, (longest, height, width), strict=True)),
    }
    provenance = f"{names[0]}_provenance" in template
    fields = Fields(job, plan.evaluations, tuple(names), dims[0], tuple(quantiles), provenance)
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
        left = units_left(plan.units, regions.done)
        bar.skip(len(plan.units) - sum(isinstance(unit, Unit) for unit in left))
        run_units(fields, left, regions, bar, engine or InProcess())
        return regions.finish(job.found)


def units_left(units: Sequence[Unit], done: set[str]) -> list[Unit | Summary]:
    """What is not done, the summary of each segment after its members; an earlier run may have had other batches."""
    there = _members_done(done)
    by_segment: dict[tuple[int, int], list[Unit]] = {}
    for unit in units:
        by_segment.setdefault((unit.t0, unit.t1), []).append(unit)
    out: list[Unit | Summary] = []
    for (t0, t1), own in sorted(by_segment.items()):
        if f"t{t0}-{t1} summary" not in done:
            left = _left(own, there.get((t0, t1), set()))
            out += [*left, Summary(t0, t1, tuple(unit.name for unit in left))]
    return out


def _members_done(done: set[str]) -> dict[tuple[int, int], set[int]]:
    """Members that are there of each segment."""
    there: dict[tuple[int, int], set[int]] = {}
    for name in done:
        if found := UNIT.fullmatch(name):
            t0, t1, m0, m1 = map(int, found.groups())
            there.setdefault((t0, t1), set()).update(range(m0, m1))
    return there


def _left(units: Sequence[Unit], there: set[int]) -> list[Unit]:
    """What is not done of the units of a segment."""
    left = []
    for unit in units:
        lacking = [m for m in range(unit.m0, unit.m1) if m not in there]
        parts = np.split(lacking, np.flatnonzero(np.diff(lacking) > 1) + 1) if lacking else []
        left += [Unit(unit.t0, unit.t1, int(part[0]), int(part[-1]) + 1) for part in parts]
    return left


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
