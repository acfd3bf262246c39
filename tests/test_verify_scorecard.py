"""The scorecard gathers the scores, and the table prints them."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch

from skyweave.verify import coverage, crps, mae, melr, rmse, scorecard, scorecards, table


@pytest.fixture
def case() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    draws = torch.randn(13, 4, 8, 10, generator=generator)
    observed = torch.rand(4, 8, 10, generator=generator) < 0.3
    return draws[:12], draws[12], observed


def test_the_card_holds_the_scores_of_their_own_functions(case):
    ensemble, truth, observed = case
    grid = SimpleNamespace(area=torch.rand(8, 10).double().numpy() + 0.1, periodic=True)
    area = torch.as_tensor(grid.area)
    card = scorecard(ensemble, truth, observed=observed, grid=grid, deviation=2.0)
    mean = ensemble.double().mean(dim=0)
    assert card["rmse"] == pytest.approx(float(rmse(mean, truth, weights=area)))
    assert card["crps_unobserved"] == pytest.approx(
        float(crps(ensemble, truth, weights=area, where=~observed))
    )
    assert card["coverage90"] == pytest.approx(float(coverage(ensemble, truth, weights=area)))
    assert card["melr_member"] == pytest.approx(float(melr(ensemble, truth, periodic=True)))
    assert card["melr_mean"] == pytest.approx(float(melr(mean, truth, periodic=True)))
    assert card["nrmse_mean"] < card["nrmse_member"]


def test_observed_cells_do_not_touch_the_unobserved_scores(case):
    ensemble, truth, observed = case
    spoilt = torch.where(observed, ensemble + 100.0, ensemble)
    card, other = (scorecard(e, truth, observed=observed) for e in (ensemble, spoilt))
    for key in card:
        assert (card[key] == other[key]) == key.endswith("_unobserved")


def test_a_deterministic_method_has_mae_for_crps_and_dashes_for_spread(case):
    ensemble, truth, _ = case
    card = scorecard(ensemble[:1], truth)
    assert card["crps"] == pytest.approx(float(mae(ensemble[0], truth)))
    assert math.isnan(card["ssr"])
    assert math.isnan(card["coverage90"])
    last = table([{"method": "nearest", **card}], ["method", "crps", "ssr", "coverage90"]).splitlines()[-1]
    assert [c.strip() for c in last.strip("|").split("|")][2:] == ["-", "-"]


def test_missing_truth_is_left_out_and_missing_members_are_not(case):
    ensemble, truth, _ = case
    holed = truth.clone()
    holed[0, 0, 0] = math.nan
    assert math.isfinite(scorecard(ensemble, holed)["crps"])
    gappy = ensemble.clone()
    gappy[:, 1, 2, 3] = math.nan
    card = scorecard(gappy, truth)
    assert all(math.isnan(card[key]) for key in ("rmse", "crps", "ssr", "coverage90"))


def test_each_variable_has_its_own_card(case):
    ensemble, truth, observed = case
    scale = torch.tensor([1.0, 1000.0])[:, None, None]
    both, true = ensemble[:, :, None] * scale, truth[:, None] * scale
    cards = scorecards(both, true, ["t2m", "msl"], observed=observed[:, None])
    assert list(cards) == ["t2m", "msl"]
    assert cards["msl"]["rmse_unobserved"] == pytest.approx(1000 * cards["t2m"]["rmse_unobserved"], rel=1e-5)
    assert cards["t2m"] == pytest.approx(scorecard(ensemble, truth, observed=observed))
    with pytest.raises(ValueError, match="names"):
        scorecards(both, true, ["t2m"])


def test_shapes_that_do_not_fit_are_refused(case):
    ensemble, truth, _ = case
    with pytest.raises(ValueError, match="shape"):
        scorecard(ensemble, truth[0])


def test_the_table_is_aligned_markdown():
    rows = [
        {"method": "optimal interpolation", "rmse": 0.5, "evaluations": 0},
        {"method": "covariance", "rmse": 0.123456, "evaluations": 32, "seconds": 1234.5},
    ]
    lines = table(rows).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert [c.strip() for c in lines[0].strip("|").split("|")] == ["method", "rmse", "evaluations", "seconds"]
    assert [c.strip() for c in lines[2].strip("|").split("|")] == ["optimal interpolation", "0.500", "0", "-"]
    assert "0.123" in lines[3]
    assert lines[1].startswith("| --")
    assert lines[1].rstrip(" |").endswith(":")
