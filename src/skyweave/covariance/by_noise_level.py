"""The background error covariance of a learnt prior, estimated from its own denoising errors."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from scipy.fft import next_fast_len
from torch import Tensor

from skyweave.covariance.stationary import StationaryCovariance
from skyweave.errors import SkyweaveError
from skyweave.finite import check_tensor

__all__ = [
    "ErrorCovarianceModel", "LagStatistics", "check_kernels", "default_levels", "estimate_error_covariance", "taper",
]  # fmt: skip


def default_levels(count: int = 16, low: float = 0.01, high: float = 80.0) -> Tensor:
    """Noise levels at which the covariance is kept, geometric, float64."""
    return torch.logspace(math.log10(low), math.log10(high), count, dtype=torch.float64)


@dataclass
class LagStatistics:
    r"""Running sums for the lag covariance of fields on patches, over observed pairs.

    .. math:: K_{pq}(\delta) = \frac{\sum_{s, s+\delta \in \Omega} e_p(s + \delta) e_q(s)}
              {\#\{s : s, s + \delta \in \Omega\}}

    ``Omega`` are the observed cells, so gaps neither bias nor break the estimate.

    Args:
        channels: ``P = window * channel``.
        height, width: of the patches; lags run to one less than these.
    """

    channels: int
    height: int
    width: int
    products: Tensor = field(init=False)
    pairs: Tensor = field(init=False)

    def __post_init__(self) -> None:
        size = (self.channels, self.channels, 2 * self.height, self.width + 1)
        self.products = torch.zeros(size, dtype=torch.complex128)
        self.pairs = torch.zeros(size, dtype=torch.complex128)

    def add(self, errors: Tensor) -> None:
        """Add errors of shape ``(B, P, H, W)``; missing values are NaN."""
        seen = torch.isfinite(errors)
        padded = (2 * self.height, 2 * self.width)
        e = torch.fft.rfft2(torch.where(seen, errors, torch.zeros_like(errors)).double(), s=padded)
        m = torch.fft.rfft2(seen.double(), s=padded)
        self.products += torch.einsum("bpyx,bqyx->pqyx", e, e.conj())
        self.pairs += torch.einsum("bpyx,bqyx->pqyx", m, m.conj())

    def kernel(self) -> Tensor:
        """Lag covariance ``(P, P, 2H, 2W)``, zero lag first as in a Fourier transform."""
        padded = (2 * self.height, 2 * self.width)
        products, pairs = torch.fft.irfft2(self.products, s=padded), torch.fft.irfft2(self.pairs, s=padded)
        return torch.where(pairs > 0.5, products / pairs.clamp_min(0.5), torch.zeros_like(products))


def taper(height: int, width: int, start: float = 0.5) -> Tensor:
    r"""Weights of the lags ``(2H, 2W)``: one to ``start`` of the patch, then a cosine to zero at its size."""

    def line(n: int) -> Tensor:
        lag = torch.fft.fftfreq(2 * n, d=1 / (2 * n), dtype=torch.float64).abs() / n
        return 0.5 * (1 + torch.cos(math.pi * ((lag - start) / (1 - start)).clamp(0, 1)))

    return line(height)[:, None] * line(width)[None, :]


@dataclass(frozen=True, eq=False)
class ErrorCovarianceModel:
    r"""Error covariance by noise level, for a domain of any size.

    Kernels are kept as lag covariances divided by ``sigma^2 / (1 + sigma^2)``, which varies slowly, and interpolated
    linearly in ``log sigma``. On a domain the kernel is tapered, embedded in a torus, transformed, and made positive
    semi-definite by clipping negative eigenvalues of each wavenumber's block.

    Args:
        levels: noise levels, increasing, shape ``(L,)``.
        kernels: ``(L, P, P, 2h, 2w)`` lag covariances over ``sigma^2 / (1 + sigma^2)``, zero lag first.

    Reference: homogeneous background error covariances, Daley 1991, Chapter 4.3; in diffusion models the posterior
    covariance of Rozet et al. 2024, Section 4.2, here estimated and not differentiated.
    """

    levels: Tensor
    kernels: Tensor

    def on(
        self, shape: tuple[int, int, int, int], *, periodic: bool = False
    ) -> Callable[[float], StationaryCovariance]:
        """Covariance by noise level for states ``(T, C, H, W)``; ``periodic`` in longitude.

        Frames of a longer sequence than the window are taken as independent where the kernel knows one frame.
        """
        T, C, H, W = shape
        P, h, w = self.kernels.shape[1], self.kernels.shape[-2] // 2, self.kernels.shape[-1] // 2
        if P not in (C, T * C):
            raise ValueError(f"the covariance knows {P} channels, the state has {T} x {C}")
        padded = (next_fast_len(H + h, True), W if periodic else next_fast_len(W + w, True))
        spectra: dict[int, Tensor] = {}

        def spectrum(index: int) -> Tensor:
            if index not in spectra:
                kernel = _embed(self.kernels[index].double() * taper(h, w), padded)
                spectra[index] = _positive(torch.fft.rfft2(kernel))
            return spectra[index]

        def at(sigma: float) -> StationaryCovariance:
            low, high, weight = self._bracket(sigma)
            blocks = (1 - weight) * spectrum(low) + weight * spectrum(high)
            sigma2 = min(sigma, 1e6) ** 2
            blocks = blocks * (sigma2 / (1 + sigma2))
            if P == C and T > 1:
                blocks = _repeat_frames(blocks, T)
            dtype = torch.float32 if blocks.shape[0] == 1 else torch.complex64
            out = blocks.real if blocks.shape[0] == 1 else blocks
            return StationaryCovariance(out.to(dtype), shape, padded)

        return at

    def _bracket(self, sigma: float) -> tuple[int, int, float]:
        logs = self.levels.log()
        position = math.log(min(max(sigma, float(self.levels[0])), float(self.levels[-1])))
        high = int(torch.searchsorted(logs, position).clamp(1, len(logs) - 1))
        weight = float((position - logs[high - 1]) / (logs[high] - logs[high - 1]))
        return high - 1, high, min(max(weight, 0.0), 1.0)

    def to_tensors(self) -> dict[str, Tensor]:
        """What is stored with the prior: half of the lags (the other half is the mirror image), float16."""
        h = self.kernels.shape[-2] // 2
        return {
            "covariance.levels": self.levels.clone(),
            "covariance.kernels": self.kernels[..., : h + 1, :].half().contiguous(),
        }

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> ErrorCovarianceModel | None:
        """The stored model, or ``None`` where none is stored.

        Raises:
            SkyweaveError: numbers that are not finite, or of no such shape.
        """
        if "covariance.kernels" not in tensors:
            return None
        check_kernels(tensors, "covariance.kernels", 5)
        half = tensors["covariance.kernels"].float()
        # K_pq(-d) = K_qp(d): the lags left out are the kept ones, mirrored, channels exchanged.
        mirrored = half[..., 1:-1, :].flip(-2).transpose(1, 2)
        mirrored = torch.cat([mirrored[..., :1], mirrored[..., 1:].flip(-1)], -1)
        return cls(tensors["covariance.levels"].double(), torch.cat([half, mirrored], -2))


def check_kernels(tensors: dict[str, Tensor], name: str, dimensions: int) -> None:
    """Refuse stored covariances that can be none: for each noise level a kernel with variances above zero.

    Args:
        tensors: as they are stored, with "covariance.levels".
        name: of the kernels, ``(L, ..., P, P, h, w)``.
        dimensions: that they have.

    Raises:
        SkyweaveError: what is wrong with which tensor.
    """
    levels, kernels = tensors.get("covariance.levels"), tensors[name]
    shape = tuple(kernels.shape)
    if (
        levels is None
        or levels.ndim != 1
        or len(levels) < 2
        or not bool((levels.diff() > 0).all())
        or levels[0] <= 0
    ):
        raise SkyweaveError(
            "covariance.levels of this prior are not two or more noise levels that increase from above zero"
        )
    if (
        len(shape) != dimensions
        or shape[0] != len(levels)
        or shape[-3] != shape[-4]
        or min(shape) < 1
        or shape[-1] % 2
    ):
        raise SkyweaveError(f"{name} of this prior has shape {shape}, with {len(levels)} noise levels")
    check_tensor(kernels, f"{name} of this prior")
    check_tensor(levels, "covariance.levels of this prior")
    first = kernels if dimensions == 5 else kernels[:, 0]
    variances = first[..., 0, 0].diagonal(dim1=1, dim2=2)
    if not bool((variances > 0).all()):
        raise SkyweaveError(
            f"{name} of this prior has variances that are not positive ({float(variances.min()):g}); run "
            "`skyweave calibrate CONFIG` on validation data that have values of every variable"
        )


def estimate_error_covariance(
    denoise: Callable[[Tensor, Tensor, Tensor], Tensor],
    batches: Sequence[tuple[Tensor, Tensor]],
    *,
    levels: Tensor | None = None,
    max_lag: int | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> ErrorCovarianceModel:
    r"""Lag covariance of ``x - D(x + sigma n, sigma)`` at each noise level.

    Args:
        denoise: ``(x_sigma, sigma, conditioning) -> x_hat`` for states ``(B, P, H, W)`` and a scalar noise level.
        batches: clean normalised states of validation data ``(B, P, H, W)``, NaN where not observed, each with the
            conditioning that the prior is to be given.
        levels: noise levels, increasing.
        max_lag: lags kept, in cells; all of the patch by default.
        seed: of the noise; each level uses the same noise, which makes the kernels smooth in sigma.

    Raises:
        ValueError: if there are no batches.
    """
    levels = default_levels() if levels is None else levels
    if not batches:
        raise ValueError("an error covariance needs validation states; there are none")
    P, H, W = batches[0][0].shape[1:]
    kernels = []
    with torch.no_grad():
        for index, level in enumerate(levels):
            statistics = LagStatistics(P, H, W)
            generator = torch.Generator().manual_seed(seed)
            for x, conditioning in batches:
                noise = torch.randn(x.shape, generator=generator)
                estimate = denoise(
                    torch.nan_to_num(x) + float(level) * noise, level.to(x.dtype), conditioning
                )
                statistics.add(x - estimate)
            shrink = float(level) ** 2 / (1 + float(level) ** 2)
            kernel = statistics.kernel() / shrink
            if max_lag is not None:
                kernel = _embed(kernel, (2 * min(max_lag, H), 2 * min(max_lag, W)))
            kernels.append(kernel.float())
            if progress is not None:
                progress(index + 1, len(levels))
    return ErrorCovarianceModel(levels, torch.stack(kernels))


def _embed(kernel: Tensor, padded: tuple[int, int]) -> Tensor:
    """Lags of a patch on a torus of another size; lags beyond half of the torus are dropped."""
    h, w = kernel.shape[-2] // 2, kernel.shape[-1] // 2
    H, W = padded
    out = kernel.new_zeros(*kernel.shape[:2], H, W)
    dy = torch.arange(-min(h - 1, (H - 1) // 2), min(h - 1, (H - 1) // 2) + 1)
    dx = torch.arange(-min(w - 1, (W - 1) // 2), min(w - 1, (W - 1) // 2) + 1)
    out[..., (dy % H)[:, None], (dx % W)[None, :]] = kernel[
        ..., (dy % (2 * h))[:, None], (dx % (2 * w))[None, :]
    ]
    return out


def _positive(blocks: Tensor) -> Tensor:
    """Nearest positive semi-definite block of each wavenumber, with a small floor."""
    if blocks.shape[0] == 1:
        real = blocks.real
        return real.clamp_min(1e-4 * float(real.mean())).to(blocks.dtype)
    per_mode = blocks.permute(2, 3, 0, 1)
    values, vectors = torch.linalg.eigh(0.5 * (per_mode + per_mode.mH))
    floor = 1e-4 * values.mean()
    clipped = (vectors * values.clamp_min(float(floor))[..., None, :].to(vectors.dtype)) @ vectors.mH
    return clipped.permute(2, 3, 0, 1)


def _repeat_frames(blocks: Tensor, frames: int) -> Tensor:
    eye = torch.eye(frames, dtype=blocks.dtype)
    out = torch.einsum("ts,pqyx->tpsqyx", eye, blocks)
    size = frames * blocks.shape[0]
    return out.reshape(size, size, *blocks.shape[2:])
