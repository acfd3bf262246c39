"""A learnt prior, and the safetensors file it lives in."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skyweave.diffusion.network import Architecture, UNet
from skyweave.diffusion.precondition import PreconditionedNetwork
from skyweave.errors import SkyweaveError
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
from skyweave.prior.headers import PriorHeader
from skyweave.prior.knowledge import Knowledge
from skyweave.prior.tiled import TiledDenoiser
from skyweave.prior.windows import WindowDenoiser, check_times
from skyweave.state import StateSpec
from skyweave.transform import StateTransform

SCHEMA_VERSION = 1

SHIPPED = {"era5": "era5_prior.safetensors", "aod": "aod_prior.safetensors"}
"""Priors that come with the package, by the name that `open_prior` knows them by."""

CHUNK_CELLS = 2**18
"""Grid cells that one call of the network takes at most, where more than one frame would fit."""


class NetworkDenoiser:
    """A learnt prior on one grid at given times: ``(x_sigma (M, T, C, H, W), sigma) -> x_hat``.

    Frames are denoised independently, at most `chunk_cells` grid cells at a time. `evaluations` counts the
    calls. Gradients flow to `x_sigma` where it asks for them.
    """

    def __init__(
        self,
        network: PreconditionedNetwork,
        conditioning: Tensor,
        *,
        periodic: bool,
        autocast: bool = False,
        chunk_cells: int = CHUNK_CELLS,
    ) -> None:
        self.network = network
        self.conditioning = conditioning
        self.periodic = periodic
        self.autocast = autocast
        self.chunk_cells = chunk_cells
        self.evaluations = 0

    def __call__(self, x_sigma: Tensor, sigma: Tensor) -> Tensor:
        self.evaluations += 1
        members, times = x_sigma.shape[:2]
        frames = x_sigma.flatten(0, 1)
        per_chunk = max(1, self.chunk_cells // (frames.shape[-1] * frames.shape[-2]))
        sigmas = sigma.to(frames).reshape(1).expand(len(frames))
        which = torch.arange(members * times, device=frames.device) % times
        if len(self.conditioning) == 1:
            which = torch.zeros_like(which)
        parts = [
            self.network(
                frames[part],
                sigmas[part],
                self.conditioning[which[part]],
                periodic=self.periodic,
                autocast=self.autocast,
            )
            for part in (slice(s, s + per_chunk) for s in range(0, len(frames), per_chunk))
        ]
        return torch.cat(parts).reshape(x_sigma.shape)


@dataclass(eq=False)
class LearntPrior:
    """A trained denoiser with everything needed to use it.

    Args:
        spec: variables, units, bounds and resolution of the state.
        transform: between physical values and the network's.
        patch: height and width of the patches it was trained on.
        network: preconditioned network, evaluation mode.
        conditioning: channels it is given besides the state.
        metadata: training range, files, validation scores, calibration and the like (JSON values).
        attachments: further tensors stored with it, such as a covariance of its denoising errors.
        path: that it was opened from, or its name where it comes with the package.
    """

    spec: StateSpec
    transform: StateTransform
    patch: tuple[int, int]
    network: PreconditionedNetwork
    conditioning: Conditioning = field(default_factory=Conditioning)
    metadata: dict[str, Any] = field(default_factory=dict)
    attachments: dict[str, Tensor] = field(default_factory=dict)
    path: str | None = None

    def __post_init__(self) -> None:
        self.network.names = self.spec.names

    def __repr__(self) -> str:
        weights = sum(p.numel() for p in self.network.parameters())
        what = ", ".join(f"{v.name} ({v.units})" for v in self.spec.variables)
        frames = f", windows of {self.spec.window} frames" if self.spec.window > 1 else ""
        return f"<LearntPrior of {what}{frames}: {weights:,} weights, patches of {self.patch[0]} x {self.patch[1]}>"

    def denoiser(
        self,
        grid: Grid,
        times: np.ndarray | Sequence[object] | None = None,
        *,
        tile: tuple[int, int] | None = None,
        stride: int = 1,
        autocast: bool = False,
        device: str = "cpu",
    ) -> NetworkDenoiser | TiledDenoiser | WindowDenoiser:
        """The denoiser of states on `grid` at `times`, in the order of the state's time axis.

        With `tile` it works on tiles of that many cells, for domains larger than memory allows; `stride` is that of
        `WindowDenoiser`, for a prior of windows.

        Raises:
            SkyweaveError: the grid's resolution is not the prior's, its static fields do not cover the grid,
                it is conditioned on time and `times` is None, or the times are not those of its windows.
        """
        self.check_resolution(grid)
        if self.spec.window > 1:
            check_times(
                times,
                self.spec.window if times is None else len(times),
                self.spec.window,
                self.spec.time_step,
            )
        needed = times if self.conditioning.needs_time else None
        channels = self.conditioning.bind(grid).channels(needed).to(device)
        network = self.network.to(device)
        if self.spec.window > 1:
            return WindowDenoiser(
                network,
                channels,
                self.spec.window,
                stride=stride,
                periodic=grid.periodic,
                autocast=autocast,
            )
        if tile is not None:
            return TiledDenoiser(network, channels, tile, periodic=grid.periodic, autocast=autocast)
        return NetworkDenoiser(network, channels, periodic=grid.periodic, autocast=autocast)

    @property
    def knowledge(self) -> Knowledge | None:
        """The card that is stored with it; ``None`` where there is none.

        Raises:
            SkyweaveError: it is damaged.
        """
        told = self.metadata.get("knowledge")
        return None if told is None else Knowledge.from_dict(told)

    def fingerprint(self) -> str:
        """A digest of weights, transforms and covariance: equal for priors that give equal answers."""
        digest = hashlib.sha256(
            json.dumps([self.spec.to_dict(), self.transform.to_dict()], default=str).encode()
        )
        tensors = {**self.network.state_dict(), **self.attachments}
        for name in sorted(tensors):
            digest.update(name.encode())
            digest.update(tensors[name].detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def working_bytes(self, grid: Grid) -> int:
        """Predicted memory of the activations of one network call: single precision, the finest level's maps.

        A residual block holds about six maps of its width at once, the skips of a level one more for each block;
        coarser levels together add a third of the finest.
        """
        if not isinstance(self.network.network, UNet):
            return 0
        architecture = self.network.network.architecture
        finest = architecture.base * architecture.multipliers[0]
        cells = max(grid.size, CHUNK_CELLS)
        return int(4 * cells * finest * (6 + 2 * architecture.blocks) * 4 / 3)

    def check_resolution(self, grid: Grid, tolerance: float = 0.1) -> None:
        """Refuse a grid whose spacing differs from that of the training data by more than `tolerance`.

        Raises:
            SkyweaveError: with both resolutions.
        """
        if self.spec.resolution is None:
            return
        for found, trained in zip(grid.resolution, self.spec.resolution, strict=True):
            if abs(found - trained) > tolerance * trained:
                a, b = grid.resolution, self.spec.resolution
                raise SkyweaveError(
                    f"the grid's resolution is {a[0]:g} x {a[1]:g} degrees, the prior was trained at "
                    f"{b[0]:g} x {b[1]:g}; regrid the target, or use a prior of that resolution"
                )


def build_network(
    channels: int, conditioning: int, architecture: Architecture, sigma_data: float
) -> PreconditionedNetwork:
    """An untrained network for `channels` state channels and `conditioning` further ones."""
    given = 2 * channels if architecture.masked else channels
    network = PreconditionedNetwork(
        UNet(given + conditioning, channels, architecture), sigma_data, architecture.masked
    )
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def built_of(
    header: dict[str, Any], tensors: dict[str, Tensor], path: Path
) -> tuple[StateSpec, Conditioning, PreconditionedNetwork, StateTransform]:
    """Specification, conditioning, network with random weights, and transforms of a header that has been checked.

    Raises:
        SkyweaveError: parts that do not fit one another, or weights that are not those of the network; this is found
            before memory is taken for it.
    """
    try:
        spec = StateSpec.from_dict(header["spec"])
        static = static_fields(header["conditioning"]["static"], tensors)
        conditioning = Conditioning(tuple(header["conditioning"]["names"]), static)
        architecture = Architecture.from_dict(header["architecture"])
        weights = {k.removeprefix("network."): v for k, v in tensors.items() if k.startswith("network.")}
        if architecture.levels * architecture.blocks > len(weights):
            raise ValueError(f"{len(weights)} tensors of weights cannot make {architecture.blocks} blocks")
        parts = (len(spec.variables), conditioning.count, architecture, float(header["sigma_data"]))
        with torch.device("meta"):
            described = build_network(*parts).state_dict()
        check_shapes(weights, described, path, "this prior")
        transform = StateTransform.from_dict(header["transform"])
        return spec, conditioning, build_network(*parts), transform
    except (KeyError, TypeError, ValueError, IndexError, RuntimeError, OverflowError) as error:
        raise damaged(path, "this prior", error) from None


def save_prior(prior: LearntPrior, path: str | Path, *, overwrite: bool = False, half: bool = False) -> None:
    """Write a prior as one safetensors file, whose header holds the metadata as JSON.

    With `half` the weights are kept in 16 bits (a relative rounding of 5e-4), at half the size.

    Raises:
        SkyweaveError: the file exists and `overwrite` is false.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise SkyweaveError(f"{path} exists; choose another name or allow overwriting")
    network = prior.network
    unet = network.network
    assert isinstance(unet, UNet)
    kept = torch.float16 if half else None
    tensors = {
        f"network.{k}": v.detach().cpu().to(kept).contiguous() for k, v in network.state_dict().items()
    }
    static = {}
    for name, surface in prior.conditioning.static.items():
        static[name] = surface.grid.to_dict()
        tensors[f"static.{name}"] = torch.from_numpy(np.ascontiguousarray(surface.values, dtype=np.float32))
    tensors |= {f"attachment.{k}": v.detach().cpu().contiguous() for k, v in prior.attachments.items()}
    header = {
        "schema_version": SCHEMA_VERSION,
        "kind": "learnt prior",
        "spec": prior.spec.to_dict(),
        "transform": prior.transform.to_dict(),
        "patch": list(prior.patch),
        "architecture": unet.architecture.to_dict(),
        "sigma_data": network.sigma_data,
        "conditioning": {"names": list(prior.conditioning.names), "static": static},
        "metadata": prior.metadata,
    }
    write_tensors(tensors, header, path)


def is_half(path: Path) -> bool:
    """Whether the weights in a file are kept in 16 bits."""
    _, tensors = read_tensors(path, "a prior")
    return any(v.dtype == torch.float16 for k, v in tensors.items() if k.startswith("network."))


def shipped(path: Path) -> Path:
    """The file of a prior that comes with the package, where that is what a path names; the path itself otherwise."""
    if str(path) in SHIPPED and not path.exists():
        return Path(str(files("skyweave") / "data" / SHIPPED[str(path)]))
    return path


def open_prior(path: str | Path) -> LearntPrior:
    """Read a prior written by `save_prior`, or one of those that come with the package, by its name in `SHIPPED`.

    Raises:
        SkyweaveError: the file is missing, damaged, not a prior, or of a newer schema.
    """
    given, path = str(path), shipped(Path(path))
    if not path.is_file():
        known = ", ".join(SHIPPED)
        raise SkyweaveError(f"{path}: no such file; expected a prior, or the name of a shipped one: {known}")
    header, tensors = read_tensors(path, "a prior")
    check_kind(header, "learnt prior", SCHEMA_VERSION, path, "a prior")
    parse_header(header, PriorHeader, path, "this prior")
    spec, conditioning, network, transform = built_of(header, tensors, path)
    weights = {k.removeprefix("network."): v for k, v in tensors.items() if k.startswith("network.")}
    network.load_state_dict(weights)
    patch = (int(header["patch"][0]), int(header["patch"][1]))
    metadata = header["metadata"]
    attachments = {
        k.removeprefix("attachment."): v for k, v in tensors.items() if k.startswith("attachment.")
    }
    network.eval().requires_grad_(False)
    return LearntPrior(spec, transform, patch, network, conditioning, metadata, attachments, given)
