"""What a training run tells: a file of losses, and how far it is."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any, Protocol

from skyweave.errors import SkyweaveError
from skyweave.io.progress import Progress

__all__ = ["Reporter", "Reports"]


class Reports(Protocol):
    """What a run tells of itself; see `Reporter`."""

    def say(self, text: str) -> None: ...

    def losses(
        self, step: int, loss: float, rate: float, norm: float, elapsed: float, done: float
    ) -> None: ...

    def validation(self, step: int, scores: dict[str, float]) -> None: ...

    def close(self) -> None: ...


class Reporter:
    """Losses into `metrics.jsonl`, and the progress of the run onto the error stream.

    Args:
        steps: of the whole run.
        out: directory of the file.
        speaks: whether this process is the one that tells.
        begun: steps that an earlier run has done.
    """

    def __init__(self, steps: int, out: Path, speaks: bool, begun: int = 0) -> None:
        self.path = out / "metrics.jsonl"
        self.file = self.path.open("a") if speaks else None
        self.steps = steps
        self.progress = Progress(steps, "steps trained", speaks)
        self.progress.__enter__()
        self.progress.skip(begun)

    def say(self, text: str) -> None:
        """A line of its own."""
        self.progress.say(text)

    def losses(self, step: int, loss: float, rate: float, norm: float, elapsed: float, done: float) -> None:
        """One record of the training loss.

        Args:
            step: so many are done.
            loss, rate, norm: its mean since the last record, the learning rate, the norm of the gradient.
            elapsed: seconds.
            done: share of the run, by steps or by time.

        Raises:
            SkyweaveError: the disk refuses.
        """
        self._write(
            {"step": step, "loss": loss, "lr": rate, "gradient_norm": norm, "seconds": round(elapsed, 1)}
        )
        # A run that ends by time has fewer steps than it was given.
        text = f"step {step}  loss {loss:.4f}  lr {rate:.1e}"
        self.progress.to(min(done, 1.0) * self.steps, text, last=done >= 1)

    def validation(self, step: int, scores: dict[str, float]) -> None:
        """One record of the validation loss by noise level."""
        mean = sum(scores.values()) / len(scores)
        self._write({"step": step, "validation": scores, "validation_mean": mean})
        levels = "  ".join(f"{level}: {score:.4f}" for level, score in scores.items())
        self.progress.say(f"           validation {mean:.4f}  ({levels})")

    def _write(self, record: dict[str, Any]) -> None:
        if self.file is None:
            return
        try:
            self.file.write(json.dumps(record) + "\n")
            self.file.flush()
        except OSError as error:
            raise SkyweaveError(
                f"{self.path}: cannot be written ({error.strerror}); the same command continues from the last "
                "checkpoint"
            ) from error

    def close(self) -> None:
        """End the bar and the file."""
        self.progress.__exit__(None, None, None)
        if self.file is not None:
            with contextlib.suppress(OSError):  # told when it was written to
                self.file.close()
