"""Archives of hourly fields that `fetch` knows: what they hold, and how a day of them is opened."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from skyweave.errors import SkyweaveError
from skyweave.grid import Grid
from skyweave.io.decode import decoded, open_decoded
from skyweave.io.read import open_fields

__all__ = ["ARCHIVES", "Archive", "Opener", "source_opener"]

MERRA2_COLLECTION, MERRA2_VERSION = "M2T1NXAER", "5.12.4"
ERA5_STORE = "gs://gcp-public-data-arco-era5/ar/full_37-1h-0p25deg-chunk-1.zarr-v3"
LOGIN = (
    "MERRA-2: NASA Earthdata did not let us in; register at https://urs.earthdata.nasa.gov, authorise 'NASA GESDISC "
    "DATA ARCHIVE' there, and put the account into ~/.netrc or EARTHDATA_USERNAME and EARTHDATA_PASSWORD"
)

Opener = Callable[[pd.Timestamp], xr.Dataset]
"""Opens what holds a day, lazily; it may hold more variables, times and places than are wanted."""


@dataclass(frozen=True)
class Archive:
    """Where hourly fields come from.

    Args:
        title: what it is and where, for people.
        variables: fetched unless others are asked for.
        first: minutes after midnight of a day's first field.
        grid: the archive's own.
        opener: connects, and returns what opens a day; called when the first day is needed.
    """

    title: str
    variables: tuple[str, ...]
    first: int
    grid: Grid
    opener: Callable[[], Opener]


def _need(module: str, purpose: str) -> Any:
    try:
        return import_module(module)
    except ImportError as exc:
        raise SkyweaveError(
            f"{purpose} needs {module}, which is not installed: pip install 'skyweave[remote]' (or pip install "
            f"{module})"
        ) from exc


def source_opener(source: str, variables: tuple[str, ...]) -> Opener:
    """Opens days of a file, store or glob of the user's, or of one file per day if its name holds a date.

    Args:
        source: path or fsspec URL, such as ``aod_{date:%Y%m%d}.nc``.
        variables: to be opened.

    Raises:
        SkyweaveError: no such source or variable, or a name that cannot be filled with a date.
    """
    if "{" not in source:
        whole = open_fields(source, list(variables))
        return lambda date: whole
    try:
        source.format(date=pd.Timestamp("2000-01-01"))
    except (KeyError, IndexError, ValueError) as exc:
        raise SkyweaveError(f"source {source!r}: write the date of a file as {{date:%Y%m%d}}") from exc
    return lambda date: open_fields(source.format(date=date), list(variables))


def _merra2() -> Opener:
    earthaccess = _need("earthaccess", "fetching MERRA-2 from NASA")
    try:
        logged_in = bool(earthaccess.login().authenticated)
    except Exception as exc:  # its own exceptions differ between versions
        raise SkyweaveError(f"{LOGIN} ({type(exc).__name__}: {exc})") from exc
    if not logged_in:
        raise SkyweaveError(LOGIN)

    def day(date: pd.Timestamp) -> xr.Dataset:
        text = f"{date:%Y-%m-%d}"
        found = earthaccess.search_data(
            short_name=MERRA2_COLLECTION, version=MERRA2_VERSION, temporal=(text, text)
        )
        # The search is by overlap and may bring the neighbouring days too.
        granules = [g for g in found if any(f".{date:%Y%m%d}." in link for link in g.data_links())]
        if not granules:
            raise SkyweaveError(
                f"{ARCHIVES['merra2'].title}: no file of {text}; it starts on 1980-01-01 and ends some weeks ago"
            )
        return open_decoded(earthaccess.open(granules[:1])[0], "h5netcdf", f"MERRA-2 of {text}")

    return day


def _era5() -> Opener:
    _need("gcsfs", "fetching ERA5 from Google's public bucket")
    try:
        raw = xr.open_zarr(
            ERA5_STORE,
            chunks=None,
            storage_options={"token": "anon"},
            consolidated=True,
            mask_and_scale=False,
            decode_times=False,
            decode_timedelta=False,
        )
        store = decoded(raw, ERA5_STORE, "zarr")
    except Exception as exc:  # whatever a network and its libraries may throw
        raise SkyweaveError(
            f"{ERA5_STORE}: cannot be opened ({type(exc).__name__}: {exc}); it is public, so look at the network, or "
            "give another place as source (--source)"
        ) from exc
    return lambda date: store


ARCHIVES: dict[str, Archive] = {
    "merra2": Archive(
        f"MERRA-2 {MERRA2_COLLECTION} {MERRA2_VERSION} (NASA GES DISC)",
        ("TOTEXTTAU",),
        30,
        Grid(np.linspace(-90, 90, 361), np.linspace(-180, 179.375, 576)),
        _merra2,
    ),
    "era5": Archive(
        f"ARCO-ERA5 ({ERA5_STORE})",
        ("total_cloud_cover",),
        0,
        Grid(np.linspace(90, -90, 721), np.linspace(0, 359.75, 1440), "latitude", "longitude"),
        _era5,
    ),
}
"""Archives by the name that ``skyweave data`` takes."""
