"""Whole files in memory, plain or compressed, within a limit: a small file may unpack to any size."""

from __future__ import annotations

import io
import os
import zipfile
import zlib
from collections.abc import Callable

import fsspec

from skyweave.errors import SkyweaveError

__all__ = ["LIMIT", "read_bounded", "read_opening", "unzip_bounded"]

LIMIT = 2 * 1024**3
"""Bytes of one file, after decompression, that are read."""

RATIO = 200
"""Times that a file may grow by decompression once it is beyond `FREE`; tables of text grow some twentyfold."""

FREE = 64 * 1024**2
CHUNK, PIECE = 4 * 1024**2, 256 * 1024
GZIP, ZIP = b"\x1f\x8b", b"PK\x03\x04"


def read_bounded(path: str, *, limit: int = LIMIT, members: Callable[[str], bool] | None = None) -> bytes:
    """Bytes of a file (local or any fsspec URL), decompressed if it is gzip, or zip where ``members`` is given.

    Args:
        path: of the file.
        limit: bytes that are read at most, before and after decompression.
        members: which files of a zip archive are wanted, by name; they are joined. ``None`` leaves a zip as it is.

    Raises:
        SkyweaveError: it cannot be read, is truncated, or holds more than the limit.
    """
    try:
        with fsspec.open(path, "rb") as handle:
            parts, total = [], 0
            # In pieces: one read of the limit takes that memory whatever the file holds.
            while chunk := handle.read(CHUNK):
                parts.append(chunk)
                total += len(chunk)
                if total > limit:
                    raise SkyweaveError(_too_large(path, limit, "holds more than"))
        raw = b"".join(parts)
        if raw[:2] == GZIP:
            return _gunzip(raw, path, limit)
        if raw[:4] == ZIP and members is not None:
            return unzip_bounded(raw, path, members, limit=limit)
        return raw
    except SkyweaveError:
        raise
    except (EOFError, zlib.error, zipfile.BadZipFile, RuntimeError, NotImplementedError) as exc:
        raise SkyweaveError(
            f"{path}: is truncated or damaged, and cannot be read ({exc}); download it again"
        ) from exc
    except (OSError, ValueError, ImportError) as exc:
        raise SkyweaveError(f"{path}: cannot be read ({type(exc).__name__}: {exc})") from exc


def read_opening(path: str, size: int = 65536) -> bytes:
    """The first bytes of a file, decompressed if it is gzip: enough to tell what it is.

    Raises:
        SkyweaveError: it cannot be read.
    """
    try:
        with fsspec.open(path, "rb") as handle:
            raw: bytes = handle.read(size)
    except (OSError, ValueError, ImportError) as exc:
        raise SkyweaveError(f"{path}: cannot be read ({type(exc).__name__}: {exc})") from exc
    if raw[:2] != GZIP:
        return raw
    try:
        return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(raw, size)
    except zlib.error:
        return raw


def unzip_bounded(raw: bytes, path: str, wanted: Callable[[str], bool], *, limit: int = LIMIT) -> bytes:
    """The members of a zip archive that are wanted, joined.

    Raises:
        SkyweaveError: they hold more than the limit.
        zipfile.BadZipFile: the archive is damaged.
    """
    parts, total = [], 0
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        for name in filter(wanted, archive.namelist()):
            with archive.open(name) as member:
                while chunk := member.read(CHUNK):
                    total += len(chunk)
                    _check_growth(path, len(raw), total, limit)
                    parts.append(chunk)
    return b"".join(parts)


def _gunzip(raw: bytes, path: str, limit: int) -> bytes:
    """All members of a gzip file, in chunks, so that memory stays bounded whatever it holds."""
    parts, total, place = [], 0, 0
    while raw[place : place + 2] == GZIP:
        stream = zlib.decompressobj(zlib.MAX_WBITS | 16)
        while not stream.eof:
            given = stream.unconsumed_tail or raw[place : place + PIECE]
            place += 0 if stream.unconsumed_tail else len(given)
            chunk = stream.decompress(given, CHUNK)
            if not chunk and not given:
                raise EOFError("compressed data end before their end-of-stream mark")
            total += len(chunk)
            _check_growth(path, len(raw), total, limit)
            parts.append(chunk)
        place -= len(stream.unused_data)
    if raw[place:].strip(b"\0"):
        raise zlib.error("bytes that are no gzip follow the compressed data")
    return b"".join(parts)


def _check_growth(path: str, packed: int, total: int, limit: int) -> None:
    if total > limit:
        raise SkyweaveError(_too_large(path, limit, "unpacks to more than"))
    if total > FREE and total > RATIO * packed:
        raise SkyweaveError(
            f"{path}: unpacks to more than {RATIO} times its {packed} bytes, which no table does; is it what it "
            "should be? If so, decompress it and give the plain file"
        )


def _too_large(path: str, limit: int, verb: str) -> str:
    return (
        f"{os.fspath(path)}: {verb} {limit / 1024**3:g} GiB, more than is read at once; split it, or take "
        "the rows that matter"
    )
