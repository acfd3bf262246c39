"""GRIB and BUFR on the command line: ensembles, reports, cells, and what is told of them."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

pytest.importorskip("eccodes")

from ecmwf_files import DATE, PLACE, WHERE, bufr, grib, message
from skyweave.cli import main
from skyweave.cli.flags import Flags
from skyweave.cli.inputs import open_inputs
from skyweave.cli.settings import settings_from

T2M = {"shortName": "2t", "productDefinitionTemplateNumber": 1}


def opened(**flags):
    return open_inputs(settings_from(None, Flags(prior="era5", **flags))).observations[0]


@pytest.fixture
def ensemble(tmp_path):
    return grib(tmp_path, *[message(280.0 + k, **T2M, perturbationNumber=k) for k in (0, 1, 2)])


@pytest.fixture
def like(tmp_path):
    """Nine by nine degrees around 10 N, 20 E at noon."""
    axes = {
        "time": [np.datetime64("2020-01-01T12", "ns")],
        "lat": np.arange(14.0, 5, -1),
        "lon": np.arange(16.0, 25),
    }
    ds = xr.Dataset({"t2m": (tuple(axes), np.full((1, 9, 9), 280.0, np.float32), {"units": "K"})}, axes)
    ds.to_netcdf(tmp_path / "like.nc")
    return str(tmp_path / "like.nc")


def test_an_ensemble_without_an_error_has_that_of_its_spread(ensemble):
    source = opened(grid=[f"{ensemble}:t2m"])
    assert np.allclose(source.data, 281)
    assert np.allclose(source.error_field, np.sqrt(1 + 1 / 3))
    assert source.notes == ("mean of 3 members; its error is their standard deviation times sqrt(1 + 1/3)",)


def test_a_stated_error_holds_for_the_mean(ensemble):
    source = opened(grid=[f"{ensemble}:t2m=0.5"])
    assert np.allclose(source.data, 281)
    assert source.error_field is None
    assert (source.model.absolute, source.notes) == (
        0.5,
        ("mean of 3 members with the stated error; their spread is not used",),
    )


def test_members_in_netcdf_are_no_other(ensemble, tmp_path):
    values = np.arange(24.0).reshape(2, 3, 4) + 270
    axes = {"realization": [1, 2], "lat": [0.0, 1.0, 2.0], "lon": [0.0, 1.0, 2.0, 3.0]}
    xr.Dataset({"t2m": (tuple(axes), values, {"units": "K"})}, axes).to_netcdf(tmp_path / "ens.nc")
    source = opened(grid=[f"{tmp_path / 'ens.nc'}:t2m"])
    assert np.allclose(source.data.squeeze(), values.mean(0))
    assert np.allclose(source.error_field, values.std(0, ddof=1).mean() * np.sqrt(1.5))


def test_check_tells_what_became_of_reports_in_bufr(tmp_path, like, capsys):
    wind = {"windDirection": 90, "windSpeed": 3.0}
    values = DATE | WHERE | wind | {"airTemperature": 290.0, "dewpointTemperature": 280.0}
    path = bufr(tmp_path, [*PLACE, 12101, 12103, 11001, 11002, 13023], values)
    assert main(["check", "--prior", "era5", "--points", f"{path}=1.0", "--like", like]) == 0
    told = capsys.readouterr().out
    assert "dropped: 1 unknown variable" in told
    assert "1 missing value" in told
    assert "error of u10: 1" in told
    assert "error of t2m: 1" in told


def test_cells_of_a_reduced_grid_are_reports(tmp_path, like, capsys):
    keys = {
        "shortName": "2t",
        "typeOfLevel": "heightAboveGround",
        "level": 2,
        "dataDate": 20200101,
        "dataTime": 1200,
    }
    path = grib(tmp_path, message(281.0, sample="reduced_gg_sfc_grib2", **keys))
    assert main(["check", "--prior", "era5", "--points", f"{path}=1.0", "--like", like]) == 0
    told = capsys.readouterr().out
    assert "t2m (K): 6114 reports" in told
    assert "outside domain" in told


def test_a_grib_file_is_regridded_and_described(ensemble, tmp_path, capsys):
    path = grib(tmp_path, message(np.arange(12.0), shortName="2t"), name="one.grib")
    out = str(tmp_path / "out.nc")
    assert main(["regrid", str(path), "--out", out, "--like", str(ensemble), "--method", "nearest"]) == 0
    with xr.open_dataset(out) as ds:
        assert np.allclose(ds["t2m"].values.ravel(), np.arange(12.0))
    assert main(["info", str(path)]) == 0
    assert "t2m" in capsys.readouterr().out
