"""The local ensemble transform Kalman filter: against dense formulas, its laws, and cycled in the linear world."""

import math

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from skyweave.cycle.letkf import Domain, LETKFCycler, LETKFSettings, letkf_analysis
from skyweave.errors import SkyweaveError
from skyweave.grid import Grid, great_circle
from skyweave.observe.operator import StateOperator
from skyweave.state import StateSpec, Variable
from skyweave.transform import Standardise, StateTransform
from test_cycle import CLIMATE, ERROR, PRIOR, SHAPE, N, Shift, Stations, kalman, world

TORUS = Domain.torus(N, N)
MEMBERS = 40


def ensemble(members=MEMBERS, channels=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return PRIOR.sample(torch.randn(members * channels, *SHAPE, generator=generator)).reshape(
        members, channels, N, N
    )


def observed(x, count=9, seed=3):
    """Means of two cells, of both variables in turn."""
    rng = np.random.default_rng(seed)
    size = x[0].numel()
    first = rng.choice(size // 2, count, replace=False) + np.where(np.arange(count) % 2, size // 2, 0)
    H = sp.csr_array(
        (np.full(2 * count, 0.5), (np.repeat(np.arange(count), 2), np.stack([first, first ^ 1], 1).ravel())),
        shape=(count, size),
    )
    operator = StateOperator(H, (1, *x.shape[1:]))
    y = torch.from_numpy(rng.standard_normal(count)).float()
    return operator, y, torch.full((count,), 0.2)


def analysis(x, operator, y, variance, radius, **options):
    places = TORUS.positions(operator)
    return letkf_analysis(x, operator(x[:, None]), y, variance, TORUS, places, radius, **options)


def test_without_localisation_it_is_the_exact_update_with_the_ensembles_covariance():
    x = ensemble()
    operator, y, variance = observed(x)
    inflation = 1.3
    got = analysis(x, operator, y, variance, math.inf, inflation=inflation).reshape(MEMBERS, -1).double()
    flat = x.reshape(MEMBERS, -1).double()
    A = inflation * (flat - flat.mean(0))
    P, H = A.T @ A / (MEMBERS - 1), torch.from_numpy(operator.matrix.toarray())
    K = P @ H.T @ torch.linalg.inv(H @ P @ H.T + torch.diag(variance.double()))
    mean = flat.mean(0) + K @ (y.double() - H @ flat.mean(0))
    torch.testing.assert_close(got.mean(0), mean, atol=2e-6, rtol=0)
    a = got - got.mean(0)
    torch.testing.assert_close(a.T @ a / (MEMBERS - 1), P - K @ H @ P, atol=2e-6, rtol=0)
    # A radius far above the size of the domain is no localisation either.
    torch.testing.assert_close(
        analysis(x, operator, y, variance, 1e5, inflation=inflation).reshape(MEMBERS, -1).double(), got,
        atol=1e-5, rtol=0,
    )  # fmt: skip


def test_with_localisation_each_cell_is_the_update_with_errors_divided_by_the_weights():
    x = ensemble(channels=1)
    operator, y, variance = observed(x.repeat(1, 2, 1, 1))
    operator = StateOperator(sp.csr_array(operator.matrix[::2, : N * N]), SHAPE)
    y, variance = y[::2], variance[::2]
    radius = 6.0
    got = analysis(x, operator, y, variance, radius).reshape(MEMBERS, -1).double()
    flat, H = x.reshape(MEMBERS, -1).double(), torch.from_numpy(operator.matrix.toarray())
    A = flat - flat.mean(0)
    P = A.T @ A / (MEMBERS - 1)
    cells = H.argmax(1).numpy()
    for cell in (cells[0], (cells[1] + 2) % N**2):
        # The observation's place is half a cell to the east of its first cell.
        dy, dx = (np.abs(cells // N - cell // N), np.abs(cells % N + 0.5 - cell % N))
        z = torch.from_numpy(np.hypot(np.minimum(dy, N - dy), np.minimum(dx, N - dx)) / (radius / 2))
        near = 1 - 5 / 3 * z**2 + 5 / 8 * z**3 + z**4 / 2 - z**5 / 4
        far = 4 - 5 * z + 5 / 3 * z**2 + 5 / 8 * z**3 - z**4 / 2 + z**5 / 12 - 2 / (3 * z)
        weight = torch.where(z < 1, near, far)
        use = z < 2
        assert use.any()
        R = torch.diag(variance[use].double() / weight[use])
        K = P[cell] @ H[use].T @ torch.linalg.inv(H[use] @ P @ H[use].T + R)
        want = flat[:, cell].mean() + K @ (y[use].double() - H[use] @ flat.mean(0))
        assert float(got[:, cell].mean()) == pytest.approx(float(want), abs=2e-6)
        assert float(got[:, cell].var()) == pytest.approx(
            float(P[cell, cell] - K @ H[use] @ P[:, cell]), abs=2e-6
        )


def test_cells_far_from_every_observation_keep_the_forecast():
    x = ensemble()
    H = sp.csr_array(([1.0], ([0], [5 * N + 5])), shape=(1, x[0].numel()))
    operator = StateOperator(H, (1, *x.shape[1:]))
    got = analysis(x, operator, torch.tensor([3.0]), torch.tensor([0.1]), 4.0, inflation=1.2, relaxation=0.5)
    distance = TORUS.distance(TORUS.points, TORUS.points[[5 * N + 5]]).reshape(N, N)
    far = torch.from_numpy(distance >= 4)
    assert torch.equal(got[..., far], x[..., far])
    assert bool((got[..., ~far] != x[..., ~far]).all())
    # The other variable is updated through the ensemble's own covariance.
    assert float((got[:, 1, 5, 5] - x[:, 1, 5, 5]).abs().min()) > 0


def test_relaxation_restores_a_share_of_the_spread():
    x = ensemble()
    operator, y, variance = observed(x)
    plain = analysis(x, operator, y, variance, 8.0)
    for share in (0.4, 1.0):
        relaxed = analysis(x, operator, y, variance, 8.0, relaxation=share)
        torch.testing.assert_close(relaxed.mean(0), plain.mean(0), atol=1e-5, rtol=0)
        want = (1 - share) * plain.std(0) + share * x.std(0)
        torch.testing.assert_close(relaxed.std(0), want, atol=1e-5, rtol=0)


def test_chunks_and_repetition_change_nothing():
    x = ensemble(members=12)
    operator, y, variance = observed(x)
    whole = analysis(x, operator, y, variance, 5.0, chunk=10_000)
    torch.testing.assert_close(analysis(x, operator, y, variance, 5.0, chunk=37), whole, atol=1e-6, rtol=0)
    assert torch.equal(analysis(x, operator, y, variance, 5.0, chunk=10_000), whole)
    assert analysis(x, operator, y, variance, 5.0).dtype == x.dtype


def test_domains_measure_distances_and_place_observations():
    grid = Grid(np.linspace(-80, 80, 9), np.arange(0, 360, 30.0))
    sphere = Domain.sphere(grid)
    lat, lon = (a.ravel() for a in grid.mesh())
    want = great_circle(lat[:, None], lon[:, None], lat[None], lon[None])
    np.testing.assert_allclose(sphere.distance(sphere.points, sphere.points), want, atol=1e-3)
    # Halfway between two longitudes across the seam, second channel.
    cells = 9 * 12 + 4 * 12 + np.array([11, 0])
    H = sp.csr_array((np.full(2, 0.5), (np.zeros(2, int), cells)), shape=(1, 2 * 9 * 12))
    place = sphere.positions(StateOperator(H, (1, 2, 9, 12)))
    middle = np.array([[np.cos(np.radians(345)), np.sin(np.radians(345)), 0]])
    np.testing.assert_allclose(place, middle, atol=1e-12)
    torus = Domain.torus(4, 6)
    assert torus.distance(torus.points[[0]], torus.points[[5, 23]]) == pytest.approx(
        np.array([[1, math.sqrt(2)]])
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"radius": 0.0}, "radius 0"),
        ({"inflation": -1.0}, "inflation -1"),
        ({"relaxation": 1.5}, "relaxation 1.5"),
        ({"domain": Domain.torus(3, 3)}, "domain of 9 cells"),
        ({"y": torch.zeros(2)}, "2 observations"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    x = ensemble()
    operator, y, variance = observed(x)
    given = {
        "domain": TORUS,
        "places": TORUS.positions(operator),
        "radius": 5.0,
        "y": y,
        "variance": variance,
    }
    with pytest.raises(ValueError, match=message):
        letkf_analysis(x, operator(x[:, None]), **(given | change))


def cycler(truth, **options):
    return LETKFCycler(
        spec=StateSpec((Variable("a", "1"),)),
        transform=StateTransform((Standardise(0.0, 1.0),)),
        model=Shift(),
        observed=Stations(truth, empty=options.pop("empty", ())),
        identities=list(range(len(truth))),
        times=np.arange(len(truth)),
        domain=TORUS,
        settings=LETKFSettings(**({"radius": 4.0} | options)),
        background=ensemble(members=64, channels=1, seed=9),
        model_error=ERROR,
    )


def test_cycled_in_the_linear_world():
    truth = world(30)
    found, exact = list(cycler(truth).run()), kalman(truth)
    late = range(8, len(truth))

    def rms(values):
        return float(torch.stack(list(values)).square().mean().sqrt())

    error = rms(found[k].analysis.mean(0)[0] - truth[k, 0] for k in late)
    forecast = rms(found[k].forecast.mean(0)[0] - truth[k, 0] for k in late)
    best = rms(exact[k][0] - truth[k].reshape(-1) for k in late)
    spread = rms(found[k].analysis.std(0) for k in late)
    climate = float(CLIMATE.variance().sqrt())
    # The best filter there is, but for the sampling noise of 64 members.
    assert best < error < 1.06 * best
    assert error < forecast < 0.8 * climate
    assert spread / error == pytest.approx(1.0, abs=0.1)
    assert np.mean([found[k].innovation["stations"][1] for k in late]) == pytest.approx(1.0, abs=0.1)
    # Without updates the ensemble only knows the climate.
    free = list(cycler(truth, empty=tuple(range(len(truth)))).run())
    assert rms(free[k].analysis.mean(0)[0] - truth[k, 0] for k in late) > 0.9 * climate
    # Localisation is what few members need.
    wide = list(cycler(truth, radius=math.inf, chunk=N * N).run())
    assert rms(wide[k].analysis.mean(0)[0] - truth[k, 0] for k in late) > 1.2 * error


def test_cycles_can_be_continued_and_begin_with_members():
    truth = world(4)
    whole = list(cycler(truth, empty=(2,)).run())
    assert whole[0].forecast is None
    assert whole[0].innovation == {}
    assert torch.equal(whole[2].analysis, whole[2].forecast)
    again = list(cycler(truth, empty=(2,)).run(whole[1].analysis, 2))
    assert torch.equal(again[-1].analysis, whole[-1].analysis)
    bare = cycler(truth)
    bare.background = None
    with pytest.raises(SkyweaveError, match="begins with members"):
        next(bare.run())
