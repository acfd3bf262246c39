"""One source of the settings as an observation: grids, tables of reports, AERONET, GOES, swaths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from skyweave.cli.source_flags import by_another_name
from skyweave.cli.source_settings import (
    AeronetSource,
    ErrorSection,
    GoesSource,
    GridSource,
    PixelSection,
    PointSource,
    SourceSection,
    SwathSource,
)
from skyweave.config import RegionSection
from skyweave.errors import SkyweaveError, UnknownNameError
from skyweave.grid import Grid
from skyweave.io.field_flags import screened
from skyweave.io.members import ensemble_mean, find_members
from skyweave.io.read import check_not_empty, open_fields
from skyweave.io.reports import read_reports
from skyweave.io.undeclared import without_fills
from skyweave.observe.errors import ErrorModel
from skyweave.observe.observation import GridObservation, PointObservation

__all__ = ["Place", "open_source"]

SHARED = ("weight", "name", "time_window", "time", "units", "valid_range", "bias", "bias_predictors")


class Place:
    """Where fields are wanted, for sources that are averaged onto a grid.

    Args:
        like: the target, if a file gives it.
        region: that the settings name.
        prior: path of the prior, whose levels take reports aloft.
    """

    def __init__(self, like: xr.Dataset | None, region: RegionSection | None, prior: str) -> None:
        self.prior = prior
        self.grid = None if like is None else Grid.from_dataset(like)
        self.region = None if region is None else region.model_dump(exclude_none=True)

    def cells(self, resolution: float | tuple[float, float] | None) -> Grid | None:
        """Cells of a size over the target or the region, or the target's own; ``None`` where neither is known."""
        if resolution is None:
            return self.grid
        step = np.broadcast_to(np.asarray(resolution, float), (2,))
        if self.grid is not None:
            from skyweave.io.regridded import regular_grid

            return regular_grid((float(step[0]), float(step[1])), self.grid)
        box = self.region or {}
        south, north = sorted(box.get("lat", (-90.0, 90.0)))
        west, east = box.get("lon", (-180.0, 180.0))
        east = east if east > west else east + 360
        axes = [
            low + (np.arange(max(1, round((high - low) / s))) + 0.5) * s
            for (low, high), s in zip(((south, north), (west, east)), step, strict=True)
        ]
        return Grid(axes[0], axes[1])


def open_source(
    source: SourceSection, cut: dict[str, Any], place: Place
) -> GridObservation | PointObservation:
    """Open what a source names; gridded data stay lazy.

    Args:
        source: any but soundings.
        cut: period and region of gridded files, where there is no target.
        place: where fields are wanted.

    Raises:
        SkyweaveError: a file or a variable in it cannot be used.
    """
    shared: dict[str, Any] = {
        key: getattr(source, key) for key in SHARED if getattr(source, key, None) is not None
    }
    if source.error is not None:
        shared["error"] = _error(source.error)
    try:
        if isinstance(source, PointSource | AeronetSource):
            return _points(source, shared, place)
        if isinstance(source, GoesSource | SwathSource):
            return _pixels(source, shared, place)
        assert isinstance(source, GridSource)
        return _grid(source, shared, cut)
    except UnknownNameError as error:
        raise SkyweaveError(f"{error}{by_another_name(source, error.asked, error.known)}") from error


def _points(source: PointSource | AeronetSource, shared: dict[str, Any], place: Place) -> PointObservation:
    table = _aeronet(source) if isinstance(source, AeronetSource) else _reports(source, place)
    if source.errors:
        rest = {name: shared["error"] for name in table["variable"].dropna().unique() if "error" in shared}
        shared["error"] = rest | {name: _error(error) for name, error in source.errors.items()}
    if table["error"].isna().all():
        # Without it the source says itself that it has no errors; with it every report would be dropped.
        attrs = table.attrs
        table = table.drop(columns="error")
        table.attrs = attrs
    shared.setdefault("name", _first(source.points if isinstance(source, PointSource) else source.aeronet))
    return PointObservation(
        table, interpolation=source.interpolation, superob=source.superob, thin=source.thin, **shared
    )


def _reports(source: PointSource, place: Place) -> pd.DataFrame:
    table = read_reports(
        source.points,
        variables=source.variables,
        columns=source.columns,
        constants=source.constants,
        missing=source.missing,
        time_format=source.time_format,
        time_zone=source.time_zone,
        decimal=source.decimal,
        quality=source.quality,
        keep=[name for name in source.bias_predictors if name != "latitude"],
    )
    if "pressure" not in table:
        return table
    from skyweave.observe.flight_levels import at_state_levels
    from skyweave.prior.storage import open_prior

    attrs = table.attrs
    table, told = at_state_levels(table, open_prior(place.prior).spec, source.level_tolerance)
    table.attrs = {**attrs, "notes": (*attrs.get("notes", ()), *told)}
    return table


def _aeronet(source: AeronetSource) -> pd.DataFrame:
    from skyweave.io.aeronet import read_aeronet

    table = read_aeronet(
        source.aeronet,
        wavelength=source.wavelength,
        minimum_level=source.minimum_level,
        window=source.window,
        minimum_count=source.minimum_count,
        method=source.method,
    )
    attrs = table.attrs
    table = table.assign(variable=source.of)
    table.attrs = attrs
    return table


def _grid(source: GridSource, shared: dict[str, Any], cut: dict[str, Any]) -> GridObservation:
    names = [source.variable, *([source.error_variable] if source.error_variable else [])]
    flags = [name for name in source.quality or () if name not in names]
    ds = open_fields(source.grid, [*names, *flags], **cut)
    if source.missing is not None:
        ds = without_fills(ds, source.missing, "")
        shared.setdefault("valid_range", (None, None))  # what is left are values, as said
    if source.quality is not None:
        ds, notes = screened(ds, source.variable, source.quality, _first(source.grid))
        shared["notes"] = notes
    check_not_empty(ds, names)
    if source.error_variable is not None:
        shared["error_field"] = ds[source.error_variable]
    field = ds[source.variable]
    members = find_members(field)
    if members is not None:
        field, shared = _mean_of_members(field, field.sizes[members], shared)
    shared.setdefault("name", f"{_first(source.grid)}:{source.variable}")
    return _gridded(source, field, source.of or source.variable, shared)


def _mean_of_members(
    field: xr.DataArray, count: int, shared: dict[str, Any]
) -> tuple[xr.DataArray, dict[str, Any]]:
    """An ensemble as its mean, with the stated error, or without one with that of its spread."""
    if "error" in shared or "error_field" in shared:
        mean = field.mean(find_members(field), skipna=False, keep_attrs=True)
        note = f"mean of {count} members with the stated error; their spread is not used"
        return mean, shared | {"notes": (*shared.get("notes", ()), note)}
    mean, error = ensemble_mean(field)
    note = f"mean of {count} members; its error is their standard deviation times sqrt(1 + 1/{count})"
    return mean, shared | {"error_field": error, "notes": (*shared.get("notes", ()), note)}


def _gridded(
    source: GridSource | PixelSection, data: xr.DataArray, variable: str, shared: dict[str, Any]
) -> GridObservation:
    for key in ("min_coverage", "min_filled"):
        if getattr(source, key) is not None:
            shared[key] = getattr(source, key)
    return GridObservation(data, variable=variable, operator=source.operator, **shared)


def _pixels(source: GoesSource | SwathSource, shared: dict[str, Any], place: Place) -> GridObservation:
    cells = place.cells(source.resolution)
    if isinstance(source, GoesSource):
        from skyweave.io.goes import read_goes_aod

        region = None if cells is not None else place.region
        ds = read_goes_aod(
            source.goes, cells, quality=source.quality, minimum_share=source.minimum_share, region=region
        )
        shared.setdefault("name", _first(source.goes))
        return _gridded(source, ds["AOD"], source.of or "AOD", shared)
    from skyweave.io.swath_files import read_swaths

    if cells is None:
        raise SkyweaveError(
            f"{_first(source.swath)}: pixels are averaged over cells: give like (a target), or resolution: 0.5 "
            "(degrees) and a region"
        )
    limits = {k: v if isinstance(v, tuple) else (-np.inf, v) for k, v in source.quality.items()}
    data = read_swaths(
        source.swath, source.variable, cells, quality=limits, minimum_share=source.minimum_share
    )
    shared.setdefault("name", f"{_first(source.swath)}:{source.variable}")
    return _gridded(source, data[source.variable], source.of or source.variable, shared)


def _first(paths: str | Sequence[str]) -> str:
    return paths if isinstance(paths, str) else paths[0]


def _error(section: ErrorSection) -> ErrorModel:
    return ErrorModel(**section.model_dump())
