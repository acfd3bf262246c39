"""Training an emulator: one function from a configuration to an `Emulator`."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from skyweave.emulate.config import EmulatorConfig
from skyweave.emulate.emulator import Emulator, save_emulator
from skyweave.emulate.hindcast import hindcast_errors
from skyweave.emulate.limit import power_limit
from skyweave.emulate.loss import ForecastLoss
from skyweave.emulate.networks import Integrator, build_integrator
from skyweave.emulate.reading import increments, longest_stretch, read_periods, residuals
from skyweave.emulate.simple import fit_climatology
from skyweave.errors import SkyweaveError
from skyweave.learn.optimiser import make_optimiser, step_seed
from skyweave.learn.processes import Alone, launch, own_randomness, threads
from skyweave.learn.run import FREE_KEYS, TrainingRun
from skyweave.prior.data import time_step

__all__ = ["train_emulator"]


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
    processes = launch(config.device)
    if not isinstance(processes, Alone):
        raise SkyweaveError("an emulator is trained by one process; start it without torchrun")
    with threads(config.threads), own_randomness(processes):
        run = _Run(config, processes, overwrite)
        run.loop()
        return run.finish()


class _Run(TrainingRun[EmulatorConfig]):
    """One training run of an emulator; what is measured of it at the end may change and not what is learnt."""

    result = "emulator.safetensors"
    free = (*FREE_KEYS, "hindcast", "residuals", "limit")
    module: Integrator

    def __init__(self, config: EmulatorConfig, processes: Alone, overwrite: bool) -> None:
        super().__init__(config, processes, overwrite)
        device = processes.device
        self.data, self.grid = read_periods(config)
        self.record = self.data.sampler.record
        torch.manual_seed(step_seed(config.seed, 0, 2**31))
        module = build_integrator(
            self.grid,
            len(self.data.spec.variables),
            self.data.conditioning.count,
            config.network,
            increments(self.record),
        ).to(device)
        self.loss = ForecastLoss(self.grid, config.loss).to(device)
        self.begin(module, make_optimiser(module, config.optimiser), self.data.digest())

    def _step(self) -> tuple[float, float, float]:
        c, step = self.config, self.progress.step
        rollout = c.loss.rollout if self.done >= c.loss.rollout_after else 1
        torch.manual_seed(step_seed(c.seed, 0, step))  # dropout draws from the global stream
        batch = self.data.sampler.batch(step)
        fields = batch.fields.to(self.processes.device)
        if c.loss.input_noise:
            size = c.loss.input_noise * self.module.deviation[:, None, None]
            fields[:, 0] += size * torch.randn(fields[:, 0].shape).to(fields)
        self.module.train()
        forcing = batch.conditioning.to(self.processes.device)
        return self._descend(self.loss(self.module, fields, forcing, rollout))

    @torch.no_grad()
    def _scores(self) -> dict[str, float]:
        """Errors of the steps of a rollout, averaged weights; 1 is about that of one step of persistence."""
        module = self._averaged(self.average.weights)
        batch = self.data.validation.batch(0)
        fields, forcing = batch.fields.to(self.processes.device), batch.conditioning.to(self.processes.device)
        scores = {}
        z = fields[:, 0]
        for k in range(1, fields.shape[1]):
            z = module(z, forcing[:, k - 1])
            scores[f"step {k}"] = float(self.loss.scaled_error(module, z, fields[:, k]).mean().sqrt())
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
        return module.to(self.processes.device).eval().requires_grad_(False)

    def finish(self) -> Emulator:
        """The emulator with its residuals and its errors by lead time, written to its file."""
        data, record = self.data, self.record
        emulator = Emulator(
            spec=replace(data.spec, window=1, time_step=None),
            grid=self.grid,
            time_step=time_step(record.times),
            transform=data.transform,
            integrator=self._averaged(self.kept).cpu(),
            settings=self.config.network,
            conditioning=data.conditioning,
            climatology=fit_climatology(record.dataset, data.spec),
            residuals=torch.zeros(0, len(data.spec.variables), *self.grid.shape),
            metadata=data.describe()
            | {
                "steps": self.progress.best_step if self.keeps_best else self.progress.step,
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
        save_emulator(emulator, self.out / self.result, overwrite=True)
        return emulator
