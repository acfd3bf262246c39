"""Open gridded fields, wherever they lie, as one lazy dataset ordered (..., time, latitude, longitude)."""

from __future__ import annotations

import os
import uuid
from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from skyweave.errors import SkyweaveError, did_you_mean
from skyweave.grid import Grid
from skyweave.io.axes import at_level, find_level, find_time, has_dates, parse_request, require_names
from skyweave.io.formats import expand, is_url, open_one

CHUNK_BYTES = 32 * 2**20


def open_fields(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    variables: Sequence[str] | str | None = None,
    *,
    region: Mapping[str, tuple[float, float]] | None = None,
    time: Any = None,
    select: Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """Open gridded variables from one or many files as one dataset, lazily.

    Dimensions are put in the order (others, time, latitude, longitude). Coordinates keep their names, values,
    dtype and direction bit for bit. A file without a time axis gets a time dimension of size one (with its
    date, if the file states one); variables without time in a file that has time stay without. Dimensions of
    size one are dropped to scalar coordinates. A variable asked for as ``t@850`` is that level of ``t``, and
    is called ``t@850`` in the dataset.

    Args:
        paths: local paths, globs, or fsspec URLs; several files must share a grid and follow one another in
            time or hold different variables at the same times.
        variables: names, or ``name@level`` (the coordinate's own unit, ``t@850hPa``, or hPa where the file
            has Pa); all variables on the latitude-longitude grid if None.
        region: ``{"lat": (south, north), "lon": (west, east)}`` in degrees, either or both, in any
            longitude convention;
            west > east crosses the date line or Greenwich.
        time: ``(start, end)``, both included, or one date; dates or ISO text, where
            ``"2019-03"`` means the whole month.
        select: values along other dimensions, such as ``{"month": 1, "number": [0, 1]}``.

    Raises:
        SkyweaveError: a missing, truncated or unknown file, an unknown variable, level or value,
            two-dimensional coordinates, files that do not fit together, an empty region or period, a period
            where there are no dates.
    """
    files = expand(paths)
    asked = [variables] if isinstance(variables, str) else None if variables is None else list(variables)
    if asked is not None and not asked:
        raise SkyweaveError(f"{files[0]}: an empty list of variables was asked for")
    pieces = [_fields_of(path, asked, select or {}, alone=len(files) == 1) for path in files]
    pieces = [piece for piece in pieces if piece.data_vars]
    ds = pieces[0] if len(pieces) == 1 else _combine(pieces, files)
    where = files[0] if len(files) == 1 else f"{files[0]} ... ({len(files)} files)"
    if asked is not None:
        require_names(asked, [str(v) for v in ds.data_vars], where)
        ds = ds[asked]
    if region is not None:
        ds = select_region(ds, region, where)
    if time is not None:
        ds = select_time(ds, time, where)
    ds.encoding["source"] = where
    return ds


def _fields_of(path: str, asked: list[str] | None, select: Mapping[str, Any], alone: bool) -> xr.Dataset:
    """The wanted gridded variables of one file, in our order of dimensions, as dask arrays of whole maps."""
    ds = open_one(path)
    try:
        grid = Grid.from_dataset(ds)
    except SkyweaveError as exc:
        raise SkyweaveError(str(exc) if path in str(exc) else f"{path}: {exc}") from exc
    plane = (grid.lat_name, grid.lon_name)
    # A latitude that lies along a dimension of another name, lat(y), becomes the dimension itself.
    ds = ds.swap_dims({d: n for d, n in zip(grid.dims_in(ds), plane, strict=True) if d != n})
    gridded = [
        str(n) for n, v in ds.data_vars.items() if set(plane) <= set(v.dims) and v.dtype.kind in "fiub"
    ]
    if not gridded:
        raise SkyweaveError(
            f"{path}: no variable lies on the grid ({', '.join(plane)}); it has: {_described(ds)}"
        )
    # Before anything else touches them: transposing xarray's own lazy arrays makes their reads slow.
    maps = _chunked(ds[gridded], path, plane)
    chosen: dict[str, xr.DataArray] = {}
    for name in gridded if asked is None else asked:
        request = parse_request(name, gridded)
        if request.name in ds.data_vars and request.name not in gridded:
            dims = ", ".join(map(str, ds[request.name].dims))
            raise SkyweaveError(
                f"{path}: variable {request.name!r} is not on the grid ({', '.join(plane)}): its dimensions "
                f"are ({dims})"
            )
        if request.name not in gridded and not alone:
            continue  # another of the files may have it; what none has is reported once all are open
        require_names([request.name], gridded, path)
        field = _select(maps[request.name], select, path)
        chosen[name] = field if request.level is None else at_level(field, request, path)
    _all_selections_used(chosen, select, path)
    out = xr.Dataset(chosen, attrs=ds.attrs)
    out.encoding["source"] = path
    return _ordered(out, plane)


def _described(ds: xr.Dataset) -> str:
    return (
        ", ".join(f"{n}({', '.join(map(str, v.dims))})" for n, v in list(ds.data_vars.items())[:12])
        or "no variables"
    )


def _select(field: xr.DataArray, select: Mapping[str, Any], where: str) -> xr.DataArray:
    for dim, wanted in select.items():
        if dim not in field.dims:
            continue
        if dim not in field.coords:
            raise SkyweaveError(f"{where}: dimension {dim!r} of {field.name!r} has no values to select from")
        there = field[dim].values
        for value in np.atleast_1d(np.asarray(wanted)):
            if value not in there:
                raise SkyweaveError(f"{where}: {dim}={value} is not there; {dim} is {_values(there)}")
        field = field.sel({dim: wanted})
    return field


def _values(there: np.ndarray, most: int = 24) -> str:
    listed = [str(v) for v in there]
    return ", ".join(listed if len(listed) <= most else [*listed[:most], "..."])


def _all_selections_used(chosen: Mapping[str, xr.DataArray], select: Mapping[str, Any], where: str) -> None:
    if not chosen:
        return
    dims = sorted({str(d) for v in chosen.values() for d in (*v.dims, *v.coords)})
    require_names([str(d) for d in select], dims, where, kind="dimension")


def _ordered(ds: xr.Dataset, plane: tuple[str, str]) -> xr.Dataset:
    """Time found or added, dimensions of size one dropped, order (others, time, lat, lon)."""
    time = find_time(ds)
    if time is not None and time not in ds.dims and ds.coords[time].ndim == 1:
        ds = ds.swap_dims({ds.coords[time].dims[0]: time})
    single = [d for d, n in ds.sizes.items() if n == 1 and d not in (*plane, time)]
    ds = ds.squeeze(single)
    if time is None:
        ds = ds.expand_dims("time")
    elif time not in ds.dims:
        ds = ds.expand_dims(time)
    return ds.transpose(..., time or "time", *plane)


def _chunked(ds: xr.Dataset, path: str, plane: tuple[str, str]) -> xr.Dataset:
    """Whole maps, as many steps as fit ``CHUNK_BYTES``, in multiples of what is stored together on disk."""
    time = find_time(ds)
    if time is not None and time not in ds.dims and ds.coords[time].ndim == 1:
        time = str(ds.coords[time].dims[0])
    stored: dict[Hashable, int] = {}
    for var in ds.data_vars.values():
        for dim, size in var.encoding.get("preferred_chunks", {}).items():
            stored[dim] = max(size, stored.get(dim, 1))
    chunks: dict[Hashable, int] = {d: -1 if d in plane else stored.get(d, 1) for d in ds.dims}
    if time in ds.dims:
        per_step = max(
            v.dtype.itemsize
            * int(
                np.prod([n if c == -1 else c for d, n in v.sizes.items() if d != time for c in [chunks[d]]])
            )
            for v in ds.data_vars.values()
        )
        once = stored.get(time, 1)
        chunks[time] = min(ds.sizes[time], max(once, CHUNK_BYTES // max(per_step, 1) // once * once))
    # The token names dask's tasks: two openings of one unchanged file share them, a rewritten file does not.
    changed = uuid.uuid4().hex if is_url(path) else f"{Path(path).resolve()}-{os.stat(path).st_mtime_ns}"
    return ds.chunk(chunks, name_prefix="skyweave-", token=changed)


def _combine(pieces: list[xr.Dataset], files: list[str]) -> xr.Dataset:
    """Join files along time where they hold the same variables, side by side where they differ."""
    if not pieces:
        return xr.Dataset()
    _same_grid(pieces)
    groups: dict[tuple[str, ...], list[xr.Dataset]] = {}
    for piece in pieces:
        groups.setdefault(tuple(sorted(map(str, piece.data_vars))), []).append(piece)
    joined = [_in_sequence(group) for group in groups.values()]
    try:
        return xr.merge(joined, join="exact", compat="no_conflicts", combine_attrs="override")
    except (xr.MergeError, ValueError) as exc:
        spans = "; ".join(f"{', '.join(map(str, d.data_vars))}: {_span(d)}" for d in joined)
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


def _span(ds: xr.Dataset) -> str:
    time = find_time(ds)
    if time is None or time not in ds.coords or ds[time].size == 0:
        return "no dates"
    return f"{ds[time].values.flat[0]!s:.19} to {ds[time].values.flat[-1]!s:.19}, {ds[time].size} steps"


def select_region(
    ds: xr.Dataset, region: Mapping[str, tuple[float, float]], where: str = "dataset"
) -> xr.Dataset:
    """Cut a region out, across 0 or 180 degrees and over the poles; coordinates keep their own values.

    Args:
        ds: gridded dataset.
        region: ``{"lat": (south, north), "lon": (west, east)}`` in degrees; either may be left out.
        where: file named in errors.

    Raises:
        SkyweaveError: unknown keys, bounds that are not two numbers, or no grid point inside.
    """
    for key, bounds in region.items():
        if key not in ("lat", "lon"):
            raise SkyweaveError(
                f"region: unknown key {key!r}{did_you_mean(key, ['lat', 'lon'])}; give "
                f"{{'lat': (south, north), 'lon': (west, east)}}"
            )
        if len(bounds) != 2 or not all(np.isfinite(float(b)) for b in bounds):
            raise SkyweaveError(f"region: {key} must be two numbers in degrees, not {bounds!r}")
    grid = Grid.from_dataset(ds)
    kwargs: dict[str, Any] = {k: (float(b[0]), float(b[1])) for k, b in region.items()}
    try:
        i, j = grid.region(**kwargs)
    except SkyweaveError as exc:
        raise SkyweaveError(str(exc) if where in str(exc) else f"{where}: {exc}") from exc
    return ds.isel({grid.lat_name: _as_slice(i), grid.lon_name: _as_slice(j)})


def _as_slice(index: np.ndarray) -> slice | np.ndarray:
    """A slice where the indices are consecutive: dask then reads less and keeps its chunks."""
    index = np.asarray(index)
    if index.size and np.array_equal(index, np.arange(index[0], index[0] + index.size)):
        return slice(int(index[0]), int(index[0]) + index.size)
    return index


def select_time(ds: xr.Dataset, time: Any, where: str = "dataset") -> xr.Dataset:
    """Keep the steps from start to end, both included, in the order they have.

    Args:
        ds: dataset with dates.
        time: ``(start, end)``, or one date or part of a date; either end may be None; UTC.
        where: file named in errors.

    Raises:
        SkyweaveError: no dates, a date that cannot be read, or no step in the period.
    """
    name = find_time(ds)
    if name is None or name not in ds.coords or not has_dates(ds[name]):
        found = (
            f"{name!r} holds plain numbers"
            if name is not None and name in ds.coords
            else "there is no time coordinate"
        )
        raise SkyweaveError(f"{where}: a period was asked for, but the file has no dates ({found})")
    start, end = _period(time)
    index = ds.indexes[name]
    ordered = index.sort_values()
    try:
        inside = ordered[ordered.slice_indexer(start, end)]
    except (ValueError, TypeError, KeyError) as exc:
        raise SkyweaveError(
            f"time: cannot read the period {start!r} to {end!r} ({exc}); write dates as 2019-03-01T06:00"
        ) from exc
    keep = np.flatnonzero(index.isin(inside))
    if keep.size == 0:
        raise SkyweaveError(f"{where}: no time step from {start} to {end}; the file has {_span(ds)}")
    return ds.isel({name: _as_slice(keep)})


def _period(time: Any) -> tuple[Any, Any]:
    if isinstance(time, slice):
        time = (time.start, time.stop)
    pair = (time, time) if isinstance(time, str) or not isinstance(time, Sequence) else tuple(time)
    if len(pair) != 2:
        raise SkyweaveError(f"time: give (start, end), not {len(pair)} values")
    return _utc(pair[0]), _utc(pair[1])


def _utc(moment: Any) -> Any:
    """Text with a zone ('Z', '+02:00') as plain UTC; the rest as it is: '2019-03' keeps meaning a month."""
    if isinstance(moment, np.datetime64):
        return pd.Timestamp(moment)
    if isinstance(moment, str) and "T" in moment.replace(" ", "T") and ("Z" in moment or "+" in moment):
        try:
            return str(pd.Timestamp(moment).tz_convert(None).isoformat())
        except (ValueError, TypeError) as exc:
            raise SkyweaveError(f"time: cannot read {moment!r}; write dates as 2019-03-01T06:00") from exc
    return moment


def check_not_empty(ds: xr.Dataset, variables: Sequence[str] | None = None) -> None:
    """Refuse variables that hold no finite value at all, reading only until one is found.

    Args:
        ds: dataset from `open_fields`.
        variables: names to look at; all if None.

    Raises:
        SkyweaveError: a variable is all missing.
    """
    where = str(ds.encoding.get("source", "dataset"))
    names = [str(v) for v in ds.data_vars] if variables is None else list(variables)
    require_names(names, [str(v) for v in ds.data_vars], where)
    for name in names:
        field = ds[name]
        leading = field.dims[:-2] if field.ndim > 2 else ()
        shape = tuple(field.sizes[d] for d in leading)
        if not any(
            bool(np.isfinite(field.isel(dict(zip(leading, step, strict=True))).values).any())
            for step in np.ndindex(*shape)
        ):
            raise SkyweaveError(
                f"{where}: variable {name!r} has no value at all in this selection: all {field.size} are "
                "missing. "
                "Choose another period, region or variable, or look at its fill value with `skyweave check`"
            )


def check_single_fields(ds: xr.Dataset) -> None:
    """Refuse variables with dimensions beside time, latitude and longitude, and say how to pick from them.

    Raises:
        SkyweaveError: a variable has a level, member or other dimension left.
    """
    where = str(ds.encoding.get("source", "dataset"))
    grid = Grid.from_dataset(ds)
    plain = {find_time(ds) or "time", grid.lat_name, grid.lon_name}
    for name, field in ds.data_vars.items():
        for dim in field.dims:
            if dim in plain:
                continue
            values = field[dim].values if dim in field.coords else np.arange(field.sizes[dim])
            if dim == find_level(field):
                hint = f"ask for one level as '{name}@{values[0]:g}'"
            else:
                hint = f"pick one with select={{'{dim}': {values[0]}}}"
            raise SkyweaveError(
                f"{where}: variable {name!r} has a dimension {dim!r} ({_values(values)}); {hint}"
            )
