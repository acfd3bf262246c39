"""All observations as one operator, one vector and one error covariance, sliced by time."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
import xarray as xr
from torch import Tensor

from skyweave.errors import SkyweaveError
from skyweave.grid import Grid
from skyweave.observe.errors import ErrorCovariance
from skyweave.observe.grids import grid_rows
from skyweave.observe.match import TimeAxis
from skyweave.observe.observation import GridObservation, Observation
from skyweave.observe.operator import StateOperator
from skyweave.observe.points import point_rows
from skyweave.observe.report import Report, SourceReport
from skyweave.observe.rows import Frame, Rows
from skyweave.observe.segment import SegmentObservations, Source
from skyweave.observe.soundings import on_levels
from skyweave.state import StateSpec
from skyweave.transform import StateTransform

__all__ = [
    "ObservationSet", "SegmentObservations", "Source", "assemble", "distinct", "is_called", "no_observations",
    "nothing_left",
]  # fmt: skip

PLACE_OR_TIME = {"outside time window", "outside domain", "footprint partly outside", "masked cells"}
"""Reasons for which observations are dropped that domain and times explain."""


@dataclass(frozen=True, eq=False)
class ObservationSet:
    """All observations, rows in order of time and then of source.

    Args:
        operator: ``H`` on states ``(M, T, C, H, W)``.
        value: physical units, shape ``(n,)``.
        R: error covariance, divided by the weights of the sources.
        source, channel, cell: as in `SegmentObservations`, of the whole state.
        first, last: frames that a row weighs, shape ``(n,)``; ``first`` ascends.
        spec: the state.
        sources: names, weights and kinds.
        report: what became of every observation; prints as a table.
        weight: by which the error variance of each row was divided, shape ``(n,)``; empty for one.
        predictors: of biases, by name, one number a row, NaN where its source has none.
    """

    operator: StateOperator
    value: np.ndarray
    R: ErrorCovariance
    source: np.ndarray
    channel: np.ndarray
    cell: np.ndarray
    first: np.ndarray
    last: np.ndarray
    spec: StateSpec
    sources: tuple[Source, ...]
    report: Report
    weight: np.ndarray = field(default_factory=lambda: np.zeros(0))
    predictors: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def n(self) -> int:
        return len(self.value)

    @property
    def y(self) -> Tensor:
        """Values in physical units, shape ``(n,)``, float32."""
        return torch.from_numpy(self.value).float()

    def segment(self, t0: int, t1: int) -> SegmentObservations:
        """Observations that weigh frames ``t0 <= t < t1`` alone.

        Raises:
            ValueError: for frames that are not there.
        """
        frames, channels, height, width = self.operator.shape
        if not 0 <= t0 < t1 <= frames:
            raise ValueError(f"segment {t0}:{t1} of {frames} frames")
        begin, end = np.searchsorted(self.first, [t0, t1])
        rows = self.rows(t0, t1)
        across = int(end - begin - len(rows)) + int(((self.first < t0) & (self.last >= t0)).sum())
        area = channels * height * width
        matrix = sp.csr_array(self.operator.matrix[begin:end][rows - begin][:, t0 * area : t1 * area])
        cell = self.cell[rows]
        return SegmentObservations(
            StateOperator(matrix, (t1 - t0, channels, height, width), self.operator.transform),
            torch.from_numpy(self.value[rows]).float(),
            self.R.take(rows),
            source=self.source[rows],
            channel=self.channel[rows],
            cell=np.where(cell >= 0, cell - t0 * area, -1),
            frame=self.first[rows] - t0,
            straddling=across,
            weight=self.weight[rows] if len(self.weight) else self.weight,
            sources=self.sources,
        )

    def rows(self, t0: int, t1: int) -> np.ndarray:
        """Rows that weigh frames ``t0 <= t < t1`` alone, those of `segment`."""
        begin, end = np.searchsorted(self.first, [t0, t1])
        return np.arange(begin, end)[self.last[begin:end] < t1]

    def segments(self, window: int = 1) -> list[tuple[int, int]]:
        """Stretches of frames ``(t0, t1)`` whose posteriors do not depend on one another.

        With a prior of single frames each frame stands alone, unless observations interpolated in time tie it to
        the next; with a window of several frames the whole series hangs together.
        """
        frames = self.operator.shape[0]
        if window > 1:
            return [(0, frames)]
        tied = np.zeros(frames + 1, np.int64)
        np.add.at(tied, self.first, 1)
        np.add.at(tied, self.last, -1)
        cuts = np.flatnonzero(np.cumsum(tied)[: frames - 1] == 0) + 1
        edges = [0, *cuts.tolist(), frames]
        return list(pairwise(edges))

    def observed_mask(self, variable: str) -> np.ndarray:
        """Cells observed directly: by a value on the state's own cell, or a point inside it; ``(T, H, W)``.

        A mean over several cells says nothing certain of any of them, so that its cells count as filled; they are
        in `support_mask`. A point between two analysis times counts for the nearer one.
        """
        return self._cells(self.cell[self.cell >= 0], variable)

    def support_mask(self, variable: str) -> np.ndarray:
        """Cells with weight in any observation, area means included; ``(T, H, W)``."""
        return self._cells(np.unique(self.operator.matrix.indices), variable)

    def _cells(self, columns: np.ndarray, variable: str) -> np.ndarray:
        hit = np.zeros(self.operator.shape, bool)
        hit.reshape(-1)[columns] = True
        return hit[:, self.spec.channel(variable)]

    def cells(self, t0: int, t1: int) -> tuple[np.ndarray, np.ndarray]:
        """`observed_mask` and `support_mask` of all variables in frames ``t0 <= t < t1``, each ``(t, C, H, W)``."""
        _, *area = self.operator.shape
        size = int(np.prod(area))
        # Rows ascend in their first frame, and weigh few.
        longest = int((self.last - self.first).max(initial=0))
        begin, end = np.searchsorted(self.first, [t0 - longest, t1])
        direct = self.cell[begin:end]
        out = []
        for columns in (direct, self.operator.matrix[begin:end].indices.astype(np.int64)):
            hit = np.zeros((t1 - t0) * size, bool)
            inside = (columns >= t0 * size) & (columns < t1 * size)
            hit[columns[inside] - t0 * size] = True
            out.append(hit.reshape(t1 - t0, *area))
        return out[0], out[1]

    def fingerprint(self) -> str:
        """A digest of operator, values and errors: equal for equal observations, whatever files they came in."""
        digest = hashlib.sha256(repr(self.operator.shape).encode())
        matrix = self.operator.matrix
        parts: list[Any] = [matrix.indptr.astype(np.int64), matrix.indices.astype(np.int64), matrix.data]
        parts += [self.value, self.R.variance, self.source, self.weight]
        for block in self.R.blocks:
            digest.update(f"{block.length_km} {block.kind}".encode())
            parts += [np.asarray(block.index, np.int64), block.position]
        for part in parts:
            digest.update(np.ascontiguousarray(part).tobytes())
        return digest.hexdigest()


def assemble(
    observations: Sequence[Observation] | Observation,
    spec: StateSpec,
    grid: Grid,
    times: Any = None,
    transform: StateTransform | None = None,
    domain_mask: xr.DataArray | np.ndarray | None = None,
    *,
    may_be_empty: bool = False,
) -> ObservationSet:
    r"""Check, match and stack observations.

    .. math:: y = H(x) + \epsilon, \quad \epsilon \sim N(0, R), \quad
              R = \mathrm{blockdiag}(R_m / \lambda_m)

    Args:
        observations: sources; their order only decides the numbers of the sources.
        spec: variables of the state.
        grid: its grid.
        times: its times, ascending: dates (datetime64 or cftime) or numbers; ``None`` for one undated state,
            which takes observations of any time.
        transform: of the prior; ``None`` for a state in physical units.
        domain_mask: true where fields are wanted, ``(H, W)`` or any shape that fits ``(T, C, H, W)``; cells where
            it is false are never filled, and observations whose footprint touches them are dropped.
        may_be_empty: some of the times of a record may have no observation.

    Raises:
        SkyweaveError: for sources that cannot be used, or when no observation is left (with the counts).
    """
    sources = [observations] if isinstance(observations, Observation) else list(observations)
    if not sources:
        raise SkyweaveError("no observations: give at least one GridObservation or PointObservation")
    for item in sources:
        if not isinstance(item, Observation):
            raise SkyweaveError(
                "observations are GridObservation, PointObservation or SoundingObservation, found "
                f"{type(item).__name__}"
            )
    given = on_levels(sources, spec)
    axis = TimeAxis.of(times)
    shape = (len(axis), len(spec.variables), *grid.shape)
    state = Frame(spec, grid, axis, _wanted(domain_mask, grid, shape))
    names = distinct([o.label for o in given])
    parts = [
        grid_rows(o, name, state) if isinstance(o, GridObservation) else point_rows(o, name, state)
        for o, name in zip(given, names, strict=True)
    ]
    used = tuple(
        Source(name, o.weight, p.report.kind) for name, o, p in zip(names, given, parts, strict=True)
    )
    report = Report(tuple(part.report for part in parts))
    if not may_be_empty and not any(len(part.value) for part in parts):
        raise SkyweaveError(nothing_left(report, grid, times))
    return _stacked(parts, used, report, shape, spec, transform)


def no_observations(
    spec: StateSpec, grid: Grid, frames: int, transform: StateTransform | None = None
) -> ObservationSet:
    """An empty set: what draws of the prior itself are given."""
    shape = (frames, len(spec.variables), *grid.shape)
    none, empty = np.zeros(0), np.zeros(0, np.int64)
    matrix = sp.csr_array((0, int(np.prod(shape))))
    return ObservationSet(
        operator=StateOperator(matrix, shape, transform),
        value=none,
        R=ErrorCovariance(none),
        source=empty,
        channel=empty,
        cell=empty,
        first=empty,
        last=empty,
        spec=spec,
        sources=(),
        report=Report(()),
    )


def _stacked(
    parts: Sequence[Rows],
    sources: tuple[Source, ...],
    report: Report,
    shape: tuple[int, int, int, int],
    spec: StateSpec,
    transform: StateTransform | None,
) -> ObservationSet:
    first = np.concatenate([part.first for part in parts])
    order = np.argsort(first, kind="stable")

    def together(columns: list[np.ndarray]) -> np.ndarray:
        return np.concatenate(columns)[order]

    R = ErrorCovariance.stack([p.R.scaled(1 / s.weight) for p, s in zip(parts, sources, strict=True)])
    number = np.repeat(np.arange(len(parts)), [len(p.value) for p in parts])
    names = sorted({name for part in parts for name in part.predictors})
    predictors = {
        name: np.concatenate([p.predictors.get(name, np.full(len(p.value), np.nan)) for p in parts])[order]
        for name in names
    }
    matrix = sp.csr_array(sp.vstack([part.matrix for part in parts], format="csr"))[order]
    return ObservationSet(
        operator=StateOperator(sp.csr_array(matrix), shape, transform),
        value=together([part.value for part in parts]),
        R=R.take(order),
        source=number[order],
        channel=together([part.channel for part in parts]),
        cell=together([part.cell for part in parts]),
        first=first[order],
        last=together([part.last for part in parts]),
        spec=spec,
        sources=sources,
        report=report,
        weight=np.array([s.weight for s in sources])[number[order]],
        predictors=predictors,
    )


def _wanted(
    mask: xr.DataArray | np.ndarray | None, grid: Grid, shape: tuple[int, int, int, int]
) -> np.ndarray | None:
    if mask is None:
        return None
    if isinstance(mask, xr.DataArray):
        own = Grid.from_dataset(mask)
        if not own.same_as(grid):
            raise SkyweaveError(
                f"domain mask: its grid is {own.describe()}, the state's is {grid.describe()}"
            )
        mask = mask.transpose(..., *own.dims_in(mask)).values
    values = np.nan_to_num(np.asarray(mask, float)) > 0.5
    try:
        return np.broadcast_to(values, shape).reshape(-1)
    except ValueError:
        raise SkyweaveError(f"domain mask: shape {values.shape} does not fit {shape}") from None


def is_called(key: str, name: str) -> bool:
    """Whether a source has that name, or is one of several of that name, which are numbered."""
    return name == key or (name.startswith(f"{key} (") and name.endswith(")"))


def distinct(names: Sequence[str]) -> list[str]:
    """The names, numbered where they repeat."""
    out: list[str] = []
    for name in names:
        candidate, k = name, 2
        while candidate in out:
            candidate, k = f"{name} ({k})", k + 1
        out.append(candidate)
    return out


def nothing_left(report: Report, grid: Grid, times: Any) -> str:
    """Why no observation is left, and what would leave some."""
    lines = [f"no observation is left of {sum(s.given for s in report.sources)}:"]
    for source in report.sources:
        lines += [f"  {source.name}: {_counts(source)}", *(f"    {note}" for note in source.notes)]
    if any(PLACE_OR_TIME & set(source.dropped) or not source.dropped for source in report.sources):
        stamps = None if times is None else np.atleast_1d(np.asarray(times))
        when = "" if stamps is None else f", times {stamps[0]} to {stamps[-1]}"
        lines.append(f"the state covers {grid.describe()}{when}")
    hints = {
        "unknown variable": "tables whose variables have the state's names, or a prior of these variables",
        "outside time window": "times that match, or a wider time_window",
        "outside domain": "a grid (like, --like) that reaches the observations",
        "non-positive error": "errors above zero",
    }
    wanted = [hint for reason, hint in hints.items() if reason in report.dropped]
    if wanted:
        lines.append(f"give {'; '.join(wanted)}")
    return "\n".join(lines)


def _counts(source: SourceReport) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in source.dropped.items()) or "empty"
