"""From a gridded source to rows: checked, matched, aggregated where it is finer, counted."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from skyweave.errors import SkyweaveError
from skyweave.observe.draft import Draft, Values, bad_errors
from skyweave.observe.errors import ErrorModel, unit_vectors
from skyweave.observe.footprint import Footprint, footprint
from skyweave.observe.maps import Maps
from skyweave.observe.match import merged_variance
from skyweave.observe.observation import GridObservation
from skyweave.observe.report import SourceReport, Tally
from skyweave.observe.rows import Frame, Rows, expand

__all__ = ["grid_rows"]


def grid_rows(source: GridObservation, name: str, state: Frame) -> Rows:
    """Rows of a gridded source; only time steps within the window are loaded.

    Raises:
        SkyweaveError: for a variable, grid, units or dimensions that do not fit the state.
    """
    maps = Maps(source, state, f"observation {name!r}")
    fit = footprint(maps.grid, state.grid, source.operator, name)
    values = maps.read()
    model = values.convert(..., maps.variable, maps.law, source.model, source.valid_range or (None, None))
    tally = Tally(values.raw.size)
    without = _sift(maps, fit, values, tally)
    if fit.reduce is None:
        draft = _draft(maps, fit, _cells(maps, values, tally), state)
        draft = draft.without(state.masked(draft.matrix), "masked cells", tally)
    else:
        draft = _draft(maps, fit, _means(maps, fit.reduce, values, tally, model, state), state)
    notes = maps.notes()
    if values.own is not None:
        notes = (*bad_errors(values.own.ravel()[without]), *notes)
    report = SourceReport(name, "grid", fit.operator, source.weight, notes=notes)
    return draft.rows(state, {maps.channel: model}, tally, report)


def _sift(maps: Maps, fit: Footprint, values: Values, tally: Tally) -> np.ndarray:
    """Drop what cannot be used, cell by cell; returns which for having no positive error."""
    source, (steps, cells) = maps.source, maps.shape
    tally.drop(np.repeat(maps.undated, cells), "NaN")
    tally.drop(np.repeat(~maps.match.inside, cells), "outside time window")
    tally.drop(np.repeat(maps.twice, cells), "duplicated")
    inside = np.tile(fit.inside, steps)
    tally.drop(inside <= 1e-9, "outside domain")
    if fit.operator not in ("mask", "bilinear", "aggregate"):
        tally.drop(inside < source.min_coverage, "footprint partly outside")
        tally.drop(np.tile(np.diff(fit.matrix.indptr) == 0, steps), "footprint partly outside")
    tally.drop(~np.isfinite(values.raw.ravel()), "NaN")
    return values.sift(tally)[1]


def _cells(maps: Maps, values: Values, tally: Tally) -> tuple[np.ndarray, ...]:
    """Observed cells: step, cell, value and variance of each."""
    step, place = np.divmod(np.flatnonzero(tally.alive), maps.shape[1])
    return step, place, values.value[step, place], values.variance[step, place]


def _means(
    maps: Maps, reduce: sp.csr_array, values: Values, tally: Tally, model: ErrorModel, state: Frame
) -> tuple[np.ndarray, ...]:
    """Area means over cells of the state that are observed densely enough: step, cell, value, variance of each."""
    # Of an observation averaged over the state's cells only its place is known.
    for missing in set(maps.predictors) - {"latitude"}:
        raise SkyweaveError(
            f"{maps.what}: no bias predictor {missing!r} where cells are averaged; only latitude"
        )
    alive = tally.alive.reshape(maps.shape)
    sparse, blocked = np.zeros(maps.shape, bool), np.zeros(maps.shape, bool)
    position = unit_vectors(*(part.ravel() for part in maps.grid.mesh()))
    none = np.zeros(0, np.int64)
    parts: list[tuple[np.ndarray, ...]] = [(none, none, np.zeros(0), np.zeros(0))]
    for k in np.flatnonzero(alive.any(1)):
        filled = reduce @ alive[k].astype(float)
        dense = (filled > 0) & (filled >= maps.source.min_filled)
        free = state.free({int(maps.match.first[k]), int(maps.match.last[k])}, maps.channel)
        touched, free_touched = (reduce.T @ (dense & f).astype(float) > 0 for f in (True, free))
        sparse[k], blocked[k] = alive[k] & ~touched, alive[k] & touched & ~free_touched
        cells = np.flatnonzero(dense & free)
        weights = sp.csr_array(
            sp.diags_array(1 / filled[cells]) @ reduce[cells] @ sp.diags_array(alive[k].astype(float))
        )
        weights.eliminate_zeros()
        value, measured = (np.where(alive[k], v[k], 0.0) for v in (values.value, values.measured))
        variance = merged_variance(weights, measured, position, model)
        parts.append((np.full(len(cells), k), cells, weights @ value, variance))
    tally.drop(sparse.ravel(), "sparsely observed cell")
    tally.drop(blocked.ravel(), "masked cells")
    return tuple(np.concatenate(column) for column in zip(*parts, strict=True))


def _draft(maps: Maps, fit: Footprint, rows: tuple[np.ndarray, ...], state: Frame) -> Draft:
    """Rows of observed cells, or of means over cells of the state, by step, cell, value and variance."""
    step, place, value, variance = rows
    channel, match = np.full(len(step), maps.channel), maps.match.take(step)
    each = fit.reduce is None
    lat, lon = (part.ravel()[place] for part in (maps.grid if each else state.grid).mesh())
    return Draft(
        origin=step * maps.shape[1] + place if each else np.full(len(step), -1),
        matrix=expand(fit.matrix[place], channel, match, state),
        value=value,
        variance=variance,
        channel=channel,
        first=match.first,
        last=match.last,
        cell=state.cell(fit.cell[place], channel, match),
        position=unit_vectors(lat, lon),
        predictors={name: one[step, place] if each else lat for name, one in maps.predictors.items()},
        # Steps matched to one analysis time have errors of their own.
        epoch=step,
    )
