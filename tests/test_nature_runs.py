"""Laws of the synthetic aerosol world: budgets, positivity, memory, clouds, and that it can be run again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from scipy.stats import skew

from skyweave.errors import SkyweaveError
from skyweave.grid import Grid
from skyweave.nature_runs import AerosolPhysics, aerosol_tracer, with_gaps
from skyweave.nature_runs.red_noise import red_noise
from skyweave.nature_runs.sources import BURNING, draw_sources
from skyweave.nature_runs.transport import advect, departures, diffuse, speed, velocity
from skyweave.nature_runs.world import create
from skyweave.state import StateSpec, Variable, to_tensor
from skyweave.verify import temporal_autocorrelation

CELL = (55e3, 50e3)
SHAPE = (40, 48)


@pytest.fixture(scope="module")
def run() -> xr.Dataset:
    return aerosol_tracer(96, (32, 40), seed=3)


def plume(shape=SHAPE, at=(15, 20), width=2.0) -> np.ndarray:
    i, j = np.indices(shape)
    return np.exp(-((i - at[0]) ** 2 + (j - at[1]) ** 2) / (2 * width**2))


# ---- the pieces


def test_noise_has_unit_variance_and_the_memory_that_was_asked_for():
    noise = red_noise(SHAPE, slope=3.0, largest=24, hours=10)
    rng = np.random.default_rng(0)
    spectra = [noise.start(rng)]
    for _ in range(600):
        spectra.append(noise.step(spectra[-1], rng))
    fields = np.stack([noise.field(s) for s in spectra])
    assert fields.var() == pytest.approx(1, rel=0.1)
    # The first mode along longitude is longer than `largest` and keeps exp(-1/10) of itself each hour.
    mode = np.array([s[0, 1] for s in spectra])
    phi = (mode[1:] * mode[:-1].conj()).real.mean() / (np.abs(mode) ** 2).mean()
    assert phi == pytest.approx(np.exp(-0.1), abs=0.04)


def test_the_flow_has_the_speed_asked_for_and_no_divergence():
    noise = red_noise(SHAPE, slope=5.0, largest=30, smallest=6)
    expected = speed(noise.amplitude, SHAPE, CELL)
    rng = np.random.default_rng(1)
    winds = np.stack([velocity(noise.start(rng), SHAPE, CELL) for _ in range(200)])
    assert np.sqrt((winds**2).sum(axis=1).mean()) == pytest.approx(expected, rel=0.05)
    v, u = winds[0]
    down = np.fft.fftfreq(SHAPE[0])[:, None] / CELL[0]
    across = np.fft.rfftfreq(SHAPE[1])[None] / CELL[1]
    divergence = np.fft.irfft2(2j * np.pi * (down * np.fft.rfft2(v) + across * np.fft.rfft2(u)), SHAPE)
    assert np.abs(divergence).max() < 1e-10 * np.abs(winds).max() / CELL[1] * SHAPE[1]
    assert abs(v.mean()) + abs(u.mean()) < 1e-12 * np.abs(winds).max()


def test_a_uniform_wind_of_whole_cells_moves_a_plume_round_the_plane_unchanged():
    seconds = 3600.0
    v, u = np.full(SHAPE, 2 * CELL[0] / seconds), np.full(SHAPE, -3 * CELL[1] / seconds)
    moved = advect(plume(), departures(v, u, CELL, seconds))
    np.testing.assert_allclose(moved, np.roll(plume(), (2, -3), axis=(0, 1)), atol=1e-9)


def test_trajectories_in_solid_rotation_come_full_circle():
    # Rotation about the middle by 3.6 degrees a step: a hundred of them are a turn.
    shape, seconds, middle = (41, 41), 3600.0, 20
    i, j = np.indices(shape) - middle
    rate = 2 * np.pi / 100 / seconds
    cell = (50e3, 50e3)
    origin = departures(rate * j * cell[1], -rate * i * cell[0], cell, seconds)
    before = after = plume(shape, (middle + 6, middle), 2.5)
    for _ in range(100):
        after = advect(after, origin)
    assert np.corrcoef(before.ravel(), after.ravel())[0, 1] > 0.995
    assert after.sum() == pytest.approx(before.sum())


def test_advection_of_a_steep_tracer_makes_no_new_extremes():
    rng = np.random.default_rng(2)
    step = (plume(width=5.0) > 0.5) * 2.0 + 0.5
    v, u = rng.normal(0, 8, (2, *SHAPE))
    origin = departures(v, u, CELL, 3600.0)
    moved = advect(step, origin)
    total = moved / (step.sum() / moved.sum())
    assert moved.sum() == pytest.approx(step.sum())
    assert total.min() > 0.45
    assert advect(np.zeros(SHAPE), origin).max() == 0
    assert advect(step, origin, tracer=False).min() < 0.5  # the plain spline would have


def test_diffusion_keeps_the_total_stays_positive_and_widens_by_twice_k_t():
    point = np.zeros(SHAPE)
    point[20, 24] = 1.0
    i, j = np.indices(SHAPE)
    for spread in (1e7, 3e8, 5e9):
        smooth = diffuse(point, spread, CELL)
        assert smooth.sum() == pytest.approx(1, abs=1e-12)
        assert smooth.min() >= 0
        if spread < 1e9:  # before it has gone round the plane
            assert (smooth * (i - 20) ** 2).sum() * CELL[0] ** 2 == pytest.approx(2 * spread, rel=1e-6)
            assert (smooth * (j - 24) ** 2).sum() * CELL[1] ** 2 == pytest.approx(2 * spread, rel=1e-6)


def test_sources_emit_on_average_what_was_asked_for_and_most_in_the_afternoon():
    rng = np.random.default_rng(4)
    sources = draw_sources(SHAPE, rng, np.zeros(SHAPE[1]), cities=2e-3, fires=1e-3)
    assert sources.cities.mean() == pytest.approx(2e-3)
    assert sources.places.mean() * len(sources.places) * BURNING == pytest.approx(1e-3)
    emitted, burning = [], []
    for hour in range(24 * 500):
        emitted.append(sources.emission(hour, rng).mean())
        burning.append((sources.strength > 0).mean())
    assert np.mean(burning) == pytest.approx(BURNING, rel=0.2)
    assert np.mean(emitted) == pytest.approx(3e-3, rel=0.1)
    by_hour = np.reshape(emitted, (-1, 24)).mean(axis=0)
    assert by_hour.argmax() == 14
    assert by_hour.max() > 2 * by_hour.min()


# ---- the budget of the whole world


def world(physics: AerosolPhysics, cloud_fraction: float = 0.5):
    return create((64, 64), np.arange(10.0, 26, 0.5), 0.5, np.zeros(64), 5, cloud_fraction, physics)


def test_without_sources_and_sinks_the_mean_is_conserved():
    still = AerosolPhysics(urban=0, fires=0, lifetime=np.inf, rain_lifetime=np.inf)
    it = world(still)
    it.tracer = plume((64, 64), (30, 30), 4.0)
    before, peak = it.tracer.mean(), it.tracer.max()
    for hour in range(48):
        it.step(hour)
        assert it.tracer.min() >= 0
    assert it.tracer.mean() == pytest.approx(before, rel=1e-3)
    assert it.tracer.max() < peak  # and yet it was stirred


@pytest.mark.parametrize(("cloud_fraction", "rate"), [(0.0, 1 / 50), (1.0, 1 / 50 + 1 / 20)])
def test_without_sources_the_tracer_decays_by_deposition_and_rain(cloud_fraction, rate):
    it = world(AerosolPhysics(urban=0, fires=0, lifetime=50, rain_lifetime=20), cloud_fraction)
    it.tracer = plume((64, 64))
    before = it.tracer.mean()
    for hour in range(10):
        it.step(hour)
    assert it.tracer.mean() == pytest.approx(before * np.exp(-10 * rate), rel=1e-9)


def test_sources_alone_fill_the_world_at_their_rate():
    it = world(AerosolPhysics(urban=0.24, fires=0, lifetime=np.inf, rain_lifetime=np.inf))
    assert it.tracer.max() == 0
    for hour in range(48):
        it.step(hour)
    assert it.tracer.mean() == pytest.approx(0.48, rel=1e-6)  # two whole days of 0.24


# ---- what a user gets


def test_a_run_is_the_beginning_of_a_longer_one(run):
    short = aerosol_tracer(7, (32, 40), seed=3)
    xr.testing.assert_identical(short, run.isel(time=slice(7)))
    other = aerosol_tracer(7, (32, 40), seed=4)
    assert np.abs(other.AOD.values - short.AOD.values).max() > 0.1


def test_aod_is_positive_skewed_and_remembers_the_hour_before(run):
    aod = run.AOD.values
    assert aod.dtype == np.float32
    assert aod.shape == (96, 32, 40)
    assert np.isfinite(aod).all()
    assert aod.min() > 0
    assert 0.1 < aod.mean() < 0.8
    assert skew(aod.ravel()) > 0.5
    hour, day = temporal_autocorrelation(aod, [1, 24])
    assert hour > 0.9
    assert day < 0.6


def test_plumes_move_with_the_wind():
    # Without eddies and sources all there is drifts eastwards at 10 m/s, and so do the clouds.
    east = AerosolPhysics(mean_wind=(10.0, 0.0), eddy_speed=0.0, cloud_hours=1e9, fires=0.0)
    ds = aerosol_tracer(13, (32, 32), physics=east, spin_up=24, seed=1)
    spacing = 6.371e6 * np.deg2rad(0.5) * np.cos(np.deg2rad(10 + 0.5 * 15.5))
    cells = round(12 * 3600 * 10 / spacing)
    first, last = ds.cloud_cover.values[0], ds.cloud_cover.values[12]
    assert np.corrcoef(first[:, :-cells].ravel(), last[:, cells:].ravel())[0, 1] > 0.9
    assert np.corrcoef(first.ravel(), last.ravel())[0, 1] < 0.7


@pytest.mark.parametrize("fraction", [0.3, 0.7])
def test_clouds_cover_about_what_was_asked_for(fraction):
    # Fast clouds in still air, for many independent skies in few hours.
    quick = AerosolPhysics(cloud_hours=3.0, cloud_length=12.0)
    ds = aerosol_tracer(60, (24, 24), cloud_fraction=fraction, physics=quick, spin_up=0)
    cover = ds.cloud_cover.values
    assert cover.min() >= 0
    assert cover.max() <= 1
    assert cover.mean() == pytest.approx(fraction, abs=0.05)
    assert np.isnan(with_gaps(ds).AOD.values).mean() == pytest.approx(fraction, abs=0.07)


def test_gaps_are_where_the_clouds_are_and_nothing_else_changes(run):
    seen = with_gaps(run, 0.4)
    cloudy = run.cloud_cover.values > 0.4
    assert 0.2 < cloudy.mean() < 0.9
    np.testing.assert_array_equal(np.isnan(seen.AOD.values), cloudy)
    np.testing.assert_array_equal(seen.AOD.values[~cloudy], run.AOD.values[~cloudy])
    xr.testing.assert_identical(seen.cloud_cover, run.cloud_cover)
    assert np.isfinite(run.AOD.values).all()  # the argument is as it was
    xr.testing.assert_identical(with_gaps(run, 1.0).AOD.drop_attrs(), run.AOD.drop_attrs())


def test_the_dataset_can_be_read_and_written_like_any_other(run, tmp_path):
    grid = Grid.from_dataset(run)
    assert grid.shape == (32, 40)
    assert (grid.lat[0], grid.lon[0], grid.resolution) == (10.0, 80.0, (0.5, 0.5))
    spec = StateSpec((Variable("AOD", "1"),), resolution=(0.5, 0.5))
    assert to_tensor(run[["AOD"]], spec, grid).shape == (96, 1, 32, 40)
    run.to_netcdf(tmp_path / "run.nc")
    xr.testing.assert_equal(xr.load_dataset(tmp_path / "run.nc"), run)
    assert run.attrs["seed"] == 3
    assert str(run.time.values[0]).startswith("2020-06-01T00")


def test_the_sun_follows_the_clock_and_the_longitude():
    # Sources and sinks alone: over the year's mean the tracer's hourly gain is the emission's daily cycle.
    calm = AerosolPhysics(mean_wind=(0, 0), eddy_speed=0, diffusivity=0, lifetime=np.inf, fires=0)
    calm = replace(calm, rain_lifetime=np.inf)
    for start, lon, noon in (("2020-06-01", 0.0, 14), ("2020-06-01 06:00", 0.0, 8), ("2020-06-01", 90.0, 8)):
        ds = aerosol_tracer(
            25, (16, 16), start=start, south_west=(10.0, lon), resolution=0.1, spin_up=0, physics=calm
        )
        gain = ds.AOD.mean(("lat", "lon")).diff("time").values
        assert int(gain.argmax()) + 1 == noon


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"hours": 0}, "at least one hour"),
        ({"shape": (1, 8)}, "at least two"),
        ({"south_west": (80.0, 0.0)}, "85 degrees"),
        ({"cloud_fraction": 1.2}, "between 0 and 1"),
        ({"resolution": 6.0, "shape": (4, 64)}, "circle"),
        ({"start": "yesterday-ish"}, "not a date"),
    ],
)
def test_what_cannot_be_run_is_refused(arguments, message):
    with pytest.raises(SkyweaveError, match=message):
        aerosol_tracer(**{"hours": 2, **arguments})


def test_gaps_need_both_variables_and_a_threshold_that_is_a_cover(run):
    with pytest.raises(SkyweaveError, match="no cloud_cover"):
        with_gaps(run[["AOD"]])
    with pytest.raises(SkyweaveError, match="gamma"):
        with_gaps(run, 50)
