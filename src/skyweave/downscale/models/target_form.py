"""The form in which networks see the target: departures from a linear estimate, standardised values, or 0 to 1."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

__all__ = ["Channels", "Form", "SampleLike", "TargetForm"]

Form = Literal["departure", "standard", "unit"]


class SampleLike(Protocol):
    """What a downscaler reads of a sample, batch first (see `skyweave.downscale.data.samples`)."""

    @property
    def lags(self) -> Tensor: ...
    @property
    def coarse_lags(self) -> Tensor: ...
    @property
    def driver(self) -> Tensor: ...
    @property
    def static(self) -> Tensor: ...
    @property
    def calendar(self) -> Tensor: ...


class TargetForm(nn.Module):
    r"""An invertible map, cell by cell, between the scaled target ``y`` and what a network predicts, ``w``.

    - ``"standard"``: ``w = y``.
    - ``"unit"``: ``w = (y - a) / (b - a)`` with the least and greatest training values, so that a sigmoid can produce
      it (the paper's choice).
    - ``"departure"``: ``w = (y - B) / s`` with a linear estimate fitted by least squares on training days,

      .. math:: B = W (1, x_{t+1}, x_t, y_t)^T,

      of the coarse fields of the day and the coarse and fine fields of the day before, and ``s`` the root mean square
      of what it leaves. A network then starts from the best linear answer instead of having to find it.

    Args:
        kind: one of the three.
        fine, coarse: numbers of channels ``C`` and ``Cc``.
        use_lags: whether the estimate may look at ``y_t``; false where the downscaler may not.

    Reference: downscaling paper, section 2.2.2 (sigmoid output); departures from a regression are as in Mardani et
    al. 2023, "Residual corrective diffusion modeling".
    """

    weights: Tensor
    offset: Tensor
    scale: Tensor

    def __init__(self, kind: Form, fine: int, coarse: int, use_lags: bool = True) -> None:
        super().__init__()
        self.kind, self.use_lags = kind, use_lags
        self.register_buffer("weights", torch.zeros(fine, 2 * coarse + (fine if use_lags else 0)))
        self.register_buffer("offset", torch.zeros(fine))
        self.register_buffer("scale", torch.ones(fine))

    def _predictors(self, sample: SampleLike) -> Tensor:
        parts = [sample.driver, sample.coarse_lags[:, -1]]
        return torch.cat([*parts, sample.lags[:, -1]] if self.use_lags else parts, dim=1)

    def estimate(self, sample: SampleLike) -> Tensor:
        """``B`` (zero, or ``a``, for the other kinds), shape ``(B, C, H, W)``."""
        offset = self.offset[:, None, None]
        if self.kind != "departure":
            return offset.expand(len(sample.driver), -1, *sample.driver.shape[-2:])
        return torch.einsum("cp,bphw->bchw", self.weights, self._predictors(sample)) + offset

    def forward(self, target: Tensor, sample: SampleLike) -> Tensor:
        """``w`` of ``y``, both ``(B, C, H, W)``; NaN stays NaN."""
        return (target - self.estimate(sample)) / self.scale[:, None, None]

    def inverse(self, w: Tensor, sample: SampleLike) -> Tensor:
        """``y`` of ``w``; members may come between batch and channels, ``(B, M, C, H, W)``."""
        estimate = self.estimate(sample)
        return w * self.scale[:, None, None] + (estimate[:, None] if w.ndim == 5 else estimate)

    @torch.no_grad()
    def fit(self, pairs: Iterable[tuple[SampleLike, Tensor]]) -> None:
        """Fit on samples of training days and their targets; ``"standard"`` needs none.

        Args:
            pairs: samples with targets ``(B, C, H, W)``; cells whose target is NaN are left out.
        """
        if self.kind == "standard":
            return
        if self.kind == "unit":
            low = torch.full_like(self.offset, torch.inf)
            high = -low
            for _, target in pairs:
                flat = target.transpose(0, 1).flatten(1)
                low = torch.minimum(low, flat.nan_to_num(torch.inf).amin(1))
                high = torch.maximum(high, flat.nan_to_num(-torch.inf).amax(1))
            self.offset.copy_(low)
            self.scale.copy_((high - low).clamp(min=1e-6))
            return
        self._fit_linear(pairs)

    def _fit_linear(self, pairs: Iterable[tuple[SampleLike, Tensor]]) -> None:
        fine, count = self.weights.shape
        # Moments of (predictors, 1) with themselves and with each target, over the cells where that is known.
        gram = torch.zeros(fine, count + 1, count + 1, dtype=torch.float64)
        cross = torch.zeros(fine, count + 1, dtype=torch.float64)
        square, cells = torch.zeros(2, fine, dtype=torch.float64)
        for sample, target in pairs:
            p = self._predictors(sample).double().transpose(0, 1).flatten(1)
            p = torch.cat([p, torch.ones_like(p[:1])])
            y = target.double().transpose(0, 1).flatten(1)
            for c in range(fine):
                known = y[c].isfinite()
                q, z = p[:, known], y[c, known]
                gram[c] += q @ q.T
                cross[c] += q @ z
                square[c] += z @ z
                cells[c] += len(z)
        for c in range(fine):
            n = cells[c].clamp(min=1)
            # A trace of ridge: the coarse record may repeat itself exactly from one day to the next.
            ridge = 1e-6 * torch.eye(count + 1, dtype=torch.float64)
            w = torch.linalg.solve(gram[c] / n + ridge, cross[c] / n)
            left = square[c] / n - 2 * (w @ cross[c]) / n + w @ gram[c] @ w / n
            self.weights[c] = w[:count]
            self.offset[c] = w[count]
            self.scale[c] = left.clamp(min=1e-8).sqrt()


@dataclass(frozen=True)
class Channels:
    """Numbers of channels that a network is built for.

    Args:
        fine: ``C`` variables of the fine record.
        coarse: ``Cc`` variables of the coarse record.
        lags: ``T_lag`` days.
        static: ``S`` fields that do not change.
        calendar: ``K`` numbers of the day.
        shared: positions among the coarse variables of those of the fine record, in its order.
    """

    fine: int
    coarse: int
    lags: int
    static: int
    calendar: int
    shared: tuple[int, ...]

    @classmethod
    def of(cls, sample: SampleLike, shared: Sequence[int] | None = None) -> Channels:
        """Those of a sample; by default the first coarse variables are the fine ones."""
        fine = sample.lags.shape[2]
        return cls(
            fine,
            sample.driver.shape[1],
            sample.lags.shape[1],
            sample.static.shape[1],
            sample.calendar.shape[1],
            tuple(range(fine)) if shared is None else tuple(shared),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, for JSON."""
        return {**asdict(self), "shared": list(self.shared)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Channels:
        """The channels that `to_dict` described."""
        return cls(**{**values, "shared": tuple(values["shared"])})
