"""Which files are BUFR, by their first bytes."""

from __future__ import annotations

import os
from collections.abc import Iterable

from skyweave.errors import SkyweaveError
from skyweave.io.formats import expand
from skyweave.native.ecmwf import needed

__all__ = ["Paths", "bufr_files", "is_bufr"]

Paths = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]


def is_bufr(path: str | os.PathLike[str]) -> bool:
    """Whether a local file holds BUFR, by its first bytes, perhaps behind a bulletin's heading."""
    try:
        with open(path, "rb") as raw:
            head = raw.read(64)
    except OSError:
        return False
    at = head.find(b"BUFR")
    return at >= 0 and len(head) > at + 7 and head[at + 7] in (2, 3, 4)


def bufr_files(paths: Paths) -> list[str]:
    """The files that are meant.

    Raises:
        SkyweaveError: one is not there or is not BUFR, or the extra is not installed.
    """
    files = expand(paths)
    for path in files:
        if not is_bufr(path):
            raise SkyweaveError(f"{path}: is not BUFR of edition 2 to 4 (it does not begin with 'BUFR')")
        needed("eccodes", "bufr", path)
    return files
