"""A coarse record of six years and a fine one of two within it, small enough for tests."""

import numpy as np
import xarray as xr

from skyweave.downscale.data.opening import pair_records

FIRST, LAST = "2003-01-01", "2008-12-31"
OVERLAP = ("2005-06-01", "2007-05-31")


def axes(lat, lon, days):
    return {
        "time": ("time", days),
        "lat": ("lat", lat, {"units": "degrees_north", "standard_name": "latitude"}),
        "lon": ("lon", lon, {"units": "degrees_east", "standard_name": "longitude"}),
    }


def day_axis(first=FIRST, last=LAST):
    return np.arange(first, np.datetime64(last) + 1, dtype="datetime64[D]").astype("datetime64[ns]")


def two_datasets(seed=0, coarse_names=("AOD",), fine_names=("AOD",)):
    """Positive fields of a few degrees with a trend, a season and noise; the fine one is 8 times finer."""
    rng = np.random.default_rng(seed)
    days = day_axis()
    season = 1 + 0.5 * np.cos(2 * np.pi * np.arange(len(days)) / 365.25)[:, None, None]

    def fields(count, shape):
        return (0.2 * season[:count] * np.exp(0.5 * rng.standard_normal((count, *shape)))).astype(np.float32)

    lat, lon = 20.0 + np.arange(9.0), 40.0 + np.arange(10.0)
    coarse = xr.Dataset(
        {n: (("time", "lat", "lon"), fields(len(days), (9, 10)), {"units": "1"}) for n in coarse_names},
        axes(lat, lon, days),
    )
    inside = day_axis(*OVERLAP)
    lat, lon = 22.0625 + 0.125 * np.arange(24), 42.0625 + 0.125 * np.arange(32)
    fine = xr.Dataset(
        {n: (("time", "lat", "lon"), fields(len(inside), (24, 32)), {"units": "1"}) for n in fine_names},
        axes(lat, lon, inside),
    )
    return coarse, fine


def make_record(coarse=None, fine=None, **options):
    both = two_datasets() if coarse is None else (coarse, fine)
    elevation = np.random.default_rng(9).random((24, 32)).astype(np.float32) * 1000
    return pair_records(*both, elevation=elevation, **options)
