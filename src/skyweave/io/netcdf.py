"""NetCDF 4 written by one thread, so that a full disk is an error and nothing else."""

from __future__ import annotations

import io
import os
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import h5netcdf
import numpy as np
import xarray as xr
from xarray.backends import H5NetCDFStore

from skyweave.io.disk import sync_file

__all__ = ["to_netcdf"]

SLAB_BYTES = 64 * 2**20
"""Values that are computed at once, by all threads, before this one writes them."""


def to_netcdf(ds: xr.Dataset, path: Path, encoding: Mapping[Hashable, Mapping[str, Any]]) -> None:
    """Write a dataset to a new file that is on disk when this returns.

    Values are computed in parallel and written by the calling thread, which closes the file before it raises: no other
    writes to it afterwards.

    Args:
        ds: from `skyweave.io.encoding.prepared`.
        path: of the new file.
        encoding: from `skyweave.io.encoding.encodings`.

    Raises:
        OSError: the disk refuses.
    """
    with _Lasting(path) as out:
        try:
            store = H5NetCDFStore(h5netcdf.File(out, "w"))
            try:
                ds.dump_to_store(store, writer=_Slabs(out), encoding=dict(encoding))
            finally:
                store.close()
        except Exception:
            out.check()
            raise
        out.check()
    sync_file(path)


class _Lasting(io.RawIOBase):
    """A file that remembers its first error instead of raising it: HDF5 crashes on closing what it could not write."""

    def __init__(self, path: Path) -> None:
        self.file = open(path, "w+b", buffering=0)  # noqa: SIM115  (closed with this one)
        self.error: OSError | None = None

    def check(self) -> None:
        if self.error is not None:
            raise OSError(self.error.errno, os.strerror(self.error.errno or 0)) from self.error

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        written = 0
        try:
            while written < len(view):
                written += self.file.write(view[written:])
        except OSError as error:
            self.error = self.error or error
            self.file.seek(len(view) - written, os.SEEK_CUR)
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        try:
            return self.file.truncate(size)
        except OSError as error:
            self.error = self.error or error
            return size or 0

    def readinto(self, buffer: Any) -> int:
        return self.file.readinto(buffer)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self.file.seek(offset, whence)

    def tell(self) -> int:
        return self.file.tell()

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        self.file.close()
        super().close()


class _Slabs:
    """Takes the arrays of a dataset as xarray's writers do, lazy ones a few blocks at a time."""

    def __init__(self, out: _Lasting) -> None:
        self.out = out

    def add(self, source: Any, target: Any, region: Any = None) -> None:
        if isinstance(source, np.ndarray) or not hasattr(source, "chunks") or not source.ndim:
            target[...] = np.asarray(source)
            self.out.check()
            return
        blocks, each = source.chunks[0], source.nbytes // max(source.shape[0], 1)
        start = 0
        while start < source.shape[0]:
            stop = start
            for edge in np.cumsum(blocks):
                if edge > start and (stop == start or (edge - start) * each <= SLAB_BYTES):
                    stop = int(edge)
            target[start:stop] = source[start:stop].compute()
            self.out.check()
            start = stop
