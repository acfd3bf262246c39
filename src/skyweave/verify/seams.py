"""Seams between patches: are the jumps where patches meet larger than elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skyweave.errors import SkyweaveError

__all__ = ["seam_jump_ratio"]


def seam_jump_ratio(fields: ArrayLike, rows: Sequence[int] = (), columns: Sequence[int] = ()) -> float:
    r"""Root mean square jump across seams over that across all other edges between cells; one where no seam shows.

    .. math:: j_k = (f_k - f_{k-1}) - \tfrac12 \left[(f_{k+1} - f_k) + (f_{k-1} - f_{k-2})\right]

    is what the step between two cells has in excess of the gradients on both sides: zero for fields of second degree, a
    discontinuity's height where there is one, and half of a kink's change of gradient beside it.

    Args:
        fields: ``(..., H, W)``; NaN is left out.
        rows: indices k of rows that begin a patch, so that a seam lies between rows k - 1 and k; those too near the
            border for both gradients are left out.
        columns: likewise.

    Raises:
        SkyweaveError: no seam inside the field, nothing but seams, or a field without jumps elsewhere.

    Reference: downscaling paper, section 2.4 (blockiness and seams).
    """
    x = np.asarray(fields, np.float64)
    if x.ndim < 2 or min(x.shape[-2:]) < 4:
        raise SkyweaveError(f"seams need fields of at least 4 x 4 cells, found {x.shape}")
    at: list[NDArray[np.float64]] = []
    off: list[NDArray[np.float64]] = []
    for axis, seams in ((-2, rows), (-1, columns)):
        f = np.moveaxis(x, axis, -1)
        step = np.diff(f)
        jump = step[..., 1:-1] - 0.5 * (
            step[..., 2:] + step[..., :-2]
        )  # of the edge before cell k = 2 ... n - 2
        inside = np.zeros(jump.shape[-1], bool)
        inside[[k - 2 for k in seams if 2 <= k < f.shape[-1] - 1]] = True
        at.append(jump[..., inside].ravel())
        # Edges next to a seam feel it through the gradients.
        near = inside.copy()
        near[:-1] |= inside[1:]
        near[1:] |= inside[:-1]
        off.append(jump[..., ~near].ravel())
    seam, rest = (np.concatenate(part) for part in (at, off))
    seam, rest = seam[np.isfinite(seam)], rest[np.isfinite(rest)]
    if not len(seam) or not len(rest) or not (rest**2).mean() > 0:
        raise SkyweaveError(
            f"{len(seam)} seams and {len(rest)} other edges with jumps; there must be some of both"
        )
    return float(np.sqrt((seam**2).mean() / (rest**2).mean()))
