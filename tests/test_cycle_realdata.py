"""Days of real sea-level pressure, cycled with a prior of half a minute: better than each source, spread that fits."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import skyweave
from skyweave.cycle import CycleSettings, assimilate
from skyweave.emulate import fit_forecaster
from skyweave.grid import Grid
from skyweave.io import open_fields
from skyweave.posterior.calibration import calibrate
from skyweave.posterior.sample import Method
from skyweave.prior.config import TrainConfig
from skyweave.prior.prepare import prepare
from skyweave.prior.train import train
from skyweave.regrid import bilinear

DATA = Path(os.environ.get("SKYWEAVE_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
SLP = DATA / "ncep-slp-north-atlantic" / "ncep_slp_daily_2001_2010.nc"

pytestmark = pytest.mark.realdata


def learnt(folder):
    settings = TrainConfig.model_validate(
        {
            "data": {
                "paths": str(SLP),
                "variables": "slp",
                "conditioning": ["latitude", "longitude", "day_of_year"],
            },
            "split": {"train": ["2001-01-01", "2007-12-31"], "validate": ["2008-01-01", "2008-12-31"]},
            "transform": {"slp": "standardise"},
            "patch": [17, 33],
            "network": {"preset": "tiny"},
            "optimiser": {"lr": 4e-3, "warmup": 20},
            "ema_half_life": 30,
            "batch": 32,
            "steps": 350,
            "out": str(folder),
            "threads": 1,
        }
    )
    prior = train(settings)
    return calibrate(prior, prepare(settings, 4).validation, batches=4, cases=4, members=4)


def reports(record, count, error):
    grid, rng = Grid.from_dataset(record), np.random.default_rng(7)
    lat = rng.uniform(grid.lat.min(), grid.lat.max(), count)
    lon = rng.uniform(grid.lon.min(), grid.lon.max(), count)
    H, made = bilinear(grid, lat, lon), []
    for k, time in enumerate(record.time.values):
        value = H @ record.slp.values[k].ravel() + error * rng.standard_normal(count)
        made.append(pd.DataFrame({"time": time, "lat": lat, "lon": lon, "value": value, "variable": "slp"}))
    return skyweave.PointObservation(pd.concat(made), error=error, name="reports")


def test_cycled_days_of_pressure_are_better_than_reports_and_forecast_alone(tmp_path):
    prior = learnt(tmp_path / "run")
    record = open_fields(SLP, ["slp"])
    training = record.sel(time=slice("2001-01-01", "2007-12-31")).load()
    model = fit_forecaster("linear", training, prior.spec, components=100, noise=True)
    truth = record.sel(time=slice("2009-01-01", "2009-01-24")).load()
    seen = reports(truth, 15, 150.0)
    settings = CycleSettings(members=32, method=Method(steps=16))
    cycled = assimilate(prior, model, seen, like=truth, settings=settings, progress=False)
    alone = skyweave.reconstruct(prior, seen, like=truth, members=32, steps=16, progress=False)
    late = slice(3, None)

    def error(fields, name="slp"):
        members = fields[name].transpose("member", "time", ...).values[:, late]
        return float(np.sqrt(np.square(members.mean(0) - truth.slp.values[late]).mean()))

    spread = float(np.sqrt(cycled.slp.transpose("member", ...).values[:, late].var(0, ddof=1).mean()))
    assert error(cycled) < 0.95 * error(alone)
    assert error(cycled) < 0.8 * error(cycled, "slp_forecast")
    assert 0.7 < spread / error(cycled) < 1.2
