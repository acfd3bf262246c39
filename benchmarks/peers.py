"""The same denoiser and the same observations in the hands of other libraries.

    make peers
    python benchmarks/peers.py [--quick] [--markdown docs/results/peers.md] [--figure docs/figures/peers.png]

azula (MMPS, TMPD, DPS, PGDM, DiffPIR) and deepinv (moment matching, PiGDM, DPS) against skyweave, on the real fields
and observations of `merra2.py`. Every peer's settings (solver, sampler, guidance strength, schedule) are searched on
cases of days 18-20, for each kind of observation and number of steps apart; skyweave's are its defaults. Passes are
network evaluations plus passes backward through it, of all members at once. Scores in kg m-2, cases of days 21-24.
"""

from __future__ import annotations

import argparse
import itertools
import math
import sys
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from bench import ROOT, data_folder, emit
from matplotlib.ticker import LogLocator, NullFormatter
from merra2 import FILE, KINDS, make_case
from peer_libraries import ERROR, HIGH, LOW, Problem, Run, azula_run, deepinv_run, skyweave_run

from skyweave.io import open_fields
from skyweave.posterior.sample import Method
from skyweave.prior.storage import LearntPrior, open_prior
from skyweave.report.style import heading, new_figure, quiet, save, style
from skyweave.verify import scorecard, table


@dataclass(frozen=True)
class Family:
    """One method of one library: step counts, and the settings to search for each."""

    name: str
    make: Callable[..., Run]
    steps: tuple[int, ...]
    settings: tuple[dict[str, Any], ...] = ({},)


def grid(**values: Iterable[Any]) -> tuple[dict[str, Any], ...]:
    """All combinations."""
    return tuple(
        dict(zip(values, chosen, strict=True)) for chosen in itertools.product(*map(list, values.values()))
    )


def ours(guidance: str, sampler: str, start: str = "analysis") -> Callable[..., Run]:
    def make(steps: int, **options: Any) -> Run:
        cold = {} if start == "analysis" else {"start": "noise", "sigma_max": HIGH, "sigma_min": LOW}
        return skyweave_run(Method(guidance, sampler, steps, guidance_options=options, **cold))

    return make


def peer(run: Callable[..., Run], guidance: str) -> Callable[..., Run]:
    return lambda steps, **options: run(guidance, steps, **options)


SKYWEAVE = (
    Family("skyweave covariance, SDE-DPM++(2M)", ours("covariance", "dpm++2m-sde"), (8, 16, 32)),
    Family("skyweave covariance, DPM++(2M)", ours("covariance", "dpm++2m"), (8, 16, 32)),
    Family("skyweave MMPS", ours("mmps", "dpm++2m-sde", "noise"), (16, 32), grid(iterations=(5,))),
    Family("skyweave SDA", ours("sda", "dpm++2m-sde", "noise"), (16, 32, 64)),
    Family("skyweave PiGDM", ours("pigdm", "dpm++2m-sde", "noise"), (16, 32, 64)),
    Family("skyweave DPS", ours("dps", "ancestral", "noise"), (64, 128), grid(zeta=(0.3, 1.0))),
)
SAMPLERS = ("DDPM", "DDIM", "xEAB-2")
PEERS = (
    Family(
        "azula MMPS",
        peer(azula_run, "mmps"),
        (16, 32, 64),
        (
            *grid(sampler=SAMPLERS, solver=("cg", "gmres"), iterations=(1, 5)),
            *grid(sampler=("DDPM",), solver=("gmres",), iterations=(3,)),
        ),
    ),
    Family("azula TMPD", peer(azula_run, "tmpd"), (32, 64), grid(sampler=SAMPLERS)),
    Family(
        "azula DPS",
        peer(azula_run, "dps"),
        (64, 256),
        grid(schedule=("ve", "vp"), zeta=(0.1, 0.3, 1.0, 3.0)),
    ),
    Family("azula PGDM", peer(azula_run, "pgdm"), (32, 64), grid(eta=(0.0, 1.0), rtol=(0.01, 0.1, 0.3))),
    Family(
        "azula DiffPIR",
        peer(azula_run, "diffpir"),
        (32, 64, 128),
        grid(sampler=("DDPM", "DDIM"), lmbda=(1.0, 3.0, 10.0), iterations=(5,)),
    ),
    Family(
        "deepinv moment matching",
        peer(deepinv_run, "moments"),
        (16, 32, 64),
        grid(eta=(0.0, 1.0), cg_max_iter=(3, 5)),
    ),
    Family("deepinv PiGDM", peer(deepinv_run, "pigdm"), (32, 64), grid(eta=(0.0, 1.0), cg_max_iter=(10,))),
    Family(
        "deepinv DPS",
        peer(deepinv_run, "dps"),
        (64, 256),
        (
            *grid(eta=(1.0,), guidance=("annealed",), weight=(0.3, 1.0, 3.0)),
            *grid(eta=(1.0,), guidance=("norm",), weight=(3.0, 30.0)),
        ),
    ),
)


@dataclass(frozen=True, eq=False)
class Result:
    """Scores in physical units, and the cost of all cases."""

    crps: float
    rmse: float
    ssr: float
    evaluations: int
    backward: int
    seconds: float


def evaluate(run: Run, problems: list[Problem], prior: LearntPrior) -> Result:
    """All cases of one kind; an ensemble that is not finite has an infinite CRPS."""
    fields, seconds = [], 0.0
    counter = problems[0].background.denoiser.passes  # type: ignore[attr-defined]
    counter.evaluations = counter.backward = 0
    for problem in problems:
        began = time.perf_counter()
        x = run(problem)
        seconds += time.perf_counter() - began
        fields.append(prior.transform.inverse(x.detach())[:, 0])
    ensemble = torch.stack(fields, 1)
    truth = torch.cat([p.case.truth for p in problems])[:, 0]
    finite = bool(ensemble.isfinite().all())
    card = scorecard(ensemble, truth) if finite else dict.fromkeys(("crps", "rmse", "ssr"), math.inf)
    return Result(card["crps"], card["rmse"], card["ssr"], counter.evaluations, counter.backward, seconds)


def search(family: Family, steps: int, problems: list[Problem], prior: LearntPrior) -> dict[str, Any]:
    """The setting with the smallest CRPS on validation cases."""
    if len(family.settings) == 1:
        return family.settings[0]
    scores = [evaluate(family.make(steps, **s), problems, prior).crps for s in family.settings]
    return family.settings[min(range(len(scores)), key=scores.__getitem__)]


def settings_text(settings: dict[str, Any]) -> str:
    return ", ".join(f"{k} {v}" for k, v in settings.items()) or "default"


def summary(rows: list[dict[str, Any]]) -> str:
    """Each peer's best against the cheapest of our default method that is better than it."""
    out = []
    for kind in dict.fromkeys(r["kind"] for r in rows):
        here = [r for r in rows if r["kind"] == kind]
        mine = [r for r in here if r["method"].startswith("skyweave covariance")]
        for name in dict.fromkeys(r["method"] for r in here if not r["method"].startswith("skyweave cov")):
            best = min((r for r in here if r["method"] == name), key=lambda r: r["CRPS"])
            better = [r for r in mine if r["CRPS"] < best["CRPS"]]
            cheap = min(better, key=lambda r: r["passes"]) if better else None
            out.append(
                {
                    "observations": kind,
                    "peer": name,
                    "its CRPS": best["CRPS"],
                    "its passes": best["passes"],
                    "our CRPS": cheap["CRPS"] if cheap else math.nan,
                    "our passes": cheap["passes"] if cheap else "none better",
                    "passes, ratio": best["passes"] / cheap["passes"] if cheap else math.nan,
                    "seconds, ratio": best["seconds"] / cheap["seconds"] if cheap else math.nan,
                }
            )
    return table(out)


COLOURS = {"skyweave covariance": "#0072B2", "skyweave": "#8a8a8a", "azula": "#D55E00", "deepinv": "#009E73"}


def figure(rows: list[dict[str, Any]], path: Path) -> None:
    """CRPS against passes through the network, and against seconds, for each kind of observation.

    What is more than twice as bad as the best lies on the upper edge, hollow.
    """
    kinds = list(dict.fromkeys(r["kind"] for r in rows))
    names = list(dict.fromkeys(r["method"] for r in rows))
    marks = dict(zip(names, itertools.cycle("oDv^s<>PXd*hp8"), strict=False))
    with style():
        fig = new_figure(10.5, 2.1 + 2.3 * len(kinds))
        axes = fig.subplots(len(kinds), 2, squeeze=False)
        for (row, kind), (column, key) in itertools.product(
            enumerate(kinds), enumerate(("passes", "seconds"))
        ):
            ax = axes[row][column]
            quiet(ax)
            top = 2 * min(r["CRPS"] for r in rows if r["kind"] == kind)
            for name in names:
                line = [r for r in rows if r["kind"] == kind and r["method"] == name]
                colour = next(c for start, c in COLOURS.items() if name.startswith(start))
                main = name.startswith("skyweave covariance")
                inside = [r for r in line if r["CRPS"] <= top]
                outside = [r for r in line if r["CRPS"] > top]
                look = {"color": colour, "marker": marks[name], "markersize": 6 if main else 5}
                ax.plot(
                    [r[key] for r in inside],
                    [r["CRPS"] for r in inside],
                    lw=2 if main else 1,
                    zorder=4 if main else 3,
                    label=name,
                    **look,
                )
                ax.plot(
                    [r[key] for r in outside], [top] * len(outside), lw=0, mfc="white", clip_on=False, **look
                )
            ax.set_xscale("log")
            ax.set_ylim(0.45 * top, top)
            ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            ax.xaxis.set_major_formatter("{x:g}")
            ax.xaxis.set_minor_formatter(NullFormatter())
            ax.set_title(kind)
            ax.set_xlabel("passes through the network, forward and backward" if column == 0 else "seconds")
            ax.set_ylabel("CRPS (kg m$^{-2}$)" if column == 0 else "")
        handles, labels = axes[0][0].get_legend_handles_labels()
        fig.legend(handles, labels, loc="lower center", ncols=3, bbox_to_anchor=(0.5, 0.01))
        heading(fig, "The same denoiser and observations in the hands of each library")
        fig.subplots_adjust(
            left=0.075,
            right=0.98,
            top=1 - 0.75 / fig.get_figheight(),
            bottom=1.75 / fig.get_figheight(),
            hspace=0.6,
        )
        save(fig, path)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--prior", default=ROOT / "runs/merra2_tqv/prior.safetensors", type=Path)
    parser.add_argument("--data", type=Path, help="folder of the real data; $SKYWEAVE_DATA by default")
    parser.add_argument("--cases", type=int, default=8)
    parser.add_argument("--members", type=int, default=24)
    parser.add_argument("--search-cases", type=int, default=2)
    parser.add_argument("--search-members", type=int, default=8)
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), choices=KINDS)
    parser.add_argument("--only", nargs="*", help="methods whose name contains one of these")
    parser.add_argument("--autocast", action="store_true", help="run the network in bfloat16, for all alike")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--quick", action="store_true", help="two cases, six members, fewest steps, no search"
    )
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--figure", type=Path, default=ROOT / "docs/figures/peers.png")
    args = parser.parse_args()
    if args.quick:
        args.cases, args.members = min(args.cases, 2), min(args.members, 6)

    torch.set_num_threads(args.threads)
    warnings.filterwarnings("ignore", category=UserWarning, module="deepinv")
    prior = open_prior(args.prior)
    if not prior.transform.linear:
        sys.exit("error: the peers take a linear operator, and this prior's transform is not linear")
    name = prior.spec.names[0]
    record = open_fields((args.data or data_folder()) / FILE, [name])[name]
    scale = ERROR * float(prior.transform.derivative(torch.zeros(1, 1, 1, 1)).mean())

    def problems(days: tuple[int, int], count: int, members: int) -> dict[str, list[Problem]]:
        part = record.sel(time=slice(f"2014-06-{days[0]}", f"2014-06-{days[1]}"))
        cases = [make_case(prior, part, k, scale) for k in range(count)]
        made = {
            kind: [Problem.of(prior, c, kind, members, args.autocast) for c in cases] for kind in args.kinds
        }
        for group in made.values():
            # The problems of a group share one pair of counts.
            for problem in group:
                problem.background.denoiser.passes = group[0].background.denoiser.passes  # type: ignore[attr-defined]
        return made

    validation = problems((18, 20), args.search_cases, args.search_members)
    test = problems((21, 24), args.cases, args.members)
    rows: list[dict[str, Any]] = []
    for kind in args.kinds:
        for family in (*SKYWEAVE, *PEERS):
            if args.only and not any(word in family.name for word in args.only):
                continue
            for steps in family.steps[:1] if args.quick else family.steps:
                began = time.perf_counter()
                settings = (
                    family.settings[0] if args.quick else search(family, steps, validation[kind], prior)
                )
                searched = time.perf_counter() - began
                found = evaluate(family.make(steps, **settings), test[kind], prior)
                evaluations, backward = found.evaluations // args.cases, found.backward // args.cases
                rows.append(
                    {
                        "kind": kind,
                        "method": family.name,
                        "steps": steps,
                        "CRPS": found.crps,
                        "RMSE": found.rmse,
                        "SSR": found.ssr,
                        "evaluations": evaluations,
                        "backward": backward,
                        "passes": evaluations + backward,
                        "seconds": found.seconds,
                        "settings": settings_text(settings),
                    }
                )
                print(
                    f"{kind}: {family.name} {steps}: CRPS {found.crps:.4f}, {evaluations} + {backward} passes, "
                    f"{found.seconds:.1f} s (search {searched:.0f} s), {settings_text(settings)}",
                    file=sys.stderr,
                    flush=True,
                )
        mine = [
            {k: v for k, v in r.items() if k not in ("kind", "passes")} for r in rows if r["kind"] == kind
        ]
        emit(f"Peers, MERRA-2 {name}, {kind}", table(mine), args.markdown)
    emit("Each peer's best against the cheapest of ours that is better", summary(rows), args.markdown)
    figure(rows, args.figure)


if __name__ == "__main__":
    main()
