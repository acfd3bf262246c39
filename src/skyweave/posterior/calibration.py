"""What is fitted after training, on validation data alone: the error covariance and the ensemble's spread."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from skyweave.errors import SkyweaveError
from skyweave.observe.errors import ErrorCovariance
from skyweave.observe.operator import StateOperator
from skyweave.posterior.background import Background
from skyweave.posterior.noise import NoiseStream
from skyweave.posterior.sample import Method, sample_posterior
from skyweave.prior.config import TrainConfig
from skyweave.prior.data import PatchSampler
from skyweave.prior.error_covariance import ErrorCovarianceModel, estimate_error_covariance
from skyweave.prior.prepare import prepare
from skyweave.prior.storage import LearntPrior, open_prior, save_prior

__all__ = ["calibrate", "calibrate_run", "recalibrate_members", "stored_factor"]

Report = Callable[[str], None]


def calibrate(
    prior: LearntPrior,
    validation: PatchSampler,
    *,
    batches: int = 4,
    max_lag: int | None = None,
    cases: int = 8,
    members: int = 24,
    method: Method | None = None,
    report: Report | None = None,
) -> LearntPrior:
    """Estimate the background error covariance, then measure the calibration that it leads to.

    The second part reconstructs validation patches from simulated observations of three kinds (60 % missing, block
    means, scattered points), all with errors of 5 % of the climatological standard deviation, and stores spread-skill
    ratio and coverage with the factor that would make their mean spread equal their error.

    Args:
        prior: trained.
        validation: patches that training has not seen.
        batches: of validation patches, for the covariance.
        max_lag: lags kept, in cells; the patch's by default.
        cases: patches reconstructed in each of the three ways.
        members: of each reconstruction.

    Returns:
        The prior with ``covariance.*`` among its attachments and ``calibration`` in its metadata.
    """
    tell = report or (lambda text: None)
    data = [_numbered(validation, k) for k in range(batches)]
    network = prior.network

    def denoise(x: Tensor, sigma: Tensor, conditioning: Tensor) -> Tensor:
        levels = sigma.reshape(1).expand(len(x))
        return network(x, levels, conditioning, periodic=validation.whole_circle, autocast=True)

    model = estimate_error_covariance(
        denoise,
        data,
        max_lag=max_lag,
        progress=lambda done, total: tell(f"error covariance: noise level {done} of {total}"),
    )
    # What is read back later, so that the scores are those of the stored numbers.
    stored = model.to_tensors()
    reread = ErrorCovarianceModel.from_tensors(stored)
    assert reread is not None
    scores = _score(prior, reread, data, validation.whole_circle, cases, members, method or Method(), tell)
    return replace(
        prior, attachments=prior.attachments | stored, metadata=prior.metadata | {"calibration": scores}
    )


def calibrate_run(config: TrainConfig, *, report: Report | None = None) -> LearntPrior:
    """Calibrate the prior of a training run on the validation period of its configuration, and store it again.

    Covariances are estimated on patches twice the size of the trained ones where the domain has room for them: the
    network is convolutional, and longer lags serve larger domains.

    Raises:
        SkyweaveError: the run has no prior, or its data cannot be used.
    """
    path = Path(config.out) / "prior.safetensors"
    prior = open_prior(path)
    data = prepare(config, config.batch, stream=0)
    record = data.validation.record
    patch = (min(2 * config.patch[0], record.grid.shape[0]), min(2 * config.patch[1], record.grid.shape[1]))
    sampler = PatchSampler(
        record,
        prior.conditioning.bind(record.grid),
        patch,
        16,
        seed=config.seed,
        memory_bytes=config.data.memory_gb * 1e9,
    )
    done = calibrate(prior, sampler, max_lag=max(config.patch) * 3 // 4, report=report)
    save_prior(done, path, overwrite=True)
    return done


def _numbered(sampler: PatchSampler, index: int) -> tuple[Tensor, Tensor]:
    batch = sampler.batch(index)
    return batch.fields, batch.conditioning


@dataclass(frozen=True, eq=False)
class _Patch:
    """Observations of one patch, in normalised units."""

    operator: StateOperator
    y: Tensor
    R: ErrorCovariance


def _score(
    prior: LearntPrior,
    model: ErrorCovarianceModel,
    data: list[tuple[Tensor, Tensor]],
    periodic: bool,
    cases: int,
    members: int,
    method: Method,
    tell: Report,
) -> dict[str, Any]:
    # Scored at the size that the prior was trained at, whatever the size the covariance needs.
    fields = torch.cat([f for f, _ in data])
    height, width = fields.shape[-2:] if periodic else prior.patch
    fields = fields[..., :height, :width]
    conditioning = torch.cat([c for _, c in data])[..., :height, :width]
    complete = torch.isfinite(fields).flatten(1).all(1).nonzero().ravel()[:cases]
    if not len(complete):
        return {}
    shape = (1, *fields.shape[1:])
    kernel = model.on(shape, periodic=periodic)  # type: ignore[arg-type]
    out: dict[str, Any] = {
        "method": method.to_dict(),
        "members": members,
        "cases": len(complete),
        "kinds": {},
    }
    ratios = []
    for kind in ("mask", "means", "points"):
        error, spread, inside = 0.0, 0.0, 0.0
        for number, k in enumerate(complete.tolist()):
            truth, known = fields[k][None, None], conditioning[k][None]

            def denoiser(x: Tensor, sigma: Tensor, known: Tensor = known) -> Tensor:
                flat = x.flatten(0, 1)
                levels = sigma.reshape(1).expand(len(flat))
                mean = prior.network(
                    flat, levels, known.expand(len(flat), -1, -1, -1), periodic=periodic, autocast=True
                )
                return mean.reshape(x.shape)

            observed = _observe(kind, truth, number)
            background = Background(denoiser, kernel, shape)  # type: ignore[arg-type]
            noise = NoiseStream(number, range(members), [0])
            x = sample_posterior(denoiser, background, observed, noise, shape, method, key=(kind, number))  # type: ignore[arg-type]
            mean = x.mean(0)
            error += float(((mean - truth[0]) ** 2).mean())
            spread += float(x.var(0).mean()) * (members + 1) / members
            # Rank interval of nominal coverage 0.9, exact for a calibrated ensemble of any size.
            ordered, cut = x.sort(0).values, max(1, round(0.05 * (members + 1)))
            hit = (truth[0] >= ordered[cut - 1]) & (truth[0] <= ordered[members - cut])
            inside += float(hit.double().mean()) * 0.9 / (1 - 2 * cut / (members + 1))
        ratio = math.sqrt(spread / error)
        ratios.append(ratio)
        out["kinds"][kind] = {
            "rmse": math.sqrt(error / len(complete)),
            "spread_skill_ratio": ratio,
            "coverage_90": inside / len(complete),
        }
        tell(f"calibration on {kind}: spread-skill ratio {ratio:.3f}, coverage {inside / len(complete):.3f}")
    out["spread_factor"] = float(1 / np.exp(np.mean(np.log(ratios))))
    return out


def _observe(kind: str, truth: Tensor, seed: int, error: float = 0.05) -> _Patch:
    """Simulated observations of a normalised patch ``(1, 1, C, H, W)``, every variable alike."""
    _, _, C, H, W = truth.shape
    rng = np.random.default_rng(seed)
    cells = np.arange(C * H * W).reshape(C, H, W)
    if kind == "means":
        factor = 4
        cut = cells[:, : H // factor * factor, : W // factor * factor]
        blocks = cut.reshape(C, H // factor, factor, W // factor, factor).transpose(0, 1, 3, 2, 4)
        groups = blocks.reshape(-1, factor**2)
    else:
        share = 0.4 if kind == "mask" else 0.02
        groups = cells[:, rng.random((H, W)) < share].reshape(-1, 1)
    rows = np.repeat(np.arange(len(groups)), groups.shape[1])
    weights = np.full(rows.size, 1 / groups.shape[1])
    matrix = sparse.csr_array((weights, (rows, groups.ravel())), shape=(len(groups), cells.size))
    operator = StateOperator(matrix, (1, C, H, W))
    y = operator(truth)[0] + error * torch.from_numpy(rng.standard_normal(len(groups))).float()
    return _Patch(operator, y, ErrorCovariance(np.full(len(groups), error**2)))


def stored_factor(prior: LearntPrior) -> float:
    """The spread factor fitted on validation data.

    Raises:
        SkyweaveError: none is stored.
    """
    calibration = prior.metadata.get("calibration")
    if not calibration or "spread_factor" not in calibration:
        raise SkyweaveError(
            "this prior stores no recalibration; run `skyweave calibrate CONFIG`, or leave recalibrate off"
        )
    return float(calibration["spread_factor"])


def recalibrate_members(members: Tensor, factor: float) -> Tensor:
    r"""Members about their mean, scaled: ``mean + factor (x - mean)`` over the first axis."""
    mean = members.mean(dim=0, keepdim=True)
    return mean + factor * (members - mean)
