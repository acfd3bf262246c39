"""Priors whose denoiser is known exactly: the oracles of every test of a guidance method or a sampler."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from skyweave.covariance.plain import DenseCovariance
from skyweave.covariance.stationary import StationaryCovariance
from skyweave.covariance.torus import blocks, modes

__all__ = ["DenseGaussianPrior", "GaussianMixturePrior", "GaussianPrior", "red_spectrum"]


def red_spectrum(height: int, width: int, slope: float = 3.0, corner: float = 2.0) -> Tensor:
    r"""Isotropic red spectrum of unit variance on a periodic grid.

    .. math:: S(k) \propto (k_0^2 + k^2)^{-slope/2}, \qquad \frac1{HW} \sum_k S(k) = 1,

    with ``k`` in cycles per domain and ``k_0`` the corner.

    Returns:
        ``S`` as variance per mode of an orthonormal transform, shape ``(height, width // 2 + 1)``, float64.
    """
    ky = torch.fft.fftfreq(height, d=1 / height, dtype=torch.float64)
    kx = torch.fft.fftfreq(width, d=1 / width, dtype=torch.float64)
    power = (corner**2 + ky[:, None] ** 2 + kx[None, :] ** 2) ** (-slope / 2)
    return (power / power.mean())[:, : width // 2 + 1]


@dataclass(frozen=True, eq=False)
class GaussianPrior:
    r"""A stationary Gaussian field on a doubly periodic grid; every quantity is exact.

    .. math:: D(x_\sigma, \sigma) = \mu + S (S + \sigma^2)^{-1} (x_\sigma - \mu), \qquad
              V_\sigma = S \sigma^2 (S + \sigma^2)^{-1}, \text{ per wavenumber.}

    Args:
        spectrum: variance per mode of an orthonormal transform, shape ``(ky, kx)`` on the half axis of a real
            transform, or Hermitian blocks ``(C, C, ky, kx)``; frames are independent.
        shape: ``(T, C, H, W)``.
        mean: broadcastable to ``shape``.
    """

    spectrum: Tensor
    shape: tuple[int, int, int, int]
    mean: Tensor | float = 0.0

    def __post_init__(self) -> None:
        if self.spectrum.ndim == 2:
            object.__setattr__(self, "spectrum", self.spectrum[None, None])
        if self.spectrum.ndim == 4:
            object.__setattr__(self, "spectrum", self.spectrum[:, :, None])

    def __call__(self, x_sigma: Tensor, sigma: Tensor) -> Tensor:
        gain = self._gain(float(sigma)).to(x_sigma.dtype if self.spectrum.shape[0] == 1 else torch.complex64)
        return self.mean + self._covariance(gain).convolved(x_sigma - self.mean, gain)

    def covariance(
        self, sigma: float, x_hat: Tensor | None = None, x_sigma: Tensor | None = None
    ) -> StationaryCovariance:
        """Covariance of ``x`` given ``x_sigma``; the prior's own for ``sigma = inf``."""
        if math.isinf(sigma):
            return self._covariance(self._cast(self.spectrum))
        return self._covariance(self._cast(self._gain(float(sigma)) * float(sigma) ** 2))

    def sample(self, noise: Tensor) -> Tensor:
        """Exact draws from white noise of shape ``(M, T, C, H, W)``."""
        return self.mean + self.covariance(math.inf).color(noise)

    def _gain(self, sigma: float) -> Tensor:
        S = self.spectrum
        if S.shape[0] == 1:
            return S / (S + sigma**2)
        each = modes(S)
        eye = torch.eye(S.shape[0], dtype=each.dtype, device=each.device)
        return blocks(torch.linalg.solve(each + sigma**2 * eye, each))

    def _cast(self, S: Tensor) -> Tensor:
        return S.to(torch.complex64 if S.is_complex() else torch.float32)

    def _covariance(self, spectrum: Tensor) -> StationaryCovariance:
        return StationaryCovariance(spectrum, self.shape, (1, *self.shape[2:]))


class DenseGaussianPrior:
    r"""A Gaussian prior of any covariance matrix, through its eigenvectors; for states of a few thousand cells.

    .. math:: D(x_\sigma, \sigma) = \mu + U \Lambda (\Lambda + \sigma^2)^{-1} U^T (x_\sigma - \mu)

    Args:
        covariance: symmetric positive semi-definite, shape ``(n, n)`` with ``n = T*C*H*W``.
        shape: ``(T, C, H, W)``.
        mean: broadcastable to ``shape``.

    Raises:
        ValueError: if the matrix is not symmetric or has clearly negative eigenvalues.
    """

    def __init__(
        self, covariance: Tensor, shape: tuple[int, int, int, int], mean: Tensor | float = 0.0
    ) -> None:
        matrix = covariance.double()
        if not torch.allclose(matrix, matrix.T, atol=1e-8 * float(matrix.abs().max())):
            raise ValueError("a covariance matrix is symmetric; this one is not")
        values, self.vectors = torch.linalg.eigh(matrix)
        if float(values.min()) < -1e-6 * float(values.max()):
            raise ValueError(f"a covariance has no negative eigenvalues; found {float(values.min()):.3g}")
        self.values, self.shape, self.mean = values.clamp_min(0), shape, mean

    def __call__(self, x_sigma: Tensor, sigma: Tensor) -> Tensor:
        gain = self.values / (self.values + float(sigma) ** 2)
        matrix = ((self.vectors * gain) @ self.vectors.T).to(x_sigma.dtype)
        centred = (x_sigma - self.mean).reshape(x_sigma.shape[0], -1)
        return self.mean + (centred @ matrix).reshape(x_sigma.shape)

    def covariance(
        self, sigma: float, x_hat: Tensor | None = None, x_sigma: Tensor | None = None
    ) -> DenseCovariance:
        """Covariance of ``x`` given ``x_sigma``; the prior's own for ``sigma = inf``."""
        values = self.values if math.isinf(sigma) else self.values * sigma**2 / (self.values + sigma**2)
        return DenseCovariance((self.vectors * values) @ self.vectors.T, self.shape)

    def sample(self, noise: Tensor) -> Tensor:
        """Exact draws from white noise of shape ``(M, T, C, H, W)``."""
        return self.mean + self.covariance(math.inf).color(noise)


@dataclass(frozen=True, eq=False)
class MixtureCovariance:
    r"""Flow-dependent covariance of a mixture: spread within the components and between their means.

    .. math:: V(x) = \sum_k w_k V_k + \sum_k w_k (m_k - \hat x)(m_k - \hat x)^T
    """

    components: Sequence[StationaryCovariance]
    weights: Tensor  # (K, M)
    offsets: Tensor  # (K, M, T, C, H, W)
    member_dependent: bool = True

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return self.components[0].shape

    @property
    def noise_shape(self) -> tuple[int, int, int, int]:
        return self.components[0].noise_shape

    def __matmul__(self, v: Tensor) -> Tensor:
        w = self.weights[:, :, None, None, None, None]
        inner = (self.offsets * v).flatten(2).sum(-1)[:, :, None, None, None, None]
        between = (w * self.offsets * inner).sum(0)
        return between + sum(w[k] * (V @ v) for k, V in enumerate(self.components))

    def color(self, noise: Tensor) -> Tensor:
        raise TypeError("a mixture is not Gaussian: draw a component and then a field from it")

    def dense(self, cells: Tensor) -> None:
        return None

    def variance(self) -> Tensor:
        w = self.weights[:, :, None, None, None, None]
        each = torch.stack([V.variance() for V in self.components])
        return (w * (each + self.offsets**2)).sum(0)

    def largest(self) -> float:
        between = (self.weights * self.offsets.square().flatten(2).sum(-1)).sum(0)
        return max(V.largest() for V in self.components) + float(between.max())


@dataclass(frozen=True, eq=False)
class GaussianMixturePrior:
    r"""A mixture of stationary Gaussian fields: the simplest prior whose error covariance depends on the flow.

    .. math:: D(x_\sigma, \sigma) = \sum_k w_k(x_\sigma) D_k(x_\sigma, \sigma), \qquad
              w_k \propto \pi_k \, \mathcal N(x_\sigma; \mu_k, S_k + \sigma^2)

    Args:
        components: `GaussianPrior` of one shape, each of one channel and one frame.
        probabilities: ``pi_k``, summing to one.
    """

    components: Sequence[GaussianPrior]
    probabilities: Sequence[float]

    def __post_init__(self) -> None:
        if len(self.components) != len(self.probabilities) or abs(sum(self.probabilities) - 1) > 1e-6:
            raise ValueError("a mixture needs one probability per component, summing to one")

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return self.components[0].shape

    def __call__(self, x_sigma: Tensor, sigma: Tensor) -> Tensor:
        w = self.responsibilities(x_sigma, float(sigma))[:, :, None, None, None, None]
        return torch.stack([w[k] * c(x_sigma, sigma) for k, c in enumerate(self.components)]).sum(0)

    def responsibilities(self, x_sigma: Tensor, sigma: float) -> Tensor:
        """``w_k``, shape ``(K, M)``; differentiable."""
        logs = []
        for component, probability in zip(self.components, self.probabilities, strict=True):
            H, W = component.shape[2:]
            S = _full_axis(component.spectrum[0, 0, 0], W) + sigma**2
            hat = torch.fft.fft2(x_sigma - component.mean, norm="ortho")
            energy = (hat.abs() ** 2 / S.to(x_sigma.dtype)).flatten(1).sum(1)
            logs.append(math.log(probability) - 0.5 * (energy + float(torch.log(S).sum())))
        return torch.softmax(torch.stack(logs), 0)

    def covariance(self, sigma: float, x_hat: Tensor | None = None, x_sigma: Tensor | None = None):
        """Covariance of ``x`` given ``x_sigma``: exact where that is given, the climatological one otherwise."""
        finite = math.isfinite(sigma) and x_sigma is not None
        if not finite:
            return self._climatological(sigma)
        assert x_sigma is not None
        w = self.responsibilities(x_sigma, sigma)
        means = torch.stack([c(x_sigma, torch.tensor(sigma)) for c in self.components])
        centre = (w[:, :, None, None, None, None] * means).sum(0)
        return MixtureCovariance([c.covariance(sigma) for c in self.components], w, means - centre)

    def _climatological(self, sigma: float) -> StationaryCovariance:
        spectra = torch.stack([c.spectrum for c in self.components])
        pi = torch.tensor(self.probabilities, dtype=spectra.dtype)[:, None, None, None, None, None]
        S = (pi * spectra).sum(0)
        S = S if math.isinf(sigma) else S * sigma**2 / (S + sigma**2)
        return StationaryCovariance(S.float(), self.shape, (1, *self.shape[2:]))

    def sample(self, noise: Tensor, uniform: Tensor) -> Tensor:
        """Exact draws: ``noise`` white, shape ``(M, T, C, H, W)``; ``uniform`` in [0, 1), shape ``(M,)``."""
        edges = torch.cumsum(torch.tensor(self.probabilities), 0)
        which = torch.bucketize(uniform, edges[:-1], right=True)
        draws = torch.stack([c.sample(noise) for c in self.components])
        return draws[which, torch.arange(noise.shape[0])]


def _full_axis(half: Tensor, width: int) -> Tensor:
    """The full spectrum of a real field from the half axis."""
    H = half.shape[0]
    ky = (-torch.arange(H)) % H
    tail = half[ky][:, 1 : (width + 1) // 2].flip(1)
    return torch.cat([half, tail], dim=1)
