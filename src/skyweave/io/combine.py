"""Several files as one dataset: along time, or side by side where they hold different variables."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np
import xarray as xr

from skyweave.coordinates import edge_names
from skyweave.errors import SkyweaveError, note
from skyweave.grid import Grid
from skyweave.io.axes import find_time, has_dates, time_role
from skyweave.io.one_kind import one_kind
from skyweave.io.select import span_of
from skyweave.io.stamps import check_stamps
from skyweave.io.time_units import why_undated


def combine(pieces: list[xr.Dataset], files: list[str]) -> xr.Dataset:
    """Join files along time where they hold the same variables, side by side where they differ."""
    pieces = _same_grid(pieces)
    groups: dict[tuple[str, ...], list[xr.Dataset]] = {}
    for piece in pieces:
        groups.setdefault(tuple(sorted(map(str, piece.data_vars))), []).append(piece)
    joined = _without_conflicts([in_sequence(group) for group in groups.values()])
    try:
        return xr.merge(joined, join="exact", compat="no_conflicts", combine_attrs="override")
    except (xr.MergeError, ValueError) as exc:
        spans = "; ".join(f"{', '.join(map(str, d.data_vars))}: {span_of(d)}" for d in joined)
        raise SkyweaveError(
            f"{files[0]} and {len(files) - 1} more: the files hold different variables at different times "
            "or levels and "
            f"cannot be set side by side ({spans}). Open them apart, or give files of the same times"
        ) from exc


def _same_grid(pieces: list[xr.Dataset]) -> list[xr.Dataset]:
    """The pieces, all with the bounds of cells that any of them states."""
    first = pieces[0]
    axes = Grid.from_dataset(first)
    for other in pieces[1:]:
        for axis in (axes.lat_name, axes.lon_name):
            a = first[axis].values
            b = other[axis].values if axis in other.coords else None
            if b is None or a.shape != b.shape or not np.array_equal(a, b):
                found = "no such coordinate" if b is None else f"{b.size} values from {b[0]:g} to {b[-1]:g}"
                raise SkyweaveError(
                    f"{other.encoding['source']}: its {axis} ({found}) differs from that of "
                    f"{first.encoding['source']} "
                    f"({a.size} values from {a[0]:g} to {a[-1]:g}); files opened together must share one grid"
                )
    edges: dict[Hashable, tuple[xr.DataArray, str]] = {}
    for piece in pieces:
        for name in (*edge_names(axes.lat_name), *edge_names(axes.lon_name)):
            if name not in piece.coords:
                continue
            own, source = edges.setdefault(name, (piece[name], piece.encoding["source"]))
            if not np.allclose(own.values, piece[name].values, rtol=0, atol=1e-4):
                raise SkyweaveError(
                    f"{piece.encoding['source']}: the bounds of its cells differ from those of {source}; files opened "
                    "together must share one grid"
                )
    return [_assigned(piece, {n: c.variable for n, (c, _) in edges.items()}) for piece in pieces]


def _assigned(ds: xr.Dataset, coords: dict[Hashable, xr.Variable]) -> xr.Dataset:
    out = ds.assign_coords(coords)
    out.encoding["source"] = ds.encoding["source"]
    return out


def _with_own_times(group: list[xr.Dataset], name: str) -> list[xr.Dataset]:
    """Coordinates that differ between files, such as the start of each forecast, laid along the time."""
    every = {n for piece in group for n, c in piece.coords.items() if c.dims in ((), (name,)) and n != name}
    for coord in sorted(every, key=str):
        held = [piece[coord].variable for piece in group if coord in piece.coords]
        if len(held) < len(group):
            group = [_dropped(piece, [coord]) for piece in group]
            if coord in edge_names(name):
                note(
                    f"{group[0].encoding['source']} ...: not all files have bounds of {name}, so none are used"
                )
        elif any(v.ndim for v in held) or any(not held[0].equals(v) for v in held):
            group = [
                _assigned(p, {coord: v if v.ndim else v.set_dims({name: p.sizes[name]})})
                for p, v in zip(group, held, strict=True)
            ]
    return group


def _without_conflicts(joined: list[xr.Dataset]) -> list[xr.Dataset]:
    """Without the starts and lead times of forecasts where they differ between variables of one valid time."""
    for coord in {
        n for ds in joined for n, c in ds.coords.items() if time_role(n, c) in ("reference", "lead")
    }:
        held = [ds[coord].variable for ds in joined if coord in ds.coords]
        if coord not in joined[0].dims and any(not held[0].equals(v) for v in held):
            joined = [_dropped(ds, [coord]) for ds in joined]
    return joined


def _dropped(ds: xr.Dataset, names: list[Hashable]) -> xr.Dataset:
    out = ds.drop_vars(names, errors="ignore")
    out.encoding = dict(ds.encoding)
    return out


def in_sequence(group: list[xr.Dataset]) -> xr.Dataset:
    """Files of the same variables and grid, one after another in time.

    Raises:
        SkyweaveError: no dates, other names or calendars of time, times that come twice.
    """
    if len(group) == 1:
        return group[0]
    times = [find_time(piece) for piece in group]
    for piece, time in zip(group, times, strict=True):
        source = piece.encoding["source"]
        if time is None or time not in piece.coords or not has_dates(piece[time]):
            stated = {k: piece.attrs[k] for k in ("time_coverage_start", "date") if k in piece.attrs}
            told = f" ({why_undated(piece[time])})" if time is not None and time in piece.coords else ""
            told += f" (only as text: {stated}; write it as a coordinate 'time')" if stated else ""
            raise SkyweaveError(
                f"{source}: has no dates, so it cannot be put in order with files of the same variables{told}"
            )
        if time != times[0]:
            raise SkyweaveError(
                f"{source}: its time is called {time!r}, that of {group[0].encoding['source']} {times[0]!r}"
            )
        if calendar_of(piece[time]) != calendar_of(group[0][times[0]]):
            raise SkyweaveError(
                f"{source}: its calendar is {calendar_of(piece[time])!r}, that of "
                f"{group[0].encoding['source']} "
                f"{calendar_of(group[0][times[0]])!r}; files of different calendars cannot follow one another"
            )
        check_stamps(piece[time], source)
    name = str(times[0])
    group = one_kind(group)
    group = sorted(_with_own_times(group, name), key=lambda piece: piece[name].values.min())
    seen: dict[Any, str] = {}
    for piece in group:
        for step in piece.indexes[name]:
            if step in seen:
                raise SkyweaveError(
                    f"{piece.encoding['source']}: time {step} is in {seen[step]} too; give each time step "
                    "once (of forecasts, those of one lead time)"
                )
            seen[step] = piece.encoding["source"]
    try:
        return xr.concat(
            group,
            dim=name,
            data_vars="minimal",
            coords="minimal",
            compat="override",
            join="exact",
            combine_attrs="override",
        )
    except ValueError as exc:
        sources = f"{group[0].encoding['source']} ... {group[-1].encoding['source']}"
        raise SkyweaveError(f"{sources}: the files do not fit together along {name!r}: {exc}") from exc


def calendar_of(time: xr.DataArray) -> str:
    """CF name of the calendar of a coordinate of dates."""
    return str(time.dt.calendar)
