"""Gridded files, GRIB and BUFR: small valid ones, and how they are read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import xarray as xr
from fuzz_target import folder_in, target


def _fields(packed: bool = False, times: int = 3) -> xr.Dataset:
    rng = np.random.default_rng(0)
    time = np.datetime64("2020-01-01", "ns") + np.arange(times) * np.timedelta64(6, "h")
    ds = xr.Dataset(
        {
            "t2m": (
                ("time", "lat", "lon"),
                280 + rng.standard_normal((times, 4, 6)),
                {"units": "K", "long_name": "air"},
            )
        },
        {
            "time": time,
            "lat": ("lat", np.arange(40.0, 44.0), {"units": "degrees_north", "standard_name": "latitude"}),
            "lon": ("lon", np.arange(0.0, 6.0), {"units": "degrees_east", "standard_name": "longitude"}),
        },
        {"title": "seed"},
    )
    if packed:
        ds["t2m"].encoding = {
            "dtype": "int16",
            "scale_factor": 0.01,
            "add_offset": 280.0,
            "_FillValue": -32767,
        }
    else:
        ds["t2m"] = ds["t2m"].astype(np.float32)
    return ds


def _netcdf4(parent: Path) -> list[Path]:
    out = []
    for k, packed in enumerate((False, True)):
        _fields(packed).to_netcdf(folder_in(parent, f"{k}") / "a.nc", engine="h5netcdf")
        out.append(parent / f"{k}")
    levels = _fields().expand_dims(level=[500.0, 850.0]).assign_coords(valid=("time", np.arange(3.0)))
    levels["level"].attrs = {"units": "hPa", "positive": "down"}
    levels.to_netcdf(folder_in(parent, "2") / "a.nc", engine="h5netcdf")
    return [*out, parent / "2"]


def _netcdf3(parent: Path) -> list[Path]:
    for k, packed in enumerate((False, True)):
        _fields(packed).to_netcdf(folder_in(parent, f"{k}") / "a.nc", engine="scipy")
    return [parent / "0", parent / "1"]


def _zarr(version: int) -> Callable[[Path], list[Path]]:
    def seeds(parent: Path) -> list[Path]:
        for k, consolidated in enumerate((True, False)):
            _fields(times=2).to_zarr(
                folder_in(parent, f"{k}") / "a.zarr", zarr_format=version, consolidated=consolidated
            )
        return [parent / "0", parent / "1"]

    return seeds


def read_fields(path: Path) -> None:
    """As `skyweave check` looks at a gridded source."""
    from skyweave.cli.describe import describe_dataset
    from skyweave.grid import Grid
    from skyweave.io import open_fields

    ds = open_fields(path)
    Grid.from_dataset(ds)
    describe_dataset(ds)


@target("netcdf4", _netcdf4)
def _read_netcdf4(folder: Path) -> None:
    read_fields(folder / "a.nc")


@target("netcdf3", _netcdf3)
def _read_netcdf3(folder: Path) -> None:
    read_fields(folder / "a.nc")


@target("zarr2", _zarr(2))
def _read_zarr2(folder: Path) -> None:
    read_fields(folder / "a.zarr")


@target("zarr3", _zarr(3))
def _read_zarr3(folder: Path) -> None:
    read_fields(folder / "a.zarr")


def _goes(parent: Path) -> list[Path]:
    rng = np.random.default_rng(0)
    for k in range(2):
        shape = (6, 8)
        aod = np.rint(rng.random(shape) * 10000).astype(np.int16)
        signed = {"_FillValue": np.int16(-1), "_Unsigned": "true", "valid_range": np.array([0, -6], np.int16)}
        angles = {"scale_factor": 5.6e-5, "units": "rad"}
        packing = {"scale_factor": np.float32(7.706e-05), "add_offset": np.float32(-0.05), "units": "1"}
        ds = xr.Dataset(
            {
                "AOD": (("y", "x"), aod, signed | packing),
                "DQF": (("y", "x"), rng.integers(0, 4, shape).astype(np.int8), {"_FillValue": np.int8(-1)}),
                "goes_imager_projection": (
                    (), np.int32(0),
                    {
                        "perspective_point_height": 35786023.0, "semi_major_axis": 6378137.0,
                        "semi_minor_axis": 6356752.31414,
                        "longitude_of_projection_origin": -75.0 - 60 * k, "sweep_angle_axis": "x",
                    },
                ),
                "t": ((), 6e8, {"units": "seconds since 2000-01-01 12:00:00", "standard_name": "time"}),
            },
            {
                "y": ("y", np.arange(shape[0], dtype=np.int16), angles | {"scale_factor": -5.6e-5, "add_offset": 0.09}),
                "x": ("x", np.arange(shape[1], dtype=np.int16), angles | {"add_offset": -0.03}),
            },
            {"platform_ID": "G16", "time_coverage_start": "2019-01-05T23:00:00.0Z"},
        )  # fmt: skip
        ds.to_netcdf(folder_in(parent, f"{k}") / "a.nc", engine="h5netcdf")
    return [parent / "0", parent / "1"]


@target("goes", _goes)
def _read_goes(folder: Path) -> None:
    from skyweave.io import read_goes_aod

    read_goes_aod(folder / "a.nc", quality=2, minimum_share=0.0)


def _swath(parent: Path) -> list[Path]:
    lat, lon = np.meshgrid(np.linspace(40, 44, 7), np.linspace(0, 6, 9), indexing="ij")
    ds = xr.Dataset(
        {"aod": (("y", "x"), np.random.default_rng(0).random((7, 9)).astype(np.float32), {"units": "1"})},
        {
            "latitude": (("y", "x"), lat, {"units": "degrees_north"}),
            "longitude": (("y", "x"), lon, {"units": "degrees_east"}),
        },
    )
    ds.to_netcdf(folder_in(parent, "0") / "a.nc", engine="h5netcdf")
    ds.to_netcdf(folder_in(parent, "1") / "a.nc", engine="scipy")
    return [parent / "0", parent / "1"]


@target("swath", _swath)
def _read_swath(folder: Path) -> None:
    from skyweave.grid import Grid
    from skyweave.io import grid_swath
    from skyweave.io.formats import open_one

    grid_swath(open_one(str(folder / "a.nc")), "aod", Grid(np.arange(40.0, 44.0), np.arange(0.0, 6.0)))


def _g5nr(parent: Path) -> list[Path]:
    ds = _fields(times=1).isel(time=0, drop=True).rename(t2m="DUEXTTAU")
    ds.to_netcdf(folder_in(parent, "0") / "c1440_NR.tavg1.20060101_0030z.nc4", engine="h5netcdf")
    return [parent / "0"]


@target("g5nr", _g5nr)
def _read_g5nr(folder: Path) -> None:
    from skyweave.io.g5nr import open_g5nr

    ds = open_g5nr(sorted(folder.glob("*.nc4")), ["DUEXTTAU"], time=("2006-01-01", "2006-01-02"))
    ds["DUEXTTAU"].values  # noqa: B018


def _forecast(parent: Path) -> list[Path]:
    ds = _fields(times=3).rename(time="lead_time", t2m="t")
    ds["lead_time"] = (
        "lead_time",
        np.array([0, 6, 12]),
        {"units": "hours", "standard_name": "forecast_period"},
    )
    ds = ds.assign_coords(init_time=np.datetime64("2020-01-01", "ns"))
    ds.to_netcdf(folder_in(parent, "0") / "a.nc", engine="h5netcdf")
    return [parent / "0"]


@target("forecast", _forecast)
def _read_forecast(folder: Path) -> None:
    from skyweave.emulate.files import open_forecast
    from skyweave.state import StateSpec, Variable

    found = open_forecast(folder / "a.nc", StateSpec((Variable("t", "K"),)))
    found.at(found.init_time)


def _samples(folder: str, endings: tuple[str, ...], name: str) -> Callable[[Path], list[Path]]:
    """Small real files, where the data are there: none are made on the spot."""

    def seeds(parent: Path) -> list[Path]:

        from bench import data_folder

        found = [
            p
            for p in sorted((data_folder() / folder).rglob("*"))
            if p.suffix in endings and p.stat().st_size < 60_000
        ]
        for k, path in enumerate(found[:6]):
            (folder_in(parent, f"{k}") / name).write_bytes(path.read_bytes())
        return [parent / f"{k}" for k in range(len(found[:6]))]

    return seeds


def _grib(parent: Path) -> list[Path]:
    """Fields of 6 x 8 cells of either edition, with members and with missing values."""
    import eccodes

    out = []
    for edition in (1, 2):
        folder = folder_in(parent, f"{edition}")
        with open(folder / "a.grib", "wb") as file:
            for member in (0, 1):
                message = eccodes.codes_grib_new_from_samples(f"regular_ll_sfc_grib{edition}")
                keys = {
                    "Ni": 8, "Nj": 6, "iDirectionIncrementInDegrees": 5.0, "jDirectionIncrementInDegrees": 5.0,
                    "latitudeOfFirstGridPointInDegrees": 60.0, "latitudeOfLastGridPointInDegrees": 35.0,
                    "longitudeOfFirstGridPointInDegrees": 0.0, "longitudeOfLastGridPointInDegrees": 35.0,
                    "dataDate": 20200101, "dataTime": 600 * member, "bitmapPresent": 1, "missingValue": 9999.0,
                }  # fmt: skip
                for key, value in keys.items():
                    eccodes.codes_set(message, key, value)
                values = np.linspace(270.0, 290.0, 48) + member
                values[:3] = 9999.0
                eccodes.codes_set_values(message, values)
                eccodes.codes_write(message, file)
                eccodes.codes_release(message)
        out.append(folder)
    return out


@target("grib", _grib, "skyweave.io.grib")
def _read_grib(folder: Path) -> None:
    read_fields(folder / "a.grib")


@target("bufr", _samples("bufr-networks", (".bufr", ".bfr"), "a.bufr"), "skyweave.io.bufr")
def _read_bufr(folder: Path) -> None:
    from skyweave.errors import SkyweaveError
    from skyweave.io.bufr import read_bufr
    from skyweave.io.bufr_soundings import read_soundings

    try:
        read_bufr(folder / "a.bufr")
    except SkyweaveError as refusal:
        if "--soundings" not in str(refusal):
            raise
        read_soundings(folder / "a.bufr")
