"""The package is read from top to bottom: a module imports from its own floor and those above it."""

import ast
from pathlib import Path

import pytest

import skyweave

PACKAGE = Path(skyweave.__file__).parent
FLOORS = (
    "errors", "dates", "config", "units", "thermodynamics", "grid", "regrid", "transform", "state", "stitch", "native",
    "io", "engine", "covariance", "diffusion", "learn", "nature_runs", "observe", "verify", "report", "prior",
    "posterior", "sources", "reconstruction", "downscale", "emulate", "cycle", "baselines", "evaluate", "cli",
)  # fmt: skip
MODULES = sorted(p for p in PACKAGE.rglob("*.py") if p.parent != PACKAGE or p.stem in FLOORS)


def floor(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """Floors that a module imports from, also inside its functions; what only type checkers see is left out."""
    tree = ast.parse(path.read_text())
    unseen = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    found = set()
    for node in ast.walk(tree):
        if id(node) in unseen:
            continue
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("skyweave."):
            found.add(str(node.module).split(".")[1])
        if isinstance(node, ast.Import):
            found |= {a.name.split(".")[1] for a in node.names if a.name.startswith("skyweave.")}
    return found & set(FLOORS)


def test_every_folder_has_its_floor():
    assert {floor(p) for p in MODULES} == set(FLOORS)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_come_from_above(path):
    here = FLOORS.index(floor(path))
    below = [name for name in imports(path) if FLOORS.index(name) > here]
    assert not below, f"{path.name} on the floor of {FLOORS[here]} imports from {', '.join(below)}"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_modules_can_be_read_in_one_sitting(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 400
    assert not text.strip() or text.lstrip().startswith(('"""', 'r"""'))
