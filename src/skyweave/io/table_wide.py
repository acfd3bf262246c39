"""Tables with a column per variable: which columns are variables, and each of them as rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from skyweave.errors import SkyweaveError, UnknownNameError, clipped, did_you_mean
from skyweave.io.flags import flags_among
from skyweave.io.table_asked import Asked
from skyweave.io.table_checks import error_scale, refuse_text
from skyweave.io.table_flags import Flags
from skyweave.io.table_roles import ALIASES, bare_name, heading_unit, listed, require, split_heading
from skyweave.io.table_times import PARTS
from skyweave.io.table_values import NUMERIC, is_missing, looks_numeric

__all__ = ["MOST", "clipped_names", "melted"]

ERROR_TAILS = ("_error", "_err", "_sigma", "_std", "_stdev", "_uncertainty")

MOST = 8
"""Columns that a note lists, at most."""
CELLS = 3
"""Cells that are no numbers and are named, of a column, at most."""


def melted(
    data: pd.DataFrame,
    frame: pd.DataFrame,
    used: list[str],
    asked: Asked,
    where: str,
    notes: list[str],
    commas: bool,
) -> pd.DataFrame:
    """One row per variable and report from a table with one column per variable.

    Args:
        data: times, places and what else is known of each report.
        frame: the table.
        used: columns that play another role.
        asked: by the caller.
        where: file, for messages.
        notes: takes what was assumed and left out.
        commas: whether numbers have decimal commas beyond doubt.

    Raises:
        SkyweaveError: no variable, one that is not there or there twice, text where a number is needed.
    """
    names = [str(c) for c in frame.columns]
    headings = _headings(names, used, asked, where)
    error_of = {n[: -len(tail)]: n for tail in ERROR_TAILS for n in headings if n.endswith(tail)}
    rest = [n for n in headings if n not in error_of.values()]
    # Cloud water is called qc too; flags have no units.
    flags = {n: of for n, of in flags_among(rest, rest).items() if heading_unit(headings[n]) in ("", "1")}
    limits = Flags.of(frame, flags, headings, asked.quality, where)
    candidates = [n for n in rest if n not in flags and n not in limits.columns]
    wanted = asked.names
    if wanted is None:
        wanted = {n: n for n in _variables(frame, headings, candidates, where, notes)}
    if not wanted:
        refuse_text(frame, headings, candidates, where)
        require("value", data, frame, where)
    parts = []
    for name, label in wanted.items():
        column = headings.get(label, label if label in names else None)
        if column is None:
            hint = did_you_mean(label, candidates)
            message = f"{where}: no column for variable {label!r}{hint}; found: {listed(names)}"
            raise UnknownNameError(message, label, candidates)
        bare = split_heading(column)[0]
        kept = limits.kept(bare, ~is_missing(frame[column]).to_numpy(), notes)
        part = data.drop(columns=[c for c in ("variable",) if c in data]).copy()
        part["variable"] = name
        told = f"{where}: column {column!r}"
        part["value"] = asked.numbers(frame[column].where(kept), told, notes, commas, screened=True)
        if bare in error_of:
            heading = headings[error_of[bare]]
            told = f"{where}: column {heading!r}"
            scale = error_scale(heading_unit(heading), heading_unit(column), told)
            errors = asked.numbers(frame[heading].where(kept), told, notes, commas, screened=True)
            part["error"] = scale * errors
        elif "error" not in part:
            part["error"] = np.nan
        if "units" not in part and any(heading_unit(headings.get(v, v)) for v in wanted.values()):
            part["units"] = heading_unit(column)
        parts.append(part[kept])
    notes += limits.unapplied([split_heading(headings.get(v, v))[0] for v in wanted.values()])
    return pd.concat(parts, ignore_index=True)


def _headings(names: Sequence[str], used: Sequence[str], asked: Asked, where: str) -> dict[str, str]:
    """Columns by their names without units.

    Raises:
        SkyweaveError: two columns that differ in their units alone, neither of them named in full.
    """
    found: dict[str, str] = {}
    full = set((asked.names or {}).values())
    for column in names:
        bare = split_heading(column)[0]
        if column in used:
            continue
        if bare in found:
            if asked.names is None or bare in full:
                raise SkyweaveError(
                    f"{where}: the columns {clipped(found[bare])} and {clipped(column)} are both {clipped(bare)}: say "
                    f"which is meant, variables: {{NAME: {column!r}}} at the source in the YAML (variables= in Python)"
                )
            continue
        found[bare] = column
    return found


def _variables(
    frame: pd.DataFrame, headings: Mapping[str, str], candidates: Sequence[str], where: str, notes: list[str]
) -> list[str]:
    """Columns that are variables: most of what is in them are numbers, or words for missing ones and nothing else.

    Notes and names are none; nor are columns that tell times or play another role.
    """
    known = {a for role in ALIASES if role not in ("value", "error") for a in ALIASES[role]}
    known |= {a for part in PARTS.values() for a in part}
    wanted, text = [], []
    for name in candidates:
        column = frame[headings[name]]
        if bare_name(name) in known:
            continue
        share = looks_numeric(column)
        if np.isnan(share):
            # Empty columns say nothing; one of words for "missing" is a variable that nobody measured.
            if column.notna().any() and bool((column.dropna().map(str).str.strip() != "").any()):
                wanted.append(name)
        elif share > 0.5:
            wanted.append(name)
        elif share == 0:
            text.append(name)
        else:
            notes.append(_mixed(name, column))
    if text:
        more = f", and {len(text) - MOST} more" if len(text) > MOST else ""
        notes.append(
            f"columns of text, which are no variables: {', '.join(clipped_names(text[:MOST]))}{more}"
        )
    return wanted


def _mixed(name: str, column: pd.Series) -> str:
    """The note on a column of which some cells are numbers and most are not."""
    words = column.astype(str).str.strip()
    odd = ~is_missing(column) & ~words.map(
        lambda word: NUMERIC.fullmatch(word.replace("\u2212", "-")) is not None
    )
    rows = np.flatnonzero(odd.to_numpy())
    cells = ", ".join(f"{clipped(words.iloc[r], 20)} in row {r + 1}" for r in rows[:CELLS])
    more = f", and {len(rows) - CELLS} more" if len(rows) > CELLS else ""
    count = int((~is_missing(column)).sum()) - len(rows)
    first = clipped(words.iloc[rows[0]], 20)
    return (
        f"WARNING: column {clipped(name, 40)} is not used: {count} of its cells are numbers, {len(rows)} are not "
        f"({cells}{more}). If such words mean missing, say missing: [{first}] at the source in the YAML, or empty them"
    )


def clipped_names(names: Sequence[str]) -> list[str]:
    """Names, each cut to a length that a message can bear."""
    return [n if len(n) <= 40 else clipped(n, 40) for n in names]
