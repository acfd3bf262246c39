"""The two records: deterministic, the same large scales, seasons, terrain, and laws of the tracer in closed form."""

import numpy as np
import pytest

from skyweave.errors import SkyweaveError
from skyweave.grid import Grid
from skyweave.nature_runs import DustPhysics, two_records
from skyweave.nature_runs.dust import Dust, Large, Terrain, Weather, along, blocks, refine
from skyweave.nature_runs.transport import departures
from skyweave.regrid import conservative

SMALL = {"shape": (16, 24), "spin_up": 10, "seed": 3, "step_hours": 12, "start": "2000-12-01"}
CELL = (14e3, 13e3)


@pytest.fixture(scope="module")
def year():
    return two_records(220, **SMALL)


def interior(coarse):
    return coarse[..., 3:-3, 3:-3]


def test_a_run_is_the_beginning_of_a_longer_one(year):
    short = two_records(5, **SMALL)
    for a, b in zip(short[:2], year[:2], strict=True):
        np.testing.assert_array_equal(a.AOD, b.AOD[:5])
        assert a.AOD.dtype == np.float32
    np.testing.assert_array_equal(short.elevation.elevation, year.elevation.elevation)
    other = two_records(5, **{**SMALL, "seed": 4})
    assert np.abs(other.fine.AOD.values - short.fine.AOD.values).max() > 0.01


def test_the_coarse_grid_is_that_of_blocks_and_reaches_beyond(year):
    fine, coarse = Grid.from_dataset(year.fine), Grid.from_dataset(year.coarse)
    assert coarse.shape == (16 // 8 + 6, 24 // 8 + 6)
    inside = coarse.isel(slice(3, -3), slice(3, -3))
    np.testing.assert_allclose(inside.lat, fine.lat.reshape(-1, 8).mean(1))
    np.testing.assert_allclose(inside.lon, fine.lon.reshape(-1, 8).mean(1))
    assert fine.lat_bounds[0] == pytest.approx(22.0)
    assert fine.lon_bounds[0] == pytest.approx(44.0)


def test_both_are_positive_and_finite(year):
    for ds in year[:2]:
        assert np.isfinite(ds.AOD).all()
        assert float(ds.AOD.min()) > 0
    assert float(year.fine.AOD.min()) >= np.float32(DustPhysics().background)


def test_the_records_share_their_large_scales_but_are_no_means_of_each_other(year):
    fine, coarse = year.fine.AOD.values, interior(year.coarse.AOD.values)
    means = np.stack([blocks(day, 8) for day in fine])
    assert np.corrcoef(np.log(fine.mean((1, 2))), np.log(coarse.mean((1, 2))))[0, 1] > 0.85
    local = np.corrcoef(np.log(means).ravel(), np.log(coarse).ravel())[0, 1]
    assert 0.7 < local < 0.98
    assert 0.5 < coarse.mean() / fine.mean() < 0.95
    # Means of the fine run would leave nothing; a lasting bias would leave nothing after its mean.
    residual = np.log(means) - np.log(coarse)
    assert (residual - residual.mean(0)).std() > 0.15


def test_less_agreement_is_less_in_common():
    together, apart = (two_records(60, **{**SMALL, "shape": (8, 8)}, agreement=a) for a in (1.0, 0.0))
    common = [
        np.corrcoef(
            np.log(r.fine.AOD.values.mean((1, 2))), np.log(interior(r.coarse.AOD.values).mean((1, 2)))
        )[0, 1]
        for r in (together, apart)
    ]
    assert common[0] > common[1] + 0.2
    np.testing.assert_array_equal(together.fine.AOD, apart.fine.AOD)


def test_summer_is_dusty_in_both(year):
    for values in (year.fine.AOD, year.coarse.AOD):
        monthly = values.mean(("lat", "lon")).groupby("time.season").mean()
        assert float(monthly.sel(season="JJA")) > 3 * float(monthly.sel(season="DJF"))


def test_dust_lies_low(year):
    dem = year.elevation
    weights = conservative(Grid.from_dataset(dem), Grid.from_dataset(year.fine))
    height = weights @ dem.elevation.values.ravel()
    assert np.corrcoef(height, np.log(year.fine.AOD.values).mean(0).ravel())[0, 1] < -0.3


def test_winds_are_there_when_asked_for():
    with_winds = two_records(3, **SMALL, winds=True)
    plain = two_records(3, **SMALL)
    np.testing.assert_array_equal(with_winds.fine.AOD, plain.fine.AOD)
    for ds in with_winds[:2]:
        speed = np.hypot(ds.eastward_wind, ds.northward_wind)
        assert 0.5 < float(speed.mean()) < 15
        assert ds.eastward_wind.units == "m s-1"


# ---- the tracer in closed form


def flat(shape, source=1.0):
    return Terrain(np.zeros(shape), np.full(shape, source), np.zeros(shape))


def still(shape):
    return Large(
        np.zeros((shape[0], shape[1] // 2 + 1), complex),
        np.zeros((shape[0], shape[1] // 2 + 1), complex),
        0.0,
    )


def run(physics, shape, tracer, **given):
    settings = {"terrain": flat(shape), "factor": 1, "diffusivity": 0.0, "strength": 1.0, "eddies": None}
    return Dust(physics, CELL, **(settings | given), rng=np.random.default_rng(0), tracer=tracer)


def test_dry_deposition_is_exponential_and_uniform_emission_reaches_its_balance():
    physics = DustPhysics(
        season=0.0, years=0.0, threshold=0.0, rain_lifetime=np.inf, small_speed=0.0, lifetime=30.0
    )
    decaying = run(physics, (8, 8), np.full((8, 8), 2.0), strength=0.0)
    for _ in range(10):
        decaying.step(still((8, 8)), 0.0, 3.0)
    # Rain falls on Phi(-1 / 0.3) of every cell and washes out nothing here.
    np.testing.assert_allclose(decaying.tracer, 2.0 * np.exp(-30 / 30.0), rtol=1e-12)
    fed = run(physics, (8, 8), np.zeros((8, 8)))
    for _ in range(400):
        fed.step(still((8, 8)), 0.0, 3.0)
    rain = 4.290603e-4  # Phi(-10 / 3)
    speed = physics.mean_wind
    emitted = physics.emission / 24 * speed**3 / np.hypot(speed, physics.eddy_speed) ** 3 * (1 - rain)
    np.testing.assert_allclose(fed.tracer, emitted * physics.lifetime, rtol=1e-5)


def test_without_sources_and_sinks_the_total_stays():
    rng = np.random.default_rng(1)
    physics = DustPhysics(lifetime=np.inf, rain_lifetime=np.inf, emission=0.0)
    weather = Weather.create((8, 10), (8 * CELL[0], 8 * CELL[1]), physics, 3.0, rng)
    terrain = Terrain.draw((64, 80), CELL, 8, rng)
    dust = run(physics, (64, 80), rng.random((64, 80)), terrain=terrain, factor=8, diffusivity=1e3)
    before = dust.tracer.sum()
    for _ in range(20):
        dust.step(weather.step(), 0.0, 3.0)
    assert dust.tracer.sum() == pytest.approx(before, rel=1e-6)


def test_refining_keeps_the_field_where_it_was():
    """A wave that both planes resolve has the same value at the same place."""
    rows, columns, factor = 8, 12, 4
    i, j = np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")

    def wave(y, x):
        return (
            1.5
            + np.cos(2 * np.pi * (2 * y / rows + x / columns) + 0.3)
            + np.sin(2 * np.pi * (-y / rows + 3 * x / columns))
        )

    spectrum = np.fft.rfft2(wave(i, j))
    shape = (rows * factor, columns * factor)
    y, x = np.meshgrid(*((np.arange(n) + 0.5) / factor - 0.5 for n in shape), indexing="ij")
    np.testing.assert_allclose(np.fft.irfft2(refine(spectrum, shape, factor), shape), wave(y, x), atol=1e-12)
    assert refine(spectrum, (rows, columns), 1) is spectrum


def test_emission_is_carried_along_during_the_step():
    """In a uniform wind of 6 cells a step a point becomes a streak of 6 cells downwind, its total kept."""
    field = np.zeros((8, 32))
    field[4, 10] = 1.0
    wind = np.full(field.shape, 6 * CELL[1] / 10800)
    streak = along(field, departures(0 * wind, wind, CELL, 10800.0), parts=6)
    assert streak.sum() == pytest.approx(1)
    assert streak[4, 10:17].sum() == pytest.approx(1)
    assert streak[4, 11:16].min() > 0.1


def test_refusals():
    with pytest.raises(SkyweaveError, match="multiples of the factor 8"):
        two_records(3, (20, 24))
    with pytest.raises(SkyweaveError, match="agreement = 2"):
        two_records(3, agreement=2)
    with pytest.raises(SkyweaveError, match="is not a date"):
        two_records(3, start="soon")
    with pytest.raises(SkyweaveError, match="80 degrees"):
        two_records(3, south_west=(76.0, 0.0))
    with pytest.raises(SkyweaveError, match="divide the day"):
        two_records(3, step_hours=5)
