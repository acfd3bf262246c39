"""Distances between sets against closed forms, features of known fields, and the figures of both."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from distribution_figures import curves_figure, prior_figure
from matplotlib.collections import QuadMesh
from matplotlib.image import imread
from scipy.linalg import sqrtm

from skyweave.errors import SkyweaveError
from skyweave.grid import Grid
from skyweave.verify import (
    EXTRACTORS,
    field_features,
    frechet_distance,
    pairwise_distance,
    precision_recall,
)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def with_moments(x: torch.Tensor, mean: torch.Tensor, root: torch.Tensor) -> torch.Tensor:
    """The sample moved so that its own mean and covariance are `mean` and ``root @ root.T`` exactly."""
    x = x - x.mean(dim=0)
    white = x @ torch.linalg.inv(torch.linalg.cholesky(x.mT @ x / (len(x) - 1))).mT
    return white @ root.mT + mean


def red_fields(count: int, side: int = 32, slope: float = 1.5, seed: int = 0) -> torch.Tensor:
    f = torch.hypot(torch.fft.fftfreq(side)[:, None], torch.fft.rfftfreq(side)[None]).clamp(min=1 / side)
    x = torch.fft.irfft2(torch.fft.rfft2(normal(count, side, side, seed=seed)) * f**-slope, (side, side))
    return (x - x.mean()) / x.std()


# ---- Frechet distance


def test_frechet_of_gaussians_with_diagonal_covariances_is_the_closed_form():
    # sum (m - n)^2 + sum (s - t)^2
    s, t = torch.tensor([1.0, 2.0, 0.5]).double(), torch.tensor([3.0, 0.1, 0.5]).double()
    m, n = torch.tensor([0.0, 1.0, -2.0]).double(), torch.tensor([2.0, 1.0, 0.0]).double()
    a, b = with_moments(normal(50, 3), m, s.diag()), with_moments(normal(80, 3, seed=1), n, t.diag())
    expected = float(((m - n) ** 2).sum() + ((s - t) ** 2).sum())
    assert float(frechet_distance(a, b)) == pytest.approx(expected, rel=1e-10)


def test_frechet_of_full_covariances_agrees_with_the_matrix_root():
    a = normal(60, 5) @ normal(5, 5, seed=2) + 1
    b = normal(70, 5, seed=3) @ normal(5, 5, seed=4)
    x, y = a.numpy(), b.numpy()
    cx, cy = np.cov(x.T), np.cov(y.T)
    root = sqrtm(cx @ cy).real
    expected = ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(cx + cy - 2 * root)
    assert float(frechet_distance(a, b)) == pytest.approx(expected, rel=1e-8)
    assert float(frechet_distance(b, a)) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("count", [6, 200])  # fewer samples than features, and more
def test_frechet_is_zero_for_one_set_and_does_not_see_rotations(count):
    a, b = normal(count, 20), 2 * normal(count, 20, seed=1) + 0.3
    assert float(frechet_distance(a, a)) < 1e-10
    turn, _ = torch.linalg.qr(normal(20, 20, seed=2))
    distance = float(frechet_distance(a, b))
    assert distance > 1
    assert float(frechet_distance(a @ turn, b @ turn)) == pytest.approx(distance, rel=1e-9)
    assert float(frechet_distance(3 * a, 3 * b)) == pytest.approx(9 * distance, rel=1e-9)
    assert float(frechet_distance(a, a + 0.5)) == pytest.approx(20 * 0.25)


# ---- precision, recall, dissimilarity


def test_precision_and_recall_of_one_set_are_one_and_of_a_far_one_zero():
    x = normal(300, 4)
    assert tuple(map(float, precision_recall(x, x))) == (1.0, 1.0)
    assert tuple(map(float, precision_recall(x, x + 100))) == (0.0, 0.0)
    twins = torch.cat([x[:20]] * 5)  # balls of radius zero still hold their own copies
    assert tuple(map(float, precision_recall(twins, twins))) == (1.0, 1.0)


def test_two_samples_of_one_distribution_score_alike_and_high():
    precision, recall = precision_recall(normal(1500, 3), normal(1500, 3, seed=1))
    assert float(precision) > 0.9
    assert float(recall) == pytest.approx(float(precision), abs=0.03)


def test_a_generator_that_leaves_out_a_mode_loses_recall_and_not_precision():
    modes = torch.tensor([[0.0, 0.0], [50.0, 0.0]]).double()
    real = torch.cat([normal(300, 2) + modes[0], normal(300, 2, seed=1) + modes[1]])
    collapsed = normal(600, 2, seed=2) + modes[0]
    precision, recall = precision_recall(real, collapsed)
    assert float(precision) > 0.9
    assert float(recall) == pytest.approx(0.5, abs=0.05)
    # Seen the other way round, what is invented and what is left out change places.
    other = precision_recall(collapsed, real)
    assert (other.precision, other.recall) == (recall, precision)


def test_precision_by_hand_on_a_line():
    # Nearest neighbours of 0, 1, 10 are at 1, 1, 9: the manifold is [-1, 2] and [1, 19].
    real = torch.tensor([[0.0], [1.0], [10.0]])
    generated = torch.tensor([[-1.5], [-0.5], [18.0], [19.5]])
    precision, recall = precision_recall(real, generated, k=1)
    assert float(precision) == 0.5
    # Those of the generated are at 1, 1, 1.5, 1.5: [-2.5, 0.5] and [16.5, 21] hold only 0.
    assert float(recall) == pytest.approx(1 / 3)


def test_neighbours_in_time_make_tiny_balls_unless_they_are_told_apart():
    # Two walks through one distribution, whose steps are short beside its width.
    def walk(seed: int) -> torch.Tensor:
        steps, x = normal(2000, 4, seed=seed), torch.zeros(4).double()
        out = []
        for step in steps:
            x = 0.99 * x + math.sqrt(1 - 0.99**2) * step
            out.append(x)
        return torch.stack(out)

    a, b = walk(0), walk(1)
    beside, apart = precision_recall(a, b), precision_recall(a, b, apart=200)
    assert float(apart.precision) > float(beside.precision) + 0.3
    assert float(apart.recall) > float(beside.recall) + 0.3
    with pytest.raises(SkyweaveError, match="at least 42"):
        precision_recall(a[:30], b, apart=20)


def test_rows_in_batches_change_nothing(monkeypatch):
    x, y = normal(90, 6), normal(70, 6, seed=1) * 1.1
    whole = [*precision_recall(x, y, apart=3), pairwise_distance(x)]
    monkeypatch.setattr("skyweave.verify.distributions.ROWS", 7)
    assert torch.allclose(
        torch.stack([*precision_recall(x, y, apart=3), pairwise_distance(x)]), torch.stack(whole)
    )


def test_pairwise_distance_is_the_mean_over_pairs():
    x = torch.tensor([[0.0, 0.0], [3.0, 4.0], [6.0, 8.0]])
    assert float(pairwise_distance(x)) == pytest.approx((5 + 5 + 10) / 3 / math.sqrt(2))
    assert float(pairwise_distance(torch.ones(4, 3))) == 0
    # Of independent normal features it tends to sqrt(2), whatever their number.
    assert float(pairwise_distance(normal(200, 400))) == pytest.approx(math.sqrt(2), rel=0.01)


def test_sets_that_do_not_fit_are_refused():
    with pytest.raises(SkyweaveError, match="3 features against 4"):
        frechet_distance(normal(9, 3), normal(9, 4))
    with pytest.raises(SkyweaveError, match="at least 4"):
        precision_recall(normal(3, 2), normal(9, 2))
    with pytest.raises(SkyweaveError, match="not finite"):
        pairwise_distance(torch.tensor([[1.0], [math.nan]]))
    with pytest.raises(SkyweaveError, match=r"shape \(N, F\)"):
        frechet_distance(normal(9, 3, 3), normal(9, 3))


# ---- features


@pytest.mark.parametrize("name", EXTRACTORS)
def test_every_extractor_gives_as_many_features_at_every_resolution_and_the_same_ones_again(name):
    large, odd = field_features(red_fields(5, 32), name), field_features(red_fields(5, 32)[:, :17, :9], name)
    assert large.shape == odd.shape
    assert large.isfinite().all()
    assert torch.equal(large, field_features(red_fields(5, 32).numpy(), name))
    # One field's features do not depend on the others of the set.
    assert torch.allclose(large[3:], field_features(red_fields(5, 32)[3:], name), atol=1e-5)
    moved = field_features(red_fields(5, 32) * 7 + 3, name, location=3, scale=7)
    assert torch.allclose(moved, large, atol=1e-4)


@pytest.mark.parametrize("name", EXTRACTORS)
def test_every_extractor_tells_smoothed_fields_from_true_ones_and_not_two_true_samples(name):
    truth, again = red_fields(250, 24), red_fields(250, 24, seed=1)
    rougher = red_fields(250, 24, slope=1.1, seed=2)
    features = field_features(truth, name)
    same = float(frechet_distance(features, field_features(again, name)))
    assert float(frechet_distance(features, field_features(rougher, name))) > 3 * same
    assert float(frechet_distance(features, field_features(again + 1.0, name))) > 3 * same
    # Skewness alone, at the same spectrum to first order, is seen too.
    skewed = torch.exp(0.5 * again)
    skewed = (skewed - skewed.mean()) / skewed.std()
    assert float(frechet_distance(features, field_features(skewed, name))) > 3 * same


def test_channels_of_the_random_network_are_of_order_one():
    features = field_features(red_fields(40, 48))
    assert features.shape == (40, 98)
    spread = features[:, 49:].mean(dim=0)
    assert float(spread.min()) > 0.1
    assert float(spread.max()) < 5


def test_moments_of_a_wave_and_of_a_ramp():
    lon = torch.arange(32, dtype=torch.float64)
    wave = torch.cos(2 * math.pi * 16 / 32 * lon).expand(32, 32)
    slow = torch.cos(2 * math.pi * 2 / 32 * lon).expand(32, 32)
    fast, low = field_features(torch.stack([wave, slow]), "spectral-moments")[:, :8]
    assert int(fast.argmax()) == 7  # wavenumber 16, the last of the bands
    assert int(low.argmax()) in (1, 2)
    ramp = torch.linspace(0, 100, 101).expand(1, 101, 101)
    levels = field_features(ramp, "spectral-moments")[0, 8:]
    assert torch.allclose(levels, torch.tensor([50, 1, 10, 25, 50, 75, 90, 99]).double(), atol=1.0)


def test_sequences_are_told_apart_by_how_they_move():
    still = red_fields(30, 16)[:, None].expand(-1, 4, -1, -1)
    features = field_features(still)
    frames = field_features(still[:, 0])
    assert features.shape == (30, 2 * frames.shape[1])
    assert torch.allclose(features[:, : frames.shape[1]], frames, atol=1e-5)
    assert float(features[:, frames.shape[1] :].std(dim=0).max()) < 1e-6  # no motion, one and the same
    assert torch.allclose(field_features(still[:, :1]), frames, atol=1e-5)
    shuffled = red_fields(120, 16).reshape(30, 4, 16, 16)
    assert float(frechet_distance(field_features(shuffled), features)) > 1


def test_a_users_extractor_is_called_on_fields():
    seen = []

    def extremes(x: torch.Tensor) -> torch.Tensor:
        seen.append(x.shape)
        return torch.stack([x.amin(dim=(1, 2)), x.amax(dim=(1, 2))], dim=1)

    x = red_fields(300, 8)
    features = field_features(x, extremes)
    assert torch.allclose(features[:, 1], x.amax(dim=(1, 2)), atol=1e-6)
    assert sum(shape[0] for shape in seen) == 300
    with pytest.raises(SkyweaveError, match="one row for each"):
        field_features(x, lambda fields: fields.mean())


def test_fields_without_features_are_refused():
    gappy = red_fields(3)
    gappy[1, 4, 5] = math.nan
    with pytest.raises(SkyweaveError, match="1 of 3072 values are missing"):
        field_features(gappy)
    with pytest.raises(SkyweaveError, match="did you mean 'random-convolutions'"):
        field_features(red_fields(3), "random-convolution")
    with pytest.raises(SkyweaveError, match="8 a side"):
        field_features(red_fields(3, 6))
    with pytest.raises(SkyweaveError, match="shape"):
        field_features(red_fields(3)[0])


# ---- figures

GRID = Grid(np.arange(10.0, 22, 1), np.arange(80.0, 96, 1))


def sequences(scale: float = 1.0, seed: int = 0) -> np.ndarray:
    fields = scale * (3 + normal(2, 9, 12, 16, seed=seed).numpy())
    fields[0, :, 2, 3] = np.nan
    return fields


def lines(ax) -> dict[str, np.ndarray]:
    """Curves by colour, without the line at zero."""
    return {str(line.get_color()): line.get_ydata() for line in ax.lines if len(line.get_xdata()) > 2}


def test_prior_figure_maps_the_moments_of_every_set_on_common_scales(tmp_path: Path):
    sets = {"truth": sequences(), "contrast": sequences(seed=1), "generated": sequences(0.5, seed=2)}
    figure = prior_figure(sets, GRID, units="K", title="Sets", path=tmp_path / "prior.png")
    maps = [ax for ax in figure.axes if any(isinstance(c, QuadMesh) for c in ax.collections)]
    drawn = {
        ax.get_title(loc="left"): next(c for c in ax.collections if isinstance(c, QuadMesh)) for ax in maps
    }
    named = {k: v for k, v in drawn.items() if k}
    assert set(named) == {f"{s}: {m}" for s in sets for m in ("mean", "st. dev.")}
    for name, statistic in (("mean", np.nanmean), ("st. dev.", lambda x, axis: np.nanstd(x, axis, ddof=1))):
        for label, fields in sets.items():
            expected = statistic(fields, axis=(0, 1))
            shown = np.asarray(named[f"{label}: {name}"].get_array()).reshape(GRID.shape)
            np.testing.assert_allclose(shown, expected)
        assert len({named[f"{label}: {name}"].get_clim() for label in sets}) == 1
    assert imread(tmp_path / "prior.png").shape[1] == 1000


def test_prior_figure_draws_spectra_of_complete_frames_and_memory_from_one():
    whole = np.abs(normal(1, 30, 12, 16).numpy())
    figure = prior_figure({"truth": whole, "half": whole / 2}, GRID, lags=5, step_hours=3.0)
    power, memory = figure.axes[-2:]
    (true, half) = lines(power).values()
    np.testing.assert_allclose(half, true / 4)
    for curve in lines(memory).values():
        assert curve[0] == pytest.approx(1)
        assert len(curve) == 6
    assert memory.get_xlim()[1] == 15
    # Sets without sequences have no memory to draw.
    assert len(prior_figure({"truth": whole[0]}, GRID).axes) == len(figure.axes) - 3


def test_prior_figure_refuses_what_is_not_on_the_grid():
    with pytest.raises(SkyweaveError, match="expected"):
        prior_figure({"truth": np.zeros((3, 5, 5))}, GRID)
    with pytest.raises(SkyweaveError, match="no set is called"):
        prior_figure({"a": sequences()}, GRID, reference="truth")
    with pytest.raises(SkyweaveError, match="at least one"):
        prior_figure({}, GRID)


def test_curves_figure_draws_the_mean_of_every_method_at_every_difficulty(tmp_path: Path):
    rows = [
        {"method": m, "factor": f, "nrmse": 0.1 * f * k, "melr": math.nan if f == 4 else k}
        for k, m in ((1, "a"), (3, "b"))
        for f in (8, 2, 4)
    ]
    rows.append({"method": "a", "factor": 2, "nrmse": 0.4, "melr": 1.0})  # a second case
    figure = curves_figure(
        rows, "factor", ["nrmse", "melr"], log=["factor"], dashed=["b"], path=tmp_path / "curves.png"
    )
    left, right = figure.axes
    a, b = left.lines
    np.testing.assert_allclose(a.get_xdata(), [2, 4, 8])
    np.testing.assert_allclose(a.get_ydata(), [0.3, 0.4, 0.8])
    np.testing.assert_allclose(b.get_ydata(), [0.6, 1.2, 2.4])
    assert a.get_color() != b.get_color()
    np.testing.assert_allclose(right.lines[1].get_xdata(), [2, 8])  # what is not finite is left out
    assert [t.get_text() for t in left.get_xticklabels()] == ["2", "4", "8"]
    assert left.get_ylim()[0] == 0
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["a", "b"]
    assert imread(tmp_path / "curves.png").size > 0
    with pytest.raises(SkyweaveError, match="no row has 'crps'"):
        curves_figure(rows, "factor", "crps")
