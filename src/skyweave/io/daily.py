"""Means over days, or other even steps in UTC, of finer records; lazily, and with the incomplete ones named."""

from __future__ import annotations

from dataclasses import dataclass

import dask.array as da
import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from skyweave.errors import SkyweaveError
from skyweave.io.axes import find_time, moments
from skyweave.io.stamps import check_stamps

__all__ = ["StepCoverage", "step_length", "step_means"]

TARGET_BYTES = 64 * 2**20


@dataclass(frozen=True, eq=False)
class StepCoverage:
    """How many values the mean of each step had.

    Args:
        steps: beginnings of the steps, datetime64[ns], UTC.
        count: values that each had.
        expected: values that a complete one has.
        needed: values below which a step is missing.
    """

    steps: NDArray[np.datetime64]
    count: NDArray[np.int64]
    expected: int
    needed: int

    @property
    def missing(self) -> NDArray[np.datetime64]:
        """Steps with too few values for a mean."""
        return self.steps[self.count < self.needed]

    @property
    def incomplete(self) -> NDArray[np.datetime64]:
        """Steps with fewer values than a complete one, but enough."""
        return self.steps[(self.count < self.expected) & (self.count >= self.needed)]


def step_length(step: str) -> pd.Timedelta:
    """Length of a step such as "1D", "3h" or "30min".

    Raises:
        SkyweaveError: it is no length, or neither divides the day nor is whole days.
    """
    try:
        length = pd.Timedelta(step if step[:1].isdigit() else f"1{step}")
    except ValueError:
        raise SkyweaveError(f"step {step!r}: give a length such as 1D, 3h or 30min") from None
    day = pd.Timedelta(days=1)
    if length <= pd.Timedelta(0) or (day % length and length % day):
        raise SkyweaveError(f"step {step!r}: a step divides the day, or is whole days")
    return length


def step_means(ds: xr.Dataset, step: str = "1D", least: float = 0.8) -> tuple[xr.Dataset, StepCoverage]:
    r"""Means over even steps in UTC, computed block by block when they are asked for.

    .. math:: \bar x_d = \frac{1}{n_d} \sum_{d \le t < d + \Delta} x_t

    A value belongs to the step in which its time stamp lies, or the middle of its bounds where it has them. A cell of a
    step that has values at less than the share `least` of the times is missing. Records as coarse as the step only
    have their stamps moved to its beginning.

    Args:
        ds: fields whose first dimension is the time, sorted, such as `open_fields` returns.
        step: length, a frequency such as "1D" or "3h".
        least: share of a step's values that a mean needs, in (0, 1].

    Returns:
        The means, float32, their time the beginning of the steps that have any value; and the coverage.

    Raises:
        SkyweaveError: no dates or not of the standard calendar, or a record coarser than the step.
    """
    where = str(ds.encoding.get("source", "dataset"))
    name = find_time(ds)
    if name is None or name not in ds.indexes or not isinstance(ds.indexes[name], pd.DatetimeIndex):
        raise SkyweaveError(
            f"{where}: means over steps of {step} need dates of the standard calendar; the time is "
            f"{'absent' if name is None else 'of another kind'}"
        )
    check_stamps(ds[name], where)
    ds = ds.sortby(name)
    times = moments(ds, name)
    length = step_length(step)
    apart = pd.Timedelta(np.median(np.diff(times.values))) if len(times) > 1 else length
    if apart > length * 1.001:
        raise SkyweaveError(f"{where}: its times are {apart} apart, which no mean over {step} can make finer")
    expected = max(1, round(length / apart))
    needed = max(1, int(np.ceil(least * expected - 1e-9)))
    # Counted from an origin at midnight: whole days and their parts begin there.
    steps = times.values.astype("datetime64[ns]").astype(np.int64) // length.value
    first = np.flatnonzero(np.diff(steps, prepend=steps[0] - 1))
    count = np.diff(np.append(first, len(steps)))
    starts = (steps[first] * length.value).astype("datetime64[ns]")
    out = xr.Dataset(attrs=ds.attrs)
    for variable, field in ds.data_vars.items():
        if name not in field.dims:
            out[variable] = field
            continue
        dims = (name, *[d for d in field.dims if d != name])
        data = da.asarray(field.transpose(*dims).data)
        values = _means(data, first, count, needed)
        coords = {k: v for k, v in field.coords.items() if name not in v.dims}
        attrs = (
            {**field.attrs, "cell_methods": f"{name}: mean (interval: {step})"}
            if expected > 1
            else field.attrs
        )
        out[variable] = xr.DataArray(values, {**coords, name: starts}, dims, attrs=attrs)
    out[name].attrs = dict(ds[name].attrs)
    out.encoding["source"] = where
    return out, StepCoverage(starts, count, expected, needed)


def _means(data: da.Array, first: NDArray[np.int64], count: NDArray[np.int64], needed: int) -> da.Array:
    """Segment means along the first axis; blocks hold whole segments."""
    bytes_per_time = max(1, data.dtype.itemsize * int(np.prod(data.shape[1:])))
    most = max(int(count.max()), max(data.chunks[0]), TARGET_BYTES // bytes_per_time)
    ends = np.cumsum(count)
    cuts, groups, start = [], [], 0
    while start < len(count):
        stop = int(np.searchsorted(ends, (ends[start - 1] if start else 0) + most, side="right"))
        stop = max(stop, start + 1)
        cuts.append(int(count[start:stop].sum()))
        groups.append(stop - start)
        start = stop
    ids = np.repeat(np.arange(len(first)), count).reshape(-1, *[1] * (data.ndim - 1))
    blocks = da.from_array(ids, chunks=(tuple(cuts), *[1] * (data.ndim - 1)))
    return da.map_blocks(
        _segment_means,
        data.rechunk({0: tuple(cuts)}),
        blocks,
        needed=needed,
        dtype=np.float32,
        chunks=(tuple(groups), *data.chunks[1:]),
        meta=np.empty((0,) * data.ndim, np.float32),
    )


def _segment_means(values: NDArray[np.floating], ids: NDArray[np.int64], needed: int) -> NDArray[np.float32]:
    starts = np.flatnonzero(np.diff(ids.ravel(), prepend=-1))
    seen = np.isfinite(values)
    number = np.add.reduceat(seen, starts, axis=0, dtype=np.int64)
    total = np.add.reduceat(np.where(seen, values, 0.0), starts, axis=0, dtype=np.float64)
    mean = np.divide(total, number, out=np.full(total.shape, np.nan), where=number >= needed)
    return mean.astype(np.float32)
