"""Everything a reconstruction needs, opened and checked, and the work of one of its units."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import xarray as xr
from scipy.ndimage import distance_transform_edt

from skyweave.errors import SkyweaveError, did_you_mean
from skyweave.grid import Grid
from skyweave.limits import check_counts
from skyweave.observe.assemble import ObservationSet, assemble, no_observations
from skyweave.observe.observation import Observation
from skyweave.posterior.background import Background, bind, error_covariance
from skyweave.posterior.calibration import recalibrate_members, stored_factor
from skyweave.posterior.execute import available_memory, limit_members
from skyweave.posterior.guidance import GUIDANCE
from skyweave.posterior.kalman import KalmanSolver
from skyweave.posterior.methods import find_method, with_options
from skyweave.posterior.noise import NoiseStream
from skyweave.posterior.output import provenance, to_physical
from skyweave.posterior.plan import Plan, Unit, make_units, member_bytes
from skyweave.posterior.plausible import check_plausible
from skyweave.posterior.sample import Method, sample_posterior
from skyweave.posterior.samplers import STEPS
from skyweave.posterior.sources import SourceEstimates, adjusted, estimation
from skyweave.posterior.target import Target, resolve_target
from skyweave.prior.covariance import StationaryCovariance
from skyweave.prior.processes import usable_device
from skyweave.prior.space_time import SpaceTimeCovariance
from skyweave.prior.storage import LearntPrior, open_prior
from skyweave.prior.windows import check_times

__all__ = ["Job", "Settings", "prepare"]

LARGEST_BATCH = 64

WEIGHTS = ("stated", "innovations")

SEGMENT = 48
"""Frames computed together with a prior of windows, besides those on either side of them."""

REACH = 2
"""Windows on either side of a segment that are computed along and then left to the neighbouring segments."""


@dataclass(frozen=True, eq=False)
class Settings:
    """How an ensemble is drawn; see `skyweave.reconstruct` for what each means."""

    members: int = 16
    seed: int = 0
    method: str | Method = "covariance"
    sampler: str | None = None
    steps: int | None = None
    options: Mapping[str, Any] | None = None
    batch: int | None = None
    domain_mask: xr.DataArray | np.ndarray | None = None
    quantiles: Sequence[float] = (0.05, 0.5, 0.95)
    recalibrate: bool = False
    tile: tuple[int, int] | None = None
    stride: int = 1
    autocast: bool = False
    device: str = "cpu"
    weights: str = "stated"
    anchor: Sequence[str] | None = None
    innovations: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.weights not in WEIGHTS:
            raise SkyweaveError(
                f"weights = {self.weights!r}{did_you_mean(self.weights, WEIGHTS)}; there are {', '.join(WEIGHTS)}"
            )
        check_counts(members=self.members, batch=self.batch, stride=self.stride)
        check_counts(0, seed=self.seed)
        object.__setattr__(self, "device", str(usable_device(self.device)))
        estimation(self.innovations)


@dataclass(eq=False)
class Job:
    """Everything a run needs, opened and checked."""

    prior: LearntPrior
    prior_name: str
    target: Target
    observed: ObservationSet
    method: Method
    plan: Plan
    settings: Settings
    mask: np.ndarray | None
    factor: float | None
    tile: tuple[int, int] | None
    estimates: SourceEstimates | None = None
    verb: ClassVar[str] = "reconstruct"

    def __post_init__(self) -> None:
        self.solver = KalmanSolver()
        self.clipped = dict.fromkeys(self.prior.spec.names, 0)
        self.identities = self.target.identities()
        self._bound: tuple[tuple[int, int], Background] | None = None

    def background(self, t0: int, t1: int) -> Background:
        if self._bound is None or self._bound[0] != (t0, t1):
            made = _binder(self.prior, self.target, self.settings, self.tile)(t0, t1)
            self._bound = ((t0, t1), made)
        return self._bound[1]

    def work(self, unit: Unit, step: Callable[[int], None]) -> np.ndarray:
        """Members of one unit, physical, ``(m, t, C, H, W)``."""
        # With a prior of windows the frames on either side have a say, and are computed along.
        reach = REACH * self.prior.spec.window if self.prior.spec.window > 1 else 0
        t0, t1 = max(0, unit.t0 - reach), min(self.target.count, unit.t1 + reach)
        background = self.background(t0, t1)
        settings = self.settings
        noise = NoiseStream(settings.seed, range(unit.m0, unit.m1), self.identities[t0:t1], settings.device)
        x = sample_posterior(
            background.denoiser,
            background,
            self.observed.segment(t0, t1),
            noise,
            background.shape,
            self.method,
            solver=self.solver,
            key=(t0, t1),
            progress=step,
        )[:, unit.t0 - t0 : unit.t1 - t0]
        if self.factor is not None:
            x = recalibrate_members(x, self.factor)
        return self.fields(x)

    def fields(self, x: torch.Tensor) -> np.ndarray:
        """Normalised members in physical units, clipped values counted, missing outside the domain."""
        physical, clipped = to_physical(x.cpu(), self.prior.transform, self.prior.spec)
        for name, count in clipped.items():
            self.clipped[name] += count
        values = physical.numpy()
        if self.mask is not None:
            values[..., ~self.mask] = np.nan
        return values

    def flags(self, channel: int) -> np.ndarray:
        """Provenance of one variable, ``(T, H, W)``."""
        name = self.prior.spec.names[channel]
        shape = (self.target.count, *self.target.grid.shape)
        seen = self.observed.observed_mask(name)
        frame = (1, len(self.prior.spec.variables), *self.target.grid.shape)
        V = error_covariance(self.prior).on(frame, periodic=self.target.grid.periodic)(1e9)
        reach = correlation_length(V, channel)
        touched = self.observed.support_mask(name)
        near = np.stack([within(frame, reach, self.target.grid.periodic) for frame in touched])
        return provenance(shape, seen, near, self.mask)

    def attrs(self) -> dict[str, Any]:
        """What the result depends on, for the output's global attributes."""
        return {
            "title": "Fields reconstructed by skyweave",
            "source": f"skyweave {version('skyweave')}",
            "prior": self.prior_name,
            **{
                f"prior_{k}": v if isinstance(v, str | int) else json.dumps(v)
                for k, v in self.prior.metadata.items()
                if k in ("train", "files", "steps")
            },
            "observations": str(self.observed.report),
            "method": json.dumps(self.method.to_dict(), default=str),
            "made_with": json.dumps(self.plan.settings, default=str),
            "seed": self.settings.seed,
            "recalibration_factor": 1.0 if self.factor is None else self.factor,
            **({} if self.estimates is None else {"source_estimates": json.dumps(self.estimates.to_dict())}),
            "extrapolated_means": "further from every observation of the variable than one correlation length "
            "(1/e) of the prior's background error covariance",
        }


def prepare(
    prior: LearntPrior | str | Path,
    observations: Sequence[Observation] | Observation,
    like: xr.Dataset | xr.DataArray | Grid | None,
    times: Sequence[object] | np.ndarray | None,
    settings: Settings,
    estimate: bool = True,
) -> Job:
    """Open and check everything; without observations the fields are draws of the prior itself.

    With ``estimate`` biases and errors that are asked for are estimated from innovations, which takes network
    evaluations.

    Raises:
        SkyweaveError: inputs that do not fit one another, no usable observation.
    """
    opened = prior if isinstance(prior, LearntPrior) else open_prior(prior)
    name = opened.path or "in memory"
    spec = opened.spec
    sources = list(observations) if isinstance(observations, Sequence) else [observations]
    chosen = method_of(settings)
    target = resolve_target(spec, sources, like, times)
    opened.check_resolution(target.grid)
    if spec.window > 1:
        check_times(target.times, target.count, spec.window, spec.time_step)
    error_covariance(opened)
    mask = _mask(settings.domain_mask, target)
    if sources:
        observed = assemble(sources, spec, target.grid, target.times, opened.transform, mask)
        check_plausible(observed, sources, opened)
    else:
        observed = no_observations(spec, target.grid, target.count, opened.transform)
    channels, (height, width) = len(spec.variables), target.grid.shape
    segments = _segments(observed, spec.window)
    if observed.n and chosen.sampler not in STEPS:
        # Built for its checks: an option that names no source is refused before anything is computed.
        GUIDANCE[chosen.guidance](None, None, observed.segment(*segments[0]), **chosen.guidance_options)
    reach = REACH * spec.window if spec.window > 1 else 0
    longest = min(target.count, max(t1 - t0 for t0, t1 in segments) + 2 * reach)
    each = member_bytes(longest, channels, height, width)
    network = opened.working_bytes(target.grid)
    tile = settings.tile
    if tile is None and network > available_memory() and spec.window == 1:
        tile = (4 * opened.patch[0], 4 * opened.patch[1])
    if tile is not None:
        network = network * min(tile[0] * tile[1], target.grid.size) // target.grid.size
    members = settings.members
    fitting = limit_members(min(members, LARGEST_BATCH), each, available_memory())
    size = fitting if settings.batch is None else max(1, min(settings.batch, members))
    factor = stored_factor(opened) if settings.recalibrate else None
    if factor is not None:
        # The spread is scaled about the mean of all members, so one unit has to hold them all.
        size = members
    estimates = None
    if estimate:
        bound = _binder(opened, target, settings, tile)
        observed, estimates = adjusted(
            observed,
            sources,
            bound,
            weights=settings.weights == "innovations",
            anchor=settings.anchor,
            how=estimation(settings.innovations),
            window=spec.window,
            seed=settings.seed,
            identities=target.identities(),
            batch=size,
            device=settings.device,
        )
    depends_on = {
        "prior": opened.fingerprint(),
        "observations": observed.fingerprint(),
        "grid": target.grid.to_dict(),
        "times": None if target.times is None else [str(t) for t in target.times],
        "members": members,
        "batch": size,
        "seed": settings.seed,
        "method": chosen.to_dict(),
        "quantiles": list(settings.quantiles),
        "mask": None if mask is None else int(mask.sum()),
        "recalibration": factor,
        "tile": None if tile is None else list(tile),
        "stride": settings.stride,
        "version": version("skyweave"),
    }
    peak = size * each + network + 4 * channels * height * width * (members + 8) * longest
    made = Plan(
        make_units(segments, members, size),
        (members, target.count, channels, height, width),
        size,
        chosen.evaluations(),
        peak,
        observed.report,
        depends_on,
    )
    return Job(opened, name, target, observed, chosen, made, settings, mask, factor, tile, estimates)


def _binder(
    prior: LearntPrior, target: Target, settings: Settings, tile: tuple[int, int] | None
) -> Callable[[int, int], Background]:
    """The prior bound to frames ``t0:t1``."""

    def bound(t0: int, t1: int) -> Background:
        times = None if target.times is None else target.times[t0:t1]
        return bind(
            prior,
            target.grid,
            times,
            t1 - t0,
            tile=tile,
            stride=settings.stride,
            autocast=settings.autocast,
            device=settings.device,
        )

    return bound


def _segments(observed: ObservationSet, window: int) -> list[tuple[int, int]]:
    """Stretches of time computed one after the other; those of windows overlap when they are computed."""
    if window == 1:
        return observed.segments()
    frames = observed.operator.shape[0]
    count = max(1, round(frames / SEGMENT))
    edges = np.linspace(0, frames, count + 1).astype(int).tolist()
    return list(pairwise(edges))


def method_of(settings: Settings) -> Method:
    """The method with the sampler, steps and options that the settings name."""
    method, sampler, steps = settings.method, settings.sampler, settings.steps
    if sampler == "dps":
        # The step-wise guidance that AODDiff compares with: its likelihood score and a deterministic sampler.
        method, sampler, steps = "dps", "dpm++2m", steps or 64
    base = method if isinstance(method, Method) else find_method(method)
    changes: dict[str, Any] = {}
    if sampler is not None:
        changes["sampler"] = sampler
        changes["steps"] = STEPS.get(sampler, base.steps)
        if sampler == "daps":
            changes["start"] = "noise"  # as published
        if sampler != base.sampler:
            changes["sampler_options"] = {}
    if steps is not None:
        changes["steps"] = steps
    return with_options(replace(base, **changes), settings.options or {})


def _mask(domain_mask: xr.DataArray | np.ndarray | None, target: Target) -> np.ndarray | None:
    if domain_mask is None:
        return None
    values = np.asarray(domain_mask.values if isinstance(domain_mask, xr.DataArray) else domain_mask)
    values = (
        values.reshape(values.shape[-2:]) if values.ndim > 2 and values.size == target.grid.size else values
    )
    if values.shape != target.grid.shape:
        raise SkyweaveError(
            f"domain mask: shape {values.shape}, the target grid has {target.grid.shape}; regrid the mask"
        )
    wanted = np.nan_to_num(values.astype(float)) > 0.5
    if not wanted.any():
        raise SkyweaveError("domain mask: no cell is wanted; true (1) marks the cells to be filled")
    return wanted


def correlation_length(V: StationaryCovariance | SpaceTimeCovariance, channel: int) -> float:
    """Cells at which the correlation of a variable falls to 1/e, mean of both axes."""
    kernel = V.kernel[channel, channel]
    lengths = []
    for line in (kernel[: V.padded[0] // 2, 0], kernel[0, : V.padded[1] // 2]):
        below = torch.nonzero(line < line[0] / math.e)
        lengths.append(float(below[0]) if len(below) else float(len(line)))
    return float(np.mean(lengths))


def within(touched: np.ndarray, reach: float, periodic: bool) -> np.ndarray:
    """Cells within ``reach`` cells of a true one; across the edge of periodic longitudes."""
    if not touched.any():
        return touched
    width = touched.shape[1]
    pad = min(width, int(np.ceil(reach))) if periodic else 0
    padded = (
        np.concatenate([touched[:, width - pad :], touched, touched[:, :pad]], axis=1) if pad else touched
    )
    near = distance_transform_edt(~padded) <= reach
    return near[:, pad : pad + width]
