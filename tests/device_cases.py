"""A small posterior of which roads are run on a device that refuses to mix, and compared."""

import numpy as np
import scipy.sparse as sp
import torch

from pretended_device import DEVICE, There, pretended, there
from skyweave.observe.errors import CorrelatedBlock, ErrorCovariance, unit_vectors
from skyweave.observe.operator import StateOperator
from skyweave.observe.segment import Observations
from skyweave.prior.analytic import GaussianPrior, red_spectrum

N = 16
SHAPE = (1, 1, N, N)


def prior(device="cpu"):
    spectrum = red_spectrum(N, N).float()
    return GaussianPrior(there(spectrum) if device != "cpu" else spectrum, SHAPE)


def observations(count=30, transform=None, seed=0):
    """Means of two cells, some of them with correlated errors; numbers of the CPU, as they come from files."""
    rng = np.random.default_rng(seed)
    cells = rng.permutation(N * N)[: 2 * count]
    rows = np.arange(count).repeat(2)
    matrix = sp.csr_array((np.full(2 * count, 0.5), (rows, cells)), shape=(count, N * N))
    block = CorrelatedBlock(np.arange(4), unit_vectors(np.arange(4.0), np.zeros(4)), 100.0, "exponential")
    operator = StateOperator(matrix, SHAPE, transform)
    y = operator(torch.from_numpy(rng.standard_normal((1, *SHAPE))).float())[0]
    return Observations(operator, y, ErrorCovariance(np.full(count, 0.04), (block,)))


def same(road, atol=2e-4):
    """What a road gives on both devices."""
    plain = road("cpu")
    with pretended():
        on_device = road(DEVICE)
        assert isinstance(on_device, There), "the result left the device"
        found = on_device.cpu()
    torch.testing.assert_close(found, plain, atol=atol, rtol=1e-3)
