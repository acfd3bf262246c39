"""Odd axes: times, levels, latitudes and longitudes that are not what they seem; see `odd_cases`."""

from __future__ import annotations

import warnings

import cftime
import numpy as np
import pandas as pd
import xarray as xr

from odd_cases import Refused, odd
from skyweave.cli import main
from skyweave.grid import Grid
from skyweave.io import find_time, grid_swath, open_fields, step_means
from skyweave.prior.data import regular
from skyweave.regrid import conservative

LAT, LON = np.arange(40.0, 44), np.arange(0.0, 5)
START = np.datetime64("2020-06-01T00", "ns")
HOURS = pd.date_range("2020-01-01", periods=48, freq="h").values
REFERENCE = {"standard_name": "forecast_reference_time"}
LEAD = {"standard_name": "forecast_period", "units": "hours"}
VALID = {"standard_name": "time"}


def fields(folder, coords=None, dims=("time",), values=None, lat=LAT, lon=LON, name="a.nc", raw=None, **more):
    """A file of one variable, x, of which each map is its number along `dims`, and what else a case needs."""
    coords = coords or {}
    shape = [
        len(np.atleast_1d(coords[d][1])) if d in coords and coords[d][0] == d else more.get(d, 1)
        for d in dims
    ]
    number = np.arange(int(np.prod(shape)), dtype="f4") if values is None else np.asarray(values, "f4")
    axes = {"lat": lat if isinstance(lat, tuple) else ("lat", lat, {"units": "degrees_north"})}
    axes |= {"lon": lon if isinstance(lon, tuple) else ("lon", lon, {"units": "degrees_east"})}
    y, x = (np.size(axes[n][1]) for n in ("lat", "lon"))
    full = number.reshape(*shape, 1, 1) + np.zeros((y, x), "f4")
    ds = xr.Dataset({"x": ((*dims, "lat", "lon"), full, {"units": "K"})}, {**axes, **coords})
    ds = ds if raw is None else raw(ds)
    ds.to_netcdf(folder / name, encoding=more.get("encoding"))
    return folder / name


def read(path, *args, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return open_fields(path, *args, **kwargs)


def times(path, **kwargs):
    """First and last time that fields are valid at, and how many there are, as text."""
    ds = read(path, **kwargs)
    stamps = ds[find_time(ds)].values
    return f"{str(stamps[0])[:13]} {str(stamps[-1])[:13]} {len(stamps)}"


def numbers(path, **kwargs):
    """The number of each map, in the order of time."""
    return read(path, **kwargs).x.values[..., 0, 0].ravel()


# ---- valid time


@odd("file", "a 24 h forecast of cfgrib, all its times scalar", "2020-06-02T00 2020-06-02T00 1")
def _(folder):
    coords = {"time": ((), START, REFERENCE), "valid_time": ((), START + np.timedelta64(24, "h"), VALID)}
    return times(fields(folder, coords | {"step": ((), 24.0, LEAD)}, dims=()))


@odd("file", "runs of one lead time along their starts", "2020-06-01T07 2020-06-04T07 4")
def _(folder):
    runs = START + np.arange(4) * np.timedelta64(24, "h")
    coords = {"time": ("time", runs, REFERENCE), "valid_time": ("time", runs + np.timedelta64(7, "h"), VALID)}
    return times(fields(folder, coords | {"step": ((), 7.0, LEAD)}))


@odd("file", "starts and a lead time, and no valid time stated", "2020-06-01T07 2020-06-04T07 4")
def _(folder):
    runs = START + np.arange(4) * np.timedelta64(24, "h")
    return times(fields(folder, {"time": ("time", runs, REFERENCE), "step": ((), 7.0, LEAD)}))


@odd("file", "one start and lead times in minutes, without standard names", "2020-06-01T00 2020-06-01T03 4")
def _(folder):
    lead = ("lead_time", [0, 60, 120, 180], {"units": "minutes"})
    return times(fields(folder, {"init_time": ((), START), "lead_time": lead}, dims=("lead_time",)))


@odd("file", "a start and lead times of a calendar without leap years", "2020-02-28 00 2020-03-01 00 2")
def _(folder):
    start = ((), cftime.DatetimeNoLeap(2020, 2, 28), REFERENCE)
    return times(fields(folder, {"init": start, "lead": ("lead", [0, 1], {"units": "days"})}, dims=("lead",)))


def climate_store(folder, starts, leads, name="a.nc"):
    runs = START + np.asarray(starts).astype("m8[h]")
    valid = runs[:, None] + np.asarray(leads).astype("m8[h]")
    coords = {"forecast_reference_time": ("forecast_reference_time", runs, REFERENCE)}
    coords |= {"forecast_period": ("forecast_period", np.asarray(leads, float), LEAD)}
    dims = ("forecast_reference_time", "forecast_period")
    return fields(folder, coords | {"valid_time": (dims, valid, VALID)}, dims=dims, name=name)


@odd("file", "the Climate Data Store's form of one lead time", "2020-06-02T00 2020-06-03T00 2")
def _(folder):
    return times(climate_store(folder, [0, 24], [24]))


@odd("file", "the Climate Data Store's form of one start", "2020-06-01T06 2020-06-01T12 2")
def _(folder):
    return times(climate_store(folder, [0], [6, 12]))


@odd("file", "runs and lead times that take turns become one series", np.arange(6.0))
def _(folder):
    return numbers(climate_store(folder, [0, 18], [0, 6, 12]))


@odd(
    "file",
    "runs and lead times of which several are for one time",
    Refused("is forecast 2 times", "--select", "step"),
)
def _(folder):
    path = climate_store(folder, [0, 12], [0, 12])
    xr.open_dataset(path, decode_timedelta=False).rename(forecast_period="step").to_netcdf(folder / "b.nc")
    return times(folder / "b.nc")


@odd("file", "one of several lead times, chosen by the command that the refusal names", [1.0, 3.0])
def _(folder):
    path = str(climate_store(folder, [0, 12], [0, 12]))
    out = str(folder / "one.nc")
    main(["regrid", path, "--like", path, "--select", "forecast_period=12", "--out", out])
    return numbers(out)


@odd("file", "files of one run each keep their own valid times", "2020-06-02T00 2020-06-04T00 3")
def _(folder):
    for k in range(3):
        start = START + np.timedelta64(24 * k, "h")
        coords = {"time": ((), start, REFERENCE), "valid_time": ((), start + np.timedelta64(24, "h"), VALID)}
        fields(folder, coords | {"step": ((), 24.0, LEAD)}, dims=(), name=f"{k}.nc")
    return times(str(folder / "*.nc"))


@odd("file", "files of one run each keep their own starts", ["2020-06-01", "2020-06-02"])
def _(folder):
    for k in range(2):
        start = START + np.timedelta64(24 * k, "h")
        fields(folder, {"time": ((), start, REFERENCE), "step": ((), 24.0, LEAD)}, dims=(), name=f"{k}.nc")
    return [str(t)[:10] for t in read(str(folder / "*.nc"))["time"].values]


@odd("file", "the date on which a file was made does not date its map", None)
def _(folder):
    ds = read(fields(folder, {"creation_date": ((), START)}, dims=()))
    return next((n for n in [find_time(ds)] if n in ds.coords), None)


@odd("file", "starts of forecasts, and nothing says for when they are: taken as analyses, and told", True)
def _(folder):
    runs = START + np.arange(4) * np.timedelta64(24, "h")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        ds = open_fields(fields(folder, {"time": ("time", runs, REFERENCE)}))
    return bool((ds.time.values == runs).all()) and "as analyses are" in str(told[0].message)


@odd("file", "starts of forecasts, and a lead time without a unit", Refused("state no units", "hours"))
def _(folder):
    runs = START + np.arange(4) * np.timedelta64(24, "h")
    return times(fields(folder, {"time": ("time", runs, REFERENCE), "step": ((), 24.0)}))


@odd(
    "file",
    "a plain time beside a lead time of 24 h",
    Refused("no standard_name", "24 h", "forecast_reference_time"),
)
def _(folder):
    return times(fields(folder, {"time": ((), START), "step": ((), 24.0, {"units": "hours"})}, dims=()))


# ---- stamps


@odd("file", "an hour that comes three times", Refused("2020-01-01T12:00:00 3 times"))
def _(folder):
    i = np.r_[0:12, [12] * 3, 13:48]
    return times(fields(folder, {"time": ("time", HOURS[i])}))


@odd("file", "a clock that stopped", Refused("2020-01-01T06:00:00 42 times"))
def _(folder):
    return times(fields(folder, {"time": ("time", np.where(np.arange(48) > 6, HOURS[6], HOURS))}))


@odd("file", "a time that is missing", Refused("no date at 1 of 48 steps", "5"))
def _(folder):
    stamps = HOURS.copy()
    stamps[5] = np.datetime64("NaT")
    return times(fields(folder, {"time": ("time", stamps)}, encoding={"time": {"dtype": "f8"}}))


@odd("file", "a time that is missing, in a calendar of cftime", Refused("no date at 1 of 3 steps", "1"))
def _(folder):
    stamps = ("time", [0.0, np.nan, 2.0], {"units": "days since 2001-02-27", "calendar": "noleap"})
    return times(fields(folder, {"time": stamps}))


ORDER = np.random.default_rng(1).permutation(48)


@odd("file", "hours out of order: the days' means", [11.5, 35.5])
def _(folder):
    path = fields(folder, {"time": ("time", HOURS[ORDER])}, values=np.arange(48.0)[ORDER])
    return step_means(read(path), "1D")[0].x.values[:, 0, 0]


@odd("file", "hours out of order: every sixth", [0.0, 6, 12, 18, 24, 30, 36, 42])
def _(folder):
    path = fields(folder, {"time": ("time", HOURS[ORDER])}, values=np.arange(48.0)[ORDER])
    out = str(folder / "o.nc")
    main(["regrid", str(path), "--like", str(path), "--every", "6", "--out", out])
    return numbers(out)


@odd("file", "hours that run backwards: a period", [5.0, 4, 3])
def _(folder):
    path = fields(folder, {"time": ("time", HOURS[::-1])}, values=np.arange(48.0)[::-1])
    return numbers(path, time=("2020-01-01T03:00", "2020-01-01T05:00"))


@odd("file", "an hour that two files have", Refused("is in", "once"))
def _(folder):
    for k in range(2):
        fields(folder, {"time": ("time", HOURS[k * 2 : k * 2 + 3])}, name=f"{k}.nc")
    return times(str(folder / "*.nc"))


@odd("file", "files whose hours take turns", np.arange(6.0))
def _(folder):
    for k in range(2):
        stamps = {"time": ("time", HOURS[k:6:2])}
        fields(folder, stamps, values=np.arange(48.0)[k:6:2], name=f"{k}.nc")
    return numbers(str(folder / "*.nc"))


@odd("file", "hours in single precision since 1900: windows of them", 47)
def _(folder):
    encoding = {"time": {"units": "days since 1900-01-01", "dtype": "f4"}}
    ds = read(fields(folder, {"time": ("time", HOURS)}, encoding=encoding))
    return int(regular(ds.time.values).sum()) if (ds.time.values == HOURS).all() else "moved"


@odd(
    "file",
    "hours in single precision since the year 1",
    Refused("2 times", "float32", "tells times apart by 5400 s"),
)
def _(folder):
    encoding = {"time": {"units": "days since 0001-01-01", "dtype": "f4"}}
    return times(fields(folder, {"time": ("time", HOURS[:24])}, encoding=encoding))


# ---- units of time


def counted(folder, units, values, calendar=None, **kwargs):
    attrs = {"units": units, "standard_name": "time"} | ({"calendar": calendar} if calendar else {})
    return fields(folder, {"time": ("time", np.asarray(values, float), attrs)}, **kwargs)


@odd("file", "months since 1979", "1979-01-01T00 1979-12-01T00 12")
def _(folder):
    return times(counted(folder, "months since 1979-01-01", np.arange(12)))


@odd("file", "months since the last of a month", ["2020-01-31", "2020-02-29", "2020-03-31"])
def _(folder):
    return [str(t)[:10] for t in read(counted(folder, "months since 2020-01-31", [0, 1, 2])).time.values]


@odd("file", "middles of months of 30 days, calendar '360'", "1960-01-16 00 1960-02-16 00 2")
def _(folder):
    return times(counted(folder, "months since 1960-01-01", [0.5, 1.5], "360"))


@odd("file", "parts of months have no date", Refused("no dates", "no whole number of months"))
def _(folder):
    return times(counted(folder, "months since 1960-01-01", [0.5, 1.5]), time="1960")


@odd("file", "years since 1948 without leap days", "1948-01-01 00 1950-01-01 00 3")
def _(folder):
    return times(counted(folder, "years since 1948-1-1 00:00:00   ", [0, 1, 2], "noleap"))


@odd("file", "another variable counts months: the times stay dates", "2020-01-01T00 2020-01-03T00 3")
def _(folder):
    def aged(ds):
        return ds.assign(age=(("lat", "lon"), np.ones((4, 5)), {"units": "months since 1979-01-01"}))

    return times(counted(folder, "days since 2020-01-01", [0, 1, 2], raw=aged))


@odd("file", "dates written as numbers", "2020-02-28T00 2020-02-29T12 2")
def _(folder):
    return times(counted(folder, "day as %Y%m%d.%f", [20200228, 20200229.5]))


@odd("file", "a year 0 that the calendar lacks", Refused("no dates", "has no year 0"))
def _(folder):
    return times(counted(folder, "days since 0000-01-01", [737791]), time="2020")


for _reference, _right in (
    ("2020-01-01 6", "2020-01-01T06 2020-01-01T07 2"),
    ("2020-1-1T6Z", "2020-01-01T06 2020-01-01T07 2"),
    ("2020-01-01 00:00:00 EST", Refused("no dates", "'EST'", "-05:00")),
    ("2020-01-01 00:00:00 UTC+2", Refused("no dates", "'UTC+2'")),
    ("01-02-2020", Refused("no dates", "day and month")),
    ("-4713-11-24 12:00", Refused("no dates", "proleptic_gregorian")),
):

    @odd("file", f"hours since {_reference}", _right)
    def _(folder, reference=_reference):
        return times(counted(folder, f"hours since {reference}", [0, 1]), time=("2019", "2021"))


@odd("file", "hours of a zone", "2020-01-01T06 2020-01-01T07 2")
def _(folder):
    return times(counted(folder, "hours since 2020-01-01 00:00:00 -6:00", [0, 1]))


# ---- periods by bounds

MONTHS = np.array([[0, 31], [31, 60], [60, 91]], float)


def monthly(folder, place, ordered=True):
    stamps = MONTHS[:, 0] * (1 - place) + MONTHS[:, 1] * place
    attrs = {"units": "days since 2020-01-01", "bounds": "time_bnds"}

    def bounded(ds):
        return ds.assign(time_bnds=(("time", "nv"), MONTHS if ordered else MONTHS[:, ::-1]))

    return fields(folder, {"time": ("time", stamps, attrs)}, raw=bounded)


for _place, _word in ((0, "beginning"), (0.5, "middle"), (1, "end")):

    @odd("file", f"means of January and February stamped at the {_word} of their months", [0.0, 1])
    def _(folder, place=_place):
        return numbers(monthly(folder, place), time=("2020-01", "2020-02"))


@odd("file", "three-hourly means stamped at their end belong to the day before", [3.5, 11.5])
def _(folder):
    ends = np.arange(1.0, 17) * 3
    attrs = {"units": "hours since 2020-01-01", "bounds": "time_bnds"}

    def bounded(ds):
        return ds.assign(time_bnds=(("time", "nv"), np.stack([ends - 3, ends], 1)))

    path = fields(folder, {"time": ("time", ends, attrs)}, raw=bounded)
    return step_means(read(path), "1D")[0].x.values[:, 0, 0]


@odd("file", "bounds that do not hold their stamps are not used", [0.0])
def _(folder):
    attrs = {"units": "days since 2020-01-01", "bounds": "time_bnds"}
    stamps = {"time": ("time", [0.0, 31], attrs)}
    path = fields(
        folder, stamps, raw=lambda ds: ds.assign(time_bnds=(("time", "nv"), [[400.0, 431], [431, 460]]))
    )
    return numbers(path, time="2020-01")


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
