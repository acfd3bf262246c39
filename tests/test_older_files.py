"""What an older skyweave (commit d8bcbad) wrote still opens, and holds and gives the numbers that it held and gave.

``data/older_outputs.zip`` has an emulator of a world of 4 x 8 cells and the stores that a forecast of it, a cycled run
and a reconstruction left; the numbers below were printed by the code that wrote them.
"""

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from skyweave.cycle import assimilate
from skyweave.emulate import open_emulator, open_forecast
from skyweave.io import open_fields
from test_assimilate import SETTINGS, TIMES, Halve, half, prior  # noqa: F401  (the fixture is used by name)


@pytest.fixture(scope="module")
def older(tmp_path_factory):
    folder = tmp_path_factory.mktemp("older")
    with zipfile.ZipFile(Path(__file__).parent / "data/older_outputs.zip") as packed:
        packed.extractall(folder)
    return folder


def test_an_emulator(older):
    emulator = open_emulator(older / "emulator.safetensors")
    assert emulator.fingerprint() == "b12e10f9437408caf52b28a0acde9737a4dbdb999bdceec2f006bf74697e5826"
    time = np.datetime64("2001-01-20T18", "ns")
    state = open_forecast(older / "forecast.zarr", emulator.spec).at(time)
    stepped = emulator.step(state, time)[0, :, 1, :3]
    want = [[292.7948, 287.01642, 271.70993], [6.12658, 6.57766, 6.64432]]
    torch.testing.assert_close(stepped, torch.tensor(want), atol=1e-3, rtol=0)
    noisy = emulator.stochastic(seed=1).step(state, time, [3])[0, :, 2, 4]
    torch.testing.assert_close(noisy, torch.tensor([256.98856, 6.35465]), atol=1e-3, rtol=0)
    assert emulator.hindcast.deviation[1][0] == pytest.approx(19.42802072488413)
    assert emulator.hindcast.length_km[0][1] == pytest.approx(19692.12001544887)


def test_a_forecast(older):
    file = open_forecast(older / "forecast.zarr", open_emulator(older / "emulator.safetensors").spec)
    found = file.at(np.datetime64("2001-01-21T06"), [1])
    want = torch.tensor([286.8306884765625, 282.5634460449219, 273.0411682128906])
    assert torch.equal(found[0, 0, 1, :3], want)


def test_a_cycled_run_and_another_that_begins_with_its_members(older, prior):  # noqa: F811
    stored = open_fields(older / "cycle.zarr")
    np.testing.assert_array_equal(
        stored.a.transpose("member", "time", ...).values[2, 1, 3, :3],
        np.float32([286.3878173828125, 281.28851318359375, 283.41070556640625]),
    )
    assert xr.open_zarr(older / "cycle.zarr").inflation.values.tolist() == [1.0, 4.6636134145070445]
    last = stored[["a"]].isel(time=-1)
    made = assimilate(
        prior, Halve(), half(), initial=last, times=TIMES[1:3], settings=SETTINGS, members=3, progress=False
    )
    np.testing.assert_allclose(made.a[:, 0], last.a, rtol=1e-6)


def test_a_reconstruction(older):
    stored = open_fields(older / "reconstruction.zarr")
    want = np.float32([287.9899597167969, 281.40814208984375, 283.69366455078125])
    np.testing.assert_array_equal(stored.a_mean.values[1, 3, :3], want)
    assert stored.a_provenance.values[1, 3].tolist() == [1] * 8 + [2] + [3] * 7
