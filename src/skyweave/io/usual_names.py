"""Attributes that no convention names, but that files carry: fills and packing in other spellings.

What can mean one thing only is taken for it, and told; what can mean two is refused where the numbers are read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from skyweave.io.attribute_numbers import number_of, numbers_of

__all__ = ["with_usual_names"]

FILLS = frozenset(
    ("fill", "fillvalue", "fillvalues", "fmissingvalue", "missing", "missingvalue", "missingvalues", "missingdata",
     "missingdatavalue", "nodata", "nodatavalue", "novalue", "badvalue", "invalidvalue", "undef", "undefined")
)  # fmt: skip
"""Names of fills without their case and marks."""
SLOPES, INTERCEPTS = ("slope", "scalefactor", "scale"), ("intercept", "addoffset", "offset")
STANDARD = ("_FillValue", "missing_value", "scale_factor", "add_offset")


def with_usual_names(
    stored: np.dtype[Any], attrs: Mapping[str, Any]
) -> tuple[dict[str, Any], tuple[str, ...], str]:
    """Attributes with those of other names as the conventions name them.

    Args:
        stored: type of the stored numbers.
        attrs: as stored.

    Returns:
        The attributes; what was taken for what; why the numbers cannot become values, or an empty text.
    """
    out = dict(attrs)
    names = {re.sub(r"[^a-z]", "", str(k).lower()): k for k in attrs if k not in STANDARD}
    notes = [*_with_fills(out, names)]
    told, refusal = _with_packing(stored, out, names)
    return out, (*notes, *told), refusal


def _with_fills(out: dict[str, Any], names: Mapping[str, str]) -> list[str]:
    """Take fills of other names for `missing_value`; a zero is none, for too many zeros are values."""
    notes = []
    declared = [n for key in ("_FillValue", "missing_value") if key in out for n in numbers_of(out[key])]
    for plain, key in names.items():
        found = numbers_of(out[key]) if plain in FILLS else []
        fresh = [n for n in found if not any(n == d or np.isclose(n, d, rtol=1e-6, atol=0) for d in declared)]
        if not fresh:
            continue
        told = ", ".join(f"{n:g}" for n in fresh)
        if any(n == 0 for n in fresh):
            notes.append(
                f"its attribute {key!r} is {told}, and zeros stay values; if they are missing, declare _FillValue"
            )
            continue
        notes.append(f"{told} is missing by its attribute {key!r}, which no convention names")
        declared += fresh
        out["missing_value"] = declared
    return notes


def _with_packing(
    stored: np.dtype[Any], out: dict[str, Any], names: Mapping[str, str]
) -> tuple[list[str], str]:
    """Take slope and intercept for scale and offset, where whole numbers cannot be the values themselves."""
    if "scale_factor" in out or "add_offset" in out:
        return [], ""
    slope = next((names[n] for n in SLOPES if n in names), None)
    intercept = next((names[n] for n in INTERCEPTS if n in names), None)
    scale = 1.0 if slope is None else number_of(out[slope])
    offset = 0.0 if intercept is None else number_of(out[intercept])
    if (
        scale is None
        or offset is None
        or not np.isfinite([scale, offset]).all()
        or (scale == 1 and offset == 0)
    ):
        return [], ""
    used = [key for key in (slope, intercept) if key is not None]
    told = " and ".join(f"{key} = {out[key]}" for key in used)
    remedy = "declare scale_factor and add_offset in the file, or remove these attributes"
    if stored.kind not in "iu" or slope is None:
        return [f"its attributes {told} are not applied to its numbers; where they should be, {remedy}"], ""
    if scale == 0 or (
        intercept is not None and offset != 0 and re.sub("[^a-z]", "", intercept.lower()) == "offset"
    ):
        return (
            [],
            f"its whole numbers have {told}, and the offset may be added before or after scaling: {remedy}",
        )
    out["scale_factor"], out["add_offset"] = scale, offset
    for key in used:
        del out[key]
    return [f"unpacked by {told}, which no convention names"], ""
