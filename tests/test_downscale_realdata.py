"""The data of downscaling on real files: MERRA-2 water vapour as the fine record, its noisy means as the coarse."""

import os
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from skyweave.baselines.downscaling import Bicubic, QuantileMapped
from skyweave.downscale.config import SplitConfig
from skyweave.downscale.data.opening import pair_records
from skyweave.downscale.data.samples import Calendar, Samples, Scaler
from skyweave.downscale.data.splits import split_days
from skyweave.grid import Grid
from skyweave.io import open_fields
from skyweave.io.elevation import elevation_on
from skyweave.regrid import block_mean, coarsen
from skyweave.verify import (
    area_mean,
    daily_scores,
    domain_similarity,
    field_variogram,
    fit_spherical,
    lag_scores,
    mean_and_deviation,
    series_memory,
)

pytestmark = pytest.mark.realdata
ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("SKYWEAVE_DATA", ROOT.parent / "shared" / "data"))
TQV = DATA / "merra2-tqv-tropics-2014-06" / "merra2_tqv_tropics_3hourly_201406_d01-24.nc"
ELEVATION = DATA / "static-fields" / "merra2_grid_elevation.nc"


@pytest.fixture(scope="module")
def record():
    whole = open_fields(TQV, ["TQV"]).isel(lat=slice(40, 120), lon=slice(280, 392)).load()
    grid = Grid.from_dataset(whole)
    weights, coarse_grid = block_mean(grid, 8), coarsen(grid, 8)
    values = whole.TQV.values.reshape(whole.sizes["time"], -1) @ weights.T
    rng = np.random.default_rng(0)
    noisy = 0.95 * values * np.exp(0.03 * rng.standard_normal(values.shape))
    coarse = xr.Dataset(
        {
            "TQV": (
                ("time", "lat", "lon"),
                noisy.reshape(-1, *coarse_grid.shape).astype(np.float32),
                {"units": "kg m-2"},
            )
        },
        {"time": whole.time, "lat": coarse_grid.lat, "lon": coarse_grid.lon},
    )
    fine = whole.isel(lat=slice(24, 56), lon=slice(24, 88))
    with xr.open_dataset(ELEVATION) as ds:
        name = next(n for n, v in ds.data_vars.items() if v.ndim == 2)
    return pair_records(
        coarse, fine, elevation=elevation_on(Grid.from_dataset(fine), ELEVATION, str(name)), step="native"
    )


def test_days_of_three_hours_are_divided_and_baselines_are_ordered(record):
    split = split_days(record, "all", 8, SplitConfig(least_days=50))
    assert record.step == np.timedelta64(3, "h")
    assert len(split.test) > 15
    assert 0 < float(record.elevation.max()) < 6000
    samples = Samples(
        record,
        Scaler.fit(record, split.training),
        Calendar.fit(record.days[split.training], step=record.step),
        8,
    )
    truth = record.fine.read(split.test)[:, 0]
    nse = {}
    for name, baseline in (
        ("bicubic", Bicubic(samples)),
        ("mapped", QuantileMapped(samples, split.training)),
    ):
        scores = mean_and_deviation(daily_scores(baseline(split.test)[:, 0], truth))
        nse[name] = scores["nse"][0]
        assert scores["r2"][0] > 0.8
    assert nse["mapped"] > nse["bicubic"]


def test_diagnostics_of_real_fields_are_plausible(record):
    days = np.flatnonzero(record.fine.missing() == 0)
    fine = record.fine.read(days)[:, 0]
    coarse = record.interpolate(record.coarse.read(days))[:, 0]
    similar = domain_similarity(coarse, fine)
    assert 0 < similar.pooled < 0.2
    logs = np.log10(fine)
    # The drop towards the desert has no range; departures from the mean do.
    variogram = field_variogram(logs - logs.mean(0), record.grid, bins=10)
    model = fit_spherical(variogram)
    assert model.r2 > 0.9
    assert 100 < model.range < 1500
    drop = fit_spherical(field_variogram(logs, record.grid))
    assert drop.range > 600
    smooth = np.log10(coarse)
    assert field_variogram(smooth - smooth.mean(0), record.grid, bins=10).gamma[1] < variogram.gamma[1]
    memory = series_memory(area_mean(fine), 30, record.days[days])
    assert memory.acf[1] > 0.8
    lags = lag_scores(logs, 10)
    assert (np.diff(lags.rmse) > 0).all()
