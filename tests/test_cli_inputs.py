"""From settings to open objects, and their description: on small files of a tiny, untrained prior."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

from skyweave.cli import main
from skyweave.cli.flags import Flags
from skyweave.cli.inputs import open_inputs, options
from skyweave.cli.settings import settings_from
from skyweave.errors import SkyweaveError
from skyweave.prior.presets import find_preset
from skyweave.prior.storage import LearntPrior, build_network, save_prior
from skyweave.state import StateSpec, Variable
from skyweave.transform import Standardise, StateTransform

TIMES = pd.date_range("2026-03-31", periods=2, freq="6h")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A prior of t2m at one degree, a gridded file with gaps, a table of stations, a target grid."""
    path = tmp_path_factory.mktemp("inputs")
    torch.manual_seed(0)
    network = build_network(1, 0, find_preset("tiny").architecture, 1.0).eval()
    spec = StateSpec((Variable("t2m", "K", standard_name="air_temperature"),), (1.0, 1.0))
    transform = StateTransform((Standardise(280.0, 10.0),))
    save_prior(
        LearntPrior(spec, transform, (16, 16), network, metadata={"note": "tiny"}), path / "p.safetensors"
    )

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
    assert options(settings, inputs)["members"] == 16


def test_a_yaml_opens_what_it_names(folder: Path, monkeypatch, tmp_path: Path):
    monkeypatch.chdir(folder)
    config = tmp_path / "run.yaml"
    config.write_text(
        "prior: p.safetensors\nlike: like.nc\nperiod: ['2026-03-31', '2026-03-31T03']\n"
        "region: {lat: [48, 52], lon: [0, 5]}\n"
        "observations:\n"
        "  - {grid: obs.nc, variable: temp, of: t2m, error_variable: noise, weight: 2, operator: mask,\n"
        "     min_filled: 0.25}\n"
        "  - {points: stations.csv, errors: {t2m: {absolute: 0.3, representativeness: 0.4}}, thin: 50}\n"
        "domain_mask: {path: like.nc, variable: t2m}\n"
    )
    inputs = open_inputs(settings_from(config, None))
    grid, points = inputs.observations
    assert dict(inputs.like.sizes) == {"time": 1, "lat": 5, "lon": 6}
    assert (
        grid.data.sizes["lat"] == 16
    )  # observations are opened whole; what lies outside is counted as dropped
    assert (grid.variable, grid.weight, grid.min_filled) == ("t2m", 2.0, 0.25)
    assert float(grid.error_field.mean()) == pytest.approx(0.7)
    assert points.model_of("t2m").representativeness == 0.4
    assert points.thin == 50
    assert inputs.domain_mask.name == "t2m"


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
    for expected in ("t2m (K)", "1 x 1 degrees", "16 x 16", "million parameters", "none stored", "tiny"):
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
