"""What a run reads: whether it is still what it was, and that no output takes its place."""

from __future__ import annotations

import glob
import os
from collections.abc import Hashable, Iterable
from pathlib import Path
from typing import Any

import xarray as xr

from skyweave.errors import SkyweaveError
from skyweave.io.made_with import bytes_digest

__all__ = ["check_apart", "check_unchanged", "content_of", "file_states", "source_file"]


def check_apart(out: str | os.PathLike[str], inputs: Iterable[str | os.PathLike[str] | None]) -> None:
    """Refuse an output that is one of the inputs, by whatever name.

    Args:
        out: path of the output.
        inputs: paths and globs; URLs, and what is none, are passed over.

    Raises:
        SkyweaveError: with the input.
    """
    there = Path(out).resolve()
    for given in inputs:
        text = "" if given is None else os.fspath(given)
        if not text or "://" in text or "\0" in text:
            continue
        # A name may hold the signs of a glob.
        for path in [text] if os.path.exists(text) else glob.glob(text, recursive=True):
            if Path(path).resolve() == there:
                raise SkyweaveError(
                    f"{out}: is an input of this command, which would be replaced; write to another path"
                )


def source_file(data: object) -> str | None:
    """The file that a dataset or an array was opened from, where that is known; None of anything else."""
    if not isinstance(data, xr.Dataset | xr.DataArray):
        return None
    found = data.encoding.get("source")
    return None if found is None else str(found)


def file_states(paths: Iterable[str | os.PathLike[str]]) -> dict[str, list[int] | None]:
    """Size in bytes and time of the last change (ns) of files, of a folder those of all in it; None of a URL."""
    return {os.fspath(path): _state(os.fspath(path)) for path in paths}


def _state(path: str) -> list[int] | None:
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    if not os.path.isdir(path):
        return [found.st_size, found.st_mtime_ns]
    inside = [os.stat(os.path.join(base, name)) for base, _, names in os.walk(path) for name in names]
    return [sum(one.st_size for one in inside), max((one.st_mtime_ns for one in inside), default=0)]


def check_unchanged(before: dict[str, list[int] | None]) -> None:
    """Refuse values that were read while a file changed.

    Raises:
        SkyweaveError: with the file, and its size before and now.
    """
    for path, state in before.items():
        now = _state(path)
        if state is not None and now != state:
            size = "gone" if now is None else f"{now[0]} bytes"
            raise SkyweaveError(
                f"{path}: changed while it was read ({state[0]} bytes before, now {size}); what was read since is not "
                "kept; run again when it is complete"
            )


def content_of(ds: xr.Dataset) -> dict[str, Any]:
    """A name for the values of each variable, without reading what is lazy.

    In memory it is that of the values; a lazy array is named by the files, and the times of their last change, or the
    arrays that it begins with.
    """
    return {str(name): _content(var) for name, var in ds.variables.items()}


def _content(var: xr.Variable) -> str:
    graph = var.__dask_graph__()
    if graph is None:
        return bytes_digest(var.values)
    layers: dict[Hashable, Any] = getattr(graph, "dependencies", {})
    roots = sorted(str(name) for name, above in layers.items() if not above)
    # A file on the web has no such time; its name has a number of chance at its end instead.
    return " ".join(name for name in roots if "skyweave-web-" not in name)
