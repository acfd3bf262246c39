"""The world of the aerosol tracer on its periodic plane: its constants, its state, and an hour of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from skyweave.grid import EARTH_RADIUS
from skyweave.nature_runs.red_noise import RedNoise, Spectrum, red_noise
from skyweave.nature_runs.sources import Sources, draw_sources
from skyweave.nature_runs.transport import advect, departures, diffuse, speed, velocity

__all__ = ["AerosolPhysics", "World", "cloud_cover", "create", "rain"]

Floats = NDArray[np.floating]
HOUR = 3600.0
CLOUD_EDGE = 0.35
"""Width of the clouds' edges, standard deviations of their field; small makes cover all or nothing."""


@dataclass(frozen=True)
class AerosolPhysics:
    """The constants of the world of `aerosol_tracer`.

    Args:
        mean_wind: eastward and northward, m s-1.
        eddy_speed: root mean square of the evolving part of the wind, m s-1.
        eddy_hours: memory of the largest eddies, hours.
        diffusivity: K, m2 s-1.
        lifetime: against dry deposition, hours; infinite for none.
        rain_lifetime: under thick cloud, hours; infinite for no rain-out.
        urban: emission of the cities, mean over space and time, AOD per day.
        fires: emission of fires and dust outbreaks, likewise.
        background: median of the constant, smooth background AOD.
        cloud_hours: memory of the largest clouds as they drift, hours.
        cloud_length: wavelength of the largest clouds, cells.
    """

    mean_wind: tuple[float, float] = (2.5, 0.5)
    eddy_speed: float = 4.0
    eddy_hours: float = 60.0
    diffusivity: float = 3.0e3
    lifetime: float = 96.0
    rain_lifetime: float = 48.0
    urban: float = 0.08
    fires: float = 0.03
    background: float = 0.08
    cloud_hours: float = 18.0
    cloud_length: float = 40.0


def cloud_cover(z: Floats, threshold: float) -> Floats:
    """Cover in 0..1 of the clouds' Gaussian field `z` of unit variance; most cells are clear or overcast."""
    return ndtr((z - threshold) / CLOUD_EDGE)


def rain(cover: Floats) -> Floats:
    """Share of the full rate of rain-out, 0..1, under a cover of 0..1."""
    return np.clip((cover - 0.8) / 0.2, 0.0, 1.0)


@dataclass(eq=False)
class World:
    """State and constants of one run on the periodic plane; `step` moves it on by an hour.

    Args:
        physics: constants.
        cell: spacing of rows and of columns, m.
        sources: of the tracer.
        background: constant part of the AOD, ``(H, W)``.
        flow: law of the stream function, m2 s-1.
        clouds: law of the clouds' field.
        threshold: its value at a cover of one half.
        streams: of randomness, apart for flow, clouds and fires.
        tracer, psi, z: the state: AOD of the tracer, spectrum of the stream function, the clouds' field.
    """

    physics: AerosolPhysics
    cell: tuple[float, float]
    sources: Sources
    background: Floats
    flow: RedNoise
    clouds: RedNoise
    threshold: float
    streams: dict[str, np.random.Generator]
    tracer: Floats
    psi: Spectrum
    z: Floats

    def step(self, hour: int) -> None:
        """On to `hour`, counted from the start of the run."""
        before, self.psi = self.psi, self.flow.step(self.psi, self.streams["flow"])
        v, u = velocity((before + self.psi) / 2, self.flow.shape, self.cell)
        east, north = self.physics.mean_wind
        origin = departures(v + north, u + east, self.cell, HOUR)

        drifted = advect(self.z, origin, tracer=False)
        # Interpolation damps the smallest clouds a little; left so, the cover would drift from what was asked.
        drifted *= self.z.std() / drifted.std()
        self.z = self.clouds.field(self.clouds.step(np.fft.rfft2(drifted), self.streams["clouds"]))

        c = diffuse(advect(self.tracer, origin), self.physics.diffusivity * HOUR, self.cell)
        wet = rain(cloud_cover(self.z, self.threshold))
        emitted = self.sources.emission(hour, self.streams["fires"])
        self.tracer = _react(c, 1 / self.physics.lifetime + wet / self.physics.rain_lifetime, emitted)


def _react(c: Floats, loss: Floats, emitted: Floats) -> Floats:
    """An hour of ``dc/dt = E - L c`` with constant E and L, exactly: ``c e^-L + E (1 - e^-L) / L``."""
    divisor = np.where(loss > 0, loss, 1.0)
    return c * np.exp(-loss) + emitted * np.where(loss > 0, -np.expm1(-loss) / divisor, 1.0)


def create(
    shape: tuple[int, int],
    lat: Floats,
    resolution: float,
    sun: Floats,
    seed: int,
    cloud_fraction: float,
    physics: AerosolPhysics,
) -> World:
    """The world before its first step, whose sources and sinks are in balance.

    Args:
        shape: ``(H, W)`` of the periodic plane.
        lat: latitudes of the domain, degrees.
        resolution: of both axes, degrees.
        sun: local solar time of the columns at hour 0, ``(W,)``, hours.
        seed: of geography and weather.
        cloud_fraction: expected cloud cover, 0 to 1.
        physics: constants.
    """
    metres = EARTH_RADIUS * np.deg2rad(resolution)
    cell = (metres, metres * float(np.cos(np.deg2rad(lat.mean()))))
    names = ("geography", "flow", "clouds", "fires")
    seeds = np.random.SeedSequence(seed).spawn(len(names))
    streams = {name: np.random.default_rng(s) for name, s in zip(names, seeds, strict=True)}
    side = max(shape)

    # A stream function's k^-5 is kinetic energy of k^-2 per wavenumber: the large ones lead.
    flow = red_noise(
        shape, slope=5.0, largest=side / 1.5, smallest=max(side / 16, 4), hours=physics.eddy_hours
    )
    scale = physics.eddy_speed / speed(flow.amplitude, shape, cell)
    flow = RedNoise(shape, flow.amplitude * scale, flow.memory)
    clouds = red_noise(shape, slope=3.4, largest=physics.cloud_length, hours=physics.cloud_hours)
    smooth = red_noise(shape, slope=4.0, largest=side / 2, smallest=side / 6)

    # E[Phi((z - z0) / s)] = Phi(-z0 / sqrt(1 + s^2)) for a standard normal z.
    threshold = -np.sqrt(1 + CLOUD_EDGE**2) * float(ndtri(cloud_fraction))
    geography = streams["geography"]
    sources = draw_sources(shape, geography, sun, physics.urban / 24, physics.fires / 24)
    levels = ndtri((np.arange(1000) + 0.5) / 1000)
    wet = float(rain(cloud_cover(levels, threshold)).mean())
    loss = 1 / physics.lifetime + wet / physics.rain_lifetime
    # Begun from what sources and sinks sustain on average, the spin-up has only plumes to form.
    sustained = (physics.urban + physics.fires) / 24 / loss if loss > 0 else 0.0
    return World(
        physics=physics,
        cell=cell,
        sources=sources,
        background=physics.background * np.exp(0.35 * smooth.field(smooth.start(geography))),
        flow=flow,
        clouds=clouds,
        threshold=threshold,
        streams=streams,
        tracer=np.full(shape, sustained),
        psi=flow.start(streams["flow"]),
        z=clouds.field(clouds.start(streams["clouds"])),
    )
