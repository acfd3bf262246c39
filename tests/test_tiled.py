"""Tiles inside a denoising step against the whole field at once."""

import numpy as np
import pytest
import torch

from skyweave.diffusion.network import UNet
from skyweave.diffusion.precondition import PreconditionedNetwork
from skyweave.errors import SkyweaveError
from skyweave.grid import Grid
from skyweave.prior.presets import find_preset
from skyweave.prior.storage import LearntPrior
from skyweave.prior.tiled import TiledDenoiser
from skyweave.state import StateSpec, Variable
from skyweave.transform import Identity, StateTransform


def network(scale=0.3):
    torch.manual_seed(0)
    net = UNet(1, 1, find_preset("tiny").architecture)
    for p in net.parameters():
        torch.nn.init.normal_(p, std=scale)
    return PreconditionedNetwork(net, 1.0).eval().requires_grad_(False)


@pytest.mark.parametrize("periodic", [False, True])
def test_tiles_agree_with_the_whole_field(periodic):
    net, shape = network(), (72, 96)
    empty = torch.zeros(1, 0, *shape)
    x = torch.randn(2, 1, 1, *shape, generator=torch.Generator().manual_seed(1))
    sigma = torch.tensor(0.5)
    whole = net(x[:, 0], sigma.expand(2), empty.expand(2, -1, -1, -1), periodic=periodic)[:, None]
    tiled = TiledDenoiser(net, empty, (32, 32), periodic=periodic)(x, sigma)
    # In units of what the network adds to the noisy field, cells beyond a tile matter little.
    scale = (whole - x / (1 + 0.25)).std()
    assert float((tiled - whole).pow(2).mean().sqrt() / scale) < 0.15
    wrong = TiledDenoiser(net, empty, (32, 32), periodic=periodic, overlap=(0, 0))(x, sigma)
    assert float((tiled - whole).pow(2).mean()) < 0.5 * float((wrong - whole).pow(2).mean())


def test_one_tile_is_the_whole_field():
    net, shape = network(), (40, 48)
    empty = torch.zeros(1, 0, *shape)
    x = torch.randn(1, 2, 1, *shape, generator=torch.Generator().manual_seed(1))
    sigma = torch.tensor(2.0)
    whole = net(x[0], sigma.expand(2), empty.expand(2, -1, -1, -1), periodic=True)[None]
    torch.testing.assert_close(TiledDenoiser(net, empty, (64, 64), periodic=True)(x, sigma), whole)


def test_white_noise_is_denoised_exactly_in_tiles():
    net, shape = network(0.0), (30, 50)
    x = torch.randn(1, 1, 1, *shape)
    out = TiledDenoiser(net, torch.zeros(1, 0, *shape), (16, 20), periodic=True)(x, torch.tensor(1.0))
    torch.testing.assert_close(out, x / 2)


def test_a_prior_gives_tiles_where_asked():
    prior = LearntPrior(StateSpec((Variable("a", "K"),)), StateTransform((Identity(),)), (16, 16), network())
    grid = Grid(np.arange(0.0, 30.0), np.arange(0.0, 40.0))
    denoiser = prior.denoiser(grid, None, tile=(16, 16))
    assert denoiser(torch.randn(2, 1, 1, 30, 40), torch.tensor(1.0)).shape == (2, 1, 1, 30, 40)
    assert denoiser.evaluations == 1
    with pytest.raises(SkyweaveError, match="overlap"):
        TiledDenoiser(prior.network, torch.zeros(1, 0, 30, 40), (16, 16), periodic=False, overlap=(16, 0))
