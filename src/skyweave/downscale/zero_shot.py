"""A long fine record that cannot drift: each day is the posterior of a prior of fine days, given the coarse day."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from skyweave.config import parse_config
from skyweave.downscale.coarse_law import LOGARITHM, CoarseLaw, coarse_observations
from skyweave.downscale.config import DownscaleConfig
from skyweave.downscale.data.records import Record
from skyweave.errors import SkyweaveError
from skyweave.io.folder import make_folder
from skyweave.io.store import check_output
from skyweave.io.write import write
from skyweave.posterior.calibration import calibrate_run
from skyweave.prior.config import TrainConfig
from skyweave.prior.storage import LearntPrior, open_prior
from skyweave.prior.train import train
from skyweave.reconstruction.reconstruct import reconstruct
from skyweave.reconstruction.settings import Settings
from skyweave.state import Variable
from skyweave.transform import Log10Standardise, Standardise, StateTransform

__all__ = ["of_logarithms", "prior_settings", "reconstruct_days", "to_physical", "train_prior"]

Indices = NDArray[np.int64]


def reconstruct_days(
    prior: LearntPrior | str | Path,
    record: Record,
    days: Indices,
    laws: Sequence[CoarseLaw],
    settings: Settings | None = None,
    *,
    out: str | Path | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> xr.Dataset:
    """Fine days given the coarse ones alone, by the posterior of a prior that was trained on fine days.

    A day depends on its own coarse fields and on no other day, so nothing accumulates; with a prior of single days
    there is also nothing that ties a day's fine detail to the next one's. Under a law of logarithms the posterior is
    that of logarithms, whose area means are observed linearly; members are returned in physical units.

    Args:
        prior: trained on fine days of training only, see `prior_settings`.
        record: of an area.
        days: indices of days that the coarse record has.
        laws: of each fine variable, from `fit_coarse_law` on training days.
        settings, out, overwrite, progress: as in `skyweave.reconstruct`, which resumes when interrupted.

    Raises:
        SkyweaveError: a law of logarithms and a prior without them; see `skyweave.reconstruct`.
    """
    time = str(record.fine.dataset[record.fine.names[0]].dims[0])
    lat, lon = record.grid.dims_in(record.fine.dataset)
    fine = record.fine.dataset
    like = xr.Dataset(coords={time: record.days[days], lat: fine[lat].variable, lon: fine[lon].variable})
    learnt = prior if isinstance(prior, LearntPrior) else open_prior(prior)
    names = [n for n, law in zip(record.fine.names, laws, strict=True) if law.logarithmic]
    if out is not None and names:
        check_output(Path(out), overwrite)
    hidden = Path(f"{out}.log10.zarr") if out is not None and names else out
    made = reconstruct(
        of_logarithms(learnt, names),
        coarse_observations(record, days, laws),
        like=like,
        out=hidden,
        overwrite=overwrite,
        progress=progress,
        settings=settings,
    )
    made = to_physical(made, learnt, names)
    if out is None or hidden is out:
        return made
    write(made, out, overwrite=overwrite)
    made.close()
    shutil.rmtree(str(hidden))
    return xr.open_zarr(out) if str(out).endswith(".zarr") else xr.open_dataset(out)


def of_logarithms(prior: LearntPrior, names: Sequence[str]) -> LearntPrior:
    """The same prior as one of the logarithms of some variables: the network sees the same numbers.

    Args:
        prior: with the transform "log10" for these variables.
        names: of the variables; their logarithms have `LOGARITHM` before the name.

    Raises:
        SkyweaveError: another transform.
    """
    variables, transforms = [], []
    for variable, transform in zip(prior.spec.variables, prior.transform.transforms, strict=True):
        if variable.name in names:
            if not isinstance(transform, Log10Standardise):
                raise SkyweaveError(
                    f"{variable.name}: the coarse law is one of logarithms, the prior's transform {transform.kind!r} "
                    "is not; fit the law with logarithmic=False, or train the prior with transform log10"
                )
            variable = Variable(f"{LOGARITHM}{variable.name}", "1")
            transform = Standardise(transform.mean, transform.std)
        variables.append(variable)
        transforms.append(transform)
    return replace(
        prior,
        spec=replace(prior.spec, variables=tuple(variables)),
        transform=StateTransform(tuple(transforms)),
    )


def to_physical(made: xr.Dataset, prior: LearntPrior, names: Sequence[str]) -> xr.Dataset:
    """Members, mean, spread and quantiles of variables whose logarithms were drawn.

    Args:
        made: by `skyweave.reconstruct` with a prior of `of_logarithms`.
        prior: the original one.
        names: as there.
    """
    out = made
    for variable in prior.spec.variables:
        if variable.name not in names:
            continue
        label = f"{LOGARITHM}{variable.name}"
        attrs = {
            k: v for k, v in vars(variable).items() if k in ("units", "standard_name", "long_name") and v
        }
        with xr.set_options(keep_attrs=True):
            members = 10 ** made[label]
            fields = {"": members, "_mean": members.mean("member"), "_spread": members.std("member", ddof=1)}
            if f"{label}_quantile" in made:
                fields["_quantile"] = 10 ** made[f"{label}_quantile"]
        out = out.drop_vars([f"{label}{end}" for end in fields if f"{label}{end}" in made])
        out = out.assign(
            {f"{variable.name}{end}": field.assign_attrs(attrs) for end, field in fields.items()}
        )
        out = out.rename(
            {str(n): str(n).replace(label, variable.name) for n in out if str(n).startswith(label)}
        )
    return out


def train_prior(settings: TrainConfig) -> LearntPrior:
    """Train a prior of fine days, or continue, and estimate the covariance of its errors on validation days."""
    train(settings)
    return calibrate_run(settings)


def prior_settings(
    config: DownscaleConfig,
    record: Record,
    training: Indices,
    validation: Indices,
    folder: str | Path,
    changes: Mapping[str, Any] | None = None,
) -> TrainConfig:
    """Settings of `skyweave.train` for a prior of fine days that sees no test day.

    The days are written to a file of the folder, for they may be means of what the record's files hold.

    Args:
        config: of the downscaling.
        record: of an area.
        training: indices of training days, all before those of validation.
        validation: indices of validation days.
        folder: receives ``fine_days.nc`` and, when training, the prior.
        changes: values by keys of `TrainConfig`, such as ``{"max_minutes": 10}``.

    Raises:
        SkyweaveError: validation days that do not come after the training days.
    """
    if training.max() >= validation.min():
        raise SkyweaveError(
            f"training days reach to {record.days[training.max()]!s:.10}, validation days begin on "
            f"{record.days[validation.min()]!s:.10}; a prior needs them one after the other: take one season, or 'all'"
        )
    folder = Path(folder)
    make_folder(folder)
    days = np.concatenate([training, validation])
    lat, lon = record.grid.dims_in(record.fine.dataset)
    fine = record.fine.dataset
    fields = record.fine.read(days)
    path = folder / "fine_days.nc"
    ds = xr.Dataset(
        {n: (("time", lat, lon), fields[:, c], dict(fine[n].attrs)) for c, n in enumerate(record.fine.names)},
        {"time": record.days[days], lat: fine[lat].variable, lon: fine[lon].variable},
    )
    write(ds, path, overwrite=True)

    def span(part: Indices) -> list[str]:
        return [str(record.days[part[0]])[:19], str(record.days[part[-1]])[:19]]

    kinds = config.transform if isinstance(config.transform, dict) else {}
    default = config.transform if isinstance(config.transform, str) else "log10"
    values: dict[str, Any] = {
        "data": {"paths": str(path), "variables": list(record.fine.names)},
        "split": {"train": span(training), "validate": span(validation)},
        "out": str(folder),
        "transform": {n: kinds.get(n, default) for n in record.fine.names},
        "patch": [min(32, side // 2 * 2) for side in record.grid.shape],
        "network": {"preset": "tiny"},
        "keep": "best",
        "validate_every": 200,
    }
    return parse_config(values | dict(changes or {}), TrainConfig, "prior of fine days")
