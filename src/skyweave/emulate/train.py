"""Training an emulator: one function from a configuration to an `Emulator`."""

from __future__ import annotations

from dataclasses import replace

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
from skyweave.learn.processes import Alone, launch, own_randomness
from skyweave.learn.run import FREE_KEYS, TrainingRun
from skyweave.prior.data import time_step
from skyweave.prior.train import learning_rate, step_seed

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
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    processes = launch(config.device)
    if not isinstance(processes, Alone):
        raise SkyweaveError("an emulator is trained by one process; start it without torchrun")
    with own_randomness(processes):
        run = _Run(config, processes, overwrite)
        run.loop()
        return run.finish()


class _Run(TrainingRun):
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
        o = config.optimiser
        kind = torch.optim.Adam if o.name == "adam" else torch.optim.AdamW
        optimiser = kind(module.parameters(), lr=o.lr, betas=o.betas, weight_decay=o.weight_decay)
        self.begin(module, optimiser, self.data.digest())

    def _step(self) -> tuple[float, float, float]:
        c, step = self.config, self.progress.step
        rollout = c.loss.rollout if self.done >= c.loss.rollout_after else 1
        torch.manual_seed(step_seed(c.seed, 0, step))  # dropout draws from the global stream
        batch = self.data.sampler.batch(step)
        fields = batch.fields.to(self.processes.device)
        if c.loss.input_noise:
            size = c.loss.input_noise * self.module.deviation[:, None, None]
            fields[:, 0] += size * torch.randn(fields[:, 0].shape).to(fields)
        rate = learning_rate(c.optimiser, step, self.done)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.module.train()
        loss = self.loss(self.module, fields, batch.conditioning.to(self.processes.device), rollout)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.module.parameters(), c.optimiser.clip)
        self.optimiser.step()
        self.progress.step = step + 1
        self.average.update(self.module, step + 1)
        return float(loss.detach()), float(norm), rate

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
