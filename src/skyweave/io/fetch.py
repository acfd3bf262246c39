"""Fetch days of an archive into a folder, one NetCDF file each; run again, it goes on where it stopped."""

from __future__ import annotations

import time as clock
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import xarray as xr

from skyweave.errors import SkyweaveError, did_you_mean
from skyweave.grid import Grid
from skyweave.io.archives import ARCHIVES, Archive, Opener, source_opener
from skyweave.io.axes import find_time, require_names
from skyweave.io.formats import open_one
from skyweave.io.select import select_region
from skyweave.io.write import write

__all__ = ["Day", "defect", "fetch"]

State = Literal["complete", "fetched", "missing"]


@dataclass(frozen=True)
class Day:
    """What became of one day: found complete, fetched now, or missing in a dry run, for the reason given."""

    date: str
    path: Path
    state: State
    reason: str = ""


def fetch(
    name: str,
    period: tuple[str, str],
    folder: Path,
    *,
    region: Mapping[str, tuple[float, float]] | None = None,
    variables: Sequence[str] | None = None,
    source: str | None = None,
    opener: Opener | None = None,
    dry_run: bool = False,
    overwrite: bool = False,
    attempts: int = 3,
    pause: float = 5.0,
    tell: Callable[[Day], None] = lambda day: None,
) -> list[Day]:
    """Bring every day of a period into ``folder/<name>_<date>.nc``, and leave alone the days that are complete.

    A file appears under its name only when it is whole, is opened again and compared with what was asked
    (hours, grid, variables), so an interruption costs one day. A day that is not in the archive yet, wholly or
    in part, is an error and leaves no file.

    Args:
        name: "merra2" or "era5".
        period: first and last day, both included.
        folder: made if it does not exist.
        region: ``{"lat": (south, north), "lon": (west, east)}`` in degrees, either or both; the Earth if None.
        variables: names in the archive; its usual ones if None.
        source: another place that holds the same variables: a path, glob or fsspec URL; with ``{date:%Y%m%d}``
            in it, one for each day.
        opener: opens a day instead of the archive and of ``source``.
        dry_run: only look which days are missing.
        overwrite: fetch again what exists with other variables or another grid, instead of refusing.
        attempts: tries per day; networks fail.
        pause: seconds before the second try, doubled with each.
        tell: called after each day.

    Raises:
        SkyweaveError: an unknown archive, a period that cannot be read, a library that is not installed, a day
            or variable that the archive lacks, a file of other content in the way, a network that keeps
            failing.
    """
    if name not in ARCHIVES:
        raise SkyweaveError(
            f"archive {name!r}{did_you_mean(name, list(ARCHIVES))}; known: {', '.join(ARCHIVES)}"
        )
    archive = ARCHIVES[name]
    wanted = tuple(variables or archive.variables)
    days = _days(period)
    grid = archive.grid
    if opener is None and source is not None:
        opener = source_opener(source, wanted)
    if opener is not None:
        grid = Grid.from_dataset(opener(days[0]))
    if region:
        grid = grid.isel(*grid.region(**dict(region)))
    report = []
    for date in days:
        path = Path(folder) / f"{name}_{date:%Y%m%d}.nc"
        times = _times(date, archive)
        reason, foreign = defect(path, times, grid, wanted)
        if foreign and not overwrite:
            raise SkyweaveError(
                f"{path}: exists, but {reason}; fetch into another folder, or replace it with overwrite "
                "(--overwrite)"
            )
        state: State = "complete" if not reason else "missing"
        if state == "missing" and not dry_run:
            if opener is None:
                opener = archive.opener()
            path.parent.mkdir(parents=True, exist_ok=True)
            _bring(opener, date, times, wanted, region, path, archive, attempts, pause)
            left, _ = defect(path, times, grid, wanted)
            if left:
                raise SkyweaveError(
                    f"{path}: was fetched, but {left}; is the archive's grid another one now?"
                )
            state = "fetched"
        report.append(Day(f"{date:%Y-%m-%d}", path, state, reason))
        tell(report[-1])
    return report


def defect(path: Path, times: np.ndarray, grid: Grid, variables: Sequence[str]) -> tuple[str, bool]:
    """Why a file is not the complete day that is wanted, and whether it looks like another request's.

    Args:
        path: the file.
        times: it should have, datetime64.
        grid: it should have.
        variables: it should have.

    Returns:
        The reason, empty if it is complete; true if the file is whole but has other content.
    """
    if not path.exists():
        return "it is not there", False
    try:
        with open_one(str(path)) as ds:
            lacking = [v for v in variables if v not in ds.data_vars]
            found, time = Grid.from_dataset(ds), find_time(ds)
            if time is None or not np.array_equal(np.atleast_1d(ds[time].values), times):
                return f"it has other times than the {times.size} of the day", False
            for variable in set(variables) - set(lacking):
                ds[variable].isel({time: -1}).load()  # a short file shows at its end
    except SkyweaveError as exc:
        return f"it cannot be used ({exc})", False
    except Exception as exc:
        return f"it is damaged ({type(exc).__name__}: {exc})", False
    if lacking:
        return f"it lacks {', '.join(lacking)}", True
    if not found.same_as(grid):
        return f"its grid is another one ({found.describe()}, not {grid.describe()})", True
    return "", False


def _days(period: tuple[str, str]) -> list[pd.Timestamp]:
    try:
        first, last = (pd.Timestamp(text).tz_localize(None).normalize() for text in period)
        days = list(pd.date_range(first, last, freq="D"))
    except (ValueError, TypeError, AttributeError) as exc:
        raise SkyweaveError(
            f"period: cannot read {period[0]!r} to {period[1]!r}; write days as 2019-03-01"
        ) from exc
    if not days:
        raise SkyweaveError(f"period: {period[0]} to {period[1]} holds no day; the first comes first")
    return days


def _times(date: pd.Timestamp, archive: Archive) -> np.ndarray:
    start = np.datetime64(date, "ns") + np.timedelta64(archive.first, "m")
    return start + np.arange(24) * np.timedelta64(1, "h")


def _bring(
    opener: Opener,
    date: pd.Timestamp,
    times: np.ndarray,
    variables: tuple[str, ...],
    region: Mapping[str, tuple[float, float]] | None,
    path: Path,
    archive: Archive,
    attempts: int,
    pause: float,
) -> None:
    for attempt in range(1, attempts + 1):
        try:
            day = _cut(opener(date), times, variables, region, f"{archive.title}, {date:%Y-%m-%d}")
            break
        except SkyweaveError:
            raise
        except Exception as exc:  # whatever a network and its libraries may throw
            if attempt == attempts:
                raise SkyweaveError(
                    f"{path}: {date:%Y-%m-%d} could not be fetched in {attempts} attempts "
                    f"({type(exc).__name__}: {exc}); earlier days are kept, run the same again to go on"
                ) from exc
            clock.sleep(pause * 2 ** (attempt - 1))
    write(day, path, overwrite=True, message=f"fetched from {archive.title}")


def _cut(
    ds: xr.Dataset,
    times: np.ndarray,
    variables: tuple[str, ...],
    region: Mapping[str, tuple[float, float]] | None,
    where: str,
) -> xr.Dataset:
    """The wanted part, in memory and whole."""
    require_names(list(variables), [str(v) for v in ds.data_vars], where)
    time = find_time(ds)
    if time is None or time not in ds.indexes:
        raise SkyweaveError(f"{where}: the source has no times; it has: {', '.join(map(str, ds.dims))}")
    place = ds.indexes[time].get_indexer(pd.DatetimeIndex(times))
    if (place < 0).any():
        raise SkyweaveError(
            f"{where}: the source has {int((place >= 0).sum())} of the {times.size} hours from {times[0]!s:.16} to "
            f"{times[-1]!s:.16}; fetch a period that it holds"
        )
    day = ds[list(variables)].isel({time: place})
    if region:
        day = select_region(day, region, where)
    grid = Grid.from_dataset(day)
    day = day.transpose(time, grid.lat_name, grid.lon_name, ...).load()
    for variable, field in day.data_vars.items():
        empty = ~np.isfinite(field.values).reshape(times.size, -1).any(1)
        if empty.any():
            # Stores made for years to come hold fill values until a day is filled in.
            raise SkyweaveError(
                f"{where}: {variable!r} has no value at {int(empty.sum())} of {times.size} hours, first "
                f"{times[empty][0]!s:.16}; the archive is not filled up to there yet"
            )
    return day.reset_coords(drop=True)
