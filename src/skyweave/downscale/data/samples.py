"""What the models are given: scaled tensors of a target day, its driver, the days before it, place and calendar."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from skyweave.downscale.data.calendar import Calendar
from skyweave.downscale.data.records import Record
from skyweave.downscale.data.scaling import Scaler
from skyweave.errors import SkyweaveError
from skyweave.transform import StateTransform

__all__ = ["Calendar", "CoarseWindow", "Record", "Sample", "Samples", "Scaler"]

Indices = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Sample:
    """Inputs of Eq. 2 and the target, scaled; batch ``B`` first, patches of ``h x w`` cells or whole days.

    Day ``t + 1`` is the target day. Nothing but `target` (and `lags` of a rollout that has not begun) holds NaN.

    Args:
        lags: fine days ``y_{t-T_lag+1..t}``, oldest first, ``(B, T_lag, C, h, w)``.
        coarse_lags: the same days of the coarse record on the fine grid, ``(B, T_lag, Cc, h, w)``.
        driver: coarse fields ``x_{t+1}`` on the fine grid, ``(B, Cc, h, w)``.
        static: elevation if there is one, latitude, longitude, ``(B, S, h, w)``.
        calendar: season, phase of the year, days since start, year, ``(B, K)``; see `Calendar`.
        target: fine day ``y_{t+1}``, ``(B, C, h, w)``, NaN where missing.
    """

    lags: Tensor
    coarse_lags: Tensor
    driver: Tensor
    static: Tensor
    calendar: Tensor
    target: Tensor

    def to(self, device: torch.device | str) -> Sample:
        """The sample on another device."""
        return Sample(**{name: value.to(device) for name, value in vars(self).items()})


@dataclass(frozen=True, eq=False)
class CoarseWindow:
    """What the transfer encoder is pretrained on: coarse days on the fine grid, of the variables both records share.

    Args:
        lags: ``x_{t-T_lag+1..t}``, ``(B, T_lag, C, h, w)``, scaled, no NaN.
        target: ``x_{t+1}``, ``(B, C, h, w)``.
    """

    lags: Tensor
    target: Tensor


class Samples:
    """Samples of a record by day and place.

    The coarse fields are interpolated to the fine cells after scaling, so that a logarithm never meets what cubic
    interpolation leaves below zero beside a steep plume.

    Args:
        record: fields of both records, in physical units.
        scaler: fitted on training days.
        calendar: likewise.
        lags: ``T_lag``.
        fill_days: missing fine cells among the lags take the last value seen up to so many days earlier; 0 leaves
            them missing. The target is never filled.
        memory_bytes: scaled fields up to this are kept in memory, others are read when asked for.
    """

    def __init__(
        self,
        record: Record,
        scaler: Scaler,
        calendar: Calendar,
        lags: int,
        *,
        fill_days: int = 0,
        memory_bytes: float = 2e9,
    ) -> None:
        self.record, self.scaler, self.calendar = record, scaler, calendar
        self.lags, self.fill_days, self.memory_bytes = lags, fill_days, memory_bytes
        self.static = _static(record)
        self._calendar = calendar.features(record.days)
        self._maps: NDArray[np.float32] | None = None
        self._fine_maps: dict[int, NDArray[np.float32]] = {}
        self._weights: dict[tuple[int, int, int, int], Any] = {}

    @property
    def shape(self) -> tuple[int, int]:
        """``(H, W)`` of a whole day."""
        return self.record.grid.shape

    def sample(
        self,
        days: ArrayLike,
        origins: ArrayLike | None = None,
        patch: tuple[int, int] | None = None,
        *,
        lags: Tensor | None = None,
    ) -> Sample:
        """Inputs and targets of some days.

        Args:
            days: indices of target days ``t + 1`` into ``record.days``, shape ``(B,)``, or one.
            origins: first row and column of each patch, ``(B, 2)``, or one for all; with `patch`.
            patch: ``(h, w)``; whole days without it.
            lags: scaled fine fields of the days before, ``(B, T_lag, C, h, w)``, instead of the record's: those of
                a rollout.

        Raises:
            SkyweaveError: a day too early for its lags or outside the coarse record, missing input fields, a patch
                outside the domain.
        """
        index, places = self._where(days, origins, patch)
        size = self.shape if patch is None else patch
        before = index[:, None] + np.arange(-self.lags, 0)
        coarse = self._coarse(np.concatenate([before, index[:, None]], axis=1), places, size)
        if lags is None:
            lags = self._fine(before, places, size)
            self._complete(lags, before, "fine")
        static = torch.stack([self.static[:, i : i + size[0], j : j + size[1]] for i, j in places])
        return Sample(
            lags=lags,
            coarse_lags=coarse[:, :-1],
            driver=coarse[:, -1],
            static=static,
            calendar=self._calendar[index],
            target=self._fine(index[:, None], places, size, fill=False)[:, 0],
        )

    def coarse_window(
        self, days: ArrayLike, origins: ArrayLike | None = None, patch: tuple[int, int] | None = None
    ) -> CoarseWindow:
        """Coarse days and the next one, of the shared variables; arguments as in `sample`."""
        index, places = self._where(days, origins, patch)
        window = index[:, None] + np.arange(-self.lags, 1)
        coarse = self._coarse(window, places, self.shape if patch is None else patch)
        coarse = coarse[:, :, list(self.record.shared)]
        return CoarseWindow(coarse[:, :-1], coarse[:, -1])

    # ---- parts

    def _where(
        self, days: ArrayLike, origins: ArrayLike | None, patch: tuple[int, int] | None
    ) -> tuple[Indices, Indices]:
        index = np.atleast_1d(np.asarray(days, np.int64))
        last = len(self.record.days) - 1
        outside = (index < self.lags) | (index > last)
        if outside.any():
            raise SkyweaveError(
                f"day {int(index[outside][0])} has no {self.lags} days before it, or lies outside the coarse record; "
                f"target days are {self.lags} to {last}"
            )
        if patch is None:
            return index, np.zeros((len(index), 2), np.int64)
        places = np.broadcast_to(np.asarray(0 if origins is None else origins, np.int64), (len(index), 2))
        if (places < 0).any() or (places + patch > self.shape).any():
            raise SkyweaveError(
                f"a patch of {patch} cells at {places.max(0)} lies outside {self.shape} cells"
            )
        return index, places

    def _fine(self, days: Indices, places: Indices, size: tuple[int, int], fill: bool = True) -> Tensor:
        """Scaled fine fields at ``(B, n)`` days, ``(B, n, C, h, w)``."""
        fill_days = self.fill_days if fill else 0
        held = self._held_fine(fill_days)
        if held is None:
            unique, inverse = np.unique(days, return_inverse=True)
            fields = self.record.fine.read(unique, fill_days)
            return self._cut(fields, inverse.reshape(days.shape), places, size, self.scaler.fine)
        fields, first = held
        at = days - first
        there = (at >= 0) & (at < len(fields))
        out = self._cut(fields, np.where(there, at, 0), places, size, None)
        return (
            out
            if there.all()
            else out.masked_fill(~torch.from_numpy(there)[:, :, None, None, None], torch.nan)
        )

    def _held_fine(self, fill_days: int) -> tuple[NDArray[np.float32], int] | None:
        """All scaled fine fields and the index of their first day, where memory holds them."""
        present = np.flatnonzero(self.record.fine.positions >= 0)
        last = min(present[-1] + fill_days, len(self.record.days) - 1)
        days = np.arange(present[0], last + 1)
        if self.record.fine.frame_bytes * len(days) > self.memory_bytes:
            return None
        if fill_days not in self._fine_maps:
            self._fine_maps[fill_days] = _scaled(self.scaler.fine, self.record.fine.read(days, fill_days))
        return self._fine_maps[fill_days], int(days[0])

    def _coarse(self, days: Indices, places: Indices, size: tuple[int, int]) -> Tensor:
        """Scaled coarse fields on fine cells at ``(B, n)`` days, ``(B, n, Cc, h, w)``."""
        record = self.record
        unique, inverse = np.unique(days, return_inverse=True)
        inverse = inverse.reshape(days.shape)
        needed = len(record.days) * record.coarse.channels * record.grid.size * 4
        if needed <= self.memory_bytes:
            if self._maps is None:
                everything = np.arange(len(record.days))
                self._maps = record.interpolate(_scaled(self.scaler.coarse, record.coarse.read(everything)))
            out = self._cut(self._maps, unique[inverse], places, size, None)
        else:
            scaled = _scaled(self.scaler.coarse, record.coarse.read(unique))
            parts = []
            for b, (i, j) in enumerate(places):
                key = (int(i), int(j), *size)
                if key not in self._weights:
                    self._weights[key] = record.weights_of(slice(i, i + size[0]), slice(j, j + size[1]))
                parts.append(
                    torch.from_numpy(record.interpolate(scaled[inverse[b]], self._weights[key], size))
                )
            out = torch.stack(parts)
        self._complete(out, days, "coarse")
        return out

    def _cut(
        self,
        fields: NDArray[np.float32],
        which: Indices,
        places: Indices,
        size: tuple[int, int],
        transform: StateTransform | None,
    ) -> Tensor:
        cut = np.stack(
            [fields[w, :, i : i + size[0], j : j + size[1]] for w, (i, j) in zip(which, places, strict=True)]
        )
        return torch.from_numpy(cut if transform is None else _scaled(transform, cut))

    def _complete(self, fields: Tensor, days: Indices, which: str) -> None:
        gaps = ~np.isfinite(fields.numpy()).all(axis=(2, 3, 4))
        if gaps.any():
            named = [f"{self.record.days[d]!s:.16}" for d in np.unique(days[gaps])[:5]]
            raise SkyweaveError(
                f"the {which} record has missing values on {', '.join(named)}, which are inputs; "
                "leave out the days that need them (`split_days` does), or fill short gaps"
            )


def _scaled(transform: StateTransform, values: NDArray[np.float32]) -> NDArray[np.float32]:
    return transform.forward(torch.from_numpy(np.ascontiguousarray(values))).numpy()


def _static(record: Record) -> Tensor:
    """Elevation (standardised), latitude and longitude (from -1 to 1 across the domain), ``(S, H, W)``."""
    lat, lon = np.meshgrid(record.grid.lat, record.grid.lon_unwrapped, indexing="ij")
    parts = [] if record.elevation is None else [_centred(record.elevation, record.elevation.std())]
    parts += [_centred(axis, np.ptp(axis) / 2, (axis.max() + axis.min()) / 2) for axis in (lat, lon)]
    return torch.from_numpy(np.stack(parts).astype(np.float32))


def _centred(values: NDArray[Any], scale: float, centre: float | None = None) -> NDArray[Any]:
    return (values - (values.mean() if centre is None else centre)) / (scale if scale > 0 else 1.0)


def day_names(days: Sequence[np.datetime64] | NDArray[np.datetime64], most: int = 6) -> str:
    """Days for a message, the first few of many."""
    values = np.asarray(days)
    daily = (values == values.astype("datetime64[D]")).all()
    listed = [str(v.astype("datetime64[D]" if daily else "datetime64[m]")) for v in values[:most]]
    return ", ".join(listed) + (f" and {len(values) - most} more" if len(values) > most else "")
