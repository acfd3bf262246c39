"""Conversion between units, as files and people spell them: by pint, with cf-xarray's registry of CF units.

pint knows the units; here stands what is particular to the field: the equality of a column of water and its mass, and
what must be refused although its dimensions agree.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from skyweave import unit_spellings as spellings
from skyweave.errors import SkyweaveError

__all__ = ["conversion", "pascals"]

_WATER = 1000.0  # kg m-3: a column of 1 mm of water is 1 kg m-2
_DEPTHS = ((("[length]", 1.0),), (("[length]", 1.0), ("[time]", -1.0)))
_MASSES = (
    (("[length]", -2.0), ("[mass]", 1.0)),
    (("[length]", -2.0), ("[mass]", 1.0), ("[time]", -1.0)),
)
_HINTS = {
    ("m2 s-2", "m"): "a geopotential divided by 9.80665 m s-2 is a height",
    ("J m-2", "W m-2"): "a sum over a step divided by its seconds is a mean flux",
    ("kg m-2", "kg m-2 s-1"): "a sum over a step divided by its seconds is a rate",
}
_AMBIGUOUS = {
    "ppt": "parts per trillion or per thousand; write pptv, 1e-12 or 1e-3",
    "Mbar": "a megabar when taken by its letters; write mbar or hPa",
}
_CALENDAR = re.compile(r"month|year|century|centuries|millenni|decade")
_NUMBER = re.compile(
    r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)(?:\s*(?:\^|\*\*)\s*([+-]?\d{1,3}))?(?![\d.+-])\s*(?:\*(?!\*))?\s*"
)


@dataclass(frozen=True)
class _Unit:
    """``base = value * scale + zero``, with the dimensions of the base and what a pure number is a share of."""

    scale: float
    zero: float
    dimensions: tuple[tuple[str, float], ...]
    share: str = ""
    solid: bool = False
    """Whether it is for each steradian, which pint takes for a pure number."""


def conversion(found: str, wanted: str, what: str) -> tuple[float, float]:
    """Scale and offset that bring values from one unit to another: ``wanted = found * scale + offset``.

    All units of CF and UDUNITS that pint knows, in the usual spellings (``m/s``, ``m s**-1``, ``m s⁻¹``); the case of a
    prefix counts, Mm is not mm. ``kg m-2`` and millimetres of water are the same, and so are their rates. An empty
    string stands for unknown units and converts to anything unchanged, as do two equal strings. Refused although the
    dimensions agree: shares of mass as shares of moles, degrees as pure numbers, calendar months and years.

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
    result = _scale_offset(found, wanted)
    if isinstance(result, str):
        raise SkyweaveError(f"{what}: units {found!r} {result}")
    return result


_PASCALS = {
    "Pa": 1.0,
    "hPa": 100.0,
    "mb": 100.0,
    "mbar": 100.0,
    "millibar": 100.0,
    "millibars": 100.0,
    "kPa": 1000.0,
}
_PRESSURE = re.compile(r"bar|pa|mb|hg|atm|torr|psi", re.IGNORECASE)


def pascals(units: str) -> float | None:
    """Pascals in one of these units, or ``None`` if they are no pressure; tells an axis of pressures.

    Args:
        units: of a vertical axis, such as ``hPa``, ``millibars``, ``Pa`` or ``kPa``.
    """
    units = units.strip()
    if units in _PASCALS:
        return _PASCALS[units]
    if not _PRESSURE.search(units):  # spares the import of pint for the axes of most files
        return None
    result = _scale_offset(units, "Pa")
    return None if isinstance(result, str) else result[0]


@lru_cache(maxsize=4096)
def _scale_offset(found: str, wanted: str) -> tuple[float, float] | str:
    """Scale and offset, or why there are none."""
    first = ""
    for word, meaning in _AMBIGUOUS.items():
        if word in re.findall(r"[A-Za-z]+", f"{found} {wanted}"):
            return f"cannot be converted to {wanted!r}: {word!r} is {meaning}."
    # As they are spelt, and only then whatever their case.
    for a, b in ((found, wanted), (spellings.folded(found), wanted), (found, spellings.folded(wanted))):
        source, target = _parsed(a) if a else "", _parsed(b) if b else ""
        if isinstance(source, str) or isinstance(target, str):
            odd = source if isinstance(source, str) else str(target)
            first = first or f"cannot be converted to {wanted!r}: {odd}"
            continue
        factor = _factor(source, target)
        if factor is not None:
            scale = source.scale * factor / target.scale
            return scale, (source.zero * factor - target.zero) / target.scale
        first = first or _another_kind(source, target, wanted)
    return first


@lru_cache(maxsize=4096)
def _parsed(text: str) -> _Unit | str:
    """A unit, or why a text is none."""
    plain = spellings.normal(text)
    number, rest = 1.0, plain
    match = _NUMBER.match(plain)
    if match is not None:
        rest = plain[match.end() :]
        try:
            number = float(match[1]) ** int(match[2] or 1)
        except (OverflowError, ZeroDivisionError):
            number = np.nan
    rest = rest if rest and not rest.startswith("/") else f"1{rest}"
    unknown = (
        f"{text!r} is not a unit known here{spellings.hint(text)}; state it in a spelling of CF, such as 'm s-1'; "
        "or convert the data and correct their units attribute."
    )
    if not np.isfinite(number) or number == 0:
        return unknown
    name = spellings.known(rest)
    if not name or not re.search(r"[A-Za-z\d]", rest):
        return unknown
    if _CALENDAR.search(name):
        return f"{text!r} has no fixed length; convert the data to a rate by the day or the second."
    unit = _linear(rest)
    if unit is None:
        return f"{text!r} is not a linear unit; convert the data."
    if unit.zero and number != 1.0:
        return f"{text!r} scales a temperature with a zero of its own; convert the data to K."
    share = "" if unit.dimensions else _share(rest)
    return _Unit(unit.scale * number, unit.zero, unit.dimensions, share, "steradian" in name)


def _linear(text: str) -> _Unit | None:
    """A unit in pint's spelling, if it is proportional to its base unit but for a zero of its own."""
    registry = spellings.registry()
    unit = registry.parse_units(text)
    try:
        at = np.asarray(registry.Quantity(np.array([0.0, 1.0, 900.0]), unit).to_base_units().magnitude, float)
    except Exception:  # of pint and, for logarithmic units, of numpy
        return None
    zero = float(at[0])
    # Digits beyond the twelfth are noise of the difference.
    scale = float(at[1]) if zero == 0 else round(float(at[2] - at[0]) / 900, 12)
    if not np.isfinite(at).all() or scale == 0 or not np.isclose(at[1] - zero, scale, rtol=1e-6):
        return None
    pairs = sorted((str(name), float(str(power))) for name, power in unit.dimensionality.items())
    return _Unit(scale, zero, tuple(pairs))


def _share(text: str) -> str:
    """What a pure number is a share of, by the units that cancel in it."""
    kinds = {"[substance]": "moles", "[mass]": "mass", "[length]": "volume"}
    found = set()
    for word in re.findall(r"[A-Za-z_]+", text):
        if re.fullmatch(r"pp[mbt]v", word):
            found.add("moles")
        elif spellings.known(word) == "practical_salinity_unit":
            found.add("salinity")
        elif spellings.known(word):
            unit = spellings.registry().parse_units(word)
            base = f"{spellings.registry().Quantity(1.0, unit).to_base_units().units}"
            found |= {"angle"} if "radian" in base else {kinds.get(str(d), "") for d in unit.dimensionality}
    return next((kind for kind in ("salinity", "angle", "moles", "mass", "volume") if kind in found), "")


def _factor(source: _Unit, target: _Unit) -> float | None:
    """What brings one base to the other, or ``None`` where they are of different kinds."""
    a, b = source.dimensions, target.dimensions
    if source.solid != target.solid:
        return None
    if a == b:
        return 1.0 if _same_share(source, target) else None
    for depth, mass in zip(_DEPTHS, _MASSES, strict=True):
        if (a, b) == (depth, mass):
            return _WATER
        if (a, b) == (mass, depth):
            return 1 / _WATER
    return None


def _same_share(a: _Unit, b: _Unit) -> bool:
    shares = {a.share, b.share}
    if len(shares) == 1 or shares == {"moles", "volume"}:  # of an ideal gas
        return True
    if "salinity" in shares:
        return False
    if "angle" in shares:
        return "" in shares and a.scale == b.scale == 1.0  # a radian is a pure number, a degree is not
    return "" in shares


def _another_kind(source: _Unit, target: _Unit, wanted: str) -> str:
    for (a, b), words in _HINTS.items():
        first, second = _parsed(a), _parsed(b)
        if isinstance(first, str) or isinstance(second, str):
            continue
        if (source.dimensions, target.dimensions) == (first.dimensions, second.dimensions):
            return f"are of another kind than {wanted!r}: {words}."
    if source.dimensions == target.dimensions and source.solid == target.solid:
        return (
            f"are of another kind than {wanted!r}, {source.share or 'a pure number'} and not "
            f"{target.share or 'a pure number'}; convert the data."
        )
    return f"are of another kind than {wanted!r}; is this the right variable?"
