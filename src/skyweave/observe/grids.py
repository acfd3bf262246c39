"""From a gridded source to rows: checked, matched, aggregated where it is finer, counted."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import scipy.sparse as sp
import xarray as xr

from skyweave.damage import reading
from skyweave.errors import SkyweaveError, did_you_mean
from skyweave.grid import Grid
from skyweave.io.axes import find_time
from skyweave.io.undeclared import clear_fill
from skyweave.observe.errors import ErrorModel, unit_vectors
from skyweave.observe.footprint import Footprint, footprint
from skyweave.observe.match import TimeMatch, duplicates, merged_variance
from skyweave.observe.observation import GridObservation
from skyweave.observe.report import SourceReport, Tally
from skyweave.observe.rows import (
    Frame,
    Rows,
    bad_errors,
    beyond_limits,
    covariance_of,
    error_span,
    expand,
    only_representativeness,
    taken,
    unit_law,
)
from skyweave.state import time_dim

__all__ = ["grid_rows"]


def grid_rows(source: GridObservation, name: str, state: Frame) -> Rows:
    """Rows of a gridded source; only time steps within the window are loaded.

    Raises:
        SkyweaveError: for a variable, grid, units or dimensions that do not fit the state.
    """
    what = f"observation {name!r}"
    variable = str(source.variable)
    if variable not in state.spec.names:
        hint = did_you_mean(variable.replace("@", ""), state.spec.names)
        name = next((n for n in state.spec.names if n == variable.replace("@", "")), "NAME")
        raise SkyweaveError(
            f"{what}: the prior has no variable {variable!r}{hint}, it has {', '.join(state.spec.names)}; "
            f"say which is meant: `of: {name}` at the source in the configuration, --grid PATH:{name}={variable} at "
            "the command line, variable= in Python"
        )
    channel = state.spec.names.index(variable)
    meant = state.spec.variables[channel]
    text = source.units if source.units is not None else str(source.data.attrs.get("units", ""))
    scale, offset = unit_law(
        text, meant.units, f"{what}, variable {variable!r}", stated=source.units is not None
    )
    observed = Grid.from_dataset(source.data)
    data, error_field, when = _grid_layout(source, observed, state, what)
    fit = footprint(observed, state.grid, source.operator, name)

    steps, cells = data.shape[0], observed.size
    known = _predictors(source, data, what)
    match = state.times.matched(when, source.time_window, source.time, what)
    twice = np.zeros(steps, bool)
    by_time = np.argsort(when, kind="stable")
    twice[by_time] = duplicates(when[by_time])
    used = np.flatnonzero(match.inside & ~twice & ~np.isnan(when))
    raw = np.full((steps, cells), np.nan)
    own = None if error_field is None else np.full((steps, cells), np.nan)
    with reading(what):
        if len(used):
            raw[used] = data.isel({data.dims[0]: used}).values.reshape(len(used), cells)
        if len(used) and own is not None and error_field is not None:
            own[used] = error_field.isel({data.dims[0]: used}).values.reshape(len(used), cells)
    if source.valid_range is None:
        _check_fill(raw[used], f"{what}, variable {variable!r}")
    value = raw * scale + offset
    measured = source.model.measurement_variance(raw, own) * scale**2
    model = only_representativeness(source.model, source.model.representativeness * abs(scale))
    variance = measured + model.representativeness**2

    tally = Tally(steps * cells)
    whole = np.ones((1, cells), bool)
    tally.drop((np.isnan(when)[:, None] & whole).ravel(), "NaN")
    tally.drop((~match.inside[:, None] & whole).ravel(), "outside time window")
    tally.drop((twice[:, None] & whole).ravel(), "duplicated")
    inside = np.tile(fit.inside, steps)
    tally.drop(inside <= 1e-9, "outside domain")
    if fit.operator not in ("mask", "bilinear", "aggregate"):
        tally.drop(inside < source.min_coverage, "footprint partly outside")
        tally.drop(np.tile(np.diff(fit.matrix.indptr) == 0, steps), "footprint partly outside")
    tally.drop(~np.isfinite(raw.ravel()), "NaN")
    beyond = beyond_limits(raw, source.valid_range or (None, None)) | beyond_limits(value, meant.bounds)
    tally.drop(beyond.ravel(), "out of range")
    bad = ~np.isfinite(variance) | (variance <= 0)
    if own is not None:
        bad |= own <= 0
    without = tally.drop(bad.ravel(), "non-positive error")

    lat, lon = (part.ravel() for part in observed.mesh())
    if fit.reduce is not None:
        step, place, y, spread = _aggregate(
            fit,
            tally,
            value,
            measured,
            model,
            unit_vectors(lat, lon),
            source.min_filled,
            state,
            match,
            channel,
        )
        lat, lon = (part.ravel() for part in state.grid.mesh())
        # Of an observation averaged over the state's cells only its place is known.
        for missing in set(known) - {"latitude"}:
            raise SkyweaveError(
                f"{what}: no bias predictor {missing!r} where cells are averaged; only latitude"
            )
        known = {name: np.tile(lat, (steps, 1)) for name in known}
    else:
        step, place = np.divmod(np.flatnonzero(tally.alive), cells)
        y, spread = value[step, place], variance[step, place]
    channels = np.full(len(step), channel)
    matrix = expand(fit.matrix[place], channels, taken(match, step), state)
    if fit.reduce is None:
        blocked = np.zeros(steps * cells, bool)
        blocked[step * cells + place] = state.masked(matrix)
        tally.drop(blocked, "masked cells")
        kept = ~blocked[step * cells + place]
        matrix = matrix[np.flatnonzero(kept)]
        step, place, y, spread, channels = step[kept], place[kept], y[kept], spread[kept], channels[kept]
    known = {name: one[step, place] for name, one in known.items()}
    first, last = match.first[step], match.last[step]
    frame = np.where(match.weight[step] > 0.5, last, first)
    at = fit.cell[place]
    cell = np.where(at >= 0, state.column(frame, channel) + at, -1)
    # Steps matched to one analysis time have errors of their own, so that blocks are by step.
    R = covariance_of(
        spread, channels, step, step, unit_vectors(lat[place], lon[place]), [source.model] * (channel + 1)
    )
    told = (*source.notes, *_statistic(source.data))
    notes = told if text else (*told, f"{variable} taken to be in {meant.units}")
    if own is not None:
        notes = (*bad_errors(own.ravel()[without]), *notes)
    report = SourceReport(
        name, "grid", fit.operator, source.weight, steps * cells, int(tally.alive.sum()), len(y),
        tally.dropped, error_span(R, channels, state), notes,
    )  # fmt: skip
    return Rows(matrix, y, R, channels, first, last, cell, report, known)


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


def _aggregate(
    fit: Footprint,
    tally: Tally,
    value: np.ndarray,
    measured: np.ndarray,
    model: ErrorModel,
    position: np.ndarray,
    min_filled: float,
    state: Frame,
    match: TimeMatch,
    channel: int,
) -> tuple[np.ndarray, ...]:
    """Area means of the observation over the state's cells: step, state cell, value, variance of each."""
    assert fit.reduce is not None
    alive = tally.alive.reshape(value.shape)
    sparse, blocked = np.zeros(value.shape, bool), np.zeros(value.shape, bool)
    parts: list[tuple[np.ndarray, ...]] = []
    for k in np.flatnonzero(alive.any(1)):
        filled = fit.reduce @ alive[k].astype(float)
        dense = (filled > 0) & (filled >= min_filled)
        free = np.ones(state.grid.size, bool)
        if state.wanted is not None:
            for frame in {int(match.first[k]), int(match.last[k])}:
                start = int(state.column(np.array(frame), channel))
                free &= state.wanted[start : start + state.grid.size]
        touched, free_touched = (fit.reduce.T @ (dense & f).astype(float) > 0 for f in (True, free))
        sparse[k], blocked[k] = alive[k] & ~touched, alive[k] & touched & ~free_touched
        rows = np.flatnonzero(dense & free)
        weights = sp.csr_array(
            sp.diags_array(1 / filled[rows]) @ fit.reduce[rows] @ sp.diags_array(alive[k].astype(float))
        )
        weights.eliminate_zeros()
        y = weights @ np.where(alive[k], value[k], 0.0)
        spread = merged_variance(weights, np.where(alive[k], measured[k], 0.0), position, model)
        parts.append((np.full(len(rows), k), rows, y, spread))
    tally.drop(sparse.ravel(), "sparsely observed cell")
    tally.drop(blocked.ravel(), "masked cells")
    if not parts:
        none = np.zeros(0, np.int64)
        return none, none, np.zeros(0), np.zeros(0)
    return tuple(np.concatenate(column) for column in zip(*parts, strict=True))


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


def _grid_layout(
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
        flat = flat.expand_dims("time") if time is None and "time" not in flat.coords else flat
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
