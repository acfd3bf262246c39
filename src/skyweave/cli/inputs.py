"""From checked settings to open objects: the target grid and the observations."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from skyweave.cli.settings import ErrorSection, GridSource, PointSource, ReconstructConfig, SoundingSource
from skyweave.io.members import ensemble_mean, find_members
from skyweave.io.read import check_not_empty, open_fields
from skyweave.io.tables import read_stations
from skyweave.observe.errors import ErrorModel
from skyweave.observe.observation import GridObservation, PointObservation
from skyweave.observe.sounding_report import SoundingReport
from skyweave.state import time_dim


@dataclass(frozen=True, eq=False)
class Inputs:
    """What a reconstruction is given, and what became of soundings, by the number of their source."""

    observations: list[GridObservation | PointObservation]
    like: xr.Dataset | None
    domain_mask: xr.DataArray | None
    reports: dict[int, SoundingReport] = field(default_factory=dict)


def open_inputs(settings: ReconstructConfig) -> Inputs:
    """Open the target and the observations that the settings name; gridded data stay lazy.

    Soundings are brought to the levels of the prior, which is opened for them.

    Raises:
        SkyweaveError: a file or a variable in it cannot be used.
    """
    cut: dict[str, Any] = {"time": settings.period}
    if settings.region is not None:
        bounds = {"lat": settings.region.lat, "lon": settings.region.lon}
        cut["region"] = {axis: pair for axis, pair in bounds.items() if pair is not None}
    like = None
    if settings.like is not None:
        # Observations beyond the target grid are dropped and counted later, so they are opened whole.
        like, cut = open_fields(settings.like, **cut), {}
    mask = None
    if settings.domain_mask is not None:
        field = settings.domain_mask
        mask = open_fields(field.path, [field.variable])[field.variable]
    observations: list[GridObservation | PointObservation] = []
    reports = {}
    for number, source in enumerate(settings.observations):
        if isinstance(source, SoundingSource):
            found, reports[number] = _soundings(source, settings, like)
            observations.append(
                replace(found, bias=source.bias, bias_predictors=tuple(source.bias_predictors))
            )
        else:
            observations.append(_open(source, settings, cut))
    return Inputs(observations, like, mask, reports)


def input_paths(settings: ReconstructConfig) -> list[str]:
    """Every file that a reconstruction reads, as it was named."""
    found: list[Any] = [settings.prior, settings.like]
    for source in settings.observations:
        parts: list[Any]
        if isinstance(source, SoundingSource):
            parts = [source.soundings, source.stations, source.background and source.background.path]
        else:
            parts = [source.points if isinstance(source, PointSource) else source.grid]
        for own in parts:
            found += own if isinstance(own, list) else [own]
    return [str(path) for path in found if path is not None]


def _open(
    source: GridSource | PointSource, settings: ReconstructConfig, cut: dict[str, Any]
) -> GridObservation | PointObservation:
    shared: dict[str, Any] = {
        key: getattr(source, key)
        for key in (
            "weight",
            "name",
            "time_window",
            "time",
            "units",
            "valid_range",
            "bias",
            "bias_predictors",
        )
        if getattr(source, key) is not None
    }
    if source.error is not None:
        shared["error"] = _error(source.error)
    if isinstance(source, PointSource):
        return _points(source, settings, shared)
    return _grid(source, shared, cut)


def _points(source: PointSource, settings: ReconstructConfig, shared: dict[str, Any]) -> PointObservation:
    if source.errors:
        shared["error"] = {name: _error(error) for name, error in source.errors.items()}
    table = _reports(source)
    notes = tuple(table.attrs.get("notes", ()))
    notes += tuple(f"{n} {reason}" for reason, n in table.attrs.get("dropped", {}).items())
    if "pressure" in table:
        from skyweave.observe.flight_levels import at_state_levels
        from skyweave.prior.storage import open_prior

        table, told = at_state_levels(table, open_prior(settings.prior).spec, source.level_tolerance)
        notes += told
    if table["error"].isna().all():
        # Without it the source says itself that it has no errors; with it every report would be dropped.
        table = table.drop(columns="error")
    shared.setdefault("name", source.points)
    return PointObservation(
        table,
        interpolation=source.interpolation,
        superob=source.superob,
        thin=source.thin,
        notes=notes,
        **shared,
    )


def _reports(source: PointSource) -> pd.DataFrame:
    """The table of a source of points, of whatever kind of file."""
    from skyweave.io.bufr import read_bufr
    from skyweave.io.bufr_messages import is_bufr
    from skyweave.io.cells import cells_as_points, is_cells

    if is_bufr(source.points):
        return read_bufr(source.points)
    if is_cells(source.points):
        return cells_as_points(source.points)
    return read_stations(
        source.points,
        columns=source.columns,
        constants=source.constants,
        missing=source.missing,
        time_format=source.time_format,
        keep=[name for name in source.bias_predictors if name != "latitude"],
    )


def _soundings(
    source: SoundingSource, settings: ReconstructConfig, like: xr.Dataset | None
) -> tuple[PointObservation, SoundingReport]:
    from skyweave.io.bufr_soundings import read_soundings
    from skyweave.observe.soundings import QualityControl, sounding_observations
    from skyweave.prior.storage import open_prior

    table = read_soundings(source.soundings, stations=source.stations, period=_around(source, settings, like))
    background = source.background
    first = source.soundings if isinstance(source.soundings, str) else source.soundings[0]
    keys = ("drift", "ascent_rate", "maximum_gap", "interpolation", "weight", "time", "time_window")
    return sounding_observations(
        table,
        open_prior(settings.prior).spec,
        variables=source.variables,
        errors=source.errors,
        quality=None if source.quality is None else QualityControl(**dict(source.quality)),
        background=None if background is None else open_fields(background.path),
        background_error=None if background is None else background.error,
        name=source.name or first,
        **{key: getattr(source, key) for key in keys},
    )


def _around(
    source: SoundingSource, settings: ReconstructConfig, like: xr.Dataset | None
) -> tuple[pd.Timestamp, pd.Timestamp] | None:
    """The time of launches that can matter, so that long records are not read whole; ``None`` if it is not known."""
    time = None if like is None else time_dim(like)
    stamps: Any = settings.times
    if stamps is None and like is not None and time is not None and time in like.coords:
        stamps = like[time].values
    if stamps is None or np.asarray(stamps).dtype.kind not in "MO" or len(stamps) == 0:
        return None
    try:
        dates = pd.DatetimeIndex(stamps)
        # A balloon is up for some hours, and released before the hour that it is for.
        margin = pd.Timedelta("1D") + pd.Timedelta(source.time_window or 0)
    except (TypeError, ValueError):
        return None
    return dates.min() - margin, dates.max() + margin


def _grid(source: GridSource, shared: dict[str, Any], cut: dict[str, Any]) -> GridObservation:
    names = [source.variable, *([source.error_variable] if source.error_variable else [])]
    ds = open_fields(source.grid, names, **cut)
    check_not_empty(ds)
    field = ds[source.variable]
    members = find_members(field)
    if source.error_variable is not None:
        shared["error_field"] = ds[source.error_variable]
    if members is not None:
        field, shared = _mean_of_members(field, field.sizes[members], shared)
    for key in ("min_coverage", "min_filled"):
        if getattr(source, key) is not None:
            shared[key] = getattr(source, key)
    where = source.grid if isinstance(source.grid, str) else source.grid[0]
    shared.setdefault("name", f"{where}:{source.variable}")
    return GridObservation(
        field,
        variable=source.of or source.variable,
        operator=source.operator,
        **shared,
    )


def _mean_of_members(
    field: xr.DataArray, count: int, shared: dict[str, Any]
) -> tuple[xr.DataArray, dict[str, Any]]:
    """An ensemble as its mean, with the stated error, or without one with that of its spread."""
    if "error" in shared or "error_field" in shared:
        mean = field.mean(find_members(field), skipna=False, keep_attrs=True)
        note = f"mean of {count} members with the stated error; their spread is not used"
        return mean, shared | {"notes": (note,)}
    mean, error = ensemble_mean(field)
    note = f"mean of {count} members; its error is their standard deviation times sqrt(1 + 1/{count})"
    return mean, shared | {"error_field": error, "notes": (note,)}


def _error(section: ErrorSection) -> ErrorModel:
    return ErrorModel(**section.model_dump())


def options(settings: ReconstructConfig, inputs: Inputs) -> dict[str, Any]:
    """Keyword arguments of `skyweave.reconstruct` and `skyweave.plan` that both take."""
    chosen: dict[str, Any] = {
        "like": inputs.like,
        "members": settings.members,
        "seed": settings.seed,
        "method": settings.method,
        "batch": settings.batch,
        "domain_mask": inputs.domain_mask,
        "quantiles": tuple(settings.quantiles),
        "recalibrate": settings.recalibrate,
        "options": settings.options,
        "weights": settings.weights,
        "anchor": settings.anchor,
        "innovations": settings.innovations.model_dump(exclude_none=True),
        "autocast": settings.autocast,
        "device": settings.device,
    }
    if settings.times is not None:
        chosen["times"] = np.array(settings.times, dtype="datetime64[ns]")
    for key in ("sampler", "steps"):
        if getattr(settings, key) is not None:
            chosen[key] = getattr(settings, key)
    return chosen
