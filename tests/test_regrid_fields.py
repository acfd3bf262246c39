"""Fields on another grid: what is conserved, what is exact, what stays missing, and that a run can be resumed."""

import dask.array
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from skyweave.cli import main
from skyweave.errors import SkyweaveError
from skyweave.grid import Grid
from skyweave.io import open_fields
from skyweave.io import regridded as module
from skyweave.io.regions import Regions
from skyweave.io.regridded import METHODS, regrid_fields, regular_grid, write_in_blocks
from skyweave.io.store import partial_store

GLOBE = Grid(np.linspace(90, -90, 37), np.arange(72) * 5.0, "latitude", "longitude")


def fields(grid: Grid = GLOBE, times: int = 4) -> xr.Dataset:
    rng = np.random.default_rng(0)
    axes = ("time", grid.lat_name, grid.lon_name)
    t2m = xr.Variable(axes, rng.normal(280, 10, (times, *grid.shape)).astype("f4"), {"units": "K"})
    lat, _ = np.deg2rad(grid.mesh())
    smooth = np.broadcast_to(np.sin(lat), (times, *grid.shape)).copy()
    u10 = xr.Variable(axes, smooth, {"units": "m s-1"})
    land = xr.Variable(axes[1:], rng.integers(0, 5, grid.shape), {"units": "1"})
    coordinates = {
        "time": pd.date_range("2020-01-01", periods=times, freq="6h"),
        grid.lat_name: (grid.lat_name, grid.lat, {"units": "degrees_north"}),
        grid.lon_name: (grid.lon_name, grid.lon, {"units": "degrees_east"}),
    }
    return xr.Dataset({"t2m": t2m, "u10": u10, "land": land}, coordinates, {"title": "a test"})


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "in.nc"
    fields().to_netcdf(path, engine="h5netcdf")
    return path


def test_weatherbench_grids_come_out_of_their_resolutions():
    fine = regular_grid(1.40625, GLOBE)
    assert fine.shape == (128, 256)
    assert fine.lat[0] == pytest.approx(89.296875)  # in the order of the input
    assert fine.lon[:2].tolist() == [0, 1.40625]
    assert regular_grid(1.40525, GLOBE).same_as(fine)  # the paper's number
    south_up = Grid(GLOBE.lat[::-1].copy(), GLOBE.lon - 180)
    coarse = regular_grid(5.625, south_up)
    assert coarse.shape == (32, 64)
    assert coarse.lat[0] == pytest.approx(-87.1875)
    assert coarse.lon[0] == -180
    assert regular_grid((3.0, 6.0), GLOBE).shape == (60, 60)


def test_a_region_is_filled_from_its_edges():
    region = Grid(np.arange(40.0, 60.0), np.arange(350.0, 370.0) % 360)
    grid = regular_grid(3.0, region)
    assert grid.shape == (6, 6)
    assert grid.lat[0] == pytest.approx(39.5 + 1.5)
    assert grid.lon_unwrapped[0] % 360 == pytest.approx(349.5 + 1.5)
    with pytest.raises(SkyweaveError, match="wider than the region"):
        regular_grid(30.0, region)


@pytest.mark.parametrize("bad", [7.0, -1.0, float("nan")])
def test_sizes_that_do_not_fit_the_earth_are_refused(bad):
    with pytest.raises(SkyweaveError, match=r"resolution"):
        regular_grid(bad, GLOBE)


def test_area_means_conserve_the_global_mean():
    target = regular_grid(7.5, GLOBE)
    moved = regrid_fields(fields(), target)
    assert moved.t2m.dims == ("time", "latitude", "longitude")
    assert moved.t2m.dtype == np.float32
    assert moved.t2m.attrs == {"units": "K", "cell_methods": "area: mean"}
    assert moved.attrs["title"] == "a test"
    before = (fields().t2m.values * GLOBE.area).sum((1, 2)) / GLOBE.area.sum()
    after = (moved.t2m.values * target.area).sum((1, 2)) / target.area.sum()
    np.testing.assert_allclose(after, before, rtol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_constants_stay_and_the_own_grid_changes_nothing(method):
    ds = fields()
    ds["t2m"] = ds.t2m * 0 + 273.0
    target = Grid(np.arange(-88.0, 89, 4), np.arange(-180.0, 180, 7.2))
    np.testing.assert_allclose(regrid_fields(ds, target, method).t2m, 273.0, rtol=1e-6)
    same = regrid_fields(fields(), GLOBE, method)
    np.testing.assert_allclose(same.t2m, fields().t2m, rtol=1e-6)
    assert same.land.dtype == (np.int64 if method == "nearest" else np.float32)


@pytest.mark.parametrize(("method", "error"), [("bilinear", 2e-3), ("bicubic", 6e-4), ("conservative", 5e-3)])
def test_smooth_fields_are_interpolated_closely(method, error):
    target = regular_grid(4.5, GLOBE)
    moved = regrid_fields(fields(), target, method).u10.values
    true = np.broadcast_to(np.sin(np.deg2rad(target.mesh()[0])), moved.shape)
    assert np.abs(moved - true).max() < error
    assert np.abs(moved - true).max() > 1e-6  # the case is not trivial


def test_winds_turn_round_at_the_poles():
    # A uniform flow over the pole: its components depend on the meridian, its vector does not.
    grid, target = Grid(np.arange(88.0, -89, -4), np.arange(90) * 4.0), Grid([89.0, 0.0], np.arange(8) * 45.0)
    ds = xr.Dataset(
        {"u": (("lat", "lon"), np.broadcast_to(-np.sin(np.deg2rad(grid.lon)), grid.shape).copy())},
        {"lat": grid.lat, "lon": grid.lon},
    )
    true = -np.sin(np.deg2rad(target.lon))
    turned = regrid_fields(ds, target, "bicubic", vectors=["u"]).u.values[0]
    plain = regrid_fields(ds, target, "bicubic").u.values[0]
    np.testing.assert_allclose(turned, true, atol=1e-3)
    assert np.abs(plain - true).max() > 0.2


@pytest.mark.parametrize("method", METHODS)
def test_what_is_missing_stays_missing_and_spoils_no_neighbour(method):
    ds = fields()
    ds["t2m"][1, 10:20, 10:30] = np.nan
    target = regular_grid(7.5, GLOBE)
    moved = regrid_fields(ds, target, method).t2m.values
    assert np.isfinite(moved[0]).all()
    lat, lon = target.mesh()
    deep = (np.abs(lat - 17.5) < 12) & (np.abs(lon - 97.5) < 35)  # a cell inside the hole
    assert np.isnan(moved[1][deep]).all()
    far = (lat < -30) | (lon > 180)
    np.testing.assert_array_equal(moved[1][far], regrid_fields(fields(), target, method).t2m.values[1][far])
    assert np.isfinite(moved[1]).sum() > 0.85 * moved[1].size


@pytest.mark.parametrize("method", METHODS)
def test_cells_outside_the_source_are_missing(method):
    region = Grid(np.arange(40.0, 60.0), np.arange(-10.0, 20.0))
    target = Grid(np.arange(36.0, 66.0, 4), np.arange(-6.0, 15.0, 3))
    moved = regrid_fields(fields(region), target, method)
    inside = region.contains(*target.mesh())
    assert 0 < inside.sum() < inside.size
    np.testing.assert_array_equal(np.isfinite(moved.t2m.values[0]), inside)
    np.testing.assert_array_equal(np.isfinite(moved.land.values), inside)  # integers too
    with pytest.raises(SkyweaveError, match="no cell of the grid wanted"):
        regrid_fields(fields(region), Grid([-50.0, -40.0], [0.0, 5.0]), method)


def test_nothing_is_computed_before_it_is_asked_for():
    asked = []

    def block(block_info=None):
        asked.append(block_info[None]["chunk-location"])
        return np.zeros((1, *GLOBE.shape))

    ds = fields()[["t2m"]]
    chunks = ((1,) * 4, (37,), (72,))
    ds["t2m"] = (
        ds.t2m.dims,
        dask.array.map_blocks(block, chunks=chunks, dtype=float, meta=np.zeros((0, 0, 0))),
    )
    moved = regrid_fields(ds, regular_grid(7.5, GLOBE))
    assert asked == []
    moved.t2m[2].compute()
    assert asked == [(2, 0, 0)]


def test_misspelt_methods_are_told():
    with pytest.raises(SkyweaveError, match=r"did you mean 'bilinear'"):
        regrid_fields(fields(), GLOBE, "bilinar")


def test_a_store_goes_on_where_it_was_interrupted(tmp_path, monkeypatch):
    moved = regrid_fields(fields(times=6), regular_grid(7.5, GLOBE)).chunk(time=1)
    monkeypatch.setattr(module, "BLOCK_BYTES", 1)
    out, mark, marked = tmp_path / "out.zarr", Regions.mark, []

    def failing(self, unit, note=None):
        if unit == "3" and not marked:
            marked.append("killed")
            raise KeyboardInterrupt
        mark(self, unit, note)

    monkeypatch.setattr(Regions, "mark", failing)
    with pytest.raises(KeyboardInterrupt):
        write_in_blocks(moved, out, message="regridded")
    assert not out.exists()
    assert partial_store(out).exists()
    with pytest.raises(SkyweaveError, match="other settings"):
        write_in_blocks(moved, out, message="regridded otherwise")
    again = []
    monkeypatch.setattr(Regions, "mark", lambda self, u, note=None: (again.append(u), mark(self, u, note)))
    write_in_blocks(moved, out, message="regridded")
    assert again == ["3", "4", "5"]
    made = xr.open_zarr(out)
    np.testing.assert_array_equal(made.t2m, moved.t2m)
    np.testing.assert_array_equal(made.land, moved.land)
    assert not partial_store(out).exists()
    with pytest.raises(SkyweaveError, match="exists"):
        write_in_blocks(moved, out)


@pytest.mark.parametrize("ending", ["nc", "zarr"])
def test_the_command(file, tmp_path, capsys, ending):
    out = tmp_path / f"out.{ending}"
    words = ["regrid", str(file), "--out", str(out), "--resolution", "5.625", "--every", "2"]
    assert main(words) == 0
    assert "32 x 64 cells" in capsys.readouterr().out
    made = open_fields(out)
    assert Grid.from_dataset(made).shape == (32, 64)
    assert made.sizes["time"] == 2
    expected = regrid_fields(fields(), regular_grid(5.625, GLOBE)).isel(time=[0, 2])
    np.testing.assert_allclose(made.t2m, expected.t2m, rtol=1e-6)
    assert main(words) == 2
    assert "exists" in capsys.readouterr().err


def test_the_command_takes_the_grid_of_a_file_and_levels(tmp_path, capsys):
    ds = fields()[["t2m"]].rename(t2m="temperature").expand_dims(level=[500.0, 850.0], axis=1)
    ds["temperature"] = ds.temperature + xr.DataArray([0.0, 10.0], {"level": [500.0, 850.0]}, "level")
    ds.level.attrs["units"] = "hPa"
    ds.to_netcdf(tmp_path / "levels.nc", engine="h5netcdf")
    other = Grid(np.arange(30.0, 60, 2.5), np.arange(-20.0, 20, 2.5))
    fields(other, 1).to_netcdf(tmp_path / "like.nc", engine="h5netcdf")
    out = tmp_path / "out.nc"
    words = ["regrid", str(tmp_path / "levels.nc"), "--out", str(out), "--like", str(tmp_path / "like.nc")]
    assert main([*words, "--variables", "temperature@850", "--method", "bilinear"]) == 0
    made = open_fields(out)
    assert list(made) == ["temperature@850"]
    assert Grid.from_dataset(made).same_as(other)
    expected = regrid_fields(fields(), other, "bilinear").t2m + 10
    np.testing.assert_allclose(made["temperature@850"], expected, rtol=1e-5)
    capsys.readouterr()
    assert main(["regrid", str(tmp_path / "levels.nc"), "--out", str(tmp_path / "b.nc")]) == 2
    assert "either --resolution" in capsys.readouterr().err
    assert main([*words, "--overwrite", "--variables", "temperature@700"]) == 2
    assert "no level 700" in capsys.readouterr().err
