"""A learnt emulator: a forecaster with everything needed to use it, and the safetensors file it lives in."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skyweave.diffusion.noise import NoiseStream
from skyweave.emulate.config import NetworkConfig
from skyweave.emulate.forecaster import check_calendar, check_state, seconds_of
from skyweave.emulate.headers import EmulatorHeader, check_fields
from skyweave.emulate.hindcast import Hindcast
from skyweave.emulate.limit import PowerLimit
from skyweave.emulate.networks import Integrator, build_integrator, network_kind
from skyweave.emulate.simple import Climatology
from skyweave.errors import SkyweaveError
from skyweave.finite import check_channels
from skyweave.grid import Grid
from skyweave.io.tensors import (
    check_kind,
    check_shapes,
    damaged,
    parse_header,
    read_tensors,
    write_tensors,
)
from skyweave.prior.conditioning import Conditioning, static_fields
from skyweave.prior.storage import CHUNK_CELLS
from skyweave.state import StateSpec, apply_bounds
from skyweave.transform import StateTransform

__all__ = ["Emulator", "open_emulator", "save_emulator"]

SCHEMA_VERSION = 1


@dataclass(eq=False, kw_only=True)
class Emulator:
    """A trained network that steps states on one grid; a `Forecaster`.

    Args:
        spec: variables, units and bounds of the state.
        grid: of the states.
        time_step: seconds.
        transform: between physical values and the network's.
        integrator: one step in normalised values, evaluation mode.
        settings: of its network.
        conditioning: external forcing.
        climatology: of the training data.
        residuals: one-step errors of the validation period over the deviation of the increments, ``(K, C, H, W)``.
        metadata: training range, files, validation scores, hindcast errors (JSON values).
        noise: share of a one-step error that is drawn and added at every step; 0 for none.
        seed: of what is drawn.
        limit: of the power of each wave after a step; none by default.
        path: that it was opened from.
    """

    spec: StateSpec
    grid: Grid
    time_step: float
    transform: StateTransform
    integrator: Integrator
    settings: NetworkConfig
    conditioning: Conditioning
    climatology: Climatology
    residuals: Tensor
    metadata: dict[str, Any] = field(default_factory=dict)
    noise: float = 0.0
    seed: int = 0
    limit: PowerLimit | None = None
    path: str | None = None

    @torch.no_grad()
    def step(self, state: Tensor, time: Any = None, members: Sequence[int] | None = None) -> Tensor:
        """The state one time step later; see `Forecaster`. Values are kept within the bounds of `spec`.

        It is computed where the network is, and comes back to where the state was.

        Raises:
            SkyweaveError: another shape, the forcing depends on time and `time` is None or of another calendar, or the
                network gives values that are not finite.
        """
        check_state(state, self.spec, self.grid, "this emulator")
        if self.conditioning.needs_time:
            check_calendar(self.climatology.calendar, time, f"the emulator {self.path or ''}".strip())
        device = self.integrator.mean.device
        forcing = self._forcing(time).to(device)
        z = self.transform.forward(state.float().to(device))
        size = max(1, CHUNK_CELLS // self.grid.size)
        stepped = [
            self.integrator(part, forcing.expand(len(part), -1, -1, -1))
            for part in (z[first : first + size] for first in range(0, len(z), size))
        ]
        after = torch.cat(stepped)
        check_channels(
            after, self.spec.names, f"the output of the emulator {self.path or ''}".strip(),
            missing=z.isnan(), where="" if time is None else f"one step after {time}",
        )  # fmt: skip
        if self.noise:
            after = after + self.noise * self.draw(time, _labels(members, len(state))).to(after)
        if self.limit is not None:
            after = self.limit(after)
        return apply_bounds(self.transform.inverse(after), self.spec)[0].to(state)

    def draw(self, time: Any, members: Sequence[int], stream: int = 0) -> Tensor:
        r"""Fields like the errors of one step, ``(M, C, H, W)``, in normalised values.

        .. math:: K^{-1/2} \sum_k n_k\, e_k

        of the stored residuals :math:`e_k`: their covariance between cells and variables is that of the residuals.

        Raises:
            SkyweaveError: no residuals are stored.
        """
        count = len(self.residuals)
        if count == 0:
            raise SkyweaveError(
                "this emulator has no stored residuals to draw from; train it with `residuals` above 0"
            )
        noise = NoiseStream(self.seed, tuple(members), (seconds_of(time),)).normal(stream, (count,))[:, 0]
        fields = torch.einsum("mk,kchw->mchw", noise, self.residuals.float()) / count**0.5
        return fields * self.integrator.deviation[:, None, None].to(fields)

    def stochastic(self, noise: float = 1.0, seed: int = 0) -> Emulator:
        """The same emulator with a draw of its one-step error added at every step.

        Raises:
            SkyweaveError: no residuals are stored, or `noise` is negative or no number.
        """
        if not (math.isfinite(noise) and noise >= 0):
            raise SkyweaveError(f"noise = {noise}: a share of the one-step error, zero or more")
        if noise and not len(self.residuals):
            self.draw(None, [0])
        return replace(self, noise=noise, seed=seed)

    def perturbed(self, state: Tensor, time: Any, members: Sequence[int], size: float = 1.0) -> Tensor:
        """One member's worth of `state` ``(1, C, H, W)`` for each of `members`, displaced by `size` one-step errors."""
        z = self.transform.forward(state.float())
        displaced = z + size * self.draw(time, members, stream=1).to(z)
        return apply_bounds(self.transform.inverse(displaced), self.spec)[0]

    @property
    def hindcast(self) -> Hindcast:
        """Its errors by lead time.

        Raises:
            SkyweaveError: none were estimated.
        """
        if "hindcast" not in self.metadata:
            raise SkyweaveError(
                "this emulator has no hindcast errors; skyweave.emulate.hindcast_errors estimates them"
            )
        return Hindcast.from_dict(self.metadata["hindcast"])

    def fingerprint(self) -> str:
        """A digest of weights, transforms, residuals and what is drawn: equal for equal forecasts."""
        digest = hashlib.sha256(
            json.dumps([self.spec.to_dict(), self.transform.to_dict(), self.time_step], default=str).encode()
        )
        for name, value in sorted(
            {
                **self.integrator.state_dict(),
                "residuals": self.residuals.half(),
                **_limits(self.limit),
            }.items()
        ):
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
        if self.noise:
            digest.update(json.dumps([self.noise, self.seed]).encode())
        return digest.hexdigest()

    def to(self, device: str | torch.device) -> Emulator:
        """The same emulator on another device."""
        self.integrator.to(device)
        return self

    def _forcing(self, time: Any) -> Tensor:
        if self.conditioning.needs_time and time is None:
            raise SkyweaveError(
                f"this emulator's forcing ({', '.join(self.conditioning.names)}) depends on time, the state has none"
            )
        return self.conditioning.bind(self.grid).channels([time] if self.conditioning.needs_time else None)


def _limits(limit: PowerLimit | None) -> dict[str, Tensor]:
    if limit is None:
        return {}
    return {"limit.zonal": limit.zonal.contiguous(), "limit.meridional": limit.meridional.contiguous()}


def _labels(members: Sequence[int] | None, count: int) -> Sequence[int]:
    return range(count) if members is None else members


def save_emulator(emulator: Emulator, path: str | Path, *, overwrite: bool = False) -> None:
    """Write an emulator as one safetensors file, whose header holds the metadata as JSON.

    Raises:
        SkyweaveError: the file exists and `overwrite` is false.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise SkyweaveError(f"{path} exists; choose another name or allow overwriting")
    weights = emulator.integrator.state_dict()
    tensors = {f"integrator.{k}": v.detach().cpu().contiguous() for k, v in weights.items()}
    static = {}
    for name, surface in emulator.conditioning.static.items():
        static[name] = surface.grid.to_dict()
        tensors[f"static.{name}"] = torch.from_numpy(np.ascontiguousarray(surface.values, dtype=np.float32))
    tensors["climatology"] = emulator.climatology.coefficients.float().contiguous()
    tensors["residuals"] = emulator.residuals.half().contiguous()
    tensors |= _limits(emulator.limit)
    header = {
        "schema_version": SCHEMA_VERSION,
        "kind": "emulator",
        "spec": emulator.spec.to_dict(),
        "grid": emulator.grid.to_dict(),
        "time_step": emulator.time_step,
        "transform": emulator.transform.to_dict(),
        "network": emulator.settings.model_dump(mode="json"),
        "conditioning": {"names": list(emulator.conditioning.names), "static": static},
        "climatology": list(emulator.climatology.harmonics),
        "calendar": emulator.climatology.calendar,
        "metadata": emulator.metadata,
    }
    write_tensors(tensors, header, path)


def open_emulator(path: str | Path) -> Emulator:
    """Read an emulator written by `save_emulator`.

    Raises:
        SkyweaveError: the file is missing, damaged, not an emulator, or of a newer schema.
    """
    path = Path(path)
    header, tensors = read_tensors(path, "an emulator")
    check_kind(header, "emulator", SCHEMA_VERSION, path, "an emulator")
    parse_header(header, EmulatorHeader, path, "this emulator")
    try:
        spec, grid = StateSpec.from_dict(header["spec"]), Grid.from_dict(header["grid"])
        static = static_fields(header["conditioning"]["static"], tensors)
        conditioning = Conditioning(tuple(header["conditioning"]["names"]), static)
        settings = NetworkConfig.model_validate(header["network"])
        harmonics = (int(header["climatology"][0]), int(header["climatology"][1]))
        check_fields(tensors, (len(spec.variables), *grid.shape), harmonics, grid.periodic)
        integrator = _integrator(grid, spec, conditioning, settings, tensors, path)
        time_step = float(header["time_step"])
        climatology = Climatology(
            spec, grid, time_step, harmonics, tensors["climatology"], header.get("calendar")
        )
        transform = StateTransform.from_dict(header["transform"])
        residuals, metadata = tensors["residuals"].float(), header["metadata"]
        limit = None
        if "limit.zonal" in tensors:
            sides = tensors["limit.zonal"], tensors["limit.meridional"]
            limit = PowerLimit(*sides, grid.shape[1], grid.periodic)
    except (KeyError, TypeError, ValueError, IndexError, RuntimeError, OverflowError) as error:
        raise damaged(path, "this emulator", error) from None
    integrator.eval().requires_grad_(False)
    return Emulator(
        spec=spec,
        grid=grid,
        time_step=time_step,
        transform=transform,
        integrator=integrator,
        settings=settings,
        conditioning=conditioning,
        climatology=climatology,
        residuals=residuals,
        metadata=metadata,
        limit=limit,
        path=str(path),
    )


def _integrator(
    grid: Grid,
    spec: StateSpec,
    conditioning: Conditioning,
    settings: NetworkConfig,
    tensors: dict[str, Tensor],
    path: Path,
) -> Integrator:
    """The network of a file; its weights are compared with those of the header before memory is taken for it."""
    weights = {k.removeprefix("integrator."): v for k, v in tensors.items() if k.startswith("integrator.")}
    spherical = network_kind(grid, settings) == "sfno"
    if (settings.layers if spherical else settings.blocks * len(settings.multipliers)) > len(weights):
        raise ValueError(f"{len(weights)} tensors of weights cannot make so many layers or blocks")
    count = len(spec.variables)
    means = (weights["mean"], weights["deviation"])
    if any(tuple(m.shape) != (count,) or not m.is_floating_point() for m in means):
        raise ValueError(f"mean and deviation of the increments should hold {count} numbers each")
    if not bool((means[1] > 0).all()):
        raise ValueError("the deviation of the increments is not positive")
    with torch.device("meta"):
        described = build_integrator(grid, count, conditioning.count, settings, means)
    check_shapes(weights, described.state_dict(), path, "this emulator")
    integrator = build_integrator(grid, count, conditioning.count, settings, means)
    integrator.load_state_dict(weights)
    return integrator
