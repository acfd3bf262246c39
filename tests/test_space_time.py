"""Covariance of sequences: against its dense matrix, its draws, and an estimate from errors of known covariance."""

import pytest
import torch

from skyweave.covariance.space_time import SpaceTimeErrorModel, estimate_space_time_covariance
from skyweave.diffusion.noise import NoiseStream

PHI, LENGTH = 0.6, 2.0


def kernel(frames, half, channels=1):
    """Exponential in time, Gaussian in space, ``(F, C, C, 2h, 2w)``."""
    lag = torch.arange(2 * half, dtype=torch.float64)
    lag = torch.where(lag < half, lag, lag - 2 * half)
    space = torch.exp(-0.5 * (lag[:, None] ** 2 + lag[None, :] ** 2) / LENGTH**2)
    time = PHI ** torch.arange(frames, dtype=torch.float64)
    mixing = 0.5 ** (torch.arange(channels)[:, None] - torch.arange(channels)[None]).abs().double()
    return time[:, None, None, None, None] * mixing[:, :, None, None] * space


def model(channels=1, frames=12, half=12):
    levels = torch.tensor([0.1, 100.0], dtype=torch.float64)
    return SpaceTimeErrorModel(levels, torch.stack([kernel(frames, half, channels)] * 2).float())


@pytest.mark.parametrize("channels", [1, 2])
def test_products_and_table_agree(channels):
    shape = (4, channels, 5, 6)
    V = model(channels).on(shape)(1e6)
    cells = torch.arange(4 * channels * 30)
    matrix = V.dense(cells)
    u = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close((V @ u).flatten(1), u.flatten(1) @ matrix, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(matrix, matrix.T, rtol=1e-4, atol=1e-4)
    assert float(torch.linalg.eigvalsh(matrix.double()).min()) > -1e-3
    scaled = V.scaled(torch.linspace(0.5, 2, 5)[:, None].expand(1, 4, channels, 5, 6))
    torch.testing.assert_close(
        (scaled @ u).flatten(1), u.flatten(1) @ scaled.dense(cells), rtol=1e-3, atol=1e-3
    )
    torch.testing.assert_close(scaled.variance().expand(1, *shape).flatten(), scaled.dense(cells).diagonal())


def test_near_lags_are_those_that_were_given():
    V = model().on((3, 1, 6, 6))(1e6)
    matrix = V.dense(torch.arange(3 * 36)).reshape(3, 36, 3, 36)
    expected = kernel(12, 12)
    assert float(matrix[1, 0, 0, 0]) == pytest.approx(PHI, abs=0.03)
    assert float(matrix[2, 0, 0, 1]) == pytest.approx(float(expected[2, 0, 0, 0, 1]), abs=0.03)
    assert float(matrix[0, 7, 0, 0]) == pytest.approx(float(expected[0, 0, 0, 1, 1]), abs=0.03)


def test_draws_have_the_covariance():
    V = model().on((3, 1, 4, 4))(1e6)
    noise = torch.randn(6000, *V.noise_shape, generator=torch.Generator().manual_seed(0))
    draws = V.color(noise).flatten(1)
    sample = draws.T @ draws / len(draws)
    torch.testing.assert_close(sample, V.dense(torch.arange(48)), atol=0.08, rtol=0)


def test_a_draw_does_not_know_where_its_sequence_begins_or_ends():
    def drawn(times):
        V = model(frames=6).on((len(times), 1, 6, 6))(1e6)
        noise = NoiseStream(0, range(2), times)
        return V.color(noise.around(V.noise_shape[0]).normal(1, V.noise_shape[1:]))

    whole, part = drawn(range(0, 36000, 3600)), drawn(range(10800, 28800, 3600))
    torch.testing.assert_close(part, whole[:, 3:8], atol=0.05, rtol=0)


def test_the_estimate_finds_the_covariance_of_known_errors():
    truth = model().on((6, 1, 10, 10))(1e6)
    draws = truth.color(torch.randn(400, *truth.noise_shape, generator=torch.Generator().manual_seed(1)))
    gaps = torch.rand(draws.shape, generator=torch.Generator().manual_seed(2)) < 0.3
    batches = [(draws.masked_fill(gaps, torch.nan), torch.zeros(400, 6, 0, 10, 10))]
    # A denoiser that always says zero: its error is the state itself.
    found = estimate_space_time_covariance(
        lambda x, sigma, known: torch.zeros_like(x), batches, levels=torch.tensor([1e3, 1e4])
    )
    expected = kernel(6, 10)
    near = found.kernels[1][:3, 0, 0, :3, :3]
    torch.testing.assert_close(near, expected[:3, 0, 0, :3, :3].float(), atol=0.06, rtol=0)
    back = SpaceTimeErrorModel.from_tensors(found.to_tensors())
    torch.testing.assert_close(back.kernels, found.kernels, atol=2e-3, rtol=2e-3)
