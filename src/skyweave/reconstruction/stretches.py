"""A record cut into stretches of time whose observations are matched and assembled apart from one another."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from skyweave.observe.match import TimeAxis
from skyweave.observe.observation import GridObservation, StateObservation
from skyweave.state import time_dim

__all__ = ["Timed", "stretches_of", "timed"]

STRETCH_BYTES = 2**26
"""Memory that assembling one stretch may take, about."""
CELL_BYTES, REPORT_BYTES = 200, 1000
"""What a cell of a gridded source, and a report, take while they are assembled: copies of values, errors and rows."""


@dataclass(frozen=True, eq=False)
class Timed:
    """A source whose parts belong to frames.

    Args:
        source: that is cut.
        along: its dimension of time; empty where it is a table.
        owner: frame of each step or report: the first that it weighs, or the nearest where it weighs none.
        last: the last frame that it weighs.
        bytes: that assembling all of it would take.
    """

    source: StateObservation
    along: str
    owner: np.ndarray
    last: np.ndarray
    bytes: int

    def part(self, t0: int, t1: int) -> StateObservation:
        """What belongs to frames ``t0:t1``."""
        rows = np.flatnonzero((self.owner >= t0) & (self.owner < t1))
        # A copy that is not checked again: of some rows not even the errors need be there.
        cut = copy.copy(self.source)
        if isinstance(self.source, GridObservation):
            whole = len(rows) and rows[-1] - rows[0] == len(rows) - 1
            place = {self.along: slice(int(rows[0]), int(rows[-1]) + 1) if whole else rows}
            object.__setattr__(cut, "data", self.source.data.isel(place))
            if self.source.error_field is not None:
                object.__setattr__(cut, "error_field", self.source.error_field.isel(place))
        else:
            object.__setattr__(cut, "table", self.source.table.iloc[rows].reset_index(drop=True))
        return cut


def timed(source: StateObservation, axis: TimeAxis) -> Timed | None:
    """A source with the frames that its parts belong to; ``None`` where it has no times of its own to cut it by."""
    what, along = f"observation {source.label!r}", ""
    if isinstance(source, GridObservation):
        along = time_dim(source.data) or ""
        if not along:
            return None
        if along in source.data.coords:
            when = axis.number(source.data[along].values, what)
        elif source.data.sizes[along] == len(axis) and axis.values is not None:
            when = axis.values
        else:
            return None
        size = source.data.size * CELL_BYTES
    elif "time" in source.table:
        when = axis.number(source.table["time"].to_numpy(), what)
        size = len(source.table) * REPORT_BYTES
    else:
        return None
    match = axis.matched(when, source.time_window, source.time, what)
    nearest = axis.match(when, np.inf, "nearest").first
    owner, last = (np.where(match.inside, own, nearest) for own in (match.first, match.last))
    return Timed(_windowed(source, axis, what), along, owner, last, size)


def _windowed(source: StateObservation, axis: TimeAxis, what: str) -> StateObservation:
    """The source with the time window that it has by default in the whole record, which a stretch does not know."""
    if source.time_window is not None or source.time != "nearest":
        return source
    width = axis.window(None, what)
    stated: Any = width if axis.calendar is None else pd.Timedelta(seconds=width)
    cut = copy.copy(source)
    object.__setattr__(cut, "time_window", stated)
    return cut


def stretches_of(parts: Sequence[Timed], frames: int, limit: int | None = None) -> list[tuple[int, int]]:
    """Frames ``(t0, t1)`` that are assembled together: as many as fit, cut where no observation weighs both sides.

    Args:
        parts: all sources.
        frames: of the record.
        limit: bytes of a stretch, about.
    """
    total = max(1, sum(part.bytes for part in parts))
    most = max(1, frames * (STRETCH_BYTES if limit is None else limit) // total)
    tied = np.zeros(frames + 1, np.int64)
    for part in parts:
        np.add.at(tied, part.owner, 1)
        np.add.at(tied, part.last, -1)
    free = [0, *(np.flatnonzero(np.cumsum(tied)[: frames - 1] == 0) + 1).tolist(), frames]
    edges = [0]
    for edge, beyond in pairwise(free):
        if beyond - edges[-1] > most and edge > edges[-1]:
            edges.append(edge)
    return list(pairwise([*edges, frames]))
