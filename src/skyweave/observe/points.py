"""From a table of points to rows: checked, matched, thinned or averaged, counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import scipy.sparse as sp

from skyweave.errors import SkyweaveError, did_you_mean
from skyweave.grid import Grid
from skyweave.io.flags import is_flag, unapplied
from skyweave.io.reports import reader_notes
from skyweave.observe.draft import Draft, Values, bad_errors
from skyweave.observe.errors import ErrorModel, unit_vectors
from skyweave.observe.match import TimeMatch, merged_variance, superob, thin_by_cell, thin_by_distance
from skyweave.observe.named import FARTHEST_LON, Named
from skyweave.observe.observation import PointObservation
from skyweave.observe.report import BETWEEN_LEVELS, SourceReport, Tally
from skyweave.observe.rows import Frame, Rows, expand, point_weights, unit_law, weights_at
from skyweave.observe.twins import Twins, find_twins
from skyweave.regrid import nearest
from skyweave.state import Variable
from skyweave.units import conversion

__all__ = ["point_rows"]

MOST = 8
"""Unknown variables that are named, at most."""


class _Reports:
    """Reports of a table, each array with one number a row of it."""

    def __init__(self, source: PointObservation, state: Frame, what: str) -> None:
        self.source, self.what, table = source, what, source.table
        # Degrees, NaN where missing.
        self.lat, self.lon = _numbers(table["lat"]), _numbers(table["lon"])
        # Errors that the table states, NaN where it does not.
        self.own = _numbers(table["error"]) if "error" in table else np.full(len(table), np.nan)
        self.when = _times(source, state, what)
        self.label = table["variable"].astype(object).to_numpy()
        names = state.spec.names
        # -1 where the state has no such variable.
        self.channel = np.array([names.index(v) if v in names else -1 for v in self.label], int)
        self.values = Values(_numbers(table["value"]), self.own)
        # By channel, what reports of one cell share, and notes on units.
        self.models, self.assumed = _converted(source, self.values, self.channel, state.spec.variables, what)
        self.predictors = {p: _numbers(table[c]).copy() for p, c in source.predictor_columns()}


def point_rows(source: PointObservation, name: str, state: Frame) -> Rows:
    """Rows of a table of points, in an order that does not depend on the table's.

    Raises:
        SkyweaveError: for units that cannot be converted, or times of another kind.
    """
    reports = _Reports(source, state, f"observation {name!r}")
    match = state.times.matched(reports.when, source.time_window, source.time, reports.what)
    named = Named(source.table, reports.label, reports.values.value.copy(), reports.values.raw, reports.own)
    tally = Tally(len(source.table))
    lost = _sift(reports, match, tally, state)
    twins = _twins(reports, tally)
    draft = _draft(reports, match, twins.order, state)
    draft = draft.without(state.masked(draft.matrix), "masked cells", tally, twins)
    if source.thin is not None:
        draft = draft.without(~_chosen(draft, reports, source.thin, state), "thinned", tally, twins)
    if source.superob and len(draft):
        draft = _means(draft, reports)
    notes = (
        *source.notes,
        *reader_notes(source.table),
        *_flags(source.table, source),
        *_notes(reports, lost, named, state),
        *_whose_errors(source, reports.own[reports.channel >= 0]),
        *named.twins(twins.groups, twins.disagree, named.value),
        *reports.assumed,
    )
    operator = source.interpolation + (" superobbed" if source.superob else "")
    report = SourceReport(name, "points", operator, source.weight, notes=notes, soundings=source.soundings)
    return draft.rows(state, reports.models, tally, report)


def _converted(
    source: PointObservation, values: Values, channel: np.ndarray, variables: Sequence[Variable], what: str
) -> tuple[dict[int, ErrorModel], tuple[str, ...]]:
    """Convert the values of each variable and unit: what is shared by cell, by channel, and what was assumed."""
    table = source.table
    units = table["units"].astype(object).to_numpy() if "units" in table else np.full(len(table), None)
    models: dict[int, ErrorModel] = {}
    assumed: set[str] = set()
    for c, variable in enumerate(variables):
        here = np.flatnonzero(channel == c)
        stated = source.units_of(variable.name)
        texts = np.array([u if isinstance(u, str) and u else (stated or "") for u in units[here]], object)
        for text in sorted(set(texts)):
            law, note = _law(text, stated, variable, f"{what}, variable {variable.name!r}")
            if note:
                assumed.add(note)
            models[c] = values.convert(
                here[texts == text],
                variable,
                law,
                source.model_of(variable.name),
                source.valid_range_of(variable.name),
            )
    return models, tuple(sorted(assumed))


def _law(text: str, stated: str | None, variable: Variable, what: str) -> tuple[tuple[float, float], str]:
    """Scale and offset from the units of a table, or else those stated; a note on what is assumed."""
    note = "" if text else f"{variable.name} taken to be in {variable.units}"
    try:
        return unit_law(text, variable.units, what, stated=text == stated), note
    except SkyweaveError:
        if not stated or stated == text:
            raise
    note = f"{variable.name} taken to be in {stated}, as stated, where the table says {text!r}"
    return conversion(stated, variable.units, what), note


def _sift(reports: _Reports, match: TimeMatch, tally: Tally, state: Frame) -> dict[str, np.ndarray]:
    """Drop what cannot be used; returns those of which notes tell, by reason."""
    table, lat, lon = reports.source.table, reports.lat, reports.lon
    if "reason" in table:
        tally.drop((table["reason"] == BETWEEN_LEVELS).to_numpy(), BETWEEN_LEVELS)
    unknown = tally.drop(reports.channel < 0, "unknown variable")
    missing = np.isnan(lat) | np.isnan(lon) | np.isnan(reports.when)
    tally.drop(~np.isfinite(reports.values.raw) | missing, "NaN")
    tally.drop(~match.inside, "outside time window")
    nowhere = (np.abs(lat) > 90) | (np.abs(lon) > FARTHEST_LON) | ~state.grid.contains(lat, lon)
    outside = tally.drop(nowhere, "outside domain")
    beyond, without = reports.values.sift(tally)
    return {"unknown": unknown, "outside": outside, "beyond": beyond, "without": without}


def _twins(reports: _Reports, tally: Tally) -> Twins:
    """Twins among what is left: averaged in place, and those that are repeated dropped."""
    values = reports.values
    place = (reports.when, reports.channel, np.round(reports.lat, 6), np.round(reports.lon % 360, 6))
    twins = find_twins(
        np.flatnonzero(tally.alive), place, values.value, values.variance, values.measured, reports.predictors
    )
    tally.drop(twins.repeated, "duplicated")
    return twins


def _draft(reports: _Reports, match: TimeMatch, order: np.ndarray, state: Frame) -> Draft:
    """A row for each of some reports."""
    lat, lon, channel = (k[order] for k in (reports.lat, reports.lon, reports.channel))
    match = match.take(order)
    weights = point_weights(reports.source.interpolation, state.spec, state.grid, lat, lon, channel)
    at = weights_at(nearest, state.grid, lat, lon).indices.astype(np.int64)
    return Draft(
        origin=order,
        matrix=expand(weights, channel, match, state),
        value=reports.values.value[order],
        variance=reports.values.variance[order],
        channel=channel,
        first=match.first,
        last=match.last,
        cell=state.cell(at, channel, match),
        position=unit_vectors(lat, lon),
        predictors={name: column[order] for name, column in reports.predictors.items()},
    )


def _chosen(draft: Draft, reports: _Reports, thin: str | float, state: Frame) -> np.ndarray:
    """Whether thinning keeps each row: one a cell, or none nearer to another than a distance in km."""
    by_map, at = np.divmod(draft.cell, state.grid.size)
    if thin != "cell":
        return thin_by_distance(by_map, draft.position, draft.variance, float(thin))
    lat, lon = (part.ravel()[at] for part in state.grid.mesh())
    distance = Grid.distance(reports.lat[draft.origin], reports.lon[draft.origin], lat, lon)
    return thin_by_cell(draft.cell, distance, draft.variance)


def _means(draft: Draft, reports: _Reports) -> Draft:
    """The reports of each cell as one row, weighted by their precision."""
    weights = superob(draft.cell, draft.variance)
    # Reports of one cell agree in channel; the means may weigh frames on both sides.
    by_cell = np.argsort(draft.cell, kind="stable")
    cell, starts = np.unique(draft.cell[by_cell], return_index=True)
    channel = draft.channel[by_cell][starts]
    measured, variance = reports.values.measured[draft.origin], np.empty(len(starts))
    for c in np.unique(channel):
        rows = np.flatnonzero(channel == c)
        variance[rows] = merged_variance(weights[rows], measured, draft.position, reports.models[c])
    position = weights @ draft.position
    return Draft(
        origin=np.full(len(starts), -1),
        matrix=sp.csr_array(weights @ draft.matrix),
        value=weights @ draft.value,
        variance=variance,
        channel=channel,
        first=np.minimum.reduceat(draft.first[by_cell], starts),
        last=np.maximum.reduceat(draft.last[by_cell], starts),
        cell=cell,
        position=position / np.linalg.norm(position, axis=1, keepdims=True),
        predictors={name: weights @ column for name, column in draft.predictors.items()},
    )


def _numbers(column: pd.Series) -> np.ndarray:
    return column.to_numpy(float, na_value=np.nan)


def _notes(reports: _Reports, lost: Mapping[str, np.ndarray], named: Named, state: Frame) -> tuple[str, ...]:
    """Notes on reports that were dropped."""
    limits = [reports.source.valid_range_of(v) for v in state.spec.names]
    return (
        *_unknown(reports.label[lost["unknown"]], state.spec.names),
        *named.outside(lost["outside"]),
        *named.out_of_range(lost["beyond"], state.spec.variables, limits),
        *bad_errors(reports.own[lost["without"]]),
        *named.bad_errors(lost["without"]),
    )


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


def _times(source: PointObservation, state: Frame, what: str) -> np.ndarray:
    if state.times.values is None:
        return np.zeros(len(source.table))
    if "time" in source.table.columns:
        return state.times.number(source.table["time"].to_numpy(), what)
    if len(state.times) == 1:
        return np.full(len(source.table), state.times.values[0])
    raise SkyweaveError(
        f"{what}: the table has no column 'time', and there are {len(state.times)} analysis times"
    )
