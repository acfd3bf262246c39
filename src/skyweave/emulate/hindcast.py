"""A forecaster's error as a source of observations: its size, reach and bias by lead time, from past forecasts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from torch import Tensor

from skyweave.emulate.forecaster import Forecaster
from skyweave.errors import SkyweaveError, did_you_mean
from skyweave.grid import EARTH_RADIUS, Grid
from skyweave.observe.errors import Correlation, ErrorModel, correlation, unit_vectors
from skyweave.prior.data import regular
from skyweave.state import time_dim, to_tensor

__all__ = ["Hindcast", "error_reach", "hindcast_errors", "hindcast_starts", "past_forecasts"]

PAIRED_CELLS = 600
"""Cells, drawn by area, between which the correlation of errors is looked at."""


@dataclass(frozen=True)
class Hindcast:
    """Errors of a forecaster by lead time and variable, in the units of its state.

    Args:
        variables: names.
        lead: seconds, ascending, ``(L,)``.
        bias: mean error, ``(L, C)``.
        deviation: standard deviation of the error about it, ``(L, C)``.
        length_km: distance over which errors are correlated, ``(L, C)``.
        shape: form of the correlation, "exponential" or "gaspari-cohn", ``(L, C)``.
        starts: number of forecasts behind it.
        period: first and last time of the data.
    """

    variables: tuple[str, ...]
    lead: tuple[float, ...]
    bias: tuple[tuple[float, ...], ...]
    deviation: tuple[tuple[float, ...], ...]
    length_km: tuple[tuple[float, ...], ...]
    shape: tuple[tuple[Correlation, ...], ...]
    starts: int = 0
    period: tuple[str, str] = ("", "")

    def error(self, variable: str, lead: float | np.timedelta64) -> ErrorModel:
        """The error model of one variable at a lead time, for `skyweave.GridObservation`.

        Between the lead times of the hindcast its numbers are interpolated; before the first the deviation falls
        to zero at lead zero as its square root does, beyond the last it stays.

        Args:
            variable: its name.
            lead: seconds, or a duration.

        Raises:
            SkyweaveError: an unknown variable, or a lead time that is not positive.
        """
        c, seconds = self._column(variable), _seconds(lead)
        if not seconds > 0:
            raise SkyweaveError(
                f"a forecast's error is known for lead times above zero, not for {seconds:g} s"
            )
        deviation = self._at(self.deviation, c, seconds)
        if seconds < self.lead[0]:
            deviation *= (seconds / self.lead[0]) ** 0.5
        nearest = int(np.argmin(np.abs(np.array(self.lead) - seconds)))
        return ErrorModel(
            absolute=deviation,
            correlation_length_km=self._at(self.length_km, c, seconds),
            correlation=self.shape[nearest][c],
        )

    def mean_error(self, variable: str, lead: float | np.timedelta64) -> float:
        """The bias of one variable at a lead time, forecast minus truth, in its units."""
        return self._at(self.bias, self._column(variable), _seconds(lead))

    def _column(self, variable: str) -> int:
        if variable not in self.variables:
            raise SkyweaveError(
                f"the hindcast has no variable {variable!r}{did_you_mean(variable, self.variables)}; it has "
                f"{', '.join(self.variables)}"
            )
        return self.variables.index(variable)

    def _at(self, table: Sequence[Sequence[float]], column: int, seconds: float) -> float:
        return float(np.interp(seconds, self.lead, [row[column] for row in table]))

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and strings, for JSON."""
        return {k: _plain(v) for k, v in vars(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Hindcast:
        """The hindcast that `to_dict` described, also after a round trip through JSON."""
        nested = {k: tuple(map(tuple, values[k])) for k in ("bias", "deviation", "length_km", "shape")}
        variables, period = tuple(values["variables"]), tuple(values["period"])
        return cls(
            variables=variables,
            lead=tuple(values["lead"]),
            starts=int(values["starts"]),
            period=period,
            **nested,
        )


def hindcast_errors(
    forecaster: Forecaster, data: xr.Dataset, *, steps: int = 20, starts: int = 40
) -> Hindcast:
    r"""Errors of forecasts from past times against what came.

    .. math:: e(\tau) = \hat x(t_0 + \tau) - x(t_0 + \tau), \qquad
              \sigma^2(\tau) = \overline{(e - \bar e)^2}, \qquad \rho(d) \approx c(d / L)

    Averages are over starts and, by area, over cells. The form and length of the correlation are those of
    `skyweave.observe.errors.correlation` nearest to the errors' own (see `error_reach`).

    Args:
        forecaster: of the variables and the grid of the data.
        data: fields it has not been fitted to, in order of time.
        steps: of each forecast.
        starts: number of forecasts, evenly spread; fewer where the data are short.

    Raises:
        SkyweaveError: too few times that follow one another at the forecaster's step, or another grid.
    """
    variables, grid = forecaster.spec.names, forecaster.grid
    weights = torch.from_numpy(grid.area / grid.area.sum())
    times = data[str(time_dim(data))].values
    places = hindcast_starts(times, steps, starts, forecaster.time_step)
    bias, deviation, lengths, shapes = [], [], [], []
    for _, forecast, truth in past_forecasts(forecaster, data, places, steps):
        e = (forecast - truth).double()
        present = e.isfinite()
        w = (weights * present).flatten(2)
        total = w.sum((0, 2))
        mean = (e.nan_to_num().flatten(2) * w).sum((0, 2)) / total
        centred = (e - mean[:, None, None]).nan_to_num().flatten(2)
        bias.append(tuple(mean.tolist()))
        deviation.append(tuple(((centred**2 * w).sum((0, 2)) / total).sqrt().tolist()))
        reach = [error_reach(e[:, c].numpy(), grid) for c in range(len(variables))]
        lengths.append(tuple(length for length, _ in reach))
        shapes.append(tuple(shape for _, shape in reach))
    lead = tuple(forecaster.time_step * (k + 1) for k in range(steps))
    period = (str(times[0]), str(times[-1]))
    return Hindcast(
        variables, lead, tuple(bias), tuple(deviation), tuple(lengths), tuple(shapes), len(places), period
    )


def hindcast_starts(times: NDArray[Any], steps: int, starts: int, time_step: float) -> NDArray[np.int64]:
    """Places in `times`, evenly spread, after which `steps` times follow at the forecaster's step.

    Raises:
        SkyweaveError: the times have another step, or no stretch is long enough.
    """
    from skyweave.prior.data import time_step as step_between

    found = step_between(times)
    if len(times) > 1 and not np.isclose(found, time_step, rtol=1e-3):
        raise SkyweaveError(
            f"the forecaster steps by {time_step / 3600:g} h, the data by {found / 3600:g} h; select times that fit"
        )
    gaps = np.concatenate([[0], np.cumsum(~regular(times))]) if len(times) > 1 else np.zeros(len(times))
    last = len(times) - steps
    possible = np.flatnonzero(gaps[:last] == gaps[steps:]) if last > 0 else np.array([], dtype=np.int64)
    if not len(possible):
        raise SkyweaveError(
            f"no {steps + 1} times in a row at a step of {time_step / 3600:g} h among the {len(times)} of the data, "
            f"{str(times[0])[:16]} to {str(times[-1])[:16]}; give a longer period or fewer steps"
        )
    chosen = np.linspace(0, len(possible) - 1, min(starts, len(possible))).round().astype(np.int64)
    return possible[np.unique(chosen)]


def past_forecasts(
    forecaster: Forecaster, data: xr.Dataset, places: NDArray[np.int64], steps: int
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Forecasts from past times beside what came: lead in steps, forecasts and truths ``(N, C, H, W)``.

    All starts go forward side by side, so that memory holds them at one lead time only.

    Args:
        forecaster: of the variables and the grid of `data`.
        data: in order of time.
        places: indices of the starts in `data`.
        steps: of each forecast.
    """
    name = str(time_dim(data))
    times = data[name].values
    state = to_tensor(data.isel({name: places}), forecaster.spec, forecaster.grid)
    for lead in range(1, steps + 1):
        parts = [
            forecaster.step(state[i : i + 1], times[place + lead - 1], [int(place)])
            for i, place in enumerate(places)
        ]
        state = torch.cat(parts)
        yield lead, state, to_tensor(data.isel({name: places + lead}), forecaster.spec, forecaster.grid)


def error_reach(errors: NDArray[np.floating], grid: Grid, seed: int = 0) -> tuple[float, Correlation]:
    """Length, km, and form of the correlation of errors with distance that fits theirs best.

    Errors are divided by their deviation in each cell; products of pairs of cells, drawn by area, are averaged by
    distance; a length is fitted by least squares out to where the correlation has fallen below a tenth.

    Args:
        errors: ``(N, H, W)``, NaN where missing.
        grid: of the errors.
        seed: of the cells that are drawn.
    """
    flat = np.asarray(errors, float).reshape(len(errors), -1)
    scale = np.sqrt(np.mean(np.nan_to_num(flat) ** 2, axis=0))
    usable = np.flatnonzero(np.isfinite(flat).all(0) & (scale > 0))
    spacing = _spacing(grid)
    if len(usable) < 3:
        return spacing, "exponential"
    rng = np.random.default_rng(seed)
    area = grid.area.ravel()[usable]
    cells = rng.choice(usable, size=min(PAIRED_CELLS, len(usable)), replace=False, p=area / area.sum())
    z = flat[:, cells] / scale[cells]
    lat, lon = (part.ravel()[cells] for part in grid.mesh())
    i, j = np.triu_indices(len(cells), 1)
    position = unit_vectors(lat, lon)
    # The chord, as in the covariance of the observations that these errors will describe.
    distance = EARTH_RADIUS / 1000 * np.linalg.norm(position[i] - position[j], axis=1)
    product = (z.T @ z / len(z))[i, j]
    bins = np.floor(distance / spacing + 0.5).astype(int)
    count = np.bincount(bins)
    seen = count > 0
    mean = np.bincount(bins, product)[seen] / count[seen]
    middle, number = np.bincount(bins, distance)[seen] / count[seen], count[seen]
    low = np.flatnonzero(mean < 0.1)
    upto = max(3, int(low[0]) + 1) if len(low) else len(mean)
    fits: list[tuple[float, float, Correlation]] = []
    shapes: tuple[Correlation, ...] = ("exponential", "gaspari-cohn")
    for shape in shapes:

        def misfit(log_length: float, shape: Correlation = shape) -> float:
            model = correlation(middle[:upto], float(np.exp(log_length)), shape)
            return float((number[:upto] * (model - mean[:upto]) ** 2).sum())

        bounds = (np.log(0.1 * spacing), np.log(2e4))
        found = minimize_scalar(misfit, bounds=bounds, method="bounded", options={"xatol": 1e-3})
        fits.append((float(found.fun), float(np.exp(found.x)), shape))
    _, length, best = min(fits)
    return length, best


def _spacing(grid: Grid) -> float:
    return float(np.sqrt(np.median(grid.area)) / 1000)


def _seconds(lead: float | np.timedelta64) -> float:
    return float(lead / np.timedelta64(1, "s")) if isinstance(lead, np.timedelta64) else float(lead)


def _plain(value: Any) -> Any:
    return [_plain(v) for v in value] if isinstance(value, tuple) else value
