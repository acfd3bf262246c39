"""Patches of days by number, for training."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from skyweave.downscale.data.samples import CoarseWindow, Sample, Samples
from skyweave.stitch import Tile

__all__ = ["PatchExamples", "WindowExamples", "fitting_pairs"]

Indices = NDArray[np.int64]


class PatchExamples:
    """Samples of all patches of some days; patch ``n`` is place ``n mod P`` of day ``n div P``.

    Args:
        samples: of an area.
        days: indices of target days.
        tiling: the P patches of a day.
    """

    def __init__(self, samples: Samples, days: Indices, tiling: list[Tile]) -> None:
        self.samples, self.days = samples, np.asarray(days, np.int64)
        self.origins = np.array([(t.i[0], t.j[0]) for t in tiling], np.int64)
        self.patch = tiling[0].shape

    def __len__(self) -> int:
        return len(self.days) * len(self.origins)

    def _places(self, index: Indices) -> tuple[Indices, Indices]:
        day, place = np.divmod(np.asarray(index), len(self.origins))
        return self.days[day], self.origins[place]

    def batch(self, index: Indices) -> Sample | CoarseWindow:
        """The samples of those patches."""
        days, origins = self._places(index)
        return self.samples.sample(days, origins, self.patch)


class WindowExamples(PatchExamples):
    """The same of the coarse record alone, for the transfer encoder."""

    def batch(self, index: Indices) -> CoarseWindow:
        """Coarse days of those patches, and the next one."""
        days, origins = self._places(index)
        return self.samples.coarse_window(days, origins, self.patch)


def fitting_pairs(samples: Samples, days: Indices, most: int = 200) -> Iterator[tuple[Sample, Tensor]]:
    """Whole training days and their targets, one by one; evenly chosen where there are many."""
    chosen = days if len(days) <= most else days[np.linspace(0, len(days) - 1, most).astype(int)]
    for day in chosen:
        sample = samples.sample([day])
        yield sample, sample.target
