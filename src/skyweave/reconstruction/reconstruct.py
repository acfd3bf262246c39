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

from skyweave.engine.cluster import engine_of
from skyweave.engine.job import Engine
from skyweave.errors import SkyweaveError, SkyweaveWarning
from skyweave.grid import Grid
from skyweave.io.inputs import check_apart, source_file
from skyweave.io.store import check_output
from skyweave.keywords import settings_of, takes
from skyweave.observe.observation import Observation
from skyweave.prior.storage import LearntPrior
from skyweave.reconstruction.execute import available_memory, run_plan
from skyweave.reconstruction.opening import begun_layout, check_used, open_reconstruction
from skyweave.reconstruction.output import template
from skyweave.reconstruction.plan import Plan
from skyweave.reconstruction.residuals import residual_lines
from skyweave.reconstruction.run import Reconstruction
from skyweave.reconstruction.scene import Scene
from skyweave.reconstruction.settings import PriorSettings, Settings

__all__ = ["face_scene", "plan", "reconstruct", "run_reconstruction", "sample", "scene"]


@takes(Settings)
def reconstruct(
    prior: LearntPrior | str | Path,
    observations: Sequence[Observation] | Observation,
    *,
    like: xr.Dataset | xr.DataArray | Grid | None = None,
    times: Sequence[object] | np.ndarray | None = None,
    out: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    progress: bool = True,
    settings: Settings | None = None,
    **changes: Any,
) -> xr.Dataset:
    r"""Draw an ensemble of complete fields from the posterior of a prior given observations.

    .. math:: x^{(m)} \sim p(x \mid y_1, \dots, y_S) \propto p(x) \prod_s p(y_s \mid x)^{\lambda_s}

    Args:
        prior: a learnt prior, or the path of one.
        observations: any number of gridded or point sources, each with its errors and weight.
        like: a dataset (or grid) whose grid, and times if it has any, the fields take; without it they take those
            of the first gridded source that has the prior's resolution.
        times: analysis times, instead of those of ``like``.
        out: path of a Zarr store (written unit by unit, resumed by the same call after a kill) or NetCDF file.
        overwrite: replace an existing output.
        progress: a bar on a terminal, lines in a log.
        settings: see `skyweave.reconstruction.settings.Settings`.
        changes: its fields by name.

    Returns:
        For each variable ``v``: ``v (member, time, lat, lon)``, ``v_mean``, ``v_spread``, ``v_quantile`` and
        ``v_provenance`` (0 left missing, 1 observed, 2 filled, 3 extrapolated, 4 conflict: observed, and more than
        three stated errors from the mean), with the caller's coordinates. What was found of the scene, the residuals at
        the observations and the clipped values stand in the attributes ``scene``, ``residuals``, ``clipped_values``;
        errors and biases that were estimated in ``source_estimates``.

    Raises:
        SkyweaveError: inputs that do not fit one another, no usable observation, an output that exists.
    """
    if out is not None:
        # Refused before anything is opened or computed.
        check_output(Path(out), overwrite)
    chosen = settings_of(Settings, settings, changes, "reconstruct")
    check_used(chosen, observations)
    begun = begun_layout(out, overwrite)
    with engine_of(chosen.cluster) as engine:
        made = open_reconstruction(
            prior, observations, chosen, like=like, times=times, estimate=True, begun=begun
        )
        if made.estimates is not None and progress:
            print(made.estimates, flush=True)
        face_scene(made, progress)
        return run_reconstruction(made, out, overwrite, progress, engine)


def face_scene(made: Reconstruction, progress: bool = True) -> None:
    """Say where the prior cannot know the scene, before anything is computed.

    Raises:
        SkyweaveError: it cannot, and ``on_conflict`` is "refuse".
    """
    scene = made.look()
    if not scene.conflicts:
        return
    told = f"the prior {made.name} may not know this scene:\n{scene.told()}"
    if made.settings.on_conflict == "refuse":
        raise SkyweaveError(
            f"{told}\nuse a prior trained on such scenes (docs/priors.md), or on_conflict='widen' (--on-conflict widen)"
        )
    if made.settings.on_conflict == "warn":
        told += "\non_conflict='widen' (--on-conflict widen) gives it more spread where the observations ask for it"
    if progress:
        print(told, flush=True)
    else:
        warnings.warn(told, SkyweaveWarning, stacklevel=3)


def run_reconstruction(
    made: Reconstruction,
    out: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    progress: bool = True,
    engine: Engine | None = None,
) -> xr.Dataset:
    """The fields of a reconstruction that is ready, with their provenance, in memory or in the file that is named."""
    return _run(made, _template(made), out, overwrite, progress, made.verb, engine)


@takes(Settings)
def scene(
    prior: LearntPrior | str | Path,
    observations: Sequence[Observation] | Observation,
    *,
    like: xr.Dataset | xr.DataArray | Grid | None = None,
    times: Sequence[object] | np.ndarray | None = None,
    settings: Settings | None = None,
    **changes: Any,
) -> Scene:
    """Whether a prior can know a scene: its place, season and values against the training data, and its innovations.

    Takes what `reconstruct` takes, and a few evaluations of the network; prints as a table.
    """
    chosen = settings_of(Settings, settings, changes, "scene")
    return open_reconstruction(prior, observations, chosen, like=like, times=times).look()


@takes(Settings)
def plan(
    prior: LearntPrior | str | Path,
    observations: Sequence[Observation] | Observation,
    *,
    like: xr.Dataset | xr.DataArray | Grid | None = None,
    times: Sequence[object] | np.ndarray | None = None,
    settings: Settings | None = None,
    **changes: Any,
) -> Plan:
    """What `reconstruct` would do with the same arguments: units, evaluations, memory, observations dropped.

    Nothing is estimated from innovations.
    """
    chosen = settings_of(Settings, settings, changes, "plan")
    check_used(chosen, observations)
    return open_reconstruction(prior, observations, chosen, like=like, times=times).plan


@takes(PriorSettings)
def sample(
    prior: LearntPrior | str | Path,
    like: xr.Dataset | xr.DataArray | Grid,
    *,
    times: Sequence[object] | np.ndarray | None = None,
    out: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    progress: bool = True,
    settings: PriorSettings | None = None,
    **changes: Any,
) -> xr.Dataset:
    """Draw fields, or sequences of any length, from the prior itself: no observations.

    Args:
        prior: a learnt prior, or the path of one.
        like: a dataset or grid whose grid, and times if it has any, the samples take.
        times: instead of those of ``like``; a prior of windows needs them equally spaced at its own step.
        out: path of a Zarr store or NetCDF file.
        overwrite: replace an existing output.
        progress: a bar on a terminal, lines in a log.
        settings: see `skyweave.reconstruction.settings.PriorSettings`.
        changes: its fields by name.

    Returns:
        As `reconstruct`, without provenance.

    Raises:
        SkyweaveError: a grid or times that do not fit the prior, an output that exists.
    """
    if out is not None:
        check_output(Path(out), overwrite)
        check_apart(out, [source_file(like)])
    chosen = settings_of(PriorSettings, settings, changes, "sample").whole()
    begun = begun_layout(out, overwrite)
    with engine_of(chosen.cluster) as engine:
        made = open_reconstruction(prior, [], chosen, like=like, times=times, begun=begun)
        empty = _template(made)
        empty = empty.drop_vars([n for n in empty.data_vars if str(n).endswith("_provenance")])
        empty.attrs |= {"title": "Samples of a prior of skyweave", "observations": "none"}
        return _run(made, empty, out, overwrite, progress, "sample", engine)


def _template(made: Reconstruction) -> xr.Dataset:
    return template(
        made.prior.spec,
        made.target,
        made.settings.members,
        made.settings.quantiles,
        made.attrs(),
        made.long_names,
    )


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
    made: Reconstruction,
    empty: xr.Dataset,
    out: str | os.PathLike[str] | None,
    overwrite: bool,
    progress: bool,
    verb: str,
    engine: Engine | None = None,
) -> xr.Dataset:
    """Carry out the plan and write what it gives; `verb` is what the history says was done."""
    if not str(out).rstrip("/").endswith(".zarr"):
        _check_memory(empty)
    result = run_plan(
        made.plan, made, empty, made.target.dims, made.prior.spec.names, made.settings.quantiles,
        out=out, overwrite=overwrite, message=verb, progress=progress, engine=engine,
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
