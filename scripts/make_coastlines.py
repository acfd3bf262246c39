"""Make the coastlines and the 1 degree land fraction that ship with skyweave.

    python scripts/make_coastlines.py

Both come from Natural Earth 1:110m countries (public domain), which the wheel of geopandas 0.14.4 carries. A
coast is an edge that belongs to one country only; an edge of two countries is a border and is left out. Lakes
inside countries count as land; the Caspian Sea does not.
"""

from __future__ import annotations

import itertools
import struct
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import xarray as xr
from wheels import unpack_wheel

REQUIREMENT = "geopandas==0.14.4"
SHAPES = "geopandas/datasets/naturalearth_lowres/naturalearth_lowres.shp"
DATA = Path(__file__).parents[1] / "src" / "skyweave" / "data"
LINES_PER_CELL = 20  # latitudes at which a cell's land is measured; along each the measure is exact

Ring = np.ndarray  # (n, 2) longitude, latitude; first point repeated at the end


def read_polygons(path: Path) -> list[list[Ring]]:
    """The rings of each record of a shapefile of polygons (shape type 5)."""
    data = path.read_bytes()
    records: list[list[Ring]] = []
    at = 100  # the file header
    while at < len(data):
        (words,) = struct.unpack(">i", data[at + 4 : at + 8])
        body = data[at + 8 : at + 8 + 2 * words]
        (kind,) = struct.unpack("<i", body[:4])
        if kind != 5:
            raise SystemExit(f"{path}: shape type {kind}, not polygon")
        n_parts, n_points = struct.unpack("<ii", body[36:44])
        starts = [*struct.unpack(f"<{n_parts}i", body[44 : 44 + 4 * n_parts]), n_points]
        points = np.frombuffer(body, "<f8", 2 * n_points, 44 + 4 * n_parts).reshape(-1, 2)
        records.append([points[a:b] for a, b in itertools.pairwise(starts)])
        at += 8 + 2 * words
    return records


def coast_lines(countries: list[list[Ring]]) -> np.ndarray:
    """Polylines (longitude, latitude), separated by rows of NaN, float32."""
    rings = [np.round(ring, 4) for country in countries for ring in country]

    def edges(ring: Ring) -> list[tuple]:
        points = [tuple(point) for point in ring.tolist()]
        return [tuple(sorted(pair)) for pair in itertools.pairwise(points)]

    count = Counter(edge for ring in rings for edge in edges(ring))
    lines: list[list] = []
    for ring in rings:
        line: list = []
        for k, (edge, (a, b)) in enumerate(zip(edges(ring), itertools.pairwise(ring), strict=True)):
            # polygons are closed along the date line and the south pole, where there is no coast
            artificial = (abs(a[0]) > 179.9 and abs(b[0]) > 179.9) or (a[1] < -89.9 or b[1] < -89.9)
            if count[edge] > 1 or artificial or k == 0:
                if len(line) > 1:
                    lines.append(line)
                line = [a]
            if count[edge] == 1 and not artificial:
                line.append(b)
            else:
                line = [b]
        if len(line) > 1:
            lines.append(line)
    gap = np.full((1, 2), np.nan)
    return np.concatenate([part for line in lines for part in (np.array(line), gap)]).astype(np.float32)


def land_fraction(countries: list[list[Ring]], lat: np.ndarray, lon: np.ndarray) -> np.ndarray:
    """Share of land in each cell of a regular global grid, by even-odd crossings along lines of latitude."""
    half = abs(lat[1] - lat[0]) / 2
    west = lon[0] - abs(lon[1] - lon[0]) / 2  # the left edge of the first cell
    step = abs(lon[1] - lon[0])
    n = lon.size
    out = np.zeros((lat.size, n))
    boxes = [(min(r[:, 1].min() for r in c), max(r[:, 1].max() for r in c)) for c in countries]
    for i, centre in enumerate(lat):
        south, north = max(centre - half, -90.0), min(centre + half, 90.0)
        lines = south + (np.arange(LINES_PER_CELL) + 0.5) / LINES_PER_CELL * (north - south)
        for y in lines:
            covered = np.zeros(n)
            for country, (low, high) in zip(countries, boxes, strict=True):
                if not low <= y <= high:
                    continue
                crossings = np.sort(np.concatenate([_crossings(ring, y) for ring in country]))
                for a, b in zip(crossings[::2], crossings[1::2], strict=True):
                    covered += _overlap((a - west) / step, (b - west) / step, n)
            out[i] += np.clip(covered, 0, 1)
    return out / LINES_PER_CELL


def _crossings(ring: Ring, y: float) -> np.ndarray:
    (x0, y0), (x1, y1) = ring[:-1].T, ring[1:].T
    hit = (y0 <= y) != (y1 <= y)
    return x0[hit] + (y - y0[hit]) / (y1[hit] - y0[hit]) * (x1[hit] - x0[hit])


def _overlap(a: float, b: float, n: int) -> np.ndarray:
    """Length of ``[a, b]`` inside each of ``n`` unit cells of a circle of length ``n``."""
    edges = np.arange(-n, 2 * n + 1)
    inside = np.diff(np.clip(edges, a, b))
    return inside.reshape(3, n).sum(0)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        countries = read_polygons(unpack_wheel(REQUIREMENT, Path(folder)) / SHAPES)
    DATA.mkdir(parents=True, exist_ok=True)
    lines = coast_lines(countries)
    np.savez_compressed(DATA / "coastlines.npz", lonlat=lines)

    with xr.open_dataset(DATA / "era5_sample.nc") as sample:  # the same grid, bit for bit
        lat, lon = sample["latitude"].load(), sample["longitude"].load()
    fraction = land_fraction(countries, lat.values, lon.values)
    ds = xr.Dataset(
        {
            "land_sea_mask": (
                ("latitude", "longitude"),
                fraction.astype(np.float32),
                {"standard_name": "land_area_fraction", "long_name": "land fraction", "units": "1"},
            )
        },
        coords={"latitude": lat, "longitude": lon},
        attrs={
            "Conventions": "CF-1.11",
            "title": "Land fraction on a global 1 degree grid",
            "source": "Natural Earth 1:110m countries (public domain), by scripts/make_coastlines.py",
            "comment": "Lakes inside countries count as land.",
        },
    )
    packing = {"dtype": "uint8", "scale_factor": np.float32(0.005), "_FillValue": np.uint8(255)}
    ds.to_netcdf(
        DATA / "land_1deg.nc",
        engine="h5netcdf",
        encoding={"land_sea_mask": packing | {"zlib": True, "complevel": 9}},
    )
    weight = np.cos(np.deg2rad(lat.values))[:, None]
    share = float((fraction * weight).sum() / (np.broadcast_to(weight, fraction.shape)).sum())
    print(f"coastlines.npz: {np.isnan(lines[:, 0]).sum()} lines, {lines.shape[0]} points")
    print(f"land_1deg.nc: {100 * share:.1f} % of the globe is land")


if __name__ == "__main__":
    main()
