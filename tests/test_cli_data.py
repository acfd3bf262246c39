"""Fetching: complete days are left alone, incomplete ones replaced, and no half file takes a name."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from skyweave.cli import main
from skyweave.errors import SkyweaveError
from skyweave.grid import Grid
from skyweave.io import open_fields
from skyweave.io.archives import ARCHIVES
from skyweave.io.fetch import fetch

LAT, LON = np.arange(50, 29, -1.0), np.arange(0.0, 360, 10)
BOX = {"lat": (35.0, 45.0), "lon": (-20.0, 30.0)}


def hourly(
    days: int, variable: str = "total_cloud_cover", minute: int = 0, start: str = "2020-01-01"
) -> xr.Dataset:
    times = pd.date_range(start, periods=24 * days, freq="h").to_numpy("datetime64[ns]") + np.timedelta64(
        minute, "m"
    )
    values = np.random.default_rng(0).random((times.size, LAT.size, LON.size), np.float32)
    return xr.Dataset(
        {variable: (("time", "latitude", "longitude"), values, {"units": "(0 - 1)"})},
        {
            "time": times,
            "latitude": ("latitude", LAT, {"units": "degrees_north"}),
            "longitude": ("longitude", LON, {"units": "degrees_east"}),
        },
    )


@pytest.fixture
def store(tmp_path: Path) -> Path:
    path = tmp_path / "era5.zarr"
    hourly(4).to_zarr(path, consolidated=False)
    return path


def words(store: Path | str, out: Path, *more: str, end: str = "2020-01-03") -> list[str]:
    box = ["--lat", "35", "45", "--lon", "-20", "30"]
    return [
        "data",
        "era5",
        "--start",
        "2020-01-01",
        "--end",
        end,
        *box,
        "--source",
        str(store),
        "--out",
        str(out),
        *more,
    ]


def test_a_period_and_region_come_whole_and_are_not_fetched_twice(store, tmp_path, capsys):
    out = tmp_path / "tcc"
    assert main(words(store, out, "--dry-run")) == 0
    assert "3 of 3 days would be fetched" in capsys.readouterr().out
    assert not out.exists()
    assert main(words(store, out)) == 0
    assert "3 of 3 days fetched" in capsys.readouterr().out
    assert sorted(p.name for p in out.iterdir()) == [f"era5_2020010{d}.nc" for d in (1, 2, 3)]
    ds = open_fields(f"{out}/era5_*.nc")
    truth = hourly(4).isel(time=slice(72)).sel(latitude=slice(45, 35)).isel(longitude=[34, 35, 0, 1, 2, 3])
    np.testing.assert_array_equal(ds.total_cloud_cover, truth.total_cloud_cover)
    np.testing.assert_array_equal(ds.longitude, [340, 350, 0, 10, 20, 30])
    np.testing.assert_array_equal(ds.time, truth.time)
    assert ds.total_cloud_cover.attrs["units"] == "(0 - 1)"
    before = {p: p.stat().st_mtime_ns for p in out.iterdir()}
    assert main(words(f"file://{store}", out, end="2020-01-04")) == 0
    assert "1 of 4 days fetched" in capsys.readouterr().out
    assert all(p.stat().st_mtime_ns == then for p, then in before.items())


def test_what_is_broken_is_fetched_again(store, tmp_path, capsys):
    out = tmp_path / "tcc"
    main(words(store, out))
    whole = {p.name: p.read_bytes() for p in out.iterdir()}
    first, second, third = sorted(out.iterdir())
    first.write_bytes(whole[first.name][:2000])
    xr.load_dataset(third).isel(time=slice(20)).to_netcdf(tmp_path / "short.nc")
    (tmp_path / "short.nc").replace(third)
    capsys.readouterr()
    assert main(words(store, out, "--dry-run")) == 0
    shown = capsys.readouterr().out
    assert "2 of 3 days would be fetched" in shown
    assert "truncated or damaged" in shown
    assert "other times than the 24 of the day" in shown
    kept = second.stat().st_mtime_ns
    assert main(words(store, out)) == 0
    assert second.stat().st_mtime_ns == kept
    assert open_fields(f"{out}/era5_*.nc").sizes["time"] == 72


def test_files_of_another_request_are_not_overwritten(store, tmp_path, capsys):
    out = tmp_path / "tcc"
    main(words(store, out))
    elsewhere = ["--start", "2020-01-01", "--end", "2020-01-01", "--source", str(store), "--out", str(out)]
    assert main(["data", "era5", *elsewhere]) == 2
    assert "its grid is another one" in capsys.readouterr().err
    assert open_fields(out / "era5_20200101.nc").sizes["latitude"] == 11
    assert main(["data", "era5", *elsewhere, "--overwrite"]) == 0
    assert open_fields(out / "era5_20200101.nc").sizes["latitude"] == LAT.size


def test_days_that_the_archive_lacks_leave_no_file(store, tmp_path, capsys):
    out = tmp_path / "tcc"
    assert main(words(store, out, end="2020-01-05")) == 2
    assert "has 0 of the 24 hours from 2020-01-05T00:00" in capsys.readouterr().err
    assert sorted(p.name for p in out.iterdir()) == [f"era5_2020010{d}.nc" for d in (1, 2, 3, 4)]
    # A store whose last hours are reserved but empty.
    reserved = hourly(2)
    reserved.total_cloud_cover[30:] = np.nan
    with pytest.raises(SkyweaveError, match=r"no value at 18 of 24 hours, first 2020-01-02T06:00"):
        fetch("era5", ("2020-01-01", "2020-01-02"), tmp_path / "b", opener=lambda day: reserved)
    assert [p.name for p in (tmp_path / "b").iterdir()] == ["era5_20200101.nc"]
    assert main(words(store, out, "--variables", "total_cloud_cover", "tp")) == 2
    assert "no variable 'tp'" in capsys.readouterr().err


def test_a_network_that_fails_now_and_then(tmp_path):
    calls = []

    def opener(day: pd.Timestamp) -> xr.Dataset:
        calls.append(day)
        if len(calls) in (2, 3):
            raise ConnectionResetError("peer")
        return hourly(2)

    told = []
    report = fetch("era5", ("2020-01-01", "2020-01-02"), tmp_path, opener=opener, pause=0.0, tell=told.append)
    assert [day.state for day in report] == ["fetched", "fetched"]
    assert told == report

    def broken(day: pd.Timestamp) -> xr.Dataset:
        if day.day == 1:
            return hourly(2)
        raise TimeoutError("slow")

    with pytest.raises(SkyweaveError, match=r"could not be fetched in 3 attempts \(TimeoutError: slow\)"):
        fetch("era5", ("2020-01-01", "2020-01-02"), tmp_path / "x", opener=broken, pause=0.0)
    assert [p.name for p in (tmp_path / "x").iterdir()] == ["era5_20200101.nc"]


def test_one_source_file_per_day(tmp_path):
    for day in ("2020-01-01", "2020-01-02"):
        hourly(1, "TOTEXTTAU", 30, day).to_netcdf(tmp_path / f"M2.{day.replace('-', '')}.nc4")
    source = f"{tmp_path}/M2.{{date:%Y%m%d}}.nc4"
    report = fetch("merra2", ("2020-01-01", "2020-01-02"), tmp_path / "out", source=source, region=BOX)
    assert [day.state for day in report] == ["fetched"] * 2
    ds = open_fields(f"{tmp_path}/out/*.nc")
    assert str(ds.time.values[0])[:16] == "2020-01-01T00:30"
    assert ds.TOTEXTTAU.shape == (48, 11, 6)
    with pytest.raises(SkyweaveError, match="write the date of a file as"):
        fetch("merra2", ("2020-01-01", "2020-01-02"), tmp_path / "out", source="M2.{day}.nc4")


@pytest.mark.parametrize(("archive", "module"), [("merra2", "earthaccess"), ("era5", "gcsfs")])
def test_without_the_libraries_one_line_says_what_to_install(monkeypatch, capsys, tmp_path, archive, module):
    monkeypatch.setitem(sys.modules, module, None)
    arguments = ["data", archive, "--start", "2020-01-01", "--end", "2020-01-01", "--out", str(tmp_path)]
    assert main([*arguments, "--dry-run"]) == 0
    assert main(arguments) == 2
    assert "pip install 'skyweave[remote]'" in capsys.readouterr().err


def test_merra2_through_earthaccess(monkeypatch, tmp_path):
    """The calls that earthaccess gets, and that the day asked for is the one taken."""
    lat, lon = ARCHIVES["merra2"].grid.lat[240:260], ARCHIVES["merra2"].grid.lon[:8]
    paths = {}
    for day in ("2019-12-31", "2020-01-01"):
        ds = hourly(1, "TOTEXTTAU", 30, day).isel(latitude=slice(20), longitude=slice(8))
        ds = ds.rename(latitude="lat", longitude="lon").assign_coords(lat=lat, lon=lon)
        paths[day] = tmp_path / f"MERRA2_400.tavg1_2d_aer_Nx.{day.replace('-', '')}.nc4"
        ds.to_netcdf(paths[day])

    class Granule:
        def __init__(self, path: Path) -> None:
            self.path = path

        def data_links(self) -> list[str]:
            return [f"https://data.gesdisc.earthdata.nasa.gov/data/MERRA2/{self.path.name}"]

    asked = []

    def search_data(count: int = -1, **kwargs):
        asked.append(kwargs)
        return [Granule(path) for path in paths.values()]

    fake = types.ModuleType("earthaccess")
    fake.login = lambda: types.SimpleNamespace(authenticated=True)
    fake.search_data = search_data
    fake.open = lambda granules: [granule.path.open("rb") for granule in granules]
    monkeypatch.setitem(sys.modules, "earthaccess", fake)
    region = {"lat": (lat[0], lat[-1]), "lon": (lon[0], lon[-1])}
    fetch("merra2", ("2020-01-01", "2020-01-01"), tmp_path / "out", region=region)
    day = ("2020-01-01", "2020-01-01")
    assert asked == [{"short_name": "M2T1NXAER", "version": "5.12.4", "temporal": day}]
    got = open_fields(tmp_path / "out" / "merra2_20200101.nc")
    np.testing.assert_array_equal(got.TOTEXTTAU, xr.load_dataset(paths["2020-01-01"]).TOTEXTTAU)
    fake.login = lambda: types.SimpleNamespace(authenticated=False)
    fetch("merra2", day, tmp_path / "out", region=region)  # complete: nobody logs in
    with pytest.raises(SkyweaveError, match=r"urs\.earthdata\.nasa\.gov"):
        fetch("merra2", day, tmp_path / "other", region=region)


def test_era5_through_the_public_store(monkeypatch, tmp_path):
    asked = []
    box = {"lat": (40.0, 42.0), "lon": (10.0, 12.0)}
    native = ARCHIVES["era5"].grid.isel(*ARCHIVES["era5"].grid.region(**box))
    ds = hourly(1).isel(latitude=slice(9), longitude=slice(9))
    ds = ds.assign_coords(latitude=native.lat, longitude=native.lon)

    def open_zarr(url: str, **kwargs):
        asked.append((url, kwargs["storage_options"]))
        return ds

    monkeypatch.setitem(sys.modules, "gcsfs", types.ModuleType("gcsfs"))
    monkeypatch.setattr(xr, "open_zarr", open_zarr)
    fetch("era5", ("2020-01-01", "2020-01-01"), tmp_path, region=box)
    url = "gs://gcp-public-data-arco-era5/ar/full_37-1h-0p25deg-chunk-1.zarr-v3"
    assert asked == [(url, {"token": "anon"})]
    np.testing.assert_array_equal(
        open_fields(tmp_path / "era5_20200101.nc").total_cloud_cover, ds.total_cloud_cover
    )
    monkeypatch.setattr(xr, "open_zarr", lambda *a, **k: 1 / 0)
    with pytest.raises(SkyweaveError, match=r"cannot be opened \(ZeroDivisionError.*--source"):
        fetch("era5", ("2020-01-01", "2020-01-01"), tmp_path / "b", region=box)


def test_the_archives_own_grids():
    assert ARCHIVES["merra2"].grid.shape == (361, 576)
    assert ARCHIVES["merra2"].grid.resolution == pytest.approx((0.5, 0.625))
    assert ARCHIVES["era5"].grid.shape == (721, 1440)
    assert all(archive.grid.periodic for archive in ARCHIVES.values())
    cut = ARCHIVES["merra2"].grid.isel(*ARCHIVES["merra2"].grid.region(lat=(5.5, 55), lon=(73, 135)))
    assert isinstance(cut, Grid)
    assert cut.shape == (100, 100)  # the domain of the AODDiff paper


@pytest.mark.parametrize(
    ("name", "period", "message"),
    [
        ("era6", ("2020-01-01", "2020-01-02"), "did you mean 'era5'"),
        ("era5", ("2020-01-02", "2020-01-01"), "holds no day"),
        ("era5", ("2020-13-02", "2020-01-01"), "write days as 2019-03-01"),
        ("era5", ("NaT", "2020-01-01"), "write days as 2019-03-01"),
    ],
)
def test_requests_that_make_no_sense(tmp_path, name, period, message):
    with pytest.raises(SkyweaveError, match=message):
        fetch(name, period, tmp_path)
