"""What the experiment on transfer downscaling measures: summaries, seams, and how a long record holds up."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import ROOT
from numpy.typing import NDArray
from torch.utils._python_dispatch import TorchDispatchMode

import skyweave.downscale as downscale
from skyweave.baselines.downscaling import Bicubic
from skyweave.downscale.config import DownscaleConfig
from skyweave.downscale.data.task import Task
from skyweave.downscale.prediction.area_models import AreaModels
from skyweave.downscale.prediction.stitching import day_tiles, taper
from skyweave.downscale.settings import InferenceSection
from skyweave.grid import Grid
from skyweave.report.dependence import lag_figure, memory_figure, series_figure, variogram_figure
from skyweave.verify import (
    area_mean,
    coverage,
    coverage_level,
    crps_field,
    daily_scores,
    field_variogram,
    fit_spherical,
    lag_scores,
    mean_and_deviation,
    series_memory,
    spread_skill_ratio,
)

Fields = NDArray[np.floating]
RUN = ROOT / "runs/transfer_downscaling"
PAGE = RUN / "quick/page.md" if "--quick" in sys.argv else ROOT / "docs/results/transfer_downscaling.md"
YAML = ROOT / "experiments/configs/transfer_downscaling.yaml"
EPOCHS = {"ddpm": 15, "unet": 10, "vae": 10, "vdm-like": 15, "latent": 15}
SEASON = "JJA"
"""The season of the paper's figures; what costs much is measured there."""
FLOOR = 1e-3
"""Optical depth below which a logarithm is not taken further."""


def config(
    model: str = "ddpm", quick: bool = False, epochs: int | None = None, **options: Any
) -> DownscaleConfig:
    """The configuration with the epochs of a model, and other options."""
    base = downscale.load_downscaling(YAML)
    little = {"epochs": 2, "steps_per_epoch": 5}
    training = base.options.training.model_copy(
        update=little if quick else {"epochs": epochs or EPOCHS[model]}
    )
    changed = {"options": base.options.model_copy(update={"training": training} | options), "model": model}
    if quick:
        encoder = base.encoder.training.model_copy(update=little)
        changed |= {"encoder": base.encoder.model_copy(update={"training": encoder}), "out": RUN / "quick"}
    return base.model_copy(update=changed)


def of_season(quick: bool, model: str = "ddpm") -> DownscaleConfig:
    """The models of the paper's season alone."""
    return config(model, quick).model_copy(update={"seasons": (SEASON,)})


def log10(fields: Fields) -> Fields:
    return np.log10(np.maximum(fields, FLOOR))


def summary(fields: Fields) -> dict[str, Any]:
    """A column of the paper's Table 1."""
    values = fields[np.isfinite(fields)]
    low, middle, high = np.quantile(values, [0.05, 0.5, 0.95])
    return {
        "days": len(fields), "mean": float(values.mean()), "std": float(values.std()),
        "5 %": float(low), "50 %": float(middle), "95 %": float(high),
    }  # fmt: skip


def bicubic(task: Task, days: NDArray[np.int64]) -> Fields:
    """The coarse record on the fine cells, ``(T, H, W)``."""
    return Bicubic(task.samples)(days)[:, 0].numpy()


def seam_lines(shape: tuple[int, int], patch: int, how: InferenceSection) -> tuple[list[int], list[int]]:
    """Rows and columns ``n`` such that what is taken of some patch begins or ends between ``n - 1`` and ``n``."""
    found: tuple[set[int], set[int]] = (set(), set())
    tiling = day_tiles(shape, (patch, patch), how.stride)
    for tile, share in zip(tiling, taper(tiling, shape, how.window, how.halo), strict=True):
        for axis, (index, size) in enumerate(zip((tile.i, tile.j), shape, strict=True)):
            used = index[(share > 0).any(1 - axis).numpy()]
            found[axis].update(int(n) for n in (used[0], used[-1] + 1) if 0 < n < size)
    return sorted(found[0]), sorted(found[1])


def seam_ratio(fields: Fields, lines: tuple[list[int], list[int]]) -> float:
    """Root mean square jump of the gradient across the lines over that elsewhere; of log10, both axes together."""
    z = log10(fields)
    at, away = [], []
    for axis, chosen in ((-2, lines[0]), (-1, lines[1])):
        # The second difference centred on either cell beside a line sees the jump there.
        jumps = np.moveaxis(np.diff(z, 2, axis=axis) ** 2, axis, 0).reshape(z.shape[axis] - 2, -1).mean(1)
        near = np.zeros(len(jumps), bool)
        near[[k for n in chosen for k in (n - 2, n - 1) if 0 <= k < len(jumps)]] = True
        at.append(jumps[near])
        away.append(jumps[~near])
    return float(np.sqrt(np.concatenate(at).mean() / np.concatenate(away).mean()))


def members_of(models: AreaModels, days: Sequence[int], how: InferenceSection, members: int) -> Fields:
    """Members ``(M, T, H, W)``."""
    return np.stack([models.day(int(d), range(members), how)[:, 0] for d in days], axis=1)


def daily_rmse(members: Fields, truth: Fields) -> Fields:
    """RMSE of log10 of the ensemble mean of log10, by day."""
    return np.sqrt(((log10(members).mean(0) - log10(truth)) ** 2).mean((-2, -1)))


def daily_crps(members: Fields, truth: Fields) -> Fields:
    """Fair CRPS of log10, by day."""
    field = crps_field(torch.from_numpy(log10(members)), torch.from_numpy(log10(truth)))
    return field.numpy().mean((-2, -1))


def spread_row(members: Fields, truth: Fields) -> dict[str, Any]:
    """Variance of members, spread over error and fair CRPS, all of log10."""
    several = len(members) > 1
    ratio = (
        spread_skill_ratio(torch.from_numpy(log10(members)), torch.from_numpy(log10(truth)))
        if several
        else np.nan
    )
    return {
        "variance": float(log10(members).var(0, ddof=1).mean()) if several else np.nan,
        "SSR": float(ratio),
        "CRPS log10": float(daily_crps(members, truth).mean()),
    }


def by_period(
    records: dict[str, Fields], truth: Fields, edges: Sequence[int], step: str = "days"
) -> list[dict[str, Any]]:
    """Errors in consecutive periods of the rollout, and the bias of the area mean of log10 in each."""
    rows = []
    for name, members in records.items():
        row: dict[str, Any] = {"record": name}
        rmse, crps = daily_rmse(members, truth), daily_crps(members, truth)
        off = (log10(members) - log10(truth)).mean((0, -2, -1))
        for first, last in pairwise(edges):
            row[f"RMSE {first + 1}-{last}"] = float(rmse[first:last].mean())
            row[f"CRPS {first + 1}-{last}"] = float(crps[first:last].mean())
            row[f"bias {first + 1}-{last}"] = float(off[first:last].mean())
        row[f"drift per 100 {step}"] = float(100 * np.polyfit(np.arange(len(off)), off, 1)[0])
        rows.append(row)
    return rows


def dependence(
    records: dict[str, Fields],
    grids: dict[str, Grid],
    days: NDArray[np.datetime64],
    figures: Path,
    *,
    stem: str = "transfer",
    unit: str = "log10 AOD",
    step: str = "days",
    title: str = "",
) -> list[dict[str, Any]]:
    """Semivariogram, autocorrelation and lag scores of one member of each record, with figures 8 and 9 of the paper."""
    rows, curves, fits, memories, lags = [], {}, {}, {}, {}
    for name, fields in records.items():
        z = log10(fields)
        curves[name] = field_variogram(z, grids[name], pairs=30_000, reach=600.0)
        fits[name] = fit_spherical(curves[name])
        memories[name] = series_memory(area_mean(fields), 30, days)
        lags[name] = lag_scores(z, 10, days)
        fit, memory, lag = fits[name], memories[name], lags[name]
        rows.append(
            {
                "record": name, "nugget": fit.nugget, "sill": fit.sill, "range, km": fit.range,
                "ACF 1": float(memory.acf[1]), "ACF 5": float(memory.acf[5]), "ACF 10": float(memory.acf[10]),
                "PACF 2": float(memory.pacf[2]),
                "RMSE, lag 1": float(lag.rmse[0]), "RMSE, lag 5": float(lag.rmse[4]), "R2, lag 1": float(lag.r2[0]),
            }
        )  # fmt: skip
    reference = next(iter(records))
    variogram_figure(
        curves,
        fits,
        units=f"({unit})²",
        reference=reference,
        title=title,
        path=figures / f"{stem}_variograms.png",
    )
    memory_figure(memories, reference=reference, step=step, title=title, path=figures / f"{stem}_memory.png")
    lag_figure(
        lags, units=unit, reference=reference, step=step, title=title, path=figures / f"{stem}_lags.png"
    )
    return rows


def error_figure(
    records: dict[str, Fields], truth: Fields, days: NDArray[np.datetime64], figures: Path
) -> None:
    """Area mean and error of each record by day."""
    means = {"truth": area_mean(truth)} | {n: area_mean(m.mean(0)) for n, m in records.items()}
    errors = {n: daily_rmse(m, truth) for n, m in records.items()}
    panels = {"area mean of AOD": means, "RMSE of log10 AOD": errors}
    title = "Beyond the overlap, means over 15 days"
    series_figure(
        days, panels, smooth=15, reference="truth", title=title, path=figures / "transfer_rollout.png"
    )


def ensemble_row(members: Fields, truth: Fields) -> dict[str, Any]:
    """The paper's scores of the mean, and those of the ensemble, on some days."""
    daily = mean_and_deviation(daily_scores(members.mean(0), truth, floor=FLOOR))
    row: dict[str, Any] = {
        k.upper(): f"{daily[k][0]:.3f}({daily[k][1]:.3f})" for k in ("r2", "rmse", "mae", "nse", "kge")
    }
    logs, true = torch.from_numpy(log10(members)), torch.from_numpy(log10(truth))
    row["CRPS log10"] = float(daily_crps(members, truth).mean())
    row["SSR"] = float(spread_skill_ratio(logs, true))
    level = coverage_level(len(logs))
    row[f"coverage of {level:.0%}"] = float(coverage(logs, true, level))
    return row


def timed(function: Callable[[], Any]) -> tuple[Any, float]:
    """What a function gives, and the seconds of a core that it took."""
    began = time.process_time()
    return function(), time.process_time() - began


def operations(function: Callable[[], Any]) -> int:
    """How many tensor operations a function starts."""

    class Counter(TorchDispatchMode):
        count = 0

        def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            self.count += 1
            return operation(*args, **(kwargs or {}))

    with Counter() as counter:
        function()
    return counter.count
