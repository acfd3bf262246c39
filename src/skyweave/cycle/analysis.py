"""One analysis: the posterior of a state given a forecast of it and what was observed."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from skyweave.cycle.forecast import GaussianForecast
from skyweave.cycle.fused import FusedObserved, FusedSolver
from skyweave.diffusion.noise import NoiseStream
from skyweave.posterior.kalman import KalmanSolver, Observed
from skyweave.posterior.sample import Method, sample_posterior

__all__ = ["analyse"]


def analyse(
    prior: Any,
    forecast: GaussianForecast | None,
    observed: Observed | None,
    noise: NoiseStream,
    *,
    method: Method | None = None,
    solver: KalmanSolver | None = None,
    key: object = 0,
    members: Tensor | None = None,
) -> Tensor:
    r"""Members of ``p(x | z, y)``, drawn from the prior with forecast and observations as sources.

    .. math:: p(x \mid z, y) \propto p(x)\, \mathcal N(z; G x, F)\, \mathcal N(y; H(x), R)

    Args:
        prior: a denoiser that knows its error covariance, of states ``(1, C, H, W)``.
        forecast: ``z, G, F`` in normalised units; ``None`` for an analysis without one.
        observed: what was observed at this time; ``None`` or an empty set for nothing.
        noise: streams of the members wanted.
        method: guidance by covariance with any sampler; other guidance needs errors that are diagonal.
        solver: keeps factors from batch to batch; must be new for every time.
        key: names the time among those that share the solver.
        members: as in `sample_posterior`: where the sampler begins.

    Returns:
        Normalised states ``(M, 1, C, H, W)``.

    Raises:
        ValueError: neither a forecast nor an observation.
    """
    shape = prior.covariance(float("inf")).shape
    if forecast is None:
        if observed is None:
            raise ValueError("an analysis needs a forecast or observations")
        return sample_posterior(
            prior,
            prior,
            observed,
            noise,
            shape,
            method,
            solver=solver or KalmanSolver(),
            key=key,
            members=members,
        )
    fused = FusedObserved(forecast, shape, observed)
    return sample_posterior(
        prior, prior, fused, noise, shape, method, solver=solver or FusedSolver(), key=key, members=members
    )
