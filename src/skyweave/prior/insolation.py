"""Sunlight at the top of the atmosphere, from date, hour and place."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["insolation"]


def insolation(hours: ArrayLike, days: ArrayLike, lat: ArrayLike, lon: ArrayLike) -> NDArray[np.float64]:
    r"""Downward sunlight at the top of the atmosphere over the solar constant, from 0 to about 1.03.

    .. math:: (\bar r / r)^2 \max\left(0,\; \sin\phi\sin\delta + \cos\phi\cos\delta\cos h\right), \qquad
              h = 2\pi\left(\tfrac{t}{24} + \tfrac{\lambda}{360} - \tfrac12\right)

    with Spencer's series for the declination and the distance; the equation of time, at most a quarter of an hour,
    is left out.

    Args:
        hours: ``t``, UTC hour of the day.
        days: day of the year, 0 on the first of January.
        lat: degrees north; all four broadcast together.
        lon: degrees east.

    Reference: Spencer (1971), Fourier series representation of the position of the sun, Search 2 (5), 172.
    """
    angle = 2 * np.pi * np.asarray(days, float) / 365.25
    c1, s1, c2, s2 = np.cos(angle), np.sin(angle), np.cos(2 * angle), np.sin(2 * angle)
    c3, s3 = np.cos(3 * angle), np.sin(3 * angle)
    declination = (
        0.006918
        - 0.399912 * c1
        + 0.070257 * s1
        - 0.006758 * c2
        + 0.000907 * s2
        - 0.002697 * c3
        + 0.00148 * s3
    )
    distance = 1.00011 + 0.034221 * c1 + 0.00128 * s1 + 0.000719 * c2 + 0.000077 * s2
    phi = np.deg2rad(np.asarray(lat, float))
    hour_angle = 2 * np.pi * (np.asarray(hours, float) / 24 + np.asarray(lon, float) / 360 - 0.5)
    height = np.sin(phi) * np.sin(declination) + np.cos(phi) * np.cos(declination) * np.cos(hour_angle)
    return distance * np.maximum(0.0, height)
