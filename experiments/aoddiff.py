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

import torch
import xarray as xr

from skyweave.prior.corruption import moving_clouds

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("SKYWEAVE_DATA", ROOT.parent / "shared" / "data"))
MADE = ROOT / "runs" / "aoddiff_data"
HOURLY = DATA / "merra2-tqv-tropics-2014-06/merra2_tqv_africa_64x128_hourly_201406_d01-24.nc"


def gaps(fraction: float = 0.5) -> None:
    """Write the training record with the cells that simulated clouds leave."""
    MADE.mkdir(parents=True, exist_ok=True)
    record = xr.open_dataset(HOURLY)[["TQV"]]
    seen = moving_clouds(*record.TQV.shape, fraction, torch.Generator().manual_seed(0))
    gappy = record.copy(data={"TQV": record.TQV.where(seen.numpy())})
    gappy.TQV.encoding.clear()
    gappy.to_netcdf(MADE / "tqv_gappy_50.nc")


if __name__ == "__main__":
    gaps()
