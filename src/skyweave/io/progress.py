"""How far a run is: a bar on a terminal, timed lines with an estimate in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

__all__ = ["Progress"]

EVERY = 10.0
"""Seconds between two lines in a log."""


class Progress:
    """Tells how much of a run is done, on the error stream; nothing where it is not wanted.

    Args:
        total: of what is counted.
        what: is done with them, such as "units reconstructed".
        wanted: whether to tell.
        clock: seconds that go on.
    """

    def __init__(
        self, total: float, what: str, wanted: bool = True, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.total, self.what, self.wanted, self.clock = total, what, wanted, clock
        self.began = self.spoken = clock()
        self.done = self.skipped = 0.0
        self.bar: Any = _bar(what) if wanted and sys.stderr.isatty() else None
        self.task = None if self.bar is None else self.bar.add_task(what, total=total, text="")

    def __enter__(self) -> Self:
        if self.bar is not None:
            self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.stop()

    def skip(self, count: float) -> None:
        """So many were done by an earlier run; they say nothing of the time that the others take."""
        self.skipped += count
        self.to(self.done + count)

    def to(self, done: float, text: str = "", last: bool = False) -> None:
        """So much of the total is done; a log gets a line in ten seconds at most, and one at a longer run's end.

        Args:
            done: of the total.
            text: of what was found.
            last: tell it in any case.
        """
        self.done = done
        if self.bar is not None:
            self.bar.update(self.task, completed=done, text=text)
            return
        now = self.clock()
        ended = last or (done >= self.total and now - self.began > EVERY)
        if self.wanted and (now - self.spoken > EVERY or ended):
            self.spoken = now
            self._print(f"{now - self.began:7.0f} s  {self._told(now)}{'  ' + text if text else ''}")

    def say(self, text: str) -> None:
        """A line of its own."""
        if self.bar is not None:
            self.bar.console.print(text)
        elif self.wanted:
            self._print(text)

    def _told(self, now: float) -> str:
        count = f"{self.done:.1f}".removesuffix(".0")
        told = f"{count} of {self.total:g} {self.what}"
        own, left = self.done - self.skipped, self.total - self.done
        if own <= 0 or left <= 0:
            return told
        return f"{told}, about {_span((now - self.began) * left / own)} left"

    @staticmethod
    def _print(text: str) -> None:
        print(text, file=sys.stderr, flush=True)


def _span(seconds: float) -> str:
    for size, unit in ((3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def _bar(what: str) -> Any:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Bar

    return Bar(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[text]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
