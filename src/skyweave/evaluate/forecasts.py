"""How good forecasts are by lead time: root mean square error and anomaly correlation, beside the two plain rivals."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from skyweave.emulate.emulator import Emulator
from skyweave.emulate.forecaster import Forecaster
from skyweave.emulate.hindcast import hindcast_starts, past_forecasts
from skyweave.emulate.simple import Climatology, Persistence
from skyweave.errors import SkyweaveError
from skyweave.state import time_dim

__all__ = ["score_forecasts", "score_table"]


def score_forecasts(
    forecaster: Forecaster,
    data: xr.Dataset,
    *,
    steps: int = 20,
    starts: int = 40,
    climatology: Climatology | None = None,
    others: Mapping[str, Forecaster] | None = None,
    name: str = "forecast",
) -> xr.Dataset:
    r"""Scores of forecasts from past times, with those of persistence and climatology.

    .. math:: \mathrm{RMSE} = \sqrt{\overline{(\hat x - x)^2}}, \qquad
              \mathrm{ACC} = \overline{\hat a a} \Big/ \sqrt{\overline{\hat a^2}\;\overline{a^2}},
              \qquad a = x - \bar x(t)

    Averages are over starts and, by area, over cells; anomalies are from the climatology of the training data, so
    the ACC of climatology itself has no value.

    Args:
        forecaster: what is judged.
        data: fields it has not been fitted to, in order of time.
        steps: of each forecast.
        starts: number of forecasts, evenly spread.
        climatology: of the training data; an emulator's own by default.
        others: further forecasters to judge, by name.
        name: of `forecaster` in the result.

    Returns:
        ``rmse`` (units of each variable) and ``acc`` of dimensions ``(model, variable, lead_time)``.

    Raises:
        SkyweaveError: no climatology is known, data of another grid or step, too few times.
    """
    if climatology is None:
        if not isinstance(forecaster, Emulator):
            raise SkyweaveError(
                "scores need the climatology of the training data, which only an emulator brings along; pass "
                "climatology=fit_forecaster('climatology', training_data, spec)"
            )
        climatology = forecaster.climatology
    spec, grid, step = forecaster.spec, forecaster.grid, forecaster.time_step
    models: dict[str, Forecaster] = {
        name: forecaster,
        **(others or {}),
        "persistence": Persistence(spec, grid, step),
        "climatology": climatology,
    }
    times = data[str(time_dim(data))].values
    places = hindcast_starts(times, steps, starts, step)
    area = torch.from_numpy(grid.area / grid.area.sum())
    shape = (len(models), len(spec.names), steps)
    rmse, acc = np.full(shape, np.nan), np.full(shape, np.nan)
    for m, model in enumerate(models.values()):
        for lead, fcst, truth in past_forecasts(model, data, places, steps):
            mean = climatology.at(times[places + lead]).double()
            rmse[m, :, lead - 1] = _mean((fcst - truth).double() ** 2, area).sqrt()
            if model is not climatology:
                a, b = fcst - mean, truth - mean
                acc[m, :, lead - 1] = _mean(a * b, area) / (_mean(a * a, area) * _mean(b * b, area)).sqrt()
    dims = ("model", "variable", "lead_time")
    lead_time = (np.arange(1, steps + 1) * step).round().astype("timedelta64[s]").astype("timedelta64[ns]")
    return xr.Dataset(
        {"rmse": (dims, rmse), "acc": (dims, acc)},
        {"model": list(models), "variable": list(spec.names), "lead_time": lead_time},
        {"starts": len(places), "first": str(times[places[0]]), "last": str(times[places[-1]])},
    )


def score_table(scores: xr.Dataset, units: Mapping[str, str], leads: int = 8) -> str:
    """The scores as a text table, at some `leads` lead times at most.

    Args:
        scores: from `score_forecasts`.
        units: of each variable.
        leads: columns.
    """
    count = scores.sizes["lead_time"]
    kept = np.unique(np.linspace(0, count - 1, min(leads, count)).round().astype(int))
    hours = scores["lead_time"].values[kept] / np.timedelta64(1, "h")
    width = max(len(str(m)) for m in scores["model"].values) + 2
    head = "lead time, h".ljust(width + 6) + "".join(f"{h:10.4g}" for h in hours)
    lines = [head]
    for variable in scores["variable"].values:
        lines.append(f"{variable} ({units.get(str(variable), '')})")
        for kind in ("rmse", "acc"):
            for model in scores["model"].values:
                row = scores[kind].sel(model=model, variable=variable).values[kept]
                if np.isfinite(row).any():
                    values = "".join(f"{v:10.4g}" if kind == "rmse" else f"{v:10.3f}" for v in row)
                    lines.append(f"  {str(model).ljust(width)}{kind.upper().ljust(4)}{values}")
    return "\n".join(lines)


def _mean(x: Tensor, area: Tensor) -> Tensor:
    """Mean over starts and cells by area of what is there, ``(C,)``."""
    present = x.isfinite()
    w = area * present
    return (x.nan_to_num() * w).sum((0, 2, 3)) / w.sum((0, 2, 3))
