"""The GEOS-5 nature run (G5NR): its files, and the layout of its data server."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr

from skyweave.errors import SkyweaveError
from skyweave.grid import Grid
from skyweave.io.axes import require_names
from skyweave.io.combine import combine
from skyweave.io.decode import open_decoded
from skyweave.io.formats import expand
from skyweave.io.read import open_fields
from skyweave.io.select import select_region, select_time

__all__ = ["AEROSOLS", "SERVER", "file_time", "open_g5nr"]

SERVER = "https://opendap.nccs.nasa.gov/dods/OSSE/G5NR/Ganymed/7km/0.0625_deg/inst/"
"""Collections of instantaneous fields on the OPeNDAP server, every 30 minutes at 0.0625 degrees."""
AEROSOLS = "inst30mn_2d_aer1_Nx"
"""The collection of aerosol columns, with DUEXTTAU, dust extinction at 550 nm."""

_NAME = re.compile(r"\.(\d{8})_(\d{4})z\.nc4?$")
_FILL = 1e14
"""The model writes 1e15 for missing values."""


def open_g5nr(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    variables: Sequence[str] | str,
    *,
    region: Mapping[str, tuple[float, float]] | None = None,
    time: Any = None,
) -> xr.Dataset:
    """Open fields of the nature run as one lazy dataset, as `skyweave.io.open_fields` does.

    Three layouts are known: files as they come, ``c1440_NR.<collection>.<YYYYMMDD>_<HHMM>z.nc4``, one time each, of
    which only those within the period are opened; files that were made from the server; and the server's own address,
    ``SERVER + AEROSOLS``, which needs the library netCDF4 or pydap. The server has names in lower case: variables are
    found in any case, and are called as they were asked for.

    Args:
        paths: files, globs, or one address of the server.
        variables: such as "DUEXTTAU".
        region: ``{"lat": (south, north), "lon": (west, east)}`` in degrees.
        time: ``(start, end)``, both included.

    Raises:
        SkyweaveError: files or variables that are not there, no time within the period, no library for the server.
    """
    asked = [variables] if isinstance(variables, str) else list(variables)
    given = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    if len(given) == 1 and _is_server(str(given[0])):
        ds = _open_server(str(given[0]), asked)
        if region is not None:
            ds = select_region(ds, region, str(given[0]))
        if time is not None:
            ds = select_time(ds, time, str(given[0]))
    else:
        files = [f for f in expand(given) if time is None or _may_lie_in(f, time)]
        if not files:
            raise SkyweaveError(f"{given[0]}: no file of the period {time[0]} to {time[-1]}")
        names = _names(list(open_fields(files[0]).data_vars), asked, files[0])
        ds = combine([_dated(open_fields(f, names, region=region), f) for f in files], files)
        if time is not None:
            ds = select_time(ds, time, f"{files[0]} ... ({len(files)} files)")
        ds = ds[names].rename(dict(zip(names, asked, strict=True)))
    out = ds[asked].map(lambda field: field.where(abs(field) < _FILL), keep_attrs=True)
    out.encoding["source"] = str(given[0])
    return out


def file_time(path: str | os.PathLike[str]) -> pd.Timestamp | None:
    """Time of a file of the nature run by its name, UTC; ``None`` where the name has another form."""
    found = _NAME.search(Path(path).name)
    return None if found is None else pd.to_datetime("".join(found.groups()), format="%Y%m%d%H%M")


def _is_server(path: str) -> bool:
    return path.startswith(("http://", "https://", "dap2://", "dap4://")) and "/dods/" in path


def _may_lie_in(path: str, time: Any) -> bool:
    """Whether a file can have times of a period, by its name; text such as "2006-03" means the whole month."""
    stamp = file_time(path)
    if stamp is None:
        return True
    first, last = (time, time) if isinstance(time, str) else (time[0], time[-1])
    one = pd.DatetimeIndex([stamp])
    return len(one[one.slice_indexer(first, last)]) > 0


def _names(there: list[Any], asked: Sequence[str], where: str) -> list[str]:
    """The variables' own names, found in any case."""
    by_lower = {str(name).lower(): str(name) for name in there}
    require_names([a.lower() for a in asked], list(by_lower), where)
    return [by_lower[a.lower()] for a in asked]


def _dated(ds: xr.Dataset, path: str) -> xr.Dataset:
    """With the time of the file's name where the file itself states none."""
    stamp = file_time(path)
    if stamp is None or "time" in ds.coords:
        return ds
    source = ds.encoding["source"]
    out = ds.assign_coords(time=[stamp.to_datetime64().astype("datetime64[ns]")])
    out.encoding["source"] = source
    return out


def _open_server(url: str, asked: Sequence[str]) -> xr.Dataset:
    engines = xr.backends.list_engines()
    engine = next((name for name in ("netcdf4", "pydap") if name in engines), None)
    if engine is None:
        raise SkyweaveError(
            f"{url}: reading from this server needs netCDF4 or pydap: pip install netCDF4; or download the region "
            "once, see docs/data.md"
        )
    try:
        ds = open_decoded(url, engine, url).chunk({"time": 48})
    except Exception as exc:  # whatever a network and its libraries may throw
        raise SkyweaveError(f"{url}: cannot be opened ({type(exc).__name__}: {exc})") from exc
    names = _names(list(ds.data_vars), asked, url)
    ds = ds[names].rename(dict(zip(names, asked, strict=True)))
    grid = Grid.from_dataset(ds)
    return ds.transpose("time", grid.lat_name, grid.lon_name, ...).assign_coords(
        time=ds["time"].values.astype("datetime64[ns]")
    )
