"""Spectra of fields whose spectra are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from skyweave.verify import melr, power_spectrum, rapsd, zonal_spectrum


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("periodic", [False, True])
def test_white_noise_is_flat_and_its_power_is_its_variance(periodic):
    x = 3.0 * noise(400, 24, 32)
    assert float(power_spectrum(x, periodic=periodic).sum(dim=(-2, -1)).mean()) == pytest.approx(
        9.0, rel=0.02
    )
    ring = rapsd(x, periodic=periodic).mean(dim=0)
    assert ring.shape == (17,)
    # The removed mean, spread by the window, only takes power from the first wavenumbers.
    assert torch.allclose(ring[3:], torch.full_like(ring[3:], 9.0 / (24 * 32)), rtol=0.1)


def test_a_zonal_wave_has_its_power_at_its_wavenumber():
    lon = torch.arange(48, dtype=torch.float64) * 2 * math.pi / 48
    x = (2.0 * torch.cos(5 * lon + 0.3)).expand(12, 48)
    spectrum = zonal_spectrum(x)
    assert float(spectrum[5]) == pytest.approx(2.0)  # amplitude^2 / 2
    assert float(spectrum.sum()) == pytest.approx(2.0)


def test_zonal_spectrum_sums_to_the_weighted_variance_of_the_circles():
    x, weights = noise(6, 15), torch.linspace(0.2, 1.0, 6, dtype=torch.float64)
    variance = x.var(dim=-1, correction=0)
    total = zonal_spectrum(x, latitude_weights=weights).sum()
    assert float(total) == pytest.approx(float((variance * weights).sum() / weights.sum()))


def test_rapsd_is_the_ring_mean_of_the_periodogram_computed_by_hand():
    x = noise(10, 10, seed=1)
    w = np.sin(np.pi * (np.arange(10) + 0.5) / 10) ** 2
    w2 = np.outer(w, w)
    psd = np.abs(np.fft.fft2((x - x.mean()).numpy() * w2)) ** 2 / 100**2 / (w2**2).mean()
    f = np.fft.fftfreq(10, d=0.1)
    r = np.round(np.hypot(*np.meshgrid(f, f, indexing="ij")))
    expected = [psd[r == k].mean() for k in range(6)]
    np.testing.assert_allclose(rapsd(x).numpy(), expected, rtol=1e-10)


def test_melr_of_a_scaled_field_is_the_logarithm_of_the_squared_scale():
    truth = noise(4, 2, 16, 20)
    assert float(melr(truth, truth)) == 0.0
    assert float(melr(1.5 * truth + 7.0, truth)) == pytest.approx(2 * math.log(1.5), rel=1e-6)
    assert float(melr(truth / 1.5, truth)) == pytest.approx(2 * math.log(1.5), rel=1e-6)


def test_members_keep_the_spectrum_that_their_mean_loses():
    truth, ensemble = noise(3, 16, 16), noise(40, 3, 16, 16, seed=2)
    member, mean = float(melr(ensemble, truth)), float(melr(ensemble.mean(dim=0), truth))
    assert member < 1.0
    assert mean == pytest.approx(math.log(40), abs=0.8)


def test_a_constant_scores_badly_but_finitely_and_gaps_are_left_out():
    truth = noise(2, 16, 16) + 280.0
    assert 20.0 < float(melr(torch.full_like(truth, 280.0), truth)) < math.inf
    forecast = 2.0 * truth
    forecast[1] *= 5.0
    truth[1, 3, 3] = math.nan
    assert float(melr(forecast, truth)) == pytest.approx(2 * math.log(2.0))
    assert math.isnan(float(melr(forecast[1:], truth[1:])))
