"""What a cycled run leaves: a dataset in memory, or a store in which each cycle is marked when it is complete."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Hashable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import torch
import xarray as xr
from torch import Tensor

from skyweave.cycle.run import Cycle
from skyweave.cycle.settings import CycleSettings
from skyweave.emulate.forecaster import named
from skyweave.errors import SkyweaveError
from skyweave.io.store import (
    check_output,
    create_store,
    done_units,
    finish_store,
    mark_done,
    partial_store,
    write_region,
)
from skyweave.keywords import made_with
from skyweave.observe.assemble import ObservationSet
from skyweave.observe.errors import ErrorModel
from skyweave.prior.storage import LearntPrior
from skyweave.reconstruction.output_grid import Target
from skyweave.state import attributes

__all__ = ["CycleRecord"]


class CycleRecord:
    """Where cycles go: a dataset in memory, or a store in which each is marked when it is complete."""

    def __init__(
        self,
        prior: LearntPrior,
        model: Any,
        target: Target,
        observed: ObservationSet,
        settings: CycleSettings,
        out: str | os.PathLike[str] | None,
        overwrite: bool,
        model_error: Mapping[str, ErrorModel] | None,
        given: bool,
    ) -> None:
        self.spec, self.overwrite = prior.spec, overwrite
        self.time, self.lat, self.lon = target.dims
        self.same = model.grid.same_as(target.grid)
        self.places = (self.lat, self.lon) if self.same else ("forecast_lat", "forecast_lon")
        self.sources = [source.name for source in observed.sources]
        values = made_with(settings.settled())
        self.made_with = {
            "prior": prior.fingerprint(),
            "observations": observed.fingerprint(),
            "settings": values,
            "model": f"{type(model).__name__} {getattr(model, 'fingerprint', lambda: '')()}",
            "model_error": repr(model_error),
            "given": given,
            "times": [str(t) for t in np.atleast_1d(np.asarray(target.times))],
            "grid": target.grid.to_dict(),
        }
        self.digest = hashlib.sha256(
            json.dumps(self.made_with, sort_keys=True, default=str).encode()
        ).hexdigest()
        shape = (settings.members, target.count)
        self.dataset = self._template(prior, model, target, shape)
        self.dataset.attrs |= {
            "title": "Analyses and forecasts cycled by skyweave",
            "source": f"skyweave {version('skyweave')}",
            "observations": str(observed.report),
            "prior": prior.path or "in memory",
            "model": named(model),
            "settings": json.dumps(values, default=str),
            "made_with": json.dumps(self.made_with, default=str),
        }
        self.path = None if out is None else Path(out)
        if self.path is not None and self.path.suffix != ".zarr":
            raise SkyweaveError(
                f"{self.path}: a cycled run is written as a .zarr store, which survives a kill"
            )
        if self.path is not None:
            check_output(self.path, overwrite)
            self._open()
        else:
            for name, var in self.dataset.data_vars.items():
                self.dataset[name] = (var.dims, np.full(var.shape, np.nan, var.dtype), var.attrs)

    def _template(self, prior: LearntPrior, model: Any, target: Target, shape: tuple[int, int]) -> xr.Dataset:
        def empty(dims: tuple[str, ...], sizes: tuple[int, ...], attrs: dict[str, Any]) -> Any:
            return dims, da.full(sizes, np.nan, dtype=np.float32), attrs

        fields: dict[str, Any] = {}
        for v in prior.spec.variables:
            label = v.long_name or v.standard_name or v.name
            dims = ("member", self.time, self.lat, self.lon)
            fields[v.name] = empty(
                dims, (*shape, *target.grid.shape), attributes(v) | {"long_name": f"{label}, analysis"}
            )
            dims = ("member", self.time, *self.places)
            own = attributes(v) | {"long_name": f"{label}, forecast of one step"}
            fields[f"{v.name}_forecast"] = empty(dims, (*shape, *model.grid.shape), own)
        for name, text in (("mean", "mean"), ("rms", "root mean square")):
            fields[f"innovation_{name}"] = empty(
                (self.time, "source"),
                (shape[1], len(self.sources)),
                {
                    "long_name": f"{text} of observation minus forecast over its expected standard deviation",
                    "units": "1",
                },
            )
        factor = {"long_name": "factor of the forecast's variance in the analysis", "units": "1"}
        # In double precision: a continued run goes on from it.
        fields["inflation"] = ((self.time,), da.full(shape[1:], np.nan), factor)
        number = np.arange(len(self.sources), dtype=np.int8)
        meanings = " ".join(name.replace(" ", "_") for name in self.sources)
        named = {"long_name": "source of observations", "flag_values": number, "flag_meanings": meanings}
        coords: dict[str, Any] = {
            "member": np.arange(shape[0]),
            "source": ("source", number, named),
            **target.coords,
        }
        if not self.same:
            north = {"units": "degrees_north", "standard_name": "latitude"}
            east = {"units": "degrees_east", "standard_name": "longitude"}
            coords |= {
                self.places[0]: (self.places[0], model.grid.lat, north),
                self.places[1]: (self.places[1], model.grid.lon, east),
            }
        return xr.Dataset(fields, coords=coords)

    def _open(self) -> None:
        assert self.path is not None
        if partial_store(self.path).is_dir() and not self.overwrite:
            done_units(self.path, self.digest, self.made_with)  # refuses other settings
            return
        chunks: dict[Hashable, int] = {n: s for n, s in self.dataset.sizes.items()}
        chunks[self.time] = 1
        create_store(self.dataset, self.path, chunks=chunks, overwrite=self.overwrite, message="cycle")

    def restore(self) -> tuple[int, Tensor, float] | None:
        """The last cycle that is complete, its analysis and its inflation."""
        if self.path is None:
            return None
        done = [int(name.removeprefix("cycle ")) for name in done_units(self.path, self.digest)]
        if not done:
            return None
        last = max(done)
        with xr.open_zarr(
            partial_store(self.path), consolidated=False, chunks=None, mask_and_scale=False
        ) as ds:
            fields = [ds[name].isel({self.time: last}).values for name in self.spec.names]
            inflation = float(ds["inflation"][last])
        return last, torch.from_numpy(np.stack(fields, axis=1)), inflation

    def put(self, cycle: Cycle) -> None:
        k = cycle.index
        values: dict[str, tuple[tuple[str, ...], np.ndarray]] = {}
        for c, name in enumerate(self.spec.names):
            values[name] = (("member", self.time, self.lat, self.lon), cycle.analysis[:, None, c].numpy())
            if cycle.forecast is not None:
                values[f"{name}_forecast"] = (
                    ("member", self.time, *self.places),
                    cycle.forecast[:, None, c].float().numpy(),
                )
        for i, part in enumerate(("mean", "rms")):
            row = [[cycle.innovation.get(s, (np.nan, np.nan))[i] for s in self.sources]]
            values[f"innovation_{part}"] = ((self.time, "source"), np.asarray(row, np.float32))
        values["inflation"] = ((self.time,), np.asarray([cycle.inflation]))
        if self.path is None:
            for name, (dims, array) in values.items():
                place = tuple(slice(k, k + 1) if d == self.time else slice(None) for d in dims)
                self.dataset[name].values[place] = array
            return
        write_region(xr.Dataset(values), self.path, {self.time: slice(k, k + 1)})
        mark_done(self.path, f"cycle {k}", self.digest)

    def finish(self) -> xr.Dataset:
        if self.path is None:
            return self.dataset
        finish_store(self.path, overwrite=self.overwrite)
        return xr.open_zarr(self.path)
