"""Training one network by epochs: Adam, reduce-on-plateau, early stopping, the best weights kept, resumed exactly."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from skyweave.downscale.settings import TrainingSection
from skyweave.downscale.training.files import EpochProgress, open_checkpoint, refused
from skyweave.errors import SkyweaveError
from skyweave.io.folder import make_folder
from skyweave.io.made_with import digest_of, essential
from skyweave.learn.checkpoint import Checkpoint
from skyweave.learn.optimiser import step_seed
from skyweave.learn.processes import Alone, own_randomness, usable_device
from skyweave.learn.run import TrainingRun

__all__ = ["Examples", "train_network"]


class Examples(Protocol):
    """Patches of days, by number; a batch is whatever the loss takes."""

    def __len__(self) -> int: ...

    def batch(self, index: np.ndarray) -> Any:
        """The patches of those numbers."""
        ...


class _Run(TrainingRun[Any]):
    """By epochs: a score, a line and a checkpoint when one ends."""

    progress: EpochProgress

    def __init__(
        self,
        module: nn.Module,
        loss: Callable[[Any, torch.Generator], Tensor],
        training: Examples,
        validation: Examples,
        settings: TrainingSection,
        *,
        checkpoint: Path,
        made_with: Mapping[str, Any],
        tell: Callable[[str], None],
        overwrite: bool,
    ) -> None:
        self.loss, self.training, self.validation, self.settings = loss, training, validation, settings
        self.file, self.made_with, self.tell = checkpoint, essential(made_with), tell
        self.steps_per_epoch = settings.steps_per_epoch or max(1, len(training) // settings.batch)
        every = self.steps_per_epoch
        plan: Any = SimpleNamespace(
            out=checkpoint.parent, steps=settings.epochs * every, max_minutes=settings.max_minutes, keep="best",
            log_every=every, validate_every=every, checkpoint_every=every,
            # Without an average it is the weights of the last step.
            ema_half_life=settings.ema_half_life or 0.0,
        )  # fmt: skip
        processes = Alone(usable_device(settings.device).type)
        super().__init__(plan, processes, overwrite)
        self.progress = EpochProgress()
        parameters = [p for p in module.to(processes.device).parameters() if p.requires_grad]
        # The gradient of lambda |p|^2 is 2 lambda p, which is what Adam's own decay adds.
        optimiser = torch.optim.Adam(parameters, settings.lr, weight_decay=2 * settings.weight_decay)
        self.begin(module, optimiser, digest_of(self.made_with))

    @property
    def checkpoint(self) -> Path:
        return self.file

    @property
    def ended(self) -> bool:
        return bool(self.progress.ended)

    def _claim(self) -> None:
        """The folder is held for all of its networks; see `skyweave.downscale.training.fitting.fit`."""
        make_folder(self.out)

    def _comparable(self) -> dict[str, Any]:
        return dict(self.made_with)

    def _found(self, overwrite: bool) -> Checkpoint | None:
        if not self.file.exists():
            return None
        try:
            saved = open_checkpoint(self.file)
            if saved.data != digest_of(self.made_with):
                raise refused(self.file, saved.config or None, self.made_with)
        except SkyweaveError:
            if overwrite:
                return None
            raise
        return saved

    def _reporter(self) -> _Lines:
        return _Lines(self.progress, self.settings.epochs, self.tell)

    def _step(self) -> tuple[float, float, float]:
        s, p, device = self.settings, self.progress, self.processes.device
        if s.steps_per_epoch is None:
            # A pass over all patches, in an order of its own.
            order = np.random.default_rng([s.seed, p.epoch]).permutation(len(self.training))
            start = p.step % self.steps_per_epoch * s.batch
            index = order[start : start + s.batch]
        else:
            index = np.random.default_rng([s.seed, 1, p.step]).integers(len(self.training), size=s.batch)
        seed = step_seed(s.seed, 0, p.step)
        torch.manual_seed(seed)  # dropout draws from the global stream
        rate = s.lr * p.rate * min(1.0, (p.step + 1) / max(s.warmup, 1))
        if s.anneal:
            rate *= 0.5 * (1 + math.cos(math.pi * min(self.done, 1.0)))
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.module.train()
        loss = self.loss(on_device(self.training.batch(index), device), torch.Generator().manual_seed(seed))
        value, norm = float(loss.detach()), math.nan
        if not math.isfinite(value):
            raise SkyweaveError(f"the loss is {value} at step {p.step}: lower training.lr, or check the data")
        self.optimiser.zero_grad(set_to_none=True)
        self.processes.backward(loss)
        if s.clip is not None:
            norm = float(nn.utils.clip_grad_norm_(self.optimiser.param_groups[0]["params"], s.clip))
        self.optimiser.step()
        p.step += 1
        self.average.update(self.module, p.step)
        return value, norm, rate

    def _validate(self) -> dict[str, float]:
        """End an epoch: the best weights are kept, plateaus lower the rate, and too many of them end the run."""
        p, s, finished = self.progress, self.settings, self.complete
        scores = super()._validate()
        p.epoch += 1
        if p.best_step == p.step:
            p.best_epoch, p.since_reduction = p.epoch, 0
        else:
            p.since_reduction += 1
        if p.since_reduction >= s.plateau:
            p.rate, p.since_reduction = p.rate * s.factor, 0
        if p.epoch - p.best_epoch >= s.patience:
            p.ended = f"no improvement in {s.patience} epochs"
        elif finished or p.epoch >= s.epochs:
            p.ended = "time is up" if p.epoch < s.epochs else "all epochs done"
        return scores

    @torch.no_grad()
    def _scores(self) -> dict[str, float]:
        """Loss on fixed patches of train-validation days with fixed noise, of the averaged weights."""
        s = self.settings
        own = {k: v.clone() for k, v in self.module.state_dict().items()}
        self.module.load_state_dict(self.average.weights)
        self.module.eval()
        count = min(s.validation_patches, len(self.validation))
        chosen = np.random.default_rng([s.seed, 2]).permutation(len(self.validation))[:count]
        generator = torch.Generator().manual_seed(step_seed(s.seed, 1, 0))
        total = 0.0
        for start in range(0, count, 4 * s.batch):
            index = chosen[start : start + 4 * s.batch]
            batch = on_device(self.validation.batch(index), self.processes.device)
            total += float(self.loss(batch, generator)) * len(index)
        self.module.load_state_dict(own)
        score = total / count
        if not math.isfinite(score):
            raise SkyweaveError(f"the train-validation loss is {score}: lower training.lr, or check the data")
        return {"validation": score}


@dataclass
class _Lines:
    """A line for each epoch, and what it says kept in the progress."""

    progress: EpochProgress
    epochs: int
    tell: Callable[[str], None]
    seconds: float = 0.0

    def say(self, text: str) -> None:
        """A line of its own."""
        self.tell(text)

    def losses(self, step: int, loss: float, rate: float, norm: float, elapsed: float, done: float) -> None:
        """What training an epoch gave."""
        self.seconds = elapsed
        self.progress.history.append({"epoch": self.progress.epoch + 1, "training": loss, "rate": rate})

    def validation(self, step: int, scores: dict[str, float]) -> None:
        """What its validation gave."""
        p, last = self.progress, self.progress.history[-1]
        last |= scores
        self.tell(
            f"{self.seconds:6.0f} s  epoch {p.epoch}/{self.epochs}  training {last['training']:.4f}  validation "
            f"{last['validation']:.4f}  rate {last['rate']:.1e}{'  ' + p.ended if p.ended else ''}"
        )

    def close(self) -> None:
        """Nothing is open."""


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
    overwrite: bool = False,
) -> EpochProgress:
    r"""Train the parameters of a module that ask for gradients, and leave it with the best weights.

    .. math:: L(\Theta) = L_{data}(\Theta) + \lambda_{wd} \sum_{p \in P_{train}} \|p\|_2^2 \quad\text{(Eq. 3)}

    The learning rate falls by a factor after a plateau of the train-validation loss; training ends early when that
    stops improving. A run that was interrupted continues on the same numbers.

    Args:
        module: trained in place; frozen parameters take no part, in the decay neither.
        loss: of a batch and a generator, from which all its randomness comes.
        training: patches of training days.
        validation: patches of train-validation days.
        settings: see `TrainingSection`.
        checkpoint: file of the run's state.
        made_with: all that the run depends on, by name; a checkpoint of another run is refused.
        tell: called with one line for each epoch.
        overwrite: begin anew where the checkpoint is that of another run.

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
    with own_randomness(Alone("cpu")):
        run = _Run(
            module, loss, training, validation, settings, checkpoint=checkpoint, made_with=made_with or {}, tell=speak,
            overwrite=overwrite,
        )  # fmt: skip
        run.loop()
    module.load_state_dict(run.kept)
    module.to("cpu")
    return run.progress
