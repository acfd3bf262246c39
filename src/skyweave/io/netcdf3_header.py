"""The header of a NetCDF 3 file against its size: a variable that reaches beyond the end is found before it is read."""

from __future__ import annotations

import math
import os
from typing import BinaryIO

from skyweave.errors import SkyweaveError

__all__ = ["check_netcdf3"]

MOST_NAMES = 100_000
"""Dimensions, attributes or variables of a file."""

_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 4, 6: 8}
_DIMENSION, _VARIABLE, _ATTRIBUTE = 10, 11, 12


def check_netcdf3(path: str | os.PathLike[str]) -> None:
    """Refuse a file whose header is damaged, or describes more than the file holds.

    Args:
        path: of a local file that begins with ``CDF\\x01`` or ``CDF\\x02``.

    Raises:
        SkyweaveError: with the variable that reaches beyond the end.

    Reference: NetCDF Classic Format Specification, https://docs.unidata.ucar.edu/nug/current/file_format_specifications.html
    """
    size = os.path.getsize(path)
    with open(path, "rb") as handle:
        try:
            header = _Header(handle, size)
            problem = header.problem()
        except (ValueError, IndexError) as error:
            problem = f"its header is damaged ({error})"
    if problem is not None:
        raise SkyweaveError(f"{path}: is truncated or damaged, or not wholly downloaded: {problem}")


class _Header:
    """Reads a header in order; every length is compared with the file before anything is read."""

    def __init__(self, handle: BinaryIO, size: int) -> None:
        self.handle, self.size = handle, size
        self.wide = handle.read(4)[3:] == b"\x02"
        self.records = self._number()

    def problem(self) -> str | None:
        dimensions = []
        for _ in range(self._list(_DIMENSION)):
            self._text()
            dimensions.append(self._number())
        self._attributes()
        variables = [self._variable(dimensions) for _ in range(self._list(_VARIABLE))]
        per_record = [v for v in variables if v[3]]
        # A single record variable is not padded to four bytes.
        step = per_record[0][1] if len(per_record) == 1 else sum(-(-v[1] // 4) * 4 for v in per_record)
        for name, length, begin, record in variables:
            streaming = self.records == 0xFFFFFFFF
            count = max(0, self.records - 1) if record and not streaming else 0
            end = begin + (length + count * step if not record or self.records else 0)
            if end > self.size:
                return f"variable {name!r:.60} ends at byte {end}, the file at byte {self.size}"
        return None

    def _variable(self, dimensions: list[int]) -> tuple[str, int, int, bool]:
        """Name, bytes (of a record where it has those), first byte, and whether it has records."""
        name = self._text()
        rank = self._count()
        shape = [dimensions[self._number()] for _ in range(rank)]
        self._attributes()
        kind = self._number()
        self._number()  # its size as stored overflows where it is large
        begin = self._number(8 if self.wide else 4)
        if kind not in _BYTES:
            raise ValueError(f"variable {name!r:.60} has the type {kind}")
        record = bool(shape) and shape[0] == 0
        return name, math.prod(shape[1:] if record else shape) * _BYTES[kind], begin, record

    def _attributes(self) -> None:
        for _ in range(self._list(_ATTRIBUTE)):
            self._text()
            kind, count = self._number(), self._number()
            if kind not in _BYTES:
                raise ValueError(f"an attribute has the type {kind}")
            self._skip(count * _BYTES[kind])

    def _list(self, tag: int) -> int:
        found, count = self._number(), self._count()
        if found not in (0, tag) or (found == 0 and count):
            raise ValueError(f"found the tag {found}, expected {tag}")
        return count

    def _text(self) -> str:
        count = self._number()
        if count > 10_000:
            raise ValueError(f"a name of {count} bytes")
        text = self.handle.read(count).decode("utf-8", "replace")
        self.handle.seek(-count % 4, os.SEEK_CUR)
        return text

    def _skip(self, count: int) -> None:
        if count > self.size - self.handle.tell():
            raise ValueError(f"an attribute of {count} bytes")
        self.handle.seek(-(-count // 4) * 4, os.SEEK_CUR)

    def _count(self) -> int:
        count = self._number()
        if count > MOST_NAMES:
            raise ValueError(f"a list of {count} entries")
        return count

    def _number(self, size: int = 4) -> int:
        data = self.handle.read(size)
        if len(data) < size:
            raise ValueError("it ends early")
        return int.from_bytes(data, "big")
