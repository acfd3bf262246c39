"""Odd attributes of fields: limits the wrong way round, fills and packing that no convention names; see `odd_cases`."""

from __future__ import annotations

import warnings

import numpy as np

from odd_cases import Refused, odd
from odd_files import NAN, netcdf4, x
from skyweave.io import open_fields

SIX = [1, 2, 3, 4, 5, 6]


def told(path):
    """Whether the reader says something of the variable."""
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always")
        open_fields(path, "x")
    return any("'x': " in str(n.message) for n in notes)


for _what, _dtype, _stored, _attrs, _right in (
    ("valid_range of floats, greatest first", "f4", SIX, {"valid_range": np.array([5.0, 2.0], "f4")},
     [NAN, 2, 3, 4, 5, NAN]),
    ("valid_range of packed numbers, greatest first", "i2", SIX,
     {"scale_factor": 0.5, "valid_range": np.array([5, 2], "i2")}, [NAN, 1, 1.5, 2, 2.5, NAN]),
    ("valid_min and valid_max exchanged", "f8", SIX, {"valid_min": 5.0, "valid_max": 2.0}, [NAN, 2, 3, 4, 5, NAN]),
    ("a fill called fill_value", "f4", [-999, *SIX[1:]], {"fill_value": -999.0}, [NAN, *SIX[1:]]),
    ("a fill called FillValue, of shorts", "i2", [-99, *SIX[1:]], {"FillValue": np.int16(-99)}, [NAN, *SIX[1:]]),
    ("a fill called missingValue, as text", "f4", [-999, *SIX[1:]], {"missingValue": "-999."}, [NAN, *SIX[1:]]),
    ("a fill called NoData, beside a _FillValue", "f4", [-999, -888, *SIX[2:]],
     {"NoData": -888.0, "_FillValue": np.float32(-999)}, [NAN, NAN, *SIX[2:]]),
    ("slope and intercept of shorts", "i2", SIX, {"slope": 0.5, "intercept": 10.0}, [10.5, 11, 11.5, 12, 12.5, 13]),
    ("a sole scale of shorts", "i2", SIX, {"scale": 0.5}, [0.5, 1, 1.5, 2, 2.5, 3]),
    ("slope of floats is not applied", "f4", SIX, {"slope": 0.5}, SIX),
    ("fill_value 0: zeros stay", "f4", [0, *SIX[1:]], {"fill_value": 0.0}, [0, *SIX[1:]]),
):  # fmt: skip

    @odd("file", f"{_what}: and told", {"x": _right, "told": True})
    def _(folder, dtype=_dtype, stored=_stored, attrs=_attrs):
        path = netcdf4(folder, stored, dtype, **attrs)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            values = x(path)
        return {"x": values, "told": told(path)}


for _what, _dtype, _stored, _attrs in (
    ("a list of missing_values, of doubles for float32", "f4", [-999, -888.8, *SIX[2:]],
     {"missing_value": np.array([-999.0, -888.8])}),
    ("a fill of -999.00001 of doubles -999", "f8", [-999, -999.00001, *SIX[2:]], {"_FillValue": -999.00001}),
    ("a fill of -999.0001 in double of float32 -999", "f4", [-999, -999.0001, *SIX[2:]],
     {"missing_value": -999.0001}),
    ("a list of missing_values as text", "f4", [-999, -888, *SIX[2:]], {"missing_value": "-999., -888."}),
):  # fmt: skip

    @odd("file", _what, [NAN, NAN, *SIX[2:]])
    def _(folder, dtype=_dtype, stored=_stored, attrs=_attrs):
        return x(netcdf4(folder, stored, dtype, **attrs))


@odd("file", "the usual names beside what they repeat are not told", False)
def _(folder):
    return told(netcdf4(folder, SIX, "f4", _FillValue=np.float32(1e15), fmissing_value=np.float32(1e15)))


@odd(
    "file", "a scale and an offset of shorts, in an order not known", Refused("before or after", "add_offset")
)
def _(folder):
    return x(netcdf4(folder, SIX, "i2", scale=0.5, offset=10.0))
