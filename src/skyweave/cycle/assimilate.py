"""A labelled data-assimilation run: a prior, a model and observations into analyses and forecasts, resumable."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
import xarray as xr
from torch import Tensor

from skyweave.cycle.base import Cycle
from skyweave.cycle.climate import Climate
from skyweave.cycle.model_error import model_error_covariance
from skyweave.cycle.record import CycleRecord
from skyweave.cycle.run import REACH, Cycler
from skyweave.cycle.settings import CycleSettings
from skyweave.cycle.transform import Domain
from skyweave.emulate.forecaster import Erring, Forecaster, named
from skyweave.errors import SkyweaveError
from skyweave.grid import Grid
from skyweave.io.progress import Progress
from skyweave.io.store import check_output
from skyweave.keywords import settings_of, takes
from skyweave.observe.assemble import ObservationSet, assemble
from skyweave.observe.errors import EARTH_RADIUS_KM, ErrorModel
from skyweave.observe.observation import Observation
from skyweave.observe.soundings import on_levels
from skyweave.posterior.background import Background, bind
from skyweave.posterior.reach import correlation_length
from skyweave.prior.storage import LearntPrior, open_prior
from skyweave.reconstruction.output_grid import Target, resolve_target
from skyweave.regrid import conservative

__all__ = ["assimilate", "climate_radius"]


@takes(CycleSettings)
def assimilate(
    prior: LearntPrior | str | Path,
    model: Forecaster,
    observations: Sequence[Observation] | Observation,
    *,
    times: Sequence[object] | np.ndarray | None = None,
    like: xr.Dataset | xr.DataArray | Grid | None = None,
    initial: xr.Dataset | None = None,
    settings: CycleSettings | None = None,
    model_error: Mapping[str, ErrorModel] | None = None,
    out: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    progress: bool = True,
    **changes: Any,
) -> xr.Dataset:
    r"""Forecast, fuse, reinitialise, repeat: an ensemble of analyses and of forecasts at every time.

    .. math:: x^f_{k} = M(x^a_{k-1}) + \eta, \qquad x^a_k \sim p(x \mid x^f_k, y_k)

    Every member is stepped by itself. How an analysis is made of the forecast's ensemble, the prior and what was
    observed is `CycleSettings.update`'s to say; members are kept as they are at times without observations.

    Args:
        prior: of single frames, or the path of one.
        model: a forecaster: ``step(state (M, C, h, w) physical, time)``, `spec`, `grid`, `time_step` (s).
        observations: any sources; those of one time are used in its cycle, and times without any are forecast only.
        times: of the analyses, one model step apart; those of ``like`` by default.
        like: grid of the analyses, the model's by default. It may be finer than the model's.
        initial: members at the first time (dimension ``member``), physical, on the analysis grid; without it the first
            analysis is made of the observations and the prior alone.
        settings: see `skyweave.cycle.settings.CycleSettings`.
        model_error: what the model adds in one step, by variable; ``None`` where the model is perfect or adds its own
            (``model.one_step_error`` is used where it has one).
        out: ``.zarr`` or ``.nc``; a run that was killed is continued by the same call. ``None`` keeps all in memory.
        overwrite: replace an output that exists.
        progress: tell how far it is.
        changes: fields of the settings by name.

    Returns:
        For each variable the analysis ``(member, time, lat, lon)``; its forecast as ``NAME_forecast`` on the model's
        grid (dimensions ``forecast_lat, forecast_lon`` where that is another), missing where the run begins; and the
        scaled innovations of each source, ``innovation_mean`` and ``innovation_rms`` ``(time, source)``, with the
        ``inflation`` of each time.

    Raises:
        SkyweaveError: model and prior of other variables or units, times that are not one model step apart, a grid
            coarser than the model's, nothing observed at the first time and no initial members.
    """
    if out is not None:
        check_output(Path(out), overwrite)
    opened = prior if isinstance(prior, LearntPrior) else open_prior(prior)
    chosen = settings_of(CycleSettings, settings, changes, "assimilate")
    given = list(observations) if isinstance(observations, Sequence) else [observations]
    sources = on_levels(given, opened.spec)
    target = resolve_target(opened.spec, sources, like if like is not None else model.grid, times)
    _check(opened, model, target)
    observed = assemble(sources, opened.spec, target.grid, target.times, opened.transform)
    cycler = _cycler(opened, model, target, observed, chosen, model_error)
    start = None if initial is None else _members(initial, opened, target, chosen.members)
    if start is None and not observed.segment(0, 1).n:
        raise SkyweaveError(
            f"nothing is observed at the first time ({np.atleast_1d(np.asarray(target.times))[0]}), and there are no "
            "initial members; begin where there are observations, or give `initial`"
        )
    with (
        CycleRecord(
            prior=opened, model=model, target=target, observed=observed, settings=chosen, out=out,
            overwrite=overwrite, model_error=model_error, initial=start,
        ) as record,
        Progress(target.count, "cycles", progress) as bar,
    ):  # fmt: skip
        last = record.restore()
        # A run that begins with given members has them as its first analysis.
        if last is None and start is not None:
            record.put(Cycle(0, None, start, {}, chosen.inflation))
            last = (0, start, chosen.inflation)
        first, members, inflation = (0, None, None) if last is None else (last[0] + 1, *last[1:])
        bar.skip(first)
        for cycle in cycler.run(members, first, inflation):
            record.put(cycle)
            bar.to(cycle.index + 1)
        return record.finish()


def _check(prior: LearntPrior, model: Forecaster, target: Target) -> None:
    spec = prior.spec
    prior.check_resolution(target.grid)
    if spec.window > 1:
        raise SkyweaveError(
            f"cycling takes a prior of single frames; this one describes windows of {spec.window}"
        )
    own, wanted = tuple(model.spec.names), spec.names
    if own != wanted:
        raise SkyweaveError(
            f"the model ({named(model)}) steps {', '.join(own)}, the prior "
            f"({prior.path or 'in memory'}) describes {', '.join(wanted)}; both must be the same, in the same order: "
            "take another model or prior, or train one on these"
        )
    for a, b in zip(model.spec.variables, spec.variables, strict=True):
        if a.units != b.units:
            raise SkyweaveError(f"{a.name}: the model has it in {a.units!r}, the prior in {b.units!r}")
    if target.times is None or target.count < 2:
        raise SkyweaveError("cycling needs two times or more; give `times`, or a `like` file that has them")
    if np.issubdtype(target.times.dtype, np.datetime64):
        steps = np.diff(target.times) / np.timedelta64(1, "s")
        if not np.allclose(steps, model.time_step, rtol=1e-6):
            place = int(np.flatnonzero(~np.isclose(steps, model.time_step))[0])
            first, second = (str(t)[:16] for t in target.times[place : place + 2])
            raise SkyweaveError(
                f"the model steps by {model.time_step / 3600:g} h, and the times {first} and {second} are "
                f"{steps[place] / 3600:g} h apart; give times (`times`, or those of `like`) one step apart, times "
                "without observations are forecast only"
            )
    fine, coarse = target.grid.resolution, model.grid.resolution
    if any(f > 1.01 * c for f, c in zip(fine, coarse, strict=True)):
        raise SkyweaveError(
            f"the analysis grid ({fine[0]:g} x {fine[1]:g} degrees) is coarser than the model's ({coarse[0]:g} x "
            f"{coarse[1]:g}); choose a grid as fine as the model's, or finer"
        )


def _cycler(
    prior: LearntPrior,
    model: Forecaster,
    target: Target,
    observed: ObservationSet,
    settings: CycleSettings,
    model_error: Mapping[str, ErrorModel] | None,
) -> Cycler:
    same = model.grid.same_as(target.grid)
    down: sp.csr_array | None = None if same else conservative(target.grid, model.grid)

    def bound(times: np.ndarray | None) -> Background:
        return bind(
            prior, target.grid, times, tile=settings.tile, autocast=settings.autocast, device=settings.device
        )

    fixed = None if prior.conditioning.needs_time else bound(None)

    def at(k: int) -> Background:
        if fixed is not None:
            return fixed
        assert target.times is not None
        return bound(target.times[k : k + 1])

    assert target.times is not None
    climate = Climate(
        prior=at, down=down, coarse=None if same else model.grid.shape, periodic=(False, target.grid.periodic)
    )
    errors = model_error or (model.one_step_error if isinstance(model, Erring) else None)
    return Cycler(
        climate=climate,
        spec=prior.spec,
        transform=prior.transform,
        model=model,
        observed=observed,
        identities=target.identities(),
        times=target.times,
        settings=settings,
        model_error=None
        if not errors
        else model_error_covariance(errors, prior.spec, prior.transform, model.grid, climate.padded),
        domain=Domain.sphere(target.grid),
        radius=climate_radius(at(0), target.grid),
    )


def climate_radius(prior: Background, grid: Grid) -> float:
    """Radius of the local transform in km: `REACH` times the climate's correlation length, mean of the variables."""
    V = prior.covariance(float("inf"))
    cells = float(np.mean([correlation_length(V, c) for c in range(V.shape[1])]))
    return REACH * cells * float(np.radians(np.mean(grid.resolution))) * EARTH_RADIUS_KM


def _members(initial: xr.Dataset, prior: LearntPrior, target: Target, count: int) -> Tensor:
    """Physical members ``(M, C, H, W)`` of a dataset, at the first time where it has several."""
    missing = [name for name in prior.spec.names if name not in initial]
    if missing:
        raise SkyweaveError(
            f"initial members: no {', '.join(missing)}; found {', '.join(map(str, initial.data_vars))}"
        )
    grid = Grid.from_dataset(initial)
    if not grid.same_as(target.grid):
        raise SkyweaveError(
            f"initial members: their grid is {grid.describe()}, the analysis has {target.grid.describe()}"
        )
    fields = []
    for name in prior.spec.names:
        array = initial[name]
        for dim in [d for d in array.dims if d not in ("member", *grid.dims_in(array))]:
            array = array.isel({dim: 0})
        if "member" not in array.dims or array.sizes["member"] < count:
            found = array.sizes.get("member", 0)
            raise SkyweaveError(
                f"initial members: {name} has {found} of them, {count} are needed (dimension 'member')"
            )
        fields.append(array.transpose("member", *grid.dims_in(array)).values[:count])
    return torch.from_numpy(np.stack(fields, axis=1).astype(np.float32))
