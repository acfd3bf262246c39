"""Chunks of Zarr stores looked at before they are decoded: decoders believe the sizes that a chunk's first bytes claim.

A chunk that is shorter than it says leads blosc beyond its end, which may end the process.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import zarr
from zarr.registry import get_pipeline_class, register_pipeline

__all__ = ["check_chunk", "checked_chunks"]

SPARE = 2**26
"""Bytes beyond twice the chunk's that may be unpacked: texts have no fixed length, and filters change lengths."""
MOST = 2**32

_Pipeline: Any = get_pipeline_class()


@contextmanager
def checked_chunks() -> Iterator[None]:
    """Arrays that are opened within have their chunks checked whenever they are read; shards are not looked into."""
    with zarr.config.set({"codec_pipeline.path": f"{_Checked.__module__}.{_Checked.__qualname__}"}):
        yield


def check_chunk(data: bytes, codec: str, size: int) -> None:
    """Refuse a chunk that claims another length than it has, or to unpack to far more than it should.

    Args:
        data: as stored.
        codec: the last that it was packed with, such as ``"blosc"``.
        size: bytes of the array's values in it.

    Raises:
        ValueError: with both lengths.

    References: c-blosc 1, README_CHUNK_FORMAT; RFC 8878, 3.1.1.1 (Zstandard frame header); RFC 1952 (gzip).
    """
    if codec == "blosc":
        packed = int.from_bytes(data[12:16], "little")
        if len(data) < 16 or packed > len(data):
            raise ValueError(f"a chunk of {len(data)} bytes says that it has {packed}")
    claimed = CLAIMS[codec](data) if codec in CLAIMS else None
    if claimed is not None and claimed > min(2 * size + SPARE, MOST):
        raise ValueError(f"a chunk of {size} bytes says that it unpacks to {claimed}")


def _zstd(data: bytes) -> int | None:
    """The size of a frame's content, None where it states none."""
    if data[:4] != b"\x28\xb5\x2f\xfd" or len(data) < 5:
        return None
    flag, single = data[4] >> 6, data[4] >> 5 & 1
    width = (1 if single else 0, 2, 4, 8)[flag]
    start = 5 + (0 if single else 1) + (0, 1, 2, 4)[data[4] & 3]
    if not width:
        return None
    return int.from_bytes(data[start : start + width], "little") + (256 if width == 2 else 0)


CLAIMS: dict[str, Callable[[bytes], int | None]] = {
    "blosc": lambda data: int.from_bytes(data[4:8], "little"),
    "zstd": _zstd,
    "lz4": lambda data: int.from_bytes(data[:4], "little"),
    "gzip": lambda data: int.from_bytes(data[-4:], "little"),
}
"""By codec the bytes that a chunk says it unpacks to."""


@dataclass(frozen=True)
class _Stored:
    """Gives the bytes of one chunk once they were checked."""

    inner: Any
    codec: str
    size: int

    async def get(self, prototype: Any, byte_range: Any = None) -> Any:
        found = await self.inner.get(prototype, byte_range)
        if found is not None and byte_range is None and self.codec in CLAIMS:
            check_chunk(found.to_bytes(), self.codec, self.size)
        return found


class _Checked(_Pipeline):
    """zarr's own way from stored bytes to values, with a look at the bytes."""

    async def read(
        self, batch_info: Iterable[tuple[Any, ...]], out: Any, drop_axes: tuple[int, ...] = ()
    ) -> None:
        codec = _name(list(self)[-1])
        checked = [
            (
                _Stored(getter, codec, math.prod(spec.shape) * spec.dtype.to_native_dtype().itemsize),
                spec,
                *rest,
            )
            for getter, spec, *rest in batch_info
        ]
        await super().read(checked, out, drop_axes)


def _name(codec: Any) -> str:
    """Of a codec of Zarr 3, or of the compressor of a Zarr 2 array."""
    if hasattr(codec, "compressor"):
        return str(getattr(codec.compressor, "codec_id", ""))
    return str(codec.to_dict().get("name", "")).removeprefix("numcodecs.")


register_pipeline(_Checked)
