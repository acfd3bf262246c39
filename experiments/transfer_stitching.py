"""How patches of transfer downscaling are put together, and how few steps of a sampler will do."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import transfer_downscaling_parts as parts
from common import emit
from transfer_downscaling_parts import PAGE, SEASON, of_season

from skyweave.downscale.data.task import prepare_task
from skyweave.downscale.prediction.area_models import AreaModels

NEAREST, APART, SHARED = {"window": "nearest", "halo": 0}, {"blend": "patches"}, {"blend": "shared"}
SINGLE = "single patches: apart, nearest"


def seam_row(
    models: AreaModels, days: Any, truth: parts.Fields, changes: dict[str, Any], members: int
) -> tuple[dict[str, Any], parts.Fields]:
    """Seams and spread of some days put together in one way, and the variance of each day."""
    own = models.config
    given = replace(own.inference, **changes)
    made = parts.members_of(models, days, given, members)
    lines = parts.seam_lines(truth.shape[1:], own.patch[0], given)
    ratio = parts.seam_ratio(made, lines)
    row = {
        "members": members,
        "seam ratio": ratio,
        "over the truth's": ratio / parts.seam_ratio(truth, lines),
    }
    return row | parts.spread_row(made, truth), parts.log10(made).var(0).mean((1, 2))


def seams(quick: bool) -> None:
    """Seams and variance with halo-and-Hann, without, and with patches averaged afterwards."""
    rows = []
    record = None
    for model in ("ddpm", "unet"):
        own = of_season(quick, model)
        models = AreaModels(own, "all", model, record)
        record = models.record
        days = prepare_task(own, "all", SEASON, record).split.test[:: 9 if quick else 2]
        truth = record.fine.read(days)[:, 0]
        for label, changes, members in (
            (SINGLE, APART | NEAREST, 32),
            ("blended in every step, halo and Hann (default)", {}, 32),
            ("blended in every step, plain average", {"window": "flat", "halo": 0}, 16),
            ("blended in every step, nearest", NEAREST, 16),
            ("blended in every step, stride 4, halo and Hann", {"stride": 4}, 4),
            ("one noise field, averaged at the end, halo and Hann", SHARED, 32),
            ("one noise field, at the end, nearest", SHARED | NEAREST, 16),
            ("apart, averaged at the end, halo and Hann (paper)", APART, 32),
            ("apart, stride 4, halo and Hann (paper)", APART | {"stride": 4}, 4),
        ):
            if model == "unet":
                if label.startswith(("apart", "one")):
                    continue
                label = label.replace("single patches: apart", "patches apart").replace(" in every step", "")
            count = 1 if model == "unet" else 2 if quick else members
            row, _ = seam_row(models, days, truth, changes, count)
            rows.append({"model": model, "patches": label} | row)
    single = rows[0]["variance"]
    for row in rows:
        row["variance over single patches"] = row.pop("variance") / single
    note = (
        f"{SEASON}, {len(days)} test days. Seam ratio: jumps of the gradient of log10 at rows and columns where "
        "patches begin or end, over those elsewhere. The truth's own ratio is not one, for mountains stand somewhere, "
        "so the next column is over that of the truth on the same lines. Variance of members of log10, over that of "
        "patches drawn apart and not averaged."
    )
    emit("Seams", rows, note, page=PAGE)


def overlaps(quick: bool) -> None:
    """Three ways to keep the variance of single patches: less overlap, more of it, and draws that agree."""
    own = of_season(quick)
    models = AreaModels(own, "all")
    days = prepare_task(own, "all", SEASON, models.record).split.test[:: 9 if quick else 2]
    truth = models.record.fine.read(days)[:, 0]
    rows, reference = [], np.ones(len(days))
    for label, changes in (
        (SINGLE, APART | NEAREST),
        ("blended in every step, halo 3", {"halo": 3}),
        ("blended in every step, stride 4", {"stride": 4}),
        ("one noise field, averaged at the end, halo 3", SHARED | {"halo": 3}),
        ("one noise field, averaged at the end, stride 10", SHARED | {"stride": 10}),
    ):
        row, daily = seam_row(models, days, truth, changes, 2 if quick else 12)
        reference = daily if not rows else reference
        row["variance over single patches"] = float(daily.mean() / reference.mean())
        row["standard error"] = float((daily / reference).std(ddof=1) / np.sqrt(len(days)))
        row.pop("variance")
        rows.append({"patches": label} | row)
    note = (
        f"{SEASON}, {len(days)} test days, halo and Hann. The standard error is that of the ratio, over days."
    )
    emit("Seams with other overlaps", rows, note, page=PAGE)


SEEDS = (0, 1, 2, 3)
SAMPLERS = (
    ("ddpm", 1000), ("ddpm", 50), ("ddim", 50), ("ddim", 20), ("ddim", 10),
    ("dpm++2m", 50), ("dpm++2m", 20), ("dpm++2m", 10),
    ("dpm++2m-sde", 50), ("dpm++2m-sde", 20), ("dpm++2m-sde", 16), ("dpm++2m-sde", 10),
)  # fmt: skip
"""Samplers and evaluations."""


def steps(quick: bool) -> None:
    """What 1000 steps are worth: the same network with 1000 and fewer evaluations, on two patches of all test days."""
    own = of_season(quick)
    models = AreaModels(own, "all")
    model, samples = models.trained[SEASON].model, models.samples(SEASON)
    days = prepare_task(own, "all", SEASON, models.record).split.test
    h, w = own.patch
    places = [[8, 8], [24, 40]]
    sample = samples.sample(np.tile(days, 2), np.repeat(places, len(days), axis=0), (h, w))
    truth = models.record.fine.read(days)[:, 0]
    truth = np.concatenate([truth[:, i : i + h, j : j + w] for i, j in places])
    kept = own.out / "steps.json"
    known: dict[str, dict[str, float]] = json.loads(kept.read_text()) if kept.exists() else {}
    rows = []
    for sampler, count in SAMPLERS:
        found = []
        for seed in SEEDS:
            key = f"{sampler}, {count} steps, seed {seed}"
            if key not in known:
                given = replace(
                    own.inference, **{"sampler": sampler, "steps": min(count, 50) if quick else count}
                )
                drawn, seconds = parts.timed(
                    lambda given=given, seed=seed: model.predict(
                        sample, members=2 if quick else 16, seed=seed, sampling=given
                    )
                )
                made = samples.scaler.inverse(drawn)[:, :, 0].transpose(0, 1).numpy()
                row = parts.spread_row(made, truth)
                error = float(parts.daily_rmse(made, truth).mean())
                known[key] = {k: row[k] for k in ("SSR", "CRPS log10")} | {
                    "RMSE log10": error,
                    "seconds": seconds,
                }
                kept.write_text(json.dumps(known, indent=1))
            found.append(known[key])
        mean = {k: float(np.mean([f[k] for f in found])) for k in found[0]} | {"seconds": found[0]["seconds"]}
        ratios = [
            f["CRPS log10"] / known[f"ddpm, 1000 steps, seed {z}"]["CRPS log10"]
            for f, z in zip(found, SEEDS, strict=True)
        ]
        mean["CRPS over that of 1000"] = float(np.mean(ratios))
        mean["standard error"] = float(np.std(ratios, ddof=1) / np.sqrt(len(ratios)))
        rows.append({"sampler": sampler, "steps": count} | mean)
    for row in rows:
        row["times cheaper"] = rows[0]["seconds"] / row["seconds"]
    note = (
        f"{SEASON}, two patches of {h} x {w} cells on {len(days)} test days; means of {len(SEEDS)} ensembles of 16 "
        "members, each from one seed and so from the same first noise. The standard error is that of the ratio."
    )
    emit("Steps against quality", rows, note, page=PAGE)
