"""Reading: one field, however stored, is the same field; a bad file is named for what it is."""

from __future__ import annotations

import os
from pathlib import Path

import cftime
import fsspec
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from skyweave.errors import SkyweaveError
from skyweave.io import (
    check_not_empty,
    check_single_fields,
    describe,
    find_time,
    open_fields,
    select_region,
)

DATA = Path(os.environ.get("SKYWEAVE_DATA", Path(__file__).parents[2] / "shared" / "data"))
LAT = np.linspace(-80, 80, 17, dtype=np.float32)
LON = np.arange(0, 360, 10.0)


def field(lat=LAT, lon=LON, times=4, start="2020-01-01", name="t2m", freq="6h", seed=0):
    """A dataset of one variable with reproducible values."""
    time = pd.date_range(start, periods=times, freq=freq).astype("datetime64[ns]")
    values = np.random.default_rng(seed).normal(280, 5, (times, len(lat), len(lon))).astype(np.float32)
    return xr.Dataset(
        {name: (("time", "lat", "lon"), values, {"units": "K"})},
        {"time": time, "lat": ("lat", lat), "lon": ("lon", lon)},
    )


def netcdf3(ds, path):
    ds.to_netcdf(path, engine="scipy", format="NETCDF3_64BIT")


def netcdf4(ds, path):
    ds.to_netcdf(path, engine="h5netcdf")


def zarr2(ds, path):
    ds.to_zarr(path, zarr_format=2, consolidated=True)


def zarr3(ds, path):
    ds.to_zarr(path, zarr_format=3, consolidated=False)


STORAGE = {"netcdf3": netcdf3, "netcdf4": netcdf4, "zarr2": zarr2, "zarr3": zarr3}


@pytest.mark.parametrize("kind", STORAGE)
def test_every_format_gives_the_same_field_bit_for_bit(tmp_path, kind):
    ds = field()
    STORAGE[kind](ds, tmp_path / "a")  # the name says nothing: the format is told from the content
    back = open_fields(tmp_path / "a")
    assert back.t2m.chunks is not None
    xr.testing.assert_identical(back.t2m.drop_attrs().compute(), ds.t2m.drop_attrs())
    for name in ("time", "lat", "lon"):
        assert back[name].dtype == ds[name].dtype
        assert back[name].values.tobytes() == ds[name].values.tobytes()


@pytest.mark.parametrize("kind", ["netcdf3", "netcdf4", "zarr3"])
def test_any_fsspec_url(tmp_path, kind):
    ds = field()
    STORAGE[kind](ds, tmp_path / "a")
    fs = fsspec.filesystem("memory")
    fs.put(str(tmp_path / "a"), f"/skyweave-{kind}", recursive=True)
    back = open_fields(f"memory://skyweave-{kind}")
    np.testing.assert_array_equal(back.t2m, ds.t2m)
    assert str(open_fields(f"memory://skyweave-{kind}*").encoding["source"]).startswith("memory://")


@pytest.mark.parametrize("order", [("lon", "lat", "time"), ("lat", "time", "lon"), ("time", "lon", "lat")])
def test_dimension_order_and_direction_do_not_change_the_values(tmp_path, order):
    ds = field(lat=LAT[::-1])
    netcdf4(ds.transpose(*order), tmp_path / "a.nc")
    back = open_fields(tmp_path / "a.nc")
    assert back.t2m.dims == ("time", "lat", "lon")
    np.testing.assert_array_equal(back.lat, LAT[::-1])
    np.testing.assert_array_equal(back.t2m, ds.t2m)


@pytest.mark.parametrize("shift", [0, 18, 7])
def test_region_does_not_depend_on_the_longitude_convention(tmp_path, shift):
    ds = field(lat=LAT[::-1])
    other = ds.roll(lon=shift, roll_coords=True)
    other = other.assign_coords(lon=other.lon.where(other.lon < 360 - shift * 10, other.lon - 360))
    netcdf4(other, tmp_path / "a.nc")
    region = open_fields(tmp_path / "a.nc", region={"lat": (30, 90), "lon": (-30, 30)})
    assert region.sizes == {"time": 4, "lat": 6, "lon": 7}
    np.testing.assert_allclose(region.lon % 360, [330, 340, 350, 0, 10, 20, 30])
    expected = ds.sel(lat=slice(90, 30)).isel(lon=[33, 34, 35, 0, 1, 2, 3])
    np.testing.assert_array_equal(region.t2m, expected.t2m)
    across_date_line = select_region(ds, {"lon": (170, -170)})
    np.testing.assert_array_equal(across_date_line.lon, [170, 180, 190])


def test_fill_values_and_packing_are_decoded(tmp_path):
    ds = field()
    ds.t2m.values[0, :3] = np.nan
    ds.t2m.attrs["valid_range"] = np.array([-30000, 30000], np.int16)
    packing = {"dtype": "int16", "scale_factor": 0.01, "add_offset": 280.0, "_FillValue": np.int16(-32768)}
    ds.to_netcdf(tmp_path / "a.nc", engine="h5netcdf", encoding={"t2m": packing})
    back = open_fields(tmp_path / "a.nc")
    np.testing.assert_allclose(back.t2m, ds.t2m, atol=0.006)
    np.testing.assert_allclose(back.t2m.attrs["valid_range"], [-20, 580])
    variable = describe(back).variables[0]
    assert variable.packed
    assert variable.fill == -32768
    assert variable.missing == pytest.approx(3 / 17 / 4)


@pytest.mark.parametrize("calendar", ["noleap", "360_day", "julian"])
def test_other_calendars_are_kept_and_reported(tmp_path, calendar):
    ds = field()
    dates = xr.date_range("2001-02-27", periods=4, freq="D", calendar=calendar, use_cftime=True)
    netcdf4(ds.assign_coords(time=dates), tmp_path / "a.nc")
    back = open_fields(tmp_path / "a.nc", time=("2001-02-28", None))
    assert isinstance(back.time.values[0], cftime.datetime)
    assert back.sizes["time"] == 3
    assert describe(back).time.calendar == calendar


def test_time_that_cannot_be_decoded_stays_numbers(tmp_path):
    ds = field()
    ds = ds.assign_coords(time=("time", np.arange(4) + 0.25, {"units": "months since 2001-01-01"}))
    netcdf4(ds, tmp_path / "a.nc")
    back = open_fields(tmp_path / "a.nc")
    np.testing.assert_array_equal(back.time, np.arange(4) + 0.25)
    assert describe(back).time.start is None
    with pytest.raises(SkyweaveError, match="no dates"):
        open_fields(tmp_path / "a.nc", time="2001")


def test_time_is_found_by_meaning_and_added_where_absent(tmp_path):
    ds = field()
    netcdf4(ds.rename(time="valid_time"), tmp_path / "named.nc")
    assert open_fields(tmp_path / "named.nc").t2m.dims == ("valid_time", "lat", "lon")
    netcdf4(ds.isel(time=0), tmp_path / "single.nc")
    single = open_fields(tmp_path / "single.nc")
    assert single.t2m.dims == ("time", "lat", "lon")
    assert single.time.values[0] == ds.time.values[0]
    netcdf4(ds.isel(time=0, drop=True), tmp_path / "static.nc")
    static = open_fields(tmp_path / "static.nc")
    assert static.t2m.shape == (1, 17, 36)
    assert find_time(static) == "time"
    assert "time" not in static.coords
    records = ds.rename_dims(time="record").reset_coords(drop=False)
    netcdf4(records.drop_indexes("time", errors="ignore"), tmp_path / "record.nc")
    assert open_fields(tmp_path / "record.nc").t2m.dims == ("time", "lat", "lon")


def test_durations_are_numbers(tmp_path):
    ds = field()
    ds.t2m.attrs["units"] = "days"
    netcdf4(ds, tmp_path / "a.nc")
    assert open_fields(tmp_path / "a.nc").t2m.dtype == np.float32


@pytest.mark.parametrize("text", ["t@850", "t@850hPa", "t@85000Pa"])
@pytest.mark.parametrize(("units", "factor"), [("hPa", 1.0), ("Pa", 100.0), ("millibars", 1.0)])
def test_a_level_is_picked_by_its_pressure(tmp_path, text, units, factor):
    ds = field(name="t").expand_dims(level=np.array([1000.0, 850.0, 500.0]) * factor)
    ds = ds * xr.DataArray([1.0, 2.0, 3.0], dims="level")
    ds.level.attrs["units"] = units
    netcdf4(ds, tmp_path / "a.nc")
    back = open_fields(tmp_path / "a.nc", [text, "t@500hPa"])
    assert list(back.data_vars) == [text, "t@500hPa"]
    np.testing.assert_array_equal(back[text], ds.t.isel(level=1))
    assert back[text].attrs["level"] == 850 * factor
    check_single_fields(back)
    with pytest.raises(SkyweaveError, match=r"no level 700.*1000"):
        open_fields(tmp_path / "a.nc", "t@700hPa")


def test_other_dimensions_are_picked_or_pointed_at(tmp_path):
    ds = field().expand_dims(number=[3, 5])
    netcdf4(ds.assign(flat=ds.t2m[0]), tmp_path / "a.nc")
    with pytest.raises(SkyweaveError, match=r"select=\{'number': 3\}"):
        check_single_fields(open_fields(tmp_path / "a.nc"))
    check_single_fields(open_fields(tmp_path / "a.nc", select={"number": 5}))
    with pytest.raises(SkyweaveError, match="number=4 is not there; number is 3, 5"):
        open_fields(tmp_path / "a.nc", select={"number": 4})
    with pytest.raises(SkyweaveError, match="did you mean 'number'"):
        open_fields(tmp_path / "a.nc", select={"numbr": 3})
    with pytest.raises(SkyweaveError, match=r"ask for it as 'flat'"):
        open_fields(tmp_path / "a.nc", "flat@850")


def test_many_files_equal_one_file(tmp_path):
    ds = field(times=10)
    other = field(times=10, name="msl", seed=1)
    for k, part in enumerate([slice(6, 10), slice(0, 6)]):  # not in order of time
        netcdf4(ds.isel(time=part), tmp_path / f"t_{k}.nc")
        zarr3(other.isel(time=part), tmp_path / f"p_{k}.zarr")
    back = open_fields([tmp_path / "t_*.nc", tmp_path / "p_0.zarr", tmp_path / "p_1.zarr"])
    xr.testing.assert_equal(back.compute(), xr.merge([ds, other]))
    only = open_fields(
        [str(tmp_path / "t_*.nc"), str(tmp_path / "p_*.zarr")], "msl", time=("2020-01-02", "2020-01-02")
    )
    assert list(only.data_vars) == ["msl"]
    assert only.sizes["time"] == 4


def test_files_that_do_not_fit_together_are_refused(tmp_path):
    netcdf4(field(), tmp_path / "a.nc")
    for name, bad, match in [
        ("grid", field(lon=LON + 5, start="2021-01-01"), "share one grid"),
        ("twice", field(start="2020-01-01T12"), "2020-01-01 12:00:00 is in .*a.nc too"),
        ("apart", field(name="msl", start="2021-01-01"), "side by side"),
        ("undated", field().drop_vars("time"), "has no dates"),
        (
            "calendar",
            field().assign_coords(
                time=xr.date_range("2021-01-01", periods=4, calendar="noleap", use_cftime=True)
            ),
            "calendar is 'noleap'",
        ),
    ]:
        netcdf4(bad, tmp_path / f"{name}.nc")
        with pytest.raises(SkyweaveError, match=match):
            open_fields([tmp_path / "a.nc", tmp_path / f"{name}.nc"])
    with pytest.raises(SkyweaveError, match=r"no variable 'u10'.*t2m, msl"):
        open_fields([tmp_path / "a.nc", tmp_path / "apart.nc"], ["u10"])


@pytest.mark.parametrize(
    ("time", "steps"),
    [
        (("2020-01-01T06:00", "2020-01-02"), 7),
        (("2020-01-01T06:00Z", "2020-01-01T14:00+02:00"), 2),
        ("2020-01-01", 4),
        (slice(None, "2020-01"), 12),
        ((np.datetime64("2020-01-03"), None), 4),
    ],
)
@pytest.mark.parametrize("backwards", [False, True])
def test_periods_include_both_ends(tmp_path, time, steps, backwards):
    ds = field(times=12)
    netcdf4(ds.isel(time=slice(None, None, -1)) if backwards else ds, tmp_path / "a.nc")
    back = open_fields(tmp_path / "a.nc", time=time)
    assert back.sizes["time"] == steps
    np.testing.assert_array_equal(back.t2m.sortby("time"), ds.t2m.sel(time=np.sort(back.time)))


def damaged(tmp_path):
    """Bad inputs by name: a path and what the message must say."""
    for kind in ("netcdf3", "netcdf4"):
        STORAGE[kind](field(), tmp_path / f"{kind}.nc")
        whole = (tmp_path / f"{kind}.nc").read_bytes()
        for share in (0.05, 0.5, 0.97):
            path = tmp_path / f"{kind}-{share}.nc"
            path.write_bytes(whole[: int(len(whole) * share)])
            yield path, "truncated or damaged"
    for name, content, match in [
        ("empty.nc", b"", "is empty"),
        ("login.nc", b"<!DOCTYPE html><html>", "a web page"),
        ("a.grib", b"GRIB\x00\x00", "truncated or damaged"),
        ("old.hdf", b"\x0e\x03\x13\x01abc", "HDF 4"),
        ("noise.nc", b"\x01\x02\x03\x04\x05", "not a recognised format"),
        ("big.nc", b"CDF\x05\x00", "CDF-5"),
    ]:
        (tmp_path / name).write_bytes(content)
        yield tmp_path / name, match
    (tmp_path / "folder").mkdir()
    yield tmp_path / "folder", "without Zarr metadata"
    yield tmp_path / "netcdf.nc", "did you mean 'netcdf[34].nc'"
    yield tmp_path / "no" / "such.nc", "does not exist either"
    yield tmp_path / "*.grb2", "no file matches"
    yield "memory://nowhere.nc", "no such file or store"
    yield "gopher://nowhere.nc", "this kind of URL"


def test_bad_files_are_named_for_what_they_are(tmp_path):
    cases = list(damaged(tmp_path))
    assert len(cases) == 18
    for path, match in cases:
        with pytest.raises(SkyweaveError, match=match) as caught:
            open_fields(path).load()
        assert Path(path).name in str(caught.value)
    with pytest.raises(SkyweaveError, match="no input file"):
        open_fields([])


def test_bad_requests(tmp_path):
    ds = field()
    ds["gone"] = ds.t2m * np.nan
    ds["series"] = ("time", np.arange(4.0))
    path = tmp_path / "a.nc"
    netcdf4(ds, path)
    for arguments, match in [
        ({"variables": ["t2n"]}, r"no variable 't2n' \(did you mean 't2m'\?\); it has: t2m, gone"),
        ({"variables": "series"}, r"'series' is not on the grid"),
        ({"variables": "t2m@surface"}, "must be a number"),
        ({"variables": []}, "empty list"),
        ({"region": {"lat": (81, 90)}}, "empty selection"),
        ({"region": {"latitude": (0, 90)}}, "unknown key 'latitude'"),
        ({"region": {"lat": (0, np.nan)}}, "two numbers"),
        ({"time": ("2021-01-01", "2021-02-01")}, "no time step from .*2020-01-01T00:00:00 to 2020-01-01T18"),
        ({"time": ("monday", None)}, "cannot read"),
        ({"time": ("2020", "2021", "2022")}, "not 3 values"),
    ]:
        with pytest.raises(SkyweaveError, match=match):
            open_fields(path, **arguments)
    check_not_empty(open_fields(path), ["t2m"])
    with pytest.raises(SkyweaveError, match=r"'gone' has no value at all"):
        check_not_empty(open_fields(path))


def test_curvilinear_coordinates_are_refused_clearly(tmp_path):
    lat, lon = np.meshgrid(np.arange(4.0), np.arange(5.0), indexing="ij")
    lat = lat + 0.1 * lon
    ds = xr.Dataset(
        {"aod": (("y", "x"), np.ones((4, 5)))}, {"lat": (("y", "x"), lat), "lon": (("y", "x"), lon)}
    )
    netcdf4(ds, tmp_path / "swath.nc")
    with pytest.raises(SkyweaveError, match=r"swath.nc.*two-dimensional"):
        open_fields(tmp_path / "swath.nc")


def test_report_says_what_the_field_is(tmp_path):
    ds = field(times=20, freq="3h")
    ds.t2m.values[:, :5] = -9999.0
    netcdf4(ds, tmp_path / "a.nc")
    report = describe(open_fields(tmp_path / "a.nc"))
    assert report.source == str(tmp_path / "a.nc")
    assert report.grid.shape == (17, 36)
    assert report.grid.periodic
    assert report.grid.resolution == (10, 10)
    assert report.time.step_seconds == 3 * 3600
    assert report.time.regular
    (variable,) = report.variables
    assert (variable.units, variable.minimum, variable.suspected_fill) == ("K", -9999, -9999)
    assert variable.sampled == 8 * 17 * 36
    assert "does not declare" in str(report)
    assert report.to_dict()["variables"][0]["name"] == "t2m"
    ds = ds.isel(time=[0, 1, 2, 5])
    netcdf4(ds, tmp_path / "b.nc")
    assert not describe(open_fields(tmp_path / "b.nc")).time.regular


def test_opening_reads_no_field(tmp_path):
    zarr3(field(times=6).chunk(time=2), tmp_path / "a.zarr")
    for chunk in (tmp_path / "a.zarr" / "t2m" / "c").rglob("*"):
        if chunk.is_file():
            chunk.write_bytes(b"not a chunk")
    ds = open_fields(tmp_path / "a.zarr", region={"lat": (0, 40)}, time=("2020-01-01", None))
    assert ds.t2m.sizes["time"] == 6
    with pytest.raises((RuntimeError, ValueError, OSError)):
        ds.t2m.load()


@pytest.mark.realdata
def test_every_real_grid_opens_and_describes():
    files = sorted(DATA.glob("*/*.nc"))
    assert files
    for path in files:
        with xr.open_dataset(path) as raw:
            curved = "goes_imager_projection" in raw or any(raw[c].ndim == 2 for c in raw.coords)
        if curved:
            with pytest.raises(SkyweaveError, match=path.name):
                open_fields(path)
            continue
        ds = open_fields(path)
        report = describe(ds)
        assert all(v.minimum is not None for v in report.variables)
        for name in (report.grid.lat_name, report.grid.lon_name):
            with xr.open_dataset(path) as raw:
                assert raw[name].values.tobytes() == ds[name].values.tobytes()
        for variable in ds.data_vars.values():
            assert variable.dims[-2:] == (report.grid.lat_name, report.grid.lon_name)
            assert variable.dims[-3] == (find_time(ds) or "time")


@pytest.mark.realdata
def test_real_levels_and_months():
    (path,) = DATA.glob("era-interim-uvz/*.nc")
    ds = open_fields(
        path, ["u@850", "v@200"], select={"month": 7}, region={"lat": (60, 90), "lon": (170, -170)}
    )
    check_single_fields(ds)
    check_not_empty(ds)
    with xr.open_dataset(path) as raw:
        expected = raw.u.sel(month=7, level=850, latitude=slice(90, 60))
        expected = expected.isel(longitude=np.abs(expected.longitude).values >= 170)
        assert expected.size == ds["u@850"].size
        np.testing.assert_allclose(ds["u@850"].sum(), expected.sum(), rtol=1e-6)
