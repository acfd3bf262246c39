"""The configuration of an emulator's training: what `skyweave emulate train CONFIG.yaml` reads."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from skyweave.errors import SkyweaveError
from skyweave.learn.config import Batch, HalfLife, OptimiserConfig, Steps
from skyweave.limits import MOST
from skyweave.prior.config import (
    LEAST_PATCH,
    FieldsConfig,
    Multipliers,
    Section,
    TrainConfig,
)

__all__ = ["EmulatorConfig", "HindcastConfig", "LossConfig", "NetworkConfig"]


class NetworkConfig(Section):
    """The network that predicts the increment; `auto` is a spherical one on global grids, else a U-Net.

    `layers`, `ratio`, `degrees` and `local` belong to the spherical network (see `skyweave.emulate.sfno.SFNO`),
    `multipliers`, `blocks` and `dropout` to the U-Net (see `skyweave.diffusion.network.Architecture`).
    """

    kind: Literal["auto", "sfno", "unet"] = "auto"
    width: int = Field(default=32, ge=4, le=4096)
    layers: int = Field(default=4, ge=1, le=256)
    ratio: float = Field(default=2.0, gt=0, le=64)
    degrees: int | None = Field(default=None, ge=2, le=8192)
    local: bool = True
    multipliers: Multipliers = (1, 2, 2)
    blocks: int = Field(default=1, ge=1, le=64)
    dropout: float = Field(default=0.0, ge=0, lt=1)


class LossConfig(Section):
    """The mean square error of `rollout` steps, a weight on the power of small scales, and noise to be rid of.

    Single steps are learnt first: the rollout begins after the share `rollout_after` of the run. `spectral` is the
    weight of the power beyond the share `spectral_from` of the highest wavenumber; see `skyweave.emulate.loss`.
    `input_noise` is white noise on the state that a step begins with, over the deviation of the increments: what the
    network has learnt to take away does not pile up in a rollout (Sanchez-Gonzalez et al. 2020,
    https://arxiv.org/abs/2002.09405).
    """

    rollout: int = Field(default=1, ge=1, le=MOST["steps"])
    rollout_after: float = Field(default=0.6, ge=0, le=1)
    spectral: float = Field(default=0.1, ge=0)
    spectral_from: float = Field(default=0.5, ge=0, lt=1)
    input_noise: float = Field(default=0.05, ge=0)


class HindcastConfig(Section):
    """Forecasts of the validation period from which the emulator's error by lead time is estimated."""

    steps: int = Field(default=20, ge=1, le=MOST["training_steps"])
    starts: int = Field(default=40, ge=2, le=MOST["starts"])


class EmulatorConfig(FieldsConfig):
    """All that training an emulator depends on; `out` receives checkpoints, `metrics.jsonl`, `emulator.safetensors`.

    `data`, `split`, `transform` and `bounds` are those of a prior's training; `data.conditioning` names the
    external forcing. `residuals` one-step errors of the validation period are stored for stochastic forecasts. After a
    step no wave is left stronger than the share `limit` of the training states have it; null leaves this out.
    """

    network: NetworkConfig = NetworkConfig()
    loss: LossConfig = LossConfig()
    hindcast: HindcastConfig = HindcastConfig()
    residuals: int = Field(default=32, ge=0, le=MOST["members"])
    limit: float | None = Field(default=0.99, gt=0, le=1)
    optimiser: OptimiserConfig = OptimiserConfig(name="adamw", lr=3e-3, betas=(0.9, 0.95), weight_decay=1e-4)
    ema_half_life: HalfLife = 100.0
    batch: Batch = 4
    steps: Steps = 20000
    log_every: Steps = 50
    validate_every: Steps = 250
    validation_starts: int = Field(default=32, ge=1, le=MOST["starts"])
    keep: Literal["last", "best"] = "best"

    @property
    def window(self) -> int:
        """Consecutive frames that one example needs, an odd number."""
        return 2 * ((self.loss.rollout + 1) // 2) + 1

    def reading(self, shape: tuple[int, int]) -> TrainConfig:
        """The settings by which a prior's training would read windows of whole fields of `shape`.

        Raises:
            SkyweaveError: a grid of very few rows or columns.
        """
        if min(shape) < LEAST_PATCH or max(shape) > MOST["patch"]:
            raise SkyweaveError(
                f"a grid of {shape[0]} x {shape[1]} cells: an emulator takes {LEAST_PATCH} to {MOST['patch']} rows and "
                "columns"
            )
        return TrainConfig(
            data=self.data,
            split=self.split,
            out=self.out,
            transform=self.transform,
            bounds=self.bounds,
            patch=shape,
            window=self.window,
            batch=self.batch,
            seed=self.seed,
            validation_patches=self.validation_starts,
        )
