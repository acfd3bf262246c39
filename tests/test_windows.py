"""Priors of windows: composition, times that do not fit, and the network that sees a volume."""

import numpy as np
import pandas as pd
import pytest
import torch

from skyweave.diffusion.network import Architecture
from skyweave.errors import SkyweaveError
from skyweave.prior.storage import build_network
from skyweave.prior.windows import WindowDenoiser, central_frames, check_times


class Mean(torch.nn.Module):
    """Each frame becomes the mean of its window, plus its own conditioning."""

    def forward(self, x, sigma, conditioning, *, mask=None, periodic=False, autocast=False):
        return x.mean(1, keepdim=True).expand_as(x) + conditioning[:, :, :1]


@pytest.mark.parametrize("frames", [5, 6, 9, 12])
def test_interior_frames_are_the_centres_of_their_windows(frames):
    taken = central_frames(frames, 5)
    assert sorted(t for _, own in taken for t in own) == list(range(frames))
    for first, own in taken:
        for frame in own:
            if 2 <= frame < frames - 2:
                assert frame - first == 2
    assert taken[0][1][0] == 0
    assert taken[-1][1][-1] == frames - 1


@pytest.mark.parametrize("stride", [1, 2, 3, 5])
def test_every_frame_comes_from_one_window_and_from_its_middle(stride):
    taken = central_frames(23, 5, stride)
    assert sorted(t for _, own in taken for t in own) == list(range(23))
    # A frame is never taken from farther off the centre than half the stride, but at the ends.
    assert all(abs(t - first - 2) <= (stride + 1) // 2 for first, own in taken for t in own if 2 <= t < 21)


@pytest.mark.parametrize("chunk_cells", [1, 400, 10**9])
def test_composition_is_the_centre_of_each_window_whatever_the_batches(chunk_cells):
    x = torch.randn(3, 9, 2, 4, 5, generator=torch.Generator().manual_seed(0))
    known = torch.randn(9, 1, 4, 5, generator=torch.Generator().manual_seed(1))
    out = WindowDenoiser(Mean(), known, 5, chunk_cells=chunk_cells)(x, torch.tensor(1.0))
    for t in range(9):
        first = min(max(t - 2, 0), 4)
        torch.testing.assert_close(out[:, t], x[:, first : first + 5].mean(1) + known[t])


def hourly(n, step="1h"):
    return pd.date_range("2020-01-01", periods=n, freq=step).to_numpy()


def test_times_that_no_window_fits_are_refused():
    check_times(hourly(5), 5, 5, 3600.0)
    with pytest.raises(SkyweaveError, match="windows of 5 frames, and 4"):
        check_times(hourly(4), 4, 5, 3600.0)
    with pytest.raises(SkyweaveError, match="10800 s apart, the prior was trained on steps of 3600 s"):
        check_times(hourly(6, "3h"), 6, 5, 3600.0)
    with pytest.raises(SkyweaveError, match="equally spaced"):
        check_times(np.delete(hourly(9), 4), 8, 5, 3600.0)


def network(window=5, masked=False, seed=0):
    torch.manual_seed(seed)
    net = build_network(
        1, 0, Architecture(8, (1, 2), 1, attention=(1,), norm="cell", window=window, masked=masked), 1.0
    )
    for parameter in net.parameters():  # layers that start at zero say nothing
        torch.nn.init.normal_(parameter, std=0.1)
    return net.eval().requires_grad_(False)


def test_the_network_reduces_space_and_keeps_time():
    x = torch.randn(2, 5, 1, 12, 16)
    net = network()
    out = net(x, torch.ones(2))
    assert out.shape == x.shape
    # Every frame hears of every other, and a window of nothing else: windows of a batch are apart.
    moved = x.clone()
    moved[0, 4] += 1
    change = (net(moved, torch.ones(2)) - out).abs().amax((2, 3, 4))
    assert (change[0] > 0).all()
    assert float(change[1].max()) == 0


def test_what_is_masked_is_not_seen():
    net = network(masked=True)
    x, mask = torch.randn(1, 5, 1, 8, 8), torch.ones(1, 5, 1, 8, 8, dtype=torch.bool)
    mask[0, 2, 0, 3:6, 3:6] = False
    changed = torch.where(mask, x, x + 100)
    sigma = torch.tensor([0.7])
    torch.testing.assert_close(net(x, sigma, mask=mask), net(changed, sigma, mask=mask), rtol=0, atol=0)
    assert float((net(x, sigma, mask=mask) - net(x, sigma)).abs().max()) > 0


def test_masked_cells_are_preconditioned_as_for_infinite_noise():
    net = network(masked=True)
    x, nothing = torch.randn(1, 5, 1, 8, 8), torch.zeros(1, 5, 1, 8, 8, dtype=torch.bool)
    small, large = net(x, torch.tensor([0.01]), mask=nothing), net(x, torch.tensor([1e4]))
    # With nothing given, the output is sigma_data times the raw network whatever sigma: of the size of the data.
    assert 0.01 < float(small.std()) < 100
    assert float((small - net(5 * x, torch.tensor([0.01]), mask=nothing)).abs().max()) == 0
    assert torch.isfinite(large).all()
