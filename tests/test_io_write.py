"""Writing: what is read back is what was written; failures, kills and reruns lose nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import fsspec
import numpy as np
import pytest
import xarray as xr

from skyweave.errors import SkyweaveError
from skyweave.io import (
    create_store,
    discard_partial,
    done_units,
    finish_store,
    mark_done,
    open_fields,
    partial_store,
    write,
    write_region,
)
from skyweave.io.encoding import chunk_sizes

DATA = Path(os.environ.get("SKYWEAVE_DATA", Path(__file__).parents[2] / "shared" / "data"))


def ensemble(members=4, steps=6, seed=0) -> xr.Dataset:
    """An output as reconstruct makes it: members, mean, quantiles, provenance; odd coordinates."""
    rng = np.random.default_rng(seed)
    shape = (members, steps, 5, 8)
    x = rng.normal(280, 9, shape).astype(np.float32)
    x[:, 0, 0] = np.nan
    plane = ("time", "lat", "lon")
    return xr.Dataset(
        {
            "t": (("member", *plane), x, {"units": "K"}),
            "t_mean": (plane, x.mean(0), {"units": "K"}),
            "t_quantile": (("quantile", *plane), np.quantile(x, [0.05, 0.95], axis=0)),
            "t_provenance": (plane, rng.integers(0, 4, shape[1:]).astype(np.int8)),
        },
        {
            "member": np.arange(members),
            "quantile": [0.05, 0.95],
            "time": np.datetime64("2019-03-01T00:00:00.500", "ns")
            + np.arange(steps) * np.timedelta64(5400, "s"),
            "lat": ("lat", np.linspace(1, -1, 5, dtype=np.float32) / 3),
            "lon": ("lon", (350 + np.arange(8) * 5 / 3) % 360),
            "level": ((), 850.0, {"units": "hPa"}),
        },
        {"seed": 3, "settings": {"method": "covariance", "weights": [1.0, 2.0]}, "done": True, "none": None},
    )


def same(back: xr.Dataset, ds: xr.Dataset) -> None:
    assert set(back.variables) == set(ds.variables)
    for name, var in ds.variables.items():
        assert back[name].dims == var.dims
        assert back[name].dtype == var.dtype, name
        assert back[name].values.tobytes() == var.values.tobytes(), name


def opened(path) -> xr.Dataset:
    return xr.open_dataset(path, engine="zarr" if str(path).endswith(".zarr") else "h5netcdf").load()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", ["a.nc", "a.zarr"])
@pytest.mark.parametrize("lazy", [False, True])
def test_write_then_read_is_the_identity(tmp_path, name, lazy):
    ds = ensemble()
    write(ds.chunk(time=4, lat=3, member=3) if lazy else ds, tmp_path / name)
    back = opened(tmp_path / name)
    same(back, ds)
    fields = open_fields(tmp_path / name)
    for axis in ("time", "lat", "lon", "member"):
        assert fields[axis].values.tobytes() == ds[axis].values.tobytes()
    assert [p.name for p in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["a.nc", "a.zarr"])
@pytest.mark.parametrize("calendar", ["noleap", "360_day"])
def test_calendars_survive(tmp_path, name, calendar):
    ds = ensemble().assign_coords(
        time=xr.date_range("2001-02-26", periods=6, freq="D", calendar=calendar, use_cftime=True)
    )
    write(ds, tmp_path / name)
    back = opened(tmp_path / name)
    assert list(back.time.values) == list(ds.time.values)
    assert back.time.dt.calendar == calendar


@pytest.mark.parametrize("name", ["a.nc", "a.zarr"])
def test_conventions_history_and_attributes(tmp_path, name):
    ds = ensemble()
    ds.attrs["history"] = "made by hand"
    write(ds, tmp_path / name, message="reconstructed")
    back = opened(tmp_path / name)
    assert back.attrs["Conventions"] == "CF-1.11"
    first, second = back.attrs["history"].split("\n")
    assert first.endswith("reconstructed")
    assert second == "made by hand"
    assert json.loads(back.attrs["settings"]) == ds.attrs["settings"]
    assert back.attrs["seed"] == 3
    assert "none" not in back.attrs
    assert back.lat.attrs["standard_name"] == "latitude"
    assert back.lon.attrs["units"] == "degrees_east"
    assert back.time.attrs["axis"] == "T"
    assert "_FillValue" not in back.lat.encoding
    assert ds.attrs["history"] == "made by hand"
    assert ds.lat.attrs == {}


@pytest.mark.parametrize("name", ["b.nc", "b.zarr"])
def test_packing_of_the_input_does_not_leak(tmp_path, name):
    ds = ensemble()[["t_mean"]].drop_attrs()
    packing = {"dtype": "int16", "scale_factor": 0.001, "add_offset": 280.0, "_FillValue": np.int16(-32768)}
    ds.to_netcdf(tmp_path / "a.nc", engine="h5netcdf", encoding={"t_mean": packing})
    packed = open_fields(tmp_path / "a.nc")
    shifted = packed + 500.0  # far outside what the old packing can hold
    shifted.t_mean.encoding = dict(packed.t_mean.encoding)
    shifted.t_mean.attrs["valid_range"] = np.array([-32767, 32767], np.int16)
    write(shifted, tmp_path / name)
    back = opened(tmp_path / name)
    np.testing.assert_array_equal(back.t_mean, shifted.t_mean)
    assert "scale_factor" not in back.t_mean.encoding
    assert "valid_range" not in back.t_mean.attrs


@pytest.mark.parametrize("name", ["a.nc", "a.zarr"])
def test_an_existing_output_is_kept_unless_overwriting(tmp_path, name):
    write(ensemble(seed=1), tmp_path / name)
    with pytest.raises(SkyweaveError, match=r"exists already.*--overwrite"):
        write(ensemble(seed=2), tmp_path / name)
    same(opened(tmp_path / name), ensemble(seed=1))
    write(ensemble(seed=2), tmp_path / name, overwrite=True)
    same(opened(tmp_path / name), ensemble(seed=2))
    write(open_fields(tmp_path / name) + 1, tmp_path / name, overwrite=True)  # from itself, lazily
    np.testing.assert_array_equal(opened(tmp_path / name).t, ensemble(seed=2).t + 1)


@pytest.mark.parametrize("name", ["a.nc", "a.zarr"])
def test_a_failed_write_leaves_what_was_there(tmp_path, name):
    write(ensemble(seed=1), tmp_path / name)

    def fail(block):
        raise OSError("disk on fire")

    broken = ensemble(seed=2).chunk(time=2)
    broken["t"] = broken.t.copy(
        data=broken.t.data.map_blocks(fail, dtype=np.float32, meta=np.empty(0, np.float32))
    )
    with pytest.raises(SkyweaveError, match=r"disk on fire.*untouched"):
        write(broken, tmp_path / name, overwrite=True)
    same(opened(tmp_path / name), ensemble(seed=1))
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_bad_outputs_are_refused(tmp_path):
    (tmp_path / "notes.zarr").mkdir()
    (tmp_path / "notes.zarr" / "thesis.tex").write_text("years of work")
    (tmp_path / "dir.nc").mkdir()
    (tmp_path / "file.zarr").write_text("a file")
    for name, match in [
        ("no/such/a.nc", "folder .* does not exist"),
        ("a.grb", "end it in .nc"),
        ("notes.zarr", "holds no Zarr store; it will not be removed"),
        ("dir.nc", "is a folder, not what"),
        ("file.zarr", "is a file, not what"),
    ]:
        for make in (write, create_store):
            if make is create_store and not name.endswith(".zarr"):
                continue
            with pytest.raises(SkyweaveError, match=match):
                make(ensemble(), tmp_path / name, overwrite=True)
    assert (tmp_path / "notes.zarr" / "thesis.tex").read_text() == "years of work"


def test_zarr_to_a_url():
    url = "memory://skyweave-written.zarr"
    write(ensemble(), url)
    np.testing.assert_array_equal(open_fields(url).t, ensemble().t)
    with pytest.raises(SkyweaveError, match="never overwritten"):
        write(ensemble(), url, overwrite=True)
    with pytest.raises(SkyweaveError, match="only Zarr"):
        write(ensemble(), "memory://a.nc")
    fsspec.filesystem("memory").rm("/skyweave-written.zarr", recursive=True)


@pytest.mark.parametrize(
    "sizes", [(1, 1), (16, 8760, 64, 64), (3, 24, 721, 1440), (100000,), (181, 360), (4, 10, 3000, 9000)]
)
def test_chunks_cover_and_are_bounded(sizes):
    named = {f"d{k}": n for k, n in enumerate(sizes)}
    chunks = chunk_sizes(named, 4)
    assert list(chunks) == list(named)
    assert all(1 <= chunks[d] <= named[d] for d in named)
    assert np.prod(list(chunks.values())) * 4 <= 4 * 2**20
    assert chunk_sizes(named, 4, {"d0": 1})["d0"] == 1


UNITS = [(m, t) for m in range(0, 4, 2) for t in range(0, 6, 3)]


def write_unit(ds, path, unit):
    m, t = unit
    region = {"member": slice(m, m + 2), "time": slice(t, t + 3)}
    write_region(ds.isel(region), path, region)


@pytest.mark.filterwarnings("error")
def test_regions_in_any_order_equal_one_write(tmp_path):
    ds = ensemble()
    path = tmp_path / "out.zarr"
    create_store(ds, path, chunks={"member": 2, "time": 3})
    unwritten = opened(partial_store(path))
    assert np.isnan(unwritten.t).all()
    assert (unwritten.t_provenance == 0).all()
    assert unwritten.lat.values.tobytes() == ds.lat.values.tobytes()
    assert not path.exists()
    for unit in reversed(UNITS):
        write_unit(ds, path, unit)
    finish_store(path)
    same(opened(path), ds)
    assert opened(path).t.attrs["units"] == "K"
    assert [p.name for p in tmp_path.iterdir()] == ["out.zarr"]


def test_regions_that_cut_chunks_or_do_not_fit_are_refused(tmp_path):
    ds, path = ensemble(), tmp_path / "out.zarr"
    with pytest.raises(SkyweaveError, match="create_store comes first"):
        write_region(ds, path, {"time": slice(0, 6)})
    create_store(ds, path, chunks={"member": 2, "time": 3})
    for region, match in [
        ({"time": slice(0, 2)}, "cuts chunks of 3"),
        ({"time": slice(1, 3)}, "cuts chunks of 3"),
        ({"member": slice(1, 4)}, "cuts chunks of 2"),
    ]:
        with pytest.raises(SkyweaveError, match=match):
            write_region(ds.isel(region), path, region)
    with pytest.raises(SkyweaveError, match="does not fit"):
        write_region(ds, path, {"time": slice(0, 3)})
    with pytest.raises(SkyweaveError, match="does not fit"):
        write_region(ds.isel(time=slice(0, 3)), path, {"time": slice(6, 9)})
    with pytest.raises(SkyweaveError, match="no variable 'q'"):
        write_region(ds[["t"]].rename(t="q"), path, {"time": slice(0, 6)})
    assert np.isnan(opened(partial_store(path)).t).all()


def test_resume_knows_what_is_done_and_refuses_other_settings(tmp_path):
    ds, path = ensemble(), tmp_path / "out.zarr"
    assert done_units(path, "a") == set()
    with pytest.raises(SkyweaveError, match="create_store comes first"):
        mark_done(path, "0", "a")
    create_store(ds, path, chunks={"member": 2, "time": 3})
    write_unit(ds, path, UNITS[0])
    mark_done(path, "members 0-2, time 0-3", "a")
    assert done_units(path, "a") == {"members 0-2, time 0-3"}
    with pytest.raises(SkyweaveError, match="other settings"):
        done_units(path, "b")
    with pytest.raises(SkyweaveError, match="resume it, or allow overwriting"):
        create_store(ds, path)
    assert done_units(path, "a")
    create_store(ds, path, overwrite=True)
    assert done_units(path, "b") == set()


def test_an_older_output_stays_until_the_new_one_is_complete(tmp_path):
    path = tmp_path / "out.zarr"
    write(ensemble(seed=1), path)
    with pytest.raises(SkyweaveError, match="exists already"):
        create_store(ensemble(), path)
    create_store(ensemble(), path, chunks={"member": 2, "time": 3}, overwrite=True)
    same(opened(path), ensemble(seed=1))
    for unit in UNITS:
        write_unit(ensemble(), path, unit)
    with pytest.raises(SkyweaveError, match="exists already"):
        finish_store(path)
    same(opened(path), ensemble(seed=1))
    finish_store(path, overwrite=True)
    same(opened(path), ensemble())
    with pytest.raises(SkyweaveError, match="no unfinished store"):
        finish_store(path, overwrite=True)


def test_only_our_own_leftovers_are_discarded(tmp_path):
    create_store(ensemble(), tmp_path / "out.zarr")
    (tmp_path / "out.zarr.partial" / "mine.txt").write_text("keep me")
    with pytest.raises(SkyweaveError, match=r"mine.txt"):
        discard_partial(tmp_path / "out.zarr")
    assert (tmp_path / "out.zarr.partial" / "mine.txt").exists()


KILLED = """
import os, signal, sys
sys.path.insert(0, {tests!r})
from test_io_write import UNITS, ensemble, write_unit
from skyweave.io import *
path, stop = {path!r}, {stop}
done = done_units(path, "s")
if not partial_store(path).is_dir():
    create_store(ensemble(), path, chunks={{"member": 2, "time": 3}})
for k, unit in enumerate(UNITS):
    if str(unit) in done:
        continue
    write_unit(ensemble(), path, unit)
    if k == stop:
        os.kill(os.getpid(), signal.SIGKILL)
    mark_done(path, str(unit), "s")
finish_store(path)
"""


def test_killed_and_resumed_equals_uninterrupted(tmp_path):
    path = tmp_path / "out.zarr"
    for stop, code in ((2, -signal.SIGKILL), (-1, 0)):
        script = KILLED.format(tests=str(Path(__file__).parent), path=str(path), stop=stop)
        assert subprocess.run([sys.executable, "-c", script], check=False).returncode == code
        if code:
            assert not path.exists()
            assert len(done_units(path, "s")) == 2
    same(opened(path), ensemble())


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["a.nc", "a.zarr"])
def test_real_packed_fields_round_trip(tmp_path, name):
    for path in [
        *DATA.glob("era5-global-1deg*/*.nc"),
        *DATA.glob("ncep-slp*/*.nc"),
        *DATA.glob("era5-tl31*/*.nc"),
    ]:
        ds = open_fields(path).isel(time=slice(0, 3))
        write(ds, tmp_path / name, overwrite=True)
        same(open_fields(tmp_path / name), ds)  # edges are written as the bounds of CF, and read as edges
