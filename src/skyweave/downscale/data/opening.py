"""Opening both records of an area: step means, one axis of days, elevation on the fine grid."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from skyweave.downscale.config import DownscaleConfig, RecordConfig
from skyweave.downscale.data.records import Frames, Record
from skyweave.downscale.data.samples import day_names
from skyweave.errors import SkyweaveError
from skyweave.grid import Grid
from skyweave.io.axes import find_time
from skyweave.io.daily import step_means
from skyweave.io.elevation import elevation_on
from skyweave.io.g5nr import open_g5nr
from skyweave.io.read import check_single_fields, open_fields
from skyweave.io.select import select_region
from skyweave.io.undeclared import without_fills

__all__ = ["open_record", "pair_records"]

MARGIN = 3
"""Coarse cells beyond the area, so that the cubic kernel never meets its edge."""


def open_record(config: DownscaleConfig, area: str = "all") -> Record:
    """Open the records of an area, lazily, as the configuration says.

    Args:
        config: of the downscaling.
        area: one of its areas.

    Raises:
        SkyweaveError: files that cannot be read, records without a common day, a fine grid that is not finer than the
            coarse one or reaches beyond it, an elevation that does not cover the area.
    """
    fine = _open(config.fine, config.region(area))
    grid = Grid.from_dataset(fine)
    coarse = _around(_open(config.coarse, {}), grid)
    elevation = None
    if config.elevation is not None:
        elevation = elevation_on(grid, config.elevation.path, config.elevation.variable)
    return pair_records(
        coarse,
        fine,
        shared=config.shared_positions,
        elevation=elevation,
        step=config.step,
        least=(config.coarse.least, config.fine.least),
        memory_bytes=config.memory_gb * 1e9,
    )


def pair_records(
    coarse: xr.Dataset,
    fine: xr.Dataset,
    *,
    shared: tuple[int, ...] | None = None,
    elevation: NDArray[np.float32] | None = None,
    step: str = "1D",
    least: tuple[float, float] = (0.8, 0.8),
    memory_bytes: float = 2e9,
) -> Record:
    """Put two records on one axis of days, the span of the coarse one.

    Args:
        coarse: fields with dimensions (time, latitude, longitude), wider than the fine ones by a few cells.
        fine: likewise; all variables of both are taken, in their order.
        shared: position among the coarse variables of the counterpart of each fine one; the first ones by default.
        elevation: on the fine grid, ``(H, W)``, m.
        step: length of a day, such as "1D" or "3h", or "native".
        least: share of the values of a step that a mean needs, of each record.
        memory_bytes: a record up to this is kept in memory once read.

    Raises:
        SkyweaveError: uneven steps, no common day, or grids that do not fit; see `Record`.
    """
    notes: list[str] = []
    both = []
    for which, ds, share in (("coarse", coarse, least[0]), ("fine", fine, least[1])):
        _has_time(ds, which)
        if step != "native":
            source = ds.encoding.get("source", which)
            ds, coverage = step_means(ds, step, share)
            ds.encoding["source"] = source
            for days, what in (
                (
                    coverage.missing,
                    f"have fewer than {coverage.needed} of {coverage.expected} values and are missing",
                ),
                (coverage.incomplete, f"lack some of their {coverage.expected} values"),
            ):
                if len(days):
                    notes.append(f"{which} record: {len(days)} steps {what}: {day_names(days)}")
        both.append(ds)
    days = _axis(both[0])
    names = [[str(n) for n in ds.data_vars] for ds in both]
    positions = [_positions(ds, days) for ds in both]
    if (positions[1] < 0).all():
        spans = [_span(ds) for ds in both]
        raise SkyweaveError(
            f"the records have no day in common: the coarse one has {spans[0]}, the fine one {spans[1]}"
            + ("" if step != "native" else "; where only their stamps differ, set step, such as '3h'")
        )
    frames = [Frames(ds, n, p, memory_bytes) for ds, n, p in zip(both, names, positions, strict=True)]
    common = tuple(range(len(names[1]))) if shared is None else shared
    return Record(days, frames[0], frames[1], common, elevation, tuple(notes))


def _open(config: RecordConfig, region: dict[str, tuple[float, float]]) -> xr.Dataset:
    read = open_g5nr if config.layout == "g5nr" else open_fields
    ds = read(config.paths, config.variables, region=region or None, time=config.period)
    check_single_fields(ds)
    return without_fills(
        ds, config.missing, "missing: [{fill}] at the record (missing: [.nan] if it is a value)"
    )


def _around(ds: xr.Dataset, grid: Grid) -> xr.Dataset:
    """The part of a coarse dataset that surrounds a grid, with a margin."""
    own = Grid.from_dataset(ds)
    dlat, dlon = (MARGIN * step for step in own.resolution)
    lat, lon = grid.lat_bounds, grid.lon_bounds
    region = {"lat": (max(lat.min() - dlat, -90.0), min(lat.max() + dlat, 90.0))}
    if np.ptp(lon) + 2 * dlon < 360 - dlon:
        region["lon"] = (float(lon.min() - dlon), float(lon.max() + dlon))
    source = ds.encoding.get("source", "the coarse record")
    cut = select_region(ds, region, str(source))
    cut.encoding["source"] = source
    return cut


def _has_time(ds: xr.Dataset, which: str) -> None:
    where, name = ds.encoding.get("source", f"the {which} record"), find_time(ds)
    for variable, field in ds.data_vars.items():
        if name is None or name not in field.dims:
            raise SkyweaveError(f"{where}: {variable!r} has no time; a record is made of fields that change")


def _axis(ds: xr.Dataset) -> NDArray[np.datetime64]:
    """Even days from the first to the last of a record."""
    where = ds.encoding.get("source", "the coarse record")
    name = find_time(ds)
    if name is None or not isinstance(ds.indexes.get(name), pd.DatetimeIndex):
        raise SkyweaveError(f"{where}: has no dates of the standard calendar")
    times = np.sort(ds[name].values.astype("datetime64[ns]"))
    if len(times) < 2:
        raise SkyweaveError(f"{where}: has one day only, a record has many")
    steps, counts = np.unique(np.diff(times), return_counts=True)
    step = steps[np.argmax(counts)]
    if ((times - times[0]) % step != np.timedelta64(0)).any():
        raise SkyweaveError(
            f"{where}: its times do not follow one another by an even step; set step, such as '1D', to take means"
        )
    return np.arange(times[0], times[-1] + step, step)


def _positions(ds: xr.Dataset, days: NDArray[np.datetime64]) -> NDArray[np.int64]:
    name = str(find_time(ds))
    return np.asarray(ds.indexes[name].get_indexer(pd.DatetimeIndex(days)), np.int64)


def _span(ds: xr.Dataset) -> str:
    times = ds[str(find_time(ds))].values
    return f"{times.min()!s:.16} to {times.max()!s:.16}"
