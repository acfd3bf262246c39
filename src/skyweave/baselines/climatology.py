"""What training data say of the state without any observation: mean, deviation, covariance by lag."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from skyweave.baselines.located import Observed
from skyweave.errors import SkyweaveError
from skyweave.grid import Grid
from skyweave.posterior.noise import NoiseStream
from skyweave.prior.covariance import StationaryCovariance
from skyweave.state import StateSpec, apply_bounds
from skyweave.transform import StateTransform

__all__ = ["Climatology", "climatological", "physical_members"]

BATCH = 32
"""Training frames transformed at once."""


@dataclass(frozen=True, eq=False)
class Climatology:
    r"""Mean, standard deviation and lag covariance of normalised states.

    .. math:: x = \bar x + s\,a, \qquad
              K_{cc'}(\tau, d) = \overline{a_c(t + \tau, r + d)\; a_{c'}(t, r)}

    averaged over all pairs of cells present in the training data.

    Args:
        mean: normalised, ``(C, H, W)``.
        deviation: ``s``, normalised, ``(C, H, W)``.
        lags: ``K``, ``(frames, C, C, h, w)``, lag zero first along both space axes and negative lags from
            the end.
    """

    mean: Tensor
    deviation: Tensor
    lags: Tensor

    @classmethod
    def fit(
        cls,
        states: Tensor,
        transform: StateTransform | None = None,
        *,
        patch: tuple[int, int] | None = None,
        local: bool = True,
        periodic: bool = False,
        frames: int = 1,
    ) -> Climatology:
        """Estimate a climatology from training states.

        Args:
            states: ``(N, C, H, W)``, physical units, in order of time, NaN where missing.
            transform: of the prior; ``None`` where the states are normalised.
            patch: lags are kept up to half of this, in cells, each way; twice the size of the domain that
                will be analysed serves it exactly. By default twice the states' own size.
            local: mean and deviation of each cell; else one number for each variable.
            periodic: the longitudes of the states close the circle.
            frames: time lags kept, ``0 .. frames - 1`` steps.

        Raises:
            SkyweaveError: fewer than two states, or no more than `frames`; a cell or variable never present.
        """
        if states.ndim != 4 or len(states) < 2 or len(states) < frames:
            raise SkyweaveError(
                f"climatology: needs states (N, C, H, W) with N at least {max(2, frames)}, "
                f"found shape {tuple(states.shape)}"
            )
        z = (states if transform is None else transform.forward(states)).float()
        over = (0,) if local else (0, 2, 3)
        present = z.isfinite()
        count = present.sum(over, keepdim=True)
        if not bool((count > 1).all()):
            what = "cell" if local else "variable"
            raise SkyweaveError(f"climatology: a {what} has fewer than two values in the training data")
        mean = z.where(present, 0.0).double().sum(over, keepdim=True) / count
        square = (z - mean).where(present, 0.0) ** 2
        variance = square.sum(over, keepdim=True) / (count - 1)
        floor = 1e-6 * variance.mean((0, 2, 3), keepdim=True)
        deviation = variance.clamp_min(floor.clamp_min(1e-30)).sqrt()
        size = z.shape[-2:]
        h, w = (2 * size[0], 2 * size[1]) if patch is None else patch
        h, w = min(h, 2 * size[0]), min(w, size[1] if periodic else 2 * size[1])
        anomalies = ((z - mean) / deviation).float()
        lags = _lag_covariance(anomalies, present, frames, (h, w), periodic)
        # The mean taken off costs a degree of freedom; the deviation accounts for it, and so must the lags.
        unit = torch.diagonal(lags[0, :, :, 0, 0]).clamp_min(1e-30).rsqrt()
        lags = lags * (unit[:, None] * unit[None, :])[:, :, None, None]
        shape = z.shape[1:]
        return cls(
            mean[0].float().expand(shape).clone(), deviation[0].float().expand(shape).clone(), lags.float()
        )

    def isel(self, i: ArrayLike, j: ArrayLike) -> Climatology:
        """The climatology of some rows and columns, by index; the covariance by lag stays."""
        rows, columns = (torch.as_tensor(np.asarray(k)) for k in (i, j))
        return replace(
            self, mean=self.mean[:, rows][..., columns], deviation=self.deviation[:, rows][..., columns]
        )

    def covariance(self, frames: int = 1, *, periodic: bool = False) -> StationaryCovariance:
        """Covariance of normalised states ``(frames, C, H, W)``, positive semi-definite.

        Sampled lag covariances are not quite positive: negative eigenvalues of each wavenumber's block are
        set to zero and the variances restored. Where the domain is larger than the lags known, the kernel is
        tapered to zero within them. Frames farther apart than those fitted are taken for independent.

        Args:
            frames: time steps of the states.
            periodic: the longitudes of the domain close the circle.
        """
        C, H, W = self.mean.shape
        padded = (_torus(H, self.lags.shape[-2], False), _torus(W, self.lags.shape[-1], periodic))
        kernel = _embed(self.lags.double(), padded, (H, W), periodic)
        P = frames * C
        spectrum = torch.zeros(P, P, padded[0], padded[1] // 2 + 1, dtype=torch.complex128)
        hat = torch.fft.rfft2(kernel)
        for t in range(frames):
            for u in range(max(0, t - len(kernel) + 1), t + 1):
                spectrum[t * C : (t + 1) * C, u * C : (u + 1) * C] = hat[t - u]
                spectrum[u * C : (u + 1) * C, t * C : (t + 1) * C] = hat[t - u].transpose(0, 1).conj()
        # Lags of half the torus are seen from one side only, and so are not symmetric.
        blocks = spectrum.permute(2, 3, 0, 1)
        values, vectors = torch.linalg.eigh(0.5 * (blocks + blocks.mH))
        blocks = (vectors * values.clamp_min(0)[..., None, :]) @ vectors.mH
        spectrum = blocks.permute(2, 3, 0, 1)
        before = torch.diagonal(kernel[0, :, :, 0, 0]).repeat(frames)
        after = torch.diagonal(torch.fft.irfft2(spectrum, s=padded)[:, :, 0, 0])
        rescale = (before / after.clamp_min(1e-30)).sqrt()
        spectrum = spectrum * (rescale[:, None] * rescale[None, :])[..., None, None]
        cast = spectrum.real.float() if P == 1 else spectrum.to(torch.complex64)
        return StationaryCovariance(cast, (frames, C, H, W), padded, scale=self.deviation[None, None])

    def physical_mean(self, transform: StateTransform | None) -> NDArray[np.float64]:
        """The mean state (for a nonlinear transform the median, roughly) in physical units, ``(C, H, W)``."""
        mean = self.mean if transform is None else transform.inverse(self.mean)
        return mean.double().numpy()


def climatological(
    observed: Observed,
    spec: StateSpec,
    grid: Grid,
    *,
    transform: StateTransform | None = None,
    climatology: Climatology | None = None,
    members: int = 1,
    seed: int = 0,
) -> NDArray[np.float32]:
    """The climatological mean, or draws of the Gaussian climatology where more than one member is wanted.

    Arguments as in `skyweave.baselines`; the observations are not used.

    Raises:
        SkyweaveError: no climatology, or one of another grid.
    """
    known = required(climatology, "climatology", observed)
    T = observed.operator.shape[0]
    x = known.mean.expand(members, T, *known.mean.shape)
    if members > 1:
        V = known.covariance(T, periodic=grid.periodic)
        x = x + V.color(NoiseStream(seed, range(members), range(T)).normal(0, V.noise_shape[1:]))
    return physical_members(x, transform, spec)


def required(climatology: Climatology | None, method: str, observed: Observed) -> Climatology:
    """The climatology, if it is there and fits the state.

    Raises:
        SkyweaveError: it is not, or does not.
    """
    if climatology is None:
        raise SkyweaveError(f"{method}: needs a climatology; make one with Climatology.fit(training states)")
    if tuple(climatology.mean.shape) != tuple(observed.operator.shape[1:]):
        raise SkyweaveError(
            f"{method}: the climatology has shape (C, H, W) = {tuple(climatology.mean.shape)}, the state "
            f"{tuple(observed.operator.shape[1:])}; select its region with Climatology.isel"
        )
    return climatology


def physical_members(x: Tensor, transform: StateTransform | None, spec: StateSpec) -> NDArray[np.float32]:
    """Members ``(M, T, C, H, W)`` in physical units, within the bounds of their variables."""
    physical = x if transform is None else transform.inverse(x)
    return apply_bounds(physical, spec)[0].float().numpy()


def _lag_covariance(
    anomalies: Tensor, present: Tensor, frames: int, kept: tuple[int, int], periodic: bool
) -> Tensor:
    """Mean products of present pairs by lag, ``(frames, C, C, h, w)``, by padded Fourier transforms."""
    N, C, H, W = anomalies.shape
    h, w = kept
    size = (H + h // 2, W if periodic else W + w // 2)
    freq = (size[0], size[1] // 2 + 1)
    product = torch.zeros(frames, C, C, *freq, dtype=torch.complex128)
    pairs = torch.zeros(frames, C, C, *freq, dtype=torch.complex128)
    filled = anomalies.where(present, 0.0)
    complete = bool(present.all())
    for start in range(0, N, BATCH):
        stop = min(start + BATCH, N)
        far = min(stop + frames - 1, N)
        a = torch.fft.rfft2(filled[start:far].double(), s=size)
        m = None if complete else torch.fft.rfft2(present[start:far].double(), s=size)
        for lag in range(frames):
            n = min(stop - start, far - start - lag)
            if n <= 0:
                continue
            product[lag] += torch.einsum("ncyx,ndyx->cdyx", a[lag : lag + n], a[:n].conj())
            if m is not None:
                pairs[lag] += torch.einsum("ncyx,ndyx->cdyx", m[lag : lag + n], m[:n].conj())
    if complete:
        one = torch.fft.rfft2(torch.ones(H, W, dtype=torch.float64), s=size).abs() ** 2
        for lag in range(frames):
            pairs[lag] += (N - lag) * one
    sums, counts = torch.fft.irfft2(product, s=size), torch.fft.irfft2(pairs, s=size).round()
    lags = sums / counts.clamp_min(1.0)
    dy, dx = _lag_index(h, size[0]), _lag_index(w, size[1])
    return lags[..., dy, :][..., dx]


def _lag_index(kept: int, size: int) -> Tensor:
    """Where lags ``0 .. kept/2, -kept/2 .. -1`` lie on a torus of the given size."""
    lag = torch.arange(kept)
    return torch.where(lag < (kept + 1) // 2, lag, lag - kept) % size


def _torus(cells: int, kept: int, periodic: bool) -> int:
    """Length of the torus that holds a domain and whose kernel does not meet itself within it."""
    if periodic:
        return cells
    return 2 * cells if 2 * cells <= kept else cells + (kept + 1) // 2


def _embed(lags: Tensor, padded: tuple[int, int], domain: tuple[int, int], periodic: bool) -> Tensor:
    """The kernel on a torus, zero at lags not known and tapered towards them."""
    out = torch.zeros(*lags.shape[:3], *padded, dtype=lags.dtype)
    axes, weights = [], []
    for kept, size, cells, wraps in zip(lags.shape[-2:], padded, domain, (False, periodic), strict=True):
        lag = torch.arange(kept)
        lag = torch.where(lag < (kept + 1) // 2, lag, lag - kept)
        usable = lag.abs() <= size // 2
        # Beyond half the circle a lag is another one seen from the other side.
        reach = kept / 2
        needed = size // 2 if wraps else cells - 1
        taper = torch.ones(kept, dtype=lags.dtype)
        if needed > reach:
            taper = torch.cos(torch.pi / 2 * ((lag.abs() - reach / 2) / (reach / 2)).clamp(0, 1)) ** 2
        axes.append((lag[usable] % size, torch.arange(kept)[usable]))
        weights.append(taper[usable])
    (to_y, from_y), (to_x, from_x) = axes
    block = lags[..., from_y, :][..., from_x] * weights[0][:, None] * weights[1][None, :]
    out[..., to_y[:, None], to_x[None, :]] = block
    return out
