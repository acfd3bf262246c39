"""Beside the paper's figures: the mask when sampling, what sequences cost, and the gappy training files."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import xarray as xr
from common import GOES, HOURLY, MADE, cases, emit, mean_of, observe, opened, posterior, scores
from mask_average import averaged_over_masks

from skyweave.grid import Grid
from skyweave.io.swath import grid_swath
from skyweave.io.write import write
from skyweave.prior.corruption import moving_clouds


def gaps(fraction: float = 0.5) -> None:
    """Write the training record with the cells that simulated clouds leave."""
    MADE.mkdir(parents=True, exist_ok=True)
    if not (MADE / "tqv_gappy_50.nc").exists():
        record = xr.open_dataset(HOURLY)[["TQV"]]
        seen = moving_clouds(*record.TQV.shape, fraction, torch.Generator().manual_seed(0))
        gappy = record.copy(data={"TQV": record.TQV.where(seen.numpy())})
        gappy.TQV.encoding.clear()
        write(gappy, MADE / "tqv_gappy_50.nc")
    if not (MADE / "goes_aod.nc").exists():
        write(goes_record(), MADE / "goes_aod.nc")


def goes_record(first: str = "2018-11-15T14:00", last: str = "2018-11-15T22:00") -> xr.Dataset:
    """GOES-16 AOD on a regular grid every ten minutes, with the gaps that it has."""
    grid = Grid(np.arange(18.0, 50.0, 0.15), np.arange(-125.0, -70.0, 0.15))
    swath = xr.open_dataset(GOES)
    margin = pd.Timedelta("10min")
    part = swath.sel(time=slice(pd.Timestamp(first) - margin, pd.Timestamp(last) + margin))
    aod = grid_swath(part, "AOD", grid)[["AOD"]]
    clock = pd.date_range(first, last, freq="10min")
    aod = aod.reindex(time=clock, method="nearest", tolerance="5min")
    aod.AOD.attrs["units"] = "1"
    return aod.astype("float32")


def masks(quick: bool) -> None:
    """The mask of a corruption-aware network when sampling: all ones, or averages over random masks."""
    ones, rows = opened("gappy"), []
    networks = {"all ones, 16": ones, "averaged over a pair of masks, 32": averaged_over_masks(ones)}
    for task in ({"missing": 0.95}, {"missing": 0.6}, {"downscale": 8}):
        for name, prior in networks.items():
            found = [
                scores(posterior(prior, truth, observe(truth, n, **task), 6), truth, 15.0)  # type: ignore[arg-type]
                for n, truth in enumerate(cases(1 if quick else 2, hours=5, seed=5))
            ]
            rows.append({**task, "mask, evaluations": name, **mean_of(found)})
    emit("The mask when sampling, gappy prior (2 cases of 5 h x 32 x 32, 6 members)", rows)


def cost(quick: bool) -> None:
    """Seconds and peak memory per member-hour against the length of the sequence, each in a process of its own."""
    rows = []
    for hours in (12, 24) if quick else (12, 24, 48, 96):
        command = [sys.executable, str(Path(__file__).with_name("aoddiff.py")), "cost-of", str(hours)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        seconds, peak, idle = json.loads(done.stdout.splitlines()[-1])
        rows.append(
            {
                "hours": hours,
                "seconds per member-hour": seconds / (4 * hours),
                "peak (MiB)": peak,
                "beyond imports and data (MiB)": peak - idle,
            }
        )
    emit("Cost against the length of the sequence (32 x 32, 4 members, 40 % missing, 16 evaluations)", rows)


def cost_of(hours: int) -> None:
    """One reconstruction, for `cost`."""
    prior = opened("complete")
    truth = xr.open_dataset(HOURLY).TQV[:hours, 16:48, 40:72].load()
    given = observe(truth, 0, missing=0.4)
    idle = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    began = time.perf_counter()
    posterior(prior, truth, given, 4)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps([time.perf_counter() - began, peak, idle]))
