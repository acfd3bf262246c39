"""A training run that can be interrupted: its loop, its checkpoints, and which weights are kept."""

from __future__ import annotations

import json
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import Tensor, nn

from skyweave.errors import SkyweaveError
from skyweave.io.disk import replacing
from skyweave.io.folder import make_folder
from skyweave.io.lock import Lock
from skyweave.learn.checkpoint import Average, Checkpoint, Progress, load_checkpoint, save_checkpoint
from skyweave.learn.config import RunConfig
from skyweave.learn.optimiser import learning_rate
from skyweave.learn.processes import Processes, interruptible
from skyweave.learn.reporter import Reporter, Reports

__all__ = ["FREE_KEYS", "TrainingRun"]

Config = TypeVar("Config", bound=RunConfig)

CHECKPOINT_SECONDS = 300.0
"""A checkpoint is written at least this often."""

FREE_KEYS = ("out", "max_minutes", "threads", "device", "checkpoint_every", "log_every")
"""Settings that may differ between a run and its continuation without changing what is learnt."""


class TrainingRun(ABC, Generic[Config]):
    """What a run holds between steps; what a step, a score and the result are is for its kind to say.

    A kind calls `begin` once its module stands. A run whose directory has a checkpoint of the same configuration
    continues from there, with the losses and weights that it would have had without interruption.

    Args:
        config: with `out`, `steps`, `max_minutes`, `keep`, `ema_half_life` and the intervals of `log_every`,
            `validate_every` and `checkpoint_every`.
        processes: that share the run.
        overwrite: start afresh where the directory holds a run of another configuration, or a finished one.

    Raises:
        SkyweaveError: the directory holds another run, or a result without a checkpoint.
    """

    result: ClassVar[str]
    """Name of the file that the run is for."""
    free: ClassVar[tuple[str, ...]] = FREE_KEYS

    module: nn.Module
    optimiser: torch.optim.Optimizer
    average: Average

    def __init__(self, config: Config, processes: Processes, overwrite: bool) -> None:
        self.config, self.processes, self.out = config, processes, Path(config.out)
        self.progress = Progress()
        self.best: dict[str, Tensor] | None = None
        self._saved = self._found(overwrite)
        self._lock = Lock(self.out / "lock", self.out)

    @abstractmethod
    def _step(self) -> tuple[float, float, float]:
        """One step: its loss, the norm of the gradient and the learning rate."""

    @abstractmethod
    def _scores(self) -> dict[str, float]:
        """Validation scores of the averaged weights; the smaller their mean the better."""

    def begin(self, module: nn.Module, optimiser: torch.optim.Optimizer, data: str) -> None:
        """Train this module, from where the checkpoint left it where there is one.

        Args:
            module: that is trained.
            optimiser: of its parameters.
            data: a digest of what it learns from.

        Raises:
            SkyweaveError: the checkpoint learnt from other data, or belongs to another network; another process trains
                here.
        """
        self.module, self.optimiser, self.data_digest = module, optimiser, data
        self.average = Average(module, self.config.ema_half_life)
        if self._saved is not None:
            if self._saved.data not in ("", data):
                raise SkyweaveError(
                    f"{self.out} holds a run on other data: what the files of this configuration hold has changed "
                    "since; choose another `out`, restore them, or allow overwriting"
                )
            self.progress = self._saved.progress
            self._saved.restore(module, optimiser)
            averaged = self._saved.part("averaged")
            self.average.weights = {k: v.to(self.processes.device) for k, v in averaged.items()}
            self.best = self._saved.part("best") or None
            self._saved = None
        self.started = time.monotonic() - self.progress.elapsed
        if self.processes.is_global_zero:
            self._claim()

    def _claim(self) -> None:
        """Take the folder of the run; one process writes there at a time."""
        make_folder(self.out)
        self._lock.acquire()
        self._trim_metrics()

    @property
    def checkpoint(self) -> Path:
        """File of the run's state."""
        return self.out / "checkpoint.safetensors"

    @property
    def ended(self) -> bool:
        """Whether a validation has ended the run before its steps and its time."""
        return False

    def _descend(self, loss: Tensor) -> tuple[float, float, float]:
        """Go down the gradient of a loss at the learning rate of this step; what `_step` returns."""
        c, step = self.config, self.progress.step
        rate = learning_rate(c.optimiser, step, self.done)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad(set_to_none=True)
        self.processes.backward(loss)
        norm = nn.utils.clip_grad_norm_(self.module.parameters(), c.optimiser.clip)
        self.optimiser.step()
        self.progress.step = step + 1
        self.average.update(self.module, step + 1)
        mean = self.processes.all_reduce(loss.detach(), reduce_op="mean")
        return float(mean), float(norm), rate

    @property
    def done(self) -> float:
        """Share of the run that is behind us, by steps or by time, whichever is further."""
        share = self.progress.step / self.config.steps
        if self.config.max_minutes is not None:
            elapsed = self.processes.broadcast(time.monotonic() - self.started)
            share = max(share, elapsed / (60 * self.config.max_minutes))
        return share

    @property
    def complete(self) -> bool:
        return self.ended or self.done >= 1

    @property
    def keeps_best(self) -> bool:
        """Whether the weights kept are those of the best validation, not the last."""
        return self.config.keep == "best" and self.best is not None

    @property
    def kept(self) -> dict[str, Tensor]:
        """The averaged weights that the result is made of."""
        return self.best if self.config.keep == "best" and self.best is not None else self.average.weights

    def loop(self) -> None:
        """Train to the end; SIGINT and SIGTERM end the run between two steps, with a checkpoint."""
        try:
            if not self.complete:
                with interruptible() as stop:
                    self._loop(stop)
        finally:
            self._lock.release()

    def _loop(self, stop: Callable[[], bool]) -> None:
        c = self.config
        report = self._reporter()
        if self.progress.step:
            report.say(f"continuing at step {self.progress.step}")
        saved, finished = time.monotonic(), False
        try:
            # Asked once a step: time that runs out during a validation ends the run a step later, with a checkpoint.
            while not finished:
                if stop():
                    self._save()
                    report.say(f"stopped at step {self.progress.step}; the same command continues")
                    raise KeyboardInterrupt
                loss, norm, rate = self._step()
                p = self.progress
                p.loss_sum, p.loss_count = p.loss_sum + loss, p.loss_count + 1
                if not math.isfinite(loss):
                    raise SkyweaveError(
                        f"the loss is {loss} at step {p.step}: lower optimiser.lr, or check the data"
                    )
                finished = self.complete
                if p.step % c.log_every == 0 or finished:
                    elapsed = time.monotonic() - self.started
                    report.losses(p.step, p.loss_sum / p.loss_count, rate, norm, elapsed, self.done)
                    p.loss_sum, p.loss_count = 0.0, 0
                if p.step % c.validate_every == 0 or finished:
                    report.validation(p.step, self._validate())
                    finished = finished or self.ended
                due = p.step % c.checkpoint_every == 0 or time.monotonic() - saved > CHECKPOINT_SECONDS
                if due or finished:
                    self._save()
                    saved = time.monotonic()
        finally:
            report.close()

    def _reporter(self) -> Reports:
        """Who tells how far the run is."""
        return Reporter(self.config.steps, self.out, self.processes.is_global_zero, self.progress.step)

    def _validate(self) -> dict[str, float]:
        scores = self._scores()
        total = sum(scores.values()) / len(scores)
        best = self.progress.best_score
        if self.config.keep == "best" and (best is None or total < best):
            self.progress.best_score, self.progress.best_step = total, self.progress.step
            self.best = {k: v.clone() for k, v in self.average.weights.items()}
        return scores

    def _save(self) -> None:
        self.progress.elapsed = time.monotonic() - self.started
        if self.processes.is_global_zero:
            save_checkpoint(
                self.checkpoint,
                self.progress,
                self._comparable(),
                self.module.state_dict(),
                self.average.weights,
                self.best,
                self.optimiser,
                self.data_digest,
            )

    def _comparable(self) -> dict[str, Any]:
        values = self.config.model_dump(mode="json")
        return {k: v for k, v in values.items() if k not in self.free}

    def _found(self, overwrite: bool) -> Checkpoint | None:
        """The checkpoint that the run continues from."""
        path = self.checkpoint
        if overwrite:
            return None
        if not path.exists():
            if (self.out / self.result).exists():
                raise SkyweaveError(
                    f"{self.out}/{self.result} exists; choose another `out` or allow overwriting"
                )
            return None
        saved, mine = load_checkpoint(path), self._comparable()
        # Keys may stand there by their names or by those that a file of settings has.
        other = self.config.model_dump(mode="json", by_alias=True)
        changed = sorted(k for k in mine if saved.config.get(k) not in (mine[k], other[k]))
        if changed:
            raise SkyweaveError(
                f"{self.out} holds a run with other settings ({', '.join(changed)}); "
                "choose another `out`, restore them, or allow overwriting"
            )
        return saved

    def _trim_metrics(self) -> None:
        """Drop lines written after the checkpoint that the run continues from."""
        path = self.out / "metrics.jsonl"
        kept = []
        if path.exists() and self.progress.step:
            for line in path.read_text().splitlines():
                try:
                    if json.loads(line)["step"] <= self.progress.step:
                        kept.append(line)
                except (json.JSONDecodeError, KeyError):
                    continue
        with replacing(path) as written:
            written.write_text("".join(line + "\n" for line in kept))
