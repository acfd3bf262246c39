"""Run settings one after the other, score each, and keep what is finished."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xarray as xr

from skyweave.errors import SkyweaveError
from skyweave.evaluate.score import Card, score_fields, truth_like
from skyweave.verify import table

__all__ = ["Result", "best", "search", "table_of"]

Run = Callable[[Mapping[str, Any]], xr.Dataset]


@dataclass(frozen=True)
class Result:
    """One setting and what it scored; ``seconds`` are those of the reconstruction."""

    setting: Mapping[str, Any]
    card: Card
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "setting": dict(self.setting),
            "scores": self.card.to_dict(),
            "seconds": round(self.seconds, 3),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Result:
        return cls(values["setting"], Card.from_dict(values["scores"]), float(values["seconds"]))


def search(
    run: Run,
    settings: Sequence[Mapping[str, Any]],
    truth: xr.Dataset,
    deviation: Mapping[str, float],
    *,
    identity: str,
    out: Path | None = None,
    overwrite: bool = False,
    report: Callable[[str], None] | None = None,
) -> list[Result]:
    """Score every setting; those that a file already holds are not run again.

    Args:
        run: the reconstruction under a setting.
        settings: values by dotted key.
        truth: the true fields, which may cover more.
        deviation: climatological standard deviation of each variable to be scored.
        identity: names everything else that the scores depend on.
        out: JSON lines, one for each finished setting, written as they finish.
        overwrite: begin anew.
        report: told each line of progress.

    Raises:
        SkyweaveError: the file holds scores of other data or settings; the truth does not fit.
    """
    tell = report or (lambda text: None)
    done = {} if out is None or overwrite else _finished(out, identity)
    if out is not None and overwrite:
        out.unlink(missing_ok=True)
    results = []
    for number, setting in enumerate(settings, start=1):
        key = json.dumps(setting, sort_keys=True, default=str)
        label = ", ".join(f"{k} {v}" for k, v in setting.items())
        if key in done:
            tell(f"{number} of {len(settings)}: {label}: done before")
            results.append(done[key])
            continue
        began = time.perf_counter()
        fields = run(setting)
        seconds = time.perf_counter() - began
        card = score_fields(fields, truth_like(truth, fields, list(deviation)), deviation)
        result = Result(json.loads(key), card, seconds)
        if out is not None:
            _append(out, {"identity": identity, **result.to_dict()})
        results.append(result)
        score = card.overall.get("crps", float("nan"))
        tell(f"{number} of {len(settings)}: {label}: CRPS / std {score:.4g}, {seconds:.0f} s")
    return results


def _append(out: Path, line: Mapping[str, Any]) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("a") as handle:
        handle.write(json.dumps(line) + "\n")
        handle.flush()
        os.fsync(handle.fileno())


def _finished(out: Path, identity: str) -> dict[str, Result]:
    """Results that the file holds; a line that a kill cut short is taken off."""
    if not out.exists():
        return {}
    found: dict[str, Result] = {}
    whole: list[str] = []
    lines = out.read_text().splitlines(keepends=True)
    for number, text in enumerate(lines, start=1):
        try:
            line = json.loads(text)
            result, made = Result.from_dict(line), line["identity"]
        except (json.JSONDecodeError, KeyError, TypeError, ValueError):
            if number == len(lines):
                break
            raise SkyweaveError(f"{out}: line {number} is no result of a search; name another file") from None
        if made != identity:
            raise SkyweaveError(
                f"{out}: holds scores of other data or settings; name another file, or allow overwriting"
            )
        found[json.dumps(result.setting, sort_keys=True, default=str)] = result
        whole.append(text if text.endswith("\n") else text + "\n")
    if len(whole) < len(lines) or any(not text.endswith("\n") for text in lines):
        out.write_text("".join(whole))
    return found


def best(results: Sequence[Result], score: str = "crps", variable: str | None = None) -> Result:
    """The result of the lowest score among those with the fewest members diverged.

    Args:
        score: "crps" or "rmse".
        variable: whose score; the mean over variables by default.
    """

    def rank(result: Result) -> tuple[float, float]:
        card = result.card.overall if variable is None else result.card.variables[variable]
        return result.card.diverged, card.get(score, float("inf"))

    return min(results, key=rank)


def table_of(results: Sequence[Result], variable: str | None = None) -> str:
    """A row for each setting; scores of one variable in its units, or means over variables in standard deviations."""
    rows = []
    for result in results:
        card = result.card.overall if variable is None else result.card.variables[variable]
        scores = {key: card.get(key, float("nan")) for key in ("rmse", "crps", "ssr", "coverage90")}
        setting = {
            k: v if isinstance(v, (int, float)) and not isinstance(v, bool) else str(v)
            for k, v in result.setting.items()
        }
        rows.append(
            {
                **{k: f"{v:g}" if isinstance(v, (int, float)) else v for k, v in setting.items()},
                **scores,
                "diverged": f"{100 * result.card.diverged:.0f} %",
                "seconds": round(result.seconds, 1),
            }
        )
    return table(rows)
