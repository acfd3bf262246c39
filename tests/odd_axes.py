"""Odd axes: levels, latitudes and longitudes that are not what they seem; see `odd_cases`."""

from __future__ import annotations

import numpy as np
import xarray as xr

from axis_cases import HOURS, LAT, LON, fields, read, times
from odd_cases import Refused, odd
from skyweave.cli import main
from skyweave.grid import Grid
from skyweave.io import grid_swath
from skyweave.regrid import conservative

# ---- latitude and longitude

TALL = np.array([-60.0, 0, 60])


def banded(folder, bounds, **kwargs):
    """Zonal rows -90..-30..30..90 with values 0, 1, 2, and what the file says of their edges."""
    lat = ("lat", np.array([-75.0, 10, 80]), {"units": "degrees_north", "bounds": "lat_bnds"})
    lon = np.arange(0.0, 360, 60)

    def bounded(ds):
        rows = xr.DataArray(np.arange(3.0), dims="lat")
        return ds.assign(x=(ds.x * 0 + rows).transpose(*ds.x.dims), lat_bnds=(("lat", "nv"), bounds))

    return fields(folder, {}, dims=(), lat=lat, lon=lon, raw=bounded, **kwargs)


def global_mean(path):
    ds = read(path)
    grid = Grid.from_dataset(ds["x"])
    return float((ds.x.values.reshape(grid.shape) * grid.area).sum() / grid.area.sum())


BANDS = np.array([[-90.0, -30], [-30, 30], [30, 90]])


@odd("file", "rows of uneven bounds: the mean over the Earth", 1.0)
def _(folder):
    return global_mean(banded(folder, BANDS))


@odd("file", "bounds written from north to south", 1.0)
def _(folder):
    return global_mean(banded(folder, BANDS[:, ::-1]))


@odd("file", "bounds that leave gaps are not used, and the rows still fill the Earth", True)
def _(folder):
    mean = global_mean(banded(folder, BANDS * [[0.9, 1.1], [0.9, 0.9], [1.1, 0.9]]))
    sines = np.sin(np.deg2rad([-90, (-75 + 10) / 2, 45, 90]))
    return bool(np.isclose(mean, np.diff(sines) @ np.arange(3) / 2))


@odd("file", "two files whose cells have other bounds", Refused("bounds", "share one grid"))
def _(folder):
    for k, bounds in enumerate((BANDS, np.array([[-90.0, -20], [-20, 30], [30, 90]]))):
        path = banded(folder, bounds, name=f"{k}_.nc")
        with xr.open_dataset(path) as ds:
            ds.expand_dims(time=[HOURS[k]], axis=0).assign(lat_bnds=ds.lat_bnds).to_netcdf(folder / f"{k}.nc")
    return times([folder / "0.nc", folder / "1.nc"])


@odd("file", "a Gaussian grid without bounds: areas are the weights", True)
def _(folder):
    roots, weights = np.polynomial.legendre.leggauss(32)
    lat = np.round(np.rad2deg(np.arcsin(roots)), 3)[::-1]
    ds = read(fields(folder, {}, dims=(), lat=lat, lon=np.arange(0, 360, 30.0)))
    area = Grid.from_dataset(ds["x"]).area.sum(1)
    return bool(np.abs(area / area.sum() - weights[::-1] / 2).max() < 1e-12)


@odd("file", "a part of a Gaussian grid keeps the rows it had", True)
def _(folder):
    roots, weights = np.polynomial.legendre.leggauss(32)
    lat = np.rad2deg(np.arcsin(roots))
    ds = read(fields(folder, {}, dims=(), lat=lat, lon=np.arange(0, 360, 30.0)), region={"lat": (0, 90)})
    band = np.abs(np.diff(np.sin(np.deg2rad(Grid.from_dataset(ds["x"]).lat_bounds))))
    return bool(np.abs(band - weights[16:]).max() < 1e-12)


@odd("file", "area means between Gaussian rows and bounds of the same Earth", 1.0)
def _(folder):
    ds = read(banded(folder, BANDS))
    source, target = Grid.from_dataset(ds["x"]), Grid(np.arange(-85.0, 90, 10), np.arange(0.0, 360, 60))
    moved = conservative(source, target) @ ds.x.values.ravel()
    return float((moved * target.area.ravel()).sum() / target.area.sum())


@odd("file", "latitude and longitude in radian", [40.0, 43.0, 0.0, 4.0])
def _(folder):
    radian = {"units": "radian"}
    lat = ("lat", np.deg2rad(LAT), {"standard_name": "latitude"} | radian)
    ds = read(
        fields(
            folder,
            {},
            dims=(),
            lat=lat,
            lon=("lon", np.deg2rad(LON), {"standard_name": "longitude"} | radian),
        )
    )
    grid = Grid.from_dataset(ds)
    return [*grid.lat[[0, -1]], *ds.lon.values[[0, -1]]]


@odd("file", "radian without a word", Refused("look like radian", "units"))
def _(folder):
    lat = ("lat", np.deg2rad(np.arange(-87.5, 90, 5)), {})
    return times(fields(folder, {}, dims=(), lat=lat, lon=("lon", np.deg2rad(np.arange(0, 360, 5.0)), {})))


def flat(folder, y, x, attrs=None, extra=None, name="a.nc"):
    """A file with axes y and x of whatever kind."""
    values = np.arange(float(len(y) * len(x))).reshape(len(y), len(x))
    ds = xr.Dataset(
        {"t": (("y", "x"), values, {"units": "K"})}, {"y": ("y", y, attrs or {}), "x": ("x", x, attrs or {})}
    )
    ds = ds if extra is None else extra(ds)
    ds.to_netcdf(folder / name)
    return folder / name


@odd("file", "axes that count pixels", Refused("no latitude found", "skyweave regrid"))
def _(folder):
    return times(flat(folder, np.arange(6), np.arange(8)))


@odd("file", "axes in kilometres", Refused("no latitude found", "km", "skyweave regrid"))
def _(folder):
    return times(flat(folder, np.arange(6) * 3.0, np.arange(8) * 3.0, {"units": "km"}))


@odd("file", "a latitude in kilometres", Refused("'km'", "neither degrees"))
def _(folder):
    lat = ("lat", LAT, {"units": "km", "standard_name": "latitude"})
    return times(fields(folder, {}, dims=(), lat=lat))


def slanted(ds):
    y, x = np.meshgrid(np.arange(6), np.arange(8), indexing="ij")
    lat, lon = 40 + 0.5 * y + 0.02 * x, 0.5 * x - 0.02 * y
    return ds.assign_coords(lat=(("y", "x"), lat), lon=(("y", "x"), lon))


@odd(
    "file",
    "counts beside two-dimensional positions",
    Refused("two-dimensional", "grid_swath", "skyweave regrid"),
)
def _(folder):
    return times(flat(folder, np.arange(6), np.arange(8), extra=slanted))


def cell_mean(path, south, west):
    with xr.open_dataset(path) as ds:
        inside = (ds.lat >= south) & (ds.lat < south + 1) & (ds.lon >= west) & (ds.lon < west + 1)
        return float(ds.t.where(inside).mean())


@odd("file", "two-dimensional positions, by the command that the refusal names", True)
def _(folder):
    path, out = flat(folder, np.arange(6), np.arange(8), extra=slanted), folder / "o.nc"
    main(["regrid", str(path), "--resolution", "1", "--out", str(out)])
    got = float(read(out).t.sel(lat=41.5, lon=1.5).values[0])
    return bool(np.isclose(got, cell_mean(path, 41, 1)))


@odd("file", "two-dimensional positions, by the function that the refusal names", True)
def _(folder):
    path = flat(folder, np.arange(6), np.arange(8), extra=slanted)
    with xr.open_dataset(path) as ds:
        got = grid_swath(ds, "t", Grid(np.arange(40.5, 43), np.arange(0.5, 4)))
    return bool(np.isclose(got.t.sel(lat=41.5, lon=1.5).item(), cell_mean(path, 41, 1)))


@odd("file", "two-dimensional positions that are a latitude-longitude grid", [[0.0, 1, 2], [3, 4, 5]])
def _(folder):
    def meshed(ds):
        lat, lon = np.meshgrid([10.0, 11], [20.0, 21, 22], indexing="ij")
        return ds.assign_coords(lat=(("y", "x"), lat), lon=(("y", "x"), lon))

    ds = read(flat(folder, np.arange(2), np.arange(3), extra=meshed))
    return ds.t.sel(lat=[10, 11], lon=[20, 21, 22]).values[0]


@odd("file", "an unstructured grid", Refused("these are points", "skyweave regrid", "--points"))
def _(folder):
    return times(unstructured(folder))


def unstructured(folder):
    lat, lon = np.meshgrid(np.arange(40.25, 43, 0.5), np.arange(0.25, 4, 0.5), indexing="ij")
    ds = xr.Dataset({"t": ("cell", np.arange(float(lat.size)))})
    ds = ds.assign_coords(lat=("cell", lat.ravel()), lon=("cell", lon.ravel()))
    ds.to_netcdf(folder / "a.nc")
    return folder / "a.nc"


@odd("file", "an unstructured grid, by the command that the refusal names", True)
def _(folder):
    path, out = unstructured(folder), folder / "o.nc"
    main(["regrid", str(path), "--resolution", "1", "--out", str(out)])
    return bool(np.isclose(float(read(out).t.sel(lat=41.5, lon=1.5).values[0]), cell_mean(path, 41, 1)))


def rotated(folder, stated):
    """A grid around the North Pole, for its own pole lies on the equator, at 100 E.

    Along its equator the longitude l is the latitude 90 - |l| of the meridian of 10 E, or of 170 W where l < 0.
    """
    attrs = {"units": "degrees"} | ({} if not stated else {"standard_name": "grid_latitude"})
    east = {"units": "degrees"} | ({} if not stated else {"standard_name": "grid_longitude"})
    names = ("rlat", "rlon") if stated else ("lat", "lon")
    pole = {"grid_mapping_name": "rotated_latitude_longitude", "grid_north_pole_latitude": 0.0}
    pole["grid_north_pole_longitude"] = 100.0
    values = np.zeros((9, 9)) + np.arange(-4.0, 5)
    ds = xr.Dataset(
        {"t": (names, values, {"grid_mapping": "pole"}), "pole": ((), 0, pole)},
        {names[0]: (names[0], np.arange(-4.0, 5), attrs), names[1]: (names[1], np.arange(-4.0, 5), east)},
    )
    ds.to_netcdf(folder / "a.nc")
    return folder / "a.nc"


@odd("file", "a rotated pole told by its grid mapping alone", Refused("rotated pole", "skyweave regrid"))
def _(folder):
    return times(rotated(folder, stated=False))


@odd("file", "a rotated pole told by standard names", Refused("grid_latitude", "skyweave regrid"))
def _(folder):
    return times(rotated(folder, stated=True))


@odd("file", "a rotated pole, by the command that the refusal names", [-2.0, 3.0])
def _(folder):
    path, out = rotated(folder, stated=True), folder / "o.nc"
    main(["regrid", str(path), "--resolution", "0.4", "--method", "nearest", "--out", str(out)])
    near = (
        read(out)
        .t.isel(time=0)
        .sel(lat=xr.DataArray([88.0, 87.0]), lon=xr.DataArray([-170.0, 10.0]), method="nearest")
    )
    return near.values


# ---- levels


def levels(folder, values, units, **kwargs):
    axis = ("plev", np.asarray(values, float), {"units": units, "positive": "down", "axis": "Z"})
    return fields(folder, {"plev": axis}, dims=("plev",), **kwargs)


PA = [100000, 85000, 50000, 10000, 5000, 1000, 500, 100]
for _asked, _right in {
    "x@850": 1.0,
    "x@500": Refused("x@500Pa", "x@500hPa"),
    "x@100": Refused("x@100Pa", "x@100hPa"),
    "x@500hPa": 2.0,
    "x@500Pa": 6.0,
    "x@0.5kPa": 6.0,
    "x@50000": 2.0,
}.items():

    @odd("file", f"{_asked} of levels in Pa, from 1000 hPa to 1 hPa", _right)
    def _(folder, asked=_asked):
        return read(levels(folder, PA, "Pa"), asked)[asked].values.flat[0]


@odd("file", "a level in kilometres of heights in metres", 1.0)
def _(folder):
    return read(levels(folder, [1000, 2000], "m"), "x@2km")["x@2km"].values.flat[0]


@odd("file", "a model level by its number", 1.0)
def _(folder):
    return read(levels(folder, [136, 137], "1"), "x@137")["x@137"].values.flat[0]


@odd("file", "a level that the file has twice", Refused("850 2 times"))
def _(folder):
    return read(levels(folder, [850, 850, 500], "hPa"), "x@850")
