"""Reports at points from whatever file holds them: what it is, is told from what is in it, and its reader is called."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr

from skyweave.coordinates import check_not_geostationary
from skyweave.errors import SkyweaveError, UnknownNameError, clipped, did_you_mean
from skyweave.io.bounded import read_bounded, read_opening, unzip_bounded
from skyweave.io.flags import Quality
from skyweave.io.formats import HDF5, ZARR_MARKERS, expand, is_url, open_one
from skyweave.io.sampled import is_sampled, sampled_table
from skyweave.io.sheets import read_sheet
from skyweave.io.table_asked import named
from skyweave.io.tables import COLUMNS, read_stations

__all__ = ["kind_of", "read_reports", "reader_notes"]

AERONET_MARK = re.compile(rb"^(\xef\xbb\xbf)?\s*(<[^>]*>\s*)*AERONET Version|Date_?\(dd:mm:yyyy\)")
IGRA_MARK = re.compile(rb"#[A-Za-z0-9_-]{11} \d{4} \d\d \d\d ")
BUFR_WITHIN = 2000
"""Bytes before the first message that headings of a telecommunication system may take."""

REFUSED: tuple[tuple[bytes, str], ...] = (
    (b"PAR1", "a Parquet file; read it with pandas.read_parquet and give the DataFrame, or write CSV"),
    (b"ARROW1", "an Arrow file; read it with pandas.read_feather and give the DataFrame, or write CSV"),
    (b"\xd0\xcf\x11\xe0", "an old spreadsheet (.xls) or Word file; save it as .xlsx or CSV"),
    (b"\x0e\x03\x13\x01", "HDF 4; convert it to NetCDF 4 with `h4tonccf_nc4`"),
    (b"%PDF", "a PDF; give the table as CSV"),
    (b"BZh", "compressed by bzip2; decompress it with `bunzip2`"),
    (b"\xfd7zXZ", "compressed by xz; decompress it with `unxz`"),
    (b"<", "a web page or XML, not a table; perhaps a login page saved by a download that was refused"),
    (b"{", "JSON; read it with pandas.read_json and give the DataFrame, or write CSV"),
    (b"[{", "JSON; read it with pandas.read_json and give the DataFrame, or write CSV"),
)


def read_reports(
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    variables: Mapping[str, str] | Sequence[str] | str | None = None,
    columns: Mapping[str, str | Sequence[str]] | None = None,
    constants: Mapping[str, Any] | None = None,
    missing: Sequence[float | str] | None = None,
    time_format: str | None = None,
    time_zone: str | None = None,
    decimal: str | None = None,
    keep: Sequence[str] = (),
    quality: Quality | None = None,
) -> pd.DataFrame:
    """Reports of files of any kind that holds points, as the table of `read_stations`.

    Understood by content: text tables (CSV and its kin), .xlsx, AERONET version 3, BUFR, NetCDF, Zarr and HDF 5 of
    points, stations and trajectories, and grids with two-dimensional or unstructured coordinates, of which every cell
    is a report (GRIB too).

    Args:
        paths: a file, a URL, a glob, or several.
        variables: to keep, or ``{"t2m": "T2"}``: its name here, and in the file.
        columns, constants, missing, time_format, time_zone, decimal, keep: of text tables and spreadsheets, as for
            `read_stations`; other files say these things themselves.
        quality: which reports are kept by columns or variables of flags, as for `read_stations`; in NetCDF also by
            their meanings, ``{"t2m_qc": ["good"]}``.

    Returns:
        As `read_stations`; ``.attrs["notes"]`` says what was assumed and left out.

    Raises:
        SkyweaveError: a file that holds no reports, or another kind of data: the message names its reader.
    """
    table_only = dict(columns=columns, constants=constants, missing=missing, time_format=time_format,
                      time_zone=time_zone, decimal=decimal)  # fmt: skip
    given = [key for key, value in table_only.items() if value]
    parts: list[pd.DataFrame] = []
    notes: list[str] = []
    for path in expand(paths):
        kind = kind_of(path)
        if kind in ("text", "sheet"):
            table: pd.DataFrame | str = path if kind == "text" else _sheet(path)
            part = read_stations(table, variables=variables, keep=keep, quality=quality, **table_only)  # type: ignore[arg-type]
        else:
            if given:
                raise SkyweaveError(
                    f"{path}: {', '.join(given)} belong to text tables; this is {KINDS[kind]}, which says them itself"
                )
            part = _renamed(_other(kind, path, variables, quality), variables, path, keep)
        parts.append(part)
        notes += reader_notes(part)
    out = pd.concat(parts, ignore_index=True) if len(parts) > 1 else parts[0]
    out.attrs = {"notes": tuple(dict.fromkeys(notes))}
    return out


def reader_notes(table: pd.DataFrame) -> tuple[str, ...]:
    """What the reader of a table assumed or left out, as its attributes tell it."""
    notes = [str(note) for note in table.attrs.get("notes", ())]
    dropped = table.attrs.get("dropped", {})
    if isinstance(dropped, Mapping):
        notes += [f"left out by the reader: {n} {reason}" for reason, n in dropped.items() if n]
    return tuple(notes)


def kind_of(path: str) -> str:
    """What a file is, by its first bytes: a key of `KINDS`.

    Raises:
        SkyweaveError: none of them; the message says what it is and what reads it.
    """
    if not is_url(path) and os.path.isdir(path):
        if any((Path(path) / marker).exists() for marker in ZARR_MARKERS):
            return "samples"
        raise SkyweaveError(
            f"{path}: is a folder, not a table of reports; give a file, or a glob such as {path}/*.csv "
            "(a folder of IGRA soundings: --soundings, or soundings: in the YAML)"
        )
    head = read_opening(path)
    plain = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if head[:4] in (b"CDF\x01", b"CDF\x02", b"CDF\x05") or HDF5 in head[:4096]:
        return "samples"
    if b"BUFR" in head[:BUFR_WITHIN] and b"\0" in head:
        return "bufr"
    if head[:4] == b"GRIB":
        return "grib"
    if head[:4] == b"PK\x03\x04":
        return _zip_kind(path)
    if AERONET_MARK.search(head):
        return "aeronet"
    if IGRA_MARK.match(plain):
        raise SkyweaveError(
            f"{path}: is an IGRA sounding file, whose levels go to the prior's: give it as --soundings {path}, as "
            "`soundings:` in the YAML, or read it with read_igra and sounding_observations"
        )
    for magic, meaning in REFUSED:
        if plain.startswith(magic):
            raise SkyweaveError(f"{path}: is {meaning}")
    return "text"


def _zip_kind(path: str) -> str:
    raw = read_bounded(path)
    names: list[str] = []

    def gather(name: str) -> bool:
        names.append(name)
        return False

    try:
        unzip_bounded(raw, path, gather)
    except Exception as exc:
        raise SkyweaveError(f"{path}: is a damaged zip archive ({exc}); download it again") from exc
    if any(name.startswith("xl/") for name in names):
        return "sheet"
    if any(re.search(r"-data.*\.txt$", name) for name in names):
        raise SkyweaveError(
            f"{path}: holds IGRA soundings: give it as --soundings {path}, or `soundings:` in the YAML"
        )
    told = ", ".join(clipped(n, 40) for n in names[:4]) or "nothing"
    raise SkyweaveError(f"{path}: is a zip archive (of {told}); unpack it, or give zip://NAME::{path}")


def _sheet(path: str) -> pd.DataFrame:
    return read_sheet(read_bounded(path), path)


def _other(
    kind: str, path: str, variables: Mapping[str, str] | Sequence[str] | str | None, quality: Quality | None
) -> pd.DataFrame:
    """Reports of a file that is no table."""
    names = list((named(variables) or {}).values())
    if kind == "samples":
        return _samples(path, names, quality)
    if quality:
        raise SkyweaveError(
            f"{path}: quality belongs to columns and variables of flags; this is {KINDS[kind]}, whose reader screens "
            "by itself"
        )
    return _bufr(path, names) if kind == "bufr" else READERS[kind](path)


def _aeronet(path: str) -> pd.DataFrame:
    from skyweave.io.aeronet import read_aeronet

    return read_aeronet(path)


def _module(name: str, path: str, what: str) -> Any:
    try:
        return import_module(name)
    except ImportError as exc:
        raise SkyweaveError(f"{path}: is {what}, which this version cannot read as reports ({exc})") from None


def _bufr(path: str, names: Sequence[str]) -> pd.DataFrame:
    """Reports of BUFR: of the names wanted alone where all are known to it, to count no others as missing."""
    bufr = _module("skyweave.io.bufr", path, "BUFR")
    if names and set(names) <= set(bufr.VARIABLES):
        try:
            return bufr.read_bufr(path, names)  # type: ignore[no-any-return]
        except SkyweaveError:
            pass  # the message about all that the file holds says more
    return bufr.read_bufr(path)  # type: ignore[no-any-return]


def _cells(path: str) -> pd.DataFrame:
    what = "a grid with two-dimensional or no axes"
    return _module("skyweave.io.cells", path, what).cells_as_points(path)  # type: ignore[no-any-return]


def _samples(path: str, names: Sequence[str], quality: Quality | None) -> pd.DataFrame:
    """Reports of a file that xarray opens: samples, or cells where there are no axes; a regular grid is refused."""
    with open_one(path) as ds:
        if is_sampled(ds):
            return sampled_table(path, names or None, quality)
        check_not_geostationary(ds, path)
        regular = _regular_variable(ds)
    if regular is not None:
        raise SkyweaveError(
            f"{path}: is a grid of latitude and longitude, not a table of reports: give it as "
            f"--grid {path}:{regular}=ERROR, or as `grid:` in the YAML"
        )
    if quality:
        raise SkyweaveError(
            f"{path}: its cells are reports; screen them by quality as a source `swath:`, which takes quality too"
        )
    return _cells(path)


def _regular_variable(ds: xr.Dataset) -> str | None:
    """A variable along latitude and longitude of one dimension each; ``None`` where there is none."""
    axes = [
        {str(n) for n in ds.dims if n in ds.variables and (
            ds[n].attrs.get("standard_name") == full or str(n).lower() in (full, full[:3]))}
        for full in ("latitude", "longitude")
    ]  # fmt: skip
    for name, field in ds.data_vars.items():
        if all(any(d in field.dims for d in axis) for axis in axes):
            return str(name)
    return None


def _renamed(
    table: pd.DataFrame,
    variables: Mapping[str, str] | Sequence[str] | str | None,
    path: str,
    keep: Sequence[str],
) -> pd.DataFrame:
    """The wanted variables under the wanted names, in the columns of `read_stations`."""
    attrs = dict(table.attrs)
    if variables is not None:
        wanted = dict(variables) if isinstance(variables, Mapping) else {
            v: v for v in ([variables] if isinstance(variables, str) else variables)}  # fmt: skip
        known = sorted(map(str, table["variable"].dropna().unique()))
        for name in wanted.values():
            if name not in known:
                message = f"{path}: no observation of {name!r}{did_you_mean(name, known)}; it has: "
                raise UnknownNameError(message + ", ".join(known[:40]), name, known)
        parts = [table[table["variable"] == old].assign(variable=new) for new, old in wanted.items()]
        table = pd.concat(parts, ignore_index=True)
    lacking = [name for name in keep if name not in table]
    if lacking:
        raise SkyweaveError(f"{path}: no column {lacking[0]!r}; it has: {', '.join(map(str, table.columns))}")
    if "error" not in table:
        table = table.assign(error=float("nan"))
    further = dict.fromkeys(("station", "elevation", "units", "pressure", *keep))
    extra = [c for c in further if c in table and c not in COLUMNS]
    out = table[[*COLUMNS, *extra]].reset_index(drop=True)
    out.attrs = attrs
    return out


KINDS = {
    "text": "a text table",
    "sheet": "a spreadsheet",
    "aeronet": "an AERONET file",
    "bufr": "BUFR",
    "grib": "GRIB",
    "samples": "NetCDF, HDF 5 or Zarr",
}
"""What `kind_of` tells apart."""

READERS = {"aeronet": _aeronet, "grib": _cells}
