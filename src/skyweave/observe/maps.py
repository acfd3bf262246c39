"""Maps of a gridded source: which variable of the state they are of, when and where, and their values as numbers."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import xarray as xr

from skyweave.damage import reading
from skyweave.errors import SkyweaveError, did_you_mean
from skyweave.grid import Grid
from skyweave.io.axes import find_time
from skyweave.io.undeclared import clear_fill
from skyweave.observe.draft import Values
from skyweave.observe.match import duplicates
from skyweave.observe.observation import GridObservation
from skyweave.observe.rows import Frame, unit_law
from skyweave.state import StateSpec, time_dim

__all__ = ["Maps"]


class Maps:
    """Maps of one variable of the state, matched to its times; values are lazy.

    Args:
        source: that they are of.
        state: what they are observations of.
        what: name of the source in errors.

    Raises:
        SkyweaveError: for a variable, units or dimensions that do not fit the state.
    """

    def __init__(self, source: GridObservation, state: Frame, what: str) -> None:
        self.source, self.what = source, f"{what}, variable {str(source.variable)!r}"
        self.channel = _channel(source, state.spec, what)
        self.variable = state.spec.variables[self.channel]
        # Scale and offset from the units of the source to the state's.
        self.law = unit_law(_units(source), self.variable.units, self.what, stated=source.units is not None)
        self.grid = Grid.from_dataset(source.data)
        # Values and standard deviations as (time, lat, lon).
        self.data, self.errors, when = _layout(source, self.grid, state, what)
        # Of the bias, (steps, cells).
        self.predictors = _predictors(source, self.data, what)
        self.match = state.times.matched(when, source.time_window, source.time, what)
        self.undated, self.twice = np.isnan(when), np.zeros(len(when), bool)
        by_time = np.argsort(when, kind="stable")
        self.twice[by_time] = duplicates(when[by_time])

    @property
    def shape(self) -> tuple[int, int]:
        """Steps and cells."""
        return self.data.shape[0], self.grid.size

    def read(self) -> Values:
        """Values and errors of the steps that are used, ``(steps, cells)``; NaN in the others, which are not loaded.

        Raises:
            SkyweaveError: a fill value that nothing declares.
        """
        used = np.flatnonzero(self.match.inside & ~self.twice & ~self.undated)
        parts = []
        with reading(self.what):
            for field in [self.data] if self.errors is None else [self.data, self.errors]:
                part = np.full(self.shape, np.nan)
                if len(used):
                    part[used] = field.isel({field.dims[0]: used}).values.reshape(len(used), -1)
                parts.append(part)
        if self.source.valid_range is None:
            _check_fill(parts[0][used], self.what)
        return Values(parts[0], None if self.errors is None else parts[1])

    def notes(self) -> tuple[str, ...]:
        """What is to be known of the source, its units included where nothing says them."""
        told = (*self.source.notes, *_statistic(self.source.data))
        assumed = f"{self.source.variable} taken to be in {self.variable.units}"
        return told if _units(self.source) else (*told, assumed)


def _channel(source: GridObservation, spec: StateSpec, what: str) -> int:
    variable = str(source.variable)
    if variable in spec.names:
        return spec.names.index(variable)
    bare = variable.replace("@", "")
    name = next((n for n in spec.names if n == bare), "NAME")
    raise SkyweaveError(
        f"{what}: the prior has no variable {variable!r}{did_you_mean(bare, spec.names)}, it has "
        f"{', '.join(spec.names)}; say which is meant: `of: {name}` at the source in the configuration, "
        f"--grid PATH:{name}={variable} at the command line, variable= in Python"
    )


def _units(source: GridObservation) -> str:
    return source.units if source.units is not None else str(source.data.attrs.get("units", ""))


def _predictors(source: GridObservation, data: xr.DataArray, what: str) -> dict[str, np.ndarray]:
    """Predictors of the bias as (steps, cells): latitude, or coordinates along time, latitude or longitude."""
    out = {}
    for name in source.bias_predictors:
        found = data[data.dims[1]] if name == "latitude" else data.coords.get(name)
        if found is None:
            raise SkyweaveError(
                f"{what}: no bias predictor {name!r}; there are latitude and the coordinates "
                f"{', '.join(str(c) for c in data.coords)}"
            )
        if found.dtype.kind in "mM":
            found = (found - found.values.ravel()[0]) / np.timedelta64(1, "D")
        spread = found.astype(float).broadcast_like(data).transpose(*data.dims)
        out[name] = spread.values.reshape(data.shape[0], -1)
    return out


def _layout(
    source: GridObservation, observed: Grid, state: Frame, what: str
) -> tuple[xr.DataArray, xr.DataArray | None, np.ndarray]:
    """Data and errors as (time, lat, lon), still lazy, and the time of each step as a number."""
    lat, lon = observed.dims_in(source.data)
    time = time_dim(source.data)
    extra = [d for d in source.data.dims if d not in (lat, lon, time)]
    long = [str(d) for d in extra if source.data.sizes[d] > 1]
    if long and (time is not None or len(long) > 1):
        hint = (
            "; forecasts by lead time are for `skyweave fuse`" if any("lead" in name for name in long) else ""
        )
        raise SkyweaveError(
            f"{what}: dimensions {', '.join(long)} besides time and place; select one of each first (`skyweave regrid "
            f"FILE --select {long[0]}=VALUE --like FILE --out ONE.nc`){hint}"
        )
    if long:
        time, extra = long[0], [d for d in extra if d != long[0]]
    valid = find_time(source.data)
    scalar = [source.data[valid]] if valid in source.data.coords and source.data[valid].ndim == 0 else []

    def arranged(field: xr.DataArray) -> xr.DataArray:
        flat = field.squeeze(extra, drop=True)
        flat = flat.expand_dims("time") if time is None and "time" not in flat.dims else flat
        return flat.transpose(time or "time", lat, lon)

    data = arranged(source.data)
    errors = None if source.error_field is None else arranged(source.error_field)
    if errors is not None and errors.shape != data.shape:
        raise SkyweaveError(f"{what}: error_field has shape {errors.shape}, the data have {data.shape}")
    if time is not None and time in source.data.coords:
        stamps: Any = source.data[time].values
    elif time is None and scalar:
        stamps = np.atleast_1d(scalar[0].values)
    else:
        stamps = None
    if stamps is not None and state.times.values is not None:
        return data, errors, state.times.number(stamps, what)
    if state.times.values is None or data.shape[0] == len(state.times):
        # Undated steps are the analysis times in order; an undated analysis takes whatever it is given.
        base = np.arange(data.shape[0], dtype=float) if state.times.values is None else state.times.values
        return data, errors, base
    raise SkyweaveError(
        f"{what}: {data.shape[0]} maps without times for {len(state.times)} analysis times; give it a time coordinate"
    )


def _check_fill(raw: np.ndarray, what: str) -> None:
    """Refuse values among which there is clearly a fill that nothing declares.

    Raises:
        SkyweaveError: there is one.
    """
    found = clear_fill(raw)
    if found is None:
        return
    others = raw[np.isfinite(raw) & ~np.isclose(raw, found[0], rtol=1e-6)]
    span = f"{others.min():g}, {others.max():g}" if others.size else "low, high"
    raise SkyweaveError(
        f"{what}: {found[0]:g} stands in {found[1]:.2%} of the values, far from all others: a fill value that is not "
        f"declared; name it, `missing: [{found[0]:g}]` at the source in the configuration, or state `valid_range: "
        f"[{span}]` (or wider), valid_range=({span}) in Python"
    )


def _statistic(field: xr.DataArray) -> tuple[str, ...]:
    """A note on what is by CF no value of its quantity, but how it varies, or a number that goes with it."""
    methods, standard = (str(field.attrs.get(key, "")) for key in ("cell_methods", "standard_name"))
    spread = re.search(r":\s*(standard_deviation|variance|range|standard_error)\b", methods)
    modifier = re.search(r" (standard_error|number_of_observations|status_flag|detection_minimum)$", standard)
    word = spread[1] if spread else modifier[1] if modifier else ""
    if not word:
        return ()
    return (
        f"WARNING: the file calls it a {word} ({methods or standard}), which is no value of its quantity",
    )
