"""DINEOF: gaps filled with the leading empirical orthogonal functions of the gappy data themselves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from skyweave.baselines.climatology import Climatology, physical_members
from skyweave.baselines.gappy import fill_space, fill_time, gappy_maps
from skyweave.baselines.located import Floats, Observed
from skyweave.errors import SkyweaveError
from skyweave.grid import Grid
from skyweave.state import StateSpec
from skyweave.transform import StateTransform

__all__ = ["Filled", "dineof", "fill_matrix", "laplacian_filter", "withhold"]

TOLERANCE = 1e-4
"""Root mean square change of the filled values, in standard deviations of the data, at which iterations end."""
ITERATIONS = 500
PATIENCE = 3
"""Modes tried after the best number before the search ends."""
PARSIMONY = 1e-3
"""Gain of cross-validation error, in standard deviations, for which one more mode is not worth it."""
OVERSAMPLE = 4
"""Directions followed beyond the modes wanted, so that those converge faster."""
ROUNDS = 3
"""How often each frame is offered the gaps of another for cross-validation."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Filled:
    """A completed matrix and how it came about.

    Args:
        values: the data, and the reconstruction where there were none; ``(cells, frames)``.
        modes: number of modes chosen.
        errors: root mean square error at the withheld values for ``1, 2, ...`` modes, until the search ended.
        withheld: which values served the choice, ``(cells, frames)``.
    """

    values: Floats
    modes: int
    errors: Floats
    withheld: Mask


def dineof(
    observed: Observed,
    spec: StateSpec,
    grid: Grid,
    *,
    transform: StateTransform | None = None,
    climatology: Climatology | None = None,
    members: int = 1,
    seed: int = 0,
    history: NDArray[np.floating] | None = None,
    max_modes: int = 20,
    tolerance: float = TOLERANCE,
    smoothing: float = 0.0,
    passes: int = 3,
) -> NDArray[np.float32]:
    """Data interpolating empirical orthogonal functions of the normalised values of each variable.

    The matrix of cells and frames has a gap wherever `gappy_maps` has none to give; `fill_matrix` fills it.
    Cells that were never seen are interpolated linearly in space, frames without observations linearly in time.
    With a single frame and no history there are no functions to find, and every gap is filled in space.

    Args:
        observed: as all that follow in `skyweave.baselines`.
        history: frames right before the segment, ``(N, C, H, W)``, physical units, NaN in their gaps.
        max_modes: most modes tried.
        tolerance: as in `fill_matrix`, with `smoothing` and `passes`.

    Raises:
        SkyweaveError: history of another shape; numbers out of range.
    """
    maps = gappy_maps(observed, grid)
    T, C, H, W = maps.shape
    if history is not None:
        history = np.asarray(history, np.float64)
        if history.ndim != 4 or history.shape[1:] != (C, H, W):
            raise SkyweaveError(
                f"dineof: history has shape {history.shape}, the state needs (N, C, H, W) = (N, {C}, {H}, {W})"
            )
        maps = np.concatenate([history, maps])
    z = maps if transform is None else transform.forward(torch.from_numpy(maps)).numpy()
    for c in range(C):
        matrix = z[:, c].reshape(len(z), H * W).T
        cells, frames = (np.flatnonzero(np.isfinite(matrix).any(k)) for k in (1, 0))
        if len(frames) > 1:
            filled = fill_matrix(
                matrix[np.ix_(cells, frames)],
                max_modes=max_modes,
                tolerance=tolerance,
                smoothing=smoothing,
                passes=passes,
                times=frames.astype(np.float64),
                seed=seed,
            )
            matrix[np.ix_(cells, frames)] = filled.values
        field = fill_time(matrix.T.reshape(len(z), H, W))
        for t in range(T):
            z[len(z) - T + t, c] = fill_space(field[len(z) - T + t], grid)
    x = z[-T:]
    if climatology is not None:
        x = np.where(np.isnan(x), climatology.mean.double().numpy(), x)
    return physical_members(torch.from_numpy(x[None].copy()), transform, spec)


def fill_matrix(
    data: Floats,
    *,
    max_modes: int = 20,
    tolerance: float = TOLERANCE,
    smoothing: float = 0.0,
    passes: int = 3,
    times: Floats | None = None,
    seed: int = 0,
    share: float = 0.03,
) -> Filled:
    r"""Fill the gaps of a matrix with the fewest modes that predict withheld values best.

    .. math:: X \leftarrow X \text{ at data}, \quad X \leftarrow U_k S_k V_k^T \text{ in gaps}

    of the anomalies from the mean of all data, zero in gaps at first, until the gaps change by less than
    `tolerance` standard deviations. That is done for ``k = 1, 2, ...``, each from the result of the one before,
    without the withheld values; then once more with all data and the ``k`` of the least error. Where `smoothing`
    is positive, ``V_k`` are eigenvectors of the filtered covariance in time, ``F X^T X F^T``, and the
    reconstruction is ``X V_k V_k^T``.

    Args:
        data: ``(cells, frames)``, NaN in gaps; something in every row and column.
        max_modes: most modes tried.
        tolerance: of the iterations.
        smoothing: ``alpha`` of the Laplacian filter in time, steps squared; zero for none.
        passes: of the filter; a period of ``2 pi sqrt(alpha passes)`` steps is damped by ``1 / e``.
        times: of the frames, in steps; by default one apart.
        seed: of the withheld values.
        share: of the data that is withheld, at least 30 values where there are enough.

    Raises:
        SkyweaveError: no data, a tolerance or number of modes that is not positive, or a filter that is unstable.

    Reference: Beckers and Rixen (2003), doi 10.1175/1520-0426(2003)020<1839:ECADFF>2.0.CO;2; Alvera-Azcarate et
    al. (2005), doi 10.1016/j.ocemod.2004.08.001; filter: Alvera-Azcarate et al. (2009),
    doi 10.5194/os-5-475-2009.
    """
    present = np.isfinite(data)
    if max_modes < 1 or tolerance <= 0:
        raise SkyweaveError(
            f"dineof: max_modes is {max_modes} and tolerance {tolerance}, both must be positive"
        )
    if not present.any():
        raise SkyweaveError("dineof: the matrix has no data at all")
    frames = data.shape[1]
    axis = np.arange(frames, dtype=np.float64) if times is None else times
    F = laplacian_filter(axis, smoothing, passes) if smoothing else None
    mean = float(data[present].mean())
    anomaly = np.where(present, data - mean, 0.0)
    scale = float(anomaly[present].std())
    nothing = np.zeros_like(present)
    limit = min(max_modes, *(size - 1 for size in data.shape))
    if limit < 1 or scale <= 1e-12 * max(abs(mean), 1e-12):
        return Filled(np.where(present, data, mean), 0, np.empty(0), nothing)
    withheld = withhold(present, seed, share)
    if not withheld.any():
        one = _iterate(anomaly, present, 1, scale * tolerance, F)
        return Filled(np.where(present, data, mean + one), 1, np.empty(0), withheld)
    kept, x = present & ~withheld, np.where(withheld, 0.0, anomaly)
    errors: list[float] = []
    best, start = 0, x
    for k in range(1, limit + 1):
        x = _iterate(x, kept, k, scale * tolerance, F)
        errors.append(float(np.sqrt(np.mean((x - anomaly)[withheld] ** 2))))
        if k == 1 or errors[-1] < errors[best] - PARSIMONY * scale:
            best, start = k - 1, x
        if k - 1 - best >= PATIENCE:
            break
    done = _iterate(np.where(present, anomaly, start), present, best + 1, scale * tolerance, F)
    return Filled(np.where(present, data, mean + done), best + 1, np.array(errors), withheld)


def withhold(present: Mask, seed: int = 0, share: float = 0.03, least: int = 30) -> Mask:
    """Data set aside for cross-validation: the gaps of other frames laid over frames, then single values.

    Gaps of real data come in clouds, and a value next to its neighbours is easier to predict than one in a
    cloud. They come from many frames, no more than a tenth of any, and the last value of a cell is never taken.

    Args:
        present: ``(cells, frames)``.
        seed: of the draw.
        share: of the data.
        least: fewest values, as far as a third of the data goes.

    Reference: Alvera-Azcarate et al. (2005), doi 10.1016/j.ocemod.2004.08.001, for clouds.
    """
    rng = np.random.default_rng(seed)
    wanted = min(max(int(share * present.sum()), least), int(present.sum()) // 3)
    out = np.zeros_like(present)
    left = present.sum(1)
    frames = present.shape[1]
    # Some frames have the gaps of the one drawn for them; later rounds draw another.
    for t in np.concatenate([rng.permutation(frames) for _ in range(ROUNDS)]):
        of_frame = int(present[:, t].sum()) // 10 - int(out[:, t].sum())
        room = max(min(wanted - int(out.sum()), of_frame), 0)
        gaps = ~present[:, rng.integers(frames)]
        cloud = np.flatnonzero(present[:, t] & ~out[:, t] & gaps & (left > 1))
        # Of a cloud too large, a run of neighbouring cells rather than a sprinkle.
        begin = int(rng.integers(max(0, len(cloud) - room) + 1))
        taken = cloud[begin : begin + room]
        out[taken, t] = True
        left[taken] -= 1
    count = int(out.sum())
    single = rng.permutation(np.flatnonzero(present & ~out))
    for cell, t in zip(*np.unravel_index(single, present.shape), strict=True):
        if count >= wanted:
            break
        if left[cell] > 1:
            out[cell, t] = True
            left[cell] -= 1
            count += 1
    return out


def laplacian_filter(times: Floats, smoothing: float, passes: int) -> Floats:
    r"""The matrix of a diffusion in time, ``(n, n)``; its rows sum to one.

    .. math:: F = (1 + \alpha \Delta)^p, \qquad (\Delta f)_i = \frac{2}{h_i + h_{i-1}}
              \left(\frac{f_{i+1} - f_i}{h_i} - \frac{f_i - f_{i-1}}{h_{i-1}}\right)

    with ``h_i`` the steps between frames and no flux at either end.

    Args:
        times: ascending.
        smoothing: ``alpha``, units of time squared.
        passes: ``p``.

    Raises:
        SkyweaveError: a negative number, or one so large that the diffusion is unstable.

    Reference: Alvera-Azcarate et al. (2009), doi 10.5194/os-5-475-2009.
    """
    h = np.diff(times)
    stable = 0.25 * float(h.min()) ** 2 if len(h) else np.inf
    if not 0 <= smoothing <= stable or passes < 1:
        raise SkyweaveError(
            f"dineof: smoothing {smoothing} in {passes} passes; smoothing must lie between 0 and a quarter of the "
            f"shortest time step squared, {stable:g}, with one pass or more"
        )
    n = len(times)
    difference = np.diff(np.eye(n), axis=0) / h[:, None]
    around = np.concatenate([h[:1], 0.5 * (h[1:] + h[:-1]), h[-1:]])
    flux = np.concatenate([difference, np.zeros((1, n))]) - np.concatenate([np.zeros((1, n)), difference])
    return np.linalg.matrix_power(np.eye(n) + smoothing * flux / around[:, None], passes)


def _iterate(x: Floats, present: Mask, k: int, tolerance: float, F: Floats | None) -> Floats:
    """Replace the gaps by the reconstruction with ``k`` modes until they no longer change."""
    gaps = ~present
    if not gaps.any():
        return x
    x = x.copy()
    V = _leading(x, None, k, F, sweeps=8)
    for _ in range(ITERATIONS):
        V = _leading(x, V, k, F, sweeps=1)
        new = ((x @ V[:, :k]) @ V[:, :k].T)[gaps]
        change = float(np.sqrt(np.mean((new - x[gaps]) ** 2)))
        x[gaps] = new
        if change < tolerance:
            break
    return x


def _leading(x: Floats, V: Floats | None, k: int, F: Floats | None, sweeps: int) -> Floats:
    """Leading right singular vectors by subspace iteration from those of the iterate before, ``(frames, >= k)``.

    Between two iterations the matrix hardly changes, so that one sweep keeps up with it.
    """
    if V is None:
        size = min(k + OVERSAMPLE, x.shape[1])
        V = np.linalg.qr(np.random.default_rng(0).standard_normal((x.shape[1], size)))[0]
    for _ in range(sweeps):
        V = x.T @ (x @ (V if F is None else F.T @ V))
        V = np.linalg.qr(V if F is None else F @ V)[0]
    # Rayleigh-Ritz: the best combinations within the subspace, in order.
    y = x @ (V if F is None else F.T @ V)
    values, vectors = np.linalg.eigh(y.T @ y)
    return V @ vectors[:, np.argsort(values)[::-1]]
