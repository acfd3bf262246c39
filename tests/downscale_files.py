"""A small pair of records on disk, and a configuration that trains in seconds."""

from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from scipy.ndimage import gaussian_filter

from skyweave.config import parse_config
from skyweave.downscale.config import DownscaleConfig

FACTOR, FINE, MARGIN = 4, (12, 16), 12
DAYS, OVERLAP = 90, 70


def records(days: int = DAYS) -> tuple[xr.Dataset, xr.Dataset, xr.Dataset]:
    """Coarse record, fine record of the overlap, and the fine truth of all days."""
    return tuple(made.copy(deep=True) for made in _records(days))


@cache
def _records(days: int, overlap: int = OVERLAP, seed: int = 0) -> tuple[xr.Dataset, xr.Dataset, xr.Dataset]:
    rng = np.random.default_rng(seed)
    wide = (FINE[0] + 2 * MARGIN, FINE[1] + 2 * MARGIN)
    large, detail = np.zeros((2, days, *wide))
    a = b = np.zeros(wide)
    for day in range(days):
        a = 0.8 * a + 0.6 * 6 * gaussian_filter(rng.normal(size=wide), 5, mode="wrap")
        b = 0.5 * b + 0.87 * 2 * gaussian_filter(rng.normal(size=wide), 1, mode="wrap")
        large[day], detail[day] = a, b
    fine = 10 ** (-1 + 0.3 * (large + detail))
    lat, lon = 20 + 0.25 * np.arange(wide[0]), 60 + 0.25 * np.arange(wide[1])
    blocks = fine.reshape(days, wide[0] // FACTOR, FACTOR, wide[1] // FACTOR, FACTOR).mean((2, 4))
    coarse = 0.8 * blocks * np.exp(0.1 * rng.normal(size=blocks.shape))
    time = pd.date_range("2005-06-01", periods=days)
    inside = (slice(None), slice(MARGIN, -MARGIN), slice(MARGIN, -MARGIN))

    def dataset(values, lat, lon, time):
        return xr.Dataset(
            {"dust": (("time", "lat", "lon"), values.astype(np.float32), {"units": "1"})},
            {
                "time": time,
                "lat": ("lat", lat, {"units": "degrees_north"}),
                "lon": ("lon", lon, {"units": "degrees_east"}),
            },
        )

    def middle(axis):
        return axis.reshape(-1, FACTOR).mean(1)

    truth = dataset(fine[inside], lat[inside[1]], lon[inside[2]], time)
    return dataset(coarse, middle(lat), middle(lon), time), truth.isel(time=slice(0, overlap)), truth


def config(folder: Path, **changes) -> DownscaleConfig:
    """Files in a folder and a configuration that reads them."""
    coarse, fine, _ = records()
    coarse.to_netcdf(folder / "coarse.nc")
    fine.to_netcdf(folder / "fine.nc")
    return parse_config(settings(folder) | changes, DownscaleConfig)


def settings(folder: Path) -> dict:
    """The same as a mapping."""
    network = {"base": 4, "multipliers": [1]}
    training = {"epochs": 2, "steps_per_epoch": 6, "batch": 8, "validation_patches": 16, "warmup": 2}
    return {
        "coarse": {"paths": str(folder / "coarse.nc"), "variables": ["dust"]},
        "fine": {"paths": str(folder / "fine.nc"), "variables": ["dust"]},
        "lags": 2,
        "patch": 8,
        "stride": 4,
        "split": {"least_days": 10},
        "encoder": {"network": network, "training": training},
        "options": {"network": network, "training": training},
        "inference": {"stride": 4, "halo": 1, "members": 2, "steps": 3},
        "out": str(folder / "run"),
    }
