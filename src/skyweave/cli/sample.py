"""``skyweave sample``."""

from __future__ import annotations

from pathlib import Path

from skyweave.cli.flags import SampleFlags, given


def sample(
    prior: Path,
    *,
    like: str,
    out: Path,
    frames: int | None = None,
    start: str = "2000-01-01",
    figure: Path | None = None,
    overwrite: bool = False,
    dry_run: bool = False,
    flags: SampleFlags | None = None,
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
    figure
        Picture (.png) of the first members at some of their times.
    overwrite
        Replace an output that exists.
    dry_run
        Print units, evaluations, time, memory and disk that it would take, from a few evaluations; write nothing.
    """
    from skyweave import open_prior
    from skyweave import sample as run
    from skyweave.dates import equal_steps
    from skyweave.io.inputs import check_apart
    from skyweave.io.read import open_fields
    from skyweave.io.store import PICTURES, check_output
    from skyweave.limits import check_counts
    from skyweave.reconstruction.settings import PriorSettings

    settings = PriorSettings(**given(flags))
    check_counts(frames=frames)
    check_output(out, overwrite)
    check_apart(out, [like, prior])
    if figure is not None:
        check_output(figure, True, PICTURES)
    opened, target = open_prior(prior), open_fields(like)
    times = None
    if frames is not None:
        times = equal_steps(start, frames, opened.spec.time_step or 86400.0)
    if dry_run:
        from skyweave.reconstruction.costs import calibrated
        from skyweave.reconstruction.opening import open_reconstruction

        ready = open_reconstruction(opened, [], settings.whole(), like=target, times=times)
        print(f"{ready.plan}\n{calibrated(ready)}")
        return
    made = run(opened, target, times=times, out=out, overwrite=overwrite, settings=settings)
    print(f"wrote {out}")
    if figure is not None:
        from skyweave.report.samples import sample_figure

        sample_figure(made, opened.spec, figure)
        print(f"wrote {figure}")
