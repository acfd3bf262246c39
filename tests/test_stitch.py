"""Stitching: a constant, and any field cut into tiles, comes back whole."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from skyweave.errors import SkyweaveError
from skyweave.stitch import add_patch, blend_weights, extract, stitch, tiles

CASES = [
    ((64, 96), 32, 8, False, 0),
    ((64, 96), 32, 8, True, 2),
    ((33, 49), (16, 20), (0, 3), False, 0),
    ((17, 40), 16, 14, True, 4),
    ((20, 20), 16, 14, False, 3),
    ((10, 12), 32, 8, True, 0),
    ((10, 12), 32, 8, False, 5),
    ((181, 360), (64, 64), 16, True, 4),
]
cases = pytest.mark.parametrize(("shape", "tile", "overlap", "periodic", "halo"), CASES)


@cases
def test_any_field_stitches_to_itself(shape, tile, overlap, periodic, halo):
    torch.manual_seed(0)
    tiling = tiles(shape, tile, overlap, periodic)
    x = torch.randn(2, 3, *shape, dtype=torch.float64)
    patches = torch.stack([extract(x, t) for t in tiling])
    torch.testing.assert_close(stitch(patches, tiling, shape, halo=halo), x)


@cases
def test_tiles_are_equal_and_neighbours_overlap_enough(shape, tile, overlap, periodic, halo):
    tiling = tiles(shape, tile, overlap, periodic)
    assert len({t.shape for t in tiling}) == 1
    shared = overlap if isinstance(overlap, tuple) else (overlap, overlap)
    for axis, least in enumerate(shared):
        pieces = sorted({tuple((t.i, t.j)[axis].tolist()) for t in tiling}, key=lambda p: p[0])
        assert set().union(*pieces) == set(range(shape[axis]))
        round_again = pieces[:1] if periodic and axis == 1 and len(pieces) > 1 else []
        for a, b in zip(pieces, pieces[1:] + round_again, strict=False):
            assert len(set(a) & set(b)) >= least


def test_paper_form_is_zero_on_the_border_and_exact_inside():
    shape = (32, 40)
    tiling = tiles(shape, 16, 14)
    out = stitch(torch.ones(len(tiling), 16, 16, dtype=torch.float64), tiling, shape, window="paper", halo=2)
    torch.testing.assert_close(out[1:-1, 1:-1], torch.ones(30, 38, dtype=torch.float64))
    border = torch.cat([out[0], out[-1], out[:, 0], out[:, -1]])
    assert (border == 0).all()


def test_paper_form_is_equations_4_to_9():
    torch.manual_seed(1)
    shape, size, halo = (24, 20), 16, 2
    tiling = tiles(shape, size, 14)
    patches = torch.randn(len(tiling), size, size, dtype=torch.float64)
    S, Z = np.zeros(shape), np.zeros(shape)
    for patch, t in zip(patches.numpy(), tiling, strict=True):
        y0, x0 = t.i[0], t.j[0]
        top, left = (0 if y0 == 0 else halo), (0 if x0 == 0 else halo)
        bottom = 0 if y0 + size == shape[0] else halo
        right = 0 if x0 + size == shape[1] else halo
        rows, columns = size - top - bottom, size - left - right
        for y in range(y0 + top, y0 + size - bottom):
            for x in range(x0 + left, x0 + size - right):
                w = 0.25 * (1 - np.cos(2 * np.pi * (y - y0 - top) / (rows - 1)))
                w *= 1 - np.cos(2 * np.pi * (x - x0 - left) / (columns - 1))
                S[y, x] += w * patch[y - y0, x - x0]
                Z[y, x] += w
    got = stitch(patches, tiling, shape, window="paper", halo=halo)
    np.testing.assert_allclose(got, S / np.maximum(Z, 1e-8), atol=1e-10)


def test_order_and_batches_do_not_matter():
    torch.manual_seed(0)
    shape = (40, 48)
    tiling = tiles(shape, 16, 10, True)
    patches = torch.randn(len(tiling), 2, 16, 16, dtype=torch.float64)
    whole = stitch(patches, tiling, shape)
    order = torch.randperm(len(tiling))
    torch.testing.assert_close(stitch(patches[order], [tiling[k] for k in order], shape), whole)
    weights, total = blend_weights(tiling, shape), torch.zeros(2, *shape, dtype=torch.float64)
    for k in reversed(range(len(tiling))):
        add_patch(total, patches[k], tiling[k], weights[k])
    torch.testing.assert_close(total, whole)


def test_periodic_weights_do_not_know_where_the_seam_is():
    shape = (16, 48)
    tiling = tiles(shape, 16, 8, True)
    total = torch.zeros(shape, dtype=torch.float64)
    for t, w in zip(tiling, blend_weights(tiling, shape), strict=True):
        add_patch(total, w, t, torch.ones_like(w))
    torch.testing.assert_close(total, torch.ones_like(total))
    squares = torch.zeros(shape, dtype=torch.float64)
    for t, w in zip(tiling, blend_weights(tiling, shape), strict=True):
        add_patch(squares, w, t, w)
    torch.testing.assert_close(squares, torch.roll(squares, 8, 1))


def test_blend_falls_smoothly_between_two_tiles():
    shape = (8, 24)
    tiling = tiles(shape, 16, 8)
    out = stitch(torch.stack([torch.zeros(8, 16), torch.ones(8, 16)]), tiling, shape)
    assert (out.diff(dim=1) >= 0).all()
    assert out.diff(dim=1).max() < 0.3
    torch.testing.assert_close(out + out.flip(1), torch.ones(shape))


def test_refusals():
    with pytest.raises(SkyweaveError, match="cannot overlap"):
        tiles((32, 32), 16, 16)
    tiling = tiles((32, 32), 16, 4)
    with pytest.raises(SkyweaveError, match="uncovered"):
        blend_weights(tiling, (32, 32), halo=5)
    with pytest.raises(SkyweaveError, match="leaves nothing"):
        blend_weights(tiling, (32, 32), halo=8)
    with pytest.raises(SkyweaveError, match="do not belong"):
        stitch(torch.zeros(1, 16, 16), tiling, (32, 32))
