"""From a prior and observations to a labelled ensemble: `reconstruct`; `plan`, which computes nothing; `sample`."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from skyweave.errors import SkyweaveError, SkyweaveWarning
from skyweave.grid import Grid
from skyweave.io.inputs import check_apart, source_file
from skyweave.io.store import check_output
from skyweave.observe.observation import Observation
from skyweave.posterior.sample import Method
from skyweave.prior.storage import LearntPrior
from skyweave.reconstruction.execute import available_memory, run_plan
from skyweave.reconstruction.job import Job, Settings, prepare
from skyweave.reconstruction.output import template
from skyweave.reconstruction.plan import Plan
from skyweave.reconstruction.residuals import residual_lines
from skyweave.reconstruction.scene import Scene

__all__ = ["face_scene", "plan", "prepare_job", "reconstruct", "run_job", "sample", "scene"]


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
    stride: int = 1,
    out: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    progress: bool = True,
    autocast: bool = False,
    device: str = "cpu",
    weights: str = "stated",
    anchor: Sequence[str] | None = None,
    innovations: Mapping[str, Any] | None = None,
    on_conflict: str = "warn",
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
        method: guidance by name, "multimodal" for the whole sampler of that paper, or a complete `Method`.
        sampler, steps: other than the method's own. "daps" and "daps-exact" take the place of guidance, "dps" stands
            for the step-wise method that AODDiff compares with.
        options: of the guidance method, the sampler or the noise schedule, by name.
        batch: members sampled at once; what fits half of the free memory by default.
        domain_mask: true where fields are wanted, on the target grid; elsewhere everything stays missing.
        quantiles: of the ensemble, kept beside mean and spread.
        recalibrate: scale the ensemble about its mean by the factor fitted on validation data and stored with the
            prior.
        tile: cells of the tiles in which the network sees a large domain; by default tiles of four patches a side
            where the whole domain does not fit the memory.
        stride: frames between the windows of a prior of windows; each frame costs window / stride evaluations.
        out: path of a Zarr store (written unit by unit, resumed by the same call after a kill) or NetCDF file.
        overwrite: replace an existing output.
        progress: a bar on a terminal, lines in a log.
        autocast: bfloat16 inside the network.
        device: "cpu", "cuda" or "auto".
        weights: "stated": errors and weights as the sources state them; "innovations": errors estimated from
            innovations, which is told and recorded in the attribute ``source_estimates``.
        anchor: sources that have no bias, against which those with ``bias="estimate"`` are measured; by default
            all others.
        innovations: how errors and biases are estimated, see `skyweave.sources.estimates.Estimation`.
        on_conflict: where the prior cannot know the scene (see `scene`): "warn" says so, "refuse" stops, "widen" gives
            it more variance where the observations ask for it (see `skyweave.sources.widening`).

    Returns:
        For each variable ``v``: ``v (member, time, lat, lon)``, ``v_mean``, ``v_spread``, ``v_quantile`` and
        ``v_provenance`` (0 left missing, 1 observed, 2 filled, 3 extrapolated, 4 conflict: observed, and more than
        three stated errors from the mean), with the caller's coordinates. What was found of the scene, the residuals at
        the observations and the clipped values stand in the attributes ``scene``, ``residuals``, ``clipped_values``.

    Raises:
        SkyweaveError: inputs that do not fit one another, no usable observation, an output that exists.
    """
    if out is not None:
        # Refused before anything is opened or computed.
        check_output(Path(out), overwrite)
    settings = Settings(
        members, seed, method, sampler, steps, options, batch, domain_mask, quantiles, recalibrate, tile, stride,
        autocast, device, weights, anchor, innovations, on_conflict,
    )  # fmt: skip
    job = prepare(prior, observations, like, times, settings)
    if job.estimates is not None and progress:
        print(job.estimates, flush=True)
    face_scene(job, progress)
    return run_job(job, out, overwrite, progress)


def face_scene(job: Job, progress: bool = True) -> None:
    """Say where the prior cannot know the scene, before anything is computed.

    Raises:
        SkyweaveError: it cannot, and ``on_conflict`` is "refuse".
    """
    scene = job.look()
    if not scene.conflicts:
        return
    told = f"the prior {job.prior_name} may not know this scene:\n{scene.told()}"
    if job.settings.on_conflict == "refuse":
        raise SkyweaveError(
            f"{told}\nuse a prior trained on such scenes (docs/priors.md), or on_conflict='widen' (--on-conflict widen)"
        )
    if job.settings.on_conflict == "warn":
        told += "\non_conflict='widen' (--on-conflict widen) gives it more spread where the observations ask for it"
    if progress:
        print(told, flush=True)
    else:
        warnings.warn(told, SkyweaveWarning, stacklevel=3)


def run_job(
    job: Job, out: str | os.PathLike[str] | None = None, overwrite: bool = False, progress: bool = True
) -> xr.Dataset:
    """The fields of a job that is ready, with their provenance, in memory or in the file that is named."""
    empty = template(
        job.prior.spec, job.target, job.plan.shape[0], job.settings.quantiles, job.attrs(), job.long_names
    )
    for c, variable in enumerate(job.prior.spec.variables):
        name = f"{variable.name}_provenance"
        empty[name] = (empty[name].dims, job.flags(c), empty[name].attrs)
    return _run(job, empty, out, overwrite, progress, job.verb)


def scene(
    prior: LearntPrior | str | Path,
    observations: Sequence[Observation] | Observation,
    *,
    like: xr.Dataset | xr.DataArray | Grid | None = None,
    times: Sequence[object] | np.ndarray | None = None,
    **settings: Any,
) -> Scene:
    """Whether a prior can know a scene: its place, season and values against the training data, and its innovations.

    Takes what `reconstruct` takes, and a few evaluations of the network; prints as a table.
    """
    return prepare_job(prior, observations, like=like, times=times, **settings).look()


def plan(
    prior: LearntPrior | str | Path,
    observations: Sequence[Observation] | Observation,
    *,
    like: xr.Dataset | xr.DataArray | Grid | None = None,
    times: Sequence[object] | np.ndarray | None = None,
    **settings: Any,
) -> Plan:
    """What `reconstruct` would do with the same arguments: units, evaluations, memory, observations dropped.

    Nothing is estimated from innovations.
    """
    return prepare_job(prior, observations, like=like, times=times, **settings).plan


def prepare_job(
    prior: LearntPrior | str | Path,
    observations: Sequence[Observation] | Observation,
    *,
    like: xr.Dataset | xr.DataArray | Grid | None = None,
    times: Sequence[object] | np.ndarray | None = None,
    **settings: Any,
) -> Job:
    """Everything that `reconstruct` would open with the same arguments: its plan, and its scene when asked."""
    return prepare(prior, observations, like, times, Settings(**settings), estimate=False)


def sample(
    prior: LearntPrior | str | Path,
    like: xr.Dataset | xr.DataArray | Grid,
    *,
    times: Sequence[object] | np.ndarray | None = None,
    out: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    progress: bool = True,
    **settings: Any,
) -> xr.Dataset:
    """Draw fields, or sequences of any length, from the prior itself: no observations.

    Args:
        prior: a learnt prior, or the path of one.
        like: a dataset or grid whose grid, and times if it has any, the samples take.
        times: instead of those of ``like``; a prior of windows needs them equally spaced at its own step.
        out: path of a Zarr store or NetCDF file.
        overwrite: replace an existing output.
        progress: a bar on a terminal, lines in a log.
        settings: members, seed, sampler, steps, batch, stride, autocast and device as in `reconstruct`.

    Returns:
        As `reconstruct`, without provenance.

    Raises:
        SkyweaveError: a grid or times that do not fit the prior, an output that exists.
    """
    if out is not None:
        check_output(Path(out), overwrite)
        check_apart(out, [source_file(like)])
    given = {"start": "noise", "sigma_max": 40.0, "steps": 32}
    job = prepare(prior, [], like, times, Settings(**({"method": Method(**given)} | settings)))  # type: ignore[arg-type]
    empty = template(job.prior.spec, job.target, job.plan.shape[0], job.settings.quantiles, job.attrs())
    empty = empty.drop_vars([n for n in empty.data_vars if str(n).endswith("_provenance")])
    empty.attrs |= {"title": "Samples of a prior of skyweave", "observations": "none"}
    return _run(job, empty, out, overwrite, progress, "sample")


def _check_memory(empty: xr.Dataset) -> None:
    """Refuse a result that is held in memory and does not fit there.

    Raises:
        SkyweaveError: with its size and that of the free memory.
    """
    size, free = sum(field.nbytes for field in empty.data_vars.values()), 2 * available_memory()
    if size > free:
        raise SkyweaveError(
            f"the result has {size / 1e9:.3g} GB, {free / 1e9:.3g} GB of memory are free; write it into a .zarr store, "
            "which takes one unit at a time, or ask for fewer members or times"
        )


def _run(
    job: Job,
    empty: xr.Dataset,
    out: str | os.PathLike[str] | None,
    overwrite: bool,
    progress: bool,
    verb: str,
) -> xr.Dataset:
    """Carry out the plan and write what it gives; `verb` is what the history says was done."""
    if not str(out).rstrip("/").endswith(".zarr"):
        _check_memory(empty)
    result = run_plan(
        job.plan, job, empty, job.target.dims, job.prior.spec.names, job.settings.quantiles,
        out=out, overwrite=overwrite, message=verb, progress=progress,
    )  # fmt: skip
    if progress:
        _tell(result.attrs)
    return result


def _tell(attrs: Mapping[Any, Any]) -> None:
    """What was found on the way."""
    clipped = json.loads(attrs["clipped_values"])
    if any(clipped.values()):
        told = ", ".join(f"{count} of {name}" for name, count in clipped.items() if count)
        print(f"values clipped to physical bounds: {told}", flush=True)
    if "widening" in attrs:
        found = json.loads(attrs["widening"])
        print(
            f"widened       {found['share']:.0%} of the cells, standard deviation up to {found['largest']:g} times",
            flush=True,
        )
    if "residuals" in attrs:
        lines = residual_lines(json.loads(attrs["residuals"]))
        print(
            "\n".join(["residuals     observations less the ensemble mean, in stated errors", *lines]),
            flush=True,
        )
