"""What became of every observation: used, or dropped and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from skyweave.observe.sounding_report import SoundingReport

__all__ = ["BETWEEN_LEVELS", "REASONS", "Report", "SourceReport", "Tally"]

BETWEEN_LEVELS = "between levels"

REASONS = (
    "unknown variable",
    BETWEEN_LEVELS,
    "outside time window",
    "outside domain",
    "footprint partly outside",
    "NaN",
    "out of range",
    "non-positive error",
    "duplicated",
    "masked cells",
    "sparsely observed cell",
    "thinned",
)


class Tally:
    """Counts the observations of one source as they are dropped, each under its first reason."""

    def __init__(self, n: int) -> None:
        self.alive = np.ones(n, bool)
        self.dropped: dict[str, int] = {}

    def drop(self, bad: np.ndarray, reason: str) -> np.ndarray:
        """Drop what is still alive and ``bad`` (boolean, broadcast to all observations); returns which."""
        hit = self.alive & bad
        if hit.any():
            self.dropped[reason] = self.dropped.get(reason, 0) + int(hit.sum())
            self.alive &= ~hit
        return hit


@dataclass(frozen=True)
class SourceReport:
    """One source: ``given == used + sum(dropped.values())``.

    Args:
        name: of the source.
        kind: ``"grid"`` or ``"points"``.
        operator: how the state is seen.
        weight: ``lambda_m``.
        given: observations handed over (table rows; cells times time steps).
        used: those that entered.
        rows: rows of the operator; fewer than ``used`` where several were averaged into one.
        dropped: how many were not used, by reason.
        error: least and greatest standard deviation of the rows by variable, in its units.
        notes: what was assumed, and what is to be known of those that were dropped.
        soundings: what became of the soundings that observations were made of.
    """

    name: str
    kind: str
    operator: str
    weight: float
    given: int = 0
    used: int = 0
    rows: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    error: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    soundings: SoundingReport | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and strings, for JSON."""
        return {
            "name": self.name,
            "kind": self.kind,
            "operator": self.operator,
            "weight": self.weight,
            "given": self.given,
            "used": self.used,
            "rows": self.rows,
            "dropped": dict(self.dropped),
            "error": {k: list(v) for k, v in self.error.items()},
            "notes": list(self.notes),
            **({} if self.soundings is None else {"soundings": self.soundings.to_dict()}),
        }


@dataclass(frozen=True)
class Report:
    """All sources; prints as a table."""

    sources: tuple[SourceReport, ...]

    @property
    def used(self) -> int:
        return sum(s.used for s in self.sources)

    @property
    def dropped(self) -> dict[str, int]:
        """Counts by reason over all sources."""
        total: dict[str, int] = {}
        for source in self.sources:
            for reason, count in source.dropped.items():
                total[reason] = total.get(reason, 0) + count
        return total

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and strings, for JSON."""
        return {"sources": [s.to_dict() for s in self.sources]}

    def __str__(self) -> str:
        if not self.sources:
            return "no observations"
        head = ("source", "operator", "weight", "given", "used", "rows")
        body = [
            (s.name, s.operator, f"{s.weight:g}", str(s.given), str(s.used), str(s.rows))
            for s in self.sources
        ]
        width = [max(len(row[k]) for row in [head, *body]) for k in range(len(head))]
        lines = [_aligned(head, width)]
        for source, row in zip(self.sources, body, strict=True):
            lines.append(_aligned(row, width))
            if source.dropped:
                ordered = sorted(source.dropped.items(), key=lambda item: REASONS.index(item[0]))
                lines.append("  dropped: " + ", ".join(f"{count} {reason}" for reason, count in ordered))
            for variable, (low, high) in source.error.items():
                span = f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}"
                lines.append(f"  error of {variable}: {span}")
            lines += [f"  {note}" for note in source.notes]
            if source.soundings is not None:
                lines += [f"  {line}" for line in str(source.soundings).splitlines()]
        return "\n".join(lines)


def _aligned(row: tuple[str, ...], width: list[int]) -> str:
    cells = [c.ljust(w) if k < 2 else c.rjust(w) for k, (c, w) in enumerate(zip(row, width, strict=True))]
    return "  ".join(cells).rstrip()
