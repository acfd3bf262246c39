"""Spectra on the sphere: one harmonic is one line, energies add up, and winds are vectors."""

import numpy as np
import pytest
import torch
from scipy.special import sph_harm_y
from torch_harmonics import InverseRealSHT, RealSHT
from torch_harmonics.quadrature import legendre_gauss_weights

from skyweave.errors import SkyweaveError
from skyweave.grid import Grid
from skyweave.verify import kinetic_energy_spectrum, largest_degree, rapsd, spherical_spectrum

GAUSS = np.rad2deg(np.arcsin(legendre_gauss_weights(24, -1, 1)[0][::-1]))
GRIDS = {
    "with poles, from the north": Grid(np.linspace(90, -90, 25), np.arange(48) * 7.5),
    "cells, from the south": Grid(np.arange(-86.25, 90, 7.5), np.arange(-180, 180, 7.5)),
    "one pole, westwards": Grid(np.linspace(90, -82.5, 24), np.arange(48)[::-1] * 7.5),
    "Gaussian": Grid(GAUSS.copy(), np.arange(48) * 7.5),
}
grids = pytest.mark.parametrize("grid", GRIDS.values(), ids=list(GRIDS))


def harmonic(grid: Grid, n: int, m: int, phase: float = 0.3) -> np.ndarray:
    lat, lon = np.deg2rad(grid.mesh())
    return np.real(np.exp(1j * phase) * sph_harm_y(n, m, np.pi / 2 - lat, lon)) * np.sqrt(4 * np.pi)


def wind_of(grid: Grid, n: int, m: int, potential: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Rotational wind of a stream function that is one harmonic, or divergent wind of such a potential."""
    lat, lon = np.deg2rad(grid.mesh())
    y, parts = sph_harm_y(n, m, np.pi / 2 - lat, lon, diff_n=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        north, east = -np.real(parts[..., 0]), np.real(parts[..., 1]) / np.cos(lat)
    east = np.where(np.abs(grid.mesh()[0]) > 90 - 1e-9, 0.0, east)
    u, v = (east, north) if potential else (-north, east)
    return torch.from_numpy(u), torch.from_numpy(v)


@grids
@pytest.mark.parametrize(("n", "m"), [(0, 0), (1, 1), (5, 0), (9, 4), (21, 1), (22, 22)])
def test_a_single_harmonic_is_a_single_line(grid, n, m):
    field = torch.from_numpy(harmonic(grid, n, m))
    power = spherical_spectrum(field, grid)
    expected = torch.zeros(largest_degree(grid) + 1, dtype=torch.float64)
    expected[n] = np.cos(0.3) ** 2 if m == 0 else 0.5
    torch.testing.assert_close(power, expected, atol=1e-12, rtol=1e-9)


@grids
def test_powers_add_up_to_the_mean_square(grid):
    rng, square, total = np.random.default_rng(0), 0.0, 0.0
    field = np.zeros(grid.shape)
    for n in range(largest_degree(grid) + 1):
        for m in range(n + 1):
            a, phase = rng.standard_normal(), rng.uniform(0, 2 * np.pi)
            field += a * harmonic(grid, n, m, phase)
            square += a**2 * (np.cos(phase) ** 2 if m == 0 else 0.5)
    total = float(spherical_spectrum(torch.from_numpy(field), grid).sum())
    assert total == pytest.approx(square, rel=1e-9)


def test_agrees_with_torch_harmonics_on_gaussian_rows():
    field = torch.randn(3, 24, 48, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    sht = RealSHT(24, 48, lmax=16, mmax=16, grid="legendre-gauss").double()
    # Of band-limited fields both analyses are exact.
    field = InverseRealSHT(24, 48, lmax=16, mmax=16, grid="legendre-gauss").double()(sht(field))
    square = sht(field).abs() ** 2
    theirs = (2 * square.sum(-1) - square[..., 0]) / (4 * np.pi)
    ours = spherical_spectrum(field, GRIDS["Gaussian"])
    torch.testing.assert_close(ours[:, :16], theirs, rtol=1e-6, atol=1e-8)
    assert float(ours[:, 16:].max()) < 1e-8


# On a pole the wind of a harmonic of order one depends on the meridian, which `wind_of` does not know; others vanish.
WINDS = [
    pytest.param(grid, n, m, id=f"{name}-{n}-{m}")
    for name, grid in GRIDS.items()
    for n, m in ((1, 0), (3, 1), (8, 5), (12, 0), (21, 2))
    if m != 1 or np.abs(grid.lat).max() < 89.9
]


@pytest.mark.parametrize(("grid", "n", "m"), WINDS)
@pytest.mark.parametrize("potential", [False, True], ids=["stream function", "potential"])
def test_a_wind_of_one_harmonic_has_its_energy_in_one_line(grid, n, m, potential):
    u, v = wind_of(grid, n, m, potential)
    energy = kinetic_energy_spectrum(u, v, grid, parts=True)
    expected = torch.zeros_like(energy)
    # The mean of |grad Y|^2 is n (n + 1) times that of Y^2; Y has 1 / (4 pi), of which the real part is half.
    expected[int(potential), n] = 0.5 * n * (n + 1) / (4 * np.pi) * (1.0 if m == 0 else 0.5)
    torch.testing.assert_close(energy, expected, atol=1e-10, rtol=1e-9)
    torch.testing.assert_close(kinetic_energy_spectrum(u, v, grid), expected.sum(0), atol=1e-10, rtol=1e-9)


@grids
def test_solid_rotation_about_any_axis_is_degree_one(grid):
    lat, lon = np.deg2rad(grid.mesh())
    axis = np.array([0.6, -0.3, 1.1])
    place = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], -1)
    velocity = np.cross(axis, place)
    east = np.stack([-np.sin(lon), np.cos(lon), 0 * lon], -1)
    north = np.stack([-np.sin(lat) * np.cos(lon), -np.sin(lat) * np.sin(lon), np.cos(lat)], -1)
    u, v = (torch.from_numpy((velocity * e).sum(-1)) for e in (east, north))
    energy = kinetic_energy_spectrum(u, v, grid, parts=True)
    assert float(energy[0, 1]) == pytest.approx((axis**2).sum() / 3, rel=1e-9)
    assert float(energy.sum() - energy[0, 1]) == pytest.approx(0, abs=1e-12)


def test_fewer_degrees_and_leading_dimensions():
    grid = GRIDS["cells, from the south"]
    field = torch.from_numpy(np.stack([harmonic(grid, 4, 2), 2 * harmonic(grid, 6, 1)]))[:, None]
    power = spherical_spectrum(field, grid, degrees=7)
    assert power.shape == (2, 1, 8)
    torch.testing.assert_close(power[0, 0, 4], torch.tensor(0.5, dtype=torch.float64))
    torch.testing.assert_close(power[1, 0, 6], torch.tensor(2.0, dtype=torch.float64))


def test_what_has_no_spectrum_on_the_sphere_is_refused():
    region = Grid(np.arange(20.0, 60.0), np.arange(0.0, 50.0))
    with pytest.raises(SkyweaveError, match="needs a global grid"):
        spherical_spectrum(torch.zeros(region.shape), region)
    tropics = Grid(np.arange(-30.0, 31.0), np.arange(0.0, 360.0))
    with pytest.raises(SkyweaveError, match="needs a global grid"):
        kinetic_energy_spectrum(torch.zeros(tropics.shape), torch.zeros(tropics.shape), tropics)
    grid = GRIDS["Gaussian"]
    with pytest.raises(SkyweaveError, match="resolves degrees 0 to 23"):
        spherical_spectrum(torch.zeros(grid.shape), grid, degrees=24)
    with pytest.raises(SkyweaveError, match="do not lie on a grid"):
        spherical_spectrum(torch.zeros(24, 47), grid)
    assert rapsd(torch.zeros(region.shape)).shape == (26,)
