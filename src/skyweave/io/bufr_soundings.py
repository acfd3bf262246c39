"""BUFR soundings (TEMP, PILOT, high resolution) as the table of levels that `skyweave.io.igra.read_igra` gives."""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from skyweave.errors import SkyweaveError
from skyweave.io.bufr import DATES, report_times
from skyweave.io.bufr_files import Paths, bufr_files, is_bufr
from skyweave.io.formats import expand
from skyweave.io.igra import UNITS, read_igra, without_duplicates
from skyweave.native.bufr_values import Ascent
from skyweave.native.process import ask
from skyweave.thermodynamics import (
    GRAVITY,
    relative_humidity,
    saturation_vapour_pressure,
    specific_humidity,
    wind_components,
)

__all__ = ["read_bufr_soundings", "read_soundings"]

Floats = NDArray[np.float64]

LEVELS = (
    "pressure", "nonCoordinateGeopotentialHeight", "nonCoordinateGeopotential", "airTemperature",
    "dewpointTemperature", "windDirection", "windSpeed", "timePeriod", "latitudeDisplacement",
    "longitudeDisplacement", "verticalSoundingSignificance", "extendedVerticalSoundingSignificance",
)  # fmt: skip
SINGLE = (*DATES, "latitude", "longitude", "timeSignificance")
WANTED = ("airTemperature", "windSpeed")

# Bits of the flag tables 0 08 001 and 0 08 042: surface, standard level, tropopause.
FLAGS = {
    "verticalSoundingSignificance": (64, 32, 16),
    "extendedVerticalSoundingSignificance": (2**17, 2**16, 2**15),
}
LAUNCH = 18
"""timeSignificance (0 08 021) of the launch."""


def read_soundings(
    paths: Paths, *, stations: Any = None, period: tuple[Any, Any] | None = None
) -> pd.DataFrame:
    """Soundings of either format, told by content: BUFR, else IGRA.

    Args:
        paths: as of `read_bufr_soundings` or `skyweave.io.igra.read_igra`.
        stations: station list of IGRA.
        period: first and last time.

    Raises:
        SkyweaveError: as these two; some files of either format.
    """
    given = [str(paths)] if isinstance(paths, (str, os.PathLike)) else [str(path) for path in paths]
    # A pattern is resolved, so that the files it means can be told by content; folders are left to IGRA's reader.
    several = [path for entry in given for path in (expand(entry) if set(entry) & set("*?[") else [entry])]
    kinds = [is_bufr(path) for path in several]
    if any(kinds) and not all(kinds):
        raise SkyweaveError(
            f"{several[kinds.index(True)]}: is BUFR, others are not; give them as two sources"
        )
    if any(kinds):
        return read_bufr_soundings(several, period=period)
    return read_igra(several, stations=stations, period=period)


def read_bufr_soundings(paths: Paths, *, period: tuple[Any, Any] | None = None) -> pd.DataFrame:
    """Soundings in BUFR (category 2), a row per level.

    Times of launch, times since then and displacements of the balloon are taken where they are reported; levels of
    wind shear alone are left out. Of ascents of one station at one time the fuller one is kept.

    Args:
        paths: local files, globs, or several.
        period: first and last time that is kept; ``None`` for all.

    Returns:
        The columns of `skyweave.io.igra.read_igra`, and drift_lat, drift_lon: degrees from the launch.
        ``.attrs["counts"]`` says how many soundings and levels there are and what was left out.

    Raises:
        SkyweaveError: the extra is not installed, a file that is not whole, or no sounding with a time and a place.

    Reference: WMO-No. 306, Volume I.2, FM 94 BUFR, sequences 3 09 007, 3 09 052 and 3 09 057.
    """
    files = bufr_files(paths)
    where = files[0] if len(files) == 1 else f"{files[0]} ... ({len(files)} files)"
    counts: Counter[str] = Counter()
    parts: list[pd.DataFrame] = []
    for path in files:
        ascents, passed = ask(path, "bufr_values.ascents", SINGLE, LEVELS, WANTED)
        counts.update(passed)
        for ascent in ascents:
            part = _levels(ascent, counts, period)
            if part is not None:
                parts.append(part.assign(sounding=len(parts)))
    told = "".join(f"; {n} {what}" for what, n in counts.items() if n)
    if not parts:
        when = f" between {period[0]} and {period[1]}" if period else ""
        raise SkyweaveError(
            f"{where}: no sounding with a time, a position and a level{when}{told}; reports of stations and aircraft "
            f"are given with --points {where}=ERROR"
        )
    table = without_duplicates(pd.concat(parts, ignore_index=True), counts)
    counts["soundings"] = int(table["sounding"].iloc[-1]) + 1
    counts["levels"] = len(table)
    units = UNITS | {"drift_lat": "degrees_north", "drift_lon": "degrees_east"}
    table.attrs = {"counts": {k: n for k, n in counts.items() if n}, "units": units, "source": where}
    return table


def _levels(ascent: Ascent, counts: Counter[str], period: tuple[Any, Any] | None) -> pd.DataFrame | None:
    """The levels of one sounding, ``None`` where it has none, no time or no place."""
    one = ascent.single
    time = report_times([np.full(1, one[key]) for key in DATES])[0]
    lat, lon = one["latitude"], one["longitude"]
    if np.isnat(time):
        counts["soundings without a time"] += 1
        return None
    if not (abs(lat) <= 90 and abs(lon) <= 360):
        counts["soundings without a position"] += 1
        return None
    if period is not None and not pd.Timestamp(period[0]) <= pd.Timestamp(time) <= pd.Timestamp(period[1]):
        counts["soundings outside the period"] += 1
        return None
    levels = _columns(ascent.levels, counts)
    if levels is None or levels.empty:
        counts["soundings without a level"] += levels is not None
        return None
    # A time that is not stated to be the launch's is, at a full hour, the nominal one.
    launched = one["timeSignificance"] == LAUNCH or np.nan_to_num(one["minute"]) != 0
    head = {"station": ascent.station, "source": "BUFR", "time": time}
    head |= {"release": time if launched else np.datetime64("NaT", "ns"), "lat": lat, "lon": lon}
    table = levels.assign(**head)
    table["release"] = table["release"].astype("datetime64[ns]")
    table["time"] = table["time"].astype("datetime64[ns]")
    return table


def _columns(raw: dict[str, Floats], counts: Counter[str]) -> pd.DataFrame | None:
    # Groups of wind shear follow the levels and repeat pressure and significance, never temperature or wind.
    n = max(len(raw[key]) for key in WANTED)
    if any(0 < len(values) < n for values in raw.values()):
        counts["soundings whose levels do not fit together"] += 1
        return None
    col = {key: values[:n] if len(values) else np.full(n, np.nan) for key, values in raw.items()}
    p, t, dew = col["pressure"] / 100, col["airTemperature"], col["dewpointTemperature"]
    height = col["nonCoordinateGeopotentialHeight"]
    height = np.where(np.isnan(height), col["nonCoordinateGeopotential"] / GRAVITY, height)
    calm = (col["windSpeed"] == 0) & np.isnan(col["windDirection"])
    u, v = wind_components(np.where(calm, 0.0, col["windDirection"]), col["windSpeed"])
    dew = np.where(np.isnan(t), np.nan, dew)
    surface, standard, tropopause = _significance(col)
    table = pd.DataFrame(
        {
            "elapsed": col["timePeriod"],
            "level_type": np.select([np.isnan(p), standard], [3, 1], default=2).astype(np.int8),
            "level_kind": np.select([surface, tropopause], [1, 2], default=0).astype(np.int8),
            "pressure": p,
            "height": height,
            "temperature": t,
            "dew_point": dew,
            "relative_humidity": relative_humidity(t, dew),
            "specific_humidity": specific_humidity(saturation_vapour_pressure(dew), p),
            "u": u,
            "v": v,
            "drift_lat": col["latitudeDisplacement"],
            "drift_lon": col["longitudeDisplacement"],
            "pressure_flag": "",
            "height_flag": "",
            "temperature_flag": "",
        }
    )
    some = table[["height", "temperature", "u"]].notna().any(axis=1) & table[
        ["pressure", "height"]
    ].notna().any(axis=1)
    counts["levels without a value"] += int((~some).sum())
    return table[some]


def _significance(col: dict[str, Floats]) -> list[np.ndarray]:
    found = [np.zeros(len(col["pressure"]), bool) for _ in range(3)]
    for key, bits in FLAGS.items():
        flags = np.nan_to_num(col[key]).astype(np.int64)
        found = [before | (flags & bit > 0) for before, bit in zip(found, bits, strict=True)]
    return found
