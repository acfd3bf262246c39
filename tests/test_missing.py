"""Decoding: what xarray packs is unpacked bit for bit, and a fill is a fill whatever its type."""

import numpy as np
import pytest
import xarray as xr

from skyweave.io.formats import open_one
from skyweave.io.missing import NEVER_WRITTEN, OUT_OF_RANGE, decoding_of, reasons
from skyweave.units import conversion

PACKINGS = {
    "short": {"dtype": "i2", "scale_factor": 0.01, "add_offset": 280.0, "_FillValue": np.int16(-32768)},
    "single": {"dtype": "i2", "scale_factor": np.float32(0.01), "_FillValue": np.int16(-1)},
    "byte": {"dtype": "u1", "scale_factor": 0.5, "add_offset": 220.0, "_FillValue": np.uint8(255)},
    "unsigned": {"dtype": "i2", "_Unsigned": "true", "scale_factor": 0.01, "_FillValue": np.int16(-1)},
    "float": {"dtype": "f4", "_FillValue": np.float32(1e20)},
    "double": {"dtype": "f8", "_FillValue": -999.9},
    "plain": {"dtype": "f4", "_FillValue": None},
}


@pytest.mark.parametrize("kind", PACKINGS)
@pytest.mark.parametrize("suffix", ["nc", "zarr"])
def test_what_xarray_writes_is_read_as_xarray_reads_it(tmp_path, kind, suffix):
    values = np.random.default_rng(0).normal(280, 5, (3, 4, 5)).astype(np.float32)
    if kind != "plain":
        values[0, :2] = np.nan
    ds = xr.Dataset({"x": (("t", "lat", "lon"), values)}, {"lat": np.arange(4.0), "lon": np.arange(5.0)})
    path = tmp_path / f"a.{suffix}"
    if suffix == "nc":
        ds.to_netcdf(path, engine="h5netcdf", encoding={"x": PACKINGS[kind]})
        right = xr.open_dataset(path, engine="h5netcdf").x
    else:
        ds.to_zarr(path, zarr_format=2, encoding={"x": PACKINGS[kind]})
        right = xr.open_zarr(path).x
    found = open_one(str(path)).x
    assert found.dtype == right.dtype
    np.testing.assert_array_equal(found.values, right.values)
    assert {k: v for k, v in found.encoding.items() if k in ("scale_factor", "add_offset")} == {
        k: v for k, v in right.encoding.items() if k in ("scale_factor", "add_offset")
    }


@pytest.mark.parametrize("stored", ["i2", "i4", "f4", "f8"])
@pytest.mark.parametrize("as_type", ["i2", "i4", "f4", "f8", "text", "list"])
def test_a_fill_is_masked_whatever_its_type(stored, as_type):
    fill = {"text": "-999", "list": np.array([-999, -998], "f4")}.get(as_type)
    fill = np.dtype(as_type).type(-999) if fill is None else fill
    raw = np.array([-999, -997, 0, 5], stored)
    values = decoding_of(raw.dtype, {"missing_value": fill}, limits=True, default=True, promote=False)[0](raw)
    np.testing.assert_array_equal(values, [np.nan, -997, 0, 5])


def test_a_missing_value_knows_its_reason_until_it_is_computed_with():
    attrs = {"_FillValue": np.float32(-1), "valid_max": np.float32(3)}
    decode = decoding_of(np.dtype("f4"), attrs, limits=True, default=True, promote=False)[0]
    raw = np.array([-1, 1, 9.969209968386869e36, 4, 5, np.nan], "f4")
    values = decode(raw)
    np.testing.assert_array_equal(values, [np.nan, 1, np.nan, np.nan, np.nan, np.nan])
    assert reasons(values) == {NEVER_WRITTEN: 1, OUT_OF_RANGE: 2}
    assert raw[3] == 4  # what was read is not changed


def test_a_part_is_read_as_it_is_cut_from_the_whole(tmp_path):
    values = np.arange(60, dtype="i2").reshape(3, 4, 5)
    ds = xr.Dataset({"x": (("t", "lat", "lon"), values, {"valid_min": np.int16(7)})})
    ds.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    lazy = open_one(str(tmp_path / "a.nc")).x
    right = np.where(values >= 7, values, np.nan)
    np.testing.assert_array_equal(lazy[1:, ::-1, [0, 3]].values, right[1:, ::-1, [0, 3]])
    np.testing.assert_array_equal(lazy[0, 1].values, right[0, 1])
    point = lazy.isel(lat=xr.DataArray([0, 3], dims="p"), lon=xr.DataArray([4, 2], dims="p"))
    np.testing.assert_array_equal(point.values, right[:, [0, 3], [4, 2]])
    np.testing.assert_array_equal(
        lazy.chunk(t=1).transpose("lon", "t", "lat").values, right.transpose(2, 0, 1)
    )


@pytest.mark.parametrize(
    "pair", [("degF", "K"), ("mm/h", "kg m-2 s-1"), ("DU", "mol m-2"), ("inHg", "hPa"), ("kt", "mph")]
)
def test_conversions_there_and_back_are_none(pair):
    there, back = conversion(*pair, "x"), conversion(*pair[::-1], "x")
    assert there[0] * back[0] == pytest.approx(1, rel=1e-9)
    assert there[1] * back[0] + back[1] == pytest.approx(0, abs=1e-9)
