"""The road on real files: the shipped prior on unseen ERA5, and a short training on MERRA-2."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
import yaml

import skyweave
from skyweave.baselines import BASELINES
from skyweave.grid import Grid
from skyweave.io import open_fields
from skyweave.observe.assemble import assemble
from skyweave.regrid import block_mean, coarsen
from skyweave.verify import scorecard

pytestmark = pytest.mark.realdata
ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("SKYWEAVE_DATA", ROOT.parent / "shared" / "data"))
PRIOR = ROOT / "src" / "skyweave" / "data" / "era5_prior.safetensors"
ERA5 = DATA / "era5-global-1deg-2026-03" / "era5_sfc_global_1deg_20260325_20260331.nc"
TQV = DATA / "merra2-tqv-tropics-2014-06" / "merra2_tqv_tropics_3hourly_201406_d01-24.nc"
ERRORS = {"t2m": 0.5, "u10": 0.7, "v10": 0.7, "msl": 50.0}


def test_the_shipped_prior_beats_bicubic_on_an_unseen_step():
    ds = open_fields(ERA5, list(ERRORS), region={"lat": (20, 68), "lon": (-60, 4)}).isel(time=[-2]).load()
    ds = ds.isel(latitude=slice(0, 48), longitude=slice(0, 64))
    grid = Grid.from_dataset(ds)
    rng = np.random.default_rng(0)
    coarse = coarsen(grid, 4)
    sources = []
    for name, error in ERRORS.items():
        means = (block_mean(grid, 4) @ ds[name].values.ravel()).reshape(1, *coarse.shape)
        array = xr.DataArray(
            means + error * rng.standard_normal(means.shape),
            {"time": ds.time, "latitude": coarse.lat, "longitude": coarse.lon},
            ("time", "latitude", "longitude"),
            name=name,
            attrs=ds[name].attrs,
        )
        array.latitude.attrs, array.longitude.attrs = ds.latitude.attrs, ds.longitude.attrs
        sources.append(skyweave.GridObservation(array, error, operator="block-mean"))
    prior = skyweave.open_prior(PRIOR)
    fields = skyweave.reconstruct(prior, sources, like=ds, members=12, seed=0, progress=False)
    segment = assemble(sources, prior.spec, grid, ds.time.values, prior.transform).segment(0, 1)
    bicubic = BASELINES["bicubic"](segment, prior.spec, grid, transform=prior.transform)
    for c, name in enumerate(prior.spec.names):
        truth = torch.from_numpy(ds[name].values)
        card = scorecard(torch.from_numpy(fields[name].values), truth)
        other = scorecard(torch.from_numpy(bicubic[:, :, c]), truth)
        assert card["rmse"] < other["rmse"], name
        assert card["crps"] < 0.8 * other["crps"], name
        assert 0.75 < card["ssr"] < 1.3, name
        assert 0.8 < card["coverage90"] < 0.97, name


def test_a_short_training_learns_real_fields_and_ends_calibrated(tmp_path):
    config = yaml.safe_load((ROOT / "experiments" / "configs" / "merra2_tqv.yaml").read_text())
    config["data"] = {"paths": str(TQV), "variables": "TQV", "conditioning": ["latitude"]}
    config |= {"network": {"preset": "tiny"}, "patch": 16, "max_minutes": None, "batch": 16}
    config |= {"optimiser": {"lr": 4e-3, "warmup": 10}, "ema_half_life": 8, "steps": 150}
    config |= {"checkpoint_every": 60, "validate_every": 60, "log_every": 10, "out": str(tmp_path / "run")}
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    from skyweave.cli import main

    assert main(["train", str(path)]) == 0
    prior = skyweave.open_prior(tmp_path / "run" / "prior.safetensors")
    assert prior.metadata["validation"]["loss_by_sigma"]["1"] < 0.85
    assert set(prior.metadata["calibration"]["kinds"]) == {"mask", "means", "points"}
    truth = open_fields(TQV, ["TQV"]).isel(time=[190], lat=slice(40, 72), lon=slice(0, 32)).load()
    rng = np.random.default_rng(0)
    seen = truth.TQV.where(rng.random(truth.TQV.shape) < 0.3)
    fields = skyweave.reconstruct(prior, skyweave.GridObservation(seen, 1.0), members=8, progress=False)
    error = float(np.sqrt(((fields.TQV_mean - truth.TQV) ** 2).mean()))
    assert error < 0.5 * float(truth.TQV.std())
    assert float(fields.TQV.min()) >= 0
