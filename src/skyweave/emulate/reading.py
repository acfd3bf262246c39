"""What an emulator's training takes from its data: both periods, the size of increments, errors of single steps."""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from skyweave.emulate.config import EmulatorConfig
from skyweave.emulate.emulator import Emulator
from skyweave.emulate.simple import complete
from skyweave.errors import SkyweaveError
from skyweave.grid import Grid
from skyweave.io.read import open_fields
from skyweave.prior.data import Record, regular
from skyweave.prior.prepare import TrainingData, prepare

__all__ = ["increments", "longest_stretch", "read_periods", "residuals"]


def read_periods(config: EmulatorConfig) -> tuple[TrainingData, Grid]:
    """Samplers of whole fields of the training and validation periods, transforms fitted; and their grid.

    Raises:
        SkyweaveError: data that cannot be read, or have gaps that come and go.
    """
    data = config.data
    region = None if data.region is None else data.region.model_dump(exclude_none=True)
    dataset: xr.Dataset = open_fields(data.paths, data.variables, region=region)
    grid = Grid.from_dataset(dataset)
    found = prepare(config.reading(grid.shape), config.batch)
    for sampler in (found.sampler, found.validation):
        complete(sampler.record.read(slice(0, 50)), found.spec)
    return found, grid


def increments(record: Record, frames: int = 400) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the increments of a normalised record, ``(C,)`` each.

    Args:
        record: the training period.
        frames: pairs of times that are looked at, at most.

    Raises:
        SkyweaveError: a variable that never changes, or gaps that come and go.
    """
    follows = np.flatnonzero(regular(record.times))
    chosen = follows[np.unique(np.linspace(0, len(follows) - 1, min(frames, len(follows))).astype(int))]
    before, after = record.read(chosen), record.read(chosen + 1)
    complete(torch.cat([before, after]), record.spec)
    change = (after - before).double()
    mean = change.nanmean((0, 2, 3))
    deviation = (change - mean[:, None, None]).square().nanmean((0, 2, 3)).sqrt()
    still = [n for n, s in zip(record.spec.names, deviation.tolist(), strict=True) if not s > 0]
    if still:
        raise SkyweaveError(
            f"{', '.join(still)}: does not change in time; there is nothing to forecast, leave it out"
        )
    return mean.float(), deviation.float()


def residuals(emulator: Emulator, record: Record, count: int) -> Tensor:
    """One-step errors of evenly spread times, over the deviation of the increments, ``(K, C, H, W)``."""
    follows = np.flatnonzero(regular(record.times))
    chosen = follows[np.unique(np.linspace(0, len(follows) - 1, min(count, len(follows))).astype(int))]
    chosen = chosen[:count]
    if not len(chosen):
        return emulator.residuals
    raw = Record(record.dataset, record.spec, record.grid)
    parts = []
    for place in chosen:
        forecast = emulator.step(raw.read(np.array([place])), record.times[place])
        truth = record.read(np.array([place + 1]))
        parts.append(
            (truth - emulator.transform.forward(forecast)) / emulator.integrator.deviation[:, None, None]
        )
    stacked = torch.cat(parts).nan_to_num()
    return stacked - stacked.mean(0)


def longest_stretch(times: np.ndarray) -> int:
    """Number of times in the longest stretch of equal steps."""
    longest = length = 1
    for follows in regular(times):
        length = length + 1 if follows else 1
        longest = max(longest, length)
    return longest
