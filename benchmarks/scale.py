"""Peak memory and seconds per member-hour of a reconstruction, by the length of the record.

    python benchmarks/scale.py [--hours 24 168 720] [--members 4] [--cluster local:2] [--markdown docs/results/scale.md]

Hourly fields of 64 x 128 cells from masked fields on the grid itself (60 % gaps) and from means of 4 x 4 cells, with a
prior of white noise whose denoiser is known. Members are noise alone unless --sampler is given, so that what is
measured is everything but the network and the sampler, whose memory is that of a batch. Each length runs in a process
of its own; memory is the largest resident set of that process, and what is left of it without that of a process that
only imports. The data lie in a Zarr store, a day to a chunk.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from bench import emit

LAT, LON = 64, 128


def white_prior() -> Any:
    """``D(x, sigma) = x / (1 + sigma^2)``, with no network to wait for."""
    import torch

    from skyweave.covariance.by_noise_level import ErrorCovarianceModel, default_levels
    from skyweave.prior.presets import find_preset
    from skyweave.prior.storage import LearntPrior, build_network
    from skyweave.state import StateSpec, Variable
    from skyweave.transform import Standardise, StateTransform

    class White(LearntPrior):
        def denoiser(self, *place: Any, **how: Any) -> Any:
            return lambda x, sigma: x / (1 + sigma**2)

    network = build_network(1, 0, find_preset("tiny").architecture, 1.0).eval().requires_grad_(False)
    levels = default_levels()
    kernels = torch.zeros(len(levels), 1, 1, 8, 8)
    kernels[:, 0, 0, 0, 0] = 1
    spec = StateSpec((Variable("a", "K"),), resolution=(1.0, 1.0))
    attachments = ErrorCovarianceModel(levels, kernels).to_tensors()
    return White(spec, StateTransform((Standardise(10.0, 2.0),)), (16, 16), network, attachments=attachments)


def write_data(folder: Path, hours: int) -> None:
    """The record, a day at a time."""
    lat, lon = np.arange(31.5, -32.5, -1.0), np.arange(0.5, LON)
    for start in range(0, hours, 24):
        count = min(24, hours - start)
        rng = np.random.default_rng(start)
        values = rng.normal(10, 2, (count, LAT, LON)).astype(np.float32)
        values[rng.random(values.shape) < 0.6] = np.nan
        time_ = pd.Timestamp("2020-01-01") + pd.to_timedelta(np.arange(start, start + count), "h")
        coords = {
            "time": time_,
            "lat": ("lat", lat, {"units": "degrees_north"}),
            "lon": ("lon", lon, {"units": "degrees_east"}),
        }
        fine = xr.DataArray(values, coords, ("time", "lat", "lon"), name="a", attrs={"units": "K"})
        coarse = fine.fillna(10.0).coarsen(lat=4, lon=4).mean().assign_attrs(units="K")
        for name, field in (("fine", fine), ("coarse", coarse)):
            path, own = folder / f"{name}.zarr", field.to_dataset(name="a")
            encoding = {"time": {"units": "hours since 2020-01-01", "dtype": "int64"}}
            if start:
                own.to_zarr(path, append_dim="time", consolidated=False)
            else:
                sizes = (24, *field.shape[1:])
                own.to_zarr(path, encoding={**encoding, "a": {"chunks": sizes}}, consolidated=False)


def noise_alone(problem: Any, noise: Any, method: Any, *, progress: Any = None) -> Any:
    """In place of the sampler."""
    return noise.normal(0, problem.shape[1:])


def reconstruct_record(folder: Path, members: int, cluster: str | None, sampler: bool = False) -> None:
    """The run that is measured."""
    from skyweave import GridObservation, reconstruct

    if not sampler:
        import_module("skyweave.reconstruction.run").sample_posterior = noise_alone  # type: ignore[attr-defined]
    fine, coarse = (
        xr.open_zarr(folder / f"{name}.zarr", consolidated=False)["a"] for name in ("fine", "coarse")
    )
    sources = [
        GridObservation(fine, error=0.5),
        GridObservation(coarse, error=0.2, operator="block-mean", name="coarse"),
    ]
    where = {} if cluster is None else {"cluster": cluster}
    out = folder / "out.zarr"
    reconstruct(white_prior(), sources, out=out, members=members, steps=4, progress=False, **where)


def child(given: argparse.Namespace) -> dict[str, float]:
    """Run in this process; its largest resident set in MiB, and its seconds."""
    import torch

    torch.set_num_threads(1)
    import_module("skyweave.reconstruction.reconstruct")
    began = time.perf_counter()
    if given.hours != [0]:
        reconstruct_record(given.child, given.members, given.cluster, given.sampler)
    spent = time.perf_counter() - began
    return {"seconds": spent, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def measured(hours: int, given: argparse.Namespace) -> dict[str, float]:
    """The same in a process of its own."""
    with tempfile.TemporaryDirectory() as name:
        if hours:
            write_data(Path(name), hours)
        words = [
            sys.executable,
            __file__,
            "--child",
            name,
            "--members",
            str(given.members),
            "--hours",
            str(hours),
        ]
        words += [] if given.cluster is None else ["--cluster", given.cluster]
        words += ["--sampler"] if given.sampler else []
        told = subprocess.run(
            words, check=True, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )
        found: dict[str, float] = json.loads(told.stdout.splitlines()[-1])
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--hours", type=int, nargs="+", default=[24, 168, 720])
    parser.add_argument("--members", type=int, default=4)
    parser.add_argument("--cluster")
    parser.add_argument("--sampler", action="store_true")
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child is not None:
        with contextlib.redirect_stderr(sys.stdout):
            found = child(given)
        print(json.dumps(found))
        return
    base = measured(0, given)["peak"]
    lines = [
        "| hours | peak MiB | beyond imports MiB | seconds | seconds per member-hour |",
        "|---|---|---|---|---|",
    ]
    for hours in given.hours:
        found = measured(hours, given)
        each = found["seconds"] / hours / given.members
        lines.append(
            f"| {hours} | {found['peak']:.0f} | {found['peak'] - base:.0f} | {found['seconds']:.1f} | {each:.4f} |"
        )
        print(lines[-1], flush=True)
    emit(f"{given.members} members, {given.cluster or 'in this process'}", "\n".join(lines), given.markdown)


if __name__ == "__main__":
    main()
