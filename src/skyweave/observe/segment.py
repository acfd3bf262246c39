"""Observations of one stretch of states: what a posterior is conditioned on."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from skyweave.diffusion.noise import NoiseStream
from skyweave.observe.errors import ErrorCovariance
from skyweave.observe.operator import StateOperator

__all__ = ["Observations", "SegmentObservations", "Source"]


@dataclass(frozen=True)
class Source:
    """Name and weight ``lambda_m`` of a source, and whether it is a "grid" or "points"."""

    name: str
    weight: float
    kind: str = "grid"


@dataclass(frozen=True, eq=False)
class Observations:
    """Values of states and their errors, in physical units.

    Args:
        operator: ``H`` on states ``(M, T, C, H, W)``.
        y: values, shape ``(n,)``, float32, or one set a member ``(M, n)``.
        R: error covariance, divided by the weights of the sources.
        source: number of the source of each row, shape ``(n,)``; empty where all are of one.
        frame: first frame that a row weighs, shape ``(n,)``, ascending; empty where that is not known.
        weight: by which the error variance of each row was divided, shape ``(n,)``; empty for one.
        sources: names, weights and kinds, by number.
    """

    operator: StateOperator
    y: Tensor
    R: ErrorCovariance
    source: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64), kw_only=True)
    frame: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64), kw_only=True)
    weight: np.ndarray = field(default_factory=lambda: np.zeros(0), kw_only=True)
    sources: tuple[Source, ...] = field(default=(), kw_only=True)

    @property
    def n(self) -> int:
        return int(self.operator.n)

    def noise(self, stream: NoiseStream, step: int) -> Tensor:
        """White noise for the errors, ``(M, n)``: that of their own time where it is known."""
        return stream.normal_vector(step, self.n, self.frame if len(self.frame) else None)

    def take(self, rows: np.ndarray) -> Self:
        """Some of the observations; ``rows`` ascend."""
        op = self.operator
        rows = np.asarray(rows)
        return replace(
            self,
            operator=StateOperator(sp.csr_array(op.matrix[rows]), op.shape, op.transform),
            y=self.y[..., torch.from_numpy(rows)],
            R=self.R.take(rows),
            **{name: values[rows] for name, values in self._by_row().items() if len(values)},
        )

    def _by_row(self) -> dict[str, np.ndarray]:
        """What has a number for each row."""
        return {"source": self.source, "frame": self.frame, "weight": self.weight}


@dataclass(frozen=True, eq=False)
class SegmentObservations(Observations):
    """Observations of the frames ``t0 <= t < t1``.

    Args:
        channel: variable of each row, shape ``(n,)``.
        cell: flat index into ``(T, C, H, W)`` of the segment of the cell that a row observes directly, -1 where
            it is a mean of several, shape ``(n,)``.
        straddling: rows left out for weighing a frame of this segment and one outside it.
    """

    channel: np.ndarray = field(kw_only=True)
    cell: np.ndarray = field(kw_only=True)
    straddling: int = field(default=0, kw_only=True)

    def _by_row(self) -> dict[str, np.ndarray]:
        return {**super()._by_row(), "channel": self.channel, "cell": self.cell}
