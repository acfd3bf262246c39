"""Several files as one dataset: along time, or side by side where they hold different variables."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from skyweave.errors import SkyweaveError
from skyweave.grid import Grid
from skyweave.io.axes import find_time, has_dates
from skyweave.io.select import span_of


def combine(pieces: list[xr.Dataset], files: list[str]) -> xr.Dataset:
    """Join files along time where they hold the same variables, side by side where they differ."""
    _same_grid(pieces)
    groups: dict[tuple[str, ...], list[xr.Dataset]] = {}
    for piece in pieces:
        groups.setdefault(tuple(sorted(map(str, piece.data_vars))), []).append(piece)
    joined = [_in_sequence(group) for group in groups.values()]
    try:
        return xr.merge(joined, join="exact", compat="no_conflicts", combine_attrs="override")
    except (xr.MergeError, ValueError) as exc:
        spans = "; ".join(f"{', '.join(map(str, d.data_vars))}: {span_of(d)}" for d in joined)
        raise SkyweaveError(
            f"{files[0]} and {len(files) - 1} more: the files hold different variables at different times "
            "or levels and "
            f"cannot be set side by side ({spans}). Open them apart, or give files of the same times"
        ) from exc


def _same_grid(pieces: list[xr.Dataset]) -> None:
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


def _in_sequence(group: list[xr.Dataset]) -> xr.Dataset:
    if len(group) == 1:
        return group[0]
    times = [find_time(piece) for piece in group]
    for piece, time in zip(group, times, strict=True):
        source = piece.encoding["source"]
        if time is None or time not in piece.coords or not has_dates(piece[time]):
            raise SkyweaveError(
                f"{source}: has no dates, so it cannot be put in order with files of the same variables"
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
    name = str(times[0])
    group = sorted(group, key=lambda piece: piece[name].values[0])
    seen: dict[Any, str] = {}
    for piece in group:
        for step in piece.indexes[name]:
            if step in seen:
                raise SkyweaveError(
                    f"{piece.encoding['source']}: time {step} is in {seen[step]} too; give each time step "
                    "once"
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
