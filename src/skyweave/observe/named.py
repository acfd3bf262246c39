"""Reports by their names: which ones were dropped, where, when, with what value, and against what bound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from skyweave.state import Variable

__all__ = ["FARTHEST_LON", "Named"]

SHOWN = 3
"""Reports that a note names, at most."""

FARTHEST_LON = 361.0
"""Degrees east or west; what lies beyond has lost its decimal point rather than gone around the Earth."""

FEW = 20
"""Reports outside of the domain that are few enough to be named."""


@dataclass(frozen=True, eq=False)
class Named:
    """Reports of a table that notes can name.

    Args:
        table: columns lat and lon, and time and station if there are any.
        label: variable of each row.
        value: in the units of the state.
        raw: as it was given.
        error: as it was given, NaN where it was not.
    """

    table: pd.DataFrame
    label: np.ndarray
    value: np.ndarray
    raw: np.ndarray
    error: np.ndarray

    def name(self, row: int) -> str:
        """Station or position, and time."""
        report = self.table.iloc[row]
        station = report.get("station")
        known = bool(station.strip()) if isinstance(station, str) else bool(pd.notna(station))
        where = f"station {station}" if known else f"{report['lat']:.6g} N {report['lon']:.6g} E"
        time = report.get("time")
        if isinstance(time, pd.Timestamp) and not pd.isna(time):
            return f"{where} at {time:%Y-%m-%dT%H:%M}"
        return where

    def out_of_range(
        self,
        hit: np.ndarray,
        variables: Sequence[Variable],
        limits: Sequence[tuple[float | None, float | None]],
    ) -> tuple[str, ...]:
        """A note on reports outside of bounds: of the variable, or else of the source (``limits``, by variable)."""
        names = [v.name for v in variables]

        def told(row: int) -> str:
            k = names.index(self.label[row])
            variable, value, unit = variables[k], self.value[row], f" {variables[k].units}"
            pair: tuple[float | None, float | None] = variable.bounds
            which = "the bound"
            if not _beyond(value, pair):
                value, unit, pair, which = self.raw[row], "", limits[k], "valid_range"
            low, high = pair
            below = low is not None and value < low
            bound = low if below else high
            return (
                f"{self.name(row)} {variable.name} = {value:.6g}{unit}, {'below' if below else 'above'} {which} "
                f"{bound:g}{unit}"
            )

        return self._note("out of range", hit, told)

    def bad_errors(self, hit: np.ndarray) -> tuple[str, ...]:
        """A note on reports whose error is zero, negative or missing."""

        def told(row: int) -> str:
            error = self.error[row]
            what = f"error {error:g}" if np.isfinite(error) else "no error"
            return f"{self.name(row)} {self.label[row]} = {self.raw[row]:.6g} with {what}"

        return self._note("non-positive error", hit, told)

    def outside(self, hit: np.ndarray) -> tuple[str, ...]:
        """A note on reports outside of the domain: a few, or those that are at no place on Earth."""
        lat, lon = (self.table[c].to_numpy(float, na_value=np.nan) for c in ("lat", "lon"))
        nowhere = hit & ((np.abs(lat) > 90) | (np.abs(lon) > FARTHEST_LON))

        def told(row: int) -> str:
            where = f"{lat[row]:.6g} N {lon[row]:.6g} E"
            name = self.name(row)
            return name if name.startswith(where) else f"{name} ({where})"

        if nowhere.any():
            return self._note("outside domain, at no place on Earth", nowhere, told)
        return self._note("outside domain", hit, told) if hit.sum() <= FEW else ()

    def twins(
        self, groups: Sequence[np.ndarray], disagree: Sequence[bool], given: np.ndarray
    ) -> tuple[str, ...]:
        """Notes on reports of one place and time that were averaged, and those that disagree."""
        if not groups:
            return ()
        count = sum(len(group) for group in groups)
        told = [
            f"twins: {count} differing reports of {len(groups)} places and times averaged, weighted by their errors"
        ]
        odd = [group for group, bad in zip(groups, disagree, strict=True) if bad]
        if odd:
            shown = [
                f"{self.name(int(g[0]))} {self.label[g[0]]} = {', '.join(f'{v:.6g}' for v in given[g[:4]])}"
                for g in odd[:SHOWN]
            ]
            told.append(f"twins that disagree beyond their errors: {_joined(shown, len(odd))}")
        return tuple(told)

    def _note(self, what: str, hit: np.ndarray, told: object) -> tuple[str, ...]:
        rows = np.flatnonzero(hit)
        if not len(rows):
            return ()
        # The order of the table decides nothing.
        time = (
            self.table["time"].astype(str).to_numpy() if "time" in self.table else np.zeros(len(self.table))
        )
        lat, lon = (self.table[c].to_numpy(float, na_value=np.nan)[rows] for c in ("lat", "lon"))
        rows = rows[
            np.lexsort((self.error[rows], self.raw[rows], lon, lat, self.label[rows].astype(str), time[rows]))
        ]
        assert callable(told)
        return (f"{what}: {_joined([told(int(r)) for r in rows[:SHOWN]], len(rows))}",)


def _joined(shown: Sequence[str], count: int) -> str:
    return "; ".join(shown) + (f"; and {count - len(shown)} more" if count > len(shown) else "")


def _beyond(value: float, pair: tuple[float | None, float | None]) -> bool:
    low, high = pair
    return (low is not None and value < low) or (high is not None and value > high)
