"""Level-2 files, screened by their quality and averaged onto a grid, one map for each."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd
import xarray as xr

from skyweave.errors import SkyweaveError, did_you_mean
from skyweave.grid import Grid
from skyweave.io.axes import find_time, has_dates
from skyweave.io.formats import expand, open_one
from skyweave.io.swath import grid_swath

__all__ = ["read_swaths"]

STARTS = ("time_coverage_start", "RangeBeginningDateTime", "start_time", "StartTime")
ENDS = ("time_coverage_end", "RangeEndingDateTime", "end_time", "EndTime")


def read_swaths(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    variable: str,
    grid: Grid,
    *,
    quality: Mapping[str, tuple[float, float]] | None = None,
    minimum_share: float = 0.2,
) -> xr.Dataset:
    """Area means of the pixels of level-2 files, see `grid_swath`, a map for each time.

    A file's time is its own coordinate, else the mean of a variable of times along its pixels, else the middle of
    ``time_coverage_start`` and ``time_coverage_end``.

    Args:
        paths: files, globs or URLs.
        variable: its name in the files.
        grid: of the result.
        quality: least and greatest value kept, of other variables with the pixels' dimensions.
        minimum_share: of a cell's pixels that must have a value; cells with fewer are missing.

    Returns:
        The variable and ``<variable>_count`` on time, lat, lon, in order of time; without time for one undated file.

    Raises:
        SkyweaveError: no such variable, two files of one time, several files of which one has no time.
    """
    files = expand(paths)
    maps: list[xr.Dataset] = []
    for path in files:
        with open_one(path) as ds:
            screened = _screened(ds, variable, quality or {}, path)
            part = grid_swath(screened, variable, grid, minimum_share=minimum_share)
            if find_time(part[variable]) is None:
                time = _time(ds)
                if time is None and len(files) > 1:
                    raise SkyweaveError(
                        f"{path}: no time of the swath was found (a coordinate of dates, or the attribute "
                        "time_coverage_start); files without one are read alone"
                    )
                if time is not None:
                    part = part.expand_dims({"time": [time]})
            maps.append(part.load())
    if len(maps) == 1:
        return maps[0]
    dim = str(find_time(maps[0][variable]))
    joined = xr.concat(maps, dim, data_vars="all", coords="minimal", compat="override", join="override")
    joined = joined.sortby(dim)
    times = pd.Index(joined[dim].values)
    if times.has_duplicates:
        raise SkyweaveError(
            f"{files[0]} ... ({len(files)} files): two have the time {times[times.duplicated()][0]}; give each once"
        )
    return joined


def _screened(
    ds: xr.Dataset, variable: str, quality: Mapping[str, tuple[float, float]], path: str
) -> xr.Dataset:
    if variable not in ds:
        return ds  # refused by `grid_swath`, with the names that there are
    field = ds[variable]
    for name, (low, high) in quality.items():
        if name not in ds:
            known = [str(n) for n in ds.variables]
            raise SkyweaveError(f"{path}: no variable {name!r} for quality{did_you_mean(name, known)}; it has: "
                                f"{', '.join(known[:30])}")  # fmt: skip
        if not set(ds[name].dims) <= set(field.dims):
            raise SkyweaveError(
                f"{path}: quality variable {name!r} ({', '.join(map(str, ds[name].dims))}) does not lie on the pixels "
                f"of {variable!r} ({', '.join(map(str, field.dims))})"
            )
        field = field.where((ds[name] >= low) & (ds[name] <= high))
    # Flags that are missing keep nothing: comparisons with NaN are false.
    return ds.assign({variable: field.transpose(*ds[variable].dims)})


def _time(ds: xr.Dataset) -> np.datetime64 | None:
    """When a swath was seen; ``None`` if nothing tells."""
    for name in ds.variables:
        if "time" in str(name).lower() and has_dates(ds[name]) and ds[name].dtype.kind == "M":
            known = ds[name].values[~np.isnat(ds[name].values)]
            if known.size:
                return _mean(known)
    stamps = []
    for keys in (STARTS, ENDS):
        text = next((ds.attrs[k] for k in keys if k in ds.attrs), None)
        moment = pd.to_datetime(str(text), utc=True, errors="coerce")
        if not pd.isna(moment):
            stamps.append(moment.tz_localize(None).to_datetime64())
    return _mean(np.array(stamps, "datetime64[ns]")) if stamps else None


def _mean(stamps: np.ndarray) -> np.datetime64:
    first = stamps.min().astype("datetime64[ns]")
    away = (stamps.astype("datetime64[ns]") - first).astype("int64").mean()
    moment: np.datetime64 = first + np.timedelta64(round(float(away)), "ns")
    return moment
