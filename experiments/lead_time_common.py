"""Forecasts and reports that the experiments by lead time share: NCEP pressure, the emulator of `emulators.py`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Any

import numpy as np
import torch
import xarray as xr
from common import ROOT
from cycling import NCEP, stations
from torch import Tensor

import skyweave
from skyweave.emulate import open_emulator
from skyweave.emulate.emulator import Emulator
from skyweave.emulate.hindcast import hindcast_starts, past_forecasts
from skyweave.grid import Grid
from skyweave.io import open_fields
from skyweave.prior.storage import LearntPrior

LEADS = 10
"""Days."""
STATION_ERROR = 100.0
"""Pa."""


@cache
def prior() -> LearntPrior:
    return skyweave.open_prior(ROOT / "runs/ncep_slp/prior.safetensors")


@cache
def emulator() -> Emulator:
    return open_emulator(ROOT / "runs/emulators/ncep/emulator.safetensors")


@dataclass(frozen=True, eq=False)
class Forecasts:
    """Forecasts from several starts, and what came.

    Args:
        record: the period.
        places: of the starts in it.
        values: ``(N, L, C, h, w)``, Pa.
        truths: the same shape.
    """

    record: xr.Dataset
    places: np.ndarray
    values: Tensor
    truths: Tensor

    @classmethod
    def made(cls, first: str, last: str, starts: int) -> Forecasts:
        record = open_fields(str(NCEP), ["slp"], time=(first, last)).load()
        places = hindcast_starts(record.time.values, LEADS, starts, emulator().time_step)
        parts = [(f, t) for _, f, t in past_forecasts(emulator(), record, places, LEADS)]
        values, truths = (torch.stack(side, 1) for side in zip(*parts, strict=True))
        return cls(record, places, values, truths)

    @property
    def grid(self) -> Grid:
        return Grid.from_dataset(self.record)

    def at(self, lead: int) -> xr.Dataset:
        """The truth at the times for which the forecasts of a lead time are valid."""
        return self.record.isel(time=self.places + lead)

    def field(self, lead: int) -> xr.DataArray:
        """The forecasts of a lead time, by the time they are valid for."""
        return self.at(lead).slp.copy(data=self.values[:, lead - 1, 0].numpy())

    @cached_property
    def stations(self) -> Any:
        """Reports of all times."""
        (found,) = stations(self.record, "slp", 30, STATION_ERROR, 2009)
        return replace(found, time_window="1h", name="IGRA")

    def mse(self, members: Tensor, lead: int) -> float:
        """Of the mean of members ``(M, N, h, w)``, over starts and, by area, over cells."""
        area = torch.from_numpy(self.grid.area / self.grid.area.mean())
        return float(((members.double().mean(0) - self.truths[:, lead - 1, 0]) ** 2 * area).mean())

    def spread(self, members: Tensor) -> float:
        """Mean variance among the members."""
        area = torch.from_numpy(self.grid.area / self.grid.area.mean())
        return float((members.double().var(0) * area).mean())


@cache
def hindcasts() -> Forecasts:
    """Ninety forecasts of 2008, which neither prior nor emulator was trained on."""
    return Forecasts.made("2008-01-01", "2008-12-31", 90)
