"""GRIB messages by ecCodes: what each says of its field, and single keys of them; runs in a process of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np

from skyweave.native.ecmwf import check_between, library, told_of

__all__ = ["attempt", "headers", "keys", "value"]

Place = int | tuple[int, int]
"""Byte at which a message begins, and which of several fields in it is meant."""

KEYS = (
    "paramId", "shortName", "cfVarName", "typeOfLevel", "stepType", "gridType", "md5GridSection", "dataType",
    "number", "dataDate", "dataTime", "validityDate", "validityTime", "numberOfPoints",
)  # fmt: skip
TYPED: dict[str, type] = {
    "level": float,
    "endStep": int,
    "startStep": int,
    "stepUnits": int,
    "offset": int,
    "totalLength": int,
}
MISSING = float(np.finfo(np.float32).max)
"""What cfgrib expects where a bitmap says that there is no value."""


def headers(path: str) -> list[tuple[Place, dict[str, Any]]]:
    """Place and header (`KEYS` and `TYPED`, None where there is no such key) of every field, in order.

    Raises:
        SkyweaveError: a file that ends within a message, has none, or has anything but blanks and bulletins' headings
            between them.
    """
    eccodes = library("eccodes", "grib", path)
    found: list[tuple[Place, dict[str, Any]]] = []
    start, end, count = -1, 0, 0
    with told_of(path), open(path, "rb") as raw, open(path, "rb") as bare:
        eccodes.codes_grib_multi_support_on()
        eccodes.codes_grib_multi_support_reset_file(raw)
        for handle in _handles(eccodes, raw):
            header = {key: _lenient(eccodes, handle, key) for key in KEYS}
            header |= {key: _lenient(eccodes, handle, key, kind) for key, kind in TYPED.items()}
            count = count + 1 if header["offset"] == start else 0
            start = header["offset"]
            if start >= end:
                check_between(path, bare, end, start)
                end = start + header["totalLength"]
            found.append(((start, count) if count else start, header))
        eccodes.codes_grib_multi_support_off()
        if not found:
            raise EOFError("no valid message found")
        bare.seek(0, 2)
        check_between(path, bare, end, bare.tell())
    return found


def _handles(eccodes: Any, raw: BinaryIO) -> Iterator[int]:
    while (handle := eccodes.codes_grib_new_from_file(raw)) is not None:
        try:
            eccodes.codes_set(handle, "missingValue", MISSING)
            yield handle
        finally:
            eccodes.codes_release(handle)


def value(path: str, place: Place, key: str) -> Any:
    """A number, text or array of a field, ``None`` where it has no such key; ``key:int`` states the type.

    Raises:
        SkyweaveError: the message cannot be decoded.
    """
    with told_of(path):
        eccodes, handle = _held(path, place)
        name, _, kind = key.partition(":")
        return _get(eccodes, handle, name, {"float": float, "int": int, "str": str}.get(kind))


def attempt(path: str, place: Place, key: str, kind: type | None = None) -> Any:
    """As `value`, ``None`` also where ecCodes cannot tell."""
    with told_of(path):
        return _lenient(*_held(path, place), key, kind)


def keys(path: str, place: Place) -> list[str]:
    """Names of all keys of a field."""
    with told_of(path):
        eccodes, handle = _held(path, place)
        iterator = eccodes.codes_keys_iterator_new(handle)
        names = []
        while eccodes.codes_keys_iterator_next(iterator):
            names.append(str(eccodes.codes_keys_iterator_get_name(iterator)))
        eccodes.codes_keys_iterator_delete(iterator)
        return names


_last: dict[tuple[str, Place], int] = {}


def _held(path: str, place: Place) -> tuple[Any, int]:
    """The library, and the message at a place, which stays open until another is asked for."""
    eccodes = library("eccodes", "grib", path)
    if (path, place) not in _last:
        while _last:
            eccodes.codes_release(_last.popitem()[1])
        offset, count = place if isinstance(place, tuple) else (place, 0)
        with open(path, "rb") as raw:
            raw.seek(offset)
            # Random access needs the support of several fields in a message to be off, unless it is one of those.
            if count:
                eccodes.codes_grib_multi_support_on()
                eccodes.codes_grib_multi_support_reset_file(raw)
            for left in range(count, -1, -1):
                handle = eccodes.codes_grib_new_from_file(raw)
                if left:
                    eccodes.codes_release(handle)
            eccodes.codes_grib_multi_support_off()
        eccodes.codes_set(handle, "missingValue", MISSING)
        _last[path, place] = handle
    return eccodes, _last[path, place]


def _get(eccodes: Any, handle: int, key: str, kind: type | None = None) -> Any:
    try:
        if eccodes.codes_get_size(handle, key) > 1:
            found = eccodes.codes_get_array(handle, key, kind)
            return found[0] if found is not None and len(found) == 1 else found
        return eccodes.codes_get(handle, key, kind)
    except eccodes.KeyValueNotFoundError:
        return None


def _lenient(eccodes: Any, handle: int, key: str, kind: type | None = None) -> Any:
    try:
        return _get(eccodes, handle, key, kind)
    except Exception:
        return None
