"""What training runs leave on disk, and how a run knows whether it may continue there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from skyweave.downscale.settings import TrainingSection
from skyweave.downscale.training.epochs import Progress
from skyweave.errors import SkyweaveError
from skyweave.io.made_with import told_apart
from skyweave.io.tensors import read_tensors

__all__ = ["checkpoint_of", "clear_other", "essential", "facts_of", "refuse"]


def facts_of(progress: Progress) -> dict[str, Any]:
    """What is told of a run in the file it made."""
    return {
        "loss": progress.best,
        "best_epoch": progress.best_epoch,
        "epochs": progress.epoch,
        "steps": progress.step,
        "minutes": round(progress.seconds / 60, 2),
        "ended": progress.ended,
        "history": progress.history,
    }


def essential(section: Any) -> dict[str, Any]:
    """What the result depends on; the time it may take, and where, is not part of it."""
    values: dict[str, Any] = section.model_dump(mode="json")
    training = TrainingSection.model_validate(values["training"]).model_dump(mode="json")
    for key in ("max_minutes", "device"):
        training.pop(key)
    return values | {"training": training}


def checkpoint_of(path: Path) -> Path:
    """Where the unfinished run to a file keeps its state."""
    return path.with_name(path.name.replace(".safetensors", ".checkpoint.safetensors"))


def clear_other(checkpoint: Path, digest: str) -> None:
    """Remove the state of a run with other settings, where that is allowed."""
    try:
        same = read_tensors(checkpoint, "a checkpoint")[0].get("digest") == digest
    except SkyweaveError:
        same = False
    if not same:
        checkpoint.unlink(missing_ok=True)


def refuse(
    path: Path, overwrite: bool, saved: Mapping[str, Any] | None = None, mine: Mapping[str, Any] | None = None
) -> None:
    """Say that a file stays as it is and what differs, unless it may be replaced."""
    if not overwrite:
        raise SkyweaveError(
            f"{path}: made with other settings or data{told_apart(saved, mine)}; restore them, choose another `out`, "
            "or allow overwriting (overwrite=True, --overwrite)"
        )
