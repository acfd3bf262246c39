"""Figures: what is drawn where, on which scale, and that nothing of the caller's matplotlib changes."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.collections import PathCollection, QuadMesh
from matplotlib.image import imread

from skyweave.grid import Grid
from skyweave.report import (
    Panel,
    calibration_figure,
    coastlines,
    map_figure,
    metrics_figure,
    spectra_figure,
    spread_skill_bins,
)

GRID = Grid(np.arange(70.0, 29, -2), np.arange(340.0, 401, 2) % 360)


def field(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(280, 10, GRID.shape)


def maps(figure):
    """The axes with maps, without those of colour bars."""
    return [ax for ax in figure.axes if ax.get_title(loc="left")]


def test_panels_of_one_scale_share_colours_and_limits():
    panels = [Panel("a", field()), Panel("b", field(1) + 20), Panel("s", np.abs(field(2)) / 100, "spread")]
    figure = map_figure(panels, GRID, units="K")
    meshes = [next(c for c in ax.collections if isinstance(c, QuadMesh)) for ax in maps(figure)]
    assert meshes[0].get_clim() == meshes[1].get_clim()
    assert meshes[2].get_clim() != meshes[0].get_clim()
    assert meshes[2].get_clim()[0] == 0  # a spread starts at nothing
    assert len(figure.axes) == len(panels) + 2  # one colour bar per scale
    labels = {ax.get_xlabel() for ax in figure.axes}
    assert {"K", "standard deviation, K"} <= labels


def test_a_map_keeps_its_values_and_its_gaps():
    values = field()
    values[3:6, 4:9] = np.nan
    figure = map_figure([Panel("gaps", values)], GRID, units="K")
    (mesh,) = [c for c in maps(figure)[0].collections if isinstance(c, QuadMesh)]
    drawn = np.ma.filled(mesh.get_array().astype(float), np.nan).reshape(GRID.shape)
    np.testing.assert_array_equal(drawn, values)


@pytest.mark.parametrize("turn", [-360, 0, 360])
def test_points_and_coarse_grids_fall_on_the_map_in_any_longitude_convention(turn):
    lat, lon = np.array([40.0, 60.0]), np.array([-10.0, 20.0]) + turn
    coarse = Grid(np.arange(68.0, 30, -8), np.arange(-16.0, 40, 8) + turn)
    panels = [
        Panel("stations", points=(lat, lon, np.array([1.0, 2.0]))),
        Panel("coarse", np.zeros(coarse.shape), grid=coarse),
    ]
    points, cells = maps(map_figure(panels, GRID, units="K"))
    (west, east) = points.get_xlim()
    (marks,) = [c for c in points.collections if isinstance(c, PathCollection)]
    offsets = np.asarray(marks.get_offsets())
    np.testing.assert_allclose((offsets[:, 0] - lon) % 360, 0, atol=1e-9)
    assert ((offsets[:, 0] > west) & (offsets[:, 0] < east)).all()
    (mesh,) = [c for c in cells.collections if isinstance(c, QuadMesh)]
    assert west <= mesh.get_coordinates()[..., 0].mean() <= east


def test_coastlines_cross_the_map():
    ax = maps(map_figure([Panel("a", field())], GRID, units="K"))[0]
    inside = 0
    for line in ax.lines:
        x, y = np.asarray(line.get_xdata(), float), np.asarray(line.get_ydata(), float)
        (w, e), (s, n) = ax.get_xlim(), ax.get_ylim()
        inside += int(((x > w) & (x < e) & (y > s) & (y < n)).sum())
    assert inside > 300  # Europe
    assert (ax.get_xlim(), ax.get_ylim()) == ((339.0, 401.0), (29.0, 71.0))
    assert coastlines().shape[1] == 2


def test_values_of_another_shape_are_refused():
    with pytest.raises(ValueError, match="shape"):
        map_figure([Panel("a", np.zeros((3, 4)))], GRID, units="K")
    with pytest.raises(ValueError, match="at least one"):
        map_figure([], GRID, units="K")


def test_constant_and_missing_fields_can_be_drawn(tmp_path: Path):
    panels = [
        Panel("constant", np.full(GRID.shape, 3.0)),
        Panel("nothing", np.full(GRID.shape, np.nan), "spread"),
    ]
    map_figure(panels, GRID, units="K", path=tmp_path / "deep" / "map.png")
    assert imread(tmp_path / "deep" / "map.png").shape[1] == 1000


def test_the_callers_settings_stay_as_they_were():
    before = dict(mpl.rcParams)
    map_figure([Panel("a", field())], GRID, units="K")
    metrics_figure([{"case": "a", "method": "b", "rmse": 1.0}], ["rmse"])
    assert dict(mpl.rcParams) == before


def test_spread_skill_of_a_calibrated_ensemble_lies_on_the_diagonal():
    rng = np.random.default_rng(0)
    scale = np.exp(rng.normal(0, 0.7, 20_000))
    ensemble, truth = scale * rng.normal(size=(80, scale.size)), scale * rng.normal(size=scale.size)
    spread, error = spread_skill_bins(ensemble, truth, bins=6)
    assert spread[-1] > 3 * spread[0]
    # Groups are chosen by the sampled spread, so the outermost regress a little towards the middle.
    np.testing.assert_allclose(error[1:-1] / spread[1:-1], 1, atol=0.06)
    assert np.sqrt((error**2).mean() / (spread**2).mean()) == pytest.approx(1, abs=0.03)
    truth[:100] = np.nan
    assert np.isfinite(spread_skill_bins(ensemble, truth)).all()


def test_spectra_are_divided_by_the_reference():
    truth = np.array([9.0, 4.0, 2.0, 1.0])
    figure = spectra_figure({"truth": truth, "half": truth / 2}, units="K", length_km=1000)
    lines = {tuple(np.round(line.get_ydata(), 6)) for line in figure.axes[1].lines}
    assert lines == {(1.0, 1.0, 1.0), (0.5, 0.5, 0.5)}
    with pytest.raises(ValueError, match="truth"):
        spectra_figure({"a": truth}, units="K")


def test_charts_are_written(tmp_path: Path):
    rng = np.random.default_rng(1)
    members = np.exp(rng.normal(size=(5, 9)))
    spectra_figure({"truth": members[0], "members": members}, units="K", path=tmp_path / "spectra.png")
    groups = spread_skill_bins(rng.normal(size=(8, 500)), rng.normal(size=500))
    calibration_figure({"a": np.full(9, 1 / 9)}, {"a": groups}, units="K", path=tmp_path / "calibration.png")
    rows = [{"case": c, "method": m, "rmse": 1.0, "ssr": np.nan} for c in "ab" for m in ("x", "y")]
    figure = metrics_figure(rows, ["rmse", "ssr", "crps"], path=tmp_path / "scores.png")
    marks = [
        sum(len(line.get_xdata()) == 1 and line.get_marker() != "None" for line in ax.lines)
        for ax in figure.axes
    ]
    assert marks == [4, 0, 0]  # NaN and absent scores have no mark
    for name in ("spectra", "calibration", "scores"):
        assert imread(tmp_path / f"{name}.png").std() > 0.01
