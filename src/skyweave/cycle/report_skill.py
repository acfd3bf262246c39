"""What a forecast adds to the climate, from reports alone: its error as a source without any truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from skyweave.errors import SkyweaveError

__all__ = ["ReportSkill", "skill_from_reports"]

MOST = 0.999
"""Share of the climate's variance that a forecast leaves at most; beyond it nothing is known of the rest."""


@dataclass(frozen=True)
class ReportSkill:
    """A forecast of one lead time and variable against reports, physical units.

    Args:
        gain: slope of the regression of the reports' anomalies on the forecast's.
        climate: standard deviation of the climate at the reports, without their errors.
        residual: standard deviation that the regression leaves of it.
        error: standard deviation of the forecast's error as a source beside a prior that knows the climate.
    """

    gain: float
    climate: float
    residual: float
    error: float


def skill_from_reports(reports: ArrayLike, forecasts: ArrayLike, error: ArrayLike) -> ReportSkill:
    r"""The error that a forecast deserves beside a prior, from past forecasts and reports of their valid times.

    With anomalies ``a`` of the reports and ``f`` of the forecasts at their places from the climate, and the reports'
    independent errors of variance ``r``,

    .. math:: g = \frac{\langle a f \rangle}{\langle f^2 \rangle}, \qquad
              c = \langle a^2 \rangle - r, \qquad p = \langle (a - g f)^2 \rangle - r, \qquad
              F = \left(p^{-1} - c^{-1}\right)^{-1}.

    A report's error is independent of the forecast, so that ``g`` is the slope on the truth, and ``p`` what is left of
    it. ``F`` is what has to be observed beside a climate of variance ``c`` for ``p`` to be left: large where the
    forecast knows nothing, so that it does not count for as much as the climate. Variances of innovations ``a - f``
    cannot tell this: of a forecast without skill they are twice the climate's, whose half would be taken for its error.

    Args:
        reports: anomalies ``a``, ``(n,)``; several hundred, of times that the prior and the model were not trained on.
        forecasts: anomalies ``f``, ``(n,)``.
        error: standard deviations of the reports' errors, ``(n,)`` or one.

    Raises:
        SkyweaveError: shapes that differ, missing values, or reports that vary less than their errors.

    Reference: Hollingsworth and Lonnberg 1986, doi 10.1111/j.1600-0870.1986.tb00460.x, for errors from innovations;
    DelSole and Tippett 2007, doi 10.1029/2006RG000202, for what a forecast adds to the climate.
    """
    a, f, e = (np.asarray(values, float).ravel() for values in (reports, forecasts, error))
    if a.shape != f.shape or a.size < 2:
        raise SkyweaveError(f"{a.size} reports and {f.size} forecasts; there must be as many, two or more")
    if e.size not in (1, a.size):
        raise SkyweaveError(f"{e.size} errors of {a.size} reports; give one, or one for each")
    if not all(np.isfinite(values).all() for values in (a, f, e)):
        raise SkyweaveError("missing values among reports, forecasts or errors; leave them out")
    r = float(np.mean(e**2))
    c = float(np.mean(a**2)) - r
    if c <= 0:
        raise SkyweaveError(
            f"the reports vary by {np.mean(a**2) ** 0.5:.4g}, less than their errors of {r**0.5:.4g}; are these right?"
        )
    g = float(a @ f) / max(float(f @ f), 1e-30)
    p = min(max(float(np.mean((a - g * f) ** 2)) - r, 1e-6 * c), MOST * c)
    if g <= 0:
        p = MOST * c
    return ReportSkill(g, c**0.5, p**0.5, (1 / (1 / p - 1 / c)) ** 0.5)
