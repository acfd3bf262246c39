"""Write datasets as CF-1.11 NetCDF 4 or Zarr 3, whole, without ever spoiling what is there."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Hashable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dask
import fsspec
import xarray as xr

from skyweave.errors import SkyweaveError
from skyweave.io.disk import clear_leftovers, put_back, swap, sync_tree, temporary
from skyweave.io.encoding import encodings, prepared
from skyweave.io.formats import is_url
from skyweave.io.netcdf import to_netcdf
from skyweave.io.outputs import just_finished, lock_of
from skyweave.io.store import (
    NETCDF_ENDINGS,
    check_output,
    consolidate,
    create_store,
    discard_partial,
    done_units,
    finish_store,
    mark_done,
    partial_store,
    write_region,
)

__all__ = [
    "check_output", "create_store", "discard_partial", "done_units", "finish_store", "mark_done",
    "partial_store", "write", "write_region",
]  # fmt: skip


def write(
    ds: xr.Dataset,
    path: str | os.PathLike[str],
    overwrite: bool = False,
    *,
    chunks: Mapping[Hashable, int] | None = None,
    compression: int = 4,
    message: str = "written",
) -> Path | str:
    """Write a dataset with its coordinates bit for bit, CF-1.11 attributes, compression and chunks for maps
    and series.

    Everything goes to a temporary sibling first and takes its place when complete: a failure leaves what was
    there.

    Args:
        ds: dataset; its encodings are ignored, values are stored with the dtype they have in memory.
        path: ends in ``.nc`` (NetCDF 4) or ``.zarr`` (Zarr 3); a URL is possible for a new Zarr store.
        overwrite: replace an existing output.
        chunks: chunk sizes by dimension, instead of the default.
        compression: level, 0 to 9.
        message: what was done, for the history attribute.

    Raises:
        SkyweaveError: the output exists, its folder does not, the ending is neither, or the disk refuses.
    """
    text = os.fspath(path)
    zarr_out = text.rstrip("/").endswith(".zarr")
    if not zarr_out and not text.endswith(NETCDF_ENDINGS):
        raise SkyweaveError(
            f"{text}: cannot tell the format from this name; end it in .nc (NetCDF 4) or .zarr (Zarr 3)"
        )
    if is_url(text):
        return _write_url(ds, text, zarr_out, chunks, compression, message)
    target = Path(text)
    check_output(target, overwrite)
    lock = lock_of(target)
    lock.acquire()
    try:
        _settle(target, overwrite)
        return _write_file(ds, target, zarr_out, chunks, compression, message)
    finally:
        lock.release()


def _settle(target: Path, overwrite: bool) -> None:
    """Remove what dead writers left, and look again at what is there."""
    put_back(target)
    clear_leftovers(target)
    if just_finished(target):
        discard_partial(target)
    check_output(target, overwrite)


def _write_file(
    ds: xr.Dataset,
    target: Path,
    zarr_out: bool,
    chunks: Mapping[Hashable, int] | None,
    compression: int,
    message: str,
) -> Path:
    out = prepared(ds, message)
    written = temporary(target)
    try:
        if zarr_out:
            # Threads of its own, so that none writes any more when an error is told and what they wrote is removed.
            with ThreadPoolExecutor(os.cpu_count()) as pool, dask.config.set(scheduler="threads", pool=pool):
                _to_zarr(out, str(written), chunks, compression)
            sync_tree(written)
        else:
            to_netcdf(out, written, encodings(out, "netcdf", chunks, compression))
        swap(written, target)
    except OSError as exc:
        raise SkyweaveError(f"{target}: cannot be written ({exc}); what was there is untouched") from exc
    finally:
        if written.is_dir():
            shutil.rmtree(written, ignore_errors=True)
        else:
            written.unlink(missing_ok=True)
    return target


def _to_zarr(ds: xr.Dataset, store: str, chunks: Mapping[Hashable, int] | None, compression: int) -> None:
    encoding = encodings(ds, "zarr", chunks, compression)
    for name, var in list(ds.data_vars.items()):
        if var.chunks is not None and "chunks" in encoding[name]:
            # Tasks that write at the same time must not share a chunk of the store.
            ds[name] = var.chunk(_multiples(var, encoding[name]["chunks"]))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*[Cc]onsolidated metadata.*")
        ds.to_zarr(store, mode="w-", encoding=encoding, zarr_format=3, consolidated=False)
    if not is_url(store):
        consolidate(store)


def _multiples(var: xr.DataArray, stored: tuple[int, ...]) -> dict[Hashable, int]:
    """Chunks of at least the size they have in memory, in whole multiples of those on disk."""
    assert var.chunks is not None
    return {
        dim: max(1, -(-max(blocks) // size)) * size
        for dim, blocks, size in zip(var.dims, var.chunks, stored, strict=True)
    }


def _write_url(
    ds: xr.Dataset,
    url: str,
    zarr_out: bool,
    chunks: Mapping[Hashable, int] | None,
    compression: int,
    message: str,
) -> str:
    if not zarr_out:
        raise SkyweaveError(
            f"{url}: only Zarr stores can be written to a URL; end it in .zarr, or write NetCDF locally"
        )
    try:
        fs, inner = fsspec.core.url_to_fs(url)
        there = fs.exists(inner)
    except (ImportError, ValueError, OSError) as exc:
        raise SkyweaveError(f"{url}: cannot be opened for writing ({exc})") from exc
    if there:
        raise SkyweaveError(f"{url}: exists already; outputs at a URL are never overwritten, remove it first")
    _to_zarr(prepared(ds, message), url, chunks, compression)
    return url
