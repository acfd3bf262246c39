"""Scores against the `scores` package and against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import xarray as xr
from scores.continuous import mae as mae_peer
from scores.continuous import rmse as rmse_peer
from scores.probability import crps_for_ensemble

from skyweave.verify import bias, crps, crps_field, mae, nrmse, rmse, weighted_mean


@pytest.fixture
def fields() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    ensemble = torch.randn(7, 3, 5, 6, generator=generator) * 2 + 1
    truth = torch.randn(3, 5, 6, generator=generator)
    area = torch.rand(5, 6, generator=generator) + 0.1
    return ensemble, truth, area


def labelled(x: torch.Tensor) -> xr.DataArray:
    return xr.DataArray(x.double().numpy(), dims=["member", "time", "lat", "lon"][-x.ndim :])


def test_fair_crps_agrees_with_the_scores_package(fields):
    ensemble, truth, area = fields
    peer = crps_for_ensemble(
        labelled(ensemble), labelled(truth), "member", method="fair", preserve_dims="all"
    )
    np.testing.assert_allclose(crps_field(ensemble, truth).numpy(), peer.values, atol=1e-12)
    weighted = crps_for_ensemble(
        labelled(ensemble), labelled(truth), "member", method="fair", weights=labelled(area)
    )
    assert float(crps(ensemble, truth, weights=area)) == pytest.approx(float(weighted), rel=1e-12)


def test_rmse_and_mae_agree_with_the_scores_package(fields):
    ensemble, truth, area = fields
    mean = ensemble.mean(dim=0)
    args = labelled(mean), labelled(truth)
    assert float(mae(mean, truth, weights=area)) == pytest.approx(
        float(mae_peer(*args, weights=labelled(area))), rel=1e-6
    )
    assert float(rmse(mean, truth, weights=area)) == pytest.approx(
        float(rmse_peer(*args, weights=labelled(area))), rel=1e-6
    )


def test_crps_of_one_member_is_its_mean_absolute_error(fields):
    ensemble, truth, area = fields
    assert float(crps(ensemble[:1], truth, weights=area)) == float(mae(ensemble[0], truth, weights=area))


def test_fair_crps_of_a_gaussian_does_not_depend_on_the_number_of_members():
    generator = torch.Generator().manual_seed(1)
    truth = torch.zeros(40_000)
    expected = (math.sqrt(2) - 1) / math.sqrt(math.pi)  # CRPS of N(0, 1) at 0: 2 phi(0) - 1 / sqrt(pi)
    for members in (2, 5, 20):
        ensemble = torch.randn(members, 40_000, generator=generator)
        value = crps_field(ensemble, truth).mean()
        assert float(value) == pytest.approx(expected, abs=0.012)


def test_bias_is_what_was_added(fields):
    _, truth, area = fields
    assert float(bias(truth + 0.25, truth, weights=area)) == pytest.approx(0.25, rel=1e-5)
    assert float(bias(truth - 0.25, truth)) == pytest.approx(-0.25, rel=1e-5)


def test_cells_outside_the_mask_do_not_count_even_when_nan(fields):
    _, truth, area = fields
    where = torch.rand(truth.shape, generator=torch.Generator().manual_seed(2)) < 0.5
    holed = torch.where(where, truth, math.nan)
    value = weighted_mean(holed, weights=area, where=where)
    w = area.expand_as(truth)
    assert float(value) == pytest.approx(float((truth[where] * w[where]).sum() / w[where].sum()), rel=1e-6)
    assert math.isnan(float(weighted_mean(truth, where=torch.zeros_like(where))))


def test_nrmse_averages_fields_and_skips_empty_ones():
    truth = torch.zeros(3, 4, 4)
    forecast = torch.stack([torch.full((4, 4), e) for e in (1.0, 3.0, 100.0)])
    where = torch.ones(3, 4, 4, dtype=torch.bool)
    where[2] = False
    assert float(nrmse(forecast, truth, 2.0, where=where)) == pytest.approx((1 + 3) / 2 / 2)
    ensemble = torch.stack([forecast, -forecast])
    assert float(nrmse(ensemble, truth, 2.0, where=where)) == pytest.approx(1.0)
    assert float(nrmse(ensemble.mean(dim=0), truth, 2.0, where=where)) == 0.0
