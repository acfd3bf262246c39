"""What survives a loss of power, and files that appear whole or not at all."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from skyweave.errors import SkyweaveError

__all__ = [
    "clear_dead", "clear_leftovers", "put_back", "replacing", "swap", "sync_file", "sync_files", "sync_tree",
    "temporary",
]  # fmt: skip


def sync_file(path: Path) -> None:
    """Have a file, or the names in a folder, on the disk itself before going on."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_files(paths: Iterable[Path]) -> None:
    """Files and then the folders that name them."""
    folders = set()
    for path in paths:
        sync_file(path)
        folders.add(path.parent)
    for folder in sorted(folders, key=lambda f: -len(f.parts)):
        sync_file(folder)


def sync_tree(folder: Path) -> None:
    """Everything in a folder, and the folder."""
    for base, _, names in os.walk(folder, topdown=False):
        for name in names:
            sync_file(Path(base) / name)
        sync_file(Path(base))


def temporary(path: Path) -> Path:
    """A name beside a path, for what shall take its place when it is complete."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file to be written that takes the place of ``path`` if all goes well, and is gone if not.

    Raises:
        SkyweaveError: the disk refuses.
    """
    written = temporary(path)
    try:
        yield written
        sync_file(written)
        os.replace(written, path)
        sync_file(path.parent)
    except OSError as exc:
        raise SkyweaveError(f"{path}: cannot be written ({exc}); what was there is untouched") from exc
    finally:
        written.unlink(missing_ok=True)


def swap(new: Path, path: Path) -> None:
    """Put ``new`` at ``path``; what was there is removed last, and put back if that fails."""
    if not path.is_dir():
        os.replace(new, path)
        sync_file(path.parent)
        return
    aside = path.with_name(f".{path.name}.old-{uuid.uuid4().hex[:8]}")
    path.rename(aside)
    try:
        new.rename(path)
    except OSError:
        aside.rename(path)
        raise
    sync_file(path.parent)
    shutil.rmtree(aside)


def put_back(path: Path) -> None:
    """Undo what a writer that died in `swap` had begun: the older output has its name again, or is gone for a newer."""
    for aside in _siblings(path, f".{path.name}.old-", ""):
        if path.exists():
            shutil.rmtree(aside, ignore_errors=True)
        else:
            aside.rename(path)


def clear_leftovers(path: Path) -> None:
    """Remove what dead writers of a path left beside it; only for whoever holds its lock."""
    for left in _siblings(path, f".{path.name}.", ".tmp"):
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def clear_dead(path: Path) -> None:
    """Remove what writers of a path that has no lock left beside it, named by processes that are no more."""
    for entry in os.scandir(path.absolute().parent):
        number = entry.name.removeprefix(f".{path.name}.").removesuffix(".partial")
        if entry.name != f".{path.name}.{number}.partial" or not number.isdecimal() or len(number) > 9:
            continue
        try:
            os.kill(int(number), 0)
        except ProcessLookupError:
            path.with_name(entry.name).unlink(missing_ok=True)
        except OSError:
            continue


def _siblings(path: Path, begin: str, end: str) -> list[Path]:
    """Names beside a path that are ours: eight hexadecimal digits between two texts."""
    found = []
    for entry in os.scandir(path.absolute().parent):
        inner = entry.name.removeprefix(begin).removesuffix(end)
        ours = entry.name == begin + inner + end and len(inner) == 8
        if ours and not set(inner) - set("0123456789abcdef"):
            found.append(path.with_name(entry.name))
    return sorted(found)
