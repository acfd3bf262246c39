"""From a training configuration to samplers: files opened, periods split, transforms fitted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import xarray as xr

from skyweave.errors import SkyweaveError
from skyweave.grid import Grid
from skyweave.io.made_with import digest_of
from skyweave.io.read import open_fields
from skyweave.io.undeclared import without_fills
from skyweave.prior.conditioning import Conditioning, StaticField
from skyweave.prior.config import DataConfig, TrainConfig
from skyweave.prior.data import PatchSampler, Record, fit_transform, select_period, span, time_step
from skyweave.prior.knowledge import Knowledge, knowledge_of
from skyweave.state import StateSpec, Variable
from skyweave.transform import StateTransform
from skyweave.units import pascals

NAME_FILLS = "data.missing: [{fill}] (data.missing: [.nan] if it is a value)"
"""How a fill that the files do not declare is named in a configuration."""
STATIC_FILLS = "declare it with `ncatted -a missing_value,VARIABLE,c,d,{fill} FILE` or xarray"


@dataclass(frozen=True, eq=False)
class TrainingData:
    """What a training run reads from: samplers of both periods, and what the prior must remember of them."""

    spec: StateSpec
    transform: StateTransform
    conditioning: Conditioning
    sampler: PatchSampler
    validation: PatchSampler
    paths: tuple[str, ...]
    knowledge: Knowledge

    def digest(self) -> str:
        """Of the values that are learnt from, as far as transforms, statistics and validation patches show them."""
        batch = self.validation.batch(0)
        return digest_of(
            {
                "described": self.describe(),
                "transform": self.transform.to_dict(),
                "validation": [batch.fields, batch.conditioning],
            }
        )

    def describe(self) -> dict[str, Any]:
        """What is stored in the prior about the data behind it; files by their last name only."""
        grid = self.sampler.record.grid
        return {
            "knowledge": self.knowledge.to_dict(),
            "training_range": list(span(self.sampler.record.times)),
            "training_times": len(self.sampler.record),
            "validation_range": list(span(self.validation.record.times)),
            "files": [PurePosixPath(path).name for path in self.paths],
            "domain": {
                "lat": [float(grid.lat.min()), float(grid.lat.max())],
                "lon": [float(grid.lon[0]), float(grid.lon[-1])],
                "shape": list(grid.shape),
                "periodic": bool(grid.periodic),
            },
        }


def prepare(config: TrainConfig, batch: int, *, stream: int = 0) -> TrainingData:
    """Open the data, split it in time, fit the transforms on the training period alone.

    Args:
        batch: patches per step of this process.
        stream: number of this process, so that each draws patches of its own.
    """
    data = config.data
    region = None if data.region is None else data.region.model_dump(exclude_none=True)
    dataset = open_fields(data.paths, data.variables, region=region)
    dataset = without_fills(dataset, data.missing, NAME_FILLS)
    grid = Grid.from_dataset(dataset)
    time_name = str(dataset[data.variables[0]].dims[0])
    spec = StateSpec(
        tuple(_variable(dataset[name], data.units, config.bounds) for name in data.variables),
        resolution=grid.resolution,
        window=config.window,
        time_step=time_step(dataset[time_name].values) if config.window > 1 else None,
    )
    periods = {
        what: select_period(dataset, time_name, *bounds, what)
        for what, bounds in (("train", config.split.train), ("validate", config.split.validate_))
    }
    memory = data.memory_gb * 1e9
    transform = fit_transform(Record(periods["train"], spec, grid), config.transform, memory, config.seed)
    conditioning = Conditioning(tuple(data.conditioning), _static_fields(data))
    bound = conditioning.bind(grid)
    sampler = PatchSampler(
        Record(periods["train"], spec, grid, transform),
        bound,
        config.patch,
        batch,
        seed=config.seed,
        stream=stream,
        memory_bytes=memory,
        window=config.window,
        min_observed=config.min_observed,
    )
    # The same validation patches for every process and every seed of the training.
    validation = PatchSampler(
        Record(periods["validate"], spec, grid, transform),
        bound,
        config.patch,
        config.validation_patches,
        memory_bytes=memory,
        window=config.window,
        min_observed=config.min_observed,
    )
    card = knowledge_of(Record(periods["train"], spec, grid), grid, memory, config.seed)
    return TrainingData(spec, transform, conditioning, sampler, validation, tuple(data.paths), card)


def _variable(
    array: xr.DataArray, units: Mapping[str, str], bounds: Mapping[str, tuple[float | None, float | None]]
) -> Variable:
    name = str(array.name)
    stated = units.get(name) or array.attrs.get("units")
    if not stated:
        raise SkyweaveError(f"{name}: the file states no units; give them as data.units.{name}")
    return Variable(
        name,
        str(stated),
        standard_name=str(array.attrs.get("standard_name", "")),
        long_name=str(array.attrs.get("long_name", "")),
        bounds=bounds.get(name, (None, None)),
        level=_level(array),
    )


def _level(array: xr.DataArray) -> float | None:
    """The level that a variable asked for as ``t@850`` is of, hPa where it is a pressure; see `skyweave.io.axes`."""
    level, units = array.attrs.get("level"), str(array.attrs.get("level_units", ""))
    if level is None:
        return None
    own = pascals(units)
    return float(level) if own is None else float(level) * own / 100.0


def _static_fields(data: DataConfig) -> dict[str, StaticField]:
    fields = {}
    for name in data.conditioning:
        if name not in data.static:
            continue
        source = data.static[name]
        dataset = without_fills(open_fields(source.path, [source.variable]), None, STATIC_FILLS)
        values = np.asarray(dataset[source.variable].values, dtype=np.float32)
        fields[name] = StaticField(Grid.from_dataset(dataset), values.reshape(values.shape[-2:]))
    return fields
