"""A damage that libhdf5 never returns from: a global heap whose objects do not follow one another, found beforehand."""

from __future__ import annotations

import os

from skyweave.errors import SkyweaveError

__all__ = ["check_heaps"]

MOST_BYTES = 2**28
"""Files up to this size are looked through: 256 MiB, a tenth of a second."""

_SIGNATURE = b"GCOL\x01\x00\x00\x00"


def check_heaps(path: str | os.PathLike[str]) -> None:
    """Refuse a file that would hang the library: in a heap (references, texts) sizes must lead to its end.

    A collection begins with its signature and size, then come objects of index, count, reserved bytes, size and data in
    multiples of eight bytes; index 0 is the free space at the end.

    Args:
        path: of a local HDF5 file.

    Raises:
        SkyweaveError: naming the place of the damage.

    Reference: HDF5 File Format Specification 3.0, Section III.E, "Disk Format: Level 1E - Global Heap".
    """
    if os.path.getsize(path) > MOST_BYTES:
        return
    with open(path, "rb") as handle:
        data = handle.read()
    start = data.find(_SIGNATURE)
    while start >= 0:
        broken = _broken(data, start)
        if broken is not None:
            raise SkyweaveError(
                f"{path}: is truncated or damaged, or not wholly downloaded: the heap of references and texts at byte "
                f"{start} breaks off at byte {broken}"
            )
        start = data.find(_SIGNATURE, start + 8)


def _broken(data: bytes, start: int) -> int | None:
    """Where the objects of a collection stop to follow one another; None where they are in order."""
    end = start + int.from_bytes(data[start + 8 : start + 16], "little")
    at = start + 16
    if end > len(data) or end < at:
        return at - 8
    while at + 16 <= end:
        index = int.from_bytes(data[at : at + 2], "little")
        size = int.from_bytes(data[at + 8 : at + 16], "little")
        # Free space counts its own head, and is the last.
        step = size if index == 0 else 16 + -(-size // 8) * 8
        if index == 0 and 0 < size < 16 and at + size == end:
            return None
        if step < 16 or at + step > end:
            return at
        at += step
    return None
