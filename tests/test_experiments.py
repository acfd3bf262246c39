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
    monkeypatch.syspath_prepend(str(ROOT / "experiments"))
    yield
    for name in ("aoddiff", "aoddiff_checks", "aoddiff_maps", "common"):
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
