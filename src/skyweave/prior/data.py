"""Random patches of normalised fields, from memory or from a record too long for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from skyweave.errors import SkyweaveError
from skyweave.grid import Grid
from skyweave.io.axes import moments
from skyweave.io.select import between
from skyweave.prior.conditioning import BoundConditioning
from skyweave.state import StateSpec, to_tensor
from skyweave.transform import TRANSFORMS, StateTransform


@dataclass(frozen=True)
class Batch:
    """Normalised fields (B, C, h, w), NaN where missing, and their conditioning (B, K, h, w).

    Windows of several frames have an axis of time after the first.
    """

    fields: Tensor
    conditioning: Tensor


@dataclass(frozen=True, eq=False)
class Record:
    """A period of gridded fields, read on demand; `dataset` has dimensions (time, lat, lon)."""

    dataset: xr.Dataset
    spec: StateSpec
    grid: Grid
    transform: StateTransform | None = None

    @property
    def time_name(self) -> str:
        return str(self.dataset[self.spec.names[0]].dims[0])

    @property
    def times(self) -> np.ndarray:
        return self.dataset[self.time_name].values

    def __len__(self) -> int:
        return int(self.dataset.sizes[self.time_name])

    @property
    def frame_bytes(self) -> int:
        """Memory of one time in float32."""
        return 4 * len(self.spec.variables) * self.grid.size

    def read(self, index: np.ndarray | slice) -> Tensor:
        """Fields (T, C, H, W) at the given time indices, normalised if this record has a transform."""
        values = to_tensor(self.dataset.isel({self.time_name: index}), self.spec, self.grid)
        return values if self.transform is None else self.transform.forward(values)


def select_period(dataset: xr.Dataset, time_name: str, first: str, last: str, what: str) -> xr.Dataset:
    """Times from `first` to `last`, both inclusive (a date stands for its whole day).

    Raises:
        SkyweaveError: nothing lies in between.
    """
    ordered = dataset.sortby(time_name)
    try:
        selected = ordered.isel({time_name: between(moments(ordered, time_name), first, last)})
    except (SkyweaveError, KeyError) as error:
        raise SkyweaveError(f"split.{what}: cannot select times {first} to {last}: {error}") from None
    if selected.sizes[time_name] == 0:
        times = ordered[time_name].values
        raise SkyweaveError(
            f"split.{what}: no time from {first} to {last}; the data span {times[0]} to {times[-1]}"
        )
    return selected


def fit_transform(
    record: Record, kinds: Mapping[str, str], memory_bytes: float, seed: int = 0
) -> StateTransform:
    """Fit each variable's transform on the observed cells of a (training) record.

    A record that needs more than `memory_bytes` is represented by as many random times as fit.

    Raises:
        SkyweaveError: a variable has no observed cell, or a transform is unknown.
    """
    fitting = max(1, int(memory_bytes // record.frame_bytes))
    index = np.arange(len(record))
    if fitting < len(record):
        index = np.sort(np.random.default_rng(seed).choice(len(record), fitting, replace=False))
    values = Record(record.dataset, record.spec, record.grid).read(index).numpy()
    fitted = []
    for channel, name in enumerate(record.spec.names):
        finite = values[:, channel][np.isfinite(values[:, channel])]
        if not finite.size:
            raise SkyweaveError(f"{name}: no observed value in the training period")
        fitted.append(TRANSFORMS[kinds.get(name, "standardise")].fit(finite))
    return StateTransform(tuple(fitted))


TRIES = 20
"""Draws of a patch before one is taken that is observed in less than the share asked for."""


class PatchSampler:
    """Batches of random patches; batch `step` is a function of (seed, stream, step) alone.

    So a resumed run needs no state of its data loader, and no two processes see the same patches.
    Patches cross the edge of periodic longitudes. A record that exceeds `memory_bytes` is held in part:
    every `block_steps` batches, `segments` contiguous pieces are drawn anew. Windows of several frames are taken
    only where the times follow one another at the record's own step. Patches of which less than `min_observed` is
    there are drawn again, a number of times.

    Raises:
        SkyweaveError: the patch is larger than the domain, or the window longer than any stretch of regular times.
    """

    segments = 8

    def __init__(
        self,
        record: Record,
        conditioning: BoundConditioning,
        patch: tuple[int, int],
        batch: int,
        *,
        seed: int = 0,
        stream: int = 0,
        memory_bytes: float = 4e9,
        window: int = 1,
        min_observed: float = 0.0,
    ) -> None:
        height, width = record.grid.shape
        if patch[0] > height or patch[1] > width:
            raise SkyweaveError(
                f"patch {patch[0]} x {patch[1]} is larger than the domain, {height} x {width}; "
                "set `patch` to at most that"
            )
        self.record = record
        self.conditioning = conditioning
        self.patch = patch
        self.batch_size = batch
        self.key = (seed, stream)
        self.window, self.min_observed = window, min_observed
        # Whether each time is followed by the next after one step.
        self._follows = regular(record.times) if window > 1 else np.ones(len(record) - 1, bool)
        if not len(self._starts(np.arange(len(record)))):
            raise SkyweaveError(
                f"a window of {window} frames is longer than any stretch of equally spaced times; the data have "
                f"{len(record)} times, of which {int(self._follows.sum())} are followed by the next after one step"
            )
        self.whole_circle = record.grid.periodic and patch[1] == width
        held = min(len(record), max(window, int(memory_bytes // record.frame_bytes)))
        self._held = held
        patches = held * max(1, (height // patch[0]) * (width // patch[1]))
        # About one pass over a block before the next is read, so that reading stays a small part of the time.
        self.block_steps = max(1, patches // batch)
        self._block = -1
        self._index = np.arange(len(record))
        self._fields: Tensor | None = None

    def _load(self, step: int) -> Tensor:
        complete = self._held == len(self.record)
        block = 0 if complete else step // self.block_steps
        if self._fields is None or block != self._block:
            self._fields = None
            self._index = np.arange(len(self.record)) if complete else self._draw_block(block)
            self._fields = self.record.read(self._index)
            self._block = block
        return self._fields

    def _draw_block(self, block: int) -> np.ndarray:
        rng = np.random.default_rng((*self.key, 1, block))
        length = max(self.window, self._held // self.segments)
        starts = rng.integers(0, len(self.record) - length + 1, size=max(1, self._held // length))
        return np.unique(np.concatenate([np.arange(s, s + length) for s in starts]))

    def batch(self, step: int) -> Batch:
        """The batch of training step `step`."""
        fields = self._load(step)
        rng = np.random.default_rng((*self.key, 0, step))
        height, width = self.record.grid.shape
        h, w = self.patch
        wraps = self.record.grid.periodic
        starts = self._starts(self._index)
        highest = (len(starts), height - h + 1, width if wraps else width - w + 1)
        drawn = np.stack([rng.integers(0, high, size=self.batch_size) for high in highest], axis=1)
        patches, channels = [], []
        for start, top, left in drawn:
            # Where most of a record is missing, patches that say something are worth a few draws more.
            for _ in range(TRIES):
                rows, columns = np.arange(top, top + h), np.arange(left, left + w) % width
                frames = slice(starts[start], starts[start] + self.window)
                patch = fields[frames][:, :, rows][..., columns]
                if not self.min_observed or float(patch.isfinite().float().mean()) >= self.min_observed:
                    break
                start, top, left = (int(rng.integers(0, high)) for high in highest)
            patches.append(patch)
            times = self.record.times[self._index[frames]]
            channels.append(self.conditioning.channels(times, self.window, rows, columns))
        batch = torch.stack(patches), torch.stack(channels)
        return Batch(*batch) if self.window > 1 else Batch(batch[0][:, 0], batch[1][:, 0])

    def _starts(self, index: np.ndarray) -> np.ndarray:
        """Positions in `index` at which a window of equally spaced times begins."""
        together = (np.diff(index) == 1) & self._follows[index[:-1]]
        run = np.concatenate([[0], np.cumsum(~together)])
        last = len(index) - self.window + 1
        if last < 1:
            return np.array([], dtype=int)
        return np.flatnonzero(run[:last] == run[self.window - 1 :])


def time_step(times: np.ndarray) -> float:
    """The commonest step between times, in seconds; NaN where there are fewer than two."""
    if len(times) < 2:
        return float("nan")
    steps, counts = np.unique(_seconds(times), return_counts=True)
    return float(steps[np.argmax(counts)])


def regular(times: np.ndarray) -> np.ndarray:
    """Whether each time but the last is followed by the next after the commonest step; (T - 1,)."""
    return np.isclose(_seconds(times), time_step(times), rtol=1e-3)


def _seconds(times: np.ndarray) -> np.ndarray:
    steps = np.diff(times)
    if np.issubdtype(steps.dtype, np.timedelta64):
        return steps / np.timedelta64(1, "s")
    return np.array([step.total_seconds() for step in steps])


def span(times: Sequence[object] | np.ndarray) -> tuple[str, str]:
    """First and last time as text."""
    values = np.asarray(times)
    return str(values.min()), str(values.max())
