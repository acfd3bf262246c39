"""What ships with the package: sizes, credits, and data that can be used without anything else."""

from __future__ import annotations

import importlib
import pkgutil
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import skyweave

DATA = Path(str(files("skyweave") / "data"))


@pytest.fixture(scope="module")
def sample() -> xr.Dataset:
    return xr.load_dataset(DATA / "era5_sample.nc")


def test_every_public_name_can_be_reached():
    for name in skyweave.__all__:
        assert getattr(skyweave, name) is not None
    assert set(skyweave.__all__) <= set(dir(skyweave))
    with pytest.raises(AttributeError, match="reconstrct"):
        _ = skyweave.reconstrct


@pytest.mark.parametrize("package", ["skyweave", "skyweave.downscale", "skyweave.emulate"])
def test_no_public_name_is_that_of_a_module_beside_it(package):
    """Whoever imports such a module would find it where the function was: by chance of what came first."""
    home = importlib.import_module(package)
    modules = {name for _, name, _ in pkgutil.iter_modules(home.__path__)}
    assert modules
    assert modules.isdisjoint(home.__all__)


def test_no_script_bears_the_name_of_another():
    """All folders of scripts are on the path of the tests: the first that is found would be taken for its namesake."""
    root = Path(__file__).resolve().parent.parent
    names = [
        p.stem for folder in ("tests", "benchmarks", "experiments") for p in (root / folder).glob("*.py")
    ]
    assert sorted(names) == sorted(set(names))


def test_the_sample_is_small_complete_and_credited(sample):
    assert (DATA / "era5_sample.nc").stat().st_size < 4e6
    assert dict(sample.sizes) == {"time": 4, "latitude": 181, "longitude": 360}
    assert set(sample.data_vars) == {"t2m", "u10", "v10", "msl"}
    assert sample.attrs["license"] == "CC-BY 4.0"
    assert "Contains modified Copernicus Climate Change Service information 2026" in sample.attrs["comment"]
    assert "Contains modified Copernicus" in (DATA / "README.md").read_text()
    for field in sample.data_vars.values():
        assert np.isfinite(field).all()
        assert {"units", "standard_name", "long_name"} <= set(field.attrs)


def test_the_sample_holds_the_earth(sample):
    # The pole is one point, the equator is warmer, the trades blow from the east.
    assert float(sample.t2m.sel(latitude=90).std("longitude").max()) < 0.01
    warm, cold = sample.t2m.sel(latitude=0).mean(), sample.t2m.sel(latitude=-80).mean()
    assert 290 < float(warm) < 305
    assert float(cold) < 260
    assert float(sample.u10.sel(latitude=slice(15, 10)).mean()) < 0
    weights = np.cos(np.deg2rad(sample.latitude))
    assert float(sample.msl.weighted(weights).mean()) == pytest.approx(101100, abs=300)


def test_land_lies_on_the_samples_grid(sample):
    land = xr.load_dataset(DATA / "land_1deg.nc").land_sea_mask
    np.testing.assert_array_equal(land.latitude, sample.latitude)
    np.testing.assert_array_equal(land.longitude, sample.longitude)
    assert float(land.min()) == 0
    assert float(land.max()) == 1
    known = {
        (52, 20): 1,
        (0, 20): 1,
        (-25, 135): 1,
        (-85, 0): 1,
        (40, 260): 1,
        (0, 200): 0,
        (45, 330): 0,
        (42, 51): 0,
    }
    for (lat, lon), expected in known.items():
        assert float(land.sel(latitude=lat, longitude=lon)) == expected, (lat, lon)
    share = float(land.weighted(np.cos(np.deg2rad(land.latitude))).mean())
    assert share == pytest.approx(0.292, abs=0.01)  # of the Earth's surface


def test_coasts_separate_land_from_sea():
    land = xr.load_dataset(DATA / "land_1deg.nc").land_sea_mask
    with np.load(DATA / "coastlines.npz", allow_pickle=False) as file:
        points = file["lonlat"]
    points = points[np.isfinite(points[:, 0])]
    assert np.abs(points[:, 0]).max() <= 180
    assert np.abs(points[:, 1]).max() < 90
    # A coast point's cell or one beside it is part land, part sea: borders between countries would not be.
    i = np.rint(90 - points[:, 1]).astype(int)
    j = np.rint(points[:, 0]).astype(int) % 360
    around = np.stack(
        [land.values[np.clip(i + a, 0, 180), (j + b) % 360] for a in (-1, 0, 1) for b in (-1, 0, 1)]
    )
    mixed = (around.min(0) < 0.95) & (around.max(0) > 0.005)
    assert mixed.mean() > 0.98


def test_typed():
    assert (files("skyweave") / "py.typed").is_file()
