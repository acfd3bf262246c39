"""Soundings as sorted profiles: interpolation in log pressure, heights, times and places of every level."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from skyweave.grid import EARTH_RADIUS
from skyweave.thermodynamics import (
    DRY_GAS_CONSTANT,
    GRAVITY,
    saturation_vapour_pressure,
    specific_humidity,
    standard_height,
    standard_temperature,
    virtual_temperature,
)

__all__ = [
    "ASCENT_RATE", "ASSUMED_LEAD", "Bracket", "bracket", "complete", "drift", "interpolate", "launch_time",
    "log_pressure", "pressures_of_heights", "sorted_levels",
]  # fmt: skip

Floats = NDArray[np.float64]

ASCENT_RATE = 5.0
"""Of a balloon where no elapsed times are reported, m s-1; some 300 m per minute are usual (WMO-No. 8)."""

ASSUMED_LEAD = np.timedelta64(30, "m")
"""Launch before the nominal hour where no release is reported (WMO-No. 544: as close as possible to H - 30)."""

FARTHEST_RELEASE = np.timedelta64(3, "h")
SCALE_HEIGHT = DRY_GAS_CONSTANT / GRAVITY  # m per K and unit of log pressure
# Keys that order levels by sounding and then by position leave this much room for the positions.
SPAN = 128.0
TOLERANCE = 1e-6


def log_pressure(pressure: Floats) -> Floats:
    r"""Vertical coordinate :math:`x = \ln(1000\,\mathrm{hPa} / p)`, which grows upwards."""
    return np.log(1000.0 / np.asarray(pressure, np.float64))


@dataclass(frozen=True)
class Bracket:
    """Known levels around wanted ones: ``(1 - weight) y[low] + weight y[high]`` where ``inside``.

    Args:
        low, high: indices of the known levels; equal where a wanted level is a known one.
        weight: of the upper one.
        inside: whether there is one on either side, of the same sounding.
        some: whether the sounding has any known level; then ``low`` and ``high`` are the nearest one outside.
    """

    low: NDArray[np.int64]
    high: NDArray[np.int64]
    weight: Floats
    inside: NDArray[np.bool_]
    some: NDArray[np.bool_]


def bracket(known_sounding: NDArray, known_x: Floats, sounding: NDArray, x: Floats) -> Bracket:
    """Known levels, ordered by sounding and x, around wanted ones; shapes ``(k,)`` and ``(n,)``."""
    n = len(known_x)
    if n == 0:
        zero = np.zeros(len(x), np.int64)
        return Bracket(zero, zero, np.zeros(len(x)), zero > 0, zero > 0)
    high = np.searchsorted(known_sounding * SPAN + known_x, sounding * SPAN + x - TOLERANCE)
    low = high - 1
    above = (high < n) & (known_sounding[np.minimum(high, n - 1)] == sounding)
    below = (low >= 0) & (known_sounding[np.maximum(low, 0)] == sounding)
    exact = above & (np.abs(known_x[np.minimum(high, n - 1)] - x) <= TOLERANCE)
    low = np.where(exact | ~below, high, low)
    high = np.where(above, high, low)
    low, high = np.clip(low, 0, n - 1), np.clip(high, 0, n - 1)
    gap = known_x[high] - known_x[low]
    inside = exact | (above & below)
    weight = np.where(inside & (gap > 0), (x - known_x[low]) / np.where(gap > 0, gap, 1.0), 0.0)
    return Bracket(low, high, weight, inside, above | below)


def interpolate(levels: pd.DataFrame, values: Floats, hold: bool = False) -> Floats:
    """Values of some levels, linear in log pressure at all of them; NaN outside, or there the nearest one."""
    s, x = levels["sounding"].to_numpy(), levels["x"].to_numpy()
    known = np.isfinite(values)
    at = bracket(s[known], x[known], s, x)
    if not known.any():
        return np.full(len(x), np.nan)
    y = values[known]
    between = (1 - at.weight) * y[at.low] + at.weight * y[at.high]
    return np.where(at.some if hold else at.inside, between, np.nan)


def sorted_levels(levels: pd.DataFrame) -> pd.DataFrame:
    """Levels in order of sounding and then upwards, with their coordinate ``x``."""
    levels = levels.assign(x=log_pressure(levels["pressure"].to_numpy()))
    return levels.sort_values(["sounding", "x"], kind="stable", ignore_index=True)


def complete(levels: pd.DataFrame) -> pd.DataFrame:
    r"""Temperature and height at every level of sorted profiles, as columns ``full_temperature``, ``full_height``.

    Temperature is linear in log pressure between the levels that report it, and parallel to the standard atmosphere
    beyond them. Heights follow from it by the hypsometric equation,

    .. math:: \Delta Z = \frac{R_d}{g_0} \int T_v \, dx ,

    with a correction, linear in log pressure, that makes them the reported ones where they are reported. Where there
    is no humidity, half of saturation is assumed below 300 hPa and none above.
    """
    p, x = levels["pressure"].to_numpy(), levels["x"].to_numpy()
    reported = levels["temperature"].to_numpy()
    standard = standard_temperature(p)
    t = interpolate(levels, reported)
    anomaly = np.nan_to_num(interpolate(levels, reported - standard, hold=True))
    t = np.where(np.isnan(t), standard + anomaly, t)
    q = interpolate(levels, levels["specific_humidity"].to_numpy())
    assumed = specific_humidity(0.5 * saturation_vapour_pressure(t), p)
    q = np.where(np.isnan(q), np.where(p > 300, assumed, 0.0), q)
    tv = virtual_temperature(t, q)
    step = 0.5 * SCALE_HEIGHT * (tv[1:] + tv[:-1]) * np.diff(x)
    relative = _running(levels, np.concatenate([[0.0], step]) if len(x) else step)
    correction = interpolate(levels, levels["height"].to_numpy() - relative, hold=True)
    first = _first(levels)
    correction = np.where(np.isnan(correction), standard_height(p)[first], correction)
    return levels.assign(full_temperature=t, full_height=relative + correction)


def pressures_of_heights(levels: pd.DataFrame, wanted: pd.DataFrame) -> Floats:
    r"""Pressure (hPa) at reported heights, between levels of pressure by their hypsometric relation; NaN outside.

    With temperature linear in log pressure, height between two levels is a parabola,

    .. math:: Z = Z_k + B\,(x - x_k) + \tfrac12 \frac{R_d}{g_0} T'\, (x - x_k)^2 ,

    with ``B`` such that it meets the height of the upper one; it is solved for ``x``.

    Args:
        levels: completed profiles.
        wanted: levels with a height and no pressure.
    """
    known = levels.sort_values(["sounding", "full_height"], kind="stable")
    s, z, x, t = (known[c].to_numpy() for c in ("sounding", "full_height", "x", "full_temperature"))
    goal = wanted["height"].to_numpy()
    at = bracket(s, z / 1000, wanted["sounding"].to_numpy(), goal / 1000)
    if not len(z):
        return np.full(len(wanted), np.nan)
    dx, dz = x[at.high] - x[at.low], z[at.high] - z[at.low]
    apart = np.where(dx > 0, dx, 1.0)
    bend = SCALE_HEIGHT * np.where(dx > 0, (t[at.high] - t[at.low]) / apart, 0.0)
    slope = dz / apart - 0.5 * bend * dx
    rise = goal - z[at.low]
    root = np.sqrt(np.maximum(slope**2 + 2 * bend * rise, 0.0))
    step = np.where(dx > 0, 2 * rise / np.where(slope + root > 0, slope + root, np.inf), 0.0)
    return np.where(at.inside, 1000 * np.exp(-(x[at.low] + np.clip(step, 0.0, dx))), np.nan)


def launch_time(levels: pd.DataFrame) -> tuple[NDArray, NDArray[np.bool_]]:
    """Time of release of each level's sounding, and whether it had to be assumed, half an hour before the hour."""
    nominal, release = levels["time"].to_numpy("M8[ns]"), levels["release"].to_numpy("M8[ns]")
    assumed = np.isnat(release) | (np.abs(release - nominal) > FARTHEST_RELEASE)
    return np.where(assumed, nominal - ASSUMED_LEAD, release), assumed


def drift(levels: pd.DataFrame, ascent_rate: float = ASCENT_RATE) -> pd.DataFrame:
    r"""Time and place of every level of completed profiles, as ``since`` (s), ``at_lat`` and ``at_lon`` (degrees).

    Elapsed time is the reported one, between and beyond such levels that of a steady ascent. The balloon goes with the
    wind, linear in log pressure and constant beyond the levels that report it:

    .. math:: \mathbf r_{k+1} = \mathbf r_k
              + \tfrac12 (\mathbf v_k + \mathbf v_{k+1}) (t_{k+1} - t_k),

    each step along a great circle. Longitudes go on across the date line without a jump. Where a sounding reports
    how far its balloon is from the launch (columns drift_lat, drift_lon, degrees), that is taken instead, linear in
    log pressure.

    Args:
        levels: completed profiles with columns u, v, elapsed.
        ascent_rate: m s-1.
    """
    z = levels["full_height"].to_numpy()
    first = _first(levels)
    kind = levels["level_kind"].to_numpy() == 1
    base = interpolate(levels, np.where(kind, z, np.nan), hold=True)
    base = np.where(np.isnan(base), z[first], base)
    steady = (z - base) / ascent_rate
    late = interpolate(levels, levels["elapsed"].to_numpy() - steady, hold=True)
    since = np.maximum(steady + np.nan_to_num(late), 0.0)
    dt = np.maximum(np.diff(since, prepend=since[:1]), 0.0)
    wind = [np.nan_to_num(interpolate(levels, levels[c].to_numpy(), hold=True)) for c in ("u", "v")]
    u, v = (0.5 * (w + np.concatenate([w[:1], w[:-1]])) for w in wind)
    rank = np.arange(len(z)) - first
    lat, lon = np.deg2rad(levels["lat"].to_numpy()), np.deg2rad(levels["lon"].to_numpy())
    # All soundings go up together, a level at a time.
    for k in range(1, int(rank.max(initial=0)) + 1):
        here = np.flatnonzero(rank == k)
        angle = np.hypot(u[here], v[here]) * dt[here] / EARTH_RADIUS
        bearing = np.arctan2(u[here], v[here])
        before = lat[here - 1]
        sine = np.sin(before) * np.cos(angle) + np.cos(before) * np.sin(angle) * np.cos(bearing)
        lat[here] = np.arcsin(np.clip(sine, -1, 1))
        ahead = np.cos(before) * np.cos(angle) - np.sin(before) * np.sin(angle) * np.cos(bearing)
        lon[here] = lon[here - 1] + np.arctan2(np.sin(bearing) * np.sin(angle), ahead)
    places = {"at_lat": np.rad2deg(lat), "at_lon": np.rad2deg(lon)}
    for name, start, away in (("at_lat", "lat", "drift_lat"), ("at_lon", "lon", "drift_lon")):
        if away in levels:
            known = interpolate(levels, levels[away].to_numpy(), hold=True)
            places[name] = np.where(np.isnan(known), places[name], levels[start].to_numpy() + known)
    return levels.assign(since=since, **places)


def _first(levels: pd.DataFrame) -> NDArray[np.int64]:
    """Row of the lowest level of each level's sounding."""
    s = levels["sounding"].to_numpy()
    return np.searchsorted(s, s)


def _running(levels: pd.DataFrame, steps: Floats) -> Floats:
    """Sum of steps from the lowest level of each sounding upwards."""
    total = np.cumsum(steps)
    return total - total[_first(levels)] if len(total) else total
