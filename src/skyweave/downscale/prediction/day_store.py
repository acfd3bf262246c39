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
from skyweave.downscale.prediction.area_models import AreaModels
from skyweave.downscale.settings import InferenceSection
from skyweave.io.inputs import content_of
from skyweave.io.made_with import digest_of
from skyweave.io.regions import InRegions, Regions, block_length
from skyweave.keywords import made_with

__all__ = ["DayStore"]

Fields = NDArray[np.float32]
BLOCK = 16
"""Days of a region of the store, at most."""


class DayStore(InRegions):
    """Fields of members and days under way to a Zarr store, or held in memory where there is no path.

    Args:
        models: of the area; their record gives coordinates, names and units.
        days: indices of the days, in order.
        settings: of inference.
        what: is done, "predict" or "rollout".
        block: days of a region; few enough by default that a kill loses little.
        path: ending in ``.zarr``, or ``None``.
        overwrite: replace an existing store and drop an unfinished one of other settings.

    Raises:
        SkyweaveError: an output that exists, or an unfinished one made with other settings.
    """

    def __init__(
        self,
        models: AreaModels,
        days: NDArray[np.int64],
        settings: InferenceSection,
        what: str,
        *,
        block: int | None = None,
        path: Path | None = None,
        overwrite: bool = False,
    ) -> None:
        self.record, self.days = models.record, days
        self.members = settings.members if models.generative else 1
        each = self.members * self.record.fine.frame_bytes
        self.block = block_length(len(days), each, BLOCK) if block is None else block
        self.dims = _dims(self.record)
        sizes = (self.members, min(self.block, len(days)), *self.record.grid.shape)
        chunks: dict[Hashable, int] = dict(zip(("member", *self.dims), sizes, strict=True))
        kept = made_with(settings)
        attrs = {
            "title": f"Fine record downscaled by skyweave ({what})",
            "area": models.area,
            "model": ", ".join(sorted({t.model.name for t in models.trained.values()})),
            "inference": ", ".join(f"{k} {v}" for k, v in kept.items()),
        }
        self.regions = Regions(
            self._template(attrs),
            path,
            self._depends_on(models, what, kept),
            message="downscale",
            chunks=chunks,
            overwrite=overwrite,
        )

    def _depends_on(self, models: AreaModels, what: str, kept: dict[str, Any]) -> dict[str, Any]:
        """Everything that the values depend on; an unfinished store of others is refused."""
        days, record = self.days, self.record
        return {
            "what": what,
            "models": models.fingerprint(),
            "days": [int(days[0]), int(days[-1]), len(days)],
            "days_data": digest_of({"days": days}),
            "first_day": str(record.days[days[0]]),
            "coarse_data": digest_of(content_of(record.coarse.dataset)),
            "fine_data": digest_of(content_of(record.fine.dataset)),
            "members": self.members,
            "inference": kept,
            "block": self.block,
        }

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
