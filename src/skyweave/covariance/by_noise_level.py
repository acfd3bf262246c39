"""The background error covariance of a learnt prior, estimated from its own denoising errors."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from scipy.fft import next_fast_len
from torch import Tensor

from skyweave.covariance.lags import LagStatistics, nearest_lags
from skyweave.covariance.stationary import StationaryCovariance
from skyweave.covariance.torus import embed, positive, signed, taper
from skyweave.errors import SkyweaveError
from skyweave.finite import check_tensor

__all__ = ["ErrorCovarianceModel", "default_levels", "estimate_error_covariance"]


def default_levels(count: int = 16, low: float = 0.01, high: float = 80.0) -> Tensor:
    """Noise levels at which the covariance is kept, geometric, float64."""
    return torch.logspace(math.log10(low), math.log10(high), count, dtype=torch.float64)


@dataclass(frozen=True, eq=False)
class ErrorCovarianceModel:
    r"""Error covariance by noise level, for a domain of any size and any number of frames.

    Kernels are kept as lag covariances divided by ``sigma^2 / (1 + sigma^2)``, which varies slowly, and interpolated
    linearly in ``log sigma``. On a domain the kernel is tapered, embedded in a torus, transformed, and made positive
    semi-definite. Frames farther apart than those known are taken for independent.

    Args:
        levels: noise levels, increasing, shape ``(L,)``.
        kernels: ``(L, F, C, C, 2h, 2w)``; lag ``tau`` of the second axis (left out where it has one frame) is
            ``K_cc'(tau, d) = cov(e_c(t + tau, r + d), e_c'(t, r))`` over ``sigma^2 / (1 + sigma^2)``, ``d`` zero first.

    Reference: homogeneous background error covariances, Daley 1991, Chapter 4.3; in diffusion models the posterior
    covariance of Rozet et al. 2024, Section 4.2, here estimated and not differentiated.
    """

    levels: Tensor
    kernels: Tensor

    def __post_init__(self) -> None:
        if self.kernels.ndim == 5:
            object.__setattr__(self, "kernels", self.kernels[:, None])

    def on(
        self,
        shape: tuple[int, int, int, int],
        *,
        periodic: bool = False,
        device: str | torch.device = "cpu",
    ) -> Callable[[float], StationaryCovariance]:
        """Covariance by noise level for states ``(T, C, H, W)``; ``periodic`` in longitude.

        Raises:
            ValueError: states of another number of variables.
        """
        T, C, H, W = shape
        frames, known = self.kernels.shape[1:3]
        h, w = self.kernels.shape[-2] // 2, self.kernels.shape[-1] // 2
        if known != C:
            raise ValueError(f"the covariance knows {known} channels, the state has {C}")
        torus = (
            # Room for the reach of the kernel on both sides, so that draws do not know where the sequence ends.
            next_fast_len(T + 2 * frames, True) if T > 1 and frames > 1 else 1,
            next_fast_len(H + h, True),
            W if periodic else next_fast_len(W + w, True),
        )
        in_time, in_lat, in_lon = (
            taper(lag, length)
            for lag, length in ((torch.arange(frames), frames), (signed(2 * h), h), (signed(2 * w), w))
        )
        weight = in_time[:, None, None, None, None] * in_lat[:, None] * in_lon
        spectra: dict[int, Tensor] = {}

        def spectrum(index: int) -> Tensor:
            if index not in spectra:
                spectra[index] = positive(embed(self.kernels[index].double() * weight, torus)).to(device)
            return spectra[index]

        def at(sigma: float) -> StationaryCovariance:
            low, high, share = self._bracket(sigma)
            sigma2 = min(sigma, 1e6) ** 2
            between = (1 - share) * spectrum(low) + share * spectrum(high)
            return StationaryCovariance(between * (sigma2 / (1 + sigma2)), shape, torus)

        return at

    def _bracket(self, sigma: float) -> tuple[int, int, float]:
        logs = self.levels.log()
        position = math.log(min(max(sigma, float(self.levels[0])), float(self.levels[-1])))
        high = int(torch.searchsorted(logs, position).clamp(1, len(logs) - 1))
        weight = float((position - logs[high - 1]) / (logs[high] - logs[high - 1]))
        return high - 1, high, min(max(weight, 0.0), 1.0)

    def to_tensors(self) -> dict[str, Tensor]:
        """What is stored with the prior, float16; of single frames half of the lags, the others mirror them."""
        levels = {"covariance.levels": self.levels.clone()}
        if self.kernels.shape[1] > 1:
            return levels | {"covariance.space_time": self.kernels.half()}
        half = self.kernels[:, 0, ..., : self.kernels.shape[-2] // 2 + 1, :]
        return levels | {"covariance.kernels": half.half().contiguous()}

    @classmethod
    def from_tensors(
        cls, tensors: dict[str, Tensor], channels: int | None = None
    ) -> ErrorCovarianceModel | None:
        """The stored model, or ``None`` where none is stored.

        Args:
            tensors: as `to_tensors` gives them.
            channels: of the prior's state; a kernel between the frames of a window, as early priors have it, is brought
                to lags in time.

        Raises:
            SkyweaveError: numbers that are not finite, or of no such shape.
        """
        name = "covariance.space_time" if "covariance.space_time" in tensors else "covariance.kernels"
        if name not in tensors:
            return None
        _check_kernels(tensors, name)
        levels, kernels = tensors["covariance.levels"].double(), tensors[name].float()
        if name == "covariance.kernels":
            # K_pq(-d) = K_qp(d): the lags left out are the kept ones, mirrored, channels exchanged.
            mirrored = kernels[..., 1:-1, :].flip(-2).transpose(1, 2)
            mirrored = torch.cat([mirrored[..., :1], mirrored[..., 1:].flip(-1)], -1)
            kernels = torch.cat([kernels, mirrored], -2)[:, None]
            if channels is not None and kernels.shape[2] > channels and kernels.shape[2] % channels == 0:
                kernels = _by_time_lag(kernels[:, 0], channels)
        return cls(levels, kernels)


def _by_time_lag(kernels: Tensor, channels: int) -> Tensor:
    """Kernels between the frames of a window, ``(L, F C, F C, h, w)``, as means over pairs of one lag in time."""
    frames = kernels.shape[1] // channels
    pairs = kernels.unflatten(2, (frames, channels)).unflatten(1, (frames, channels))
    lags = [
        torch.stack([pairs[:, t + lag, :, t] for t in range(frames - lag)]).mean(0) for lag in range(frames)
    ]
    return torch.stack(lags, dim=1)


def _check_kernels(tensors: dict[str, Tensor], name: str) -> None:
    """Refuse stored covariances that can be none: for each noise level a kernel with variances above zero.

    Args:
        tensors: as they are stored, with "covariance.levels".
        name: of the kernels, ``(L, P, P, h, w)``, in space and time ``(L, F, P, P, h, w)``.

    Raises:
        SkyweaveError: what is wrong with which tensor.
    """
    levels, kernels = tensors.get("covariance.levels"), tensors[name]
    dimensions, shape = 6 if name == "covariance.space_time" else 5, tuple(kernels.shape)
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
    r"""Lag covariance of ``x - D(x + sigma n, sigma)`` at each noise level, over observed pairs.

    Args:
        denoise: ``(x_sigma, sigma, conditioning) -> x_hat`` for states ``(B, C, H, W)``, or sequences of them
            ``(B, T, C, H, W)``, and a scalar noise level.
        batches: clean normalised states of validation data, NaN where not observed, each with the conditioning that the
            prior is to be given. Those of sequences tell of lags in time as well.
        levels: noise levels, increasing.
        max_lag: lags kept in space, in cells; all of the patch by default.
        seed: of the noise; each level uses the same noise, which makes the kernels smooth in sigma.

    Raises:
        ValueError: if there are no batches.
    """
    levels = default_levels() if levels is None else levels
    if not batches:
        raise ValueError("an error covariance needs validation states; there are none")
    *frames, C, H, W = batches[0][0].shape[1:]
    count = frames[0] if frames else 1
    kept = (2 * min(max_lag or H, H), 2 * min(max_lag or W, W))
    kernels = []
    with torch.no_grad():
        for index, level in enumerate(levels):
            statistics = LagStatistics(count * C, H, W)
            generator = torch.Generator().manual_seed(seed)
            for x, conditioning in batches:
                noise = torch.randn(x.shape, generator=generator).to(x.device)
                estimate = denoise(torch.nan_to_num(x) + float(level) * noise, level.to(x), conditioning)
                statistics.add((x - estimate).reshape(len(x), count * C, H, W))
            shrink = float(level) ** 2 / (1 + float(level) ** 2)
            kernels.append((nearest_lags(statistics.kernel(count), kept) / shrink).float().cpu())
            if progress is not None:
                progress(index + 1, len(levels))
    return ErrorCovarianceModel(levels, torch.stack(kernels))
