"""Gaps as clouds make them: from total cloud cover, from the gaps of real files, from a simulator of clouds.

Masks are true where there is an observation, so that ``field.where(mask)`` is what was seen.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from skyweave.damage import reading
from skyweave.errors import SkyweaveError
from skyweave.grid import EARTH_RADIUS, Grid
from skyweave.regrid import bilinear, conservative
from skyweave.state import time_dim
from skyweave.units import conversion

__all__ = ["cloud_cover_mask", "cloud_sequence", "gap_masks"]

Mask = NDArray[np.bool_]


def cloud_cover_mask(
    cover: xr.DataArray, gamma: float, like: Grid | xr.Dataset | xr.DataArray | None = None
) -> xr.DataArray:
    r"""What is observed under a field of total cloud cover.

    .. math:: M(t, i, j) = \begin{cases} 0 & \mathrm{TCC}(t, i, j) > \gamma \\ 1 & \text{otherwise} \end{cases}

    The cover is brought to the target grid first: as an area mean, or by linear interpolation where the
    target is the finer grid. Where the cover is missing, nothing is observed. A cover that is opened lazily
    gives a mask that is computed when it is used.

    Args:
        cover: total cloud cover on (time,) lat, lon, as a fraction or, by its units, in percent.
        gamma: threshold, a fraction, 0 to 1.
        like: grid of the mask, and its times if it has some: each takes the cover nearest in time, no farther
            than one step of the cover.

    Returns:
        Boolean (time,) lat, lon with the coordinates of ``like``, or of the cover without it.

    Raises:
        SkyweaveError: a threshold out of range, values that are no cloud cover, a target beyond the cover in
            space or time.

    Reference: AODDiff, Section 2.3.1.
    """
    if not 0 <= gamma <= 1:
        raise SkyweaveError(f"gamma {gamma}: the threshold is a fraction of cloud cover, 0 to 1")
    name = str(cover.name or "cloud cover")
    scale, _ = conversion(str(cover.attrs.get("units", "")), "1", f"cloud cover {name!r}")
    if "expver" in cover.dims:
        # ERA5 and its preliminary months in one file: each step has values in one of the two.
        cover = cover.max("expver")
    source = Grid.from_dataset(cover)
    target = source if like is None else like if isinstance(like, Grid) else Grid.from_dataset(like)
    time = time_dim(cover)
    plane = source.dims_in(cover)
    cover = cover.transpose(*([] if time is None else [time]), *plane)
    if isinstance(like, (xr.Dataset, xr.DataArray)) and (wanted := time_dim(like)) is not None:
        cover, time = _nearest_times(cover, time, like[wanted], name), wanted
    weights = None if target.same_as(source) else _weights(source, target, name)

    def observed(block: np.ndarray) -> np.ndarray:
        known = np.isfinite(block)
        if known.any() and not -0.01 <= scale * block[known].min() <= scale * block[known].max() <= 1.01:
            raise SkyweaveError(
                f"cloud cover {name!r}: values from {block[known].min():g} to {block[known].max():g} with units "
                f"{cover.attrs.get('units', 'not given')!r}; give a fraction, or set the units to '%'"
            )
        flat = scale * block.reshape(-1, source.size).astype(np.float64)
        moved = flat if weights is None else (weights @ flat.T).T
        # Single precision must not hide a cell whose cover is the threshold itself; NaN compares false.
        return (moved <= gamma + 1e-6).reshape(*block.shape[:-2], *target.shape)

    axes = ("_lat", "_lon")
    mask = xr.apply_ufunc(
        observed,
        cover,
        input_core_dims=[plane],
        output_core_dims=[axes],
        dask="parallelized",
        output_dtypes=[bool],
        dask_gufunc_kwargs={
            "output_sizes": dict(zip(axes, target.shape, strict=True)),
            "allow_rechunk": True,
        },
    )
    keep = [c for c in mask.coords if c == time]
    mask = mask.reset_coords(drop=True).drop_vars([c for c in mask.coords if c not in keep], errors="ignore")
    mask = mask.rename(dict(zip(axes, (target.lat_name, target.lon_name), strict=True)))
    owner = cover if like is None else None if isinstance(like, Grid) else like
    for axis, values, standard in (
        (target.lat_name, target.lat, "latitude"),
        (target.lon_name, target.lon, "longitude"),
    ):
        attrs = {
            "standard_name": standard,
            "units": f"degrees_{'north' if standard == 'latitude' else 'east'}",
        }
        mask[axis] = (axis, values, attrs) if owner is None else (axis, owner[axis].values, owner[axis].attrs)
    mask.attrs = {"long_name": f"observed: {name} of at most {gamma:g}", "units": "1", "gamma": gamma}
    return mask.rename("observed")


def gap_masks(
    field: xr.DataArray,
    where: Grid | tuple[int, int],
    length: int,
    rng: np.random.Generator,
    *,
    step: int = 1,
    missing: tuple[float, float] = (0.0, 1.0),
    tries: int = 200,
) -> Mask:
    """Real gaps laid over another grid and time axis, cell for cell and frame for frame.

    A window of the field's gaps is cut out at a random place and time, and mirrored at random. Where the
    target is larger or longer than the file, its gaps are continued by reflection, so that clouds have no
    seams and time runs back and forth. A field of one time gives every frame a place of its own.

    Args:
        field: (time,) y, x, NaN where missing, on any grid.
        where: the target grid, or its shape ``(H, W)``.
        length: number of frames, T.
        rng: source of randomness; the same state gives the same masks.
        step: take every so manyth frame: 12 makes hourly masks of a file of five minutes.
        missing: least and greatest share of missing cells of the whole sequence.
        tries: windows that are drawn in search of such a share.

    Returns:
        True where there is an observation, shape ``(T, H, W)``.

    Raises:
        SkyweaveError: a field without two dimensions in space, a length or step below one, no window with such
            a share (with the shares that were found).
    """
    shape = where.shape if isinstance(where, Grid) else (int(where[0]), int(where[1]))
    time = time_dim(field)
    if field.ndim != (2 if time is None else 3):
        raise SkyweaveError(
            f"gap_masks: the field has dimensions {field.dims}; give one variable on (time,) and two dimensions in "
            "space"
        )
    if length < 1 or step < 1 or min(shape) < 1:
        raise SkyweaveError(
            f"gap_masks: length {length}, step {step}, shape {shape}: all must be at least one"
        )
    with reading(f"gap_masks: {field.encoding.get('source', field.name)}"):
        known = np.isfinite(field.values if time is None else field.transpose(time, ...).values)
    known = known.reshape(-1, *known.shape[-2:])[::step]
    found = []
    for _ in range(max(tries, 1)):
        if len(known) == 1:
            mask = np.concatenate([_window(known, (1, *shape), rng) for _ in range(length)])
        else:
            mask = _window(known, (length, *shape), rng)
        share = 1 - float(mask.mean())
        if missing[0] <= share <= missing[1]:
            return mask
        found.append(share)
    raise SkyweaveError(
        f"gap_masks: none of {len(found)} windows of {length} x {shape[0]} x {shape[1]} misses {missing[0]:.0%} to "
        f"{missing[1]:.0%} of the cells; they miss {min(found):.0%} to {max(found):.0%}"
    )


def cloud_sequence(
    grid: Grid,
    times: np.ndarray | int,
    fraction: float,
    rng: np.random.Generator,
    *,
    persistence_hours: float = 6.0,
    drift: tuple[float, float] = (8.0, 2.0),
    size_km: float = 600.0,
    each: bool = False,
) -> Mask:
    r"""Clouds that grow, dissolve and move with a mean wind, as gaps of a sequence.

    A Gaussian field of the spectrum :math:`S(k) \propto (k_0^2 + k^2)^{-4/3}`, :math:`k_0 = 2\pi/L`, whose
    slope of -5/3 in one dimension is that of observed cloud fields, is advected and renewed mode by mode,

    .. math:: z_k(t + \Delta t) = \rho_k e^{-i k \cdot u \Delta t} z_k(t) + \sqrt{1 - \rho_k^2}\,\epsilon_k,
              \quad \rho_k = e^{-\Delta t / \tau_k}, \quad
              \tau_k = \tau \left(1 + k^2 / k_0^2\right)^{-1/3},

    so that clouds smaller than :math:`L` live shorter, as eddies of such a spectrum turn over. It is missing
    where the field is greatest. The plane is that of the middle latitude, and twice the domain wide, so that
    clouds do not come back on the other side before the domain's width has passed; a grid around the Earth
    closes in longitude.

    Args:
        grid: the domain, ``(H, W)``.
        times: datetime64, ``(T,)``, regular or not; or a number of hourly frames.
        fraction: of cells missing, 0 to 1.
        rng: source of randomness.
        persistence_hours: e-folding time :math:`\tau` of the largest clouds, moving with them.
        drift: mean wind :math:`u`, eastward and northward, m s-1.
        size_km: :math:`L`, wavelength of the largest clouds.
        each: every frame misses that fraction; by default the sequence does, and frames differ.

    Returns:
        True where there is an observation, shape ``(T, H, W)``.

    Raises:
        SkyweaveError: a fraction outside 0 to 1, no time, times that are not ascending, scales that are not
            positive.

    Reference: spectra of cloud fields: Cahalan and Snider (1989), Remote Sens. Environ. 28, 95-107.
    """
    if not 0 <= fraction <= 1:
        raise SkyweaveError(f"cloud_sequence: missing fraction {fraction}, it must lie between 0 and 1")
    if persistence_hours <= 0 or size_km <= 0:
        raise SkyweaveError(
            f"cloud_sequence: persistence_hours {persistence_hours} and size_km {size_km} must be positive"
        )
    field = _drifting_field(grid, _hours(times), rng, persistence_hours, drift, size_km)
    maps = field.reshape(len(field), -1) if each else field.reshape(1, -1)
    missing = round(fraction * maps.shape[1])
    mask = np.ones(maps.shape, bool)
    if missing:
        order = np.argpartition(maps, maps.shape[1] - missing, axis=1)[:, maps.shape[1] - missing :]
        np.put_along_axis(mask, order, False, axis=1)
    return mask.reshape(field.shape)


def _drifting_field(
    grid: Grid,
    hours: np.ndarray,
    rng: np.random.Generator,
    persistence: float,
    drift: tuple[float, float],
    size_km: float,
) -> np.ndarray:
    """The Gaussian field of `cloud_sequence` before its threshold, unit variance, float32 ``(T, H, W)``."""
    height, width = grid.shape
    km = np.pi * EARTH_RADIUS / 180e3
    dy = grid.resolution[0] * km
    dx = grid.resolution[1] * km * max(0.1, np.cos(np.radians(grid.lat.mean())))
    rows, columns = 2 * height, width if grid.periodic else 2 * width
    ky = 2 * np.pi * np.fft.fftfreq(rows, dy)[:, None]
    kx = 2 * np.pi * np.fft.rfftfreq(columns, dx)[None, :]
    # Drift and wavenumbers follow the arrays, which may run southwards or westwards.
    east = drift[0] if grid.lon_unwrapped[-1] >= grid.lon_unwrapped[0] else -drift[0]
    north = drift[1] if grid.lat[-1] >= grid.lat[0] else -drift[1]
    turn = 3.6 * (kx * east + ky * north)  # rad per hour: m s-1 are 3.6 km per hour
    relative = (kx**2 + ky**2) * (size_km / (2 * np.pi)) ** 2
    amplitude = (1 + relative) ** (-2 / 3)
    rate = (1 + relative) ** (1 / 3) / persistence

    def noise() -> np.ndarray:
        return np.fft.rfft2(rng.standard_normal((rows, columns)))

    # Variance of the field that white noise of unit variance gives through this spectrum; a real transform
    # keeps half of the columns.
    weight = np.full(kx.shape, 2.0)
    weight[0, 0] = 1.0
    if columns % 2 == 0:
        weight[0, -1] = 1.0
    norm = np.sqrt((weight * amplitude**2).sum() / (rows * columns))
    out = np.empty((hours.size, height, width), np.float32)
    modes = noise()
    for n in range(hours.size):
        if n:
            dt = hours[n] - hours[n - 1]
            kept = np.exp(-rate * dt)
            modes = kept * np.exp(-1j * turn * dt) * modes + np.sqrt(1 - kept**2) * noise()
        out[n] = np.fft.irfft2(amplitude * modes, s=(rows, columns))[:height, :width] / norm
    return out


def _hours(times: np.ndarray | int) -> np.ndarray:
    if isinstance(times, (int, np.integer)):
        hours = np.arange(float(times))
    else:
        moments = np.asarray(times, "datetime64[ns]")
        hours = (moments - moments[:1]) / np.timedelta64(1, "h")
    if hours.ndim != 1 or hours.size == 0 or not (np.diff(hours) > 0).all():
        raise SkyweaveError("cloud_sequence: give at least one time, each later than the one before")
    return hours


def _window(known: Mask, shape: tuple[int, int, int], rng: np.random.Generator) -> Mask:
    """A window at a random place; beyond its ends the mask is reflected."""
    axes = []
    for n, wanted in zip(known.shape, shape, strict=True):
        # A window that fits lies within; a larger one starts anywhere.
        start = int(rng.integers(0, n - wanted + 1 if wanted <= n else n))
        place = np.arange(start, start + wanted) % (2 * n)
        axes.append(np.where(place < n, place, 2 * n - 1 - place))
    mirrored = [axis[::-1] if rng.random() < 0.5 else axis for axis in axes[1:]]
    return known[np.ix_(axes[0], *mirrored)]


def _weights(source: Grid, target: Grid, name: str) -> Any:
    finer = all(t < 0.99 * s for t, s in zip(target.resolution, source.resolution, strict=True))
    inside = source.contains(*target.mesh())
    if not inside.all():
        raise SkyweaveError(
            f"cloud cover {name!r} covers {source.describe()}: {int((~inside).sum())} of {inside.size} cells of the "
            f"target ({target.describe()}) lie outside; fetch it for a larger region, or cut the target"
        )
    return bilinear(source, *target.mesh()) if finer else conservative(source, target)


def _nearest_times(cover: xr.DataArray, time: str | None, wanted: xr.DataArray, name: str) -> xr.DataArray:
    """The cover at the step nearest to each wanted time, with the wanted times as its own."""
    if time is None:
        raise SkyweaveError(
            f"cloud cover {name!r} has no time, but its target has; take one time of the target, or give dates"
        )
    have = np.asarray(cover[time].values, "datetime64[ns]").astype(np.int64)
    moments = np.asarray(wanted.values, "datetime64[ns]")
    order = np.argsort(have, kind="stable")
    after = np.clip(
        np.searchsorted(have[order], moments.astype(np.int64)), 1 if have.size > 1 else 0, have.size - 1
    )
    before = np.maximum(after - 1, 0)
    gap = [np.abs(have[order][side] - moments.astype(np.int64)) for side in (before, after)]
    nearest = order[np.where(gap[0] <= gap[1], before, after)]
    reach = np.median(np.diff(have[order])) if have.size > 1 else 3600e9
    far = np.minimum(*gap) > reach
    if far.any():
        raise SkyweaveError(
            f"cloud cover {name!r} has no step near {moments[far][0]!s:.19} ({int(far.sum())} of {far.size} times); "
            f"it covers {cover[time].values[order[0]]!s:.19} to {cover[time].values[order[-1]]!s:.19}"
        )
    picked = cover.isel({time: nearest}).drop_vars(time)
    return picked.rename({time: str(wanted.name)}).assign_coords({str(wanted.name): wanted.values})
