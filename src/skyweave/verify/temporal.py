"""Structure in time, and maps of moments: does a sequence remember and vary as the truth does.

NaN is a gap and is left out. Dimensions before time, such as members, are pooled.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from skyweave.errors import SkyweaveError
from skyweave.verify.arrays import double

__all__ = [
    "moment_maps",
    "seam_ratio",
    "step_differences",
    "temporal_autocorrelation",
    "variance_ratio_extreme",
]


def moment_maps(fields: Tensor | ArrayLike) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (divisor n - 1) of every cell over all leading dimensions.

    Args:
        fields: ``(..., H, W)``, NaN where missing.

    Returns:
        Two tensors ``(H, W)`` float64, units of the field; NaN in cells that are never seen, and the deviation
        also in those seen once.

    Reference: AODDiff, Figure 4.
    """
    x = _frames(fields, 3).flatten(0, -3)
    seen = x.isfinite()
    count = seen.sum(dim=0)
    mean = x.where(seen, 0.0).sum(dim=0) / count
    square = ((x - mean) ** 2).where(seen, 0.0).sum(dim=0)
    return mean, (square / (count - 1).where(count > 1, torch.nan)).sqrt()


def temporal_autocorrelation(
    fields: Tensor | ArrayLike, lags: int | Sequence[int], *, least_pairs: int = 2
) -> Tensor:
    r"""Autocorrelation in time of every cell, averaged over cells.

    .. math:: \rho(\ell) = \left\langle \frac{\overline{(x_t - \bar x)(x_{t+\ell} - \bar x)}}
              {\overline{(x_t - \bar x)^2}} \right\rangle_{cells}

    Each overbar is a mean over what is there: moments over all times seen, products over the pairs of times
    both seen, so gaps only cost precision. A cell that never varies, or has fewer than `least_pairs` pairs at a
    lag, is left out there. The mean is the sequences' own: those not much longer than their memory are biased
    low, so compare sets of the same length.

    Args:
        fields: ``(..., T, H, W)``; the sequences of leading dimensions share one mean and variance per cell.
        lags: frames; a number n stands for 0 to n.
        least_pairs: of times a cell must have.

    Returns:
        ``(number of lags,)`` float64; NaN where no cell has enough pairs.

    Raises:
        SkyweaveError: a lag that is negative or not shorter than the sequence.

    Reference: AODDiff, section 4.1 and Figure 5b.
    """
    x = _frames(fields, 3)
    x = x.reshape(-1, *x.shape[-3:])
    length = x.shape[1]
    chosen = list(range(lags + 1)) if isinstance(lags, int) else [int(lag) for lag in lags]
    if not chosen or min(chosen) < 0 or max(chosen) >= length:
        raise SkyweaveError(
            f"lags from {min(chosen, default=0)} to {max(chosen, default=0)} of a sequence of {length} frames; "
            f"they must lie between 0 and {length - 1}"
        )
    seen = x.isfinite()
    count = seen.sum(dim=(0, 1))
    mean = x.where(seen, 0.0).sum(dim=(0, 1)) / count
    anomaly = (x - mean).where(seen, 0.0)
    variance = anomaly.square().sum(dim=(0, 1)) / count
    # A constant's anomalies are rounding, of which a correlation would be made.
    varies = variance > (1e-12 * mean.abs()).square()
    curve = []
    for lag in chosen:
        now, later = slice(0, length - lag), slice(lag, length)
        pairs = (seen[:, now] & seen[:, later]).sum(dim=(0, 1))
        product = (anomaly[:, now] * anomaly[:, later]).sum(dim=(0, 1)) / pairs
        curve.append((product / variance)[varies & (pairs >= least_pairs)].mean())
    return torch.stack(curve)


def step_differences(fields: Tensor | ArrayLike, *, weights: Tensor | None = None) -> Tensor:
    r"""Root mean square difference between each frame and the one after it.

    .. math:: d_t = \sqrt{\overline{(x_{t+1} - x_t)^2}}, \qquad t = 0 \dots T - 2

    the mean taken over cells seen in both and over leading dimensions. Where windows, batches or segments of a
    sequence meet badly, it stands out: see `seam_ratio`.

    Args:
        fields: ``(..., T, H, W)``, T at least 2.
        weights: of cells, ``(H, W)``, such as their areas; equal when absent.

    Returns:
        ``(T - 1,)`` float64, units of the field; NaN where two frames have no cell in common.

    Raises:
        SkyweaveError: fewer than two frames.
    """
    x = _frames(fields, 3)
    if x.shape[-3] < 2:
        raise SkyweaveError("differences between frames need two frames, found one")
    square = x.diff(dim=-3).square()
    w = torch.ones_like(square) if weights is None else weights.to(square).expand_as(square)
    seen = square.isfinite()
    square, w = square.where(seen, 0.0), w.where(seen, 0.0)
    across = [d for d in range(x.ndim) if d != x.ndim - 3]
    return ((square * w).sum(dim=across) / w.sum(dim=across)).sqrt()


def seam_ratio(differences: Tensor | ArrayLike, seams: Sequence[int]) -> Tensor:
    """Root mean square of the step differences at seams over that of all others; one where no seam shows.

    Args:
        differences: ``(T - 1,)``, of `step_differences`.
        seams: indices t of steps from frame t to t + 1 that cross a seam; negative ones count from the end.

    Raises:
        SkyweaveError: an index outside the sequence, or nothing on either side of the comparison.
    """
    d = double(differences)
    outside = [s for s in seams if not -len(d) <= s < len(d)]
    if outside:
        raise SkyweaveError(f"seams at {outside}, but the steps are 0 to {len(d) - 1}")
    at = torch.zeros(len(d), dtype=torch.bool)
    at[list(seams)] = True
    if at.all() or not at.any():
        raise SkyweaveError(f"{int(at.sum())} of {len(d)} steps are seams; there must be some of both")
    present = d.isfinite()
    return (d[at & present].square().mean() / d[~at & present].square().mean()).sqrt()


def variance_ratio_extreme(
    generated: Tensor | ArrayLike, truth: Tensor | ArrayLike, share: float = 0.05
) -> Tensor:
    """Generated over true standard deviation in the cells where the truth varies most; below one, smoothed.

    The ratio of the means, over those cells, of the standard deviations in `moment_maps`. The cells are chosen
    by the truth's own sample, which favours it a little: another true period scores somewhat below one too, and
    is the yardstick.

    Args:
        generated: ``(..., H, W)``, NaN where missing.
        truth: ``(..., H, W)`` of the same cells, NaN where missing.
        share: of the cells whose deviation is known, in (0, 1]; at least one cell.

    Returns:
        A 0-d float64 tensor.

    Raises:
        SkyweaveError: cells that do not match, a share outside (0, 1], or no cell with a deviation.

    Reference: AODDiff, section 4.1 (the smoothing it notes in Figure 4b).
    """
    if not 0 < share <= 1:
        raise SkyweaveError(f"share = {share}, it must lie between 0 and 1")
    (_, ours), (_, true) = moment_maps(generated), moment_maps(truth)
    if ours.shape != true.shape:
        raise SkyweaveError(
            f"generated fields of {tuple(ours.shape)} cells against a truth of {tuple(true.shape)}"
        )
    known = ours.isfinite() & true.isfinite()
    if not known.any():
        raise SkyweaveError("no cell is seen twice in both sets, so none has a standard deviation")
    ours, true = ours[known], true[known]
    most = true.topk(max(1, round(share * len(true)))).indices
    return ours[most].sum() / true[most].sum()


def _frames(fields: Tensor | ArrayLike, least: int) -> Tensor:
    x = double(fields)
    if x.ndim < least or 0 in x.shape:
        raise SkyweaveError(f"fields have the shape (..., T, H, W), found {tuple(x.shape)}")
    return x
