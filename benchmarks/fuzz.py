"""Odd inputs for every reader: an error of ours or a value, within bounded memory and time.

    python benchmarks/fuzz.py --inputs 10000
    python benchmarks/fuzz.py --reader yaml csv --inputs 500 --seed 7 --keep /tmp/found

Each input is a function of the seed, the reader and its number, so that a crash can be made again with `--only NUMBER`.
A child process of limited memory reads them; one that dies, or is silent for too long, is named with its input, and
another child goes on behind it. Exit status 1 where anything crashed.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import random
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from fuzz_targets import TARGETS, Target, make_seeds
from mutators import Files, mutant

GIGABYTE = 2**30
ALLOCATION = ("MemoryError", "allocate", "bad_alloc", "DefaultCPUAllocator")
"""Words of a refusal that was none: memory had been asked for first."""


@dataclass
class Result:
    """What became of the inputs of one reader."""

    inputs: int = 0
    refused: int = 0
    read: int = 0
    crashes: list[dict[str, Any]] = field(default_factory=list)
    memory: float = 0.0
    memory_of: int = -1
    apart: float = 0.0  # largest size of a process that the reader started, or of this one when it did
    seconds: float = 0.0
    seconds_of: int = -1
    spent: float = 0.0


def put(files: Files, folder: Path) -> None:
    """Write an input into an empty folder."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def one(target: Target, files: Files, folder: Path) -> dict[str, Any]:
    """Read one input: what came of it, the seconds, and the growth of the process in MB."""
    import dask

    from skyweave.errors import SkyweaveError

    dask.config.set(scheduler="synchronous")  # threads of the parent are none in its children
    put(files, folder)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    told: dict[str, Any] = {"what": "read"}
    try:
        target.read(folder)
    except SkyweaveError as error:
        text = str(error)
        told = {"what": "refused", "error": f"{text:.300}"}
        if any(word in text for word in ALLOCATION):
            told = {"what": "crash", "error": f"memory: {text:.300}", "where": ""}
        elif len(text) > 20_000:
            told = {
                "what": "crash",
                "error": f"a message of {len(text)} characters: {text:.100}",
                "where": "",
            }
    except (Exception, MemoryError) as error:
        frames = traceback.extract_tb(error.__traceback__)
        own = [f for f in frames if "skyweave" in f.filename and "benchmarks" not in f.filename] or frames
        where = f"{Path(own[-1].filename).name}:{own[-1].lineno}"
        told = {"what": "crash", "error": f"{type(error).__name__}: {error!s:.200}", "where": where}
    told["seconds"] = time.perf_counter() - started
    told["memory"] = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return told


def child(target: Target, seeds: list[Files], numbers: range, seed: int, limit: float, out: int) -> None:
    """Read inputs one after another, and report each on a pipe."""
    with open("/proc/self/statm") as handle:
        size = int(handle.read().split()[0]) * resource.getpagesize()
    bound = int(size + limit * GIGABYTE)
    resource.setrlimit(resource.RLIMIT_AS, (bound, bound))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    warnings.simplefilter("ignore")
    from skyweave.native import process

    base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with os.fdopen(out, "w", buffering=1) as pipe:
        for number in numbers:
            pipe.write(json.dumps({"begin": number}) + "\n")
            folder = Path(tempfile.mkdtemp(dir=base, prefix="fuzz-"))
            try:
                files = mutant(random.Random(f"{seed}:{target.name}:{number}"), seeds)
                told = one(target, files, folder)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
            pipe.write(json.dumps({"end": number} | told) + "\n")
        process.end()
        apart = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        pipe.write(json.dumps({"apart": apart}) + "\n")


def lines_of(descriptor: int, silence: float) -> Iterator[str | None]:
    """Lines from a pipe; None where it is silent for too long, which ends it."""
    rest = b""
    while True:
        if not select.select([descriptor], [], [], silence)[0]:
            yield None
            return
        chunk = os.read(descriptor, 65536)
        if not chunk:
            return
        *whole, rest = (rest + chunk).split(b"\n")
        yield from (line.decode() for line in whole)


def batch(
    target: Target, seeds: list[Files], numbers: range, options: argparse.Namespace, result: Result
) -> int:
    """Read inputs in a child; returns the number of the next one, behind an input that killed it."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        status = 1
        try:
            child(target, seeds, numbers, options.seed, options.memory, writing)
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    current, following, hung = numbers.start - 1, numbers.start, False
    for line in lines_of(reading, options.seconds):
        if line is None:
            os.kill(pid, signal.SIGKILL)
            hung = True
            break
        told = json.loads(line)
        if "begin" in told:
            current = told["begin"]
            continue
        if "apart" in told:
            result.apart = max(result.apart, told["apart"])
            continue
        following = told["end"] + 1
        note(told, result)
    os.close(reading)
    _, status = os.waitpid(pid, 0)
    if following <= current:
        how = (
            f"hangs for more than {options.seconds:g} s"
            if hung
            else f"ends the process (status {os.waitstatus_to_exitcode(status)})"
        )
        note(
            {"what": "crash", "end": current, "error": how, "where": "", "seconds": 0.0, "memory": 0.0},
            result,
        )
        return current + 1
    return following


def note(told: dict[str, Any], result: Result) -> None:
    """Add the fate of one input."""
    result.inputs += 1
    if told["what"] == "crash":
        result.crashes.append(told)
    elif told["what"] == "read":
        result.read += 1
    else:
        result.refused += 1
    if told["memory"] > result.memory:
        result.memory, result.memory_of = told["memory"], told["end"]
    if told["seconds"] > result.seconds:
        result.seconds, result.seconds_of = told["seconds"], told["end"]


def fuzz(target: Target, options: argparse.Namespace) -> Result:
    """All inputs of one reader, by batches of children."""
    seeds, result = make_seeds(target), Result()
    if not seeds:
        raise FileNotFoundError("no valid inputs to begin with")
    with tempfile.TemporaryDirectory() as folder:
        for files in seeds:  # what the readers import is imported before the children are made
            place = Path(tempfile.mkdtemp(dir=folder))
            told = one(target, files, place)
            if told["what"] != "read":
                raise ValueError(f"a seed is not read: {told}")
    started, at = time.perf_counter(), options.first
    while at < options.first + options.inputs:
        at = batch(target, seeds, range(at, min(options.first + options.inputs, at + 2000)), options, result)
        if len(result.crashes) > options.most:
            break
    result.spent = time.perf_counter() - started
    if options.keep is not None:
        keep(target, seeds, result, options)
    return result


def keep(target: Target, seeds: list[Files], result: Result, options: argparse.Namespace) -> None:
    """The first inputs of each kind of crash, and what was the matter with them."""
    counts: dict[str, int] = {}
    for crash in result.crashes:
        kind = crash["where"] + crash["error"][:30]
        counts[kind] = counts.get(kind, 0) + 1
        if counts[kind] <= 3:
            folder = options.keep / target.name / str(crash["end"])
            folder.mkdir(parents=True, exist_ok=True)
            files = mutant(random.Random(f"{options.seed}:{target.name}:{crash['end']}"), seeds)
            put(files, folder)
            (folder / "CRASH").write_text(json.dumps(crash, indent=1))


def kinds_of(crashes: list[dict[str, Any]]) -> list[str]:
    """Crashes by kind, the most frequent first, each with the number of one."""
    kinds: dict[str, list[dict[str, Any]]] = {}
    for crash in crashes:
        kinds.setdefault(f"{crash['where']} {crash['error'].split(':')[0]}", []).append(crash)
    ordered = sorted(kinds.values(), key=len, reverse=True)
    return [f"{len(c)} x {c[0]['where']} {c[0]['error']:.160} (input {c[0]['end']})" for c in ordered]


def table(results: dict[str, Result | str]) -> str:
    """The results as a table."""
    heads = (
        "inputs",
        "refused",
        "read",
        "crashes",
        "most memory, MB (input)",
        "apart, MB",
        "longest, s (input)",
    )
    lines = [
        "| " + " | ".join(["reader", *heads, "inputs / s"]) + " |",
        "| --- |" + " ---: |" * (len(heads) + 1),
    ]
    for name, r in results.items():
        cells = [r] if isinstance(r, str) else [
            f"{r.inputs:,}", f"{r.refused:,}", f"{r.read:,}", str(len(r.crashes)), f"{r.memory:.0f} ({r.memory_of})",
            f"{r.apart:.0f}", f"{r.seconds:.2f} ({r.seconds_of})", f"{r.inputs / max(r.spent, 1e-9):.0f}",
        ]  # fmt: skip
        lines.append("| " + " | ".join([name, *["-"] * (len(heads) + 1 - len(cells)), *cells]) + " |")
    return "\n".join(lines)


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--reader", nargs="+", choices=list(TARGETS), default=list(TARGETS), help="all by default"
    )
    parser.add_argument("--inputs", type=int, default=10_000, help="for each reader (10000)")
    parser.add_argument("--first", type=int, default=0, help="number of the first")
    parser.add_argument("--only", type=int, help="one input by its number, with its traceback")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1, help="readers at a time (1)")
    parser.add_argument("--seconds", type=float, default=20.0, help="an input that takes longer hangs (20)")
    parser.add_argument("--memory", type=float, default=1.5, help="GB that a child may grow (1.5)")
    parser.add_argument(
        "--most", type=int, default=500, help="crashes after which a reader is given up (500)"
    )
    parser.add_argument("--keep", type=Path, help="folder for the first inputs of each kind of crash")
    parser.add_argument("--quick", action="store_true", help="300 inputs for each reader")
    parser.add_argument("--markdown", type=Path, help="page that the table is added to")
    return parser.parse_args(words)


def run(name: str, options: argparse.Namespace) -> Result | str:
    """One reader, or why it was left out."""
    target = TARGETS[name]
    if target.needs is not None and importlib.util.find_spec(target.needs) is None:
        return f"left out: no {target.needs}"
    try:
        return fuzz(target, options)
    except FileNotFoundError as error:
        return f"left out: {error}"


def again(options: argparse.Namespace) -> None:
    """One input once more, in this process."""
    for name in options.reader:
        target = TARGETS[name]
        files = mutant(random.Random(f"{options.seed}:{name}:{options.only}"), make_seeds(target))
        with tempfile.TemporaryDirectory() as folder:
            put(files, Path(folder))
            target.read(Path(folder))
            print(f"{name} {options.only}: read")


def main() -> int:
    options = arguments()
    if options.quick:
        options.inputs = min(options.inputs, 300)
    if options.only is not None:
        again(options)
        return 0
    results: dict[str, Result | str] = {}
    if options.workers > 1:
        from concurrent.futures import ProcessPoolExecutor

        with ProcessPoolExecutor(options.workers) as pool:
            results = dict(
                zip(
                    options.reader,
                    pool.map(run, options.reader, [options] * len(options.reader)),
                    strict=True,
                )
            )
    for name in options.reader:
        if name not in results:
            results[name] = run(name, options)
        found = results[name]
        print(
            f"{name}: "
            + (
                found
                if isinstance(found, str)
                else f"{found.inputs} inputs, {len(found.crashes)} crashes in {found.spent:.0f} s"
            ),
            flush=True,
        )
        for line in [] if isinstance(found, str) else kinds_of(found.crashes)[:12]:
            print(f"  {line}", flush=True)
    from bench import emit

    emit(f"Odd inputs, seed {options.seed}", table(results), options.markdown)
    return int(any(not isinstance(r, str) and r.crashes for r in results.values()))


if __name__ == "__main__":
    sys.exit(main())
