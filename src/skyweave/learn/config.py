"""What every training run is configured by: its optimiser, its length, and how often it looks at itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from skyweave.config import Section
from skyweave.limits import MOST

__all__ = ["Batch", "HalfLife", "OptimiserConfig", "RunConfig", "Steps"]

Steps = Annotated[int, Field(ge=1, le=MOST["training_steps"])]
Batch = Annotated[int, Field(ge=1, le=MOST["batch"])]
HalfLife = Annotated[float, Field(gt=0, description="steps")]


class OptimiserConfig(Section):
    """Adam or AdamW; the rate rises linearly over `warmup` steps and falls as a cosine to `final_lr`."""

    name: Literal["adam", "adamw"] = "adam"
    lr: float = Field(default=1e-3, gt=0)
    final_lr: float = Field(default=1e-5, ge=0)
    warmup: int = Field(default=100, ge=0, le=MOST["training_steps"])
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = Field(default=0.0, ge=0)
    clip: float = Field(default=1.0, gt=0)


class RunConfig(Section):
    """What `skyweave.learn.run.TrainingRun` asks of a configuration; each kind of run has defaults of its own."""

    out: Path
    optimiser: OptimiserConfig = OptimiserConfig()
    ema_half_life: HalfLife = 500.0
    batch: Batch = 48
    steps: Steps = 5000
    max_minutes: float | None = Field(default=None, gt=0)
    seed: int = Field(default=0, ge=0, le=MOST["seed"])
    log_every: Steps = 20
    checkpoint_every: Steps = 500
    validate_every: Steps = 500
    keep: Literal["last", "best"] = "last"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int | None = Field(default=None, ge=1, le=MOST["threads"])
