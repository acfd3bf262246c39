"""From checked settings to open objects: the target grid, the times and the observations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from skyweave.cli.open_sources import Place, open_source, paths_of
from skyweave.cli.settings import PlaceSection, TimesSection
from skyweave.io.read import open_fields
from skyweave.observe.observation import Observation
from skyweave.state import time_dim

__all__ = ["Inputs", "input_paths", "open_inputs"]


@dataclass(frozen=True, eq=False)
class Inputs:
    """What a run is given, besides its prior and its settings."""

    observations: list[Observation]
    like: xr.Dataset | None
    times: np.ndarray | None


def open_inputs(config: PlaceSection, times: Any = None) -> Inputs:
    """Open the target and the observations that the settings name; gridded data stay lazy.

    Args:
        config: the settings.
        times: of the fields; those of the settings by default.

    Raises:
        SkyweaveError: a file or a variable in it cannot be used.
    """
    cut: dict[str, Any] = {}
    if isinstance(config, TimesSection):
        cut["time"], times = config.period, config.times if times is None else times
    if config.region is not None:
        bounds = {"lat": config.region.lat, "lon": config.region.lon}
        cut["region"] = {axis: pair for axis, pair in bounds.items() if pair is not None}
    like = None
    if config.like is not None:
        # Observations beyond the target grid are dropped and counted later, so they are opened whole.
        like, cut = open_fields(config.like, **cut), {}
    place = Place(like, config.region, _span(times, like))
    observations = [open_source(source, cut, place) for source in config.observations]
    return Inputs(observations, like, None if times is None else np.array(times, dtype="datetime64[ns]"))


def input_paths(config: PlaceSection) -> list[str]:
    """Every file that a run reads, as it was named."""
    found: list[Any] = [config.prior, config.like]
    for source in config.observations:
        found += paths_of(source)
    return [str(path) for path in found if path is not None]


def _span(times: Any, like: xr.Dataset | None) -> tuple[pd.Timestamp, pd.Timestamp] | None:
    """First and last time of the fields, so that long records are not read whole; ``None`` if it is not known."""
    time = None if like is None else time_dim(like)
    stamps: Any = times
    if stamps is None and like is not None and time is not None and time in like.coords:
        stamps = like[time].values
    if stamps is None or np.asarray(stamps).dtype.kind not in "MO" or len(stamps) == 0:
        return None
    try:
        dates = pd.DatetimeIndex(stamps)
    except (TypeError, ValueError):
        return None
    return dates.min(), dates.max()
