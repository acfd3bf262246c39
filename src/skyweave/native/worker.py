"""The process that reads for `skyweave.native.process`: questions on standard input, answers on standard output.

It forks before each file, so that nothing is left of one file, nor of ecCodes' state with it, when the next is read.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import pickle
import signal
import sys
from typing import Any, BinaryIO

try:
    import resource
except ImportError:  # Windows has no limits, nor forks
    resource = None  # type: ignore[assignment]

from skyweave.errors import SkyweaveError

__all__ = ["main"]

MEMORY, MEMORY_RATIO = 2 * 2**30, 100
"""Bytes that a fork may grow: 2 GiB and so many times the size of its file."""
SECONDS, SECONDS_PER_MIB = 5.0, 60.0
"""Processor time of one answer, by the size of the file; many small reports, the slowest valid files, need a tenth."""
FORKS = hasattr(os, "fork")


def main() -> int:
    """Serve until standard input ends."""
    # Libraries may print: that must not stand between answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Once, before the forks; what fails is told by the question that needs it, with the file's name.
    with contextlib.suppress(Exception):
        importlib.import_module("eccodes")
    more = True
    while more:
        more = _forked(answers) if FORKS else _serve(sys.stdin.buffer, answers)
    return 0


def _forked(answers: BinaryIO) -> bool:
    """Serve one file in a fork; its end by a signal is the end of this process too, which tells it by its status."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            status = 0 if _serve(sys.stdin.buffer, answers) else 2
        finally:
            os._exit(status)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code < 0:
        os._exit(128 - code)
    return code == 0


def _serve(questions: BinaryIO, answers: BinaryIO) -> bool:
    """Answer questions about one file, until None; whether another file may follow."""
    while True:
        try:
            question = pickle.load(questions)
        except EOFError:
            return False
        answer = None if question is None else _answer(*question)
        pickle.dump(answer, answers, protocol=pickle.HIGHEST_PROTOCOL)
        answers.flush()
        if question is None:
            return True


def _answer(path: str, function: str, args: tuple[Any, ...]) -> tuple[bool, Any]:
    """Whether a function went well, and what it returns; else what went wrong."""
    _limit(path)
    try:
        return True, _called(path, function, args)
    except SkyweaveError as exc:
        return False, str(exc)
    except MemoryError:
        return False, f"{path}: is damaged, or takes more memory than a file of its size should"
    except Exception as exc:
        return False, f"{path}: cannot be read ({type(exc).__name__}: {exc})"
    finally:
        _unlimit()


def _called(path: str, function: str, args: tuple[Any, ...]) -> Any:
    module, _, name = function.partition(".")
    return getattr(importlib.import_module(f"skyweave.native.{module}"), name)(path, *args)


def _limit(path: str) -> None:
    """Bound memory and processor time by the size of the file."""
    if resource is None:
        return
    size = os.path.getsize(path) if os.path.exists(path) else 0
    signal.setitimer(signal.ITIMER_PROF, SECONDS + SECONDS_PER_MIB * size / 2**20)
    if sys.platform == "linux":
        with open("/proc/self/statm") as handle:
            now = int(handle.read().split()[0]) * resource.getpagesize()
        most = resource.getrlimit(resource.RLIMIT_AS)[1]
        wanted = now + MEMORY + MEMORY_RATIO * size
        resource.setrlimit(resource.RLIMIT_AS, (wanted if most < 0 else min(wanted, most), most))


def _unlimit() -> None:
    # An answer that is cut in the middle could not be told from one that goes on.
    if resource is not None:
        signal.setitimer(signal.ITIMER_PROF, 0)


if __name__ == "__main__":
    sys.exit(main())
