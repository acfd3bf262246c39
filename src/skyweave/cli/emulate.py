"""``skyweave emulate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from skyweave.cli.words import plain

if TYPE_CHECKING:
    from skyweave.emulate.emulator import Emulator

emulate = App(
    name="emulate",
    help="Train forecast emulators, run forecasts, and score them.",
    help_format="markdown",
    default_parameter=Parameter(negative=(), converter=plain),
    result_action="return_value",
)

Several = Annotated[list[str], Parameter(consume_multiple=True)]
Period = Annotated[tuple[str, str] | None, Parameter(consume_multiple=True)]


@emulate.command
def train(config: Path, /, *, overwrite: bool = False) -> None:
    """Train an emulator on gridded files, and estimate its errors by lead time on the validation period.

    A run that was interrupted continues where it stopped when the same command is given again.

    Parameters
    ----------
    config
        YAML file with the settings; see docs/emulators.md.
    overwrite
        Start anew where the output folder holds a finished or different run.
    """
    from skyweave.config import load_config
    from skyweave.emulate.config import EmulatorConfig

    settings = load_config(config, EmulatorConfig)

    from skyweave.emulate.train import train_emulator

    print("\n".join(described(train_emulator(settings, overwrite=overwrite))))
    print(f"wrote {settings.out / 'emulator.safetensors'}")


@emulate.command
def forecast(
    emulator: Path,
    /,
    *,
    initial: Several,
    steps: int,
    out: Path,
    time: str | None = None,
    members: int = 1,
    perturb: float = 0.0,
    stochastic: bool = False,
    noise: float = 1.0,
    seed: int = 0,
    every: int = 1,
    overwrite: bool = False,
) -> None:
    """Run an emulator forward from the last time of a file, or from a time of it, into a CF file.

    Memory does not grow with the number of steps, and the same command goes on after a kill.

    Parameters
    ----------
    emulator
        Emulator file, as `skyweave emulate train` writes it.
    initial
        Files with the initial fields, on the emulator's grid.
    steps
        How many.
    out
        Output, .zarr or .nc.
    time
        Of the initial fields; the last of the files if left out.
    members
        Size of the ensemble; the first member is not perturbed.
    perturb
        Displacement of the members' initial states, in draws of the emulator's one-step error.
    stochastic
        Draw the emulator's one-step error anew at every step.
    noise
        Its share that is drawn.
    seed
        Of what is drawn.
    every
        Steps between the lead times that are written.
    overwrite
        Replace an output that exists.
    """
    from skyweave.emulate.emulator import open_emulator
    from skyweave.emulate.rollout import forecast as run
    from skyweave.io.inputs import check_apart
    from skyweave.io.read import open_fields
    from skyweave.io.undeclared import with_known_fills
    from skyweave.io.write import check_output
    from skyweave.limits import check_counts

    check_output(out, overwrite)
    check_apart(out, [*initial, emulator])
    check_counts(members=members, every=every)
    check_counts(label="--steps", lead_times=steps)
    model = open_emulator(emulator)
    model = model.stochastic(noise, seed) if stochastic else model.stochastic(0.0, seed)
    fields = with_known_fills(open_fields(initial, [*model.spec.names], time=time))
    made = run(
        model,
        fields.isel({fields[model.spec.names[0]].dims[-3]: [-1]}),
        steps,
        members=members,
        perturb=perturb,
        out=out,
        every=every,
        overwrite=overwrite,
        progress=True,
    )
    print(f"{made.sizes['lead_time'] - 1} lead times of {made.sizes['member']} members")
    print(f"wrote {out}")


@emulate.command
def score(
    emulator: Path,
    /,
    *,
    data: Several,
    period: Period = None,
    steps: int = 20,
    starts: int = 40,
    leads: int = 8,
    out: Path | None = None,
    overwrite: bool = False,
) -> None:
    """Print RMSE and anomaly correlation by lead time, beside persistence and climatology.

    Parameters
    ----------
    emulator
        Emulator file, as `skyweave emulate train` writes it.
    data
        Files with fields that the emulator was not trained on.
    period
        First and last time of them to use, as in 2009-01-01 2010-12-31.
    steps
        Of each forecast.
    starts
        Number of forecasts, evenly spread over the period.
    leads
        Lead times shown.
    out
        File (.nc) for the scores at all lead times.
    overwrite
        Replace that file if it exists.
    """
    from skyweave.emulate.emulator import open_emulator
    from skyweave.evaluate.forecasts import score_forecasts, score_table
    from skyweave.io.read import open_fields
    from skyweave.io.store import NETCDF_ENDINGS
    from skyweave.io.undeclared import with_known_fills
    from skyweave.io.write import check_output, write
    from skyweave.limits import check_counts

    if out is not None:
        check_output(out, overwrite, NETCDF_ENDINGS)
    check_counts(starts=starts)
    check_counts(label="--steps", lead_times=steps)
    check_counts(label="--leads", lead_times=leads)
    model = open_emulator(emulator)
    fields = with_known_fills(open_fields(data, [*model.spec.names], time=period))
    scores = score_forecasts(model, fields, steps=steps, starts=starts, name="emulator")
    print(f"{scores.attrs['starts']} forecasts from {scores.attrs['first']} to {scores.attrs['last']}")
    print(score_table(scores, {v.name: v.units for v in model.spec.variables}, leads))
    if out is not None:
        write(scores, out, overwrite, message="emulate score")
        print(f"wrote {out}")


def described(emulator: Emulator) -> list[str]:
    """What an emulator is and how large its errors are, in a few lines."""
    count = sum(p.numel() for p in emulator.integrator.parameters())
    names = ", ".join(f"{v.name} ({v.units})" for v in emulator.spec.variables)
    lines = [
        f"emulator of {names}",
        f"  grid         {emulator.grid.describe()}",
        f"  step         {emulator.time_step / 3600:g} h",
        f"  network      {type(emulator.integrator.network).__name__.strip('_')}, {count / 1e6:.2f} million parameters",
        f"  forcing      {', '.join(emulator.conditioning.names) or 'none'}",
        f"  trained on   {' to '.join(t[:16] for t in emulator.metadata.get('training_range', []))}",
    ]
    if "hindcast" not in emulator.metadata:
        return lines
    found = emulator.hindcast
    for step in sorted({0, len(found.lead) // 2, len(found.lead) - 1}):
        errors = "  ".join(
            f"{name}: {found.deviation[step][c]:.4g} {emulator.spec.variables[c].units}, "
            f"{found.length_km[step][c]:.0f} km"
            for c, name in enumerate(found.variables)
        )
        lines.append(f"  error {found.lead[step] / 3600:5g} h  {errors}")
    return lines
