"""Averages over masks: every cell from where it is shown, nothing of what is hidden, and the same for every batch."""

import pytest
import torch
from mask_average import MaskAveraged, averaged_over_masks

from skyweave.errors import SkyweaveError
from test_storage import made
from test_windows import network


class Shown(torch.nn.Module):
    """Returns what it is shown, and a large number where it is shown nothing."""

    masked, network, sigma_data = True, None, 1.0

    def forward(self, x, sigma, conditioning=None, *, mask=None, periodic=False, autocast=False):
        return torch.where(mask, x, torch.full_like(x, 1e6))


@pytest.mark.parametrize("shape", [(3, 2, 8, 8), (3, 5, 2, 8, 8)])
@pytest.mark.parametrize("pairs", [1, 3])
def test_every_cell_comes_from_where_it_is_shown(shape, pairs):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(MaskAveraged(Shown(), pairs)(x, torch.ones(3)), x)


def test_a_window_does_not_depend_on_its_batch():
    model = MaskAveraged(network(masked=True))
    x, sigma = torch.randn(4, 5, 1, 8, 8), torch.full((4,), 0.3)
    torch.testing.assert_close(model(x, sigma)[2:3], model(x[2:3], sigma[2:3]), rtol=1e-4, atol=1e-5)


def test_a_prior_without_masks_is_refused():
    with pytest.raises(SkyweaveError, match="takes no mask"):
        averaged_over_masks(made())
