"""Quality control of soundings against themselves: plausible ranges, hypsometry, lapse rates, wind shear."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import ConfigDict

from skyweave.errors import SkyweaveError
from skyweave.keywords import STRICT
from skyweave.observe.profiles import SCALE_HEIGHT, complete, interpolate
from skyweave.thermodynamics import KAPPA, standard_height

__all__ = ["RANGES", "QualityControl", "check_mass", "check_wind", "plausible_range"]

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
Count = Callable[[str, str, int], None]

RANGES: dict[str, dict[float, tuple[float, float]]] = {
    "air_temperature": {
        1050: (203, 335), 850: (198, 320), 700: (190, 302), 500: (185, 288), 300: (183, 266), 200: (178, 256),
        100: (173, 256), 50: (168, 262), 30: (168, 270), 10: (170, 305), 1: (180, 330),
    },
    # Departure from the standard atmosphere.
    "geopotential_height": {
        1050: (-700, 700), 700: (-900, 900), 500: (-1100, 1000), 300: (-1500, 1400), 100: (-2200, 1600),
        50: (-2800, 1800), 10: (-4500, 2500), 1: (-7000, 4500),
    },
    "wind_speed": {
        1050: (0, 90), 850: (0, 100), 700: (0, 110), 500: (0, 130), 300: (0, 150), 100: (0, 150), 10: (0, 200),
    },
    "specific_humidity": {1050: (0, 0.045), 700: (0, 0.03), 500: (0, 0.015), 300: (0, 0.004), 100: (0, 0.001)},
    "relative_humidity": {1000: (0, 1.1)},
}  # fmt: skip
"""Least and greatest plausible value by pressure (hPa), in the units of `QUANTITIES`; limits for gross errors, chosen
somewhat wider than the extremes of any season and place."""

MEASURED = {
    "air_temperature": ("temperature",),
    "geopotential_height": ("height",),
    "specific_humidity": ("specific_humidity", "dew_point"),
    "relative_humidity": ("relative_humidity",),
}
HUMIDITY = ("dew_point", "specific_humidity")

# Thermometers of screen and sonde differ, and sunlit ground heats the lowest air.
SURFACE_EXCESS, SURFACE_LAYER = 3.0, 50.0
# Layers thicker than this ratio of pressures have too few temperatures for a thickness.
THICKEST = 2.1
ROUNDING = 20.0


@dataclass(frozen=True)
class QualityControl:
    """Which checks are made, and how strict they are; ``None`` leaves one out.

    Args:
        ranges: plausible ranges by quantity and pressure, in the form of `RANGES`; entries replace those of the
            table, ``None`` makes no range check.
        hypsometric: thickness between reported heights may differ from that of the temperatures by 20 m and by this
            much in the mean temperature of the layer, K.
        superadiabatic: potential temperature may fall by this much from one level to the next, K; by 3 K more in
            the lowest 50 hPa.
        shear: wind may change from one level to the next by ``shear[0]`` m s-1 and ``shear[1]`` m s-1 per metre.
        humidity_top: humidity at lower pressures is not believed, hPa; the air is too cold for the sensors there.
        departure: of an observation from the background, in standard deviations of their difference.
    """

    ranges: Mapping[str, Mapping[float, tuple[float, float]]] | None = field(default_factory=dict)
    hypsometric: float | None = 3.0
    superadiabatic: float | None = 1.0
    shear: tuple[float, float] | None = (20.0, 0.05)
    humidity_top: float | None = 100.0
    departure: float | None = 4.0

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    def __post_init__(self) -> None:
        for name in ("hypsometric", "superadiabatic", "humidity_top", "departure"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise SkyweaveError(f"quality control: {name} is {value}, it must be positive or None")
        if self.shear is not None and not (len(self.shear) == 2 and min(self.shear) >= 0):
            raise SkyweaveError(f"quality control: shear is {self.shear}, give (m s-1, m s-1 per metre)")
        unknown = sorted(set(self.ranges or {}) - set(RANGES))
        if unknown:
            raise SkyweaveError(
                f"quality control: no range check for {', '.join(unknown)}; there is one for {', '.join(RANGES)}"
            )


def plausible_range(
    quality: QualityControl, quantity: str, pressure: Floats
) -> tuple[Floats, Floats] | tuple[None, None]:
    """Limits of a quantity at pressures (hPa), linear in log pressure between those of the table."""
    if quality.ranges is None:
        return None, None
    table = dict(sorted((quality.ranges.get(quantity) or RANGES[quantity]).items()))
    at, x = np.log(list(table)), np.log(pressure)
    low, high = (np.interp(x, at, [limits[k] for limits in table.values()]) for k in (0, 1))
    if quantity == "geopotential_height":
        standard = standard_height(pressure)
        return low + standard, high + standard
    return low, high


def check_mass(levels: pd.DataFrame, quality: QualityControl, count: Count) -> pd.DataFrame:
    """Sorted profiles without the temperatures, heights and humidities that fail a check.

    Args:
        levels: sorted profiles of levels with a pressure.
        quality: the checks.
        count: is told reason, quantity and number of every rejection.
    """
    levels = levels.copy()
    p = levels["pressure"].to_numpy()
    if quality.humidity_top is not None:
        cold = p < quality.humidity_top
        _reject(levels, cold, HUMIDITY, "too high for humidity", "specific_humidity", count)
        _reject(levels, cold, ("relative_humidity",), "too high for humidity", "relative_humidity", count)
    for quantity, columns in MEASURED.items():
        low, high = plausible_range(quality, quantity, p)
        if low is not None and high is not None:
            value = levels[columns[0]].to_numpy()
            bad = (value < low) | (value > high)
            _reject(levels, bad, columns, "implausible", quantity, count)
            if quantity == "air_temperature":
                _reject(levels, bad, HUMIDITY, "implausible", "specific_humidity", count)
    if quality.superadiabatic is not None:
        bad = _superadiabatic(levels, quality.superadiabatic)
        _reject(levels, bad, ("temperature",), "superadiabatic", "air_temperature", count)
        _reject(levels, bad, HUMIDITY, "superadiabatic", "specific_humidity", count)
    if quality.hypsometric is not None:
        heights, temperatures = _hypsometric(levels, quality.hypsometric)
        _reject(levels, heights, ("height",), "hypsometric", "geopotential_height", count)
        _reject(levels, temperatures, ("temperature",), "hypsometric", "air_temperature", count)
        _reject(levels, temperatures, HUMIDITY, "hypsometric", "specific_humidity", count)
    return levels


def check_wind(levels: pd.DataFrame, quality: QualityControl, count: Count) -> pd.DataFrame:
    """Completed profiles without the winds that fail a check; arguments as of `check_mass`."""
    levels = levels.copy()
    u, v = levels["u"].to_numpy(), levels["v"].to_numpy()
    low, high = plausible_range(quality, "wind_speed", levels["pressure"].to_numpy())
    if high is not None:
        _reject(levels, np.hypot(u, v) > high, ("u", "v"), "implausible", "wind", count)
    if quality.shear is not None:
        rows = np.flatnonzero(levels["u"].notna().to_numpy() & levels["v"].notna().to_numpy())
        z = levels["full_height"].to_numpy()[rows]
        change = np.hypot(np.diff(u[rows]), np.diff(v[rows]))
        failed = change > quality.shear[0] + quality.shear[1] * np.abs(np.diff(z))
        bad = _blamed(levels, rows, failed, (u, v))
        _reject(levels, bad, ("u", "v"), "wind shear", "wind", count)
    return levels


def _reject(
    levels: pd.DataFrame, bad: Mask, columns: tuple[str, ...], reason: str, quantity: str, count: Count
) -> None:
    hit = bad & levels[columns[0]].notna().to_numpy()
    if hit.any():
        levels.loc[hit, list(columns)] = np.nan
        count(reason, quantity, int(hit.sum()))


def _superadiabatic(levels: pd.DataFrame, tolerance: float) -> Mask:
    """Temperatures between which air is colder, at a common pressure, above than below."""
    rows = np.flatnonzero(levels["temperature"].notna().to_numpy())
    t, p = (levels[c].to_numpy()[rows] for c in ("temperature", "pressure"))
    lowest = levels.groupby("sounding")["pressure"].transform("max").to_numpy()[rows]
    allowed = tolerance + np.where(p > lowest - SURFACE_LAYER, SURFACE_EXCESS, 0.0)[:-1]
    failed = t[1:] < t[:-1] * (p[1:] / p[:-1]) ** KAPPA - allowed
    return _blamed(levels, rows, failed, (levels["temperature"].to_numpy(),))


def _blamed(levels: pd.DataFrame, rows: NDArray, failed: Mask, values: tuple[Floats, ...]) -> Mask:
    """Of two levels that do not go together, the one farther from the line through the levels around both.

    Without such a level on either side both are rejected.

    Args:
        levels: sorted profiles.
        rows: of the levels with a value.
        failed: whether each fails with the next, shape ``(len(rows) - 1,)``; across soundings it is ignored.
        values: of every level; of a vector the components.
    """
    bad = np.zeros(len(levels), bool)
    s, x = levels["sounding"].to_numpy()[rows], levels["x"].to_numpy()[rows]
    lower = np.flatnonzero(failed & (s[1:] == s[:-1]))
    if not len(lower):
        return bad
    upper = lower + 1
    before, after = np.maximum(lower - 1, 0), np.minimum(upper + 1, len(rows) - 1)
    between = (lower > 0) & (upper + 1 < len(rows)) & (s[before] == s[lower]) & (s[after] == s[lower])
    gap = np.where(x[after] > x[before], x[after] - x[before], 1.0)
    away = [np.zeros(len(lower)), np.zeros(len(lower))]
    for value in values:
        y = value[rows]
        for k, own in enumerate((lower, upper)):
            weight = (x[own] - x[before]) / gap
            away[k] += (y[own] - (1 - weight) * y[before] - weight * y[after]) ** 2
    bad[rows[lower[~between | (away[0] >= away[1])]]] = True
    bad[rows[upper[~between | (away[0] < away[1])]]] = True
    return bad


def _hypsometric(levels: pd.DataFrame, tolerance: float) -> tuple[Mask, Mask]:
    """Heights, and temperatures, that contradict each other; one height between two good layers is to blame alone."""
    none = np.zeros(len(levels), bool)
    rows = np.flatnonzero(levels["height"].notna().to_numpy())
    bare = complete(levels.assign(height=np.nan))
    relative = bare["full_height"].to_numpy()[rows]
    covered = np.isfinite(interpolate(levels, levels["temperature"].to_numpy()))[rows]
    s, x, z = (levels[c].to_numpy()[rows] for c in ("sounding", "x", "height"))
    residual, thick = np.diff(z - relative), np.diff(x)
    judged = (np.diff(s) == 0) & covered[1:] & covered[:-1] & (thick <= np.log(THICKEST)) & (thick > 0)
    failed = judged & (np.abs(residual) > ROUNDING + SCALE_HEIGHT * tolerance * thick)
    heights, temperatures = none.copy(), none.copy()
    if not failed.any():
        return heights, temperatures
    both = np.flatnonzero(failed[1:] & failed[:-1])
    total = np.abs(residual[both] + residual[both + 1])
    alone = both[total <= ROUNDING + SCALE_HEIGHT * tolerance * (thick[both] + thick[both + 1])]
    heights[rows[alone + 1]] = True
    explained = np.zeros(len(failed), bool)
    explained[alone] = explained[alone + 1] = True
    for k in np.flatnonzero(failed & ~explained):
        heights[rows[[k, k + 1]]] = True
        temperatures[rows[k] : rows[k + 1] + 1] = True
    return heights, temperatures
