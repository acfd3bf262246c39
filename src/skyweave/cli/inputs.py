"""From checked settings to open objects: the target grid and the observations."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from skyweave.cli.open_sources import Place, open_source
from skyweave.cli.settings import ReconstructConfig, SoundingSource
from skyweave.io.read import open_fields
from skyweave.io.undeclared import with_known_fills
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
    place = Place(like, settings.region, settings.prior)
    for number, source in enumerate(settings.observations):
        if isinstance(source, SoundingSource):
            found, reports[number] = _soundings(source, settings, like)
            observations.append(
                replace(found, bias=source.bias, bias_predictors=tuple(source.bias_predictors))
            )
        else:
            observations.append(open_source(source, cut, place))
    return Inputs(observations, like, mask, reports)


def input_paths(settings: ReconstructConfig) -> list[str]:
    """Every file that a reconstruction reads, as it was named."""
    found: list[Any] = [settings.prior, settings.like]
    for source in settings.observations:
        parts: list[Any]
        if isinstance(source, SoundingSource):
            parts = [source.soundings, source.stations, source.background and source.background.path]
        else:
            keys = ("points", "aeronet", "goes", "swath", "grid")
            parts = [getattr(source, key) for key in keys if hasattr(source, key)]
        for own in parts:
            found += own if isinstance(own, list) else [own]
    return [str(path) for path in found if path is not None]


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
        background=None if background is None else with_known_fills(open_fields(background.path)),
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
        "on_conflict": settings.on_conflict,
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
