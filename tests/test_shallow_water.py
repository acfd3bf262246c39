"""Laws of the shallow-water world: exact solutions, budgets, memory, and a long forced run."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr

from skyweave.emulate import Forecaster
from skyweave.errors import SkyweaveError
from skyweave.grid import EARTH_RADIUS, Grid
from skyweave.nature_runs import ShallowWater, ShallowWaterConfig, shallow_water, shallow_water_chunks
from skyweave.nature_runs.shallow_water import GRAVITY
from skyweave.nature_runs.spherical_dynamics import Dynamics, Harmonics, gaussian_latitudes

SHAPE = (32, 64)
DAY = 86400.0
OMEGA = 7.292e-5


@pytest.fixture(scope="module")
def harmonics() -> Harmonics:
    return Harmonics(SHAPE, None, EARTH_RADIUS)


@pytest.fixture(scope="module")
def run() -> xr.Dataset:
    return shallow_water(160, ShallowWaterConfig(seed=5), spin_up=20)


@pytest.fixture(scope="module")
def free() -> ShallowWater:
    """The equations alone; small steps, so that what is left is not the scheme's."""
    return ShallowWater(ShallowWaterConfig.unforced(substep=600.0), variables=("u", "v", "h"))


def mesh():
    lat = np.deg2rad(gaussian_latitudes(SHAPE[0]))[:, None]
    lon = 2 * np.pi * np.arange(SHAPE[1])[None] / SHAPE[1]
    return lat, lon


def area_mean(field, grid: Grid):
    return float((np.asarray(field) * grid.area).sum() / grid.area.sum())


# ---- transforms


def test_curl_and_divergence_of_known_winds(harmonics):
    lat, lon = mesh()
    solid = torch.from_numpy(np.stack([30 * np.cos(lat) + 0 * lon, 0 * lat + 0 * lon]))
    curl, divergence = harmonics.to_grid(harmonics.curl_and_divergence(solid)).numpy()
    np.testing.assert_allclose(curl, 60 / EARTH_RADIUS * np.sin(lat) + 0 * lon, atol=1e-17)
    np.testing.assert_allclose(divergence, 0, atol=1e-17)
    # The gradient of cos(lat) cos(lon), a harmonic of degree one: its divergence is -2 / R^2 of itself.
    gradient = np.stack([-np.sin(lon) + 0 * lat, -np.sin(lat) * np.cos(lon)]) / EARTH_RADIUS
    curl, divergence = harmonics.to_grid(harmonics.curl_and_divergence(torch.from_numpy(gradient))).numpy()
    np.testing.assert_allclose(divergence * EARTH_RADIUS**2, -2 * np.cos(lat) * np.cos(lon), atol=1e-11)
    np.testing.assert_allclose(curl * EARTH_RADIUS**2, 0, atol=1e-11)


def test_transforms_invert_each_other_and_keep_power(harmonics):
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((2, 3, 22, 22, 2))
    waves = torch.view_as_complex(torch.from_numpy(noise)).tril()
    waves[..., 0] = waves[..., 0].real.to(waves.dtype)
    waves[..., 0, 0] = 0
    torch.testing.assert_close(harmonics.to_spectrum(harmonics.to_grid(waves)), waves, atol=1e-12, rtol=0)
    pairs = waves[:, :2]
    torch.testing.assert_close(
        harmonics.curl_and_divergence(harmonics.wind(pairs)), pairs, atol=1e-12, rtol=0
    )
    grid = Grid(gaussian_latitudes(32), np.arange(64) * 5.625)
    square = (harmonics.to_grid(waves) ** 2).mean(-1) @ harmonics.row_weights
    torch.testing.assert_close(harmonics.power(waves).sum(-1), square)
    assert grid.lat[0] > grid.lat[-1]


# ---- exact solutions


def test_steady_zonal_flow_stays_steady(free):
    # Williamson et al. (1992), case 2: u = u0 cos(lat), g h = g h0 - (R Omega u0 + u0^2 / 2) sin^2(lat).
    lat, lon = mesh()
    u0, gh0 = 2 * np.pi * EARTH_RADIUS / (12 * DAY), 2.94e4
    height = (gh0 - (EARTH_RADIUS * OMEGA * u0 + u0**2 / 2) * np.sin(lat) ** 2) / GRAVITY
    fields = np.stack([u0 * np.cos(lat) + 0 * lon, 0 * lat + 0 * lon, height + 0 * lon])
    start = torch.from_numpy(fields)[None]
    state = start
    for k in range(20):  # five days
        state = free.step(state, k)
    assert float((state - start)[:, :2].abs().max()) < 1e-9
    assert float((state - start)[:, 2].abs().max()) < 1e-7


def rossby_haurwitz(depth: float, wavenumber: int = 4, speed: float = 7.848e-6):
    """A wave of stream function -R^2 w sin(lat) + R^2 K cos^r(lat) sin(lat) cos(r lon), and its speed in
    non-divergent flow, degrees per day; Williamson et al. (1992), case 6, Eq. 140 and 143."""
    lat, lon = mesh()
    r, w, k = wavenumber, speed, speed
    c, s = np.cos(lat), np.sin(lat)
    u = EARTH_RADIUS * (w * c + k * c ** (r - 1) * (r * s**2 - c**2) * np.cos(r * lon))
    v = -EARTH_RADIUS * k * r * c ** (r - 1) * s * np.sin(r * lon)
    drift = (r * (3 + r) * w - 2 * OMEGA) / ((1 + r) * (2 + r))
    model = ShallowWater(
        ShallowWaterConfig.unforced(mean_height=depth, substep=600.0), variables=("u", "v", "h")
    )
    state = model.spectral(torch.from_numpy(np.stack([u, v, 0 * u + depth]))[None])
    return model, model.gridded(model.dynamics.balanced(state), torch.float64), np.rad2deg(drift) * DAY


def test_rossby_haurwitz_wave_moves_at_its_speed():
    # In a layer this deep gravity waves are so fast that the flow is all but non-divergent, as the formula wants it.
    model, state, drift = rossby_haurwitz(depth=4e6)
    start = np.angle(np.fft.rfft(state[0, 0, 10].numpy())[4])
    days = 3
    for k in range(4 * days):
        state = model.step(state, k)
    end = np.angle(np.fft.rfft(state[0, 0, 10].numpy())[4])
    turned = (start - end + np.pi) % (2 * np.pi) - np.pi  # of wavenumber four
    wanted = np.deg2rad(4 * drift * days)
    assert turned == pytest.approx((wanted + np.pi) % (2 * np.pi) - np.pi, abs=0.02 * abs(wanted))
    assert abs(wanted) > 0.5


# ---- budgets


def turbulent(free: ShallowWater, run: xr.Dataset) -> torch.Tensor:
    fields = np.stack([run[name].values[-1] for name in ("u", "v", "h")])[None]
    return torch.from_numpy(fields).double()


def test_mass_and_energy_are_kept_without_forcing_and_loss(free, run):
    x = free.spectral(turbulent(free, run))
    mass, energy = x[:, 2, 0, 0].clone(), free.dynamics.energy(x)
    rest = free.dynamics.energy(torch.zeros_like(x))
    assert float((energy - rest).abs() / rest) > 1e-3  # there is energy to lose
    for _ in range(6 * 24):  # a day
        x = free.dynamics.step(x, 600.0)
    torch.testing.assert_close(x[:, 2, 0, 0], mass, rtol=0, atol=1e-9 * GRAVITY * 6000)
    assert float((free.dynamics.energy(x) - energy).abs() / (energy - rest)) < 2e-3


def test_halving_the_step_quarters_the_error(free, run):
    x = free.spectral(turbulent(free, run))

    def at(dt: float) -> torch.Tensor:
        y = x
        for _ in range(round(6 * 3600 / dt)):
            y = free.dynamics.step(y, dt)
        return free.gridded(y, torch.float64)

    exact = at(75.0)
    coarse, fine = ((at(dt) - exact)[:, 0].square().mean().sqrt() for dt in (1200.0, 600.0))
    assert coarse / fine > 3.5


def test_drag_takes_speed_times_wind():
    lat, lon = mesh()
    h = Harmonics(SHAPE, None, EARTH_RADIUS)
    wind = torch.from_numpy(np.stack([20 * np.cos(lat) + 0 * lon, 0 * lat + 0 * lon]))[None]
    state = torch.cat([h.curl_and_divergence(wind), torch.zeros(1, 1, 22, 22)], dim=1)
    pull = [Dynamics(h, 1e4, OMEGA, np.inf, drag_length=length).tendency(state) for length in (1e6, np.inf)]
    change = h.wind((pull[0] - pull[1])[:, :2])[0, 0]
    expected = -((20 * np.cos(lat)) ** 2) / 1e6
    assert float(np.abs(change[:, 0].numpy() - expected[:, 0])[4:-4].max()) < 0.02 * 4e-4


# ---- the forced world


def test_it_is_a_forecaster():
    model = ShallowWater()
    assert isinstance(model, Forecaster)
    assert model.time_step == 21600
    assert model.spec.names == ("u", "v", "h", "vorticity")


def test_a_run_is_the_same_twice_and_in_pieces(run):
    short = shallow_water(5, ShallowWaterConfig(seed=5), spin_up=2)
    again = shallow_water_chunks(5, ShallowWaterConfig(seed=5), spin_up=2, chunk=2)
    xr.testing.assert_identical(short, xr.concat(list(again), "time", combine_attrs="override"))
    first = shallow_water(3, ShallowWaterConfig(seed=5), spin_up=2)
    rest = shallow_water(2, ShallowWaterConfig(seed=5), restart=first)
    xr.testing.assert_identical(short, xr.concat([first, rest], "time", combine_attrs="override"))
    other = shallow_water(5, ShallowWaterConfig(seed=6), spin_up=2)
    assert float(abs(other.u - short.u).max()) > 0.1


def test_members_do_not_depend_on_their_batch(run):
    model = ShallowWater(ShallowWaterConfig(seed=5))
    names = model.spec.names
    states = torch.from_numpy(np.stack([run[n].values[:3] for n in names], axis=1))
    when = np.datetime64("2001-01-01")
    together = model.step(states, when, members=[7, 8, 9])
    alone = model.step(states[1:2], when, members=[8])
    torch.testing.assert_close(together[1:2], alone, rtol=1e-5, atol=1e-9)
    elsewhere = model.step(states[1:2], when, members=[7])
    assert float((elsewhere - alone)[:, 0].abs().max()) > 1e-3  # its own stirring


def test_a_long_run_stays_turbulent_and_in_bounds(run):
    for start in (0, 80):
        piece = run.isel(time=slice(start, start + 80))
        assert 45 < float(abs(piece.u).max()) < 100
        assert float(piece.h.min()) > 4000
        assert float(piece.h.max()) < 7500
        eddies = piece[["u", "v"]] - piece[["u", "v"]].mean(("time", "lon"))
        weights = np.cos(np.deg2rad(piece.lat))
        energy = float((((eddies**2).to_array().sum("variable")) / 2).weighted(weights).mean())
        assert 100 < energy < 400
    # Weather: frames resemble the next, and not those a month away.
    h = (run.h - run.h.mean(("time", "lon"))).values
    memory = [float((h[:-k] * h[k:]).mean() / (h * h).mean()) for k in (1, 120)]
    assert memory[0] > 0.95
    assert abs(memory[1]) < 0.4


def test_the_energy_spectrum_falls_as_that_of_rotating_turbulence(run):
    model = ShallowWater(ShallowWaterConfig(seed=5))
    states = torch.from_numpy(np.stack([run[n].values[::20] for n in model.spec.names], axis=1))
    curl = model.spectral(states)[:, 0]
    energy = (-model.harmonics.inverse_laplacian[:, 0] * model.harmonics.power(curl) / 2).mean(0).numpy()
    degree = np.arange(8, 18)
    slope = np.polyfit(np.log(degree), np.log(energy[degree]), 1)[0]
    assert -7 < slope < -3


def test_errors_of_a_perfect_model_grow_as_in_weather(run):
    # The error of the day of a tiny displacement doubles within some days and fills the climate in the end.
    still = ShallowWater(replace(ShallowWaterConfig(seed=5), stirring=0.0))
    fields = np.stack([run[n].values[[0, 150]] for n in still.spec.names], axis=1)
    one, two = torch.from_numpy(fields), torch.from_numpy(fields)
    two = still.gridded(still.spectral(two) * (1 + 0.02 * torch.tensor([1.0, 0, 0])[:, None, None]))
    climate = run.h.std("time").mean()
    growth = []
    for k in range(10 * 4 + 1):
        if k in (8, 24, 40):
            growth.append(float((one - two)[:, 2].square().mean().sqrt() / climate))
        one, two = still.step(one, k), still.step(two, k)
    assert growth[0] < growth[1] < growth[2]
    assert growth[2] > 2.5 * growth[0]


def test_frames_are_cf_and_any_shape_goes():
    ds = shallow_water(2, ShallowWaterConfig(shape=(16, 32)), spin_up=1, start="2010-05-01")
    assert dict(ds.sizes) == {"time": 2, "lat": 16, "lon": 32}
    assert ds.u.attrs["standard_name"] == "eastward_wind"
    assert ds.h.attrs["units"] == "m"
    assert ds.time.values[1] - ds.time.values[0] == np.timedelta64(6, "h")
    assert Grid.from_dataset(ds).periodic
    assert ds.attrs["mean_height"] == 6000


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"shape": (32, 32)}, "twice as many columns"),
        ({"relaxation": 0}, "relaxation is 0"),
        ({"stirring": -1}, "stirring -1"),
    ],
)
def test_impossible_constants_are_refused(settings, message):
    with pytest.raises(SkyweaveError, match=message):
        ShallowWaterConfig(**settings)


def test_what_cannot_be_stepped_is_refused(run):
    with pytest.raises(SkyweaveError, match="u, v and h"):
        ShallowWater(variables=("u", "v"))
    model = ShallowWater()
    with pytest.raises(SkyweaveError, match=r"\(member, 4, 32, 64\)"):
        model.step(torch.zeros(1, 3, 32, 64), 0)
    fast = ShallowWater(ShallowWaterConfig(substep=21600.0, growth=0.05))

    def run_away() -> None:
        state = fast.initial()
        for k in range(100):
            state = fast.step(state, k)

    with pytest.raises(SkyweaveError, match="smaller `substep`"):
        run_away()
    with pytest.raises(SkyweaveError, match="not a date"):
        shallow_water(1, start="soon")
