"""Humidity, heights and winds of soundings: the formulas, each with its source."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "DRY_GAS_CONSTANT",
    "GRAVITY",
    "KAPPA",
    "dew_point",
    "geopotential",
    "relative_humidity",
    "saturation_vapour_pressure",
    "specific_humidity",
    "standard_height",
    "standard_temperature",
    "vapour_pressure",
    "virtual_temperature",
    "wind_components",
]

Floats = NDArray[np.float64]

GRAVITY = 9.80665
"""Standard gravity, m s-2, which by definition relates geopotential and geopotential height."""

DRY_GAS_CONSTANT = 287.05
"""Of dry air, J kg-1 K-1."""

KAPPA = 2.0 / 7.0
"""Ratio of the gas constant of dry air and its specific heat at constant pressure."""

EPSILON = 0.622
"""Ratio of the molar masses of water and dry air."""

ICE_POINT = 273.15
# Bolton (1980), Eq. 10: hPa, without unit, degrees Celsius.
_E0, _A, _B = 6.112, 17.67, 243.5


def saturation_vapour_pressure(temperature: ArrayLike) -> Floats:
    r"""Saturation vapour pressure over liquid water, at any temperature, as radiosondes report humidity.

    .. math:: e_s = 6.112 \exp\frac{17.67\, t}{t + 243.5}, \quad t = T - 273.15

    Args:
        temperature: K, any shape.

    Returns:
        hPa. Within 0.5 % of the formula of Goff and Gratch between -50 and 45 degrees Celsius.

    Reference: Bolton (1980), Mon. Weather Rev. 108, 1046-1053, Eq. 10. Humidity over water below freezing: WMO-No. 8,
    Guide to Instruments and Methods of Observation, Part I, Chapter 4.
    """
    t = np.asarray(temperature, np.float64) - ICE_POINT
    return _E0 * np.exp(_A * t / (t + _B))


def dew_point(vapour: ArrayLike) -> Floats:
    r"""Dew point of a vapour pressure, the inverse of `saturation_vapour_pressure`.

    .. math:: T_d = 273.15 + \frac{243.5 \ln(e / 6.112)}{17.67 - \ln(e / 6.112)}

    Args:
        vapour: hPa, positive; NaN elsewhere.

    Reference: Bolton (1980), Eq. 11.
    """
    e = np.asarray(vapour, np.float64)
    log = np.log(np.where(e > 0, e, np.nan) / _E0)
    return ICE_POINT + _B * log / (_A - log)


def vapour_pressure(specific: ArrayLike, pressure: ArrayLike) -> Floats:
    r"""Vapour pressure :math:`e = q p / (\epsilon + (1 - \epsilon) q)`, in the units of the pressure."""
    q = np.asarray(specific, np.float64)
    return q * np.asarray(pressure, np.float64) / (EPSILON + (1 - EPSILON) * q)


def specific_humidity(vapour: ArrayLike, pressure: ArrayLike) -> Floats:
    r"""Mass of water vapour in a mass of moist air.

    .. math:: q = \frac{\epsilon e}{p - (1 - \epsilon) e}, \quad \epsilon = 0.622

    Args:
        vapour: vapour pressure ``e``: of the dew point, ``e_s(T_d)``, or of relative humidity, ``RH e_s(T)``; hPa.
        pressure: hPa.

    Returns:
        kg kg-1; NaN where the vapour pressure is not below the pressure.

    Reference: Wallace and Hobbs (2006), Atmospheric Science, Eqs. 3.57 and 3.59.
    """
    e, p = np.asarray(vapour, np.float64), np.asarray(pressure, np.float64)
    dry = p - (1 - EPSILON) * e
    return np.where(e < p, EPSILON * e / np.where(dry > 0, dry, np.nan), np.nan)


def relative_humidity(temperature: ArrayLike, dew: ArrayLike) -> Floats:
    """Relative humidity over liquid water, ``e_s(T_d) / e_s(T)``, from two temperatures in K; without unit."""
    return saturation_vapour_pressure(dew) / saturation_vapour_pressure(temperature)


def virtual_temperature(temperature: ArrayLike, specific: ArrayLike) -> Floats:
    r"""Temperature of dry air of the same density, :math:`T_v = T (1 + (1/\epsilon - 1) q)`, K."""
    return np.asarray(temperature, np.float64) * (1 + (1 / EPSILON - 1) * np.asarray(specific, np.float64))


def geopotential(height: ArrayLike) -> Floats:
    r"""Geopotential :math:`\Phi = g_0 Z` (m2 s-2) of geopotential height (m), with standard gravity."""
    return GRAVITY * np.asarray(height, np.float64)


def wind_components(direction: ArrayLike, speed: ArrayLike) -> tuple[Floats, Floats]:
    r"""Eastward and northward wind from the direction that it comes from.

    .. math:: u = -s \sin d, \quad v = -s \cos d

    Args:
        direction: degrees clockwise from north; 0 and 360 are both north.
        speed: any units.

    Returns:
        ``(u, v)`` in the units of the speed. A calm is zero, whatever its direction.
    """
    d, s = np.deg2rad(np.asarray(direction, np.float64)), np.asarray(speed, np.float64)
    calm = s == 0
    return np.where(calm, 0.0, -s * np.sin(d)), np.where(calm, 0.0, -s * np.cos(d))


# Geopotential height (m), temperature (K) and lapse rate (K m-1) at the base of each layer.
_LAYERS = (
    (0.0, 288.15, -6.5e-3),
    (11000.0, 216.65, 0.0),
    (20000.0, 216.65, 1e-3),
    (32000.0, 228.65, 2.8e-3),
    (47000.0, 270.65, 0.0),
)
_SURFACE = 1013.25


def standard_height(pressure: ArrayLike) -> Floats:
    """Geopotential height (m) of a pressure (hPa) in the U.S. Standard Atmosphere of 1976, up to 51 km."""
    return _standard(pressure)[0]


def standard_temperature(pressure: ArrayLike) -> Floats:
    """Temperature (K) at a pressure (hPa) in the U.S. Standard Atmosphere of 1976, up to 51 km."""
    return _standard(pressure)[1]


def standard_pressure(height: ArrayLike) -> Floats:
    """Pressure (hPa) at a geopotential height (m) in the U.S. Standard Atmosphere of 1976, up to 51 km.

    A pressure altitude, such as a flight level, is the height that an altimeter finds by this relation.
    """
    z = np.asarray(height, np.float64)
    found, base = np.full(z.shape, np.nan), _SURFACE
    for k, (z0, t0, lapse) in enumerate(_LAYERS):
        exponent = GRAVITY / DRY_GAS_CONSTANT

        def ratio(rise: Floats, t0: float = t0, lapse: float = lapse, exponent: float = exponent) -> Floats:
            if lapse == 0:
                return np.exp(-exponent * rise / t0)
            return np.maximum(1 + lapse * rise / t0, 1e-9) ** (-exponent / lapse)

        found = np.where((z >= z0) | (k == 0), base * ratio(z - z0), found)
        if k + 1 < len(_LAYERS):
            base *= float(ratio(np.asarray(_LAYERS[k + 1][0] - z0)))
    return np.where(np.isnan(z), np.nan, found)


def _standard(pressure: ArrayLike) -> tuple[Floats, Floats]:
    p = np.asarray(pressure, np.float64)
    height, temperature = np.full(p.shape, np.nan), np.full(p.shape, np.nan)
    base, scale = _SURFACE, DRY_GAS_CONSTANT / GRAVITY
    for k, (z0, t0, lapse) in enumerate(_LAYERS):
        x = np.log(base / np.where(p > 0, p, np.nan))
        t = t0 * np.exp(scale * lapse * x)
        z = z0 + (scale * t0 * x if lapse == 0 else (t - t0) / lapse)
        here = (p <= base) | (k == 0)
        height, temperature = np.where(here, z, height), np.where(here, t, temperature)
        if k + 1 < len(_LAYERS):
            top = _LAYERS[k + 1][0]
            rise = (top - z0) / scale
            base *= (
                np.exp(-rise / t0)
                if lapse == 0
                else ((t0 + lapse * (top - z0)) / t0) ** (-1 / (scale * lapse))
            )
    return height, temperature
