"""What a prior says of fixed states: run once by the tree that wrote the files under `golden`, then by later ones."""

from __future__ import annotations

import numpy as np
import torch


def numbers(prior, size, grid_of, kernel_of):
    """Some values of the denoiser, of the covariance times a state, and of the transforms.

    Args:
        prior: opened.
        size: rows and columns; where lags that are kept do not fit, the covariance is cut as the tree likes.
        grid_of: makes a grid of latitudes and longitudes.
        kernel_of: the covariance of a prior on a shape, by noise level.
    """
    step = prior.spec.resolution or (1.0, 1.0)
    lat, lon = 50.0 - step[0] * np.arange(size), step[1] * np.arange(size)
    frames, channels = prior.spec.window, len(prior.spec.names)
    apart = np.timedelta64(int(prior.spec.time_step or 3600), "s")
    times = np.datetime64("2020-03-01T06", "ns") + np.arange(frames) * apart
    shape = (frames, channels, size, size)
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((1, *shape)).astype(np.float32))
    denoiser = prior.denoiser(grid_of(lat, lon), times)
    found = {
        "denoised": denoiser(x, torch.tensor(0.7)),
        "far from the state": denoiser(20 * x, torch.tensor(20.0)),
        "covariance": kernel_of(prior, shape)(0.7) @ x,
        "physical": prior.transform.inverse(x[0]),
        "normalised": prior.transform.forward(prior.transform.inverse(x[0]) * 1.01),
    }
    return {key: value.double().reshape(-1)[:: value.numel() // 19].tolist() for key, value in found.items()}
