"""The command line: one file per command; what is heavy is imported when a command runs, for quick help."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from typing import Any, TextIO

from cyclopts import App, CycloptsError, Parameter

from skyweave.allocator import keep_large_blocks
from skyweave.cli.words import plain
from skyweave.errors import SkyweaveError, SkyweaveWarning

__all__ = ["COMMANDS", "build_app", "main"]

COMMANDS = (
    "train", "calibrate", "reconstruct", "sample", "emulate", "cycle", "fuse", "downscale", "check", "tune", "info",
    "data", "regrid", "demo", "version",
)  # fmt: skip


def build_app() -> App:
    """The cyclopts application with all commands."""
    app = App(
        name="skyweave",
        help="Complete atmospheric fields, with honest uncertainty, from whatever was observed.",
        version_flags=[],
        help_format="markdown",
        default_parameter=Parameter(negative=(), converter=plain),
        result_action="return_value",
        suppress_keyboard_interrupt=False,
    )
    for position, name in enumerate(COMMANDS):
        command = getattr(import_module(f"skyweave.cli.{name}"), name)
        if isinstance(command, App):  # a group of commands
            command.sort_key = position
            app.command(command)
        else:
            app.command(command, name=name, sort_key=position)
    return app


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status.

    0 on success, 2 where the user's input cannot be used (the reason is on standard error), 3 where units of a run that
    was begun failed, 130 after Ctrl-C.
    Any other exception is a defect and keeps its traceback.
    """
    # Threads that spin while they wait stall a machine shared with other work; this must precede torch.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    keep_large_blocks()
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words == ["--version"]:
        words = ["version"]
    app = build_app()
    try:
        if words:
            with warnings.catch_warnings():
                warnings.simplefilter("always", SkyweaveWarning)
                warnings.showwarning = _show(warnings.showwarning)
                result = app(words, exit_on_error=False, print_error=False)
        else:
            app.help_print([])
            result = 0
    except CycloptsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except SkyweaveError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.status
    except OSError as error:
        # A name too long, a folder without permission, a full disk: the file and the reason say it all.
        if isinstance(error, BrokenPipeError):
            # The reader of our output left, as `head` does; Python must not complain again when it flushes.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 141
        if error.filename is None or error.errno is None:
            raise
        print(f"error: {error.filename!s:.200}: {error.strerror}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; what keeps its state goes on with the same command", file=sys.stderr)
        return 130
    return result if isinstance(result, int) else 0


def _show(others: Any) -> Any:
    """Our own warnings as notes, without the place in the code; the rest as Python shows them."""

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if issubclass(category, SkyweaveWarning):
            print(f"note: {message}", file=sys.stderr)
        else:
            others(message, category, filename, lineno, file, line)

    return show
