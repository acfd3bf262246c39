"""Covariance of sequences: stationary in space and time, and its estimate from a prior of windows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from scipy.fft import next_fast_len
from torch import Tensor

from skyweave.covariance.by_noise_level import LagStatistics, check_kernels, default_levels, taper

__all__ = ["SpaceTimeCovariance", "SpaceTimeErrorModel", "estimate_space_time_covariance"]


@dataclass(frozen=True, eq=False)
class SpaceTimeCovariance:
    r"""Stationary kernel over (time, lat, lon), applied as a padded convolution.

    .. math:: V = \mathrm{diag}(s)\, E^T F^{-1} \hat K F E\, \mathrm{diag}(s)

    with ``E`` the embedding of the sequence into a longer and larger torus, ``F`` the Fourier transform over time and
    space, and ``K`` one ``C x C`` block per frequency and wavenumber. Memory grows with the number of frames, and not
    with its square as a block for every pair of frames would.

    Args:
        spectrum: blocks ``(C, C, kt, ky, kx)``, ``kx`` the half axis of a real transform; Hermitian and positive
            semi-definite (real where ``C`` is one).
        shape: ``(T, C, H, W)`` of the states it acts on.
        torus: ``(T', H', W')``.
        scale: local standard deviation ``s``, broadcastable to ``(M, T, C, H, W)``, or ``None`` for one.
    """

    spectrum: Tensor
    shape: tuple[int, int, int, int]
    torus: tuple[int, int, int]
    scale: Tensor | None = None
    _cache: dict = field(default_factory=dict, repr=False)

    def __matmul__(self, v: Tensor) -> Tensor:
        if self.scale is not None:
            v = v * self.scale
        out = self._convolve(v, self.spectrum)
        return out if self.scale is None else out * self.scale

    def color(self, noise: Tensor) -> Tensor:
        r"""``V^{1/2} n``: a draw of covariance ``V`` from white noise ``(M, T', C, H', W')``."""
        if "root" not in self._cache:
            self._cache["root"] = _root(self.spectrum)
        out = self._convolve(noise, self._cache["root"])
        return out if self.scale is None else out * self.scale

    @property
    def noise_shape(self) -> tuple[int, int, int, int]:
        """Shape ``(T', C, H', W')`` of the white noise that `color` takes for each member."""
        return (self.torus[0], self.shape[1], *self.torus[1:])

    @property
    def padded(self) -> tuple[int, int]:
        """``(H', W')`` of the torus."""
        return self.torus[1], self.torus[2]

    @property
    def kernel(self) -> Tensor:
        """Covariance of cells of one frame by lag on the torus, ``(C, C, H', W')``, zero lag first."""
        return self._lags()[:, :, 0]

    @property
    def member_dependent(self) -> bool:
        return self.scale is not None and self.scale.ndim == 5 and self.scale.shape[0] > 1

    def dense(self, cells: Tensor) -> Tensor | None:
        """``V`` between flat cell indices, ``(..., c)`` to ``(..., c, c)``; ``None`` where members differ.

        Cells are numbered row-major over time, channel, lat, lon.
        """
        if self.member_dependent:
            return None
        T, C, H, W = self.shape
        table = self._lag_table()
        frames, rows, columns = 2 * T - 1, 2 * H - 1, 2 * W - 1
        index = cells.to(torch.int32)
        j, i, c, t = index % W, (index // W) % H, (index // (H * W)) % C, index // (C * H * W)
        # One subtraction finds the place of every pair in the table of signed lags.
        left = ((c * C * frames + t + T - 1) * rows + i + H - 1) * columns + j + W - 1
        right = ((t - c * frames) * rows + i) * columns + j
        pairs = left[..., :, None] - right[..., None, :]
        out = table.index_select(0, pairs.reshape(-1)).reshape(pairs.shape)
        if self.scale is not None:
            s = self.scale.expand(1, *self.shape).reshape(-1)[cells.long()]
            out = s[..., :, None] * out * s[..., None, :]
        return out

    def largest(self) -> float:
        """Variance of the largest mode of the kernel: no eigenvalue without the scale is greater."""
        if self.spectrum.shape[0] == 1:
            return float(self.spectrum.real.max())
        return float(torch.linalg.matrix_norm(self.spectrum.permute(2, 3, 4, 0, 1)).max())

    def variance(self) -> Tensor:
        """Variance of each cell, broadcastable to ``(M, T, C, H, W)``."""
        var = torch.diagonal(self._lags()[:, :, 0, 0, 0]).reshape(1, 1, -1, 1, 1)
        return var if self.scale is None else var * self.scale**2

    def scaled(self, scale: Tensor | None) -> SpaceTimeCovariance:
        """The same kernel with another local standard deviation."""
        return replace(self, scale=scale, _cache=self._cache)

    def _lags(self) -> Tensor:
        if "lags" not in self._cache:
            self._cache["lags"] = torch.fft.irfftn(self.spectrum, s=self.torus, dim=(-3, -2, -1))
        return self._cache["lags"]

    def _lag_table(self) -> Tensor:
        """Covariance by signed lag within the domain, ``(C, C, 2T - 1, 2H - 1, 2W - 1)``, flat."""
        if "table" not in self._cache:
            T, _, H, W = self.shape
            lags = self._lags()
            for axis, (size, around) in enumerate(zip((T, H, W), self.torus, strict=True), start=2):
                lags = lags.index_select(axis, torch.arange(1 - size, size) % around)
            self._cache["table"] = lags.reshape(-1)
        return self._cache["table"]

    def _convolve(self, v: Tensor, blocks: Tensor) -> Tensor:
        T, _, H, W = self.shape
        out = []
        for member in v:  # one at a time: the transform of a long sequence is large
            hat = torch.fft.rfftn(member.transpose(0, 1), s=self.torus, dim=(-3, -2, -1))
            if blocks.shape[0] == 1:
                hat = blocks[0, 0] * hat
            else:
                hat = torch.einsum("pqtyx,qtyx->ptyx", blocks.to(hat.dtype), hat)
            wide = torch.fft.irfftn(hat, s=self.torus, dim=(-3, -2, -1))
            out.append(wide[:, :T, :H, :W].transpose(0, 1))
        return torch.stack(out)


@dataclass(frozen=True, eq=False)
class SpaceTimeErrorModel:
    r"""Error covariance of sequences by noise level, for any domain and any number of frames.

    As `ErrorCovarianceModel`, with lags in time: frames farther apart than those known are taken for independent,
    and the kernel is tapered towards them.

    Args:
        levels: noise levels, increasing, ``(L,)``.
        kernels: ``(L, F, C, C, 2h, 2w)``; lag ``tau`` of the second axis is
            ``K_cc'(tau, d) = cov(e_c(t + tau, r + d), e_c'(t, r))`` over ``sigma^2 / (1 + sigma^2)``, ``d`` zero first.
    """

    levels: Tensor
    kernels: Tensor

    def on(
        self, shape: tuple[int, int, int, int], *, periodic: bool = False
    ) -> Callable[[float], SpaceTimeCovariance]:
        """Covariance by noise level for states ``(T, C, H, W)``; ``periodic`` in longitude."""
        T, C, H, W = shape
        frames, known = self.kernels.shape[1:3]
        h, w = self.kernels.shape[-2] // 2, self.kernels.shape[-1] // 2
        if known != C:
            raise ValueError(f"the covariance knows {known} channels, the state has {C}")
        # Room for the reach of the kernel on both sides, so that draws do not know where the sequence ends.
        torus = (
            next_fast_len(T + 2 * frames, True),
            next_fast_len(H + h, True),
            W if periodic else next_fast_len(W + w, True),
        )
        spectra: dict[int, Tensor] = {}

        def spectrum(index: int) -> Tensor:
            if index not in spectra:
                spectra[index] = _spectrum(self.kernels[index].double(), torus)
            return spectra[index]

        def at(sigma: float) -> SpaceTimeCovariance:
            low, high, weight = self._bracket(sigma)
            sigma2 = min(sigma, 1e6) ** 2
            blocks = (1 - weight) * spectrum(low) + weight * spectrum(high)
            return SpaceTimeCovariance(blocks * (sigma2 / (1 + sigma2)), shape, torus)

        return at

    def _bracket(self, sigma: float) -> tuple[int, int, float]:
        logs = self.levels.log()
        position = math.log(min(max(sigma, float(self.levels[0])), float(self.levels[-1])))
        high = int(torch.searchsorted(logs, position).clamp(1, len(logs) - 1))
        weight = float((position - logs[high - 1]) / (logs[high] - logs[high - 1]))
        return high - 1, high, min(max(weight, 0.0), 1.0)

    def to_tensors(self) -> dict[str, Tensor]:
        """What is stored with the prior, float16."""
        return {"covariance.levels": self.levels.clone(), "covariance.space_time": self.kernels.half()}

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> SpaceTimeErrorModel | None:
        """The stored model, or ``None`` where none is stored.

        Raises:
            SkyweaveError: numbers that are not finite, or of no such shape.
        """
        if "covariance.space_time" not in tensors:
            return None
        check_kernels(tensors, "covariance.space_time", 6)
        return cls(tensors["covariance.levels"].double(), tensors["covariance.space_time"].float())


def estimate_space_time_covariance(
    denoise: Callable[[Tensor, Tensor, Tensor], Tensor],
    batches: Sequence[tuple[Tensor, Tensor]],
    *,
    levels: Tensor | None = None,
    max_lag: int | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> SpaceTimeErrorModel:
    r"""Lag covariance in space and time of ``x - D(x + sigma n, sigma)`` at each noise level, over observed pairs.

    Args:
        denoise: ``(x_sigma, sigma, conditioning) -> x_hat`` for sequences ``(B, T, C, H, W)``.
        batches: clean normalised sequences of validation data, NaN where not observed, with their conditioning.
        levels: noise levels, increasing.
        max_lag: lags kept in space, in cells; all of the patch by default.
        seed: of the noise; each level uses the same noise, which makes the kernels smooth in sigma.

    Raises:
        ValueError: there are no batches.
    """
    levels = default_levels() if levels is None else levels
    if not batches:
        raise ValueError("an error covariance needs validation states; there are none")
    T, C, H, W = batches[0][0].shape[1:]
    h, w = (min(max_lag or n, n) for n in (H, W))
    kernels = []
    with torch.no_grad():
        for number, level in enumerate(levels):
            statistics = LagStatistics(T * C, H, W)
            generator = torch.Generator().manual_seed(seed)
            for x, conditioning in batches:
                noise = torch.randn(x.shape, generator=generator)
                estimate = denoise(
                    torch.nan_to_num(x) + float(level) * noise, level.to(x.dtype), conditioning
                )
                statistics.add((x - estimate).flatten(1, 2))
            kernel = _by_time_lag(statistics, T, C) / (float(level) ** 2 / (1 + float(level) ** 2))
            dy, dx = _signed(h) % (2 * H), _signed(w) % (2 * W)
            kernels.append(kernel[..., dy, :][..., dx].float())
            if progress is not None:
                progress(number + 1, len(levels))
    return SpaceTimeErrorModel(levels, torch.stack(kernels))


def _by_time_lag(statistics: LagStatistics, frames: int, channels: int) -> Tensor:
    """Mean products of all pairs of frames of one lag in time, ``(F, C, C, 2H, 2W)``."""
    padded = (2 * statistics.height, 2 * statistics.width)

    def gathered(blocks: Tensor) -> Tensor:
        split = blocks.unflatten(1, (frames, channels)).unflatten(0, (frames, channels))
        lags = [sum(split[t + lag, :, t] for t in range(frames - lag)) for lag in range(frames)]
        return torch.fft.irfft2(torch.stack(lags), s=padded)  # type: ignore[arg-type]

    products, pairs = gathered(statistics.products), gathered(statistics.pairs)
    return torch.where(pairs > 0.5, products / pairs.clamp_min(0.5), torch.zeros_like(products))


def _signed(half: int) -> Tensor:
    """Lags of ``2 half`` places of a torus: ``0 .. half - 1, -half .. -1``."""
    lag = torch.arange(2 * half)
    return torch.where(lag < half, lag, lag - 2 * half)


def _spectrum(kernel: Tensor, torus: tuple[int, int, int]) -> Tensor:
    """Positive semi-definite blocks on a torus, of a kernel ``(F, C, C, 2h, 2w)`` tapered towards its ends."""
    frames, C = kernel.shape[:2]
    h, w = kernel.shape[-2] // 2, kernel.shape[-1] // 2
    reach = torch.arange(frames, dtype=torch.float64) / frames
    in_time = 0.5 * (1 + torch.cos(math.pi * (2 * (reach - 0.5)).clamp(0, 1)))
    weighted = kernel * taper(h, w) * in_time[:, None, None, None, None]
    T, H, W = torus
    out = weighted.new_zeros(C, C, T, H, W)
    dy = torch.arange(-min(h - 1, (H - 1) // 2), min(h - 1, (H - 1) // 2) + 1)
    dx = torch.arange(-min(w - 1, (W - 1) // 2), min(w - 1, (W - 1) // 2) + 1)
    for lag in range(min(frames, (T + 1) // 2)):
        block = weighted[lag][..., (dy % (2 * h))[:, None], (dx % (2 * w))[None, :]]
        out[:, :, lag, (dy % H)[:, None], (dx % W)[None, :]] = block
        if lag:
            # K_cc'(-tau, -d) = K_c'c(tau, d).
            mirrored = block.transpose(0, 1)
            out[:, :, T - lag, (-dy % H)[:, None], (-dx % W)[None, :]] = mirrored
    spectrum = torch.fft.rfftn(out, dim=(-3, -2, -1))
    if C == 1:
        positive = spectrum.real.clamp_min(1e-4 * float(spectrum.real.mean())).to(spectrum.dtype)
    else:
        blocks = spectrum.permute(2, 3, 4, 0, 1)
        values, vectors = torch.linalg.eigh(0.5 * (blocks + blocks.mH))
        clipped = values.clamp_min(1e-4 * float(values.mean()))
        positive = ((vectors * clipped[..., None, :].to(vectors.dtype)) @ vectors.mH).permute(3, 4, 0, 1, 2)
    # Clipping what is negative adds variance; the shape is kept and the variance restored.
    after = torch.diagonal(torch.fft.irfftn(positive, s=torus, dim=(-3, -2, -1))[:, :, 0, 0, 0])
    ratio = (torch.diagonal(out[:, :, 0, 0, 0]) / after.clamp_min(1e-30)).clamp_min(0).sqrt()
    positive = positive * (ratio[:, None] * ratio[None, :])[..., None, None, None]
    return positive.real.float() if C == 1 else positive.to(torch.complex64)


def _root(spectrum: Tensor) -> Tensor:
    """Hermitian square root of each block, negative eigenvalues set to zero."""
    if spectrum.shape[0] == 1:
        return spectrum.real.clamp_min(0).sqrt()
    values, vectors = torch.linalg.eigh(spectrum.permute(2, 3, 4, 0, 1))
    root = vectors * values.clamp_min(0).sqrt()[..., None, :] @ vectors.mH
    return root.permute(3, 4, 0, 1, 2)
