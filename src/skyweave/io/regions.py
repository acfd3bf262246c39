"""One writer of a dataset, region by region: in memory, or on disk, where a run that is killed goes on."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import dask.array as da
import numpy as np
import xarray as xr
import zarr
from numpy.typing import NDArray

from skyweave.errors import SkyweaveError
from skyweave.io.disk import clear_leftovers, put_back, sync_files
from skyweave.io.encoding import encodings, prepared
from skyweave.io.inputs import check_apart, check_unchanged, file_states
from skyweave.io.made_with import digest_of, essential
from skyweave.io.netcdf import to_netcdf
from skyweave.io.outputs import check_output, complete_run, just_finished, lock_of, whole_output
from skyweave.io.store import (
    consolidate,
    discard_partial,
    done_units,
    lay_down,
    made_with_of,
    mark_done,
    marked,
    move_into_place,
    partial_store,
    settings_of,
    sweep,
    unit_notes,
    write_region,
)

__all__ = ["InRegions", "Note", "RegionWriter", "Regions", "block_length"]

Note = dict[str, Any]
"""What is found on the way, JSON values."""

UNIT_BYTES = 2**26
"""Values that are held before they are written, at most."""

LEAST_UNITS = 16
"""Parts of a run, at least, where it has so many: a kill loses one of them."""


def block_length(count: int, bytes_each: int, most: int = 2**31, limit: int = UNIT_BYTES) -> int:
    """Times that are made and written together: few enough that a kill loses little, and that they fit the memory.

    Args:
        count: times of the run.
        bytes_each: of one of them.
        most: times together, at most.
        limit: bytes together, at most.
    """
    fine = -(-count // LEAST_UNITS)
    return max(1, min(count, most, fine, limit // max(bytes_each, 1)))


@dataclass(frozen=True)
class RegionWriter:
    """Writes units of a store that `Regions` holds open, in that process or, sent there, in another one.

    Args:
        path: of the output.
        dims: of every variable, in the order of the template.
        digest: of the settings.
        before: states of the files that are read.
    """

    path: Path
    dims: Mapping[str, tuple[str, ...]]
    digest: str
    before: dict[str, list[int] | None]

    def put(self, fields: Mapping[str, NDArray[Any]], region: Mapping[str, slice]) -> None:
        """As `Regions.put`."""
        part = xr.Dataset({name: (self.dims[name], values) for name, values in fields.items()})
        check_unchanged(self.before)
        write_region(part, self.path, region, whole_chunks=False)

    def mark(self, unit: str, note: Mapping[str, Any] | None = None) -> None:
        """As `Regions.mark`."""
        mark_done(self.path, unit, self.digest, note)

    def read(self, name: str, region: Mapping[str, slice]) -> NDArray[Any]:
        """As `Regions.read`."""
        array = zarr.open_array(str(partial_store(self.path)), path=name, mode="r")
        return np.asarray(array[tuple(region.get(dim, slice(None)) for dim in self.dims[name])])

    def note_of(self, unit: str) -> Note | None:
        """What a finished unit left; ``None`` where it is not finished."""
        return marked(self.path, unit, self.digest)

    def check_wanted(self) -> None:
        """Refuse to go on with a run that has ended, or whose store another run has taken.

        Raises:
            SkyweaveError: the store is not there, is not of these settings, or nobody holds it.
        """
        found = made_with_of(self.path)
        if found is None:
            raise SkyweaveError(
                f"{self.path}: {socket.gethostname()} finds no unfinished store at {partial_store(self.path)}; workers "
                "write their units themselves, so that the output must lie on a disk that all of them share"
            )
        if digest_of(found) != self.digest or not lock_of(self.path).file.exists():
            raise SkyweaveError(f"{self.path}: the run that asked for this unit has ended")


class Regions:
    """A dataset that is made in units, each put and then marked when it is done::

        with Regions(template, path, made_with, message="cycle", chunks={"time": 1}) as out:
            for unit in units:
                if unit not in out.done:
                    out.put(fields, {"time": slice(k, k + 1)})
                    out.mark(unit)
            return out.finish()

    Without a path it is held in memory. On disk each unit goes to its own region of a Zarr store, and a marker follows
    when its values are on the disk; the same command goes on with the units that lack one, also with ``overwrite``.
    Data and settings that are not those of the unfinished run are refused with what differs, or replace it with
    ``overwrite``. While the block is entered no other process writes the same output. An output that ends in ``.nc`` is
    turned into NetCDF when it is complete.

    Args:
        template: coordinates, attributes and variables; those that are lazy are missing at first, of others the
            values are there.
        path: ends in ``.zarr`` or ``.nc``, or ``None``.
        made_with: everything that the values depend on, by name; see `skyweave.io.made_with.essential`. It is kept in
            the attribute ``made_with``.
        message: what is done, for the history.
        chunks: sizes of the units by dimension.
        overwrite: replace an output that exists, and drop an unfinished one of other settings.
        inputs: files that are read, which no output replaces; values that were read while they changed are refused.

    Raises:
        SkyweaveError: an output that exists, cannot be written, is an input, or is written by another process; an
            unfinished one of other settings or data.
    """

    done: set[str]
    """Names of the units that are marked."""
    notes: dict[str, Note]
    """Their notes."""
    writer: RegionWriter | None
    """Writes units in other processes; ``None`` where the dataset is held in memory."""

    def __init__(
        self,
        template: xr.Dataset,
        path: str | os.PathLike[str] | None,
        made_with: Mapping[str, Any],
        *,
        message: str,
        chunks: Mapping[Hashable, int] | None = None,
        overwrite: bool = False,
        inputs: Iterable[str | os.PathLike[str]] = (),
    ) -> None:
        self.path = None if path is None else Path(path)
        self.made_with: Note = essential(made_with)
        self.digest = digest_of(self.made_with)
        self.template = template.assign_attrs(made_with=json.dumps(self.made_with, default=str))
        self.message, self.chunks, self.overwrite = message, chunks, overwrite
        self.done, self.notes = set(), {}
        self._dims = {str(name): tuple(map(str, var.dims)) for name, var in template.data_vars.items()}
        inputs = list(inputs)
        if self.path is None:
            self._before: dict[str, list[int] | None] = {}
            self._held = self.template.map(_own, keep_attrs=True)
            self.writer = None
            return
        check_output(self.path, overwrite)
        check_apart(self.path, inputs)
        self._before = file_states(inputs)
        self._lock = lock_of(self.path)
        self.writer = RegionWriter(self.path.absolute(), self._dims, self.digest, self._before)

    def __enter__(self) -> Self:
        if self.path is not None:
            self._lock.acquire()
            try:
                self._open(self.path)
            except BaseException:
                self._lock.release()
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.path is not None:
            self._lock.release()

    def _open(self, path: Path) -> None:
        """Go on with what is there, or lay down an empty store."""
        put_back(path)
        clear_leftovers(path)
        complete = complete_run(path)
        self._moved = complete is not None and complete[0] == self.digest and just_finished(path)
        if complete is not None and self._moved:
            self.done = complete[1]
            return
        if not partial_store(path).is_dir() or (self.overwrite and settings_of(path) - {self.digest}):
            discard_partial(path)
        check_output(path, self.overwrite)
        self.done = done_units(path, self.digest, self.made_with)
        if self.done:
            self.notes = unit_notes(path)
            sweep(path)
            return
        discard_partial(path)
        lay_down(self.template, path, self.chunks, self.message)
        for name, var in self.template.data_vars.items():
            if var.chunks is None and var.ndim:
                self.put({str(name): var.values}, {str(d): slice(0, n) for d, n in var.sizes.items()})

    def put(self, fields: Mapping[str, NDArray[Any]], region: Mapping[str, slice]) -> None:
        """Write values of some variables, their dimensions in the order that the template has them.

        Args:
            fields: by the name of the variable.
            region: slices along the dimensions that are cut.
        """
        if self.writer is not None:
            self.writer.put(fields, region)
            return
        for name, values in fields.items():
            self._held[name].values[self._place(name, region)] = values

    def mark(self, unit: str, note: Mapping[str, Any] | None = None) -> None:
        """A unit is done, with what was found on the way."""
        if self.writer is not None:
            self.writer.mark(unit, note)
        self.marked_elsewhere(unit, note)

    def marked_elsewhere(self, unit: str, note: Mapping[str, Any] | None = None) -> None:
        """A unit was written and marked by the `writer` in another process."""
        self.done.add(unit)
        self.notes[unit] = dict(note or {})

    def read(self, name: str, region: Mapping[str, slice]) -> NDArray[Any]:
        """Values that were put, bit for bit."""
        place = self._place(name, region)
        if self.path is None or self.writer is None:
            found: NDArray[Any] = self._held[name].values[place]
            return found
        if self._moved:
            with xr.open_dataset(self.path, engine=_engine(self.path), mask_and_scale=False) as ds:
                return np.asarray(ds[name].values[place])
        return self.writer.read(name, region)

    @property
    def kept_in(self) -> str:
        """Where an unfinished run has what is finished; empty where it is in memory."""
        return "" if self.path is None else str(partial_store(self.path).parent)

    def finish(self, attrs: Callable[[Mapping[str, Note]], Note] = lambda notes: {}) -> xr.Dataset:
        """The whole dataset; on disk it gets its name, is opened, and the traces of the run are removed.

        Args:
            attrs: further attributes, which follow from the notes of all units.
        """
        found = attrs(self.notes)
        if self.path is None:
            self._held.attrs |= found
            return self._held
        path, whole = self.path, whole_output(self.path)
        if self._moved:
            discard_partial(path)
        else:
            check_output(path, self.overwrite)
            try:
                complete = complete_run(path)
                if complete is None or complete[0] != self.digest or not whole.exists():
                    self._complete(path, whole, found)
                move_into_place(whole, path, self.digest)
            except OSError as exc:
                raise SkyweaveError(
                    f"{path}: cannot be written ({exc}); the run is complete in {partial_store(path)}, and the same "
                    "command finishes it when the disk takes it"
                ) from exc
        return _opened(path)

    def _complete(self, path: Path, whole: Path, attrs: Note) -> None:
        """Put the last attributes into the store, or the store into a NetCDF file, and all of it on the disk."""
        store = partial_store(path)
        group = zarr.open_group(str(store), mode="r+", use_consolidated=False)
        if path.suffix == ".zarr":
            group.attrs.update(attrs)
            consolidate(store)
            sync_files([store / "zarr.json"])
            return
        # Coordinates are those of the template, bit for bit.
        values = {
            name: (
                dims,
                da.from_zarr(group[name]) if dims else np.asarray(group[name])[()],
                self.template[name].attrs,
            )
            for name, dims in self._dims.items()
        }
        ds = prepared(self.template.assign(values).assign_attrs(attrs), self.message)
        building = whole.with_name(f"building-{os.getpid()}.nc")
        building.unlink(missing_ok=True)
        try:
            to_netcdf(ds, building, encodings(ds, "netcdf"))
            building.rename(whole)
        finally:
            building.unlink(missing_ok=True)
        sync_files([whole])

    def _place(self, name: str, region: Mapping[str, slice]) -> tuple[slice, ...]:
        return tuple(region.get(dim, slice(None)) for dim in self._dims[name])


class InRegions:
    """What writes through `regions` is entered and left with them."""

    regions: Regions

    def __enter__(self) -> Self:
        self.regions.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.regions.__exit__(kind, value, trace)


def _own(var: xr.DataArray) -> xr.DataArray:
    """A variable with memory of its own: missing where it is lazy."""
    if var.chunks is None:
        return var.copy()
    return var.copy(data=np.full(var.shape, np.nan if var.dtype.kind == "f" else 0, var.dtype))


def _engine(path: Path) -> str:
    return "zarr" if path.suffix == ".zarr" else "h5netcdf"


def _opened(path: Path) -> xr.Dataset:
    if path.suffix == ".zarr":
        return xr.open_zarr(path)
    return xr.open_dataset(path, engine="h5netcdf", chunks={})
