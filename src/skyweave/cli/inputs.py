"""From checked settings to open objects: the prior, the target grid, the observations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from skyweave.cli.settings import ErrorSection, GridSource, PointSource, ReconstructConfig
from skyweave.errors import SkyweaveError
from skyweave.io.read import check_not_empty, open_fields
from skyweave.io.tables import read_stations
from skyweave.observe.errors import ErrorModel
from skyweave.observe.observation import GridObservation, PointObservation
from skyweave.prior.storage import LearntPrior, open_prior


@dataclass(frozen=True, eq=False)
class Inputs:
    """What a reconstruction is given."""

    prior: LearntPrior
    observations: list[GridObservation | PointObservation]
    like: xr.Dataset | None
    domain_mask: xr.DataArray | None


def open_inputs(settings: ReconstructConfig) -> Inputs:
    """Open everything the settings name; gridded data stay lazy.

    Raises:
        SkyweaveError: a file or a variable in it cannot be used.
    """
    prior = open_prior(settings.prior)
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
    return Inputs(prior, [_open(source, cut) for source in settings.observations], like, mask)


def _open(source: GridSource | PointSource, cut: dict[str, Any]) -> GridObservation | PointObservation:
    shared: dict[str, Any] = {"weight": source.weight}
    for key in ("name", "time_window", "interpolation", "superob", "thin", "operator"):
        if getattr(source, key, None) is not None:
            shared[key] = getattr(source, key)
    if source.error is not None:
        shared["error"] = _error(source.error)
    if isinstance(source, PointSource):
        shared.setdefault("name", source.points)
        table = read_stations(
            source.points,
            columns=source.columns,
            constants=source.constants,
            missing=source.missing,
            time_format=source.time_format,
        )
        return PointObservation(table, **shared)
    ds = open_fields(source.grid, [source.variable], **cut)
    check_not_empty(ds)
    if "error" not in shared:
        raise SkyweaveError(
            f"{source.grid}: {source.variable} has no error; add =ERROR to the flag, or 'error' to the YAML"
        )
    shared.setdefault("name", f"{source.grid}:{source.variable}")
    return GridObservation(ds[source.variable], variable=source.of or source.variable, **shared)


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
    }
    if settings.times is not None:
        chosen["times"] = np.array(settings.times, dtype="datetime64[ns]")
    for key in ("sampler", "steps"):
        if getattr(settings, key) is not None:
            chosen[key] = getattr(settings, key)
    return chosen
