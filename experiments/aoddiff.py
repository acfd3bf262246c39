"""AODDiff re-enacted on the data at hand: what is learnt from gaps, how it reconstructs, and what that costs.

    python experiments/aoddiff.py gaps          # the gappy training files
    skyweave train experiments/configs/aoddiff_complete.yaml     # half an hour each on one core
    skyweave train experiments/configs/aoddiff_gappy.yaml
    skyweave train experiments/configs/aoddiff_goes.yaml
    python experiments/aoddiff.py [prior reconstruction windows joint goes cost] [--quick]

MERRA-2 hourly total precipitable water stands for the paper's AOD: native grid, positive and skewed. Days 1-17 train,
18-20 validate, 21-24 test. GOES-16 AOD has true gaps. Tables go to docs/results/aoddiff.md, figures to docs/figures.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import xarray as xr

from skyweave.grid import Grid
from skyweave.io.swath import grid_swath
from skyweave.prior.corruption import moving_clouds

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("SKYWEAVE_DATA", ROOT.parent / "shared" / "data"))
MADE = ROOT / "runs" / "aoddiff_data"
GOES = DATA / "goes16-aod-conus-2018-11-15/goes16_aod_conus_10km_20181115.nc"
HOURLY = DATA / "merra2-tqv-tropics-2014-06/merra2_tqv_africa_64x128_hourly_201406_d01-24.nc"


def gaps(fraction: float = 0.5) -> None:
    """Write the training record with the cells that simulated clouds leave."""
    MADE.mkdir(parents=True, exist_ok=True)
    if not (MADE / "tqv_gappy_50.nc").exists():
        record = xr.open_dataset(HOURLY)[["TQV"]]
        seen = moving_clouds(*record.TQV.shape, fraction, torch.Generator().manual_seed(0))
        gappy = record.copy(data={"TQV": record.TQV.where(seen.numpy())})
        gappy.TQV.encoding.clear()
        gappy.to_netcdf(MADE / "tqv_gappy_50.nc")
    if not (MADE / "goes_aod.nc").exists():
        # GOES-16 AOD on a regular grid every ten minutes, with the gaps that it has.
        grid = Grid(np.arange(18.0, 50.0, 0.15), np.arange(-125.0, -70.0, 0.15))
        aod = grid_swath(xr.open_dataset(GOES), "AOD", grid)[["AOD"]]
        clock = pd.date_range("2018-11-15T14:00", "2018-11-15T22:00", freq="10min")
        aod = aod.reindex(time=clock, method="nearest", tolerance="5min")
        aod.AOD.attrs["units"] = "1"
        aod.astype("float32").to_netcdf(MADE / "goes_aod.nc")


if __name__ == "__main__":
    gaps()
