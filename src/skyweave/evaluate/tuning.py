"""A grid of settings on objects in memory: `tune`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr

from skyweave.errors import SkyweaveError, did_you_mean
from skyweave.evaluate.grid_of_settings import expand, with_values
from skyweave.evaluate.score import truth_like
from skyweave.evaluate.search import Result, search
from skyweave.keywords import settings_of, takes, values_of
from skyweave.observe.observation import Observation
from skyweave.prior.storage import LearntPrior, open_prior
from skyweave.reconstruction.opening import open_reconstruction
from skyweave.reconstruction.reconstruct import reconstruct
from skyweave.reconstruction.settings import Settings

__all__ = ["case_of", "deviations", "tune"]


@takes(Settings)
def tune(
    prior: LearntPrior | str | Path,
    observations: Sequence[Observation] | Observation,
    truth: xr.Dataset,
    grid: Mapping[str, Sequence[Any]],
    *,
    like: Any = None,
    times: Any = None,
    variable: str | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    progress: bool = True,
    settings: Settings | None = None,
    **changes: Any,
) -> list[Result]:
    """Reconstruct cases of known truth under every combination of settings, and score each.

    Args:
        prior, observations, like, times, settings, changes: as in `skyweave.reconstruct`.
        truth: the true fields, physical units, under the prior's names.
        grid: values by dotted key: ``observations.LR.weight`` (or another field of a source, by its name or
            number), ``options.gamma.LR``, ``steps`` and whatever else `skyweave.reconstruct` takes.
        variable: the only one to be scored; all by default.
        out: JSON lines; settings that it holds already are not run again.
        overwrite: begin anew.
        progress: a line for each setting.

    Returns:
        A result for each setting; see `skyweave.evaluate.best` and `skyweave.evaluate.table_of`.

    Raises:
        SkyweaveError: a key that leads nowhere, a setting that is no setting, a truth that does not fit, scores of
            other data in ``out``.
    """
    opened = prior if isinstance(prior, LearntPrior) else open_prior(prior)
    given = list(observations) if isinstance(observations, Sequence) else [observations]
    chosen = settings_of(Settings, settings, changes, "tune")
    base = {"observations": given, "like": like, "times": times, **values_of(chosen)}
    combinations = expand(grid)
    for combination in combinations:
        with_values(base, combination)  # every key is tried before anything is computed
    deviation = deviations(opened, variable)
    identity, truth = case_of(opened, given, like, times, truth, list(deviation), chosen)

    def run(values: Mapping[str, Any]) -> xr.Dataset:
        with_them = with_values(base, values)
        return reconstruct(opened, with_them.pop("observations"), progress=False, **with_them)

    return search(
        run,
        combinations,
        truth,
        deviation,
        identity=identity,
        out=None if out is None else Path(out),
        overwrite=overwrite,
        report=(lambda text: print(text, flush=True)) if progress else None,
    )


def deviations(prior: LearntPrior, variable: str | None = None) -> dict[str, float]:
    """Climatological standard deviation of each variable, in its units: the change with one of its normalised value.

    Raises:
        SkyweaveError: the prior has no such variable.
    """
    names = prior.spec.names
    if variable is not None and variable not in names:
        hint = did_you_mean(variable, list(names))
        raise SkyweaveError(
            f"variable: the prior has no variable {variable!r}{hint}; it has {', '.join(names)}"
        )
    return {
        name: float(prior.transform.transforms[c].derivative(torch.zeros(1)))
        for c, name in enumerate(names)
        if variable in (None, name)
    }


def case_of(
    prior: LearntPrior,
    observations: Sequence[Observation],
    like: Any,
    times: Any,
    truth: xr.Dataset,
    names: Sequence[str],
    settings: Settings,
) -> tuple[str, xr.Dataset]:
    """A digest of what the scores depend on besides the grid (the run as it stands without it), and its truth.

    Raises:
        SkyweaveError: the run cannot be made, or the truth does not fit it.
    """
    made = open_reconstruction(prior, observations, settings, like=like, times=times)
    truth = truth_like(truth, xr.Dataset(coords=made.target.coords), names)
    digest = hashlib.sha256(json.dumps(made.plan.settings, sort_keys=True, default=str).encode())
    for name in names:
        digest.update(np.ascontiguousarray(truth[name].values).tobytes())
    return digest.hexdigest()[:16], truth
