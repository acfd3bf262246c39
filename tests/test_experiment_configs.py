"""Configurations under `experiments/configs`: all are valid, and those that bear a paper's name say what it says."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

from skyweave.cli import main
from skyweave.config import load_config
from skyweave.diffusion.network import UNet
from skyweave.grid import Grid
from skyweave.observe.quantities import quantity_of
from skyweave.prior.config import NetworkConfig, SplitConfig, TrainConfig
from skyweave.prior.prepare import _variable, prepare

CONFIGS = Path(__file__).resolve().parent.parent / "experiments" / "configs"


@pytest.fixture(scope="module")
def paper() -> TrainConfig:
    return load_config(CONFIGS / "multimodal_paper.yaml", TrainConfig)


@pytest.mark.parametrize("name", ["aoddiff_paper", "multimodal_paper", "era5_surface", "merra2_tqv"])
def test_priors_are_trained_from_valid_configurations(name):
    config = load_config(CONFIGS / f"{name}.yaml", TrainConfig)
    assert config.out == Path("runs") / name


def test_the_multimodal_papers_numbers(paper):
    preset, architecture = paper.preset(), paper.preset().architecture
    assert len(paper.data.variables) == 13
    assert paper.patch == (128, 256)
    assert (architecture.base, architecture.multipliers) == (64, (1, 2, 4, 8, 16))
    assert (architecture.blocks, architecture.dropout) == (4, 0.1)
    sizes = {(paper.patch[0] >> k, paper.patch[1] >> k) for k in architecture.attention}
    assert sizes == {(32, 64), (16, 32), (8, 16)}
    assert (preset.p_mean, preset.p_std, preset.sigma_data) == (-0.5, 1.5, 1.0)
    assert paper.batch == 512
    assert paper.batch * paper.steps == pytest.approx(35e6, rel=1e-3)


def test_the_network_of_the_multimodal_paper_takes_its_state(paper):
    with torch.device("meta"):
        network = UNet(13, 13, paper.preset().architecture)
    assert sum(p.numel() for p in network.parameters()) > 3e8
    x = torch.zeros(1, 13, *paper.patch, device="meta")
    assert network(x, torch.zeros(1, device="meta"), periodic=True).shape == x.shape


def test_its_variables_are_found_in_a_regridded_archive(paper, tmp_path):
    """As `skyweave regrid` writes them from ARCO-ERA5: soundings must find levels and quantities again."""
    grid = Grid(np.linspace(88, -88, 12), np.arange(24) * 15.0, "latitude", "longitude")
    levels = np.array([500, 850, 1000])
    names = {name.split("@")[0] for name in paper.data.variables if "@" in name}
    units = {"temperature": "K", "geopotential": "m**2 s**-2", "specific_humidity": "kg kg**-1"}
    plane, rng = ("latitude", "longitude"), np.random.default_rng(0)
    made = {}
    for name in {n.split("@")[0] for n in paper.data.variables}:
        dims = ("time", "level", *plane) if name in names else ("time", *plane)
        shape = (8, 3, *grid.shape) if name in names else (8, *grid.shape)
        stated = "K" if name.startswith("2m") else units.get(name, "m s**-1")
        made[name] = (dims, rng.random(shape), {"units": stated})
    time = pd.date_range("2018-12-30", periods=8, freq="12h")
    axes = {"time": time, "level": levels, "latitude": grid.lat, "longitude": grid.lon}
    xr.Dataset(made, axes).to_zarr(tmp_path / "arco.zarr", consolidated=False)
    words = [
        "regrid",
        str(tmp_path / "arco.zarr"),
        "--out",
        str(tmp_path / "small.zarr"),
        "--resolution",
        "22.5",
    ]
    assert main([*words, "--variables", *paper.data.variables]) == 0
    data = paper.data.model_copy(update={"paths": [str(tmp_path / "small.zarr")]})
    small = {"data": data, "patch": (8, 16), "network": NetworkConfig(preset="tiny")}
    split = SplitConfig(train=("2018-12-30", "2018-12-31"), validate=("2019-01-01", "2019-01-02"))
    spec = prepare(paper.model_copy(update=small | {"split": split}), 2).spec
    assert spec.names == tuple(paper.data.variables)
    found = {(quantity_of(v), v.level) for v in spec.variables if v.level is not None}
    quantities = ("geopotential", "air_temperature", "specific_humidity", "eastward_wind", "northward_wind")
    assert found == {(q, p) for q in quantities for p in (500.0, 850.0)}
    assert [v.level for v in spec.variables[:3]] == [None] * 3


def test_levels_in_pascal_are_kept_in_hectopascal():
    field = xr.DataArray(
        [0.0], dims="x", name="t@850", attrs={"units": "K", "level": 85000.0, "level_units": "Pa"}
    )
    assert _variable(field, {}, {}).level == 850
    assert _variable(field.assign_attrs(level=850.0, level_units="hPa"), {}, {}).level == 850
    field.attrs.pop("level")
    assert _variable(field, {}, {}).level is None
