"""Trained encoders and downscalers as safetensors files: weights, and everything needed to use them, as JSON."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from skyweave.downscale.downscaler import Downscaler
from skyweave.downscale.encoder import TransferEncoder, build_encoder
from skyweave.downscale.models import build_downscaler
from skyweave.downscale.settings import ModelSection
from skyweave.downscale.target import Channels
from skyweave.errors import SkyweaveError
from skyweave.prior.network import Architecture
from skyweave.prior.storage import read_tensors, write_tensors

__all__ = ["TrainedDownscaler", "open_downscaler", "open_encoder", "save_downscaler", "save_encoder"]

SCHEMA_VERSION = 1


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


def describe_encoder(encoder: TransferEncoder) -> dict[str, Any]:
    """What `build_encoder` needs to build its like, as JSON values."""
    return {
        "kind": encoder.kind,
        "days": encoder.days,
        "channels": encoder.channels,
        "architecture": encoder.architecture.to_dict(),
        "levels": encoder.levels,
    }


def _encoder_like(values: dict[str, Any]) -> TransferEncoder:
    architecture = Architecture.from_dict(values["architecture"])
    return build_encoder(values["kind"], values["days"], values["channels"], architecture, values["levels"])


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
    header, tensors = _read(Path(path), "transfer encoder")
    try:
        encoder = _encoder_like(header["encoder"])
        encoder.load_state_dict(tensors)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise _damaged(Path(path), error) from None
    return encoder.freeze(), header["metadata"]


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
    try:
        encoder = None if header["encoder"] is None else _encoder_like(header["encoder"])
        config = ModelSection.model_validate(header["model"])
        model = build_downscaler(header["name"], Channels.from_dict(header["channels"]), config, encoder)
        model.load_state_dict(tensors)
        patch = (int(header["patch"][0]), int(header["patch"][1]))
        metadata = header["metadata"]
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise _damaged(path, error) from None
    model.eval().requires_grad_(False)
    return TrainedDownscaler(model, patch, metadata)


def _plain(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k: v.detach().cpu().contiguous() for k, v in state.items()}


def _read(path: Path, kind: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    header, tensors = read_tensors(path, f"a {kind}")
    if header.get("kind") != kind:
        raise SkyweaveError(f"{path}: not a {kind} (kind {header.get('kind')!r})")
    if header.get("schema_version", 0) > SCHEMA_VERSION:
        raise SkyweaveError(
            f"{path}: schema version {header['schema_version']} is newer than this skyweave reads ({SCHEMA_VERSION})"
        )
    return header, tensors


def _damaged(path: Path, error: Exception) -> SkyweaveError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return SkyweaveError(f"{path}: incomplete or damaged ({type(error).__name__}: {reason})")
