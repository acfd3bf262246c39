"""Odd files; see `odd_cases`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import h5netcdf
import numpy as np
import scipy.io
import xarray as xr
import zarr

from odd_cases import Refused, odd
from skyweave.grid import Grid
from skyweave.io import describe, elevation_on, grid_swath, open_fields
from skyweave.io.formats import open_one
from skyweave.io.undeclared import without_fills

NAN = float("nan")
DEFAULT = 9.969209968386869e36  # what netCDF writes to cells of floats that nobody wrote
AXES = (
    ("time", np.zeros(1), "hours since 2020-01-01"),
    ("lat", np.array([10.0, 20.0]), "degrees_north"),
    ("lon", np.array([0.0, 10.0, 20.0]), "degrees_east"),
)


def netcdf4(folder: Path, values: Any, dtype: str, axes: Any = AXES, **attrs: Any) -> Path:
    """One map of 2 x 3 stored numbers (given flat) as variable x."""
    path = folder / "a.nc"
    with h5netcdf.File(path, "w") as file:
        file.dimensions = {name: len(points) for name, points, _ in axes}
        for name, points, units in axes:
            file.create_variable(name, (name,), points.dtype, data=points).attrs["units"] = units
        data = np.asarray(values).reshape([len(points) for _, points, _ in axes]).astype(dtype)
        file.create_variable("x", tuple(name for name, _, _ in axes), dtype, data=data).attrs.update(attrs)
    return path


def netcdf3(folder: Path, values: Any, dtype: str, **attrs: Any) -> Path:
    path = folder / "a3.nc"
    with scipy.io.netcdf_file(path, "w") as file:
        for name, points, units in AXES:
            file.createDimension(name, len(points))
            axis = file.createVariable(name, "f8", (name,))
            axis[:] = points
            axis.units = units
        data = np.asarray(values).reshape(1, 2, 3).astype(dtype)
        variable = file.createVariable("x", data.dtype, ("time", "lat", "lon"))
        variable[:] = data
        for key, value in attrs.items():
            setattr(variable, key, value)
    return path


def store(folder: Path, values: Any, dtype: str, fill: Any, version: int = 2, axis: Any = 0) -> Path:
    """The same by zarr-python alone, with one fill for the variable and one for the axes."""
    path = folder / "a.zarr"
    group = zarr.open_group(path, mode="w", zarr_format=version)
    data = np.asarray(values).reshape(1, 2, 3)
    for name, array, units in (*AXES, ("x", data.astype(dtype), "1")):
        dims = ["time", "lat", "lon"] if name == "x" else [name]
        named: dict[str, Any] = {"dimension_names": dims} if version == 3 else {}
        own = group.create_array(
            name, shape=array.shape, dtype=array.dtype, fill_value=fill if name == "x" else axis, **named
        )
        own[...] = array
        own.attrs.update({"units": units} | ({} if version == 3 else {"_ARRAY_DIMENSIONS": dims}))
    return path


def x(path: Path) -> list[float]:
    return np.asarray(open_fields(path, "x").x.values, float).ravel().tolist()


# ---- declared fills

for fill in (-999.9, 1e20, -9.99e33):

    @odd("file", f"float32 with missing_value {fill:g} in double", [NAN, 2, 3, 4, 5, 6])
    def _(folder, fill=fill):
        return x(netcdf4(folder, [fill, 2, 3, 4, 5, 6], "f4", missing_value=np.float64(fill)))


@odd("file", "NetCDF 3: float32 with _FillValue -9999.9 in double", [NAN, 2, 3, 4, 5, 6])
def _(folder):
    return x(netcdf3(folder, [-9999.9, 2, 3, 4, 5, 6], ">f4", _FillValue=np.float64(-9999.9)))


@odd("file", "float64 with _FillValue -999.9 in single", [NAN, NAN, 3, 4, 5, 6])
def _(folder):
    # One stored as -999.9, one as it looks after single precision.
    return x(netcdf4(folder, [-999.9, np.float32(-999.9), 3, 4, 5, 6], "f8", _FillValue=np.float32(-999.9)))


@odd("file", "a fill as the text '-9999.f'", [NAN, 2, 3, 4, 5, 6])
def _(folder):
    return x(netcdf4(folder, [-9999, 2, 3, 4, 5, 6], "f4", missing_value="-9999.f"))


@odd("file", "two fills in a text", [NAN, NAN, 3, 4, 5, 6])
def _(folder):
    return x(netcdf4(folder, [-9999, -8888, 3, 4, 5, 6], "f4", missing_value="-9999, -8888"))


@odd("file", "a text that is no number as fill says nothing", [1, 2, 3, 4, 5, 6])
def _(folder):
    return x(netcdf4(folder, [1, 2, 3, 4, 5, 6], "f4", missing_value="none"))


@odd("file", "an integer fill of a float", [NAN, 2, 3, 4, 5, 6])
def _(folder):
    return x(netcdf4(folder, [-999, 2, 3, 4, 5, 6], "f4", missing_value=np.int32(-999)))


@odd("file", "_FillValue and missing_value that differ", [NAN, NAN, 3, 4, 5, 6])
def _(folder):
    fills = {"_FillValue": np.float32(1e20), "missing_value": np.float64(-999.9)}
    return x(netcdf4(folder, [1e20, -999.9, 3, 4, 5, 6], "f4", **fills))


@odd("file", "packed short, missing_value in unpacked units (old NCEP)", [NAN, 5.2, 5.3, 5.4, 5.5, 5.6])
def _(folder):
    packing = {"scale_factor": 0.1, "add_offset": 5.0, "missing_value": -32767 * 0.1 + 5}
    return x(netcdf4(folder, [-32767, 2, 3, 4, 5, 6], "i2", **packing))


@odd("file", "packed short, fill as a double of the packed number", [NAN, 0.2, 0.3, 0.4, 0.5, 0.6])
def _(folder):
    return x(netcdf4(folder, [-32768, 2, 3, 4, 5, 6], "i2", scale_factor=0.1, _FillValue=-32768.0))


@odd("file", "scale_factor and add_offset as text", [101, 102, 103, 104, 105, 106])
def _(folder):
    return x(netcdf4(folder, [10, 20, 30, 40, 50, 60], "i2", scale_factor="0.1", add_offset="100"))


@odd("file", "float16 with a fill that it cannot hold", [NAN, 2, 3, 4, 5, 6])
def _(folder):
    # -9999 is -10000 in half precision.
    return x(netcdf4(folder, [-9999, 2, 3, 4, 5, 6], "f2", missing_value=np.float32(-9999)))


@odd("file", "unsigned bytes in signed ones, fill given as 255", [NAN, 0.2, 2.0, 1.3, 0.5, 0.6])
def _(folder):
    stored = np.array([255, 2, 20, 13, 5, 6], "u1").view("i1")
    attrs = {"_Unsigned": "true", "_FillValue": np.int16(255), "scale_factor": np.float32(0.1)}
    return x(netcdf4(folder, stored, "i1", **attrs))


@odd("file", "big-endian short with big-endian fill", [NAN, 2, 3, 4, 5, 6])
def _(folder):
    return x(netcdf3(folder, [-99, 2, 3, 4, 5, 6], ">i2", missing_value=np.array(-99, ">i2")))


@odd("file", "a NaN declared as fill of integers, which cannot hold it", [1, 2, 3, 4, 5, 6])
def _(folder):
    return x(netcdf4(folder, [1, 2, 3, 4, 5, 6], "i2", missing_value=np.float32("nan")))


# ---- cells never written

for code, default in (("f4", DEFAULT), ("f8", DEFAULT), ("i2", -32767), ("i4", -2147483647)):

    @odd("file", f"cells never written of type {code}", [NAN, 2, 3, 4, 5, 6])
    def _(folder, code=code, default=default):
        return x(netcdf4(folder, [default, 2, 3, 4, 5, 6], code))


@odd("file", "-127 in bytes is a value: they have no default fill", [-127, 2, 3, 4, 5, 6])
def _(folder):
    return x(netcdf4(folder, [-127, 2, 3, 4, 5, 6], "i1"))


@odd("file", "-32767 is a value where another fill is declared", [-327.67, NAN, 0.03, 0.04, 0.05, 0.06])
def _(folder):
    packing = {"scale_factor": 0.01, "_FillValue": np.int16(-32768)}
    return x(netcdf4(folder, [-32767, -32768, 3, 4, 5, 6], "i2", **packing))


@odd("file", "flags of integers stay integers", {"type": "int32", "values": [-2147483647, 2, 3, 4, 5, 6]})
def _(folder):
    path = netcdf4(folder, [-2147483647, 2, 3, 4, 5, 6], "i4", flag_meanings="a b")
    field = open_fields(path, "x").x
    return {"type": str(field.dtype), "values": field.values.ravel().tolist()}


# ---- valid ranges


@odd("file", "valid_range of packed shorts in packed numbers", [NAN, 5.2, 5.3, 5.4, 5.5, NAN])
def _(folder):
    packing = {"scale_factor": 0.1, "add_offset": 5.0, "valid_range": np.array([0, 5], "i2")}
    return x(netcdf4(folder, [-1, 2, 3, 4, 5, 6], "i2", **packing))


@odd("file", "valid_range of packed shorts in unpacked numbers", [NAN, 5.2, 5.3, 5.4, 5.5, NAN])
def _(folder):
    packing = {"scale_factor": 0.1, "add_offset": 5.0, "valid_range": np.array([5.0, 5.5])}
    return x(netcdf4(folder, [-1, 2, 3, 4, 5, 6], "i2", **packing))


@odd("file", "valid_max in double of a float32 that equals it", [0.1, 0.2, 0.3, NAN, 0.5, 0.7])
def _(folder):
    # 0.7 in single precision lies below 0.7, 0.1 above 0.1: both belong to the range.
    limits = {"valid_min": 0.1, "valid_max": 0.7}
    return x(netcdf4(folder, [0.1, 0.2, 0.3, 0.71, 0.5, 0.7], "f4", **limits))


@odd("file", "an unsigned valid_range stored as [0, -6]", [0, 25, NAN, 40, 50, 249])
def _(folder):
    stored = np.array([0, 25, 252, 40, 50, 249], "u1").view("i1")
    return x(netcdf4(folder, stored, "i1", _Unsigned="true", valid_range=np.array([0, -6], "i1")))


@odd("file", "valid_range with a negative scale", [NAN, -2, -3, -4, -5, NAN])
def _(folder):
    packing = {"scale_factor": -1.0, "valid_range": np.array([-5.0, -2.0])}
    return x(netcdf4(folder, [1, 2, 3, 4, 5, 6], "i2", **packing))


@odd("file", "how many values lie outside the valid range is told", {"told": "50.00%", "cells": 3})
def _(folder):
    report = describe(open_fields(netcdf4(folder, range(1, 7), "f4", valid_min=4.0), "x"))
    told = str(report).split("of all, ")[1].split(" ")[0]
    return {"told": told, "cells": round(6 * report.variables[0].out_of_range)}


@odd("file", "a longitude of 0 to 20 whose valid_range is -180 to 5 stays", [0, 10, 20])
def _(folder):
    path = netcdf4(folder, range(1, 7), "f4")
    with h5netcdf.File(path, "a") as file:
        file["lon"].attrs["valid_range"] = np.array([-180.0, 5.0])
    return open_fields(path, "x").lon.values


# ---- Zarr


@odd("file", "Zarr 2 of zarr-python: zeros are values", [0, 2, 3, 4, 5, 6])
def _(folder):
    return x(store(folder, [0, 2, 3, 4, 5, 6], "f4", 0))


@odd("file", "Zarr 2 of xarray with _FillValue 0: zeros are missing", [NAN, 2, 3, 4, 5, 6])
def _(folder):
    with xr.open_dataset(netcdf4(folder, [0, 2, 3, 4, 5, 6], "i2")) as ds:
        ds.to_zarr(folder / "x.zarr", zarr_format=2, encoding={"x": {"_FillValue": np.int16(0)}})
    return x(folder / "x.zarr")


@odd("file", "Zarr 2 with fill_value -9999 of zarr-python", [NAN, 2, 3, 4, 5, 6])
def _(folder):
    return x(store(folder, [-9999, 2, 3, 4, 5, 6], "f4", -9999))


@odd("file", "Zarr 3 whose fill_value is -9999: cells never written", [NAN, 2, 3, 4, 5, 6])
def _(folder):
    return x(store(folder, [-9999, 2, 3, 4, 5, 6], "f4", -9999, version=3))


for opened in ("a path", "xarray"):

    @odd("file", f"a swath with a fill of another type, from {opened}", [[3.0]])
    def _(folder, opened=opened):
        path = folder / "s.nc"
        with h5netcdf.File(path, "w") as file:
            file.dimensions = {"line": 2, "pixel": 2}
            for name, values in (
                ("lat", [[1, 1], [1, 1]]),
                ("lon", [[5, 5], [5, 5]]),
                ("x", [[2, 4], [-999.9, 60]]),
            ):
                file.create_variable(name, ("line", "pixel"), "f4", data=np.array(values, "f4"))
            file["x"].attrs.update({"missing_value": -999.9, "valid_max": np.float64(50)})
        source = path if opened == "a path" else xr.open_dataset(path, engine="h5netcdf")
        grid = Grid(np.array([1.0, 2.0]), np.array([5.0, 6.0]))
        return grid_swath(source, "x", grid).x.values[:1, :1]


# ---- axes, elevation, undeclared fills, damage


@odd("file", "a latitude that was never written", Refused("lat"))
def _(folder):
    axes = (AXES[0], ("lat", np.array([10.0, DEFAULT]), "degrees_north"), AXES[2])
    return x(netcdf4(folder, range(1, 7), "f4", axes))


@odd("file", "one time in months does not undo the others", "2020-01-01T00")
def _(folder):
    path = netcdf4(folder, range(1, 7), "f4")
    with h5netcdf.File(path, "a") as file:
        file.create_variable("age", ("lat",), "f8", data=np.ones(2)).attrs["units"] = (
            "months since 2000-01-01"
        )
    return str(open_fields(path, "x").time.values[0])[:13]


@odd("file", "a date that is a fill of another type", ["2020-01-01", "NaT"])
def _(folder):
    path = netcdf4(folder, range(1, 7), "f4")
    with h5netcdf.File(path, "a") as file:
        file.create_variable("seen", ("lat",), "i4", data=np.array([0, -99], "i4"))
        file["seen"].attrs.update({"units": "days since 2020-01-01", "missing_value": np.float64(-99)})
    return [str(day)[:10] for day in open_one(str(path)).seen.values]


@odd("file", "elevation with missing_value -9999.9 in double: the sea", [0, 0, 100, 100])
def _(folder):
    lat, lon = np.arange(0.5, 4), np.arange(0.5, 4)
    axes = (("lat", lat, "degrees_north"), ("lon", lon, "degrees_east"))
    heights = np.repeat([[-9999.9], [-9999.9], [100.0], [100.0]], 4, 1)
    path = netcdf4(folder, heights, "f4", axes, missing_value=-9999.9, units="m")
    return elevation_on(Grid(lat, lon), path, "x")[:, 0].tolist()


@odd("file", "elevation with -9999 that nothing declares", Refused("-9999", "missing_value"))
def _(folder):
    lat, lon = np.arange(0.5, 4), np.arange(0.5, 4)
    axes = (("lat", lat, "degrees_north"), ("lon", lon, "degrees_east"))
    path = netcdf4(folder, np.repeat([[-9999.0], [1.0], [2.0], [3.0]], 4, 1), "f4", axes, units="m")
    return elevation_on(Grid(lat, lon), path, "x")


@odd("file", "a fill that nothing declares, in a training record", Refused("-9999", "data.missing: [-9999]"))
def _(folder):
    ds = open_fields(netcdf4(folder, [-9999, 2, 3, 4, 5, 6], "f4"), "x")
    return without_fills(ds, None, "data.missing: [{fill}]")


@odd("file", "the same fill, named", [NAN, 2, 3, 4, 5, 6])
def _(folder):
    ds = open_fields(netcdf4(folder, [-9999, 2, 3, 4, 5, 6], "f4"), "x")
    return without_fills(ds, [-9999.0], "").x.values.ravel().tolist()


@odd("file", "9999 among pressures of 9000 to 9999 is a value", [9000, 9200, 9400, 9600, 9800, 9999])
def _(folder):
    ds = open_fields(netcdf4(folder, [9000, 9200, 9400, 9600, 9800, 9999], "f4"), "x")
    return without_fills(ds, None, "").x.values.ravel().tolist()


@odd("file", "NetCDF 3 shorter than its header says", Refused("truncated"))
def _(folder):
    path = netcdf3(folder, range(1, 7), ">f4")
    os.truncate(path, path.stat().st_size - 8)
    return x(path)


@odd("file", "NetCDF 4 cut while it is open, where HDF5 would read zeros", Refused("a.nc", "was cut"))
def _(folder):
    path = netcdf4(folder, range(1, 7), "f4")
    ds = open_fields(path, "x")
    os.truncate(path, path.stat().st_size - 100)
    return ds.x.values


@odd(
    "file",
    "an axis of a trillion values in a file of some kilobytes",
    Refused("a.nc", "coordinate 'lat'", "hardly hold"),
)
def _(folder):
    path = folder / "a.nc"
    with h5netcdf.File(path, "w") as file:
        file.dimensions = {"lat": 10**12, "lon": 3}
        file.create_variable("lat", ("lat",), "f8", chunks=(2**20,)).attrs["units"] = "degrees_north"
        file.create_variable("lon", ("lon",), "f8", data=np.arange(3.0)).attrs["units"] = "degrees_east"
        file.create_variable("x", ("lat", "lon"), "f4", chunks=(2**20, 3))
    return open_one(str(path))


@odd("file", "a chunk of Zarr that is damaged", Refused("a.zarr", "damaged"))
def _(folder):
    path = store(folder, range(1, 7), "f4", 0)
    (path / "x" / "0.0.0").write_bytes(b"no chunk")
    return x(path)


for _scale in (0.0, [1.0, 2.0]):

    @odd(
        "file", f"packed short with a scale_factor of {_scale}", Refused("scale_factor", "unpacks no values")
    )
    def _(folder, scale=_scale):
        return x(netcdf4(folder, [1, 2, 3, 4, 5, 6], "i2", scale_factor=np.array(scale)))
