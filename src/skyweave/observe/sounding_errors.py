"""Errors of radiosonde observations by quantity and pressure: a documented table, and what replaces it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from skyweave.errors import SkyweaveError, did_you_mean
from skyweave.observe.profiles import SCALE_HEIGHT
from skyweave.observe.quantities import QUANTITIES
from skyweave.thermodynamics import saturation_vapour_pressure, specific_humidity

__all__ = ["ERRORS", "Errors", "checked_errors", "sounding_error"]

Floats = NDArray[np.float64]
Errors = Mapping[str, float | Mapping[float, float]]

_WIND: dict[float, float] = {
    1000: 1.4, 950: 1.5, 850: 1.5, 800: 1.6, 700: 1.6, 650: 1.8, 600: 1.9, 550: 2.0, 500: 2.1, 450: 2.3, 400: 2.6,
    350: 2.8, 300: 3.0, 250: 3.2, 200: 2.7, 150: 2.4, 100: 2.1,
}  # fmt: skip

ERRORS: dict[str, dict[float, float]] = {
    "air_temperature": {
        1000: 1.2, 950: 1.1, 900: 0.9, 850: 0.8, 350: 0.8, 300: 0.9, 250: 1.2, 200: 1.2, 150: 1.0, 100: 0.8,
        75: 0.8, 50: 0.9, 40: 0.95, 30: 1.0, 20: 1.25, 10: 1.5,
    },
    "eastward_wind": _WIND,
    "northward_wind": _WIND,
    "relative_humidity": {1000: 0.2},
}  # fmt: skip
"""Standard deviations by pressure (hPa), in the units of `QUANTITIES`: K, m s-1, and 1 for relative humidity.

Instrument and representativeness together, as NCEP's global assimilation of 2005 took them for radiosondes (observation
error table ``prepobs_errtable.global``, types 120 and 220).
"""

# Heights are built from temperatures: an error common to the whole column, beside that of the lowest pressure.
SURFACE_HEIGHT_ERROR, COLUMN_ERROR = 4.0, 0.3


def sounding_error(quantity: str, pressure: Floats, temperature: Floats) -> Floats:
    r"""Standard deviation of radiosonde observations, in the units of `QUANTITIES`.

    `ERRORS`, linear in log pressure; heights and specific humidity follow from the others:

    .. math:: \sigma_Z^2 = (4\,\mathrm m)^2 + \left(\frac{R_d}{g_0}\, 0.3\,\mathrm K\, \ln\frac{1000}{p}\right)^2,
              \qquad \sigma_q = \sigma_{RH}\, q_s(T, p)

    Args:
        quantity: one of `QUANTITIES`.
        pressure: hPa.
        temperature: K, for specific humidity.
    """
    if quantity in ("geopotential_height", "geopotential"):
        column = SCALE_HEIGHT * COLUMN_ERROR * np.maximum(np.log(1000 / pressure), 0.0)
        return QUANTITIES[quantity].scale * np.hypot(SURFACE_HEIGHT_ERROR, column)
    if quantity == "specific_humidity":
        relative = _at(ERRORS["relative_humidity"], pressure)
        return relative * specific_humidity(saturation_vapour_pressure(temperature), pressure)
    return _at(ERRORS[quantity], pressure)


def checked_errors(errors: Errors | None, known: tuple[str, ...]) -> Errors:
    """Errors by variable or quantity, each a number or numbers by pressure.

    Raises:
        SkyweaveError: an unknown name.
    """
    for name in errors or {}:
        if name not in (*known, *QUANTITIES):
            hint = did_you_mean(name, (*known, *QUANTITIES))
            raise SkyweaveError(
                f"soundings: errors for {name!r}{hint}, which is none of the variables {', '.join(known)} and none "
                f"of the quantities {', '.join(QUANTITIES)}"
            )
    return errors or {}


def overriding_error(errors: Errors, name: str, pressure: Floats) -> Floats | None:
    """What was given for a variable or quantity, at pressures (hPa)."""
    given = errors.get(name)
    if given is None:
        return None
    table = given if isinstance(given, Mapping) else {1000.0: given}
    return _at({float(level): float(sigma) for level, sigma in table.items()}, pressure)


def _at(table: Mapping[float, float], pressure: Floats) -> Floats:
    ordered = sorted(table.items())
    return np.interp(np.log(pressure), np.log([p for p, _ in ordered]), [sigma for _, sigma in ordered])
