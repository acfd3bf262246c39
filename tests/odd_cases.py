"""Odd inputs and what is right for each: a table that tests and documentation share.

A case builds its input in a folder of its own and reads it; what comes out is compared with a value that was worked
out by other means than the reader's, or must be refused in words that lead on. Cases stand in the
modules of `MODULES`, by kind; `python tests/odd_cases.py` prints them all.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from skyweave.errors import SkyweaveError

__all__ = ["Odd", "Refused", "all_cases", "odd", "outcome"]

MODULES = (
    *("odd_files", "odd_times", "odd_axes", "odd_grib", "odd_tables", "odd_table_times", "odd_reports"),
    *("odd_matching", "odd_flags", "odd_attributes", "odd_sources", "odd_clashes", "odd_units", "odd_scenes"),
    "odd_hostile",
)
CASES: list[Odd] = []


@dataclass(frozen=True)
class Refused:
    """The right answer is a refusal whose message holds all of these words."""

    words: tuple[str, ...]

    def __init__(self, *words: str) -> None:
        object.__setattr__(self, "words", words)


@dataclass(frozen=True)
class Odd:
    """One input.

    Args:
        kind: "file", "table", "units" or "scene".
        what: the oddity, in a line.
        right: numbers, text, or a tuple or dictionary of them, worked out independently; or `Refused`.
        read: builds the input in the folder it is given, and returns what the reader makes of it.
    """

    kind: str
    what: str
    right: Any
    read: Callable[[Path], Any]


def odd(kind: str, what: str, right: Any) -> Callable[[Callable[[Path], Any]], Callable[[Path], Any]]:
    """Enter a function into the table."""

    def enter(read: Callable[[Path], Any]) -> Callable[[Path], Any]:
        CASES.append(Odd(kind, what, right, read))
        return read

    return enter


def all_cases() -> list[Odd]:
    """Every case of every module, in order."""
    here = str(Path(__file__).parent)
    if here not in sys.path:
        sys.path.insert(0, here)
    module = sys.modules.get("odd_cases") or importlib.import_module("odd_cases")
    for name in MODULES:
        if (Path(here) / f"{name}.py").exists():
            importlib.import_module(name)
    return list(module.CASES)


def outcome(case: Odd, folder: Path) -> tuple[bool, str]:
    """Whether a case comes out right, and what came out, in a line."""
    try:
        got = case.read(folder)
    except SkyweaveError as refusal:
        text = str(refusal)
        if not isinstance(case.right, Refused):
            return False, f"refused: {text}"
        lacking = [word for word in case.right.words if word not in text]
        return not lacking, f"refused: {text}" + (f" (without {', '.join(lacking)})" if lacking else "")
    if isinstance(case.right, Refused):
        return False, f"read as {got!r}"
    return same(got, case.right), repr(got)


def same(got: Any, right: Any) -> bool:
    """Equality of numbers to single precision, of missing values, dates, text and collections of them."""
    if isinstance(right, dict):
        return (
            isinstance(got, dict)
            and got.keys() == right.keys()
            and all(same(got[k], right[k]) for k in right)
        )
    a, b = np.asarray(got), np.asarray(right)
    if a.shape != b.shape:
        return False
    if b.dtype.kind in "fiu" and a.dtype.kind in "fiu":
        return bool(np.allclose(a, b, rtol=1e-5, atol=1e-7, equal_nan=True))
    return bool((a == b).all())


if __name__ == "__main__":
    wrong, cases = 0, all_cases()
    judge = sys.modules["odd_cases"].outcome  # this file is there twice now, and so is `Refused`
    for case in cases:
        with tempfile.TemporaryDirectory() as folder:
            right, told = judge(case, Path(folder))
        wrong += not right
        print(f"{'ok   ' if right else 'WRONG'} | {case.kind} | {case.what} | {told[:300]}")
    print(f"{len(cases)} odd inputs, {wrong} wrong")
    sys.exit(wrong > 0)
