"""From a prior and observations to a labelled ensemble: `reconstruct`, and `plan`, which computes nothing."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from scipy.ndimage import distance_transform_edt

from skyweave.errors import SkyweaveError
from skyweave.grid import Grid
from skyweave.io.store import check_output
from skyweave.io.write import write
from skyweave.observe.assemble import ObservationSet, assemble
from skyweave.observe.observation import Observation
from skyweave.posterior.background import Background, bind, error_covariance
from skyweave.posterior.calibration import recalibrate_members, stored_factor
from skyweave.posterior.execute import MemorySink, StoreSink, available_memory, limit_members, run_plan
from skyweave.posterior.kalman import KalmanSolver
from skyweave.posterior.noise import NoiseStream
from skyweave.posterior.output import provenance, template, to_physical
from skyweave.posterior.plan import Plan, Unit, make_units, member_bytes
from skyweave.posterior.sample import Method, sample_posterior
from skyweave.posterior.target import Target, resolve_target
from skyweave.prior.storage import LearntPrior, open_prior

__all__ = ["plan", "reconstruct"]

LARGEST_BATCH = 64


def reconstruct(
    prior: LearntPrior | str | Path,
    observations: Sequence[Observation] | Observation,
    *,
    like: xr.Dataset | xr.DataArray | Grid | None = None,
    times: Sequence[object] | np.ndarray | None = None,
    members: int = 16,
    seed: int = 0,
    method: str | Method = "covariance",
    sampler: str | None = None,
    steps: int | None = None,
    options: Mapping[str, Any] | None = None,
    batch: int | None = None,
    domain_mask: xr.DataArray | np.ndarray | None = None,
    quantiles: Sequence[float] = (0.05, 0.5, 0.95),
    recalibrate: bool = False,
    tile: tuple[int, int] | None = None,
    out: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    progress: bool = True,
    autocast: bool = False,
    device: str = "cpu",
) -> xr.Dataset:
    r"""Draw an ensemble of complete fields from the posterior of a prior given observations.

    .. math:: x^{(m)} \sim p(x \mid y_1, \dots, y_S) \propto p(x) \prod_s p(y_s \mid x)^{\lambda_s}

    Args:
        prior: a learnt prior, or the path of one.
        observations: any number of gridded or point sources, each with its errors and weight.
        like: a dataset (or grid) whose grid, and times if it has any, the fields take; without it they take those
            of the first gridded source that has the prior's resolution.
        times: analysis times, instead of those of ``like``.
        members: size of the ensemble.
        seed: of the noise; a member is the same field whatever the batch, the segment or a resume.
        method: guidance by name, or a complete `Method`.
        sampler, steps: other than the method's own.
        options: of the guidance method.
        batch: members sampled at once; what fits half of the free memory by default.
        domain_mask: true where fields are wanted, on the target grid; elsewhere everything stays missing.
        quantiles: of the ensemble, kept beside mean and spread.
        recalibrate: scale the ensemble about its mean by the factor fitted on validation data and stored with the
            prior.
        tile: cells of the tiles in which the network sees a large domain; by default tiles of four patches a side
            where the whole domain does not fit the memory.
        out: path of a Zarr store (written unit by unit, resumed by the same call after a kill) or NetCDF file.
        overwrite: replace an existing output.
        progress: a bar on a terminal, lines in a log.
        autocast: bfloat16 inside the network.
        device: "cpu", "cuda" or "auto".

    Returns:
        For each variable ``v``: ``v (member, time, lat, lon)``, ``v_mean``, ``v_spread``, ``v_quantile`` and
        ``v_provenance`` (0 left missing, 1 observed, 2 filled, 3 extrapolated), with the caller's coordinates.

    Raises:
        SkyweaveError: inputs that do not fit one another, no usable observation, an output that exists.
    """
    if out is not None:
        # Refused before anything is opened or computed.
        check_output(Path(out), overwrite)
    job = _prepare(
        prior, observations, like, times, members, seed, method, sampler, steps, options, batch, domain_mask,
        quantiles, recalibrate, tile, autocast, device,
    )  # fmt: skip
    empty = template(job.prior.spec, job.target, members, quantiles, job.attrs())
    for c, variable in enumerate(job.prior.spec.variables):
        name = f"{variable.name}_provenance"
        empty[name] = (empty[name].dims, job.flags(c), empty[name].attrs)
    names = job.prior.spec.names
    is_store = out is not None and str(out).rstrip("/").endswith(".zarr")
    sink: MemorySink | StoreSink
    if is_store:
        sink = StoreSink(empty, Path(str(out)), job.plan, overwrite, job.target.dims)
    else:
        sink = MemorySink(empty)
    run_plan(job.plan, job.work, sink, names, quantiles, progress)
    result = sink.finish()
    if not is_store:
        result.attrs["clipped_values"] = str(job.clipped)
        if out is not None:
            write(result, out, overwrite)
    if progress and any(job.clipped.values()):
        told = ", ".join(f"{count} of {name}" for name, count in job.clipped.items() if count)
        print(f"values clipped to physical bounds: {told}", flush=True)
    return result


def plan(
    prior: LearntPrior | str | Path,
    observations: Sequence[Observation] | Observation,
    *,
    like: xr.Dataset | xr.DataArray | Grid | None = None,
    times: Sequence[object] | np.ndarray | None = None,
    members: int = 16,
    seed: int = 0,
    method: str | Method = "covariance",
    sampler: str | None = None,
    steps: int | None = None,
    options: Mapping[str, Any] | None = None,
    batch: int | None = None,
    domain_mask: xr.DataArray | np.ndarray | None = None,
    quantiles: Sequence[float] = (0.05, 0.5, 0.95),
    recalibrate: bool = False,
    tile: tuple[int, int] | None = None,
    autocast: bool = False,
    device: str = "cpu",
) -> Plan:
    """What `reconstruct` would do with the same arguments: units, evaluations, memory, observations dropped."""
    return _prepare(
        prior, observations, like, times, members, seed, method, sampler, steps, options, batch, domain_mask,
        quantiles, recalibrate, tile, autocast, device,
    ).plan  # fmt: skip


@dataclass(eq=False)
class _Job:
    """Everything a run needs, opened and checked."""

    prior: LearntPrior
    prior_name: str
    target: Target
    observed: ObservationSet
    method: Method
    plan: Plan
    seed: int
    mask: np.ndarray | None
    factor: float | None
    tile: tuple[int, int] | None
    autocast: bool
    device: str

    def __post_init__(self) -> None:
        self.solver = KalmanSolver()
        self.clipped = dict.fromkeys(self.prior.spec.names, 0)
        self.identities = self.target.identities()
        self._bound: tuple[tuple[int, int], Background] | None = None

    def background(self, t0: int, t1: int) -> Background:
        if self._bound is None or self._bound[0] != (t0, t1):
            times = None if self.target.times is None else self.target.times[t0:t1]
            made = bind(
                self.prior,
                self.target.grid,
                times,
                t1 - t0,
                tile=self.tile,
                autocast=self.autocast,
                device=self.device,
            )
            self._bound = ((t0, t1), made)
        return self._bound[1]

    def work(self, unit: Unit, step: Callable[[int], None]) -> np.ndarray:
        """Members of one unit, physical, ``(m, t, C, H, W)``."""
        t0, t1 = unit.t0, unit.t1
        background = self.background(t0, t1)
        noise = NoiseStream(self.seed, range(unit.m0, unit.m1), self.identities[t0:t1], self.device)
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
        )
        if self.factor is not None:
            x = recalibrate_members(x, self.factor)
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
        reach = correlation_length(self.background(0, 1), channel)
        touched = self.observed.support_mask(name)
        near = np.stack([within(frame, reach, self.target.grid.periodic) for frame in touched])
        return provenance(shape, seen, near, self.mask)

    def attrs(self) -> dict[str, Any]:
        """What the result depends on, for the output's global attributes."""
        settings = self.plan.settings
        return {
            "title": "Fields reconstructed by skyweave",
            "source": f"skyweave {version('skyweave')}",
            "prior": self.prior_name,
            **{
                f"prior_{k}": str(v)
                for k, v in self.prior.metadata.items()
                if k in ("train", "files", "steps")
            },
            "observations": str(self.observed.report),
            "method": str(settings["method"]),
            "seed": self.seed,
            "recalibration_factor": 1.0 if self.factor is None else self.factor,
            "extrapolated_means": "further from every observation of the variable than one correlation length "
            "(1/e) of the prior's background error covariance",
        }


def _prepare(
    prior: LearntPrior | str | Path,
    observations: Sequence[Observation] | Observation,
    like: xr.Dataset | xr.DataArray | Grid | None,
    times: Sequence[object] | np.ndarray | None,
    members: int,
    seed: int,
    method: str | Method,
    sampler: str | None,
    steps: int | None,
    options: Mapping[str, Any] | None,
    batch: int | None,
    domain_mask: xr.DataArray | np.ndarray | None,
    quantiles: Sequence[float],
    recalibrate: bool,
    tile: tuple[int, int] | None,
    autocast: bool,
    device: str,
) -> _Job:
    if members < 1:
        raise SkyweaveError(f"members = {members}: at least one is needed")
    name = str(prior) if not isinstance(prior, LearntPrior) else str(prior.metadata.get("name", "in memory"))
    opened = prior if isinstance(prior, LearntPrior) else open_prior(prior)
    sources = list(observations) if isinstance(observations, Sequence) else [observations]
    chosen = _method(method, sampler, steps, options)
    target = resolve_target(opened.spec, sources, like, times)
    opened.check_resolution(target.grid)
    error_covariance(opened)
    mask = _mask(domain_mask, target)
    observed = assemble(sources, opened.spec, target.grid, target.times, opened.transform, mask)
    channels, (height, width) = len(opened.spec.variables), target.grid.shape
    segments = observed.segments(opened.spec.window)
    longest = max(t1 - t0 for t0, t1 in segments)
    each = member_bytes(longest, channels, height, width)
    network = opened.working_bytes(target.grid)
    if tile is None and network > available_memory():
        tile = (4 * opened.patch[0], 4 * opened.patch[1])
    if tile is not None:
        network = network * min(tile[0] * tile[1], target.grid.size) // target.grid.size
    fitting = limit_members(min(members, LARGEST_BATCH), each, available_memory())
    size = fitting if batch is None else max(1, min(batch, members))
    factor = stored_factor(opened) if recalibrate else None
    if factor is not None:
        # The spread is scaled about the mean of all members, so one unit has to hold them all.
        size = members
    settings = {
        "prior": opened.fingerprint(),
        "observations": observed.fingerprint(),
        "grid": target.grid.to_dict(),
        "times": None if target.times is None else [str(t) for t in target.times],
        "members": members,
        "batch": size,
        "seed": seed,
        "method": chosen.to_dict(),
        "quantiles": list(quantiles),
        "mask": None if mask is None else int(mask.sum()),
        "recalibration": factor,
        "tile": None if tile is None else list(tile),
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
        settings,
    )
    return _Job(opened, name, target, observed, chosen, made, seed, mask, factor, tile, autocast, device)


def _method(
    method: str | Method, sampler: str | None, steps: int | None, options: Mapping[str, Any] | None
) -> Method:
    base = method if isinstance(method, Method) else Method(guidance=method)
    changes: dict[str, Any] = {}
    if sampler is not None:
        changes["sampler"] = sampler
    if steps is not None:
        changes["steps"] = steps
    if options:
        changes["guidance_options"] = {**base.guidance_options, **options}
    return Method(**{**{f: getattr(base, f) for f in base.__dataclass_fields__}, **changes})


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


def correlation_length(background: Background, channel: int) -> float:
    """Cells at which the prior's correlation of a variable falls to 1/e, mean of both axes."""
    V = background.covariance(1e9)
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
