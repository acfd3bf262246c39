"""What a user would pick instead of a downscaling network: interpolation, quantile mapping, the day before.

``DOWNSCALING_BASELINES[name](samples, training)`` fits on training days alone and returns a function of days that gives
fields in physical units, ``(B, C, H, W)``. A new baseline is one class and one line here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from skyweave.downscale.data.samples import Samples
from skyweave.errors import SkyweaveError, did_you_mean
from skyweave.transform import StateTransform

__all__ = ["DOWNSCALING_BASELINES", "Bicubic", "Persistence", "QuantileMapped", "find_baseline"]

Indices = NDArray[np.int64]
AT_ONCE = 64


class Bicubic:
    """The coarse day at the fine centres, as it is; nothing is fitted.

    Args:
        samples: of an area.
        training: not used.
    """

    def __init__(self, samples: Samples, training: ArrayLike = ()) -> None:
        self.samples = samples
        shared = samples.record.shared
        self.transform = StateTransform(tuple(samples.scaler.coarse.transforms[c] for c in shared))

    def scaled(self, days: ArrayLike) -> Tensor:
        """Scaled coarse fields of the shared variables, ``(B, C, H, W)``."""
        index = np.atleast_1d(np.asarray(days, np.int64))
        # A window brings lags that are not needed here, so days go through in parts.
        parts = [self.samples.coarse_window(part).target for part in _parts(index)]
        return torch.cat(parts)

    def __call__(self, days: ArrayLike) -> Tensor:
        """Fields of some days, physical units, ``(B, C, H, W)``."""
        return self.transform.inverse(self.scaled(days))


class QuantileMapped:
    r"""Bicubic fields whose values take those of the fine record that are as rare, cell by cell.

    .. math:: \hat y = F_y^{-1}(F_x(x))

    with the distributions of the training days of one cell (or of all cells together) as quantiles, linear between
    them; beyond the outermost ones values are shifted as these are. It works on scaled values, so that under a
    logarithm the shift is a factor.

    Args:
        samples: of an area.
        training: indices of training days.
        local: one distribution for each cell; else one for all.
        levels: number of quantiles.

    Raises:
        SkyweaveError: fewer than ten training days, or a cell never seen on them.

    Reference: Panofsky and Brier (1968); Wood et al. (2002), doi 10.1029/2001JD000659 (quantile mapping with bicubic or
    other interpolation is the usual statistical downscaling).
    """

    def __init__(
        self, samples: Samples, training: ArrayLike, *, local: bool = True, levels: int = 25
    ) -> None:
        days = np.asarray(training, np.int64)
        if len(days) < 10:
            raise SkyweaveError(f"quantile mapping needs ten training days at least, found {len(days)}")
        self.bicubic = Bicubic(samples)
        self.samples, self.local = samples, local
        rank = (np.arange(levels) + 0.5) / levels
        fine = samples.scaler.fine.forward(torch.from_numpy(samples.record.fine.read(days)))
        self.source, self.target = (
            self._quantiles(self.bicubic.scaled(days), rank),
            self._quantiles(fine, rank),
        )
        if not self.target.isfinite().all():
            raise SkyweaveError(
                "quantile mapping: cells of the fine record have no value on any training day"
            )

    def _quantiles(self, fields: Tensor, rank: NDArray[np.float64]) -> Tensor:
        """Quantiles of every cell, ascending along the last axis, ``(C, H, W, Q)``."""
        values = fields.numpy()
        if not self.local:
            pooled = np.nanquantile(values, rank, axis=(0, 2, 3))[:, :, None, None]
            out = np.broadcast_to(pooled, (len(rank), *values.shape[1:]))
        else:
            out = np.nanquantile(values, rank, axis=0)
        return torch.from_numpy(np.ascontiguousarray(np.moveaxis(out, 0, -1), np.float32))

    def __call__(self, days: ArrayLike) -> Tensor:
        """Fields of some days, physical units, ``(B, C, H, W)``."""
        z = self.bicubic.scaled(days).movedim(0, -1).contiguous()
        last = self.source.shape[-1] - 1
        upper = torch.searchsorted(self.source, z, right=True).clamp(1, last)
        low, high = (self.source.gather(-1, at) for at in (upper - 1, upper))
        share = ((z - low) / (high - low).clamp(min=1e-9)).clamp(0, 1)
        mapped = torch.lerp(self.target.gather(-1, upper - 1), self.target.gather(-1, upper), share)
        # Beyond the outermost quantiles, where `share` has stopped, what is left is added.
        mapped = mapped + (z - self.source[..., -1:]).clamp(min=0) - (self.source[..., :1] - z).clamp(min=0)
        return self.samples.scaler.inverse(mapped.movedim(-1, 0))


class Persistence:
    """The fine day before; it is known only where the fine record is.

    Args:
        samples: of an area.
        training: not used.
    """

    def __init__(self, samples: Samples, training: ArrayLike = ()) -> None:
        self.samples = samples

    def __call__(self, days: ArrayLike) -> Tensor:
        """Fields of some days, physical units, ``(B, C, H, W)``; NaN where the day before is missing."""
        before = np.atleast_1d(np.asarray(days, np.int64)) - 1
        return torch.from_numpy(self.samples.record.fine.read(before, self.samples.fill_days))


def _parts(index: Indices) -> Iterator[Indices]:
    for start in range(0, len(index), AT_ONCE):
        yield index[start : start + AT_ONCE]


DOWNSCALING_BASELINES: dict[str, Callable[[Samples, ArrayLike], Callable[[ArrayLike], Tensor]]] = {
    "bicubic": Bicubic,
    "quantile-mapped": QuantileMapped,
    "persistence": Persistence,
}
"""Baselines of downscaling by name."""


def find_baseline(name: str) -> Callable[[Samples, ArrayLike], Callable[[ArrayLike], Tensor]]:
    """What fits the baseline of a name.

    Raises:
        SkyweaveError: there is none.
    """
    if name not in DOWNSCALING_BASELINES:
        hint = did_you_mean(name, list(DOWNSCALING_BASELINES))
        raise SkyweaveError(f"no baseline {name!r}{hint}; there are {', '.join(DOWNSCALING_BASELINES)}")
    return DOWNSCALING_BASELINES[name]
