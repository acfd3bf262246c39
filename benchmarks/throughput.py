"""Throughput of the network against the machine's own convolution peak, and peak memory of reconstructions.

    python benchmarks/throughput.py [--quick] [--markdown docs/results/throughput.md]

Arithmetic is counted by torch's own counter, two operations for a multiply-add. The peak is the best of several large
3 x 3 convolutions in channels-last layout, measured in turn with the networks, since a shared machine's speed drifts.
Memory is the largest resident set of a process of its own for each reconstruction (preset `small`, untrained, one
variable, 60 % gaps), in one batch of members, and what is left of it without that of a process that only imports.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench import emit
from overhead import observe, synthetic_prior
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from skyweave.diffusion.noise import NoiseStream
from skyweave.grid import Grid
from skyweave.posterior.background import bind
from skyweave.posterior.problem import Problem
from skyweave.posterior.sample import Method, sample_posterior
from skyweave.prior.presets import find_preset
from skyweave.prior.storage import build_network
from skyweave.reconstruction.plan import member_bytes
from skyweave.verify import table

PRESETS = ("tiny", "small", "base")
DOMAINS = {"32": (32, 32), "64": (64, 64), "128": (128, 128), "181x360": (181, 360)}
PEAK_SHAPES = ((8, 128, 64), (4, 256, 64), (16, 64, 64), (2, 256, 128))
"""Batch, channels and side of the convolutions whose best is called the peak."""


def seconds(run: Callable[[], Any], autocast: bool) -> float:
    """Seconds of one call, after one that is not counted."""
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        run()
        began = time.perf_counter()
        run()
        return time.perf_counter() - began


def convolutions() -> list[tuple[Callable[[], Any], float]]:
    """Large convolutions and their arithmetic in operations."""
    out = []
    for batch, channels, side in PEAK_SHAPES:
        layer = nn.Conv2d(channels, channels, 3, padding=1).to(memory_format=torch.channels_last)
        x = torch.randn(batch, channels, side, side).contiguous(memory_format=torch.channels_last)
        out.append((lambda layer=layer, x=x: layer(x), 2.0 * 9 * channels**2 * batch * side**2))
    return out


def network(preset: str, side: int, batch: int) -> tuple[Callable[[], Any], float, float]:
    """A forward pass, its arithmetic in operations, and that of its convolutions alone."""
    chosen = find_preset(preset)
    model = build_network(1, 3, chosen.architecture, chosen.sigma_data).eval().requires_grad_(False)
    x, sigma = torch.randn(batch, 1, side, side), torch.full((batch,), 0.5)
    conditioning = torch.randn(batch, 3, side, side)
    run = lambda: model(x, sigma, conditioning)  # noqa: E731
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        run()
    by_kind = counter.get_flop_counts()["Global"]
    convolution = sum(v for k, v in by_kind.items() if "conv" in str(k))
    return run, float(counter.get_total_flops()), float(convolution)


def throughput(side: int, batch: int, repeats: int, presets: list[str]) -> str:
    """Rows of presets and number formats."""
    peaks = convolutions()
    networks = {preset: network(preset, side, batch) for preset in presets}
    rows = []
    for autocast in (False, True):
        rates: dict[str, list[float]] = {preset: [] for preset in networks}
        shares: dict[str, list[float]] = {preset: [] for preset in networks}
        best: list[float] = []
        for _ in range(repeats):
            for preset, (run, operations, _) in networks.items():
                peak = max(work / seconds(layer, autocast) for layer, work in peaks) / 1e9
                rate = operations / seconds(run, autocast) / 1e9
                best.append(peak)
                rates[preset].append(rate)
                shares[preset].append(rate / peak)
        for preset, (_, operations, convolution) in networks.items():
            rows.append(
                {
                    "preset": preset,
                    "format": "bfloat16" if autocast else "float32",
                    "GFLOP per field": operations / batch / 1e9,
                    "in convolutions": f"{100 * convolution / operations:.0f} %",
                    "GFLOP/s": statistics.median(rates[preset]),
                    "convolution peak (GFLOP/s)": statistics.median(best),
                    "share of peak": f"{100 * statistics.median(shares[preset]):.0f} %",
                    "fields/s": statistics.median(rates[preset]) / (operations / batch / 1e9),
                }
            )
            print(rows[-1], file=sys.stderr, flush=True)
    return table(rows)


def worker(domain: str, members: int, threads: int) -> None:
    """Print the largest resident set in MiB of this process after one reconstruction (or after imports alone)."""
    torch.set_num_threads(threads)
    if members:
        height, width = DOMAINS[domain]
        lon = np.arange(0.0, 360.0) if width == 360 else np.linspace(20, 20 + width / 2, width)
        grid = Grid(np.linspace(-90, 90, height) if height == 181 else np.linspace(-30, 30, height), lon)
        prior = synthetic_prior("small", 1)
        background = bind(prior, grid, None, 1)
        observed = observe("gaps", grid, 1, prior, background)
        noise = NoiseStream(0, range(members), [0])
        sample_posterior(Problem(background, observed), noise, Method(steps=4))
    print(largest_resident_set())


def largest_resident_set() -> float:
    """Of this process, MiB; Linux hands ``ru_maxrss`` of the parent down to its children, so ``VmHWM`` comes first."""
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM"):
                return float(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def memory(domains: list[str], members: list[int], threads: int) -> str:
    """Peak memory by domain and members, each in a process of its own."""

    def peak(domain: str, count: int) -> float:
        words = [sys.executable, __file__, "--worker", domain, str(count), "--threads", str(threads)]
        return float(subprocess.run(words, check=True, capture_output=True, text=True).stdout)

    alone, rows = peak("32", 0), []
    for domain in domains:
        for count in members:
            used = peak(domain, count)
            state = 4 * count * DOMAINS[domain][0] * DOMAINS[domain][1] / 2**20
            rows.append(
                {
                    "domain": domain,
                    "members": count,
                    "peak (MiB)": used,
                    "beyond the libraries (MiB)": used - alone,
                    "one copy of the states (MiB)": state,
                    "predicted for the states (MiB)": count * member_bytes(1, 1, *DOMAINS[domain]) / 2**20,
                }
            )
            print(rows[-1], file=sys.stderr, flush=True)
    return table(rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--side", type=int, default=64, help="cells of the square fields")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--presets", nargs="*", default=list(PRESETS))
    parser.add_argument("--domains", nargs="*", default=list(DOMAINS), choices=list(DOMAINS))
    parser.add_argument("--members", type=int, nargs="*", default=[4, 16, 64])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="two small networks once, two small domains")
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--worker", nargs=2, metavar=("DOMAIN", "MEMBERS"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        worker(args.worker[0], int(args.worker[1]), args.threads)
        return
    if args.quick:
        args.presets, args.domains, args.members = args.presets[:2], args.domains[:2], args.members[:2]
        args.repeats, args.batch = 1, 4

    torch.set_num_threads(args.threads)
    emit(
        f"Throughput of the network: {args.batch} fields of {args.side} x {args.side}, {args.threads} threads",
        throughput(args.side, args.batch, args.repeats, args.presets),
        args.markdown,
    )
    emit(
        "Peak memory of a reconstruction: preset small, one batch",
        memory(args.domains, args.members, args.threads),
        args.markdown,
    )


if __name__ == "__main__":
    main()
