"""One writer at a time: a file beside an output says who writes it."""

from __future__ import annotations

import contextlib
import datetime
import errno
import json
import os
import socket
from pathlib import Path
from typing import Any

from skyweave.errors import SkyweaveError

try:
    import fcntl
except ImportError:  # another system than Unix: the number of the process has to do
    fcntl = None  # type: ignore[assignment]

__all__ = ["Lock"]


class Lock:
    """The right to write an output, held by a process until it is released or the process is dead.

    The file holds the machine, the process and when it began. The system's own lock on it ends with the process, so
    that what a killed run leaves is taken over.

    Args:
        file: to be made, in a folder that may not exist yet and is removed if nothing else is in it.
        path: the output, for messages.
    """

    def __init__(self, file: Path, path: Path) -> None:
        self.file, self.path = file, path
        self._handle: int | None = None

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            SkyweaveError: another process holds it, and which.
        """
        while self._handle is None:
            self.file.parent.mkdir(exist_ok=True)
            try:
                handle = os.open(self.file, os.O_RDWR | os.O_CREAT, 0o666)
            except FileNotFoundError:
                continue  # whoever held it has just removed the folder
            try:
                self._take(handle)
            except BaseException:
                os.close(handle)
                raise
            if _is(handle, self.file):
                self._handle = handle
            else:
                os.close(handle)  # its holder was done, and removed the file that we had opened
        os.ftruncate(self._handle, 0)
        os.pwrite(self._handle, json.dumps(_self()).encode(), 0)
        os.fsync(self._handle)

    def _take(self, handle: int) -> None:
        alone = _locked(handle)
        holder = _read(handle)
        if alone is False:
            raise SkyweaveError(
                f"{self.path}: is being written by {_told(holder)}; wait for it, or write to another path"
            )
        if holder and not _same_machine(holder):
            raise SkyweaveError(
                f"{self.path}: was being written by {_told(holder)}, on another machine; if that run is dead, remove "
                f"{self.file}"
            )
        if alone is None and holder and _alive(holder):
            raise SkyweaveError(
                f"{self.path}: is being written by {_told(holder)}; wait for it, or write to another path"
            )

    def release(self) -> None:
        """Give it back; nothing happens if it is not held."""
        if self._handle is None:
            return
        if _is(self._handle, self.file):
            self.file.unlink()
        os.close(self._handle)
        self._handle = None
        with contextlib.suppress(OSError):
            self.file.parent.rmdir()  # unless an unfinished run is in it


def _locked(handle: int) -> bool | None:
    """Whether the system gives us the lock; None where it has none."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return False if error.errno in (errno.EWOULDBLOCK, errno.EACCES) else None
    return True


def _is(handle: int, file: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(file))
    except FileNotFoundError:
        return False


def _self() -> dict[str, Any]:
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return {
        "host": socket.gethostname(),
        "machine": _machine(),
        "pid": os.getpid(),
        "start": _start(os.getpid()),
        "since": now,
    }


def _read(handle: int) -> dict[str, Any]:
    try:
        found = json.loads(os.pread(handle, 4096, 0))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _told(holder: dict[str, Any]) -> str:
    return (
        f"process {holder.get('pid', '?')} on {holder.get('host', 'this machine')} "
        f"(since {holder.get('since', 'a moment ago')})"
    )


def _same_machine(holder: dict[str, Any]) -> bool:
    """Containers of one machine share its boot, and a machine that was started anew has none of the old processes."""
    return holder.get("machine") == _machine() or holder.get("host") == socket.gethostname()


def _machine() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return socket.gethostname()


def _start(pid: int) -> str:
    """When a process began, in the system's own count; two processes of one number differ in it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def _alive(holder: dict[str, Any]) -> bool:
    pid = holder.get("pid")
    if holder.get("machine") != _machine() or not isinstance(pid, int):
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return _start(pid) == holder.get("start")
