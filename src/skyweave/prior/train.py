"""Training a prior: one function from a configuration to a `LearntPrior`, on one process or several."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from skyweave.diffusion.loss import denoising_errors, draw_sigma, edm_loss
from skyweave.diffusion.precondition import PreconditionedNetwork
from skyweave.errors import SkyweaveError
from skyweave.learn.optimiser import make_optimiser, step_seed
from skyweave.learn.processes import Processes, launch, own_randomness, threads
from skyweave.learn.run import TrainingRun
from skyweave.prior.config import TrainConfig
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
    processes = launch(config.device)
    with threads(config.threads), own_randomness(processes):
        run = _Run(config, processes, overwrite)
        run.loop()
        return run.prior()


class _Run(TrainingRun[TrainConfig]):
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
        module.to(processes.device)  # before its parameters are taken
        optimiser = make_optimiser(module, config.optimiser)
        # What wraps the optimiser serves precisions that are not used here.
        self.model, _ = processes.setup(module, optimiser)
        self.autocast = config.autocast
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
        return self._descend(edm_loss(errors, fields))

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
