"""Which stored numbers of a variable stand for missing values, and how the others become values.

Four things make a stored number missing: it is a fill that the file declares (`_FillValue`, `missing_value`), the fill
that the format leaves in cells that nobody wrote, outside the limits that the file declares valid, or NaN. All are
compared in the variable's own stored type, before unpacking, because that is where they are exact.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from skyweave.io.attribute_numbers import number_of, numbers_of, plain
from skyweave.io.usual_names import with_usual_names

__all__ = [
    "DECLARED",
    "NEVER_WRITTEN",
    "OUT_OF_RANGE",
    "SINGLE",
    "USUAL_FILLS",
    "Decoding",
    "decoding_of",
    "reasons",
]

USUAL_FILLS = (
    *(-999.0, -9999.0, -99999.0, -999999.0, -999.9, -9999.9, -999.99, -9999.99, -99999.9, -8888.0),
    *(-32767.0, -32768.0, 32767.0, 9999.0, 99999.0, 999999.0, 9999.9, -9.99e33, -9.999e33, 9.999e20),
    *(1e15, 1e20, -1e20, 1e30, -1e30, 1e36, 9.969209968386869e36),
)
"""Numbers that stand for "missing" so often that they are worth a question when the file does not say so."""

DECLARED, NEVER_WRITTEN, OUT_OF_RANGE = 0, 1, 2
"""Why a value is missing; kept in the spare bits of its NaN, see `reasons`."""

SINGLE = 2.0**-22
"""Relative slack of limits: two units in the last place of single precision."""

# What netCDF leaves in cells never written, by stored type. Bytes have none: all their values are used.
_DEFAULTS: dict[str, float | int] = {
    "f4": 9.969209968386869e36,
    "f8": 9.969209968386869e36,
    "i2": -32767,
    "u2": 65535,
    "i4": -2147483647,
    "u4": 4294967295,
    "i8": -9223372036854775806,
    "u8": 18446744073709551614,
}
_LIMITS = ("valid_min", "valid_max", "valid_range")
_OF_STORAGE = ("_FillValue", "missing_value", "_Unsigned", "scale_factor", "add_offset")


@dataclass(frozen=True, eq=False)
class Decoding:
    """How stored numbers become values.

    Args:
        stored: type of the stored numbers, after `_Unsigned`.
        dtype: type of the values.
        fills: declared fills, in the stored type.
        unwritten: what the format leaves in cells never written, in the stored type.
        low: least valid stored number; ``None`` for open.
        high: greatest valid stored number.
        scale: ``value = stored * scale + offset``; ``None`` for 1.
        offset: ``None`` for 0.
        notes: what was put right or left out in the attributes.
        refusal: why the numbers cannot become values; empty where they can.
    """

    stored: np.dtype[Any]
    dtype: np.dtype[Any]
    fills: tuple[Any, ...] = ()
    unwritten: tuple[Any, ...] = ()
    low: float | None = None
    high: float | None = None
    scale: Any = None
    offset: Any = None
    notes: tuple[str, ...] = ()
    refusal: str = ""

    def __call__(self, raw: np.ndarray) -> np.ndarray:
        """Values of stored numbers, any shape; missing ones are NaN."""
        # From signed to unsigned and back numpy keeps the bits.
        stored = raw if raw.dtype == self.stored else raw.astype(self.stored)
        values = stored if stored.dtype == self.dtype else stored.astype(self.dtype)
        changes = values.dtype.kind == "f" and (
            self.fills or self.unwritten or self.low is not None or self.high is not None
        )
        if not changes and self.scale is None and self.offset is None:
            return values
        values = np.array(values, copy=values is stored)
        with np.errstate(over="ignore", invalid="ignore"):
            if self.scale is not None:
                values *= self.scale
            if self.offset is not None:
                values += self.offset
        if changes:
            self._mask(stored, values)
        return values

    def _mask(self, stored: np.ndarray, values: np.ndarray) -> None:
        if self.low is not None:
            values[stored < self.low] = _nan(values.dtype, OUT_OF_RANGE)
        if self.high is not None:
            values[stored > self.high] = _nan(values.dtype, OUT_OF_RANGE)
        for fill in self.unwritten:
            values[stored == fill] = _nan(values.dtype, NEVER_WRITTEN)
        for fill in self.fills:
            values[_equal(stored, fill)] = _nan(values.dtype, DECLARED)


def _equal(stored: np.ndarray, fill: Any) -> np.ndarray:
    """Where stored numbers are a fill; floating-point ones to single precision, through which many of them came."""
    number = float(fill)
    if stored.dtype.kind != "f" or not math.isfinite(number) or number == 0:
        return np.asarray(stored == fill)
    with np.errstate(over="ignore"):
        ends = [stored.dtype.type(number * (1 + side * SINGLE)) for side in (-1, 1)]
    return np.asarray((stored >= min(ends)) & (stored <= max(ends)))


def reasons(values: np.ndarray) -> dict[int, int]:
    """How many values are missing because of each reason other than a declared fill.

    A NaN has bits to spare, and `Decoding` writes the reason there; whatever is computed from the value drops it.

    Args:
        values: as read, any shape.
    """
    if values.dtype.kind != "f":
        return {NEVER_WRITTEN: 0, OUT_OF_RANGE: 0}
    bits = np.ascontiguousarray(values).view(f"u{values.dtype.itemsize}") & 3
    gone = np.isnan(values)
    return {reason: int((gone & (bits == reason)).sum()) for reason in (NEVER_WRITTEN, OUT_OF_RANGE)}


def _nan(dtype: np.dtype[Any], reason: int) -> Any:
    quiet = np.array(np.nan, dtype)
    return (quiet.view(f"u{dtype.itemsize}") | np.array(reason, f"u{dtype.itemsize}")).view(dtype)[()]


def decoding_of(
    stored: np.dtype[Any], attrs: Mapping[str, Any], *, limits: bool, default: bool, promote: bool
) -> tuple[Decoding, dict[str, Any], dict[str, Any]]:
    """How the numbers of one variable become values, by its attributes.

    Fills may be of another type than the variable, several, text, or (in old files) in the units of the unpacked
    values.
    Limits of packed variables are packed numbers, unless their type is that of the unpacked values
    (netCDF Users' Guide, Appendix A; CF conventions 1.11, sections 2.5.1 and 8.1).

    Args:
        stored: native type of the stored numbers.
        attrs: of the variable, as stored.
        limits: whether `valid_min`, `valid_max` and `valid_range` apply.
        default: whether the format's fill of cells never written applies where no `_FillValue` is declared.
        promote: whether integers without any declared fill become floating point so that they can be missing.

    Returns:
        The decoding; the attributes that are left, limits in physical units; those that went, for the encoding.
    """
    attrs, notes, refusal = with_usual_names(stored, attrs)
    signed = stored
    if stored.kind in "iu" and "_Unsigned" in attrs:
        unsigned = str(plain(attrs["_Unsigned"])).lower() == "true"
        stored = np.dtype(f"{'u' if unsigned else 'i'}{stored.itemsize}")
    scale, offset = number_of(attrs.get("scale_factor")), number_of(attrs.get("add_offset"))
    packing = _Packing(stored, signed, scale, offset)
    declared = [attrs[key] for key in ("_FillValue", "missing_value") if key in attrs]
    fills = sorted({fill for value in declared for fill in packing.fills(value)})
    unwritten: tuple[Any, ...] = ()
    code = f"{stored.kind}{stored.itemsize}"
    # Where a fill is declared it is also what was written first; only floats are beyond doubt.
    if default and code in _DEFAULTS and (stored.kind == "f" or "_FillValue" not in attrs):
        unwritten = (stored.type(_DEFAULTS[code]),)
    low, high = packing.limits(attrs) if limits else (None, None)
    if limits and packing.exchanged(attrs):
        notes += ("the ends of its valid range are exchanged; the lesser is taken for the least",)
    packed = scale is not None or offset is not None
    if stored.kind == "f" and not packed:
        dtype = stored
    elif packed:
        dtype = _unpacked_type(stored, scale, offset)
    elif fills or low is not None or high is not None or (unwritten and promote):
        dtype = np.dtype(np.float32 if stored.itemsize <= 2 else np.float64)
    else:
        dtype, unwritten = stored, ()
    decoding = Decoding(stored, dtype, tuple(fills), unwritten, low, high, scale, offset, notes, refusal)
    left = {key: value for key, value in attrs.items() if key not in _OF_STORAGE}
    went = {key: value for key, value in attrs.items() if key in _OF_STORAGE}
    if packed or stored != signed:
        left |= {key: packing.physical(key, attrs[key]) for key in _LIMITS if key in attrs}
    return decoding, {k: v for k, v in left.items() if v is not None}, went


@dataclass(frozen=True)
class _Packing:
    """Types and packing of one variable, and what its attributes mean in stored numbers."""

    stored: np.dtype[Any]
    signed: np.dtype[Any]
    scale: Any
    offset: Any

    @property
    def packed(self) -> bool:
        return self.scale is not None or self.offset is not None

    def fills(self, value: Any) -> list[Any]:
        """The stored numbers that a declared fill means."""
        found = []
        for number in numbers_of(value):
            if math.isnan(number):
                continue
            whole = self._whole(number)
            found += self._same(number) if self.stored.kind == "f" else whole
            # A packed number has the type of the packed; what has not may be an unpacked one.
            if self.packed and (not whole or isinstance(number, float)):
                found += self._repacked(number)
        return found

    def _same(self, number: float) -> list[Any]:
        """A fill in floating point of the variable's own precision, and as it looks after a detour over single."""
        with np.errstate(over="ignore"):
            single = np.float32(number)
        ways = (
            {float(number), float(single), float(str(single))}
            if self.stored.itemsize == 8
            else {float(number)}
        )
        with np.errstate(over="ignore"):
            return [self.stored.type(way) for way in sorted(ways)]

    def _whole(self, number: float) -> list[Any]:
        """A fill of an integer variable, also where it is given with the other sign."""
        if self.stored.kind not in "iu" or not math.isfinite(number) or number != int(number):
            return []
        info, other = np.iinfo(self.stored), np.iinfo(self.signed)
        whole = int(number)
        if not info.min <= whole <= info.max and other.min <= whole <= other.max:
            whole = int(np.array(whole, self.signed).astype(self.stored))
        return [self.stored.type(whole)] if info.min <= whole <= info.max else []

    def _repacked(self, number: float) -> list[Any]:
        place = self._place(number)
        if self.stored.kind == "f":
            with np.errstate(over="ignore"):
                return [self.stored.type(place)] if math.isfinite(place) else []
        info = np.iinfo(self.stored)
        near = (
            math.isfinite(place) and abs(place - round(place)) < 0.02 and info.min <= round(place) <= info.max
        )
        return [self.stored.type(round(place))] if near else []

    def _place(self, value: float) -> float:
        """The stored number of a value, not rounded."""
        scale = 1.0 if self.scale is None else float(self.scale)
        return (float(value) - float(self.offset or 0.0)) / scale if scale else math.nan

    def _value(self, place: float) -> float:
        return place * float(1.0 if self.scale is None else self.scale) + float(self.offset or 0.0)

    def limits(self, attrs: Mapping[str, Any]) -> tuple[float | None, float | None]:
        """Least and greatest valid stored number."""
        ends: list[float | None] = [*(self._pair(attrs.get("valid_range")) or ())]
        if not ends:
            one = [self._one(attrs.get(key)) for key in ("valid_min", "valid_max")]
            if all(end is None or end[1] for end in one) and (self.scale or 1.0) < 0:
                one.reverse()
            ends = [None if end is None else end[0] for end in one]
        low, high = (None if end is None or math.isnan(end) else end for end in ends)
        if low is not None and high is not None and low > high:
            low, high = high, low
        return self._loosened(low, -1), self._loosened(high, 1)

    def exchanged(self, attrs: Mapping[str, Any]) -> bool:
        """Whether the greatest valid number is stated as the least, in the units in which it is stated."""
        pair = numbers_of(attrs.get("valid_range"))
        pair = pair or [n for key in ("valid_min", "valid_max") for n in numbers_of(attrs.get(key))]
        if len(pair) != 2 or self.stored != self.signed:  # signed numbers that mean unsigned ones wrap
            return False
        return bool(pair[0] > pair[1])

    def physical(self, key: str, value: Any) -> Any:
        """A limit as a physical number, or two in order."""
        if key == "valid_range":
            pair = self._pair(value)
            return None if pair is None else np.sort([self._value(float(end)) for end in pair])
        one = self._one(value)
        return None if one is None else self._value(one[0])

    def _pair(self, value: Any) -> tuple[float, float] | None:
        numbers = numbers_of(value)
        if len(numbers) != 2:
            return None
        unpacked = self._unpacked(value, numbers)
        low, high = (self._place(n) if unpacked else self._wrapped(n) for n in numbers)
        return (high, low) if unpacked and low > high else (low, high)

    def _one(self, value: Any) -> tuple[float, bool] | None:
        """A limit as a stored number, and whether it was given as a physical one."""
        numbers = numbers_of(value)
        if len(numbers) != 1:
            return None
        unpacked = self._unpacked(value, numbers)
        return (self._place(numbers[0]) if unpacked else self._wrapped(numbers[0])), unpacked

    def _unpacked(self, value: Any, numbers: list[float]) -> bool:
        """Whether limits are in the units of the unpacked values: their type is, and is wider than the stored one."""
        if not self.packed or not any(isinstance(n, float) for n in numbers):
            return False
        width = getattr(np.asarray(plain(value)), "dtype", np.dtype("f8")).itemsize
        return self.stored.kind in "iu" or (width > self.stored.itemsize and self.stored.kind == "f")

    def _wrapped(self, number: float) -> float:
        whole = self._whole(number) if self.stored != self.signed else []
        return float(whole[0]) if whole else float(number)

    def _loosened(self, limit: float | None, side: int) -> float | None:
        """A limit with the slack of single precision; of integers the whole number within."""
        if limit is None or math.isinf(limit):
            return None
        if self.stored.kind == "f":
            with np.errstate(over="ignore"):
                own = float(self.stored.type(limit))
            slack = 2.0**-10 if self.stored.itemsize == 2 else SINGLE
            return own + side * slack * abs(own) if math.isfinite(own) else None
        return math.floor(limit + 0.01) if side > 0 else math.ceil(limit - 0.01)


def _unpacked_type(stored: np.dtype[Any], scale: Any, offset: Any) -> np.dtype[Any]:
    """The floating-point type of unpacked values: that of scale and offset where both agree, double in doubt."""
    types = {part.dtype for part in (scale, offset) if part is not None}
    single = types == {np.dtype(np.float32)} and stored.itemsize < (4 if stored.kind in "iu" else 8)
    # A sole offset may be large, and is then too coarse in single precision.
    return np.dtype(np.float32 if single and scale is not None else np.float64)
