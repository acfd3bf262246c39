"""What a forecaster is: state in, state out, one time step on; and the times of its states."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import cftime
import numpy as np
import pandas as pd
from torch import Tensor

from skyweave.errors import SkyweaveError
from skyweave.grid import Grid
from skyweave.observe.errors import ErrorModel
from skyweave.state import StateSpec

__all__ = [
    "Erring", "Forecaster", "Random", "Stored", "calendar_of", "check_calendar", "check_fits", "check_state", "later",
    "named", "seconds_from", "seconds_of",
]  # fmt: skip


@runtime_checkable
class Forecaster(Protocol):
    """Whatever carries states forward in time.

    `skyweave.nature_runs.ShallowWater`, a trained `Emulator` and the forecasters of
    `skyweave.emulate.registry.FORECASTERS` are such. One may also be `Random`, `Stored` or `Erring`, and have a
    ``fingerprint()``, which names all that its forecasts depend on.
    """

    @property
    def spec(self) -> StateSpec:
        """Variables and units of the states."""

    @property
    def grid(self) -> Grid:
        """The grid of the states."""

    @property
    def time_step(self) -> float:
        """Seconds from a state to the next."""

    def step(self, state: Tensor, time: Any, members: Sequence[int] | None = None) -> Tensor:
        """The state one time step later.

        Args:
            state: ``(member, channel, lat, lon)``, physical units of `spec`, on `grid`.
            time: of `state`: datetime64, cftime, or a number of seconds; None where it is not known.
            members: identity of each member, ``0 .. M - 1`` by default: what is random depends on the forecaster's
                own seed, the member and the time, not on the batch.

        Returns:
            The same shape, type and device.

        Raises:
            SkyweaveError: a state of another shape, or a time that is needed or out of reach.
        """


@runtime_checkable
class Random(Protocol):
    """A forecaster that draws something in a step."""

    @property
    def noise(self) -> float:
        """How much; members of equal states stay alike where it is zero."""


@runtime_checkable
class Stored(Protocol):
    """A forecaster that may come from a file."""

    @property
    def path(self) -> str | None:
        """That it was opened from."""


@runtime_checkable
class Erring(Protocol):
    """A forecaster that knows what it adds in one step."""

    @property
    def one_step_error(self) -> Mapping[str, ErrorModel]:
        """The error of one step, by variable."""


def later(time: Any, seconds: float) -> Any:
    """A time `seconds` after another, of the same kind; None stays None.

    Args:
        time: datetime64, datetime, cftime, or a number of seconds.
        seconds: may be negative.
    """
    if time is None:
        return None
    if isinstance(time, (np.datetime64, datetime.date)):  # a Timestamp is a date as well
        return pd.Timestamp(time).to_datetime64() + np.timedelta64(round(seconds * 1e9), "ns")
    if isinstance(time, cftime.datetime):
        return time + datetime.timedelta(seconds=seconds)
    return time + seconds


def named(forecaster: Forecaster) -> str:
    """Kind of a forecaster and, where it came from a file, its path."""
    path = path_of(forecaster)
    return type(forecaster).__name__ + (f" {path}" if path else "")


def path_of(forecaster: Forecaster) -> str | None:
    """The file that a forecaster was opened from, where there is one."""
    return forecaster.path if isinstance(forecaster, Stored) else None


def calendar_of(time: Any) -> str:
    """The CF calendar of a time: that of cftime, "standard" for datetime64, datetime and text, else "numbers"."""
    if isinstance(time, cftime.datetime):
        return (
            "standard"
            if time.calendar in ("standard", "gregorian", "proleptic_gregorian")
            else str(time.calendar)
        )
    return "standard" if isinstance(time, (np.datetime64, datetime.date, str)) else "numbers"


def seconds_from(start: Any, time: Any) -> float:
    """Seconds from one time to another of the same calendar, as `calendar_of` tells them; of whatever kind each is."""
    span = _plain(time) - _plain(start)
    if isinstance(span, np.timedelta64):
        return float(span / np.timedelta64(1, "s"))
    return float(span.total_seconds() if isinstance(span, datetime.timedelta) else span)


def _plain(time: Any) -> Any:
    """A time of the standard calendar as datetime64, be it of cftime, a datetime or text; others as they are."""
    if calendar_of(time) != "standard":
        return time
    return pd.Timestamp(time.isoformat() if isinstance(time, cftime.datetime) else time).to_datetime64()


def check_calendar(own: str | None, time: Any, what: str) -> None:
    """Refuse a time of another calendar than that of the training data, where both are known.

    Raises:
        SkyweaveError: with both calendars.
    """
    found = calendar_of(time)
    if own is not None and time is not None and "numbers" not in (own, found) and own != found:
        raise SkyweaveError(
            f"{what} was fitted to dates of the {own} calendar, and {time} is of the {found} one; convert the dates"
        )


def seconds_of(time: Any) -> int:
    """A time as whole seconds since 1970 in its own calendar, for what is random; None counts as zero."""
    if time is None:
        return 0
    if isinstance(time, (np.datetime64, pd.Timestamp)):
        return int(pd.Timestamp(time).value // 10**9)
    if isinstance(time, cftime.datetime):
        return round(cftime.date2num(time, "seconds since 1970-01-01", time.calendar))
    return round(float(time))


def check_state(state: Tensor, spec: StateSpec, grid: Grid, what: str) -> None:
    """Refuse a state of another shape than ``(member, channel, lat, lon)`` of a forecaster.

    Raises:
        SkyweaveError: with both shapes.
    """
    expected = (len(spec.variables), *grid.shape)
    if state.ndim != 4 or tuple(state.shape[1:]) != expected:
        channels, rows, columns = expected
        raise SkyweaveError(
            f"{what} steps states of shape (member, {channels}, {rows}, {columns}), the channels being "
            f"{', '.join(spec.names)}; found {tuple(state.shape)}"
        )


def check_fits(
    forecaster: Forecaster, spec: StateSpec, grid: Grid | None = None, what: str = "state"
) -> None:
    """Refuse a forecaster of other variables or units than a state has, or, where `grid` is given, of another grid.

    Raises:
        SkyweaveError: naming what differs.
    """
    own = forecaster.spec
    if own.names != spec.names:
        where = f" ({path})" if (path := path_of(forecaster)) else ""
        raise SkyweaveError(
            f"the forecaster{where} steps {', '.join(own.names)}, the {what} holds {', '.join(spec.names)}; both "
            "must be the same, in the same order: take another forecaster, or train one on these"
        )
    for mine, theirs in zip(own.variables, spec.variables, strict=True):
        if mine.units != theirs.units:
            raise SkyweaveError(
                f"{mine.name}: the forecaster has it in {mine.units!r}, the {what} in {theirs.units!r}; convert one"
            )
    if grid is not None and not forecaster.grid.same_as(grid):
        raise SkyweaveError(
            f"the forecaster's grid ({forecaster.grid.describe()}) is not that of the {what} ({grid.describe()}); "
            "regrid one of them"
        )
