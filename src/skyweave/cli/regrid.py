"""``skyweave regrid``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter


def regrid(
    paths: Annotated[list[str], Parameter(consume_multiple=True)],
    /,
    *,
    out: Path,
    resolution: Annotated[list[float] | None, Parameter(consume_multiple=True)] = None,
    like: str | None = None,
    method: Literal["conservative", "bilinear", "bicubic", "nearest"] = "conservative",
    variables: Annotated[list[str] | None, Parameter(consume_multiple=True)] = None,
    period: tuple[str, str] | None = None,
    every: int = 1,
    lat: tuple[float, float] | None = None,
    lon: tuple[float, float] | None = None,
    overwrite: bool = False,
) -> None:
    """Bring fields to another grid of latitude and longitude, in blocks of time.

    A Zarr store that was interrupted goes on with the same command.

    Parameters
    ----------
    paths
        Files, globs or URLs of any gridded data.
    out
        Output, .zarr or .nc.
    resolution
        Size of the new cells in degrees, one number or two (latitude, longitude); global data get cells that fill the
        Earth, 1.40625 for 128 x 256.
    like
        File whose grid is taken instead.
    method
        conservative (area means), bilinear, bicubic or nearest.
    variables
        Names, or levels as in temperature@850; everything on the grid if left out.
    period
        First and last time, both included.
    every
        Keep each N-th time only.
    lat
        South and north of the part that is taken, degrees.
    lon
        West and east, degrees, in any convention.
    overwrite
        Replace an output that exists.
    """
    import sys

    from skyweave.errors import SkyweaveError
    from skyweave.grid import Grid
    from skyweave.io.axes import find_time
    from skyweave.io.read import open_fields
    from skyweave.io.regridded import regrid_fields, regular_grid, write_in_blocks
    from skyweave.io.store import check_output
    from skyweave.limits import check_counts
    from skyweave.observe.quantities import WIND_COMPONENTS, quantity_of
    from skyweave.state import Variable

    if (resolution is None) == (like is None):
        raise SkyweaveError("give either --resolution, in degrees, or --like, a file with the grid wanted")
    if resolution is not None and len(resolution) > 2:
        raise SkyweaveError(f"--resolution {resolution}: one number, or two for latitude and longitude")
    check_counts(label="--every", every=every)
    if "://" not in str(out):
        check_output(out, overwrite)
    region = {axis: bounds for axis, bounds in (("lat", lat), ("lon", lon)) if bounds is not None}
    fields = open_fields(paths, variables, region=region or None, time=period)
    time = find_time(fields)
    if every > 1 and time is not None:
        fields = fields.isel({time: slice(None, None, every)})
    source = Grid.from_dataset(fields)
    if resolution is not None:
        target = regular_grid((resolution[0], resolution[-1]), source)
    else:
        target = Grid.from_dataset(open_fields(str(like)))
    winds = [
        str(name)
        for name, field in fields.data_vars.items()
        if quantity_of(Variable(str(name).split("@")[0], "", str(field.attrs.get("standard_name", ""))))
        in WIND_COMPONENTS
    ]
    moved = regrid_fields(fields, target, method, vectors=winds)
    print(f"{', '.join(map(str, moved))}: {source.describe()}")
    print(f"  {method} to {target.describe()}", flush=True)

    def tell(done: int, count: int) -> None:
        if sys.stderr.isatty() or done == count or done % max(1, count // 20) == 0:
            end = "\r" if sys.stderr.isatty() and done < count else "\n"
            print(f"  {done} of {count} blocks", end=end, file=sys.stderr, flush=True)

    # What is resumed must be the same work.
    work = f"regridded by {method} from {source.describe()} to {target.describe()}"
    write_in_blocks(moved, out, overwrite=overwrite, message=work, tell=tell)
    print(f"wrote {out}")
