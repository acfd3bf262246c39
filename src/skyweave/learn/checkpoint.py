"""The state of a training run on disk: tensors and JSON in one safetensors file, no pickle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from skyweave.io.tensors import (
    Part,
    check_kind,
    check_shapes,
    damaged,
    parse_header,
    read_tensors,
    write_tensors,
)


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
    data: str = "",
) -> None:
    """Write everything that the continuation depends on, atomically; of the data their digest."""
    tensors = {f"weights.{k}": v.detach().cpu().contiguous() for k, v in weights.items()}
    tensors |= {f"averaged.{k}": v.detach().cpu().contiguous() for k, v in averaged.items()}
    if best is not None:
        tensors |= {f"best.{k}": v.detach().cpu().contiguous() for k, v in best.items()}
    for index, state in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{k}": v.detach().cpu().contiguous() for k, v in state.items()}
    header = {"kind": "training checkpoint", "progress": asdict(progress), "config": config, "data": data}
    write_tensors(tensors, header, path)


Count = Annotated[int, Field(ge=0, le=2**53)]


class _ProgressHeader(Part):
    step: Count
    elapsed: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    loss_sum: float
    loss_count: Count
    best_score: float | None
    best_step: Count


class _CheckpointHeader(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)

    progress: _ProgressHeader
    config: dict[str, Any]
    data: str = ""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint read back."""

    progress: Progress
    config: dict[str, Any]
    tensors: dict[str, Tensor]
    path: Path | None = None
    data: str = ""

    def part(self, name: str) -> dict[str, Tensor]:
        """Tensors saved under "weights", "averaged", "best" or "optimiser"."""
        return {k.removeprefix(f"{name}."): v for k, v in self.tensors.items() if k.startswith(f"{name}.")}

    def restore(self, module: nn.Module, optimiser: torch.optim.Optimizer) -> None:
        """Weights and the state of the optimiser as they were.

        Raises:
            SkyweaveError: the file was damaged, or is that of another network.
        """
        try:
            check_shapes(self.part("weights"), module.state_dict(), self.path or "", "this checkpoint")
            check_shapes(self.part("averaged"), module.state_dict(), self.path or "", "this checkpoint")
            if best := self.part("best"):
                check_shapes(best, module.state_dict(), self.path or "", "this checkpoint")
            module.load_state_dict(self.part("weights"))
            restore_optimiser(optimiser, self.part("optimiser"))
        except (ValueError, KeyError, IndexError, TypeError, RuntimeError) as error:
            raise damaged(self.path or "", "this checkpoint", error) from None


def restore_optimiser(optimiser: torch.optim.Optimizer, saved: Mapping[str, Tensor]) -> None:
    """Give an optimiser the state whose tensors are saved as "INDEX.NAME".

    Raises:
        ValueError: a tensor that belongs to no parameter, or has another shape than it.
    """
    groups = optimiser.state_dict()["param_groups"]
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in saved.items():
        index, _, name = key.partition(".")
        known = index.isascii() and index.isdecimal() and len(index) < 10 and int(index) < len(parameters)
        if not known or name not in ("step", "exp_avg", "exp_avg_sq"):
            raise ValueError(f"optimiser.{key:.60} belongs to no parameter")
        wanted = torch.Size([]) if name == "step" else parameters[int(index)].shape
        if value.shape != wanted:
            raise ValueError(f"optimiser.{key:.60} has shape {tuple(value.shape)}, not {tuple(wanted)}")
        state.setdefault(int(index), {})[name] = value
    if any(len(part) != 3 for part in state.values()):
        raise ValueError("the state of the optimiser is incomplete")
    optimiser.load_state_dict({"state": state, "param_groups": groups})


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        SkyweaveError: the file is damaged or is something else.
    """
    header, tensors = read_tensors(path, "a training checkpoint")
    check_kind(header, "training checkpoint", 0, path, "a training checkpoint")
    parse_header(header, _CheckpointHeader, path, "this checkpoint")
    return Checkpoint(Progress(**header["progress"]), header["config"], tensors, path, header.get("data", ""))


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
