"""Damage that ends a compiled decoder, or that it never ends with: an error of ours, and the next file is read."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr
from numcodecs import LZ4, Blosc, GZip, Zstd

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))

from skyweave.errors import SkyweaveError
from skyweave.io import open_fields
from skyweave.io.zarr_chunks import check_chunk

# By input of `benchmarks/fuzz.py --reader grib --only`: bytes of a file of edition 2 that end ecCodes by a segmentation
# fault, twice by memory that is freed twice, and that it does not come to an end with.
DAMAGE = {
    4: {170: 0, 171: 0, 172: 0, 173: 0, 174: 0, 175: 0, 176: 7},
    6: {111: 255, 453: 251},
    86: {
        55: 239,
        71: 3,
        132: 253,
        134: 128,
        214: 39,
        274: 97,
        344: 64,
        355: 1,
        379: 127,
        415: 194,
        485: 16,
        522: 21,
    },
    916: {40: 0, 41: 1, 544: 255, 545: 255, 546: 0, 547: 0},
}


@pytest.mark.parametrize("number", DAMAGE)
def test_grib_that_ends_its_decoder(tmp_path, number):
    pytest.importorskip("eccodes")
    from fuzz_targets import TARGETS, make_seeds

    whole = make_seeds(TARGETS["grib"])[1]["a.grib"]
    damaged = bytearray(whole)
    for place, value in DAMAGE[number].items():
        damaged[place] = value
    path, good = tmp_path / "damaged.grib", tmp_path / "good.grib"
    path.write_bytes(damaged)
    good.write_bytes(whole)
    with pytest.raises(SkyweaveError, match=r"damaged\.grib"):
        open_fields(path).load()
    assert open_fields(good).sizes["latitude"] == 6


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_chunk_that_is_shorter_than_it_says(tmp_path, zarr_format):
    values = np.arange(48.0).reshape(2, 4, 6)
    ds = xr.Dataset({"t": (("time", "lat", "lon"), values)}, {"lat": np.arange(4.0), "lon": np.arange(6.0)})
    codec = Blosc() if zarr_format == 2 else zarr.codecs.BloscCodec(typesize=8)
    ds.to_zarr(tmp_path / "a.zarr", zarr_format=zarr_format, encoding={"t": {"compressors": [codec]}})
    np.testing.assert_array_equal(open_fields(tmp_path / "a.zarr")["t"], values)
    chunk = tmp_path / "a.zarr" / "t" / ("0.0.0" if zarr_format == 2 else "c/0/0/0")
    data = bytearray(chunk.read_bytes())
    chunk.write_bytes(data[:40])
    with pytest.raises(SkyweaveError, match=r"a\.zarr.*a chunk of 40 bytes says that it has"):
        open_fields(tmp_path / "a.zarr").load()


@pytest.mark.parametrize("codec", [Blosc(), Blosc("zstd"), Zstd(), LZ4(), GZip()])
def test_claims_of_chunks(codec):
    """A valid chunk passes whatever it holds; one that unpacks to far more than its array's share does not."""
    for count in (1, 100, 70_000, 2**24 + 1):
        data = bytes(codec.encode(np.zeros(count, np.uint8)))
        check_chunk(data, codec.codec_id, count)
    bomb = bytes(codec.encode(np.zeros(2**26 + 1000, np.uint8)))
    with pytest.raises(ValueError, match="unpacks to 67109864"):
        check_chunk(bomb, codec.codec_id, 48)
