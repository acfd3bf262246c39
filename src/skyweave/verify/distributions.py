"""Is a set of fields drawn from the same distribution as another: distances between sets of features.

Features are ``(N, F)``, one row for each field, from `skyweave.verify.features.field_features` or any network.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from skyweave.errors import SkyweaveError
from skyweave.verify.arrays import double

__all__ = ["PrecisionRecall", "frechet_distance", "pairwise_distance", "precision_recall"]

ROWS = 1024  # of a matrix of distances at a time, so that memory grows with N and not with its square


class PrecisionRecall(NamedTuple):
    """Shares in [0, 1], as 0-d tensors: of generated samples that are plausible, of real ones that are reached."""

    precision: Tensor
    recall: Tensor


def frechet_distance(a: Tensor | ArrayLike, b: Tensor | ArrayLike) -> Tensor:
    r"""Squared Frechet distance between Gaussians fitted to two sets of features.

    .. math:: d^2 = |\mu_a - \mu_b|^2
              + \mathrm{Tr}\left(\Sigma_a + \Sigma_b - 2 (\Sigma_a \Sigma_b)^{1/2}\right)

    The trace of the root is taken as the sum of the singular values of
    :math:`\Sigma_a^{1/2} \Sigma_b^{1/2}`, with symmetric roots, which needs no root of a matrix that is not
    symmetric and is accurate for singular covariances too (fewer samples than features). Finite samples add a
    positive bias, so compare sets of the same size, and with the distance between two true sets. It is the
    "FID" only on the features of Inception-v3.

    Args:
        a: features, ``(N, F)``, N at least 2.
        b: features, ``(M, F)``, M at least 2.

    Returns:
        A 0-d float64 tensor, squared units of the features; zero for equal sets.

    Raises:
        SkyweaveError: shapes that do not fit, fewer than two samples, or values that are not finite.

    Reference: Heusel et al. (2017), arXiv 1706.08500, Eq. 6.
    """
    x, y = _features(a, "a", 2), _features(b, "b", 2)
    _same_width(x, y)
    x_root, x_trace = _covariance_root(x)
    y_root, y_trace = _covariance_root(y)
    shift = (x.mean(dim=0) - y.mean(dim=0)).square().sum()
    shared = torch.linalg.svdvals(x_root @ y_root).sum()
    return (shift + x_trace + y_trace - 2 * shared).clamp(min=0)


def precision_recall(
    real: Tensor | ArrayLike, generated: Tensor | ArrayLike, k: int = 3, *, apart: int = 1
) -> PrecisionRecall:
    """Share of generated samples within the manifold of the real ones, and of real within the generated.

    The manifold of a set is the union of balls about its samples that reach to their k-th nearest neighbour in
    the set. Low precision means samples unlike any real one; low recall, a generator that leaves out modes.

    The reference's samples are independent. The nearest neighbours of a frame of an hourly sequence are the
    hours beside it, which makes the balls tiny and both scores near zero even for another true period: let
    `apart` be the memory of the sequence, or thin the frames.

    Args:
        real: features, ``(N, F)``, N at least ``k + 2 apart - 1``; in order of time where `apart` is given.
        generated: features, ``(M, F)``, likewise.
        k: which neighbour; 3 in the reference. Larger makes both scores larger.
        apart: how many rows away a neighbour must at least be to count for the size of a ball.

    Returns:
        ``(precision, recall)``, 0-d float64 tensors.

    Raises:
        SkyweaveError: shapes that do not fit, too few samples, or values that are not finite.

    Reference: Kynkaanniemi et al. (2019), arXiv 1904.06991, Eq. 1-2.
    """
    if k < 1:
        raise SkyweaveError(f"k = {k}; the nearest neighbour is k = 1")
    if apart < 1:
        raise SkyweaveError(f"apart = {apart}; no sample is its own neighbour, so it is 1 at least")
    least = k + 2 * apart - 1
    x, y = _features(real, "real", least), _features(generated, "generated", least)
    _same_width(x, y)
    return PrecisionRecall(_share_inside(y, x, k, apart), _share_inside(x, y, k, apart))


def pairwise_distance(features: Tensor | ArrayLike) -> Tensor:
    r"""Mean dissimilarity within a set: how different its members are from each other.

    .. math:: \frac{2}{N (N - 1)} \sum_{i < j} \frac{|f_i - f_j|}{\sqrt F}

    A generator that has collapsed has less than the true set. It is a perceptual distance on the features
    given, not LPIPS, whose weights were fitted to human judgements of photographs.

    Args:
        features: ``(N, F)``, N at least 2.

    Returns:
        A 0-d float64 tensor, units of the features.

    Raises:
        SkyweaveError: fewer than two samples, or values that are not finite.
    """
    x = _features(features, "features", 2)
    total = torch.stack([_distances(rows, x).sum() for rows in x.split(ROWS)]).sum()
    return total / (len(x) * (len(x) - 1) * x.shape[1] ** 0.5)


def _share_inside(samples: Tensor, manifold: Tensor, k: int, apart: int) -> Tensor:
    """Share of samples that lie within a ball of the other set's manifold."""
    place, radius = torch.arange(len(manifold)), []
    for rows, at in zip(manifold.split(ROWS), place.split(ROWS), strict=True):
        near = (at[:, None] - place).abs() < apart
        radius.append(_distances(rows, manifold).masked_fill(near, torch.inf).kthvalue(k, dim=1).values)
    reach = torch.cat(radius)
    inside = torch.cat([(_distances(rows, manifold) <= reach).any(dim=1) for rows in samples.split(ROWS)])
    return inside.double().mean()


def _distances(a: Tensor, b: Tensor) -> Tensor:
    # The faster form by a matrix product leaves equal points at a distance of 1e-8 rather than zero, which would
    # put a copy outside the ball of its original where that has twins.
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")


def _covariance_root(x: Tensor) -> tuple[Tensor, Tensor]:
    """Symmetric root of the covariance (divisor N - 1), and the covariance's trace."""
    # By singular values of the anomalies rather than the covariance's eigenvalues: small ones keep all digits.
    anomaly = (x - x.mean(dim=0)) / (len(x) - 1) ** 0.5
    _, deviation, axes = torch.linalg.svd(anomaly, full_matrices=False)
    return (axes.mT * deviation) @ axes, deviation.square().sum()


def _features(values: Tensor | ArrayLike, name: str, least: int) -> Tensor:
    x = double(values)
    if x.ndim != 2 or x.shape[1] == 0:
        raise SkyweaveError(f"{name}: features have the shape (N, F), found {tuple(x.shape)}")
    if len(x) < least:
        raise SkyweaveError(f"{name}: {len(x)} samples, this score needs at least {least}")
    if not x.isfinite().all():
        bad = int((~x.isfinite()).any(dim=1).sum())
        raise SkyweaveError(f"{name}: {bad} of {len(x)} samples have features that are not finite")
    return x


def _same_width(x: Tensor, y: Tensor) -> None:
    if x.shape[1] != y.shape[1]:
        raise SkyweaveError(
            f"{x.shape[1]} features against {y.shape[1]}: both sets must come from one extractor"
        )
