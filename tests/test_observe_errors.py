"""Laws of the observation error model and of the covariance R."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skyweave.errors import SkyweaveError
from skyweave.observe.errors import (
    CorrelatedBlock,
    ErrorCovariance,
    ErrorModel,
    correlation,
    unit_vectors,
)


def example(kind="exponential", n=40, seed=0, length=400.0):
    rng = np.random.default_rng(seed)
    position = unit_vectors(rng.uniform(30, 60, n), rng.uniform(-10, 30, n))
    first = CorrelatedBlock(np.arange(3, 18), position[3:18], length, kind)
    second = CorrelatedBlock(np.array([20, 25, 22, 39]), position[[20, 25, 22, 39]], length, kind)
    return ErrorCovariance(rng.uniform(0.2, 3.0, n) ** 2, (first, second))


KINDS = ["exponential", "gaspari-cohn"]


def test_error_model_adds_variances():
    model = ErrorModel(absolute=3.0, relative=0.5, representativeness=12.0)
    # 3^2 + (0.5 * 8)^2 + 12^2 = 9 + 16 + 144 = 13^2
    np.testing.assert_allclose(model.variance(np.array([8.0, -8.0])), 169.0)


def test_error_per_row_replaces_absolute_only():
    model = ErrorModel(absolute=3.0, relative=0.5, representativeness=12.0)
    variance = model.variance(np.array([8.0, 8.0]), np.array([5.0, np.nan]))
    np.testing.assert_allclose(variance, [25 + 16 + 144, 169.0])


@pytest.mark.parametrize(
    "wrong",
    [{"absolute": -1.0}, {"relative": np.nan}, {"representativeness": -0.1}, {"correlation_length_km": 0.0}],
)
def test_negative_errors_are_refused(wrong):
    with pytest.raises(SkyweaveError, match=next(iter(wrong))):
        ErrorModel(**wrong)


def test_covariance_refuses_a_variance_of_zero():
    with pytest.raises(SkyweaveError, match="positive"):
        ErrorCovariance(np.array([1.0, 0.0]))


@pytest.mark.parametrize("kind", KINDS)
def test_correlation_is_one_at_zero_and_decreases(kind):
    distance = np.linspace(0, 3000, 400)
    value = correlation(distance, 500.0, kind)
    assert value[0] == 1.0
    assert np.all(np.diff(value) <= 1e-12)
    assert np.all(value >= 0)


def test_gaspari_cohn_is_compact_and_smooth():
    assert np.all(correlation(np.array([1000.0, 5000.0]), 500.0, "gaspari-cohn") == 0)
    # Both polynomials meet at z = 1 in 5/24 (put z = 1 into either branch of Eq. 4.10).
    around = correlation(np.array([500 * (1 - 1e-9), 500.0, 500 * (1 + 1e-9)]), 500.0, "gaspari-cohn")
    np.testing.assert_allclose(around, 5 / 24, atol=1e-7)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), length=st.floats(1.0, 2e4))
def test_covariance_is_symmetric_positive_definite(kind, seed, length):
    dense = example(kind, seed=seed, length=length).dense().numpy()
    np.testing.assert_allclose(dense, dense.T, rtol=1e-14, atol=1e-200)
    assert np.linalg.eigvalsh(dense).min() > 0


def test_covariance_is_positive_definite_for_coincident_reports():
    position = unit_vectors(np.full(5, 10.0), np.full(5, 20.0))
    R = ErrorCovariance(np.ones(5), (CorrelatedBlock(np.arange(5), position, 1000.0),))
    assert np.linalg.eigvalsh(R.dense().numpy()).min() > 5e-4


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_solve_is_the_inverse_and_product_is_dense(kind, dtype):
    R = example(kind)
    u = torch.randn(3, R.n, dtype=dtype, generator=torch.Generator().manual_seed(0))
    tol = 1e-3 if dtype == torch.float32 else 1e-9
    torch.testing.assert_close(R @ u, u @ R.dense(dtype), rtol=tol, atol=tol)
    torch.testing.assert_close(R.solve(R @ u), u, rtol=tol, atol=tol)
    torch.testing.assert_close(R @ R.solve(u[0]), u[0], rtol=tol, atol=tol)
    torch.testing.assert_close(R.diagonal.to(dtype), R.dense(dtype).diagonal())


@pytest.mark.parametrize("kind", KINDS)
def test_sample_is_a_square_root(kind):
    R = example(kind)
    root = R.sample(torch.eye(R.n, dtype=torch.float64)).T  # columns are L e_i
    torch.testing.assert_close(root @ root.T, R.dense())


def test_take_and_stack_agree_with_the_dense_matrix():
    R = example()
    rows = np.array([39, 4, 5, 20, 0, 17, 30])
    torch.testing.assert_close(R.take(rows).dense(), R.dense()[rows][:, rows])
    both = ErrorCovariance.stack([R, R.take(rows)]).dense()
    torch.testing.assert_close(both[: R.n, : R.n], R.dense())
    torch.testing.assert_close(both[R.n :, R.n :], R.dense()[rows][:, rows])
    assert torch.count_nonzero(both[: R.n, R.n :]) == 0


def test_weights_divide_the_whole_covariance():
    R = example()
    torch.testing.assert_close(R.scaled(1 / 4.0).dense(), R.dense() / 4.0)


def test_products_leave_their_argument_alone():
    R = example()
    u = torch.ones(2, R.n, dtype=torch.float64)
    R @ u, R.solve(u), R.sample(u)
    assert torch.all(u == 1)
