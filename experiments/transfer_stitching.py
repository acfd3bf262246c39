"""How patches of transfer downscaling are put together, and how few steps of a sampler will do."""

from __future__ import annotations

import numpy as np
import transfer_downscaling_parts as parts
from common import emit
from transfer_downscaling_parts import PAGE, SEASON, of_season

from skyweave.downscale.area_models import AreaModels
from skyweave.downscale.task import prepare_task


def seams(quick: bool) -> None:
    """Seams and variance with halo-and-Hann, without, and with patches averaged afterwards."""
    rows = []
    how = parts.config().inference
    nearest, apart, shared = {"window": "nearest", "halo": 0}, {"blend": "patches"}, {"blend": "shared"}
    record = None
    for model in ("ddpm", "unet"):
        own = of_season(quick, model)
        models = AreaModels(own, "all", model, record)
        record = models.record
        days = prepare_task(own, "all", SEASON, record).split.test[:: 9 if quick else 2]
        truth = record.fine.read(days)[:, 0]
        for label, changes, members in (
            ("single patches: apart, nearest", apart | nearest, 32),
            ("blended in every step, halo and Hann (default)", {}, 32),
            ("blended in every step, plain average", {"window": "flat", "halo": 0}, 16),
            ("blended in every step, nearest", nearest, 16),
            ("blended in every step, stride 4, halo and Hann", {"stride": 4}, 4),
            ("one noise field, averaged at the end, halo and Hann", shared, 32),
            ("one noise field, at the end, nearest", shared | nearest, 16),
            ("apart, averaged at the end, halo and Hann (paper)", apart, 32),
            ("apart, stride 4, halo and Hann (paper)", apart | {"stride": 4}, 4),
        ):
            if model == "unet":
                if label.startswith(("apart", "one")):
                    continue
                label = label.replace("single patches: apart", "patches apart").replace(" in every step", "")
            count = 1 if model == "unet" else 2 if quick else members
            given = how.model_copy(update=changes)
            made = parts.members_of(models, days, given, count)
            lines = parts.seam_lines(truth.shape[1:], own.patch[0], given)
            ratio = parts.seam_ratio(made, lines)
            rows.append(
                {
                    "model": model, "patches": label, "members": count, "seam ratio": ratio,
                    "over the truth's": ratio / parts.seam_ratio(truth, lines),
                }
                | parts.spread_row(made, truth)
            )  # fmt: skip
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
    rows = []
    for sampler, count in (
        ("ddpm", 50 if quick else 1000), ("ddpm", 50), ("ddim", 50), ("ddim", 20), ("ddim", 10), ("dpm++2m", 50),
        ("dpm++2m", 20), ("dpm++2m", 10), ("dpm++2m-sde", 50), ("dpm++2m-sde", 20), ("dpm++2m-sde", 16),
        ("dpm++2m-sde", 10),
    ):  # fmt: skip
        given = own.inference.model_copy(update={"sampler": sampler, "steps": count})
        drawn, seconds = parts.timed(
            lambda given=given: model.predict(sample, members=2 if quick else 16, sampling=given)
        )
        made = samples.scaler.inverse(drawn)[:, :, 0].transpose(0, 1).numpy()
        rows.append({"sampler": sampler, "steps": count} | parts.spread_row(made, truth))
        rows[-1] |= {"RMSE log10": float(parts.daily_rmse(made, truth).mean()), "seconds": seconds}
        rows[-1].pop("variance")
    for row in rows:
        row["CRPS over that of 1000"] = row["CRPS log10"] / rows[0]["CRPS log10"]
        row["times cheaper"] = rows[0]["seconds"] / row["seconds"]
    note = f"{SEASON}, two patches of {h} x {w} cells on {len(days)} test days, 16 members of each."
    emit("Steps against quality", rows, note, page=PAGE)
