"""Days of the fine record that nobody has: within the overlap from true lags, beyond it from its own predictions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from skyweave.dates import check_date, check_period
from skyweave.downscale.config import DownscaleConfig
from skyweave.downscale.data.samples import day_names
from skyweave.downscale.prediction.area_models import AreaModels
from skyweave.downscale.prediction.day_store import DayStore
from skyweave.downscale.settings import InferenceSection
from skyweave.errors import SkyweaveError
from skyweave.io.folder import make_folder
from skyweave.io.progress import Progress
from skyweave.io.select import begin_of, between

__all__ = ["area_days", "predict", "predict_days", "rollout", "rollout_area"]

Indices = NDArray[np.int64]


def predict(
    config: DownscaleConfig,
    *,
    days: str | tuple[str, str] = "test",
    model: str | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    progress: bool = True,
    settings: InferenceSection | None = None,
) -> dict[str, Path]:
    """Fine days within the overlap, each from the true fine days before it, for every area.

    Args:
        config: of the downscaling.
        days: "test", "validation", or first and last day of a period.
        model: a downscaler other than the configuration's.
        out: folder of the stores, ``config.out`` by default.
        overwrite: replace existing stores.
        progress: timed lines in a log.
        settings: how days are put together and members drawn, ``config.inference`` by default; see `InferenceSection`.

    Returns:
        Path of a Zarr store for each area; an interrupted run continues with its next block of
        days when called again.

    Raises:
        SkyweaveError: no trained model, no such day, an output that exists.
    """
    settings = settings or config.inference
    label = days if isinstance(days, str) else "_".join(days)
    made = {}
    for models, path in _areas(config, model, label, out):
        chosen = area_days(models, days)
        predict_days(models, chosen, settings, path=path, overwrite=overwrite, progress=progress)
        made[models.area] = path
    return made


def predict_days(
    models: AreaModels,
    days: Indices,
    settings: InferenceSection,
    *,
    path: Path | None = None,
    overwrite: bool = False,
    progress: bool = True,
    block: int | None = None,
) -> xr.Dataset:
    """As `predict`, for given days of one area; without a path the result is held in memory.

    Args:
        models: of the area.
        days: indices of target days, whose lags the fine record has.
        settings: of inference.
        path: of a Zarr store.
        overwrite, progress: as in `predict`.
        block: days that are written together; few enough by default that a kill loses little.
    """
    days = np.asarray(days, np.int64)
    what = f"{models.config.step_name}s predicted"
    with (
        DayStore(models, days, settings, "predict", block=block, path=path, overwrite=overwrite) as store,
        Progress(len(days), what, progress) as bar,
    ):
        for start, stop, done in store.blocks():
            if done:
                bar.skip(stop - start)
                continue
            fields = [models.day(int(d), range(store.members), settings) for d in days[start:stop]]
            store.put(start, stop, np.stack(fields, axis=1))
            bar.to(stop)
        return store.finish()


def rollout(
    config: DownscaleConfig,
    *,
    start: str | None = None,
    end: str | None = None,
    model: str | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    progress: bool = True,
    settings: InferenceSection | None = None,
) -> dict[str, Path]:
    """Fine days beyond the overlap, day after day, each member from its own predictions.

    The first days see the last true fine days; from then on what was predicted takes their place, while the coarse
    record, which goes on, keeps the large scales in place (section 2.4 of the paper).

    Args:
        config: of the downscaling.
        start: first day predicted; by default the first one for which there are true lags, and no true day.
        end: last day predicted; by default the end of the coarse record.
        model, out, overwrite, progress, settings: as in `predict`.

    Returns:
        Path of a Zarr store for each area. Each block of days has its own region, and memory does
        not grow with the number of days; an interrupted rollout continues after its last block, with the same members.

    Raises:
        SkyweaveError: no trained model, a season without one, coarse days missing, no true days to begin with.

    Reference: downscaling paper, section 2.4, last paragraph.
    """
    settings = settings or config.inference
    made = {}
    for models, path in _areas(config, model, "rollout", out):
        rollout_area(
            models, settings, start=start, end=end, path=path, overwrite=overwrite, progress=progress
        )
        made[models.area] = path
    return made


def rollout_area(
    models: AreaModels,
    settings: InferenceSection,
    *,
    start: str | None = None,
    end: str | None = None,
    path: Path | None = None,
    overwrite: bool = False,
    progress: bool = True,
    block: int | None = None,
) -> xr.Dataset:
    """As `rollout`, for one area; without a path the result is held in memory.

    Args:
        models: of the area.
        settings: of inference.
        start, end, overwrite, progress: as in `rollout`.
        path: of a Zarr store.
        block: days that are written together; few enough by default that a kill loses little.
    """
    record = models.record
    days = _rollout_days(models, start, end)
    state: NDArray[np.float32] | None = None
    what = f"{models.config.step_name}s rolled out"
    with (
        DayStore(models, days, settings, "rollout", block=block, path=path, overwrite=overwrite) as store,
        Progress(len(days), what, progress) as bar,
    ):
        members = store.members
        for first, stop, done in store.blocks():
            if done:
                state = None
                bar.skip(stop - first)
                continue
            if state is None:
                state = _history(models, store, first)
            fields = np.empty((members, stop - first, record.fine.channels, *record.grid.shape), np.float32)
            for place in range(first, stop):
                today = models.day(int(days[place]), range(members), settings, lags=state)
                fields[:, place - first] = today
                state = np.concatenate([state[:, 1:], today[:, None]], axis=1)
                bar.to(place + 1)
            store.put(first, stop, fields)
        return store.finish()


def area_days(models: AreaModels, days: str | tuple[str, str]) -> Indices:
    """Indices of "test" or "validation" days of all seasons that have a model, or of those of a period.

    Raises:
        SkyweaveError: another word, or no day.
    """
    config = models.config
    if isinstance(days, str):
        if days not in ("test", "validation"):
            raise SkyweaveError(
                f"days {days!r}: they are 'test', 'validation', or first and last day of a period"
            )
        return models.target_days(days)
    index = pd.DatetimeIndex(models.record.days)
    inside = np.arange(len(index))[between(index, *check_period(days, "days"))]
    gaps = models.record.fine.missing(config.split.filled) > 0
    fit = [d for d in inside if d >= config.lags and not gaps[d - config.lags : d].any()]
    fit = [d for d in fit if models.season(d) in models.trained]
    if not fit:
        raise SkyweaveError(
            f"no {config.step_name} from {days[0]} to {days[1]} has its {config.lags} fine {config.step_name}s before "
            "it and a model of its season; beyond the fine record use rollout"
        )
    return np.array(fit, np.int64)


def _areas(
    config: DownscaleConfig, model: str | None, label: str, out: str | Path | None
) -> Iterator[tuple[AreaModels, Path]]:
    """The models of each area in turn, and the store of what they make."""
    for area in config.areas or ("all",):
        models = AreaModels(config, area, model)
        yield models, make_folder(out or config.out) / f"{area}-{model or config.model}-{label}.zarr"


def _rollout_days(models: AreaModels, start: str | None, end: str | None) -> Indices:
    record, lags, step = models.record, models.config.lags, models.config.step_name
    complete = record.fine.missing(models.config.split.filled) == 0
    index = pd.DatetimeIndex(record.days)
    if start is None:
        # Behind the last run of true days that is long enough.
        runs = np.convolve(complete, np.ones(lags), "valid") == lags
        if not runs.any():
            raise SkyweaveError(f"the fine record nowhere has {lags} complete {step}s in a row to begin with")
        first = int(np.flatnonzero(runs)[-1]) + lags
        if first >= len(index):
            raise SkyweaveError(
                f"the coarse record ends with the fine one, {record.days[-1]!s:.10}; there is nothing to roll out to"
            )
    else:
        first = int(between(index, check_date(start, "start"), None).start)
        if first < lags or first == len(index) or not complete[first - lags : first].all():
            there = record.days[np.flatnonzero(complete)]
            if not len(there):
                raise SkyweaveError(f"start {start}: the fine record has no complete {step} at all")
            raise SkyweaveError(
                f"start {start}: the {lags} {step}s before it are not all in the fine record, whose complete {step}s "
                f"are from {day_names(there[:1])} to {day_names(there[-1:])}; leave start out to begin behind them"
            )
    span = f"{day_names(record.days[:1])} to {day_names(record.days[-1:])}"
    last = len(index) if end is None else int(between(index, None, check_date(end, "end")).stop)
    if last == len(index) and end is not None and begin_of(end) >= record.days[-1] + record.step:
        raise SkyweaveError(f"end {end}: the coarse record, which drives the rollout, has {span}")
    if last <= first:
        raise SkyweaveError(
            f"end {end}: the rollout begins on {day_names(record.days[first : first + 1])}, behind the fine record; "
            f"give a later end; the coarse record has {span}"
        )
    days = np.arange(first, last)
    gaps = record.coarse.missing() > 0
    needed = np.arange(first - lags, last)
    if gaps[needed].any():
        raise SkyweaveError(
            f"the coarse record has gaps on {day_names(record.days[needed[gaps[needed]]])}, which drive the rollout; "
            "fill them, or end before"
        )
    lacking = models.without_model(days)
    if len(lacking):
        raise SkyweaveError(
            f"no model for {len(lacking)} of {len(days)} days, the first on {record.days[lacking[0]]!s:.10} "
            f"({models.season(int(lacking[0]))}); train one for every season of the rollout"
        )
    return days


def _history(models: AreaModels, store: DayStore, first: int) -> NDArray[np.float32]:
    """The days before place `first` of the store, for every member: true ones, then those already predicted."""
    lags, begin = models.config.lags, int(store.days[0])
    true = max(0, lags - first)
    parts = []
    if true:
        known = models.record.fine.read(np.arange(begin - true, begin), models.config.split.filled)
        parts.append(np.repeat(known[None], store.members, axis=0))
    if true < lags:
        parts.append(store.get(first - (lags - true), first))
    return np.concatenate(parts, axis=1)
