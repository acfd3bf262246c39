"""A precomputed forecast and observations into an ensemble of fields at every lead time, labelled and resumable."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
import xarray as xr
from torch import Tensor

from skyweave.cycle.climate import Climate
from skyweave.cycle.fusion import Fusion
from skyweave.cycle.lead_time import LeadTimeSkill
from skyweave.cycle.past import PastForecasts, mean_of
from skyweave.emulate.files import ForecastFile, open_forecast, source_of
from skyweave.emulate.forecaster import later
from skyweave.errors import SkyweaveError
from skyweave.grid import Grid
from skyweave.io.store import check_output
from skyweave.keywords import settings_of, takes
from skyweave.observe.observation import Observation
from skyweave.posterior.background import Background
from skyweave.posterior.problem import Problem
from skyweave.posterior.sample import sample_posterior
from skyweave.prior.storage import LearntPrior, open_prior
from skyweave.reconstruction.opening import begun_layout, open_reconstruction
from skyweave.reconstruction.plan import Unit
from skyweave.reconstruction.reconstruct import face_scene, run_reconstruction
from skyweave.reconstruction.run import Reconstruction, binder
from skyweave.reconstruction.settings import FusionSettings
from skyweave.regrid import conservative

__all__ = ["forecast_frames", "fuse"]

FILLED, EXTRAPOLATED = 2, 3


@dataclass(frozen=True, eq=False)
class Frames:
    """The frames of a forecast that can be used.

    Args:
        values: physical units, of an ensemble its mean, ``(K, C, h, w)``.
        leads: seconds, ``(K,)``.
        times: that they are valid for, ``(K,)``.
        dropped: lead times in hours that were left out, by reason.
    """

    values: Tensor
    leads: np.ndarray
    times: np.ndarray
    dropped: dict[str, list[float]]

    def __str__(self) -> str:
        hours, begin = self.leads / 3600, str(self.times[0])[:16]
        lines = [
            f"forecast        {len(hours)} lead times, {hours[0]:g} to {hours[-1]:g} h, valid {begin} on"
        ]
        lines += [
            f"  dropped       {', '.join(f'{hour:g}' for hour in found)} h: {why}"
            for why, found in self.dropped.items()
            if found
        ]
        return "\n".join(lines)


def forecast_frames(file: ForecastFile, past: PastForecasts) -> Frames:
    """Frames of a forecast that are complete and of a lead time whose errors are known.

    Raises:
        SkyweaveError: there is none.
    """
    dropped: dict[str, list[float]] = {"the initial state": [], "no past forecasts": [], "missing values": []}
    values, leads, times = [], [], []
    for lead in file.leads:
        hours = float(lead / 3600)
        if lead <= 0:
            dropped["the initial state"].append(hours)
            continue
        if np.abs(past.leads - lead).min() > 1.0:
            dropped["no past forecasts"].append(hours)
            continue
        time = later(file.init_time, float(lead))
        frame = mean_of(file, time)
        if not bool(frame.isfinite().all()):
            dropped["missing values"].append(hours)
            continue
        values.append(frame)
        leads.append(float(lead))
        times.append(time)
    if not values:
        told = "; ".join(f"{len(found)}: {why}" for why, found in dropped.items() if found)
        raise SkyweaveError(f"the forecast has no lead time that can be used ({told})")
    return Frames(torch.cat(values), np.array(leads), np.array(times), dropped)


@takes(FusionSettings)
def fuse(
    prior: LearntPrior | str | Path,
    forecast: str | Path | xr.Dataset | ForecastFile,
    observations: Sequence[Observation] | Observation,
    past: PastForecasts,
    *,
    init_time: Any = None,
    like: xr.Dataset | xr.DataArray | Grid | None = None,
    out: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    progress: bool = True,
    settings: FusionSettings | None = None,
    **changes: Any,
) -> xr.Dataset:
    r"""Members of the posterior at every lead time of a precomputed forecast, given what was observed at its times.

    .. math:: x_k \sim p(x \mid z_k, y_k) \propto p(x)\, \mathcal N(z_k; G x, F_k)\, \mathcal N(y_k; H(x), R_k)

    with ``F_k`` the error of forecasts of that lead time beyond what the climate knows, by scale, from `past`: it grows
    until the forecast adds nothing, see `skyweave.cycle.lead_time`. Nothing is handed on from one time to the next.

    Args:
        prior: of single frames, or the path of one.
        forecast: a file with lead times (and initial times and members, if it has them), or one opened.
        observations: any sources; none at all gives the forecast super-resolved.
        past: forecasts such as this one and what came, of times that the prior was not trained on.
        init_time: which forecast of the file.
        like: grid of the analyses, the forecast's by default. It may be finer.
        out, overwrite, progress: as in `skyweave.reconstruct`.
        settings: see `skyweave.reconstruction.settings.FusionSettings`.
        changes: its fields by name.

    Returns:
        As `skyweave.reconstruct`, with the coordinate ``lead_time`` along time.

    Raises:
        SkyweaveError: a forecast of other variables, without lead times or complete frames, or of another grid than
            past forecasts; a prior of windows; observations interpolated in time.
    """
    if out is not None:
        check_output(Path(out), overwrite)
    opened = prior if isinstance(prior, LearntPrior) else open_prior(prior)
    if opened.spec.window > 1:
        raise SkyweaveError(
            f"fusing takes a prior of single frames; this one describes windows of {opened.spec.window}"
        )
    file = forecast if isinstance(forecast, ForecastFile) else open_forecast(forecast, opened.spec, init_time)
    if not file.grid.same_as(past.grid):
        raise SkyweaveError(
            f"{source_of(file.data)}: its grid is {file.grid.describe()}, that of past forecasts "
            f"{past.grid.describe()}; bring one to the other's grid (skyweave regrid)"
        )
    frames = forecast_frames(file, past)
    place = like if like is not None else file.grid
    grid = place if isinstance(place, Grid) else Grid.from_dataset(place)
    _check_finer(grid, file.grid)
    whole = settings_of(FusionSettings, settings, changes, "fuse").whole()
    begun = begun_layout(out, overwrite)
    made = open_reconstruction(
        opened, observations, whole, like=grid, times=frames.times, whole=True, begun=begun
    )
    fused = FusedReconstruction.of(made, frames, file, past)
    if progress:
        print(f"{fused.past_told}\n{frames}\n{fused.skill_told()}\n{fused.plan.report}", flush=True)
    face_scene(fused, progress)
    return run_reconstruction(fused, out, overwrite, progress)


@dataclass(eq=False, kw_only=True)
class FusedReconstruction(Reconstruction):
    """A reconstruction in which every time has a forecast beside its observations."""

    frames: Frames
    fusion: Fusion
    forecast_name: str
    past_told: str
    verb: ClassVar[str] = "fuse"
    _kept: dict[int, Problem] = field(default_factory=dict, repr=False)

    @classmethod
    def of(
        cls, alone: Reconstruction, frames: Frames, file: ForecastFile, past: PastForecasts
    ) -> FusedReconstruction:
        """The reconstruction with a forecast, its skill fitted."""
        if any(unit.t1 - unit.t0 > 1 for unit in alone.plan.units):
            raise SkyweaveError(
                "observations interpolated in time cannot be fused with a forecast; use time: nearest"
            )
        target, prior = alone.target, alone.prior
        same = file.grid.same_as(target.grid)

        def climate(times: np.ndarray) -> Climate:
            return Climate(
                prior=by_time(alone, times),
                down=None if same else conservative(target.grid, file.grid),
                coarse=None if same else file.grid.shape,
                periodic=(False, target.grid.periodic),
            )

        skill = skill_of(past, climate(past.times.ravel()), prior)
        numbers = tuple(int(np.abs(past.leads - lead).argmin()) for lead in frames.leads)
        fusion = Fusion(
            climate=climate(frames.times),
            transform=prior.transform,
            frames=frames.values,
            skill=skill,
            leads=numbers,
        )
        digest = hashlib.sha256(frames.values.numpy().tobytes())
        for value in skill.to_tensors().values():
            digest.update(value.numpy().tobytes())
        lead = xr.DataArray(
            frames.leads.round().astype("timedelta64[s]").astype("timedelta64[ns]"),
            dims=target.dims[0],
            attrs={
                "standard_name": "forecast_period",
                "long_name": "time since the initial state of the forecast",
            },
        )
        return cls(
            prior=prior,
            target=replace(target, coords={**target.coords, "lead_time": lead}),
            observed=alone.observed,
            settings=alone.settings,
            plan=replace(alone.plan, settings=alone.plan.settings | {"forecast": digest.hexdigest()}),
            mask=alone.mask,
            factor=alone.factor,
            estimates=alone.estimates,
            scene=alone.scene,
            long_names=alone.long_names,
            frames=frames,
            fusion=fusion,
            forecast_name=source_of(file.data),
            past_told="\n".join([str(past), *trained_on(prior, past)]),
        )

    def work(self, unit: Unit, step: Callable[[int], None]) -> np.ndarray:
        """Members of one unit, physical, ``(m, 1, C, H, W)``."""
        k = unit.t0
        if k not in self._kept:
            seen = self.observed.segment(k, k + 1)
            self._kept = {k: self.fusion.problem(k, seen if seen.n else None)}
        parts = [
            sample_posterior(self._kept[k], self.noise(k, k + 1, members), self.method)
            for members in self.plan.batches(unit)
        ]
        step(self.plan.evaluations)
        return self.fields(torch.cat(parts))

    def flags(self, channel: int, t0: int, t1: int) -> np.ndarray:
        """As in a reconstruction; no cell is beyond the reach of the forecast."""
        found = super().flags(channel, t0, t1)
        return np.where(found == EXTRAPOLATED, FILLED, found).astype(found.dtype)

    def attrs(self) -> dict[str, Any]:
        return super().attrs() | {
            "title": "Forecast fused with observations by skyweave",
            "forecast": f"{self.forecast_name}\n{self.frames}\n{self.skill_told()}",
            "past_forecasts": self.past_told,
        }

    def skill_told(self) -> str:
        """Share of the variance that forecasts of the first, middle and last lead time explain."""
        lines = []
        for c, name in enumerate(self.prior.spec.names):
            chosen = sorted({0, len(self.frames.leads) // 2, len(self.frames.leads) - 1})
            told = ", ".join(
                f"{self.frames.leads[k] / 3600:g} h {float(self.fusion.skill.explained[self.fusion.leads[k], c]):.2f}"
                for k in chosen
            )
            lines.append(f"  explained     {name}: {told} of the variance")
        return "\n".join(lines)


def by_time(made: Reconstruction, times: np.ndarray) -> Callable[[int], Background]:
    """The prior at each of some times, on the grid of a reconstruction; the same one where it knows no time."""

    def at(own: np.ndarray | None) -> Background:
        return binder(made.prior, replace(made.target, times=own), made.settings)(0, 1)

    fixed = None if made.prior.conditioning.needs_time else at(None)
    return lambda k: fixed or at(times[k : k + 1])


def skill_of(past: PastForecasts, climate: Climate, prior: LearntPrior) -> LeadTimeSkill:
    """What is left of forecasts such as the past ones, of whose times the climate is."""
    # Forecasts from neighbouring days share their valid times, and many priors know no time at all.
    place = {str(time): k for k, time in enumerate(past.times.ravel())}
    alike = not prior.conditioning.needs_time

    @cache
    def mean(k: int) -> Tensor:
        return climate.mean(k)

    return past.skill(
        prior.transform, lambda time: mean(0 if alike else place[str(time)]), climate.padded, climate.periodic
    )


def trained_on(prior: LearntPrior, past: PastForecasts) -> list[str]:
    """A warning where past forecasts are of times that the prior learnt from: they look better than those to come."""
    period = prior.metadata.get("train")
    if not period or past.times.dtype.kind != "M":
        return []
    index = pd.DatetimeIndex(past.times.ravel()).sort_values()
    inside = len(index[index.slice_indexer(*period)])
    if not inside:
        return []
    return [
        f"  warning       {inside} of {len(index)} of their times lie in {period[0]} to {period[1]}, which the prior "
        "was trained on; errors look smaller there than they will be"
    ]


def _check_finer(grid: Grid, own: Grid) -> None:
    if any(f > 1.01 * c for f, c in zip(grid.resolution, own.resolution, strict=True)):
        raise SkyweaveError(
            f"the analysis grid ({grid.describe()}) is coarser than the forecast's ({own.describe()}); regrid the "
            "forecast"
        )
