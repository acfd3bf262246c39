"""Reading by ecCodes in another process, asked from this one: whatever ends that process is an error of the file."""

from __future__ import annotations

import atexit
import os
import pickle
import signal
import subprocess
import sys
import threading
from typing import Any

from skyweave.errors import SkyweaveError

__all__ = ["ask", "end"]

DAMAGED = "is truncated or damaged, or not wholly downloaded"


def ask(path: str, function: str, *args: Any) -> Any:
    """What a function of this package makes of a file, in the process for that.

    The process starts with the first file and serves all of them. Each file has a fork of its own, which is kept while
    the same file is asked for, and whose memory and time are bounded by the file's size (`skyweave.native.worker`).

    Args:
        path: of a local file; the function's first argument.
        function: ``module.name`` within `skyweave.native`.
        args: the others; they and the result are pickled.

    Raises:
        SkyweaveError: what the function raises; or the process was ended by the file, or cannot be started.
    """
    global _process
    with _lock:
        if _process is None or _process.owner != os.getpid() or _process.popen.poll() is not None:
            _process = _Process()
        return _process.ask(path, function, args)


class _Process:
    """The process, and the file that its present fork has open."""

    def __init__(self) -> None:
        # Where modules are found here they are found there, and the folder it is started in has none.
        env = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "OMP_NUM_THREADS": "1"}
        words = [sys.executable, "-P", "-m", "skyweave.native.worker"]
        try:
            self.popen = subprocess.Popen(
                words,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=env | {"OPENBLAS_NUM_THREADS": "1"},
            )
        except OSError as exc:
            raise SkyweaveError(f"the process that reads GRIB and BUFR cannot be started ({exc})") from exc
        self.owner, self.path = os.getpid(), ""

    def ask(self, path: str, function: str, args: tuple[Any, ...]) -> Any:
        try:
            if self.path not in ("", path):
                self._told(None)
            self.path = path
            good, answer = self._told((path, function, args))
            if not good:
                # What went wrong in one fork shall not be there for the next file.
                self._told(None)
                self.path = ""
        except (EOFError, pickle.UnpicklingError, OSError):
            raise SkyweaveError(self._ended(path)) from None
        except BaseException:
            # An answer that nobody waits for would be taken for that of the next question.
            self.end()
            raise
        if not good:
            raise SkyweaveError(answer)
        return answer

    def _told(self, question: Any) -> Any:
        assert self.popen.stdin is not None
        assert self.popen.stdout is not None
        pickle.dump(question, self.popen.stdin)
        self.popen.stdin.flush()
        return pickle.load(self.popen.stdout)

    def _ended(self, path: str) -> str:
        self.end()
        status = self.popen.returncode
        if status is not None and 128 < status < 256:
            if status - 128 == getattr(signal, "SIGPROF", None):
                return f"{path}: {DAMAGED} (ecCodes does not come to an end with it)"
            return f"{path}: {DAMAGED} (ecCodes is ended by it: {signal.strsignal(status - 128)})"
        return (
            f"{path}: the process that reads GRIB and BUFR ended with status {status}; try "
            f"`{sys.executable} -P -m skyweave.native.worker </dev/null`, which says why"
        )

    def end(self) -> None:
        """End the process, at once where it is at work."""
        if self.owner != os.getpid():
            return
        for pipe in (self.popen.stdin, self.popen.stdout):
            try:
                if pipe is not None:
                    pipe.close()
            except OSError:
                pass
        try:
            self.popen.wait(0.5)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()


_lock = threading.Lock()
_process: _Process | None = None


@atexit.register
def end() -> None:
    """End the process, if there is one; the next question starts another."""
    global _process
    with _lock:
        if _process is not None:
            _process.end()
        _process = None
