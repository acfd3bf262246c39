"""What became of every sounding: levels rejected, values at the wanted levels, and why there is none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["SoundingReport", "VariableReport"]


@dataclass(frozen=True)
class VariableReport:
    """One variable of the state: ``given == used + sum(dropped.values())``.

    Args:
        name: of the variable.
        quantity: what it is, a CF standard name.
        level: hPa, ``None`` for the surface.
        given: soundings, each of which may have one value.
        used: observations made.
        dropped: soundings without one, by reason.
        error: least and greatest standard deviation, in the variable's units.
    """

    name: str
    quantity: str
    level: float | None
    given: int
    used: int
    dropped: Mapping[str, int] = field(default_factory=dict)
    error: tuple[float, float] | None = None


@dataclass(frozen=True)
class SoundingReport:
    """All variables of one source of soundings; prints as a table.

    Args:
        name: of the source.
        soundings, levels: how many there were.
        read: what the reader counted.
        values: levels that report each quantity.
        rejected: levels rejected by quality control, by reason and quantity.
        wind_only: levels with a height but no pressure, and how many of them were given one.
        no_pressure: levels with neither.
        assumed_release: soundings whose time of release was assumed.
        unused: values at mandatory levels that the state lacks, by quantity and pressure.
        variables: one entry per variable that soundings can observe.
        not_compared: observations for which there was no background to check them against; ``None`` without a check.
    """

    name: str
    soundings: int
    levels: int
    read: Mapping[str, int]
    values: Mapping[str, int]
    rejected: Mapping[str, Mapping[str, int]]
    wind_only: tuple[int, int]
    no_pressure: int
    assumed_release: int
    unused: Mapping[str, Mapping[float, int]]
    variables: tuple[VariableReport, ...]
    not_compared: int | None = None

    @property
    def used(self) -> int:
        """Observations made."""
        return sum(v.used for v in self.variables)

    @property
    def dropped(self) -> dict[str, int]:
        """Soundings without a value, by reason, summed over the variables."""
        total: dict[str, int] = {}
        for variable in self.variables:
            for reason, n in variable.dropped.items():
                total[reason] = total.get(reason, 0) + n
        return total

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and strings, for JSON."""
        own = {k: getattr(self, k) for k in self.__dataclass_fields__ if k != "variables"}
        own["unused"] = {q: {f"{p:g}": n for p, n in by.items()} for q, by in self.unused.items()}
        own["variables"] = [{**vars(v), "dropped": dict(v.dropped)} for v in self.variables]
        return own

    def __str__(self) -> str:
        lines = [f"{self.name}: {self.soundings} soundings, {self.levels} levels"]
        lines += [
            f"  read: {n} {what}" for what, n in self.read.items() if what not in ("soundings", "levels")
        ]
        if self.no_pressure:
            lines.append(f"  {self.no_pressure} levels without pressure and height")
        if self.wind_only[0]:
            lines.append(f"  {self.wind_only[1]} of {self.wind_only[0]} wind-only levels given a pressure")
        if self.assumed_release:
            lines.append(f"  {self.assumed_release} releases taken to be half an hour before the hour")
        for reason, by in self.rejected.items():
            told = ", ".join(f"{n} of {self.values[q]} {q}" for q, n in by.items())
            lines.append(f"  rejected, {reason}: {told}")
        for quantity, counts in self.unused.items():
            levels = ", ".join(f"{p:g}" for p in sorted(counts, reverse=True)[:8])
            levels += ", ..." if len(counts) > 8 else ""
            lines.append(
                f"  at levels that the state lacks: {sum(counts.values())} {quantity} ({levels} hPa)"
            )
        if self.not_compared is not None:
            lines.append(f"  {self.not_compared} observations without a background to compare with")
        head = ("variable", "hPa", "soundings", "used", "error", "dropped")
        rows = [head, *(_row(v) for v in self.variables)]
        width = [max(len(row[k]) for row in rows) for k in range(len(head))]
        lines += ["  " + "  ".join(c.ljust(w) for c, w in zip(r, width, strict=True)).rstrip() for r in rows]
        return "\n".join(lines)


def _row(v: VariableReport) -> tuple[str, ...]:
    level = "surface" if v.level is None else f"{v.level:g}"
    error = "-"
    if v.error is not None:
        low, high = (f"{e:.3g}" for e in v.error)
        error = low if low == high else f"{low} to {high}"
    dropped = ", ".join(f"{n} {reason}" for reason, n in v.dropped.items())
    return (v.name, level, str(v.given), str(v.used), error, dropped)
