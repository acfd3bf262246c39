"""Noise streams: the noise of member m at time t and step s depends on (seed, m, t, s) alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

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
    device: str | torch.device = "cpu"

    def normal(self, step: int, shape: Sequence[int]) -> Tensor:
        """Standard normal noise of shape ``(M, T, *shape)``, float32."""
        out = np.empty((len(self.members), len(self.times), *shape), dtype=np.float32)
        for i, member in enumerate(self.members):
            for j, time in enumerate(self.times):
                self._generator(member, time, step).standard_normal(dtype=np.float32, out=out[i, j])
        return torch.from_numpy(out).to(self.device)

    def around(self, count: int) -> NoiseStream:
        """The same noise with more times, ``count`` in all, in the order of a torus: those after, then those before.

        A filter over the torus then sees, at the ends of the segment, the noise of the times that lie beyond it: the
        same as a segment that holds these times.
        """
        extra = count - len(self.times)
        if extra <= 0:
            return self
        first, last = int(self.times[0]), int(self.times[-1])
        step = (last - first) // (len(self.times) - 1) if len(self.times) > 1 else 1
        after = [last + step * n for n in range(1, extra // 2 + 1)]
        before = [first - step * n for n in range(extra - len(after), 0, -1)]
        return replace(self, times=[*self.times, *after, *before])

    def normal_vector(self, step: int, n: int, frame: np.ndarray | None = None) -> Tensor:
        """Standard normal noise of observations, shape ``(M, n)``.

        Args:
            step: number of the stream.
            n: rows.
            frame: place in the segment of the time of each row, ascending, so that rows of one time have the same
                noise in whatever segment they are; all of the first time by default.
        """
        counts = [n] if frame is None else np.bincount(frame, minlength=len(self.times)).tolist()
        rows = [
            np.concatenate(
                [
                    self._generator(m, time, step).standard_normal(count, dtype=np.float32)
                    for time, count in zip(self.times, counts, strict=False)
                ]
            )
            for m in self.members
        ]
        return torch.from_numpy(np.stack(rows)).to(self.device)

    def _generator(self, member: int, time: int, step: int) -> np.random.Generator:
        counter = np.array([0, step & _WORD, int(time) & _WORD, int(member) & _WORD], dtype=np.uint64)
        return np.random.Generator(np.random.Philox(key=self.seed & _WORD, counter=counter))
