"""Every odd input gives its right value, or a refusal that says what to do."""

from __future__ import annotations

import pytest

from odd_cases import all_cases, outcome

CASES = all_cases()


@pytest.mark.parametrize("case", CASES, ids=[f"{c.kind}: {c.what}" for c in CASES])
def test_an_odd_input_is_read_rightly_or_refused(case, tmp_path):
    right, told = outcome(case, tmp_path)
    assert right, f"right is {case.right!r}, but it {told}"


def test_no_case_is_told_twice():
    names = [(c.kind, c.what) for c in CASES]
    assert len(set(names)) == len(names)
