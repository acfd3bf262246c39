"""GOES-16/17/18 ABI level-2 aerosol optical depth: fixed grid, packed, flagged, as maps on a regular grid."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from skyweave.damage import reading
from skyweave.errors import SkyweaveError
from skyweave.grid import Grid
from skyweave.io.formats import expand, open_one
from skyweave.io.swath import PixelCells, grid_coordinates, no_pixel

__all__ = ["fixed_grid_position", "read_goes_aod"]

SPACING = 0.1
ROWS = 256
QUALITY = ("high", "medium", "low")
STANDARD_NAME = "atmosphere_optical_thickness_due_to_ambient_aerosol_particles"
NEEDED = ("AOD", "DQF", "x", "y", "goes_imager_projection")
PROJECTION = (
    "perspective_point_height",
    "semi_major_axis",
    "semi_minor_axis",
    "longitude_of_projection_origin",
)

PLAUSIBLE = {
    "perspective_point_height": (3.4e7, 3.8e7),
    "semi_major_axis": (6.3e6, 6.4e6),
    "semi_minor_axis": (6.3e6, 6.4e6),
    "longitude_of_projection_origin": (-360.0, 360.0),
}
"""Least and greatest of each: m, and degrees east."""


def read_goes_aod(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    grid: Grid | None = None,
    *,
    quality: int = 1,
    minimum_share: float = 0.2,
    region: Mapping[str, tuple[float, float]] | None = None,
) -> xr.Dataset:
    """Aerosol optical depth at 550 nm of GOES granules as area means on a regular grid.

    A cell's value is the mean of the pixels of sufficient quality whose centres lie in it. Retrievals below
    zero are kept as far as the file's valid range allows them (-0.05): clean air scatters around a small
    value, and cutting it at zero would bias the mean. Full disk, CONUS and mesoscale sectors of all GOES-R
    satellites may be mixed; granules are read one after another, so memory holds one granule and the result.

    Args:
        paths: granules ``OR_ABI-L2-AOD*.nc``: paths, globs or fsspec URLs.
        grid: of the result; without it, cells of 0.1 degrees over the region, or over the first granule.
        quality: greatest data quality flag (DQF) kept: 0 high, 1 medium too, 2 low too.
        minimum_share: of a cell's pixels that must have a value; cells with fewer are missing.
        region: ``{"lat": (south, north), "lon": (west, east)}`` in degrees, either or both.

    Returns:
        ``AOD`` (1) and ``AOD_count`` (pixels with a value in the cell) on time, lat, lon; one time per
        granule, the middle of its scan, in order.

    Raises:
        SkyweaveError: a file that is no such granule (what it has and what would read it), two granules of one
            time, a flag or share out of range, no pixel in the grid.

    Reference: GOES-R Product Definition and Users' Guide (PUG), Volume 5: Level 2+ Products, Sections 4.2.8 and
    5.1 (fixed grid, packing, flags); Algorithm Theoretical Basis Document for ABI AOD for the flags' meaning.
    """
    if quality not in (0, 1, 2):
        raise SkyweaveError(
            f"quality {quality!r}: give the greatest flag kept, 0 (high), 1 (medium) or 2 (low)"
        )
    if not 0 <= minimum_share <= 1:
        raise SkyweaveError(f"minimum_share {minimum_share}: give a share of the pixels of a cell, 0 to 1")
    if grid is not None and region is not None:
        grid = grid.isel(*grid.region(**dict(region)))
    seen: dict[tuple[Any, ...], PixelCells] = {}
    maps: dict[np.datetime64, tuple[np.ndarray, np.ndarray]] = {}
    sources: dict[np.datetime64, str] = {}
    platforms = []
    for path in expand(paths):
        with open_one(path) as granule:
            _check(granule, path)
            time = _time(granule, path)
            if time in maps:
                raise SkyweaveError(
                    f"{path}: its time {time!s:.19} is that of {sources[time]} too; give each scan once"
                )
            key = _key(granule)
            if key not in seen:
                lat, lon = _positions(granule, path)
                grid = grid or _default_grid(lat, lon, region)
                seen[key] = PixelCells.find(lat, lon, grid)
                if seen[key].inside.size == 0:
                    raise SkyweaveError(no_pixel(path, lat, lon, grid))
            with reading(path):
                values = _screened(granule, quality)
            mean, count = seen[key].mean(values, minimum_share)
            platforms.append(str(granule.attrs.get("platform_ID", "")))
        maps[time] = (mean.astype(np.float32), count.astype(np.int32))
        sources[time] = path
    assert grid is not None
    times = sorted(maps)
    dims = ("time", grid.lat_name, grid.lon_name)
    attrs = {
        "units": "1",
        "standard_name": STANDARD_NAME,
        "long_name": "aerosol optical depth at 550 nm",
        "cell_methods": "area: mean",
        "quality": f"DQF 0 to {quality}: {', '.join(QUALITY[: quality + 1])}",
        "minimum_share": float(minimum_share),
    }
    count_attrs = {"units": "1", "long_name": "pixels with a value in the cell"}
    out = xr.Dataset(
        {
            "AOD": (dims, np.stack([maps[t][0] for t in times]), attrs),
            "AOD_count": (dims, np.stack([maps[t][1] for t in times]), count_attrs),
        },
        {"time": ("time", np.array(times, "datetime64[ns]"), {"standard_name": "time"})}
        | grid_coordinates(grid),
        attrs={"platform": ", ".join(sorted(set(filter(None, platforms)))), "source": "ABI L2 AOD"},
    )
    out.encoding["source"] = sources[times[0]] + (f" ... ({len(times)} files)" if len(times) > 1 else "")
    return out


def fixed_grid_position(
    x: np.ndarray,
    y: np.ndarray,
    *,
    height: float = 35786023.0,
    semi_major: float = 6378137.0,
    semi_minor: float = 6356752.31414,
    longitude: float = -75.0,
) -> tuple[np.ndarray, np.ndarray]:
    r"""Latitude and longitude on the ellipsoid of scan angles of the ABI fixed grid (sweep about x).

    With :math:`H = h + r_{eq}`, the distance :math:`r_s` to the surface is the nearer root of
    :math:`a r^2 + b r + c = 0`,

    .. math:: a = \sin^2 x + \cos^2 x\,(\cos^2 y + \tfrac{r_{eq}^2}{r_{pol}^2} \sin^2 y), \quad
              b = -2 H \cos x \cos y, \quad c = H^2 - r_{eq}^2

    .. math:: (s_x, s_y, s_z) = r_s\,(\cos x \cos y,\; -\sin x,\; \cos x \sin y)

    .. math:: \phi = \arctan\frac{r_{eq}^2}{r_{pol}^2}\frac{s_z}{\sqrt{(H - s_x)^2 + s_y^2}}, \quad
              \lambda = \lambda_0 - \arctan\frac{s_y}{H - s_x}

    Args:
        x: east-west scan angle, rad; broadcasts with ``y``.
        y: north-south elevation angle, rad.
        height: of the satellite above the equator, m.
        semi_major: equatorial radius, m.
        semi_minor: polar radius, m.
        longitude: of the satellite, degrees east.

    Returns:
        Geodetic latitude and longitude (-180 to 180), degrees; NaN where the line of sight misses the Earth.

    Reference: GOES-R PUG, Volume 5, Section 5.1.2.8.1, "Navigating from N/S elevation angle (y) and E/W scanning
    angle (x) to geodetic latitude and longitude".
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    ratio = (semi_major / semi_minor) ** 2
    orbit = height + semi_major
    sin_x, cos_x, sin_y, cos_y = np.sin(x), np.cos(x), np.sin(y), np.cos(y)
    a = sin_x**2 + cos_x**2 * (cos_y**2 + ratio * sin_y**2)
    b = -2 * orbit * cos_x * cos_y
    c = orbit**2 - semi_major**2
    square = b**2 - 4 * a * c
    distance = (-b - np.sqrt(np.where(square >= 0, square, np.nan))) / (2 * a)
    s_x, s_y, s_z = distance * cos_x * cos_y, -distance * sin_x, distance * cos_x * sin_y
    lat = np.degrees(np.arctan(ratio * s_z / np.hypot(orbit - s_x, s_y)))
    lon = longitude - np.degrees(np.arctan2(s_y, orbit - s_x))
    return lat, (lon + 180) % 360 - 180


def _check(granule: xr.Dataset, path: str) -> None:
    missing = [name for name in NEEDED if name not in granule.variables]
    if missing:
        found = ", ".join(map(str, list(granule.variables)[:16])) or "nothing"
        flat = any(v.ndim == 2 and str(n).lower().startswith("lat") for n, v in granule.variables.items())
        hint = (
            "it has two-dimensional latitudes: open it with xarray and use grid_swath"
            if flat
            else "give ABI level-2 granules as NOAA distributes them, OR_ABI-L2-AODC-*.nc or OR_ABI-L2-AODF-*.nc"
        )
        raise SkyweaveError(
            f"{path}: is no GOES ABI L2 AOD granule: no {', '.join(missing)}; it has: {found}; {hint}"
        )
    if granule["AOD"].dims != ("y", "x") or granule["DQF"].dims != ("y", "x"):
        raise SkyweaveError(
            f"{path}: AOD {granule['AOD'].dims} and DQF {granule['DQF'].dims} should both lie on ('y', 'x')"
        )
    if any(granule[name].size == 0 or granule[name].dims != (name,) for name in ("x", "y")):
        raise SkyweaveError(f"{path}: x and y should be axes with scan angles; found {dict(granule.sizes)}")
    attrs = granule["goes_imager_projection"].attrs
    lacking = [name for name in PROJECTION if name not in attrs]
    if lacking:
        raise SkyweaveError(
            f"{path}: goes_imager_projection lacks {', '.join(lacking)}; it has: {', '.join(attrs) or 'nothing'}. "
            "Without them the pixels have no position; fetch the granule again"
        )
    _check_projection(attrs, path)
    if attrs.get("sweep_angle_axis", "x") != "x":
        raise SkyweaveError(
            f"{path}: sweep_angle_axis is {attrs['sweep_angle_axis']!r}, that of another satellite; GOES-R sweeps "
            "about 'x'. Work out its latitudes and longitudes and use grid_swath"
        )


def _check_projection(attrs: Mapping[str, Any], path: str) -> None:
    for name in PROJECTION:
        low, high = PLAUSIBLE[name]
        try:
            value = float(np.asarray(attrs[name]).item())
        except (ValueError, TypeError):
            value = np.nan
        if not low <= value <= high:
            raise SkyweaveError(
                f"{path}: {name} of goes_imager_projection is {attrs[name]!r:.60}; expected a number from {low:g} to "
                f"{high:g}. Fetch the granule again"
            )


def _key(granule: xr.Dataset) -> tuple[Any, ...]:
    """What decides where the pixels lie: granules of one sector share it."""
    attrs = granule["goes_imager_projection"].attrs
    axes = [(granule[n].size, float(granule[n][0]), float(granule[n][-1])) for n in ("x", "y")]
    return (*(_number(attrs[name]) for name in PROJECTION), *axes)


def _number(value: Any) -> float:
    return float(np.asarray(value).item())


def _positions(granule: xr.Dataset, path: str) -> tuple[np.ndarray, np.ndarray]:
    x, y = (granule[name].values.astype(np.float64) for name in ("x", "y"))
    if not (np.abs(x).max() < 0.2 and np.abs(y).max() < 0.2):
        raise SkyweaveError(
            f"{path}: x and y reach {np.abs(x).max():g} and {np.abs(y).max():g}; scan angles of the fixed grid are "
            "radians below 0.16. Were their scale_factor and add_offset lost?"
        )
    attrs = granule["goes_imager_projection"].attrs
    height, major, minor, longitude = (_number(attrs[name]) for name in PROJECTION)
    lat, lon = np.empty((y.size, x.size)), np.empty((y.size, x.size))
    for start in range(0, y.size, ROWS):
        rows = slice(start, start + ROWS)
        lat[rows], lon[rows] = fixed_grid_position(
            x[None, :],
            y[rows, None],
            height=height,
            semi_major=major,
            semi_minor=minor,
            longitude=longitude,
        )
    return lat, lon


def _time(granule: xr.Dataset, path: str) -> np.datetime64:
    if "t" in granule.variables and granule["t"].size == 1 and granule["t"].dtype.kind == "M":
        moment: np.datetime64 = granule["t"].values.astype("datetime64[ns]").ravel()[0]
        if not np.isnat(moment):
            return moment
    text = granule.attrs.get("time_coverage_start")
    try:
        return pd.to_datetime(str(text), utc=True).tz_convert(None).as_unit("ns").to_datetime64()
    except (ValueError, TypeError) as exc:
        raise SkyweaveError(
            f"{path}: has no time: neither a variable 't' with a date nor a readable attribute "
            f"time_coverage_start (found {text!r})"
        ) from exc


def _screened(granule: xr.Dataset, quality: int) -> np.ndarray:
    """AOD with NaN for flags above ``quality``; outside the file's valid range it is missing already."""
    values = granule["AOD"].values.astype(np.float32)
    return np.where(granule["DQF"].values <= quality, values, np.nan)


def _default_grid(lat: np.ndarray, lon: np.ndarray, region: Mapping[str, tuple[float, float]] | None) -> Grid:
    """Cells of `SPACING` degrees, edges on its multiples, over a region or over all pixels."""
    box = dict(region or {})
    seen = np.isfinite(lat)
    south, north = box.get("lat", (np.min(lat, where=seen, initial=90), np.max(lat, where=seen, initial=-90)))
    if "lon" in box:
        west, east = box["lon"]
    else:
        # Relative to the middle of the disk, so that one across the date line stays in one piece.
        middle = np.degrees(np.angle(np.exp(1j * np.radians(lon[seen])).mean()))
        away = (lon[seen] - middle + 180) % 360 - 180
        west, east = middle + away.min(), middle + away.max()
    east = east if east > west else east + 360
    axes: list[Any] = []
    for low, high in ((min(south, north), max(south, north)), (west, east)):
        first, last = np.floor(low / SPACING + 1e-6), np.ceil(high / SPACING - 1e-6)
        axes.append(np.round((np.arange(first, last) + 0.5) * SPACING, 6))
    return Grid(axes[0], axes[1])
