"""BUFR messages by ecCodes, one by one, their values by key, missing ones as NaN; in a process of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skyweave.native.ecmwf import check_between, library, told_of

__all__ = ["Floats", "Message", "read_messages"]

Floats = NDArray[np.float64]

MISSING_INTEGER = 2147483647
MISSING_REAL = -1e100
UNREADABLE = "message that cannot be decoded"


@dataclass(frozen=True)
class Message:
    """An unpacked message of one report, or of several that are compressed together.

    Args:
        eccodes: the library.
        handle: its own.
        category: BUFR table A: 0 and 1 surface (land, sea), 2 soundings, 4 aircraft.
        subsets: number of reports.
        fixed: whether every message of its template has the same keys.
        lacking: keys that its template is known to lack; shared by all messages of a fixed one.
    """

    eccodes: Any
    handle: int
    category: int
    subsets: int
    fixed: bool = False
    lacking: set[str] = field(default_factory=set, repr=False)

    def numbers(self, key: str) -> Floats | None:
        """The first value of a key in every report, NaN where missing, ``(subsets,)``; ``None`` without the key."""
        if not self.has(key):
            return None
        name = f"#1#{key}"
        if self.subsets == 1:
            one = self.eccodes.codes_get_double(self.handle, name)
            return np.full(1, np.nan if one in (MISSING_REAL, MISSING_INTEGER) else one)
        found = self._array(name)
        return (
            found if len(found) == self.subsets else np.full(self.subsets, found[0] if len(found) else np.nan)
        )

    def has(self, key: str) -> bool:
        """Whether the message has a key, with a value or without."""
        if key in self.lacking:
            return False
        # Asking first is far cheaper than an exception for each key that a message lacks.
        there = bool(self.eccodes.codes_is_defined(self.handle, f"#1#{key}"))
        if self.fixed and not there:
            self.lacking.add(key)
        return there

    def levels(self, key: str) -> Floats:
        """All values of a key in a message of one report, in order."""
        return self._array(key)

    def texts(self, key: str) -> list[str]:
        """The first text of a key in every report, empty where missing."""
        eccodes = self.eccodes
        try:
            found = [str(t).strip() for t in eccodes.codes_get_string_array(self.handle, f"#1#{key}")]
        except eccodes.CodesInternalError:
            return [""] * self.subsets
        found = ["" if not t.isprintable() or set(t) <= {"\xff"} else t for t in found]
        return found * self.subsets if len(found) == 1 else found

    def names(self) -> list[str]:
        """Names of its values in order, with their rank: ``#2#airTemperature``."""
        eccodes = self.eccodes
        iterator = eccodes.codes_bufr_keys_iterator_new(self.handle)
        found = []
        while eccodes.codes_bufr_keys_iterator_next(iterator):
            name = eccodes.codes_bufr_keys_iterator_get_name(iterator)
            if "->" not in name:
                found.append(name)
        eccodes.codes_bufr_keys_iterator_delete(iterator)
        return found

    def units(self, key: str) -> str:
        """Units of a key, empty where there is none."""
        eccodes = self.eccodes
        try:
            return str(eccodes.codes_get(self.handle, f"#1#{key}->units"))
        except eccodes.CodesInternalError:
            return ""

    def _array(self, key: str) -> Floats:
        eccodes = self.eccodes
        # Asking first is far cheaper than an exception for each key that a message lacks.
        if not eccodes.codes_is_defined(self.handle, key):
            return np.zeros(0)
        try:
            raw = np.asarray(eccodes.codes_get_array(self.handle, key))
        except eccodes.CodesInternalError:
            return np.zeros(0)
        if raw.dtype.kind not in "fiu":
            return np.zeros(0)
        found = raw.astype(np.float64)
        found[raw == (MISSING_REAL if raw.dtype.kind == "f" else MISSING_INTEGER)] = np.nan
        return found


def read_messages(
    path: str,
    wanted: Sequence[str],
    dropped: Counter[str],
    *,
    single: bool = False,
    attributes: bool = False,
) -> Iterator[Message]:
    """Messages that have any of the wanted keys, in order; each is valid until the next.

    Args:
        path: a local file.
        wanted: keys, without ranks; a message whose descriptors cannot give any is not unpacked.
        dropped: counts of what is passed over, added to.
        single: compressed reports one by one as well.
        attributes: whether units can be asked for, which takes longer.

    Raises:
        SkyweaveError: the extra is not installed, or the file ends within a message or is damaged between them.
    """
    eccodes = library("eccodes", "bufr", path)
    useless: set[tuple[int, ...]] = set()
    lacking: dict[tuple[int, ...], set[str]] = {}
    end = 0
    with told_of(path), open(path, "rb") as raw:
        while True:
            handle = eccodes.codes_bufr_new_from_file(raw)
            if handle is None:
                break
            try:
                start, size = (int(eccodes.codes_get(handle, k)) for k in ("offset", "totalLength"))
                after = raw.tell()
                check_between(path, raw, end, start)
                raw.seek(after)
                end = start + size
                count = int(eccodes.codes_get(handle, "numberOfSubsets"))
                template = tuple(int(d) for d in eccodes.codes_get_array(handle, "unexpandedDescriptors"))
                if template in useless or not _unpacked(eccodes, handle, count, dropped, attributes):
                    continue
                if template not in lacking:
                    descriptors = eccodes.codes_get_array(handle, "expandedDescriptors")
                    varies = any(31000 <= d <= 31012 for d in descriptors)
                    if not varies and not _has_any(eccodes, handle, wanted):
                        useless.add(template)
                        continue
                    if not varies:
                        lacking[template] = set()
                for message in _reports(eccodes, handle, count, single):
                    yield (
                        replace(message, fixed=True, lacking=lacking[template])
                        if template in lacking
                        else message
                    )
            finally:
                eccodes.codes_release(handle)
        raw.seek(0, 2)
        check_between(path, raw, end, raw.tell())


def _unpacked(eccodes: Any, handle: int, count: int, dropped: Counter[str], attributes: bool) -> bool:
    try:
        # Attributes such as percentConfidence take most of the time.
        eccodes.codes_set(handle, "skipExtraKeyAttributes", 0 if attributes else 1)
        eccodes.codes_set(handle, "unpack", 1)
    except eccodes.CodesInternalError:
        dropped[UNREADABLE] += count
        return False
    return True


def _has_any(eccodes: Any, handle: int, keys: Sequence[str]) -> bool:
    return any(eccodes.codes_is_defined(handle, f"#1#{key}") for key in keys)


def _reports(eccodes: Any, handle: int, count: int, single: bool) -> Iterator[Message]:
    category = int(eccodes.codes_get(handle, "dataCategory"))
    compressed = bool(eccodes.codes_get(handle, "compressedData"))
    # Only soundings (category 2) are taken one by one; others need not, and some templates cannot be taken apart.
    if count == 1 or (compressed and not (single and category == 2)):
        yield Message(eccodes, handle, category, count)
        return
    for k in range(1, count + 1):
        eccodes.codes_set(handle, "extractSubset", k)
        eccodes.codes_set(handle, "doExtractSubsets", 1)
        one = eccodes.codes_new_from_message(eccodes.codes_get_message(handle))
        try:
            eccodes.codes_set(one, "unpack", 1)
            yield Message(eccodes, one, category, 1)
        finally:
            eccodes.codes_release(one)
