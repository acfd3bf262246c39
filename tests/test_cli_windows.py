"""Wrong input at the command line, with a prior of windows: an error of one line, or a counted drop."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

from skyweave.cli import main
from skyweave.covariance.by_noise_level import ErrorCovarianceModel
from skyweave.diffusion.network import Architecture
from skyweave.prior.storage import LearntPrior, build_network, save_prior
from skyweave.state import StateSpec, Variable
from skyweave.transform import Standardise, StateTransform

LAT, LON = np.arange(30.0, 42.0), np.arange(0.0, 16.0)


def white(frames: int = 3) -> ErrorCovarianceModel:
    """The errors of an untrained network, for which every cell is white noise of its own."""
    levels = torch.logspace(-2, 2, 5, dtype=torch.float64)
    kernels = torch.zeros(len(levels), frames, 1, 1, 8, 8)
    kernels[:, 0, 0, 0, 0, 0] = 1.0
    return ErrorCovarianceModel(levels, kernels)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch) -> Path:
    """A prior of three hours of AOD, and one right file."""
    torch.manual_seed(0)
    network = build_network(1, 0, Architecture(8, (1, 1), 1, norm="cell", window=3), 1.0).eval()
    spec = StateSpec((Variable("AOD", "1", bounds=(-0.05, None)),), (1.0, 1.0), window=3, time_step=3600.0)
    prior = LearntPrior(
        spec, StateTransform((Standardise(0.3, 0.2),)), (8, 8), network, attachments=white().to_tensors()
    )
    save_prior(prior, tmp_path / "p.safetensors")
    monkeypatch.chdir(tmp_path)
    aod().to_netcdf("right.nc", engine="h5netcdf")
    return tmp_path


def aod(hours: int = 6, step: int = 1) -> xr.DataArray:
    lat, lon = LAT[::step], LON[::step]
    values = np.random.default_rng(0).gamma(2.0, 0.15, (hours, len(lat), len(lon))).astype(np.float32)
    coords = {
        "time": pd.date_range("2020-05-01", periods=hours, freq="1h"),
        "lat": ("lat", lat, {"units": "degrees_north"}),
        "lon": ("lon", lon, {"units": "degrees_east"}),
    }
    return xr.DataArray(values, coords, ("time", "lat", "lon"), name="AOD", attrs={"units": "1"})


def run(capsys, *words: str) -> tuple[int, str, str]:
    status = main(["reconstruct", "--prior", "p.safetensors", "--members", "2", "--steps", "16", *words])
    out, err = capsys.readouterr()
    return status, out, err


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        (lambda: aod(2), "windows of 3 frames, and 2 were asked for"),
        (lambda: aod().isel(time=[0, 1, 2, 4, 5]), "equally spaced times"),
        (lambda: aod().isel(time=slice(0, None, 2)), "3600 s"),
        (lambda: aod().where(False), "all 1152 are missing"),
        (lambda: aod().assign_coords(lat=LAT[0] + 0.25 * np.arange(12)), "resolution"),
        (lambda: aod() - 9.0, "1152 out of range"),
    ],
)
def test_what_cannot_be_used_is_one_line_and_status_2(folder: Path, capsys, wrong, expected):
    wrong().to_netcdf("wrong.nc", engine="h5netcdf")
    status, _, err = run(capsys, "--grid", "wrong.nc:AOD=0.05", "--out", "out.nc")
    assert status == 2
    assert err.startswith("error: ")
    assert expected in err
    assert "Traceback" not in err
    assert not (folder / "out.nc").exists()


def test_stations_outside_are_counted_and_without_any_other_refused(folder: Path, capsys):
    times = pd.date_range("2020-05-01", periods=3, freq="1h")
    table = pd.DataFrame({"time": times, "lat": [35.2, 80.0, -35.0], "lon": [3.3, 3.0, 4.0], "AOD": 0.4})
    table.to_csv("stations.csv", index=False)
    table[1:].to_csv("outside.csv", index=False)
    status, out, _ = run(capsys, "--points", "stations.csv=0.02", "--like", "right.nc", "--out", "out.nc")
    assert status == 0
    assert "2 outside domain" in out
    status, _, err = run(capsys, "--points", "outside.csv=0.02", "--like", "right.nc", "--out", "none.nc")
    assert status == 2
    assert "no observation is left of 2" in err


def test_slightly_negative_retrievals_are_kept_and_a_cell_never_seen_is_filled(folder: Path, capsys):
    field = aod()
    field[:, 2, 2] = -0.03
    field[:, 5, 5] = np.nan
    field.to_netcdf("obs.nc", engine="h5netcdf")
    status, out, _ = run(capsys, "--grid", "obs.nc:AOD=0.001", "--out", "out.nc")
    assert status == 0
    assert "dropped: 6 NaN" in out
    with xr.open_dataset("out.nc") as made:
        assert bool(made.AOD.notnull().all())
        np.testing.assert_allclose(made.AOD[:, :, 2, 2], -0.03, atol=0.01)
        assert float(made.AOD[:, :, 5, 5].std()) > 0.05


def test_a_coarse_grid_that_does_not_divide_the_fine_one_is_averaged_by_area(folder: Path, capsys):
    # Cells of 2.5 degrees share borders with one in five of the fine cells.
    lat, lon = np.arange(31.0, 40.0, 2.5), np.arange(1.0, 14.0, 2.5)
    values = np.full((6, len(lat), len(lon)), 0.3, np.float32)
    coarse = aod(6, 2).isel(lat=[0] * len(lat), lon=[0] * len(lon)).assign_coords(lat=lat, lon=lon)
    for name in ("lat", "lon"):
        coarse[name].attrs["units"] = f"degrees_{'north' if name == 'lat' else 'east'}"
    coarse.copy(data=values).to_netcdf("coarse.nc", engine="h5netcdf")
    status, out, _ = run(capsys, "--grid", "coarse.nc:AOD=0.02", "--like", "right.nc", "--out", "out.nc")
    assert status == 0
    assert " mean " in out
    status, _, err = run(capsys, "--grid", "coarse.nc:AOD=0.02", "--out", "other.nc")
    assert status == 2
    assert "resolution" in err
