"""Covariance by lag, estimated over pairs of cells that are present."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from skyweave.covariance.torus import signed

__all__ = ["LagStatistics", "lag_covariance", "nearest_lags"]

BATCH = 32
"""Training frames transformed at once."""


@dataclass
class LagStatistics:
    r"""Running sums for the lag covariance of fields on patches, over observed pairs.

    .. math:: K_{pq}(\delta) = \frac{\sum_{s, s+\delta \in \Omega} e_p(s + \delta) e_q(s)}
              {\#\{s : s, s + \delta \in \Omega\}}

    ``Omega`` are the observed cells, so gaps neither bias nor break the estimate.

    Args:
        channels: ``P = frames * channel``.
        height, width: of the patches; lags run to one less than these, around a circle to half of them.
        circles: whether latitudes and longitudes are circles.
    """

    channels: int
    height: int
    width: int
    circles: tuple[bool, bool] = (False, False)
    products: Tensor = field(init=False)
    pairs: Tensor = field(init=False)

    def __post_init__(self) -> None:
        height, width = self.size
        shape = (self.channels, self.channels, height, width // 2 + 1)
        self.products = torch.zeros(shape, dtype=torch.complex128)
        self.pairs = torch.zeros(shape, dtype=torch.complex128)

    @property
    def size(self) -> tuple[int, int]:
        """Lags of both axes: those of a circle, twice the size of another."""
        lat, lon = self.circles
        return self.height * (1 if lat else 2), self.width * (1 if lon else 2)

    def add(self, errors: Tensor) -> None:
        """Add errors of shape ``(B, P, H, W)``; missing values are NaN."""
        seen = torch.isfinite(errors)
        e = torch.fft.rfft2(torch.where(seen, errors, torch.zeros_like(errors)).double(), s=self.size)
        m = torch.fft.rfft2(seen.double(), s=self.size)
        self.products = self.products.to(e) + torch.einsum("bpyx,bqyx->pqyx", e, e.conj())
        self.pairs = self.pairs.to(m) + torch.einsum("bpyx,bqyx->pqyx", m, m.conj())

    def kernel(self, frames: int = 1, first: bool = False) -> Tensor:
        """Lag covariance ``(F, C, C, h, w)`` by lag in time and space, zero lag first as in a Fourier transform.

        Args:
            frames: ``F``, of each patch; channels are numbered row-major over frame and channel.
            first: take pairs with the first frame alone, where patches of one sequence overlap.
        """
        C = self.channels // frames

        def gathered(sums: Tensor) -> Tensor:
            split = sums.unflatten(1, (frames, C)).unflatten(0, (frames, C))
            # Starts of the pairs whose frames are so far apart.
            starts = [range(1 if first else frames - lag) for lag in range(frames)]
            by_lag = [
                torch.stack([split[t + lag, :, t] for t in own]).sum(0) for lag, own in enumerate(starts)
            ]
            return torch.fft.irfft2(torch.stack(by_lag), s=self.size)

        products, pairs = gathered(self.products), gathered(self.pairs)
        return torch.where(pairs > 0.5, products / pairs.clamp_min(0.5), torch.zeros_like(products))


def nearest_lags(kernel: Tensor, kept: tuple[int, int]) -> Tensor:
    """The ``kept`` lags nearest to zero of both axes of a kernel ``(..., h, w)``."""
    dy, dx = (signed(n, kernel.device) % size for n, size in zip(kept, kernel.shape[-2:], strict=True))
    return kernel[..., dy, :][..., dx]


def lag_covariance(anomalies: Tensor, frames: int, kept: tuple[int, int], periodic: bool) -> Tensor:
    r"""Mean products of all pairs present in a record, by lag in time and space.

    .. math:: K_{cc'}(\tau, d) = \overline{a_c(t + \tau, r + d)\; a_{c'}(t, r)}

    Args:
        anomalies: ``(N, C, H, W)`` in order of time, NaN where missing.
        frames: time lags, ``0 .. frames - 1`` steps.
        kept: ``(h, w)``; lags up to half of these, in cells, each way.
        periodic: longitudes close the circle.

    Returns:
        ``(frames, C, C, h, w)``, lag zero first along both space axes and negative lags from the end.
    """
    N, C, H, W = anomalies.shape
    statistics = LagStatistics(frames * C, H, W, (False, periodic))
    # A window starts at every frame, so that no pair is left out; beyond the last frame nothing is present.
    padded = torch.cat([anomalies, anomalies.new_full((frames - 1, C, H, W), torch.nan)])
    for start in range(0, N, BATCH):
        stop = min(start + BATCH, N)
        windows = torch.stack([padded[start + lag : stop + lag] for lag in range(frames)], dim=1)
        statistics.add(windows.flatten(1, 2))
    return nearest_lags(statistics.kernel(frames, first=True), kept)
