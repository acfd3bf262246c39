"""What training data say of the state without any observation: mean, deviation, covariance by lag."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from skyweave.baselines.located import Observed
from skyweave.covariance.lags import lag_covariance
from skyweave.covariance.stationary import StationaryCovariance, from_lags
from skyweave.diffusion.noise import NoiseStream
from skyweave.errors import SkyweaveError
from skyweave.grid import Grid
from skyweave.posterior.background import error_covariance
from skyweave.prior.storage import LearntPrior
from skyweave.state import StateSpec, apply_bounds
from skyweave.transform import StateTransform

__all__ = ["Climatology", "climatological", "physical_members"]


@dataclass(frozen=True, eq=False)
class Climatology:
    r"""Mean, standard deviation and lag covariance of normalised states.

    .. math:: x = \bar x + s\,a, \qquad
              K_{cc'}(\tau, d) = \overline{a_c(t + \tau, r + d)\; a_{c'}(t, r)}

    averaged over all pairs of cells present in the training data.

    Args:
        mean: normalised, ``(C, H, W)``.
        deviation: ``s``, normalised, ``(C, H, W)``.
        lags: ``K``, ``(frames, C, C, h, w)``, lag zero first along both space axes and negative lags from
            the end.
    """

    mean: Tensor
    deviation: Tensor
    lags: Tensor

    @classmethod
    def fit(
        cls,
        states: Tensor,
        transform: StateTransform | None = None,
        *,
        patch: tuple[int, int] | None = None,
        local: bool = True,
        periodic: bool = False,
        frames: int = 1,
    ) -> Climatology:
        """Estimate a climatology from training states.

        Args:
            states: ``(N, C, H, W)``, physical units, in order of time, NaN where missing.
            transform: of the prior; ``None`` where the states are normalised.
            patch: lags are kept up to half of this, in cells, each way; twice the size of the domain that
                will be analysed serves it exactly. By default twice the states' own size.
            local: mean and deviation of each cell; else one number for each variable.
            periodic: the longitudes of the states close the circle.
            frames: time lags kept, ``0 .. frames - 1`` steps.

        Raises:
            SkyweaveError: fewer than two states, or no more than `frames`; a cell or variable never present.
        """
        if states.ndim != 4 or len(states) < 2 or len(states) < frames:
            raise SkyweaveError(
                f"climatology: needs states (N, C, H, W) with N at least {max(2, frames)}, "
                f"found shape {tuple(states.shape)}"
            )
        z = (states if transform is None else transform.forward(states)).float()
        over = (0,) if local else (0, 2, 3)
        present = z.isfinite()
        count = present.sum(over, keepdim=True)
        if not bool((count > 1).all()):
            what = "cell" if local else "variable"
            raise SkyweaveError(f"climatology: a {what} has fewer than two values in the training data")
        mean = z.where(present, 0.0).double().sum(over, keepdim=True) / count
        square = (z - mean).where(present, 0.0) ** 2
        variance = square.sum(over, keepdim=True) / (count - 1)
        floor = 1e-6 * variance.mean((0, 2, 3), keepdim=True)
        deviation = variance.clamp_min(floor.clamp_min(1e-30)).sqrt()
        size = z.shape[-2:]
        h, w = (2 * size[0], 2 * size[1]) if patch is None else patch
        h, w = min(h, 2 * size[0]), min(w, size[1] if periodic else 2 * size[1])
        anomalies = ((z - mean) / deviation).float()
        lags = lag_covariance(anomalies, frames, (h, w), periodic)
        # The mean taken off costs a degree of freedom; the deviation accounts for it, and so must the lags.
        unit = torch.diagonal(lags[0, :, :, 0, 0]).clamp_min(1e-30).rsqrt()
        lags = lags * (unit[:, None] * unit[None, :])[:, :, None, None]
        shape = z.shape[1:]
        return cls(
            mean[0].float().expand(shape).clone(), deviation[0].float().expand(shape).clone(), lags.float()
        )

    @classmethod
    def from_prior(cls, prior: LearntPrior, grid: Grid, times: NDArray[np.datetime64] | None) -> Climatology:
        """What a prior says of a state that it knows nothing about: mean and covariance at its largest noise level.

        Args:
            prior: with its error covariance.
            grid: where the climatology is wanted.
            times: when; the mean is that over these. ``None`` where the prior does not ask for them.

        Raises:
            SkyweaveError: no covariance is stored with the prior, or the prior does not fit the grid.
        """
        model = error_covariance(prior)
        C = len(prior.spec.variables)
        sigma = model.levels[-1].float()
        blank = torch.zeros(1, prior.spec.window if times is None else len(times), C, *grid.shape)
        with torch.no_grad():
            mean = prior.denoiser(grid, times)(blank, sigma)[0].mean(0)
        return cls(mean, torch.ones_like(mean), model.kernels[-1] * (sigma**2 / (1 + sigma**2)))

    def isel(self, i: ArrayLike, j: ArrayLike) -> Climatology:
        """The climatology of some rows and columns, by index; the covariance by lag stays."""
        rows, columns = (torch.as_tensor(np.asarray(k)) for k in (i, j))
        return replace(
            self, mean=self.mean[:, rows][..., columns], deviation=self.deviation[:, rows][..., columns]
        )

    def covariance(self, frames: int = 1, *, periodic: bool = False) -> StationaryCovariance:
        """Covariance of normalised states ``(frames, C, H, W)``; see `skyweave.covariance.stationary.from_lags`.

        Args:
            frames: time steps of the states.
            periodic: the longitudes of the domain close the circle.
        """
        C, H, W = self.mean.shape
        V = from_lags(self.lags, (frames, C, H, W), periodic=periodic)
        return V.scaled(self.deviation[None, None])

    def physical_mean(self, transform: StateTransform | None) -> NDArray[np.float64]:
        """The mean state (for a nonlinear transform the median, roughly) in physical units, ``(C, H, W)``."""
        mean = self.mean if transform is None else transform.inverse(self.mean)
        return mean.double().numpy()


def climatological(
    observed: Observed,
    spec: StateSpec,
    grid: Grid,
    *,
    transform: StateTransform | None = None,
    climatology: Climatology | None = None,
    members: int = 1,
    seed: int = 0,
) -> NDArray[np.float32]:
    """The climatological mean, or draws of the Gaussian climatology where more than one member is wanted.

    Arguments as in `skyweave.baselines`; the observations are not used.

    Raises:
        SkyweaveError: no climatology, or one of another grid.
    """
    known = required(climatology, "climatology", observed)
    T = observed.operator.shape[0]
    x = known.mean.expand(members, T, *known.mean.shape)
    if members > 1:
        V = known.covariance(T, periodic=grid.periodic)
        noise = NoiseStream(seed, range(members), range(T)).around(V.noise_shape[0])
        x = x + V.color(noise.normal(0, V.noise_shape[1:]))
    return physical_members(x, transform, spec)


def required(climatology: Climatology | None, method: str, observed: Observed) -> Climatology:
    """The climatology, if it is there and fits the state.

    Raises:
        SkyweaveError: it is not, or does not.
    """
    if climatology is None:
        raise SkyweaveError(f"{method}: needs a climatology; make one with Climatology.fit(training states)")
    if tuple(climatology.mean.shape) != tuple(observed.operator.shape[1:]):
        raise SkyweaveError(
            f"{method}: the climatology has shape (C, H, W) = {tuple(climatology.mean.shape)}, the state "
            f"{tuple(observed.operator.shape[1:])}; select its region with Climatology.isel"
        )
    return climatology


def physical_members(x: Tensor, transform: StateTransform | None, spec: StateSpec) -> NDArray[np.float32]:
    """Members ``(M, T, C, H, W)`` in physical units, within the bounds of their variables."""
    physical = x if transform is None else transform.inverse(x)
    return apply_bounds(physical, spec)[0].float().numpy()
