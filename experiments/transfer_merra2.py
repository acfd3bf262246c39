"""What one month of MERRA-2 allows of transfer downscaling, with steps of three hours as days.

The fine record is known for the first sixteen days of June 2014; the coarse one, and the truth, go on to the 24th.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import transfer_downscaling_parts as parts
import xarray as xr
from common import DATA, FIGURES, emit

import skyweave.downscale as downscale
from skyweave.config import parse_config
from skyweave.downscale.config import DownscaleConfig
from skyweave.downscale.data.task import prepare_task
from skyweave.downscale.prediction.area_models import AreaModels
from skyweave.downscale.prediction.extension import rollout_area
from skyweave.evaluate.downscaling import evaluate
from skyweave.grid import Grid
from skyweave.io import open_fields
from skyweave.regrid import block_mean, coarsen
from skyweave.report import comparison_figure

TQV = DATA / "merra2-tqv-tropics-2014-06/merra2_tqv_tropics_3hourly_201406_d01-24.nc"
ELEVATION = DATA / "static-fields/merra2_grid_elevation.nc"
FACTOR, MARGIN, LAST = 8, 16, "2014-06-16"
BIAS, NOISE = 0.06, 0.05
"""Standard deviation of the logarithm: of each coarse cell's lasting bias, and of noise with a memory of half a day."""
BEGIN, SIZE = (40, 280), (80, 112)
"""Native cells of the coarse record's area: Africa north of the equator."""


def world(folder: Path) -> None:
    """The coarse record, the fine one in the overlap, and the truth."""
    if (folder / "truth.nc").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    rows, columns = (slice(b, b + n) for b, n in zip(BEGIN, SIZE, strict=True))
    whole = open_fields(TQV, ["TQV"]).isel(lat=rows, lon=columns).load()
    grid = Grid.from_dataset(whole)
    means = whole.TQV.values.reshape(whole.sizes["time"], -1) @ block_mean(grid, FACTOR).T
    rng = np.random.default_rng(0)
    kept = np.exp(-3 / 12)
    noise = rng.standard_normal(means.shape)
    for t in range(1, len(noise)):
        noise[t] = kept * noise[t - 1] + np.sqrt(1 - kept**2) * noise[t]
    biased = means * np.exp(BIAS * rng.standard_normal(means.shape[1]) + NOISE * noise)
    small = coarsen(grid, FACTOR)
    values = biased.reshape(-1, *small.shape).astype(np.float32)
    coarse = xr.Dataset(
        {"TQV": (("time", "lat", "lon"), values, {"units": "kg m-2"})},
        {"time": whole.time, "lat": small.lat, "lon": small.lon},
    )
    inner = {"lat": slice(MARGIN, SIZE[0] - MARGIN), "lon": slice(MARGIN, SIZE[1] - MARGIN)}
    fine = whole.isel(inner).drop_encoding()
    coarse.to_netcdf(folder / "coarse.nc")
    fine.sel(time=slice(None, LAST)).to_netcdf(folder / "fine.nc")
    fine.to_netcdf(folder / "truth.nc")


def config(
    folder: Path, model: str = "ddpm", epochs: int = 2, steps: int = 30, **options: Any
) -> DownscaleConfig:
    """Settings of a model; an epoch is `steps` batches."""
    with xr.open_dataset(ELEVATION) as ds:
        name = str(next(n for n, v in ds.data_vars.items() if v.ndim == 2))
    training = {"epochs": epochs, "steps_per_epoch": steps}
    return parse_config(
        {
            "coarse": {"paths": str(folder / "coarse.nc"), "variables": ["TQV"]},
            "fine": {"paths": str(folder / "fine.nc"), "variables": ["TQV"]},
            "elevation": {"path": str(ELEVATION), "variable": name},
            "step": "native",
            "lags": 4,
            "model": model,
            "encoder": {"training": training},
            "options": {"training": training} | options,
            "inference": {"members": 8, "batch": 256},
            "out": str(folder / f"models-{epochs}-{steps}"),
        },
        DownscaleConfig,
    )


METHODS: dict[str, dict[str, Any]] = {
    "ddpm": {}, "ddpm-none": {"features": "none"}, "unet": {"model": "unet"},
    "unet-none": {"model": "unet", "features": "none"},
}  # fmt: skip
"""Models of the table, with the transferred encoder and without the fine past."""


def scores(
    folder: Path,
    methods: tuple[str, ...],
    epochs: int,
    steps: int,
    *,
    most: int | None = None,
    inference: dict[str, Any] | None = None,
) -> dict[str, dict[str, Any]]:
    """Train, and score on the test steps: rows of the table by method, baselines last."""
    found = {}
    for number, name in enumerate(methods, 1):
        made = config(folder, epochs=epochs, steps=steps, **METHODS[name])
        downscale.fit(made)
        beside = {} if number == len(methods) else {"baselines": ()}
        how = replace(made.inference, **(inference or {}))
        found |= {e.method: e for e in evaluate(made, most=most, settings=how, **beside)}
    return {name: e.row(3) | {"RMSE": e.daily["rmse"][0], "days": e.days} for name, e in found.items()}


def run(folder: Path, page: Path, quick: bool) -> None:
    """Train, score, and go on beyond the overlap."""
    world(folder)
    size = (2, 5) if quick else (12, 60)
    rows = scores(folder, tuple(METHODS), *size, most=2 if quick else None)
    days = next(iter(rows.values()))["days"]
    note = (
        f"Precipitable water over Africa, native cells of 0.5 x 0.625 degrees, steps of three hours; {days} test "
        f"steps, 8 members. The coarse record is the mean of {FACTOR} x {FACTOR} cells with a lasting bias of "
        f"{BIAS:.0%} and noise of {NOISE:.0%}.\n\n![a test step](../figures/transfer_merra2_maps.png)"
    )
    emit(
        "One month of MERRA-2",
        [{k: v for k, v in r.items() if k != "days"} for r in rows.values()],
        note,
        page,
    )
    own = config(folder, "ddpm", *size)
    models = AreaModels(own, "all")
    record = models.record
    task = prepare_task(own, "all", "all", record)
    day = int(task.split.test[-1])
    member = models.day(day, range(8), own.inference)[:, 0]
    comparison_figure(
        record.fine.read(np.array([day]))[0, 0],
        {
            "bicubic": parts.bicubic(task, np.array([day]))[0],
            "one member": member[0],
            "mean of 8": member.mean(0),
        },
        record.grid,
        (record.coarse.read(np.array([day]))[0, 0], record.coarse.grid),
        units="kg m-2",
        title=f"MERRA-2 precipitable water, {record.days[day]!s:.13} UTC",
        path=FIGURES / "transfer_merra2_maps.png",
    )
    first = int(np.searchsorted(record.days, np.datetime64(LAST) + 1))
    index = np.arange(first, len(record.days))
    store = own.out / "rollout.zarr"
    if not store.exists():
        rollout_area(models, replace(own.inference, members=2), path=store)
    truth = xr.open_dataset(folder / "truth.nc").TQV.sel(time=record.days[index]).values
    made = {"rollout": xr.open_zarr(store).TQV.values, "coarse, bicubic": parts.bicubic(task, index)[None]}
    edges = [0, len(index) // 2, len(index)]
    note = "Eight days in steps of three hours after the last fine one; log10; 2 members."
    emit("MERRA-2 beyond the overlap", parts.by_period(made, truth, edges, "steps"), note, page)
    one = {"fine, truth": truth} | {name: members[0] for name, members in made.items()}
    rows_ = parts.dependence(
        one, dict.fromkeys(one, record.grid), record.days[index], FIGURES,
        stem="transfer_merra2", unit="log10 TQV", step="steps of 3 hours", title="MERRA-2 beyond the overlap",
    )  # fmt: skip
    emit(
        "MERRA-2: does it look like the fine record",
        rows_,
        "One member; lags are steps of three hours.",
        page,
    )
