"""Folders that receive what a run makes."""

from __future__ import annotations

from pathlib import Path

from skyweave.errors import SkyweaveError

__all__ = ["make_folder"]


def make_folder(path: str | Path) -> Path:
    """The folder, made where it is not there.

    Raises:
        SkyweaveError: it cannot be made: a file of that name, a place that cannot be written to.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SkyweaveError(
            f"{folder}: cannot be made a folder ({error.strerror}); choose another `out`"
        ) from None
    return folder
