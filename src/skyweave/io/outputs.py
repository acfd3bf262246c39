"""Where results go: which paths may be written to, asked before anything is computed."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

from skyweave.errors import SkyweaveError
from skyweave.io.lock import Lock

__all__ = [
    "NETCDF_ENDINGS", "OUTPUTS", "PICTURES", "check_output", "complete_run", "just_finished", "lock_of",
    "partial_folder", "whole_output",
]  # fmt: skip

OUTPUTS = (".nc", ".nc4", ".cdf", ".netcdf", ".zarr")
NETCDF_ENDINGS = OUTPUTS[:-1]
PICTURES = (".png", ".pdf", ".svg", ".jpg", ".jpeg")
"""Endings of outputs, of those that are one file, and of pictures."""

LONGEST_NAME, LONGEST_PATH = 255, 3800
"""Bytes of a name and of a path that file systems take; a path with room for what lies inside a store."""


def partial_folder(path: str | os.PathLike[str]) -> Path:
    """Where an unfinished run to ``path`` keeps what it has (it may not exist)."""
    path = Path(path)
    return path.with_name(path.name + ".partial")


def whole_output(path: str | os.PathLike[str]) -> Path:
    """Where an output lies when it is complete, before it has its own name (it may not exist)."""
    return partial_folder(path) / ("store.zarr" if Path(path).suffix == ".zarr" else "whole.nc")


def complete_run(path: str | os.PathLike[str]) -> tuple[str, set[str]] | None:
    """Settings and units of a run that had nothing left to do but to move its output; None where there is none."""
    try:
        found = json.loads((partial_folder(path) / "complete.json").read_text(encoding="utf-8"))
        return str(found["settings"]), set(found["units"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def lock_of(path: str | os.PathLike[str]) -> Lock:
    """The right to write an output, not taken yet."""
    return Lock(partial_folder(path) / "lock", Path(path))


def just_finished(path: Path) -> bool:
    """Whether a run was killed when its output had been moved to its place, and only its traces were left to remove.

    The same command may then be given again; any other finds an output that exists.
    """
    return path.exists() and complete_run(path) is not None and not whole_output(path).exists()


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
    if not overwrite and not just_finished(path):
        _forget(path)
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


def _forget(path: Path) -> None:
    """Remove the lock, and its folder, of a run that was killed when all else was done."""
    if partial_folder(path).is_dir():
        lock = lock_of(path)
        with contextlib.suppress(SkyweaveError, OSError):
            lock.acquire()
            lock.release()


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
