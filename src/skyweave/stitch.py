r"""Overlapping tiles of a field, and their halo-and-Hann blending back into one.

Tile ``i`` has a weight ``W_i`` that falls towards its inner edges; the stitched field is

.. math:: \hat Y(y, x) = \frac{\sum_i W_i(y, x)\, Y_i(y, x)}{\sum_i W_i(y, x)}

(Eq. 7-9 of the downscaling paper). The paper's window is zero at both ends, also along the border of the
image, where nothing else covers: its outermost rows and columns come out empty. The default here samples the
window at half steps and does not taper towards the border, so a constant stitches to itself everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skyweave.errors import SkyweaveError

__all__ = ["Tile", "Window", "add_patch", "blend_weights", "extract", "stitch", "tiles"]

Window = Literal["hann", "paper"]
_EPSILON = 1e-8


@dataclass(frozen=True, eq=False)
class Tile:
    """A rectangle of the field.

    Args:
        i: rows, shape ``(h,)``.
        j: columns, shape ``(w,)``; they wrap on a periodic field.
        border: whether the top, bottom, left and right side lie on the border of the field.
    """

    i: NDArray[np.int64]
    j: NDArray[np.int64]
    border: tuple[bool, bool, bool, bool]

    @property
    def shape(self) -> tuple[int, int]:
        """``(h, w)``."""
        return self.i.size, self.j.size


def tiles(
    shape: tuple[int, int],
    tile: int | tuple[int, int],
    overlap: int | tuple[int, int],
    periodic_lon: bool = False,
) -> list[Tile]:
    """Equal tiles that cover a field, evenly spaced, neighbours sharing at least ``overlap`` cells.

    Args:
        shape: ``(H, W)`` of the field.
        tile: size of a tile, or ``(h, w)``; no larger than the field is used.
        overlap: least number of cells that neighbours share, or one number per axis; a stride ``s`` is an
            overlap of ``tile - s``.
        periodic_lon: tiles go round the circle of longitude, which then has no border.

    Raises:
        SkyweaveError: an overlap that is negative or not smaller than the tile.
    """
    sizes = (tile, tile) if isinstance(tile, int) else tile
    overlaps = (overlap, overlap) if isinstance(overlap, int) else overlap
    for size, shared in zip(sizes, overlaps, strict=True):
        if size < 1 or not 0 <= shared < size:
            raise SkyweaveError(f"tiles of {size} cells cannot overlap by {shared}; choose 0 to {size - 1}.")
    rows = _axis(shape[0], sizes[0], overlaps[0], False)
    columns = _axis(shape[1], sizes[1], overlaps[1], periodic_lon)
    return [Tile(i, j, (*across, *along)) for i, across in rows for j, along in columns]


def _axis(
    n: int, size: int, overlap: int, periodic: bool
) -> list[tuple[NDArray[np.int64], tuple[bool, bool]]]:
    """Indices of each piece of one axis, and whether its two ends lie on the border."""
    if size >= n:
        return [(np.arange(n), (not periodic, not periodic))]
    if periodic:
        count = -(-n // (size - overlap))
        return [((start + np.arange(size)) % n, (False, False)) for start in np.arange(count) * n // count]
    count = max(2, -(-(n - overlap) // (size - overlap)))
    starts = np.arange(count) * (n - size) // (count - 1)
    return [(start + np.arange(size), (bool(start == 0), bool(start == n - size))) for start in starts]


def blend_weights(
    tiling: Sequence[Tile], shape: tuple[int, int], *, window: Window = "hann", halo: int = 0
) -> Tensor:
    r"""Weight of every cell of every tile, divided by the total weight of that cell over all tiles.

    ``"hann"``: :math:`\sin^2(\pi (n + \tfrac12) / N)` along both axes, kept at its maximum from the middle
    of the tile to a side on the border. ``"paper"``: :math:`\tfrac12 (1 - \cos(2 \pi n / (N - 1)))` (Eq.
    5-6), zero at both ends.

    Args:
        tiling: ``N`` tiles of one size.
        shape: ``(H, W)`` of the field.
        window: see above.
        halo: cells dropped from every side that is not on the border (Eq. 4).

    Returns:
        Shape ``(N, h, w)``, float64; over all tiles, the weights of a cell sum to one (with ``"paper"``, to
        zero on the outermost rows and columns, as published).

    Raises:
        SkyweaveError: a halo that leaves cells uncovered or nothing of a tile.
    """
    raw = np.stack([_tile_weight(t, window, halo) for t in tiling])
    total = np.zeros(shape)
    for tile, weight in zip(tiling, raw, strict=True):
        total[np.ix_(tile.i, tile.j)] += weight
    if window == "hann" and (total <= 0).any():
        raise SkyweaveError(
            f"a halo of {halo} leaves {int((total <= 0).sum())} of {total.size} cells uncovered; let tiles overlap "
            "by more than twice the halo."
        )
    shares = [w / np.maximum(total[np.ix_(t.i, t.j)], _EPSILON) for t, w in zip(tiling, raw, strict=True)]
    return torch.from_numpy(np.stack(shares))


def _tile_weight(tile: Tile, window: Window, halo: int) -> NDArray[np.float64]:
    h, w = tile.shape
    top, bottom, left, right = tile.border
    return np.outer(_taper(h, top, bottom, window, halo), _taper(w, left, right, window, halo))


def _taper(n: int, first: bool, last: bool, window: Window, halo: int) -> NDArray[np.float64]:
    """Weights along one axis; ``first`` and ``last`` say which ends lie on the border."""
    before, after = (0 if first else halo), (0 if last else halo)
    core = n - before - after
    if halo < 0 or core < 1:
        raise SkyweaveError(f"a halo of {halo} leaves nothing of a tile of {n} cells.")
    k = np.arange(core)
    if window == "paper":
        inner = 0.5 * (1 - np.cos(2 * np.pi * k / max(core - 1, 1)))
    else:
        inner = np.sin(np.pi * (k + 0.5) / core) ** 2
        inner[: core // 2] = 1.0 if first else inner[: core // 2]
        inner[core // 2 :] = 1.0 if last else inner[core // 2 :]
    return np.concatenate([np.zeros(before), inner, np.zeros(after)])


def extract(x: Tensor, tile: Tile) -> Tensor:
    """The part of a field under a tile: shape ``(..., H, W)`` to ``(..., h, w)``."""
    i, j = (torch.as_tensor(part, device=x.device) for part in (tile.i, tile.j))
    return x.index_select(-2, i).index_select(-1, j)


def add_patch(total: Tensor, patch: Tensor, tile: Tile, weight: Tensor) -> None:
    """Add a weighted patch to the accumulated field, in place (Eq. 7).

    Args:
        total: shape ``(..., H, W)``, changed in place; start with zeros.
        patch: shape ``(..., h, w)``.
        tile: where the patch lies.
        weight: shape ``(h, w)``, from `blend_weights`.
    """
    i, j = (torch.as_tensor(part, device=total.device) for part in (tile.i, tile.j))
    # Rows and columns within one tile are distinct, so nothing is written twice.
    total[..., i[:, None], j] += patch.to(total.dtype) * weight.to(total)


def stitch(
    patches: Tensor,
    tiling: Sequence[Tile],
    shape: tuple[int, int],
    *,
    window: Window = "hann",
    halo: int = 0,
) -> Tensor:
    """One field from patches that overlap (Eq. 4-9 of the downscaling paper).

    The order of the patches matters to rounding alone.

    Args:
        patches: shape ``(N, ..., h, w)``, one per tile.
        tiling: their ``N`` tiles.
        shape: ``(H, W)`` of the field.
        window: as in `blend_weights`.
        halo: as in `blend_weights`.

    Returns:
        Shape ``(..., H, W)``.

    Raises:
        SkyweaveError: a number or size of patches other than the tiles', or an unsuitable halo.
    """
    if len(patches) != len(tiling) or any(t.shape != tuple(patches.shape[-2:]) for t in tiling):
        raise SkyweaveError(
            f"patches of shape {tuple(patches.shape)} do not belong to these {len(tiling)} tiles."
        )
    weights = blend_weights(tiling, shape, window=window, halo=halo)
    total = patches.new_zeros((*patches.shape[1:-2], *shape))
    for patch, tile, weight in zip(patches, tiling, weights, strict=True):
        add_patch(total, patch, tile, weight)
    return total
