"""Forecasts of many steps and members: as states one after another, or as a CF dataset on disk."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import torch
import xarray as xr
from torch import Tensor

from skyweave.emulate.emulator import Emulator
from skyweave.emulate.forecaster import Forecaster, Random, later, named
from skyweave.errors import SkyweaveError
from skyweave.grid import Grid
from skyweave.io.inputs import check_apart, source_file
from skyweave.io.made_with import digest_of
from skyweave.io.progress import Progress
from skyweave.io.regions import Regions, block_length
from skyweave.io.store import check_output
from skyweave.limits import check_counts
from skyweave.state import StateSpec, attributes, time_dim, to_tensor

__all__ = ["forecast", "forecast_states"]

UNIT_BYTES = 2**26
"""Output that is held before it is written, bytes."""


def forecast_states(
    forecaster: Forecaster,
    state: Tensor,
    time: Any,
    steps: int,
    members: Sequence[int] | None = None,
) -> Iterator[tuple[Any, Tensor]]:
    """The states after 1, 2, ... steps, each with its time; only one is held.

    Args:
        forecaster: what steps.
        state: ``(M, C, H, W)``, physical units.
        time: of `state`; None where it is not known.
        steps: how many.
        members: identity of each member, for what is random.

    Raises:
        SkyweaveError: the forecast is no longer finite where it was to begin with.
    """
    known = state.isfinite()
    for number in range(1, steps + 1):
        state = forecaster.step(state, time, members)
        time = later(time, forecaster.time_step)
        if bool((~state.isfinite() & known).any()):
            raise SkyweaveError(
                f"the forecast ran away: values are not finite after {number} steps of "
                f"{forecaster.time_step / 3600:g} h; train it longer, with a higher loss.spectral or loss.rollout"
            )
        yield time, state


def forecast(
    forecaster: Forecaster,
    initial: xr.Dataset,
    steps: int,
    *,
    members: int = 1,
    perturb: float = 0.0,
    out: str | Path | None = None,
    every: int = 1,
    overwrite: bool = False,
    progress: bool = False,
) -> xr.Dataset:
    """Forecasts from one initial state, or one for each of its times, as a CF dataset.

    With `out` a stretch of lead times is written at a time, memory does not grow with `steps`, and the same command
    goes on where it was stopped. Member 0 is not perturbed.

    Args:
        forecaster: what steps; an `Emulator` made `stochastic` draws its error at every step.
        initial: fields of its variables on its grid at one time or several; with a dimension ``member`` these are
            the members, and `members` is not used.
        steps: how many.
        members: of each forecast.
        perturb: displacement of the other members' initial states, in draws of an emulator's one-step error.
        out: ``.zarr`` or ``.nc``; nothing is written if None.
        every: steps between the lead times that are kept.
        overwrite: replace an output that exists.
        progress: a bar on a terminal, timed lines in a log.

    Returns:
        Dimensions ``(init_time, lead_time, member, lat, lon)``, lead time zero included, and the valid time ``time
        (init_time, lead_time)``.

    Raises:
        SkyweaveError: initial fields of other variables, units or grid, or missing values in them; members that are
            all alike; an output that cannot be written.
    """
    if steps < 1 or every < 1 or members < 1:
        raise SkyweaveError(f"{steps} steps, every {every}, {members} members: each must be 1 or more")
    check_counts(every=every, members=members)
    check_counts(label="steps", lead_times=steps)
    source = source_file(initial)
    if out is not None:
        check_output(Path(out), overwrite)
        check_apart(out, [source])
    if not (math.isfinite(perturb) and perturb >= 0):
        raise SkyweaveError(f"perturb = {perturb}: a number of one-step errors, zero or more")
    states, times, labels = _initial(forecaster, initial, members, perturb)
    leads = np.arange(0, steps + 1, every)
    template = _template(forecaster, initial, times, leads, labels)
    made_with = _made_with(forecaster, states, times, leads, labels)
    template.attrs |= {
        "source": f"skyweave {version('skyweave')}, {named(forecaster)}",
        "initial": str(initial.encoding.get("source", "in memory")),
    }
    chunk = block_length(len(leads), 4 * states[0].numel(), limit=UNIT_BYTES)
    sizes: dict[Hashable, int] = {n: s for n, s in template.sizes.items()}
    with (
        Regions(
            template, out, made_with, message="forecast", overwrite=overwrite,
            chunks=sizes | {"lead_time": chunk, "init_time": 1}, inputs=[] if source is None else [source],
        ) as regions,
        Progress(len(times) * len(leads), "lead times", progress) as bar,
    ):  # fmt: skip
        for i, time in enumerate(times):
            state, at = states[i], 0
            for first in range(0, len(leads), chunk):
                unit, part = f"{i}:{first}", leads[first : first + chunk]
                region = {"init_time": slice(i, i + 1), "lead_time": slice(first, first + len(part))}
                if unit in regions.done:
                    state, at = _read_back(regions, forecaster.spec, i, first + len(part) - 1), int(part[-1])
                    bar.skip(len(part))
                    continue
                held = []
                going = _run(forecaster, state, time, labels, at, int(part[-1]), every, start=first == 0)
                for lead, stepped in going:
                    held.append(stepped.cpu().numpy())
                    state, at = stepped, lead
                    bar.to(bar.done + 1)
                values = np.stack(held)[None].astype(np.float32)  # (1, lead, member, channel, lat, lon)
                regions.put({n: values[:, :, :, c] for c, n in enumerate(forecaster.spec.names)}, region)
                regions.mark(unit)
        return regions.finish()


def _run(
    forecaster: Forecaster,
    state: Tensor,
    time: Any,
    labels: Sequence[int],
    done: int,
    upto: int,
    every: int,
    *,
    start: bool = True,
) -> Iterator[tuple[int, Tensor]]:
    """States at the lead times kept, from `done` steps after `time` on; the first itself where `start`."""
    if start:
        yield 0, state
    now = later(time, done * forecaster.time_step)
    for number, (_, stepped) in enumerate(
        forecast_states(forecaster, state, now, upto - done, labels), start=done + 1
    ):
        if number % every == 0:
            yield number, stepped


def _initial(
    forecaster: Forecaster, initial: xr.Dataset, members: int, perturb: float
) -> tuple[list[Tensor], list[Any], list[int]]:
    """For each initial time its members ``(M, C, H, W)``; the times; the members' labels."""
    name = time_dim(initial)
    if "member" in initial.dims:
        pieces = [
            to_tensor(initial.isel(member=m, drop=True), forecaster.spec, forecaster.grid)
            for m in range(initial.sizes["member"])
        ]
        values = torch.stack(pieces, dim=1)
        labels = (
            [int(m) for m in initial["member"].values]
            if "member" in initial.coords
            else list(range(len(pieces)))
        )
    else:
        values = to_tensor(initial, forecaster.spec, forecaster.grid)[:, None].expand(-1, members, -1, -1, -1)
        labels = list(range(members))
    times = (
        list(initial[name].values) if name is not None and name in initial.coords else [None] * len(values)
    )
    alike = not perturb and not (isinstance(forecaster, Random) and forecaster.noise)
    if members > 1 and "member" not in initial.dims and alike:
        raise SkyweaveError(
            f"{members} members would all be alike: perturb the initial states (perturb, --perturb), draw the "
            "emulator's error at every step (stochastic, --stochastic), or give initial states that are members"
        )
    states = []
    for state, time in zip(values, times, strict=True):
        if perturb:
            if not isinstance(forecaster, Emulator):
                raise SkyweaveError(
                    "initial states are perturbed by draws of an emulator's one-step error, and this forecaster is "
                    "none; give initial states with a dimension `member`"
                )
            others = forecaster.perturbed(state[:1], time, labels[1:], perturb)
            state = torch.cat([state[:1], others]) if "member" not in initial.dims else state
        states.append(state.contiguous())
    return states, times, labels


def _template(
    forecaster: Forecaster, initial: xr.Dataset, times: list[Any], leads: np.ndarray, labels: list[int]
) -> xr.Dataset:
    """The output with its coordinates, all values missing, lazily."""
    grid = forecaster.grid
    own = Grid.from_dataset(initial).dims_in(initial)
    seconds = (leads * forecaster.time_step).round().astype(np.int64)
    dims = ("init_time", "lead_time", "member", *own)
    shape = (len(times), len(leads), len(labels), *grid.shape)
    coords: dict[str, Any] = {
        "lead_time": (
            "lead_time",
            seconds.astype("timedelta64[s]").astype("timedelta64[ns]"),
            {"standard_name": "forecast_period", "long_name": "time since the initial state"},
        ),
        "member": ("member", np.array(labels), {"long_name": "ensemble member", "axis": "E"}),
        own[0]: initial[own[0]].variable,
        own[1]: initial[own[1]].variable,
    }
    if times[0] is not None:
        origin = {"standard_name": "forecast_reference_time", "long_name": "time of the initial state"}
        coords["init_time"] = ("init_time", np.array(times), origin)
        valid = np.array([[later(t, float(s)) for s in seconds] for t in times])
        coords["time"] = (
            ("init_time", "lead_time"),
            valid,
            {"standard_name": "time", "long_name": "valid time"},
        )
    empty = dask.array.full(shape, np.nan, dtype=np.float32, chunks=(1, min(50, shape[1]), *shape[2:]))
    variables = {v.name: (dims, empty, attributes(v)) for v in forecaster.spec.variables}
    return xr.Dataset(variables, coords, attrs={"Conventions": "CF-1.11", "title": "Forecast"})


def _read_back(regions: Regions, spec: StateSpec, i: int, lead: int) -> Tensor:
    place = {"init_time": slice(i, i + 1), "lead_time": slice(lead, lead + 1)}
    return torch.from_numpy(np.stack([regions.read(name, place)[0, 0] for name in spec.names], axis=1))


def _made_with(
    forecaster: Forecaster, states: list[Tensor], times: list[Any], leads: np.ndarray, labels: list[int]
) -> dict[str, Any]:
    """Everything that a forecast depends on."""
    return {
        "forecaster": type(forecaster).__name__,
        "forecaster_data": digest_of({"forecaster": forecaster}),
        "variables": list(forecaster.spec.names),
        "grid": forecaster.grid.to_dict(),
        "time_step": forecaster.time_step,
        "initial_times": [str(time) for time in times],
        "initial_states_digest": digest_of({"states": states}),
        "leads": leads.tolist(),
        "members": labels,
    }
