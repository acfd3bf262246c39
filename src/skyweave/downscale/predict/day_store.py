"""Days of members in blocks: each block to its own region of a Zarr store, so that a kill loses one block."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from skyweave.downscale.data.records import Record
from skyweave.io.store import (
    check_output,
    create_store,
    done_units,
    finish_store,
    mark_done,
    partial_store,
    write_region,
)

__all__ = ["DayStore"]

Fields = NDArray[np.float32]


class DayStore:
    """Fields of members and days under way to a Zarr store, or held in memory where there is no path.

    Args:
        record: gives coordinates, names and units.
        days: indices of the days, in order.
        members: number M.
        block: days of a region.
        path: ending in ``.zarr``, or ``None``.
        settings: everything that the values depend on, as JSON values; an unfinished store of others is refused.
        overwrite: replace an existing store and drop an unfinished one.
        attrs: of the dataset.

    Raises:
        SkyweaveError: an output that exists, or an unfinished one made with other settings.
    """

    def __init__(
        self,
        record: Record,
        days: NDArray[np.int64],
        members: int,
        block: int,
        path: Path | None,
        settings: dict[str, Any],
        overwrite: bool,
        attrs: dict[str, str],
    ) -> None:
        self.record, self.days, self.members, self.block, self.path = record, days, members, block, path
        self.overwrite = overwrite
        self.digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()
        self.dims = _dims(record)
        template = self._template(attrs | {"made_with": json.dumps(settings, default=str)})
        self.done: set[str] = set()
        self._held: xr.Dataset | None = None
        if path is None:
            self._held = template.map(
                lambda v: v.copy(data=np.full(v.shape, np.nan, np.float32)), keep_attrs=True
            )
            return
        check_output(path, overwrite)
        if partial_store(path).is_dir() and not overwrite:
            self.done = done_units(path, self.digest, settings)
        if not self.done:
            chunks: dict[Hashable, int] = {
                "member": members,
                self.dims[0]: min(block, len(days)),
                self.dims[1]: record.grid.shape[0],
                self.dims[2]: record.grid.shape[1],
            }
            create_store(template, path, chunks=chunks, overwrite=overwrite, message="downscale")

    def _template(self, attrs: dict[str, str]) -> xr.Dataset:
        time_name, lat, lon = self.dims
        fine = self.record.fine.dataset
        coords: dict[str, Any] = {
            "member": ("member", np.arange(self.members), {"long_name": "ensemble member", "axis": "E"}),
            time_name: (time_name, self.record.days[self.days], dict(fine[time_name].attrs)),
            lat: fine[lat].variable,
            lon: fine[lon].variable,
        }
        variables: dict[str, Any] = {}
        shape = (len(self.days), *self.record.grid.shape)
        for name in self.record.fine.names:
            own = {k: v for k, v in fine[name].attrs.items() if k in ("units", "standard_name", "long_name")}
            variables[name] = (("member", *self.dims), _empty((self.members, *shape)), own)
            for suffix, what in (("mean", "mean"), ("spread", "standard deviation")):
                if self.members > 1:
                    about = {"units": own.get("units", "1"), "long_name": f"ensemble {what} of {name}"}
                    variables[f"{name}_{suffix}"] = (self.dims, _empty(shape), about)
        return xr.Dataset(variables, coords, attrs)

    def blocks(self) -> Iterator[tuple[int, int, bool]]:
        """First and last (exclusive) place of each block, and whether it is done."""
        for start in range(0, len(self.days), self.block):
            stop = min(start + self.block, len(self.days))
            yield start, stop, f"{start}-{stop}" in self.done

    def put(self, start: int, stop: int, fields: Fields) -> None:
        """Write a block, ``(M, days, C, H, W)``, and mark it done."""
        parts: dict[str, Any] = {}
        for c, name in enumerate(self.record.fine.names):
            values = fields[:, :, c]
            parts[name] = (("member", *self.dims), values)
            if self.members > 1:
                parts[f"{name}_mean"] = (self.dims, values.mean(0, dtype=np.float64).astype(np.float32))
                parts[f"{name}_spread"] = (
                    self.dims,
                    values.std(0, dtype=np.float64, ddof=1).astype(np.float32),
                )
        if self.path is None:
            assert self._held is not None
            for name, (dims, values) in parts.items():
                self._held[name][{self.dims[0]: slice(start, stop)}] = xr.Variable(dims, values)
            return
        write_region(xr.Dataset(parts), self.path, {self.dims[0]: slice(start, stop)})
        mark_done(self.path, f"{start}-{stop}", self.digest)
        self.done.add(f"{start}-{stop}")

    def get(self, start: int, stop: int) -> Fields:
        """Members of days that were written, ``(M, days, C, H, W)``, bit for bit."""
        names = self.record.fine.names
        where = {self.dims[0]: slice(start, stop)}
        if self.path is None:
            assert self._held is not None
            return np.stack([self._held[n].isel(where).values for n in names], axis=2)
        with xr.open_zarr(
            partial_store(self.path), consolidated=False, chunks=None, mask_and_scale=False
        ) as ds:
            return np.stack([ds[n].isel(where).values for n in names], axis=2)

    def finish(self) -> xr.Dataset:
        """Put the store at its place, and open it."""
        if self.path is None:
            assert self._held is not None
            return self._held
        finish_store(self.path, overwrite=self.overwrite)
        return xr.open_zarr(self.path)


class Clock:
    """Timed lines in a log, one in ten seconds at most."""

    def __init__(self, total: int, what: str, wanted: bool) -> None:
        self.total, self.what, self.wanted = total, what, wanted
        self.began = self.spoken = time.monotonic()

    def tell(self, done: int) -> None:
        """So many of the total are done."""
        now = time.monotonic()
        if self.wanted and now - self.spoken > 10:
            self.spoken = now
            print(
                f"{now - self.began:7.0f} s  {done} of {self.total} {self.what}", file=sys.stderr, flush=True
            )


def _dims(record: Record) -> tuple[str, str, str]:
    fine = record.fine.dataset
    lat, lon = record.grid.dims_in(fine)
    return str(fine[record.fine.names[0]].dims[0]), lat, lon


def _empty(shape: tuple[int, ...]) -> Any:
    return dask.array.zeros(shape, dtype=np.float32, chunks=-1)
