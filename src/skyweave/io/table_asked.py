"""What a caller asks of a table's values, and columns of numbers read as asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from skyweave.io.flags import Quality
from skyweave.io.table_values import numbers, without_missing_numbers

__all__ = ["Asked", "Variables", "named"]

Variables = Mapping[str, str] | Sequence[str] | str | None


def named(variables: Variables) -> dict[str, str] | None:
    """Variables that are asked for, by the name wanted and then the file's; ``None`` for all."""
    if variables is None:
        return None
    if isinstance(variables, Mapping):
        return dict(variables)
    return {v: v for v in ([variables] if isinstance(variables, str) else variables)}


@dataclass(frozen=True, eq=False)
class Asked:
    """What a caller asks of a table's values; see `skyweave.io.read_stations`."""

    names: dict[str, str] | None
    constants: Mapping[str, Any]
    missing: Sequence[float] | None
    decimal: str | None
    keep: tuple[str, ...]
    quality: Quality | None

    def numbers(
        self, column: pd.Series, where: str, notes: list[str], commas: bool, *, screened: bool = False
    ) -> pd.Series:
        """A column as numbers; where it is screened, numbers that mean missing are missing.

        Args:
            column: of any type.
            where: file and column, for messages.
            notes: takes what was assumed.
            commas: whether other columns have decimal commas beyond doubt.
            screened: see `skyweave.io.table_values.without_missing_numbers`.

        Raises:
            SkyweaveError: text that is no number.
        """
        values = numbers(column, where, notes, decimal=self.decimal, commas=commas)
        return without_missing_numbers(values, where, notes, self.missing) if screened else values
