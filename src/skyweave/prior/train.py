"""Training a prior: one function from a configuration to a `LearntPrior`, on one process or several."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from skyweave.diffusion.loss import denoising_errors, draw_sigma, edm_loss
from skyweave.diffusion.precondition import PreconditionedNetwork
from skyweave.errors import SkyweaveError
from skyweave.learn.processes import Processes, bfloat16_pays, launch, own_randomness
from skyweave.learn.run import TrainingRun
from skyweave.prior.config import OptimiserConfig, TrainConfig
from skyweave.prior.corruption import extra_mask
from skyweave.prior.prepare import TrainingData, prepare
from skyweave.prior.storage import LearntPrior, build_network, open_prior, save_prior


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
    with own_randomness(processes):
        run = _Run(config, processes, overwrite)
        run.loop()
        return run.prior()


def learning_rate(config: OptimiserConfig, step: int, done: float) -> float:
    """Linear warm-up times a cosine from `lr` to `final_lr` as `done` goes from 0 to 1."""
    rate = config.final_lr + (config.lr - config.final_lr) * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
    return rate * min(1.0, (step + 1) / config.warmup) if config.warmup else rate


def step_seed(seed: int, stream: int, step: int) -> int:
    """Seed of everything random in one step of one process."""
    return int(np.random.SeedSequence((seed, stream, step)).generate_state(1, np.uint64)[0] >> np.uint64(1))


class _Run(TrainingRun):
    """One training run of a prior."""

    result = "prior.safetensors"

    def __init__(self, config: TrainConfig, processes: Processes, overwrite: bool) -> None:
        super().__init__(config, processes, overwrite)
        self.preset = config.preset()
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
        o = config.optimiser
        kind = torch.optim.Adam if o.name == "adam" else torch.optim.AdamW
        optimiser = kind(module.parameters(), lr=o.lr, betas=o.betas, weight_decay=o.weight_decay)
        self.model, optimiser = processes.setup(module, optimiser)
        self.autocast = config.autocast and bfloat16_pays(processes.device)
        self.begin(module, optimiser, self.data.digest())

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
        fields = batch.fields.to(device)
        errors = denoising_errors(
            self.model,  # type: ignore[arg-type]
            fields,
            sigma.to(device),
            noise.to(device),
            batch.conditioning.to(device),
            given=given,
            sigma_data=self.preset.sigma_data,
            periodic=self.data.sampler.whole_circle,
            autocast=self.autocast,
        )
        loss = edm_loss(errors, fields)
        self.optimiser.zero_grad(set_to_none=True)
        self.processes.backward(loss)
        norm = nn.utils.clip_grad_norm_(self.module.parameters(), c.optimiser.clip)
        self.optimiser.step()
        self.progress.step = step + 1
        self.average.update(self.module, step + 1)
        mean = self.processes.all_reduce(loss.detach(), reduce_op="mean")
        return float(mean), float(norm), rate  # type: ignore[arg-type]

    def _scores(self) -> dict[str, float]:
        return self._score(self._averaged(self.average.weights))

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
                    autocast=self.autocast,
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
        super()._save()
        if self.processes.is_global_zero:
            save_prior(self.prior(), self.out / self.result, overwrite=True)

    def prior(self) -> LearntPrior:
        """What has been learnt so far, with its validation scores."""
        network = self._averaged(self.kept)
        scores = self._score(network)
        metadata = self.data.describe() | {
            "noise": {"p_mean": self.preset.p_mean, "p_std": self.preset.p_std},
            "steps": self.progress.best_step if self.keeps_best else self.progress.step,
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
