"""Columns of quality flags in a table: what the caller keeps by them, and what is told of the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from skyweave.errors import SkyweaveError, did_you_mean
from skyweave.io.flags import Quality, kept, left_out, unapplied
from skyweave.io.table_roles import listed

__all__ = ["Flags"]


@dataclass(frozen=True, eq=False)
class Flags:
    """Flags of one table.

    Args:
        frame: the table.
        columns: of each flag that the caller or its name points out, the variable that it is of, ``None`` for all.
        headings: columns by their names without units.
        good: rows that are kept, of each flag that the caller says something of.
        told: whether what is not applied is told.
    """

    frame: pd.DataFrame
    columns: Mapping[str, str | None]
    headings: Mapping[str, str]
    good: Mapping[str, np.ndarray]
    told: bool

    @classmethod
    def of(
        cls,
        frame: pd.DataFrame,
        flags: Mapping[str, str | None],
        headings: Mapping[str, str],
        quality: Quality | None,
        where: str,
    ) -> Flags:
        """The flags of a table, with the caller's limits applied.

        Raises:
            SkyweaveError: a column for quality that is not there, or a limit that does not fit its flags.
        """
        columns, good = dict(flags), {}
        for name, how in (quality or {}).items():
            column = headings.get(name, name if name in frame.columns else None)
            if column is None:
                known = [*flags, *(n for n in headings if n not in flags)]
                raise SkyweaveError(
                    f"{where}: no column {name!r} for quality{did_you_mean(name, known)}; it has: {listed(known)}"
                )
            columns.setdefault(name, None)
            good[name] = kept(frame[column], how, f"{where}: column {column!r}")
        return cls(frame, columns, headings, good, quality is None or len(quality) > 0)

    def kept(self, variable: str | None, there: np.ndarray, notes: list[str]) -> np.ndarray:
        """Rows of which a variable is kept, by the flags that are its own or of all; ``None`` for a table of rows.

        Args:
            variable: without its unit.
            there: rows that have a value of it.
            notes: takes what was left out, by flag.
        """
        alive = np.ones(len(self.frame), bool)
        for name, good in self.good.items():
            of = self.columns[name]
            if variable is not None and of not in (None, variable):
                continue
            gone = alive & ~good & there
            if gone.any():
                notes.append(left_out(name, self._column(name)[gone], variable))
            alive &= good
        return alive

    def unapplied(self, variables: Sequence[str]) -> list[str]:
        """Notes on the flags that the caller says nothing of, of the variables that are used."""
        if not self.told:
            return []
        return [
            unapplied(name, self._column(name), of)
            for name, of in self.columns.items()
            if name not in self.good and (of is None or of in variables)
        ]

    def _column(self, name: str) -> pd.Series:
        return self.frame[self.headings.get(name, name)]
