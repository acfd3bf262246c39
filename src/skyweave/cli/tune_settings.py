"""The settings of ``skyweave tune``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from skyweave.cli.settings import ReconstructConfig
from skyweave.config import Section, read_yaml
from skyweave.errors import SkyweaveError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class TuneConfig(Section):
    """A grid of settings of a reconstruction, on cases whose truth is known.

    `reconstruct` is the file of a reconstruction, or its keys; `truth` a file with the true fields. `grid` has lists of
    values by dotted key of the reconstruction, of which every combination is run: `observations.LR.weight` is the
    weight of every source named LR, `options.gamma.LR` an option; `a, b` gives two keys one value. `variable` is the
    only one to be scored. Finished settings are kept in `out`, the best one is written to `best`.
    """

    reconstruct: str | dict[str, Any]
    truth: str | list[str]
    grid: dict[str, list[Any]] = Field(min_length=1)
    variable: str | None = None
    score: Literal["crps", "rmse"] = "crps"
    out: Path = Path("tune.jsonl")
    best: Path = Path("tune_best.yaml")
    overwrite: bool = False


def base_of(reconstruct: str | dict[str, Any]) -> dict[str, Any]:
    """The keys of the reconstruction that is tuned; what becomes of its output does not matter here."""
    values = dict(reconstruct) if isinstance(reconstruct, dict) else read_yaml(Path(reconstruct))
    return {key: value for key, value in values.items() if key not in ("out", "overwrite")}


def checked(
    base: Mapping[str, Any], settings: Sequence[Mapping[str, Any]], source: str
) -> list[ReconstructConfig]:
    """The reconstruction of each setting, the base first.

    Raises:
        SkyweaveError: with the errors of every setting, before any data are opened.
    """
    from skyweave.config import parse_config, told_in_bounds
    from skyweave.evaluate.grid_of_settings import with_values

    found, wrong = [], []
    for setting in ({}, *settings):
        label = ", ".join(f"{k}: {v}" for k, v in setting.items()) or "reconstruct"
        try:
            found.append(parse_config(with_values(base, setting), ReconstructConfig, source=label))
        except SkyweaveError as error:
            wrong.append(str(error))
            if not setting:
                break  # what is wrong without the grid is wrong with every setting
    if wrong:
        raise SkyweaveError(f"{source}:\n" + "\n".join(told_in_bounds("\n".join(wrong).splitlines())))
    return found
