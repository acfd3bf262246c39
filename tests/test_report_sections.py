"""Traces, scatter and sections: what is drawn is what was given, on axes that say what they are."""

import numpy as np
import pytest
from matplotlib.collections import PolyCollection, QuadMesh
from section_figures import Scatter, Trace, scatter_figure, section_figure, traces_figure

from skyweave.report import spectra_figure

LON = np.arange(0.0, 60.0, 2.0)
RNG = np.random.default_rng(0)


def test_a_trace_has_the_mean_and_the_central_ninety_percent(tmp_path):
    members = RNG.normal(280, 5, (40, LON.size))
    truth = members[0]
    trace = Trace("40 N", {"truth": truth, "IGRA": members}, "K", marks=([4.0, 8.0], [280.0, 281.0]))
    figure = traces_figure([trace, trace], LON, title="traces", path=tmp_path / "traces.png")
    assert (tmp_path / "traces.png").stat().st_size > 5000
    assert len(figure.axes) == 2
    ax = figure.axes[0]
    drawn = {tuple(np.round(line.get_ydata(), 6)) for line in ax.lines}
    assert tuple(np.round(truth, 6)) in drawn
    assert tuple(np.round(members.mean(0), 6)) in drawn
    (band,) = [c for c in ax.collections if isinstance(c, PolyCollection)]
    corners = band.get_paths()[0].vertices
    low, high = np.quantile(members, (0.05, 0.95), axis=0)
    assert corners[:, 1].min() == pytest.approx(low.min())
    assert corners[:, 1].max() == pytest.approx(high.max())
    assert ax.get_ylabel() == "K"


def test_traces_of_another_length_are_refused():
    with pytest.raises(ValueError, match="IGRA: 29 values at 30 positions"):
        traces_figure([Trace("t", {"IGRA": np.zeros(29)})], LON)
    with pytest.raises(ValueError, match="at least one trace"):
        traces_figure([], LON)


def test_scatter_draws_the_mean_and_says_its_error(tmp_path):
    truth = RNG.normal(0, 10, 200)
    members = truth + 3.0 + RNG.normal(0, 1, (50, 200)) * 0
    panels = [Scatter("u at sensors", truth, {"IGRA": members, "none": np.zeros(200)}, "m s-1")]
    figure = scatter_figure(panels, path=tmp_path / "scatter.png")
    (ax,) = figure.axes
    assert (tmp_path / "scatter.png").stat().st_size > 5000
    np.testing.assert_allclose(ax.lines[0].get_ydata(), truth + 3.0)
    np.testing.assert_allclose(ax.lines[0].get_xdata(), truth)
    assert [t.get_text() for t in ax.texts] == ["3", f"{np.sqrt(np.mean(truth**2)):.3g}"]
    assert ax.get_xlim() == ax.get_ylim()


def test_scatter_thins_points_but_not_the_error():
    truth = np.linspace(0, 1, 5000)
    estimate = truth.copy()
    estimate[1] += 50.0  # a point that is not drawn
    figure = scatter_figure([Scatter("t", truth, {"a": estimate})], most=500)
    (ax,) = figure.axes
    assert len(ax.lines[0].get_xdata()) == 500
    assert ax.texts[0].get_text() == f"{50 / np.sqrt(5000):.3g}"
    with pytest.raises(ValueError, match="a: 3 estimates of 5 values"):
        scatter_figure([Scatter("t", np.arange(5.0), {"a": np.zeros(3)})])


def test_sections_share_colours_and_keep_irregular_times(tmp_path):
    hours = np.array([0, 6, 18, 24])
    times = np.datetime64("2026-03-31T00", "ns") + hours * np.timedelta64(1, "h")
    truth, mean = (RNG.normal(280, 5, (4, LON.size)) for _ in range(2))
    figure = section_figure(
        {"truth": truth, "mean": mean}, times, LON, units="K", differences={"mean - truth": mean - truth},
        path=tmp_path / "section.png",
    )  # fmt: skip
    assert (tmp_path / "section.png").stat().st_size > 5000
    frames = [ax for ax in figure.axes if ax.get_title(loc="left")]
    assert [ax.get_title(loc="left") for ax in frames] == ["truth", "mean", "mean - truth"]
    meshes = [next(c for c in ax.collections if isinstance(c, QuadMesh)) for ax in frames]
    assert meshes[0].get_clim() == meshes[1].get_clim()
    assert meshes[2].get_clim()[0] == -meshes[2].get_clim()[1]
    np.testing.assert_allclose(meshes[1].get_array().reshape(4, -1), mean)
    assert frames[0].get_ylim() == (27.0, -3.0)  # edges halfway between the times; time runs downwards
    assert frames[0].get_yticklabels()[0].get_text() == "03-31 00 h"
    assert len(figure.axes) == 5  # two colour bars


def test_sections_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="two times"):
        section_figure({"a": np.zeros((1, 30))}, [0.0], LON, units="K")
    with pytest.raises(ValueError, match="a: a section of shape"):
        section_figure({"a": np.zeros((3, 30))}, [0.0, 1.0], LON, units="K")


def test_spectra_name_their_wavenumber():
    figure = spectra_figure({"truth": np.arange(1.0, 9)}, units="m s-1", wavenumber="total wavenumber")
    assert "total wavenumber" in {ax.get_xlabel() for ax in figure.axes}
