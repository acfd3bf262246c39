"""Precomputed forecasts fused with stations at each lead time, beside what either says alone; NCEP pressure, daily.

    skyweave train experiments/configs/ncep_slp.yaml                  # 15 minutes on one core
    skyweave emulate train experiments/configs/emulator_ncep.yaml     # 8 minutes
    python experiments/lead_time.py [leads weights] [--quick]         # 25 minutes

Prior and emulator learnt from 2001-2007. What the forecasts are worth comes from hindcasts of 2008, the test from
forecasts that start in 2009 and 2010, each from the truth as in the paper. Stations are 30 radiosonde sites with errors
of 100 Pa. Tables go to docs/results/lead_time.md.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from itertools import repeat
from typing import Any

import numpy as np
import torch
import xarray as xr
from common import FIGURES, ROOT, emit
from cycling import NCEP
from lead_time_common import LEADS, STATION_ERROR, Forecasts, emulator, hindcasts, prior
from torch import Tensor

import skyweave
from skyweave.cycle import Climate, Cycler, CycleSettings, Fusion, LeadTimeSkill, skill_from_reports
from skyweave.cycle.assimilate import climate_radius
from skyweave.cycle.transform import Domain
from skyweave.diffusion.noise import NoiseStream
from skyweave.emulate import fit_forecaster
from skyweave.grid import Grid
from skyweave.io import open_fields
from skyweave.observe.assemble import ObservationSet, assemble, no_observations
from skyweave.observe.errors import ErrorModel
from skyweave.observe.footprint import footprint
from skyweave.posterior.background import Background, bind
from skyweave.posterior.sample import Method, sample_posterior
from skyweave.reconstruction.output import to_physical
from skyweave.regrid import coarsen
from skyweave.report.style import colours, heading, new_figure, quiet, save, style

PAGE, KEPT = ROOT / "docs/results/lead_time.md", ROOT / "runs/lead_time.json"
STARTS = 6
"""Forecasts, five months apart."""
LR_ERROR = 50.0
"""Pa."""
STEPS, MEMBERS = 16, 16
WEIGHTS = (0.5, 0.25)
"""Of the forecast, whose error is held at that of the first day, besides 1 and 0."""
SHOWN = (1, 3, 5, 7, 10)
ALONE, FUSED, PAPER = "IGRA", "IGRA + LUCIE", "IGRA + LUCIE, paper"


def background(times: np.ndarray, grid: Grid) -> Callable[[int], Background]:
    return lambda k: bind(prior(), grid, times[k : k + 1])


@cache
def skill() -> LeadTimeSkill:
    """What the emulator's forecasts of each lead time are worth by scale, from 2008."""
    past = hindcasts()
    times = np.stack([past.at(k + 1).time.values for k in range(LEADS)], 1).ravel()
    own = Climate(prior=background(times, past.grid))
    climate = torch.stack([own.mean(k) for k in range(len(times))]).reshape(past.truths.shape)
    forward = prior().transform.forward
    return LeadTimeSkill.fit(
        forward(past.values), forward(past.truths), climate_mean=climate, padded=own.padded
    )


def reconstructed(tests: Forecasts, lead: int, given: Sequence[Any], **how: Any) -> Tensor:
    """Members ``(M, N, h, w)`` at the times of a lead time."""
    like = tests.at(lead).coords.to_dataset()
    options = {"members": MEMBERS, "steps": STEPS, "progress": False} | how
    if not given:
        out = skyweave.sample(prior(), like, members=MEMBERS, steps=STEPS, progress=False)
    else:
        out = skyweave.reconstruct(prior(), given, like=like, **options)
    return torch.from_numpy(out.slp.values)


def low_resolution(tests: Forecasts, lead: int) -> Any:
    """The truth at a quarter of the resolution."""
    grid = tests.grid
    low = coarsen(grid.isel(slice(0, 16), slice(0, 32)), 4)
    weights = footprint(low, grid, "bicubic", "LR").matrix
    true = tests.at(lead).slp
    values = (weights @ true.values.reshape(len(true), -1).T).T.reshape(-1, *low.shape)
    values = values + LR_ERROR * np.random.default_rng(lead).standard_normal(values.shape)
    axes = {"time": true.time, "lat": low.lat, "lon": low.lon}
    data = xr.DataArray(values, axes, tuple(axes), name="slp", attrs=true.attrs)
    return skyweave.GridObservation(data, LR_ERROR, operator="bicubic", name="LR")


def forecast_source(tests: Forecasts, lead: int, error: ErrorModel, weight: float = 1.0) -> Any:
    """The forecasts of a lead time as an ordinary source."""
    return skyweave.GridObservation(tests.field(lead), error, operator="mask", name="LUCIE", weight=weight)


def stated(lead: int) -> ErrorModel:
    """The error that the emulator's own hindcasts give to a lead time."""
    return emulator().hindcast.error("slp", np.timedelta64(24 * lead, "h"))


def fused(tests: Forecasts, lead: int, sounded: bool) -> Tensor:
    """By scale and lead time, see `skyweave.cycle.lead_time`."""
    times = tests.at(lead).time.values
    observed: ObservationSet = no_observations(prior().spec, tests.grid, len(times), prior().transform)
    if sounded:
        observed = assemble([tests.stations], prior().spec, tests.grid, times, prior().transform)
    made = Fusion(
        climate=Climate(prior=background(times, tests.grid)),
        transform=prior().transform,
        frames=tests.values[:, lead - 1],
        skill=skill(),
        leads=tuple(repeat(lead - 1, len(times))),
    )
    members = []
    for k, identity in enumerate(times.astype("datetime64[s]").astype(int).tolist()):
        seen, noise = observed.segment(k, k + 1), NoiseStream(0, range(MEMBERS), [identity])
        members.append(
            sample_posterior(made.problem(k, seen if seen.n else None), noise, Method(steps=STEPS))
        )
    fields, _ = to_physical(torch.cat(members, 1), prior().transform, prior().spec)
    return fields[:, :, 0]


def reinitialised(tests: Forecasts) -> list[Tensor]:
    """Cycled from every start: the members of the analysis are stepped, with the emulator's one-step error drawn."""
    by_start = []
    for i, place in enumerate(tests.places):
        part = tests.record.isel(time=slice(place, place + LEADS + 1))
        times = part.time.values
        own = Cycler(
            climate=Climate(prior=background(times, tests.grid)),
            spec=prior().spec,
            transform=prior().transform,
            model=emulator().stochastic(),
            observed=assemble([tests.stations], prior().spec, tests.grid, times, prior().transform),
            identities=times.astype("datetime64[s]").astype(int).tolist(),
            times=times,
            settings=CycleSettings(members=2 * MEMBERS, method=Method(steps=STEPS)),
            domain=Domain.sphere(tests.grid),
            radius=climate_radius(bind(prior(), tests.grid, times[:1]), tests.grid),
        )
        # All members begin with the truth, as the forecasts do.
        start = torch.from_numpy(part.slp.values[0]).float()[None, None].repeat(2 * MEMBERS, 1, 1, 1)
        by_start.append(torch.stack([cycle.analysis[:, 0] for cycle in own.run(start, 1)], 1))
        print(f"reinitialised: {i + 1} of {len(tests.places)} starts", flush=True)
    stacked = torch.stack(by_start, 1)
    return [stacked[:, :, k] for k in range(LEADS)]


def kept(name: str, compute: Callable[[], Any]) -> Any:
    """A result of JSON values that is computed once, and again when runs/lead_time.json is removed."""
    stored = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    if name not in stored:
        found = compute()
        stored = (json.loads(KEPT.read_text()) if KEPT.exists() else {}) | {name: found}
        KEPT.write_text(json.dumps(stored, indent=1))
    return stored[name]


def leads(quick: bool) -> None:
    """RMSE against lead time."""
    tests = Forecasts.made("2009-01-01", "2010-12-31", 3 if quick else STARTS)
    clip = {"sigma_y": {"grid": 0.1, "points": 5e-4}, "gamma": {"grid": 5e-3, "points": 1e-5}, "clip": 0.3}
    paper: dict[str, Any] = {"method": "multimodal", "options": clip, "steps": None, "members": MEMBERS // 2}
    once = stated(1)
    methods: dict[str, Callable[[int], Tensor]] = {
        "forecast itself": lambda k: tests.values[None, :, k - 1, 0],
        "unconditional": lambda k: reconstructed(tests, k, []),
        "LR": lambda k: reconstructed(tests, k, [low_resolution(tests, k)]),
        ALONE: lambda k: reconstructed(tests, k, [tests.stations]),
        "LUCIE": lambda k: fused(tests, k, False),
        FUSED: lambda k: fused(tests, k, True),
        f"{FUSED}, hindcast error as a source": lambda k: reconstructed(
            tests, k, [tests.stations, forecast_source(tests, k, stated(k))]
        ),
        f"{FUSED}, error of day 1": lambda k: reconstructed(
            tests, k, [tests.stations, forecast_source(tests, k, once)]
        ),
        f"{PAPER}'s sampler and constants": lambda k: reconstructed(
            tests, k, [tests.stations, forecast_source(tests, k, once)], **paper
        ),
    }
    rmse: dict[str, list[float]] = {}
    spread: dict[str, list[float]] = {}
    for name in (*methods, f"{FUSED} reinitialised"):

        def made(name: str = name) -> list[list[float]]:
            by_lead = (
                [methods[name](k) for k in range(1, LEADS + 1)] if name in methods else reinitialised(tests)
            )
            spreads = [(tests.spread(x) * (1 + 1 / len(x))) ** 0.5 if len(x) > 1 else np.nan for x in by_lead]
            return [[tests.mse(x, k + 1) ** 0.5 for k, x in enumerate(by_lead)], spreads]

        rmse[name], spread[name] = kept(f"{name}, {len(tests.places)} starts", made)
        print(f"{name}: {np.round(rmse[name])}", flush=True)
    rows = []
    for name, values in rmse.items():
        ratio = np.array(values) / np.array(rmse[ALONE])
        row: dict[str, Any] = {"source": name} | {f"{k + 1} d": f"{v:.0f}" for k, v in enumerate(values)}
        ssr = np.sqrt(np.mean(np.square(spread[name])) / np.mean(np.square(values)))
        rows.append(
            row
            | {"worst / IGRA": f"{ratio.max():.2f}", "spread / RMSE": "" if np.isnan(ssr) else f"{ssr:.2f}"}
        )
    first, last = (str(tests.at(0).time.values[k])[:10] for k in (0, -1))
    note = (
        f"RMSE of the ensemble mean, Pa, over {len(tests.places)} forecasts from {first} to {last}; {MEMBERS} members, "
        f"{STEPS} evaluations (reinitialised: {2 * MEMBERS} members, the paper's "
        f"sampler: {MEMBERS // 2}). Worst / IGRA: largest ratio to the stations "
        "alone at any lead time.\n\n"
        "![RMSE against lead time](../figures/lead_time.png)"
    )
    emit("RMSE against lead time", rows, note, PAGE)
    figure(rmse)


def weights(quick: bool) -> None:
    """Table 2: weights of the forecast by lead time, a grid beside what needs no truth."""
    tests = Forecasts.made("2009-01-01", "2010-12-31", 3 if quick else STARTS)
    once = stated(1)

    def scored(given: Callable[[int], list[Any]]) -> list[float]:
        return [tests.mse(reconstructed(tests, k, given(k)), k) ** 0.5 for k in SHOWN]

    def weighted(weight: float) -> list[float]:
        return scored(lambda k: [tests.stations, forecast_source(tests, k, once, weight)])

    def by_innovations() -> list[list[float]]:
        errors, used = [], []
        for k in SHOWN:
            given = [tests.stations, forecast_source(tests, k, once)]
            like = tests.at(k).coords.to_dataset()
            out = skyweave.reconstruct(
                prior(), given, like=like, members=MEMBERS, steps=STEPS, progress=False, weights="innovations",
                innovations={"leave": "sources", "trust": 10.0, "iterations": 2, "members": 8},
            )  # fmt: skip
            errors.append(tests.mse(torch.from_numpy(out.slp.values), k) ** 0.5)
            estimates = json.loads(out.attrs["source_estimates"])
            used.append(next(own["weight"] for own in estimates if own["source"] == "LUCIE"))
        return [errors, used]

    def by_regression() -> list[list[float]]:
        own = [from_reports(k) for k in SHOWN]
        values = [
            reconstructed(tests, k, [tests.stations, forecast_source(tests, k, e)])
            for k, e in zip(SHOWN, own, strict=True)
        ]
        errors = [tests.mse(x, k) ** 0.5 for x, k in zip(values, SHOWN, strict=True)]
        return [errors, [(once.absolute / e.absolute) ** 2 for e in own]]

    count = f"{len(tests.places)} starts"
    known = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    if f"{FUSED}, {count}" not in known:
        raise SystemExit("run the part `leads` first: its rows of the same weights are used here")

    def of_leads(name: str) -> list[float]:
        return [known[f"{name}, {count}"][0][k - 1] for k in SHOWN]

    found, used = kept(f"innovations, {count}", by_innovations)
    regressed, shares = kept(f"regression on reports, {count}", by_regression)
    grid = {"1": of_leads(f"{FUSED}, error of day 1")}
    grid |= {f"{w:g}": kept(f"weight {w:g}, {count}", partial(weighted, w)) for w in WEIGHTS}
    grid["0, stations alone"] = of_leads(ALONE)
    share = [(once.absolute / stated(k).absolute) ** 2 for k in SHOWN]
    others = {
        "from hindcast errors": (of_leads(f"{FUSED}, hindcast error as a source"), share),
        "from innovations": (found, used),
        "from past reports and forecasts": (regressed, shares),
        "by scale, from hindcasts (fuse)": (of_leads(FUSED), None),
    }
    best = np.min(list(grid.values()), axis=0)
    rows: list[dict[str, Any]] = []
    for name, values, own in [(n, v, None) for n, v in grid.items()] + [(n, *v) for n, v in others.items()]:
        row: dict[str, Any] = {"weight of the forecast": name}
        row |= {f"{k} d": f"{v:.0f}" for k, v in zip(SHOWN, values, strict=True)}
        row["worst / best of the grid"] = f"{np.max(np.array(values) / best):.3f}"
        row["weights"] = "" if own is None else ", ".join(f"{w:.2g}" for w in own)
        rows.append(row)
    note = (
        f"RMSE of the ensemble mean, Pa, of {len(tests.places)} forecasts fused with the stations as an ordinary "
        f"source. The forecast's error is held at that of the first day ({once.absolute:.0f} Pa, correlated over "
        f"{once.correlation_length_km:.0f} km) and divided by the square root of the weight; the stations' "
        "weight is one, so that the paper's lambda is its inverse. Below the grid: what needs no truth of these "
        "times."
    )
    emit("Weights by lead time (Table 2)", rows, note, PAGE)


def from_reports(lead: int) -> ErrorModel:
    """The error of forecasts of a lead time beside the prior, from reports and forecasts of 2008."""
    past = hindcasts()
    learnt = open_fields(str(NCEP), ["slp"], time=("2001-01-01", "2007-12-31")).load()
    climate = fit_forecaster("climatology", learnt, prior().spec)
    times = past.at(lead).time.values
    observed = assemble([past.stations], prior().spec, past.grid, times, prior().transform)
    reports, forecasts = [], []
    for k, mean in enumerate(climate.at(times).float()):
        seen = observed.segment(k, k + 1)
        normal = [prior().transform.forward(x[None, None].float()) for x in (past.values[k, lead - 1], mean)]
        forecast, usual = (seen.operator(x)[0] for x in normal)
        reports.append(seen.y - usual)
        forecasts.append(forecast - usual)
    found = skill_from_reports(torch.cat(reports), torch.cat(forecasts), STATION_ERROR)
    return replace(stated(1), absolute=found.error)


def figure(rmse: dict[str, list[float]]) -> None:
    """RMSE against lead time."""
    with style():
        made = new_figure(9.0, 4.2)
        ax = made.add_axes((0.08, 0.15, 0.52, 0.72))
        quiet(ax)
        days = np.arange(1, LEADS + 1)
        # What sources are worth at most and at least in grey, the stations alone in ink.
        grey = dict(zip(("forecast itself", "unconditional", "LR"), ("-", "--", ":"), strict=True))
        colour = colours([name for name in rmse if name not in grey], reference=ALONE)
        for name, values in rmse.items():
            wide = 2.8 if name == FUSED else 1.5
            shade, line = colour.get(name, "#9a9a9a"), grey.get(name, "-")
            ax.plot(
                days, values, line, label=name, color=shade, linewidth=wide, zorder=3 if name == FUSED else 2
            )
        ax.set(xlabel="lead time, days", ylabel="RMSE, Pa", ylim=(0, None))
        ax.legend(loc="center left", bbox_to_anchor=(1.02, 0.5))
        heading(made, "Sea-level pressure, North Atlantic: forecasts fused with 30 stations", "")
        save(made, FIGURES / "lead_time.png")


PARTS: dict[str, Callable[[bool], None]] = {"leads": leads, "weights": weights}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", default=list(PARTS), choices=list(PARTS))
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for part in args.parts:
        PARTS[part](args.quick)


if __name__ == "__main__":
    main()
