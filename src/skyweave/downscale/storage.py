"""Trained encoders and downscalers as safetensors files: weights, and everything needed to use them, as JSON."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import BaseModel
from torch import Tensor, nn

from skyweave.diffusion.network import Architecture
from skyweave.downscale.config import DownscaleConfig
from skyweave.downscale.headers import DownscalerHeader, EncoderFileHeader
from skyweave.downscale.models.downscaler import Downscaler
from skyweave.downscale.models.encoder import TransferEncoder
from skyweave.downscale.models.registry import build_downscaler
from skyweave.downscale.models.target_form import Channels
from skyweave.downscale.settings import ModelSection
from skyweave.errors import SkyweaveError
from skyweave.io.tensors import (
    check_kind,
    check_shapes,
    damaged,
    parse_header,
    read_tensors,
    write_tensors,
)

__all__ = [
    "TrainedDownscaler",
    "check_header",
    "model_path",
    "open_downscaler",
    "open_encoder",
    "save_downscaler",
    "save_encoder",
]

SCHEMA_VERSION = 1

Network = TypeVar("Network", bound=nn.Module)


@dataclass(eq=False)
class TrainedDownscaler:
    """A downscaler of one area and season.

    Args:
        model: in evaluation mode.
        patch: height and width of the patches it was trained on, cells.
        metadata: area, season, days, scalers, scores (JSON values).
    """

    model: Downscaler
    patch: tuple[int, int]
    metadata: dict[str, Any] = field(default_factory=dict)

    def fingerprint(self) -> str:
        """A digest of the weights: equal for downscalers that give equal answers."""
        digest = hashlib.sha256()
        for name, value in sorted(self.model.state_dict().items()):
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()


def model_path(config: DownscaleConfig, area: str, season: str, model: str | None = None) -> Path:
    """File of a trained downscaler; models that do not use the transferred encoder have a name of their own."""
    features = config.options.features
    name = model or config.model
    stem = name if features == "transferred" else f"{name}-{features}"
    return Path(config.out) / f"{area}-{season}" / f"{stem}.safetensors"


def describe_encoder(encoder: TransferEncoder) -> dict[str, Any]:
    """What `TransferEncoder` needs to build its like, as JSON values."""
    return {
        "kind": encoder.kind,
        "days": encoder.days,
        "channels": encoder.channels,
        "architecture": encoder.architecture.to_dict(),
        "levels": encoder.levels,
    }


def _encoder_like(values: dict[str, Any]) -> TransferEncoder:
    architecture = Architecture.from_dict(values["architecture"])
    return TransferEncoder(values["kind"], values["days"], values["channels"], architecture, values["levels"])


def save_encoder(encoder: TransferEncoder, path: Path, metadata: dict[str, Any]) -> None:
    """Write an encoder with its scores, atomically."""
    header = {
        "kind": "transfer encoder",
        "schema_version": SCHEMA_VERSION,
        "encoder": describe_encoder(encoder),
        "metadata": metadata,
    }
    write_tensors(_plain(encoder.state_dict()), header, path)


def open_encoder(path: str | Path) -> tuple[TransferEncoder, dict[str, Any]]:
    """An encoder, frozen, and its metadata.

    Raises:
        SkyweaveError: the file is missing, damaged or something else.
    """
    path = Path(path)
    header, tensors = _read(path, "transfer encoder")

    def build() -> TransferEncoder:
        return _encoder_like(header["encoder"])

    return _loaded(build, tensors, path, "this encoder").freeze(), header["metadata"]


def save_downscaler(trained: TrainedDownscaler, path: Path) -> None:
    """Write a downscaler with the weights of its encoder, atomically."""
    model = trained.model
    header = {
        "kind": "downscaler",
        "schema_version": SCHEMA_VERSION,
        "name": model.name,
        "channels": model.channels.to_dict(),
        "model": model.config.model_dump(mode="json"),
        "encoder": None if model.encoder is None else describe_encoder(model.encoder),
        "patch": list(trained.patch),
        "metadata": trained.metadata,
    }
    write_tensors(_plain(model.state_dict()), header, path)


def open_downscaler(path: str | Path) -> TrainedDownscaler:
    """A downscaler as it was saved, ready to predict.

    Raises:
        SkyweaveError: the file is missing, damaged or something else.
    """
    path = Path(path)
    header, tensors = _read(path, "downscaler")

    def build() -> Downscaler:
        encoder = None if header["encoder"] is None else _encoder_like(header["encoder"])
        config = ModelSection.model_validate(header["model"])
        return build_downscaler(header["name"], Channels.from_dict(header["channels"]), config, encoder)

    model = _loaded(build, tensors, path, "this downscaler")
    if not bool((model.target_form.scale > 0).all()):
        raise SkyweaveError(f"{path}: this downscaler is damaged: the scale of its target is not positive")
    model.eval().requires_grad_(False)
    return TrainedDownscaler(model, (header["patch"][0], header["patch"][1]), header["metadata"])


def _loaded(build: Callable[[], Network], tensors: dict[str, Tensor], path: Path, what: str) -> Network:
    """The network that a header describes with the weights of its file, compared before memory is taken for it."""
    try:
        with torch.device("meta"):
            described = build()
        check_shapes(tensors, described.state_dict(), path, what)
        model = build()
        model.load_state_dict(tensors)
    except (KeyError, TypeError, ValueError, IndexError, RuntimeError, OverflowError) as error:
        raise damaged(path, what, error) from None
    return model


def _plain(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k: v.detach().cpu().contiguous() for k, v in state.items()}


def _read(path: Path, kind: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    header, tensors = read_tensors(path, f"a {kind}")
    check_kind(header, kind, SCHEMA_VERSION, path, f"a {kind}")
    check_header(header, tensors, path)
    return header, tensors


def check_header(header: dict[str, Any], tensors: dict[str, Tensor], path: Path) -> None:
    """Refuse the header of an encoder or a downscaler that no network can be built of.

    Raises:
        SkyweaveError: with the keys that are wrong.
    """
    kind = header["kind"]
    model: type[BaseModel] = EncoderFileHeader if kind == "transfer encoder" else DownscalerHeader
    parse_header(header, model, path, f"this {kind}")
    layers = [header["encoder"]["architecture"]] if header["encoder"] is not None else []
    for architecture in [*layers, header.get("model", {}).get("network", {})]:
        blocks = architecture.get("blocks", 1) * len(architecture.get("multipliers", ()))
        if blocks > len(tensors):
            raise SkyweaveError(
                f"{path}: this {kind} is incomplete or damaged: {len(tensors)} tensors cannot make {blocks} blocks"
            )
