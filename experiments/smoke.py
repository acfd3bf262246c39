"""Smoke that a prior never saw: the shipped AOD prior over a plume, warned of, widened, and kriging beside it.

    python experiments/smoke.py                                   # the granule of the data folder: one time
    python experiments/smoke.py --granules 'granules/OR_ABI-L2-AODC-*.nc' --frames 12   # a day of NOAA's archive

GOES-16 AOD of 15 November 2018 at all quality levels, over northern California: the retrievals in the plume are of low
quality, nearly all. Cells in the plume are withheld in shapes of clouds, 8 members are drawn from the rest with the
stated error 0.02 + 10 %, and scored where they were withheld. Kriging of the logarithm of each frame has the same
observations and errors; its offset is chosen on clouds of other seeds over the same frames, which favours it. Intervals
are bootstrapped over cases. The tables go to docs/results/smoke.md.
"""

from __future__ import annotations

import argparse
import glob
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from common import DATA, ROOT, emit
from scipy.ndimage import binary_dilation

import skyweave
from skyweave.baselines import BASELINES
from skyweave.grid import Grid
from skyweave.io import read_goes_aod
from skyweave.observe.assemble import assemble
from skyweave.prior.corruption import moving_clouds
from skyweave.transform import Log1pQuantile, Log10Standardise, StateTransform
from skyweave.verify import crps

PAGE = ROOT / "docs/results/smoke.md"
GRANULE = DATA / "goes16-aod-conus-2018-11-15" / "OR_ABI-L2-AODC-*.nc"
GRID = Grid(35.55 + 0.15 * np.arange(34), -124.95 + 0.15 * np.arange(50))
ERROR = skyweave.ErrorModel(absolute=0.02, relative=0.1)
MEMBERS, PLUME, HIDDEN = 8, 0.5, 0.25
STEP = np.timedelta64(10, "m")
TRAINED_UNTIL = np.datetime64("2018-11-15T19:00")


@dataclass(frozen=True, eq=False)
class Case:
    """Frames of AOD, those with cells withheld, and where; the frames asked for may be more."""

    truth: xr.DataArray
    given: xr.DataArray
    withheld: np.ndarray
    times: np.ndarray
    seed: int


def frames(granules: str) -> xr.DataArray:
    """All quality levels on the grid of the prior, one frame every ten minutes."""
    paths = sorted(glob.glob(granules))
    if not paths:
        sys.exit(f"no granule matches {granules}")
    if len(paths) > 1:  # every five minutes in the archive; the prior's frames are ten minutes apart
        minute = [int(p.split("_s2018")[1][5:7]) for p in paths]
        paths = [p for p, m in zip(paths, minute, strict=True) if m % 10 == minute[0] % 10]
    field = read_goes_aod(paths, GRID, quality=2, minimum_share=0.2).AOD
    return field.assign_coords(time=field.time.values.astype("datetime64[m]").astype("datetime64[ns]"))


def cases(field: xr.DataArray, count: int, length: int, first: int = 0) -> Iterator[Case]:
    """Runs of frames that follow one another and the prior's training, each under clouds of its own."""
    times = field.time.values
    if len(times) == 1:
        runs = [np.array([0])]
    else:
        late = np.flatnonzero(times >= TRAINED_UNTIL)
        runs = [late[k : k + length] for k in range(0, len(late) - length + 1)]
        runs = [r for r in runs if np.allclose(np.diff(times[r]) / STEP, 1, atol=0.1)][::length]
    for number in range(count):
        run, seed = runs[number % len(runs)], first + number
        truth = field[run]
        generator = torch.Generator().manual_seed(seed)
        seen = moving_clouds(len(run), *GRID.shape, HIDDEN, generator).numpy()
        plume = np.stack([binary_dilation(np.nan_to_num(f) > PLUME) for f in truth.values])
        withheld = ~seen & plume & np.isfinite(truth.values)
        asked = times[run] if len(run) > 1 else times[0] + STEP * np.arange(-2, 3)
        yield Case(truth, truth.where(~withheld), withheld, asked, seed)


def source(case: Case) -> skyweave.GridObservation:
    data = case.given.assign_attrs(units="1")
    return skyweave.GridObservation(data, error=ERROR, operator="mask", name="GOES", variable="AOD")


def reconstructed(prior: Any, on_conflict: str, case: Case) -> xr.Dataset:
    return skyweave.reconstruct(
        prior, [source(case)], like=GRID, times=case.times, members=MEMBERS, seed=case.seed, progress=False,
        on_conflict=on_conflict,
    )  # fmt: skip


def ours(prior: Any, on_conflict: str, case: Case) -> np.ndarray:
    return reconstructed(prior, on_conflict, case).AOD.sel(time=case.truth.time).values


def kriged(prior: Any, offset: float | None, case: Case) -> np.ndarray:
    """Kriging of each frame's logarithm, members by conditional simulation."""
    values = case.given.values[np.isfinite(case.given.values)]
    law = Log1pQuantile.fit(values) if offset is None else Log10Standardise.fit(values, floor=offset)
    transform = StateTransform((law,))
    whole = (0, len(case.truth))
    observed = assemble([source(case)], prior.spec, GRID, case.truth.time.values, transform).segment(*whole)
    made = BASELINES["kriging"](
        observed, prior.spec, GRID, transform=transform, members=MEMBERS, seed=case.seed
    )
    return np.asarray(made)[:, :, 0]


def sums(members: np.ndarray, case: Case) -> dict[str, float]:
    """Sums over the withheld cells, so that cases count by their cells."""
    truth, x = case.truth.values[case.withheld], members[:, case.withheld]
    departure = x.mean(0) - truth
    inside = (x.min(0) <= truth) & (truth <= x.max(0))
    high = truth > 1
    score = float(crps(torch.from_numpy(x[:, None]).double(), torch.from_numpy(truth[None]).double()))
    return {
        "n": float(len(truth)), "square": float((departure**2).sum()), "crps": score * len(truth),
        "inside": float(inside.sum()), "high": float(high.sum()), "bias": float(departure[high].sum()),
        "inside_high": float(inside[high].sum()), "variance": float(x.var(0, ddof=1).sum()),
    }  # fmt: skip


def scored(found: list[dict[str, float]]) -> dict[str, float]:
    """Scores over cases from their sums."""
    s = {key: sum(one[key] for one in found) for key in found[0]}
    return {
        "RMSE": (s["square"] / s["n"]) ** 0.5,
        "CRPS": s["crps"] / s["n"],
        "in range": s["inside"] / s["n"],
        "AOD > 1: bias": s["bias"] / s["high"],
        "AOD > 1: in range": s["inside_high"] / s["high"],
        "spread/error": ((MEMBERS + 1) / MEMBERS * s["variance"] / s["square"]) ** 0.5,
    }


def interval(found: list[dict[str, float]], other: list[dict[str, float]], draws: int = 2000) -> str:
    """95 % interval of the ratio of CRPS of two methods, cases drawn with replacement."""
    rng = np.random.default_rng(0)
    a, b = (np.array([[one["crps"], one["n"]] for one in which]) for which in (found, other))
    picks = rng.integers(0, len(a), (draws, len(a)))
    ratio = (a[picks, 0].sum(1) / a[picks, 1].sum(1)) / (b[picks, 0].sum(1) / b[picks, 1].sum(1))
    low, high = np.quantile(ratio, [0.025, 0.975])
    return f"[{low:.2f}, {high:.2f}]"


def tuned(prior: Any, field: xr.DataArray, count: int, length: int) -> float | None:
    """The offset of the logarithm with the least CRPS on clouds of other seeds; None is log(1 + x)."""
    offsets: list[float | None] = [0.003, 0.01, 0.03, 0.1, 0.3, None]
    rows = []
    for offset in offsets:
        found = [sums(kriged(prior, offset, case), case) for case in cases(field, count, length, first=1000)]
        rows.append({"offset": "log1p" if offset is None else offset, **scored(found)})
    emit(
        f"Kriging of the logarithm by its offset, clouds of other seeds ({count} cases of {length} frames)",
        rows,
        page=PAGE,
    )
    return offsets[int(np.argmin([row["CRPS"] for row in rows]))]


def figure(prior: Any, case: Case, made: dict[str, np.ndarray], path: Path) -> None:
    """One frame: retrievals, what was given, and the mean and deviation of every method."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    t = len(case.truth) // 2
    panels = {"retrieved, all quality levels": case.truth.values[t], "given": case.given.values[t]}
    panels |= {f"{name}: mean": members[:, t].mean(0) for name, members in made.items()}
    panels |= {f"{name}: spread": members[:, t].std(0, ddof=1) for name, members in made.items()}
    fig, axes = plt.subplots(2, 4, figsize=(14, 6), layout="constrained", sharex=True, sharey=True)
    order = [*list(panels)[:5], None, *list(panels)[5:]]
    for axis, name in zip(axes.flat, [order[0], *order[2:5], order[1], *order[6:]], strict=True):
        spread = name.endswith("spread")
        image = axis.pcolormesh(
            GRID.lon, GRID.lat, panels[name], vmin=0, vmax=0.8 if spread else 2.5, cmap="magma"
        )
        axis.set_title(name, fontsize=9)
        fig.colorbar(image, ax=axis, shrink=0.8)
    fig.suptitle(f"AOD at 550 nm, {str(case.truth.time.values[t])[:16]} UTC")
    path.parent.mkdir(parents=True, exist_ok=True)
    fig.savefig(path, dpi=90)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--granules", default=str(GRANULE))
    parser.add_argument("--cases", type=int, default=30)
    parser.add_argument("--frames", type=int, default=1)
    parser.add_argument("--prior", default="aod")
    args = parser.parse_args()
    prior, field = skyweave.open_prior(args.prior), frames(args.granules)
    offset = tuned(prior, field, min(args.cases, 12), args.frames)
    name = f"kriging of {'log(1 + AOD)' if offset is None else f'the logarithm, offset {offset:g}'}"
    methods: dict[str, Callable[[Case], np.ndarray]] = {
        name: partial(kriged, prior, offset),
        "shipped prior, warn": partial(ours, prior, "warn"),
        "shipped prior, widen": partial(ours, prior, "widen"),
    }
    found: dict[str, list[dict[str, float]]] = {key: [] for key in methods}
    for number, case in enumerate(cases(field, args.cases, args.frames)):
        made = {}
        for key, method in methods.items():
            began = time.perf_counter()
            made[key] = method(case)
            found[key].append(sums(made[key], case))
            print(
                number,
                key,
                found[key][-1],
                f"{time.perf_counter() - began:.0f} s",
                file=sys.stderr,
                flush=True,
            )
        if number == 0:
            like = {"observations": [source(case)], "like": GRID, "times": case.times}
            print(skyweave.scene(prior, **like), flush=True)
            figure(prior, case, made, ROOT / f"docs/figures/smoke_{args.frames}.png")
    rows = [
        {"method": key, **scored(each), "CRPS / kriging": interval(each, found[name])}
        for key, each in found.items()
    ]
    s = {key: sum(one[key] for one in found[name]) for key in found[name][0]}
    emit(
        f"Withheld in the plume: {args.cases} cases of {args.frames} frames, {s['n']:.0f} cells, "
        f"{s['high']:.0f} of them above 1; {MEMBERS} members, of which the range should hold "
        f"{(MEMBERS - 1) / (MEMBERS + 1):.2f}",
        rows,
        f"![one of the cases](../figures/smoke_{args.frames}.png)",
        page=PAGE,
    )


if __name__ == "__main__":
    main()
