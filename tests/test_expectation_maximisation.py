"""Expectation-maximisation: completions keep what was observed and have the law of the rest; rounds resume."""

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

from prior_cases import SMALLEST
from skyweave.config import parse_config
from skyweave.diffusion.noise import NoiseStream
from skyweave.errors import SkyweaveError
from skyweave.posterior import calibration
from skyweave.posterior.kalman import KalmanSolver
from skyweave.posterior.sample import Method
from skyweave.prior.analytic import GaussianPrior, red_spectrum
from skyweave.prior.config import TrainConfig
from skyweave.reconstruction.expectation_maximisation import (
    _cells,
    gaussian_completion,
    learn_by_expectation_maximisation,
)


def red_fields(frames, size, gaps):
    prior = GaussianPrior(red_spectrum(size, size), (1, 1, size, size))
    generator = torch.Generator().manual_seed(0)
    x = prior.covariance(float("inf")).color(torch.randn(frames, 1, 1, size, size, generator=generator))[:, 0]
    hidden = torch.rand(x.shape, generator=generator) < gaps
    return x, x.masked_fill(hidden, torch.nan)


def test_completions_keep_what_was_seen_and_have_the_law_of_what_was_not():
    truth, gappy = red_fields(96, 32, 0.5)
    filled = gaussian_completion(gappy, 0.02, NoiseStream(0, [0], range(96)), max_lag=8)
    seen = gappy.isfinite()
    assert torch.isfinite(filled).all()
    assert float((filled - truth)[seen].pow(2).mean().sqrt()) < 0.03
    # A draw and the truth differ by two draws' worth. With the true covariance the same update gives the least of it.
    V = GaussianPrior(red_spectrum(32, 32), (1, 1, 32, 32)).covariance(float("inf"))
    generator = torch.Generator().manual_seed(1)
    best, given = [], [_cells(gappy[t : t + 1], 0.02) for t in range(4)]
    for t, cells in enumerate(given):
        draw = V.color(torch.randn(1, 1, 1, 32, 32, generator=generator))
        y = cells.y + 0.02 * torch.randn(cells.operator.n, generator=generator)
        best.append(
            (KalmanSolver(cells, tolerance=0.002).update(draw, V, y=y)[0] - truth[t : t + 1])[
                ~seen[t : t + 1]
            ]
        )
    least = float(torch.cat(best).pow(2).mean().sqrt())
    assert float((filled - truth)[~seen].pow(2).mean().sqrt()) < 1.2 * least
    # Filling by the mean would lose variance where nothing was seen; a draw keeps it.
    assert float(filled[~seen].std() / truth[~seen].std()) == pytest.approx(1, abs=0.05)


def record(path):
    _, gappy = red_fields(24, 16, 0.4)
    time = pd.date_range("2020-01-01", periods=24, freq="12h")
    lat = ("lat", np.arange(16.0), {"units": "degrees_north"})
    lon = ("lon", np.arange(16.0), {"units": "degrees_east"})
    array = xr.DataArray(
        gappy[:, 0].numpy(), {"time": time, "lat": lat, "lon": lon}, ("time", "lat", "lon"), name="a"
    )
    array.assign_attrs(units="K").to_netcdf(path)
    return array


def config(tmp_path, **changes):
    values = {
        "data": {"paths": str(tmp_path / "a.nc"), "variables": "a"},
        "split": {"train": ["2020-01-01", "2020-01-09"], "validate": ["2020-01-10", "2020-01-12"]},
        "network": SMALLEST,
        "patch": 16,
        "batch": 8,
        "steps": 4,
        "validation_patches": 4,
        "validation_sigmas": [0.2, 2.0],
        "autocast": False,
        "device": "cpu",
        "out": str(tmp_path / "run"),
    }
    return parse_config(values | changes, TrainConfig)


def test_rounds_complete_train_and_resume(tmp_path, monkeypatch):
    few, calibrate = {"batches": 1, "cases": 1, "members": 2}, calibration.calibrate
    monkeypatch.setattr(
        calibration, "calibrate", lambda prior, sampler, **given: calibrate(prior, sampler, **given | few)
    )
    gappy = record(tmp_path / "a.nc")
    told = []
    prior = learn_by_expectation_maximisation(
        config(tmp_path), rounds=2, method=Method(steps=6), report=told.append
    )
    assert prior.spec.names == ("a",)
    assert (tmp_path / "run" / "prior.safetensors").exists()
    second = xr.open_dataset(tmp_path / "run" / "round_1" / "completed.nc").a
    assert bool(second.notnull().all())
    close = np.abs(second.values - gappy.values)[gappy.notnull().values]
    assert float(np.median(close)) < 0.1
    # A second call finds both rounds done.
    again = learn_by_expectation_maximisation(config(tmp_path), rounds=2)
    assert again.fingerprint() == prior.fingerprint()


def test_corruption_and_no_rounds_are_refused(tmp_path):
    record(tmp_path / "a.nc")
    with pytest.raises(SkyweaveError, match="leave `corruption` out"):
        learn_by_expectation_maximisation(config(tmp_path, corruption={}))
    with pytest.raises(SkyweaveError, match="rounds = 0"):
        learn_by_expectation_maximisation(config(tmp_path), rounds=0)
