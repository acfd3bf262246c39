"""GRIB as an xarray dataset, by cfgrib: one variable for each quantity, with the valid time as its time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from skyweave.errors import NotRectilinearError, SkyweaveError
from skyweave.io.axes import find_time
from skyweave.io.grib_messages import Cube, Fields, cubes, join_grids, scan
from skyweave.native.ecmwf import library, told_of

__all__ = ["is_grib", "open_grib"]

GRIDS = ("regular_ll", "regular_gg")
SPECTRAL = ("sh",)
PURE_NUMBERS = ("Numeric", "numeric", "Dimensionless", "dimensionless", "Proportion", "~", "(0 - 1)")


def is_grib(head: bytes) -> bool:
    """Whether the first bytes of a file are those of GRIB 1 or 2, perhaps behind a bulletin's heading."""
    if head.startswith(b"GRIB"):
        return True
    at = head.find(b"GRIB")
    return at >= 0 and len(head) > at + 7 and head[at + 7] in (1, 2)


def open_grib(path: str, *, cells: bool = False) -> xr.Dataset:
    """Open a GRIB file lazily, editions 1 and 2, whatever hypercubes it has.

    Names, units and CF attributes are cfgrib's. The time is the valid time, one axis along runs and steps; only
    where several runs are for one time are the axes those of runs and steps, with a two-dimensional ``valid_time``.
    Pressure levels are in hPa; other levels that a variable has only one of are its attribute ``GRIB_level``.
    Variables of other times than the rest are missing at the times that they lack. Nothing is written beside the
    file.

    Args:
        path: a local file.
        cells: any kind of grid with positions, not only regular ones: latitude and longitude then lie along
            the cells, or along y and x.

    Raises:
        SkyweaveError: the extra is not installed, the file is damaged, its grid is not one of latitudes and
            longitudes, or fields cannot be told apart.
    """
    if not Path(path).is_file():
        raise SkyweaveError(
            f"{path}: GRIB is read from local files; download it, or give simplecache::{path}"
        )
    library("cfgrib.messages", "grib", path)
    headers = scan(path)
    join_grids(path, headers)
    found = cubes(path, headers)
    _check_grids(path, headers, found, cells)
    with told_of(path):
        parts = [_variable(path, cube) for cube in found]
        ds = _joined(parts)
    if not cells:
        ds = _placed(path, ds, next(iter(headers)))
        _check_time(path, ds)
    repeated = sum(cube.repeated for cube in found)
    if repeated:
        ds.attrs["notes"] = f"{repeated} messages that repeat another were left out"
    ds.encoding["source"] = path
    return ds


def _check_grids(path: str, headers: dict[Any, dict[str, Any]], found: list[Cube], cells: bool) -> None:
    """Refuse what is not one grid of latitudes and longitudes, naming what would work."""
    grids: dict[tuple[str, str], list[str]] = {}
    for cube in found:
        for h in cube.headers.values():
            names = grids.setdefault((h["gridType"], h["md5GridSection"]), [])
            names += [] if cube.name in names else [cube.name]
    for kind, _ in grids:
        if kind in SPECTRAL:
            raise SkyweaveError(
                f"{path}: its grid is {kind!r}, spectral coefficients, which have no places; transform them with "
                "`cdo -f nc4 sp2gpl IN OUT.nc`"
            )
        if kind not in GRIDS and not cells:
            raise NotRectilinearError(
                f"{path}: its grid is {kind!r}, not latitudes and longitudes. Give it as reports, one for each cell, "
                f"with `--points {path}=ERROR` (skyweave.io.cells.cells_as_points), or interpolate it with "
                "`cdo -f nc4 remapcon,GRID IN OUT.nc`"
            )
    if len(grids) > 1:
        told = "; ".join(f"{kind}: {', '.join(names[:6])}" for (kind, _), names in grids.items())
        raise SkyweaveError(
            f"{path}: holds fields on {len(grids)} grids ({told}); split it with "
            "`grib_copy IN OUT_[gridType]_[Ni].grib`, or by name with `grib_copy -w shortName=t IN OUT`"
        )


def _variable(path: str, cube: Cube) -> xr.Dataset:
    """One variable with its coordinates; size-one dimensions of time and pressure stay."""
    keys = ("gridType", "md5GridSection", "numberOfPoints", "typeOfLevel", "stepType", "number", "level", "endStep",
            "stepUnits", "dataDate", "dataTime", "validityDate", "validityTime")  # fmt: skip
    one = {"paramId": cube.one("paramId")}
    brief = {p: one | {k: h[k] for k in keys if h[k] is not None} for p, h in cube.headers.items()}
    ds = xr.open_dataset(
        Fields(path, brief),  # type: ignore[arg-type]  # cfgrib takes a mapping of messages as well
        engine="cfgrib",
        backend_kwargs={"time_dims": cube.time_dims, "squeeze": False, "errors": "raise"},
        decode_timedelta=True,
        cache=False,
    )
    (name,) = ds.data_vars
    ds = ds.rename({name: cube.name}).drop_attrs(deep=False)
    own: dict[str, Any] = {}
    level = str(cube.one("typeOfLevel"))
    for dim in ("number", level):
        if ds.sizes.get(dim) == 1 and dim != "isobaricInhPa":
            if dim == level:
                own["GRIB_level"] = float(ds[dim].values[0])
            ds = ds.isel({dim: 0}, drop=True)
    runs = sorted({(h["dataDate"], h["dataTime"]) for h in cube.headers.values()})
    if len(runs) == 1:
        own["forecast_reference_time"] = "{:08d}T{:04d}".format(*runs[0])
    attrs = ds[cube.name].attrs
    # What cfgrib cannot name in CF is told by its absence, not by the word unknown.
    attrs = {k: v for k, v in attrs.items() if not (isinstance(v, str) and v in ("unknown", "undef"))}
    attrs.pop("GRIB_pl", None)
    if attrs.get("units") in PURE_NUMBERS:
        attrs["units"] = "1"
    ds[cube.name].attrs = attrs | own
    return ds


def _joined(parts: list[xr.Dataset]) -> xr.Dataset:
    """All variables in one dataset: one axis of times, other axes with names of their own where they differ."""
    times = [p for p in parts if "valid_time" in p.dims]
    if any(not p["valid_time"].equals(times[0]["valid_time"]) for p in times):
        every = np.unique(np.concatenate([p["valid_time"].values for p in times]))
        attrs = times[0]["valid_time"].attrs
        parts = [_at_times(p, every, attrs) if "valid_time" in p.dims else p for p in parts]
    kept: dict[str, list[xr.DataArray]] = {}
    out = xr.Dataset()
    for part in parts:
        names = {}
        for dim in part.dims:
            if dim not in part.coords:
                continue
            axes = kept.setdefault(str(dim), [])
            own = next((k for k, axis in enumerate(axes) if axis.equals(part[dim])), len(axes))
            if own == len(axes):
                axes.append(part[dim])
            if own:
                names[dim] = f"{dim}_{own + 1}"
        out = out.merge(part.rename(names), compat="override", join="exact", combine_attrs="override")
    return out


def _at_times(part: xr.Dataset, every: np.ndarray, attrs: dict[str, Any]) -> xr.Dataset:
    # Lazily: without chunks the whole variable would be read to be put on the other axis.
    part = part.chunk({d: 1 for d in part.dims if d in ("valid_time", "number")}).reindex(valid_time=every)
    part["valid_time"].attrs = dict(attrs)
    return part


def _check_time(path: str, ds: xr.Dataset) -> None:
    name = find_time(ds)
    if name is not None and ds[name].attrs.get("standard_name") == "forecast_reference_time":
        runs = ", ".join(f"{t!s:.16}" for t in np.atleast_1d(ds[name].values)[:6])
        raise SkyweaveError(
            f"{path}: has forecasts of several runs ({runs}) for the same times; take one run with "
            "`grib_copy -w dataDate=YYYYMMDD,dataTime=HHMM IN OUT`"
        )


def _placed(path: str, ds: xr.Dataset, first: Any) -> xr.Dataset:
    """Latitude and longitude as the message itself places its values, whatever its order of scanning."""
    with told_of(path):
        message = Fields(path, {first: {}})[first]
        shape = ds.sizes["latitude"], ds.sizes["longitude"]
        lat, lon = (np.asarray(message[k], float).reshape(shape) for k in ("latitudes", "longitudes"))
        other = bool(message.get("alternativeRowScanning", 0)) or bool(
            message.get("jPointsAreConsecutive", 0)
        )
    mesh = np.ptp(lat, axis=1).max() < 1e-6 and np.ptp(lon, axis=0).max() < 1e-6
    if other or not mesh:
        raise SkyweaveError(
            f"{path}: its values are not scanned row by row in one direction (alternativeRowScanning or "
            "jPointsAreConsecutive); bring them into that order with `cdo -f nc4 copy IN OUT.nc`"
        )
    for name, values in (("latitude", lat[:, 0]), ("longitude", lon[0])):
        if np.abs(ds[name].values - values).max() > 1e-6:
            ds = ds.assign_coords({name: (name, values, ds[name].attrs)})
    return ds
