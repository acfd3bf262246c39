"""Transfer downscaling on a nature run: the paper's tables, what they lack, and a record beyond the overlap.

    python experiments/transfer_downscaling.py [STAGE ...] [--quick]

Stages are world, fit, seams, overlaps, steps, tables, figures, rollout, posterior, cost, ablations, without and merra2,
in this order and all of them by default; each keeps what it made in runs/transfer_downscaling, continues where it was
interrupted, and adds its tables to docs/results/transfer_downscaling.md. Everything is trained by a number of steps and
not by time, so numbers repeat. On one core the whole takes about two hours.
"""

from __future__ import annotations

import argparse
import shutil
from dataclasses import replace
from typing import Any

import numpy as np
import transfer_downscaling_parts as parts
import transfer_merra2
import transfer_stitching
import xarray as xr
from common import FIGURES, emit
from transfer_downscaling_parts import EPOCHS, PAGE, RUN, SEASON, config, of_season

import skyweave.downscale as downscale
from skyweave.downscale.coarse_law import CoarseLaw
from skyweave.downscale.config import DownscaleConfig
from skyweave.downscale.data.records import Record
from skyweave.downscale.data.task import Task, prepare_task
from skyweave.downscale.prediction.area_models import AreaModels
from skyweave.downscale.prediction.extension import rollout_area
from skyweave.downscale.storage import open_encoder
from skyweave.evaluate.downscaling import Evaluation, evaluate
from skyweave.grid import Grid
from skyweave.nature_runs import two_records
from skyweave.prior.storage import LearntPrior, open_prior
from skyweave.reconstruction.settings import Settings
from skyweave.report import comparison_figure
from skyweave.verify import domain_similarity

OVERLAP = ("2005-06-01", "2007-05-31")
TABLED = ("ddpm", "unet", "vae", "vdm-like")


def world(quick: bool) -> None:
    """Nine years of both records; the fine one is known in the overlap alone, and kept whole as truth."""
    if (RUN / "truth.nc").exists():
        return
    RUN.mkdir(parents=True, exist_ok=True)
    made = two_records(3288, (48, 64), start="2000-01-01")
    made.coarse.to_netcdf(RUN / "coarse.nc")
    made.elevation.to_netcdf(RUN / "elevation.nc")
    made.fine.sel(time=slice(*OVERLAP)).to_netcdf(RUN / "fine.nc")
    made.fine.to_netcdf(RUN / "truth.nc")


def fit(quick: bool) -> None:
    """Four models for each of four seasons."""
    for model in TABLED:
        downscale.fit(config(model, quick))


VARIANTS: dict[str, dict[str, Any]] = {
    "transferred encoder": {},
    "no fine past": {"features": "none"},
    "fine days as they are": {"features": "lags"},
    "encoder trained along": {"features": "scratch"},
    "transferred, coarse days too": {"coarse_lags": True},
    "transferred, no linear estimate": {"target": "standard"},
    "transferred, in a latent space": {"model": "latent"},
    "transferred, paper's form": {
        "formulation": "ddpm",
        "target": "unit",
        "output": "sigmoid",
        "loss": "mae",
    },
}
"""Diffusion models of one season: with other inputs, in a latent space, in the paper's form (our learning rate)."""
ABLATION_EPOCHS = 4


def variant(name: str, quick: bool, model: str = "ddpm") -> DownscaleConfig:
    """Configuration of a variant in one season, in a folder of its own that has the encoders of the season."""
    options = dict(VARIANTS[name])
    made = config(
        options.pop("model", model), quick, ABLATION_EPOCHS if model == "ddpm" else EPOCHS[model], **options
    )
    out = made.out / "variants" / name.replace(" ", "_").replace(",", "").replace("'", "")
    folder = out / f"all-{SEASON}"
    folder.mkdir(parents=True, exist_ok=True)
    for encoder in (made.out / f"all-{SEASON}").glob("encoder-*.safetensors"):
        shutil.copy(encoder, folder)
    return made.model_copy(update={"out": out, "seasons": (SEASON,)})


def ablations(quick: bool) -> None:
    """Does the transferred encoder earn its place? One season, every variant trained for as many steps."""
    most = 2 if quick else 9
    rows = []
    for name in VARIANTS:
        made = variant(name, quick)
        downscale.fit(made)
        how = {"sampler": "dpm++2m", "steps": 32} if "paper" in name else {}
        found = evaluate(made, most=most, baselines=(), settings=replace(made.inference, members=8, **how))
        rows.append({"variant": name} | {k: v for k, v in found[0].row(3).items() if k != "method"})
        note = f"Diffusion models, {ABLATION_EPOCHS} epochs each; {found[0].days} test days, 8 members."
        emit(f"What the encoder is worth ({SEASON})", rows, note, page=PAGE)


def without(quick: bool) -> None:
    """Every model with and without the transferred encoder, and with and without halo and Hann."""
    rows = []
    for model in TABLED:
        blind = variant("no fine past", quick, model)
        downscale.fit(blind)
        whole = variant("transferred encoder", quick) if model == "ddpm" else of_season(quick, model)
        for label, made, how in (
            ("transferred encoder, halo and Hann", whole, {}),
            (
                "transferred encoder, nearest patch",
                whole,
                {"window": "nearest", "halo": 0, "blend": "patches"},
            ),
            ("no fine past, halo and Hann", blind, {}),
        ):
            if model == "vdm-like":
                label = label.split(",")[0] + ", nearest patch"
                if how:
                    continue
            found = evaluate(
                made, most=2 if quick else 9, baselines=(), settings=replace(made.inference, members=8, **how)
            )
            rows.append(
                {"model": model, "with": label} | {k: v for k, v in found[0].row(3).items() if k != "method"}
            )
    note = (
        f"{found[0].days} test days, 8 members; as many epochs with as without, {ABLATION_EPOCHS} of the diffusion "
        "model and those of the tables of the others."
    )
    emit(f"With and without encoder and blending ({SEASON})", rows, note, page=PAGE)


def season_tasks() -> dict[str, Task]:
    made = config()
    return {season: prepare_task(made, "all", season) for season in made.seasons}


def tables(quick: bool) -> None:
    """The paper's Tables 1 to 3 and A1, and scores of ensembles."""
    tasks = season_tasks()
    summaries, similar, encoders = [], [], []
    for season, task in tasks.items():
        split = task.split
        days = np.sort(np.concatenate([split.training, split.train_validation, split.validation, split.test]))
        fine, coarse = task.record.fine.read(days)[:, 0], parts.bicubic(task, days)
        for name, fields in (("fine", fine), ("coarse", coarse)):
            summaries.append({"season": season, "record": name} | parts.summary(fields))
        every = parts.bicubic(task, split.pretraining)
        similar.append(
            {"season": season} | domain_similarity(coarse, fine, all_coarse=every, epsilon=parts.FLOOR).row()
        )
        for kind in ("unet", "lstm", "convlstm"):
            _, facts = open_encoder(
                config("ddpm", quick).out / f"all-{season}" / f"encoder-{kind}.safetensors"
            )
            encoders.append({"season": season, "encoder": kind} | facts["scores"])
    emit("Table 1: the records", summaries, "Optical depth in the overlap, by season.", page=PAGE)
    emit("Table 2: how alike the records are", similar, "Wasserstein-1 distances, Eq. 10-13.", page=PAGE)
    emit("The encoders", encoders, "Next coarse day on test days, log10; persistence beside.", page=PAGE)
    found: list[Evaluation] = []
    for model in TABLED:
        last = model == "vdm-like"
        names = ("bicubic", "quantile-mapped", "persistence") if last else ()
        made = config(model, quick)
        how = replace(made.inference, members=8)
        found += evaluate(made, baselines=names, most=2 if quick else None, settings=how)
    methods = list(dict.fromkeys(e.method for e in found))
    for title, key in (
        ("Table 3: R2", "r2"), ("Table 3: RMSE", "rmse"), ("Table A1: MAE", "mae"), ("Table A1: NSE", "nse"),
        ("Table A1: KGE", "kge"),
    ):  # fmt: skip
        rows = [{"method": m} | {e.season: _paper(e, key) for e in found if e.method == m} for m in methods]
        emit(title, rows, "Mean(standard deviation) over test days, ensemble means.", page=PAGE)
    keys = {"crps_log10": "CRPS log10", "ssr_log10": "SSR", "coverage": "coverage of 78%"}
    rows = [
        {"method": m}
        | {f"{t} {e.season}": e.ensemble[k] for k, t in keys.items() for e in found if e.method == m}
        for m in methods
    ]
    note = "Fair CRPS of log10, spread over error of log10, share of the truth in the range of the 8 members."
    emit("Ensembles", rows, note, page=PAGE)


def _paper(e: Evaluation, key: str) -> str:
    return f"{e.daily[key][0]:.3f}({e.daily[key][1]:.3f})"


def figures(quick: bool) -> None:
    """Maps of a test day, and how the records themselves depend on distance and time."""
    own = of_season(quick)
    models = AreaModels(own, "all")
    record = models.record
    task = prepare_task(own, "all", SEASON, record)
    day = task.split.test[7:8]
    member = models.day(int(day[0]), range(16), own.inference)[:, 0]
    drawn = {
        "bicubic": parts.bicubic(task, day)[0],
        "ddpm, one member": member[0],
        "ddpm, mean of 16": member.mean(0),
    }
    for name in ("unet", "vae"):
        other = AreaModels(of_season(quick, name), "all", name, record)
        drawn[name] = other.day(int(day[0]), range(16), own.inference)[:, 0].mean(0)
    comparison_figure(
        record.fine.read(day)[0, 0], drawn, record.grid, (record.coarse.read(day)[0, 0], record.coarse.grid),
        units="AOD", log=True, title=f"Optical depth on {record.days[day[0]]!s:.10}, a test day",
        path=FIGURES / "transfer_maps.png",
    )  # fmt: skip
    days = np.sort(np.concatenate([getattr(task.split, k) for k in ("training", "train_validation", "test")]))
    records = {"fine": record.fine.read(days)[:, 0], "coarse": record.coarse.read(days)[:, 0]}
    grids = {"fine": record.grid, "coarse": Grid.from_dataset(record.coarse.dataset)}
    rows = parts.dependence(
        records,
        grids,
        record.days[days],
        FIGURES,
        stem="transfer_records",
        title=f"Both records of the overlap, {SEASON}",
    )
    note = (
        "Figures 2 to 7 of the paper on the nature run: each record on its own grid.\n\n"
        "![maps](../figures/transfer_maps.png)\n\n![semivariograms](../figures/transfer_records_variograms.png)\n\n"
        "![memory](../figures/transfer_records_memory.png)\n\n![lags](../figures/transfer_records_lags.png)"
    )
    emit(f"The records in space and time ({SEASON})", rows, note, page=PAGE)


def year_prior(own: DownscaleConfig, record: Record, quick: bool) -> tuple[Task, LearntPrior, CoarseLaw]:
    """A prior of fine days of the first four fifths of the overlap, and what the coarse record says of them."""
    whole = own.model_copy(update={"seasons": ("all",)})
    year = prepare_task(whole, "all", "all", record)
    training = np.sort(np.concatenate([year.split.training, year.split.train_validation]))
    law = downscale.fit_coarse_law(record, training)
    path = own.out / "prior" / "prior.safetensors"
    if path.exists() and open_prior(path).attachments:
        return year, open_prior(path), law
    changes = {
        "patch": [48, 64], "network": {"preset": "tiny"}, "steps": 100 if quick else 1200, "batch": 16, "threads": 1,
    }  # fmt: skip
    settings = downscale.prior_settings(whole, record, training, year.split.validation, path.parent, changes)
    return year, downscale.train_prior(settings), law


def posterior(quick: bool) -> None:
    """The downscaler beside the posterior of a prior, on the one season whose test days the prior has not seen."""
    own = config("ddpm", quick).model_copy(update={"seasons": ("MAM",)})
    models = AreaModels(own, "all")
    record = models.record
    _, prior, law = year_prior(own, record, quick)
    days = prepare_task(own, "all", "MAM", record).split.test[: 2 if quick else None]
    truth = record.fine.read(days)[:, 0]
    made = downscale.reconstruct_days(prior, record, days, [law], Settings(members=8), progress=False)
    task = prepare_task(own, "all", "MAM", record)
    rows = [
        {"method": "ddpm"} | parts.ensemble_row(parts.members_of(models, days, own.inference, 8), truth),
        {"method": "posterior of a prior"} | parts.ensemble_row(made.AOD.values, truth),
        {"method": "bicubic"} | parts.ensemble_row(parts.bicubic(task, days)[None], truth),
    ]
    emit("Beside the zero-shot posterior (MAM)", rows, "Ensemble means; 8 members.", page=PAGE)


def rollout(quick: bool) -> None:
    """400 days beyond the overlap, with the truth beside; and the posterior of a prior, which cannot drift."""
    days = 40 if quick else 400
    own = config("ddpm", quick)
    models = AreaModels(own, "all")
    record = models.record
    first = int(record.index(OVERLAP[1])[0]) + 1
    index = np.arange(first, first + days)
    end = str(record.days[index[-1]])[:10]
    store = own.out / "rollout.zarr"
    if not store.exists():
        how = replace(own.inference, members=2)
        rollout_area(models, how, end=end, path=store)
    free = own.out / "posterior.zarr"
    year, prior, law = year_prior(own, record, quick)
    if not free.exists():
        downscale.reconstruct_days(prior, record, index, [law], Settings(members=2), out=free)
    truth = xr.open_dataset(RUN / "truth.nc").AOD.sel(time=record.days[index]).values
    coarse = parts.bicubic(year, index)
    made = {
        "rollout": xr.open_zarr(store).AOD.values,
        "posterior of a prior": xr.open_zarr(free).AOD.values,
        "coarse, bicubic": coarse[None],
    }
    edges = [0, days // 4, days // 2, 3 * days // 4, days]
    emit(
        "Beyond the overlap",
        parts.by_period(made, truth, edges),
        "log10, by days since the last fine one; 2 members.",
        page=PAGE,
    )
    one = {"fine, truth": truth} | {name: members[0] for name, members in made.items()}
    grids = dict.fromkeys(one, record.grid)
    one["coarse, its own grid"] = record.coarse.read(index)[:, 0]
    grids["coarse, its own grid"] = Grid.from_dataset(record.coarse.dataset)
    rows = parts.dependence(one, grids, record.days[index], FIGURES, title=f"{days} days beyond the overlap")
    note = (
        "One member of each; semivariogram with a spherical fit, autocorrelation of the area mean, differences between "
        "days.\n\n![semivariograms](../figures/transfer_variograms.png)\n\n![memory](../figures/transfer_memory.png)"
        "\n\n![lags](../figures/transfer_lags.png)\n\n![by day](../figures/transfer_rollout.png)"
    )
    parts.error_figure(made, truth, record.days[index], FIGURES)
    emit("Does the record look like the fine one", rows, note, page=PAGE)


def cost(quick: bool) -> None:
    """Seconds for a day of record, and what twenty years would take."""
    own = of_season(quick)
    models = AreaModels(own, "all")
    day = int(prepare_task(own, "all", SEASON, models.record).split.test[0])
    calls = parts.operations(lambda: models.day(day, range(1), own.inference))
    rows = []
    for label, changes in (
        ("default: stride 8, 16 steps", {}),
        ("stride 2, 16 steps", {"stride": 2}),
        ("stride 8, 50 steps", {"steps": 50}),
    ):
        given = replace(own.inference, **changes)
        _, seconds = parts.timed(lambda given=given: models.day(day, range(1), given))
        rows.append({"inference": label, "s/day and member": seconds})
    rows.append(
        {
            "inference": "paper: stride 2, 1000 steps (1000/16 of the second)",
            "s/day and member": rows[1]["s/day and member"] * 1000 / 16,
        }
    )
    for row in rows:
        row["20 years, one core, h"] = row["s/day and member"] * 7305 / 3600
    note = (
        f"{models.record.grid.size} cells, one member, seconds of one core. Days follow one "
        "another, members run side by side: two cores make two members in the same time. On a GPU fields this small "
        f"take as long as their operations take to launch, for one member as for many: {calls} of them for a day, at "
        f"10 microseconds each {calls * 1e-5:.2f} s a day and {calls * 1e-5 * 7305 / 3600:.2f} h for 20 years. That "
        "is reckoned, not measured."
    )
    emit("Cost", rows, note, page=PAGE)


def merra2(quick: bool) -> None:
    """What of it one month of MERRA-2 allows; see `transfer_merra2`."""
    transfer_merra2.run(RUN / ("quick/merra2" if quick else "merra2"), PAGE, quick)


STAGES = {
    f.__name__: f
    for f in (
        world,
        fit,
        transfer_stitching.seams,
        transfer_stitching.overlaps,
        transfer_stitching.steps,
        tables,
        figures,
        rollout,
        posterior,
        cost,
        ablations,
        without,
        merra2,
    )
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stages", nargs="*", default=list(STAGES), metavar="STAGE", help=", ".join(STAGES))
    parser.add_argument("--quick", action="store_true", help="very little of everything, to see that it runs")
    given = parser.parse_args()
    for name in given.stages:
        if name not in STAGES:
            parser.error(f"no stage {name!r}; there are {', '.join(STAGES)}")
        print(f"---- {name}", flush=True)
        STAGES[name](given.quick)


if __name__ == "__main__":
    main()
