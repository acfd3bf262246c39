"""The tables of `experiments/` on real files, in short: what is claimed there holds with the shipped priors."""

import importlib
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from skyweave.prior.storage import open_prior

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("SKYWEAVE_DATA", ROOT.parent / "shared" / "data"))

pytestmark = pytest.mark.realdata


@pytest.fixture(autouse=True)
def experiments(monkeypatch):
    monkeypatch.setenv("SKYWEAVE_DATA", str(DATA))
    yield
    multimodal = ("multimodal", "multimodal_common", "multimodal_figures")
    transfer = ("transfer_merra2", "transfer_downscaling_parts")
    for name in ("aoddiff", "aoddiff_checks", "aoddiff_maps", *multimodal, *transfer, "common"):
        sys.modules.pop(name, None)


def test_aoddiff_fills_gaps_of_goes_better_than_kriging_and_dineof():
    aoddiff, checks = importlib.import_module("aoddiff"), importlib.import_module("aoddiff_checks")
    late = checks.goes_record("2018-11-15T20:10", "2018-11-15T21:50").AOD
    cards = [aoddiff.filled(open_prior("aod"), *case) for case in aoddiff.withheld(late, 2)]
    score = {
        key: {name: float(np.mean([card[name][key] for card in cards])) for name in cards[0]}
        for key in ("RMSE", "CRPS", "coverage 90 %")
    }
    ours = {key: values.pop("skyweave default, 16") for key, values in score.items()}
    for other in score["CRPS"]:
        assert ours["RMSE"] < score["RMSE"][other], other
        assert ours["CRPS"] < 0.9 * score["CRPS"][other], other
    assert 0.85 <= ours["coverage 90 %"] <= 0.95


def test_multimodal_fuses_coarse_grids_and_stations_better_than_gaussian_methods():
    multimodal = importlib.import_module("multimodal")
    tasks = ("LR, means", "IGRA", "IGRA + LR")
    methods = {name: multimodal.METHODS[name] for name in ("bicubic", "kriging", "optimal interpolation")}
    methods = {multimodal.DEFAULT: multimodal.posterior} | methods
    cards = {}
    for task, name, pool in multimodal.pools(multimodal.cases(3), tasks, methods, 4):
        cards[task, name] = pool.summary()
        if name == multimodal.DEFAULT:
            assert pool.diverged == 0
            assert 0.8 < cards[task, name]["SSR"] < 1.1
            assert 0.86 < cards[task, name]["coverage"] < 0.94
            assert cards[task, name]["MELR"] < 0.5
            if "IGRA" in task:
                assert pool.summary("sensors")["nCRPS"] < 0.6 * pool.summary("others")["nCRPS"]
    for task in tasks:
        ours = cards[task, multimodal.DEFAULT]
        for other, most in (("bicubic", 0.7), ("kriging", 0.85), ("optimal interpolation", 0.97)):
            assert ours["nCRPS"] < most * cards[task, other]["nCRPS"], (task, other)
            assert ours["nRMSE"] < cards[task, other]["nRMSE"], (task, other)
    both, alone = cards["IGRA + LR", multimodal.DEFAULT], (cards[t, multimodal.DEFAULT] for t in tasks[:2])
    assert all(both["nCRPS"] < 0.95 * one["nCRPS"] for one in alone)


def test_multimodal_learns_of_winds_from_pressure():
    multimodal = importlib.import_module("multimodal")
    found = {}
    for seen in ((), ("msl",)):
        pool = multimodal.Pool()
        for case in multimodal.cases(2):
            given = multimodal.observe(case, "mean", False, names=seen) if seen else []
            pool.add(multimodal.posterior, case, given, 4)
        found[seen] = pool.scores()
    for wind in ("u10", "v10"):
        assert found["msl",][wind]["CRPS"] < 0.85 * found[()][wind]["CRPS"], wind


def test_downscaling_a_month_of_merra2_beats_interpolation_and_persistence(tmp_path):
    merra2 = importlib.import_module("transfer_merra2")
    merra2.world(tmp_path)
    how = {"members": 6, "steps": 8, "stride": 12}
    rows = merra2.scores(tmp_path, ("ddpm-none", "ddpm"), 2, 30, most=3, inference=how)
    ours, blind = rows["ddpm"], rows["ddpm-none"]
    for other in ("bicubic", "quantile-mapped", "persistence"):
        assert ours["CRPS log10"] < 0.8 * rows[other]["CRPS log10"], other
    for other in ("bicubic", "quantile-mapped"):
        assert ours["RMSE"] < 0.6 * rows[other]["RMSE"], other
        assert blind["CRPS log10"] < rows[other]["CRPS log10"], other
    assert ours["CRPS log10"] < 0.5 * blind["CRPS log10"]
    assert 0.85 < ours["SSR log10"] < 1.25
    assert 0.6 < ours["coverage of 71%"] < 0.85
