"""How close each guidance method comes to the exact posterior of priors that are known exactly.

    python benchmarks/oracles.py [--draws 20] [--members 64] [--markdown docs/results/oracles.md]

Red Gaussian fields and a four-component mixture; 60 % missing, 4 x 4 block means, 30 stations between the
cells, all together. Printed: CRPS over the CRPS of the exact posterior, spread over its spread, by network evaluations.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from pathlib import Path

import numpy as np
import scipy.sparse as sp
import torch
from bench import emit

from skyweave.diffusion.noise import NoiseStream
from skyweave.diffusion.schedule import NoiseSchedule
from skyweave.observe.errors import ErrorCovariance
from skyweave.observe.operator import StateOperator
from skyweave.observe.segment import Observations
from skyweave.posterior.guidance import GUIDANCE
from skyweave.posterior.kalman import KalmanSolver, innovation_covariance
from skyweave.posterior.problem import Problem
from skyweave.posterior.samplers import SAMPLERS
from skyweave.posterior.start import analysis_start, noise_start
from skyweave.prior.analytic import GaussianMixturePrior, GaussianPrior, red_spectrum
from skyweave.verify import table

ERROR = 0.1
"""Standard deviation of the observation errors, of a field of unit variance."""


def operator(kind: str, size: int, rng: np.random.Generator) -> sp.csr_array:
    """One of the four kinds of observation of a ``size x size`` periodic field."""
    n = size * size
    if kind == "mask":
        keep = np.flatnonzero(rng.random(n) > 0.6)
        return sp.csr_array((np.ones(len(keep)), (np.arange(len(keep)), keep)), shape=(len(keep), n))
    if kind == "means":
        blocks = np.arange(n).reshape(size // 4, 4, size // 4, 4).transpose(0, 2, 1, 3).reshape(-1, 16)
        rows = np.repeat(np.arange(len(blocks)), 16)
        return sp.csr_array((np.full(rows.size, 1 / 16), (rows, blocks.ravel())), shape=(len(blocks), n))
    if kind == "stations":
        y, x = rng.random((2, 30)) * size
        i, j, fy, fx = np.floor(y).astype(int), np.floor(x).astype(int), y % 1, x % 1
        rows, cols, data = [], [], []
        for di, wy in ((0, 1 - fy), (1, fy)):
            for dj, wx in ((0, 1 - fx), (1, fx)):
                rows.append(np.arange(30))
                cols.append((i + di) % size * size + (j + dj) % size)
                data.append(wy * wx)
        return sp.csr_array(
            (np.concatenate(data), (np.concatenate(rows), np.concatenate(cols))), shape=(30, n)
        )
    return sp.csr_array(sp.vstack([operator(k, size, rng) for k in ("mask", "means", "stations")]))


def gaussian_crps(mean: torch.Tensor, std: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """CRPS of a normal forecast (Gneiting et al. 2005, Eq. 5)."""
    z = (truth - mean) / std
    pdf = torch.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)
    cdf = 0.5 * (1 + torch.erf(z / math.sqrt(2)))
    return std * (z * (2 * cdf - 1) + 2 * pdf - 1 / math.sqrt(math.pi))


def fair_crps(ensemble: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Fair CRPS over the first axis of ``ensemble``."""
    m = ensemble.shape[0]
    ordered = ensemble.sort(0).values
    rank = torch.arange(1, m + 1, dtype=ensemble.dtype).reshape(-1, *[1] * truth.ndim)
    spread = (ordered * (2 * rank - m - 1)).sum(0) / (m * (m - 1))
    return (ensemble - truth).abs().mean(0) - spread


def exact_gaussian(prior: GaussianPrior, observed: Observations, y: torch.Tensor):
    """Mean ``(draws, n)`` and standard deviation ``(n,)`` of the exact posterior."""
    V = prior.covariance(math.inf)
    S = innovation_covariance(torch.zeros(prior.shape), V, observed)
    H = torch.from_numpy(observed.operator.matrix.toarray())
    full = V.dense(torch.arange(H.shape[1])).double()
    cross = H @ full
    chol = torch.linalg.cholesky(S)
    gain = torch.cholesky_solve(cross, chol)
    variance = full.diagonal() - (cross * gain).sum(0)
    return y.double() @ gain, variance.clamp_min(0).sqrt()


def exact_mixture(
    prior: GaussianMixturePrior, observed: Observations, y: torch.Tensor, members: int, seed: int
):
    """Draws ``(members, draws, n)`` of the exact posterior of a mixture."""
    n = observed.operator.matrix.shape[1]
    H = torch.from_numpy(observed.operator.matrix.toarray())
    logs, fields = [], []
    for k, (component, probability) in enumerate(zip(prior.components, prior.probabilities, strict=True)):
        S = innovation_covariance(torch.zeros(prior.shape), component.covariance(math.inf), observed)
        chol = torch.linalg.cholesky(S)
        mean = torch.as_tensor(component.mean).expand(prior.shape).reshape(-1).double()
        white = torch.linalg.solve_triangular(chol, (y.double() - H @ mean).T, upper=False)
        logs.append(math.log(probability) - 0.5 * (white**2).sum(0) - chol.diagonal().log().sum())
        generator = torch.Generator().manual_seed(seed + k)
        noise = torch.randn(members * len(y), *prior.shape, generator=generator)
        x = component.sample(noise).reshape(len(noise), -1).double()
        e = ERROR * torch.randn(len(noise), len(H), generator=generator).double()
        d = y.double().repeat_interleave(members, 0) + e - x @ H.T
        full = component.covariance(math.inf).dense(torch.arange(n)).double()
        fields.append((x + torch.cholesky_solve(d.T, chol).T @ (H @ full)).reshape(len(y), members, n))
    weights = torch.softmax(torch.stack(logs), 0).T  # (draws, K)
    pick = torch.multinomial(
        weights, members, replacement=True, generator=torch.Generator().manual_seed(seed)
    )
    stacked = torch.stack(fields, 2)  # (draws, members, K, n)
    chosen = torch.gather(stacked, 2, pick[:, :, None, None].expand(-1, -1, 1, n))[:, :, 0]
    return chosen.transpose(0, 1).float()


def mixture(size: int) -> GaussianMixturePrior:
    """Four red fields of different slope, amplitude and mean pattern."""
    j = torch.arange(size) / size * 2 * math.pi
    wave = torch.sin(j)[:, None] * torch.cos(j)[None, :]
    components, shape = [], (1, 1, size, size)
    for slope, amplitude, sign in ((2.0, 0.5, 1), (3.0, 1.0, 1), (3.0, 0.3, -1), (4.0, 0.8, -1)):
        components.append(GaussianPrior(amplitude**2 * red_spectrum(size, size, slope), shape, sign * wave))
    return GaussianMixturePrior(components, [0.3, 0.3, 0.2, 0.2])


class Counted:
    """A prior that counts its evaluations."""

    def __init__(self, prior):
        self.prior, self.shape, self.covariance, self.evaluations = prior, prior.shape, prior.covariance, 0

    def __call__(self, x, sigma):
        self.evaluations += 1
        return self.prior(x, sigma)


def run(prior, observed, method, options, sampler, steps, schedule, start, draws, members, seed=0):
    """Sample all draws at once; returns states, evaluations, backward passes and seconds."""
    counted = Counted(prior)
    noise = NoiseStream(seed, range(draws * members), [0])
    # One factor serves all draws and members.
    problem = Problem(counted, observed, KalmanSolver(observed, limit=4000))
    guided = GUIDANCE[method](problem, **options)
    began = time.perf_counter()
    with torch.no_grad():
        if start == "analysis":
            x = analysis_start(problem, schedule["sigma_max"], noise)
            steps = steps - 1
        else:
            x = noise_start(counted, schedule["sigma_max"], noise)
        sample = SAMPLERS[sampler]()
        levels = (steps + 1) // 2 if sampler == "heun" else steps
        x = sample(guided, x, NoiseSchedule(levels, **schedule).sigmas(), noise)
    backward = getattr(guided, "backward_passes", 0 if method == "covariance" else counted.evaluations)
    return x, counted.evaluations, backward, time.perf_counter() - began


COLD, WARM = {"sigma_max": 100.0, "sigma_min": 0.01}, {"sigma_max": 10.0, "sigma_min": 0.01}

ROWS: list[tuple[str, dict, str, str, dict]] = [
    ("covariance", {}, "dpm++2m", "analysis", WARM),
    ("covariance", {}, "dpm++2m-sde", "analysis", WARM),
    ("covariance", {}, "dpm++2m", "noise", COLD),
    ("covariance", {}, "dpm++2m-sde", "noise", COLD),
    ("mmps", {"iterations": 40}, "dpm++2m", "analysis", WARM),
    ("sda", {}, "dpm++2m", "noise", COLD),
    ("sda", {"gamma": 0.1}, "dpm++2m", "noise", COLD),
    ("pigdm", {}, "dpm++2m", "noise", COLD),
    ("dps", {}, "ancestral", "noise", COLD),
]
KINDS = ("mask", "means", "stations", "all")


def make_problem(prior, kind: str, draws: int, members: int):
    """The problem, its truths, and CRPS and spread of the exact posterior."""
    op = StateOperator(operator(kind, prior.shape[-1], np.random.default_rng(1)), prior.shape)
    generator = torch.Generator().manual_seed(2)
    white = torch.randn(draws, *prior.shape, generator=generator)
    mixed = isinstance(prior, GaussianMixturePrior)
    truth = prior.sample(white, torch.rand(draws, generator=generator)) if mixed else prior.sample(white)
    y = op(truth) + ERROR * torch.randn(draws, op.n, generator=generator)
    observed = Observations(op, y.repeat_interleave(members, 0), ErrorCovariance(np.full(op.n, ERROR**2)))
    flat = truth.reshape(draws, -1)
    if mixed:
        exact = exact_mixture(prior, observed, y, members, 3)
        return observed, flat, float(fair_crps(exact, flat).mean()), float(exact.var(0).mean() ** 0.5)
    mean, std = exact_gaussian(prior, observed, y)
    return observed, flat, float(gaussian_crps(mean, std, flat).mean()), float((std**2).mean() ** 0.5)


def unconditional() -> str:
    """Largest error of spread over all modes of the red spectra, in closed form."""
    rows = []
    for size in (32, 64):
        modes = red_spectrum(size, size).ravel()
        for name in SAMPLERS:
            row = {"field": f"{size} x {size}", "sampler": name}
            for steps in (8, 16, 32, 64):
                levels = (steps + 1) // 2 if name == "heun" else steps
                gain = SAMPLERS[name]().gain(modes, NoiseSchedule(levels, **WARM).sigmas())
                row[f"{steps} evaluations"] = f"{100 * float((gain - 1).abs().max()):.1f} %"
            rows.append(row)
    return table(rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", nargs="*", default=["gaussian32", "gaussian64", "mixture32"])
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--members", type=int, default=64)
    parser.add_argument(
        "--backward-draws", type=int, default=None, help="draws for methods with backward passes"
    )
    parser.add_argument("--only", nargs="*", help="guidance methods to run")
    parser.add_argument("--steps", type=int, nargs="*", default=[8, 16, 32, 64])
    parser.add_argument("--markdown", type=Path)
    args = parser.parse_args()

    emit("Unconditional samplers: largest error of spread over all modes", unconditional(), args.markdown)
    priors = {
        "gaussian32": lambda: GaussianPrior(red_spectrum(32, 32), (1, 1, 32, 32)),
        "gaussian64": lambda: GaussianPrior(red_spectrum(64, 64), (1, 1, 64, 64)),
        "mixture32": lambda: mixture(32),
    }
    for name in args.cases:
        prior, rows = priors[name](), []
        for method, options, sampler, start, schedule in ROWS:
            if args.only and method not in args.only:
                continue
            draws = args.draws if method == "covariance" else args.backward_draws or args.draws
            problems = {kind: make_problem(prior, kind, draws, args.members) for kind in KINDS}
            for steps in args.steps:
                row = {"guidance": method + "".join(f", {k} {v}" for k, v in options.items())}
                row |= {"sampler": sampler, "start": start, "draws": draws, "evaluations": 0, "backward": 0}
                seconds = 0.0
                for kind, (observed, flat, crps, spread) in problems.items():
                    x, used, backward, took = run(
                        prior, observed, method, options, sampler, steps, schedule, start, draws, args.members
                    )
                    ensemble = x.reshape(draws, args.members, -1).transpose(0, 1)
                    ratio = float(fair_crps(ensemble, flat).mean()) / crps
                    row[kind] = f"{ratio:.3f} / {float(ensemble.var(0).mean() ** 0.5) / spread:.3f}"
                    row["evaluations"], row["backward"] = used, max(row["backward"], backward)
                    seconds += took
                rows.append(row | {"seconds": round(seconds, 1)})
                print(rows[-1], file=sys.stderr, flush=True)
        emit(f"{name}: CRPS ratio / spread ratio to the exact posterior", table(rows), args.markdown)


if __name__ == "__main__":
    main()
