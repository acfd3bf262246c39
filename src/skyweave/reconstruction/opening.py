"""From labels to a reconstruction that can run: everything opened, checked and planned."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr

from skyweave.errors import SkyweaveError
from skyweave.grid import Grid
from skyweave.io.read import open_fields
from skyweave.io.store import partial_store
from skyweave.keywords import made_with
from skyweave.observe.assemble import ObservationSet, no_observations
from skyweave.observe.observation import GridObservation, Observation, StateObservation
from skyweave.observe.soundings import on_levels
from skyweave.posterior.background import error_covariance
from skyweave.posterior.calibration import stored_factor
from skyweave.posterior.problem import Problem
from skyweave.prior.storage import LearntPrior, open_prior
from skyweave.prior.windows import check_times
from skyweave.reconstruction.execute import available_memory
from skyweave.reconstruction.output_grid import Target, domain_cells, resolve_target
from skyweave.reconstruction.plan import (
    DIFFERENTIATING,
    REACH,
    Layout,
    Plan,
    layout_of,
    make_units,
    segments_of,
)
from skyweave.reconstruction.plausible import check_plausible
from skyweave.reconstruction.record import Observed, Place, looked_at, observe
from skyweave.reconstruction.run import Reconstruction, binder
from skyweave.reconstruction.settings import FieldOfFile, Settings
from skyweave.sources.estimates import SourceEstimates, adjusted

__all__ = ["begun_layout", "check_used", "open_reconstruction"]


def open_reconstruction(
    prior: LearntPrior | str | Path,
    observations: Sequence[Observation] | Observation,
    settings: Settings,
    *,
    like: xr.Dataset | xr.DataArray | Grid | None = None,
    times: Sequence[object] | np.ndarray | None = None,
    estimate: bool = False,
    whole: bool = False,
    begun: Layout | None = None,
) -> Reconstruction:
    """Open and check everything; without observations the fields are draws of the prior itself.

    Args:
        prior, observations, settings, like, times: as in `skyweave.reconstruct`.
        estimate: biases and errors that are asked for from innovations, which takes network evaluations.
        whole: keep all observations in memory, as estimates from innovations need them.
        begun: how an unfinished run cut its work.

    Raises:
        SkyweaveError: inputs that do not fit one another, no usable observation, a setting that means nothing here.
    """
    opened = prior if isinstance(prior, LearntPrior) else open_prior(prior)
    given = list(observations) if isinstance(observations, Sequence) else [observations]
    sources = on_levels(given, opened.spec)
    target = resolve_target(opened.spec, sources, like, times)
    _check_prior(opened, target, settings)
    mask = domain_cells(_mask_of(settings), target)
    whole = whole or settings.weights == "innovations" or any(s.bias == "estimate" for s in sources)
    observed = _observed(opened, target, sources, mask, whole)
    segments = segments_of(observed, target.count, opened.spec.window)
    reach = REACH * opened.spec.window if opened.spec.window > 1 else 0
    frames = min(target.count, max(t1 - t0 for t0, t1 in segments) + 2 * reach)
    factor = stored_factor(opened) if settings.recalibrate else None
    layout = layout_of(
        opened,
        target.grid,
        frames,
        settings.members,
        available_memory(),
        batch=settings.batch,
        tile=settings.tile,
        # The spread is scaled about the mean of all members.
        together=factor is not None,
        graph=observed.n > 0 and not settings.drawn.decoupled and settings.drawn.guidance in DIFFERENTIATING,
        begun=begun,
    )
    settled = settings.settled(domain_mask=mask, tile=layout.tile)
    if observed.n and not settled.drawn.decoupled:
        # Built for its checks: an option that names no source is refused before anything is computed.
        bound = binder(opened, target, settled)
        settled.drawn.guided(Problem(bound(*segments[0]), observed.segment(*segments[0])))
    estimates = None
    if estimate and isinstance(observed, ObservationSet):
        observed, estimates = _adjusted(opened, target, observed, sources, settled, layout.at_once)
    shape = (settings.members, target.count, len(opened.spec.variables), *target.grid.shape)
    plan = Plan(
        make_units(segments, settings.members, layout.unit),
        shape,
        layout.unit,
        settled.drawn.evaluations(),
        layout.peak_bytes,
        observed.report,
        _depends_on(opened, target, observed, settled, factor),
        layout.at_once,
        reach,
    )
    return Reconstruction(
        opened, target, observed, settled, plan, mask, factor, estimates, long_names=_long_names(sources)
    )


def check_used(settings: Settings, observations: Sequence[Observation] | Observation) -> None:
    """Refuse settings of an estimation that is not asked for.

    Raises:
        SkyweaveError: with what would ask for it.
    """
    sources = list(observations) if isinstance(observations, Sequence) else [observations]
    biased = any(source.bias == "estimate" for source in sources)
    if settings.anchor is not None and not biased:
        raise SkyweaveError(
            "anchor names sources without bias, and no source has a bias to be estimated; give one `bias: estimate`"
        )
    if settings.innovations is not None and not biased and settings.weights == "stated":
        raise SkyweaveError(
            "innovations says how errors and biases are estimated, and none are: give weights: innovations, or a "
            "source `bias: estimate`"
        )


def begun_layout(out: str | os.PathLike[str] | None, overwrite: bool = False) -> Layout | None:
    """How an unfinished run to an output cut its work, so that it can be continued with another batch.

    Raises:
        SkyweaveError: it was begun before a record was kept of every setting, and may not be dropped.
    """
    if out is None or not partial_store(out).is_dir():
        return None
    try:
        group = zarr.open_group(str(partial_store(out)), mode="r")
        found: Any = json.loads(str(group.attrs["made_with"]))
        units = [a.chunks[0] for _, a in group.arrays() if a.ndim > 1 and _dims(a)[0] == "member"]
        tile = found["tile"]
    except (KeyError, ValueError, TypeError, OSError):
        return None
    if "autocast" not in found:
        if overwrite:
            return None
        raise SkyweaveError(
            f"{out}: an earlier version of skyweave began it, which did not record every setting; it cannot be "
            "continued: write to another path, or drop it (overwrite=True, --overwrite)"
        )
    return (
        Layout(units[0], units[0], None if tile is None else (int(tile[0]), int(tile[1]))) if units else None
    )


def _dims(array: Any) -> tuple[str, ...]:
    return array.metadata.dimension_names or ("",)


def _check_prior(prior: LearntPrior, target: Target, settings: Settings) -> None:
    prior.check_resolution(target.grid)
    window = prior.spec.window
    if window > 1:
        check_times(target.times, target.count, window, prior.spec.time_step)
    if window > 1 and settings.tile is not None:
        raise SkyweaveError("tile is for priors of single frames; this one describes windows, leave tile out")
    if window == 1 and settings.stride != 1:
        raise SkyweaveError(
            "stride is for priors of windows; this one describes single frames, leave stride out"
        )
    error_covariance(prior)


def _mask_of(settings: Settings) -> xr.DataArray | np.ndarray | None:
    mask = settings.domain_mask
    return open_fields(mask.path, [mask.variable])[mask.variable] if isinstance(mask, FieldOfFile) else mask


def _observed(
    prior: LearntPrior, target: Target, sources: list[StateObservation], mask: np.ndarray | None, whole: bool
) -> Observed:
    if not sources:
        return no_observations(prior.spec, target.grid, target.count, prior.transform)
    place = Place(prior.spec, target.grid, target.times, prior.transform, mask)
    observed = observe(place, sources, whole)
    check_plausible(looked_at(observed, prior.spec.window), sources, prior)
    return observed


def _adjusted(
    prior: LearntPrior,
    target: Target,
    observed: ObservationSet,
    sources: list[StateObservation],
    settings: Settings,
    batch: int,
) -> tuple[ObservationSet, SourceEstimates | None]:
    return adjusted(
        observed,
        sources,
        binder(prior, target, settings),
        weights=settings.weights == "innovations",
        anchor=settings.anchor,
        how=settings.estimation,
        window=prior.spec.window,
        seed=settings.seed,
        identities=target.identities(),
        batch=batch,
        device=settings.device,
    )


def _depends_on(
    prior: LearntPrior, target: Target, observed: Observed, settings: Settings, factor: float | None
) -> dict[str, Any]:
    """Everything that the values depend on; of the settings all that are not marked as free."""
    return made_with(settings) | {
        "prior": prior.fingerprint(),
        "observations": observed.fingerprint(),
        "grid": target.grid.to_dict(),
        "times": None if target.times is None else [str(t) for t in target.times],
        "recalibration": factor,
        "version": version("skyweave"),
    }


def _long_names(sources: list[StateObservation]) -> dict[str, str]:
    return {
        str(o.variable): str(o.data.attrs["long_name"])
        for o in reversed(sources)
        if isinstance(o, GridObservation) and o.data.attrs.get("long_name")
    }
