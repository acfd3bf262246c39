"""Figures of downscaling draw what they are given, and refuse what they cannot."""

import numpy as np
import pytest

from skyweave.errors import SkyweaveError
from skyweave.grid import Grid
from skyweave.regrid import coarsen
from skyweave.report.comparison import comparison_figure, score_bars_figure
from skyweave.report.dependence import lag_figure, memory_figure, series_figure, variogram_figure
from skyweave.verify.memory import lag_scores, series_memory
from skyweave.verify.variograms import Spherical, field_variogram

GRID = Grid(22 + 0.125 * np.arange(16), 44 + 0.125 * np.arange(24))
RNG = np.random.default_rng(0)
FIELDS = np.exp(RNG.standard_normal((40, *GRID.shape)))


def test_variograms_show_points_fits_and_their_numbers(tmp_path):
    curves = {
        "fine": field_variogram(FIELDS, GRID, pairs=2000),
        "other": field_variogram(2 * FIELDS, GRID, pairs=2000),
    }
    fits = {"fine": Spherical(0.1, 1.5, 120.0)}
    figure = variogram_figure(curves, fits, units="x²", reference="fine", title="T", path=tmp_path / "v.png")
    lines = figure.axes[0].lines
    np.testing.assert_array_equal(lines[0].get_xdata(), curves["fine"].distance)
    np.testing.assert_array_equal(lines[0].get_ydata(), curves["fine"].gamma)
    np.testing.assert_allclose(lines[1].get_ydata(), fits["fine"](lines[1].get_xdata()))
    texts = " ".join(t.get_text() for t in figure.texts)
    assert "nugget 0.1, sill 1.5" in texts
    assert "range 120 km" in texts
    assert (tmp_path / "v.png").stat().st_size > 5000
    with pytest.raises(SkyweaveError, match="no curve is called 'truth'"):
        variogram_figure(curves, reference="truth")
    with pytest.raises(SkyweaveError, match="at least one"):
        variogram_figure({})


def test_memory_and_lags_show_every_lag_from_one():
    memory = {
        "fine": series_memory(RNG.standard_normal(80), 12),
        "coarse": series_memory(RNG.standard_normal(60), 12),
    }
    figure = memory_figure(memory, reference="fine")
    for ax, name in zip(figure.axes, ("acf", "pacf"), strict=True):
        drawn = [line for line in ax.lines if len(line.get_xdata()) == 12]
        np.testing.assert_array_equal(drawn[0].get_ydata(), getattr(memory["fine"], name)[1:])
        np.testing.assert_array_equal(drawn[1].get_xdata(), np.arange(1, 13))
    scores = {"fine": lag_scores(FIELDS, 5)}
    figure = lag_figure(scores, units="1")
    np.testing.assert_array_equal(figure.axes[1].lines[0].get_ydata(), scores["fine"].rmse)


def test_series_are_running_means_that_pass_over_gaps():
    days = np.arange("2008-01-01", "2008-02-10", dtype="datetime64[D]")
    values = np.arange(40.0)
    values[10] = np.nan
    figure = series_figure(
        days,
        {"area mean": {"truth": values, "model": values + 1}},
        smooth=3,
        reference="truth",
        begin="2008-01-20",
    )
    drawn = figure.axes[0].lines[0].get_ydata()
    np.testing.assert_allclose(drawn[5], 5)
    np.testing.assert_allclose(drawn[10], 10)
    np.testing.assert_allclose(drawn[11], 11.5)
    with pytest.raises(SkyweaveError, match="39 values for 40 days"):
        series_figure(days, {"x": {"a": values[:-1]}})


def test_a_comparison_has_the_coarse_day_at_its_own_resolution_and_differences_below(tmp_path):
    coarse = coarsen(GRID, 8)
    predictions = {"a": FIELDS[1], "b": FIELDS[2]}
    driver = FIELDS[0].reshape(2, 8, 3, 8).mean((1, 3))
    figure = comparison_figure(
        FIELDS[0], predictions, GRID, (driver, coarse), log=True, path=tmp_path / "c.png"
    )
    titles = [ax.get_title("left") for ax in figure.axes[:6]]
    assert titles == ["fine record", "a", "b", "coarse record", "a − truth", "b − truth"]
    mesh = figure.axes[5].collections[0]
    np.testing.assert_allclose(mesh.get_array().ravel(), np.log10(FIELDS[2] / FIELDS[0]).ravel(), rtol=1e-6)
    assert figure.axes[3].collections[0].get_array().size == coarse.size
    with pytest.raises(SkyweaveError, match="at least one prediction"):
        comparison_figure(FIELDS[0], {}, GRID, (FIELDS[0], GRID))
    with pytest.raises(SkyweaveError, match="the grid has"):
        comparison_figure(FIELDS[0], {"a": FIELDS[0][:3]}, GRID, (FIELDS[0], GRID))


def test_bars_have_the_height_of_the_scores_and_whiskers_of_their_deviation():
    rows = [
        {"case": "JJA", "method": "ddpm", "r2": (0.9, 0.05), "rmse": 0.1},
        {"case": "JJA", "method": "vae", "r2": (0.4, 0.1)},
        {"case": "DJF", "method": "vae", "r2": (-3.0, 0.1), "rmse": 0.3},
    ]
    figure = score_bars_figure(rows, ("r2", "rmse"))
    heights = [patch.get_height() for patch in figure.axes[0].patches]
    assert heights == [0.9, 0.4, -3.0]
    assert figure.axes[0].get_ylim()[0] == -1
    assert len(figure.axes[1].patches) == 2
    segments = figure.axes[0].collections[0].get_segments()[0]
    np.testing.assert_allclose(segments[:, 1], [0.85, 0.95])
    with pytest.raises(SkyweaveError, match="no row has a score among crps"):
        score_bars_figure(rows, ["crps"])
