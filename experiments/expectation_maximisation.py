"""Two ways to learn a prior from data with gaps, and the prior of complete data, with the same number of steps.

    python experiments/aoddiff.py gaps
    python experiments/expectation_maximisation.py [--steps 1200] [--rounds 4]

Single hours of MERRA-2 total precipitable water over West Africa (32 x 64 cells), half hidden by clouds; a small
network. Tested on days 21-24. The table goes to docs/results/aoddiff.md.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

import torch
import xarray as xr
from common import HOURLY, MADE, ROOT, emit, mean_of, observe, posterior, scores

from skyweave import train
from skyweave.config import parse_config
from skyweave.posterior.calibration import calibrate_run
from skyweave.prior.config import TrainConfig
from skyweave.prior.storage import LearntPrior
from skyweave.reconstruction.expectation_maximisation import learn_by_expectation_maximisation

REGION = {"lat": [-2.0, 13.6], "lon": [-20.0, 20.0]}


def config(name: str, steps: int, gappy: bool, **changes: Any) -> TrainConfig:
    values = {
        "data": {
            "paths": str(MADE / "tqv_gappy_50.nc" if gappy else HOURLY),
            "variables": "TQV",
            "region": REGION,
            "conditioning": ["latitude", "longitude"],
        },
        "split": {"train": ["2014-06-01", "2014-06-17"], "validate": ["2014-06-18", "2014-06-20"]},
        "bounds": {"TQV": [0.0, None]},
        "patch": 32,
        "network": {"preset": "tiny", "base": 24},
        "optimiser": {"lr": 2e-3, "warmup": 50},
        "ema_half_life": 60,
        "batch": 24,
        "steps": steps,
        "validate_every": 200,
        "checkpoint_every": 200,
        "threads": 1,
        "out": str(ROOT / "runs" / f"em_{name}"),
    }
    return parse_config(values | changes, TrainConfig)


def tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def direct(settings: TrainConfig) -> LearntPrior:
    train(settings)
    return calibrate_run(settings, report=tell)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=1200, help="in all, of each way")
    parser.add_argument("--rounds", type=int, default=4)
    args = parser.parse_args()
    priors = {
        "complete data": direct(config("complete", args.steps, False)),
        "corruption-aware": direct(config("corruption", args.steps, True, corruption={})),
        "expectation-maximisation": learn_by_expectation_maximisation(
            config("rounds", args.steps // args.rounds, True), rounds=args.rounds, report=tell
        ),
    }
    record = xr.open_dataset(HOURLY).TQV.sel(
        time=slice("2014-06-21", "2014-06-24"), lat=slice(*REGION["lat"])
    )
    tests = [
        record.isel(time=slice(t, t + 1), lat=slice(0, 32), lon=slice(j, j + 32)).load()
        for t, j in zip(range(4, 96, 12), [16, 32, 48] * 3, strict=False)
    ]
    rows = []
    for task in ({"missing": 0.6}, {"missing": 0.95}, {"downscale": 4}, {"downscale": 8}):
        for name, prior in priors.items():
            torch.manual_seed(0)
            found = [
                scores(posterior(prior, truth, observe(truth, n, **task), 12), truth, 15.0)  # type: ignore[arg-type]
                for n, truth in enumerate(tests)
            ]
            rows.append({**task, "learnt by": name, **mean_of(found)})
    emit(f"Learning from gaps: two ways ({len(tests)} cases of 32 x 32, 12 members, 16 evaluations)", rows)


if __name__ == "__main__":
    main()
