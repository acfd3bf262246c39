"""AODDiff re-enacted on the data at hand: what is learnt from gaps, how it reconstructs, and what that costs.

    python experiments/aoddiff.py gaps                           # the gappy training files
    skyweave train experiments/configs/aoddiff_complete.yaml     # about half an hour each on one core
    skyweave train experiments/configs/aoddiff_gappy.yaml
    skyweave train experiments/configs/aoddiff_goes.yaml
    skyweave train experiments/configs/aoddiff_goes_more.yaml
    python experiments/aoddiff.py [learnt levels sequence unobserved joint maps masks goes cost] [--quick]

MERRA-2 hourly total precipitable water stands for the paper's AOD: native grid, positive and skewed. Days 1-17 train,
18-20 validate, 21-24 test. GOES-16 AOD has true gaps. Each part prints its table and adds it to
docs/results/aoddiff.md; figures go to docs/figures.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
import xarray as xr
from aoddiff_checks import cost, cost_of, gaps, masks
from aoddiff_maps import maps
from common import (
    FIGURES,
    HOURLY,
    MADE,
    baseline,
    cases,
    emit,
    mean_of,
    observe,
    opened,
    posterior,
    scores,
)
from distribution_figures import curves_figure, prior_figure

import skyweave
from skyweave.baselines import BASELINES
from skyweave.grid import Grid
from skyweave.observe.assemble import assemble
from skyweave.prior.corruption import moving_clouds
from skyweave.prior.storage import LearntPrior
from skyweave.verify import coverage, crps, crps_field, rapsd, rmse, spread_skill_ratio
from skyweave.verify.distributions import frechet_distance, pairwise_distance, precision_recall
from skyweave.verify.features import field_features
from skyweave.verify.temporal import step_differences, temporal_autocorrelation, variance_ratio_extreme


def levels(quick: bool) -> None:
    """Figures 6 and 7: every method over downscaling factors and missing ratios."""
    complete, gappy = opened("complete"), opened("gappy")
    daps = {"sampler": "daps", "steps": 48, "options": {"ode_steps": 3}}
    methods: dict[str, Callable[..., torch.Tensor]] = {
        "default, 16": partial(posterior, complete),
        "default, 16, gappy prior": partial(posterior, gappy),
        "DAPS, 48": partial(posterior, complete, **daps),
        "DAPS, 48, gappy prior": partial(posterior, gappy, **daps),
        "DPS, 32": partial(posterior, complete, sampler="dps", steps=32),
        "DAPS exact, 16": partial(posterior, complete, sampler="daps-exact", steps=16),
        **{
            name: partial(baseline, name, complete)
            for name in BASELINES
            if name not in ("climatology", "persistence")
        },
    }
    tasks = [{"downscale": s} for s in (2, 4, 8, 16)] + [{"missing": m} for m in (0.2, 0.4, 0.6, 0.8, 0.95)]
    count, members = (1, 3) if quick else (2, 4)
    tests = cases(count, hours=5)
    deviation = float(xr.open_dataset(HOURLY).TQV.sel(time=slice("2014-06-21", "2014-06-24")).std())
    rows = []
    for task in tasks[1:6:2] if quick else tasks:
        for name, method in methods.items():
            began, found = time.perf_counter(), []
            size = (
                members
                if "," in name or name in ("optimal-interpolation", "kriging", "space-time-kriging")
                else 1
            )
            for n, truth in enumerate(tests):
                found.append(scores(method(truth, observe(truth, n, **task), size), truth, deviation))
            seconds = (time.perf_counter() - began) / len(tests)
            rows.append({**task, "method": name, **mean_of(found), "seconds": seconds})
            print(rows[-1], file=sys.stderr, flush=True)
    (MADE / "levels.json").write_text(json.dumps(rows))
    for what in ("downscale", "missing"):
        own = [row for row in rows if what in row]
        kind = "Downscaling, by factor" if what == "downscale" else "Missing cells, by share"
        note = f"![nRMSE and MELR](../figures/aoddiff_{what}.png)"
        emit(f"{kind} ({count} cases of 5 h x 32 x 32, {members} members)", own, note)
        plain = [name for name in methods if "," not in name]
        curves_figure(
            own,
            what,
            ["nRMSE member", "MELR member"],
            dashed=plain,
            labels={"missing": "share of cells missing", "downscale": "downscaling factor"},
            title=kind,
            path=FIGURES / f"aoddiff_{what}.png",
        )


def unobserved(quick: bool) -> None:
    """Times without any observation: CRPS by distance to the nearest observed hour (t_step 4)."""
    prior = opened("complete")
    tests = cases(1 if quick else 3, hours=17, seed=1)
    methods: dict[str, Callable[..., torch.Tensor]] = {
        "default, 16": partial(posterior, prior),
        "default, 16, gappy prior": partial(posterior, opened("gappy")),
        **{
            name: partial(baseline, name, prior)
            for name in (
                "persistence",
                "temporal-interpolation",
                "space-time-kriging",
                "optimal-interpolation",
            )
        },
    }
    rows = []
    for name, method in methods.items():
        size = 1 if name in ("persistence", "temporal-interpolation") else 8
        found: dict[int, list[float]] = {0: [], 1: [], 2: []}
        for n, truth in enumerate(tests):
            members = method(truth, observe(truth, n, missing=0.4, every=4), size)
            each = crps_field(members, torch.from_numpy(truth.values)).mean((1, 2))
            for t, value in enumerate(each.tolist()):
                found[min(t % 4, 4 - t % 4)].append(value)
        rows.append({"method": name, **{f"{d} h": float(np.mean(v)) for d, v in found.items()}})
    emit("CRPS by distance to the nearest observed hour (every 4th hour, 40 % missing)", rows)


def joint(quick: bool) -> None:
    """Figure 9: coarse and masked together against each alone."""
    prior, rows = opened("gappy"), []
    tests = cases(1 if quick else 3, seed=2)
    deviation = float(xr.open_dataset(HOURLY).TQV.std())
    for name, task in (
        ("coarse (4 x 4)", {"downscale": 4}),
        ("masked (45 %)", {"missing": 0.45}),
        ("both", {"downscale": 4, "missing": 0.45}),
    ):
        found = []
        for n, truth in enumerate(tests):
            members = posterior(prior, truth, observe(truth, n, **task), 8)
            true = torch.from_numpy(truth.values)
            found.append(
                {
                    "RMSE": float(rmse(members.mean(0), true)),
                    "spread": float(members.var(0).mean().sqrt()),
                    **scores(members, truth, deviation),
                }
            )
        rows.append({"observations": name, **mean_of(found)})
    emit("Joint reconstruction (Figure 9), gappy prior, 16 evaluations", rows)


def learnt(quick: bool) -> None:
    """Table 1 and Figures 4, 5: samples of both priors against true days; two true periods are the yardstick."""
    record = xr.open_dataset(HOURLY).TQV.load()
    hours, members = (9, 3) if quick else (9, 8)
    places = [(0, 0), (0, 96), (32, 32), (32, 64)]

    def true_set(first: str, last: str) -> np.ndarray:
        days = record.sel(time=slice(first, last))
        starts = np.linspace(0, len(days.time) - hours, members).astype(int)
        return np.stack(
            [[days[s : s + hours, i : i + 32, j : j + 32].values for s in starts] for i, j in places]
        )

    sets = {
        "days 1-12": true_set("2014-06-01", "2014-06-12"),
        "days 13-24": true_set("2014-06-13", "2014-06-24"),
    }
    for name in ("complete", "gappy"):
        drawn = []
        for k, (i, j) in enumerate(places):
            like = record[48 * k : 48 * k + hours, i : i + 32, j : j + 32]
            drawn.append(
                skyweave.sample(
                    opened(name), like, members=members, seed=k, progress=False, autocast=True
                ).TQV.values
            )
        sets[f"{name} prior"] = np.stack(drawn)
    np.savez(MADE / "sets.npz", **sets)
    base = sets["days 1-12"]
    size = {"location": float(base.mean()), "scale": float(base.std())}
    features = {name: field_features(x.reshape(-1, hours, 32, 32), **size) for name, x in sets.items()}
    power = {name: rapsd(torch.from_numpy(x)).mean((0, 1, 2))[1:] for name, x in sets.items()}
    memory = {
        name: torch.stack([temporal_autocorrelation(part, 6) for part in x]).mean(0)
        for name, x in sets.items()
    }
    reference, rows = features["days 1-12"], []
    for name in list(sets)[1:]:
        precision, recall = precision_recall(reference, features[name])
        extreme = [float(variance_ratio_extreme(x, y)) for x, y in zip(sets[name], base, strict=True)]
        rows.append(
            {
                "set": name,
                "Frechet distance": float(frechet_distance(reference, features[name])),
                "precision": float(precision),
                "recall": float(recall),
                "pairwise distance": float(pairwise_distance(features[name])),
                "RAPSD, mean abs ln ratio": float((power[name] / power["days 1-12"]).log().abs().mean()),
                "ACF, mean abs difference": float((memory[name] - memory["days 1-12"]).abs().mean()),
                "std ratio, top 5 %": float(np.mean(extreme)),
            }
        )
    note = (
        f"Distances to days 1-12, on random convolutional features of sequences (not Inception's, so no FID); "
        f"{4 * members} sequences of {hours} h x 32 x 32 at four places in every set.\n\n"
        "![means, deviations, spectra and memory](../figures/aoddiff_priors.png)"
    )
    emit("Learnt priors against true days (Table 1, Figures 4 and 5)", rows, note)
    i, j = places[2]
    grid = Grid.from_dataset(record[0, i : i + 32, j : j + 32])
    shown = {name: x[2] for name, x in sets.items()}
    prior_figure(
        shown, grid, units="kg m-2", title="Samples and true days", path=FIGURES / "aoddiff_priors.png"
    )


def sequence(quick: bool) -> None:
    """Window composition: steps between frames at the ends, at the edges of segments, and inside."""
    prior = opened("complete")
    hours = 60 if quick else 168
    like = xr.open_dataset(HOURLY).TQV[:hours, 16:48, 40:72]
    field = skyweave.sample(prior, like, members=2, progress=False, autocast=True, steps=16).TQV.values
    steps, true = step_differences(field).numpy(), step_differences(like.values).numpy()
    k, count = prior.spec.window // 2, max(1, round(hours / 48))
    edges = np.linspace(0, hours, count + 1).astype(int)[1:-1] - 1
    inside = np.delete(steps, [*range(k), *range(hours - 1 - k, hours - 1), *edges])
    rows = [
        {
            "steps": "interior",
            "count": len(inside),
            "RMS difference": inside.mean(),
            "standard deviation": inside.std(),
        },
        {"steps": f"first {k}", "count": k, "RMS difference": steps[:k].mean()},
        {"steps": f"last {k}", "count": k, "RMS difference": steps[-k:].mean()},
        {"steps": "segment edges", "count": len(edges), "RMS difference": steps[edges].mean()},
        {
            "steps": "truth",
            "count": len(true),
            "RMS difference": true.mean(),
            "standard deviation": true.std(),
        },
    ]
    emit(f"Differences between consecutive frames of a generated sequence of {hours} h, kg m-2", rows)


def goes(quick: bool) -> None:
    """Real gaps: observed cells withheld in cloud-shaped blocks through the whole window, on hours not trained on."""
    record, count = xr.open_dataset(MADE / "goes_aod.nc").AOD, 2 if quick else 6
    late = record.sel(time=slice("2018-11-15T20:10", "2018-11-15T21:50"))
    found: dict[str, list[dict[str, float]]] = {}
    for case in withheld(late, count):
        for name, card in filled(opened("goes"), *case).items():
            found.setdefault(name, []).append(card)
    rows = [{"method": name, **mean_of(cards)} for name, cards in found.items()]
    emit(f"GOES-16 AOD: observed cells withheld in cloud-shaped blocks ({count} cases of 9 x 48 x 48)", rows)


def withheld(record: xr.DataArray, count: int) -> Iterator[tuple[xr.DataArray, np.ndarray]]:
    """Cases of 9 x 48 x 48, and the cells shown: one shape for all frames, so what is withheld is never seen."""
    rng, done = np.random.default_rng(0), 0
    while done < count:
        i, j, t = (
            int(rng.integers(0, n)) for n in (record.shape[1] - 47, record.shape[2] - 47, len(record) - 8)
        )
        truth = record[t : t + 9, i : i + 48, j : j + 48].load()
        if float(truth.notnull().mean()) >= 0.4:
            yield truth, moving_clouds(1, 48, 48, 0.3, torch.Generator().manual_seed(done)).numpy()
            done += 1


def filled(prior: LearntPrior, truth: xr.DataArray, seen: np.ndarray) -> dict[str, dict[str, float]]:
    """Scores of every method at the cells that were observed and withheld."""
    given = [
        skyweave.GridObservation(truth.where(seen), error=0.02, operator="mask", valid_range=(-0.06, 6.0))
    ]
    hidden, true = (
        torch.from_numpy(truth.notnull().values & ~np.broadcast_to(seen, truth.shape)),
        torch.from_numpy(truth.values),
    )
    grid = Grid.from_dataset(truth)
    observed = assemble(given, prior.spec, grid, truth.time.values, prior.transform).segment(0, 9)
    cards = {}
    others = ("kriging", "space-time-kriging", "dineof", "inverse-distance", "linear")
    for name in ("skyweave default, 16", *others):
        began = time.perf_counter()
        if name in others:
            made = BASELINES[name](observed, prior.spec, grid, transform=prior.transform, members=16)
            members = torch.from_numpy(np.asarray(made))[:, :, 0]
        else:
            members = posterior(prior, truth, given, 16)
        several, nothing = len(members) > 1, float("nan")
        cards[name] = {
            "RMSE": float(rmse(members.double().mean(0), true, where=hidden)),
            "CRPS": float(crps(members, true, where=hidden)),
            "coverage 90 %": float(coverage(members, true, 0.9, where=hidden)) if several else nothing,
            "SSR": float(spread_skill_ratio(members, true, where=hidden)) if several else nothing,
            "seconds": time.perf_counter() - began,
        }
        print(name, cards[name], file=sys.stderr, flush=True)
    return cards


PARTS: dict[str, Callable[[bool], None]] = {
    "learnt": learnt,
    "levels": levels,
    "sequence": sequence,
    "unobserved": unobserved,
    "joint": joint,
    "maps": maps,
    "masks": masks,
    "goes": goes,
    "cost": cost,
}


def main() -> None:
    if sys.argv[1:2] == ["cost-of"]:
        return cost_of(int(sys.argv[2]))
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", default=list(PARTS), choices=["gaps", *PARTS])
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    if "gaps" in args.parts:
        gaps()
    for part in args.parts:
        if part != "gaps":
            PARTS[part](args.quick)


if __name__ == "__main__":
    main()
