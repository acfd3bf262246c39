"""Fill values that a file does not declare: told from values where that is clear, masked where they are named."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import dask
import numpy as np
import xarray as xr

from skyweave.errors import SkyweaveError
from skyweave.io.missing import USUAL_FILLS

__all__ = ["clear_fill", "sample_maps", "with_known_fills", "without_fills"]

COPY = "`skyweave regrid FILE --like FILE --missing={fill} --out COPY` writes a copy in which it is missing"
"""How a fill is named for inputs that have no key of their own for it."""


def clear_fill(values: np.ndarray) -> tuple[float, float] | None:
    """The number that stands for missing values among others, and its share of them; ``None`` where none is clear.

    It is one of `USUAL_FILLS`, the least or the greatest of all, and farther from its neighbour than the others lie
    from each other: 9999 Pa in a field of pressures is none, nor is the ceiling of 9999 m of a visibility.

    Args:
        values: any shape; missing ones are left out.
    """
    known = np.asarray(values, float)
    known = known[np.isfinite(known)]
    if not known.size:
        return None
    for end in (float(known.min()), float(known.max())):
        fill = next((f for f in USUAL_FILLS if np.isclose(end, f, rtol=1e-6, atol=0)), None)
        if fill is None:
            continue
        same = np.isclose(known, fill, rtol=1e-6, atol=0)
        others = known[~same]
        if not others.size or np.abs(others - fill).min() > np.ptp(others):
            return fill, float(same.mean())
    return None


def sample_maps(field: xr.DataArray, plane: tuple[str, str], maps: int) -> list[xr.DataArray]:
    """Some maps of a field, evenly spread over its other dimensions, not yet read."""
    leading: list[Hashable] = [d for d in field.dims if d not in plane]
    shape = tuple(field.sizes[d] for d in leading)
    total = int(np.prod(shape))
    picks = sorted({round(p) for p in np.linspace(0, total - 1, min(maps, total))})
    return [
        field.isel(dict(zip(leading, map(int, np.unravel_index(p, shape)), strict=True)))
        if leading
        else field
        for p in picks
    ]


def without_fills(
    ds: xr.Dataset, missing: Sequence[float] | None, remedy: str, *, maps: int = 3
) -> xr.Dataset:
    """Fields in which the fills that the caller names are missing, or, where none is named, no fill is clear.

    Args:
        ds: from `skyweave.io.open_fields`; stays lazy.
        missing: numbers that mean a missing value; a NaN alone says that all others are values.
        remedy: where the caller names them, with ``{fill}`` for the number, for the message.
        maps: how many maps of each variable are looked at where `missing` is None.

    Raises:
        SkyweaveError: `missing` is None, and a variable holds what is clearly a fill that its file does not declare.
    """
    if missing is not None:
        fills = [float(fill) for fill in missing if np.isfinite(fill)]
        return ds.map(lambda field: _masked(field, fills), keep_attrs=True) if fills else ds
    fields = {n: v for n, v in ds.data_vars.items() if v.ndim >= 2 and v.dtype.kind in "fiu"}
    planes = {n: (str(v.dims[-2]), str(v.dims[-1])) for n, v in fields.items()}
    lazy = {n: [m.data for m in sample_maps(v, planes[n], maps)] for n, v in fields.items()}
    for name, samples in dask.compute(lazy)[0].items():
        found = clear_fill(np.stack(samples)) if samples else None
        if found is not None:
            fill, share = found
            raise SkyweaveError(
                f"{ds.encoding.get('source', 'dataset')}: {name!r} holds {fill:g} in {share:.2%} of the values "
                f"sampled, far from all others: a fill value that the file does not declare. Name it: "
                f"{remedy.format(fill=f'{fill:g}')}; or declare it as missing_value in the file"
            )
    return ds


def with_known_fills(ds: xr.Dataset) -> xr.Dataset:
    """Fields as they are, refused where they hold what is clearly a fill that their file does not declare.

    Args:
        ds: states, forecasts or a truth from `skyweave.io.open_fields`; stays lazy.

    Raises:
        SkyweaveError: with the command that names the fill.
    """
    return without_fills(ds, None, COPY)


def _masked(field: xr.DataArray, fills: list[float]) -> xr.DataArray:
    if field.dtype.kind not in "fiu":
        return field
    gone = xr.zeros_like(field, bool)
    for fill in fills:
        # A double that was stored in single precision.
        gone |= (field == fill) | (field == np.float32(fill))
    return field.where(~gone)
