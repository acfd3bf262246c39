"""One row of scores for one method, and the table of several rows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from skyweave.verify.ensemble import coverage, spread_skill_ratio
from skyweave.verify.scores import crps, nrmse, rmse
from skyweave.verify.spectra import melr

if TYPE_CHECKING:
    from skyweave.grid import Grid


def scorecard(
    ensemble: Tensor,
    truth: Tensor,
    *,
    observed: Tensor | None = None,
    grid: Grid | None = None,
    deviation: float | None = None,
) -> dict[str, float]:
    """The scores of one variable's ensemble, on all cells and on those not observed.

    Keys: ``rmse`` (of the mean), ``crps`` (fair; the MAE of a single member), ``ssr``, ``coverage90``,
    ``melr_member``, ``melr_mean``; with `deviation` also ``nrmse_member`` and ``nrmse_mean``; with `observed`
    the same but for MELR again, with the suffix ``_unobserved`` (scattered cells have no spectrum). All
    leading dimensions are pooled, so variables of different units belong in different calls: see
    `scorecards`.

    Args:
        ensemble: ``(M, ..., H, W)``, physical units; NaN in a cell that counts makes the score NaN.
        truth: ``(..., H, W)``, physical units; cells that are NaN are left out.
        observed: boolean, broadcasts against `truth`; cells that some observation covers.
        grid: weights cells by their area and tells whether the longitudes close the circle.
        deviation: standard deviation of the truth data set, for nRMSE.

    Raises:
        ValueError: the shapes do not fit each other.
    """
    if ensemble.shape[1:] != truth.shape:
        raise ValueError(
            f"an ensemble of shape {tuple(ensemble.shape)} needs a truth of shape "
            f"{tuple(ensemble.shape[1:])}, found {tuple(truth.shape)}"
        )
    weights = None if grid is None else torch.as_tensor(grid.area)
    periodic = grid is not None and grid.periodic
    present = truth.isfinite()
    regions = {"": present}
    if observed is not None:
        regions["_unobserved"] = present & ~observed.expand_as(truth)

    mean = ensemble.double().mean(dim=0)
    card: dict[str, float] = {}
    for suffix, where in regions.items():
        card["rmse" + suffix] = float(rmse(mean, truth, weights=weights, where=where))
        card["crps" + suffix] = float(crps(ensemble, truth, weights=weights, where=where))
        card["ssr" + suffix] = float(spread_skill_ratio(ensemble, truth, weights=weights, where=where))
        card["coverage90" + suffix] = float(coverage(ensemble, truth, 0.9, weights=weights, where=where))
        if not suffix:
            card["melr_member"] = float(melr(ensemble, truth, periodic=periodic))
            card["melr_mean"] = float(melr(mean, truth, periodic=periodic))
        if deviation is not None:
            for name, field in (("nrmse_member", ensemble), ("nrmse_mean", mean)):
                card[name + suffix] = float(nrmse(field, truth, deviation, weights=weights, where=where))
    return card


def scorecards(
    ensemble: Tensor,
    truth: Tensor,
    names: Sequence[str],
    *,
    observed: Tensor | None = None,
    grid: Grid | None = None,
) -> dict[str, dict[str, float]]:
    """A `scorecard` for each channel of a state.

    Args:
        ensemble: ``(M, T, C, H, W)``, physical units.
        truth: ``(T, C, H, W)``, physical units, NaN where missing.
        names: C names of variables.
        observed: boolean ``(T, C, H, W)``.
        grid: as in `scorecard`.

    Raises:
        ValueError: the number of names is not the number of channels, or the shapes do not fit.
    """
    if len(names) != truth.shape[-3]:
        raise ValueError(f"{len(names)} names for {truth.shape[-3]} channels")
    return {
        name: scorecard(
            ensemble[..., c, :, :],
            truth[..., c, :, :],
            observed=None if observed is None else observed.expand_as(truth)[..., c, :, :],
            grid=grid,
        )
        for c, name in enumerate(names)
    }


def _cell(value: Any, digits: int) -> str:
    """A table cell: a dash where a score does not exist, `digits` significant digits otherwise."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    if isinstance(value, float):
        # "#" keeps trailing zeros, so that columns of numbers show one precision.
        return f"{value:#.{digits}g}".rstrip(".")
    return str(value)


def table(rows: Iterable[Mapping[str, Any]], columns: Sequence[str] | None = None, digits: int = 3) -> str:
    """Rows of scores as an aligned Markdown table that reads well as plain text.

    Args:
        rows: one mapping of column name to value each; a missing or NaN value prints as a dash.
        columns: which, and in which order; all, in order of first appearance, when absent.
        digits: significant digits of floating-point values.
    """
    rows = list(rows)
    if columns is None:
        columns = list(dict.fromkeys(key for row in rows for key in row))
    cells = [list(columns)] + [[_cell(row.get(key), digits) for key in columns] for row in rows]
    # Text to the left, numbers to the right; the rule below the header says so to a Markdown reader.
    numeric = [not any(isinstance(row.get(key), str) for row in rows) for key in columns]
    widths = [max(3, *(len(line[i]) for line in cells)) for i in range(len(columns))]

    def line(parts: Sequence[str]) -> str:
        padded = (p.rjust(w) if n else p.ljust(w) for p, w, n in zip(parts, widths, numeric, strict=True))
        return "| " + " | ".join(padded) + " |"

    rule = [("-" * (w - 1) + ":") if n else "-" * w for w, n in zip(widths, numeric, strict=True)]
    return "\n".join([line(cells[0]), line(rule), *map(line, cells[1:])])
