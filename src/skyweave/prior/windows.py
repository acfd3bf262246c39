"""A prior of windows denoises a sequence of any length: sliding windows, each frame from where it is most central."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from skyweave.diffusion.precondition import PreconditionedNetwork
from skyweave.errors import SkyweaveError
from skyweave.prior.data import regular, time_step

__all__ = ["WindowDenoiser", "central_frames", "check_times"]


def central_frames(frames: int, window: int, stride: int = 1) -> list[tuple[int, list[int]]]:
    """First frame of each sliding window, and the frames of the sequence that are taken from it.

    With a stride of one, interior frames are the centre (index ``k``) of a window of their own, the first ``k``
    come from the first window and the last ``k`` from the last.

    Args:
        frames: of the sequence.
        window: ``w = 2k + 1``, no longer than the sequence.
        stride: frames between windows; with more than one, a window gives its ``stride`` central frames.

    Reference: AODDiff, Section 3.3 ("index k + 1" there counts from one).
    """
    firsts = sorted({*range(0, frames - window + 1, stride), frames - window})
    centres = np.array(firsts) + window // 2
    nearest = np.abs(np.arange(frames)[:, None] - centres[None, :]).argmin(1)
    return [(first, np.flatnonzero(nearest == n).tolist()) for n, first in enumerate(firsts)]


class WindowDenoiser:
    r"""The composed prior: a denoiser of sequences ``(M, T, C, H, W)`` of any length ``T >= w``.

    .. math:: \hat x_i = D\left(x_{\sigma, i-k:i+k}, \sigma\right)_k

    for interior frames. Windows of all members pass through the network in batches of at most `chunk_cells` grid
    cells, so memory depends neither on the length of the sequence nor on the number of members; the result does not
    depend on the batches.

    Args:
        network: preconditioned network of windows.
        conditioning: channels of each frame, ``(T, K, H, W)``, or ``(1, K, H, W)`` where they do not change.
        window: ``w``.
        stride: frames between windows; each frame costs ``w / stride`` evaluations of a frame.
        periodic: whether the domain goes round the circle of longitude.
    """

    def __init__(
        self,
        network: PreconditionedNetwork,
        conditioning: Tensor,
        window: int,
        *,
        stride: int = 1,
        periodic: bool = False,
        autocast: bool = False,
        chunk_cells: int = 2**18,
    ) -> None:
        self.network, self.conditioning, self.window, self.stride = network, conditioning, window, stride
        self.periodic, self.autocast, self.chunk_cells = periodic, autocast, chunk_cells
        self.evaluations = 0

    def __call__(self, x_sigma: Tensor, sigma: Tensor) -> Tensor:
        self.evaluations += 1
        members, frames = x_sigma.shape[:2]
        w = self.window
        taken = central_frames(frames, w, self.stride)
        jobs = [(m, first, own) for first, own in taken for m in range(members) if own]
        per_chunk = max(1, self.chunk_cells // (w * x_sigma.shape[-1] * x_sigma.shape[-2]))
        parts: dict[tuple[int, int], Tensor] = {}
        for start in range(0, len(jobs), per_chunk):
            chunk = jobs[start : start + per_chunk]
            windows = torch.stack([x_sigma[m, first : first + w] for m, first, _ in chunk])
            known = torch.stack([self._known(first) for _, first, _ in chunk])
            level = sigma.to(x_sigma).reshape(1).expand(len(chunk))
            out = self.network(windows, level, known, periodic=self.periodic, autocast=self.autocast)
            for (m, first, own), estimate in zip(chunk, out, strict=True):
                for frame in own:
                    parts[m, frame] = estimate[frame - first]
        return torch.stack([torch.stack([parts[m, t] for t in range(frames)]) for m in range(members)])

    def _known(self, first: int) -> Tensor:
        if len(self.conditioning) == 1:
            return self.conditioning.expand(self.window, -1, -1, -1)
        return self.conditioning[first : first + self.window]


def check_times(
    times: np.ndarray | Sequence[object] | None, frames: int, window: int, step: float | None
) -> None:
    """Refuse sequences that a prior of windows cannot denoise.

    Args:
        times: of the sequence, or None.
        frames: its length.
        window: of the prior.
        step: seconds between the frames that it was trained on.

    Raises:
        SkyweaveError: the sequence is shorter than the window, its times are not equally spaced, or their step is
            not the prior's.
    """
    if frames < window:
        raise SkyweaveError(
            f"this prior describes windows of {window} frames, and {frames} were asked for; ask for at least {window} "
            "times (`times`, or a `like` file that has them)"
        )
    if times is None:
        return
    values = np.asarray(times)
    if not regular(values).all():
        raise SkyweaveError(
            f"a prior of windows needs equally spaced times; most steps are {time_step(values):g} s and "
            f"{int((~regular(values)).sum())} of {len(values) - 1} are not; give the complete series as `times`"
        )
    if step is not None and abs(time_step(values) - step) > 1e-3 * step:
        raise SkyweaveError(
            f"the times are {time_step(values):g} s apart, the prior was trained on steps of {step:g} s"
        )
