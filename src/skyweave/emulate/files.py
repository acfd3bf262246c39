"""Forecasts that others have made, read from files as a forecaster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import xarray as xr
from torch import Tensor

from skyweave.coordinates import is_edge
from skyweave.emulate.forecaster import calendar_of, check_state, later, seconds_from
from skyweave.errors import SkyweaveError
from skyweave.grid import Grid
from skyweave.io.axes import LEAD_NAMES, REFERENCE_NAMES, find_time, has_dates
from skyweave.io.formats import open_one
from skyweave.io.undeclared import with_known_fills
from skyweave.io.valid_time import lead_seconds
from skyweave.state import StateSpec, find_variable, to_tensor

__all__ = ["ForecastFile", "initial_times", "open_forecast"]


@dataclass(frozen=True, eq=False)
class ForecastFile:
    """One precomputed forecast, which is looked up instead of computed: a `Forecaster`.

    A step does not look at the state it is given, only at its time.

    Args:
        data: variables of dimensions ``(lead_time, [member,] lat, lon)`` for one initial time.
        spec: variables wanted, with their units.
        init_time: time of the initial state; datetime64 or cftime.
    """

    data: xr.Dataset
    spec: StateSpec
    init_time: Any

    @cached_property
    def grid(self) -> Grid:
        return Grid.from_dataset(self.data)

    @cached_property
    def leads(self) -> np.ndarray:
        """Lead times, seconds, ascending."""
        return _lead_seconds(self.data)

    @property
    def time_step(self) -> float:
        return float(np.diff(self.leads).min())

    def step(self, state: Tensor, time: Any, members: Sequence[int] | None = None) -> Tensor:
        """The forecast that is valid one step after `time`, for each of `members` its own where the file has members.

        Raises:
            SkyweaveError: a time of another calendar, before the initial time, or of a step the file lacks; a member
                it lacks.
        """
        check_state(state, self.spec, self.grid, "this forecast file")
        return self.at(later(time, self.time_step), members or range(len(state))).to(state)

    def at(self, time: Any, members: Sequence[int] = (0,)) -> Tensor:
        """The forecast valid at `time`, ``(M, C, H, W)``; see `step`."""
        lead = self._since(time)
        found = np.flatnonzero(np.abs(self.leads - lead) < 1.0)
        where = source_of(self.data)
        if not len(found):
            hours = ", ".join(f"{s / 3600:g}" for s in self.leads[:12]) + (
                ", ..." if len(self.leads) > 12 else ""
            )
            raise SkyweaveError(
                f"{where}: no forecast for {time}, which is {lead / 3600:g} h after its start {self.init_time}; it has "
                f"{hours} h"
            )
        fields = self.data.isel({_lead_name(self.data): int(found[0])})
        if "member" not in fields.dims:
            return to_tensor(fields, self.spec, self.grid).expand(len(members), -1, -1, -1).clone()
        labels = (
            list(fields["member"].values)
            if "member" in fields.coords
            else list(range(fields.sizes["member"]))
        )
        absent = [m for m in members if m not in labels]
        if absent:
            raise SkyweaveError(f"{where}: no member {absent[0]}; it has {labels[0]} to {labels[-1]}")
        chosen = [fields.isel(member=labels.index(m), drop=True) for m in members]
        return torch.cat([to_tensor(one, self.spec, self.grid) for one in chosen])

    def _since(self, time: Any) -> float:
        if time is None:
            raise SkyweaveError(
                f"{source_of(self.data)}: forecasts are looked up by time, and the state has none"
            )
        mine, theirs = calendar_of(self.init_time), calendar_of(time)
        if mine != theirs:
            raise SkyweaveError(
                f"{source_of(self.data)}: its times are of the {mine} calendar, the time asked for ({time}) of the "
                f"{theirs} one; convert one of them"
            )
        return seconds_from(self.init_time, time)


def open_forecast(
    source: str | Path | xr.Dataset, spec: StateSpec, init_time: Any = None, grid: Grid | None = None
) -> ForecastFile:
    """A precomputed forecast as a forecaster.

    Args:
        source: NetCDF or Zarr, or a dataset, with a dimension of lead times (durations, or hours) and, where it holds
            several forecasts, one of initial times.
        spec: variables wanted; the file may hold more, in other units of the same kind.
        init_time: which forecast; may be left out where there is one only.
        grid: that it must be on; any by default.

    Raises:
        SkyweaveError: a variable that is not there, no lead times or uneven ones, an unknown initial time, another
            grid.
    """
    data = source if isinstance(source, xr.Dataset) else with_known_fills(open_one(str(source)))
    where = source_of(data)
    if isinstance(init_time, date | str):  # such as a date of a YAML file; those of cftime are none
        init_time = pd.Timestamp(init_time).to_datetime64()
    data = _by_lead_time(data, init_time)
    lead = _lead_name(data)
    for variable in spec.variables:
        find_variable(data, variable)
    found = Grid.from_dataset(data)
    if grid is not None and not found.same_as(grid):
        raise SkyweaveError(
            f"{where}: the forecast's grid ({found.describe()}) is not the one wanted ({grid.describe()}); regrid it"
        )
    name = next((n for n in _candidates(data, "forecast_reference_time", REFERENCE_NAMES)), None)
    if name is None:
        name = next((str(d) for d in data.dims if d in data.coords and has_dates(data[d])), None)
    if name is None:
        if init_time is None:
            raise SkyweaveError(f"{where}: does not say when the forecast starts; pass init_time")
        own: Any = init_time
    else:
        starts = np.atleast_1d(data[name].values)
        own = _chosen(starts, init_time, where)
        if name in data.dims:
            data = data.isel({name: int(np.flatnonzero(starts == own)[0])})
    data = data.sortby(lead)
    _check_valid_times(data, own, lead)
    steps = np.diff(_lead_seconds(data))
    if len(steps) == 0 or (steps <= 0).any():
        raise SkyweaveError(f"{where}: {lead} must hold two lead times or more, each once")
    step = steps.min()
    missing = np.flatnonzero(steps > 1.5 * step)
    if len(missing):
        at = _lead_seconds(data)[missing[0]] / 3600
        raise SkyweaveError(
            f"{where}: lead times are missing after {at:g} h (steps of {step / 3600:g} h before); give a complete "
            "forecast, or select a part without gaps"
        )
    return ForecastFile(data, spec, own)


def _check_valid_times(data: xr.Dataset, start: Any, lead: str) -> None:
    """Valid times that lie beside the lead times must say the same."""
    for name, stamps in data.coords.items():
        if stamps.dims != (lead,) or name == lead or is_edge(stamps) or not has_dates(stamps):
            continue
        mine, theirs = calendar_of(stamps.values[0]), calendar_of(start)
        if mine != theirs:
            raise SkyweaveError(
                f"{source_of(data)}: {name} is of the {mine} calendar, the initial time {start} of the {theirs} one; "
                "convert one of them"
            )
        if abs(seconds_from(start, stamps.values[-1]) - _lead_seconds(data)[-1]) > 1:
            raise SkyweaveError(
                f"{source_of(data)}: {name} ends at {stamps.values[-1]}, but a forecast from {start} of "
                f"{_lead_seconds(data)[-1] / 3600:g} h ends elsewhere; is the initial time right?"
            )


def initial_times(data: xr.Dataset) -> list[Any]:
    """The initial times of the forecasts in a file.

    Raises:
        SkyweaveError: it does not say them.
    """
    found = _candidates(data, "forecast_reference_time", REFERENCE_NAMES)
    if not found:
        raise SkyweaveError(
            f"{source_of(data)}: no initial times (such as init_time, with standard_name 'forecast_reference_time'); "
            f"it has {', '.join(map(str, data.coords))}"
        )
    return list(np.atleast_1d(data[found[0]].values))


def _by_lead_time(data: xr.Dataset, init_time: Any) -> xr.Dataset:
    """A forecast that lies along its valid times as one along lead times, where its initial time is known."""
    known = _candidates(data, "forecast_period", LEAD_NAMES)
    if any(n in data.dims for n in known):
        return data
    along = next((n for n in known if n in data.coords and data[n].ndim == 1), None)
    if along is not None:
        return data.swap_dims({data[along].dims[0]: along})
    time = find_time(data)
    starts = [n for n in _candidates(data, "forecast_reference_time", REFERENCE_NAMES) if data[n].ndim == 0]
    if time is None or time not in data.dims or (init_time is None and not starts):
        return data
    stamps = data[time].values
    start: Any = data[starts[0]].values[()] if starts else init_time
    mine, theirs = calendar_of(stamps[0]), calendar_of(start)
    if mine != theirs:
        raise SkyweaveError(
            f"{source_of(data)}: its times are of the {mine} calendar, the initial time of the {theirs} one"
        )
    leads = (time, np.array([seconds_from(start, stamp) for stamp in stamps]), {"units": "s"})
    return data.assign_coords(lead_time=leads).swap_dims({time: "lead_time"}).drop_vars(time)


def _chosen(starts: np.ndarray, wanted: Any, where: str) -> Any:
    if wanted is None:
        if len(starts) > 1:
            raise SkyweaveError(
                f"{where}: holds {len(starts)} forecasts, from {starts[0]} to {starts[-1]}; pass init_time"
            )
        return starts[0]
    mine, theirs = calendar_of(starts[0]), calendar_of(wanted)
    if mine != theirs:
        raise SkyweaveError(
            f"{where}: its times are of the {mine} calendar, the initial time asked for of the {theirs} one"
        )
    same = [s for s in starts if seconds_from(wanted, s) == 0]
    if not same:
        raise SkyweaveError(f"{where}: no forecast starts at {wanted}; it has {starts[0]} to {starts[-1]}")
    return same[0]


def _candidates(data: xr.Dataset, standard_name: str, names: tuple[str, ...]) -> list[str]:
    stated = [str(n) for n in data.coords if data[n].attrs.get("standard_name") == standard_name]
    return stated or [str(n) for n in (*data.coords, *data.dims) if str(n).lower() in names]


def _lead_name(data: xr.Dataset) -> str:
    found = [n for n in _candidates(data, "forecast_period", LEAD_NAMES) if n in data.dims]
    if not found:
        raise SkyweaveError(
            f"{source_of(data)}: no dimension of lead times (such as lead_time, with standard_name 'forecast_period') "
            f"among {', '.join(map(str, data.dims))}; a forecast along its valid times needs init_time"
        )
    return found[0]


def _lead_seconds(data: xr.Dataset) -> np.ndarray:
    """Lead times in seconds: durations, or numbers in the unit they state, hours by default."""
    axis = data[_lead_name(data)]
    if not str(axis.attrs.get("units", "")) and axis.dtype.kind in "iuf":
        axis = axis.assign_attrs(units="hours")
    return lead_seconds(axis, source_of(data))


def source_of(data: xr.Dataset) -> str:
    return str(data.encoding.get("source", "forecast dataset"))
