"""What training runs leave on disk, how far they were, and how a run knows whether it may continue there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from skyweave.downscale.headers import CheckpointHeader
from skyweave.downscale.settings import TrainingSection
from skyweave.errors import SkyweaveError
from skyweave.io.made_with import digest_of, told_apart
from skyweave.io.tensors import check_kind, parse_header, read_tensors
from skyweave.learn.checkpoint import Checkpoint, Progress

__all__ = ["EpochProgress", "checkpoint_of", "depends_on", "made_before", "open_checkpoint", "refused"]

OLDER = "downscaling checkpoint"
"""Kind of the checkpoints that an earlier skyweave wrote, whose numbers had other names."""


@dataclass
class EpochProgress(Progress):
    """What a run by epochs has done so far."""

    epoch: int = 0
    rate: float = 1.0
    """What the plateaus have left of the learning rate, as a factor."""
    best_epoch: int = 0
    since_reduction: int = 0
    ended: str = ""
    history: list[dict[str, float]] = field(default_factory=list)

    def facts(self) -> dict[str, Any]:
        """What is told of the run in the file it made."""
        return {
            "loss": self.best_score,
            "best_epoch": self.best_epoch,
            "epochs": self.epoch,
            "steps": self.step,
            "minutes": round(self.elapsed / 60, 2),
            "ended": self.ended,
            "history": self.history,
        }


def checkpoint_of(path: Path) -> Path:
    """Where the unfinished run to a file keeps its state."""
    return path.with_name(path.name.replace(".safetensors", ".checkpoint.safetensors"))


def depends_on(section: Any) -> dict[str, Any]:
    """What the result of training by a section depends on; the time it may take, and where, is not part of it."""
    values: dict[str, Any] = section.model_dump(mode="json")
    training = TrainingSection.model_validate(values["training"]).model_dump(mode="json")
    for key in ("max_minutes", "device"):
        training.pop(key)
    return values | {"training": training}


def made_before(path: Path, saved: Mapping[str, Any], made_with: Mapping[str, Any], overwrite: bool) -> bool:
    """Whether the file that is there is what would be made; another one is replaced, or stays.

    Args:
        path: of the file.
        saved: its metadata.
        made_with: all that the training depends on, by name.
        overwrite: whether another one may be replaced.

    Raises:
        SkyweaveError: it may not, with what differs.
    """
    same = bool(saved.get("digest") == digest_of(made_with))
    if not same and not overwrite:
        raise refused(path, saved.get("made_with"), made_with)
    return same


def refused(path: Path, saved: Mapping[str, Any] | None, mine: Mapping[str, Any]) -> SkyweaveError:
    """The error of a file that stays as it is, with what differs."""
    return SkyweaveError(
        f"{path}: made with other settings or data{told_apart(saved, mine)}; restore them, choose another `out`, "
        "or allow overwriting (overwrite=True, --overwrite)"
    )


def open_checkpoint(path: Path) -> Checkpoint:
    """A checkpoint, also one of an earlier skyweave."""
    what = "a checkpoint of a downscaling run"
    header, tensors = read_tensors(path, what)
    if header.get("kind") == OLDER:
        header = _as_now(header)
        averaged = any(key.startswith("averaged.") for key in tensors)
        if not averaged:
            tensors |= {f"averaged{k[7:]}": v for k, v in tensors.items() if k.startswith("weights.")}
    check_kind(header, "training checkpoint", 0, path, what)
    parse_header(header, CheckpointHeader, path, "this checkpoint")
    return Checkpoint(EpochProgress(**header["progress"]), header["config"], tensors, path, header["data"])


def _as_now(header: dict[str, Any]) -> dict[str, Any]:
    """The header of an earlier checkpoint, which ended with a whole epoch."""
    old = header.get("progress")
    progress = dict(old) if isinstance(old, dict) else {}
    for before, now in (("seconds", "elapsed"), ("best", "best_score")):
        if before in progress:
            progress[now] = progress.pop(before)
    progress.pop("since_best", None)
    best_step = 0
    if isinstance(progress.get("epoch"), int) and isinstance(progress.get("step"), int) and progress["epoch"]:
        best_step = progress["step"] // progress["epoch"] * int(progress.get("best_epoch", 0))
    return {
        "kind": "training checkpoint",
        "progress": progress | {"loss_sum": 0.0, "loss_count": 0, "best_step": best_step},
        "config": header.get("made_with", {}),
        "data": header.get("digest"),
    }
