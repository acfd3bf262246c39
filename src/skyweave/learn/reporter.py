"""What a training run tells: a file of losses, and a bar on a terminal or timed lines in a log."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

__all__ = ["Reporter"]


class Reporter:
    """Losses into `metrics.jsonl`, and onto a terminal as a bar or into a log as timed lines.

    Args:
        steps: of the whole run.
        out: directory of the file.
        speaks: whether this process is the one that tells.
    """

    def __init__(self, steps: int, out: Path, speaks: bool) -> None:
        self.file = (out / "metrics.jsonl").open("a") if speaks else None
        self.speaks = speaks
        self.steps = steps
        self.bar: Any = None
        self.last_line = -math.inf
        if speaks and sys.stderr.isatty():
            from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

            self.bar = Progress(
                TextColumn("training"),
                BarColumn(),
                TextColumn("{task.fields[text]}"),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
            )
            self.task = self.bar.add_task("training", total=1.0, text="")
            self.bar.start()

    def say(self, text: str) -> None:
        """A line of its own."""
        if self.speaks:
            print(text, file=sys.stderr, flush=True) if self.bar is None else self.bar.console.print(text)

    def losses(self, step: int, loss: float, rate: float, norm: float, elapsed: float, done: float) -> None:
        """One record of the training loss; a log gets at most one line per 10 seconds."""
        self._write(
            {"step": step, "loss": loss, "lr": rate, "gradient_norm": norm, "seconds": round(elapsed, 1)}
        )
        text = f"step {step}/{self.steps}  loss {loss:.4f}"
        if self.bar is not None:
            self.bar.update(self.task, completed=min(done, 1.0), text=text)
        elif self.speaks and (elapsed - self.last_line >= 10 or done >= 1):
            self.last_line = elapsed
            print(f"{elapsed:7.0f} s  {done:4.0%}  {text}  lr {rate:.1e}", file=sys.stderr, flush=True)

    def validation(self, step: int, scores: dict[str, float]) -> None:
        """One record of the validation loss by noise level."""
        mean = sum(scores.values()) / len(scores)
        self._write({"step": step, "validation": scores, "validation_mean": mean})
        if self.speaks:
            levels = "  ".join(f"{level}: {score:.4f}" for level, score in scores.items())
            line = f"           validation {mean:.4f}  ({levels})"
            print(line, file=sys.stderr, flush=True) if self.bar is None else self.bar.console.print(line)

    def _write(self, record: dict[str, Any]) -> None:
        if self.file is not None:
            self.file.write(json.dumps(record) + "\n")
            self.file.flush()

    def close(self) -> None:
        if self.bar is not None:
            self.bar.stop()
        if self.file is not None:
            self.file.close()
