"""GOES AOD and swaths: the published navigation, packing and flags as written, means that are means."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from skyweave.cli import main
from skyweave.errors import SkyweaveError
from skyweave.grid import Grid
from skyweave.io import bin_to_grid, grid_swath, read_goes_aod
from skyweave.io.goes import fixed_grid_position

DATA = Path(os.environ.get("SKYWEAVE_DATA", Path(__file__).parents[2] / "shared" / "data"))
GOES = DATA / "goes16-aod-conus-2018-11-15"
STEP = 56e-6
SCALE, OFFSET = np.float32(7.706e-05), np.float32(-0.05)


def granule(
    path: Path, aod: np.ndarray, flag: np.ndarray, *, minutes: int = 0, longitude: float = -75.0
) -> Path:
    """A file as NOAA writes it: unsigned numbers stored as signed ones, scan angles packed, time since 2000."""
    height, width = aod.shape
    packed = (
        np.where(np.isfinite(aod), np.rint((aod - OFFSET) / SCALE), 65535).astype(np.uint16).view(np.int16)
    )
    fill = {"_FillValue": np.int16(-1), "_Unsigned": "true"}
    ds = xr.Dataset(
        {
            "AOD": (
                ("y", "x"),
                packed,
                fill
                | {"scale_factor": SCALE, "add_offset": OFFSET, "valid_range": np.array([0, -6], np.int16)}
                | {"units": "1", "grid_mapping": "goes_imager_projection"},
            ),
            "DQF": (
                ("y", "x"),
                flag.astype(np.int8),
                {"_FillValue": np.int8(-1), "_Unsigned": "true", "valid_range": np.array([0, 3], np.int8)},
            ),
            "goes_imager_projection": (
                (),
                np.int32(0),
                {
                    "grid_mapping_name": "geostationary",
                    "perspective_point_height": 35786023.0,
                    "semi_major_axis": 6378137.0,
                    "semi_minor_axis": 6356752.31414,
                    "longitude_of_projection_origin": longitude,
                    "sweep_angle_axis": "x",
                },
            ),
            "t": (
                (),
                6e8 + 60.0 * minutes,
                {"units": "seconds since 2000-01-01 12:00:00", "standard_name": "time"},
            ),
        },
        {
            "y": (
                "y",
                np.arange(height, dtype=np.int16),
                {"scale_factor": -STEP, "add_offset": 0.09, "units": "rad"},
            ),
            "x": (
                "x",
                np.arange(width, dtype=np.int16),
                {"scale_factor": STEP, "add_offset": -0.03, "units": "rad"},
            ),
        },
        {"platform_ID": "G16", "time_coverage_start": "2019-01-05T23:00:00.0Z"},
    )
    ds.to_netcdf(path, engine="h5netcdf")
    return path


@pytest.fixture
def scene() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """AOD, flags, latitudes and longitudes of a small sector."""
    rng = np.random.default_rng(0)
    aod = rng.gamma(1.0, 0.2, (60, 80)) - 0.04
    aod = np.rint((aod - OFFSET) / SCALE) * float(SCALE) + float(OFFSET)
    flag = rng.integers(0, 4, aod.shape)
    aod[flag == 3] = np.nan
    angles = (-0.03 + STEP * np.arange(80))[None, :], (0.09 - STEP * np.arange(60))[:, None]
    return aod, flag, *fixed_grid_position(*angles)


def test_the_published_example_and_the_point_below_the_satellite():
    lat, lon = fixed_grid_position(-0.024052, 0.095340)
    assert lat == pytest.approx(33.846162, abs=5e-7)
    assert lon == pytest.approx(-84.690932, abs=5e-7)
    np.testing.assert_allclose(fixed_grid_position(0.0, 0.0), (0.0, -75.0), atol=1e-12)
    np.testing.assert_allclose(fixed_grid_position(0.0, 0.0, longitude=-137.2), (0.0, -137.2), atol=1e-12)
    assert np.isnan(fixed_grid_position(0.16, 0.0)).all()


def test_navigation_undoes_the_projection():
    """The inverse formulas of the PUG (Section 5.1.2.8.2), from geodetic coordinates to scan angles."""
    rng = np.random.default_rng(0)
    lat, lon = np.radians(rng.uniform(-60, 60, 500)), np.radians(-137.0 + rng.uniform(-60, 60, 500))
    major, minor, orbit = 6378137.0, 6356752.31414, 35786023.0 + 6378137.0
    centric = np.arctan((minor / major) ** 2 * np.tan(lat))
    radius = minor / np.sqrt(1 - (1 - (minor / major) ** 2) * np.cos(centric) ** 2)
    away = lon - np.radians(-137.0)
    sx = orbit - radius * np.cos(centric) * np.cos(away)
    sy, sz = -radius * np.cos(centric) * np.sin(away), radius * np.sin(centric)
    x, y = np.arcsin(-sy / np.sqrt(sx**2 + sy**2 + sz**2)), np.arctan(sz / sx)
    found = fixed_grid_position(x, y, longitude=-137.0)
    np.testing.assert_allclose(found[0], np.degrees(lat), atol=1e-6)
    np.testing.assert_allclose((found[1] - np.degrees(lon) + 180) % 360 - 180, 0, atol=1e-6)


@pytest.mark.parametrize("quality", [0, 1, 2])
def test_a_granule_is_binned_as_flags_and_values_say(tmp_path, scene, quality):
    aod, flag, lat, lon = scene
    grid = Grid(np.arange(30.5, 34, 0.5), np.arange(-89.0, -83, 0.5))
    out = read_goes_aod(granule(tmp_path / "a.nc", aod, flag), grid, quality=quality, minimum_share=0.0)
    for i, south in enumerate(grid.lat_bounds[:-1]):
        for j, west in enumerate(grid.lon_bounds[:-1]):
            cell = (
                (lat >= south) & (lat < south + 0.5) & (lon >= west) & (lon < west + 0.5) & (flag <= quality)
            )
            assert out.AOD_count[0, i, j] == cell.sum()
            if cell.any():
                assert float(out.AOD[0, i, j]) == pytest.approx(aod[cell].mean(), abs=1e-6)
            else:
                assert np.isnan(out.AOD[0, i, j])
    assert out.AOD.attrs["standard_name"] == "atmosphere_optical_thickness_due_to_ambient_aerosol_particles"
    assert str(out.time.values[0])[:19] == "2019-01-05T22:40:00"


def test_cells_with_too_few_pixels_are_missing(tmp_path, scene):
    aod, flag, lat, lon = scene
    path = granule(tmp_path / "a.nc", aod, flag)
    grid = Grid(np.arange(30.5, 34, 0.5), np.arange(-89.0, -83, 0.5))
    every = read_goes_aod(path, grid, quality=0, minimum_share=0.0)
    some = read_goes_aod(path, grid, quality=0, minimum_share=0.25)
    pixels = read_goes_aod(granule(tmp_path / "b.nc", 0 * lat, 0 * lat), grid).AOD_count.values
    enough = (every.AOD_count.values > 0) & (every.AOD_count.values >= 0.25 * pixels)
    np.testing.assert_array_equal(some.AOD.notnull(), enough)
    assert 0 < int(some.AOD.notnull().sum()) < int(every.AOD.notnull().sum())
    np.testing.assert_array_equal(some.AOD_count, every.AOD_count)


def test_negative_retrievals_stay_and_values_out_of_range_go(tmp_path):
    aod = np.full((40, 40), -0.04)
    aod[:, ::2] = 4.99
    flag = np.zeros(aod.shape)
    grid = Grid(np.arange(30.0, 34, 1), np.arange(-90.0, -83, 1))
    kept = read_goes_aod(granule(tmp_path / "a.nc", aod, flag), grid)
    assert float(kept.AOD.mean()) == pytest.approx((4.99 - 0.04) / 2, abs=0.2)
    aod[:, ::2] = 65532 * SCALE + OFFSET  # above the valid range, below the fill value
    kept = read_goes_aod(granule(tmp_path / "b.nc", aod, flag), grid, minimum_share=0.0)
    assert float(kept.AOD.max()) == pytest.approx(-0.04, abs=1e-4)


def test_many_granules_come_in_order_and_default_cells_cover_them(tmp_path, scene):
    aod, flag, lat, lon = scene
    late = granule(tmp_path / "a.nc", aod + 0.2, flag, minutes=10)
    early = granule(tmp_path / "b.nc", aod, flag)
    both = read_goes_aod([late, early])
    assert (np.diff(both.time.values) == np.timedelta64(10, "m")).all()
    assert both.AOD.dims == ("time", "lat", "lon")
    np.testing.assert_allclose(np.diff(both.lat), 0.1, atol=1e-9)
    difference = (both.AOD[1] - both.AOD[0]).values
    np.testing.assert_allclose(difference[np.isfinite(difference)], 0.2, atol=1e-4)
    assert int(both.AOD_count[0].sum()) == (flag <= 1).sum()  # no pixel lies outside
    cut = read_goes_aod(early, region={"lat": (31, 32), "lon": (-88, -86)})
    assert cut.AOD.shape == (1, 10, 20)
    same = both.AOD[:1].reindex(lat=cut.lat, lon=cut.lon, method="nearest", tolerance=1e-6)
    assert same.notnull().any()
    np.testing.assert_array_equal(cut.AOD, same)
    with pytest.raises(SkyweaveError, match=r"is that of .*a\.nc too"):
        read_goes_aod([late, granule(tmp_path / "c.nc", aod, flag, minutes=10)])


def test_a_disk_across_the_date_line_stays_in_one_piece(tmp_path, scene):
    aod, flag, *_ = scene
    out = read_goes_aod(granule(tmp_path / "a.nc", aod, flag, longitude=-171.0))
    assert out.sizes["lon"] < 100
    assert int(out.AOD_count.sum()) == (flag <= 1).sum()


def test_time_of_a_granule_without_t(tmp_path, scene):
    with xr.open_dataset(granule(tmp_path / "a.nc", *scene[:2]), mask_and_scale=False) as ds:
        ds.drop_vars("t").to_netcdf(tmp_path / "b.nc", engine="h5netcdf")
        ds.drop_vars("t").drop_attrs(deep=False).to_netcdf(tmp_path / "c.nc", engine="h5netcdf")
    assert str(read_goes_aod(tmp_path / "b.nc").time.values[0])[:19] == "2019-01-05T23:00:00"
    with pytest.raises(SkyweaveError, match=r"c\.nc: has no time: .*time_coverage_start"):
        read_goes_aod(tmp_path / "c.nc")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda ds: ds.drop_vars("DQF"), "no DQF; it has: .*OR_ABI-L2-AODC"),
        (lambda ds: ds.drop_vars("goes_imager_projection"), "no goes_imager_projection"),
        (lambda ds: ds.assign(goes_imager_projection=0), "lacks perspective_point_height"),
        (lambda ds: ds.assign_coords(x=ds.x.astype(float).drop_attrs()), "scale_factor and add_offset lost"),
        (lambda ds: ds.isel(y=0), r"should both lie on \('y', 'x'\)"),
    ],
)
def test_what_is_no_granule_is_named(tmp_path, scene, spoil, message):
    with xr.open_dataset(
        granule(tmp_path / "a.nc", *scene[:2]), mask_and_scale=False, decode_times=False
    ) as ds:
        spoil(ds).to_netcdf(tmp_path / "bad.nc", engine="h5netcdf")
    with pytest.raises(SkyweaveError, match=message) as caught:
        read_goes_aod(tmp_path / "bad.nc")
    assert "bad.nc" in str(caught.value)


def test_bad_requests(tmp_path, scene):
    path = granule(tmp_path / "a.nc", *scene[:2])
    with pytest.raises(SkyweaveError, match="greatest flag kept"):
        read_goes_aod(path, quality=3)
    with pytest.raises(SkyweaveError, match="share of the pixels"):
        read_goes_aod(path, minimum_share=20)
    with pytest.raises(SkyweaveError, match="no pixel lies in the grid"):
        read_goes_aod(path, Grid(np.arange(-30.0, -20), np.arange(0.0, 9)))


# ---- swaths


@pytest.mark.parametrize("flip", [(1, 1), (-1, 1), (1, -1)])
def test_binning_is_the_mean_over_cells_whatever_their_order(flip):
    rng = np.random.default_rng(1)
    lat, lon = rng.uniform(-10, 10, (50, 70)), rng.uniform(170, 190, (50, 70))
    values = rng.standard_normal((3, 50, 70))
    values[rng.random(values.shape) < 0.4] = np.nan
    grid = Grid(np.arange(-9.0, 10, 2)[:: flip[0]], np.arange(171.0, 190, 2)[:: flip[1]])
    mean = bin_to_grid(values, lat, np.where(lon > 180, lon - 360, lon), grid)
    assert mean.shape == (3, 10, 10)
    for i in range(10):
        for j in range(10):
            cell = (np.abs(lat - grid.lat[i]) < 1) & (np.abs(lon - grid.lon[j]) < 1)
            np.testing.assert_allclose(mean[:, i, j], np.nanmean(values[:, cell], axis=1), rtol=1e-12)
    counted = bin_to_grid(values, lat, lon, grid, minimum_share=0.7)
    assert 0 < np.isfinite(counted).sum() < np.isfinite(mean).sum()


def test_a_constant_stays_itself_around_the_earth():
    lat, lon = np.meshgrid(np.linspace(-89, 89, 90), np.linspace(-180, 179, 180), indexing="ij")
    globe = Grid(np.arange(-85.0, 90, 10), np.arange(0.0, 360, 10))
    np.testing.assert_allclose(bin_to_grid(np.full(lat.shape, 0.3), lat, lon, globe), 0.3)


def test_a_swath_becomes_a_dataset():
    lat, lon = np.meshgrid(np.linspace(10, 20, 60), np.linspace(30, 45, 90), indexing="ij")
    lat = lat + 0.02 * (lon - 30)
    ds = xr.Dataset(
        {"AOT": (("time", "line", "pixel"), np.stack([lat, lon]), {"units": "1"})},
        {"Latitude": (("line", "pixel"), lat), "Longitude": (("line", "pixel"), lon)},
    ).assign_coords(time=np.array(["2020-01-01", "2020-01-02"], "datetime64[ns]"))
    ds.AOT[0, :30] = np.nan
    grid = Grid(np.arange(11.5, 20), np.arange(31.5, 45))
    for form in (ds, ds.reset_coords(["Latitude", "Longitude"]), ds.transpose("pixel", "time", "line")):
        out = grid_swath(form, "AOT", grid)
        assert out.AOT.dims == ("time", "lat", "lon")
        np.testing.assert_allclose(out.AOT[1], bin_to_grid(lon, lat, lon, grid), atol=1e-5)
        assert out.AOT[0, :3].isnull().all()
        assert (out.AOT_count[1] >= out.AOT_count[0]).all()
        np.testing.assert_array_equal(out.time, ds.time)
    one = grid_swath(ds.isel(time=1), "AOT", grid)
    assert one.AOT.dims == ("time", "lat", "lon")
    np.testing.assert_array_equal(one.AOT[0], out.AOT[1])
    with pytest.raises(SkyweaveError, match="did you mean 'AOT'"):
        grid_swath(ds, "AOTT", grid)
    with pytest.raises(SkyweaveError, match="no two-dimensional latitude found"):
        grid_swath(ds.drop_vars("Latitude"), "AOT", grid)
    with pytest.raises(SkyweaveError, match="no pixel lies in the grid"):
        grid_swath(ds, "AOT", Grid(-grid.lat, grid.lon))
    with pytest.raises(SkyweaveError, match="do not share two dimensions"):
        grid_swath(ds.assign(flat=("line", np.zeros(60))), "flat", grid)


# ---- real files


@pytest.mark.realdata
def test_a_real_granule():
    (path,) = GOES.glob("OR_ABI-L2-AODC-*.nc")
    out = read_goes_aod(path)
    with xr.open_dataset(path) as raw:
        kept = raw.AOD.where(raw.DQF <= 1)
        assert int(out.AOD_count.sum()) == int(kept.notnull().sum())
        extent = raw.geospatial_lat_lon_extent.attrs
        assert out.lat[0] - 0.05 == pytest.approx(extent["geospatial_southbound_latitude"], abs=0.1)
        assert out.lon[-1] + 0.05 == pytest.approx(extent["geospatial_eastbound_longitude"], abs=0.1)
        every = read_goes_aod(path, minimum_share=0.0)
        total = float((every.AOD * every.AOD_count).sum())
        assert total == pytest.approx(float(kept.sum(dtype=np.float64)), rel=1e-5)
        assert -0.05 <= float(out.AOD.min()) < 0
    assert str(out.time.values[0]).startswith("2018-11-15T18:03")


@pytest.mark.realdata
def test_the_same_scan_through_a_swath_file_agrees():
    (path,) = GOES.glob("OR_ABI-L2-AODC-*.nc")
    swath = xr.open_dataset(GOES / "goes16_aod_conus_10km_20181115.nc")
    grid = Grid(np.arange(20.5, 50), np.arange(-119.5, -70))
    direct = read_goes_aod(path, grid)
    other = grid_swath(swath.sel(time=["2018-11-15T18:02:15"], method="nearest"), "AOD", grid)
    a, b = direct.AOD.values.ravel(), other.AOD.values.ravel()
    both = np.isfinite(a) & np.isfinite(b)
    assert both.sum() > 200
    assert np.corrcoef(a[both], b[both])[0, 1] > 0.97
    with pytest.raises(SkyweaveError, match="use grid_swath"):
        read_goes_aod(GOES / "goes16_aod_conus_10km_20181115.nc")


@pytest.mark.parametrize(
    "words", [["info"], ["check", "--prior", "aod", "--grid"], ["check", "--prior", "aod", "--points"]]
)
def test_a_granule_where_no_granule_is_taken_names_what_takes_it(tmp_path, capsys, words):
    path = granule(tmp_path / "g.nc", np.full((4, 5), 0.3), np.zeros((4, 5)))
    with xr.open_dataset(path, decode_cf=False) as ds:  # as NOAA's files have it
        below = ds.assign(nominal_satellite_subpoint_lat=((), 0.0, {"standard_name": "latitude"}))
        below = below.assign(
            nominal_satellite_subpoint_lon=((), -75.0, {"standard_name": "longitude"})
        ).load()
    below.to_netcdf(tmp_path / "noaa.nc", engine="h5netcdf")
    tail = "" if words == ["info"] else ":AOD=0.05"
    assert main([*words, f"{tmp_path / 'noaa.nc'}{tail}"]) == 2
    told = capsys.readouterr().err
    assert all(word in told for word in ("geostationary", "goes: FILES", "read_goes_aod"))
