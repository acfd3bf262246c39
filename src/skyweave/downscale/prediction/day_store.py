"""Days of members in blocks: each block to its own region of a Zarr store, so that a kill loses one block."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from skyweave.downscale.data.records import Record
from skyweave.io.regions import InRegions, Regions

__all__ = ["DayStore"]

Fields = NDArray[np.float32]


class DayStore(InRegions):
    """Fields of members and days under way to a Zarr store, or held in memory where there is no path.

    Args:
        record: gives coordinates, names and units.
        days: indices of the days, in order.
        members: number M.
        block: days of a region.
        path: ending in ``.zarr``, or ``None``.
        settings: everything that the values depend on; an unfinished store of others is refused.
        overwrite: replace an existing store and drop an unfinished one of other settings.
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
        self.record, self.days, self.members, self.block = record, days, members, block
        self.dims = _dims(record)
        sizes = (members, min(block, len(days)), *record.grid.shape)
        chunks: dict[Hashable, int] = dict(zip(("member", *self.dims), sizes, strict=True))
        self.regions = Regions(
            self._template(attrs), path, settings, message="downscale", chunks=chunks, overwrite=overwrite
        )

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
            yield start, stop, f"{start}-{stop}" in self.regions.done

    def put(self, start: int, stop: int, fields: Fields) -> None:
        """Write a block, ``(M, days, C, H, W)``, and mark it done."""
        parts: dict[str, NDArray[Any]] = {}
        for c, name in enumerate(self.record.fine.names):
            values = fields[:, :, c]
            parts[name] = values
            if self.members > 1:
                parts[f"{name}_mean"] = values.mean(0, dtype=np.float64).astype(np.float32)
                parts[f"{name}_spread"] = values.std(0, dtype=np.float64, ddof=1).astype(np.float32)
        self.regions.put(parts, {self.dims[0]: slice(start, stop)})
        self.regions.mark(f"{start}-{stop}")

    def get(self, start: int, stop: int) -> Fields:
        """Members of days that were written, ``(M, days, C, H, W)``, bit for bit."""
        where = {self.dims[0]: slice(start, stop)}
        return np.stack([self.regions.read(name, where) for name in self.record.fine.names], axis=2)

    def finish(self) -> xr.Dataset:
        """Put the store at its place, and open it."""
        return self.regions.finish()


def _dims(record: Record) -> tuple[str, str, str]:
    fine = record.fine.dataset
    lat, lon = record.grid.dims_in(fine)
    return str(fine[record.fine.names[0]].dims[0]), lat, lon


def _empty(shape: tuple[int, ...]) -> Any:
    return dask.array.zeros(shape, dtype=np.float32, chunks=-1)
