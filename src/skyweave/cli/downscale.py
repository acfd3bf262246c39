"""``skyweave downscale``."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from skyweave.cli.flags import flags_of, given
from skyweave.cli.words import plain
from skyweave.downscale.inference import InferenceSection
from skyweave.keywords import settings_of

if TYPE_CHECKING:
    from skyweave.downscale.config import DownscaleConfig

Several = Annotated[list[str] | None, Parameter(consume_multiple=True)]


@Parameter(name="*")
@dataclass(frozen=True)
@flags_of(InferenceSection, defaults=False)
class InferenceFlags:
    """How members are drawn; what is left out is as the file says."""


downscale = App(
    name="downscale",
    help="Extend a long coarse record to fine resolution, with models trained on a short overlap.",
    help_format="markdown",
    default_parameter=Parameter(negative=(), converter=plain),
    result_action="return_value",
)


@downscale.command
def fit(config: Path, /, *, models: Several = None, jobs: int = 1, overwrite: bool = False) -> None:
    """Train a transfer encoder and a downscaler for every area and season.

    What is finished is skipped and what was interrupted continues, so the same command goes on after a kill.

    Parameters
    ----------
    config
        YAML file with the settings; see docs/downscaling.md.
    models
        ddpm, latent, unet, vae, vdm-like; several share their encoders. The one of the file if left out.
    jobs
        Areas and seasons trained at a time.
    overwrite
        Train anew what was made with other settings or data.
    """
    from skyweave.limits import check_counts

    check_counts(label="--jobs", jobs=jobs)
    settings = _settings(config)

    from skyweave.downscale.training.fitting import fit as run
    from skyweave.evaluate.downscaling import fitted_table

    print(fitted_table(run(settings, models=models, jobs=jobs, overwrite=overwrite)))


@downscale.command
def predict(
    config: Path,
    /,
    *,
    days: Annotated[list[str] | None, Parameter(consume_multiple=True)] = None,
    model: str | None = None,
    flags: InferenceFlags | None = None,
    out: Path | None = None,
    overwrite: bool = False,
) -> None:
    """Predict fine days of the overlap, each from the true fine days before it, into a Zarr store for each area.

    Parameters
    ----------
    config
        YAML file with the settings.
    days
        test (default), validation, or the first and last day of a period.
    model
        A trained model other than that of the file.
    out
        Folder of the stores; that of the file if left out.
    overwrite
        Replace a store that exists.
    """
    settings = _settings(config)
    chosen = _days(days)

    from skyweave.downscale.prediction.extension import predict as run

    how = _inference(settings, flags)
    for path in run(settings, days=chosen, model=model, out=out, overwrite=overwrite, settings=how).values():
        print(f"wrote {path}")


@downscale.command
def rollout(
    config: Path,
    /,
    *,
    start: str | None = None,
    end: str | None = None,
    model: str | None = None,
    flags: InferenceFlags | None = None,
    out: Path | None = None,
    overwrite: bool = False,
) -> None:
    """Predict fine days beyond the overlap, each from the predicted days before it, into a Zarr store for each area.

    Parameters
    ----------
    config
        YAML file with the settings.
    start
        First day; the day after the fine record if left out.
    end
        Last day; the end of the coarse record if left out.
    model
        A trained model other than that of the file.
    out
        Folder of the stores; that of the file if left out.
    overwrite
        Replace a store that exists.
    """
    settings = _settings(config)

    from skyweave.downscale.prediction.extension import rollout as run

    how = _inference(settings, flags)
    for path in run(
        settings, start=start, end=end, model=model, out=out, overwrite=overwrite, settings=how
    ).values():
        print(f"wrote {path}")


@downscale.command
def evaluate(
    config: Path,
    /,
    *,
    models: Several = None,
    days: Annotated[list[str] | None, Parameter(consume_multiple=True)] = None,
    rollout: bool = False,
    flags: InferenceFlags | None = None,
    most: int | None = None,
) -> None:
    """Score trained models on test days beside interpolation, and print the table.

    Each day is predicted from the true days before it; with --rollout from its own predictions, as beyond the fine
    record, and scores are told by distance from the last true day.

    Parameters
    ----------
    config
        YAML file with the settings.
    models
        Trained models; that of the file if left out.
    days
        test (default) or validation.
    rollout
        Roll out over the longest stretch of these days instead.
    most
        Days of each area and season at most, evenly chosen.
    """
    from skyweave.errors import SkyweaveError
    from skyweave.limits import check_counts

    check_counts(label="--most", lead_times=most)
    settings = _settings(config)
    chosen = _days(days)
    if not isinstance(chosen, str):
        raise SkyweaveError(
            "--days of an evaluation are test or validation; score a period of your own with `predict`"
        )
    how = _inference(settings, flags)
    if rollout:
        from skyweave.evaluate.rollouts import evaluate_rollout, rollout_table

        made = evaluate_rollout(settings, models=models, days=chosen, tell=_tell, settings=how)
        print(rollout_table(made, settings.step_name))
        return

    from skyweave.evaluate.downscaling import evaluate as run
    from skyweave.evaluate.downscaling import evaluation_table

    found = run(settings, models=models, days=chosen, most=most, tell=_tell, settings=how)
    print(evaluation_table(found, step=settings.step_name))


def described(header: dict[str, Any], weights: int) -> list[str]:
    """What a trained downscaler or encoder is, in a few lines."""
    from skyweave.grid import Grid

    metadata = header["metadata"]
    needed = ("variables", "area", "season", "grid", "training_days", "training")
    if header["kind"] == "downscaler" and (
        any(key not in metadata for key in needed) or "epochs" not in metadata["training"]
    ):
        return [
            f"downscaler {header['name']}, {weights:,} weights with its encoder; nothing is told of its training"
        ]
    if header["kind"] == "transfer encoder" and "epochs" not in metadata:
        return [
            f"transfer encoder {header['encoder']['kind']}, {weights:,} weights; nothing is told of its training"
        ]
    if header["kind"] == "transfer encoder":
        training, scores = metadata, metadata.get("scores", {})
        lines = [
            f"transfer encoder {header['encoder']['kind']} of {header['encoder']['days']} days, {weights:,} weights"
        ]
    else:
        training, scores = metadata["training"], metadata.get("encoder", {}).get("scores", {})
        lines = [
            f"downscaler {header['name']} of {', '.join(metadata['variables'])}, {weights:,} weights with its encoder",
            f"  area, season {metadata['area']}, {metadata['season']}",
            f"  fine grid    {Grid.from_dict(metadata['grid']).describe()}",
            f"  trained on   {' to '.join(day[:16] for day in metadata['training_days'])}",
        ]
    lines.append(
        f"  training     {training['epochs']} epochs, {training['minutes']:g} minutes, {training['ended']}; best loss "
        f"{training['loss']:.4g} in epoch {training['best_epoch']}"
    )
    if scores:
        lines.append(
            f"  encoder R2   {scores['r2']:.3f} on test days, persistence {scores['r2_persistence']:.3f}"
        )
    return lines


def _settings(path: Path) -> DownscaleConfig:
    from skyweave.downscale.config import load_downscaling

    return load_downscaling(path)


def _inference(config: DownscaleConfig, flags: InferenceFlags | None) -> InferenceSection:
    """Those of the file with the flags that are given."""
    return settings_of(InferenceSection, config.inference, given(flags), "inference")


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _days(words: list[str] | None) -> Any:
    """The choice of days: a name, or two dates."""
    from skyweave.errors import SkyweaveError

    if words is None:
        return "test"
    if len(words) == 1 and words[0] in ("test", "validation"):
        return words[0]
    if len(words) == 2:
        return (words[0], words[1])
    raise SkyweaveError(f"--days {' '.join(words)}: expected test, validation, or a first and a last day")
