"""A dust tracer on a periodic plane with terrain and seasons, at one resolution; what both records are made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates
from scipy.special import ndtr

from skyweave.nature_runs.red_noise import RedNoise, Spectrum, red_noise
from skyweave.nature_runs.transport import advect, departures, diffuse, speed, velocity

__all__ = ["Dust", "DustPhysics", "Large", "Terrain", "Weather", "along", "blocks", "refine"]

Floats = NDArray[np.floating]
SECONDS = 3600.0
YEAR_HOURS = 365.25 * 24


@dataclass(frozen=True)
class DustPhysics:
    """The constants of the world of `two_records`.

    Args:
        mean_wind: speed, m s-1; its direction turns by 100 degrees between winter and summer.
        eddy_speed: root mean square of the evolving large-scale wind, m s-1.
        eddy_hours: memory of its largest eddies, hours.
        small_speed: likewise of the small eddies that the fine run alone has, m s-1.
        small_hours: their memory, hours.
        terrain_wind: speed of the standing eddies round mountains, as a share of the mean wind.
        diffusivity: K of the fine run, m2 s-1.
        lifetime: against dry deposition over low land, hours.
        rain_lifetime: under rain, hours.
        threshold: wind at which dust begins to rise, m s-1.
        emission: mean over space and time in a wind of the mean strength, AOD per day.
        background: AOD besides the tracer.
        season: amplitude of the annual cycle of emission, 0 to 1; that of rain is opposite.
        years: standard deviation of the slow logarithmic variation of emission from year to year.
    """

    mean_wind: float = 2.5
    eddy_speed: float = 3.5
    eddy_hours: float = 72.0
    small_speed: float = 2.0
    small_hours: float = 10.0
    terrain_wind: float = 0.5
    diffusivity: float = 1.0e3
    lifetime: float = 60.0
    rain_lifetime: float = 10.0
    threshold: float = 3.0
    emission: float = 0.15
    background: float = 0.01
    season: float = 0.8
    years: float = 0.25


@dataclass(frozen=True, eq=False)
class Terrain:
    """What does not change, on one grid.

    Args:
        height: from 0 to 1 of the highest possible, ``(H, W)``.
        source: share of the emission per cell, mean one; dry basins lead (Ginoux et al. 2001).
        standing: stream function of the eddies round the mountains, of unit speed on the fine grid, m2 s-1.
    """

    height: Floats
    source: Floats
    standing: Floats

    @classmethod
    def draw(
        cls, shape: tuple[int, int], cell: tuple[float, float], factor: int, rng: np.random.Generator
    ) -> Terrain:
        """Mountains from the size of the domain down to a few fine cells, and basins where dust lies."""
        side = max(shape)
        relief = red_noise(shape, slope=3.6, largest=side / 2.5, smallest=3.0)
        soil = red_noise(shape, slope=3.0, largest=side / 3, smallest=float(factor) / 2)
        height = ndtr(1.2 * relief.field(relief.start(rng))) ** 1.5
        source = (1 - height) ** 4 * ndtr(soil.field(soil.start(rng)) / 0.5 - 0.7)
        v, u = velocity(np.fft.rfft2(height), shape, cell)
        scale = float(np.sqrt((v**2 + u**2).mean()))
        return cls(height, source / source.mean(), (height - height.mean()) / scale)

    def coarse(self, factor: int) -> Terrain:
        """Means over blocks."""
        return Terrain(*(blocks(part, factor) for part in (self.height, self.source, self.standing)))


@dataclass(frozen=True, eq=False)
class Large:
    """Large-scale weather of one moment, on the coarse plane."""

    psi: Spectrum
    rain: Spectrum
    slow: float


@dataclass(eq=False)
class Weather:
    """The large scales: stream function, rain and the strength of the year, on the coarse plane.

    Args:
        flow: law of the stream function, m2 s-1.
        clouds: law of the field that rains where it is high.
        slow_memory: of the year's strength per step.
        rng: its randomness.
        state: now.
    """

    flow: RedNoise
    clouds: RedNoise
    slow_memory: float
    rng: np.random.Generator
    state: Large

    @classmethod
    def create(
        cls,
        shape: tuple[int, int],
        cell: tuple[float, float],
        physics: DustPhysics,
        hours: float,
        rng: np.random.Generator,
    ) -> Weather:
        """Weather in its stationary state; one step is so many hours."""
        side = max(shape)
        flow = red_noise(shape, slope=4.0, largest=side / 1.5, smallest=3.0, hours=physics.eddy_hours / hours)
        scale = physics.eddy_speed / speed(flow.amplitude, shape, cell)
        flow = RedNoise(shape, flow.amplitude * scale, flow.memory)
        clouds = red_noise(shape, slope=3.0, largest=side / 2, smallest=3.0, hours=18 / hours)
        slow = float(np.exp(-hours / (200 * 24)))
        return cls(flow, clouds, slow, rng, Large(flow.start(rng), clouds.start(rng), float(rng.normal())))

    def step(self) -> Large:
        """On by one step; always takes the same number of draws."""
        fresh = float(self.rng.normal())
        slow = self.slow_memory * self.state.slow + np.sqrt(1 - self.slow_memory**2) * fresh
        psi = self.flow.step(self.state.psi, self.rng)
        self.state = Large(psi, self.clouds.step(self.state.rain, self.rng), float(slow))
        return self.state


@dataclass(eq=False)
class Dust:
    """One run of the tracer, at the resolution of its terrain.

    Args:
        physics: constants.
        cell: spacing of rows and of columns, m.
        terrain: on this grid.
        factor: cells of this grid along one coarse cell; 1 on the coarse grid.
        diffusivity: m2 s-1.
        strength: what multiplies the emission.
        eddies: law of the small eddies; none on the coarse grid, where their speed counts as gusts that raise dust.
        rng: of the eddies.
        tracer: AOD, the state.
        wind: mean of the last step, northward and eastward, m s-1.
    """

    physics: DustPhysics
    cell: tuple[float, float]
    terrain: Terrain
    factor: int
    diffusivity: float
    strength: float
    eddies: RedNoise | None
    rng: np.random.Generator
    tracer: Floats
    psi: Spectrum | None = None
    wind: tuple[Floats, Floats] | None = None

    @property
    def shape(self) -> tuple[int, int]:
        return self.terrain.height.shape[0], self.terrain.height.shape[1]

    def step(self, large: Large, hour: float, hours: float) -> None:
        """On by one step to `hour` of the year, with the large scales of its middle."""
        p = self.physics
        swing = np.cos(2 * np.pi * (hour / YEAR_HOURS - 200 / 365.25))  # 1 in the middle of July
        stream = refine(large.psi, self.shape, self.factor)
        if self.eddies is not None:
            before = self.eddies.start(self.rng) if self.psi is None else self.psi
            self.psi = self.eddies.step(before, self.rng)
            stream = stream + self.psi
        bearing = np.deg2rad(20 - 50 * swing)
        east, north = p.mean_wind * np.cos(bearing), p.mean_wind * np.sin(bearing)
        # Air turns round mountains: eddies weaken over them, and a standing anticyclone sits on each.
        field = np.fft.irfft2(stream, self.shape) * (1 - 0.7 * self.terrain.height)
        field = field + p.terrain_wind * p.mean_wind * self.terrain.standing
        v, u = velocity(np.fft.rfft2(field), self.shape, self.cell)
        v, u = v + north, u + east
        self.wind = v, u
        seconds = hours * SECONDS
        origin = departures(v, u, self.cell, seconds)
        moved = advect(self.tracer, origin)
        moved = diffuse(moved, self.diffusivity * seconds, self.cell)
        rain = ndtr((self._rain(large) - 1.0 - 0.7 * p.season * swing) / 0.3)
        loss = (1 + self.terrain.height) / p.lifetime + rain / p.rain_lifetime
        gusts = p.small_speed if self.eddies is None else 0.0
        emitted = self._emission(np.sqrt(v**2 + u**2 + gusts**2), swing, large.slow) * (1 - rain)
        emitted = along(emitted, origin)
        # Exactly, for constant E and L: c e^-Lt + E (1 - e^-Lt) / L.
        supply = np.where(loss > 0, -np.expm1(-loss * hours) / np.where(loss > 0, loss, 1.0), hours)
        self.tracer = moved * np.exp(-loss * hours) + emitted * supply

    def _rain(self, large: Large) -> Floats:
        return np.fft.irfft2(refine(large.rain, self.shape, self.factor), self.shape)

    def _emission(self, wind: Floats, swing: float, slow: float) -> Floats:
        """AOD per hour: a cubic power of the wind above its threshold, over sources, by season and year."""
        p = self.physics
        typical = np.hypot(p.mean_wind, p.eddy_speed)
        lifted = wind**2 * np.maximum(wind - p.threshold, 0.0) / typical**3
        year = np.exp(p.years * slow - p.years**2 / 2)
        return self.strength * p.emission / 24 * (1 + p.season * swing) * year * self.terrain.source * lifted


def along(emitted: Floats, origin: Floats, parts: int = 3) -> Floats:
    """What is emitted during a step, where the air has carried it at its end: mean over the way to each cell.

    Emission at the end of a step alone would leave a row of puffs behind a source instead of a plume.
    """
    here = np.indices(emitted.shape, dtype=np.float64)
    way = origin - here
    places = [here + (k + 0.5) / parts * way for k in range(parts)]
    return np.mean([map_coordinates(emitted, at, order=1, mode="grid-wrap") for at in places], axis=0)


def blocks(field: Floats, factor: int) -> Floats:
    """Means over square blocks of cells."""
    height, width = field.shape
    return field.reshape(height // factor, factor, width // factor, factor).mean(axis=(1, 3))


def refine(spectrum: Spectrum, shape: tuple[int, int], factor: int) -> Spectrum:
    """The spectrum on a finer plane of a field given by its spectrum on a coarse one, cell centres kept in place.

    Args:
        spectrum: of `numpy.fft.rfft2` on ``(H / factor, W / factor)`` cells, nothing at the shortest wavelength.
        shape: ``(H, W)`` of the fine plane.
        factor: cells along one coarse cell.
    """
    if factor == 1:
        return spectrum
    rows, columns = spectrum.shape[0], spectrum.shape[1]
    ky, kx = np.fft.fftfreq(rows)[:, None], np.arange(columns)[None, :] / (shape[1] // factor)
    # The first fine centre lies half a coarse cell, less half a fine one, before the first coarse centre.
    shift = np.exp(-2j * np.pi * (ky + kx) * (factor - 1) / (2 * factor))
    out = np.zeros((shape[0], shape[1] // 2 + 1), complex)
    half = (rows + 1) // 2
    moved = spectrum * shift * factor**2
    out[:half, :columns] = moved[:half]
    out[half - rows :, :columns] = moved[half:]
    return out
