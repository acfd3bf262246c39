"""``skyweave regrid``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

if TYPE_CHECKING:
    import xarray as xr

    from skyweave.grid import Grid

REMEDY = "--missing={fill} (--missing nan if it is a value)"
"""How the number of an undeclared fill is named here."""


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
    missing: Annotated[list[float] | None, Parameter(consume_multiple=True)] = None,
    select: Annotated[list[str] | None, Parameter(consume_multiple=True)] = None,
    overwrite: bool = False,
) -> None:
    """Bring fields to another grid of latitude and longitude, in blocks of time.

    Fields whose cells have a latitude and a longitude each (swaths, projections, rotated poles, reduced grids) are
    taken too, by --method conservative (the mean of the cells whose centres lie in a new one) or nearest. A run
    that was interrupted goes on with the same command.

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
    missing
        Numbers that mean a missing value though the file does not say so, such as -9999; nan if there are none.
    select
        Values along other dimensions, as in number=3 step=24.
    overwrite
        Replace an output that exists.
    """
    from skyweave.errors import NotRectilinearError, SkyweaveError
    from skyweave.grid import Grid
    from skyweave.io.formats import expand
    from skyweave.io.inputs import check_apart
    from skyweave.io.read import open_fields
    from skyweave.io.regridded import write_in_blocks
    from skyweave.io.store import check_output
    from skyweave.limits import check_counts

    if (resolution is None) == (like is None):
        raise SkyweaveError("give either --resolution, in degrees, or --like, a file with the grid wanted")
    if resolution is not None and len(resolution) > 2:
        raise SkyweaveError(f"--resolution {resolution}: one number, or two for latitude and longitude")
    check_counts(label="--every", every=every)
    files = expand(paths)
    if "://" not in str(out):
        check_output(out, overwrite)
        check_apart(out, [*files, like])
    size = None if resolution is None else (resolution[0], resolution[-1])
    grid = None if like is None else Grid.from_dataset(open_fields(like, forecasts=True))
    region = {axis: bounds for axis, bounds in (("lat", lat), ("lon", lon)) if bounds is not None}
    asked = _Asked(paths, variables, region, period, _selection(select or []), every, missing)
    try:
        moved, told = _of_grid(asked, grid, size, method)
    except NotRectilinearError:
        moved, told = _of_pixels(asked, grid, size, method)
    print(f"{', '.join(map(str, moved))}: {told[0]}")
    print(f"  {method} to {told[1]}", flush=True)
    # What is resumed must be the same work.
    work = f"regridded by {method} from {told[0]} to {told[1]}"
    write_in_blocks(moved, out, overwrite=overwrite, message=work, inputs=files, progress=True)
    print(f"wrote {out}")


@dataclass(frozen=True)
class _Asked:
    """What is to be regridded, as the command was given it."""

    paths: list[str]
    variables: list[str] | None
    region: dict[str, tuple[float, float]]
    period: tuple[str, str] | None
    select: dict[str, Any]
    every: int
    missing: list[float] | None

    def cleaned(self, fields: xr.Dataset) -> xr.Dataset:
        """Every N-th time of fields, the first included, without the values that are none."""
        from skyweave.io.axes import find_time
        from skyweave.io.undeclared import without_fills

        fields = without_fills(fields, self.missing, REMEDY)
        time = find_time(fields)
        if self.every == 1 or time is None or time not in fields.dims:
            return fields
        kept = fields.isel({time: slice(None, None, self.every)})
        kept.encoding["source"] = fields.encoding.get("source", "dataset")
        return kept


def _of_grid(
    asked: _Asked, target: Grid | None, size: tuple[float, float] | None, method: str
) -> tuple[xr.Dataset, tuple[str, str]]:
    """Fields of a latitude-longitude grid on the target, and both grids in words."""
    from skyweave.grid import Grid
    from skyweave.io.read import open_fields
    from skyweave.io.regridded import regrid_fields, regular_grid
    from skyweave.observe.quantities import WIND_COMPONENTS, quantity_of
    from skyweave.state import Variable

    fields = asked.cleaned(
        open_fields(
            asked.paths,
            asked.variables,
            region=asked.region or None,
            time=asked.period,
            select=asked.select,
            forecasts=True,
        )
    )
    source = Grid.from_dataset(fields)
    if target is None:
        assert size is not None
        target = regular_grid(size, source)
    winds = [
        str(name)
        for name, field in fields.data_vars.items()
        if quantity_of(Variable(str(name).split("@")[0], "", str(field.attrs.get("standard_name", ""))))
        in WIND_COMPONENTS
    ]
    moved = regrid_fields(fields, target, method, vectors=winds)
    return moved, (source.describe(), target.describe())


def _of_pixels(
    asked: _Asked, target: Grid | None, size: tuple[float, float] | None, method: str
) -> tuple[xr.Dataset, tuple[str, str]]:
    """Fields whose cells have a latitude and a longitude each on the target, and both in words."""
    from skyweave.io.pixels import open_pixels, pixel_grid, regrid_pixels

    fields, lat, lon = open_pixels(asked.paths, asked.variables, time=asked.period, select=asked.select)
    fields = asked.cleaned(fields)
    if target is None:
        assert size is not None
        target = pixel_grid(size, lat.values, lon.values)
    if asked.region:
        target = target.isel(*target.region(**asked.region))
    moved = regrid_pixels(fields, lat, lon, target, method)
    extent = f"{float(lat.min()):g} to {float(lat.max()):g} N, {float(lon.min()):g} to {float(lon.max()):g} E"
    shape = " x ".join(str(n) for n in lat.shape)
    return moved, (f"{shape} cells with positions of their own, {extent}", target.describe())


def _selection(words: list[str]) -> dict[str, Any]:
    """``DIMENSION=VALUE`` as a value along a dimension: a number where it is one."""
    from skyweave.errors import SkyweaveError

    found: dict[str, Any] = {}
    for word in words:
        dim, equals, text = word.partition("=")
        if not equals or not dim or not text:
            raise SkyweaveError(f"--select {word}: write DIMENSION=VALUE, such as number=3")
        try:
            found[dim] = float(text)
        except ValueError:
            found[dim] = text
    return found
