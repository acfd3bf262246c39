"""Matching observations to analysis times, and reducing dense reports."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
from scipy.spatial import cKDTree

from skyweave.errors import SkyweaveError
from skyweave.observe.errors import EARTH_RADIUS_KM, ErrorModel, correlation_matrix

__all__ = [
    "TimeAxis",
    "TimeMatch",
    "duplicates",
    "merged_variance",
    "superob",
    "thin_by_cell",
    "thin_by_distance",
]

STANDARD = ("standard", "gregorian", "proleptic_gregorian")
# Times stored as floats of days are exact to about this many seconds.
TOLERANCE = 1e-3


@dataclass(frozen=True)
class TimeMatch:
    """Where observations lie in time: the state ``(1 - weight) x[first] + weight x[last]``.

    Args:
        first: frame, shape ``(n,)``.
        last: the frame after it where ``weight`` is positive, else ``first``.
        weight: of the later frame, 0 to 1.
        inside: whether the observation is within the time window; the rest is meaningless where it is not.
    """

    first: np.ndarray
    last: np.ndarray
    weight: np.ndarray
    inside: np.ndarray

    def take(self, rows: np.ndarray) -> TimeMatch:
        """The match of some observations."""
        return TimeMatch(self.first[rows], self.last[rows], self.weight[rows], self.inside[rows])


@dataclass(frozen=True)
class TimeAxis:
    """Analysis times as numbers.

    Args:
        values: ascending, seconds where they are dates; ``None`` for one analysis that takes every time.
        calendar: CF calendar of the dates; ``None`` where times are plain numbers.
    """

    values: np.ndarray | None
    calendar: str | None

    @classmethod
    def of(cls, times: Any) -> TimeAxis:
        """The axis of dates (datetime64 or cftime), of numbers, or ``None``.

        Raises:
            SkyweaveError: for times that are not ascending.
        """
        if times is None:
            return cls(None, None)
        raw = np.atleast_1d(np.asarray(times))
        if raw.dtype == object and len(raw) and hasattr(raw[0], "calendar"):
            calendar: str | None = str(raw[0].calendar)
        else:
            calendar = None if raw.dtype.kind in "iuf" else "standard"
        axis = cls(None, calendar)
        values = axis.number(raw, "the analysis times")
        if not len(values) or np.isnan(values).any() or (np.diff(values) <= 0).any():
            raise SkyweaveError("the analysis times must be ascending, without gaps or repetitions")
        return cls(values, calendar)

    def __len__(self) -> int:
        return 1 if self.values is None else len(self.values)

    def number(self, times: Any, what: str) -> np.ndarray:
        """Times as numbers on this axis, NaN for missing times and dates that its calendar lacks.

        Raises:
            SkyweaveError: for dates where the axis has numbers, or the reverse.
        """
        raw = np.atleast_1d(np.asarray(times))
        numeric = raw.dtype.kind in "iuf"
        if numeric != (self.calendar is None) and len(raw):
            found, wanted = ("numbers", "dates") if numeric else ("dates", "numbers")
            raise SkyweaveError(f"{what}: times are {found}, the analysis times are {wanted}")
        if numeric:
            return raw.astype(float)
        if raw.dtype == object and len(raw) and hasattr(raw[0], "calendar"):
            return np.array([self._from_parts(t) for t in raw], float)
        try:
            dates = pd.to_datetime(pd.Series(raw.ravel()), utc=True).dt.tz_localize(None)
        except (ValueError, TypeError) as error:
            raise SkyweaveError(f"{what}: times are not dates ({error})") from None
        if self.calendar in STANDARD:
            seconds = dates.to_numpy("datetime64[us]")
            return np.where(np.isnat(seconds), np.nan, seconds.astype(np.int64) / 1e6)
        return np.array([np.nan if t is pd.NaT else self._from_parts(t) for t in dates], float)

    def _from_parts(self, t: Any) -> float:
        """Seconds of a date, by its parts, in this calendar."""
        import cftime

        try:
            date = cftime.datetime(
                t.year, t.month, t.day, t.hour, t.minute, t.second, t.microsecond, calendar=self.calendar
            )
        except ValueError:
            return np.nan
        return float(cftime.date2num(date, "seconds since 1970-01-01", calendar=self.calendar))

    def window(self, given: Any, what: str) -> float:
        """Half-width of the time window: what was given, else half the analysis step, else zero."""
        if given is None:
            if self.values is None or len(self.values) == 1:
                return 0.0
            return 0.5 * float(np.median(np.diff(self.values)))
        if self.calendar is None:
            return float(given)
        try:
            width = pd.Timedelta(given).total_seconds() if not isinstance(given, int | float) else np.nan
        except ValueError:
            width = np.nan
        if not width >= 0:
            raise SkyweaveError(f"{what}: time_window={given!r} is not a duration such as '90min' or '3h'")
        return width

    def matched(self, times: np.ndarray, given: Any, rule: str, what: str) -> TimeMatch:
        """Frames of observations, as `match`; a window that was given limits interpolation in time as well."""
        match = self.match(times, self.window(given, what), rule)
        if rule == "nearest" or given is None:
            return match
        near = self.match(times, self.window(given, what), "nearest").inside
        return TimeMatch(match.first, match.last, match.weight, match.inside & near)

    def match(self, times: np.ndarray, window: float, rule: str) -> TimeMatch:
        """Frames of observations at times (numbers of this axis): nearest, or linear between two."""
        n = len(times)
        zero = np.zeros(n, np.int64)
        if self.values is None:
            return TimeMatch(zero, zero, np.zeros(n), np.ones(n, bool))
        filled = np.where(np.isnan(times), self.values[0], times)
        right = np.clip(np.searchsorted(self.values, filled), 0, len(self.values) - 1)
        left = np.maximum(right - 1, 0)
        nearest = np.where(filled - self.values[left] <= self.values[right] - filled, left, right)
        away = np.abs(filled - self.values[nearest])
        inside = ~np.isnan(times) & (away <= window + TOLERANCE)
        exact = away <= TOLERANCE
        if rule == "nearest":
            return TimeMatch(nearest, nearest, np.zeros(n), inside)
        between = (filled > self.values[0]) & (filled < self.values[-1]) & ~exact
        step = np.where(between, self.values[right] - self.values[left], 1.0)
        weight = np.where(between, (filled - self.values[left]) / step, 0.0)
        first, last = np.where(between, left, nearest), np.where(between, right, nearest)
        return TimeMatch(first, last, weight, ~np.isnan(times) & (between | exact))


def canonical_order(*keys: np.ndarray) -> np.ndarray:
    """An order of rows that does not depend on the one they came in; the first key counts most."""
    return np.lexsort(keys[::-1])


def duplicates(*keys: np.ndarray) -> np.ndarray:
    """Whether each row, in sorted order, repeats the keys of the row before it."""
    same = np.ones(max(len(keys[0]) - 1, 0), bool)
    for key in keys:
        same &= key[1:] == key[:-1]
    return np.concatenate([[False], same])[: len(keys[0])]


def merged_variance(
    weights: sp.csr_array, variance: np.ndarray, position: np.ndarray, model: ErrorModel
) -> np.ndarray:
    r"""Variance of weighted means, for independent errors or those correlated by distance.

    .. math:: \sigma^2_k = \sum_{ij} w_{ki} w_{kj} \rho_{ij} s_i s_j + \sigma_{rep}^2

    Instrument errors average out as far as they are independent; representativeness, which reports of one
    cell share, does not.

    Args:
        weights: ``w``, shape ``(k, n)``, rows sum to one.
        variance: of the instrument, ``s^2``, shape ``(n,)``.
        position: unit vectors, shape ``(n, 3)``.
        model: holds the correlation and ``sigma_rep``.
    """
    if model.correlation_length_km is None:
        return weights.power(2) @ variance + model.representativeness**2
    out = np.empty(weights.shape[0])
    for k in range(weights.shape[0]):
        part = slice(weights.indptr[k], weights.indptr[k + 1])
        index = weights.indices[part]
        spread = weights.data[part] * np.sqrt(variance[index])
        out[k] = (
            spread
            @ correlation_matrix(position[index], model.correlation_length_km, model.correlation)
            @ spread
        )
    return out + model.representativeness**2


def superob(group: np.ndarray, variance: np.ndarray) -> sp.csr_array:
    r"""Weights that average the reports of each group by their precision.

    .. math:: \bar y = \sum_i w_i y_i, \quad w_i = \frac{1/\sigma_i^2}{\sum_j 1/\sigma_j^2}

    The same weights average the rows of the operator, so no position is made up; the error of the mean is
    that of `merged_variance`.

    Args:
        group: label per report, shape ``(n,)``, any integers.
        variance: full error variance, shape ``(n,)``.

    Returns:
        Weights, shape ``(groups, n)``, groups in ascending order of their label.
    """
    _, which = np.unique(group, return_inverse=True)
    total = np.bincount(which, weights=1 / variance)
    n = len(group)
    return sp.coo_array((1 / variance / total[which], (which, np.arange(n))), shape=(len(total), n)).tocsr()


def thin_by_cell(group: np.ndarray, distance: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Whether each report is kept: of each group the nearest to its cell's centre, then the most precise."""
    order = np.lexsort((variance, distance, group))
    kept = np.zeros(len(group), bool)
    kept[order[~duplicates(group[order])]] = True
    return kept


def thin_by_distance(
    group: np.ndarray, position: np.ndarray, variance: np.ndarray, distance_km: float
) -> np.ndarray:
    """Whether each report is kept: the most precise first, none within a distance of one kept before.

    Args:
        group: reports of different groups do not compete, shape ``(n,)``.
        position: unit vectors, shape ``(n, 3)``.
        variance: error variance, shape ``(n,)``.
        distance_km: great-circle distance.
    """
    kept = np.zeros(len(group), bool)
    chord = 2 * np.sin(min(distance_km / EARTH_RADIUS_KM, np.pi) / 2)
    for label in np.unique(group):
        rows = np.flatnonzero(group == label)
        rows = rows[np.argsort(variance[rows], kind="stable")]
        near: Callable = cKDTree(position[rows]).query_ball_point
        free = np.ones(len(rows), bool)
        for k in range(len(rows)):
            if free[k]:
                kept[rows[k]] = True
                free[near(position[rows[k]], chord * (1 - 1e-9))] = False
    return kept
