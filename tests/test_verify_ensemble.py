"""A calibrated ensemble of any size must look calibrated, and a false one must not."""

from __future__ import annotations

import math

import pytest
import torch

from skyweave.verify import coverage, rank_histogram, spread, spread_skill_ratio

CELLS = 60_000


def exchangeable(members: int, seed: int, skew: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """Members and truth drawn from one distribution whose centre varies from cell to cell."""
    generator = torch.Generator().manual_seed(seed)
    centre = 5 * torch.randn(CELLS, generator=generator)
    draws = torch.randn(members + 1, CELLS, generator=generator)
    draws = centre + (draws.exp() if skew else draws)
    return draws[:-1], draws[-1]


@pytest.mark.parametrize("members", [2, 5, 16, 24, 50])
@pytest.mark.parametrize("skew", [False, True])
def test_calibrated_ensembles_of_any_size_have_nominal_coverage(members, skew):
    ensemble, truth = exchangeable(members, seed=members, skew=skew)
    for level in (0.5, 0.9):
        # The standard error is below sqrt(0.25 / CELLS) = 0.002.
        assert float(coverage(ensemble, truth, level)) == pytest.approx(level, abs=0.006)


@pytest.mark.parametrize("members", [2, 5, 16, 24, 50])
def test_calibrated_ensembles_of_any_size_have_spread_skill_one(members):
    ensemble, truth = exchangeable(members, seed=100 + members)
    assert float(spread_skill_ratio(ensemble, truth)) == pytest.approx(1.0, abs=0.015)


def test_coverage_by_rank_is_the_members_own_interval_where_that_is_exact():
    # With 19 members the 90 % interval runs from the lowest to the highest member.
    ensemble, truth = exchangeable(19, seed=3)
    inside = (truth > ensemble.amin(dim=0)) & (truth < ensemble.amax(dim=0))
    assert float(coverage(ensemble, truth, 0.9)) == pytest.approx(float(inside.double().mean()), abs=1e-9)


def test_narrow_and_wide_ensembles_are_told_apart():
    ensemble, truth = exchangeable(20, seed=4)
    centre = ensemble.mean(dim=0)
    narrow, wide = centre + (ensemble - centre) / 2, centre + (ensemble - centre) * 2
    assert float(coverage(narrow, truth)) < 0.7
    assert float(coverage(wide, truth)) > 0.98
    ratio = float(spread_skill_ratio(ensemble, truth))
    assert float(spread_skill_ratio(narrow, truth)) == pytest.approx(ratio / 2, rel=1e-4)
    assert float(spread_skill_ratio(wide, truth)) == pytest.approx(ratio * 2, rel=1e-4)


def test_ties_count_in_part_and_need_no_random_numbers():
    zeros = torch.zeros(10, 8)
    assert float(coverage(zeros, torch.zeros(8), 0.9)) == pytest.approx(0.9)
    assert torch.allclose(
        rank_histogram(zeros, torch.zeros(8)), torch.full((11,), 1 / 11, dtype=torch.float64)
    )


def test_rank_histogram_is_flat_when_calibrated_and_counts_ranks():
    ensemble, truth = exchangeable(9, seed=5)
    histogram = rank_histogram(ensemble, truth)
    assert float(histogram.sum()) == pytest.approx(1.0)
    assert torch.allclose(histogram, torch.full((10,), 0.1, dtype=torch.float64), atol=0.006)
    members = torch.arange(4.0)[:, None]
    assert rank_histogram(members, torch.tensor([1.5])).tolist() == [0, 0, 1, 0, 0]


def test_a_single_member_has_no_spread():
    one, truth = torch.zeros(1, 4), torch.ones(4)
    for value in (spread(one), spread_skill_ratio(one, truth), coverage(one, truth)):
        assert math.isnan(float(value))


def test_missing_members_make_coverage_nan_unless_masked():
    ensemble, truth = exchangeable(5, seed=6)
    ensemble[0, 0] = math.nan
    where = torch.ones(CELLS, dtype=torch.bool)
    assert math.isnan(float(coverage(ensemble, truth)))
    where[0] = False
    assert math.isfinite(float(coverage(ensemble, truth, where=where)))


@pytest.mark.parametrize("level", [0.0, 1.0, 90.0])
def test_a_level_outside_zero_and_one_is_refused(level):
    with pytest.raises(ValueError, match="level"):
        coverage(torch.zeros(3, 1), torch.zeros(1), level)
