"""The limit on waves: nothing of the climate is touched, what piles up is taken away, and it lives in the file."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from emulate_cases import SPEC, drifting, global_grid, settings, written
from skyweave.emulate import open_emulator, train_emulator
from skyweave.emulate.limit import power_limit
from skyweave.grid import Grid
from skyweave.prior.data import Record
from skyweave.state import to_tensor

GRIDS = {
    "globe": global_grid(),
    "odd globe": global_grid(9, 15),
    "region": Grid(np.arange(30.0, 42), np.arange(0.0, 24)),
}


@pytest.fixture(params=list(GRIDS))
def record(request) -> Record:
    world = drifting(60, grid=GRIDS[request.param])
    return Record(world, SPEC, Grid.from_dataset(world))


def test_states_of_the_climate_are_left_alone(record):
    limit = power_limit(record, record.grid.periodic, 1.0)
    states = record.read(slice(None))
    torch.testing.assert_close(limit(states), states, rtol=1e-5, atol=1e-3)
    # A smaller share takes a little of those that are stronger.
    departure = (power_limit(record, record.grid.periodic, 0.9)(states) - states).square().mean()
    assert 0 < float(departure) < 0.05 * float((states - states.mean(0)).square().mean())


def test_power_is_that_of_parseval_and_stays_below_the_limit(record):
    limit = power_limit(record, record.grid.periodic, 0.99)
    noisy = record.read(slice(None)) + 20 * torch.randn(
        60, 2, *record.grid.shape, generator=torch.Generator().manual_seed(0)
    )
    noisy = noisy.double()
    for power in limit.powers(noisy):
        torch.testing.assert_close(power.sum(-1), noisy.square().sum((-2, -1)), rtol=1e-4, atol=0)
    zonal, meridional = limit.powers(limit(noisy))
    assert bool((zonal <= 1.001 * limit.zonal + 1e-6).all())
    assert bool((meridional <= 1.001 * limit.meridional + 1e-6).all())
    assert float(limit.powers(noisy)[0][..., -1].mean()) > 20 * float(zonal[..., -1].mean())


def test_missing_cells_stay_missing_and_a_circle_has_no_seam():
    world = drifting(40)
    record = Record(world, SPEC, Grid.from_dataset(world))
    limit = power_limit(record, True, 0.9)
    z = record.read(slice(0, 3)) + torch.randn(3, 2, 12, 24, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(torch.roll(limit(z), 5, -1), limit(torch.roll(z, 5, -1)), rtol=1e-4, atol=1e-3)
    z[:, :, 3, 4] = float("nan")
    assert torch.equal(limit(z).isnan(), z.isnan())


def test_an_emulator_is_limited_and_its_file_knows(tmp_path):
    path = written(tmp_path)
    made = train_emulator(settings(path, tmp_path / "run"))
    assert made.limit is not None
    again = open_emulator(tmp_path / "run/emulator.safetensors")
    x = to_tensor(drifting(3, seed=5), SPEC, global_grid())
    rough = x + 30 * torch.randn(x.shape, generator=torch.Generator().manual_seed(2))
    assert torch.equal(again.step(rough), made.step(rough))
    free = replace(made, limit=None)
    assert free.fingerprint() != made.fingerprint()
    wave = made.limit.powers(made.transform.forward(made.step(rough)))[0][..., -1]
    assert float(wave.mean()) < 0.2 * float(
        made.limit.powers(made.transform.forward(free.step(rough)))[0][..., -1].mean()
    )
    # Where no limit is wanted there is none, in the file neither.
    plain = train_emulator(settings(path, tmp_path / "free", limit=None))
    assert plain.limit is None
    assert open_emulator(tmp_path / "free/emulator.safetensors").limit is None
