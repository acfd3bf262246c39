"""What a reconstruction will do before it does anything: units of work, evaluations, memory."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Plan", "Unit", "make_units", "member_bytes"]


@dataclass(frozen=True)
class Unit:
    """Independent work: the members ``m0:m1`` of the times ``t0:t1``."""

    t0: int
    t1: int
    m0: int
    m1: int

    @property
    def name(self) -> str:
        return f"t{self.t0}-{self.t1} m{self.m0}-{self.m1}"


@dataclass(frozen=True)
class Plan:
    """The work, its cost and what was kept of the observations.

    Args:
        units: of work, in the order in which they run.
        shape: ``(members, times, channels, lat, lon)`` of the result.
        batch: members sampled at once.
        evaluations: of the network for each member and time.
        peak_bytes: predicted peak of memory beyond the libraries themselves.
        report: counts of observations used and dropped, printable.
        settings: everything the values depend on.
    """

    units: tuple[Unit, ...]
    shape: tuple[int, int, int, int, int]
    batch: int
    evaluations: int
    peak_bytes: int
    report: Any
    settings: dict[str, Any]

    @property
    def digest(self) -> str:
        """Names the settings: a run resumes only with the same."""
        return hashlib.sha256(json.dumps(self.settings, sort_keys=True, default=str).encode()).hexdigest()

    def __str__(self) -> str:
        members, times, channels, height, width = self.shape
        lines = [
            f"work          {members} members x {times} times of {channels} x {height} x {width} cells, "
            f"in {len(self.units)} units of at most {self.batch} members",
            f"evaluations   {self.evaluations} per member and time, {self.evaluations * members * times} in all",
            f"memory        about {self.peak_bytes / 2**20:.0f} MiB at the peak, beyond some 400 MiB of libraries",
            str(self.report),
        ]
        return "\n".join(lines)


def make_units(segments: Sequence[tuple[int, int]], members: int, batch: int) -> tuple[Unit, ...]:
    """Segments of time by blocks of members."""
    return tuple(
        Unit(t0, t1, m0, min(m0 + batch, members)) for t0, t1 in segments for m0 in range(0, members, batch)
    )


def member_bytes(frames: int, channels: int, height: int, width: int) -> int:
    """Working memory of one member: states of the solver and Fourier coefficients on the padded domain.

    Twelve single-precision copies of the state (``x``, noise, two estimates, the update and their temporaries), and
    six of the transform on a domain that padding makes up to four times as large.
    """
    cells = frames * channels * height * width
    return 4 * cells * (12 + 6 * 4)
