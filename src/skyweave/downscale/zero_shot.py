"""A long fine record that cannot drift: each day is the posterior of a prior of fine days, given the coarse day."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from skyweave.downscale.config import DownscaleConfig
from skyweave.downscale.data.records import Record
from skyweave.downscale.logarithms import LOGARITHM, of_logarithms, to_physical
from skyweave.errors import SkyweaveError
from skyweave.grid import great_circle
from skyweave.io.folder import make_folder
from skyweave.io.store import check_output
from skyweave.io.write import write
from skyweave.observe.errors import ErrorModel
from skyweave.observe.observation import GridObservation
from skyweave.posterior.calibration import calibrate_run
from skyweave.prior.config import TrainConfig
from skyweave.prior.storage import LearntPrior, open_prior
from skyweave.prior.train import train
from skyweave.reconstruction.reconstruct import reconstruct
from skyweave.regrid import conservative

__all__ = [
    "CoarseLaw", "coarse_observations", "fit_coarse_law", "prior_settings", "reconstruct_days", "train_prior",
]  # fmt: skip

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class CoarseLaw:
    r"""How the coarse record observes the fine one's mean over a cell, fitted on training days.

    .. math:: \log_{10} x_k = a_k + b\, \overline{\log_{10} y}_k + e, \qquad e \sim N(0, s^2)

    (without logarithms where the variable has values that are not positive): a slope for the area, an offset for each
    cell. The coarse value is regressed on the fine mean and not the other way round, for an observation's error must
    not hold what the prior knows already. The mean is that of logarithms, so that the observation is linear in what a
    prior of logarithms draws; an error that is a factor, on a mean of values that span decades, is far from Gaussian.

    Args:
        logarithmic: whether the law is one of logarithms.
        slope: ``b``.
        offset: ``a``, ``(h, w)``; the area's mean where a cell was never compared.
        error: ``s``.
        correlation_length_km: over which errors of neighbouring cells are alike; ``None`` where they are not.
        cells: coarse cells that lie within the fine grid, ``(h, w)``.
    """

    logarithmic: bool
    slope: float
    offset: Floats
    error: float
    correlation_length_km: float | None
    cells: NDArray[np.bool_]

    def mean(self, coarse: Floats) -> Floats:
        """The fine mean over each cell that a coarse value stands for, NaN where not compared.

        Args:
            coarse: ``(..., h, w)``, physical units.

        Returns:
            Likewise; means of logarithms for a law of logarithms.
        """
        x = np.log10(np.maximum(coarse, 1e-30)) if self.logarithmic else coarse
        return np.where(self.cells, (x - self.offset) / self.slope, np.nan)

    def error_model(self) -> ErrorModel:
        """Of that mean."""
        return ErrorModel(absolute=self.error / self.slope, correlation_length_km=self.correlation_length_km)


def fit_coarse_law(
    record: Record, days: Indices, variable: int = 0, logarithmic: bool | None = None
) -> CoarseLaw:
    """Compare the coarse record with area means of the fine one.

    Args:
        record: of an area.
        days: indices of training days.
        variable: position among the fine variables.
        logarithmic: whether logarithms are compared; by default where all values are positive.

    Raises:
        SkyweaveError: logarithms of values that are not positive, no coarse cell lies within the fine grid, no day can
            be compared, or the records are unrelated.
    """
    fine, coarse = record.fine, record.coarse
    weights = conservative(fine.grid, coarse.grid)
    shape = coarse.grid.shape
    covered = np.asarray(conservative(coarse.grid, fine.grid).T @ fine.grid.area.ravel()).ravel()
    cells = (covered / coarse.grid.area.ravel() > 0.999).reshape(shape)
    if not cells.any():
        raise SkyweaveError("no coarse cell lies within the fine grid, so their means cannot be compared")
    y = fine.read(days)[:, variable].reshape(len(days), -1).astype(np.float64)
    x = coarse.read(days)[:, record.shared[variable]].astype(np.float64)
    positive = bool((y[np.isfinite(y)] > 0).all() and (x[:, cells][np.isfinite(x[:, cells])] > 0).all())
    if logarithmic and not positive:
        raise SkyweaveError(
            f"{fine.names[variable]}: not all values are positive; take a law without logarithms"
        )
    logarithmic = positive if logarithmic is None else logarithmic
    if logarithmic:
        with np.errstate(invalid="ignore", divide="ignore"):
            y, x = np.log10(y), np.log10(x)
    means = np.stack([np.asarray(weights @ day).reshape(shape) for day in y])
    known = cells & np.isfinite(means) & np.isfinite(x)
    if known.sum() < 2:
        raise SkyweaveError("no training day on which both records have values to compare")
    count = np.maximum(known.sum(0), 1)
    centre_x, centre_y = (np.where(known, v, 0.0).sum(0) / count for v in (x, means))
    dx, dy = (np.where(known, v - c, 0.0) for v, c in ((x, centre_x), (means, centre_y)))
    slope = float((dx * dy).sum() / max((dy**2).sum(), 1e-12))
    if slope < 0.05:
        raise SkyweaveError(
            f"{coarse.names[record.shared[variable]]} of the coarse record does not rise with {fine.names[variable]} "
            f"of the fine one (slope {slope:.2f}); are they the same variable?"
        )
    compared = known.any(0)
    offset = centre_x - slope * centre_y
    offset = np.where(compared, offset, offset[compared].mean())
    left = np.where(known, x - offset - slope * means, np.nan)
    error = float(np.sqrt(np.nanmean(left**2)))
    return CoarseLaw(logarithmic, slope, offset, max(error, 1e-6), _length(left, record), cells)


def _length(left: Floats, record: Record) -> float | None:
    """Distance over which an exponential correlation explains that of neighbours to the east and to the north."""
    lat, lon = record.coarse.grid.mesh()
    products, squares, distances = [], [], []
    for a, b in (
        ((..., slice(None), slice(1, None)), (..., slice(None), slice(None, -1))),
        ((..., slice(1, None), slice(None)), (..., slice(None, -1), slice(None))),
    ):
        both = np.isfinite(left[a]) & np.isfinite(left[b])
        if both.any():
            products.append((left[a] * left[b])[both])
            squares.append((0.5 * (left[a] ** 2 + left[b] ** 2))[both])
            distances.append(np.broadcast_to(great_circle(lat[a], lon[a], lat[b], lon[b]), both.shape)[both])
    if not products:
        return None
    correlation = np.concatenate(products).mean() / np.concatenate(squares).mean()
    distance = float(np.concatenate(distances).mean())
    return None if correlation <= 0.05 else float(-distance / np.log(min(correlation, 0.98)))


def coarse_observations(record: Record, days: Indices, laws: Sequence[CoarseLaw]) -> list[GridObservation]:
    """The coarse record of some days as observations of the fine one, or of its logarithm, a source for each variable.

    Args:
        record: of an area.
        days: indices.
        laws: of each fine variable.
    """
    lat, lon = record.coarse.grid.dims_in(record.coarse.dataset)
    axes = {name: record.coarse.dataset[name].variable for name in (lat, lon)}
    fields = record.coarse.read(days).astype(np.float64)
    out = []
    for name, law, place in zip(record.fine.names, laws, record.shared, strict=True):
        values = np.stack([law.mean(day) for day in fields[:, place]])
        attrs = {k: v for k, v in record.fine.dataset[name].attrs.items() if k in ("units", "standard_name")}
        if law.logarithmic:
            attrs = {"units": "1"}
        label = f"{LOGARITHM}{name}" if law.logarithmic else name
        data = xr.DataArray(values, {"time": record.days[days], **axes}, ("time", lat, lon), label, attrs)
        out.append(GridObservation(data, error=law.error_model(), operator="mean", name=f"coarse {name}"))
    return out


def reconstruct_days(
    prior: LearntPrior | str | Path,
    record: Record,
    days: Indices,
    laws: Sequence[CoarseLaw],
    *,
    members: int = 16,
    seed: int = 0,
    out: str | Path | None = None,
    overwrite: bool = False,
    progress: bool = True,
    **settings: Any,
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
        members, seed, out, overwrite, progress: as in `skyweave.reconstruct`, which resumes when interrupted.
        settings: further arguments of it.

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
        members=members,
        seed=seed,
        out=hidden,
        overwrite=overwrite,
        progress=progress,
        **settings,
    )
    made = to_physical(made, learnt, names)
    if out is None or hidden is out:
        return made
    write(made, out, overwrite=overwrite)
    made.close()
    shutil.rmtree(str(hidden))
    return xr.open_zarr(out) if str(out).endswith(".zarr") else xr.open_dataset(out)


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
    **changes: Any,
) -> TrainConfig:
    """Settings of `skyweave.train` for a prior of fine days that sees no test day.

    The days are written to a file of the folder, for they may be means of what the record's files hold.

    Args:
        config: of the downscaling.
        record: of an area.
        training: indices of training days, all before those of validation.
        validation: indices of validation days.
        folder: receives ``fine_days.nc`` and, when training, the prior.
        changes: keys of `TrainConfig`, such as ``max_minutes=10``.

    Raises:
        SkyweaveError: validation days that do not come after the training days.
    """
    from skyweave.config import parse_config

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
    return parse_config(values | changes, TrainConfig, "prior of fine days")
