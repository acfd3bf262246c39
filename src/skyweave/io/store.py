"""Zarr stores written region by region: a run that is killed loses the unit it was writing and nothing else.

While a run is under way its store lies in ``OUT.partial/store.zarr``, with one small JSON marker for each
finished unit beside it. Only `finish_store` puts it where it belongs, so whatever has the final name is
whole, and an older output stays until the new one is complete.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
import warnings
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import dask.array
import xarray as xr
import zarr

from skyweave.errors import SkyweaveError
from skyweave.io.encoding import encodings, prepared
from skyweave.io.made_with import told_apart

__all__ = [
    "NETCDF_ENDINGS", "OUTPUTS", "PICTURES", "check_output", "create_store", "discard_partial",
    "done_units", "finish_store", "mark_done", "partial_store",
    "write_region",
]  # fmt: skip


OUTPUTS = (".nc", ".nc4", ".cdf", ".netcdf", ".zarr")
NETCDF_ENDINGS = OUTPUTS[:-1]
PICTURES = (".png", ".pdf", ".svg", ".jpg", ".jpeg")
"""Endings of outputs, of those that are one file, and of pictures."""

LONGEST_NAME, LONGEST_PATH = 255, 3800
"""Bytes of a name and of a path that file systems take; a path with room for what lies inside a store."""


def partial_store(path: str | os.PathLike[str]) -> Path:
    """Where the store of an unfinished run to ``path`` lies (it may not exist)."""
    return _partial(path) / "store.zarr"


def _partial(path: str | os.PathLike[str]) -> Path:
    path = Path(path)
    return path.with_name(path.name + ".partial")


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
        path: where the finished store shall be, ending in ``.zarr``.
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
            f"{path}: an unfinished run of {len(_markers(path))} units is in {_partial(path)}; resume it, "
            "or allow overwriting"
        )
    discard_partial(path)
    ds = prepared(template, message)
    encoding = encodings(ds, "zarr", chunks)
    for name, var in list(ds.data_vars.items()):
        blocks = encoding[name].get("chunks", -1)
        ds[name] = var.copy(data=dask.array.zeros(var.shape, dtype=var.dtype, chunks=blocks))
    target = partial_store(path)
    building = _partial(path) / f"building-{os.getpid()}.zarr"
    try:
        building.parent.mkdir(parents=False, exist_ok=True)
        ds.to_zarr(building, mode="w", compute=False, encoding=encoding, zarr_format=3, consolidated=False)
        consolidate(building)
        building.rename(target)
    except OSError as exc:
        raise SkyweaveError(f"{path}: cannot be written ({exc})") from exc
    return target


def consolidate(store: Path | str) -> None:
    """Gather the metadata in one place: readers over http cannot list folders."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*[Cc]onsolidated metadata.*")
        zarr.consolidate_metadata(str(store))


def write_region(ds: xr.Dataset, path: str | os.PathLike[str], region: Mapping[str, slice]) -> None:
    """Write one region of an unfinished store; regions that share no chunk may be written at the same time.

    Args:
        ds: the values of the region; variables without any of its dimensions, and coordinates, are left
            alone.
        path: the final path given to `create_store`.
        region: a slice for each dimension that is cut, aligned with the store's chunks; the others are
            written whole.

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
    for name, var in out.data_vars.items():
        if str(name) not in known:
            raise SkyweaveError(
                f"{path}: the store has no variable {name!r}; it has: {', '.join(sorted(known))}"
            )
        array = known[str(name)]
        dims = array.metadata.dimension_names or ()  # type: ignore[union-attr]
        if set(dims) != set(var.dims):
            raise SkyweaveError(f"{path}: variable {name!r} has dimensions {var.dims}, the store {dims}")
        for dim, size, chunk in zip(dims, array.shape, array.chunks, strict=True):
            _check_span(f"{path}: {name!r} along {dim!r}", spans.get(dim), var.sizes[dim], size, chunk)
        out[name] = var.transpose(*dims)
        out[name].encoding = {}
        out[name].attrs = {}
    for dim in out.dims:
        spans.setdefault(str(dim), slice(0, out.sizes[dim]))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*[Cc]onsolidated metadata.*")
        try:
            out.to_zarr(store, mode="r+", region=spans, consolidated=False, zarr_format=3)
        except OSError as exc:
            raise SkyweaveError(f"{path}: cannot be written ({exc})") from exc


def _check_span(where: str, span: slice | None, length: int, size: int, chunk: int) -> None:
    start, stop = (0, size) if span is None else (span.start or 0, size if span.stop is None else span.stop)
    if span is not None and span.step not in (None, 1):
        raise SkyweaveError(f"{where}: a region cannot have steps ({span})")
    if not 0 <= start < stop <= size or stop - start != length:
        raise SkyweaveError(f"{where}: the region {start}:{stop} does not fit {length} values into {size}")
    if start % chunk or (stop % chunk and stop != size):
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
    folder = _partial(path) / "units"
    folder.mkdir(exist_ok=True)
    marker = folder / f"{hashlib.sha256(unit.encode()).hexdigest()[:24]}.json"
    writing = marker.with_suffix(f".{uuid.uuid4().hex}.tmp")
    with open(writing, "w", encoding="utf-8") as handle:
        json.dump({"unit": unit, "settings": settings_hash, "note": dict(note or {})}, handle)
        handle.flush()
        os.fsync(handle.fileno())
    os.replace(writing, marker)


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
    units: set[str] = set()
    if not partial_store(path).is_dir():
        return units
    for marker in _markers(path):
        content: dict[str, Any] = json.loads(marker.read_text(encoding="utf-8"))
        if content["settings"] != settings_hash:
            raise SkyweaveError(
                f"{path}: the unfinished run in {_partial(path)} was made with other settings or data"
                f"{told_apart(_made_with(path), made_with)}; resume it with those, write to another path, or drop it "
                "(overwrite=True, --overwrite)"
            )
        units.add(str(content["unit"]))
    return units


def unit_notes(path: str | os.PathLike[str]) -> dict[str, dict[str, Any]]:
    """The notes that finished units of an unfinished store left, by unit: those of earlier, interrupted calls too."""
    told = [json.loads(marker.read_text(encoding="utf-8")) for marker in _markers(path)]
    return {str(one["unit"]): dict(one.get("note", {})) for one in told}


def _made_with(path: str | os.PathLike[str]) -> Mapping[str, Any] | None:
    """What an unfinished store says it is made with."""
    try:
        found = json.loads(str(zarr.open_group(str(partial_store(path)), mode="r").attrs["made_with"]))
    except (KeyError, ValueError, OSError):
        return None
    return found if isinstance(found, dict) else None


def _markers(path: str | os.PathLike[str]) -> list[Path]:
    return sorted((_partial(path) / "units").glob("*.json"))


def discard_partial(path: str | os.PathLike[str]) -> None:
    """Drop an unfinished run to ``path``, if there is one."""
    folder = _partial(path)
    if folder.is_dir():
        strange = sorted(
            p.name
            for p in folder.iterdir()
            if p.name not in ("store.zarr", "units") and not p.name.startswith("building-")
        )
        if strange:
            raise SkyweaveError(f"{folder}: holds {strange[0]!r}, which no run put there; move it away")
        shutil.rmtree(folder)


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
    swap(store, path)
    discard_partial(path)
    return path


def check_output(path: Path, overwrite: bool, endings: tuple[str, ...] = OUTPUTS) -> None:
    """Refuse an output before anything is computed for it.

    Args:
        path: of the output.
        overwrite: whether what is there may be replaced.
        endings: that tell the format.

    Raises:
        SkyweaveError: its name has none of the endings, or is too long for the file system; it exists and ``overwrite``
            is not set, is something that no overwriting should remove, or a symbolic link; or its folder does not
            exist or cannot be written to.
    """
    _check_name(path, endings)
    parent = path.absolute().parent
    if not parent.is_dir():
        raise SkyweaveError(f"{path}: its folder {parent} does not exist; make it first")
    if not os.access(parent, os.W_OK):
        raise SkyweaveError(f"{path}: its folder {parent} cannot be written to")
    if path.is_symlink():
        raise SkyweaveError(f"{path}: is a symbolic link; give the path that it stands for, {path.resolve()}")
    if not path.exists():
        return
    if not overwrite:
        raise SkyweaveError(
            f"{path}: exists already; choose another path or allow overwriting (overwrite=True, --overwrite)"
        )
    if path.is_dir() != (path.suffix == ".zarr"):
        kind = "a folder" if path.is_dir() else "a file"
        raise SkyweaveError(f"{path}: is {kind}, not what is to be written; it will not be removed")
    if (
        path.is_dir()
        and any(path.iterdir())
        and not any((path / m).exists() for m in ("zarr.json", ".zgroup", ".zmetadata"))
    ):
        raise SkyweaveError(f"{path}: is a folder that holds no Zarr store; it will not be removed")


def _check_name(path: Path, endings: tuple[str, ...]) -> None:
    if "\0" in str(path):
        raise SkyweaveError(f"{str(path)!r}: holds a NUL character, which no name has")
    if not path.name.endswith(endings):
        meant = next((e for e in endings if path.name.lower().endswith(e)), None)
        hint = f"; write {meant} in small letters" if meant else ""
        raise SkyweaveError(
            f"{path}: cannot tell the format from this name; end it in {', '.join(endings)}{hint}"
        )
    # What is not complete yet lies beside it under a longer name.
    most = LONGEST_NAME - len(f".{path.name}.old-12345678") + len(path.name)
    if len(os.fsencode(path.name)) > most or len(os.fsencode(path.absolute())) > LONGEST_PATH:
        size = len(os.fsencode(path.name))
        raise SkyweaveError(
            f"{path.name:.40}...: a name of {size} bytes; at most {most} fit, and {LONGEST_PATH} in a whole path"
        )


def swap(new: Path, path: Path) -> None:
    """Put ``new`` at ``path``; what was there is removed last, and put back if that fails."""
    if not path.is_dir():
        os.replace(new, path)
        return
    aside = path.with_name(f".{path.name}.old-{uuid.uuid4().hex[:8]}")
    path.rename(aside)
    try:
        new.rename(path)
    except OSError:
        aside.rename(path)
        raise
    shutil.rmtree(aside)
