"""From a path, glob or URL to one lazily opened xarray dataset, decoded and untouched.

The format is told from the first bytes, never from the file name, so that a damaged or mislabelled file is
named for what it is.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import fsspec
import h5netcdf
import xarray as xr

from skyweave.errors import SkyweaveError, did_you_mean
from skyweave.io.decode import open_decoded
from skyweave.io.grib import is_grib, open_grib
from skyweave.io.hdf5_heap import check_heaps
from skyweave.io.netcdf3_header import check_netcdf3

ZARR_MARKERS = ("zarr.json", ".zgroup", ".zmetadata", ".zattrs")
CACHES = ("simplecache::", "filecache::")
HDF5 = b"\x89HDF\r\n\x1a\n"
READABLE = "NetCDF 3, NetCDF 4 (HDF5), Zarr 2 or 3 and GRIB can be read"

# What people really hand over when it is not NetCDF, by first bytes.
FOREIGN: tuple[tuple[bytes, str], ...] = (
    (b"CDF\x05", "NetCDF 3 in its 64-bit data form (CDF-5); convert it with `nccopy -k nc4 IN OUT`"),
    (b"BUFR", "BUFR, reports; give it with --points, or with --soundings if it holds soundings"),
    (b"\x0e\x03\x13\x01", "HDF 4; convert it to NetCDF 4 with `h4tonccf_nc4`"),
    (b"\x1f\x8b", "compressed by gzip; decompress it with `gunzip`"),
    (b"PK\x03\x04", "a zip archive; unpack it, or give `zip::FILE` as URL"),
    (b"BZh", "compressed by bzip2; decompress it with `bunzip2`"),
    (b"II*\x00", "TIFF; convert it with `gdal_translate -of netCDF IN OUT.nc`"),
    (b"MM\x00*", "TIFF; convert it with `gdal_translate -of netCDF IN OUT.nc`"),
    (b"<", "a web page or XML, not data; perhaps a login page saved by a download that was refused"),
    (b"{", "JSON text"),
)


def is_url(path: str) -> bool:
    """Whether fsspec, not the local file system, must open ``path``."""
    return "://" in path or "::" in path


def expand(paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> list[str]:
    """List the files meant by a path, a URL, a glob, or several of them, in a stable order.

    Args:
        paths: local paths or fsspec URLs; ``*``, ``?`` and ``[...]`` are globs unless a file of just that
            name exists.

    Raises:
        SkyweaveError: nothing was given, a file does not exist, or a glob matches nothing.
    """
    given = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    if not given:
        raise SkyweaveError("no input file was given: give a path, a URL, a glob or a list of them")
    found: list[str] = []
    for entry in given:
        text = os.fspath(entry)
        local = os.path.expanduser(text)
        if not is_url(text) and os.path.exists(local):
            found.append(local)
        elif any(c in text for c in "*?[") and "::" not in text and not text.startswith("http"):
            matches = _glob(text if is_url(text) else local)
            if not matches:
                raise SkyweaveError(f"{text}: no file matches this pattern")
            found += matches
        elif is_url(text):
            found.append(text)
        else:
            raise SkyweaveError(_missing(local))
    return list(dict.fromkeys(found))


def _glob(pattern: str) -> list[str]:
    if not is_url(pattern):
        return sorted(glob.glob(pattern, recursive=True))
    fs, _, _ = fsspec.get_fs_token_paths(pattern)
    return [str(fs.unstrip_protocol(p)) for p in sorted(cast("list[str]", fs.glob(pattern)))]


def _missing(path: str) -> str:
    parent = Path(path).parent
    if not parent.is_dir():
        return f"{path}: no such file; its folder {parent} does not exist either"
    names = sorted(p.name for p in parent.iterdir())
    return f"{path}: no such file{did_you_mean(Path(path).name, names)}"


def open_one(path: str) -> xr.Dataset:
    """Open one file or store lazily, with fill values, packing and times decoded and nothing else changed.

    Times in a calendar that numpy lacks become cftime objects; times that cannot be decoded (see
    `skyweave.io.time_units`) stay numbers.

    Args:
        path: one entry of `expand`.

    Raises:
        SkyweaveError: the file is missing, empty, truncated, or of a format that cannot be read.
    """
    engine, source = _identify(path)
    if engine == "grib":
        return open_grib(source)
    ds = open_decoded(source, engine, path)
    if not ds.variables:
        raise SkyweaveError(f"{path}: {_nothing_in(path)}")
    return ds


def _nothing_in(path: str) -> str:
    """Why a file holds nothing: its variables lie in groups, or there are none."""
    try:
        with h5netcdf.File(path) as file:
            groups = [str(name) for name in file.groups]
    except Exception:  # a store, an address, another format: there is nothing more to tell
        groups = []
    if not groups:
        return "holds no variables"
    told = ", ".join(map(repr, groups[:6]))
    return (
        f"its variables lie in groups ({told}), which are not read: take one out with `ncks -g {groups[0]} -G : IN "
        f"OUT.nc`, or xarray.open_dataset(IN, group={groups[0]!r}).to_netcdf(OUT)"
    )


def _first_line(exc: BaseException) -> str:
    return (str(exc).strip().splitlines() or ["no further message"])[0]


def _identify(path: str) -> tuple[str, Any]:
    """The xarray engine for ``path``, and what to hand it."""
    fs, inner = _filesystem(path)
    try:
        markers = [m for m in ZARR_MARKERS if fs.exists(f"{inner.rstrip('/')}/{m}")]
        if markers:
            return "zarr", path
        if not is_url(path) and fs.isdir(inner):
            raise SkyweaveError(
                f"{path}: is a folder without Zarr metadata; for the files in it give a glob such as "
                f"{path}/*.nc"
            )
        with fs.open(inner, "rb") as handle:
            head = handle.read(64)
            hdf5 = HDF5 in head or _user_block(handle)
    except SkyweaveError:
        raise
    except FileNotFoundError as exc:
        raise SkyweaveError(f"{path}: no such file or store") from exc
    except Exception as exc:
        raise SkyweaveError(f"{path}: cannot be opened ({type(exc).__name__}: {_first_line(exc)})") from exc
    if is_grib(head):
        return "grib", fsspec.open_local(path) if path.startswith(CACHES) else path
    handed = fsspec.open(path, "rb").open() if is_url(path) else path
    if hdf5:
        if not is_url(path):
            check_heaps(path)
        return "h5netcdf", handed
    if head[:4] in (b"CDF\x01", b"CDF\x02"):
        if not is_url(path):
            check_netcdf3(path)
        return "scipy", handed
    if not head:
        raise SkyweaveError(f"{path}: is empty (0 bytes); {READABLE}")
    for magic, meaning in FOREIGN:
        if head.lstrip().startswith(magic) or head.startswith(magic):
            raise SkyweaveError(f"{path}: is {meaning}. {READABLE}")
    raise SkyweaveError(f"{path}: is not a recognised format (first bytes {head[:8]!r}). {READABLE}")


def _filesystem(path: str) -> tuple[Any, str]:
    try:
        fs, inner = fsspec.core.url_to_fs(path)
    except (ImportError, ValueError) as exc:
        raise SkyweaveError(
            f"{path}: cannot open this kind of URL ({_first_line(exc)}); `pip install 'skyweave[remote]'` "
            "adds http, s3, gs"
        ) from exc
    return fs, str(inner)


def _user_block(handle: Any) -> bool:
    """Whether an HDF5 signature follows a user block, at 512, 1024, 2048... bytes."""
    for offset in (512, 1024, 2048, 4096):
        handle.seek(offset)
        if handle.read(8) == HDF5:
            return True
    return False
