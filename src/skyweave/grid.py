"""Latitude-longitude grids: found by CF meaning, in any order and convention; areas, bounds, indices."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from skyweave.cells import (
    edges_between,
    edges_of_bounds,
    gaussian_edges,
    index_knots,
    picked_edges,
    unwrapped,
)
from skyweave.coordinates import REGRID_HINT, bounds_of, degrees_per, find_axis, in_degrees
from skyweave.errors import NotRectilinearError, SkyweaveError, note

__all__ = ["EARTH_RADIUS", "Grid", "great_circle"]

EARTH_RADIUS = 6.371e6
"""Radius of the sphere, m."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Grid:
    """A rectilinear latitude-longitude grid in its owner's order and longitude convention.

    Cell edges are those given. Otherwise they lie midway between centres; the outermost cells reach as far outwards
    as inwards, but not past a pole; rows of a whole Gaussian grid are as wide as their weights. An axis of one point
    takes the spacing of the other axis (one degree where both have one).

    Args:
        lat: degrees north, shape ``(H,)``, strictly monotonic either way.
        lon: degrees east, shape ``(W,)``, strictly monotonic either way once unwrapped, so ``[350, 0, 10]``
            is an ascending axis.
        lat_name: name of the latitude coordinate in its owner's files.
        lon_name: name of the longitude coordinate.
        lat_edges: cell edges in latitude where they are known, in the order of ``lat``, shape ``(H + 1,)``.
        lon_edges: cell edges in longitude, unwrapped, in the order of ``lon``, shape ``(W + 1,)``.

    Raises:
        SkyweaveError: axes that are not one-dimensional, finite, monotonic and on the globe, a longitude
            that comes twice, or edges that do not enclose their centres.
    """

    lat: Floats
    lon: Floats
    lat_name: str = "lat"
    lon_name: str = "lon"
    lat_edges: Floats | None = None
    lon_edges: Floats | None = None

    def __post_init__(self) -> None:
        for name, label in (("lat", self.lat_name), ("lon", self.lon_name)):
            values = np.array(getattr(self, name), dtype=np.float64)
            if values.ndim != 1 or values.size == 0:
                raise SkyweaveError(
                    f"{label}: expected a 1-D axis with at least one value, found shape {values.shape}."
                )
            if not np.isfinite(values).all():
                raise SkyweaveError(
                    f"{label}: {np.sum(~np.isfinite(values))} of {values.size} values are not finite."
                )
            values.flags.writeable = False
            object.__setattr__(self, name, values)
        if np.abs(self.lat).max() > 90 + 1e-3:
            raise SkyweaveError(
                f"{self.lat_name}: values from {self.lat.min():g} to {self.lat.max():g} are not degrees "
                "north; latitudes lie between -90 and 90."
            )
        object.__setattr__(self, "lat", np.clip(self.lat, -90.0, 90.0))
        steps = np.diff(self.lat)
        if not ((steps > 0).all() or (steps < 0).all()):
            raise SkyweaveError(f"{self.lat_name}: not strictly monotonic; sort it and drop duplicates.")
        if self.lon.size > 1 and 360 - self._eastward[-1] < 0.1 * self.resolution[1]:
            raise SkyweaveError(
                f"{self.lon_name}: the last longitude ({self.lon[-1]:g}) repeats the first "
                f"({self.lon[0]:g}); drop it, e.g. ds.isel({self.lon_name}=slice(None, -1))."
            )
        for name, centres in (("lat_edges", self.lat), ("lon_edges", self.lon_unwrapped)):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, _checked_edges(getattr(self, name), centres, name))

    # ---- shape and geometry

    @property
    def shape(self) -> tuple[int, int]:
        """``(H, W)``."""
        return self.lat.size, self.lon.size

    @property
    def size(self) -> int:
        """Number of cells."""
        return self.lat.size * self.lon.size

    @cached_property
    def resolution(self) -> tuple[float, float]:
        """Median spacing ``(|dlat|, |dlon|)``, degrees."""
        dlat, dlon = np.abs(np.diff(self.lat)), np.diff(self._eastward)
        one = np.ones(1)
        known = [next(d for d in steps if d.size) for steps in ((dlat, dlon, one), (dlon, dlat, one))]
        return float(np.median(known[0])), float(np.median(known[1]))

    @cached_property
    def _sign(self) -> int:
        return unwrapped(self.lon, self.lon_name)[0]

    @cached_property
    def _eastward(self) -> Floats:
        """Degrees travelled along the longitude axis, from zero upwards."""
        return unwrapped(self.lon, self.lon_name)[1]

    @cached_property
    def lon_unwrapped(self) -> Floats:
        """Longitudes without the jump at 0 or 180 degrees, starting at ``lon[0]``; shape ``(W,)``."""
        return self.lon[0] + self._sign * self._eastward

    @cached_property
    def periodic(self) -> bool:
        """Whether the longitudes close the circle: the gap from last to first is an ordinary step, or no gap."""
        if self.lon_edges is not None:
            return self.lon.size > 1 and bool(abs(np.ptp(self.lon_edges) - 360) < 1e-3 * self.resolution[1])
        gap = 360 - self._eastward[-1]
        return self.lon.size > 1 and gap < 1.5 * self.resolution[1]

    @cached_property
    def lat_bounds(self) -> Floats:
        """Cell edges in latitude, in the order of ``lat``, no farther than the poles; shape ``(H + 1,)``."""
        known = self._known_lat_edges
        return np.clip(edges_between(self.lat, self.resolution[0]) if known is None else known, -90.0, 90.0)

    @cached_property
    def _known_lat_edges(self) -> Floats | None:
        return gaussian_edges(self.lat) if self.lat_edges is None else self.lat_edges

    @cached_property
    def lon_bounds(self) -> Floats:
        """Unwrapped cell edges in longitude, in the order of ``lon``; shape ``(W + 1,)``."""
        if self.lon_edges is not None:
            return self.lon_edges
        edges = edges_between(self._eastward, self.resolution[1])
        if self.periodic:
            half_gap = (360 - self._eastward[-1]) / 2
            edges[0], edges[-1] = -half_gap, 360 - half_gap
        return self.lon[0] + self._sign * edges

    @cached_property
    def area(self) -> Floats:
        r"""Cell areas :math:`R^2 |\Delta\sin\phi|\,|\Delta\lambda|`, m2; shape ``(H, W)``."""
        band = np.abs(np.diff(np.sin(np.deg2rad(self.lat_bounds))))
        sector = np.abs(np.deg2rad(np.diff(self.lon_bounds)))
        return EARTH_RADIUS**2 * band[:, None] * sector[None, :]

    # ---- positions

    def index(
        self, lat: ArrayLike, lon: ArrayLike, *, clamp: bool = False, by_cell: bool = False
    ) -> tuple[Floats, Floats]:
        """Fractional array indices of positions in any longitude convention.

        Args:
            lat: degrees north, any shape.
            lon: degrees east, the same shape.
            clamp: move positions outside the domain to its nearest edge instead of giving NaN.
            by_cell: indices that round to the cell in which a position lies, also where its edges are not midway
                between centres; otherwise they are linear between centres.

        Returns:
            ``(i, j)``: ``i`` in ``[-0.5, H - 0.5]`` along ``lat`` as stored; ``j`` likewise along ``lon``,
            or, on a periodic grid, in ``[0, W)`` with ``W - 1 < j < W`` between the last and the first
            column. Both are NaN outside the outermost cell edges.
        """
        lat_, lon_ = np.broadcast_arrays(np.asarray(lat, np.float64), np.asarray(lon, np.float64))
        i = self._lat_index(lat_, clamp, by_cell)
        j = self._lon_index(lon_, clamp, by_cell)
        outside = np.isnan(i) | np.isnan(j)
        return np.where(outside, np.nan, i), np.where(outside, np.nan, j)

    def _lat_index(self, lat: Floats, clamp: bool, by_cell: bool) -> Floats:
        knots, places = index_knots(self.lat, self.lat_bounds, by_cell)
        if knots[0] > knots[-1]:
            knots, places = knots[::-1], places[::-1]
        tolerance = _tolerance(self.resolution[0])
        i = np.interp(lat, knots, places)
        outside = ~((lat >= knots[0] - tolerance) & (lat <= knots[-1] + tolerance))
        return np.where(np.isnan(lat) if clamp else outside, np.nan, i)

    def _lon_index(self, lon: Floats, clamp: bool, by_cell: bool) -> Floats:
        travelled = self._sign * (lon - self.lon[0])
        if self.periodic and by_cell and self.lon_edges is not None:
            edges = self._sign * (self.lon_bounds - self.lon[0])
            knots, places = index_knots(self._eastward, edges, True)
            j = np.interp(edges[0] + (travelled - edges[0]) % 360, knots, places)
            return np.where(np.isnan(lon), np.nan, j % self.lon.size)
        if self.periodic:
            knots = np.append(self._eastward, 360.0)
            j = np.interp(travelled % 360, knots, np.arange(knots.size, dtype=np.float64))
            return np.where(np.isnan(lon), np.nan, j % self.lon.size)
        edges = self._sign * (self.lon_bounds - self.lon[0])
        tolerance = _tolerance(self.resolution[1])
        start, width = edges[0], edges[-1] - edges[0]
        offset = (travelled - start) % 360
        offset = np.where(offset > 360 - tolerance, 0.0, offset)
        # A position outside is nearest to whichever edge the shorter way round reaches first.
        nearest = np.where(offset - width <= 360 - offset, width, 0.0)
        inside = offset <= width + tolerance
        knots, places = index_knots(self._eastward, edges, by_cell)
        j = np.interp(start + np.where(inside, offset, nearest), knots, places)
        return np.where(np.isnan(lon) if clamp else ~inside, np.nan, j)

    def contains(self, lat: ArrayLike, lon: ArrayLike) -> NDArray[np.bool_]:
        """Whether positions (degrees, any longitude convention) lie inside the outermost cell edges."""
        return ~np.isnan(self.index(lat, lon)[0])

    @staticmethod
    def distance(lat1: ArrayLike, lon1: ArrayLike, lat2: ArrayLike, lon2: ArrayLike) -> Floats:
        """Great-circle distance, km (see `great_circle`)."""
        return great_circle(lat1, lon1, lat2, lon2)

    def mesh(self) -> tuple[Floats, Floats]:
        """Latitude and longitude of every cell, degrees; two arrays of shape ``(H, W)``."""
        lat, lon = np.meshgrid(self.lat, self.lon, indexing="ij")
        return lat, lon

    # ---- selections and values

    def region(
        self, lat: tuple[float, float] | None = None, lon: tuple[float, float] | None = None
    ) -> tuple[Ints, Ints]:
        """Indices of the cells whose centres lie in a box, edges included.

        Args:
            lat: two latitudes, degrees, in either order; ``None`` for all.
            lon: western and eastern limit, degrees in any convention; the box runs eastwards from the first
                to the second, across 0 or 180 degrees where need be; ``None`` for all.

        Returns:
            ``(i, j)``: along ``lat`` as stored, and along ``lon`` as stored but starting where the box
            starts, so that a box across the seam of a global grid comes out in one piece.

        Raises:
            SkyweaveError: no cell centre lies in the box.
        """
        i, j = np.arange(self.lat.size), np.arange(self.lon.size)
        if lat is not None:
            low, high = min(lat) - _tolerance(self.resolution[0]), max(lat) + _tolerance(self.resolution[0])
            i = np.flatnonzero((self.lat >= low) & (self.lat <= high))
        if lon is not None and lon[1] - lon[0] < 360 - _tolerance(self.resolution[1]):
            tolerance = _tolerance(self.resolution[1])
            width = (lon[1] - lon[0]) % 360
            j = np.flatnonzero((self.lon - lon[0] + tolerance) % 360 <= width + 2 * tolerance)
            breaks = np.flatnonzero(np.diff(j) > 1)
            if breaks.size:
                j = np.roll(j, -(breaks[0] + 1))
        if i.size == 0 or j.size == 0:
            what = f"latitudes {tuple(lat)}" if i.size == 0 and lat is not None else f"longitudes {lon}"
            raise SkyweaveError(
                f"empty selection: no grid cell has its centre within {what}; the grid covers "
                f"{self.describe()}."
            )
        return i.astype(np.int64), j.astype(np.int64)

    def isel(self, i: Any, j: Any) -> Grid:
        """The grid of some rows and columns, each given as indices or a slice."""
        part = Grid(self.lat[i], self.lon[j], self.lat_name, self.lon_name)
        lat = picked_edges(self._known_lat_edges, i, part.lat)
        lon = picked_edges(self.lon_edges, j, part.lon_unwrapped, circle=True)
        return replace(part, lat_edges=lat, lon_edges=lon)

    def same_as(self, other: Grid) -> bool:
        """Whether both have the same cells in the same order, whatever the longitude convention.

        Centres are compared, and edges where both grids were given them.
        """
        if self.shape != other.shape:
            return False
        tolerance = max(1e-4, 1e-3 * min(self.resolution))
        around = (self.lon - other.lon + 180) % 360 - 180
        for own, others in ((self.lat_edges, other.lat_edges), (self.lon_edges, other.lon_edges)):
            if own is None or others is None:
                continue
            if np.abs((own - others + 180) % 360 - 180).max() > tolerance:
                return False
        return bool(np.abs(self.lat - other.lat).max() < tolerance and np.abs(around).max() < tolerance)

    def describe(self) -> str:
        """One line for messages: extent, size and spacing."""
        # Rounded, for files have longitudes such as -8.9e-13.
        ends = np.round([self.lat.min(), self.lat.max(), self.lon[0], self.lon[-1]], 6) + 0.0
        extent, (dy, dx) = "{:g} to {:g} N, {:g} to {:g} E".format(*ends), self.resolution
        return f"{extent}, {self.lat.size} x {self.lon.size} cells of {dy:.4g} x {dx:.4g} degrees"

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and strings, for JSON."""
        names = {"lat_name": self.lat_name, "lon_name": self.lon_name}
        edges = {"lat_edges": self.lat_edges, "lon_edges": self.lon_edges}
        given = {name: values.tolist() for name, values in edges.items() if values is not None}
        return {"lat": self.lat.tolist(), "lon": self.lon.tolist(), **names, **given}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Grid:
        """The grid that `to_dict` described."""
        return cls(**values)

    # ---- xarray

    @classmethod
    def from_dataset(cls, data: xr.Dataset | xr.DataArray) -> Grid:
        """The grid of an xarray object: by CF attributes (standard_name, units), then by name; radian is converted.

        Bounds in the object are the edges of the cells; where they are ill-formed, a note says so.

        Raises:
            NotRectilinearError: two-dimensional or rotated coordinates, or a list of points.
            SkyweaveError: no latitude or longitude, several candidates, or units that are no angle.
        """
        lat, lon = (find_axis(data, axis) for axis in ("latitude", "longitude"))
        if data[lat].dims == data[lon].dims:
            raise NotRectilinearError(
                f"{lat} and {lon} share the dimension {data[lat].dims[0]!r}: these are points, not a grid; "
                f"pass them as a table of stations, or, for a reduced or unstructured grid: {REGRID_HINT}."
            )
        grid = cls(*in_degrees(data, lat, lon), lat, lon)
        found = (_stated(data, lat, grid.lat, False), _stated(data, lon, grid.lon_unwrapped, True))
        return (
            grid if all(e is None for e in found) else replace(grid, lat_edges=found[0], lon_edges=found[1])
        )

    def dims_in(self, data: xr.Dataset | xr.DataArray) -> tuple[str, str]:
        """Names of the latitude and longitude dimensions of the object this grid was found in."""
        return str(data[self.lat_name].dims[0]), str(data[self.lon_name].dims[0])


def great_circle(lat1: ArrayLike, lon1: ArrayLike, lat2: ArrayLike, lon2: ArrayLike) -> Floats:
    r"""Great-circle distance on the sphere, km, by the haversine formula (accurate for near points).

    .. math:: d = 2R \arcsin\sqrt{\sin^2\tfrac{\Delta\phi}{2}
              + \cos\phi_1\cos\phi_2\sin^2\tfrac{\Delta\lambda}{2}}

    Args:
        lat1: degrees north, any shape.
        lon1: degrees east.
        lat2: degrees north; all four broadcast together.
        lon2: degrees east.
    """
    phi1, phi2 = np.deg2rad(np.asarray(lat1, np.float64)), np.deg2rad(np.asarray(lat2, np.float64))
    dlon = np.deg2rad(np.asarray(lon2, np.float64) - np.asarray(lon1, np.float64))
    h = np.sin((phi2 - phi1) / 2) ** 2 + np.cos(phi1) * np.cos(phi2) * np.sin(dlon / 2) ** 2
    return 2 * EARTH_RADIUS / 1000 * np.arcsin(np.sqrt(np.clip(h, 0.0, 1.0)))


def _tolerance(spacing: float) -> float:
    """Slack for coordinates that were stored in single precision, degrees."""
    return max(1e-6, 1e-4 * spacing)


def _stated(data: xr.Dataset | xr.DataArray, name: str, centres: Floats, circle: bool) -> Floats | None:
    """Edges from the bounds of a coordinate, or None where it has none, or none that can be used."""
    found = bounds_of(data, name)
    if found is None:
        return None
    scale = degrees_per(data[name].attrs.get("units")) or 1.0
    bounds = np.asarray(found[1].values, np.float64) * scale
    if not circle:
        bounds = np.where(np.abs(bounds) > 90 + 1e-3, bounds, np.clip(bounds, -90.0, 90.0))
    try:
        if not circle and np.abs(bounds).max() > 90:
            raise ValueError(f"they reach {np.abs(bounds).max():g} degrees")
        return edges_of_bounds(bounds, centres, circle)
    except ValueError as why:
        where = f"{data.encoding['source']}: " if data.encoding.get("source") else ""
        note(
            f"{where}{found[0]}, the bounds of {name}, are not used: {why}; edges are taken midway between centres"
        )
        return None


def _checked_edges(edges: ArrayLike, centres: Floats, name: str) -> Floats:
    values = np.array(edges, dtype=np.float64)
    if values.shape != (centres.size + 1,):
        raise SkyweaveError(f"{name}: {centres.size} cells have {centres.size + 1} edges, not {values.shape}")
    try:
        values = edges_of_bounds(np.stack([values[:-1], values[1:]], axis=1), centres, name == "lon_edges")
    except ValueError as why:
        raise SkyweaveError(f"{name}: {why}") from None
    values.flags.writeable = False
    return values
