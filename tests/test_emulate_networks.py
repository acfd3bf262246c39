"""Laws of the spherical transform and the networks on it: exactness, rotation, nothing before training."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch_harmonics import InverseRealSHT, RealSHT

from emulate_cases import global_grid
from skyweave.emulate.config import LossConfig, NetworkConfig
from skyweave.emulate.loss import ForecastLoss
from skyweave.emulate.networks import Integrator, build_integrator
from skyweave.emulate.sfno import SFNO, SpectralFilter
from skyweave.emulate.spherical import SphericalTransform, is_global, legendre
from skyweave.errors import SkyweaveError
from skyweave.grid import Grid
from skyweave.nature_runs.spherical_dynamics import gaussian_latitudes

GAUSS = Grid(gaussian_latitudes(16), np.arange(32) * 11.25)
OFFSET = global_grid(16, 32)
WITH_POLES = Grid(np.linspace(90, -90, 17), np.arange(32) * 11.25 - 180)
REGION = Grid(np.arange(30.0, 60, 2.5), np.arange(-20.0, 20, 2.5))
GRIDS = {"gaussian": GAUSS, "offset": OFFSET, "with poles": WITH_POLES}


def randomised(module: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """The module with every parameter drawn, the ones that start at zero included."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(0.3 * torch.randn(p.shape, generator=generator))
    return module.eval().requires_grad_(False)


# ---- the transform


def test_legendre_functions_are_those_of_torch_harmonics():
    theirs = InverseRealSHT(16, 32, lmax=11, mmax=11, grid="legendre-gauss").pct
    np.testing.assert_allclose(legendre(GAUSS.lat, 11, 11), theirs.numpy(), atol=1e-12)


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_harmonics_survive_the_way_to_the_grid_and_back(grid):
    transform = SphericalTransform(grid, 10)
    generator = torch.Generator().manual_seed(1)
    waves = torch.randn(10, 3, 2, 10, generator=generator)
    waves *= torch.arange(10)[None] >= torch.arange(10)[:, None, None, None]  # degree at least the order
    waves[0, :, 1] = 0
    back = transform(transform.inverse(waves))
    torch.testing.assert_close(back, waves, atol=2e-4, rtol=0)


def test_on_a_gaussian_grid_the_analysis_is_that_of_torch_harmonics():
    x = torch.randn(3, 16, 32, generator=torch.Generator().manual_seed(2))
    ours = SphericalTransform(GAUSS, 11)(x)
    theirs = RealSHT(16, 32, lmax=11, mmax=11, grid="legendre-gauss")(x.double())
    torch.testing.assert_close(ours[:, :, 0].permute(1, 2, 0), theirs.real.float(), atol=1e-4, rtol=0)
    torch.testing.assert_close(ours[:, :, 1].permute(1, 2, 0), theirs.imag.float(), atol=1e-4, rtol=0)


def test_only_global_grids_have_harmonics():
    assert all(is_global(grid) for grid in GRIDS.values())
    tropics = Grid(np.arange(-30.0, 31, 5), np.arange(0.0, 360, 5))
    assert not is_global(tropics)
    with pytest.raises(SkyweaveError, match="'unet' for a region"):
        SphericalTransform(REGION)
    with pytest.raises(SkyweaveError, match="there are 16"):
        SphericalTransform(OFFSET, 20)


# ---- the networks


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_rotating_the_input_in_longitude_rotates_the_output(grid):
    network = randomised(SFNO(grid, 3, 2, width=8, layers=2))
    x = torch.randn(2, 3, *grid.shape, generator=torch.Generator().manual_seed(3))
    y = network(x)
    assert float(y.std()) > 0.01
    for cells in (1, 7):
        turned = network(x.roll(cells, -1))
        torch.testing.assert_close(turned, y.roll(cells, -1), atol=2e-5 * float(y.abs().max()), rtol=1e-4)
    # And not because it ignores its input.
    assert float((y - y.roll(1, -1)).abs().max()) > 0.01


def test_a_filter_scales_each_degree_and_mixes_none():
    torch.manual_seed(0)
    filter_ = SpectralFilter(SphericalTransform(OFFSET, 10), 1)
    only = torch.zeros(10, 1, 2, 10)
    only[2, 0, :, 5] = torch.tensor([1.0, 0.5])
    with torch.no_grad():
        out = filter_.transform(filter_(filter_.transform.inverse(only)[None]))[:, 0]
        real, imaginary = filter_.weight[5, :, 0, 0].tolist()
    expected = complex(1, 0.5) * complex(real, imaginary)
    assert complex(*out[2, :, 5].tolist()) == pytest.approx(expected, abs=1e-4)
    out[2, :, 5] = 0
    assert float(out.abs().max()) < 1e-4


@pytest.mark.parametrize(
    ("grid", "kind"), [(OFFSET, "sfno"), (OFFSET, "unet"), (REGION, "unet")], ids=["sfno", "unet", "region"]
)
def test_before_training_the_forecast_is_persistence_and_the_mean_increment(grid, kind):
    mean, deviation = torch.tensor([0.1, -0.2]), torch.tensor([0.5, 2.0])
    config = NetworkConfig(kind=kind, width=8, layers=1)
    module = build_integrator(grid, 2, 1, config, (mean, deviation)).eval()
    z = torch.randn(3, 2, *grid.shape)
    z[0, 0, 2, 3] = float("nan")
    after = module(z, torch.randn(3, 1, *grid.shape))
    torch.testing.assert_close(after, z + mean[:, None, None], equal_nan=True)


def test_the_network_is_chosen_by_the_grid():
    def name(grid: Grid) -> str:
        increments = (torch.zeros(1), torch.ones(1))
        return type(build_integrator(grid, 1, 0, NetworkConfig(width=8), increments).network).__name__

    assert name(OFFSET) == "SFNO"
    assert name(REGION) == "_RegionalUNet"


# ---- the loss


class _Fixed(Integrator):
    """Adds the same field at every step."""

    def __init__(self, field: torch.Tensor, deviation: torch.Tensor) -> None:
        super().__init__(torch.nn.Identity(), torch.zeros_like(deviation), deviation)
        self.field = field

    def forward(self, z: torch.Tensor, forcing: torch.Tensor) -> torch.Tensor:
        return z + self.field


@pytest.mark.parametrize("grid", [OFFSET, REGION], ids=["global", "region"])
def test_the_loss_is_the_squared_error_in_increments_by_area(grid):
    deviation = torch.tensor([2.0])
    module = _Fixed(torch.full((1, *grid.shape), 3.0), deviation)
    fields = torch.zeros(2, 3, 1, *grid.shape)
    fields[:, 1, :, : grid.shape[0] // 2] = float("nan")  # what is missing does not count
    loss = ForecastLoss(grid, LossConfig(spectral=0.0))
    forcing = torch.zeros(2, 3, 0, *grid.shape)
    assert float(loss(module, fields, forcing, 1)) == pytest.approx((3 / 2) ** 2)
    # After a second step the error is 6: the mean of both.
    assert float(loss(module, fields, forcing, 2)) == pytest.approx(((3 / 2) ** 2 + (6 / 2) ** 2) / 2)


@pytest.mark.parametrize("grid", [GAUSS, REGION], ids=["global", "region"])
def test_the_power_of_all_rings_is_the_mean_square(grid):
    loss = ForecastLoss(grid, LossConfig())
    x = torch.randn(3, 2, *grid.shape, generator=torch.Generator().manual_seed(5))
    if loss.transform is not None:
        x = loss.transform.inverse(loss.transform(x)).unflatten(0, (3, 2))
        wanted = (x**2 * loss.weights).mean((2, 3))
        torch.testing.assert_close(loss.ring_power(x).sum(-1), wanted, rtol=2e-3, atol=0)
    else:
        # White noise: the corners of the plane lie beyond the rings.
        many = torch.randn(400, 1, *grid.shape, generator=torch.Generator().manual_seed(6))
        share = float((loss.ring <= loss.rings - 1).float().mul(loss.sides).sum() / (grid.size))
        assert float(loss.ring_power(many).sum(-1).mean()) == pytest.approx(share, rel=0.02)


@pytest.mark.parametrize("grid", [GAUSS, REGION], ids=["global", "region"])
def test_the_spectral_penalty_sees_faint_small_scales_and_neither_phases_nor_large_scales(grid):
    loss = ForecastLoss(grid, LossConfig(spectral_from=0.5))
    rows, columns = grid.shape
    phase = 2 * np.pi * np.arange(columns) / columns
    along = (
        np.cos(np.deg2rad(grid.lat))[:, None] if grid is GAUSS else np.ones((rows, 1))
    )  # smooth at the poles
    large = torch.from_numpy(np.cos(phase) * along).float()[None, None]
    faint = 1e-2 * torch.from_numpy(np.cos(0.375 * columns * phase) * along).float()[None, None]
    truth = large + faint
    assert float(loss.spectral_error(truth, truth)) == 0
    # Lost, and trebled: neither would show in the mean square error, which they hardly change.
    assert float(loss.spectral_error(large, truth)) > 0.02
    assert float(loss.spectral_error(large + 3 * faint, truth)) > 0.1
    if grid is GAUSS:
        assert float(loss.spectral_error(truth.roll(3, -1), truth)) < 1e-6
        assert float(loss.spectral_error(2 * large + faint, truth)) < 1e-3
