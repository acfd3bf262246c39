"""Means over days in UTC: exact, lazy, with incomplete days named; the nature run's layouts; elevation."""

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from skyweave.errors import SkyweaveError
from skyweave.grid import Grid
from skyweave.io import g5nr as module_under_test
from skyweave.io import open_fields
from skyweave.io.daily import step_length, step_means
from skyweave.io.elevation import elevation_on
from skyweave.io.g5nr import AEROSOLS, SERVER, file_time, open_g5nr

LAT, LON = 24.0 + 0.0625 * np.arange(6), 44.0 + 0.0625 * np.arange(8)


def fields(times, seed=0, name="AOD", chunks=7):
    values = np.random.default_rng(seed).random((len(times), 6, 8)).astype(np.float32)
    data = da.from_array(values, chunks=(chunks, 6, 4)) if chunks else values
    attrs = {"units": "degrees_north"}, {"units": "degrees_east"}
    return xr.Dataset(
        {name: (("time", "lat", "lon"), data, {"units": "1"})},
        {
            "time": np.asarray(times, "datetime64[ns]"),
            "lat": ("lat", LAT, attrs[0]),
            "lon": ("lon", LON, attrs[1]),
        },
    )


def hours(first, last, every=60, offset=0):
    return np.arange(first, last, np.timedelta64(every, "m"), "datetime64[m]") + np.timedelta64(offset, "m")


@pytest.mark.parametrize(("every", "offset"), [(60, 30), (30, 0), (180, 90)])
@pytest.mark.parametrize("chunks", [1, 7, 1000])
def test_means_are_those_of_pandas_whatever_the_chunks(every, offset, chunks):
    ds = fields(hours("2005-06-01", "2005-06-12", every, offset), chunks=chunks)
    means, coverage = step_means(ds)
    expected = ds.AOD.astype(float).resample(time="1D").mean()
    np.testing.assert_allclose(means.AOD, expected, rtol=1e-6)
    np.testing.assert_array_equal(means.time, expected.time)
    assert means.AOD.dtype == np.float32
    assert coverage.expected == 1440 // every
    assert len(coverage.missing) == len(coverage.incomplete) == 0
    assert "mean" in means.AOD.attrs["cell_methods"]


def test_nothing_is_computed_before_it_is_asked_for():
    def explode(block):
        raise AssertionError("computed")

    ds = fields(hours("2005-06-01", "2005-06-20"))
    ds["AOD"] = ds.AOD.copy(
        data=ds.AOD.data.map_blocks(explode, dtype=np.float32, meta=np.empty((0, 0, 0), np.float32))
    )
    means, _ = step_means(ds)
    assert means.AOD.shape == (19, 6, 8)
    with pytest.raises(AssertionError, match="computed"):
        means.AOD.isel(time=0).load()


def test_incomplete_days_are_named_and_those_with_too_few_values_are_missing():
    times = hours("2005-06-01", "2005-06-06")
    keep = np.ones(len(times), bool)
    keep[24:29] = False  # five hours of the second day
    keep[50:68] = False  # eighteen of the third
    keep[72:96] = False  # all of the fourth
    means, coverage = step_means(fields(times[keep]), least=0.75)
    assert [str(d)[:10] for d in coverage.incomplete] == ["2005-06-02"]
    assert [str(d)[:10] for d in coverage.missing] == ["2005-06-03"]
    assert [str(d)[:10] for d in means.time.values] == [
        "2005-06-01",
        "2005-06-02",
        "2005-06-03",
        "2005-06-05",
    ]
    assert means.AOD[2].isnull().all()
    assert means.AOD[[0, 1, 3]].notnull().all()


def test_a_cell_needs_its_own_share_of_values():
    ds = fields(hours("2005-06-01", "2005-06-03"), chunks=None)
    ds.AOD.values[:6, 0, 0] = np.nan
    ds.AOD.values[:3, 0, 1] = np.nan
    means, _ = step_means(ds, least=0.8)
    assert np.isnan(means.AOD.values[0, 0, 0])
    assert means.AOD.values[0, 0, 1] == pytest.approx(ds.AOD.values[3:24, 0, 1].mean(), rel=1e-6)
    assert np.isfinite(means.AOD.values[1]).all()


def test_steps_need_not_be_days():
    ds = fields(hours("2005-06-01", "2005-06-03", 60, 30))
    means, coverage = step_means(ds, "3h")
    np.testing.assert_allclose(means.AOD, ds.AOD.values.reshape(-1, 3, 6, 8).mean(1), rtol=1e-6)
    assert coverage.expected == 3
    assert str(means.time.values[1])[:16] == "2005-06-01T03:00"
    # Daily values stamped at noon are moved to the day's beginning.
    noon = fields(np.arange("2005-06-01T12", "2005-06-05T12", 24, dtype="datetime64[h]"))
    daily, _ = step_means(noon)
    np.testing.assert_array_equal(daily.AOD, noon.AOD)
    assert str(daily.time.values[0])[:13] == "2005-06-01T00"


def test_refused_steps():
    with pytest.raises(SkyweaveError, match="no mean over 1D can make finer"):
        step_means(fields(np.arange("2005-01", "2005-09", dtype="datetime64[M]")))
    with pytest.raises(SkyweaveError, match="need dates"):
        step_means(fields(hours("2005-06-01", "2005-06-02")).drop_vars("time"))
    for bad in ("5h", "soon", "0D"):
        with pytest.raises(SkyweaveError, match="step"):
            step_length(bad)
    assert step_length("D") == pd.Timedelta(days=1)


# ---- the nature run


@pytest.fixture
def nature_run(tmp_path):
    """Two hours of two days, one file a time, names of variables in capitals, 1e15 where missing."""
    times = np.concatenate(
        [hours("2006-09-18", "2006-09-18T02", 30), hours("2006-09-19", "2006-09-19T02", 30)]
    )
    ds = fields(times, name="DUEXTTAU", chunks=None)
    ds["SSEXTTAU"] = ds.DUEXTTAU * 2
    ds.DUEXTTAU.values[0, 0, 0] = 1e15
    for k, time in enumerate(times):
        name = f"c1440_NR.{AEROSOLS}.{pd.Timestamp(time):%Y%m%d_%H%M}z.nc4"
        ds.isel(time=[k]).to_netcdf(tmp_path / name)
    return tmp_path, ds


def test_files_of_the_nature_run_follow_one_another(nature_run):
    folder, ds = nature_run
    found = open_g5nr(str(folder / "*.nc4"), "DUEXTTAU")
    assert list(found.data_vars) == ["DUEXTTAU"]
    assert found.DUEXTTAU.dims == ("time", "lat", "lon")
    np.testing.assert_array_equal(found.time, ds.time)
    assert np.isnan(found.DUEXTTAU[0, 0, 0])
    np.testing.assert_array_equal(found.DUEXTTAU[1:], ds.DUEXTTAU[1:])
    part = open_g5nr(
        str(folder / "*.nc4"), ["SSEXTTAU"], region={"lat": (24, 24.1)}, time=("2006-09-19", "2006-09-19")
    )
    assert part.SSEXTTAU.shape == (4, 2, 8)


def test_only_files_of_the_period_are_opened(nature_run, monkeypatch):
    folder, _ = nature_run
    seen = []
    monkeypatch.setattr(
        module_under_test,
        "open_fields",
        lambda path, *a, **k: seen.append(path) or open_fields(path, *a, **k),
    )
    open_g5nr(str(folder / "*.nc4"), "DUEXTTAU", time=("2006-09-19T01", "2006-09-19"))
    assert {str(file_time(path)) for path in seen} == {"2006-09-19 01:00:00", "2006-09-19 01:30:00"}
    with pytest.raises(SkyweaveError, match="no file of the period"):
        open_g5nr(str(folder / "*.nc4"), "DUEXTTAU", time=("2007-01-01", "2007-01-02"))


def test_files_without_a_time_take_that_of_their_name(nature_run):
    folder, ds = nature_run
    for path in sorted(folder.glob("*.nc4")):
        with xr.open_dataset(path) as one:
            bare = one.isel(time=0).drop_vars("time").load()
        path.unlink()
        bare.to_netcdf(path)
    np.testing.assert_array_equal(open_g5nr(str(folder / "*.nc4"), "DUEXTTAU").time, ds.time)


def test_names_in_lower_case_and_the_servers_address(nature_run, tmp_path, monkeypatch):
    folder, ds = nature_run
    served = ds.rename({"DUEXTTAU": "duexttau", "SSEXTTAU": "ssexttau"})
    served.to_netcdf(tmp_path / "subset.nc")
    saved = open_g5nr(tmp_path / "subset.nc", "DUEXTTAU")
    np.testing.assert_array_equal(saved.DUEXTTAU[1:], ds.DUEXTTAU[1:])
    with pytest.raises(SkyweaveError, match="did you mean 'duexttau'"):
        open_g5nr(tmp_path / "subset.nc", "DUEXTAU")
    url = SERVER + AEROSOLS
    asked = []
    monkeypatch.setattr(xr.backends, "list_engines", lambda: {"pydap": None})
    monkeypatch.setattr(
        xr, "open_dataset", lambda path, **k: asked.append((path, k["engine"])) or served.chunk(time=2)
    )
    remote = open_g5nr(url, "DUEXTTAU", region={"lat": (24, 24.1)}, time=("2006-09-19", "2006-09-19"))
    assert asked == [(url, "pydap")]
    np.testing.assert_array_equal(remote.DUEXTTAU, ds.DUEXTTAU[4:, :2])
    monkeypatch.setattr(xr.backends, "list_engines", lambda: {"h5netcdf": None})
    with pytest.raises(SkyweaveError, match="needs netCDF4 or pydap"):
        open_g5nr(url, "DUEXTTAU")


# ---- elevation


def dem(tmp_path, lat, lon, values, units="m", name="dem.nc"):
    axes = {"lat": ("lat", lat, {"units": "degrees_north"}), "lon": ("lon", lon, {"units": "degrees_east"})}
    xr.Dataset({"z": (("lat", "lon"), values, {"units": units})}, axes).to_netcdf(tmp_path / name)
    return tmp_path / name


def test_elevation_is_an_area_mean(tmp_path):
    grid = Grid(LAT, LON)
    lat, lon = np.arange(25.0, 23.0, -0.0625 / 4) - 0.0625 / 8, np.arange(43.0, 46.0, 0.0625 / 4) + 0.0625 / 8
    values = np.random.default_rng(0).random((len(lat), len(lon))) * 1000
    found = elevation_on(grid, dem(tmp_path, lat, lon, values), "z")
    assert found.dtype == np.float32
    i, j = np.searchsorted(-lat, -grid.lat_bounds), np.searchsorted(lon, grid.lon_bounds)
    block = values[i[1] : i[0], j[0] : j[1]]
    assert block.shape == (4, 4)
    assert found[0, 0] == pytest.approx(block.mean(), rel=1e-4)
    # Any order, gaps over the sea, kilometres.
    flipped = elevation_on(grid, dem(tmp_path, lat[::-1], lon, values[::-1], name="b.nc"), "z")
    np.testing.assert_allclose(flipped, found, rtol=1e-5)
    hole = values.copy()
    hole[i[1] : i[0], j[0] : j[1]] = np.nan
    assert elevation_on(grid, dem(tmp_path, lat, lon, hole, "km", "c.nc"), "z")[0, 0] == 0
    assert elevation_on(grid, dem(tmp_path, lat, lon, values, "km", "d.nc"), "z")[0, 0] == pytest.approx(
        1000 * found[0, 0], rel=1e-6
    )


def test_a_coarse_model_is_interpolated(tmp_path):
    grid = Grid(LAT, LON)
    lat, lon = np.arange(20.0, 30.0), np.arange(40.0, 50.0)
    values = 100 * lat[:, None] + 10 * lon
    found = elevation_on(grid, dem(tmp_path, lat, lon, values), "z")
    np.testing.assert_allclose(found, 100 * grid.lat[:, None] + 10 * grid.lon, rtol=1e-5)


def test_refused_elevation(tmp_path):
    lat, lon = np.arange(20.0, 24.2, 0.05), np.arange(40.0, 50.0, 0.05)
    values = np.zeros((len(lat), len(lon)))
    with pytest.raises(SkyweaveError, match="lie outside the elevation model"):
        elevation_on(Grid(LAT, LON), dem(tmp_path, lat, lon, values), "z")
    with pytest.raises(SkyweaveError, match="another kind"):
        elevation_on(Grid(LAT - 1, LON), dem(tmp_path, lat, lon, values, "K", "k.nc"), "z")
    (tmp_path / "map.tif").write_bytes(b"II*\x00" + bytes(100))
    with pytest.raises(SkyweaveError, match="gdal_translate"):
        elevation_on(Grid(LAT, LON), tmp_path / "map.tif", "z")
