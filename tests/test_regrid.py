"""Laws and oracles of interpolation weights."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from skyweave.errors import SkyweaveError
from skyweave.grid import Grid
from skyweave.regrid import bicubic, bicubic_downsample, bilinear, block_mean, coarsen, conservative, nearest

GLOBE = Grid(np.arange(88.0, -89, -4), np.arange(0.0, 360, 4))
WESTERN = Grid(np.arange(-88.0, 89, 4), np.arange(-178.0, 180, 4))
REGION = Grid(np.array([40.0, 41, 43, 44, 46, 47]), np.array([355.0, 357, 358, 0, 1, 3, 4, 6]))
RNG = np.random.default_rng(0)


def inside(grid: Grid, n: int = 200) -> tuple[np.ndarray, np.ndarray]:
    lat, lon = np.sort(grid.lat_bounds), np.sort(grid.lon_bounds)
    return RNG.uniform(lat[0], lat[-1], n), RNG.uniform(lon[0], lon[-1], n)


def rowsums(matrix) -> np.ndarray:
    return np.asarray(matrix.sum(axis=1)).ravel()


@pytest.mark.parametrize("grid", [GLOBE, WESTERN, REGION], ids=["descending", "western", "irregular"])
@pytest.mark.parametrize("method", [nearest, bilinear, bicubic])
def test_rows_of_points_sum_to_one_in_any_convention(method, grid):
    lat, lon = inside(grid)
    matrix = method(grid, lat, lon)
    assert matrix.shape == (200, grid.size)
    np.testing.assert_allclose(rowsums(matrix), 1, atol=1e-12)
    np.testing.assert_allclose(method(grid, lat, lon + 360).toarray(), matrix.toarray(), atol=1e-9)


@pytest.mark.parametrize("method", [nearest, bilinear, bicubic])
def test_points_on_centres_take_their_value(method):
    lat, lon = REGION.mesh()
    np.testing.assert_allclose(method(REGION, lat, lon).toarray(), np.eye(REGION.size), atol=1e-12)


def test_bilinear_is_exact_for_linear_functions_on_irregular_axes():
    lat, lon = REGION.mesh()
    east = (lon + 180) % 360 - 180
    p, q = RNG.uniform(40, 47, 300), RNG.uniform(-5, 6, 300)
    got = bilinear(REGION, p, q) @ (2 * lat - 3 * east + lat * east).ravel()
    np.testing.assert_allclose(got, 2 * p - 3 * q + p * q, atol=1e-10)


def test_quadratics_are_exact_with_the_other_keys_kernel():
    grid = Grid(np.arange(0.0, 20), np.arange(0.0, 20))
    lat, lon = grid.mesh()
    p, q = RNG.uniform(2, 17, 100), RNG.uniform(2, 17, 100)
    got = bicubic(grid, p, q, a=-0.5) @ (lat**2 - lon * lat + lon**2).ravel()
    np.testing.assert_allclose(got, p**2 - p * q + q**2, atol=1e-9)


def test_bicubic_is_that_of_grid_sample():
    grid = Grid(np.arange(30.0, 50), np.arange(-10.0, 15))
    field = torch.from_numpy(RNG.normal(size=grid.shape))
    p, q = RNG.uniform(30, 49, 400), RNG.uniform(-10, 14, 400)
    place = np.stack([2 * (q + 10) / 24 - 1, 2 * (p - 30) / 19 - 1], -1)
    oracle = F.grid_sample(
        field[None, None], torch.from_numpy(place)[None, None], mode="bicubic", padding_mode="border",
        align_corners=True,
    )  # fmt: skip
    np.testing.assert_allclose(bicubic(grid, p, q) @ field.numpy().ravel(), oracle.ravel(), atol=1e-10)


@pytest.mark.parametrize(
    ("method", "bound"), [(bilinear, 0.012), (bicubic, 0.012), (partial(bicubic, a=-0.5), 0.001)]
)
def test_smooth_field_across_the_seam(method, bound):
    def wave(lat, lon):
        return np.cos(np.deg2rad(lat)) * np.sin(3 * np.deg2rad(lon))

    lat, lon = RNG.uniform(-80, 80, 500), RNG.uniform(-6, 6, 500)
    for grid in (GLOBE, WESTERN):
        for seam in (0, 180):
            error = method(grid, lat, lon + seam) @ wave(*grid.mesh()).ravel() - wave(lat, lon + seam)
            assert np.abs(error).max() < bound


def test_pole_takes_the_last_row_and_outside_is_explicit():
    matrix = bilinear(GLOBE, [90], [2])
    np.testing.assert_array_equal(matrix.indices, [0, 1])
    np.testing.assert_allclose(matrix.data, 0.5)
    with pytest.raises(SkyweaveError, match="1 of 2 points"):
        nearest(REGION, [45, 0], [0, 0])
    np.testing.assert_allclose(rowsums(bicubic(REGION, [45, 0], [0, 0], outside="empty")), [1, 0])
    np.testing.assert_allclose(
        bicubic(REGION, [99, 0], [358, 358], outside="edge").toarray(),
        bicubic(REGION, [47, 40], [358, 358]).toarray(),
    )


def test_block_mean_is_average_pooling():
    grid = Grid(np.arange(-15.5, 16), np.arange(0.0, 64))
    field = torch.from_numpy(RNG.normal(size=grid.shape))
    got = (block_mean(grid, (4, 8)) @ field.numpy().ravel()).reshape(8, 8)
    np.testing.assert_allclose(got, F.avg_pool2d(field[None], (4, 8))[0], atol=1e-12)
    with pytest.raises(SkyweaveError, match=r"crop it, e\.g\. to 30 x 60"):
        block_mean(grid, 5)


@pytest.mark.parametrize("descending", [False, True])
def test_conservative_is_the_area_weighted_block_mean_when_grids_nest(descending):
    lat = np.arange(20.5, 60, 1)[:: -1 if descending else 1]
    fine = Grid(lat, np.concatenate([np.arange(350.5, 360), np.arange(0.5, 10)]))
    coarse = coarsen(fine, (4, 5))
    assert coarse.shape == (10, 4)
    np.testing.assert_allclose(
        conservative(fine, coarse).toarray(),
        block_mean(fine, (4, 5), area_weighted=True).toarray(),
        atol=1e-12,
    )
    np.testing.assert_allclose(coarse.area.sum(), fine.area.sum())


@pytest.mark.parametrize(
    "target",
    [
        Grid(np.linspace(90, -90, 31), np.arange(-180.0, 180, 7.2)),
        Grid(np.arange(-75.0, 76, 30), np.arange(345.0, 0, -30)),
        Grid(np.arange(-89.5, 90), np.arange(0.5, 360)),
    ],
    ids=["poles", "descending", "finer"],
)
def test_conservative_keeps_the_global_integral(target):
    source = Grid(np.linspace(-90, 90, 37), np.arange(2.5, 360, 5))
    field = RNG.normal(size=source.size)
    matrix = conservative(source, target)
    np.testing.assert_allclose(rowsums(matrix), 1, atol=1e-12)
    kept = (matrix @ field) @ target.area.ravel()
    assert kept == pytest.approx(field @ source.area.ravel(), rel=1e-9)


def test_conservative_partial_cover_and_none():
    source = Grid(np.arange(0.5, 10), np.arange(0.5, 10))
    target = Grid(np.arange(-6.0, 19, 8), np.array([2.0, 10.0, 18.0]))
    sums = rowsums(conservative(source, target)).reshape(target.shape)
    np.testing.assert_allclose(sums, np.outer([0, 1, 1, 0], [1, 1, 0]), atol=1e-12)


@pytest.mark.parametrize("antialias", [False, True])
def test_bicubic_downsampling_is_torch_interpolate(antialias):
    fine = Grid(np.arange(59.5, 20, -1), np.arange(340.5, 372) % 360)
    assert fine.shape == (40, 32)
    coarse = coarsen(fine, 4)
    field = torch.from_numpy(RNG.normal(size=fine.shape))
    oracle = F.interpolate(field[None, None], size=coarse.shape, mode="bicubic", antialias=antialias)
    got = bicubic_downsample(fine, coarse, antialias) @ field.numpy().ravel()
    np.testing.assert_allclose(got, oracle.ravel(), atol=1e-10)


@pytest.mark.parametrize("antialias", [False, True])
def test_bicubic_downsampling_wraps_round_the_globe(antialias):
    fine = Grid(np.arange(-59.5, 60), np.arange(0.5, 360))
    coarse = coarsen(fine, 4)
    matrix = bicubic_downsample(fine, coarse, antialias)
    np.testing.assert_allclose(rowsums(matrix), 1, atol=1e-12)
    field = RNG.normal(size=fine.shape)
    turned = (matrix @ np.roll(field, 4, axis=1).ravel()).reshape(coarse.shape)
    np.testing.assert_allclose(turned, np.roll((matrix @ field.ravel()).reshape(coarse.shape), 1, axis=1))


def smooth(lat, lon):
    """A polynomial of the position in space: smooth on the whole sphere, poles included."""
    p, q = np.deg2rad(lat), np.deg2rad(lon)
    x, y, z = np.cos(p) * np.cos(q), np.cos(p) * np.sin(q), np.sin(p)
    return x + 2 * y - z + 3 * x * y + x * z


def solid_rotation(lat, lon):
    """Eastward and northward velocity of a rotation about an axis that is not the Earth's."""
    p, q = np.deg2rad(lat), np.deg2rad(lon)
    a, b, c = 0.3, -0.5, 0.8
    u = c * np.cos(p) - np.sin(p) * (a * np.cos(q) + b * np.sin(q))
    return u, a * np.sin(q) - b * np.cos(q)


GLOBES = {
    "offset": Grid(np.arange(-89.0, 90, 2), np.arange(0.0, 360, 2)),
    "rows on the poles": Grid(np.arange(90.0, -91, -2), np.arange(-180.0, 180, 2)),
    "odd number of columns": Grid(np.arange(89.0, -90, -2), np.arange(179) * 360 / 179),
}


@pytest.mark.parametrize("name", list(GLOBES))
@pytest.mark.parametrize(("a", "bound"), [(-0.5, 2e-5), (-0.75, 0.01)])
def test_bicubic_is_as_good_at_the_poles_and_the_dateline_as_elsewhere(name, a, bound):
    grid, rng = GLOBES[name], np.random.default_rng(1)
    bands = [
        rng.uniform(-90, -86, 1000),
        rng.uniform(86, 90, 1000),
        rng.uniform(-60, 60, 1000),
        [-90, 90, 89.99],
    ]
    lat = np.concatenate(bands)
    lon = np.concatenate([rng.uniform(-180, 360, 2000), rng.uniform(176, 184, 1000), [0, 45, 200]])
    matrix = bicubic(grid, lat, lon, a)
    np.testing.assert_allclose(rowsums(matrix), 1, atol=1e-12)
    assert np.abs(matrix @ smooth(*grid.mesh()).ravel() - smooth(lat, lon)).max() < bound
    vectors = bicubic(grid, lat, lon, a, vector=True)
    for field, truth in zip(solid_rotation(*grid.mesh()), solid_rotation(lat, lon), strict=True):
        assert np.abs(vectors @ field.ravel() - truth).max() < bound / 2
        # The signs matter: as a scalar the same component is far off.
        assert np.abs(matrix @ field.ravel() - truth).max() > 0.05


def test_bicubic_stops_at_the_edge_of_grids_that_end_short_of_the_pole():
    short = Grid(np.arange(-80.0, 81, 2), np.arange(0.0, 360, 2))
    matrix = bicubic(short, [80.9], [10.0])
    np.testing.assert_allclose(matrix.toarray(), bicubic(short, [80.0], [10.0]).toarray(), atol=1e-12)
    sector = Grid(np.arange(50.0, 90, 2), np.arange(0.0, 90, 2))
    np.testing.assert_allclose(
        bicubic(sector, 88.9, [4.0]).toarray(), bicubic(sector, 88.0, [4.0]).toarray(), atol=1e-12
    )
