"""One analysis: the posterior of a state given a forecast of it and what was observed."""

from __future__ import annotations

from skyweave.cycle.forecast import GaussianForecast
from skyweave.cycle.fused import FusedObserved, FusedSolver
from skyweave.observe.segment import Observations
from skyweave.posterior.problem import GridPrior, Problem

__all__ = ["analysis_problem"]


def analysis_problem(
    prior: GridPrior,
    forecast: GaussianForecast | None,
    observed: Observations | None,
    *,
    tolerance: float = 0.05,
) -> Problem:
    r"""What ``p(x | z, y)`` is sampled from, by `skyweave.posterior.sample.sample_posterior`.

    .. math:: p(x \mid z, y) \propto p(x)\, \mathcal N(z; G x, F)\, \mathcal N(y; H(x), R)

    Args:
        prior: of states ``(1, C, H, W)``.
        forecast: ``z, G, F`` in normalised units; ``None`` for an analysis without one.
        observed: what was observed at this time; ``None`` or an empty set for nothing.
        tolerance: of the solver, where there is a forecast.

    Raises:
        ValueError: neither a forecast nor an observation.
    """
    if forecast is not None:
        fused = FusedObserved(forecast, prior.shape, observed)
        return Problem(prior, fused, FusedSolver(fused, tolerance=tolerance))
    if observed is None:
        raise ValueError("an analysis needs a forecast or observations")
    return Problem(prior, observed)
