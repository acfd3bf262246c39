"""How a rollout fares the further it is from the last fine day that was known, beside interpolation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from skyweave.baselines.downscaling import find_baseline
from skyweave.downscale.config import DownscaleConfig
from skyweave.downscale.data.task import Task
from skyweave.downscale.prediction.area_models import AreaModels
from skyweave.downscale.prediction.extension import rollout_area
from skyweave.downscale.settings import InferenceSection
from skyweave.downscale.storage import model_path
from skyweave.evaluate.downscaling import trained_tasks
from skyweave.verify import crps, rmse, spread_skill_ratio, table

__all__ = ["evaluate_rollout", "longest_run", "rollout_table"]


def evaluate_rollout(
    config: DownscaleConfig,
    *,
    models: Sequence[str] | None = None,
    days: str = "test",
    baselines: Sequence[str] = ("bicubic", "quantile-mapped"),
    tell: Callable[[str], None] | None = None,
    settings: InferenceSection | None = None,
) -> list[dict[str, Any]]:
    """Roll out over test days, whose truth is known, and score by distance from the last fine day that was used.

    `skyweave.evaluate.downscaling.evaluate` predicts each day from the true days before it; beyond the fine
    record there are none. Here the longest stretch of test days of each season is rolled out from the days before it.

    Args:
        config: of the downscaling.
        models: names of trained models, that of the configuration by default.
        days: "test" or "validation".
        baselines: of `skyweave.baselines.downscaling`, fitted on training days.
        tell: called with lines of progress.
        settings: how members are drawn, ``config.inference`` by default.

    Returns:
        Rows with area, season, variable, ``steps`` (first and last of a block of 1, 2, 4, ... days), method, ``rmse``
        of the mean, fair ``crps`` and ``ssr``, physical units.

    Raises:
        SkyweaveError: no trained model, or another word for the days.
    """
    settings = settings or config.inference
    rows: list[dict[str, Any]] = []
    for task, trained in trained_tasks(config, models, days):
        area, season, record = task.area, task.season, task.record
        chosen = longest_run(task.split.named(days))
        own = config.model_copy(update={"seasons": (season,)})
        for name in trained:
            if tell is not None:
                tell(f"[{task.name} {name}] rolling out {len(chosen)} {config.step_name}s")
            trained_on = AreaModels(own, area, name, record)
            trained_on.check_days(season, task.split)
            made = rollout_area(
                trained_on, settings, start=str(record.days[chosen[0]])[:19],
                end=str(record.days[chosen[-1]])[:19], progress=False,
            )  # fmt: skip
            fields = np.stack([made[v].values for v in record.fine.names], 2)
            rows += _scored(task, chosen, model_path(own, area, season, name).stem, fields)
        for name in baselines:
            fitted = find_baseline(name)(task.samples, task.split.training)
            rows += _scored(task, chosen, name, fitted(chosen).numpy()[None, :])
    return rows


def longest_run(days: NDArray[np.int64]) -> NDArray[np.int64]:
    """The longest stretch of days that follow one another; the first of equal ones."""
    runs = np.split(days, np.flatnonzero(np.diff(days) > 1) + 1)
    return max(runs, key=len)


def _scored(
    task: Task, days: NDArray[np.int64], method: str, fields: NDArray[np.float32]
) -> list[dict[str, Any]]:
    """Rows of one method from members ``(M, T, C, H, W)``."""
    truth = task.record.fine.read(days)
    rows, first = [], 0
    while first < len(days):
        last = min(len(days), 2 * first + 1)
        for c, name in enumerate(task.record.fine.names):
            ens = torch.from_numpy(fields[:, first:last, c]).double()
            obs = torch.from_numpy(truth[first:last, c]).double()
            known = obs.isfinite()
            rows.append(
                {
                    "area": task.area,
                    "season": task.season,
                    "variable": name,
                    "steps": (first + 1, last),
                    "method": method,
                    "rmse": float(rmse(ens.mean(0), obs, where=known)),
                    "crps": float(crps(ens, obs, where=known)),
                    "ssr": float(spread_skill_ratio(ens, obs, where=known)) if len(ens) > 1 else float("nan"),
                }
            )
        first = last
    return rows


def rollout_table(rows: Sequence[dict[str, Any]], step: str = "day") -> str:
    """One Markdown table for each area, season and variable: a line for each distance, methods side by side."""
    parts = []
    for key in dict.fromkeys((r["area"], r["season"], r["variable"]) for r in rows):
        own = [r for r in rows if (r["area"], r["season"], r["variable"]) == key]
        lines = []
        for steps in dict.fromkeys(r["steps"] for r in own):
            line: dict[str, Any] = {
                f"{step}s after": str(steps[0]) if steps[0] == steps[1] else f"{steps[0]}-{steps[1]}"
            }
            for score in ("rmse", "crps", "ssr"):
                for r in own:
                    if r["steps"] == steps and np.isfinite(r[score]):
                        line[f"{score.upper()} {r['method']}"] = r[score]
            lines.append(line)
        parts.append(f"{key[0]}, {key[1]}, {key[2]}: one rollout\n\n{table(lines)}")
    return "\n\n".join(parts)
