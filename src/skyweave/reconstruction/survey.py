"""What is kept of a record that is looked through a stretch at a time: counts, a digest, a report."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from skyweave.observe.assemble import ObservationSet
from skyweave.observe.report import Report, SourceReport
from skyweave.observe.segment import Source

__all__ = ["Survey", "merged_reports"]

NUMBER = re.compile(r"\d[\d.,:eE+-]*")


class Survey:
    """Adds up stretches of a record; its memory does not grow with their number but for a few counts a frame.

    Args:
        frames, sources, variables: of the record.
    """

    def __init__(self, frames: int, sources: int, variables: int) -> None:
        self.frames, self.n = frames, 0
        self.counts = np.zeros((frames, sources, variables), np.int32)
        """Observations by first frame, source and variable."""
        self.sources: tuple[Source, ...] = ()
        self._tied = np.zeros(frames + 1, np.int64)
        self._report: list[SourceReport] = []
        self._notes: list[dict[str, list[Any]]] = [{} for _ in range(sources)]
        self._digests: dict[str, Any] = {}

    def add(self, part: ObservationSet, start: int) -> None:
        """The next stretch, which begins at a frame."""
        self.sources = part.sources
        first, last = part.first + start, part.last + start
        np.add.at(self.counts, (first, part.source, part.channel), 1)
        np.add.at(self._tied, first, 1)
        np.add.at(self._tied, last, -1)
        self._hash(part, start)
        self.n += part.n
        for notes, source in zip(self._notes, part.report.sources, strict=True):
            for note in source.notes:
                found = notes.setdefault(NUMBER.sub("#", note), [note, 0, set()])
                found[1] += 1
                found[2].add(note)
        bare = [replace(source, notes=()) for source in part.report.sources]
        self._report = merged_reports(self._report, bare) if self._report else bare

    def segments(self) -> list[tuple[int, int]]:
        """Stretches of frames that no observation ties to one another, as of an `ObservationSet`."""
        cuts = np.flatnonzero(np.cumsum(self._tied)[: self.frames - 1] == 0) + 1
        return list(pairwise([0, *cuts.tolist(), self.frames]))

    def report(self) -> Report:
        """The counts of all stretches; of notes that differ in their numbers alone the first."""
        out = []
        for source, notes in zip(self._report, self._notes, strict=True):
            told = [
                note
                if len(kinds) == 1
                else f"{note} (so the first of {count} stretches of time with such a note)"
                for note, count, kinds in notes.values()
            ]
            out.append(replace(source, notes=tuple(told)))
        return Report(tuple(out))

    def digest(self) -> str:
        """Names operators, values and errors, whatever the stretches were."""
        told = {name: digest.hexdigest() for name, digest in self._digests.items()}
        return hashlib.sha256(repr(sorted(told.items())).encode()).hexdigest()

    def _hash(self, part: ObservationSet, start: int) -> None:
        matrix = part.operator.matrix
        area = int(np.prod(part.operator.shape[1:]))
        streams: dict[str, list[np.ndarray]] = {
            "rows": [np.diff(matrix.indptr).astype(np.int64)],
            "columns": [matrix.indices.astype(np.int64) + start * area],
            "weights": [matrix.data],
            "value": [part.value],
            "variance": [part.R.variance],
            "source": [part.source.astype(np.int64)],
            "lambda": [part.weight],
            "blocks": [],
        }
        # In the order of their rows, which no stretch changes.
        for block in sorted(part.R.blocks, key=lambda block: int(min(block.index))):
            kind = np.frombuffer(f"{block.length_km} {block.kind}".encode(), np.uint8)
            streams["blocks"] += [kind, np.asarray(block.index, np.int64) + self.n, block.position]
        for name, arrays in streams.items():
            digest = self._digests.setdefault(name, hashlib.sha256())
            for array in arrays:
                digest.update(np.ascontiguousarray(array).tobytes())


def merged_reports(first: Sequence[SourceReport], second: Sequence[SourceReport]) -> list[SourceReport]:
    """The reports of the same sources of two stretches as those of both together."""
    out = []
    for a, b in zip(first, second, strict=True):
        dropped = {
            k: a.dropped.get(k, 0) + b.dropped.get(k, 0) for k in dict.fromkeys([*a.dropped, *b.dropped])
        }
        error = dict(a.error)
        for name, (low, high) in b.error.items():
            own = error.get(name, (low, high))
            error[name] = min(own[0], low), max(own[1], high)
        both = replace(a, given=a.given + b.given, used=a.used + b.used, rows=a.rows + b.rows)
        out.append(replace(both, dropped=dropped, error=error))
    return out
