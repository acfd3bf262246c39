"""BUFR reports of stations, ships, buoys and aircraft as the table that `skyweave.io.tables.read_stations` gives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from skyweave.errors import SkyweaveError, did_you_mean
from skyweave.io.bufr_files import Paths, bufr_files
from skyweave.native.bufr_values import AIRCRAFT, AMOUNT, CATEGORY, Reports
from skyweave.native.process import ask
from skyweave.thermodynamics import standard_pressure, wind_components

__all__ = ["DATES", "VARIABLES", "Quantity", "read_bufr", "report_times"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Quantity:
    """What a variable is in BUFR.

    Args:
        standard_name: of CF.
        units: that its values have in BUFR.
        keys: ecCodes' names, the first that a message has counts.
        aloft: whether aircraft report it, rather than stations.
    """

    standard_name: str
    units: str
    keys: tuple[str, ...]
    aloft: bool = False


SPEED, DIRECTION = ("windSpeedAt10M", "windSpeed"), ("windDirectionAt10M", "windDirection")
PAST = {h: f"totalPrecipitationPast{h}Hour{'s' if h > 1 else ''}" for h in (1, 3, 6, 12, 24)}

VARIABLES: dict[str, Quantity] = {
    "t2m": Quantity("air_temperature", "K", ("airTemperatureAt2M", "airTemperature")),
    "d2m": Quantity("dew_point_temperature", "K", ("dewpointTemperatureAt2M", "dewpointTemperature")),
    "u10": Quantity("eastward_wind", "m s-1", SPEED),
    "v10": Quantity("northward_wind", "m s-1", SPEED),
    "msl": Quantity("air_pressure_at_mean_sea_level", "Pa", ("pressureReducedToMeanSeaLevel",)),
    "sp": Quantity("surface_air_pressure", "Pa", ("nonCoordinatePressure",)),
    **{f"tp{h}h": Quantity("precipitation_amount", "kg m-2", (key, AMOUNT)) for h, key in PAST.items()},
    "t": Quantity("air_temperature", "K", ("airTemperature",), aloft=True),
    "u": Quantity("eastward_wind", "m s-1", ("windSpeed",), aloft=True),
    "v": Quantity("northward_wind", "m s-1", ("windSpeed",), aloft=True),
}
"""Variables by the names that tables of reports give them; ``tp6h`` is precipitation of the past six hours."""

DATES = ("year", "month", "day", "hour", "minute", "second")
PLACES = ("latitude", "longitude", "heightOfStationGroundAboveMeanSeaLevel", "heightOfStation")
ALTITUDES = ("pressure", "flightLevel", "height")
COLUMNS = ("time", "lat", "lon", "variable", "value", "error", "station", "elevation", "units")
TRACE = -0.1
"""Precipitation of less than 0.05 mm is coded so."""


def read_bufr(paths: Paths, variables: Sequence[str] | None = None) -> pd.DataFrame:
    r"""Reports in BUFR, a row per value: SYNOP, ships and buoys (categories 0 and 1), aircraft (category 4).

    Winds are :math:`u = -s \sin d, v = -s \cos d`. Aircraft have a column ``pressure`` (hPa), which is that of their
    flight level or pressure altitude in the standard atmosphere where they report no pressure.

    Args:
        paths: local files, globs, or several.
        variables: of `VARIABLES`, CF standard names, or keys of ecCodes such as ``horizontalVisibility``; rows are
            named as asked. All of `VARIABLES` by default.

    Returns:
        Columns as of `skyweave.io.tables.read_stations`: time (datetime64[ns], UTC), lat, lon, variable, value, error
        (NaN), station, elevation (m), units, and pressure where there are aircraft. ``.attrs["dropped"]`` counts
        values, or whole reports, that were left out, by reason; ``.attrs["notes"]`` says what was assumed.

    Raises:
        SkyweaveError: the extra is not installed, a file that is not whole, an unknown variable, soundings only, or no
            value left (with the counts).

    Reference: WMO-No. 306, Volume I.2, FM 94 BUFR.
    """
    files = bufr_files(paths)
    where = files[0] if len(files) == 1 else f"{files[0]} ... ({len(files)} files)"
    asked = _asked(variables)
    reader = _Reader(asked)
    for path in files:
        reader.add(path)
    table = reader.table()
    told = ", ".join(f"{n} {reason}" for reason, n in reader.dropped.items()) or "no message"
    if table.empty and reader.soundings:
        raise SkyweaveError(f"{where}: holds soundings; give it with `--soundings {where}`, not --points")
    if table.empty:
        wanted = ", ".join(name for name, _, _ in asked)
        raise SkyweaveError(
            f"{where}: no value of {wanted} ({told}); in Python read_bufr(FILE, [KEY]) takes other keys of ecCodes"
        )
    table.attrs = {"dropped": dict(reader.dropped), "notes": reader.notes(), "source": where}
    return table


def _asked(variables: Sequence[str] | None) -> list[tuple[str, Quantity | None, str]]:
    """Name of the rows, the quantity (``None`` for a bare key), and its name here."""
    if variables is None:
        return [(name, own, name) for name, own in VARIABLES.items()]
    found: list[tuple[str, Quantity | None, str]] = []
    for name in [variables] if isinstance(variables, str) else variables:
        same = [k for k, own in VARIABLES.items() if name in (k, own.standard_name)]
        if not same and not name.isalnum():
            known = [*VARIABLES, *(own.standard_name for own in VARIABLES.values())]
            raise SkyweaveError(
                f"BUFR: no variable {name!r}{did_you_mean(name, known)}; there are {', '.join(VARIABLES)}, their CF "
                "standard names, and keys of ecCodes"
            )
        found += [(name, VARIABLES[k], k) for k in same] or [(name, None, name)]
    return found


class _Reader:
    """Gathers what files hold, key by key, and makes rows of all of it at once.

    A key that a message lacks is infinite in the columns, a value that is missing is NaN.
    """

    def __init__(self, asked: list[tuple[str, Quantity | None, str]]) -> None:
        self.asked = asked
        self.wanted = sorted({key for _, own, name in asked for key in (own.keys if own else (name,))})
        self.bare = list(dict.fromkeys(key for _, own, key in asked if own is None))
        self.sums = {
            key: (VARIABLES[key].keys[0], int(key[2:-1]))
            for _, own, key in asked
            if own is not None and AMOUNT in own.keys
        }
        winds = DIRECTION if any(own is not None and SPEED[1] in own.keys for _, own, _ in asked) else ()
        self.keys = list(dict.fromkeys((*DATES, *PLACES, *ALTITUDES, *winds, *self.wanted, CATEGORY)))
        self.parts: list[Reports] = []
        self.stations: list[str] = []
        self.units: dict[str, str] = {}
        self.dropped: Counter[str] = Counter()
        self.soundings = self.by_altitude = self.traces = 0

    def add(self, path: str) -> None:
        """Take in the reports of a file."""
        found: Reports = ask(path, "bufr_values.reports", self.keys, self.wanted, self.sums, self.bare)
        self.parts.append(found)
        self.stations += found.stations
        self.units = found.units | self.units
        self.dropped.update(found.dropped)
        self.soundings += found.soundings

    def table(self) -> pd.DataFrame:
        """Rows of every value of a report that has a time and a place; the others are counted."""
        self.dropped = Counter({reason: n for reason, n in self.dropped.items() if n})
        if not self.stations:
            return pd.DataFrame(columns=list(COLUMNS))
        data = {
            key: np.concatenate([part.columns[key] for part in self.parts])
            for key in (*self.keys, *self.sums)
        }
        plain = {key: np.where(np.isinf(column), np.nan, column) for key, column in data.items()}
        lat, lon, time = plain["latitude"], plain["longitude"], report_times([plain[k] for k in DATES])
        good = self._less(np.ones(len(lat), bool), ~np.isnat(time), "report without a time")
        good = self._less(good, (np.abs(lat) <= 90) & (np.abs(lon) <= 360), "report without a position")
        aloft = data[CATEGORY] == AIRCRAFT
        pressure = np.where(aloft, self._pressure(plain, good & aloft), np.nan)
        good = self._less(good, ~aloft | np.isfinite(pressure), "aircraft report without a pressure")
        height = np.where(np.isnan(plain[PLACES[2]]), plain[PLACES[3]], plain[PLACES[2]])
        report = pd.DataFrame({"time": time, "lat": lat, "lon": lon, "station": self.stations})
        report = report.assign(elevation=np.where(aloft, np.nan, height), error=np.nan, pressure=pressure)
        parts = []
        for name, own, key in self.asked:
            value, there = self._values(own, key, data)
            there = there & good & (np.ones(len(aloft), bool) if own is None else aloft == own.aloft)
            known = self._less(there, np.isfinite(value), "missing value")
            units = self.units[key] if own is None else own.units
            parts.append(report[known].assign(variable=name, value=value[known], units=units))
        columns = [*COLUMNS, *(["pressure"] if aloft.any() else [])]
        # By report, as in the files.
        return pd.concat(parts).sort_index(kind="stable")[columns].reset_index(drop=True)

    def _less(self, before: Bools, now: Bools, reason: str) -> Bools:
        lost = int((before & ~now).sum())
        if lost:
            self.dropped[reason] += lost
        return before & now

    def _pressure(self, plain: dict[str, Floats], wanted: Bools) -> Floats:
        pressure = plain["pressure"] / 100
        for key in ALTITUDES[1:]:
            fill = np.isnan(pressure) & np.isfinite(plain[key])
            self.by_altitude += int((fill & wanted).sum())
            pressure = np.where(fill, standard_pressure(plain[key]), pressure)
        return pressure

    def _values(self, own: Quantity | None, key: str, data: dict[str, Floats]) -> tuple[Floats, Bools]:
        """Values of a variable in every report, and which reports could have one."""
        if own is None:
            return data[key], ~np.isinf(data[key])
        if own.standard_name == "precipitation_amount":
            traces = np.abs(data[key] - TRACE) < 1e-6
            self.traces += int(traces.sum())
            return np.where(traces, 0.0, data[key]), ~np.isinf(data[key])
        if own.standard_name not in ("eastward_wind", "northward_wind"):
            return _first(data, own.keys)
        speed, there = _first(data, SPEED)
        direction, _ = _first(data, DIRECTION)
        # A calm has no direction.
        direction = np.where((speed == 0) & ~np.isfinite(direction), 0.0, direction)
        u, v = wind_components(np.where(np.isfinite(direction), direction, np.nan), speed)
        return (u if own.standard_name == "eastward_wind" else v), there

    def notes(self) -> list[str]:
        told = []
        if self.by_altitude:
            told.append(
                f"pressure of {self.by_altitude} aircraft reports is that of their flight altitude in the standard "
                "atmosphere"
            )
        if self.traces:
            told.append(f"{self.traces} traces of precipitation are taken as 0")
        return told


def report_times(parts: Sequence[Floats]) -> np.ndarray:
    """Times (datetime64[ns], UTC) from years, months, days, hours, minutes and seconds, each ``(n,)``; NaT for none."""
    years, months, days, hours = parts[:4]
    minutes, seconds = (np.nan_to_num(p) for p in parts[4:])
    # Years of editions before 4 are at times those of their century.
    years = np.where((years >= 0) & (years < 100), np.where(years < 70, 2000, 1900) + years, years)
    whole = np.isfinite(years + months + days + hours) & (years >= 1678) & (years < 2262)
    whole &= (months >= 1) & (months <= 12) & (days >= 1) & (days <= 31) & (hours >= 0) & (hours <= 24)
    y, m, d, h = (np.where(whole, p, 1).astype(np.int64) for p in (years, months, days, hours))
    month = (y - 1970).astype("M8[Y]").astype("M8[M]") + (m - 1)
    day = month.astype("M8[D]") + (d - 1)
    since = h * 3600 + minutes.astype(np.int64) * 60 + seconds.astype(np.int64)
    whole &= day.astype("M8[M]") == month
    return np.where(whole, day.astype("M8[ns]") + since * np.timedelta64(1, "s"), np.datetime64("NaT", "ns"))


def _first(data: dict[str, Floats], keys: Sequence[str]) -> tuple[Floats, Bools]:
    """Of each report the value of the first key that has one, and whether it has any of the keys."""
    found, there = data[keys[0]], ~np.isinf(data[keys[0]])
    for key in keys[1:]:
        found = np.where(np.isfinite(found), found, data[key])
        there |= ~np.isinf(data[key])
    return found, there
