"""Figures 8 and 9 of AODDiff: observations, mean, a member, uncertainty and absolute error, side by side."""

from __future__ import annotations

import numpy as np
from common import FIGURES, cases, observe, opened, posterior

from skyweave.grid import Grid
from skyweave.report import Panel, map_figure

TASKS = {
    "8 x 8 means": {"downscale": 8},
    "60 % missing": {"missing": 0.6},
    "hour without data": {"missing": 0.6, "every": 4},
    "means + gaps": {"downscale": 8, "missing": 0.6},
}


def maps(quick: bool) -> None:
    """One hour of four tasks, with the gappy prior; the third row shows an hour with no observation at all."""
    prior, truth = opened("gappy"), cases(1, seed=3)[0]
    grid, hour, panels = Grid.from_dataset(truth), 4, []
    for name, task in TASKS.items():
        given = observe(truth, 0, **task)
        # Where only every fourth hour is observed, hour 6 lies between two of them.
        shown = 6 if "every" in task else hour
        true = truth[shown].values
        members = posterior(prior, truth, given, 4 if quick else 16).numpy()[:, :, :][:, shown]
        last = given[-1].data
        seen = last.sel(time=truth.time[shown]) if truth.time.values[shown] in last.time.values else None
        own = grid if seen is None else Grid.from_dataset(seen)
        empty = np.full(grid.shape, np.nan)
        panels += [
            Panel(f"{name}: observed", empty if seen is None else seen.values, grid=own),
            Panel("truth", true),
            Panel("mean", members.mean(0)),
            Panel("a member", members[0]),
            Panel("spread", members.std(0, ddof=1), "spread"),
            Panel("|mean - truth|", np.abs(members.mean(0) - true), "spread"),
        ]
    map_figure(
        panels,
        grid,
        units="kg m-2",
        columns=6,
        width=13.0,
        names={"spread": "spread and absolute error"},
        title="What was observed, what is made of it, and how uncertain that is (Figures 8 and 9)",
        caption="MERRA-2 total precipitable water; prior learnt from a record with half of its cells hidden; "
        "16 members, 16 evaluations. Last row: gappy cells shown, coarse means used as well.",
        path=FIGURES / "aoddiff_maps.png",
    )
    print(FIGURES / "aoddiff_maps.png")
