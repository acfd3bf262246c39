"""What a cycled run leaves: a dataset in memory, or a store in which each cycle is marked when it is complete."""

from __future__ import annotations

import json
import os
from collections.abc import Hashable, Mapping
from importlib.metadata import version
from typing import Any

import dask.array as da
import numpy as np
import torch
import xarray as xr
from torch import Tensor

from skyweave.cycle.base import Cycle
from skyweave.cycle.settings import CycleSettings
from skyweave.emulate.forecaster import Forecaster, named
from skyweave.io.made_with import digest_of
from skyweave.io.regions import InRegions, Regions
from skyweave.keywords import made_with as settings_that_count
from skyweave.observe.assemble import ObservationSet
from skyweave.observe.errors import ErrorModel
from skyweave.prior.storage import LearntPrior
from skyweave.reconstruction.output_grid import Target
from skyweave.state import attributes

__all__ = ["CycleRecord"]


class CycleRecord(InRegions):
    """Where cycles go: a dataset in memory, or a store in which each is marked when it is complete."""

    def __init__(
        self,
        *,
        prior: LearntPrior,
        model: Forecaster,
        target: Target,
        observed: ObservationSet,
        settings: CycleSettings,
        out: str | os.PathLike[str] | None,
        overwrite: bool,
        model_error: Mapping[str, ErrorModel] | None,
        initial: Tensor | None,
    ) -> None:
        self.spec = prior.spec
        self.time, self.lat, self.lon = target.dims
        self.same = model.grid.same_as(target.grid)
        self.places = (self.lat, self.lon) if self.same else ("forecast_lat", "forecast_lon")
        self.sources = [source.name for source in observed.sources]
        values = settings_that_count(settings.settled())
        made_with = {
            "prior": prior.fingerprint(),
            "observations": observed.fingerprint(),
            "settings": values,
            "model": type(model).__name__,
            "model_data": digest_of({"model": model}),
            "model_error": model_error,
            "initial": initial,
            "times": [str(t) for t in np.atleast_1d(np.asarray(target.times))],
            "grid": target.grid.to_dict(),
        }
        dataset = self._template(prior, model, target, (settings.members, target.count))
        dataset.attrs |= {
            "title": "Analyses and forecasts cycled by skyweave",
            "source": f"skyweave {version('skyweave')}",
            "observations": str(observed.report),
            "prior": prior.path or "in memory",
            "model": named(model),
            "settings": json.dumps(values, default=str),
        }
        chunks: dict[Hashable, int] = {n: s for n, s in dataset.sizes.items()} | {self.time: 1}
        self.regions = Regions(dataset, out, made_with, message="cycle", chunks=chunks, overwrite=overwrite)

    def _template(
        self, prior: LearntPrior, model: Forecaster, target: Target, shape: tuple[int, int]
    ) -> xr.Dataset:
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

    def restore(self) -> tuple[int, Tensor, float] | None:
        """The last cycle that is complete, its analysis and its inflation."""
        if not self.regions.done:
            return None
        last = max(int(name.removeprefix("cycle ")) for name in self.regions.done)
        place = {self.time: slice(last, last + 1)}
        fields = [self.regions.read(name, place)[:, 0] for name in self.spec.names]
        inflation = float(self.regions.read("inflation", place)[0])
        return last, torch.from_numpy(np.stack(fields, axis=1)), inflation

    def put(self, cycle: Cycle) -> None:
        """One cycle, and that it is complete."""
        values: dict[str, np.ndarray] = {}
        for c, name in enumerate(self.spec.names):
            values[name] = cycle.analysis[:, None, c].numpy()
            if cycle.forecast is not None:
                values[f"{name}_forecast"] = cycle.forecast[:, None, c].float().numpy()
        for i, part in enumerate(("mean", "rms")):
            row = [[cycle.innovation.get(s, (np.nan, np.nan))[i] for s in self.sources]]
            values[f"innovation_{part}"] = np.asarray(row, np.float32)
        values["inflation"] = np.asarray([cycle.inflation])
        self.regions.put(values, {self.time: slice(cycle.index, cycle.index + 1)})
        self.regions.mark(f"cycle {cycle.index}")

    def finish(self) -> xr.Dataset:
        """All cycles."""
        return self.regions.finish()
