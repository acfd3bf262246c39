"""GRIB and BUFR files made with ecCodes, and their values by other means than the readers'."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import eccodes
import numpy as np

LL = {
    "Ni": 4, "Nj": 3, "latitudeOfFirstGridPointInDegrees": 20.0, "latitudeOfLastGridPointInDegrees": 0.0,
    "longitudeOfFirstGridPointInDegrees": 0.0, "longitudeOfLastGridPointInDegrees": 30.0,
    "iDirectionIncrementInDegrees": 10.0, "jDirectionIncrementInDegrees": 10.0,
}  # fmt: skip
LEVEL = {"typeOfLevel": "isobaricInhPa", "level": 500}


def message(values: Any, edition: int = 2, sample: str = "", **keys: Any) -> bytes:
    """One GRIB message on 3 x 4 points (20 to 0 N, 0 to 30 E) unless keys or the sample say otherwise."""
    handle = eccodes.codes_grib_new_from_samples(sample or f"regular_ll_pl_grib{edition}")
    grid = {} if sample else LL
    first = {k: keys.pop(k) for k in ("setLocalDefinition", "localDefinitionNumber", "productDefinitionTemplateNumber")
             if k in keys}  # fmt: skip
    for key, value in (first | grid | {"dataDate": 20200101, "dataTime": 0} | keys).items():
        eccodes.codes_set(handle, key, value)
    values = np.asarray(values, float)
    if values.ndim == 0:
        count = eccodes.codes_get(handle, "numberOfDataPoints") if sample else 12
        values = np.full(count, float(values))
    if np.isnan(values).any():
        eccodes.codes_set(handle, "bitmapPresent", 1)
        eccodes.codes_set(handle, "missingValue", 9999)
    eccodes.codes_set(handle, "bitsPerValue", 24)
    eccodes.codes_set_values(handle, np.where(np.isnan(values), 9999, values).ravel())
    found = eccodes.codes_get_message(handle)
    eccodes.codes_release(handle)
    return bytes(found)


def grib(folder: Path, *messages: bytes, name: str = "x.grib") -> Path:
    """A file of these messages."""
    path = folder / name
    path.write_bytes(b"".join(messages))
    return path


def bufr(
    folder: Path,
    descriptors: list[int],
    values: dict[str, Any],
    *,
    category: int = 0,
    subsets: int = 1,
    compressed: int = 0,
    name: str = "x.bufr",
    replication: int | None = None,
) -> Path:
    """A file of one BUFR message of edition 4."""
    handle = eccodes.codes_bufr_new_from_samples("BUFR4")
    for key, value in (
        ("dataCategory", category),
        ("masterTablesVersionNumber", 28),
        ("compressedData", compressed),
    ):
        eccodes.codes_set(handle, key, value)
    eccodes.codes_set(handle, "numberOfSubsets", subsets)
    if replication is not None:
        eccodes.codes_set_array(handle, "inputDelayedDescriptorReplicationFactor", (replication,))
    eccodes.codes_set_array(handle, "unexpandedDescriptors", descriptors)
    for key, value in values.items():
        if np.ndim(value):
            eccodes.codes_set_array(handle, key, np.asarray(value, float))
        else:
            eccodes.codes_set(handle, key, value)
    eccodes.codes_set(handle, "pack", 1)
    path = folder / name
    path.write_bytes(eccodes.codes_get_message(handle))
    eccodes.codes_release(handle)
    return path


DATE = {"year": 2020, "month": 1, "day": 1, "hour": 12, "minute": 0}
WHERE = {"latitude": 10.0, "longitude": 20.0}
PLACE = [301004, 301011, 301012, 301021, 7030]
"""Station, date, time, place, height."""


def unrotated(lat: float, lon: float, south_lat: float, south_lon: float) -> tuple[float, float]:
    """Geographic position of a point of a rotated grid (WMO-No. 306, GRIB 2, template 3.1)."""
    la, lo, turn = np.deg2rad([lat, lon, 90 + south_lat])
    x, y, z = np.cos(la) * np.cos(lo), np.cos(la) * np.sin(lo), np.sin(la)
    x, z = np.cos(turn) * x - np.sin(turn) * z, np.sin(turn) * x + np.cos(turn) * z
    return float(np.rad2deg(np.arcsin(z))), float(
        (np.rad2deg(np.arctan2(y, x)) + south_lon + 180) % 360 - 180
    )
