"""Which days train, watch, validate and test: in temporal order within an area and season, none touching another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from skyweave.downscale.config import SEASONS, Season, SplitConfig
from skyweave.downscale.data.calendar import season_of, season_year
from skyweave.downscale.data.records import Record
from skyweave.downscale.data.samples import day_names
from skyweave.errors import SkyweaveError
from skyweave.io.select import between

__all__ = ["Skipped", "Split", "check_days", "days_told", "season_start", "split_days"]

Indices = NDArray[np.int64]
MOST_MISSING = 0.5
"""Share of a fine day's cells that may be missing from a target."""


@dataclass(frozen=True, eq=False)
class Skipped:
    """Days that were left out, or filled, for one reason."""

    reason: str
    days: NDArray[np.datetime64]


@dataclass(frozen=True, eq=False)
class Split:
    """Target days ``t + 1`` of one area and season, as indices into the record's days, in temporal order.

    Args:
        training: what weights, scaling and every other fitted number see.
        train_validation: training days held back to watch the training.
        validation: for everything that is chosen after training.
        test: for scores alone.
        pretraining: days of the coarse record, of the whole length of it, for the transfer encoder; neither they nor
            their lags are days of `validation` or `test`.
        pretrain_validation: those of them held back to watch it.
        skipped: what was left out, and why.
        filled: fine days whose gaps are filled where they are lags.
    """

    training: Indices
    train_validation: Indices
    validation: Indices
    test: Indices
    pretraining: Indices
    pretrain_validation: Indices
    skipped: tuple[Skipped, ...]
    filled: tuple[Skipped, ...] = ()

    def named(self, days: str) -> Indices:
        """The days for scores.

        Args:
            days: "test" or "validation".

        Raises:
            SkyweaveError: another word.
        """
        found = {"test": self.test, "validation": self.validation}
        if days not in found:
            raise SkyweaveError(f"days {days!r}: they are 'test' or 'validation'")
        return found[days]

    def told(self, days: NDArray[np.datetime64]) -> dict[str, list[list[str]]]:
        """Target days of the fine record by what they are for: first and last of each run of days, JSON values.

        Args:
            days: of the record.
        """
        found = {}
        for name, index in (
            ("training", self.training),
            ("train_validation", self.train_validation),
            ("validation", self.validation),
            ("test", self.test),
        ):
            runs = np.split(index, np.flatnonzero(np.diff(index) > 1) + 1)
            found[name] = [[_moment(days[run[0]]), _moment(days[run[-1]])] for run in runs if len(run)]
        return found

    def describe(self, season: str = "") -> str:
        """What there is, and what was left out, for people."""
        parts = (
            f"{len(self.training)} training, {len(self.train_validation)} train-validation, "
            f"{len(self.validation)} validation, {len(self.test)} test days; "
            f"encoder: {len(self.pretraining)} training, {len(self.pretrain_validation)} train-validation days"
        )
        lines = [f"{season}: {parts}" if season else parts]
        lines += [f"  left out, {s.reason}: {len(s.days)} ({day_names(s.days)})" for s in self.skipped]
        lines += [f"  filled, {s.reason}: {len(s.days)} ({day_names(s.days)})" for s in self.filled]
        return "\n".join(lines)


def _moment(day: np.datetime64) -> str:
    return str(day.astype("datetime64[s]"))


def days_told(record: Record, told: Sequence[Sequence[str]]) -> Indices:
    """Indices of the days of runs, as `Split.told` tells them.

    Raises:
        SkyweaveError: a day that the record has not.
    """
    runs = [record.index(np.array(run, "datetime64[ns]")) for run in told]
    return np.concatenate([np.zeros(0, np.int64), *(np.arange(first, last + 1) for first, last in runs)])


def check_days(metadata: Mapping[str, Any], split: Split, record: Record, path: object) -> None:
    """Refuse the days of a split that are not those that a model was trained by.

    Args:
        metadata: of the model's file; older ones tell the first and the last training day alone.
        split: as the configuration gives it.
        record: of the area.
        path: of the file, for the message.

    Raises:
        SkyweaveError: with the days that differ.
    """
    mine = split.told(record.days)
    theirs: dict[str, Any] = metadata.get("split") or {}
    if not theirs and "training_days" in metadata:
        ends = [str(np.datetime64(day, "s")) for day in metadata["training_days"]]
        theirs = {**mine, "training": [ends]}
        mine = {**mine, "training": [[mine["training"][0][0], mine["training"][-1][1]]]}
    for name, runs in theirs.items():
        if runs != mine[name]:
            raise SkyweaveError(
                f"{path}: its {name} days are not those of the configuration ({_ends(runs)}, now {_ends(mine[name])}; "
                "the records, split, seasons, lags or overlap have changed): restore them, or train anew"
            )


def _ends(runs: Sequence[Sequence[str]]) -> str:
    last = f" in {len(runs)} runs" if len(runs) > 1 else ""
    return f"{runs[0][0]:.16} to {runs[-1][1]:.16}{last}" if runs else "none"


def season_start(days: NDArray[np.datetime64], season: Season) -> NDArray[np.datetime64]:
    """First day of the season's window to which each day of the season belongs."""
    month = (12, 3, 6, 9)[SEASONS.index(season)]
    years = season_year(days) - (season == "DJF")
    return np.array([np.datetime64(f"{year:04d}-{month:02d}-01") for year in years], "datetime64[D]")


def split_days(
    record: Record,
    season: Season,
    lags: int,
    settings: SplitConfig | None = None,
    *,
    overlap: tuple[str, str] | None = None,
    pretrain: tuple[str, str] | None = None,
) -> Split:
    """Divide the days on which both records are there.

    Target days lie in the season; their lags may lie up to `buffer_days` before its first day. A target needs its own
    fine day, not more than half missing, and complete coarse and fine fields on the days that are its input.

    Args:
        record: of an area.
        season: "DJF", "MAM", "JJA", "SON", of any year, or "all".
        lags: ``T_lag``.
        settings: fractions, buffer, what becomes of gaps.
        overlap: keeps targets to a period, both ends included.
        pretrain: keeps the encoder's days to a period.

    Raises:
        SkyweaveError: lags longer than the buffer, no common day in the season, or too few.

    Reference: downscaling paper, sections 2.1 and 2.3.
    """
    settings = settings or SplitConfig()
    days, count = record.days, len(record.days)
    if season != "all" and lags * record.step > np.timedelta64(settings.buffer_days, "D"):
        raise SkyweaveError(
            f"{lags} lags reach back further than the buffer of {settings.buffer_days} days before a season; "
            "take fewer lags, or a longer split.buffer_days"
        )
    fill = settings.filled
    coarse_gap = record.coarse.missing() > 0
    in_season = np.ones(count, bool) if season == "all" else season_of(days) == SEASONS.index(season)
    begun = _history(record, season, lags, in_season, settings.buffer_days)
    # A window's inputs: the lags, and of the coarse record the day itself.
    coarse_window = _any_of(coarse_gap, lags) | coarse_gap
    fine_window = _any_of(record.fine.missing(fill) > 0, lags)
    there = record.fine.missing()
    wanted = in_season & (there < 1) & _within(days, overlap)
    # Within the fine record, not before or beyond it.
    inside = np.maximum.accumulate(there < 1) & np.maximum.accumulate((there < 1)[::-1])[::-1]
    absent = in_season & inside & (there >= 1) & _within(days, overlap)
    reasons = (
        ("fewer days before them than lags", ~begun),
        ("more than half of the fine day missing", there > MOST_MISSING),
        ("missing coarse days among their inputs", coarse_window),
        ("missing fine days among their lags" + (", too long to fill" if fill else ""), fine_window),
    )
    skipped = [Skipped("no fine field at all", days[absent])] if absent.any() else []
    usable = wanted.copy()
    for reason, bad in reasons:
        if (lost := usable & bad).any():
            skipped.append(Skipped(reason, days[lost]))
            usable &= ~bad
    targets = np.flatnonzero(usable)
    _enough(record, season, wanted, targets, skipped, settings)
    first = round(settings.fractions[0] * len(targets))
    second = round((settings.fractions[0] + settings.fractions[1]) * len(targets))
    training, validation, test = targets[:first], targets[first:second], targets[second:]
    kept, watching = _set_apart(training, settings)

    used = _any_of(usable[::-1], lags)[::-1]
    gaps = days[used & (there > 0)]
    why = f"missing cells among lags, by the last value of up to {fill} days before"
    filled = (Skipped(why, gaps),) if len(gaps) else ()

    reserved = np.zeros(count, bool)
    reserved[validation] = reserved[test] = True
    seen = _any_of(reserved, lags) | reserved
    coarse_targets = in_season & begun & ~coarse_window & ~seen & _within(days, pretrain)
    pretraining, pretrain_validation = _set_apart(np.flatnonzero(coarse_targets), settings)
    return Split(kept, watching, validation, test, pretraining, pretrain_validation, tuple(skipped), filled)


def _history(
    record: Record, season: Season, lags: int, in_season: NDArray[np.bool_], buffer_days: int
) -> NDArray[np.bool_]:
    """Whether a day has its lags within the record and the season's buffer."""
    begun = np.arange(len(record.days)) >= lags
    if season == "all":
        return begun
    oldest = record.days - lags * record.step
    inside = np.zeros_like(begun)
    earliest = season_start(record.days[in_season], season) - np.timedelta64(buffer_days, "D")
    inside[in_season] = oldest[in_season] >= earliest
    return begun & inside


def _any_of(flags: NDArray[np.bool_], lags: int) -> NDArray[np.bool_]:
    """Whether one of the `lags` days before each day is flagged; days before the record count as not flagged."""
    total = np.concatenate([[0], np.cumsum(flags)])
    end = np.arange(len(flags))
    return total[end] - total[np.maximum(end - lags, 0)] > 0


def _within(days: NDArray[np.datetime64], period: tuple[str, str] | None) -> NDArray[np.bool_]:
    if period is None:
        return np.ones(len(days), bool)
    index = pd.DatetimeIndex(days)
    out = np.zeros(len(days), bool)
    out[between(index, *period)] = True
    return out


def _set_apart(days: Indices, settings: SplitConfig) -> tuple[Indices, Indices]:
    """Days to train on and days to watch by, the latter in runs spread at random over all."""
    block = min(settings.block, max(1, len(days) // 5))
    run = np.arange(len(days)) // block
    runs = int(run[-1]) + 1 if len(days) else 0
    chosen = np.random.default_rng(settings.seed).permutation(runs)[
        : max(1, round(settings.train_validation * runs))
    ]
    watching = np.isin(run, chosen)
    return days[~watching], days[watching]


def _enough(
    record: Record,
    season: Season,
    wanted: NDArray[np.bool_],
    targets: Indices,
    skipped: list[Skipped],
    settings: SplitConfig,
) -> None:
    name = "the record" if season == "all" else season
    lost = "".join(f"; {len(s.days)} have {s.reason}" for s in skipped)
    if len(targets) < settings.least_days:
        there = record.days[record.fine.missing() < 1]
        raise SkyweaveError(
            f"{name}: {len(targets)} days can be targets of {int(wanted.sum())} on which both records are there"
            f"{lost}; {settings.least_days} are needed (split.least_days). The fine record has days from "
            f"{day_names(there[:1])} to {day_names(there[-1:])}"
        )
