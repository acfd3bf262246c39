"""``skyweave sample``."""

from __future__ import annotations

from pathlib import Path


def sample(
    prior: Path,
    /,
    *,
    like: str,
    out: Path,
    frames: int | None = None,
    start: str = "2000-01-01",
    members: int = 4,
    seed: int = 0,
    sampler: str | None = None,
    steps: int | None = None,
    stride: int = 1,
    figure: Path | None = None,
    autocast: bool = False,
    device: str = "cpu",
    overwrite: bool = False,
) -> None:
    """Draw fields, or sequences of any length, from a prior alone.

    Parameters
    ----------
    prior
        Prior file, as `skyweave train` writes it.
    like
        File whose grid, and times if no frames are given, the samples take.
    out
        Output, .zarr or .nc.
    frames
        Length of the sequence, at the prior's own time step from START on.
    start
        First time of the sequence.
    members
        How many sequences.
    seed
        Seed of the noise.
    sampler
        dpm++2m-sde (default), dpm++2m, heun, ancestral or daps-exact.
    steps
        Network evaluations (32).
    stride
        Frames between the windows of a prior of windows.
    figure
        Picture (.png) of the first members at some of their times.
    autocast
        Run the network in bfloat16.
    device
        cpu, cuda or auto.
    overwrite
        Replace an output that exists.
    """
    from skyweave import open_prior
    from skyweave import sample as run
    from skyweave.cli.settings import SAMPLERS
    from skyweave.dates import equal_steps
    from skyweave.errors import SkyweaveError, did_you_mean
    from skyweave.io.inputs import check_apart
    from skyweave.io.read import open_fields
    from skyweave.io.store import PICTURES, check_output
    from skyweave.limits import check_counts

    known = [name for name in SAMPLERS if name != "dps"]
    if sampler is not None and sampler not in known:
        raise SkyweaveError(
            f"no sampler {sampler!r}{did_you_mean(sampler, known)}; there are {', '.join(known)}"
        )
    check_counts(members=members, frames=frames, stride=stride)
    check_counts(4, steps=steps)
    check_output(out, overwrite)
    check_apart(out, [like, prior])
    if figure is not None:
        check_output(figure, True, PICTURES)
    opened, target = open_prior(prior), open_fields(like)
    times = None
    if frames is not None:
        times = equal_steps(start, frames, opened.spec.time_step or 86400.0)
    chosen = {"members": members, "seed": seed, "stride": stride, "autocast": autocast, "device": device}
    chosen |= {key: value for key, value in (("sampler", sampler), ("steps", steps)) if value is not None}
    made = run(opened, target, times=times, out=out, overwrite=overwrite, **chosen)  # type: ignore[arg-type]
    print(f"wrote {out}")
    if figure is not None:
        from skyweave.report.samples import sample_figure

        sample_figure(made, opened.spec, figure)
        print(f"wrote {figure}")
