"""What is fitted after training, on validation data alone: the error covariance and the ensemble's spread."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from skyweave.covariance.by_noise_level import estimate_error_covariance
from skyweave.diffusion.noise import NoiseStream
from skyweave.errors import SkyweaveError
from skyweave.learn.processes import usable_device
from skyweave.observe.errors import ErrorCovariance
from skyweave.observe.operator import StateOperator
from skyweave.observe.segment import Observations
from skyweave.posterior.background import Background, error_covariance
from skyweave.posterior.kalman import innovation_covariance
from skyweave.posterior.problem import Problem, climatological_mean
from skyweave.posterior.sample import Method, sample_posterior
from skyweave.prior.config import TrainConfig
from skyweave.prior.data import PatchSampler, regular
from skyweave.prior.prepare import TrainingData, prepare
from skyweave.prior.storage import LearntPrior, NetworkDenoiser, is_half, open_prior, save_prior
from skyweave.prior.windows import WindowDenoiser

__all__ = ["calibrate", "calibrate_run", "recalibrate_members", "stored_factor", "write_card"]

Report = Callable[[str], None]

KINDS = ("mask", "means", "points")
"""Of simulated observations: cells of which 60 % are missing, means of 4 x 4 cells, scattered points."""

CASES, LARGEST = 16, 400
"""Validation patches, and observations of each, whose innovations are looked at."""

SEQUENCE = 16
"""Frames of the sequences on which priors of windows are calibrated, at most."""


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
    device: str | torch.device = "cpu",
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
        method: of the reconstructions.
        report: told of progress.
        device: where the network is evaluated.

    Returns:
        The prior with ``covariance.*`` among its attachments and ``calibration`` in its metadata.
    """
    tell = report or (lambda text: None)
    data = [_numbered(validation, k) for k in range(batches)]
    _check_data(data, prior.spec.names)
    data = [(fields.to(device), known.to(device)) for fields, known in data]
    prior.network.to(device)

    def denoise(x: Tensor, sigma: Tensor, conditioning: Tensor) -> Tensor:
        if x.ndim == 5:
            each = [_on_patch(prior, known, validation.whole_circle) for known in conditioning]
            return torch.cat([one(x[n : n + 1], sigma) for n, one in enumerate(each)])
        levels = sigma.reshape(1).expand(len(x))
        return prior.network(x, levels, conditioning, periodic=validation.whole_circle, autocast=True)

    model = estimate_error_covariance(
        denoise,
        data,
        max_lag=max_lag,
        progress=lambda done, total: tell(f"error covariance: noise level {done} of {total}"),
    )
    # What is read back later, so that the scores are those of the stored numbers.
    stored = model.to_tensors()
    prior = replace(prior, attachments=prior.attachments | stored)
    error_covariance(prior)  # refused before it is stored
    scores = _score(prior, data, validation.whole_circle, cases, members, method or Method(), tell)
    prior = replace(prior, metadata=prior.metadata | {"calibration": scores})
    found = _with_innovations(prior, data, validation.whole_circle, tell)
    prior.network.to("cpu")
    return found


def calibrate_run(config: TrainConfig, *, report: Report | None = None) -> LearntPrior:
    """Calibrate the prior of a training run on the validation period of its configuration, and store it again.

    Covariances are estimated on patches twice the size of the trained ones (for windows half as large again) where the
    domain has room for them: the network is convolutional, and longer lags serve larger domains.

    Raises:
        SkyweaveError: the run has no prior, or its data cannot be used.
    """
    path = Path(config.out) / "prior.safetensors"
    data = prepare(config, config.batch, stream=0)
    prior = _with_card(open_prior(path), data)
    sampler = _sampler(prior, config, data)
    # A few sequences hold as many fields as a good many batches of single ones.
    device = usable_device(config.device)
    batches, cases, members = (4, 8, 24) if config.window == 1 else (1, 3, 12)
    done = calibrate(
        prior,
        sampler,
        batches=batches,
        max_lag=max(config.patch) * 3 // 4,
        cases=cases,
        members=members,
        report=report,
        device=device,
    )
    save_prior(done, path, overwrite=True)
    return done


def write_card(config: TrainConfig, path: Path | None = None, *, report: Report | None = None) -> LearntPrior:
    """Write what a prior was trained on, and its chi-square on validation data, into it; nothing else changes.

    Args:
        config: that it was trained with.
        path: of the prior; that of the run by default.
        report: told of progress.

    Raises:
        SkyweaveError: there is no such prior, or its data cannot be used.
    """
    path = path or Path(config.out) / "prior.safetensors"
    data = prepare(config, config.batch, stream=0)
    prior = _with_card(open_prior(path), data)
    sampler = _sampler(prior, config, data)
    found = _with_innovations(
        prior, [_numbered(sampler, 0)], sampler.whole_circle, report or (lambda text: None)
    )
    save_prior(found, path, overwrite=True, half=is_half(path))
    return found


def _with_card(prior: LearntPrior, data: TrainingData) -> LearntPrior:
    known = data.knowledge.to_dict()
    return replace(prior, metadata=prior.metadata | {"knowledge": known})


def _sampler(prior: LearntPrior, config: TrainConfig, data: TrainingData) -> PatchSampler:
    """Validation patches twice as large as the trained ones, or sequences half as large again."""
    record = data.validation.record
    wide = 2.0 if config.window == 1 else 1.5
    height, width = (min(int(wide * p), n) for p, n in zip(config.patch, record.grid.shape, strict=True))
    return PatchSampler(
        record,
        prior.conditioning.bind(record.grid),
        (height, width),
        16 if config.window == 1 else 8,
        seed=config.seed,
        memory_bytes=config.data.memory_gb * 1e9,
        window=_sequence(config.window, record.times),
        min_observed=config.min_observed,
    )


def _with_innovations(
    prior: LearntPrior, data: list[tuple[Tensor, Tensor]], periodic: bool, tell: Report
) -> LearntPrior:
    """Chi-square by number of simulated observations of validation patches, into the prior's card."""
    knowledge = prior.knowledge
    if knowledge is None:
        return prior
    found: dict[str, list[float]] = {}
    for number, (truth, known) in enumerate(_patches(prior, data, periodic)[:CASES]):
        shape = (truth.shape[1], truth.shape[2], truth.shape[3], truth.shape[4])
        background = Background(
            _on_patch(prior, known, periodic),
            error_covariance(prior).on(shape, periodic=periodic, device=known.device),
            shape,
        )
        x_b = climatological_mean(background)
        for kind in KINDS:
            observed = _thinned(_observe(kind, truth, number))
            if not observed.operator.n:
                continue
            S = innovation_covariance(x_b, background.covariance(math.inf), observed)
            if S is not None:
                d = (observed.y - observed.operator(x_b[None])[0].cpu()).double()
                found.setdefault(kind, []).append(float(d @ torch.linalg.solve(S.cpu(), d)) / len(d))
        tell(f"innovations of validation patch {number + 1}")
    told = {
        kind: (float(np.median(all_)), float(np.quantile(all_, 0.95)), max(all_))
        for kind, all_ in found.items()
    }
    return replace(
        prior, metadata=prior.metadata | {"knowledge": replace(knowledge, innovations=told).to_dict()}
    )


def _patches(
    prior: LearntPrior, data: list[tuple[Tensor, Tensor]], periodic: bool
) -> list[tuple[Tensor, Tensor]]:
    """Validation patches ``(1, T, C, H, W)`` of the size that the prior was trained at, the most complete first."""
    window = prior.spec.window
    fields, known = torch.cat([f for f, _ in data]), torch.cat([c for _, c in data])
    if window == 1:
        fields, known = fields[:, None], known[:, None]
    height, width = fields.shape[-2:] if periodic else prior.patch
    fields = fields[:, : 2 * window - 1, :, :height, :width]
    known = known[:, : 2 * window - 1, :, :height, :width]
    missing = fields.isnan().flatten(1).sum(1)
    order = missing.argsort(stable=True).tolist()
    return [(fields[k][None], known[k]) for k in order if missing[k] < fields[k].numel() / 2]


def _check_data(data: list[tuple[Tensor, Tensor]], names: tuple[str, ...]) -> None:
    """Refuse validation patches that a covariance would be estimated from without values of every variable.

    Raises:
        SkyweaveError: infinite values, or a variable that is missing everywhere.
    """
    fields = torch.cat([f.movedim(-3, 0).flatten(1) for f, _ in data], dim=1)
    conditioning = torch.cat([c.flatten() for _, c in data])
    for name, values in zip(names, fields, strict=True):
        if bool(values.isinf().any()):
            raise SkyweaveError(
                f"{name}: {int(values.isinf().sum())} values of the validation data are infinite; mark them as missing"
            )
        if bool(values.isnan().all()):
            raise SkyweaveError(
                f"{name}: missing at all places and times of the validation patches; choose another split.validate"
            )
    if not bool(conditioning.isfinite().all()):
        raise SkyweaveError("the conditioning of the validation patches is not finite; check data.static")


def _numbered(sampler: PatchSampler, index: int) -> tuple[Tensor, Tensor]:
    batch = sampler.batch(index)
    return batch.fields, batch.conditioning


def _sequence(window: int, times: np.ndarray) -> int:
    """Frames of the sequences on which a prior of windows is calibrated: up to a day of hourly ones."""
    if window == 1:
        return 1
    runs = np.split(np.arange(len(times)), np.flatnonzero(~regular(times)) + 1)
    return max(window, min(SEQUENCE, max(len(run) for run in runs)))


def _on_patch(prior: LearntPrior, conditioning: Tensor, periodic: bool) -> NetworkDenoiser | WindowDenoiser:
    """The prior on a patch whose conditioning ``(T, K, H, W)`` is known."""
    if prior.spec.window > 1:
        return WindowDenoiser(
            prior.network, conditioning, prior.spec.window, periodic=periodic, autocast=True
        )
    return NetworkDenoiser(prior.network, conditioning, periodic=periodic, autocast=True)


def _score(
    prior: LearntPrior,
    data: list[tuple[Tensor, Tensor]],
    periodic: bool,
    cases: int,
    members: int,
    method: Method,
    tell: Report,
) -> dict[str, Any]:
    # Scored at the size that the prior was trained at, whatever the size the covariance needs.
    chosen = _patches(prior, data, periodic)[:cases]
    if not chosen:
        return {}
    shape = (chosen[0][0].shape[1], chosen[0][0].shape[2], chosen[0][0].shape[3], chosen[0][0].shape[4])
    device = chosen[0][1].device
    kernel = error_covariance(prior).on(shape, periodic=periodic, device=device)
    out: dict[str, Any] = {"method": method.to_dict(), "members": members, "cases": len(chosen), "kinds": {}}
    ratios = []
    for kind in KINDS:
        error, spread, inside, count = 0.0, 0.0, 0.0, 0
        for number, (truth, known) in enumerate(chosen):
            seen = truth[0].isfinite()
            observed = _observe(kind, truth, number)
            if not observed.operator.n:
                continue
            denoiser = _on_patch(prior, known, periodic)
            background = Background(denoiser, kernel, shape)
            noise = NoiseStream(number, range(members), range(shape[0]), device)
            x = sample_posterior(Problem(background, observed), noise, method)
            error += float(((x.mean(0) - truth[0]) ** 2)[seen].sum())
            spread += float(x.var(0)[seen].sum()) * (members + 1) / members
            # Rank interval of nominal coverage 0.9, exact for a calibrated ensemble of any size.
            ordered, cut = x.sort(0).values, max(1, round(0.05 * (members + 1)))
            hit = (truth[0] >= ordered[cut - 1]) & (truth[0] <= ordered[members - cut])
            inside += float(hit[seen].sum()) * 0.9 / (1 - 2 * cut / (members + 1))
            count += int(seen.sum())
        if not count:
            continue
        ratio = math.sqrt(spread / error)
        ratios.append(ratio)
        out["kinds"][kind] = {
            "rmse": math.sqrt(error / count),
            "spread_skill_ratio": ratio,
            "coverage_90": inside / count,
        }
        tell(f"calibration on {kind}: spread-skill ratio {ratio:.3f}, coverage {inside / count:.3f}")
    out["spread_factor"] = float(1 / np.exp(np.mean(np.log(ratios))))
    return out


def _thinned(observed: Observations, most: int = LARGEST) -> Observations:
    """At most so many of the observations, evenly."""
    return observed.take(np.unique(np.linspace(0, observed.n - 1, min(most, observed.n)).astype(int)))


def _observe(kind: str, truth: Tensor, seed: int, error: float = 0.05) -> Observations:
    """Simulated observations of a normalised patch ``(1, T, C, H, W)``, every variable and time alike."""
    _, T, C, H, W = truth.shape
    rng = np.random.default_rng(seed)
    cells = np.arange(T * C * H * W).reshape(T * C, H, W)
    if kind == "means":
        factor = 4
        cut = cells[:, : H // factor * factor, : W // factor * factor]
        blocks = cut.reshape(T * C, H // factor, factor, W // factor, factor).transpose(0, 1, 3, 2, 4)
        groups = blocks.reshape(-1, factor**2)
    else:
        share = 0.4 if kind == "mask" else 0.02
        groups = cells[:, rng.random((H, W)) < share].reshape(-1, 1)
    truth = truth.cpu()
    groups = groups[torch.isfinite(truth).flatten().numpy()[groups].all(1)]
    rows = np.repeat(np.arange(len(groups)), groups.shape[1])
    weights = np.full(rows.size, 1 / groups.shape[1])
    matrix = sparse.csr_array((weights, (rows, groups.ravel())), shape=(len(groups), cells.size))
    operator = StateOperator(matrix, (T, C, H, W))
    y = (
        operator(torch.nan_to_num(truth))[0]
        + error * torch.from_numpy(rng.standard_normal(len(groups))).float()
    )
    return Observations(operator, y, ErrorCovariance(np.full(len(groups), error**2)))


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
