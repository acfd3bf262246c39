"""Covariance of sequences: against its dense matrix, its draws, and an estimate from errors of known covariance."""

import torch

from skyweave.covariance.by_noise_level import ErrorCovarianceModel, estimate_error_covariance
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
    return ErrorCovarianceModel(levels, torch.stack([kernel(frames, half, channels)] * 2).float())


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
    found = estimate_error_covariance(
        lambda x, sigma, known: torch.zeros_like(x), batches, levels=torch.tensor([1e3, 1e4])
    )
    expected = kernel(6, 10)
    near = found.kernels[1][:3, 0, 0, :3, :3]
    torch.testing.assert_close(near, expected[:3, 0, 0, :3, :3].float(), atol=0.06, rtol=0)
    back = ErrorCovarianceModel.from_tensors(found.to_tensors())
    torch.testing.assert_close(back.kernels, found.kernels, atol=2e-3, rtol=2e-3)
