"""A prior from data with gaps by expectation-maximisation: complete the data with it, learn from them, repeat."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy.sparse as sp
import torch
import xarray as xr
from torch import Tensor

from skyweave.covariance.by_noise_level import estimate_error_covariance
from skyweave.diffusion.noise import NoiseStream
from skyweave.errors import SkyweaveError
from skyweave.io.read import open_fields
from skyweave.io.undeclared import without_fills
from skyweave.io.write import write
from skyweave.learn.run import FREE_KEYS
from skyweave.observe.errors import ErrorCovariance
from skyweave.observe.observation import GridObservation
from skyweave.observe.operator import StateOperator
from skyweave.observe.segment import Observations
from skyweave.posterior.calibration import calibrate_run
from skyweave.posterior.kalman import KalmanSolver
from skyweave.posterior.sample import Method
from skyweave.prior.config import TrainConfig
from skyweave.prior.data import select_period
from skyweave.prior.prepare import NAME_FILLS, TrainingData, prepare
from skyweave.prior.storage import LearntPrior, open_prior
from skyweave.prior.train import train
from skyweave.reconstruction.reconstruct import reconstruct
from skyweave.state import to_tensor

__all__ = ["gaussian_completion", "learn_by_expectation_maximisation"]

LEVEL = 1e3
"""Noise level at which an error covariance is that of the field itself."""

FRAMES = 24
"""Frames completed together by the Gaussian of the first round."""

LAGS = 6
"""Lags in time that its covariance knows: more of them cost more noise than they bring."""


def learn_by_expectation_maximisation(
    config: TrainConfig,
    *,
    rounds: int = 4,
    error: float = 0.02,
    method: Method | None = None,
    report: Callable[[str], None] | None = None,
) -> LearntPrior:
    r"""Learn an unconditional denoiser from data with gaps.

    .. math:: \theta_{k+1} = \arg\max_\theta \; \mathbb{E}_{p(y)}\, \mathbb{E}_{q_{\theta_k}(x \mid y)} \log q_\theta(x)

    Each round draws one completion of every gap from the posterior of the last prior given what was observed, and
    trains on the completed record, beginning with the last weights. The first completions are draws of a Gaussian
    whose covariance in space and time is that of the observed pairs. Completions of the validation period serve
    its losses and the error covariance.

    Args:
        config: as for `skyweave.train`, without corruption; ``steps`` and ``max_minutes`` are those of a round.
            ``config.out`` receives a folder for each round and the last ``prior.safetensors``.
        rounds: of completion and training.
        error: standard deviation of the observations, in normalised units: small, since they are the training data.
        method: of the completions; the default's with 16 evaluations.
        report: called with a line on each step.

    Returns:
        The prior of the last round, calibrated.

    Raises:
        SkyweaveError: unusable data, a configuration with corruption, fewer than one round.

    Reference: Rozet et al. 2024, "Learning diffusion priors from observations by expectation maximization",
    Algorithm 1; the posterior there is MMPS, here that of the chosen method.
    """
    tell = report or (lambda text: None)
    if config.corruption is not None:
        raise SkyweaveError(
            "expectation-maximisation learns a prior without masks: leave `corruption` out of the configuration"
        )
    if rounds < 1:
        raise SkyweaveError(f"rounds = {rounds}: at least one is needed")
    out = Path(config.out)
    data = prepare(config, config.batch)
    gappy = _record(config)
    prior: LearntPrior | None = None
    folder = out
    for number in range(rounds):
        folder = out / f"round_{number}"
        completed = folder / "completed.nc"
        if not completed.exists():
            tell(f"round {number + 1} of {rounds}: completing the record")
            folder.mkdir(parents=True, exist_ok=True)
            if prior is None:
                write(_gaussian(gappy, data, error), completed)
            else:
                write(_drawn(prior, gappy, data, error, number, method, config.device), completed)
        before = out / f"round_{number - 1}" / "prior.safetensors"
        settings = config.model_copy(
            update={
                "data": config.data.model_copy(update={"paths": [str(completed)], "units": {}}),
                "out": folder,
                "start_from": before if number else config.start_from,
                "seed": config.seed + number,
            }
        )
        finished = folder / "finished.json"
        made_with = settings.model_dump_json(exclude=set(FREE_KEYS))
        if finished.exists() and json.loads(finished.read_text()) == json.loads(made_with):
            prior = open_prior(folder / "prior.safetensors")
            continue
        tell(f"round {number + 1} of {rounds}: training")
        train(settings)
        prior = calibrate_run(settings, report=report)
        finished.write_text(made_with)
    assert prior is not None
    target = out / "prior.safetensors"
    target.write_bytes((folder / "prior.safetensors").read_bytes())
    return prior


def gaussian_completion(fields: Tensor, error: float, noise: NoiseStream, max_lag: int) -> Tensor:
    r"""Draw what is missing from the Gaussian whose covariance in space and time is that of the observed pairs.

    .. math:: x = b + V H^T (H V H^T + r^2 I)^{-1} (y + r\,n - H b), \qquad b \sim N(0, V)

    Args:
        fields: normalised, ``(T, C, H, W)``, NaN where missing.
        error: ``r``.
        noise: one member, with the times of the frames.
        max_lag: lags kept in space, in cells.

    Returns:
        ``(T, C, H, W)``: observed values, to within the error, and completions.
    """
    T, C, H, W = fields.shape
    cut = min(LAGS, T)
    firsts = range(0, T - cut + 1, cut)
    batch = torch.stack([fields[s : s + cut] for s in firsts])
    model = estimate_error_covariance(
        lambda x, sigma, known: torch.zeros_like(x),
        [(batch, batch[:, :, :0])],
        levels=torch.tensor([LEVEL, 2 * LEVEL], dtype=torch.float64),
        max_lag=max_lag,
    )
    out = torch.empty_like(fields)
    for first in range(0, T, FRAMES):
        last = min(T, first + FRAMES)
        part = fields[first:last]
        V = model.on((last - first, C, H, W))(LEVEL)
        own = NoiseStream(noise.seed, noise.members, noise.times[first:last])
        draw = V.color(own.around(V.noise_shape[0]).normal(0, V.noise_shape[1:]))
        observed = _cells(part, error)
        if observed.operator.n:
            y = observed.y + error * own.normal_vector(1, observed.operator.n)
            draw = KalmanSolver(observed, tolerance=0.1 * error).update(draw, V, y=y)
        out[first:last] = draw[0]
    return out


def _cells(part: Tensor, error: float) -> Observations:
    """The observed cells of fields ``(T, C, H, W)``."""
    flat = part.reshape(-1)
    cells = torch.isfinite(flat).nonzero().ravel()
    n = len(cells)
    matrix = sp.csr_array((np.ones(n), (np.arange(n), cells.numpy())), shape=(n, flat.numel()))
    T, C, H, W = part.shape
    return Observations(
        StateOperator(matrix, (T, C, H, W)), flat[cells].float(), ErrorCovariance(np.full(n, error**2))
    )


def _record(config: TrainConfig) -> xr.Dataset:
    """Training and validation periods as they are."""
    region = None if config.data.region is None else config.data.region.model_dump(exclude_none=True)
    whole = open_fields(config.data.paths, config.data.variables, region=region)
    whole = without_fills(whole, config.data.missing, NAME_FILLS)
    name = str(whole[config.data.variables[0]].dims[0])
    wanted = {"train": config.split.train, "validate": config.split.validate_}
    periods = [select_period(whole, name, *period, what) for what, period in wanted.items()]
    return xr.concat(sorted(periods, key=lambda p: p[name].values[0]), dim=name)


def _gaussian(gappy: xr.Dataset, data: TrainingData, error: float) -> xr.Dataset:
    record = data.sampler.record
    fields = data.transform.forward(to_tensor(gappy, data.spec, record.grid))
    noise = NoiseStream(0, [0], range(len(fields)))
    filled = gaussian_completion(fields, error, noise, max(data.sampler.patch) * 3 // 4)
    return _labelled(data.transform.inverse(filled), gappy, data, record.time_name)


def _drawn(
    prior: LearntPrior,
    gappy: xr.Dataset,
    data: TrainingData,
    error: float,
    number: int,
    method: Method | None,
    device: str,
) -> xr.Dataset:
    names = prior.spec.names
    slope = prior.transform.derivative(torch.zeros(1, len(names), 1, 1)).flatten().tolist()
    given = [
        GridObservation(gappy[name], error=error * abs(scale), operator="mask", variable=name)
        for name, scale in zip(names, slope, strict=True)
    ]
    made = reconstruct(
        prior,
        given,
        like=gappy,
        members=1,
        seed=number,
        method=method or Method(),
        stride=prior.spec.window,
        quantiles=(),
        device=device,
        progress=False,
    )
    fields = torch.stack([torch.from_numpy(made[name].values[0]) for name in names], dim=1)
    return _labelled(fields, gappy, data, data.sampler.record.time_name)


def _labelled(fields: Tensor, gappy: xr.Dataset, data: TrainingData, time_name: str) -> xr.Dataset:
    out = gappy.copy()
    for c, name in enumerate(data.spec.names):
        out[name] = (
            gappy[name].dims,
            fields[:, c].numpy(),
            {**gappy[name].attrs, "units": data.spec.variables[c].units},
        )
    return out
