"""Conversion between the spellings of units met in atmospheric files; no more than those."""

from __future__ import annotations

import re

from skyweave.errors import SkyweaveError

__all__ = ["conversion"]

# Scale to SI and exponents of (kg, m, s, K, mol).
_Unit = tuple[float, tuple[int, int, int, int, int]]
_NONE = (0, 0, 0, 0, 0)
_SYMBOLS: dict[str, _Unit] = {
    "1": (1.0, _NONE),
    "%": (1e-2, _NONE),
    "ppm": (1e-6, _NONE),
    "ppb": (1e-9, _NONE),
    "rad": (1.0, _NONE),
    "degree": (0.017453292519943295, _NONE),
    "kg": (1.0, (1, 0, 0, 0, 0)),
    "g": (1e-3, (1, 0, 0, 0, 0)),
    "mg": (1e-6, (1, 0, 0, 0, 0)),
    "ug": (1e-9, (1, 0, 0, 0, 0)),
    "m": (1.0, (0, 1, 0, 0, 0)),
    "km": (1e3, (0, 1, 0, 0, 0)),
    "dam": (1e1, (0, 1, 0, 0, 0)),
    "cm": (1e-2, (0, 1, 0, 0, 0)),
    "mm": (1e-3, (0, 1, 0, 0, 0)),
    "um": (1e-6, (0, 1, 0, 0, 0)),
    "inch": (0.0254, (0, 1, 0, 0, 0)),
    "s": (1.0, (0, 0, 1, 0, 0)),
    "min": (60.0, (0, 0, 1, 0, 0)),
    "h": (3600.0, (0, 0, 1, 0, 0)),
    "day": (86400.0, (0, 0, 1, 0, 0)),
    "K": (1.0, (0, 0, 0, 1, 0)),
    "mol": (1.0, (0, 0, 0, 0, 1)),
    "DU": (4.4615e-4, (0, -2, 0, 0, 1)),
    "Pa": (1.0, (1, -1, -2, 0, 0)),
    "hPa": (1e2, (1, -1, -2, 0, 0)),
    "kPa": (1e3, (1, -1, -2, 0, 0)),
    "J": (1.0, (1, 2, -2, 0, 0)),
    "W": (1.0, (1, 2, -3, 0, 0)),
    "N": (1.0, (1, 1, -2, 0, 0)),
    "kt": (1852.0 / 3600.0, (0, 1, -1, 0, 0)),
}
_ALIASES = {
    **dict.fromkeys(("-", "none", "unitless", "dimensionless", "fraction", "ratio", "(0 - 1)", "0-1"), "1"),
    **dict.fromkeys(("percent", "percentage", "pct"), "%"),
    **dict.fromkeys(("radian", "radians"), "rad"),
    **dict.fromkeys(("deg", "degrees"), "degree"),
    **dict.fromkeys(("meter", "meters", "metre", "metres", "gpm"), "m"),
    **dict.fromkeys(("micron", "micrometer"), "um"),
    **dict.fromkeys(("in", "inches"), "inch"),
    **dict.fromkeys(("sec", "second", "seconds"), "s"),
    **dict.fromkeys(("hr", "hour", "hours"), "h"),
    **dict.fromkeys(("d", "days"), "day"),
    **dict.fromkeys(("mb", "mbar", "mbars", "millibar", "millibars"), "hPa"),
    **dict.fromkeys(("pascal", "pascals"), "Pa"),
    **dict.fromkeys(("kelvin", "kelvins", "degk", "deg_k", "degree_kelvin"), "K"),
    **dict.fromkeys(("knot", "knots", "kts"), "kt"),
    **dict.fromkeys(("dobson", "dobsons"), "DU"),
}
_CELSIUS = (
    "c",
    "degc",
    "deg_c",
    "celsius",
    "degree_celsius",
    "degrees_celsius",
    "degree_c",
    "degrees_c",
    "°c",
)
_FAHRENHEIT = ("f", "degf", "deg_f", "fahrenheit", "degree_fahrenheit", "degrees_fahrenheit", "deg f", "°f")
_WATER = 1000.0  # kg m-3: a column of 1 mm of water is 1 kg m-2
_BY_LOWER = {name.lower(): name for name in _SYMBOLS}
_SUPERSCRIPTS = str.maketrans("⁻⁰¹²³⁴µμ", "-01234uu")


def conversion(found: str, wanted: str, what: str) -> tuple[float, float]:
    """Scale and offset that bring values from one unit to another: ``wanted = found * scale + offset``.

    Temperatures, pressures, speeds, column amounts (``kg m-2`` and millimetres of water are the same), mixing
    ratios, percentages and products of such symbols are known, in the usual spellings (``m/s``, ``m s**-1``).
    An empty string stands for unknown units and converts to anything unchanged, as do two equal strings.

    Args:
        found: units of the values.
        wanted: units they should have.
        what: the variable and file, for the message.

    Raises:
        SkyweaveError: units that are unknown or of another kind.
    """
    found, wanted = found.strip(), wanted.strip()
    if not found or not wanted or found == wanted:
        return 1.0, 0.0
    source, target = _parse(found), _parse(wanted)
    if source is None or target is None:
        odd = found if source is None else wanted
        raise SkyweaveError(
            f"{what}: units {found!r} cannot be converted to {wanted!r}: {odd!r} is not a unit known here; "
            f"convert the data and set their units attribute to {wanted!r}."
        )
    scale, offset = source[0] / target[0], (source[2] - target[2]) / target[0]
    difference = tuple(a - b for a, b in zip(source[1], target[1], strict=True))
    if difference == (1, -3, 0, 0, 0):
        scale /= _WATER
    elif difference == (-1, 3, 0, 0, 0):
        scale *= _WATER
    elif difference != _NONE:
        raise SkyweaveError(
            f"{what}: units {found!r} are of another kind than {wanted!r}; is this the right variable?"
        )
    return scale, offset


def _parse(text: str) -> tuple[float, tuple[int, ...], float] | None:
    """Scale to SI, exponents and offset to SI of a unit string; ``None`` where a part is unknown."""
    lower = text.lower()
    if lower in _CELSIUS:
        return 1.0, _SYMBOLS["K"][1], 273.15
    if lower in _FAHRENHEIT:
        return 5 / 9, _SYMBOLS["K"][1], 459.67 * 5 / 9
    if lower in _ALIASES:
        text = _ALIASES[lower]
    text = text.translate(_SUPERSCRIPTS).replace("**", "").replace("^", "").replace("·", " ")
    scale, exponents = 1.0, [0, 0, 0, 0, 0]
    for part in re.findall(r"/?\s*[^\s/*.]+", text):
        match = re.fullmatch(r"(/?)\s*(1|%|[A-Za-z_]+)(-?\d+)?", part)
        if match is None:
            return None
        symbol = match[2] if match[2] in _SYMBOLS else _ALIASES.get(match[2].lower())
        symbol = symbol or _BY_LOWER.get(match[2].lower())
        if symbol is None:
            return None
        power = int(match[3] or 1) * (-1 if match[1] else 1)
        scale *= _SYMBOLS[symbol][0] ** power
        exponents = [e + power * d for e, d in zip(exponents, _SYMBOLS[symbol][1], strict=True)]
    return scale, tuple(exponents), 0.0
