"""Pretraining of the transfer encoder on the coarse record, and how well it predicts the next coarse day."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skyweave.downscale.config import DownscaleConfig
from skyweave.downscale.data.examples import WindowExamples
from skyweave.downscale.data.samples import CoarseWindow, Samples
from skyweave.downscale.data.task import Task
from skyweave.downscale.models.encoder import TransferEncoder, pretraining_loss
from skyweave.downscale.prediction.stitching import StitchedDomain, day_tiles, taper
from skyweave.downscale.storage import open_encoder, save_encoder
from skyweave.downscale.training.epochs import train_network
from skyweave.downscale.training.files import checkpoint_of, depends_on, made_before
from skyweave.io.made_with import digest_of
from skyweave.transform import Log10Standardise

__all__ = ["encoder_scores", "fit_encoder", "new_encoder"]

Indices = NDArray[np.int64]
SCORED_DAYS = 60
"""Test days at most on which an encoder is scored."""


def fit_encoder(
    config: DownscaleConfig, task: Task, kind: str, overwrite: bool, speak: Callable[[str], None]
) -> tuple[TransferEncoder, dict[str, Any]]:
    """The pretrained encoder of an area and season, trained here where it is not there yet.

    Its days are those of the coarse record that neither are, nor have among their lags, a day of validation or test.

    Args:
        config: of the downscaling.
        task: data of the area and season.
        kind: one of `skyweave.downscale.models.encoder.ENCODERS`.
        overwrite: replace one that was made with other settings or data.
        speak: called with lines of progress.

    Returns:
        The encoder, frozen, and the facts of its training, with its scores on test days.

    Raises:
        SkyweaveError: see `train_network`.

    Reference: downscaling paper, section 2.2.1.
    """
    section = config.encoder
    path = Path(config.out) / task.name / f"encoder-{kind}.safetensors"
    made_with = {
        "data": task.digest,
        "kind": kind,
        "encoder": depends_on(section),
        "patch": config.patch,
        "stride": config.stride,
    }
    if path.exists():
        encoder, facts = open_encoder(path)
        if made_before(path, facts, made_with, overwrite):
            return encoder, facts
    checkpoint = checkpoint_of(path)
    encoder = new_encoder(config, task, kind)

    def loss(window: CoarseWindow, generator: torch.Generator) -> Tensor:
        return pretraining_loss(encoder, window.lags, window.target, section.loss)

    tiling = day_tiles(task.samples.shape, config.patch, config.stride)
    progress = train_network(
        encoder,
        loss,
        WindowExamples(task.samples, task.split.pretraining, tiling),
        WindowExamples(task.samples, task.split.pretrain_validation, tiling),
        section.training,
        checkpoint=checkpoint,
        made_with=made_with,
        tell=lambda line: speak(f"[{task.name} encoder-{kind}] {line}"),
        overwrite=overwrite,
    )
    facts = progress.facts() | {"digest": digest_of(made_with), "made_with": made_with, "kind": kind}
    facts["scores"] = encoder_scores(encoder, task.samples, task.split.test[:SCORED_DAYS], config.patch)
    save_encoder(encoder, path, facts)
    checkpoint.unlink(missing_ok=True)
    return encoder.freeze(), facts


def new_encoder(config: DownscaleConfig, task: Task, kind: str) -> TransferEncoder:
    """An encoder with random weights for the samples of a task."""
    section = config.encoder
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(section.training.seed)
        return TransferEncoder(
            kind,
            config.lags,
            task.record.fine.channels,
            section.network.architecture(),
            section.levels,
        )


@torch.no_grad()
def encoder_scores(
    encoder: TransferEncoder, samples: Samples, days: Indices, patch: tuple[int, int]
) -> dict[str, float]:
    r"""MAE and R2 of the predicted next coarse day, on log10 where the variable has a logarithm, with persistence's.

    .. math:: R^2 = 1 - \frac{\sum (x - \hat x)^2}{\sum (x - \bar x_t)^2}

    Scores are of each day over all cells and shared variables, then averaged over days.

    Args:
        encoder: trained.
        samples: of an area.
        days: indices of target days that its training has not seen.
        patch: cells; days are predicted in half-overlapping patches.

    Returns:
        ``mae``, ``r2``, ``mae_persistence``, ``r2_persistence`` and ``days``.

    Reference: downscaling paper, section 2.5.2.
    """
    shape = samples.shape
    tiling = day_tiles(shape, patch, max(1, min(patch) // 2))
    shares = taper(tiling, shape, "hann", 0)
    domain = StitchedDomain(torch.zeros(len(tiling), 1, 1, *patch), tiling, shares, shape, 256)
    shared = samples.record.shared
    transforms = [samples.scaler.coarse.transforms[c] for c in shared]
    # A scaled logarithm times its deviation is a difference of log10.
    scale = torch.tensor([t.std if isinstance(t, Log10Standardise) else 1.0 for t in transforms])[
        :, None, None
    ]
    found: dict[str, list[float]] = {"mae": [], "r2": [], "mae_persistence": [], "r2_persistence": []}

    def predict(fields: Tensor, known: Tensor) -> Tensor:
        return encoder(fields.unflatten(1, (encoder.days, encoder.channels)))

    encoder.eval()
    for day in days:
        window = samples.coarse_window([day])
        answer = domain(predict, window.lags.flatten(1, 2)[None])[0]
        spread = ((window.target - window.target.mean(dim=(-2, -1), keepdim=True)) * scale).square().sum()
        for suffix, field in (("", answer), ("_persistence", window.lags[:, -1])):
            error = (field - window.target) * scale
            found["mae" + suffix].append(float(error.abs().mean()))
            found["r2" + suffix].append(float(1 - error.square().sum() / spread))
    return {key: float(np.mean(values)) for key, values in found.items()} | {"days": float(len(days))}
