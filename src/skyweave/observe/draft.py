"""Rows in the making: values of one source in the state's units, and the stages that every kind passes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import scipy.sparse as sp

from skyweave.observe.errors import CorrelatedBlock, ErrorCovariance, ErrorModel
from skyweave.observe.report import SourceReport, Tally
from skyweave.observe.rows import Frame, Rows, beyond_limits
from skyweave.observe.twins import Twins
from skyweave.state import Variable

__all__ = ["Draft", "Values", "bad_errors"]


@dataclass(eq=False)
class Values:
    """Observations of one source as they were given, and in the units of the state; arrays of one shape.

    Args:
        raw: values as they were given.
        own: standard deviations given with them, NaN where there is none; ``None`` where there are none at all.
        value: in the state's units.
        measured, variance: of the error of the instrument, and of the whole error, those units squared.
        beyond: whether a value is out of range.
    """

    raw: np.ndarray
    own: np.ndarray | None
    value: np.ndarray = field(init=False)
    measured: np.ndarray = field(init=False)
    variance: np.ndarray = field(init=False)
    beyond: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.value = self.raw.copy()
        self.measured, self.variance = np.zeros(self.raw.shape), np.zeros(self.raw.shape)
        self.beyond = np.zeros(self.raw.shape, bool)

    def convert(
        self,
        part: Any,
        variable: Variable,
        law: tuple[float, float],
        model: ErrorModel,
        limits: tuple[float | None, float | None],
    ) -> ErrorModel:
        """Bring values of one variable and unit to those of the state.

        Args:
            part: index of these values.
            variable: of the state.
            law: scale and offset of the units.
            model: of the errors, in the units of the values.
            limits: (low, high) in the units of the values.

        Returns:
            What representativeness, which values of one cell share, adds: a model in the units of the state.
        """
        raw, own = self.raw[part], None if self.own is None else self.own[part]
        scale, offset = law
        shared = ErrorModel(
            0.0, 0.0, model.representativeness * abs(scale), model.correlation_length_km, model.correlation
        )
        self.value[part] = raw * scale + offset
        self.measured[part] = model.measurement_variance(raw, own) * scale**2
        self.variance[part] = self.measured[part] + shared.representativeness**2
        self.beyond[part] = beyond_limits(raw, limits) | beyond_limits(self.value[part], variable.bounds)
        return shared

    def sift(self, tally: Tally) -> tuple[np.ndarray, np.ndarray]:
        """Drop what is out of range, and what has no positive error; returns which, flat."""
        bad = ~np.isfinite(self.variance) | (self.variance <= 0)
        if self.own is not None:
            bad |= self.own <= 0
        beyond = tally.drop(self.beyond.ravel(), "out of range")
        return beyond, tally.drop(bad.ravel(), "non-positive error")


def bad_errors(errors: np.ndarray) -> tuple[str, ...]:
    """A note on the stated errors of observations that were dropped for theirs; none where nothing was stated."""
    bad = errors[errors <= 0]
    if not len(bad):
        return ()
    return (
        f"stated errors that are zero or negative: {len(bad)}, the smallest is {bad.min():g}; an error is a standard "
        "deviation, above zero",
    )


@dataclass(frozen=True, eq=False, kw_only=True)
class Draft:
    """Rows of one source in the making, with a number each for what is not said otherwise.

    Args:
        origin: number of the observation that a row is, or stands for, among all of the source; -1 of means.
        matrix: shape ``(n, T*C*H*W)``.
        value, variance: in the units of the state.
        channel, first, last, cell: as of `skyweave.observe.rows.Rows`.
        position: unit vectors, shape ``(n, 3)``.
        predictors: of the source's bias, by name.
        epoch: errors of one variable and epoch may be correlated; by default those of the same frames.
    """

    origin: np.ndarray
    matrix: sp.csr_array
    value: np.ndarray
    variance: np.ndarray
    channel: np.ndarray
    first: np.ndarray
    last: np.ndarray
    cell: np.ndarray
    position: np.ndarray
    predictors: Mapping[str, np.ndarray]
    epoch: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.value)

    def without(self, bad: np.ndarray, reason: str, tally: Tally, twins: Twins | None = None) -> Draft:
        """The other rows; observations of those are dropped, with the twins that they stand for."""
        flag = np.zeros(tally.alive.shape, bool)
        flag[self.origin[bad]] = True
        tally.drop(flag if twins is None else twins.owned(flag), reason)
        kept = np.flatnonzero(~bad)
        return replace(
            self,
            origin=self.origin[kept],
            matrix=self.matrix[kept],
            value=self.value[kept],
            variance=self.variance[kept],
            channel=self.channel[kept],
            first=self.first[kept],
            last=self.last[kept],
            cell=self.cell[kept],
            position=self.position[kept],
            predictors={name: column[kept] for name, column in self.predictors.items()},
            epoch=None if self.epoch is None else self.epoch[kept],
        )

    def covariance(self, models: Mapping[int, ErrorModel]) -> ErrorCovariance:
        """``R``: errors of one variable and epoch correlated where the model of the channel says so."""
        epoch = (self.first, self.last) if self.epoch is None else (self.epoch,)
        key = np.stack([self.channel, *epoch], 1)
        blocks = []
        for one in np.unique(key, axis=0) if len(self) else []:
            model = models[int(one[0])]
            if model.correlation_length_km is None:
                continue
            rows = np.flatnonzero((key == one).all(1))
            if len(rows) > 1:
                blocks.append(
                    CorrelatedBlock(rows, self.position[rows], model.correlation_length_km, model.correlation)
                )
        return ErrorCovariance(self.variance, tuple(blocks))

    def rows(
        self, state: Frame, models: Mapping[int, ErrorModel], tally: Tally, report: SourceReport
    ) -> Rows:
        """The rows, and their report with its counts and the span of their errors by variable."""
        R = self.covariance(models)
        sigma = np.sqrt(R.variance)
        of = {c: sigma[self.channel == c] for c in np.unique(self.channel)}
        span = {state.spec.names[c]: (float(s.min()), float(s.max())) for c, s in of.items()}
        counted = replace(
            report,
            given=len(tally.alive),
            used=int(tally.alive.sum()),
            rows=len(self),
            dropped=tally.dropped,
            error=span,
        )
        return Rows(
            matrix=self.matrix,
            value=self.value,
            R=R,
            channel=self.channel,
            first=self.first,
            last=self.last,
            cell=self.cell,
            report=counted,
            predictors=self.predictors,
        )
