"""The optimiser of a training run, its learning rate, and the randomness of each step."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn

from skyweave.learn.config import OptimiserConfig

__all__ = ["learning_rate", "make_optimiser", "step_seed"]


def make_optimiser(module: nn.Module, config: OptimiserConfig) -> torch.optim.Optimizer:
    """The optimiser of all parameters of a module."""
    kind = torch.optim.Adam if config.name == "adam" else torch.optim.AdamW
    return kind(module.parameters(), lr=config.lr, betas=config.betas, weight_decay=config.weight_decay)


def learning_rate(config: OptimiserConfig, step: int, done: float) -> float:
    """Linear warm-up times a cosine from `lr` to `final_lr` as `done` goes from 0 to 1."""
    rate = config.final_lr + (config.lr - config.final_lr) * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
    return rate * min(1.0, (step + 1) / config.warmup) if config.warmup else rate


def step_seed(seed: int, stream: int, step: int) -> int:
    """Seed of everything random in one step of one process."""
    return int(np.random.SeedSequence((seed, stream, step)).generate_state(1, np.uint64)[0] >> np.uint64(1))
