"""Noise streams: the noise of member m at time t and step s depends on (seed, m, t, s) alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

__all__ = ["NoiseStream"]

_WORD = (1 << 64) - 1


@dataclass(frozen=True)
class NoiseStream:
    """White noise addressed by member, time and step, the same whatever the batch, the order or the device.

    Drawn with the counter-based Philox generator, whose key is the seed and whose counter is (member, time,
    step), so that no state has to be carried or stored.

    Args:
        seed: any integer.
        members: identity of each member of the batch.
        times: identity of each time of the segment, for example seconds since 1970.
        device: where the noise is needed; it is always drawn on the CPU.
    """

    seed: int
    members: Sequence[int]
    times: Sequence[int]
    device: str = "cpu"

    def normal(self, step: int, shape: Sequence[int]) -> Tensor:
        """Standard normal noise of shape ``(M, T, *shape)``, float32."""
        out = np.empty((len(self.members), len(self.times), *shape), dtype=np.float32)
        for i, member in enumerate(self.members):
            for j, time in enumerate(self.times):
                self._generator(member, time, step).standard_normal(dtype=np.float32, out=out[i, j])
        return torch.from_numpy(out).to(self.device)

    def normal_vector(self, step: int, n: int) -> Tensor:
        """Standard normal noise of shape ``(M, n)``, addressed by the first time of the segment."""
        rows = [
            self._generator(m, self.times[0], step).standard_normal(n, dtype=np.float32) for m in self.members
        ]
        return torch.from_numpy(np.stack(rows)).to(self.device)

    def _generator(self, member: int, time: int, step: int) -> np.random.Generator:
        counter = [0, step & _WORD, int(time) & _WORD, int(member) & _WORD]
        return np.random.Generator(np.random.Philox(key=self.seed & _WORD, counter=counter))
