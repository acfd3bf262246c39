"""A record of which only a stretch is in memory holds the observations that the whole would."""

import pickle

import numpy as np
import pytest

from assemble_cases import FINE, GRID, SHIFTED, SPEC, TRANSFORM, field, table
from skyweave.observe.assemble import assemble
from skyweave.observe.errors import ErrorModel
from skyweave.observe.match import TimeAxis
from skyweave.observe.observation import GridObservation, PointObservation
from skyweave.reconstruction.record import Place, Record, looked_at, observe
from skyweave.reconstruction.stretches import stretches_of, timed

HOUR = np.timedelta64(1, "h")
# Frames at unequal steps, so that the default window of a stretch is not that of the record.
FRAMES = np.datetime64("2020-01-01", "ns") + np.array([0, 6, 12, 18, 24, 27, 30, 48, 54]) * HOUR
PLACE = Place(SPEC, GRID, FRAMES, TRANSFORM, None)


def gappy(grid, times, seed=0, **more):
    rng = np.random.default_rng(seed)
    data = field(grid, rng.normal(280, 5, (len(times), *grid.shape)), times, **more)
    return data.where(rng.random(data.shape) > 0.4)


def reports(n, seed=0):
    rng = np.random.default_rng(seed)
    when = FRAMES[0] + rng.integers(-4, 60, n) * HOUR
    return table(n, seed).assign(time=when)


SOURCES = {
    "mask": lambda: GridObservation(gappy(GRID, FRAMES[::2]), 1.0),
    "around the times": lambda: GridObservation(gappy(GRID, FRAMES + HOUR, 1), 1.0, time_window="90min"),
    "two frames": lambda: GridObservation(gappy(GRID, FRAMES[[1, 4]] + 2 * HOUR), 1.0, time="interpolate"),
    "aggregate": lambda: GridObservation(gappy(FINE, FRAMES[2:5]), 1.0),
    "mean": lambda: GridObservation(gappy(SHIFTED, FRAMES), 1.0, operator="mean"),
    "points": lambda: PointObservation(reports(60)),
    "points, two frames": lambda: PointObservation(
        reports(400).assign(time=FRAMES[3] + 2 * HOUR), superob=True, time="interpolate"
    ),
    "points, thinned": lambda: PointObservation(reports(300, 1), thin="cell"),
    "points, correlated": lambda: PointObservation(
        reports(90, 2), error=ErrorModel(correlation_length_km=300)
    ),
}


def sources(kind):
    return [make() for make in SOURCES.values()] if kind == "all" else [SOURCES[kind]()]


def record(given, limit):
    axis = TimeAxis.of(FRAMES)
    parts = tuple(timed(one, axis) for one in given)
    return Record.of(PLACE, parts, stretches_of(parts, len(FRAMES), limit))


def same_rows(a, b):
    assert (a.operator.matrix != b.operator.matrix).nnz == 0
    np.testing.assert_array_equal(a.y, b.y)
    np.testing.assert_array_equal(a.R.dense(), b.R.dense())
    for name in ("source", "channel", "cell", "frame", "weight"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    assert a.sources == b.sources


@pytest.mark.parametrize("kind", [*SOURCES, "all"])
def test_every_stretch_holds_what_the_whole_holds_there(kind):
    # Of several sources all bear names, as those of a record do.
    given = [one.renamed(f"{k}") for k, one in enumerate(sources(kind))]
    whole, cut = assemble(given, SPEC, GRID, FRAMES, TRANSFORM), record(given, 1)
    assert len(cut.stretches) > 4
    assert cut.n == whole.n
    assert cut.segments() == whole.segments()
    for t0, t1 in [*whole.segments(), (1, 5), (0, len(FRAMES))]:
        same_rows(cut.segment(t0, t1), whole.segment(t0, t1))
        around, start = cut.around(t0, t1)
        for k, name in enumerate(SPEC.names):
            for found, expected in zip(
                around.cells(t0 - start, t1 - start),
                (whole.observed_mask(name), whole.support_mask(name)),
                strict=True,
            ):
                np.testing.assert_array_equal(found[:, k], expected[t0:t1])
    for mine, theirs in zip(cut.report.sources, whole.report.sources, strict=True):
        for name in ("given", "used", "rows", "dropped", "error"):
            assert getattr(mine, name) == getattr(theirs, name), name


def test_the_digest_is_that_of_the_observations_and_not_of_the_stretches():
    given = [one.renamed(f"{k}") for k, one in enumerate(sources("all"))]
    few, many = record(given, 10**6), record(given, 1)
    assert 1 < len(few.stretches) < len(many.stretches)
    assert few.fingerprint() == many.fingerprint()
    other = GridObservation(SOURCES["mask"]().data + 1e-9, 1.0, name="0")
    assert record([other, *given[1:]], 1).fingerprint() != many.fingerprint()


def test_a_sample_of_the_record_is_rows_of_the_whole():
    given = [one.renamed(f"{k}") for k, one in enumerate(sources("all"))]
    whole, cut = assemble(given, SPEC, GRID, FRAMES, TRANSFORM), record(given, 1)
    sample = looked_at(cut, 1)
    # So short a record is its own sample.
    assert sample.n == whole.n
    assert (sample.operator.matrix != whole.operator.matrix).nnz == 0
    np.testing.assert_array_equal(sample.cell, whole.cell)
    assert looked_at(whole, 1) is whole


def test_what_is_sent_elsewhere_holds_no_observation():
    cut = record([SOURCES["mask"]()], 1)
    before = cut.segment(0, 1)
    sent = pickle.loads(pickle.dumps(cut))
    assert sent._held is None
    same_rows(sent.segment(0, 1), before)


def test_a_short_record_is_held_whole_and_a_long_one_is_not(monkeypatch):
    given = sources("all")
    assert not isinstance(observe(PLACE, given), Record)
    monkeypatch.setattr("skyweave.reconstruction.stretches.STRETCH_BYTES", 10**5)
    assert isinstance(observe(PLACE, given), Record)
    assert not isinstance(observe(PLACE, given, whole=True), Record)
