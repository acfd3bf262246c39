"""Every input that cannot be used: one clear error, exit status 2, no traceback, nothing overwritten."""

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

from prior_cases import white_network
from skyweave.cli import main
from skyweave.covariance.by_noise_level import ErrorCovarianceModel, default_levels
from skyweave.prior.storage import LearntPrior, save_prior
from skyweave.state import StateSpec, Variable
from skyweave.transform import Standardise, StateTransform


def field(name="t2m", units="K", start="2020-01-01", lat=None, fill=280.0):
    lat = np.arange(40.0, 56.0) if lat is None else lat
    lon = np.arange(0.0, 16.0)
    time = pd.date_range(start, periods=2, freq="6h")
    values = np.full((2, len(lat), 16), fill, np.float32)
    dims = ("time", "lat", "lon")
    coords = {
        "time": time,
        "lat": ("lat", lat, {"units": "degrees_north"}),
        "lon": ("lon", lon, {"units": "degrees_east"}),
    }
    return xr.DataArray(values, coords, dims, name=name, attrs={"units": units})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("inputs")
    network = white_network(1)
    levels = default_levels()
    kernels = torch.zeros(len(levels), 1, 1, 8, 8)
    kernels[:, 0, 0, 0, 0] = 1
    extra = ErrorCovarianceModel(levels, kernels).to_tensors()
    transform = StateTransform((Standardise(280.0, 10.0),))
    for file, variable, resolution in (
        ("prior", Variable("t2m", "K", bounds=(150.0, 350.0)), 1.0),
        ("other_variable", Variable("tqv", "kg m-2"), 1.0),
        ("other_resolution", Variable("t2m", "K"), 0.25),
    ):
        spec = StateSpec((variable,), (resolution, resolution))
        save_prior(
            LearntPrior(spec, transform, (16, 16), network, attachments=extra), path / f"{file}.safetensors"
        )
    save_prior(
        LearntPrior(StateSpec((Variable("t2m", "K"),), (1.0, 1.0)), transform, (16, 16), network),
        path / "bare.safetensors",
    )
    field().to_netcdf(path / "good.nc")
    field(fill=np.nan).to_netcdf(path / "nan.nc")
    field(units="m s-1").to_netcdf(path / "units.nc")
    field(start="1999-01-01").to_netcdf(path / "late.nc")
    field(lat=np.arange(-40.0, -24.0)).to_netcdf(path / "south.nc")
    whole = (path / "good.nc").read_bytes()
    (path / "truncated.nc").write_bytes(whole[: len(whole) // 2])
    (path / "text.nc").write_text("not a file of fields")
    row = {"time": "2020-01-01", "lat": 45.0, "lon": 5.0, "variable": "t2m", "value": 281.0}
    pd.DataFrame([row]).to_csv(path / "no_errors.csv", index=False)
    pd.DataFrame([row | {"error": -1.0}]).to_csv(path / "negative.csv", index=False)
    pd.DataFrame([row | {"lat": 0.0, "error": 1.0}]).to_csv(path / "far.csv", index=False)
    pd.DataFrame([{"time": "2020-01-01", "value": 1.0}]).to_csv(path / "columns.csv", index=False)
    (path / "keys.yaml").write_text(
        "prior: p.safetensors\nmembrs: 4\nseed: -1\nobservations:\n  - {grid: a.nc, variable: t2m, eror: 1}\n"
    )
    (path / "broken.yaml").write_text("prior: [unclosed")
    (path / "train.yaml").write_text("data: {paths: a.nc, variables: t2m, conditoning: []}\npatch: big\n")
    return path


P = "{d}/prior.safetensors"
CASES = {
    "missing file": (["--prior", P, "--grid", "{d}/absent.nc:t2m=1"], ["absent.nc", "no such file"]),
    "missing prior": (
        ["--prior", "{d}/absent.safetensors", "--grid", "{d}/good.nc:t2m=1"],
        ["absent.safetensors"],
    ),
    "not a prior": (["--prior", "{d}/good.nc", "--grid", "{d}/good.nc:t2m=1"], ["good.nc", "prior"]),
    "truncated file": (["--prior", P, "--grid", "{d}/truncated.nc:t2m=1"], ["truncated.nc"]),
    "no fields": (["--prior", P, "--grid", "{d}/text.nc:t2m=1"], ["text.nc"]),
    "wrong variable": (["--prior", P, "--grid", "{d}/good.nc:t2n=1"], ["t2n", "did you mean 't2m'"]),
    "wrong units": (["--prior", P, "--grid", "{d}/units.nc:t2m=1"], ["m s-1", "K"]),
    "all missing": (["--prior", P, "--grid", "{d}/nan.nc:t2m=1"], ["nan.nc", "t2m"]),
    "no error": (["--prior", P, "--grid", "{d}/good.nc:t2m"], ["no error", "error="]),
    "negative error": (["--prior", P, "--grid", "{d}/good.nc:t2m=-1"], ["error"]),
    "no overlap in time": (
        ["--prior", P, "--grid", "{d}/late.nc:t2m=1", "--like", "{d}/good.nc"],
        ["no observation is left", "outside time window"],
    ),
    "no overlap in space": (
        ["--prior", P, "--grid", "{d}/south.nc:t2m=1", "--like", "{d}/good.nc"],
        ["no observation is left", "outside"],
    ),
    "stations without errors": (
        ["--prior", P, "--points", "{d}/no_errors.csv", "--like", "{d}/good.nc"],
        ["error"],
    ),
    "stations with negative errors": (
        ["--prior", P, "--points", "{d}/negative.csv", "--like", "{d}/good.nc"],
        ["non-positive error"],
    ),
    "stations elsewhere": (
        ["--prior", P, "--points", "{d}/far.csv", "--like", "{d}/good.nc"],
        ["outside domain"],
    ),
    "columns missing": (["--prior", P, "--points", "{d}/columns.csv=1", "--like", "{d}/good.nc"], ["lat"]),
    "prior of other variables": (
        ["--prior", "{d}/other_variable.safetensors", "--grid", "{d}/good.nc:t2m=1"],
        ["t2m", "tqv"],
    ),
    "prior of another resolution": (
        ["--prior", "{d}/other_resolution.safetensors", "--grid", "{d}/good.nc:t2m=1"],
        ["resolution", "0.25"],
    ),
    "prior without covariance": (
        ["--prior", "{d}/bare.safetensors", "--grid", "{d}/good.nc:t2m=1"],
        ["calibrate"],
    ),
    "unknown keys": (["{d}/keys.yaml"], ["membrs", "members", "eror", "error", "seed"]),
    "broken YAML": (["{d}/broken.yaml"], ["broken.yaml"]),
    "unknown method": (["--prior", P, "--grid", "{d}/good.nc:t2m=1", "--method", "mmsp"], ["mmps"]),
    "unknown flag": (["--prior", P, "--gird", "{d}/good.nc:t2m=1"], ["gird"]),
    "nothing observed": (["--prior", P], ["observations"]),
}


@pytest.mark.parametrize("command", ["reconstruct", "check"])
@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_one_clear_error(folder, tmp_path, capsys, command, name):
    arguments, words = CASES[name]
    out = tmp_path / "out.zarr"
    line = [command, *[a.format(d=folder) for a in arguments], "--out", str(out)]
    assert main(line) == 2
    error = capsys.readouterr().err
    assert error.count("error:") >= 1
    assert "Traceback" not in error
    for word in words:
        assert word in error, (word, error)
    assert not out.exists()


def test_an_existing_output_is_kept(folder, tmp_path, capsys):
    out = tmp_path / "out.nc"
    out.write_text("precious")
    line = ["reconstruct", "--prior", f"{folder}/prior.safetensors", "--grid", f"{folder}/good.nc:t2m=1"]
    assert main([*line, "--out", str(out)]) == 2
    assert "exists" in capsys.readouterr().err
    assert out.read_text() == "precious"
    assert main([*line, "--out", str(out), "--overwrite", "--members", "2", "--steps", "6"]) == 0
    assert xr.open_dataset(out, engine="h5netcdf").sizes["member"] == 2


def test_an_empty_selection_is_an_error(folder, tmp_path, capsys):
    settings = tmp_path / "s.yaml"
    settings.write_text(
        f"prior: {folder}/prior.safetensors\nregion: {{lat: [70, 80], lon: [0, 10]}}\n"
        f"observations:\n  - {{grid: {folder}/good.nc, variable: t2m, error: 1}}\n"
    )
    assert main(["check", str(settings)]) == 2
    assert "70" in capsys.readouterr().err


def test_a_bad_training_config_names_every_error_at_once(folder, capsys):
    assert main(["train", str(folder / "train.yaml")]) == 2
    error = capsys.readouterr().err
    for word in ("conditoning", "conditioning", "patch", "split", "out"):
        assert word in error


def test_check_computes_nothing_and_reports(folder, capsys):
    line = ["check", "--prior", f"{folder}/prior.safetensors", "--grid", f"{folder}/good.nc:t2m=1"]
    assert main(line) == 0
    text = capsys.readouterr().out
    for word in ("evaluations", "memory", "t2m", "1.0" if "1.0" in text else "1 x 1"):
        assert word in text


def test_an_input_is_never_the_output(tmp_path, capsys):
    path = tmp_path / "obs.nc"
    path.write_bytes(b"whatever")
    words = [
        "reconstruct",
        "--prior",
        "p.safetensors",
        "--grid",
        f"{path}:t2m=0.5",
        "--out",
        str(path),
        "--overwrite",
    ]
    assert main(words) == 2
    assert "is an input of this command" in capsys.readouterr().err
    assert path.read_bytes() == b"whatever"
