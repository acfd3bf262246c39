"""The state of a training run on disk: tensors and JSON in one safetensors file, no pickle."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from skyweave.errors import SkyweaveError
from skyweave.prior.storage import read_tensors, write_tensors


@dataclass
class Progress:
    """What a run has done so far; randomness is a function of seed, process and step, and needs no entry."""

    step: int = 0
    elapsed: float = 0.0
    loss_sum: float = 0.0
    loss_count: int = 0
    best_score: float | None = None
    best_step: int = 0


def save_checkpoint(
    path: Path,
    progress: Progress,
    config: dict[str, Any],
    weights: dict[str, Tensor],
    averaged: dict[str, Tensor],
    best: dict[str, Tensor] | None,
    optimiser: torch.optim.Optimizer,
) -> None:
    """Write everything that the continuation depends on, atomically."""
    tensors = {f"weights.{k}": v.detach().cpu().contiguous() for k, v in weights.items()}
    tensors |= {f"averaged.{k}": v.detach().cpu().contiguous() for k, v in averaged.items()}
    if best is not None:
        tensors |= {f"best.{k}": v.detach().cpu().contiguous() for k, v in best.items()}
    for index, state in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{k}": v.detach().cpu().contiguous() for k, v in state.items()}
    header = {"kind": "training checkpoint", "progress": asdict(progress), "config": config}
    write_tensors(tensors, header, path)


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint read back."""

    progress: Progress
    config: dict[str, Any]
    tensors: dict[str, Tensor]

    def part(self, name: str) -> dict[str, Tensor]:
        """Tensors saved under "weights", "averaged", "best" or "optimiser"."""
        return {k.removeprefix(f"{name}."): v for k, v in self.tensors.items() if k.startswith(f"{name}.")}

    def restore_optimiser(self, optimiser: torch.optim.Optimizer) -> None:
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in self.part("optimiser").items():
            index, name = key.split(".", 1)
            state.setdefault(int(index), {})[name] = value
        optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        SkyweaveError: the file is damaged or is something else.
    """
    header, tensors = read_tensors(path, "a training checkpoint")
    if header.get("kind") != "training checkpoint":
        raise SkyweaveError(f"{path}: not a training checkpoint (kind {header.get('kind')!r})")
    return Checkpoint(Progress(**header["progress"]), header["config"], tensors)


class Average:
    """Exponential moving average of a module's parameters.

    ``a <- d a + (1 - d) w`` with ``d = 0.5^(1 / h)``, where the half-life h (in steps) starts at a tenth of
    the steps done, so that the first random weights are soon forgotten (EDM, Appendix F.2 has such a ramp).
    """

    def __init__(self, module: nn.Module, half_life: float) -> None:
        self.half_life = half_life
        self.weights = {k: v.detach().clone() for k, v in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        half_life = min(self.half_life, 0.1 * step)
        decay = 0.5 ** (1 / half_life) if half_life > 0 else 0.0
        current = module.state_dict()
        for name, value in self.weights.items():
            value.lerp_(current[name].to(value), 1 - decay)
