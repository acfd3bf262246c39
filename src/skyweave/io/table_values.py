"""Numbers, latitudes and longitudes as people write them in tables: what means missing, which comma is a point."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from skyweave.errors import SkyweaveError, clipped

__all__ = [
    "MISSING_NUMBERS",
    "MISSING_WORDS",
    "Words",
    "degrees",
    "has_decimal_commas",
    "is_missing",
    "looks_numeric",
    "numbers",
    "without_missing_numbers",
    "without_words",
]

MISSING_WORDS = frozenset(
    ("na", "n/a", "nan", "null", "none", "nil", "missing", "m", "mm", "msg", "-", "--", "---", "----", ".", "..", "/",
     "//", "///", "////", "/////", "//////", "*", "**", "***", "****", "#n/a", "#na")
)  # fmt: skip
"""Words that stand for "no value", in small letters; an empty field does too."""

MISSING_NUMBERS = (
    *(s * n for s in (1, -1) for n in (999, 9999, 99999, 999999, 999.9, 9999.9, 99999.9, 999.99, 9999.99)),
    *(s * n for s in (1, -1) for n in (8888, 88888, 32767, 1e20, 1e30)),
    *(-99.0, -99.9, -99.99, -32768.0, 9.969209968386869e36, -9.99e33),
)
"""Numbers that stand for "no value" in many archives."""

PLAIN = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?inf(inity)?", re.IGNORECASE)
DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")
GROUPED = re.compile(r"[+-]?\d{1,3}([,. ']\d{3})+([.,]\d+)?")
MAYBE_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+")
PLAIN_OR_COMMA = re.compile(f"{PLAIN.pattern}|{DECIMAL_COMMA.pattern}", re.IGNORECASE)
NUMERIC = re.compile(f"{PLAIN_OR_COMMA.pattern}|{GROUPED.pattern}", re.IGNORECASE)
ANGLE = re.compile(
    r"(?P<sign>[+-])?(?P<d>\d+(\.\d*)?)\s*[°ºd:]?\s*((?P<m>\d+(\.\d*)?)\s*['′’m:]?\s*)?"
    r"((?P<s>\d+(\.\d*)?)\s*(\"|″|”|''|s)?\s*)?(?P<h>[NSEWnsew])?"
)
RANGE = {"lat": 90.0, "lon": 360.0}
LETTERS = {"lat": "NS", "lon": "EW"}


@dataclass(frozen=True, eq=False)
class Words:
    """The distinct cells of a column, as text without blanks around it and with plain minus signs.

    Args:
        codes: number of each row's word, -1 where the cell is missing.
        words: by number.
        absent: of each word, whether it stands for a missing value.
    """

    codes: np.ndarray
    words: list[str]
    absent: np.ndarray

    @classmethod
    def of(cls, column: pd.Series) -> Words:
        codes, found = pd.factorize(column)
        words = [str(cell).strip().replace("\u2212", "-").replace("\u00a0", "") for cell in found]
        absent = np.array([word.lower() in MISSING_WORDS or not word for word in words], bool)
        return cls(np.asarray(codes), words, absent)

    def spread(self, values: np.ndarray, missing: object) -> np.ndarray:
        """A value for each word as a value for each row."""
        out: np.ndarray = np.append(values, np.array([missing], values.dtype))[self.codes]
        return out

    def count(self, which: np.ndarray) -> int:
        """Rows whose word is among those flagged."""
        return int(self.spread(which, False).sum())

    def row(self, which: np.ndarray) -> int:
        """The first row whose word is among those flagged."""
        return int(np.flatnonzero(self.spread(which, False))[0])

    def fits(self, pattern: re.Pattern[str]) -> np.ndarray:
        """Of each word, whether it has a form."""
        return np.array([pattern.fullmatch(word) is not None for word in self.words], bool)


def is_missing(column: pd.Series) -> pd.Series:
    """Whether each cell is empty, NaN, or a word that stands for "no value"."""
    if column.dtype.kind in "fiub":
        return column.isna()
    words = Words.of(column)
    return pd.Series(words.spread(words.absent, True), index=column.index)


def looks_numeric(column: pd.Series) -> float:
    """Share of numbers, points or commas, among the cells that are not missing; NaN where all are."""
    if column.dtype.kind in "fiub":
        return 1.0 if column.notna().any() else np.nan
    words = Words.of(column)
    given = words.count(~words.absent)
    return words.count(words.fits(NUMERIC) & ~words.absent) / given if given else np.nan


def numbers(
    column: pd.Series, where: str, notes: list[str], *, decimal: str | None = None, commas: bool = False
) -> pd.Series:
    """A column as floating-point numbers, NaN where a word or nothing stands for a missing value.

    Args:
        column: of any type.
        where: file and column, for messages.
        notes: takes the count of words that mean missing, and what a comma was taken for.
        decimal: the decimal mark, ``"."`` or ``","``; by default told from the numbers.
        commas: whether other columns of the table have decimal commas beyond doubt.

    Raises:
        SkyweaveError: text that is no number (the row is named), separators of thousands, or commas that may be
            either.
    """
    if column.dtype.kind in "fiub":
        return column.astype(float)
    words = Words.of(column)
    told = [
        (words.count(np.arange(len(words.words)) == k), words.words[k]) for k in np.flatnonzero(words.absent)
    ]
    told = sorted((n, word) for n, word in told if word)[::-1]
    if told:
        notes.append(
            f"{where}: taken for missing: " + ", ".join(f"{n} {clipped(w, 12)}" for n, w in told[:4])
        )
    plain = _with_points(words, where, notes, decimal, commas)
    bad = ~words.absent & ~np.array([PLAIN.fullmatch(word) is not None for word in plain], bool)
    if bad.any():
        row = words.row(bad)
        trace = words.words[words.codes[row]] in ("T", "t")
        raise SkyweaveError(
            f"{where}: row {row + 1} holds {clipped(column.iloc[row])}, which is not a number ({words.count(bad)} "
            "such rows; "
            "rows count from 1 after the heading; leave missing values empty or write NaN"
            f"{'; T is a trace: write the amount that you take for it' if trace else ''})"
        )
    values = np.array(
        [np.nan if gone else float(word) for word, gone in zip(plain, words.absent, strict=True)], float
    )
    return pd.Series(words.spread(values, np.nan), index=column.index)


def has_decimal_commas(column: pd.Series) -> bool:
    """Whether some cell is a number whose comma cannot separate thousands."""
    if column.dtype.kind in "fiubM":
        return False
    found = (word for word in pd.unique(column.dropna()) if "," in str(word))
    return any(
        DECIMAL_COMMA.fullmatch(w) and not MAYBE_THOUSANDS.fullmatch(w)
        for w in (str(f).strip() for f in found)
    )


def _with_points(words: Words, where: str, notes: list[str], decimal: str | None, commas: bool) -> list[str]:
    """The words with points for decimal commas, where it is certain that they are."""
    held = np.array(["," in word for word in words.words], bool) & ~words.absent
    if not held.any():
        return words.words
    row = words.row(held)
    shown = f"{where}: row {row + 1} holds {clipped(words.words[words.codes[row]])}"
    if decimal == ".":
        raise SkyweaveError(f"{shown}: a comma in a number, whose decimal mark is said to be a point")
    fits = words.fits(DECIMAL_COMMA)[held].all()
    doubtful = words.fits(MAYBE_THOUSANDS)[held].all()
    if fits and (decimal == "," or not doubtful or commas):
        notes.append(f"{where}: decimal commas")
        return [w.replace(",", ".") if h else w for w, h in zip(words.words, held, strict=True)]
    if fits:
        raise SkyweaveError(
            f"{shown}: the comma may be a decimal mark or separate thousands; say decimal: ',' at the source in the "
            "configuration (decimal=',' in Python), or write plain numbers"
        )
    if words.fits(GROUPED)[held].any():
        raise SkyweaveError(
            f"{shown}: separators of thousands are not read; write plain numbers, 101325 or 1013.25"
        )
    return words.words  # told as no number


def degrees(
    column: pd.Series,
    axis: str,
    where: str,
    notes: list[str],
    *,
    decimal: str | None = None,
    commas: bool = False,
) -> pd.Series:
    """Latitudes or longitudes in degrees: numbers, or ``48.9N``, ``2°24'E``, ``48 51 24 N``.

    Args:
        column: of any type.
        axis: ``"lat"`` or ``"lon"``.
        where, notes, decimal, commas: as for `numbers`.

    Raises:
        SkyweaveError: text that is no position, minutes of 60 or more, a letter of the other axis.
    """
    if column.dtype.kind in "fiub":
        return column.astype(float)
    words = Words.of(column)
    values = np.array(
        [np.nan if PLAIN_OR_COMMA.fullmatch(word) else _angle(word, axis) for word in words.words], float
    )
    angles = np.isfinite(values) & ~words.absent
    if not angles.any():
        return numbers(column, where, notes, decimal=decimal, commas=commas)
    rows = words.spread(angles, False)
    out = numbers(column.mask(rows), where, notes, decimal=decimal, commas=commas)
    notes.append(f"{where}: degrees with letters or minutes")
    return out.where(~rows, pd.Series(words.spread(values, np.nan), index=column.index))


def _angle(word: str, axis: str) -> float:
    """Degrees of one angle; NaN where it is none."""
    match = ANGLE.fullmatch(word.replace(",", "."))
    if match is None or (match["h"] is None and match["m"] is None and not word.endswith(("°", "º"))):
        return np.nan
    whole, minutes, seconds = (float(match[k] or 0) for k in "dms")
    letter = (match["h"] or "").upper()
    size = whole + minutes / 60 + seconds / 3600
    if minutes >= 60 or seconds >= 60 or size > RANGE[axis] or (letter and letter not in LETTERS[axis]):
        return np.nan
    if letter and match["sign"]:
        return np.nan
    return -size if match["sign"] == "-" or letter in ("S", "W") else size


def without_missing_numbers(
    values: pd.Series, where: str, notes: list[str], missing: Sequence[float] | None
) -> pd.Series:
    """Values with NaN for the numbers that mean missing: those given, else well-known ones far from all others.

    A number of `MISSING_NUMBERS` counts as missing where it lies farther beyond the range of the other values than
    that range is wide; 999 among pressures of 990 to 1030 stays. What was done is noted.

    Args:
        values: numbers.
        where: file and column.
        notes: takes what was found.
        missing: numbers that mean missing; empty for none, ``None`` to look for the well-known ones.
    """
    if missing is not None:
        wanted = values.isin([float(m) for m in missing])
        return values.mask(wanted)
    # Single precision turns -999.9 into -999.90002.
    known = np.array(MISSING_NUMBERS)
    array = values.to_numpy(float)
    near = np.zeros(len(array), bool)
    for number in known:
        near |= np.abs(array - number) <= 2e-7 * abs(number)
    if not near.any():
        return values
    others = array[np.isfinite(array) & ~near]
    low, high = (others.min(), others.max()) if len(others) else (np.nan, np.nan)
    width = max(high - low, 0.5 * max(abs(low), abs(high))) if len(others) else 0.0
    far = near & ~((array >= low - width) & (array <= high + width))
    if far.any():
        found, counts = np.unique(array[far], return_counts=True)
        told = ", ".join(f"{n} of {v:g}" for v, n in zip(found, counts, strict=True))
        notes.append(f"{where}: taken for missing: {told} (missing: [] takes them as numbers)")
    kept, times = np.unique(array[near & ~far & ((array < low) | (array > high))], return_counts=True)
    told = ", ".join(f"{v:g} ({n} times)" for v, n in zip(kept, times, strict=True) if n > 2)
    if told:
        notes.append(f"{where}: kept as values: {told}; if they mean missing, say so with missing: [...]")
    return values.mask(far)


def without_words(
    frame: pd.DataFrame, missing: Sequence[float | str] | None, notes: list[str]
) -> tuple[pd.DataFrame, list[float] | None]:
    """A table without the words that the caller says mean missing, and the numbers that do; ``None`` for none said.

    Args:
        frame: the table.
        missing: numbers and words.
        notes: takes how many cells there were.
    """
    words = {m.strip() for m in missing or () if isinstance(m, str)}
    numbers = None if missing is None else [float(m) for m in missing if not isinstance(m, str)]
    if not words:
        return frame, numbers
    held = frame.apply(
        lambda column: column.map(lambda cell: isinstance(cell, str) and cell.strip() in words)
    )
    notes.append(
        f"taken for missing as said: {int(held.to_numpy().sum())} cells ({', '.join(sorted(words))})"
    )
    return frame.mask(held), numbers or None
