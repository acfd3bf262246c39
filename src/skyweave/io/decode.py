"""From a file to a decoded dataset: the one place where fills are masked, numbers unpacked, and reads watched.

Every reader of gridded files passes here. xarray opens the file and decodes its text and its times; the numbers are
decoded by `skyweave.io.missing`, chunk by chunk as they are read.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Hashable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from xarray.core import indexing

from skyweave.errors import SkyweaveError, note
from skyweave.io.attributes import plain_attributes
from skyweave.io.missing import USUAL_FILLS, Decoding, decoding_of
from skyweave.io.time_units import decode_times, refuse_missing_dates
from skyweave.io.zarr_chunks import checked_chunks

__all__ = ["decoded", "open_decoded"]

LARGE = 2**28
"""Bytes of one read up to which the size that a header claims is believed."""
AXIS, PART = 2**31, 2**36
"""Bytes of a coordinate and of one read that are refused wherever they come from."""
RATIO = 2000
"""Greatest size of what is read to that of its file; zlib packs 1 : 1032 at most."""
FLAGS = ("flag_values", "flag_meanings", "flag_masks")
DAMAGED = "is truncated or damaged, or not wholly downloaded"


def open_decoded(source: Any, engine: str, where: str) -> xr.Dataset:
    """Open a file or store lazily: numbers unpacked, missing ones NaN, times as dates; nothing else changed.

    Times in a calendar that numpy lacks become cftime objects; times that cannot be decoded stay numbers.

    Args:
        source: what xarray opens.
        engine: xarray's name of the reader.
        where: the path or address for messages.

    Raises:
        SkyweaveError: the file is truncated or damaged, or claims sizes that it cannot hold.
    """
    try:
        with warnings.catch_warnings(), checked_chunks() if engine == "zarr" else nullcontext():
            warnings.filterwarnings("ignore", message=".*consolidated metadata.*")
            warnings.filterwarnings("ignore", category=xr.SerializationWarning)
            raw = xr.open_dataset(
                source,
                engine=engine,
                mask_and_scale=False,
                decode_times=False,
                decode_timedelta=False,
                create_default_indexes=False,  # they would load coordinates before their size is checked
                cache=False,  # a memory cache would load a whole variable behind the first chunk asked for
            )
            ds = decoded(plain_attributes(raw, where), where, engine)
            # Only now does a lazily read header meet the data behind it: a short file shows here.
            for name in ds.coords:
                ds[name].load()
    except SkyweaveError:
        raise
    except Exception as exc:
        raise SkyweaveError(f"{where}: {DAMAGED} ({type(exc).__name__}: {_first_line(exc)})") from exc
    ds.encoding["source"] = where
    return ds


def _first_line(exc: BaseException) -> str:
    return (str(exc).strip().splitlines() or ["no further message"])[0]


def decoded(raw: xr.Dataset, where: str, engine: str = "") -> xr.Dataset:
    """A dataset opened with ``mask_and_scale=False`` and ``decode_times=False``, decoded lazily.

    Args:
        raw: as stored.
        where: file for messages.
        engine: xarray's name of the reader; decides which fills the format has.
    """
    file = _File.of(where)
    zeros = engine == "zarr" and not _writer_states_fills(raw)
    variables = {name: _decoded(name, raw, file, engine, zeros) for name in raw.variables}
    coords = {name: variables[name] for name in raw.coords}
    # Without indexes, which times that are still numbers would not serve.
    ds = xr.Dataset(
        {name: variables[name] for name in raw.data_vars}, xr.Coordinates(coords, indexes={}), raw.attrs
    )
    out = _dated(ds, where)
    out.encoding = dict(raw.encoding)
    out.set_close(raw.close)
    return out


def _decoded(name: Hashable, raw: xr.Dataset, file: _File, engine: str, zeros: bool) -> xr.Variable:
    var = raw[name].variable
    if var.dtype.kind not in "fiub":
        return var
    attrs = dict(var.attrs)
    if (zeros and np.array_equal(attrs.get("_FillValue", 1), 0)) or var.dtype.kind == "b":
        attrs.pop("_FillValue", None)
    axis = name in raw.dims or (name in raw.coords and var.ndim <= 1)
    # Numbers that become dates below: missing ones are NaN until then.
    time = " since " in str(attrs.get("units", ""))
    decoding, left, went = decoding_of(
        var.dtype,
        attrs | _allocated(var, attrs, engine),
        # CF has no missing values on axes, and a file of 0 to 360 may state -180 to 180.
        limits=not axis and not time,
        default=engine != "zarr" or var.dtype.kind == "f",
        promote=not (axis or time)
        and var.ndim >= 2
        and name in raw.data_vars
        and not any(key in attrs for key in FLAGS),
    )
    for text in decoding.notes:
        note(f"{file.path}: {name!r}: {text}")
    if axis:
        file.check(var.nbytes, f"coordinate {name!r}", axis=True)
    lazy = indexing.LazilyIndexedArray(_Values(var, decoding, file, name))
    return xr.Variable(var.dims, lazy, left, var.encoding | went)


def _dated(ds: xr.Dataset, where: str) -> xr.Dataset:
    """With text decoded and times as dates, each variable by itself; those that cannot be dates stay numbers."""
    plain = xr.decode_cf(
        ds, decode_times=False, decode_timedelta=False, decode_coords=False, concat_characters=False
    )
    out = decode_times(plain)
    if any(coord.dtype == object for coord in out.coords.values()):
        refuse_missing_dates(out, plain, where)
    return out


def _writer_states_fills(raw: xr.Dataset) -> bool:
    """Whether a Zarr 2 store says with a fill of 0 that zeros are missing.

    zarr-python gives every array the fill 0 unless told otherwise; xarray gives an array without a `_FillValue` none or
    NaN, which shows on the axes, because they have no missing values.
    """
    return any(raw[n].attrs.get("_FillValue") != 0 for n in raw.variables if raw[n].dims == (n,))


def _allocated(var: xr.Variable, attrs: Mapping[str, Any], engine: str) -> dict[str, Any]:
    """What a Zarr 3 array holds where nobody wrote, as a fill, where it can hardly be a value."""
    fill = var.encoding.get("fill_value")
    if engine != "zarr" or "_FillValue" in attrs or not isinstance(fill, (int, float, np.number)):
        return {}
    usual = fill in USUAL_FILLS or (var.dtype.kind == "f" and fill != 0)
    return {"_FillValue": fill} if usual else {}


class _Values(xr.backends.BackendArray):
    """Values of one variable, decoded as they are read; every error of a read names the file."""

    def __init__(self, raw: xr.Variable, decoding: Decoding, file: _File, name: Hashable) -> None:
        self.raw, self.decoding, self.file, self.name = raw, decoding, file, name
        self.shape, self.dtype = raw.shape, decoding.dtype

    def __getitem__(self, key: Any) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._read)

    def _read(self, key: tuple[Any, ...]) -> np.ndarray:
        if self.decoding.refusal:
            raise SkyweaveError(f"{self.file.path}: {self.name!r}: {self.decoding.refusal}")
        part = self.raw[key]
        self.file.check(part.nbytes, "a part of it")
        try:
            stored = np.asarray(part.values)
        except Exception as exc:
            raise SkyweaveError(
                f"{self.file.path}: {DAMAGED} ({type(exc).__name__}: {_first_line(exc)})"
            ) from exc
        self.file.check()
        return self.decoding(stored)


@dataclass(frozen=True)
class _File:
    """A file as it was when it was opened; ``size`` is None for stores and addresses."""

    path: str
    size: int | None

    @classmethod
    def of(cls, path: str) -> _File:
        return cls(path, os.stat(path).st_size if os.path.isfile(path) else None)

    def check(self, claimed: int = 0, what: str = "", *, axis: bool = False) -> None:
        """Refuse a read that the file cannot serve.

        Raises:
            SkyweaveError: the file has become shorter, for which HDF5 would give zeros and a memory map a crash; or
                it is far too short for the bytes claimed.
        """
        most = AXIS if axis else PART
        if self.size is not None:
            self._check_whole()
            most = min(most, max(LARGE, RATIO * self.size))
        if claimed > most:
            raise SkyweaveError(
                f"{self.path}: {what} would take {claimed / 2**30:.3g} GiB, which it can hardly hold: it {DAMAGED}"
            )

    def _check_whole(self) -> None:
        try:
            now = os.stat(self.path).st_size
        except OSError as exc:
            raise SkyweaveError(f"{self.path}: has gone while it was read ({_first_line(exc)})") from exc
        if now < int(self.size or 0):
            raise SkyweaveError(
                f"{self.path}: was cut from {self.size} to {now} bytes while it was read; restore it and run again"
            )
