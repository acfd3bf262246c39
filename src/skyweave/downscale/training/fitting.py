"""Training all models of a downscaling: one for each area and season, resumable, several at a time."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from skyweave.downscale.config import DownscaleConfig, Season
from skyweave.downscale.data.examples import PatchExamples, fitting_pairs
from skyweave.downscale.data.opening import open_record
from skyweave.downscale.data.records import Record
from skyweave.downscale.data.task import Task, prepare_task
from skyweave.downscale.models.encoder import TransferEncoder
from skyweave.downscale.models.registry import build_downscaler, find_downscaler
from skyweave.downscale.models.target_form import Channels
from skyweave.downscale.prediction.stitching import day_tiles
from skyweave.downscale.storage import TrainedDownscaler, model_path, open_downscaler, save_downscaler
from skyweave.downscale.training.epochs import train_network
from skyweave.downscale.training.files import checkpoint_of, depends_on, made_before
from skyweave.downscale.training.pretraining import fit_encoder, new_encoder
from skyweave.errors import SkyweaveError
from skyweave.io.folder import make_folder
from skyweave.io.lock import Lock
from skyweave.io.made_with import digest_of

__all__ = ["Fitted", "fit", "fit_task"]

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Fitted:
    """What became of one model.

    Args:
        area, season, model: which.
        status: "trained", "finished before" or "skipped".
        path: of its file; ``None`` where skipped.
        reason: why it was skipped.
        facts: losses, epochs, minutes, scores of the encoder (JSON values).
    """

    area: str
    season: str
    model: str
    status: str
    path: Path | None = None
    reason: str = ""
    facts: dict[str, Any] = field(default_factory=dict)


def fit(
    config: DownscaleConfig,
    *,
    models: Sequence[str] | None = None,
    jobs: int = 1,
    overwrite: bool = False,
    tell: Tell | None = None,
) -> list[Fitted]:
    """Train a transfer encoder and the downscalers of every area and season.

    What is finished is skipped, what was interrupted continues from its last whole epoch. A season that cannot be
    trained (too few days, say) is reported and does not stop the others.

    Args:
        config: of the downscaling; ``config.out`` receives a folder for each area and season.
        models: names of downscalers, that of the configuration by default; they share the encoders.
        jobs: areas and seasons trained at a time, in processes of their own.
        overwrite: train anew what was made with other settings or data, instead of refusing.
        tell: called with lines of progress; they go to standard error by default.

    Returns:
        One entry for each area, season and model.

    Raises:
        SkyweaveError: an unknown model, nothing could be trained at all, or another process trains there.
    """
    names = list(models or [config.model])
    for name in names:
        find_downscaler(name)
    speak = tell or (lambda text: print(text, file=sys.stderr, flush=True))
    jobs = min(jobs, len(list(config.tasks())))
    out = make_folder(config.out)
    lock = Lock(out / "lock", out)
    lock.acquire()
    try:
        if jobs > 1:
            done = _fit_in_processes(config, names, jobs, overwrite, speak)
        else:
            done = _fit_in_turn(config, names, overwrite, speak)
    finally:
        lock.release()
    if all(f.status == "skipped" for f in done):
        raise SkyweaveError("nothing was trained; " + "; ".join(dict.fromkeys(f.reason for f in done)))
    return done


def _fit_in_turn(config: DownscaleConfig, names: list[str], overwrite: bool, speak: Tell) -> list[Fitted]:
    done: list[Fitted] = []
    records: dict[str, Record] = {}
    tasks = list(config.tasks())
    for area, season in tasks:
        try:
            if area not in records:
                records = {area: open_record(config, area)}
            done += fit_task(config, area, season, names, overwrite, speak, records[area])
        except SkyweaveError as error:
            if len(tasks) == 1:
                raise
            done += _skipped(area, season, names, error, speak)
    return done


def _fit_in_processes(
    config: DownscaleConfig, names: list[str], jobs: int, overwrite: bool, speak: Tell
) -> list[Fitted]:
    done: list[Fitted] = []
    tasks = list(config.tasks())
    threads = max(1, (os.cpu_count() or 1) // jobs)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, torch.set_num_threads, (threads,)) as pool:
        futures = [pool.submit(fit_task, config, area, season, names, overwrite) for area, season in tasks]
        for (area, season), future in zip(tasks, futures, strict=True):
            try:
                done += future.result()
            except SkyweaveError as error:
                done += _skipped(area, season, names, error, speak)
    return done


def _skipped(area: str, season: str, names: Sequence[str], error: Exception, speak: Tell) -> list[Fitted]:
    speak(f"[{area}-{season}] left out: {error}")
    return [Fitted(area, season, name, "skipped", reason=f"{area}, {season}: {error}") for name in names]


def fit_task(
    config: DownscaleConfig,
    area: str,
    season: Season,
    models: Sequence[str],
    overwrite: bool = False,
    tell: Tell | None = None,
    record: Record | None = None,
) -> list[Fitted]:
    """Train the models of one area and season; arguments as in `fit`.

    Raises:
        SkyweaveError: see `prepare_task` and `train_network`.
    """
    speak = tell or (lambda text: print(text, file=sys.stderr, flush=True))
    task = prepare_task(config, area, season, record)
    for note in (*task.record.notes, *task.samples.scaler.notes, task.split.describe(task.name)):
        speak(note)
    return [_fit_model(config, task, name, overwrite, speak) for name in models]


def _fit_model(config: DownscaleConfig, task: Task, name: str, overwrite: bool, speak: Tell) -> Fitted:
    options, kind = config.options, find_downscaler(name)
    encoder: TransferEncoder | None = None
    encoder_facts: dict[str, Any] = {}
    mark = ""
    if options.features in ("transferred", "scratch"):
        encoder_kind = kind.encoder_kind if config.encoder.kind == "auto" else config.encoder.kind
        if options.features == "transferred":
            encoder, encoder_facts = fit_encoder(config, task, encoder_kind, overwrite, speak)
            mark = encoder_facts["digest"]
        else:
            encoder = new_encoder(config, task, encoder_kind)
    path = model_path(config, task.area, task.season, name)
    made_with = {
        "data": task.digest,
        "model": name,
        "options": depends_on(options),
        "encoder": mark,
        "patch": config.patch,
        "stride": config.stride,
    }
    label = f"[{task.name} {path.stem}]"
    where = (task.area, task.season, name)
    if path.exists():
        saved = open_downscaler(path).metadata
        if made_before(path, saved, made_with, overwrite):
            return Fitted(*where, "finished before", path, facts=saved["training"])
    checkpoint = checkpoint_of(path)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.training.seed)
        model = build_downscaler(name, channels_of(task), options, encoder)
    model.prepare(fitting_pairs(task.samples, task.split.training))
    tiling = day_tiles(task.samples.shape, config.patch, config.stride)
    progress = train_network(
        model,
        model.loss,
        PatchExamples(task.samples, task.split.training, tiling),
        PatchExamples(task.samples, task.split.train_validation, tiling),
        options.training,
        checkpoint=checkpoint,
        made_with=made_with,
        tell=lambda line: speak(f"{label} {line}"),
        overwrite=overwrite,
    )
    facts = progress.facts()
    metadata = {
        "digest": digest_of(made_with),
        "made_with": made_with,
        "area": task.area,
        "season": task.season,
        "variables": list(task.record.fine.names),
        "coarse_variables": list(task.record.coarse.names),
        "scaler": task.samples.scaler.to_dict(),
        "calendar": task.samples.calendar.to_dict(),
        "grid": task.record.grid.to_dict(),
        "training_days": [str(d) for d in task.record.days[task.split.training][[0, -1]]],
        "split": task.split.told(task.record.days),
        "training": facts,
        "encoder": encoder_facts,
    }
    save_downscaler(TrainedDownscaler(model.eval(), config.patch, metadata), path)
    checkpoint.unlink(missing_ok=True)
    return Fitted(*where, "trained", path, facts=facts | {"encoder": encoder_facts})


def channels_of(task: Task) -> Channels:
    """Numbers of channels of a task's samples."""
    return Channels(
        task.record.fine.channels,
        task.record.coarse.channels,
        task.samples.lags,
        len(task.samples.static),
        len(task.samples.calendar.names),
        task.record.shared,
    )
