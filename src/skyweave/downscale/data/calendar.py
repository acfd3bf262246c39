"""The calendar of a day as a network sees it: season, phase of the year, days since start, year (Eq. 2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

__all__ = ["Calendar", "season_of", "season_year"]

_DAY = np.timedelta64(1, "D")


def season_of(days: ArrayLike) -> NDArray[np.int64]:
    """0 for December to February, 1 for March to May, 2 for June to August, 3 for September to November."""
    return np.asarray(pd.DatetimeIndex(np.asarray(days)).month % 12 // 3, np.int64)


def season_year(days: ArrayLike) -> NDArray[np.int64]:
    """The year to which a day's season belongs; December counts to the winter of the next year."""
    index = pd.DatetimeIndex(np.asarray(days))
    return np.asarray(index.year + (index.month == 12), np.int64)


@dataclass(frozen=True)
class Calendar:
    r"""Numbers of a day; those that grow with time run from -1 to 1 over the training days.

    .. math:: 2\,\frac{d - d_{first}}{d_{last} - d_{first}} - 1

    The rollout of a long record goes far beyond the training days, where a network has never seen these numbers; they
    then keep the last value seen, unless `hold` is false.

    Args:
        first, last: training days, ISO text.
        hold: whether days since start and year stay within what training saw.
        hourly: whether the hour of the day is told too; steps are shorter than a day.

    Reference: downscaling paper, section 2.2.2 ("season index, number of days since the first day, normalised year").
    """

    first: str
    last: str
    hold: bool = True
    hourly: bool = False

    @classmethod
    def fit(cls, days: ArrayLike, *, hold: bool = True, step: np.timedelta64 = _DAY) -> Calendar:
        """From the training days, datetime64."""
        values = np.asarray(days, "datetime64[s]")
        return cls(str(values.min()), str(values.max()), hold, bool(step < _DAY))

    @property
    def names(self) -> tuple[str, ...]:
        """Of the ``K`` numbers."""
        hour = ("hour_sine", "hour_cosine") if self.hourly else ()
        return ("DJF", "MAM", "JJA", "SON", "year_sine", "year_cosine", *hour, "days_since_start", "year")

    def features(self, days: ArrayLike) -> Tensor:
        """The numbers of some days (datetime64, UTC), shape ``(n, K)``, float32."""
        index = pd.DatetimeIndex(np.atleast_1d(np.asarray(days)))
        season = np.eye(4)[season_of(index)]
        hours = (index.hour + index.minute / 60).to_numpy(float)
        phase = 2 * np.pi * (index.dayofyear.to_numpy(float) - 1 + hours / 24) / 365.25
        waves = [np.sin(phase), np.cos(phase)]
        if self.hourly:
            waves += [np.sin(2 * np.pi * hours / 24), np.cos(2 * np.pi * hours / 24)]
        first, last = pd.Timestamp(self.first), pd.Timestamp(self.last)
        since = self._scaled((index - first) / pd.Timedelta(days=1), (last - first) / pd.Timedelta(days=1))
        year = self._scaled(index.year - first.year, last.year - first.year)
        return torch.from_numpy(np.column_stack([season, *waves, since, year]).astype(np.float32))

    def _scaled(self, value: Any, span: float) -> NDArray[np.float64]:
        scaled = 2 * np.asarray(value, float) / max(span, 1.0) - 1
        return np.clip(scaled, -1, 1) if self.hold else scaled

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON; `Calendar(**values)` is the same calendar."""
        return dict(vars(self))
