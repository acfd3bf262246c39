"""Numbers, latitudes and longitudes as people write them in tables: what means missing, which comma is a point."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from skyweave.errors import SkyweaveError, clipped

__all__ = [
    "MISSING_NUMBERS",
    "MISSING_WORDS",
    "degrees",
    "has_decimal_commas",
    "is_missing",
    "looks_numeric",
    "numbers",
    "without_missing_numbers",
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

NUMBER = r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?inf(inity)?"
DECIMAL_COMMA = r"[+-]?\d*,\d+([eE][+-]?\d+)?"
MAYBE_THOUSANDS = r"[+-]?[1-9]\d{0,2}(,\d{3})+"
ANGLE = re.compile(
    r"(?P<sign>[+-])?(?P<d>\d+(\.\d*)?)\s*[°ºd:]?\s*((?P<m>\d+(\.\d*)?)\s*['′’m:]?\s*)?"
    r"((?P<s>\d+(\.\d*)?)\s*(\"|″|”|''|s)?\s*)?(?P<h>[NSEWnsew])?"
)
RANGE = {"lat": 90.0, "lon": 360.0}
LETTERS = {"lat": "NS", "lon": "EW"}


def _text(column: pd.Series) -> pd.Series:
    """Text of each cell without blanks around it and with plain minus signs; missing cells stay missing."""
    plain = column.map(str, na_action="ignore").astype(object)
    known = plain.notna()
    plain[known] = plain[known].str.strip().str.replace("\u2212", "-").str.replace("\u00a0", "")
    return plain


def is_missing(column: pd.Series) -> pd.Series:
    """Whether each cell is empty, NaN, or a word that stands for "no value"."""
    if column.dtype.kind in "fiu":
        return column.isna()
    text = _text(column)
    return text.isna() | text.eq("") | text.str.lower().isin(MISSING_WORDS)


def looks_numeric(column: pd.Series) -> float:
    """Share of numbers, points or commas, among the cells that are not missing; NaN where all are."""
    if column.dtype.kind in "fiu":
        return 1.0 if column.notna().any() else np.nan
    given = _text(column)[~is_missing(column)]
    if given.empty:
        return np.nan
    return float(given.str.fullmatch(f"{NUMBER}|{DECIMAL_COMMA}", case=False).astype(bool).mean())


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
    text = _text(column)
    absent = is_missing(column)
    words = text[absent & text.notna()]
    words = words[words != ""]
    if len(words):
        counts = words.value_counts()
        notes.append(
            f"{where}: taken for missing: "
            + ", ".join(f"{n} {clipped(w, 12)}" for w, n in counts.head(4).items())
        )
    text = text.mask(absent)
    text = _with_points(text, where, notes, decimal, commas)
    fits = text.str.fullmatch(NUMBER, case=False).eq(True)
    bad = text.notna() & ~fits
    if bad.any():
        row = int(np.flatnonzero(bad.to_numpy())[0])
        raise SkyweaveError(
            f"{where}: row {row + 1} holds {clipped(column.iloc[row])}, which is not a number ({int(bad.sum())} "
            "such rows; "
            "rows count from 1 after the heading; leave missing values empty or write NaN"
            f"{'; T is a trace: write the amount that you take for it' if text.iloc[row] in ('T', 't') else ''})"
        )
    return pd.to_numeric(text.where(fits), errors="coerce").astype(float)


def has_decimal_commas(column: pd.Series) -> bool:
    """Whether some cell has a comma that cannot separate thousands, and none has one that must."""
    if column.dtype.kind not in "OSTU" and not pd.api.types.is_string_dtype(column):
        return False
    text = _text(column).dropna()
    text = text[text.str.contains(",", regex=False)]
    if text.empty:
        return False
    decimal = text.str.fullmatch(DECIMAL_COMMA)
    return bool(decimal.any() and (decimal & ~text.str.fullmatch(MAYBE_THOUSANDS)).any())


def _with_points(
    text: pd.Series, where: str, notes: list[str], decimal: str | None, commas: bool
) -> pd.Series:
    """Decimal commas as points, where it is certain that they are."""
    held = text.str.contains(",", regex=False).eq(True)
    if not held.any():
        return text
    found = text[held]
    row = int(np.flatnonzero(held.to_numpy())[0])
    shown = f"{where}: row {row + 1} holds {clipped(text.iloc[row])}"
    if decimal == ".":
        raise SkyweaveError(f"{shown}: a comma in a number, whose decimal mark is said to be a point")
    fits = found.str.fullmatch(DECIMAL_COMMA)
    doubtful = bool(found.str.fullmatch(MAYBE_THOUSANDS).all())
    if fits.all() and (decimal == "," or not doubtful or commas):
        notes.append(f"{where}: decimal commas")
        return text.where(~held, text.str.replace(",", "."))
    if not fits.all() and found[~fits].str.contains(r"\d,\d{3}(?:[.,]|$)").any():
        raise SkyweaveError(
            f"{shown}: separators of thousands are not read; write plain numbers, 101325 or 1013.25"
        )
    if fits.all():
        raise SkyweaveError(
            f"{shown}: the comma may be a decimal mark or separate thousands; say decimal: ',' at the source in the "
            "configuration (decimal=',' in Python), or write plain numbers"
        )
    return text  # told as no number


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
    text = _text(column).mask(is_missing(column))
    plain = text.str.fullmatch(f"{NUMBER}|{DECIMAL_COMMA}", case=False)
    angles = text.notna() & plain.ne(True)
    if not angles.any():
        return numbers(column, where, notes, decimal=decimal, commas=commas)
    values = {word: _angle(word, axis) for word in text[angles].unique()}
    bad = angles & text.map(lambda word: values.get(word, 0.0)).isna()
    rest = column.mask(angles & ~bad, "0")
    out = numbers(rest, where, notes, decimal=decimal, commas=commas)
    notes.append(f"{where}: degrees with letters or minutes")
    return out.where(~angles, text.map(values).astype(float))


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
    kept, times = np.unique(array[near & ~far], return_counts=True)
    told = ", ".join(f"{v:g} ({n} times)" for v, n in zip(kept, times, strict=True) if n > 2)
    if told:
        notes.append(f"{where}: kept as values: {told}; if they mean missing, say so with missing: [...]")
    return values.mask(far)
