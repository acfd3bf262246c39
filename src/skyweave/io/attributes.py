"""Attributes of the types that CF gives them, whatever a file has: units are text, scales and limits are numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from skyweave.errors import SkyweaveError

__all__ = ["plain_attributes"]

TEXTS = (
    "units", "standard_name", "long_name", "axis", "positive", "calendar", "bounds", "coordinates", "grid_mapping",
    "cell_methods", "formula_terms", "flag_meanings", "title", "history", "Conventions",
)  # fmt: skip
NUMBERS = (
    "_FillValue", "missing_value", "scale_factor", "add_offset", "valid_min", "valid_max", "valid_range", "flag_values",
    "flag_masks",
)  # fmt: skip

PACKING = ("scale_factor", "add_offset")
FILLS = ("_FillValue", "missing_value")
"""Of these, texts are read or say nothing: see `skyweave.io.missing`."""


def plain_attributes(ds: xr.Dataset, path: str) -> xr.Dataset:
    """Texts as text in place (a unit of 1 becomes "1"), empty ones dropped, the dataset itself returned.

    Raises:
        SkyweaveError: a fill value, scale or limit that is no number, a scale of zero.
    """
    odd = [dim for dim in ds.dims if not isinstance(dim, str)]
    if odd:
        raise SkyweaveError(f"{path}: has a dimension named {odd[0]!r:.60}, which is no text; it is damaged")
    for name, variable in ds.variables.items():
        for key in NUMBERS:
            for where in (variable.attrs, variable.encoding):
                if (
                    key in where
                    and not _numeric(where[key], key in FILLS)
                    and variable.dtype.kind not in "OSU"
                ):
                    raise SkyweaveError(
                        f"{path}: variable {name!r}: its attribute {key} is {where[key]!r:.60}, not a number"
                    )
                packed = key in PACKING and key in where and variable.dtype.kind in "iuf"
                if packed and _unpacks_nothing(key, where[key]):
                    raise SkyweaveError(
                        f"{path}: variable {name!r}: its attribute {key} is {where[key]!r:.60}, which unpacks no "
                        "values; correct it in the file"
                    )
        _texts(variable.attrs)
    _texts(ds.attrs)
    return ds


def _unpacks_nothing(key: str, value: Any) -> bool:
    """Whether a scale is zero, which makes all values one, or an attribute of packing has several numbers."""
    flat = np.ravel(np.asarray(value))
    return flat.size > 1 or (key == "scale_factor" and flat.size == 1 and float(flat[0]) == 0)


def _numeric(value: Any, text: bool) -> bool:
    """Whether an attribute is a number, or a text where numbers written as text are read."""
    array = np.asarray(value)
    if array.dtype.kind in "SU":
        return text or _reads(array)
    return array.size > 0 and array.dtype.kind in "biuf"


def _reads(words: np.ndarray) -> bool:
    try:
        return bool(np.isfinite(words.astype(float)).all())
    except ValueError:
        return False


def _texts(attrs: dict[Any, Any]) -> None:
    for key in TEXTS:
        if key in attrs and not isinstance(attrs[key], str):
            words = [_word(v) for v in np.ravel(np.asarray(attrs[key], dtype=object))]
            if words:
                attrs[key] = " ".join(words)
            else:
                del attrs[key]


def _word(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
