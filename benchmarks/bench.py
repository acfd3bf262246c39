"""What the benchmarks share: where the real data are, and tables to the terminal and to a page of the docs."""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def data_folder() -> Path:
    """``$SKYWEAVE_DATA``, or ``../shared/data`` beside the repository."""
    folder = Path(os.environ.get("SKYWEAVE_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        sys.exit(f"error: no data at {folder}; set SKYWEAVE_DATA to the folder that holds them")
    return folder


def emit(title: str, text: str, page: Path | None) -> None:
    """Print a table, and add it to a page of the docs under the command that made it."""
    print(f"\n## {title}\n\n{text}\n", flush=True)
    if page is None:
        return
    page.parent.mkdir(parents=True, exist_ok=True)
    words = [Path(sys.argv[0]).name, *[w for w in sys.argv[1:]]]
    command = f"python benchmarks/{' '.join(words)}"
    with page.open("a") as file:
        file.write(f"\n## {title}\n\n```\n{command}\n```\n\n{text}\n")
