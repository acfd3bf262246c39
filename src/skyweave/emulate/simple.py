"""Forecasters that everything else is measured against: persistence and climatology; and any Python function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from skyweave.emulate.forecaster import calendar_of, check_calendar, check_state, later
from skyweave.errors import SkyweaveError
from skyweave.grid import Grid
from skyweave.prior.conditioning import clock
from skyweave.prior.data import time_step
from skyweave.state import StateSpec, time_dim, to_tensor

__all__ = ["Climatology", "FunctionForecaster", "Persistence", "fit_climatology", "fit_persistence"]

YEAR = 365.25
BLOCK_BYTES = 2**28
"""Fields that are read at a time."""


@dataclass(frozen=True, eq=False)
class Persistence:
    """Tomorrow as today: ``x(t + dt) = x(t)``.

    Args:
        spec: variables of the states.
        grid: of the states.
        time_step: seconds.
    """

    spec: StateSpec
    grid: Grid
    time_step: float

    def step(self, state: Tensor, time: Any = None, members: Sequence[int] | None = None) -> Tensor:
        """A copy of the state."""
        check_state(state, self.spec, self.grid, "persistence")
        return state.clone()


def fit_persistence(data: xr.Dataset, spec: StateSpec) -> Persistence:
    """Persistence on the grid and at the step of some data."""
    return Persistence(spec, Grid.from_dataset(data), step_of(data))


@dataclass(frozen=True, eq=False)
class Climatology:
    r"""The mean of the time of day and of the year, whatever the state.

    .. math:: x(t) = \sum_k a_k\, b_k(t)

    with :math:`b` products of sines and cosines of the year (two harmonics, where the training data cover one) and
    of the day (two, where they have four times a day or more), fitted by least squares in every cell.

    Args:
        spec: variables of the states.
        grid: of the states.
        time_step: seconds.
        harmonics: of the year and of the day.
        coefficients: ``(K, C, H, W)``, physical units.
        calendar: of the training data, where it is known.
    """

    spec: StateSpec
    grid: Grid
    time_step: float
    harmonics: tuple[int, int]
    coefficients: Tensor
    calendar: str | None = None

    def at(self, times: Sequence[Any] | np.ndarray) -> Tensor:
        """The climate of some times, ``(T, C, H, W)``, physical units.

        Raises:
            SkyweaveError: times of another calendar, where there are seasons.
        """
        if any(self.harmonics):
            check_calendar(self.calendar, times[0], "the climatology")
        basis = torch.from_numpy(_basis(times, self.harmonics)).to(self.coefficients)
        return torch.einsum("tk,kchw->tchw", basis, self.coefficients)

    def step(self, state: Tensor, time: Any, members: Sequence[int] | None = None) -> Tensor:
        """The climate one step after `time`, for every member alike.

        Raises:
            SkyweaveError: no time is given and the climate has seasons or hours.
        """
        check_state(state, self.spec, self.grid, "climatology")
        if time is None and any(self.harmonics):
            raise SkyweaveError("climatology depends on the time of the state, and none was given")
        mean = self.at([later(time, self.time_step)]) if any(self.harmonics) else self.coefficients
        return mean.to(state).expand_as(state).clone()


def fit_climatology(data: xr.Dataset, spec: StateSpec) -> Climatology:
    """The climatology of training data; cells that never have a value stay missing.

    Raises:
        SkyweaveError: a value is missing here and there.
    """
    step, times = step_of(data), data[str(time_dim(data))].values
    hours, _ = clock(times)
    per_day = len(np.unique(np.round(hours, 3)))
    covered = _seconds_between(times[0], times[-1]) / 86400
    harmonics = (2 if covered > 0.98 * YEAR else 0, min(2, per_day // 2 - 1) if per_day >= 4 else 0)
    grid, basis = Grid.from_dataset(data), torch.from_numpy(_basis(times, harmonics))
    shape = (len(spec.variables), *grid.shape)
    products = torch.zeros(basis.shape[1], *shape, dtype=torch.float64)
    missing = torch.zeros(shape, dtype=torch.int64)
    block = max(1, BLOCK_BYTES // (8 * len(spec.variables) * grid.size))
    for first in range(0, len(times), block):
        part = slice(first, first + block)
        values = to_tensor(data.isel({str(time_dim(data)): part}), spec, grid).double()
        missing += values.isnan().sum(0)
        products += torch.einsum("tk,tchw->kchw", basis[part], values.nan_to_num())
    _refuse_gaps((missing > 0) & (missing < len(times)), spec)
    coefficients = torch.linalg.solve(basis.T @ basis, products.flatten(1)).reshape(products.shape)
    coefficients[:, missing > 0] = float("nan")
    return Climatology(spec, grid, step, harmonics, coefficients, calendar_of(times[0]))


@dataclass(frozen=True, eq=False)
class FunctionForecaster:
    """Any function of a state as a forecaster.

    Args:
        function: ``function(state, time) -> state``, on tensors ``(member, channel, lat, lon)`` in physical units.
        spec: variables of the states.
        grid: of the states.
        time_step: seconds that one call goes forward.
    """

    function: Callable[[Tensor, Any], Tensor]
    spec: StateSpec
    grid: Grid
    time_step: float

    def step(self, state: Tensor, time: Any = None, members: Sequence[int] | None = None) -> Tensor:
        """What the function returns.

        Raises:
            SkyweaveError: it returns something else than a state of the same shape.
        """
        check_state(state, self.spec, self.grid, "this function")
        result = self.function(state, time)
        if not isinstance(result, Tensor) or result.shape != state.shape:
            found = tuple(result.shape) if isinstance(result, Tensor) else type(result).__name__
            raise SkyweaveError(
                f"{getattr(self.function, '__name__', 'the function')} returned {found}; a forecaster returns a state "
                f"of the shape it was given, {tuple(state.shape)}"
            )
        return result.to(state)


def step_of(data: xr.Dataset) -> float:
    """The time step of training data in seconds.

    Raises:
        SkyweaveError: no times, or fewer than two.
    """
    name = time_dim(data)
    if name is None or name not in data.coords or data.sizes[name] < 2:
        raise SkyweaveError(
            "a forecaster is fitted on fields at two times or more; these data have no such time axis"
        )
    return time_step(data[name].values)


def complete(values: Tensor, spec: StateSpec) -> Tensor:
    """States without gaps; cells that are missing at all times are allowed.

    Raises:
        SkyweaveError: naming a variable that has gaps here and there.
    """
    missing = values.isnan()
    _refuse_gaps(missing.any(0) & ~missing.all(0), spec)
    return values


def _refuse_gaps(cells: Tensor, spec: StateSpec) -> None:
    """Raise where a value is missing at some times only, ``(C, H, W)``."""
    some = cells.flatten(1).any(1)
    if bool(some.any()):
        name = spec.names[int(some.nonzero()[0])]
        raise SkyweaveError(
            f"{name}: values are missing here and there; forecasts need complete fields, fill the gaps first "
            "(skyweave reconstruct)"
        )


def annual_basis(times: Sequence[Any] | np.ndarray, harmonics: int) -> np.ndarray:
    """A mean and waves of the year at `times`, shape ``(T, 1 + 2 harmonics)``."""
    return _basis(times, (harmonics, 0))


def _basis(times: Sequence[Any] | np.ndarray, harmonics: tuple[int, int]) -> np.ndarray:
    """Products of harmonics of year and day at `times`, shape ``(T, K)``."""
    if not any(harmonics):
        return np.ones((len(times), 1))
    values = np.asarray(times)
    hours, days = clock(
        values.astype("datetime64[ns]") if np.issubdtype(values.dtype, np.datetime64) else values
    )
    year = _waves(2 * np.pi * days / YEAR, harmonics[0])
    day = _waves(2 * np.pi * hours / 24, harmonics[1])
    return (year[:, :, None] * day[:, None, :]).reshape(len(hours), -1)


def _waves(angle: np.ndarray, count: int) -> np.ndarray:
    columns = [np.ones_like(angle)]
    for k in range(1, count + 1):
        columns += [np.sin(k * angle), np.cos(k * angle)]
    return np.stack(columns, axis=1)


def _seconds_between(first: Any, last: Any) -> float:
    span = last - first
    return float(span / np.timedelta64(1, "s")) if isinstance(span, np.timedelta64) else span.total_seconds()
