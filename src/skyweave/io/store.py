"""Zarr stores written region by region: a run that is killed loses the unit it was writing and nothing else.

While a run is under way its store lies in ``OUT.partial/store.zarr``, with one small JSON marker for each
finished unit beside it. Only `finish_store` puts it where it belongs, so whatever has the final name is
whole, and an older output stays until the new one is complete. `skyweave.io.regions.Regions` is the writer on top.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import warnings
from collections.abc import Hashable, Mapping
from itertools import product
from pathlib import Path
from typing import Any

import dask.array
import xarray as xr
import zarr

from skyweave.errors import SkyweaveError
from skyweave.io.disk import replacing, swap, sync_file, sync_files, sync_tree
from skyweave.io.encoding import encodings, prepared
from skyweave.io.made_with import told_apart
from skyweave.io.outputs import (
    NETCDF_ENDINGS,
    OUTPUTS,
    PICTURES,
    check_output,
    complete_run,
    partial_folder,
    whole_output,
)

__all__ = [
    "NETCDF_ENDINGS", "OUTPUTS", "PICTURES", "check_output", "consolidate", "create_store", "discard_partial",
    "done_units", "finish_store", "lay_down", "made_with_of", "mark_done", "marked", "move_into_place", "partial_store",
    "settings_of", "sweep", "unit_notes", "write_region",
]  # fmt: skip

OWN = ("store.zarr", "whole.nc", "units", "lock", "complete.json")
BUILDING = ("building-", ".complete.json.")
"""What a run puts into the folder of its unfinished output, and how the names of what is not whole begin."""

PIECE = re.compile(r".*\.[0-9a-f]{32}\.partial")
"""Names of files that zarr has not written whole."""


def partial_store(path: str | os.PathLike[str]) -> Path:
    """Where the store of an unfinished run to ``path`` lies (it may not exist)."""
    return partial_folder(path) / "store.zarr"


def create_store(
    template: xr.Dataset,
    path: str | os.PathLike[str],
    *,
    chunks: Mapping[Hashable, int] | None = None,
    overwrite: bool = False,
    message: str = "created",
) -> Path:
    """Lay down an empty Zarr 3 store: coordinates and metadata, variables all missing (zero for integers).

    Args:
        template: dataset of the full shape; the values of its data variables are never looked at, so dask
            arrays of any size will do.
        path: where the finished output shall be, ending in ``.zarr``.
        chunks: chunk sizes by dimension; give the sizes of the work units, so that units never share a chunk.
        overwrite: allow an existing output (it is replaced when finished) and drop an unfinished run.
        message: what is done, for the history.

    Returns:
        Path of the unfinished store.

    Raises:
        SkyweaveError: the output exists, its folder does not, or an unfinished run with finished units is
            there.
    """
    path = Path(path)
    check_output(path, overwrite)
    if path.suffix != ".zarr":
        raise SkyweaveError(
            f"{path}: a store that is written in regions must be Zarr; call it {path.stem}.zarr"
        )
    if _markers(path) and not overwrite:
        raise SkyweaveError(
            f"{path}: an unfinished run of {len(_markers(path))} units is in {partial_folder(path)}; resume it, "
            "or allow overwriting"
        )
    discard_partial(path)
    return lay_down(template, path, chunks, message)


def lay_down(template: xr.Dataset, path: Path, chunks: Mapping[Hashable, int] | None, message: str) -> Path:
    """The empty store of `create_store`, on disk with all its metadata."""
    ds = prepared(template, message)
    encoding = encodings(ds, "zarr", chunks)
    for name, var in [(n, v) for n, v in ds.data_vars.items() if v.ndim]:
        # One block, never computed: a task for each chunk of a long record would fill the memory.
        ds[name] = var.copy(data=dask.array.zeros(var.shape, dtype=var.dtype, chunks=-1))
    target = partial_store(path)
    building = partial_folder(path) / f"building-{os.getpid()}.zarr"
    try:
        building.parent.mkdir(parents=False, exist_ok=True)
        ds.to_zarr(building, mode="w", compute=False, encoding=encoding, zarr_format=3, consolidated=False)
        consolidate(building)
        sync_tree(building)
        building.rename(target)
        sync_files([target, target.parent])
    except OSError as exc:
        raise SkyweaveError(f"{path}: cannot be written ({exc})") from exc
    return target


def consolidate(store: Path | str) -> None:
    """Gather the metadata in one place: readers over http cannot list folders."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*[Cc]onsolidated metadata.*")
        zarr.consolidate_metadata(str(store))


def write_region(
    ds: xr.Dataset, path: str | os.PathLike[str], region: Mapping[str, slice], *, whole_chunks: bool = True
) -> None:
    """Write one region of an unfinished store to the disk; regions that share no chunk may be written at the same time.

    Args:
        ds: the values of the region; variables without any of its dimensions, and coordinates, are left
            alone.
        path: the final path given to `create_store`.
        region: a slice for each dimension that is cut, aligned with the store's chunks; the others are
            written whole.
        whole_chunks: refuse regions that cut chunks; a single writer may cut them, as each is replaced whole.

    Raises:
        SkyweaveError: no such store, a variable that it lacks, a shape or a region that does not fit its
            chunks.
    """
    store = partial_store(path)
    if not store.is_dir():
        raise SkyweaveError(f"{path}: no unfinished store at {store}; create_store comes first")
    group = zarr.open_group(str(store), mode="r")
    out = ds.drop_vars(list(ds.coords))
    out = out.drop_vars([n for n, v in out.data_vars.items() if not set(v.dims) & set(region)])
    if not out.data_vars:
        raise SkyweaveError(f"{path}: no variable has a dimension of the region {sorted(region)}")
    spans: dict[str, slice] = {d: s for d, s in region.items() if d in out.dims}
    known = {str(k): v for k, v in group.arrays()}
    touched: list[Path] = []
    for name, var in out.data_vars.items():
        if str(name) not in known:
            raise SkyweaveError(
                f"{path}: the store has no variable {name!r}; it has: {', '.join(sorted(known))}"
            )
        array = known[str(name)]
        dims = array.metadata.dimension_names or ()  # type: ignore[union-attr]
        if set(dims) != set(var.dims):
            raise SkyweaveError(f"{path}: variable {name!r} has dimensions {var.dims}, the store {dims}")
        places = []
        for dim, size, chunk in zip(dims, array.shape, array.chunks, strict=True):
            span = spans.get(str(dim))
            _check_span(f"{path}: {name!r} along {dim!r}", span, var.sizes[dim], size, chunk, whole_chunks)
            first, last = (0, size) if span is None else (span.start or 0, span.stop or size)
            places.append(range(first // chunk, -(-last // chunk)))
        touched += [store / str(name) / array.metadata.encode_chunk_key(place) for place in product(*places)]
        out[name] = var.transpose(*dims)
        out[name].encoding = {}
        out[name].attrs = {}
    for dim in out.dims:
        spans.setdefault(str(dim), slice(0, out.sizes[dim]))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*[Cc]onsolidated metadata.*")
        try:
            out.to_zarr(
                store, mode="r+", region=spans, consolidated=False, zarr_format=3, safe_chunks=whole_chunks
            )
            # Chunks of nothing but missing values are not written.
            sync_files(chunk for chunk in touched if chunk.exists())
        except OSError as exc:
            raise SkyweaveError(f"{path}: cannot be written ({exc})") from exc


def _check_span(where: str, span: slice | None, length: int, size: int, chunk: int, whole: bool) -> None:
    start, stop = (0, size) if span is None else (span.start or 0, size if span.stop is None else span.stop)
    if span is not None and span.step not in (None, 1):
        raise SkyweaveError(f"{where}: a region cannot have steps ({span})")
    if not 0 <= start < stop <= size or stop - start != length:
        raise SkyweaveError(f"{where}: the region {start}:{stop} does not fit {length} values into {size}")
    if whole and (start % chunk or (stop % chunk and stop != size)):
        raise SkyweaveError(
            f"{where}: the region {start}:{stop} cuts chunks of {chunk}; two writers could spoil each "
            "other's values"
        )


def mark_done(
    path: str | os.PathLike[str], unit: str, settings_hash: str, note: Mapping[str, Any] | None = None
) -> None:
    """Record that a unit is written, atomically, and durably enough to survive `kill -9` and power loss.

    Args:
        path: the final path given to `create_store`.
        unit: name of the unit.
        settings_hash: digest of every setting that the values depend on.
        note: what was found on the way, JSON values; see `unit_notes`.

    Raises:
        SkyweaveError: there is no unfinished store.
    """
    if not partial_store(path).is_dir():
        raise SkyweaveError(f"{path}: no unfinished store at {partial_store(path)}; create_store comes first")
    marker = _marker(path, unit)
    marker.parent.mkdir(exist_ok=True)
    _write_json(marker, {"unit": unit, "settings": settings_hash, "note": dict(note or {})})


def marked(path: str | os.PathLike[str], unit: str, settings_hash: str) -> dict[str, Any] | None:
    """The note that a finished unit left; ``None`` where it is not marked with these settings."""
    try:
        marker = json.loads(_marker(path, unit).read_text(encoding="utf-8"))
    except (ValueError, OSError):
        return None
    if not isinstance(marker, dict) or marker.get("settings") != settings_hash:
        return None
    return dict(marker.get("note") or {})


def _marker(path: str | os.PathLike[str], unit: str) -> Path:
    return partial_folder(path) / "units" / f"{hashlib.sha256(unit.encode()).hexdigest()[:24]}.json"


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    with replacing(path) as written:
        written.write_text(json.dumps(content), encoding="utf-8")


def done_units(
    path: str | os.PathLike[str], settings_hash: str, made_with: Mapping[str, Any] | None = None
) -> set[str]:
    """Names of the units that an unfinished run has written; empty if there is no such run.

    Args:
        path: the final path given to `create_store`.
        settings_hash: as `mark_done` was given.
        made_with: the settings themselves, to name those that differ from the attribute ``made_with`` of the store.

    Raises:
        SkyweaveError: the run was made with other settings.
    """
    if not partial_store(path).is_dir():
        return set()
    found = _markers(path)
    if any(marker["settings"] != settings_hash for marker in found):
        raise SkyweaveError(
            f"{path}: the unfinished run in {partial_folder(path)} was made with other settings or data"
            f"{told_apart(made_with_of(path), made_with)}; resume it with those, write to another path, or drop it "
            "(overwrite=True, --overwrite)"
        )
    return {str(marker["unit"]) for marker in found}


def settings_of(path: str | os.PathLike[str]) -> set[str]:
    """Digests of the settings that the finished units of an unfinished run were made with."""
    return {str(marker["settings"]) for marker in _markers(path)}


def unit_notes(path: str | os.PathLike[str]) -> dict[str, dict[str, Any]]:
    """The notes that finished units of an unfinished store left, by unit: those of earlier, interrupted calls too."""
    return {str(marker["unit"]): dict(marker.get("note") or {}) for marker in _markers(path)}


def made_with_of(path: str | os.PathLike[str]) -> Mapping[str, Any] | None:
    """What an unfinished store says it is made with."""
    try:
        found = json.loads(str(zarr.open_group(str(partial_store(path)), mode="r").attrs["made_with"]))
    except (KeyError, ValueError, OSError):
        return None
    return found if isinstance(found, dict) else None


def _markers(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Markers that can be read; the unit of one that is empty or damaged is made again."""
    found = []
    for file in sorted((partial_folder(path) / "units").glob("*.json")):
        try:
            marker = json.loads(file.read_text(encoding="utf-8"))
        except (ValueError, OSError):
            continue
        if isinstance(marker, dict) and {"unit", "settings"} <= marker.keys():
            found.append(marker)
    return found


def sweep(path: str | os.PathLike[str]) -> None:
    """Remove the halves of chunks that a killed writer left in an unfinished store; only for whoever holds its lock."""
    for base, _, names in os.walk(partial_store(path)):
        for name in names:
            if PIECE.fullmatch(name):
                os.unlink(os.path.join(base, name))


def discard_partial(path: str | os.PathLike[str]) -> None:
    """Drop an unfinished run to ``path``, if there is one; a lock stays with whoever holds it."""
    folder = partial_folder(path)
    if not folder.is_dir():
        return
    entries = sorted(folder.iterdir())
    strange = [p.name for p in entries if p.name not in OWN and not p.name.startswith(BUILDING)]
    if strange:
        raise SkyweaveError(f"{folder}: holds {strange[0]!r}, which no run put there; move it away")
    # What is removed in part must not look like finished units without their values; nor complete, unless it has moved.
    first = {"complete.json": 0 if whole_output(path).exists() else 3, "units": 1}
    for entry in sorted((e for e in entries if e.name != "lock"), key=lambda e: first.get(e.name, 2)):
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink(missing_ok=True)
    if not any(p.name == "lock" for p in entries):
        folder.rmdir()


def finish_store(
    path: str | os.PathLike[str], *, overwrite: bool = False, attrs: Mapping[str, Any] | None = None
) -> Path:
    """Put a completed store at its final path, with further attributes, and drop its markers.

    Raises:
        SkyweaveError: there is no unfinished store, or the output exists and may not be replaced.
    """
    path = Path(path)
    store = partial_store(path)
    if not store.is_dir():
        raise SkyweaveError(f"{path}: no unfinished store at {store}")
    check_output(path, overwrite)
    if attrs:
        zarr.open_group(str(store), mode="r+", use_consolidated=False).attrs.update(dict(attrs))
    consolidate(store)
    sync_file(store / "zarr.json")
    move_into_place(store, path, "")
    return path


def move_into_place(whole: Path, path: Path, settings_hash: str) -> None:
    """Give a complete output its name, and remove the traces of its run; either can be killed and goes on.

    Args:
        whole: the output, on disk, from `whole_output`.
        path: its name.
        settings_hash: of the run, to know it again.
    """
    if (complete_run(path) or ("",))[0] != settings_hash:
        content = {"settings": settings_hash, "units": sorted(unit_notes(path))}
        _write_json(partial_folder(path) / "complete.json", content)
    swap(whole, path)
    discard_partial(path)
