"""Where the aerosol comes from: clusters of cities, and fires or dust sources that break out and die down."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Sources", "draw_sources"]

Floats = NDArray[np.floating]

# On average a place burns one hour in eleven, for a day and a half at a time.
OUTBREAK, BURNOUT = 1 / 360, 1 / 36
BURNING = OUTBREAK / (OUTBREAK + BURNOUT)
STRENGTH_SPREAD = 0.5  # standard deviation of the logarithm of a fire's strength


@dataclass(eq=False)
class Sources:
    """Emission by hour; fires have a state, so hours are asked for in order.

    Args:
        cities: mean emission, ``(H, W)``, AOD per hour.
        places: emission of each fire of strength one, ``(n, H, W)``, AOD per hour.
        sun: local solar time of the columns at hour 0, ``(W,)``, hours.
        strength: of the fires now burning, ``(n,)``; zero where none burns.
    """

    cities: Floats
    places: Floats
    sun: Floats
    strength: Floats

    def emission(self, hour: int, rng: np.random.Generator) -> Floats:
        r"""Emission in the hour that ends at `hour`, ``(H, W)``, AOD per hour.

        :math:`(1 + \tfrac12 \cos\theta)\,e_{city} + (1 + \tfrac{7}{10}\cos\theta) \sum_i s_i\,e_i`, with
        :math:`\theta = 2 \pi (h - 14) / 24` and `h` the local solar time; each fire `i` breaks out with
        probability 1/360 and dies with 1/36 per hour, and takes a new log-normal strength of mean one each
        time.

        Args:
            hour: counted from the start of the run, negative during the spin-up.
            rng: source of randomness; takes three numbers a place.
        """
        chance, normal = rng.random((2, len(self.strength))), rng.standard_normal(len(self.strength))
        burning = self.strength > 0
        fresh = np.exp(STRENGTH_SPREAD * normal - STRENGTH_SPREAD**2 / 2)
        lit = np.where(chance[0] < OUTBREAK, fresh, 0.0)
        self.strength = np.where(burning, np.where(chance[1] < BURNOUT, 0.0, self.strength), lit)
        day = np.cos(2 * np.pi * (self.sun + hour - 14) / 24)
        fires = np.tensordot(self.strength, self.places, axes=1)
        return (1 + 0.5 * day) * self.cities + (1 + 0.7 * day) * fires


def draw_sources(
    shape: tuple[int, int], rng: np.random.Generator, sun: Floats, cities: float, fires: float
) -> Sources:
    """A geography: clusters of cities of very different size, and places that may burn, over the whole plane.

    Args:
        shape: ``(H, W)`` of the periodic plane.
        rng: source of randomness.
        sun: local solar time of the columns at hour 0, hours.
        cities, fires: emission to be expected on average over the plane and the day, AOD per hour.
    """
    area = shape[0] * shape[1]
    clusters = rng.uniform(0, 1, (max(2, area // 600), 2)) * shape
    near = np.repeat(clusters, 5, axis=0) + rng.normal(0, 3.0, (5 * len(clusters), 2))
    size = np.exp(rng.normal(0, 0.7, len(near)))
    reach = rng.uniform(1.0, 3.0, len(near))
    town = sum(s * _blob(shape, at, w) for s, at, w in zip(size, near, reach, strict=True)) + np.zeros(shape)
    spots = rng.uniform(0, 1, (max(3, area // 250), 2)) * shape
    width = rng.uniform(1.2, 3.0, len(spots))
    places = np.stack([_blob(shape, at, w) for at, w in zip(spots, width, strict=True)])
    strength = np.where(rng.random(len(spots)) < BURNING, 1.0, 0.0)
    return Sources(
        cities=town * (cities * area / town.sum()),
        places=places * (fires * area / (BURNING * len(spots))),
        sun=np.asarray(sun, float),
        strength=strength,
    )


def _blob(shape: tuple[int, int], at: Floats, width: float) -> Floats:
    """A Gaussian of this width (cells) that wraps round the plane and sums to one."""
    parts = []
    for n, centre in zip(shape, at, strict=True):
        away = (np.arange(n) - centre + n / 2) % n - n / 2
        parts.append(np.exp(-((away / width) ** 2) / 2))
    out = np.outer(*parts)
    return out / out.sum()
