"""From settings to open objects, and their description: on small files of a tiny, untrained prior."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

from prior_cases import white_network
from skyweave.cli import main
from skyweave.cli.flags import Flags
from skyweave.cli.inputs import open_inputs
from skyweave.cli.settings import settings_from
from skyweave.covariance.by_noise_level import estimate_error_covariance
from skyweave.errors import SkyweaveError
from skyweave.prior.storage import LearntPrior, save_prior
from skyweave.state import StateSpec, Variable
from skyweave.transform import Standardise, StateTransform

TIMES = pd.date_range("2026-03-31", periods=2, freq="6h")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A prior of t2m at one degree, a gridded file with gaps, a table of stations, a target grid."""
    path = tmp_path_factory.mktemp("inputs")
    torch.manual_seed(0)
    network = white_network(1)
    spec = StateSpec((Variable("t2m", "K", standard_name="air_temperature"),), (1.0, 1.0))
    transform = StateTransform((Standardise(280.0, 10.0),))
    states = torch.randn(8, 1, 16, 16)
    covariance = estimate_error_covariance(lambda x, sigma, _: x / (1 + sigma**2), [(states, states)])
    prior = LearntPrior(
        spec, transform, (16, 16), network, metadata={"note": "tiny"}, attachments=covariance.to_tensors()
    )
    save_prior(prior, path / "p.safetensors")

    lat, lon = np.arange(60.0, 44, -1), np.arange(-8.0, 16)
    rng = np.random.default_rng(0)
    values = rng.normal(280, 5, (2, 16, 24)).astype(np.float32)
    values[:, :8, :12] = np.nan
    coords = {
        "time": TIMES,
        "lat": ("lat", lat, {"units": "degrees_north"}),
        "lon": ("lon", lon, {"units": "degrees_east"}),
    }
    field = xr.Dataset({"temp": (("time", "lat", "lon"), values, {"units": "K"})}, coords)
    field["noise"] = xr.full_like(field.temp, 0.7)
    field.to_netcdf(path / "obs.nc", engine="h5netcdf")
    field.fillna(280.0).rename(temp="t2m").to_netcdf(path / "like.nc", engine="h5netcdf")
    stations = pd.DataFrame(
        {"time": TIMES[0], "lat": [50.2, 55.5], "lon": [1.1, 10.4], "t2m": [281.0, 279.0]}
    )
    stations.to_csv(path / "stations.csv", index=False)
    return path


def test_flags_open_what_they_name(folder: Path, monkeypatch):
    monkeypatch.chdir(folder)
    flags = Flags(
        prior="p.safetensors", grid=["obs.nc:temp=0.5+1%"], points=["stations.csv=0.3"], like="like.nc"
    )
    settings = settings_from(None, flags)
    inputs = open_inputs(settings)
    grid, points = inputs.observations
    assert (grid.model.absolute, grid.model.relative) == (0.5, 0.01)
    assert grid.data.sizes["lat"] == 16
    assert list(points.table["value"]) == [281.0, 279.0]
    assert set(points.table["variable"]) == {"t2m"}
    assert inputs.like is not None
    assert settings.members == 16


def test_a_yaml_opens_what_it_names(folder: Path, monkeypatch, tmp_path: Path):
    monkeypatch.chdir(folder)
    config = tmp_path / "run.yaml"
    config.write_text(
        "prior: p.safetensors\nlike: like.nc\nperiod: ['2026-03-31', '2026-03-31T03']\n"
        "region: {lat: [48, 52], lon: [0, 5]}\n"
        "observations:\n"
        "  - {grid: obs.nc, variable: temp, of: t2m, error_variable: noise, weight: 2, operator: mask,\n"
        "     min_filled: 0.25}\n"
        "  - {points: stations.csv, errors: {t2m: {absolute: 0.3, representativeness: 0.4}}, thin: 50,\n"
        "     units: {t2m: degC}}\n"
        "  - {points: stations.csv, error: 0.3, units: degF}\n"
        "domain_mask: {path: like.nc, variable: t2m}\n"
    )
    settings = settings_from(config, None)
    inputs = open_inputs(settings)
    grid, points, plain = inputs.observations
    assert dict(inputs.like.sizes) == {"time": 1, "lat": 5, "lon": 6}
    assert (
        grid.data.sizes["lat"] == 16
    )  # observations are opened whole; what lies outside is counted as dropped
    assert (grid.variable, grid.weight, grid.min_filled) == ("t2m", 2.0, 0.25)
    assert float(grid.error_field.mean()) == pytest.approx(0.7)
    assert points.model_of("t2m").representativeness == 0.4
    assert points.thin == 50
    assert [source.units_of("t2m") for source in (points, plain)] == ["degC", "degF"]
    assert (settings.domain_mask.path, settings.domain_mask.variable) == ("like.nc", "t2m")


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({"grid": ["obs.nc:temp"]}, "no error"),
        ({"points": ["stations.csv"]}, "no errors"),
        ({"grid": ["obs.nc:tmp=1"]}, "temp"),
        ({"grid": ["absent.nc:temp=1"]}, "absent.nc"),
        ({"points": ["absent.csv=1"]}, "absent.csv"),
        ({"grid": ["obs.nc:temp=1"], "like": "stations.csv"}, "stations.csv"),
        ({"grid": ["obs.nc:temp=0"]}, "zero"),
    ],
)
def test_bad_input_is_named(folder: Path, monkeypatch, flags, expected):
    monkeypatch.chdir(folder)
    with pytest.raises(SkyweaveError, match=expected):
        open_inputs(settings_from(None, Flags(**({"prior": "p.safetensors"} | flags))))


def test_info_describes_a_prior(folder: Path, capsys):
    assert main(["info", str(folder / "p.safetensors")]) == 0
    shown = capsys.readouterr().out
    for expected in ("t2m (K)", "1 x 1 degrees", "16 x 16", "million parameters", "stored with it", "tiny"):
        assert expected in shown


def test_info_describes_an_output_and_its_provenance(tmp_path: Path, capsys):
    from skyweave.io.write import write

    flags = np.array([[[1, 1], [2, 0]]], dtype=np.int8)
    attrs = {
        "flag_values": np.arange(4, dtype=np.int8),
        "flag_meanings": "left_missing observed filled extrapolated",
    }
    ds = xr.Dataset(
        {"t2m_provenance": (("time", "lat", "lon"), flags, attrs)},
        {
            "time": TIMES[:1],
            "lat": ("lat", [50.0, 51.0], {"units": "degrees_north"}),
            "lon": ("lon", [0.0, 1.0], {"units": "degrees_east"}),
        },
        {"skyweave_method": "covariance"},
    )
    write(ds, tmp_path / "out.zarr")
    assert main(["info", str(tmp_path / "out.zarr")]) == 0
    shown = capsys.readouterr().out
    assert "left_missing 25.0 %, observed 50.0 %, filled 25.0 %, extrapolated 0.0 %" in shown
    assert "covariance" in shown


@pytest.fixture
def renamed(folder: Path, monkeypatch, tmp_path: Path) -> Path:
    """A folder whose observations have the prior's name, to which a test may write."""
    monkeypatch.chdir(tmp_path)
    for name in ("p.safetensors", "like.nc"):
        (tmp_path / name).symlink_to(folder / name)
    xr.load_dataset(folder / "obs.nc").to_netcdf(tmp_path / "obs.nc", engine="h5netcdf")
    return tmp_path


def test_check_reports_the_cost_and_writes_nothing(renamed: Path, capsys):
    config = renamed / "run.yaml"
    config.write_text("observations: [{grid: obs.nc, variable: temp, of: t2m, error: 0.5}]\n")
    before = sorted(renamed.iterdir())
    words = [
        "check",
        "run.yaml",
        "--prior",
        "p.safetensors",
        "--like",
        "like.nc",
        "--members",
        "3",
        "--out",
        "o.nc",
    ]
    assert main(words) == 0
    shown = capsys.readouterr().out
    for expected in ("t2m (K)", "3 members x 2 times", "evaluations", "MiB", "obs.nc:temp"):
        assert expected in shown
    assert sorted(renamed.iterdir()) == before


@pytest.mark.parametrize("name", ["fields.zarr", "fields.nc"])
def test_reconstruct_writes_once_and_again_only_when_allowed(renamed: Path, name: str, capsys):
    config = renamed / "run.yaml"
    config.write_text(
        "observations: [{grid: obs.nc, variable: temp, of: t2m, error: 0.5}]\nmembers: 2\nsteps: 4\n"
    )
    words = ["reconstruct", "run.yaml", "--prior", "p.safetensors", "--like", "like.nc", "--out", name]
    assert main(words) == 0
    with xr.open_dataset(name) as fields, xr.open_dataset("like.nc") as like:
        assert fields.t2m.dims == ("member", "time", "lat", "lon")
        assert bool(np.isfinite(fields.t2m).all())
        np.testing.assert_array_equal(fields.lat, like.lat)
        np.testing.assert_array_equal(fields.lon, like.lon)
        first = fields.t2m.values
    capsys.readouterr()
    assert main(words) == 2
    assert name in capsys.readouterr().err
    assert main([*words, "--seed", "1", "--overwrite"]) == 0
    with xr.open_dataset(name) as fields:
        assert np.abs(fields.t2m.values - first).max() > 0
    assert main(["info", name]) == 0
    assert "t2m_provenance" in capsys.readouterr().out


def test_a_file_that_is_no_prior_is_named(renamed: Path, capsys):
    config = renamed / "run.yaml"
    config.write_text("prior: obs.nc\nobservations: [{grid: obs.nc, variable: temp, of: t2m, error: 0.5}]\n")
    assert main(["check", "run.yaml"]) == 2
    assert "obs.nc" in capsys.readouterr().err
