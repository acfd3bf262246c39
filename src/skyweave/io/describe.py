"""What is in a dataset, reported before anything is computed from it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import dask
import numpy as np
import xarray as xr

from skyweave.damage import reading
from skyweave.errors import SkyweaveError
from skyweave.grid import Grid
from skyweave.io.axes import find_time, has_dates
from skyweave.io.missing import NEVER_WRITTEN, OUT_OF_RANGE, USUAL_FILLS, reasons
from skyweave.io.undeclared import clear_fill, sample_maps


@dataclass(frozen=True)
class GridReport:
    """The grid: sizes, spans and steps in degrees."""

    shape: tuple[int, int]
    lat: tuple[float, float]
    lon: tuple[float, float]
    resolution: tuple[float, float]
    periodic: bool
    lat_name: str
    lon_name: str

    def __str__(self) -> str:
        across = "closes the circle" if self.periodic else "regional"
        return (
            f"{self.shape[0]} x {self.shape[1]} points, {self.lat_name} {self.lat[0]:g} to {self.lat[1]:g}, "
            f"{self.lon_name} {self.lon[0]:g} to {self.lon[1]:g}, {self.resolution[0]:.4g} x "
            f"{self.resolution[1]:.4g} degrees, {across}"
        )


@dataclass(frozen=True)
class TimeReport:
    """The time axis: steps, span, most frequent interval, calendar; start and end are None without dates."""

    name: str | None
    steps: int
    start: str | None = None
    end: str | None = None
    step_seconds: float | None = None
    regular: bool = True
    calendar: str | None = None

    def __str__(self) -> str:
        if self.start is None:
            return f"{self.steps} step{'s' * (self.steps != 1)}, no dates"
        if self.steps == 1:
            return f"1 step, {self.start}, calendar {self.calendar}"
        every = "" if self.step_seconds is None else f", every {_duration(self.step_seconds)}"
        gaps = "" if self.regular else " (with other intervals between some)"
        return f"{self.steps} steps, {self.start} to {self.end}{every}{gaps}, calendar {self.calendar}"


@dataclass(frozen=True)
class VariableReport:
    """One variable; shares, minimum and maximum are those of the sampled cells, in physical units.

    Of the missing, `out_of_range` lie outside the file's valid range and `never_written` hold the format's own fill.
    `fill_share` is that of a suspected fill which is clearly one, 0 where it is only a question.
    """

    name: str
    units: str
    standard_name: str
    dtype: str
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    fill: float | None
    packed: bool
    sampled: int
    missing: float
    minimum: float | None
    maximum: float | None
    suspected_fill: float | None
    fill_share: float = 0.0
    out_of_range: float = 0.0
    never_written: float = 0.0

    def __str__(self) -> str:
        size = int(np.prod(self.shape))
        sizes = ", ".join(f"{d} {n}" for d, n in zip(self.dims, self.shape, strict=True))
        parts = [f"{self.name} ({sizes})", f"units {self.units or 'not stated'}"]
        share = "" if self.sampled == size else f" of the {self.sampled} values sampled ({size} in all)"
        parts.append(f"{self.missing:.1%} missing{share}")
        if self.out_of_range:
            parts.append(f"of all, {self.out_of_range:.2%} lie outside the valid range that the file states")
        if self.never_written:
            parts.append(f"of all, {self.never_written:.2%} were never written")
        parts.append(
            "no value at all" if self.minimum is None else f"{self.minimum:.4g} to {self.maximum:.4g}"
        )
        parts.append(f"{self.dtype}{', unpacked from integers' if self.packed else ''}")
        if self.fill_share:
            parts.append(
                f"WARNING: holds {self.suspected_fill:g}: a fill value that the file does not declare, in "
                f"{self.fill_share:.2%}; exclude it by valid_range at the source, or declare it as missing_value in "
                "the file"
            )
        elif self.suspected_fill is not None:
            parts.append(f"holds {self.suspected_fill:g}: a fill value that the file does not declare?")
        return "; ".join(parts)


@dataclass(frozen=True)
class FieldsReport:
    """What `skyweave check` says about gridded input; ``str()`` prints it, ``to_dict()`` is for JSON."""

    source: str
    grid: GridReport
    time: TimeReport
    variables: tuple[VariableReport, ...]

    def to_dict(self) -> dict[str, Any]:
        """The report as plain values."""
        return asdict(self)

    def __str__(self) -> str:
        lines = [self.source, f"  grid: {self.grid}", f"  time: {self.time}"]
        return "\n".join([*lines, *(f"  {v}" for v in self.variables)])


def describe(ds: xr.Dataset, *, maps: int = 8) -> FieldsReport:
    """Report grid, time axis, calendar, units, fill values and missing share, reading a sample only.

    Args:
        ds: dataset from `open_fields`.
        maps: how many maps, evenly spread, are read of each variable.

    Raises:
        SkyweaveError: the dataset has no latitude-longitude grid.
    """
    grid = Grid.from_dataset(ds)
    plane = (grid.lat_name, grid.lon_name)
    report = GridReport(
        shape=(int(grid.lat.size), int(grid.lon.size)),
        lat=(float(grid.lat[0]), float(grid.lat[-1])),
        lon=(float(grid.lon[0]), float(grid.lon[-1])),
        resolution=(float(grid.resolution[0]), float(grid.resolution[1])),
        periodic=bool(grid.periodic),
        lat_name=grid.lat_name,
        lon_name=grid.lon_name,
    )
    fields = {str(n): v for n, v in ds.data_vars.items() if set(plane) <= set(v.dims)}
    lazy = {name: [m.data for m in sample_maps(v, plane, maps)] for name, v in fields.items()}
    with reading(str(ds.encoding.get("source", "dataset"))):
        samples = dask.compute(lazy)[0]
    empty = next((name for name, maps_ in samples.items() if not maps_), None)
    if empty is not None:
        where = str(ds.encoding.get("source", "dataset"))
        raise SkyweaveError(f"{where}: variable {empty!r} has no map: a dimension of it has length zero")
    variables = tuple(_variable(name, v, np.stack(samples[name])) for name, v in fields.items())
    # A single variable taken out of a dataset still knows its file.
    sources = [ds.encoding.get("source"), *(v.encoding.get("source") for v in fields.values())]
    source = next((str(s) for s in sources if s), "dataset")
    return FieldsReport(source, report, time_report(ds), variables)


def time_report(ds: xr.Dataset | xr.DataArray) -> TimeReport:
    """Report the time axis of a dataset: steps, span, most frequent interval, calendar."""
    name = find_time(ds)
    if name is None:
        return TimeReport(None, 1)
    steps = int(ds.sizes.get(name, 1))
    if name not in ds.coords or not has_dates(ds[name]) or steps == 0:
        return TimeReport(name, steps)
    coord = ds[name]
    values = np.atleast_1d(coord.values)
    step, regular = None, True
    if values.size > 1:
        gaps = np.diff(values)
        seconds = (
            gaps / np.timedelta64(1, "s")
            if gaps.dtype.kind == "m"
            else np.array([g.total_seconds() for g in gaps])
        )
        found, counts = np.unique(np.round(seconds, 3), return_counts=True)
        step, regular = float(found[counts.argmax()]), found.size == 1
    return TimeReport(name, steps, _date(values[0]), _date(values[-1]), step, regular, str(coord.dt.calendar))


def _date(value: Any) -> str:
    return (
        str(np.datetime_as_string(value, "s"))
        if isinstance(value, np.datetime64)
        else str(value.isoformat())[:19]
    )


def _duration(seconds: float) -> str:
    for unit, size in (("day", 86400.0), ("hour", 3600.0), ("minute", 60.0), ("second", 1.0)):
        if abs(seconds) >= size:
            n = seconds / size
            return f"{n:g} {unit}{'s' * (n != 1)}"
    return f"{seconds:g} seconds"


def _variable(name: str, field: xr.DataArray, sample: np.ndarray) -> VariableReport:
    sample = np.asarray(sample)
    finite = np.isfinite(sample) if sample.dtype.kind == "f" else np.ones(sample.shape, bool)
    values = sample[finite]
    fill = field.encoding.get("_FillValue", field.encoding.get("missing_value"))
    suspects = [
        f for f in USUAL_FILLS if values.size and np.isclose(values, f, rtol=1e-6, atol=0).mean() > 1e-3
    ]
    clear, why = clear_fill(values), reasons(sample)
    ends = [float(values.min()), float(values.max())] if values.size else []
    return VariableReport(
        name=name,
        units=str(field.attrs.get("units", "")),
        standard_name=str(field.attrs.get("standard_name", "")),
        dtype=str(field.dtype),
        dims=tuple(map(str, field.dims)),
        shape=tuple(field.shape),
        fill=_number(fill),
        packed="scale_factor" in field.encoding or "add_offset" in field.encoding,
        sampled=int(sample.size),
        missing=float(1 - finite.mean()) if finite.size else 1.0,
        minimum=min(ends, default=None),
        maximum=max(ends, default=None),
        # Only at the end of the range: 9999 Pa in the middle of a pressure field is just a value.
        suspected_fill=clear[0]
        if clear
        else next((f for f in suspects if any(np.isclose(f, e, rtol=1e-6) for e in ends)), None),
        fill_share=clear[1] if clear else 0.0,
        out_of_range=why[OUT_OF_RANGE] / max(sample.size, 1),
        never_written=why[NEVER_WRITTEN] / max(sample.size, 1),
    )


def _number(fill: Any) -> float | None:
    """The first number of a declared fill; ``None`` for none, or text that is none."""
    try:
        return None if fill is None else float(np.ravel(fill)[0])
    except (ValueError, TypeError, IndexError):
        return None
