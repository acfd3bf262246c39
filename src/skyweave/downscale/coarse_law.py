"""How the coarse record observes the fine one: a law fitted on training days, and coarse days as observations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from skyweave.downscale.data.records import Record
from skyweave.errors import SkyweaveError
from skyweave.grid import great_circle
from skyweave.observe.errors import ErrorModel
from skyweave.observe.observation import GridObservation
from skyweave.regrid import conservative

__all__ = ["LOGARITHM", "CoarseLaw", "coarse_observations", "fit_coarse_law"]

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
LOGARITHM = "log10_"
"""Before the name of a variable whose logarithm is meant."""


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
