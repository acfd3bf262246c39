"""Multimodal super-resolution re-enacted on the data at hand: coarse grids, stations, both; the paper's sampler.

    python experiments/multimodal.py [era5 crossvariable paper cost table1 diagnostics] [--quick]

ERA5 at 1 degree (2 m temperature, 10 m winds, sea-level pressure) and the prior that ships with the package: it learnt
from 25-29 March 2026 and was validated on the 30th; every test is on the 31st. Stations stand where IGRA's radiosonde
stations do, with values of ERA5. Each part prints its table and adds it to docs/results/multimodal.md; figures go to
docs/figures.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from multimodal_common import (
    TASKS,
    Case,
    Members,
    Pool,
    backward_passes,
    bare_seconds,
    baseline,
    cases,
    deviations,
    emit,
    globe,
    observe,
    posterior,
    prior,
    scales,
)
from multimodal_figures import diagnostics, regional

from skyweave.posterior.methods import find_method

DEFAULT = "skyweave default"
PAPER = "paper's sampler"
CLIP = 0.3
"""Longest guidance, in lengths of the estimate. The paper clips and does not say at what: of 1, 0.3, 0.1 and 0.03 this
is the best; with 1 some members diverge."""
METHODS: dict[str, Members] = {
    DEFAULT: posterior,
    "bicubic": partial(baseline, "bicubic"),
    "kriging": partial(baseline, "kriging"),
    "optimal interpolation": partial(baseline, "optimal-interpolation"),
    "the same, prior's climate": partial(baseline, "optimal-interpolation", climate="prior"),
    "climatology": partial(baseline, "climatology"),
}
SAMPLERS: dict[str, Members] = {
    DEFAULT: posterior,
    PAPER: partial(posterior, method="multimodal"),
    f"{PAPER}, clipped": partial(posterior, method="multimodal", options={"clip": CLIP}),
    f"{PAPER}, clipped, twice the levels": partial(
        posterior, method="multimodal", steps=72, options={"clip": CLIP}
    ),
}
TABLE_1 = ((0.1, 1e-2), (0.1, 1e-3), (0.1, 5e-3), (0.5, 1e-3), (0.5, 5e-3), (0.05, 5e-3))
"""``Sigma_y`` and ``Gamma`` of the paper's Table 1."""


def pools(
    tests: Sequence[Case], tasks: Sequence[str], methods: Mapping[str, Members], members: int
) -> Iterator[tuple[str, str, Pool]]:
    """Every method on every task, over all cases; bicubic interpolation has one member."""
    for task in tasks:
        for name, method in methods.items():
            pool = Pool()
            for case in tests:
                pool.add(method, case, observe(case, *TASKS[task]), 1 if name == "bicubic" else members)
            yield task, name, pool


def era5(quick: bool) -> None:
    """From 1/8 resolution, from stations, from both: against interpolation, kriging and optimal interpolation."""
    tests, members = cases(3 if quick else 12), 4 if quick else 16
    summary, single, cells, spectra = [], [], [], {}
    for task, name, pool in pools(tests, list(TASKS), METHODS, members):
        if name == "climatology" and task != "IGRA":
            continue
        row = {"observations": "none" if name == "climatology" else task, "method": name}
        used = {"evaluations": find_method("covariance").evaluations() if name == DEFAULT else 0}
        summary.append({**row, **pool.summary(), **used, "s / member": pool.seconds_a_member})
        scores = pool.scores()
        single.append({**row, **{f"{v} {s}": scores[v][s] for s in ("RMSE", "CRPS") for v in scores}})
        if task.startswith("IGRA"):
            for where in ("sensors", "others"):
                found = pool.summary(where)
                keys = ("nRMSE", "nCRPS", "SSR", "coverage")
                cells.append({**row, "cells": where, **{k: found[k] for k in keys}})
        if task == "IGRA + LR":
            spectra[name] = pool
    size = f"{len(tests)} cases of 48 x 64 cells, {members} members"
    unit = ", ".join(f"{n} {float(d):.3g}" for n, d in zip(prior().spec.names, deviations(), strict=True))
    note = (
        f"Means over the variables; errors in standard deviations about the cell's mean of the training days ({unit}; "
        "K, m s-1, Pa). LR: 6 x 8 values of each variable. Bicubic interpolation is one member, its CRPS the mean "
        "absolute error.\n\n"
        "![a region](../figures/multimodal_region.png)\n![spectra](../figures/multimodal_spectra.png)"
    )
    emit(f"ERA5 from 1/8 resolution, from stations, and from both ({size})", summary, note)
    emit(f"ERA5, each variable (K, m s-1, Pa; {size})", single)
    emit(f"ERA5 at cells with a station and at the others ({size})", cells)
    others = {name: METHODS[name] for name in ("bicubic", "optimal interpolation")}
    regional(tests[1], posterior, others, spectra, members)


def crossvariable(quick: bool) -> None:
    """All winds withheld: what temperature and pressure say of them."""
    tests, members = cases(2 if quick else 6), 4 if quick else 16
    names = list(prior().spec.names)
    networks: dict[str, dict[str, Any]] = {
        "stations": {"coarse": None, "sounded": True},
        "1/8 resolution": {"coarse": "mean", "sounded": False},
        "every cell": {"coarse": "mask", "sounded": False, "factor": 1},
    }
    methods = {DEFAULT: posterior, "optimal interpolation": METHODS["optimal interpolation"]}
    rows = []

    def scored(network: str, seen: Sequence[str], name: str, method: Members, **how: Any) -> dict[str, Any]:
        pool = Pool()
        for case in tests:
            pool.add(method, case, observe(case, names=seen, **how) if seen else [], members)
        scores = pool.scores()
        winds = {f"{v} {s}": scores[v][s] for s in ("RMSE", "CRPS") for v in ("u10", "v10")}
        means = {s: float(np.mean([scores[v][s] for v in ("u10", "v10")])) for s in ("SSR", "coverage")}
        what = {len(names): "all", 0: "nothing"}.get(len(seen), " + ".join(seen))
        rows.append({"network": network, "observed": what, "method": name, **winds, **means})
        return rows[-1]

    def crps(row: Mapping[str, Any]) -> float:
        return float(row["u10 CRPS"] + row["v10 CRPS"])

    nothing = {DEFAULT: crps(scored("-", [], DEFAULT, posterior))}
    drawn = partial(scored, "-", names[:1], "climatology", METHODS["climatology"], **networks["stations"])
    nothing["optimal interpolation"] = crps(drawn())
    rows[-1]["observed"] = "nothing"
    for network, how in networks.items():
        for name, method in methods.items():
            full = crps(scored(network, names, name, method, **how))
            rows[-1]["gain"] = 1.0
            for seen in (["t2m"], ["msl"], ["t2m", "msl"]):
                own = crps(scored(network, seen, name, method, **how))
                rows[-1]["gain"] = (nothing[name] - own) / (nothing[name] - full)
    note = (
        "Scores of the winds, m s-1. Gain: how far the CRPS has come from its value without any observation to that "
        "when the winds are observed as well, by the same method and network."
    )
    emit(f"Cross-variable gain ({len(tests)} cases of 48 x 64 cells, {members} members)", rows, note)


def paper(quick: bool) -> None:
    """Algorithm 1 with the constants of Section 3.4 beside the default."""
    tests, members = cases(2 if quick else 4), 4 if quick else 6
    rows, tasks = [], ("LR, bicubic", "IGRA", "IGRA + LR")
    for task, name, pool in pools(tests, tasks, SAMPLERS, members):
        rows.append({"observations": task, "method": name, **pool.summary(), "diverged": pool.diverged})
    note = (
        f"Clipped: the guidance no longer than {CLIP:g} of the estimate (the paper clips gradients, and does not say "
        "at what). Diverged: share of the members that are not finite or farther than 20 standard deviations from the "
        "truth somewhere; the scores are those of the others."
    )
    emit(f"The paper's sampler beside the default ({len(tests)} cases, {members} members)", rows, note)


def cost(quick: bool) -> None:
    """Table 3: seconds of a member, over those of bare network evaluations."""
    rows, members = [], 2 if quick else 8
    tasks = ("LR, bicubic", "IGRA", "IGRA + LR")
    places = (
        ("48 x 64", cases(1)[0], members, tasks),
        ("181 x 360", globe(), 1, tasks[2:] if quick else tasks),
    )
    for place, case, count, chosen in places:
        for task in chosen:
            given = observe(case, *TASKS[task])
            for name in (DEFAULT, PAPER):
                used = find_method("multimodal" if name == PAPER else "covariance").evaluations()
                # What else runs on the machine changes in minutes, so that both are timed in turn.
                seconds, bare = [], []
                for _ in range(3):
                    bare.append(bare_seconds(case, count))
                    pool = Pool()
                    with backward_passes() as passes:
                        pool.add(SAMPLERS[name], case, given, count)
                    seconds.append(pool.seconds_a_member)
                ratio = float(np.median(np.array(seconds) / np.array(bare)))
                row: dict[str, Any] = {
                    "cells": place,
                    "observations": task,
                    "method": name,
                    "evaluations": used,
                }
                row |= {"backward": passes[0], "s / member": float(np.median(seconds))}
                rows.append(row | {"/ one evaluation": ratio, "/ its evaluations": ratio / used})
    note = (
        "Seconds of the whole call, on one core of a shared machine, over those of bare network evaluations of the "
        "same batch: of one, and of as many as the method takes. Medians of three. "
        f"Batches of {members} members at 48 x 64, one member at 181 x 360."
    )
    emit("Time of a member (Table 3)", rows, note)


def table1(quick: bool) -> None:
    """Table 1: the paper's constants for the coarse grid, and the default with errors that give the same likelihood."""
    tests, members = cases(2 if quick else 4), 2 if quick else 4
    rows, unit = [], scales()

    def scored(method: Members, name: str, sigma_y: float | None, gamma: float | None) -> None:
        pool = Pool()
        for case in tests:
            given = observe(case, *TASKS["LR, bicubic"])
            if method is posterior and sigma_y is not None:
                # Without the factor 1/2 of a Gaussian, Sigma_y stands for twice the variance.
                given = [replace(o, error=(sigma_y / 2) ** 0.5 * unit[str(o.variable)]) for o in given]
            pool.add(method, case, given, members)
        errors = [x[:, 0] - c.states[0].numpy() for x, c in zip(pool.members, tests, strict=True)]
        each = np.sqrt((np.concatenate(errors).astype(float) ** 2).mean((1, 2)))
        constants = {"Sigma_y": sigma_y, "Gamma": gamma}
        found = {"t2m RMSE, a member": float(each.mean()), "sd": float(each.std()), **pool.summary()}
        rows.append({**constants, "method": name, **found, "diverged": pool.diverged})

    scored(posterior, f"{DEFAULT}, true errors", None, None)
    for sigma_y, gamma in TABLE_1:
        scored(posterior, DEFAULT, sigma_y, gamma)
        options = {"sigma_y": {"grid": sigma_y}, "gamma": {"grid": gamma}}
        scored(partial(posterior, method="multimodal", options=options), PAPER, sigma_y, gamma)
        clipped = partial(posterior, method="multimodal", options={**options, "clip": CLIP})
        scored(clipped, f"{PAPER}, clipped", sigma_y, gamma)
    note = (
        "The default has no Gamma; it is told that the coarse values err by as much as Sigma_y says, and in the first "
        "row by as much as they do."
    )
    emit(f"Constants of the coarse grid (Table 1; {len(tests)} cases, {members} members)", rows, note)


PARTS: dict[str, Callable[[bool], None]] = {
    "era5": era5,
    "crossvariable": crossvariable,
    "paper": paper,
    "cost": cost,
    "table1": table1,
    "diagnostics": diagnostics,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", default=list(PARTS), choices=list(PARTS))
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    for part in args.parts:
        PARTS[part](args.quick)


if __name__ == "__main__":
    main()
