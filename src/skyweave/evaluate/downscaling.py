"""The downscaling paper's tables: scores of trained models on days they have not seen, beside interpolation."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from skyweave.baselines.downscaling import DOWNSCALING_BASELINES, find_baseline
from skyweave.downscale.config import DownscaleConfig
from skyweave.downscale.data.opening import open_record
from skyweave.downscale.data.task import Task, prepare_task
from skyweave.downscale.prediction.area_models import AreaModels
from skyweave.downscale.settings import InferenceSection
from skyweave.downscale.storage import model_path
from skyweave.errors import SkyweaveError
from skyweave.io.made_with import digest_of
from skyweave.keywords import made_with
from skyweave.transform import Log10Standardise
from skyweave.verify.daily import daily_scores
from skyweave.verify.ensemble import coverage, coverage_level
from skyweave.verify.scorecard import table
from skyweave.verify.scores import crps

if TYPE_CHECKING:  # what scores needs no trainer
    from skyweave.downscale.training.fitting import Fitted

__all__ = ["Evaluation", "evaluate", "evaluation_table", "fitted_table", "trained_tasks"]

Fields = NDArray[np.float32]
PAPER = ("r2", "rmse", "mae", "nse", "kge")
VERSION = 2


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Scores of one method on the days of one area and season.

    Args:
        area, season, variable, method: whose.
        members: of the ensemble.
        days: number of days.
        daily: mean and standard deviation over days of each score of `skyweave.verify.daily.daily_scores`, of the
            ensemble mean.
        ensemble: ``crps`` (fair, physical units), ``crps_log10``, ``ssr``, ``ssr_log10`` (spread over error, pooled
            over days) and ``coverage`` of the central interval of probability `level`; NaN where there is one member,
            whose CRPS is its MAE.
        units: of the variable.
        seconds: per day; NaN where it was not measured.
    """

    area: str
    season: str
    variable: str
    method: str
    members: int
    days: int
    daily: dict[str, tuple[float, float]]
    ensemble: dict[str, float]
    units: str = "1"
    seconds: float = field(default=math.nan, compare=False)

    @property
    def level(self) -> float:
        """Of the interval that is scored: 90 %, or as much as the members' whole range holds where they are few."""
        return coverage_level(self.members)

    def row(self, digits: int = 3) -> dict[str, Any]:
        """One line of the table, "mean(deviation)" for the scores that the paper prints."""
        paper = {k.upper(): f"{self.daily[k][0]:.{digits}f}({self.daily[k][1]:.{digits}f})" for k in PAPER}
        keys = {"crps": "CRPS", "crps_log10": "CRPS log10", "ssr": "SSR", "ssr_log10": "SSR log10"}
        own = {title: self.ensemble[k] for k, title in keys.items() if k in self.ensemble}
        told = {f"coverage of {self.level:.0%}": self.ensemble["coverage"]} if self.members > 1 else {}
        return {"method": self.method} | paper | own | told


def evaluate(
    config: DownscaleConfig,
    *,
    models: Sequence[str] | None = None,
    days: str = "test",
    most: int | None = None,
    baselines: Sequence[str] = tuple(DOWNSCALING_BASELINES),
    tell: Callable[[str], None] | None = None,
    settings: InferenceSection | None = None,
) -> list[Evaluation]:
    """Score trained models and baselines day by day, for every area and season that has a model.

    The scores of a day are written to a file beside the model as soon as they are known, so that an evaluation that
    was interrupted goes on with the next day.

    Args:
        config: of the downscaling.
        models: names of trained models, that of the configuration by default.
        days: "test" or "validation".
        most: days of each area and season at most, evenly chosen.
        baselines: of `skyweave.baselines.downscaling`, fitted on training days.
        tell: called with lines of progress.
        settings: how members are drawn, ``config.inference`` by default.

    Raises:
        SkyweaveError: no trained model, one that was trained by other days, or an unknown name.
    """
    settings = settings or config.inference
    found: list[Evaluation] = []
    for task, names in trained_tasks(config, models, days):
        area, season, record = task.area, task.season, task.record
        chosen = task.split.named(days)
        if most is not None and len(chosen) > most:
            chosen = chosen[np.linspace(0, len(chosen) - 1, most).round().astype(int)]
        for name in names:
            path = model_path(config, area, season, name)
            own = AreaModels(config.model_copy(update={"seasons": (season,)}), area, name, record)
            own.check_days(season, task.split)
            members = settings.members if own.generative else 1
            mark = {"version": VERSION, "models": own.fingerprint(), "data": task.digest} | made_with(
                settings
            )
            notes = path.with_name(f"scores-{path.stem}-{days}.jsonl")

            def predict(day: int, own: AreaModels = own, members: int = members) -> Fields:
                return own.day(day, range(members), settings)

            scores = _days(task, chosen, predict, notes, digest_of(mark), tell)
            found += _gather(task, path.stem, members, scores)
        for name in baselines:
            fitted = _baseline(task, name)
            scores = [_day(task, int(day), fitted) for day in chosen]
            found += _gather(task, name, 1, scores)
    return found


def trained_tasks(
    config: DownscaleConfig, models: Sequence[str] | None, days: str
) -> Iterator[tuple[Task, list[str]]]:
    """Data of each area and season, and which of the models are trained for it; the configuration's by default.

    Raises:
        SkyweaveError: another word for the days than "test" and "validation", or no trained model at all.
    """
    if days not in ("test", "validation"):
        raise SkyweaveError(f"days {days!r}: they are 'test' or 'validation'")
    names = list(models or [config.model])
    known = {t: [n for n in names if model_path(config, *t, n).exists()] for t in config.tasks()}
    if not any(known.values()):
        raise SkyweaveError(
            f"{config.out}: no trained model {' or '.join(names)} of any area and season; run "
            "`skyweave downscale fit` first"
        )
    for (area, season), trained in known.items():
        if trained:
            yield prepare_task(config, area, season, open_record(config, area)), trained


def _baseline(task: Task, name: str) -> Callable[[int], Fields]:
    fitted = find_baseline(name)(task.samples, task.split.training)
    return lambda day: fitted([day]).numpy()


def _days(
    task: Task,
    days: NDArray[np.int64],
    predict: Callable[[int], Fields],
    path: Path,
    digest: str,
    tell: Callable[[str], None] | None,
) -> list[dict[str, Any]]:
    """Scores of each day, those already in the file and the others, which are added to it."""
    done = dict(_read(path, digest))
    if not done:
        path.write_text(json.dumps({"digest": digest}) + "\n")
    spoken = time.monotonic()
    with path.open("a") as file:
        for count, day in enumerate(int(d) for d in days):
            if day not in done:
                done[day] = _day(task, day, predict)
                file.write(json.dumps({"day": day, "scores": done[day]}) + "\n")
                file.flush()
            if tell is not None and time.monotonic() - spoken > 10:
                spoken = time.monotonic()
                tell(f"[{task.name} {path.stem}] {count + 1} of {len(days)} days")
    return [done[int(d)] for d in days]


def _read(path: Path, digest: str) -> Iterator[tuple[int, dict[str, Any]]]:
    if not path.exists():
        return
    first, *lines = path.read_text().splitlines() or ["{}"]
    if json.loads(first).get("digest") != digest:
        return
    for line in lines:
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            continue  # a line that a kill cut short
        yield entry["day"], entry["scores"]


def _day(task: Task, day: int, predict: Callable[[int], Fields]) -> dict[str, Any]:
    """Scores of one day, by variable."""
    began = time.monotonic()
    members = predict(day)
    seconds = time.monotonic() - began
    truth = task.record.fine.read(np.array([day]))[0]
    out: dict[str, Any] = {}
    for c, name in enumerate(task.record.fine.names):
        transform = task.samples.scaler.fine.transforms[c]
        floor = transform.floor if isinstance(transform, Log10Standardise) else None
        ens, obs = torch.from_numpy(members[:, c]).double(), torch.from_numpy(truth[c]).double()
        scores = {
            k: float(v[0])
            for k, v in daily_scores(members[:, c].mean(0)[None], truth[c][None], floor=floor).items()
        }
        scores |= _spread(ens, obs, "") | {"seconds": seconds}
        if floor is not None:
            scores |= _spread(ens.clamp_min(floor).log10(), obs.clamp_min(floor).log10(), "_log10")
        out[name] = scores
    return out


def _spread(ens: torch.Tensor, obs: torch.Tensor, suffix: str) -> dict[str, float]:
    known = obs.isfinite()
    variance = ens[:, known].var(0).mean() if len(ens) > 1 else torch.tensor(torch.nan)
    scores = {
        f"crps{suffix}": float(crps(ens, obs, where=known)),
        f"variance{suffix}": float(variance),
        f"square{suffix}": float((ens.mean(0) - obs)[known].square().mean()),
    }
    return scores if suffix else scores | {"coverage": _covered(ens, obs, known)}


def _covered(ens: torch.Tensor, obs: torch.Tensor, known: torch.Tensor) -> float:
    return math.nan if len(ens) < 2 else float(coverage(ens, obs, coverage_level(len(ens)), where=known))


def _gather(task: Task, method: str, members: int, days: Sequence[dict[str, Any]]) -> list[Evaluation]:
    found = []
    for name in task.record.fine.names:
        units = str(task.record.fine.dataset[name].attrs.get("units", "1"))
        scores = {key: np.array([day[name][key] for day in days]) for key in days[0][name]}
        ensemble = {k: float(np.nanmean(scores[k])) for k in ("crps", "crps_log10") if k in scores}
        ensemble["coverage"] = float(np.mean(scores["coverage"]))
        for suffix in ("", "_log10"):
            if f"square{suffix}" in scores:
                ratio = np.mean(scores[f"variance{suffix}"]) / np.mean(scores[f"square{suffix}"])
                ensemble[f"ssr{suffix}"] = float(np.sqrt((members + 1) / members * ratio))
        skip = ("crps", "coverage", "variance", "square", "seconds")
        daily = {
            key: (float(np.nanmean(v)), float(np.nanstd(v)))
            for key, v in scores.items()
            if not key.startswith(skip)
        }
        seconds = float(np.mean(scores["seconds"]))
        found.append(
            Evaluation(
                area=task.area,
                season=task.season,
                variable=name,
                method=method,
                members=members,
                days=len(days),
                daily=daily,
                ensemble=ensemble,
                units=units,
                seconds=seconds,
            )
        )
    return found


def evaluation_table(found: Sequence[Evaluation], digits: int = 3, step: str = "day") -> str:
    """One Markdown table for each area, season and variable, as the paper's Tables 3 and A1."""
    parts = []
    for key in dict.fromkeys((e.area, e.season, e.variable) for e in found):
        rows = [e for e in found if (e.area, e.season, e.variable) == key]
        units = f" in {rows[0].units}" if rows[0].units != "1" else ""
        members = max(e.members for e in rows)
        title = (
            f"{key[0]}, {key[1]}, {key[2]}: {rows[0].days} {step}s, each from the true ones before it. Up to KGE: "
            f"scores of the ensemble mean, mean(standard deviation) over {step}s. RMSE, MAE, CRPS{units}. {members} "
            "members; of one member the CRPS is the MAE"
        )
        parts.append(f"{title}\n\n{table([e.row(digits) for e in rows])}")
    return "\n\n".join(parts)


def fitted_table(done: Sequence[Fitted]) -> str:
    """What was trained, and how well the encoders predict the next coarse day.

    Losses are not told: those of different models are different things. They are in the files, with their history.
    """
    rows = []
    for fitted in done:
        scores = fitted.facts.get("encoder", {}).get("scores", {})
        rows.append(
            {
                "area": fitted.area,
                "season": fitted.season,
                "model": fitted.model,
                "status": fitted.status,
                "epochs": fitted.facts.get("epochs"),
                "minutes": fitted.facts.get("minutes"),
                "encoder R2": scores.get("r2"),
                "of persistence": scores.get("r2_persistence"),
            }
        )
    lines = [table(rows)]
    lines += [f"left out: {f.reason}" for f in done if f.status == "skipped"]
    return "\n".join(dict.fromkeys(lines))
