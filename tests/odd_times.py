"""Odd times of fields: valid times, stamps, units of time, periods; see `odd_cases`."""

from __future__ import annotations

import warnings

import cftime
import numpy as np
import xarray as xr

from axis_cases import HOURS, LEAD, REFERENCE, START, VALID, fields, numbers, read, times
from odd_cases import Refused, odd
from skyweave.cli import main
from skyweave.io import find_time, open_fields, step_means
from skyweave.prior.data import regular

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
