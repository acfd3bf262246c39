"""Training an emulator: one function from a configuration to an `Emulator`."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from skyweave.emulate.config import EmulatorConfig
from skyweave.emulate.emulator import Emulator, save_emulator
from skyweave.emulate.hindcast import hindcast_errors
from skyweave.emulate.limit import power_limit
from skyweave.emulate.loss import ForecastLoss
from skyweave.emulate.networks import Integrator, build_integrator
from skyweave.emulate.reading import increments, longest_stretch, read_periods, residuals
from skyweave.emulate.simple import fit_climatology
from skyweave.errors import SkyweaveError
from skyweave.prior.checkpoint import Average, Progress, load_checkpoint, save_checkpoint
from skyweave.prior.data import time_step
from skyweave.prior.processes import Alone, interruptible, launch, own_randomness
from skyweave.prior.reporter import Reporter
from skyweave.prior.train import CHECKPOINT_SECONDS, learning_rate, step_seed

__all__ = ["train_emulator"]

# What may differ between a run and its continuation without changing what is learnt.
_FREE_KEYS = (
    "out",
    "max_minutes",
    "threads",
    "device",
    "checkpoint_every",
    "log_every",
    "hindcast",
    "residuals",
    "limit",
)


def train_emulator(config: EmulatorConfig, *, overwrite: bool = False) -> Emulator:
    """Learn an emulator as `config` says, or continue a run that was interrupted.

    The directory ``config.out`` receives ``checkpoint.safetensors``, ``metrics.jsonl`` and, at the end,
    ``emulator.safetensors`` with the errors by lead time. Transforms, increments and climatology are fitted on the
    training period alone; which weights are kept, residuals and hindcast errors come from the validation period.

    Args:
        config: see `EmulatorConfig`.
        overwrite: start afresh where the directory holds a run of another configuration, or a finished one.

    Returns:
        The emulator as written to ``emulator.safetensors``.

    Raises:
        SkyweaveError: unusable data, or `out` holds another run and `overwrite` is false.
    """
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    processes = launch(config.device)
    if not isinstance(processes, Alone):
        raise SkyweaveError("an emulator is trained by one process; start it without torchrun")
    with own_randomness(processes):
        run = _Run(config, processes.device, overwrite)
        run.train()
        return run.finish()


class _Run:
    """One training run: what it holds between steps."""

    def __init__(self, config: EmulatorConfig, device: torch.device, overwrite: bool) -> None:
        self.config, self.device, self.out = config, device, Path(config.out)
        self.progress = Progress()
        self.best: dict[str, Tensor] | None = None
        path = self.out / "checkpoint.safetensors"
        saved = None
        if path.exists() and not overwrite:
            saved = load_checkpoint(path)
            self._refuse_other(saved.config)
        elif (self.out / "emulator.safetensors").exists() and not overwrite:
            raise SkyweaveError(
                f"{self.out}/emulator.safetensors exists; choose another `out` or allow overwriting"
            )
        self.data, self.grid = read_periods(config)
        self.record = self.data.sampler.record
        torch.manual_seed(step_seed(config.seed, 0, 2**31))
        self.module = build_integrator(
            self.grid,
            len(self.data.spec.variables),
            self.data.conditioning.count,
            config.network,
            increments(self.record),
        ).to(device)
        self.loss = ForecastLoss(self.grid, config.loss).to(device)
        o = config.optimiser
        kind = torch.optim.Adam if o.name == "adam" else torch.optim.AdamW
        self.optimiser = kind(self.module.parameters(), lr=o.lr, betas=o.betas, weight_decay=o.weight_decay)
        self.average = Average(self.module, config.ema_half_life)
        if saved is not None:
            self.progress = saved.progress
            self.module.load_state_dict(saved.part("weights"))
            self.average.weights = {k: v.to(device) for k, v in saved.part("averaged").items()}
            self.best = saved.part("best") or None
            saved.restore_optimiser(self.optimiser)
        self.started = time.monotonic() - self.progress.elapsed
        self.out.mkdir(parents=True, exist_ok=True)
        _trim(self.out / "metrics.jsonl", self.progress.step)

    def _refuse_other(self, saved: dict[str, Any]) -> None:
        mine = _comparable(self.config)
        changed = sorted(k for k in mine if mine[k] != saved.get(k))
        if changed:
            raise SkyweaveError(
                f"{self.out} holds a run with other settings ({', '.join(changed)}); "
                "choose another `out`, restore them, or allow overwriting"
            )

    @property
    def done(self) -> float:
        """Share of the run that is behind us, by steps or by time, whichever is further."""
        share = self.progress.step / self.config.steps
        if self.config.max_minutes is not None:
            share = max(share, (time.monotonic() - self.started) / (60 * self.config.max_minutes))
        return share

    def train(self) -> None:
        with interruptible() as stop:
            self._loop(stop)

    def _loop(self, stop: Callable[[], bool]) -> None:
        c = self.config
        report = Reporter(cast(Any, c), self.out, True, self.progress.step)
        if self.progress.step:
            report.say(f"continuing at step {self.progress.step}")
        saved = time.monotonic()
        try:
            while self.done < 1:
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
                finished = self.done >= 1
                if p.step % c.log_every == 0 or finished:
                    elapsed = time.monotonic() - self.started
                    report.losses(p.step, p.loss_sum / p.loss_count, rate, norm, elapsed, self.done)
                    p.loss_sum, p.loss_count = 0.0, 0
                if p.step % c.validate_every == 0 or finished:
                    report.validation(p.step, self._validate())
                if (
                    p.step % c.checkpoint_every == 0
                    or finished
                    or time.monotonic() - saved > CHECKPOINT_SECONDS
                ):
                    self._save()
                    saved = time.monotonic()
        finally:
            report.close()

    def _step(self) -> tuple[float, float, float]:
        c, step = self.config, self.progress.step
        rollout = c.loss.rollout if self.done >= c.loss.rollout_after else 1
        torch.manual_seed(step_seed(c.seed, 0, step))  # dropout draws from the global stream
        batch = self.data.sampler.batch(step)
        fields = batch.fields.to(self.device)
        if c.loss.input_noise:
            size = c.loss.input_noise * self.module.deviation[:, None, None]
            fields[:, 0] += size * torch.randn(fields[:, 0].shape).to(fields)
        rate = learning_rate(c.optimiser, step, self.done)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.module.train()
        loss = self.loss(self.module, fields, batch.conditioning.to(self.device), rollout)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.module.parameters(), c.optimiser.clip)
        self.optimiser.step()
        self.progress.step = step + 1
        self.average.update(self.module, step + 1)
        return float(loss.detach()), float(norm), rate

    @torch.no_grad()
    def _validate(self) -> dict[str, float]:
        """Errors of the steps of a rollout, averaged weights; 1 is about that of one step of persistence."""
        module = self._averaged(self.average.weights)
        batch = self.data.validation.batch(0)
        fields, forcing = batch.fields.to(self.device), batch.conditioning.to(self.device)
        scores = {}
        z = fields[:, 0]
        for k in range(1, fields.shape[1]):
            z = module(z, forcing[:, k - 1])
            scores[f"step {k}"] = float(self.loss.scaled_error(module, z, fields[:, k]).mean().sqrt())
        total = sum(scores.values()) / len(scores)
        best = self.progress.best_score
        if self.config.keep == "best" and (best is None or total < best):
            self.progress.best_score, self.progress.best_step = total, self.progress.step
            self.best = {k: v.clone() for k, v in self.average.weights.items()}
        return scores

    def _averaged(self, weights: dict[str, Tensor]) -> Integrator:
        module = build_integrator(
            self.grid,
            len(self.data.spec.variables),
            self.data.conditioning.count,
            self.config.network,
            (self.module.mean, self.module.deviation),
        )
        module.load_state_dict(weights)
        return module.to(self.device).eval().requires_grad_(False)

    def _save(self) -> None:
        self.progress.elapsed = time.monotonic() - self.started
        save_checkpoint(
            self.out / "checkpoint.safetensors",
            self.progress,
            _comparable(self.config),
            self.module.state_dict(),
            self.average.weights,
            self.best,
            self.optimiser,
        )

    def finish(self) -> Emulator:
        """The emulator with its residuals and its errors by lead time, written to its file."""
        keeps_best = self.config.keep == "best" and self.best is not None
        weights = self.best if keeps_best and self.best is not None else self.average.weights
        data, record = self.data, self.record
        emulator = Emulator(
            spec=replace(data.spec, window=1, time_step=None),
            grid=self.grid,
            time_step=time_step(record.times),
            transform=data.transform,
            integrator=self._averaged(weights).cpu(),
            settings=self.config.network,
            conditioning=data.conditioning,
            climatology=fit_climatology(record.dataset, data.spec),
            residuals=torch.zeros(0, len(data.spec.variables), *self.grid.shape),
            metadata=data.describe()
            | {
                "steps": self.progress.best_step if keeps_best else self.progress.step,
                "validation": {"scaled_rmse": self.progress.best_score},
            },
        )
        if self.config.limit is not None:
            emulator.limit = power_limit(record, self.grid.periodic, self.config.limit)
        validation = self.data.validation.record
        emulator.residuals = residuals(emulator, validation, self.config.residuals)
        h = self.config.hindcast
        # A short validation period gives what it can.
        longest = longest_stretch(validation.times) - 1
        found = hindcast_errors(emulator, validation.dataset, steps=min(h.steps, longest), starts=h.starts)
        emulator.metadata["hindcast"] = found.to_dict()
        save_emulator(emulator, self.out / "emulator.safetensors", overwrite=True)
        return emulator


def _comparable(config: EmulatorConfig) -> dict[str, Any]:
    values = config.model_dump(mode="json", by_alias=True)
    return {k: v for k, v in values.items() if k not in _FREE_KEYS}


def _trim(path: Path, step: int) -> None:
    """Drop lines written after the checkpoint that the run continues from."""

    def kept() -> Iterator[str]:
        if path.exists() and step:
            for line in path.read_text().splitlines():
                try:
                    if json.loads(line)["step"] <= step:
                        yield line + "\n"
                except (json.JSONDecodeError, KeyError):
                    continue

    path.write_text("".join(list(kept())))
