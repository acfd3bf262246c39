"""What counts in what a run was made with, and what is told of how far it is."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from skyweave.io.made_with import FREE, digest_of, essential, told_apart
from skyweave.io.progress import Progress


@dataclass(frozen=True)
class Inner:
    values: np.ndarray


@dataclass(frozen=True)
class Settings:
    steps: int = 3
    mask: np.ndarray | None = None
    inner: Inner | None = None
    names: tuple[str, ...] = ("a", "b")
    device: str = field(default="cpu", metadata=FREE)


class Counting:
    """An object of no kind that is known."""

    def __init__(self, value):
        self.value, self.other = value, io.StringIO()


def test_everything_counts_but_what_is_marked_free():
    large = np.zeros(5000)
    other = large.copy()
    other[2500] = 1  # printed alike
    made = [
        Settings(),
        Settings(steps=4),
        Settings(names=("b", "a")),
        Settings(mask=large),
        Settings(mask=other),
        Settings(inner=Inner(large)),
        Settings(inner=Inner(other)),
    ]
    found = [digest_of({"settings": one}) for one in made]
    assert len(set(found)) == len(made)
    assert digest_of({"settings": Settings(device="cuda")}) == found[0]
    assert digest_of(essential({"steps": 3, "batch": 4}, free=("batch",))) == digest_of({"steps": 3})


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (torch.zeros(3), torch.ones(3)),
        (np.zeros(3), np.zeros((1, 3))),
        (xr.DataArray(np.zeros(3)), xr.DataArray(np.ones(3))),
        (xr.Dataset({"a": ("x", [1.0])}), xr.Dataset({"a": ("x", [2.0])})),
        (torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)),
        (Counting(1), Counting(2)),
        (Counting(np.zeros(2)), Counting(np.ones(2))),
        (np.float32(1), np.float32(2)),
        (np.datetime64("2020-01-01"), np.datetime64("2020-01-02")),
        (Path("a"), Path("b")),
        ({"a", "b"}, {"a", "c"}),
        (digest_of, essential),
    ],
)
def test_content_counts_whatever_holds_it(one, two):
    assert digest_of({"it": one}) == digest_of({"it": one})
    assert digest_of({"it": one}) != digest_of({"it": two})


def test_digests_of_files_that_were_written_before_stay_what_they_are():
    assert digest_of({"a": 1, "b": {"d": [1.5, None], "c": "x"}}) == "68f73e16962b39b1"


def test_what_differs_is_named():
    saved = {"a": {"b": 1, "c": [1]}, "data": "x"}
    assert told_apart(saved, {"a": {"b": 2, "c": [1]}, "data": "y"}) == " (a.b 1, now 2; data)"


@pytest.fixture
def lines(capsys):
    return lambda: capsys.readouterr().err.splitlines()


def test_a_log_gets_a_line_in_ten_seconds_with_an_estimate(lines):
    now = [0.0]
    with Progress(10, "units", clock=lambda: now[0]) as bar:
        bar.skip(4)
        for done, time in ((5, 6.0), (6, 12.0), (7, 18.0), (8, 24.0), (10, 36.0)):
            now[0] = time
            bar.to(done)
    assert lines() == [
        "     12 s  6 of 10 units, about 24 s left",
        "     24 s  8 of 10 units, about 12 s left",
        "     36 s  10 of 10 units",
    ]


def test_long_times_are_told_in_minutes_and_hours(lines):
    now = [0.0]
    with Progress(100, "units", clock=lambda: now[0]) as bar:
        now[0] = 60.0
        bar.to(10.5)
        now[0] = 3600.0
        bar.to(20)
    assert lines() == [
        "     60 s  10.5 of 100 units, about 8.5 min left",
        "   3600 s  20 of 100 units, about 4.0 h left",
    ]


def test_short_runs_and_those_that_are_not_asked_say_nothing(lines):
    for wanted in (True, False):
        now = [0.0]
        with Progress(2, "units", wanted, clock=lambda now=now: now[0]) as bar:
            now[0] = 1.0 if wanted else 100.0
            bar.to(2)
    assert lines() == []
