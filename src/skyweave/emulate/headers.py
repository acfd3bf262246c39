"""What the header of an emulator's file may hold, and which shapes its fields have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from skyweave.emulate.config import NetworkConfig
from skyweave.io.tensors import Part
from skyweave.prior.headers import (
    ConditioningHeader,
    GridHeader,
    SpecHeader,
    StateTransformHeader,
    check_channels,
)

__all__ = ["EmulatorHeader", "check_fields"]

Harmonics = Annotated[int, Field(ge=0, le=100)]


Table = list[list[float]]


class HindcastHeader(Part):
    """See `skyweave.emulate.hindcast.Hindcast`."""

    variables: Annotated[list[str], Field(min_length=1)]
    lead: Annotated[list[Annotated[float, Field(gt=0, allow_inf_nan=False)]], Field(min_length=1)]
    bias: Table
    deviation: Table
    length_km: Table
    shape: list[list[Literal["exponential", "gaspari-cohn"]]]
    starts: int
    period: Annotated[list[str], Field(min_length=2, max_length=2)]

    @model_validator(mode="after")
    def _fits(self) -> HindcastHeader:
        tables: dict[str, Sequence[Sequence[object]]] = {
            "bias": self.bias, "deviation": self.deviation, "length_km": self.length_km, "shape": self.shape,
        }  # fmt: skip
        for name, rows in tables.items():
            if len(rows) != len(self.lead) or any(len(row) != len(self.variables) for row in rows):
                raise ValueError(f"{name}: {len(self.lead)} lead times of {len(self.variables)} variables")
        if any(b <= a for a, b in pairwise(self.lead)):
            raise ValueError("lead: not ascending")
        return self


class EmulatorMetadata(BaseModel):
    """What is told of an emulator, so far as it is computed with."""

    model_config = ConfigDict(extra="ignore", strict=True)

    training_range: list[str] = []
    hindcast: HindcastHeader | None = None


class EmulatorHeader(BaseModel):
    """The header of an emulator; further keys are left to those who know them."""

    model_config = ConfigDict(extra="ignore", strict=True)

    spec: SpecHeader
    grid: GridHeader
    time_step: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    transform: StateTransformHeader
    network: Annotated[NetworkConfig, Field(strict=False)]
    conditioning: ConditioningHeader
    climatology: Annotated[list[Harmonics], Field(min_length=2, max_length=2)]
    calendar: Annotated[str, Field(max_length=100)] | None = None
    metadata: EmulatorMetadata

    @model_validator(mode="after")
    def _fits(self) -> EmulatorHeader:
        check_channels(self.spec, self.transform)
        hindcast = self.metadata.hindcast
        if hindcast is not None and hindcast.variables != [v.name for v in self.spec.variables]:
            raise ValueError("metadata.hindcast: of other variables")
        return self


def check_fields(
    tensors: Mapping[str, Tensor], shape: tuple[int, int, int], harmonics: tuple[int, int], periodic: bool
) -> None:
    """Refuse climatology, residuals and limits of power that do not have the state's shape ``(C, H, W)``.

    Raises:
        ValueError: a tensor that lacks or has another shape.
    """
    C, H, W = shape
    count = (1 + 2 * harmonics[0]) * (1 + 2 * harmonics[1])
    wanted: dict[str, tuple[int | None, ...]] = {
        "climatology": (count, C, H, W),
        "residuals": (None, C, H, W),
    }
    if "limit.zonal" in tensors or "limit.meridional" in tensors:
        wanted |= {"limit.zonal": (C, W // 2 + 1 if periodic else W), "limit.meridional": (C, H)}
    for name, expected in wanted.items():
        found = tensors.get(name)
        if found is None or not found.is_floating_point() or len(found.shape) != len(expected):
            raise ValueError(f"{name} is {'absent' if found is None else tuple(found.shape)}")
        if any(n is not None and n != m for n, m in zip(expected, found.shape, strict=True)):
            raise ValueError(f"{name} has shape {tuple(found.shape)}, the state {shape}")
