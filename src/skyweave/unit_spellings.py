"""Spellings of units in files and tables, brought to those that pint reads."""

from __future__ import annotations

import copy
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from skyweave.errors import did_you_mean

if TYPE_CHECKING:
    import pint

__all__ = ["folded", "hint", "known", "normal", "registry"]

_ONE = ("-", "none", "unitless", "dimensionless", "fraction", "ratio", "(0 - 1)", "(0-1)", "0-1", "0 - 1")
_WHOLE = {
    **dict.fromkeys(_ONE, "1"),
    **dict.fromkeys(("c", "deg c"), "degC"),
    **dict.fromkeys(("f", "deg f"), "degF"),
    **dict.fromkeys(("percentage", "pct", "per cent"), "percent"),
    **dict.fromkeys(("dobson unit", "dobson units"), "DU"),
    "°": "degree",
    "‰": "permille",
}
"""Texts that mean a unit only as a whole, in any case."""

_WORDS = {
    "mb": "mbar",  # pint's is the millibarn
    "mbs": "mbar",
    "kmh": "km/h",
    "kn": "knot",
    "centigrade": "degC",
    "celsius": "degC",
    "fahrenheit": "degF",
    "metre": "meter",
    "metres": "meter",
}
"""Words that pint takes for another unit or does not know."""

_CERTAIN = (
    "hPa Pa kPa mbar bar K degC degF deg m s h kg g ug mm cm km dam gpm J W N kJ kW kt kts mps kph mph DU ft in min "
    "day d hr inHg mmHg atm percent mol ppmv ppbv rad"
)
_FOLDED = {text.lower(): text for text in _CERTAIN.split()} | {"mb": "mbar", "kmh": "km/h"}
"""Units that can be told whatever their case. A prefix that changes with its case, as in MPa and mPa, is not here."""

_PROPOSED = (
    "Pa|hPa|kPa|MPa|mPa|mbar|K|degC|degF|m|mm|Mm|cm|km|dam|gpm|m s-1|km/h|kt|mph|kg|g|mg|Mg|ug|kg kg-1|g kg-1|ppmv|"
    "ppbv|pptv|%|1|kg m-2|mm/day|mm/h|W|mW|MW|W m-2|J|mJ|MJ|J kg-1|J m-2|m2 s-2|DU|rad|degree|s|h|day|min|mol|ug m-3|"
    "Mm-1|mm-1|ft|in|inHg|mmHg|atm|Celsius|Fahrenheit|Kelvin|Pascal|hectopascal|millibar|knots|metres|percent|degrees"
)
_USUAL = tuple(_PROPOSED.split("|"))
"""Spellings that are proposed for one that is not known."""

_CHARACTERS = str.maketrans(
    {
        "µ": "u", "μ": "u", "−": "-", "–": "-", "·": " ", "⋅": " ", "×": "*", "℃": "°C", "℉": "°F",
        "º": "°", "˚": "°", "⁻": "-", "⁺": "", "⁰": "0", "¹": "1", "²": "2", "³": "3", "⁴": "4", "⁵": "5",
        "⁶": "6", "⁷": "7", "⁸": "8", "⁹": "9", "{": "", "}": "", "$": "", "\N{NO-BREAK SPACE}": " ",
    }
)  # fmt: skip
_DEGREES = re.compile(
    r"(?:\bdeg(?:ree)?s?[\s_.]*|°\s*)(celsius|centigrade|fahrenheit|kelvin|[CFK])(?![A-Za-z])", re.IGNORECASE
)
_TEMPERATURES = {"c": "degC", "f": "degF", "k": "kelvin"}
_DOT = re.compile(r"(?<=[A-Za-z\d)])\.(?=[A-Za-z(])")
_LONG = 5
"""Letters of a word that may be a name in capitals; shorter ones are symbols, whose case means something."""


@lru_cache(maxsize=1)
def registry() -> pint.UnitRegistry[Any]:
    """pint with the units of CF, and some of the field's own."""
    from cf_xarray.units import units

    # A copy: the registry of cf-xarray is the application's, and not ours to add to.
    own: pint.UnitRegistry[Any] = copy.deepcopy(units)
    for line in (
        "dobson_unit = 4.4615e-4 * mole / meter ** 2 = DU = dobson",
        "ppmv = 1e-6",
        "ppb = 1e-9",
        "ppbv = 1e-9",
        "pptv = 1e-12",
        "permille = 1e-3",
    ):
        own.define(line)
    return own


@lru_cache(maxsize=4096)
def known(text: str) -> str:
    """The full name of a unit, such as "millibar" for mbar; empty if pint does not know it."""
    try:
        return str(registry().parse_units(text))
    except Exception:  # its tokenizer lets errors of Python through
        return ""


def normal(text: str) -> str:
    """The spelling that pint reads: plain characters, one form of powers and products, names in small letters."""
    text = text.strip()
    text = _WHOLE.get(text.lower(), text).translate(_CHARACTERS)
    prefixed = re.fullmatch(r"(?:wmoUnit|unit):(\w[\w/-]*)", text)
    if prefixed is not None:
        text = prefixed[1].replace("_", " ") if prefixed[1] not in ("degree_(angle)",) else "degree"
    text = text.replace("#", "count ").replace("%", "percent")
    text = _DEGREES.sub(
        lambda m: _TEMPERATURES[m[1][0].lower() if m[1].lower() != "centigrade" else "c"], text
    )
    return re.sub(r"[A-Za-z_]+", lambda m: _word(m[0]), _DOT.sub(" ", text))


def _word(word: str) -> str:
    lower = word.lower()
    if word in _WORDS or (len(word) >= _LONG and lower in _WORDS):
        return _WORDS[lower]
    if len(word) < _LONG or word == lower or known(word):
        return word
    # Only a name written out: MJOULE in small letters would be thousandths.
    return lower if known(lower).rstrip("s") == lower.rstrip("s") else word


def folded(text: str) -> str:
    """The unit that is meant whatever the case, where all of its words are beyond doubt; else empty."""
    plain = normal(text)
    words = re.findall(r"[A-Za-z]+", plain)
    # A sole letter is a unit of its own: D, H, M, S and G are debye, henry, molar, siemens and gauss.
    if not words or (len(words) == 1 and len(words[0]) == 1) or any(w.lower() not in _FOLDED for w in words):
        return ""
    return re.sub(r"[A-Za-z]+", lambda m: _FOLDED[m[0].lower()], plain)


def hint(text: str) -> str:
    """What may be meant by a spelling that is not known, in parentheses, or nothing."""
    if "water" in text:
        return " (the depth of a column of water has a unit of length: m, mm or kg m-2)"
    same = [unit for unit in _USUAL if unit.lower() == text.strip().lower()]
    if same:
        return f" ({' or '.join(same)}?)"
    return did_you_mean(text, _USUAL)
