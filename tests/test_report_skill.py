"""The worth of a forecast from reports alone, against worlds in which it is known."""

import numpy as np
import pytest

from skyweave.cycle import skill_from_reports
from skyweave.errors import SkyweaveError

CLIMATE, ERROR = 5.0, 2.0


def world(skill, amplitude, n=400_000, seed=0):
    """Truth, reports and forecasts whose correlation with the truth is ``skill`` and deviation ``amplitude``."""
    rng = np.random.default_rng(seed)
    truth, noise = CLIMATE * rng.standard_normal((2, n))
    forecast = amplitude * (skill * truth + np.sqrt(1 - skill**2) * noise) / CLIMATE
    return truth, truth + ERROR * rng.standard_normal(n), forecast


@pytest.mark.parametrize("amplitude", [5.0, 2.5, 8.0])
@pytest.mark.parametrize("skill", [0.95, 0.7, 0.3])
def test_the_error_leaves_what_the_regression_leaves(skill, amplitude):
    truth, reports, forecast = world(skill, amplitude)
    found = skill_from_reports(reports, forecast, ERROR)
    left = CLIMATE**2 * (1 - skill**2)
    assert found.gain == pytest.approx(skill * CLIMATE / amplitude, rel=0.03)
    assert found.climate == pytest.approx(CLIMATE, rel=0.02)
    assert found.residual**2 == pytest.approx(left, rel=0.05)
    assert 1 / (found.error**-2 + found.climate**-2) == pytest.approx(found.residual**2)
    # With the truth itself as reports, it is the same.
    assert skill_from_reports(truth, forecast, 0.0).error == pytest.approx(found.error, rel=0.1)


@pytest.mark.parametrize("skill", [0.0, -0.3])
def test_a_forecast_that_knows_nothing_adds_next_to_nothing(skill):
    _, reports, forecast = world(skill, CLIMATE)
    assert skill_from_reports(reports, forecast, ERROR).error > 15 * CLIMATE


def test_refusals():
    with pytest.raises(SkyweaveError, match="3 reports and 2 forecasts"):
        skill_from_reports([1, 2, 3], [1, 2], 1.0)
    with pytest.raises(SkyweaveError, match="missing values"):
        skill_from_reports([1, np.nan, 3], [1, 2, 3], 1.0)
    with pytest.raises(SkyweaveError, match="less than their errors of 9"):
        skill_from_reports([1, 2, 3], [1, 2, 3], 9.0)
    with pytest.raises(SkyweaveError, match="2 errors of 3 reports"):
        skill_from_reports([1, 2, 3], [1, 2, 3], [0.1, 0.1])
    with pytest.raises(SkyweaveError, match="missing values"):
        skill_from_reports([1, 2, 3], [1, 2, 3], [0.1, np.nan, 0.1])
