"""Open gridded fields, wherever they lie, as one lazy dataset ordered (..., time, latitude, longitude)."""

from __future__ import annotations

import os
import uuid
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from skyweave.errors import SkyweaveError, note
from skyweave.grid import Grid
from skyweave.io.axes import (
    at_level,
    find_level,
    find_time,
    has_dates,
    parse_request,
    require_names,
    time_role,
)
from skyweave.io.combine import combine
from skyweave.io.edges import with_edges
from skyweave.io.flags import flag_fields
from skyweave.io.formats import expand, is_url, open_one
from skyweave.io.positions import rectilinear
from skyweave.io.select import select_region, select_time
from skyweave.io.stamps import in_order, steadied
from skyweave.io.valid_time import with_valid_time

CHUNK_BYTES = 32 * 2**20


def open_fields(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    variables: Sequence[str] | str | None = None,
    *,
    region: Mapping[str, tuple[float, float]] | None = None,
    time: Any = None,
    select: Mapping[str, Any] | None = None,
    forecasts: bool = False,
) -> xr.Dataset:
    """Open gridded variables from one or many files as one dataset, lazily.

    Dimensions are put in the order (others, time, latitude, longitude). Coordinates keep their names, values,
    dtype and direction bit for bit, but for latitude and longitude in radian, which become degrees, and times that
    waver by less than the precision they are stored with. The time is the one that fields are valid at, also where the
    file has the start of forecasts and lead times (see `skyweave.io.valid_time`); its stamps are there once each, and
    what is out of order is sorted. A file without a time axis gets a time dimension of size one (with its
    date, if the file states one); variables without time in a file that has time stay without. Dimensions of
    size one are dropped to scalar coordinates. A variable asked for as ``t@850`` is that level of ``t``, and
    is called ``t@850`` in the dataset. Bounds of latitude, longitude and time become coordinates along them, such as
    ``lat_lower`` and ``lat_upper``, which `Grid` and periods go by.

    Args:
        paths: local paths, globs, or fsspec URLs; several files must share a grid and follow one another in
            time or hold different variables at the same times.
        variables: names, or ``name@level`` (the coordinate's own unit, ``t@850hPa``, or hPa where the file
            has Pa); all variables on the latitude-longitude grid if None.
        region: ``{"lat": (south, north), "lon": (west, east)}`` in degrees, either or both, in any
            longitude convention;
            west > east crosses the date line or Greenwich.
        time: ``(start, end)``, both included, or one date; dates or ISO text, where
            ``"2019-03"`` means the whole month. A step with bounds belongs to the period in which their middle lies.
        select: values along other dimensions, such as ``{"month": 1, "number": [0, 1]}``.
        forecasts: keep forecasts of several starts and lead times along both, for `skyweave.fuse`.

    Raises:
        NotRectilinearError: two-dimensional, rotated or unstructured coordinates.
        SkyweaveError: a missing, truncated or unknown file, an unknown variable, level or value, files that do not fit
            together, stamps that are missing or repeated, an empty region or period, a period where there are no dates.
    """
    files = expand(paths)
    asked = [variables] if isinstance(variables, str) else None if variables is None else list(variables)
    if asked is not None and not asked:
        raise SkyweaveError(f"{files[0]}: an empty list of variables was asked for")
    opened = [_fields_of(path, asked, select or {}, files, forecasts) for path in files]
    where = files[0] if len(files) == 1 else f"{files[0]} ... ({len(files)} files)"
    if asked is not None:
        known = list(dict.fromkeys(name for _, names in opened for name in names))
        require_names([parse_request(name, known).name for name in asked], known, where)
    pieces = [piece for piece, _ in opened if piece.data_vars]
    ds = pieces[0] if len(pieces) == 1 else combine(pieces, files)
    if asked is not None:
        ds = ds[asked]
    name = find_time(ds)
    if name is not None:
        ds = in_order(ds, name, where)
    if region is not None:
        ds = select_region(ds, region, where)
    if time is not None:
        ds = select_time(ds, time, where)
    ds.encoding["source"] = where
    return ds


def _fields_of(
    path: str, asked: list[str] | None, select: Mapping[str, Any], files: list[str], forecasts: bool
) -> tuple[xr.Dataset, list[str]]:
    """The wanted variables of one file, ordered, as dask arrays; and the names of all on its grid."""
    ds = rectilinear(open_one(path))
    try:
        grid = Grid.from_dataset(ds)
    except SkyweaveError as exc:
        raise type(exc)(str(exc) if path in str(exc) else f"{path}: {exc}") from exc
    plane = (grid.lat_name, grid.lon_name)
    # A latitude that lies along a dimension of another name, lat(y), becomes the dimension itself.
    ds = ds.swap_dims({d: n for d, n in zip(grid.dims_in(ds), plane, strict=True) if d != n})
    ds = with_edges(with_times(ds, path, plane), grid, path)
    gridded = [
        str(n) for n, v in ds.data_vars.items() if set(plane) <= set(v.dims) and v.dtype.kind in "fiub"
    ]
    if not gridded:
        raise SkyweaveError(
            f"{path}: no variable of numbers lies on the grid ({', '.join(plane)}); it has: {_described(ds)}"
        )
    if path == files[0]:
        _tell_flags(ds[gridded], asked or [], path)
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
        if request.name not in gridded and len(files) > 1:
            continue  # another of the files may have it; what none has is reported once all are open
        require_names([request.name], gridded, path)
        field = select_values(maps[request.name], select, path)
        chosen[name] = field if request.level is None else at_level(field, request, path)
    _all_selections_used(chosen, select, path)
    out = xr.Dataset(chosen, attrs=ds.attrs)
    out.encoding["source"] = path
    return (_ordered(out, plane, path, forecasts) if chosen else out), gridded


def _tell_flags(ds: xr.Dataset, asked: list[str], path: str) -> None:
    """Tell of flags of the variables asked for that are not asked for with them."""
    names = [parse_request(name, list(map(str, ds.data_vars))).name for name in asked]
    for name in names:
        flags = [flag for flag in flag_fields(ds, name) if flag not in names] if name in ds else []
        if flags:
            note(
                f"{path}: {name!r} has quality flags in {', '.join(map(repr, flags[:4]))}, which are not applied: all "
                f"values are used. A source of observations applies them by quality: {{{flags[0]}: 1}} (the greatest "
                "kept) in the YAML; other commands take a field that is masked already"
            )


def with_times(ds: xr.Dataset, path: str, plane: Collection[Hashable]) -> xr.Dataset:
    """Variables that say when fields are valid, or when forecasts start, as coordinates, without noise of precision."""
    ds = ds.set_coords(
        [
            n
            for n, v in ds.data_vars.items()
            if v.ndim <= 2
            and v.attrs.get("standard_name")
            and time_role(n, v)
            and not set(plane) & set(v.dims)
        ]
    )
    steady = {
        n: steadied(c, path)
        for n, c in ds.coords.items()
        if c.ndim <= 1 and has_dates(c) and time_role(n, c) in ("time", "reference")
    }
    for name, coord in steady.items():
        if coord is not ds[name]:
            ds = ds.assign_coords({name: coord})
    return ds


def _described(ds: xr.Dataset) -> str:
    return (
        ", ".join(
            f"{n}({', '.join(map(str, v.dims))}){'' if v.dtype.kind in 'fiub' else ' of text or times'}"
            for n, v in list(ds.data_vars.items())[:12]
        )
        or "no variables"
    )


def select_values(field: xr.DataArray, select: Mapping[str, Any], where: str) -> xr.DataArray:
    """The part of a variable at some values along its dimensions; names of other dimensions are passed over.

    Raises:
        SkyweaveError: a dimension without values, or a value that is not there.
    """
    for dim, wanted in select.items():
        if dim not in field.dims:
            continue
        if dim not in field.coords:
            raise SkyweaveError(f"{where}: dimension {dim!r} of {field.name!r} has no values to select from")
        there = field[dim].values
        if there.dtype.kind == "M" and isinstance(wanted, str):
            wanted = pd.Timestamp(wanted).to_datetime64()
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


def _ordered(ds: xr.Dataset, plane: tuple[str, str], where: str, forecasts: bool) -> xr.Dataset:
    """Valid time found or added, dimensions of size one dropped, order (others, time, lat, lon)."""
    ds = with_valid_time(ds, where, plane=plane, forecasts=forecasts)
    time = find_time(ds)
    if time is not None and time not in ds.dims and ds.coords[time].ndim == 1:
        ds = ds.swap_dims({ds.coords[time].dims[0]: time})
    if time is not None and time in ds.coords and "climatology" in ds[time].attrs:
        note(
            f"{where}: {time} is climatological (its attribute 'climatology'): each date stands for many years"
        )
        del ds[time].attrs["climatology"]
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
    chunked = ds.chunk(chunks, name_prefix="skyweave-web-" if is_url(path) else "skyweave-", token=changed)
    return chunked.assign_coords({n: c.variable for n, c in ds.coords.items() if n not in ds.indexes})


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
                hint = (
                    f"pick one with select={{'{dim}': {values[0]}}} in Python, or from the command line with "
                    f"`skyweave regrid FILE --select {dim}={values[0]} --like FILE --out ONE.nc`"
                )
            raise SkyweaveError(
                f"{where}: variable {name!r} has a dimension {dim!r} ({_values(values)}); {hint}"
            )
