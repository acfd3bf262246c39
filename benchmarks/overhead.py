"""What a reconstruction costs beyond its network evaluations.

    python benchmarks/overhead.py [--quick] [--markdown docs/results/overhead.md]

An untrained network of a preset (its cost is that of a trained one) with the error covariance of red Gaussian fields,
at 64 x 64 and on the global 1-degree grid, one and four variables, 16 members, 16 evaluations. Observed in all
variables: block means, 40 stations, cloud-like 60 % gaps, all three. A reconstruction (start, factors, updates, noise,
solver) and its bare network evaluations are timed in turn, and the medians of several repeats compared.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from bench import emit
from torch import Tensor

from skyweave.covariance.by_noise_level import ErrorCovarianceModel, default_levels
from skyweave.diffusion.noise import NoiseStream
from skyweave.grid import Grid
from skyweave.observe.errors import ErrorCovariance
from skyweave.observe.operator import StateOperator
from skyweave.observe.segment import Observations
from skyweave.observe.simulate import cloud_mask, station_network
from skyweave.posterior.background import Background, bind
from skyweave.posterior.problem import Problem
from skyweave.posterior.sample import Method, sample_posterior
from skyweave.prior.analytic import red_spectrum
from skyweave.prior.presets import find_preset
from skyweave.prior.storage import LearntPrior, build_network
from skyweave.regrid import bilinear
from skyweave.state import StateSpec, Variable
from skyweave.transform import Standardise, StateTransform
from skyweave.verify import table

MEAN, STD, ERROR = 10.0, 3.0, 0.15
KINDS = ("means", "stations", "gaps", "all")
DOMAINS = {
    "64 x 64": (Grid(np.linspace(10, 73, 64), np.linspace(20, 83, 64)), 4),
    "181 x 360": (Grid(np.linspace(-90, 90, 181), np.arange(0.0, 360.0)), 8),
}


def synthetic_prior(preset: str, channels: int, reach: int = 24) -> LearntPrior:
    """An untrained network, and the covariance that the denoising errors of red Gaussian fields have."""
    chosen = find_preset(preset)
    torch.manual_seed(0)
    network = build_network(channels, 0, chosen.architecture, chosen.sigma_data).eval().requires_grad_(False)
    size, levels = 2 * reach, default_levels()
    modes = red_spectrum(size, size).double()
    if modes.shape[-1] != size:
        full = torch.fft.irfft2(modes, s=(size, size))
        modes = torch.fft.fft2(full).real
    mixing = 0.5 ** (torch.arange(channels)[:, None] - torch.arange(channels)[None]).abs().double()
    kernels = []
    for level in levels:
        error = modes * level**2 / (modes.clamp_min(1e-12) + level**2)
        kernel = torch.fft.ifft2(error).real / (level**2 / (1 + level**2))
        kernels.append(mixing[:, :, None, None] * kernel)
    model = ErrorCovarianceModel(levels, torch.stack(kernels).float())
    variables = tuple(Variable(f"v{k}", "1") for k in range(channels))
    transform = StateTransform((Standardise(MEAN, STD),) * channels)
    return LearntPrior(
        StateSpec(variables, None), transform, (64, 64), network, attachments=model.to_tensors()
    )


def rows_of(kind: str, grid: Grid, factor: int, rng: np.random.Generator) -> sp.csr_array:
    """Weights of one kind of observation on one map, ``(n, H*W)``."""
    H, W = grid.shape
    if kind == "means":
        i, j = np.divmod(np.arange(H * W), W)
        block = (i // factor) * -(-W // factor) + j // factor
        counts = np.bincount(block)
        return sp.csr_array((1 / counts[block], (block, np.arange(H * W))))
    if kind == "stations":
        stations = station_network(grid, 40, rng)
        return sp.csr_array(bilinear(grid, stations["lat"].to_numpy(), stations["lon"].to_numpy()))
    if kind == "gaps":
        keep = np.flatnonzero(cloud_mask(grid, 0.6, rng))
        return sp.csr_array((np.ones(len(keep)), (np.arange(len(keep)), keep)), shape=(len(keep), H * W))
    return sp.csr_array(sp.vstack([rows_of(k, grid, factor, rng) for k in KINDS[:3]]))


def observe(kind: str, grid: Grid, factor: int, prior: LearntPrior, background: Background) -> Observations:
    rng = np.random.default_rng(3)
    channels = background.shape[1]
    matrix = sp.csr_array(sp.block_diag([rows_of(kind, grid, factor, rng)] * channels, format="csr"))
    operator = StateOperator(matrix, background.shape, prior.transform)
    V = background.covariance(80.0)
    truth = V.color(torch.randn(1, *V.noise_shape, generator=torch.Generator().manual_seed(4)))
    noise = torch.randn(operator.n, generator=torch.Generator().manual_seed(5))
    return Observations(
        operator, operator(truth)[0] + ERROR * noise, ErrorCovariance(np.full(operator.n, ERROR**2))
    )


@dataclass(eq=False)
class Timed:
    """A denoiser that adds up the seconds it takes."""

    denoiser: Any
    seconds: float = 0.0

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        began = time.perf_counter()
        out = self.denoiser(x, sigma)
        self.seconds += time.perf_counter() - began
        return out


def measure(background: Background, observed: Observations, method: Method, members: int) -> dict[str, float]:
    """Seconds of one reconstruction, of the network inside it, and of the same evaluations alone."""
    timed = Timed(background.denoiser)
    problem = Problem(replace(background, denoiser=timed), observed)
    began = time.perf_counter()
    x = sample_posterior(problem, NoiseStream(0, range(members), [0]), method)
    whole = time.perf_counter() - began
    sigmas = method.schedule().sigmas().float()
    began = time.perf_counter()
    with torch.no_grad():
        for k in range(method.evaluations()):
            background.denoiser(x, sigmas[min(k, len(sigmas) - 1)])
    return {
        "whole": whole,
        "inside": timed.seconds,
        "bare": time.perf_counter() - began,
        "iterations": float(problem.solver.applications),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--preset", default="small")
    parser.add_argument("--domains", nargs="*", default=list(DOMAINS), choices=list(DOMAINS))
    parser.add_argument("--channels", type=int, nargs="*", default=[1, 4])
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), choices=KINDS)
    parser.add_argument("--members", type=int, default=16)
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--autocast", action="store_true", help="run the network in bfloat16")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="64 x 64, one variable, once")
    parser.add_argument("--markdown", type=Path)
    args = parser.parse_args()
    if args.quick:
        args.domains, args.channels, args.repeats = args.domains[:1], args.channels[:1], 1

    torch.set_num_threads(args.threads)
    warnings.filterwarnings("ignore", message="the update with")
    method, rows = Method(steps=args.steps), []
    for name in args.domains:
        grid, factor = DOMAINS[name]
        for channels in args.channels:
            prior = synthetic_prior(args.preset, channels)
            background = bind(prior, grid, None, 1, autocast=args.autocast)
            problems = {kind: observe(kind, grid, factor, prior, background) for kind in args.kinds}
            background.denoiser(torch.zeros(1, *background.shape), torch.tensor(1.0))
            found: dict[str, list[dict[str, float]]] = {kind: [] for kind in problems}
            for _ in range(args.repeats):
                for kind, observed in problems.items():
                    found[kind].append(measure(background, observed, method, args.members))
                    print(
                        f"{name}, {channels} variables, {kind}: {found[kind][-1]}",
                        file=sys.stderr,
                        flush=True,
                    )
            for kind, runs in found.items():
                rows.append(
                    {
                        "domain": name,
                        "variables": channels,
                        "observed": kind,
                        "observations": problems[kind].operator.n,
                        "CG iterations": runs[0]["iterations"],
                        "reconstruction (s)": statistics.median(r["whole"] for r in runs),
                        "network alone (s)": statistics.median(r["bare"] for r in runs),
                        "ratio": statistics.median(r["whole"] / r["bare"] for r in runs),
                        "ratio to network inside": statistics.median(r["whole"] / r["inside"] for r in runs),
                    }
                )
    dtype = "bfloat16" if args.autocast else "float32"
    emit(
        f"Overhead of a reconstruction: preset {args.preset}, {args.members} members, {args.steps} evaluations, "
        f"{args.threads} threads, {dtype}",
        table(rows),
        args.markdown,
    )


if __name__ == "__main__":
    main()
