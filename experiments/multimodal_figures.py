"""Figures of Section 4 of the multimodal paper: maps, energy spectra, traces, scatter, a time-longitude section."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from common import FIGURES
from multimodal_common import (
    TASKS,
    Case,
    Members,
    Pool,
    baseline,
    emit,
    globe,
    observe,
    posterior,
    prior,
)
from section_figures import Scatter, Trace, scatter_figure, section_figure, traces_figure

from skyweave.grid import Grid
from skyweave.report import (
    Panel,
    map_figure,
    spectra_figure,
)
from skyweave.verify import kinetic_energy_spectrum, rapsd

SHOWN = ("LR, bicubic", "IGRA", "IGRA + LR")
WINDS = ("u10", "v10")


def regional(
    case: Case, ours: Members, others: Mapping[str, Members], spectra: Mapping[str, Pool], members: int
) -> None:
    """What is observed in one region, what is made of it, and kinetic energy spectra over all cases."""
    names, panels, variable = prior().spec.names, [], "u10"
    c, grid, true = names.index(variable), case.grid, case.truth[variable].values[0]
    for task in SHOWN:
        given = observe(case, *TASKS[task])
        own = ours(case, given, members)[:, c]
        panels += [_observed(task, given, variable, grid), Panel("truth", true)]
        panels += [Panel("mean", own.mean(0)), Panel("a member", own[0])]
        panels += [Panel("spread", own.std(0, ddof=1), "spread")]
        panels += [Panel("|mean - truth|", np.abs(own.mean(0) - true), "spread")]
        for name, method in others.items():
            mean = method(case, given, 1 if name == "bicubic" else members)[:, c].mean(0)
            panels.append(
                Panel(
                    f"|{name.replace('optimal interpolation', 'OI')} - truth|", np.abs(mean - true), "spread"
                )
            )
    map_figure(
        panels, grid, units="m s-1", columns=8, width=17.0, names={"spread": "spread and absolute error"},
        title=f"Eastward wind at 10 m over {case.name} from 1/8 resolution, stations, and both",
        caption=f"ERA5, {str(case.truth.time.values[0])[:13]} UTC; {members} members, 16 network evaluations each. "
        "All four variables are observed.",
        path=FIGURES / "multimodal_region.png",
    )  # fmt: skip
    shown = {name: pool for name, pool in spectra.items() if name != "climatology"}
    pool = next(iter(shown.values()))
    power = {"truth": _energy(torch.stack([k.states for k in pool.cases])).mean(0)}
    for name, pool in shown.items():
        power[name] = _energy(torch.from_numpy(np.stack(pool.members, 1))).mean(1)
    spectra_figure(
        power, units="m/s", length_km=64 * 111.2 * 0.8,
        title="Kinetic energy at 10 m, angle-averaged: IGRA + LR",
        caption="Mean over all cases of 48 x 64 cells; bands are the range of the members. Wavelengths at 37 degrees.",
        path=FIGURES / "multimodal_spectra.png",
    )  # fmt: skip


def _energy(states: torch.Tensor) -> torch.Tensor:
    """Kinetic energy by wavenumber of states ``(..., C, H, W)``."""
    winds = [prior().spec.names.index(name) for name in WINDS]
    return sum(rapsd(states[..., c, :, :]) for c in winds) / 2  # type: ignore[return-value]


def _observed(task: str, given: Sequence[Any], variable: str, grid: Grid) -> Panel:
    values, own, points = None, None, None
    for source in given:
        if hasattr(source, "data"):
            if source.variable == variable:
                values, own = source.data.values[0], Grid.from_dataset(source.data)
        else:
            table = source.table[source.table.variable == variable]
            points = (table.lat.to_numpy(), table.lon.to_numpy(), table.value.to_numpy())
    return Panel(f"observed: {task}", values, grid=own, points=points)


def diagnostics(quick: bool) -> None:
    """Section 4 on the whole Earth: 181 x 360 cells, from the coarse grid, from stations, and from both."""
    members, case = 2 if quick else 8, globe()
    names = list(prior().spec.names)
    given = {task: observe(case, *TASKS[task]) for task in SHOWN}
    pools = {"no observation": Pool(), **{task: Pool() for task in SHOWN}, "bicubic, LR": Pool()}
    for task, pool in pools.items():
        if task.startswith("bicubic"):
            pool.add(lambda *a: baseline("bicubic", *a), case, given[SHOWN[0]], 1)
        else:
            pool.add(posterior, case, given.get(task, []), members)
        print(task, pool.summary(), f"{pool.seconds:.0f} s", flush=True)
    rows = []
    for task, pool in pools.items():
        for where in ("sensors", "others"):
            found = pool.scores(where)
            keys = {f"{n} RMSE": found[n]["RMSE"] for n in names}
            rows.append(
                {"observations": task, "cells": where, **keys, "CRPS / sd": pool.summary(where)["nCRPS"]}
            )
    ensembles = {task: pool.members[0] for task, pool in pools.items()}
    emit(f"The whole Earth, {members} members (K, m s-1, Pa)", rows, _shown("t2m", "u10"))
    for name, units in (("t2m", "K"), ("u10", "m s-1")):
        _maps(case, {t: ensembles[t][:, names.index(name)] for t in SHOWN}, name, units, members)
    _spherical(case, ensembles)
    _traces(case, ensembles)
    _scatter(case, ensembles)
    _section(quick)


def _shown(*variables: str) -> str:
    kinds = [f"maps_{v}" for v in variables] + ["kinetic_energy", "traces", "scatter", "section"]
    return "\n".join(f"![{k}](../figures/multimodal_{k}.png)" for k in kinds)


def _maps(case: Case, sets: Mapping[str, np.ndarray], name: str, units: str, members: int) -> None:
    """Ensemble mean, spread and error (Figures 1, 4, 7 and 16)."""
    true, panels = case.truth[name].values[0], []
    for task, x in sets.items():
        panels += [Panel(f"{task}: mean", x.mean(0)), Panel("spread", x.std(0, ddof=1), "spread")]
        panels += [Panel("mean - truth", x.mean(0) - true, "difference")]
    map_figure(
        panels, case.grid, units=units, columns=3, width=13.0,
        title=f"{case.truth[name].attrs.get('long_name', name)}: mean, spread and error (Figures 1, 4, 7, 16)",
        caption=f"ERA5, {str(case.truth.time.values[0])[:13]} UTC, 181 x 360 cells; {members} members.",
        path=FIGURES / f"multimodal_maps_{name}.png",
    )  # fmt: skip


def _spherical(case: Case, ensembles: Mapping[str, np.ndarray]) -> None:
    """Kinetic energy by total wavenumber (Figures 5, 10 and 12)."""
    u, v = (prior().spec.names.index(name) for name in WINDS)

    def power(states: np.ndarray) -> np.ndarray:
        x = torch.from_numpy(states)
        return kinetic_energy_spectrum(x[:, u], x[:, v], case.grid).numpy()

    spectra = {"truth": power(case.states.numpy()[None])}
    spectra |= {task: power(x) for task, x in ensembles.items()}
    spectra["IGRA + LR, mean"] = power(ensembles["IGRA + LR"].mean(0, keepdims=True))
    spectra_figure(
        spectra, units="m/s", wavenumber="total wavenumber", length_km=2 * np.pi * 6371.2,
        title="Kinetic energy at 10 m on the sphere (Figures 5, 10, 12)",
        caption="Members: mean and range. Vector harmonics fitted to 181 x 360 cells.",
        path=FIGURES / "multimodal_kinetic_energy.png",
    )  # fmt: skip


def _traces(case: Case, ensembles: Mapping[str, np.ndarray]) -> None:
    """Along latitudes, with the central 90 % of the members (Figures 6, 11 and 14)."""
    names, grid, traces = prior().spec.names, case.grid, []
    for name, latitude, units in (
        ("t2m", 45.0, "K"),
        ("u10", 45.0, "m s-1"),
        ("u10", -50.0, "m s-1"),
        ("msl", 60.0, "hPa"),
    ):
        i, c = int(np.abs(grid.lat - latitude).argmin()), names.index(name)
        lines: dict[str, Any] = {task: ensembles[task][:, c, i] for task in ("IGRA", "IGRA + LR")}
        lines["bicubic, LR"] = ensembles["bicubic, LR"][0, c, i]
        lines["truth"] = case.truth[name].values[0, i]
        where = f"{abs(latitude):g} {'N' if latitude > 0 else 'S'}"
        scale = 0.01 if units == "hPa" else 1.0
        traces.append(Trace(f"{name} along {where}", {k: scale * x for k, x in lines.items()}, units))
    traces_figure(
        traces, grid.lon, title="Along a latitude: mean and central 90 % of the members (Figures 6, 11, 14)",
        path=FIGURES / "multimodal_traces.png",
    )  # fmt: skip


def _scatter(case: Case, ensembles: Mapping[str, np.ndarray]) -> None:
    """At cells with a station and at the others (Figures 8, 9, 13 and 15)."""
    seen, true, panels = case.sensors.numpy(), case.states.numpy(), []
    units = {"t2m": "K", "msl": "Pa"}
    rng = np.random.default_rng(0)
    for where, cells in (("with a station", seen), ("without", ~seen)):
        order = rng.permutation(int(cells.sum()))
        for c, name in enumerate(prior().spec.names):
            drawn = {t: ensembles[t][:, c, cells][:, order] for t in ("no observation", "IGRA", "IGRA + LR")}
            panels.append(
                Scatter(f"{name}, cells {where}", true[c, cells][order], drawn, units.get(name, "m s-1"))
            )
    scatter_figure(
        panels, columns=4, title="Ensemble mean against the truth, all over the Earth (Figures 8, 9, 13, 15)",
        caption="Numbers: RMSE of the points of that colour, not weighted by area.",
        path=FIGURES / "multimodal_scatter.png",
    )  # fmt: skip


def _section(quick: bool) -> None:
    """Time and longitude (Figure 19): the test day's steps, a band of latitudes from stations and the coarse grid."""
    rows: dict[str, list[np.ndarray]] = {"truth": [], "IGRA": [], "IGRA + LR": []}
    names, name, times = prior().spec.names, "msl", []
    for step in range(2 if quick else 4):
        case = globe(step)
        i = int(np.abs(case.grid.lat - 50).argmin())
        times.append(case.truth.time.values[0])
        rows["truth"].append(case.truth[name].values[0, i] / 100)
        for task in ("IGRA", "IGRA + LR"):
            mean = posterior(case, observe(case, *TASKS[task]), 2 if quick else 4)[
                :, names.index(name), i
            ].mean(0)
            rows[task].append(mean / 100)
    sections = {task: np.stack(values) for task, values in rows.items()}
    errors = {f"{task} - truth": sections[task] - sections["truth"] for task in ("IGRA", "IGRA + LR")}
    section_figure(
        sections, np.array(times), globe().grid.lon, units="hPa", differences=errors,
        title="Mean sea-level pressure at 50 N, ensemble mean, each time by itself (Figure 19)",
        path=FIGURES / "multimodal_section.png",
    )  # fmt: skip
