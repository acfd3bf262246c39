"""The processes that share a training run: this one alone, or those that ``torchrun`` started."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from skyweave.errors import SkyweaveError, did_you_mean

__all__ = ["Processes", "interruptible", "launch", "own_randomness", "threads", "usable_device"]

DEVICES = ("auto", "cpu", "cuda")


class Processes(Protocol):
    """What a training run needs of its processes: the part of `lightning_fabric.Fabric` that it uses."""

    device: torch.device
    world_size: int
    global_rank: int
    is_global_zero: bool

    def setup(self, module: nn.Module, optimiser: Optimizer) -> Any: ...

    def backward(self, loss: Tensor) -> None: ...

    def broadcast(self, value: float) -> float: ...

    def all_reduce(self, value: Tensor, reduce_op: str) -> Tensor: ...


class Alone:
    """One process."""

    world_size, global_rank, is_global_zero = 1, 0, True

    def __init__(self, device: str) -> None:
        self.device = torch.device(device)

    def setup(self, module: nn.Module, optimiser: Optimizer) -> tuple[nn.Module, Optimizer]:
        # In place, so that the optimiser's parameters stay the module's.
        module.to(self.device)
        return module, optimiser

    def backward(self, loss: Tensor) -> None:
        loss.backward()  # type: ignore[no-untyped-call]

    def broadcast(self, value: float) -> float:
        return value

    def all_reduce(self, value: Tensor, reduce_op: str) -> Tensor:
        return value


def usable_device(name: str) -> torch.device:
    """The device asked for; "auto" takes CUDA where there is one.

    Raises:
        SkyweaveError: CUDA is asked for, and there is none, or another name than "auto", "cpu" and "cuda".
    """
    if name not in DEVICES:
        raise SkyweaveError(f"device {name}{did_you_mean(name, DEVICES)}; there are {', '.join(DEVICES)}")
    found = torch.cuda.is_available()
    if name == "cuda" and not found:
        raise SkyweaveError("device cuda: torch sees no CUDA device here; use cpu or auto")
    return torch.device("cuda" if name == "cuda" or (name == "auto" and found) else "cpu")


def launch(device: str) -> Processes:
    """The processes of this run, by the environment that ``torchrun`` sets, through lightning-fabric.

    Args:
        device: "auto", "cpu" or "cuda".
    """
    kind = usable_device(device).type
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        return Alone(kind)
    from lightning_fabric import Fabric

    local = int(os.environ.get("LOCAL_WORLD_SIZE", str(world)))
    fabric = Fabric(accelerator=kind, devices=local, num_nodes=max(1, world // local), strategy="ddp")
    fabric.launch()
    return fabric  # type: ignore[return-value]


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """So many threads of torch inside, those of before afterwards; None changes nothing."""
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Turn SIGINT and SIGTERM into a question, so that a run ends between two steps; a second one ends it at once."""
    asked: list[int] = []
    before: dict[int, Any] = {}

    def note(number: int, frame: object) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    if threading.current_thread() is threading.main_thread():
        before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def own_randomness(processes: Processes) -> Iterator[None]:
    """Leave the caller's random state as it was."""
    devices = [processes.device] if processes.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        yield
