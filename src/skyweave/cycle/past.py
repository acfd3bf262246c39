"""Forecasts of the past beside what came: from a forecaster, or from files of forecasts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from skyweave.cycle.lead_time import LeadTimeSkill
from skyweave.emulate.files import ForecastFile, initial_times, open_forecast
from skyweave.emulate.forecaster import Forecaster, check_fits, later
from skyweave.emulate.hindcast import hindcast_starts, past_forecasts
from skyweave.errors import SkyweaveError
from skyweave.grid import Grid
from skyweave.io.read import open_fields
from skyweave.io.undeclared import with_known_fills
from skyweave.state import StateSpec, find_variable, time_dim, to_tensor
from skyweave.transform import StateTransform

__all__ = ["PastForecasts", "past_from_files", "past_from_forecaster"]


@dataclass(frozen=True, eq=False)
class PastForecasts:
    """Forecasts and truths of the same times, complete.

    Args:
        forecasts, truths: ``(N, L, C, h, w)``, physical units.
        leads: seconds, ascending, ``(L,)``.
        times: valid times, ``(N, L)``.
        grid: of both.
        dropped: how many forecasts were left out, by reason.
    """

    forecasts: Tensor
    truths: Tensor
    leads: np.ndarray
    times: np.ndarray
    grid: Grid
    dropped: dict[str, int]

    def __post_init__(self) -> None:
        if len(self.forecasts) < 4:
            reasons = "".join(f"; {count} dropped: {why}" for why, count in self.dropped.items() if count)
            raise SkyweaveError(
                f"past forecasts: {len(self.forecasts)} are complete, four or more are needed, better fifty{reasons}"
            )

    def skill(
        self,
        transform: StateTransform,
        climate_mean: Callable[[Any], Tensor],
        padded: tuple[int, int],
        periodic: tuple[bool, bool],
    ) -> LeadTimeSkill:
        """What is left of a forecast at each lead time and scale; see `LeadTimeSkill.fit`.

        Args:
            transform: of the prior.
            climate_mean: what the prior expects at a time where nothing is known, ``(C, h, w)``, normalised.
            padded: torus of the climate's covariance.
            periodic: whether latitudes and longitudes are circles.
        """
        mean = torch.stack([climate_mean(time) for time in self.times.ravel()])
        return LeadTimeSkill.fit(
            transform.forward(self.forecasts),
            transform.forward(self.truths),
            climate_mean=mean.reshape(self.truths.shape),
            periodic=periodic,
            padded=padded,
            folds=min(5, len(self.forecasts) // 2),
        )

    def __str__(self) -> str:
        first, last = (str(t)[:16] for t in (self.times.min(), self.times.max()))
        lines = [f"past forecasts  {len(self.forecasts)}, valid {first} to {last}"]
        lines += [f"  dropped       {count}: {why}" for why, count in self.dropped.items() if count]
        return "\n".join(lines)


def past_from_forecaster(
    model: Forecaster, truth: xr.Dataset, spec: StateSpec, leads: Sequence[float], starts: int = 60
) -> PastForecasts:
    """Forecasts of a model from evenly spread times of a record that it has not been fitted to.

    Raises:
        SkyweaveError: a model of other variables, lead times that are not whole steps, too short a record.
    """
    check_fits(model, spec, what="prior")
    numbers = np.asarray(leads, float) / model.time_step
    if not np.allclose(numbers, numbers.round(), atol=1e-3):
        raise SkyweaveError(
            f"past forecasts: the model steps by {model.time_step / 3600:g} h, of which the forecast's lead times "
            f"({_hours(leads)} h) are no multiples"
        )
    wanted = {int(n) for n in numbers.round()}
    steps, times = max(wanted), truth[str(time_dim(truth))].values
    places = hindcast_starts(times, steps, starts, model.time_step)
    parts = [pair for pair in past_forecasts(model, truth, places, steps) if pair[0] in wanted]
    forecasts, truths = (torch.stack(side, 1) for side in ([f for _, f, _ in parts], [t for *_, t in parts]))
    valid = np.stack([times[places + number] for number, *_ in parts], 1)
    found = np.array([number * model.time_step for number, *_ in parts])
    return _complete(forecasts, truths, found, valid, model.grid, {})


def past_from_files(
    source: str | Path | xr.Dataset, truth: xr.Dataset, spec: StateSpec, leads: Sequence[float]
) -> PastForecasts:
    """Forecasts that lie in a file, one for each of its initial times, and the truth at their valid times.

    Lead times of `leads` that the file lacks are left out; of ensembles the mean is taken.

    Raises:
        SkyweaveError: no initial times, no lead time in common, another calendar or grid than the truth's.
    """
    data = source if isinstance(source, xr.Dataset) else open_fields(str(source), forecasts=True)
    data = with_known_fills(data)
    inits = initial_times(data)
    files = [open_forecast(data, spec, init) for init in inits]
    grid, own = Grid.from_dataset(truth), files[0].leads
    if not files[0].grid.same_as(grid):
        raise SkyweaveError(
            f"past forecasts: their grid is {files[0].grid.describe()}, that of the truth {grid.describe()}; bring "
            "one to the other's grid (skyweave regrid)"
        )
    common = [float(lead) for lead in leads if np.abs(own - lead).min() < 1.0]
    if not common:
        raise SkyweaveError(
            f"past forecasts: they have lead times of {_hours(own)} h, the forecast {_hours(leads)} h: none in common"
        )
    name = str(time_dim(truth))
    place = {str(time): k for k, time in enumerate(truth[name].values)}
    forecasts, truths, valid, unseen = [], [], [], 0
    for file in files:
        times = [later(file.init_time, lead) for lead in common]
        if not all(str(time) in place for time in times):
            unseen += 1
            continue
        # Read at once, and no longer than it is needed.
        names = [find_variable(file.data, variable) for variable in spec.variables]
        held = replace(file, data=file.data[list(dict.fromkeys(names))].compute())
        forecasts.append(torch.cat([mean_of(held, time) for time in times]))
        truths.append(to_tensor(truth.isel({name: [place[str(time)] for time in times]}), spec, grid))
        valid.append(times)
    if not forecasts:
        raise SkyweaveError(
            f"past forecasts: none of the {len(files)} from {inits[0]} to {inits[-1]} has its truth, which is of "
            f"{truth[name].values[0]} to {truth[name].values[-1]}; give the truth of these times, on their calendar"
        )
    return _complete(
        torch.stack(forecasts), torch.stack(truths), np.array(common), np.array(valid), grid,
        {"no truth at their times": unseen},
    )  # fmt: skip


def mean_of(file: ForecastFile, time: Any) -> Tensor:
    """The forecast valid at a time, ``(1, C, h, w)``: of an ensemble its mean."""
    if "member" not in file.data.dims:
        return file.at(time)
    count = file.data.sizes["member"]
    labels = file.data["member"].values.tolist() if "member" in file.data.coords else list(range(count))
    return file.at(time, labels).mean(0, keepdim=True)


def _complete(
    forecasts: Tensor,
    truths: Tensor,
    leads: np.ndarray,
    times: np.ndarray,
    grid: Grid,
    dropped: dict[str, int],
) -> PastForecasts:
    whole = (forecasts.isfinite() & truths.isfinite()).flatten(1).all(1)
    dropped = dropped | {"missing values": int((~whole).sum())}
    return PastForecasts(forecasts[whole], truths[whole], leads, times[whole.numpy()], grid, dropped)


def _hours(leads: Sequence[float] | np.ndarray) -> str:
    shown = ", ".join(f"{lead / 3600:g}" for lead in leads[:12])
    return shown + (", ..." if len(leads) > 12 else "")
