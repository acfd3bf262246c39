"""Training one network: Adam, reduce-on-plateau, early stopping, the best weights kept, resumed exactly."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from skyweave.downscale.headers import CheckpointHeader
from skyweave.downscale.settings import TrainingSection
from skyweave.errors import SkyweaveError
from skyweave.io.folder import make_folder
from skyweave.io.made_with import digest_of, told_apart
from skyweave.io.tensors import (
    check_kind,
    check_shapes,
    damaged,
    parse_header,
    read_tensors,
    write_tensors,
)
from skyweave.learn.checkpoint import Average, restore_optimiser
from skyweave.learn.optimiser import step_seed
from skyweave.learn.processes import interruptible, usable_device

__all__ = ["Examples", "Progress", "train_network"]

KIND = "downscaling checkpoint"


class Examples(Protocol):
    """Patches of days, by number; a batch is whatever the loss takes."""

    def __len__(self) -> int: ...

    def batch(self, index: np.ndarray) -> Any:
        """The patches of those numbers."""
        ...


@dataclass
class Progress:
    """What a run has done so far; its randomness is a function of seed and step, and needs no entry."""

    epoch: int = 0
    step: int = 0
    seconds: float = 0.0
    rate: float = 1.0
    """What the plateaus have left of the learning rate, as a factor."""
    best: float = math.inf
    best_epoch: int = 0
    since_best: int = 0
    since_reduction: int = 0
    ended: str = ""
    history: list[dict[str, float]] = field(default_factory=list)


class _Run:
    def __init__(
        self,
        module: nn.Module,
        loss: Callable[[Any, torch.Generator], Tensor],
        training: Examples,
        validation: Examples,
        settings: TrainingSection,
        checkpoint: Path,
        made_with: Mapping[str, Any],
        tell: Callable[[str], None],
    ) -> None:
        self.device = usable_device(settings.device)
        self.module, self.loss, self.settings = module.to(self.device), loss, settings
        self.training, self.validation = training, validation
        self.checkpoint, self.made_with, self.tell = checkpoint, made_with, tell
        self.digest = digest_of(made_with)
        self.progress = Progress()
        parameters = [p for p in module.parameters() if p.requires_grad]
        # The gradient of lambda |p|^2 is 2 lambda p, which is what Adam's own decay adds.
        self.optimiser = torch.optim.Adam(parameters, settings.lr, weight_decay=2 * settings.weight_decay)
        self.average = None if settings.ema_half_life is None else Average(module, settings.ema_half_life)
        self.best: dict[str, Tensor] = {}
        if checkpoint.exists():
            self._restore()
        self.started = time.monotonic() - self.progress.seconds

    @property
    def steps_per_epoch(self) -> int:
        return self.settings.steps_per_epoch or max(1, len(self.training) // self.settings.batch)

    @property
    def done(self) -> float:
        """Share of the run that is behind us, by epochs or by time, whichever is further."""
        p, s = self.progress, self.settings
        share = p.step / (s.epochs * self.steps_per_epoch)
        if s.max_minutes is not None:
            share = max(share, (time.monotonic() - self.started) / (60 * s.max_minutes))
        return share

    def go(self) -> Progress:
        p = self.progress
        with interruptible() as stop:
            while not p.ended:
                total, count = 0.0, 0
                for _ in range(self.steps_per_epoch):
                    total, count = total + self._step(), count + 1
                    if stop() or self.done >= 1:
                        break
                if stop():
                    # The next run starts this epoch again from its beginning, as if nothing had been done of it.
                    self.tell("stopped; the same command continues")
                    raise KeyboardInterrupt
                self._finish_epoch(total / max(count, 1))
                self.save()
        self.module.load_state_dict(self.best)
        self.module.to("cpu")
        return p

    def _step(self) -> float:
        s, step = self.settings, self.progress.step
        if s.steps_per_epoch is None:
            # A pass over all patches, in an order of its own.
            order = np.random.default_rng([s.seed, self.progress.epoch]).permutation(len(self.training))
            start = step % self.steps_per_epoch * s.batch
            index = order[start : start + s.batch]
        else:
            index = np.random.default_rng([s.seed, 1, step]).integers(len(self.training), size=s.batch)
        seed = step_seed(s.seed, 0, step)
        torch.manual_seed(seed)  # dropout draws from the global stream
        rate = s.lr * self.progress.rate * min(1.0, (step + 1) / max(s.warmup, 1))
        if s.anneal:
            rate *= 0.5 * (1 + math.cos(math.pi * min(self.done, 1.0)))
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.module.train()
        batch = on_device(self.training.batch(index), self.device)
        loss = self.loss(batch, torch.Generator().manual_seed(seed))
        value = float(loss.detach())
        if not math.isfinite(value):
            raise SkyweaveError(f"the loss is {value} at step {step}: lower training.lr, or check the data")
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if s.clip is not None:
            nn.utils.clip_grad_norm_(self.optimiser.param_groups[0]["params"], s.clip)
        self.optimiser.step()
        self.progress.step = step + 1
        if self.average is not None:
            self.average.update(self.module, step + 1)
        return value

    def _finish_epoch(self, training_loss: float) -> None:
        p, s = self.progress, self.settings
        finished = self.done >= 1
        p.epoch += 1
        score = self._score()
        if not math.isfinite(score):
            raise SkyweaveError(f"the train-validation loss is {score}: lower training.lr, or check the data")
        p.seconds = time.monotonic() - self.started
        rate = self.optimiser.param_groups[0]["lr"]
        p.history.append({"epoch": p.epoch, "training": training_loss, "validation": score, "rate": rate})
        if score < p.best:
            p.best, p.best_epoch, p.since_best, p.since_reduction = score, p.epoch, 0, 0
            self.best = {k: v.clone() for k, v in self._weights().items()}
        else:
            p.since_best, p.since_reduction = p.since_best + 1, p.since_reduction + 1
        if p.since_reduction >= s.plateau:
            p.rate, p.since_reduction = p.rate * s.factor, 0
        if p.since_best >= s.patience:
            p.ended = f"no improvement in {s.patience} epochs"
        elif finished or p.epoch >= s.epochs:
            p.ended = "time is up" if p.epoch < s.epochs else "all epochs done"
        self.tell(
            f"{p.seconds:6.0f} s  epoch {p.epoch}/{s.epochs}  training {training_loss:.4f}  validation {score:.4f}"
            f"  rate {rate:.1e}{'  ' + p.ended if p.ended else ''}"
        )

    def _weights(self) -> dict[str, Tensor]:
        return self.module.state_dict() if self.average is None else self.average.weights

    @torch.no_grad()
    def _score(self) -> float:
        """Loss on fixed patches of train-validation days with fixed noise, of the averaged weights."""
        s = self.settings
        own = {k: v.clone() for k, v in self.module.state_dict().items()}
        self.module.load_state_dict(self._weights())
        self.module.eval()
        count = min(s.validation_patches, len(self.validation))
        chosen = np.random.default_rng([s.seed, 2]).permutation(len(self.validation))[:count]
        generator = torch.Generator().manual_seed(step_seed(s.seed, 1, 0))
        total = 0.0
        for start in range(0, count, 4 * s.batch):
            index = chosen[start : start + 4 * s.batch]
            batch = on_device(self.validation.batch(index), self.device)
            total += float(self.loss(batch, generator)) * len(index)
        self.module.load_state_dict(own)
        return total / count

    def save(self) -> None:
        """Write everything that the continuation depends on, atomically."""
        tensors = {f"weights.{k}": v for k, v in self.module.state_dict().items()}
        tensors |= {f"best.{k}": v for k, v in self.best.items()}
        if self.average is not None:
            tensors |= {f"averaged.{k}": v for k, v in self.average.weights.items()}
        for index, state in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{index}.{k}": v for k, v in state.items()}
        header = {"kind": KIND, "progress": asdict(self.progress)} | {
            "digest": self.digest,
            "made_with": dict(self.made_with),
        }
        write_tensors({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, header, self.checkpoint)

    def _restore(self) -> None:
        header, tensors = read_tensors(self.checkpoint, "a checkpoint of a downscaling run")
        check_kind(header, KIND, 0, self.checkpoint, "a checkpoint of a downscaling run")
        parse_header(header, CheckpointHeader, self.checkpoint, "this checkpoint")
        if header["digest"] != self.digest:
            raise SkyweaveError(
                f"{self.checkpoint}: made with other settings or data"
                f"{told_apart(header.get('made_with'), self.made_with)}; restore them, choose another `out`, or allow "
                "overwriting (overwrite=True, --overwrite)"
            )

        def part(name: str) -> dict[str, Tensor]:
            return {k.removeprefix(f"{name}."): v for k, v in tensors.items() if k.startswith(f"{name}.")}

        self.progress = Progress(**header["progress"])
        self.best = part("best")
        wanted = self.module.state_dict()
        saved = [part("weights"), *([self.best] if self.best else [])]
        for weights in saved + ([] if self.average is None else [part("averaged")]):
            check_shapes(weights, wanted, self.checkpoint, "this checkpoint")
        try:
            restore_optimiser(self.optimiser, part("optimiser"))
        except ValueError as error:
            raise damaged(self.checkpoint, "this checkpoint", error) from None
        self.module.load_state_dict(saved[0])
        if self.average is not None:
            self.average.weights = {k: v.to(self.device) for k, v in part("averaged").items()}
        self.tell(f"continuing after epoch {self.progress.epoch}")


def on_device(batch: Any, device: torch.device) -> Any:
    """A batch (a dataclass of tensors, or a tuple of them) on a device."""
    if device.type == "cpu":
        return batch
    if isinstance(batch, tuple):
        return tuple(part.to(device) for part in batch)
    return type(batch)(**{key: value.to(device) for key, value in vars(batch).items()})


def train_network(
    module: nn.Module,
    loss: Callable[[Any, torch.Generator], Tensor],
    training: Examples,
    validation: Examples,
    settings: TrainingSection,
    *,
    checkpoint: Path,
    made_with: Mapping[str, Any] | None = None,
    tell: Callable[[str], None] | None = None,
) -> Progress:
    r"""Train the parameters of a module that ask for gradients, and leave it with the best weights.

    .. math:: L(\Theta) = L_{data}(\Theta) + \lambda_{wd} \sum_{p \in P_{train}} \|p\|_2^2 \quad\text{(Eq. 3)}

    The learning rate falls by a factor after a plateau of the train-validation loss; training ends early when that
    stops improving. A run that was interrupted continues from its last whole epoch, on the same numbers.

    Args:
        module: trained in place; frozen parameters take no part, in the decay neither.
        loss: of a batch and a generator, from which all its randomness comes.
        training: patches of training days.
        validation: patches of train-validation days.
        settings: see `TrainingSection`.
        checkpoint: file of the run's state.
        made_with: all that the run depends on, by name; a checkpoint of another run is refused.
        tell: called with one line for each epoch.

    Returns:
        What was done, with the losses by epoch.

    Raises:
        SkyweaveError: no patches, a loss that is not finite, or a checkpoint of another run.

    Reference: downscaling paper, section 2.3, Eq. 3.
    """
    for name, examples in (("training", training), ("train-validation", validation)):
        if not len(examples):
            raise SkyweaveError(f"no {name} patches: too few days of the season, or all of them have gaps")
    speak = tell or (lambda text: print(text, file=sys.stderr, flush=True))
    make_folder(checkpoint.parent)
    with torch.random.fork_rng(devices=[]):
        run = _Run(module, loss, training, validation, settings, checkpoint, made_with or {}, speak)
        return run.go()
