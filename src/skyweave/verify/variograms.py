"""Semivariograms of gridded fields by great-circle distance, day by day, and spherical models fitted to them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skyweave.errors import SkyweaveError
from skyweave.grid import EARTH_RADIUS, Grid, great_circle

__all__ = ["FieldVariogram", "Spherical", "field_variogram", "fit_spherical", "random_pairs"]

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class FieldVariogram:
    """Mean of the days' semivariograms.

    Args:
        distance: mean distance of the pairs of each bin, km, ``(bins,)``; bins without pairs are left out.
        gamma: semivariance, squared units of the field, ``(bins,)``.
        pairs: pairs of cells in each bin, ``(bins,)``.
        daily: semivariance of each day, ``(T, bins)``, NaN where a day has none.
    """

    distance: Floats
    gamma: Floats
    pairs: Indices
    daily: Floats


@dataclass(frozen=True)
class Spherical:
    r"""A spherical variogram.

    .. math:: \gamma(h) = n + (s - n)\left(\tfrac32 \tfrac{h}{a} - \tfrac12 (\tfrac{h}{a})^3\right), \quad
              0 < h < a; \qquad \gamma = s \text{ beyond}

    Args:
        nugget: `n`, squared units of the field.
        sill: `s`, likewise, nugget included.
        range: `a`, km.
        r2: share of the empirical curve's variance that it explains, bins weighted by their pairs.
    """

    nugget: float
    sill: float
    range: float
    r2: float = float("nan")

    def __call__(self, distance: ArrayLike) -> Floats:
        """Semivariance at distances in km."""
        h = np.minimum(np.asarray(distance, np.float64) / self.range, 1.0)
        return self.nugget * (h > 0) + (self.sill - self.nugget) * (1.5 * h - 0.5 * h**3)


def random_pairs(grid: Grid, count: int, reach: float, seed: int = 0) -> tuple[Indices, Indices, Floats]:
    """Pairs of different cells no more than `reach` km apart, each such pair equally likely, with repetition.

    Args:
        grid: of the cells.
        count: pairs wanted.
        reach: km.
        seed: of the draw.

    Returns:
        Flat indices of both cells and their distance, km, each ``(count,)``.

    Raises:
        SkyweaveError: no two cells that close.
    """
    H, W = grid.shape
    rng = np.random.default_rng(seed)
    degrees = np.rad2deg(reach * 1000 / EARTH_RADIUS)
    rows = min(H - 1, int(degrees / grid.resolution[0]) + 1)
    cosine = max(np.cos(np.deg2rad(np.abs(grid.lat).max())), 1e-3)
    columns = min(W // 2 if grid.periodic else W - 1, int(degrees / (grid.resolution[1] * cosine)) + 1)
    parts: list[tuple[Indices, Indices, Floats]] = []
    found = tried = 0
    while found < count:
        # A second cell anywhere in the box around the first, refused outside the domain: pairs near the border are as
        # likely as others.
        n = max(4 * (count - found), 1000)
        i, j = rng.integers(0, H, n), rng.integers(0, W, n)
        k, l = i + rng.integers(-rows, rows + 1, n), j + rng.integers(-columns, columns + 1, n)
        l = l % W if grid.periodic else l
        kept = (k >= 0) & (k < H) & (l >= 0) & (l < W) & ((i != k) | (j != l))
        i, j, k, l = (part[kept] for part in (i, j, k, l))
        away = great_circle(grid.lat[i], grid.lon[j], grid.lat[k], grid.lon[l])
        near = away <= reach
        parts.append(((i * W + j)[near], (k * W + l)[near], away[near]))
        found, tried = found + int(near.sum()), tried + n
        if tried > 200 * count and not found:
            raise SkyweaveError(f"no two cells of {grid.describe()} lie within {reach:g} km of each other")
    first, second, away = (np.concatenate(part)[:count] for part in zip(*parts, strict=True))
    return first, second, away


def field_variogram(
    fields: ArrayLike,
    grid: Grid,
    *,
    pairs: int = 30_000,
    reach: float = 600.0,
    bins: int = 30,
    seed: int = 0,
) -> FieldVariogram:
    r"""Semivariogram of each day from random pairs of cells, and its mean over days.

    .. math:: \gamma(h) = \tfrac12 \overline{(z(s) - z(s + h))^2}

    The paper takes it of log10 of AOD; the logarithm is the caller's. The same pairs serve all days, and records on one
    grid.

    Args:
        fields: ``(T, H, W)``, NaN where missing; those pairs are left out.
        grid: of the fields.
        pairs: number of random pairs.
        reach: greatest great-circle distance, km; the domain's extent where that is less.
        bins: of equal width.
        seed: of the pairs.

    Raises:
        SkyweaveError: fields that do not lie on the grid, or no pair with values.

    Reference: downscaling paper, section 2.5.3.
    """
    z = np.asarray(fields, np.float64)
    if z.ndim != 3 or z.shape[1:] != grid.shape:
        raise SkyweaveError(f"fields of shape {z.shape}; expected (T, {grid.shape[0]}, {grid.shape[1]})")
    first, second, away = random_pairs(grid, pairs, reach, seed)
    flat = z.reshape(len(z), -1)
    edges = np.linspace(0, min(reach, float(away.max()) * (1 + 1e-9)), bins + 1)
    bin_ = np.clip(np.searchsorted(edges, away, side="right") - 1, 0, bins - 1)
    daily = np.full((len(z), bins), np.nan)
    for day, field in enumerate(flat):
        half = 0.5 * (field[first] - field[second]) ** 2
        known = np.isfinite(half)
        number = np.bincount(bin_[known], minlength=bins)
        total = np.bincount(bin_[known], half[known], bins)
        daily[day] = np.divide(total, number, out=np.full(bins, np.nan), where=number > 0)
    number = np.bincount(bin_, minlength=bins)
    seen = np.isfinite(daily).any(axis=0)
    if not seen.any():
        raise SkyweaveError("no pair of cells has values on any day")
    distance = np.bincount(bin_, away, bins)[seen] / number[seen]
    return FieldVariogram(distance, np.nanmean(daily[:, seen], axis=0), number[seen], daily[:, seen])


def fit_spherical(variogram: FieldVariogram) -> Spherical:
    """A spherical model by least squares weighted with the numbers of pairs, by `gstools`.

    A field that varies on ever larger scales has no range within the distances looked at; the fitted one is then at
    most four times the greatest of them, which says so.

    Args:
        variogram: empirical.

    Raises:
        SkyweaveError: fewer than four bins, or nothing varies.

    Reference: downscaling paper, section 2.5.3; Cressie (1993), section 2.3.
    """
    import gstools as gs

    h, gamma = variogram.distance, variogram.gamma
    if len(h) < 4 or not gamma.max() > 0:
        raise SkyweaveError(
            f"a spherical model needs four distances and fields that vary, found {len(h)} and a greatest semivariance "
            f"of {gamma.max():g}"
        )
    # In units of the greatest semivariance and distance: the optimiser's tolerances then suit any field.
    scale, far = float(gamma.max()), float(h.max())
    model = gs.Spherical(dim=2)
    model.set_arg_bounds(len_scale=[1e-3, 4.0], var=[0.0, 10.0], nugget=[0.0, 1.5])
    weights = np.sqrt(variogram.pairs / variogram.pairs.max())
    guess = {"len_scale": 0.4, "var": 0.8, "nugget": 0.05, "default": "current"}
    model.fit_variogram(h / far, gamma / scale, nugget=True, init_guess=guess, weights=weights, loss="linear")
    # What the optimiser leaves at its bound is rounding.
    nugget = float(model.nugget) * scale if model.nugget > 1e-6 else 0.0
    fitted = Spherical(nugget, nugget + float(model.var) * scale, float(model.len_scale) * far)
    w = variogram.pairs / variogram.pairs.sum()
    left, total = w @ (gamma - fitted(h)) ** 2, w @ (gamma - w @ gamma) ** 2
    return replace(fitted, r2=float(1 - left / total) if total > 0 else float("nan"))
