"""Everything a reconstruction needs, opened and checked, and the work of one of its units."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import xarray as xr

from skyweave.diffusion.noise import NoiseStream
from skyweave.errors import SkyweaveError, did_you_mean
from skyweave.grid import Grid
from skyweave.io.made_with import bytes_digest
from skyweave.learn.processes import usable_device
from skyweave.limits import check_counts
from skyweave.observe.assemble import ObservationSet, assemble, no_observations
from skyweave.observe.observation import GridObservation, Observation
from skyweave.posterior.background import Background, bind, error_covariance
from skyweave.posterior.calibration import recalibrate_members, stored_factor
from skyweave.posterior.methods import method_of
from skyweave.posterior.problem import Problem
from skyweave.posterior.reach import correlation_length, within
from skyweave.posterior.sample import Method, sample_posterior
from skyweave.prior.storage import LearntPrior, open_prior
from skyweave.prior.windows import check_times
from skyweave.reconstruction.execute import Note, available_memory, limit_members
from skyweave.reconstruction.output import provenance, to_physical
from skyweave.reconstruction.output_grid import Target, domain_cells, resolve_target
from skyweave.reconstruction.plan import Plan, Unit, make_units, member_bytes
from skyweave.reconstruction.plausible import check_plausible
from skyweave.reconstruction.residuals import LIMIT, Residuals, findings
from skyweave.reconstruction.scene import ON_CONFLICT, Scene, compare_scene
from skyweave.sources.estimates import SourceEstimates, adjusted, estimation
from skyweave.sources.widening import Widening, find_widening
from skyweave.transform import ToPhysical

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
    on_conflict: str = "warn"

    def __post_init__(self) -> None:
        if self.weights not in WEIGHTS:
            raise SkyweaveError(
                f"weights = {self.weights!r}{did_you_mean(self.weights, WEIGHTS)}; there are {', '.join(WEIGHTS)}"
            )
        if self.on_conflict not in ON_CONFLICT:
            raise SkyweaveError(
                f"on_conflict = {self.on_conflict!r}{did_you_mean(self.on_conflict, ON_CONFLICT)}; there are "
                f"{', '.join(ON_CONFLICT)}"
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
    scene: Scene | None = None
    long_names: Mapping[str, str] = field(default_factory=dict)
    verb: ClassVar[str] = "reconstruct"

    def __post_init__(self) -> None:
        self._problem: tuple[tuple[int, int], Problem] | None = None
        self._found: Note = {}
        self._widened: tuple[tuple[int, int], Widening] | None = None
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
        noise = self.noise(t0, t1, range(unit.m0, unit.m1))
        transform: ToPhysical = self.prior.transform
        widening = self.widening(t0, t1)
        if widening is not None:
            transform = widening.transform.frames(unit.t0 - t0, unit.t1 - t0)
            self._found["widening"] = widening.note()
        x = sample_posterior(self.problem(t0, t1), noise, self.method, progress=step)
        x = x[:, unit.t0 - t0 : unit.t1 - t0]
        if self.factor is not None:
            x = recalibrate_members(x, self.factor)
        return self.fields(x, transform)

    def problem(self, t0: int, t1: int) -> Problem:
        """The prior and the observations of frames ``t0:t1``; one problem serves all members."""
        if self._problem is None or self._problem[0] != (t0, t1):
            observed, widening = self.observed.segment(t0, t1), self.widening(t0, t1)
            seen = observed if widening is None else widening.applied(observed)
            self._problem = ((t0, t1), Problem(self.background(t0, t1), seen))
        return self._problem[1]

    def fields(self, x: torch.Tensor, transform: ToPhysical | None = None) -> np.ndarray:
        """Normalised members in physical units, clipped values counted, missing outside the domain."""
        physical, clipped = to_physical(x.cpu(), transform or self.prior.transform, self.prior.spec)
        self._found["clipped"] = clipped
        values = physical.numpy()
        if self.mask is not None:
            values[..., ~self.mask] = np.nan
        return values

    def noise(self, t0: int, t1: int, members: range) -> NoiseStream:
        """Streams of some members in frames ``t0:t1``."""
        return NoiseStream(self.settings.seed, members, self.identities[t0:t1], self.settings.device)

    def look(self) -> Scene:
        """What the prior knows of the scene; computed once, with a few evaluations of the network."""
        if self.scene is None:
            self.scene = compare_scene(self.prior, self.target, self.observed, self.background)
        return self.scene

    def widening(self, t0: int, t1: int) -> Widening | None:
        """By how much the prior is widened in frames ``t0:t1``; ``None`` where that is not asked for or not needed."""
        if (
            self.settings.on_conflict != "widen"
            or not self.look().conflicts
            or not self.observed.rows(t0, t1).size
        ):
            return None
        if self._widened is None or self._widened[0] != (t0, t1):
            made = find_widening(
                self.observed.segment(t0, t1),
                self.background(t0, t1),
                self.prior.transform,
                noise=lambda members: self.noise(t0, t1, range(members)),
                periodic=self.target.grid.periodic,
            )
            self._widened = ((t0, t1), made)
        return self._widened[1]

    def note(self, unit: Unit) -> Note:
        """What was found while the last unit was computed."""
        found, self._found = self._found, {}
        return found

    def verdict(self, t0: int, t1: int) -> Residuals | None:
        """Judges members by the observations of frames ``t0:t1``."""
        observed = self.observed.segment(t0, t1) if self.observed.n else None
        return Residuals(observed, self.prior.spec) if observed is not None and observed.n else None

    def found(self, notes: Mapping[str, Note]) -> Note:
        """Attributes of the output that are known when it is complete: residuals, clipped values, widening."""
        return findings(notes.values(), self.prior.spec.names)

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
            "on_conflict": self.settings.on_conflict,
            **({} if self.scene is None else {"scene": json.dumps(self.scene.to_dict())}),
            "recalibration_factor": 1.0 if self.factor is None else self.factor,
            **({} if self.estimates is None else {"source_estimates": json.dumps(self.estimates.to_dict())}),
            "extrapolated_means": "further from every observation of the variable than one correlation length "
            "(1/e) of the prior's background error covariance",
            "conflict_means": f"observed, and the ensemble mean is more than {LIMIT:g} stated errors from that",
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
    chosen = method_of(settings.method, settings.sampler, settings.steps, settings.options)
    target = resolve_target(spec, sources, like, times)
    opened.check_resolution(target.grid)
    if spec.window > 1:
        check_times(target.times, target.count, spec.window, spec.time_step)
    error_covariance(opened)
    mask = domain_cells(settings.domain_mask, target)
    if sources:
        observed = assemble(sources, spec, target.grid, target.times, opened.transform, mask)
        check_plausible(observed, sources, opened)
    else:
        observed = no_observations(spec, target.grid, target.count, opened.transform)
    channels, (height, width) = len(spec.variables), target.grid.shape
    segments = _segments(observed, spec.window)
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
    bound = _binder(opened, target, settings, tile)
    if observed.n and not chosen.decoupled:
        # Built for its checks: an option that names no source is refused before anything is computed.
        chosen.guided(Problem(bound(*segments[0]), observed.segment(*segments[0])))
    if estimate:
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
        "seed": settings.seed,
        "method": chosen.to_dict(),
        "quantiles": list(settings.quantiles),
        "mask": None if mask is None else bytes_digest(mask),
        "autocast": settings.autocast,
        "recalibration": factor,
        "tile": None if tile is None else list(tile),
        "stride": settings.stride,
        "widen": settings.on_conflict == "widen",
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
    labels = {
        str(o.variable): str(o.data.attrs["long_name"])
        for o in reversed(sources)
        if isinstance(o, GridObservation) and o.data.attrs.get("long_name")
    }
    return Job(
        opened,
        name,
        target,
        observed,
        chosen,
        made,
        settings,
        mask,
        factor,
        tile,
        estimates,
        long_names=labels,
    )


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
