"""Emulators of a turbulent world and of real pressure fields: skill by lead time, and a rollout of 1,000 steps.

    python experiments/emulators.py world            # the shallow-water nature run, two minutes on one core
    skyweave emulate train experiments/configs/emulator_shallow_water.yaml     # 8 minutes
    skyweave emulate train experiments/configs/emulator_ncep.yaml              # 8 minutes
    python experiments/emulators.py                  # scores on test periods, rollouts: docs/results/emulators.md

Tests are on times after those of training and validation. Rivals are persistence, climatology and a linear inverse
model fitted on the same training period.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from common import FIGURES, ROOT, emit

from skyweave.config import load_config
from skyweave.emulate import (
    Emulator,
    EmulatorConfig,
    fit_forecaster,
    forecast_states,
    open_emulator,
)
from skyweave.evaluate.forecasts import score_forecasts
from skyweave.io import open_fields
from skyweave.io.write import write
from skyweave.nature_runs import ShallowWater, ShallowWaterConfig, shallow_water
from skyweave.report.style import colours, heading, new_figure, quiet, save, style
from skyweave.state import to_tensor
from skyweave.verify import zonal_spectrum

PAGE = ROOT / "docs/results/emulators.md"
WORLD = ROOT / "runs/emulators/shallow_water.nc"
WORLD_SEED = 1


@dataclass(frozen=True)
class Case:
    """One emulator, and the stretch of its data that it is tested on."""

    name: str
    config: str
    test: tuple[str, str]
    steps: int
    shown: tuple[int, ...]
    components: int


CASES = (
    Case(
        "Shallow water, 6-hour steps",
        "emulator_shallow_water",
        ("2002-03-05", "2002-06-30"),
        steps=40,
        shown=(1, 2, 4, 8, 12, 20, 40),
        components=150,
    ),
    Case(
        "NCEP sea-level pressure, daily steps",
        "emulator_ncep",
        ("2009-01-01", "2010-12-31"),
        steps=10,
        shown=(1, 2, 3, 5, 7, 10),
        components=25,
    ),
)


def make_world() -> None:
    """Two and a half years of shallow water."""
    WORLD.parent.mkdir(parents=True, exist_ok=True)
    write(shallow_water(3640, ShallowWaterConfig(seed=WORLD_SEED))[["u", "v", "h"]], WORLD, overwrite=True)


def settings(case: Case) -> EmulatorConfig:
    return load_config(ROOT / f"experiments/configs/{case.config}.yaml", EmulatorConfig)


def trained(case: Case) -> Emulator:
    return open_emulator(ROOT / settings(case).out / "emulator.safetensors")


def fields(case: Case, period: tuple[str, str]) -> xr.Dataset:
    data = settings(case).data
    return open_fields([str(ROOT / p) for p in data.paths], data.variables, time=period).load()


def skill(case: Case, emulator: Emulator, starts: int = 60) -> xr.Dataset:
    """RMSE and ACC by lead time of the emulator and its rivals on the test period."""
    training = fields(case, settings(case).split.train)
    others: dict[str, Any] = {
        "linear": fit_forecaster("linear", training, emulator.spec, components=case.components)
    }
    if case.config == "emulator_shallow_water":
        # The same equations without the stirring, which nobody can know: about as good as forecasts can be.
        own = ShallowWaterConfig(seed=WORLD_SEED, stirring=0.0)
        others["perfect model"] = ShallowWater(own, emulator.spec.names)
    return score_forecasts(
        emulator, fields(case, case.test), steps=case.steps, starts=starts, others=others, name="emulator"
    )


def skill_rows(case: Case, scores: xr.Dataset, emulator: Emulator) -> list[dict[str, Any]]:
    rows = []
    for variable in emulator.spec.variables:
        for kind in ("rmse", "acc"):
            for model in scores.model.values:
                found = scores[kind].sel(model=model, variable=variable.name)
                if not np.isfinite(found).any():
                    continue
                what = f"RMSE, {variable.units}" if kind == "rmse" else "ACC"
                row: dict[str, Any] = {"variable": variable.name, "score": what, "model": str(model)}
                for k in case.shown:
                    hours = k * emulator.time_step / 3600
                    label = f"{hours:g} h" if hours < 48 else f"{hours / 24:g} d"
                    value = float(found[k - 1])
                    row[label] = f"{value:.3g}" if kind == "rmse" else f"{value:.2f}"
                rows.append(row)
    return rows


def long_rollout(case: Case, emulator: Emulator, steps: int = 1000) -> torch.Tensor:
    """The states of a rollout from the beginning of the test period, ``(steps, C, H, W)``."""
    test = fields(case, case.test).isel(time=[0])
    start = to_tensor(test, emulator.spec, emulator.grid)
    return torch.cat([x for _, x in forecast_states(emulator, start, test.time.values[0], steps)])


def climate_rows(case: Case, emulator: Emulator, rollout: torch.Tensor, name: str) -> list[dict[str, Any]]:
    """Range, mean, variability and spectrum of a rollout beside the climate's."""
    climate = to_tensor(fields(case, settings(case).split.train), emulator.spec)
    area = torch.from_numpy(emulator.grid.area / emulator.grid.area.sum())
    late = rollout[len(rollout) // 2 :]
    rows = []
    for c, variable in enumerate(emulator.spec.variables):
        theirs, ours = climate[:, c], rollout[:, c]
        pair = (theirs, late[:, c])
        deviation = [float(((x - x.mean(0)).double() ** 2 * area).sum((1, 2)).mean().sqrt()) for x in pair]
        means = [x.double().mean(0) for x in pair]
        rings = area.sum(1)
        spectra = [
            zonal_spectrum(x, latitude_weights=rings, periodic=emulator.grid.periodic).mean(0)[1:]
            for x in pair
        ]
        # The world of shallow water ends at wavenumber 21.
        last = 21 if emulator.grid.periodic else len(spectra[0])
        edges = [0, last // 3, 2 * last // 3, last]
        power = [float(spectra[1][a:b].sum() / spectra[0][a:b].sum()) for a, b in pairwise(edges)]
        rows.append(
            {
                "variable": f"{variable.name}, {variable.units}",
                "rollout": name,
                "climate's range": f"{float(theirs.min()):.4g} to {float(theirs.max()):.4g}",
                "range": f"{float(ours.min()):.4g} to {float(ours.max()):.4g}",
                "outside": f"{float(((ours < theirs.min()) | (ours > theirs.max())).double().mean()):.0e}",
                "climate's deviation": f"{deviation[0]:.3g}",
                "deviation": f"{deviation[1]:.3g}",
                "RMS difference of means": f"{float(((means[1] - means[0]) ** 2 * area).sum().sqrt()):.3g}",
                "power, long waves": f"{power[0]:.2f}",
                "middle": f"{power[1]:.2f}",
                "short": f"{power[2]:.2f}",
            }
        )
    return rows


def figure(case: Case, scores: xr.Dataset, emulator: Emulator, path: Path) -> None:
    """RMSE and ACC against lead time: a column for each variable, or side by side where there is one."""
    with style():
        count = len(emulator.spec.variables)
        rows, columns, width = (1, 2, 8.0) if count == 1 else (2, count, 3.0 * count + 1.6)
        drawing = new_figure(width, 3.4 if count == 1 else 5.0)
        axes = drawing.subplots(rows, columns, squeeze=False, sharex=True)
        low, high = (0.19, 0.79) if count == 1 else (0.14, 0.86)
        right = 1 - 1.45 / width
        drawing.subplots_adjust(left=0.75 / width, right=right, top=high, bottom=low, wspace=0.3)
        days = scores.lead_time.values / np.timedelta64(1, "D")
        colour = colours([str(m) for m in scores.model.values])
        for c, variable in enumerate(emulator.spec.variables):
            for row, (kind, label) in enumerate((("rmse", f"RMSE, {variable.units}"), ("acc", "ACC"))):
                ax = axes[0, row] if count == 1 else axes[row, c]
                quiet(ax)
                for model in map(str, scores.model.values):
                    values = scores[kind].sel(model=model, variable=variable.name)
                    if np.isfinite(values).any():
                        ax.plot(days, values, label=model, color=colour[model])
                ax.set_ylabel(label)
                if kind == "rmse":
                    ax.set_ylim(0, None)
                    ax.set_title(variable.name)
        for ax in axes[-1]:
            ax.set_xlabel("lead time, days")
        lines = axes[0, 0].get_legend_handles_labels()
        drawing.legend(*lines, loc="center left", bbox_to_anchor=(right + 0.08 / width, 0.5))
        heading(drawing, case.name, _note(scores))
        save(drawing, path)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", nargs="?", default="scores", choices=["scores", "world"])
    parser.add_argument("--only", help="a part of a case's name")
    chosen = parser.parse_args()
    if chosen.what == "world":
        make_world()
        return
    for case in CASES:
        if chosen.only and chosen.only.lower() not in case.name.lower():
            continue
        emulator = trained(case)
        scores = skill(case, emulator)
        emit(f"{case.name}: skill by lead time", skill_rows(case, scores, emulator), _note(scores), PAGE)
        figure(case, scores, emulator, FIGURES / f"{case.config}.png")
        # What as long a stretch of the truth looks like, beside the training period.
        later = to_tensor(fields(case, (settings(case).split.train[1], "2100-01-01")), emulator.spec)[:1000]
        rows = climate_rows(case, emulator, later, "truth, after training")
        rows += climate_rows(case, emulator, long_rollout(case, emulator), "deterministic")
        noisy = long_rollout(case, emulator.stochastic())
        rows += climate_rows(case, emulator, noisy, "stochastic")
        emit(f"{case.name}: 1,000 steps", rows, ROLLOUT, PAGE)


def _note(scores: xr.Dataset) -> str:
    first, last = scores.attrs["first"][:10], scores.attrs["last"][:10]
    return f"Means over {scores.attrs['starts']} forecasts from {first} to {last}, and over cells by area."


ROLLOUT = (
    "The climate is the training period. Ranges are those of all cells and times, `outside` is the share of values "
    "beyond the climate's range. Deviation (of each cell in time), difference of the mean maps, and power are of the "
    "second half. Power is that of zonal waves over the climate's, in each third of the wavenumbers, up to T21 on the "
    "globe. The first rows are of the truth after the training period, as long as it is, for comparison."
)


if __name__ == "__main__":
    main()
