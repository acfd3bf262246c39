"""MERRA-2 aerosol and ERA5 cloud cover as the archives write them, through `open_fields`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from skyweave.grid import Grid
from skyweave.io import check_single_fields, open_fields
from skyweave.observe.clouds import cloud_cover_mask

LAT, LON = np.arange(20, 31) * 0.5, np.arange(70, 90) * 0.625
SPECIES = ("TOTEXTTAU", "DUEXTTAU", "SUEXTTAU")


def merra2(folder: Path, day: int) -> np.ndarray:
    """One day's file of tavg1_2d_aer_Nx, with its attributes; returns TOTEXTTAU as float64."""
    rng = np.random.default_rng(day)
    fill = np.float32(1e15)
    attrs = {
        "_FillValue": fill,
        "missing_value": fill,
        "fmissing_value": fill,
        "vmax": fill,
        "vmin": -fill,
        "valid_range": np.array([-fill, fill]),
        "units": "1",
        "standard_name": "Total Aerosol Extinction AOT [550 nm]",
        "long_name": "Total_Aerosol_Extinction_AOT_[550_nm]",
    }
    fields = {name: rng.gamma(1.0, 0.2, (24, LAT.size, LON.size)).astype(np.float32) for name in SPECIES}
    fields["TOTEXTTAU"][3, 4, 5] = fill
    time = {
        "units": f"minutes since 2020-01-{day:02d} 00:30:00",
        "time_increment": np.int32(10000),
        "begin_date": np.int32(20200100 + day),
        "begin_time": np.int32(3000),
        "long_name": "time",
    }
    ds = xr.Dataset(
        {name: (("time", "lat", "lon"), values, attrs) for name, values in fields.items()},
        {
            "time": ("time", np.arange(24, dtype=np.int32) * 60, time),
            "lat": (
                "lat",
                LAT,
                {"units": "degrees_north", "vmax": fill, "valid_range": np.array([-fill, fill])},
            ),
            "lon": (
                "lon",
                LON,
                {"units": "degrees_east", "vmax": fill, "valid_range": np.array([-fill, fill])},
            ),
        },
        {"Title": "MERRA-2 tavg1_2d_aer_Nx", "ShortName": "M2T1NXAER", "Conventions": "CF-1"},
    )
    ds.to_netcdf(
        folder / f"MERRA2_400.tavg1_2d_aer_Nx.202001{day:02d}.nc4", unlimited_dims="time", engine="h5netcdf"
    )
    return np.where(fields["TOTEXTTAU"] == fill, np.nan, fields["TOTEXTTAU"])


def test_merra2_one_day_and_many(tmp_path):
    truth = np.concatenate([merra2(tmp_path, day) for day in (1, 2, 3)])
    one = open_fields(tmp_path / "MERRA2_400.tavg1_2d_aer_Nx.20200102.nc4", "TOTEXTTAU")
    np.testing.assert_array_equal(one.TOTEXTTAU, truth[24:48])
    assert str(one.time.values[0]) == "2020-01-02T00:30:00.000000000"
    many = open_fields(str(tmp_path / "MERRA2_*.nc4"), list(SPECIES))
    assert set(many.data_vars) == set(SPECIES)
    np.testing.assert_array_equal(many.TOTEXTTAU, truth)
    assert int(many.TOTEXTTAU.isnull().sum()) == 3
    assert (np.diff(many.time.values) == np.timedelta64(1, "h")).all()
    np.testing.assert_array_equal(many.lon, LON)
    assert many.TOTEXTTAU.dtype == np.float32
    part = open_fields(
        str(tmp_path / "*.nc4"), "TOTEXTTAU", region={"lat": (11, 13), "lon": (45, 50)}, time="2020-01-03"
    )
    assert part.TOTEXTTAU.shape == (24, 5, 9)


def era5(joined: bool) -> xr.Dataset:
    """Total cloud cover as the Climate Data Store gives it now, or did with preliminary months."""
    times = np.datetime64("2020-01-01", "ns") + np.arange(48) * np.timedelta64(1, "h")
    values = np.random.default_rng(0).random((48, 41, 61), np.float32)
    attrs = {"units": "(0 - 1)", "long_name": "Total cloud cover", "GRIB_paramId": 164}
    coords = {
        "valid_time": ("valid_time", times, {"standard_name": "time", "long_name": "time"}),
        "latitude": (
            "latitude",
            np.arange(18, 7.9, -0.25),
            {"units": "degrees_north", "standard_name": "latitude"},
        ),
        "longitude": (
            "longitude",
            np.arange(42, 57.1, 0.25),
            {"units": "degrees_east", "standard_name": "longitude"},
        ),
        "number": ((), 0, {"standard_name": "realization"}),
    }
    if not joined:
        coords["expver"] = ("valid_time", np.array(["0001"] * 30 + ["0005"] * 18))
        return xr.Dataset({"tcc": (("valid_time", "latitude", "longitude"), values, attrs)}, coords)
    both = np.stack([values, values], axis=1)
    both[30:, 0], both[:30, 1] = np.nan, np.nan
    coords["expver"] = ("expver", np.array([1, 5]))
    return xr.Dataset({"tcc": (("valid_time", "expver", "latitude", "longitude"), both, attrs)}, coords)


@pytest.mark.parametrize("joined", [False, True])
def test_era5_cloud_cover_masks_merra2(tmp_path, joined):
    era5(joined).to_netcdf(tmp_path / "tcc.nc", engine="h5netcdf")
    merra2(tmp_path, 1)
    cover = open_fields(tmp_path / "tcc.nc", "tcc")
    if not joined:
        check_single_fields(cover)
        assert cover.tcc.dims == ("valid_time", "latitude", "longitude")
    aod = open_fields(tmp_path / "MERRA2_400.tavg1_2d_aer_Nx.20200101.nc4", "TOTEXTTAU")
    mask = cloud_cover_mask(cover.tcc, 0.5, aod)
    assert mask.dims == aod.TOTEXTTAU.dims
    seen = aod.TOTEXTTAU.where(mask)
    # Half-hour stamps lie between two hours of the cover; the earlier is taken.
    plain = cloud_cover_mask(era5(False).tcc, 0.5, Grid(LAT, LON)).values[:24]
    expected = plain & aod.TOTEXTTAU.notnull().values
    np.testing.assert_array_equal(seen.notnull(), expected)
    assert 0.2 < expected.mean() < 0.8
