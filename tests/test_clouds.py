"""Cloud masks: the rule of the paper on any grid, real gaps laid elsewhere, and clouds that move as told."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from skyweave.errors import SkyweaveError
from skyweave.grid import Grid
from skyweave.observe.clouds import _drifting_field, cloud_cover_mask, cloud_sequence, gap_masks
from skyweave.regrid import coarsen, conservative

DATA = Path(os.environ.get("SKYWEAVE_DATA", Path(__file__).parents[2] / "shared" / "data"))
FINE = Grid(np.arange(60, 40, -0.25) - 0.125, np.arange(350, 370, 0.25) % 360 + 0.125)
TIMES = np.datetime64("2020-01-01T00", "ns") + np.arange(6) * np.timedelta64(1, "h")


def cover_on(grid: Grid, times: np.ndarray = TIMES, seed: int = 0) -> xr.DataArray:
    values = np.random.default_rng(seed).random((times.size, *grid.shape), np.float32)
    return xr.DataArray(
        values,
        {"valid_time": times, "latitude": grid.lat, "longitude": grid.lon, "number": 0},
        ("valid_time", "latitude", "longitude"),
        name="tcc",
        attrs={"units": "(0 - 1)"},
    )


@pytest.mark.parametrize("gamma", [0.0, 0.3, 1.0])
def test_on_its_own_grid_the_mask_is_the_rule(gamma):
    cover = cover_on(FINE)
    cover[0, :3] = gamma  # what is as great as the threshold is observed
    mask = cloud_cover_mask(cover, gamma)
    assert mask.dtype == bool
    assert mask.dims == cover.dims
    np.testing.assert_array_equal(mask, cover.values <= np.float32(gamma))
    np.testing.assert_array_equal(mask.latitude, cover.latitude)
    np.testing.assert_array_equal(mask.valid_time, TIMES)
    np.testing.assert_array_equal(mask.sum(), (cover.values <= np.float32(gamma)).sum())


def test_percent_and_fraction_and_lazy_are_the_same():
    cover = cover_on(FINE)
    mask = cloud_cover_mask(cover, 0.4)
    percent = (100 * cover).assign_attrs(units="%")
    np.testing.assert_array_equal(mask, cloud_cover_mask(percent, 0.4))
    lazy = cloud_cover_mask(cover.chunk({"valid_time": 2}), 0.4)
    assert lazy.chunks is not None
    np.testing.assert_array_equal(mask, lazy)
    with pytest.raises(SkyweaveError, match="set the units to '%'"):
        cloud_cover_mask(percent.assign_attrs(units="1"), 0.4)
    with pytest.raises(SkyweaveError, match="K"):
        cloud_cover_mask(cover.assign_attrs(units="K"), 0.4)


def test_a_coarser_target_sees_area_means_in_its_own_order():
    cover, coarse = cover_on(FINE), coarsen(FINE, 4)
    flipped = Grid(coarse.lat[::-1], (coarse.lon + 180) % 360 - 180, "y_deg", "x_deg")
    mask = cloud_cover_mask(cover, 0.5, flipped)
    assert mask.dims == ("valid_time", "y_deg", "x_deg")
    mean = (conservative(FINE, coarse) @ cover.values.reshape(6, -1).T).T.reshape(6, *coarse.shape)
    np.testing.assert_array_equal(mask, (mean <= 0.5)[:, ::-1])


def test_a_finer_target_and_its_times():
    cover = cover_on(coarsen(FINE, 8))
    inner = FINE.isel(slice(8, -8), slice(8, -8))
    times = TIMES[:5] + np.timedelta64(29, "m")
    like = xr.DataArray(
        np.zeros((5, *inner.shape)),
        {"time": times, "lat": inner.lat, "lon": inner.lon},
        ("time", "lat", "lon"),
    )
    mask = cloud_cover_mask(cover, 0.5, like)
    assert mask.dims == ("time", "lat", "lon")
    np.testing.assert_array_equal(mask.time, times)
    # Half past less a minute is nearest to the hour before.
    np.testing.assert_array_equal(mask.values, cloud_cover_mask(cover, 0.5, inner).values[:5])
    later = like.assign_coords(time=times + np.timedelta64(2, "m"))
    np.testing.assert_array_equal(
        cloud_cover_mask(cover, 0.5, later).values, cloud_cover_mask(cover, 0.5, inner).values[1:]
    )
    with pytest.raises(SkyweaveError, match=r"no step near 2020-01-02.*\(5 of 5 times\)"):
        cloud_cover_mask(cover, 0.5, like.assign_coords(time=times + np.timedelta64(1, "D")))
    with pytest.raises(SkyweaveError, match="lie outside"):
        cloud_cover_mask(cover, 0.5, Grid(np.arange(30.0, 50), np.arange(0.0, 5)))


def test_unknown_cover_is_no_observation_and_preliminary_months_are_joined():
    cover = cover_on(FINE)
    cover[2, 5] = np.nan
    mask = cloud_cover_mask(cover, 1.0)
    assert not mask[2, 5].any()
    assert int((~mask).sum()) == FINE.shape[1]
    final = cover_on(FINE)
    both = xr.concat([final[:3].reindex(valid_time=TIMES), final[3:].reindex(valid_time=TIMES)], "expver")
    np.testing.assert_array_equal(cloud_cover_mask(both, 0.5), cloud_cover_mask(final, 0.5))
    with pytest.raises(SkyweaveError, match="fraction"):
        cloud_cover_mask(cover, 40)


def gappy(shape=(9, 20, 30), seed=1) -> xr.DataArray:
    values = np.random.default_rng(seed).random(shape)
    return xr.DataArray(np.where(values < 0.5, np.nan, values), dims=("time", "y", "x")[-len(shape) :])


def test_gaps_that_fit_are_a_window_of_the_field():
    field = gappy()
    known = np.isfinite(field.values)
    mask = gap_masks(field, (5, 7), 4, np.random.default_rng(3))
    windows = np.lib.stride_tricks.sliding_window_view(known, (4, 5, 7)).reshape(-1, 4, 5, 7)
    assert any((windows[:, :, ::v, ::h] == mask).all((1, 2, 3)).any() for v in (1, -1) for h in (1, -1))
    np.testing.assert_array_equal(mask, gap_masks(field, (5, 7), 4, np.random.default_rng(3)))
    assert (mask != gap_masks(field, (5, 7), 4, np.random.default_rng(4))).any()


def test_gaps_are_continued_without_seams():
    # Bands in which neighbours differ by one frame, row or column at most: no step may be larger.
    known = np.zeros((5, 6, 4), bool)
    known[:, :3] = True
    field = xr.DataArray(np.where(known, 1.0, np.nan), dims=("time", "y", "x"))
    mask = gap_masks(field, (24, 9), 17, np.random.default_rng(0))
    assert mask.shape == (17, 24, 9)
    assert (mask == mask[:1, :, :1]).all()
    edges = np.flatnonzero(np.diff(mask[0, :, 0].astype(int)))
    assert (np.diff(edges) == 6).all()  # reflected bands of three are six wide
    long = gap_masks(gappy((4, 3, 3)), (3, 3), 12, np.random.default_rng(2))
    np.testing.assert_array_equal(long[:4], long[8:])  # back and forth in eight frames
    frames = {frame.tobytes() for frame in np.isfinite(gappy((4, 3, 3)).values)}
    turned = {f[::v, ::h].tobytes() for f in long for v in (1, -1) for h in (1, -1)}
    assert frames <= turned


def test_gaps_of_a_wanted_share_and_of_one_map():
    field = gappy((1, 40, 50))
    masks = gap_masks(field[0], FINE, 3, np.random.default_rng(0))
    assert masks.shape == (3, *FINE.shape)
    assert (masks[0] != masks[1]).any()
    shares = [
        1 - gap_masks(gappy(), (4, 4), 2, np.random.default_rng(s), missing=(0.3, 0.4)).mean()
        for s in range(9)
    ]
    assert min(shares) >= 0.3
    assert max(shares) <= 0.4
    with pytest.raises(SkyweaveError, match="none of 200 windows of 2 x 4 x 4 misses 99% to 100%"):
        gap_masks(gappy(), (4, 4), 2, np.random.default_rng(0), missing=(0.99, 1.0))
    with pytest.raises(SkyweaveError, match="two dimensions in space"):
        gap_masks(gappy().expand_dims("level"), (4, 4), 2, np.random.default_rng(0))
    sparse = gap_masks(gappy((9, 5, 5)), (5, 5), 3, np.random.default_rng(0), step=3)
    every = np.isfinite(gappy((9, 5, 5)).values)[::3]
    assert any((every[:, ::v, ::h] == sparse).all() for v in (1, -1) for h in (1, -1))


@pytest.mark.parametrize("fraction", [0.0, 0.2, 0.5, 0.95, 1.0])
def test_clouds_miss_the_wanted_fraction(fraction):
    grid = Grid(np.arange(20.0, 40), np.arange(100.0, 125))
    each = cloud_sequence(grid, 5, fraction, np.random.default_rng(0), each=True)
    np.testing.assert_array_equal((~each).sum((1, 2)), round(fraction * grid.size))
    overall = cloud_sequence(grid, 5, fraction, np.random.default_rng(0))
    assert int((~overall).sum()) == round(fraction * overall.size)
    again = cloud_sequence(grid, TIMES[:5], fraction, np.random.default_rng(0))
    np.testing.assert_array_equal(overall, again)


@pytest.mark.parametrize("flip", [1, -1])
def test_clouds_drift_with_the_wind_and_fade_as_told(flip):
    """Against the closed form: covariance at lag t and shift d is sum_k S_k rho_k cos(k.(d - u t))."""
    grid = Grid((np.arange(64) * 0.25 - 7.875)[::flip], np.arange(96) * 0.25)
    km = np.pi * 6371 / 180
    hours, wind = (
        np.arange(400) * 2.0,
        (2 * 0.25 * km / 2 / 3.6, 0.25 * km / 2 / 3.6),
    )  # two cells east, one north
    field = _drifting_field(grid, hours, np.random.default_rng(5), 8.0, wind, 500.0)
    assert field.std() == pytest.approx(1, abs=0.05)
    k = [
        2 * np.pi * np.fft.fftfreq(256, 0.25 * km)[:, None],
        2 * np.pi * np.fft.fftfreq(256, 0.25 * km)[None, :],
    ]
    relative = (k[0] ** 2 + k[1] ** 2) * (500 / 2 / np.pi) ** 2
    spectrum = (1 + relative) ** (-4 / 3)
    for lag in (1, 3):
        expected = (spectrum * np.exp(-2 * lag / 8 * (1 + relative) ** (1 / 3))).sum() / spectrum.sum()
        east, north = 2 * lag, lag
        a, b = field[:-lag, :-north, :-east], field[lag:, north:, east:]
        if flip < 0:
            a, b = field[:-lag, north:, :-east], field[lag:, :-north, east:]
        with_wind = float((a * b).mean() / field.var())
        in_place = float((field[:-lag] * field[lag:]).mean() / field.var())
        assert with_wind == pytest.approx(expected, abs=0.04)
        assert in_place < with_wind


def test_clouds_are_red_and_one_piece_around_the_earth():
    globe = Grid(np.arange(-60.0, 61, 2), np.arange(0.0, 360, 2))
    field = _drifting_field(globe, np.arange(40) * 24.0, np.random.default_rng(0), 6.0, (5.0, 0.0), 4000.0)
    step = np.abs(np.diff(field, axis=-1)).mean()
    across = np.abs(field[..., 0] - field[..., -1]).mean()
    assert across == pytest.approx(step, rel=0.1)
    assert step < 0.7  # of neighbours; independent cells differ by 1.13
    spectrum = (np.abs(np.fft.rfft(field, axis=-1)) ** 2).mean((0, 1))
    slope = np.polyfit(np.log(np.arange(10, 60)), np.log(spectrum[10:60]), 1)[0]
    assert slope == pytest.approx(-5 / 3, abs=0.25)


def test_bad_scales_and_times_are_refused():
    grid, rng = Grid(np.arange(5.0), np.arange(5.0)), np.random.default_rng(0)
    with pytest.raises(SkyweaveError, match="between 0 and 1"):
        cloud_sequence(grid, 3, 50, rng)
    with pytest.raises(SkyweaveError, match="later than the one before"):
        cloud_sequence(grid, TIMES[::-1], 0.5, rng)
    with pytest.raises(SkyweaveError, match="at least one time"):
        cloud_sequence(grid, 0, 0.5, rng)
    with pytest.raises(SkyweaveError, match="must be positive"):
        cloud_sequence(grid, 3, 0.5, rng, persistence_hours=0)


@pytest.mark.realdata
def test_real_goes_gaps_serve_another_grid():
    file = DATA / "goes16-aod-conus-2018-11-15" / "goes16_aod_conus_10km_20181115.nc"
    field = xr.open_dataset(file).AOD.isel(y=slice(150, 300, 2), x=slice(100, 400, 2))
    mask = gap_masks(field, FINE, 24, np.random.default_rng(0), step=12, missing=(0.2, 0.99))
    assert mask.shape == (24, *FINE.shape)
    assert 0.01 <= mask.mean() <= 0.8
    # Real gaps persist and have extent: neighbours agree more often than chance allows.
    chance = (mask.mean() ** 2) + (1 - mask.mean()) ** 2
    assert (mask[:, 1:] == mask[:, :-1]).mean() > 0.5 * (1 + chance)
