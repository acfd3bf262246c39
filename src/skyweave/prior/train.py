"""Training a prior: one function from a configuration to a `LearntPrior`, on one process or several."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from skyweave.errors import SkyweaveError
from skyweave.prior.checkpoint import Average, Progress, load_checkpoint, save_checkpoint
from skyweave.prior.config import OptimiserConfig, TrainConfig
from skyweave.prior.corruption import extra_mask
from skyweave.prior.loss import denoising_errors, draw_sigma, edm_loss
from skyweave.prior.precondition import PreconditionedNetwork
from skyweave.prior.prepare import TrainingData, prepare
from skyweave.prior.processes import Processes, interruptible, launch, own_randomness
from skyweave.prior.reporter import Reporter
from skyweave.prior.storage import LearntPrior, build_network, open_prior, save_prior

CHECKPOINT_SECONDS = 300.0
"""A checkpoint is written at least this often."""

# What may differ between a run and its continuation without changing what is learnt.
_FREE_KEYS = ("out", "max_minutes", "threads", "device", "checkpoint_every", "log_every")


def train(config: TrainConfig, *, overwrite: bool = False) -> LearntPrior:
    """Learn a prior as `config` says, or continue a run that was interrupted.

    The directory ``config.out`` receives ``checkpoint.safetensors``, ``metrics.jsonl`` and
    ``prior.safetensors``. If it holds a checkpoint of the same configuration the run continues from there,
    with the losses and weights it would have had without interruption.

    Args:
        config: see `TrainConfig`.
        overwrite: start afresh where the directory holds a run of another configuration.

    Returns:
        The prior with averaged weights, as written to ``prior.safetensors``.

    Raises:
        SkyweaveError: unusable data, or `out` holds another run and `overwrite` is false.
    """
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    processes = launch(config.device)
    out = Path(config.out)
    with own_randomness(processes):
        run = _Run(config, processes, out, overwrite)
        return run.finish() if run.complete else run.loop()


def learning_rate(config: OptimiserConfig, step: int, done: float) -> float:
    """Linear warm-up times a cosine from `lr` to `final_lr` as `done` goes from 0 to 1."""
    rate = config.final_lr + (config.lr - config.final_lr) * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
    return rate * min(1.0, (step + 1) / config.warmup) if config.warmup else rate


def step_seed(seed: int, stream: int, step: int) -> int:
    """Seed of everything random in one step of one process."""
    return int(np.random.SeedSequence((seed, stream, step)).generate_state(1, np.uint64)[0] >> np.uint64(1))


class _Run:
    """One training run: what it holds between steps."""

    def __init__(self, config: TrainConfig, processes: Processes, out: Path, overwrite: bool) -> None:
        self.config, self.processes, self.out = config, processes, out
        self.progress = Progress()
        self.best: dict[str, Tensor] | None = None
        self.preset = config.preset()
        checkpoint_path = out / "checkpoint.safetensors"
        saved = None
        if checkpoint_path.exists() and not overwrite:
            saved = load_checkpoint(checkpoint_path)
            self._refuse_other(saved.config)
        elif (out / "prior.safetensors").exists() and not overwrite:
            raise SkyweaveError(f"{out}/prior.safetensors exists; choose another `out` or allow overwriting")
        per_process, rest = divmod(config.batch, processes.world_size)
        if rest or not per_process:
            raise SkyweaveError(
                f"batch {config.batch} cannot be shared equally by {processes.world_size} processes"
            )
        self.data: TrainingData = prepare(config, per_process, stream=processes.global_rank)

        torch.manual_seed(step_seed(config.seed, 0, 2**31))
        module = build_network(
            len(self.data.spec.variables),
            self.data.conditioning.count,
            self.preset.architecture,
            self.preset.sigma_data,
        )
        if config.start_from is not None:
            _begin_with(module, config.start_from)
        self.module = module
        o = config.optimiser
        kind = torch.optim.Adam if o.name == "adam" else torch.optim.AdamW
        optimiser = kind(module.parameters(), lr=o.lr, betas=o.betas, weight_decay=o.weight_decay)
        self.model, self.optimiser = processes.setup(module, optimiser)
        self.average = Average(module, config.ema_half_life)
        if saved is not None:
            self.progress = saved.progress
            module.load_state_dict(saved.part("weights"))
            self.average.weights = {k: v.to(processes.device) for k, v in saved.part("averaged").items()}
            self.best = saved.part("best") or None
            saved.restore_optimiser(_inner(self.optimiser))
        self.started = time.monotonic() - self.progress.elapsed
        if processes.is_global_zero:
            out.mkdir(parents=True, exist_ok=True)
            self._trim_metrics()

    def _refuse_other(self, saved: dict[str, Any]) -> None:
        mine = _comparable(self.config)
        changed = sorted(k for k in mine if mine[k] != saved.get(k))
        if changed:
            raise SkyweaveError(
                f"{self.out} holds a run with other settings ({', '.join(changed)}); "
                "choose another `out`, restore them, or allow overwriting"
            )

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
        path.write_text("".join(line + "\n" for line in kept))

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
        return self.done >= 1

    def loop(self) -> LearntPrior:
        with interruptible() as stop:
            self._loop(stop)
        return self.finish()

    def _loop(self, stop: Callable[[], bool]) -> None:
        c = self.config
        report = Reporter(c, self.out, self.processes.is_global_zero, self.progress.step)
        if self.progress.step:
            report.say(f"continuing at step {self.progress.step}")
        saved = time.monotonic()
        try:
            while not self.complete:
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
        c, step, device = self.config, self.progress.step, self.processes.device
        batch = self.data.sampler.batch(step)
        seed = step_seed(c.seed, self.processes.global_rank, step)
        generator = torch.Generator().manual_seed(seed)
        torch.manual_seed(seed)  # dropout draws from the global stream
        sigma = draw_sigma(len(batch.fields), self.preset.p_mean, self.preset.p_std, generator)
        noise = torch.randn(batch.fields.shape, generator=generator)
        given = None if c.corruption is None else extra_mask(batch.fields, c.corruption, generator).to(device)
        rate = learning_rate(c.optimiser, step, self.done)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.model.train()
        loss = edm_loss(
            self.model,  # type: ignore[arg-type]
            batch.fields.to(device),
            sigma.to(device),
            noise.to(device),
            batch.conditioning.to(device),
            given=given,
            sigma_data=self.preset.sigma_data,
            periodic=self.data.sampler.whole_circle,
            autocast=c.autocast,
        )
        self.optimiser.zero_grad(set_to_none=True)
        self.processes.backward(loss)
        norm = nn.utils.clip_grad_norm_(self.module.parameters(), c.optimiser.clip)
        self.optimiser.step()
        self.progress.step = step + 1
        self.average.update(self.module, step + 1)
        mean = self.processes.all_reduce(loss.detach(), reduce_op="mean")
        return float(mean), float(norm), rate  # type: ignore[arg-type]

    def _validate(self) -> dict[str, float]:
        scores = self._score(self._averaged(self.average.weights))
        total = sum(scores.values()) / len(scores)
        best = self.progress.best_score
        if self.config.keep == "best" and (best is None or total < best):
            self.progress.best_score, self.progress.best_step = total, self.progress.step
            self.best = {k: v.clone() for k, v in self.average.weights.items()}
        return scores

    @torch.no_grad()
    def _score(self, network: PreconditionedNetwork) -> dict[str, float]:
        """Loss at fixed noise levels, with fixed noise on fixed patches."""
        c = self.config
        batch = self.data.validation.batch(0)
        fields, conditioning = (
            batch.fields.to(self.processes.device),
            batch.conditioning.to(self.processes.device),
        )
        generator = torch.Generator().manual_seed(step_seed(c.seed, 0, 2**32))
        scores: dict[str, float] = {}
        for level in c.validation_sigmas:
            noise = torch.randn(fields.shape, generator=generator).to(fields)
            errors = [
                denoising_errors(
                    network,
                    fields[part],
                    torch.full((len(fields[part]),), level).to(fields),
                    noise[part],
                    conditioning[part],
                    sigma_data=self.preset.sigma_data,
                    periodic=self.data.validation.whole_circle,
                    autocast=c.autocast,
                )
                for part in (slice(s, s + c.batch) for s in range(0, len(fields), c.batch))
            ]
            scores[f"{level:g}"] = float(torch.cat(errors).mean())
        return scores

    def _averaged(self, weights: dict[str, Tensor]) -> PreconditionedNetwork:
        network = build_network(
            len(self.data.spec.variables),
            self.data.conditioning.count,
            self.preset.architecture,
            self.preset.sigma_data,
        )
        network.load_state_dict(weights)
        return network.to(self.processes.device).eval().requires_grad_(False)

    def _save(self) -> None:
        self.progress.elapsed = time.monotonic() - self.started
        if not self.processes.is_global_zero:
            return
        save_checkpoint(
            self.out / "checkpoint.safetensors",
            self.progress,
            _comparable(self.config),
            self.module.state_dict(),
            self.average.weights,
            self.best,
            _inner(self.optimiser),
        )
        save_prior(self._prior(), self.out / "prior.safetensors", overwrite=True)

    def _prior(self) -> LearntPrior:
        weights = self.best if self.config.keep == "best" and self.best is not None else self.average.weights
        network = self._averaged(weights)
        scores = self._score(network)
        metadata = self.data.describe() | {
            "noise": {"p_mean": self.preset.p_mean, "p_std": self.preset.p_std},
            "steps": self.progress.best_step if weights is self.best else self.progress.step,
            "validation": {"loss_by_sigma": scores, "patches": self.config.validation_patches},
            "calibration": None,
        }
        return LearntPrior(
            self.data.spec,
            self.data.transform,
            self.config.patch,
            network.cpu(),
            self.data.conditioning,
            metadata,
        )

    def finish(self) -> LearntPrior:
        return self._prior()


def _begin_with(module: PreconditionedNetwork, path: Path) -> None:
    """Take over the weights of another prior.

    Raises:
        SkyweaveError: it cannot be read, or its network is another one.
    """
    weights = open_prior(path).network.state_dict()
    mine = module.state_dict()
    if {k: v.shape for k, v in weights.items()} != {k: v.shape for k, v in mine.items()}:
        raise SkyweaveError(
            f"start_from {path}: its network is not the one configured here; give the same variables, conditioning, "
            "window, corruption and network"
        )
    module.load_state_dict(weights)


def _inner(optimiser: Any) -> torch.optim.Optimizer:
    """The optimiser itself, where the processes have wrapped it."""
    return getattr(optimiser, "optimizer", optimiser)


def _comparable(config: TrainConfig) -> dict[str, Any]:
    values = config.model_dump(mode="json")
    return {k: v for k, v in values.items() if k not in _FREE_KEYS}
