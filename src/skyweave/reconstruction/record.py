"""Observations of a long record, of which only a stretch of time is in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import scipy.sparse as sp

from skyweave.errors import SkyweaveError
from skyweave.grid import Grid
from skyweave.observe.assemble import ObservationSet, SegmentObservations, assemble, distinct, nothing_left
from skyweave.observe.errors import ErrorCovariance
from skyweave.observe.match import TimeAxis
from skyweave.observe.observation import StateObservation
from skyweave.observe.operator import StateOperator
from skyweave.observe.report import Report
from skyweave.observe.segment import Source
from skyweave.reconstruction.stretches import Timed, stretches_of, timed
from skyweave.reconstruction.survey import Survey
from skyweave.state import StateSpec
from skyweave.transform import StateTransform

__all__ = ["Observed", "Record", "looked_at", "observe"]

SAMPLE_ROWS, SAMPLE_PARTS = 2**17, 64
"""Observations of a long record, and parts of it, by which the whole is judged."""


@dataclass(frozen=True, eq=False)
class Place:
    """What observations are brought to: variables, grid, times, transform and wanted cells of the state."""

    spec: StateSpec
    grid: Grid
    times: Any
    transform: StateTransform
    mask: np.ndarray | None

    def assembled(
        self, sources: Sequence[StateObservation], t0: int | None = None, t1: int | None = None
    ) -> ObservationSet:
        """Observations of frames ``t0:t1``, of which there may be none; of all frames some."""
        part = self.times if t0 is None else self.times[t0:t1]
        return assemble(
            sources, self.spec, self.grid, part, self.transform, self.mask, may_be_empty=t0 is not None
        )


@dataclass(eq=False)
class Record:
    """Sources whose observations are matched and assembled a stretch at a time, when they are asked for.

    Args:
        place: of the state.
        parts: the sources.
        stretches: frames that are assembled together.
        n: observations in all.
        report: what became of them.
        sources: their names, weights and kinds.
        digest: of all operators, values and errors.
        edges: stretches of frames that no observation ties to one another.
        counts: observations by first frame, source and variable; only where the record was looked through.
    """

    place: Place
    parts: tuple[Timed, ...]
    stretches: list[tuple[int, int]]
    n: int
    report: Report
    sources: tuple[Source, ...]
    digest: str
    edges: list[tuple[int, int]]
    counts: np.ndarray | None = field(repr=False)

    def __post_init__(self) -> None:
        self._held: tuple[tuple[int, int], ObservationSet] | None = None
        self._sample: ObservationSet | None = None

    def __getstate__(self) -> dict[str, Any]:
        # What is in memory is assembled anew wherever this goes.
        return self.__dict__ | {"_held": None, "_sample": None, "counts": None}

    @classmethod
    def of(cls, place: Place, parts: tuple[Timed, ...], stretches: list[tuple[int, int]]) -> Record:
        """Look through the whole record once, and keep what is small of it.

        Raises:
            SkyweaveError: sources that cannot be used, or no observation is left.
        """
        survey = Survey(len(place.times), len(parts), len(place.spec.variables))
        for t0, t1 in stretches:
            survey.add(place.assembled([p.part(t0, t1) for p in parts], t0, t1), t0)
        report, sources = survey.report(), survey.sources
        if not survey.n:
            raise SkyweaveError(nothing_left(report, place.grid, place.times))
        return cls(
            place,
            parts,
            stretches,
            survey.n,
            report,
            sources,
            survey.digest(),
            survey.segments(),
            survey.counts,
        )

    def fingerprint(self) -> str:
        """A digest of operator, values and errors."""
        return self.digest

    def segments(self, window: int = 1) -> list[tuple[int, int]]:
        """As those of an `ObservationSet`."""
        return self.edges if window == 1 else [(0, len(self.place.times))]

    def segment(self, t0: int, t1: int) -> SegmentObservations:
        """Observations that weigh frames ``t0 <= t < t1`` alone."""
        around, start = self.around(t0, t1)
        return around.segment(t0 - start, t1 - start)

    def around(self, t0: int, t1: int) -> tuple[ObservationSet, int]:
        """All observations that weigh a frame of ``t0:t1``, and perhaps others; the frame from which they count."""
        if self._held is None or not self._held[0][0] <= t0 < t1 <= self._held[0][1]:
            frames = len(self.place.times)
            span = next((s for s in self.stretches if s[0] <= t0 < t1 <= s[1]), None)
            if span is None:
                # Where observations tie frames, those beside the stretch may stand in one row with its own.
                span = max(0, t0 - 2), min(frames, t1 + 2)
            self._held = None  # before the next: never two of them
            self._held = span, self.place.assembled([p.part(*span) for p in self.parts], *span)
        return self._held[1], self._held[0][0]

    def sample(self, window: int) -> ObservationSet:
        """Parts of the record, spread over it, in which every source and variable is seen; in frames of the whole."""
        if self._sample is None:
            frames, chosen = len(self.place.times), []
            for t0, t1 in _spread(self.counts, self.edges if window == 1 else _windows(frames, window)):
                around, start = self.around(t0, t1)
                chosen.append(shifted(around, around.rows(t0 - start, t1 - start), start, frames))
            self._sample = joined(chosen, self.report)
        return self._sample


Observed = ObservationSet | Record
"""Observations of all times: in memory, or of a record too long for it."""


def observe(place: Place, sources: Sequence[StateObservation], whole: bool = False) -> Observed:
    """Observations of a state at all its times; those of a long record stay where they are.

    Args:
        place: of the state.
        sources: as in `assemble`.
        whole: all in memory, however many there are.

    Raises:
        SkyweaveError: sources that cannot be used, or no observation is left.
    """
    if whole or place.times is None or len(place.times) == 1:
        return place.assembled(sources)
    axis, names = TimeAxis.of(place.times), distinct([source.label for source in sources])
    named = [s if s.name == name else s.renamed(name) for s, name in zip(sources, names, strict=True)]
    parts = [timed(source, axis) for source in named]
    cut = [part for part in parts if part is not None]
    stretches = stretches_of(cut, len(axis)) if len(cut) == len(parts) else []
    if len(stretches) < 2:
        return place.assembled(sources)
    return Record.of(place, tuple(cut), stretches)


def looked_at(observed: Observed, window: int) -> ObservationSet:
    """Observations by which a scene is judged: all that are in memory, or a sample of a long record."""
    return observed.sample(window) if isinstance(observed, Record) else observed


def _windows(frames: int, window: int) -> list[tuple[int, int]]:
    return [(t, t + window) for t in range(0, frames - window + 1, window)]


def _spread(counts: np.ndarray | None, parts: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Some of the parts, in order: a few for each source and variable, and more from all over the record."""
    assert counts is not None, "a record that was sent elsewhere is judged where it came from"
    flat = counts.reshape(len(counts), -1)
    total = np.concatenate([np.zeros((1, flat.shape[1]), np.int64), np.cumsum(flat, 0, dtype=np.int64)])
    each = np.stack([total[t1] - total[t0] for t0, t1 in parts])
    chosen: dict[int, None] = {}
    # The rarest first: the others are mostly there as well.
    for group in [*np.argsort((each > 0).sum(0), kind="stable").tolist(), None]:
        there = np.flatnonzero(each.any(1) if group is None else each[:, group])
        most = SAMPLE_PARTS if group is None else max(2, SAMPLE_PARTS // max(1, flat.shape[1]))
        if len(there):
            spread = np.linspace(0, len(there) - 1, min(most, len(there))).astype(int)
            chosen |= dict.fromkeys(there[spread].tolist())
    order = np.array(list(chosen)[:SAMPLE_PARTS])
    before = np.concatenate([[0], np.cumsum(each[order].sum(1))[:-1]])
    return [parts[k] for k in sorted(order[before <= SAMPLE_ROWS].tolist())]


def shifted(part: ObservationSet, rows: np.ndarray, start: int, frames: int) -> ObservationSet:
    """Some rows of a stretch that begins at a frame, as rows of a whole record of so many frames."""
    _, *area = part.operator.shape
    matrix, size = sp.csr_array(part.operator.matrix[rows]), int(np.prod(area))
    columns = matrix.indices.astype(np.int64) + start * size
    matrix = sp.csr_array((matrix.data, columns, matrix.indptr), shape=(len(rows), frames * size))
    cell = part.cell[rows]
    return replace(
        part,
        operator=StateOperator(matrix, (frames, *area), part.operator.transform),  # type: ignore[arg-type]
        value=part.value[rows],
        R=part.R.take(rows),
        source=part.source[rows],
        channel=part.channel[rows],
        cell=np.where(cell >= 0, cell + start * size, -1),
        first=part.first[rows] + start,
        last=part.last[rows] + start,
        weight=part.weight[rows],
        predictors={name: one[rows] for name, one in part.predictors.items()},
    )


def joined(parts: Sequence[ObservationSet], report: Report) -> ObservationSet:
    """Rows of one record after the other, in order of time."""
    first = parts[0]
    matrix = sp.csr_array(sp.vstack([part.operator.matrix for part in parts], format="csr"))
    return replace(
        first,
        operator=StateOperator(matrix, first.operator.shape, first.operator.transform),
        value=np.concatenate([part.value for part in parts]),
        R=ErrorCovariance.stack([part.R for part in parts]),
        source=np.concatenate([part.source for part in parts]),
        channel=np.concatenate([part.channel for part in parts]),
        cell=np.concatenate([part.cell for part in parts]),
        first=np.concatenate([part.first for part in parts]),
        last=np.concatenate([part.last for part in parts]),
        weight=np.concatenate([part.weight for part in parts]),
        report=report,
        predictors={},
    )
