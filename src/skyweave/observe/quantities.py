"""Which physical quantity a variable of the state is, by its CF standard name or by its name."""

from __future__ import annotations

from dataclasses import dataclass

from skyweave.state import Variable

__all__ = ["QUANTITIES", "WIND_COMPONENTS", "Quantity", "quantity_of"]


@dataclass(frozen=True)
class Quantity:
    """One quantity that soundings report.

    Args:
        column: of the levels that holds it (see `skyweave.io.igra.read_igra`).
        units: of that column.
        scale: by which the column is multiplied to be the quantity.
        names: of variables that are this quantity where they state no standard name, level left out.
    """

    column: str
    units: str
    scale: float = 1.0
    names: tuple[str, ...] = ()


# Standard gravity turns geopotential height into geopotential; the names of both differ by model, units tell them.
QUANTITIES = {
    "air_temperature": Quantity(
        "temperature", "K", 1.0, ("t", "ta", "temp", "temperature", "air_temperature")
    ),
    "geopotential_height": Quantity("height", "m", 1.0, ("zg", "gh", "hgt", "z", "geopotential_height")),
    "geopotential": Quantity("height", "m2 s-2", 9.80665, ("z", "phi", "geopotential")),
    "specific_humidity": Quantity(
        "specific_humidity", "kg kg-1", 1.0, ("q", "hus", "qv", "shum", "specific_humidity")
    ),
    "relative_humidity": Quantity(
        "relative_humidity", "1", 1.0, ("r", "rh", "hur", "rhum", "relative_humidity")
    ),
    "eastward_wind": Quantity("u", "m s-1", 1.0, ("u", "ua", "uwnd", "u_component_of_wind")),
    "northward_wind": Quantity("v", "m s-1", 1.0, ("v", "va", "vwnd", "v_component_of_wind")),
}

WIND_COMPONENTS = ("eastward_wind", "northward_wind")

_GEOPOTENTIAL_UNITS = ("m2 s-2", "m**2 s**-2", "m^2/s^2", "m2/s2", "j kg-1", "j/kg")


def quantity_of(variable: Variable) -> str | None:
    """CF standard name of the quantity that a variable is, ``None`` for one that soundings do not report.

    ``t850``, ``u_500``, ``temperature@500`` and ``z500`` are found by their names where they state no standard name;
    ``z`` is geopotential or its height by its units.
    """
    if variable.standard_name:
        return variable.standard_name if variable.standard_name in QUANTITIES else None
    stem = variable.name.lower().removesuffix("hpa").rstrip("0123456789_.@")
    stem = stem.removeprefix("10m_").removeprefix("2m_")
    found = [name for name, quantity in QUANTITIES.items() if stem in quantity.names]
    if len(found) > 1:
        energy = variable.units.strip().lower() in _GEOPOTENTIAL_UNITS
        return "geopotential" if energy else "geopotential_height"
    return found[0] if found else None
