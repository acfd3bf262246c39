"""One source of the settings as an observation: grids, tables of reports, soundings, AERONET, GOES, swaths."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from skyweave.cli.source_flags import by_another_name
from skyweave.cli.source_settings import (
    AeronetSource,
    GoesSource,
    GridSource,
    Paths,
    PixelSection,
    PointSource,
    SoundingSource,
    Source,
    SwathSource,
)
from skyweave.config import RegionSection
from skyweave.errors import SkyweaveError, UnknownNameError
from skyweave.grid import Grid
from skyweave.io.field_flags import screened
from skyweave.io.members import ensemble_mean, find_members
from skyweave.io.read import check_not_empty, open_fields
from skyweave.io.reports import read_reports
from skyweave.io.undeclared import with_known_fills, without_fills
from skyweave.keywords import values_of
from skyweave.observe.observation import (
    GridObservation,
    Observation,
    PointObservation,
    SoundingObservation,
)
from skyweave.observe.rules import GridRules, PointRules, ReportRules, SoundingRules

__all__ = ["Place", "open_source", "paths_of"]

Span = tuple[pd.Timestamp, pd.Timestamp]


class Place:
    """Where and when fields are wanted.

    Args:
        like: the target, if a file gives it.
        region: that the settings name.
        span: first and last time of the fields, where they are known.
    """

    def __init__(
        self, like: xr.Dataset | None, region: RegionSection | None, span: Span | None = None
    ) -> None:
        self.span = span
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


def open_source(source: Source, cut: dict[str, Any], place: Place) -> Observation:
    """Open what a source names; gridded data stay lazy.

    Args:
        source: of the settings.
        cut: period and region of gridded files, where there is no target.
        place: where and when fields are wanted.

    Raises:
        SkyweaveError: a file or a variable in it cannot be used.
    """
    try:
        if isinstance(source, SoundingSource):
            return _soundings(source, place)
        if isinstance(source, PointSource | AeronetSource):
            return _points(source)
        if isinstance(source, GoesSource | SwathSource):
            return _pixels(source, place)
        return _grid(source, cut)
    except UnknownNameError as error:
        raise SkyweaveError(f"{error}{by_another_name(source, error.asked, error.known)}") from error


def paths_of(source: Source) -> list[str]:
    """The files that a source names."""
    found: list[Any]
    if isinstance(source, SoundingSource):
        found = [source.soundings, source.stations, source.background and source.background.path]
    elif isinstance(source, PointSource):
        found = [source.points]
    elif isinstance(source, AeronetSource):
        found = [source.aeronet]
    elif isinstance(source, GoesSource):
        found = [source.goes]
    else:
        found = [source.swath if isinstance(source, SwathSource) else source.grid]
    return [path for own in found if own for path in ([own] if isinstance(own, str) else own)]


def _rules(source: Any, kind: type, name: str) -> dict[str, Any]:
    """How a source is used, under its name or the one that is given."""
    values = values_of(source)
    return {own.name: values[own.name] for own in fields(kind)} | {"name": source.name or name}


def _soundings(source: SoundingSource, place: Place) -> SoundingObservation:
    from skyweave.io.bufr_soundings import read_soundings

    background = source.background
    return SoundingObservation(
        read_soundings(source.soundings, stations=source.stations, period=_around(source, place.span)),
        None if background is None else with_known_fills(open_fields(background.path)),
        None if background is None else background.error,
        **_rules(source, SoundingRules, _first(source.soundings)),
    )


def _around(source: SoundingSource, span: Span | None) -> Span | None:
    """The time of launches that can matter, so that long records are not read whole; ``None`` if it is not known."""
    if span is None:
        return None
    try:
        # A balloon is up for some hours, and released before the hour that it is for.
        margin = pd.Timedelta("1D") + pd.Timedelta(source.time_window or 0)
    except ValueError:
        return None  # told where times are matched
    return span[0] - margin, span[1] + margin


def _points(source: PointSource | AeronetSource) -> PointObservation:
    if isinstance(source, AeronetSource):
        table, name, kind = _aeronet(source), _first(source.aeronet), PointRules
    else:
        table, name, kind = _reports(source), _first(source.points), ReportRules
    error: Any = source.error
    if source.errors:
        names = table["variable"].dropna().unique()
        rest: Mapping[str, Any] = {} if source.error is None else dict.fromkeys(names, source.error)
        error = {**rest, **source.errors}
    if table["error"].isna().all():
        # Without it the source says itself that it has no errors; with it every report would be dropped.
        attrs = table.attrs
        table = table.drop(columns="error")
        table.attrs = attrs
    return PointObservation(table, error, **_rules(source, kind, name))


def _reports(source: PointSource) -> pd.DataFrame:
    return read_reports(
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


def _grid(source: GridSource, cut: dict[str, Any]) -> GridObservation:
    names = [source.variable, *([source.error_variable] if source.error_variable else [])]
    flags = [name for name in source.quality or () if name not in names]
    ds = open_fields(source.grid, [*names, *flags], **cut)
    notes: tuple[str, ...] = ()
    rules = _rules(source, GridRules, f"{_first(source.grid)}:{source.variable}")
    if source.missing is not None:
        ds = without_fills(ds, source.missing, "")
        if rules["valid_range"] is None:
            rules["valid_range"] = (None, None)  # what is left are values, as said
    if source.quality is not None:
        ds, notes = screened(ds, source.variable, source.quality, _first(source.grid))
    check_not_empty(ds, names)
    field = ds[source.variable]
    error_field = None if source.error_variable is None else ds[source.error_variable]
    members = find_members(field)
    if members is not None:
        count = field.sizes[members]
        if source.error is not None or error_field is not None:
            field = field.mean(members, skipna=False, keep_attrs=True)
            notes = (*notes, f"mean of {count} members with the stated error; their spread is not used")
        else:
            field, error_field = ensemble_mean(field)
            note = f"mean of {count} members; its error is their standard deviation times sqrt(1 + 1/{count})"
            notes = (*notes, note)
    return GridObservation(
        field,
        source.error,
        source.of or source.variable,
        error_field,
        notes,
        **rules,
    )


def _pixels(source: GoesSource | SwathSource, place: Place) -> GridObservation:
    cells = place.cells(source.resolution)
    if isinstance(source, GoesSource):
        from skyweave.io.goes import read_goes_aod

        region = None if cells is not None else place.region
        ds = read_goes_aod(
            source.goes, cells, quality=source.quality, minimum_share=source.minimum_share, region=region
        )
        return _of_pixels(source, ds["AOD"], "AOD", _first(source.goes))
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
    name = f"{_first(source.swath)}:{source.variable}"
    return _of_pixels(source, data[source.variable], source.variable, name)


def _of_pixels(source: PixelSection, data: xr.DataArray, variable: str, name: str) -> GridObservation:
    return GridObservation(data, source.error, source.of or variable, **_rules(source, GridRules, name))


def _first(paths: Paths) -> str:
    return paths if isinstance(paths, str) else paths[0]
