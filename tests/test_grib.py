"""GRIB as a source: laziness, folders that cannot be written, the extra, ensembles, cells, threads."""

from __future__ import annotations

import sys

import dask
import numpy as np
import pytest
import xarray as xr

pytest.importorskip("eccodes")

from ecmwf_files import LEVEL, grib, message
from skyweave import Grid
from skyweave.errors import SkyweaveError
from skyweave.io import open_fields
from skyweave.io.cells import cells_as_points
from skyweave.io.members import ensemble_mean, find_members

T = {"shortName": "t", **LEVEL}
HOURS = range(0, 24, 3)


@pytest.fixture
def record(tmp_path):
    rng = np.random.default_rng(0)
    values = rng.normal(280, 10, (len(HOURS), 12))
    return grib(
        tmp_path, *[message(v, **T, dataTime=100 * h) for v, h in zip(values, HOURS, strict=True)]
    ), values


def test_a_record_is_read_lazily_in_threads_and_leaves_nothing_behind(record):
    path, values = record
    path.parent.chmod(0o555)
    try:
        field = open_fields(path, "t@500")["t@500"]
        assert dask.is_dask_collection(field.data)
        with dask.config.set(scheduler="threads", num_workers=4):
            got = field.chunk({"valid_time": 1}).values.reshape(len(HOURS), -1)
    finally:
        path.parent.chmod(0o755)
    np.testing.assert_allclose(got, values, atol=1e-4)
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    assert (field.attrs["units"], field.attrs["level"], field.attrs["level_units"]) == ("K", 500.0, "hPa")
    assert Grid.from_dataset(field).shape == (3, 4)


def test_a_period_and_a_region_cut_it(record):
    cut = open_fields(
        record[0], "t", region={"lat": (5, 25), "lon": (0, 10)}, time=("2020-01-01T03", "2020-01-01T09")
    )
    assert dict(cut["t"].sizes) == {"valid_time": 3, "latitude": 2, "longitude": 2}


def test_without_the_extra_the_message_names_it(record, monkeypatch):
    monkeypatch.setitem(sys.modules, "cfgrib.messages", None)
    with pytest.raises(SkyweaveError, match=r"pip install 'skyweave\[grib\]'"):
        open_fields(record[0])


def test_without_the_extra_of_bufr_the_message_names_it(tmp_path, monkeypatch):
    from ecmwf_files import DATE, PLACE, WHERE, bufr
    from skyweave.io.bufr import read_bufr

    path = bufr(tmp_path, [*PLACE, 12101], DATE | WHERE | {"airTemperature": 280.0})
    monkeypatch.setitem(sys.modules, "eccodes", None)
    with pytest.raises(SkyweaveError, match=r"pip install 'skyweave\[bufr\]'"):
        read_bufr(path)


def test_variables_of_other_times_share_one_axis_and_are_missing_where_they_are_not(tmp_path):
    path = grib(tmp_path, message(1, **T), message(2, **T, dataTime=600), message(3, shortName="q", **LEVEL))
    ds = open_fields(path)
    assert ds.sizes["valid_time"] == 2
    assert ds["q"].values[:, 0, 0].tolist()[0] == 3
    assert np.isnan(ds["q"].values[1]).all()


def test_variables_of_other_levels_have_axes_of_their_own(tmp_path):
    path = grib(
        tmp_path, message(1, **T), message(2, **T | {"level": 850}), message(3, shortName="q", **LEVEL)
    )
    assert open_fields(path, ["t@850", "q@500"])["t@850"].values.flat[0] == 2
    with pytest.raises(SkyweaveError, match="no level 850"):
        open_fields(path, "q@850")


def test_the_error_of_an_ensemble_mean_is_that_of_a_further_member():
    rng = np.random.default_rng(1)
    draws = rng.normal(0, 2, (20000, 11))
    members = xr.DataArray(draws[:, :10], dims=("x", "number"), name="z", attrs={"units": "m"})
    mean, error = ensemble_mean(members)
    assert find_members(members) == "number"
    assert error.attrs["units"] == "m"
    actual = np.sqrt(np.mean((draws[:, 10] - mean.values) ** 2))
    assert actual == pytest.approx(float(np.sqrt((error**2).mean())), rel=0.02)
    holed = members.copy(data=np.where(draws[:, :10] == draws[0, 0], np.nan, draws[:, :10]))
    assert np.isnan(ensemble_mean(holed)[0][0])


def test_one_member_has_no_spread():
    with pytest.raises(SkyweaveError, match="1 members, which have no spread"):
        ensemble_mean(xr.DataArray(np.zeros((1, 3)), dims=("member", "x"), name="z"))


def test_too_many_cells_are_refused_before_they_are_read(tmp_path, monkeypatch):
    path = grib(tmp_path, message(1, sample="reduced_gg_pl_32_grib2"))
    assert len(cells_as_points(path)) == 6114
    monkeypatch.setattr("skyweave.io.cells.MOST_CELLS", 1000)
    with pytest.raises(SkyweaveError, match="6114 cells and times; at most 1000"):
        cells_as_points(path)


def test_cells_of_a_swath_without_a_value_or_a_place_are_counted(tmp_path):
    lat = np.array([[10.0, 11.0], [12.0, np.nan]])
    ds = xr.Dataset(
        {"aod": (("y", "x"), np.array([[0.1, np.nan], [0.3, 0.4]]), {"units": "1"})},
        {"lat": (("y", "x"), lat), "lon": (("y", "x"), lat + 350), "time": np.datetime64("2020-01-01", "ns")},
    )
    ds.to_netcdf(tmp_path / "swath.nc")
    table = cells_as_points(tmp_path / "swath.nc")
    assert table.attrs["dropped"] == {"cell without a position": 1, "cell without a value": 1}
    assert table["value"].tolist() == [0.1, 0.3]
    assert table["lon"].tolist() == [0.0, 2.0]
    assert (table["time"] == "2020-01-01").all()


def test_a_regular_grid_is_not_taken_as_points(record):
    with pytest.raises(SkyweaveError, match="--grid"):
        cells_as_points(record[0])


@pytest.mark.parametrize(
    "sample", ["rotated_ll_sfc_grib2", "lambert_bf_grib2", "polar_stereographic_sfc_grib2"]
)
def test_other_grids_are_refused_by_name(tmp_path, sample):
    path = grib(tmp_path, message(1, sample=sample))
    with pytest.raises(SkyweaveError, match=sample.split("_sfc")[0].split("_grib2")[0]):
        open_fields(path)
