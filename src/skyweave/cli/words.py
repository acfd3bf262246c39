"""How words of the command line become values: whole numbers are whole, numbers are finite, names have no NUL."""

from __future__ import annotations

import math
import re
from typing import Any

from cyclopts import convert

__all__ = ["plain"]

_WHOLE = re.compile(r"[+-]?\d+(_\d+)*")


def plain(type_: Any, tokens: Any) -> Any:
    """The values of a flag, as cyclopts makes them, but without its liberties: it would read 1.5 members as two.

    Raises:
        ValueError: a fraction where a whole number is meant, NaN or an infinite number, a NUL in a text.
    """
    return convert(type_, tokens, converter=_one)


def _one(type_: Any, word: str) -> Any:
    if "\0" in word:
        raise ValueError(f"{word!r} holds a NUL character")
    if type_ is int:
        if not _WHOLE.fullmatch(word.strip()) or len(word) > 40:
            raise ValueError(f"{word!r:.60} is not a whole number")
        return int(word)
    if type_ is float:
        number = float(word)
        if not math.isfinite(number):
            raise ValueError(f"{word!r:.60} is not a finite number")
        return number
    return convert(type_, [word])
