"""Numbers in attributes, whatever their type: several, text, bytes."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

__all__ = ["number_of", "numbers_of", "plain"]

_SUFFIX = re.compile(r"[fFdDlLsSuUbB]+$")  # of numbers as CDL writes them, -9999.f


def plain(value: Any) -> Any:
    """Text where an attribute is bytes."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def numbers_of(value: Any) -> list[Any]:
    """The numbers of an attribute, whole ones as int; text is read, and what is no number left out."""
    value = plain(value)
    if value is None:
        return []
    found: list[Any] = []
    for item in np.ravel(np.asarray(value)):
        if isinstance(item, (str, bytes)):
            found += _from_text(str(plain(bytes(item) if isinstance(item, bytes) else str(item))))
        elif isinstance(item, (np.integer, np.bool_, int)):
            found.append(int(item))
        elif isinstance(item, (np.floating, float)):
            found.append(float(item))
    return found


def _from_text(text: str) -> list[Any]:
    found: list[Any] = []
    for word in re.split(r"[\s,;()\[\]]+", text.strip()):
        for way in (word, _SUFFIX.sub("", word)):
            try:
                found.append(int(way) if re.fullmatch(r"[+-]?\d+", way) else float(way))
                break
            except ValueError:
                continue
    return found


def number_of(value: Any) -> Any:
    """A scale or an offset in its own type; of text a double; None where there is none."""
    flat = np.ravel(np.asarray(value)) if value is not None else np.zeros(0)
    if flat.size == 1 and flat.dtype.kind in "fiu":
        return flat.astype(flat.dtype.newbyteorder("="))[0]
    numbers = numbers_of(value)
    return np.float64(numbers[0]) if len(numbers) == 1 else None
