"""What can be cut into units, whoever carries them out, and what becomes of units that fail."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from skyweave.errors import SkyweaveError
from skyweave.io.progress import Progress
from skyweave.io.regions import Note, Regions

__all__ = [
    "FAILURES", "TRIES", "Engine", "FailedUnitsError", "Failure", "Job", "Named", "Out", "Queue", "Step", "cause_of",
    "run_units",
]  # fmt: skip

TRIES = 2
"""How often a unit is tried: the second time by another worker, where there is one."""
FAILURES = 3
"""Units that fail one after the other, with none that is finished between them, after which no other is begun."""

Step = Callable[[float], None]
"""Told the share of a unit that is done."""


class Named(Protocol):
    """A unit: what can be computed, written and resumed by itself. It is sent to workers, so that it is small."""

    @property
    def name(self) -> str:
        """By which it is marked as done."""
        ...

    @property
    def needs(self) -> tuple[str, ...]:
        """Units whose values it reads."""
        ...

    @property
    def weight(self) -> float:
        """By which it counts in the progress."""
        ...


class Out(Protocol):
    """Where a unit puts its values."""

    def put(self, fields: Mapping[str, NDArray[Any]], region: Mapping[str, slice]) -> None:
        """Write values of some variables, as `skyweave.io.regions.Regions.put`."""

    def read(self, name: str, region: Mapping[str, slice]) -> np.ndarray:
        """Values that were put by the units that this one needs."""
        ...


U = TypeVar("U", bound=Named)
Contra = TypeVar("Contra", bound=Named, contravariant=True)


class Job(Protocol[Contra]):
    """Computes units. It can be sent to a worker, and opens there what it was made of: it carries paths, not values."""

    def work(self, unit: Contra, out: Out, step: Step) -> Note:
        """Compute one unit and put its values; what was found on the way."""
        ...


@dataclass(frozen=True)
class Failure:
    """A unit that could not be computed, and why.

    Args:
        unit: its name.
        cause: in words.
        where: the worker; empty for this process.
    """

    unit: str
    cause: str
    where: str = ""


class FailedUnitsError(SkyweaveError):
    """Some units could not be computed; the others are written, and the same command tries these again.

    Args:
        failures: of units, the first first.
        left: units that were not begun.
        total: units of the run.
        kept: where the others are; empty where nothing outlives the error.
    """

    status: ClassVar[int] = 3
    MOST: ClassVar[int] = 3

    def __init__(self, failures: Sequence[Failure], left: int, total: int, kept: str) -> None:
        self.failures = tuple(failures)
        lines = [
            f"{len(failures)} of {total} units failed" + (f", {left} more were not begun" if left else "")
        ]
        for one in failures[: self.MOST]:
            lines.append(f"  {one.unit}{f' on {one.where}' if one.where else ''}: {one.cause}")
        if len(failures) > self.MOST:
            lines.append(f"  and {len(failures) - self.MOST} more")
        if kept:
            lines.append(f"what is finished is kept in {kept}; the same command goes on with the rest")
        super().__init__("\n".join(lines))


class Engine(Protocol):
    """Carries units out, here or elsewhere."""

    def run(self, job: Job[U], queue: Queue[U], regions: Regions, bar: Progress) -> None:
        """Carry out what is in the queue until it is empty or stopped."""


class Queue(Generic[U]):
    """Units that are left, in the order in which they are to be begun, and what became of those that were.

    Args:
        units: all that are not done.
        done: names of those that are.
    """

    def __init__(self, units: Sequence[U], done: Collection[str]) -> None:
        self.left = list(units)
        self.done = set(done)
        self.failures: list[Failure] = []
        self.error: BaseException | None = None
        self._tries: dict[str, int] = {}
        self._row = 0

    @property
    def stopped(self) -> bool:
        """Whether so many failed in a row that the others would as well."""
        return self._row >= FAILURES

    def take(self, most: int = 1, together: bool = True) -> list[U]:
        """The next unit that can be begun, with up to so many others that follow it.

        Args:
            most: units.
            together: also units that need others of these.
        """
        taken: dict[str, U] = {}
        places = []
        for place, unit in enumerate(self.left if not self.stopped else ()):
            if len(taken) >= most:
                break
            if all(name in self.done or (together and name in taken) for name in unit.needs):
                taken[unit.name] = unit
                places.append(place)
        for place in reversed(places):
            del self.left[place]
        return list(taken.values())

    def back(self, unit: U) -> None:
        """It was not tried, and waits for what it needs."""
        self.left.insert(0, unit)

    def finished(self, unit: U) -> None:
        """It is written and marked."""
        self.done.add(unit.name)
        self._row = 0

    def failed(self, unit: U, cause: str, where: str = "") -> bool:
        """It could not be computed; whether it is to be tried once more."""
        tries = self._tries[unit.name] = self._tries.get(unit.name, 0) + 1
        if tries < TRIES:
            return True
        self.failures.append(Failure(unit.name, cause, where))
        self._row += 1
        return False


def cause_of(error: BaseException) -> str:
    """An error in words: the message where it was written for people, with its kind otherwise."""
    text = str(error)
    return (
        text if isinstance(error, SkyweaveError) and text else f"{type(error).__name__}: {text}".rstrip(": ")
    )


def run_units(job: Job[U], units: Sequence[U], regions: Regions, bar: Progress, engine: Engine) -> None:
    """Carry out all units that are not done.

    Raises:
        FailedUnitsError: some failed each time; all others are written, but for those that need them.
    """
    queue = Queue([unit for unit in units if unit.name not in regions.done], regions.done)
    engine.run(job, queue, regions, bar)
    if queue.failures:
        blocked = sum(1 for unit in queue.left if unit.weight)
        raise FailedUnitsError(queue.failures, blocked, len(units), regions.kept_in) from queue.error
