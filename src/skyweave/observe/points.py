"""From a table of points to rows: checked, matched, thinned or averaged, counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd
import scipy.sparse as sp

from skyweave.errors import SkyweaveError, did_you_mean
from skyweave.grid import Grid
from skyweave.io.flags import is_flag, unapplied
from skyweave.io.reports import reader_notes
from skyweave.observe.errors import ErrorModel, unit_vectors
from skyweave.observe.match import (
    merged_variance,
    superob,
    thin_by_cell,
    thin_by_distance,
)
from skyweave.observe.named import FARTHEST_LON, Named
from skyweave.observe.observation import PointObservation
from skyweave.observe.report import BETWEEN_LEVELS, SourceReport, Tally
from skyweave.observe.rows import (
    Frame,
    Rows,
    bad_errors,
    beyond_limits,
    covariance_of,
    error_span,
    expand,
    only_representativeness,
    point_weights,
    taken,
    unit_law,
    weights_at,
)
from skyweave.observe.twins import find_twins
from skyweave.regrid import nearest
from skyweave.units import conversion

__all__ = ["point_rows"]

MOST = 8
"""Unknown variables that are named, at most."""


def point_rows(source: PointObservation, name: str, state: Frame) -> Rows:
    """Rows of a table of points, in an order that does not depend on the table's.

    Raises:
        SkyweaveError: for units that cannot be converted, or times of another kind.
    """
    table, what = source.table, f"observation {name!r}"
    tally = Tally(len(table))
    lat, lon, raw = (table[c].to_numpy(float, na_value=np.nan) for c in ("lat", "lon", "value"))
    own = table["error"].to_numpy(float, na_value=np.nan) if "error" in table else np.full(len(table), np.nan)
    when = _point_times(source, state, what)
    label = table["variable"].astype(object).to_numpy()
    channel = np.array([state.spec.names.index(v) if v in state.spec.names else -1 for v in label], int)
    models = [source.model_of(v) for v in state.spec.names]
    value, measured, sigma_rep = raw.copy(), np.zeros(len(raw)), np.zeros(len(raw))
    out_of_range = np.zeros(len(raw), bool)
    units = table["units"].astype(object).to_numpy() if "units" in table else np.full(len(table), None)
    rep = [0.0] * len(models)
    assumed: set[str] = set()
    scaled: dict[int, ErrorModel] = {}
    for c, variable in enumerate(state.spec.variables):
        here = channel == c
        texts = [
            u if isinstance(u, str) and u else (source.units_of(variable.name) or "") for u in units[here]
        ]
        for text in sorted(set(texts)):
            part = np.flatnonzero(here)[np.array([t == text for t in texts])]
            told = f"{what}, variable {variable.name!r}"
            stated = source.units_of(variable.name)
            try:
                scale, offset = unit_law(text, variable.units, told, stated=text == stated)
            except SkyweaveError:
                if not stated or stated == text:
                    raise
                scale, offset = conversion(stated, variable.units, told)
                assumed.add(
                    f"{variable.name} taken to be in {stated}, as stated, where the table says {text!r}"
                )
            if not text:
                assumed.add(f"{variable.name} taken to be in {variable.units}")
            out_of_range[part] = beyond_limits(raw[part], source.valid_range_of(variable.name))
            value[part] = raw[part] * scale + offset
            out_of_range[part] |= beyond_limits(value[part], variable.bounds)
            measured[part] = models[c].measurement_variance(raw[part], own[part]) * scale**2
            rep[c] = models[c].representativeness * abs(scale)
            sigma_rep[part] = rep[c]
        scaled[c] = only_representativeness(models[c], rep[c])
    variance = measured + sigma_rep**2
    match = state.times.matched(when, source.time_window, source.time, what)
    named = Named(table, label, value.copy(), raw, own)
    known = {p: table[c].to_numpy(float, na_value=np.nan).copy() for p, c in source.predictor_columns()}
    if "reason" in table:
        tally.drop((table["reason"] == BETWEEN_LEVELS).to_numpy(), BETWEEN_LEVELS)
    unknown = tally.drop(channel < 0, "unknown variable")
    tally.drop(~np.isfinite(raw) | np.isnan(lat) | np.isnan(lon) | np.isnan(when), "NaN")
    tally.drop(~match.inside, "outside time window")
    nowhere = (np.abs(lat) > 90) | (np.abs(lon) > FARTHEST_LON) | ~state.grid.contains(lat, lon)
    outside = tally.drop(nowhere, "outside domain")
    beyond = tally.drop(out_of_range, "out of range")
    without = tally.drop((own <= 0) | ~np.isfinite(variance) | (variance <= 0), "non-positive error")

    place = (when, channel, np.round(lat, 6), np.round(lon % 360, 6))
    twins = find_twins(np.flatnonzero(tally.alive), place, value, variance, measured, known)
    tally.drop(twins.repeated, "duplicated")
    order = twins.order

    weights = point_weights(
        source.interpolation, state.spec, state.grid, lat[order], lon[order], channel[order]
    )
    matrix = expand(weights, channel[order], taken(match, order), state)
    blocked = np.zeros(len(table), bool)
    blocked[order] = state.masked(matrix)
    tally.drop(twins.owned(blocked), "masked cells")
    kept = tally.alive[order]
    matrix, order = matrix[np.flatnonzero(kept)], order[kept]

    at = weights_at(nearest, state.grid, lat[order], lon[order]).indices.astype(np.int64)
    frame = np.where(match.weight[order] > 0.5, match.last[order], match.first[order])
    cell = state.column(frame, channel[order]) + at
    position = unit_vectors(lat[order], lon[order])
    if source.thin is not None:
        if source.thin == "cell":
            centre_lat, centre_lon = (part.ravel()[at] for part in state.grid.mesh())
            distance = Grid.distance(lat[order], lon[order], centre_lat, centre_lon)
            chosen = thin_by_cell(cell, distance, variance[order])
        else:
            group = state.column(frame, channel[order])
            chosen = thin_by_distance(group, position, variance[order], float(source.thin))
        thinned = np.zeros(len(table), bool)
        thinned[order] = ~chosen
        tally.drop(twins.owned(thinned), "thinned")
        matrix, order, cell, position = (
            matrix[np.flatnonzero(chosen)],
            order[chosen],
            cell[chosen],
            position[chosen],
        )
    y, spread, of = value[order], variance[order], channel[order]
    known = {p: column[order] for p, column in known.items()}
    first, last = match.first[order], match.last[order]
    if source.superob and len(order):
        weights = superob(cell, spread)
        # Reports of one cell agree in channel; the means may weigh frames on both sides.
        starts = np.searchsorted(np.sort(cell), np.unique(cell))
        by_cell = np.argsort(cell, kind="stable")
        of, new_cell = of[by_cell][starts], cell[by_cell][starts]
        first = np.minimum.reduceat(first[by_cell], starts)
        last = np.maximum.reduceat(last[by_cell], starts)
        merged = np.empty(len(starts))
        for c in np.unique(of):
            rows = np.flatnonzero(of == c)
            merged[rows] = merged_variance(weights[rows], measured[order], position, scaled[c])
        matrix, y, spread = sp.csr_array(weights @ matrix), weights @ y, merged
        known = {name: weights @ one for name, one in known.items()}
        position, cell = weights @ position, new_cell
        position /= np.linalg.norm(position, axis=1, keepdims=True)
    R = covariance_of(spread, of, first, last, position, models)
    notes = (
        *source.notes,
        *reader_notes(table),
        *_flags(table, source),
        *_unknown(label[unknown], state.spec.names),
        *named.outside(outside),
        *named.out_of_range(
            beyond, state.spec.variables, [source.valid_range_of(v) for v in state.spec.names]
        ),
        *bad_errors(own[without]),
        *named.bad_errors(without),
        *_whose_errors(source, own[channel >= 0]),
        *named.twins(twins.groups, twins.disagree, named.value),
        *sorted(assumed),
    )
    report = SourceReport(
        name, "points", source.interpolation + (" superobbed" if source.superob else ""), source.weight,
        len(table), int(tally.alive.sum()), len(y), tally.dropped, error_span(R, of, state), notes,
        source.soundings,
    )  # fmt: skip
    return Rows(matrix, y, R, of, first, last, cell, report, known)


def _unknown(labels: np.ndarray, names: Sequence[str]) -> tuple[str, ...]:
    """A note on the variables of rows that the state lacks."""
    counts = Counter(v if isinstance(v, str) and v else "without a name" for v in labels)
    if not counts:
        return ()
    told = [f"{counts[v]} {v}{did_you_mean(v, tuple(names))}" for v in sorted(counts)[:MOST]]
    more = f", and {len(counts) - MOST} more" if len(counts) > MOST else ""
    return (f"variables that the state lacks: {', '.join(told)}{more}; it has {', '.join(names)}",)


def _flags(table: pd.DataFrame, source: PointObservation) -> tuple[str, ...]:
    """Notes on columns of flags of a table that its caller gives as it is."""
    predictors = {column for _, column in source.predictor_columns()}
    names = [str(c) for c in table.columns if is_flag(str(c)) and c not in predictors]
    return tuple(unapplied(n, table[n], None) for n in names)


def _whose_errors(source: PointObservation, own: np.ndarray) -> tuple[str, ...]:
    """A note where both the table and the source give errors: the table's win, row by row."""
    given = int(np.isfinite(own).sum())
    if source.error is None or not given:
        return ()
    rest = len(own) - given
    return (
        f"errors: {given} from the table's column 'error', which wins over the stated one"
        + (f"; the stated one for {rest} without" if rest else "; the stated one is used for none"),
    )


def _point_times(source: PointObservation, state: Frame, what: str) -> np.ndarray:
    if state.times.values is None:
        return np.zeros(len(source.table))
    if "time" in source.table.columns:
        return state.times.number(source.table["time"].to_numpy(), what)
    if len(state.times) == 1:
        return np.full(len(source.table), state.times.values[0])
    raise SkyweaveError(
        f"{what}: the table has no column 'time', and there are {len(state.times)} analysis times"
    )
