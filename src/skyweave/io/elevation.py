"""Elevation on a grid: area means of a digital elevation model, whatever its resolution."""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import NDArray

from skyweave import regrid
from skyweave.errors import SkyweaveError
from skyweave.grid import Grid
from skyweave.io.read import open_fields
from skyweave.io.undeclared import clear_fill
from skyweave.units import conversion

__all__ = ["elevation_on"]


def elevation_on(grid: Grid, path: str | os.PathLike[str] | list[str], variable: str) -> NDArray[np.float32]:
    r"""Elevation of the cells of a grid, as means over their area.

    .. math:: \bar h_t = \frac{\sum_s |t \cap s|\, h_s}{\sum_s |t \cap s|}

    A model coarser than the grid is interpolated linearly instead. Missing values of the model, which many have over
    the sea, count as 0 m. Only the part around the grid is read.

    Args:
        grid: ``H x W`` cells.
        path: NetCDF or Zarr, one file or several that follow one another; GMTED2010 and other GeoTIFFs become NetCDF
            by ``gdal_translate -of netCDF``.
        variable: elevation, in m or another length.

    Returns:
        ``(H, W)``, m.

    Raises:
        SkyweaveError: an unreadable file, no such variable, units that are no length, or cells outside the model.
    """
    ds = open_fields(path, [variable])
    source = Grid.from_dataset(ds)
    margin = [2 * max(own, wanted) for own, wanted in zip(source.resolution, grid.resolution, strict=True)]
    lat, lon = grid.lat_bounds, grid.lon_bounds
    box = (float(lat.min() - margin[0]), float(lat.max() + margin[0]))
    across = None if np.ptp(lon) + 2 * margin[1] >= 359 else (lon.min() - margin[1], lon.max() + margin[1])
    try:
        i, j = source.region(lat=box, lon=across)
    except SkyweaveError as error:
        raise SkyweaveError(f"{path}: {error}") from error
    field = ds[variable].isel({source.lat_name: i, source.lon_name: j})
    values = np.asarray(field.values, np.float64).reshape(-1, len(i), len(j))
    if len(values) > 1:
        raise SkyweaveError(f"{path}: {variable!r} has {len(values)} maps; an elevation has one")
    fill = clear_fill(values[0])
    if fill is not None:
        raise SkyweaveError(
            f"{path}: {variable!r} holds {fill[0]:g} in {fill[1]:.2%} of its cells here, far from all others: a fill "
            "value that the file does not declare; declare it as missing_value in the file"
        )
    scale, offset = conversion(str(field.attrs.get("units", "")), "m", f"{path}: {variable!r}")
    # The sea has no elevation in many models.
    heights = np.nan_to_num(values[0] * scale + offset, nan=0.0).ravel()
    part = source.isel(i, j)
    centres = grid.mesh()
    outside = ~part.contains(*centres)
    if outside.any():
        raise SkyweaveError(
            f"{path}: {int(outside.sum())} of {grid.size} cells lie outside the elevation model ({source.describe()})"
        )
    if all(own <= 1.5 * wanted for own, wanted in zip(part.resolution, grid.resolution, strict=True)):
        weights = regrid.conservative(part, grid)
    else:
        weights = regrid.bilinear(part, *centres)
    return np.asarray(weights @ heights, np.float32).reshape(grid.shape)
