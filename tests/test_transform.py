"""Laws of transforms, over the list of all of them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skyweave.errors import SkyweaveError
from skyweave.transform import (
    TRANSFORMS,
    Log1pQuantile,
    Log10Standardise,
    StateTransform,
    transform_from_dict,
)

TRAINING = np.random.default_rng(0).lognormal(-1.5, 0.8, 4000)
FITTED = {kind: cls.fit(TRAINING) for kind, cls in TRANSFORMS.items()}
every = pytest.mark.parametrize("transform", FITTED.values(), ids=FITTED)


@every
@settings(deadline=None)
@given(x=st.lists(st.floats(0.02, 50), min_size=1, max_size=20))
def test_inverse_undoes_forward(transform, x):
    values = torch.tensor(x, dtype=torch.float64)
    torch.testing.assert_close(transform.inverse(transform.forward(values)), values, rtol=1e-10, atol=1e-10)


@every
@settings(deadline=None)
@given(z=st.lists(st.floats(-2, 4), min_size=1, max_size=20))
def test_derivative_is_that_of_autograd_and_finite_differences(transform, z):
    at = torch.tensor(z, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad((transform.inverse(at) + 0 * at).sum(), at)
    got = transform.derivative(at.detach())
    torch.testing.assert_close(got, slope)
    step = 1e-5
    change = (transform.inverse(at + step) - transform.inverse(at - step)).detach() / (2 * step)
    torch.testing.assert_close(got, change, rtol=1e-5, atol=1e-8)


@every
def test_missing_stays_missing_and_extremes_stay_finite(transform):
    assert transform.forward(torch.tensor([float("nan")])).isnan().all()
    assert transform.inverse(torch.tensor([float("nan")])).isnan().all()
    extreme = torch.tensor([-1e4, 1e4])
    assert transform.inverse(extreme).isfinite().all()
    assert transform.derivative(extreme).isfinite().all()
    assert transform.forward(torch.tensor([-0.05, 0.0])).isfinite().all()


@every
def test_saved_and_read_again(transform):
    assert transform_from_dict(json.loads(json.dumps(transform.to_dict()))) == transform


@every
def test_fit_ignores_missing_values_and_linear_means_linear(transform):
    gappy = np.concatenate([TRAINING, np.full(100, np.nan)])
    assert type(transform).fit(gappy) == transform
    a, b = torch.tensor([0.3]), torch.tensor([1.1])
    midway = transform.inverse((a + b) / 2)
    assert transform.linear == bool(torch.isclose(midway, (transform.inverse(a) + transform.inverse(b)) / 2))


def test_fitted_scales():
    z = FITTED["standardise"].forward(torch.from_numpy(TRAINING))
    assert z.mean() == pytest.approx(0, abs=1e-9)
    assert z.std(correction=0) == pytest.approx(1)
    z = FITTED["log10"].forward(torch.from_numpy(TRAINING))
    assert z.std(correction=0) == pytest.approx(1)
    z = FITTED["log1p-quantile"].forward(torch.from_numpy(TRAINING)).numpy()
    np.testing.assert_allclose(np.quantile(z, [0.01, 0.99]), [-1, 1], atol=1e-9)


def test_negative_retrievals():
    log1p = Log1pQuantile.fit(TRAINING)
    x = torch.tensor([-0.05, -0.5], dtype=torch.float64)
    torch.testing.assert_close(log1p.inverse(log1p.forward(x)), x)
    log10 = Log10Standardise.fit(np.append(TRAINING, [-0.05, 0.0, 1e-12]))
    assert log10.floor == pytest.approx(1e-4 * np.median(np.append(TRAINING, 1e-12)))
    got = log10.inverse(log10.forward(x))
    torch.testing.assert_close(got, torch.full_like(x, log10.floor))


@pytest.mark.parametrize("kinds", [("standardise", "identity"), ("log10", "standardise")])
def test_state_transform_treats_channels_apart(kinds):
    x = torch.from_numpy(
        np.stack([TRAINING[:600].reshape(2, 3, 10, 10), TRAINING[600:1200].reshape(2, 3, 10, 10)], 2)
    )
    state = StateTransform.fit(x.numpy(), kinds)
    z = state.forward(x)
    for c, transform in enumerate(state.transforms):
        torch.testing.assert_close(z[:, :, c], transform.forward(x[:, :, c]))
        torch.testing.assert_close(state.derivative(z)[:, :, c], transform.derivative(z[:, :, c]))
    torch.testing.assert_close(state.inverse(z), x)
    assert state.linear == all(t.linear for t in state.transforms)
    assert StateTransform.from_dict(json.loads(json.dumps(state.to_dict()))) == state
    with pytest.raises(ValueError, match="expected shape"):
        state.forward(x[:, :, :1])


def test_refuses():
    with pytest.raises(SkyweaveError, match="did you mean 'standardise'"):
        transform_from_dict({"kind": "standardize", "mean": 0, "std": 1})
    with pytest.raises(SkyweaveError, match="wrong parameters"):
        transform_from_dict({"kind": "standardise", "mean": 0})
    for kind in ("standardise", "log10", "log1p-quantile"):
        with pytest.raises(SkyweaveError, match="vary"):
            TRANSFORMS[kind].fit(np.ones(5))
        with pytest.raises(SkyweaveError, match="no finite value"):
            TRANSFORMS[kind].fit(np.full(5, np.nan))
    with pytest.raises(SkyweaveError, match="no positive"):
        TRANSFORMS["log10"].fit(-np.arange(4.0))
