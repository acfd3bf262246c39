"""Odd GRIB and BUFR; see `odd_cases`."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("eccodes")

from ecmwf_files import DATE, LEVEL, PLACE, WHERE, bufr, grib, message, unrotated
from odd_cases import Refused, odd
from skyweave.io import open_fields
from skyweave.io.bufr import read_bufr
from skyweave.io.bufr_soundings import read_bufr_soundings
from skyweave.io.cells import cells_as_points

RAMP = np.arange(12.0).reshape(3, 4)
T = {"shortName": "t", **LEVEL}


def first(path, name):
    return open_fields(path, name)[name].values.ravel()[:1].astype(float).tolist()


@odd(
    "file",
    "GRIB: a forecast is placed at its valid time, not at that of its run",
    ["2020-01-02T06", "2020-01-02T12"],
)
def _(folder):
    path = grib(folder, *[message(280 + s, **T, step=s) for s in (30, 36)])
    return np.datetime_as_string(open_fields(path)["valid_time"].values, "h").tolist()


@odd("file", "GRIB: two runs, one after the other, make one axis of valid times", [1.0, 2.0, 3.0])
def _(folder):
    runs = ((20200101, 6, 2.0), (20200101, 0, 1.0), (20200102, 0, 3.0))
    path = grib(folder, *[message(v, **T, dataDate=d, step=s) for d, s, v in runs])
    return open_fields(path)["t"].values[:, 0, 0].tolist()


@odd("file", "GRIB: two runs for one valid time", Refused("several runs", "grib_copy"))
def _(folder):
    runs = ((20200101, 24, 2.0), (20200102, 0, 1.0))
    return open_fields(grib(folder, *[message(v, **T, dataDate=d, step=s) for d, s, v in runs]))


@odd("file", "GRIB: missing values by bitmap", [0.0, np.nan, 2.0])
def _(folder):
    values = np.where(RAMP == 1, np.nan, RAMP)
    return open_fields(grib(folder, message(values, **T)))["t"].values[0, 0, :3].tolist()


@odd("file", "GRIB: editions 1 and 2 in one file", [1.0, 2.0])
def _(folder):
    path = grib(folder, message(1, edition=1, **T), message(2, edition=2, **T, dataTime=600))
    return open_fields(path)["t"].values[:, 0, 0].tolist()


@odd("file", "GRIB: scanned from east to west", {"west": 3.0, "lon": [30.0, 20.0, 10.0, 0.0]})
def _(folder):
    turned = {
        "iScansNegatively": 1,
        "longitudeOfFirstGridPointInDegrees": 30.0,
        "longitudeOfLastGridPointInDegrees": 0.0,
    }
    field = open_fields(grib(folder, message(RAMP, **T, **turned)))["t"]
    # The values run from 30 E to 0 E, so that the last of the first row lies at 0 E.
    return {
        "west": float(field.sel(longitude=0, latitude=20).values.item()),
        "lon": field.longitude.values.tolist(),
    }


@odd("file", "GRIB: scanned from south to north", [0.0, 8.0])
def _(folder):
    turned = {
        "jScansPositively": 1,
        "latitudeOfFirstGridPointInDegrees": 0.0,
        "latitudeOfLastGridPointInDegrees": 20.0,
    }
    field = open_fields(grib(folder, message(RAMP, **T, **turned)))["t"]
    return field.sel(longitude=0, latitude=[0, 20]).values.ravel().tolist()


@odd("file", "GRIB: scanned column by column", Refused("scanned row by row", "cdo"))
def _(folder):
    return open_fields(grib(folder, message(RAMP, **T, jPointsAreConsecutive=1)))


@odd("file", "GRIB: temperature on pressure levels and at 80 m have names of their own", [1.0, 2.0])
def _(folder):
    low = {"shortName": "t", "typeOfLevel": "heightAboveGround", "level": 80}
    ds = open_fields(grib(folder, message(1, **T), message(2, **low)))
    return [float(ds[n].values.flat[0]) for n in ("t_isobaricInhPa", "t_heightAboveGround")]


@odd("file", "GRIB: levels in hPa and Pa are one axis in hPa", [500.0, 0.5])
def _(folder):
    high = {"shortName": "t", "typeOfLevel": "isobaricInPa", "level": 50}
    return open_fields(grib(folder, message(1, **T), message(2, **high)))["isobaricInhPa"].values.tolist()


@odd("file", "GRIB: one field twice, the same", [1.0])
def _(folder):
    return first(grib(folder, message(1, **T), message(1, **T)), "t")


@odd("file", "GRIB: one field twice, with other values", Refused("comes twice", "grib_copy -w"))
def _(folder):
    return first(grib(folder, message(1, **T), message(2, **T)), "t")


@odd("file", "GRIB: rain of 6 and of 12 hours that end together are two variables", [1.0, 2.0])
def _(folder):
    rain = {"sample": "regular_ll_sfc_grib1", "edition": 1, "shortName": "tp", "stepType": "accum"}
    path = grib(folder, message(1, **rain, stepRange="6-12"), message(2, **rain, stepRange="0-12"))
    ds = open_fields(path)
    return [float(ds[n].values.flat[0]) for n in ("tp_6h", "tp_12h")]


@odd("file", "GRIB: cut within its last message", Refused("truncated or damaged"))
def _(folder):
    path = grib(folder, message(1, **T), message(2, **T, dataTime=600))
    path.write_bytes(path.read_bytes()[:-20])
    return open_fields(path)


@odd(
    "file",
    "GRIB: a message whose first bytes are damaged is not passed over",
    Refused("belong to no message"),
)
def _(folder):
    broken = b"XXXX" + message(2, **T, dataTime=600)[4:]
    return open_fields(grib(folder, message(1, **T), broken, message(3, **T, dataTime=1200)))


@odd("file", "GRIB: behind the headings of bulletins", [1.0, 2.0])
def _(folder):
    heading = b"\x01\r\r\n123\r\r\nHTLA50 ECMG 010000\r\r\n"
    path = grib(folder, heading, message(1, **T), b"\r\r\n\x03", heading, message(2, **T, dataTime=600))
    return open_fields(path)["t"].values[:, 0, 0].tolist()


@odd("file", "GRIB: a date without a year", Refused("its date is", "grib_set -s dataDate"))
def _(folder):
    undated = {"yearOfCentury": 255, "centuryOfReferenceTimeOfData": 255}
    return open_fields(grib(folder, message(1, edition=1, **T, **undated)))


@odd("file", "GRIB: a reduced Gaussian grid as fields", Refused("reduced_gg", "--points"))
def _(folder):
    return open_fields(grib(folder, message(1, sample="reduced_gg_pl_32_grib2")))


@odd("file", "GRIB: spectral coefficients", Refused("'sh'", "sp2gpl"))
def _(folder):
    import eccodes

    handle = eccodes.codes_grib_new_from_samples("sh_sfc_grib2")
    return open_fields(grib(folder, eccodes.codes_get_message(handle)))


@odd("file", "GRIB: two grids in one file", Refused("2 grids", "grib_copy"))
def _(folder):
    return open_fields(grib(folder, message(1, **T), message(2, sample="regular_gg_pl_grib2")))


@odd(
    "file",
    "GRIB: a rotated grid gives its cells as reports, where they are on Earth",
    unrotated(60, 0, -40, 10),
)
def _(folder):
    pole = {"latitudeOfSouthernPoleInDegrees": -40.0, "longitudeOfSouthernPoleInDegrees": 10.0}
    table = cells_as_points(grib(folder, message(1, sample="rotated_ll_sfc_grib2", shortName="t", **pole)))
    return table["lat"].iloc[0], table["lon"].iloc[0]


@odd("file", "GRIB: members that end in one mean and one error", [2.0, np.sqrt(2 / 1) * np.sqrt(1 + 1 / 2)])
def _(folder):
    from skyweave.io.members import ensemble_mean

    members = [
        message(v, productDefinitionTemplateNumber=1, **T, perturbationNumber=k)
        for k, v in ((1, 1.0), (2, 3.0))
    ]
    mean, error = ensemble_mean(open_fields(grib(folder, *members))["t"])
    return [float(mean.values.flat[0]), float(error.values.flat[0])]


SURFACE = [*PLACE, 12101, 11001, 11002]


@odd(
    "table",
    "BUFR: a wind from the east at 2 m/s, and a temperature that is missing",
    {"u10": -2.0, "v10": 0.0},
)
def _(folder):
    values = DATE | WHERE | {"blockNumber": 1, "stationNumber": 2, "windDirection": 90, "windSpeed": 2.0}
    table = read_bufr(bufr(folder, SURFACE, values))
    assert table.attrs["dropped"] == {"missing value": 1}
    return {n: round(float(v), 6) + 0.0 for n, v in zip(table["variable"], table["value"], strict=True)}


@odd("table", "BUFR: compressed subsets, one of them without a place", [281.0, 283.0])
def _(folder):
    values = DATE | {
        "latitude": [10.0, -1e100, 12.0],
        "longitude": 20.0,
        "airTemperature": [281.0, 282.0, 283.0],
    }
    table = read_bufr(bufr(folder, SURFACE, values, subsets=3, compressed=1), ["t2m"])
    assert table.attrs["dropped"] == {"report without a position": 1}
    return table["value"].tolist()


@odd("table", "BUFR: subsets that are not compressed", [281.0, 283.0])
def _(folder):
    values = {f"#{k}#{key}": v for k in (1, 2) for key, v in (DATE | WHERE).items()}
    values |= {"#1#airTemperature": 281.0, "#2#airTemperature": 283.0}
    return read_bufr(bufr(folder, SURFACE, values, subsets=2), ["air_temperature"])["value"].tolist()


@odd("table", "BUFR: a report without an hour", Refused("report without a time"))
def _(folder):
    values = {k: v for k, v in (DATE | WHERE).items() if k != "hour"}
    return read_bufr(bufr(folder, SURFACE, values | {"airTemperature": 281.0}))


@odd("table", "BUFR: a trace of rain is none, and its hours are in the name", {"tp6h": 0.0, "tp24h": 3.0})
def _(folder):
    rain = {"totalPrecipitationPast6Hours": -0.1, "totalPrecipitationPast24Hours": 3.0}
    table = read_bufr(bufr(folder, [*PLACE, 13021, 13023], DATE | WHERE | rain))
    return dict(zip(table["variable"], table["value"], strict=True))


@odd("table", "BUFR: an aircraft's flight level is a pressure altitude", {"pressure": 226.32, "t": 220.0})
def _(folder):
    values = DATE | WHERE | {"flightLevel": 11000, "airTemperature": 220.0}
    table = read_bufr(bufr(folder, [301011, 301012, 301021, 7010, 12101], values, category=4))
    return {"pressure": round(float(table["pressure"].iloc[0]), 2), "t": float(table["value"].iloc[0])}


@odd("table", "BUFR: soundings given as points", Refused("--soundings"))
def _(folder):
    return read_bufr(bufr(folder, SURFACE, DATE | WHERE | {"airTemperature": 281.0}, category=2))


@odd(
    "table",
    "BUFR: a sounding's geopotential and displacement",
    {"height": [100.0, 1500.0], "away": [0.0, 0.5]},
)
def _(folder):
    levels = [106000, 31001, 7004, 10003, 5015, 6015, 12101, 12103]
    values = DATE | WHERE | {
        "pressure": [100000, 85000], "nonCoordinateGeopotential": [980.665, 14709.975],
        "latitudeDisplacement": [0.0, 0.5], "longitudeDisplacement": [0.0, 0.25], "airTemperature": [290.0, 280.0],
    }  # fmt: skip
    table = read_bufr_soundings(bufr(folder, [*PLACE, *levels], values, category=2, replication=2))
    return {"height": np.round(table["height"], 0).tolist(), "away": table["drift_lat"].round(6).tolist()}


@odd("table", "BUFR: cut within a message", Refused("truncated or damaged"))
def _(folder):
    path = bufr(folder, SURFACE, DATE | WHERE | {"airTemperature": 281.0})
    path.write_bytes(path.read_bytes()[:-6])
    return read_bufr(path)
