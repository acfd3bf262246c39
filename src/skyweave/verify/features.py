"""Features of fields, for distances between sets of them: each extractor is named for what it is.

An extractor maps fields ``(N, H, W)``, float32, to features ``(N, F)`` with F that does not depend on H and W. A new
one is a function and a line in `EXTRACTORS`; or pass any function, such as a trained network.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.nn import functional

from skyweave.errors import SkyweaveError, did_you_mean
from skyweave.verify.arrays import double
from skyweave.verify.spectra import rapsd

__all__ = ["EXTRACTORS", "field_features", "random_convolutions", "spectral_moments"]

Extractor = Callable[[Tensor], Tensor]

CHANNELS = (8, 16, 24)
SMALLEST = 8  # cells: three levels halve it twice
BATCH = 128
BANDS = 8
QUANTILES = (0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99)


def field_features(
    fields: Tensor | ArrayLike,
    extractor: str | Extractor = "random-convolutions",
    *,
    location: float = 0.0,
    scale: float = 1.0,
) -> Tensor:
    """One row of features for each field or sequence of fields.

    A Frechet distance on these is not FID: that name belongs to the features of Inception-v3, which saw
    photographs. State the extractor beside the number.

    Of a sequence ``(T, H, W)`` with more than one frame the features are the mean over its frames, and beside
    them the mean over the differences between consecutive frames: what it looks like and how it moves.

    Args:
        fields: ``(N, H, W)``, or ``(N, T, H, W)`` for sequences; without gaps.
        extractor: a key of `EXTRACTORS`, or a function from ``(n, H, W)`` float32 to ``(n, F)``.
        location, scale: subtracted from the fields, and then divided by, before anything else; take the mean
            and standard deviation of the true set and give the same for every set that is compared.

    Returns:
        ``(N, F)`` float64, or ``(N, 2 F)`` for sequences.

    Raises:
        SkyweaveError: an unknown extractor, fields with gaps, of another shape or too small, or an extractor
            that does not return one row for each field.
    """
    extract = _extractor(extractor)
    x = double(fields)
    if x.ndim not in (3, 4) or 0 in x.shape:
        raise SkyweaveError(f"fields have the shape (N, H, W) or (N, T, H, W), found {tuple(x.shape)}")
    if not x.isfinite().all():
        raise SkyweaveError(
            f"{int((~x.isfinite()).sum())} of {x.numel()} values are missing: features need complete fields; "
            "compare reconstructions, or regions without gaps"
        )
    if scale <= 0:
        raise SkyweaveError(f"scale = {scale}, it must be positive, such as the truth's standard deviation")
    x = (x - location) / scale
    if x.ndim == 3:
        return _in_batches(extract, x)
    still = _per_sequence(extract, x)
    return still if x.shape[1] == 1 else torch.cat([still, _per_sequence(extract, x.diff(dim=1))], dim=1)


def random_convolutions(fields: Tensor) -> Tensor:
    """Mean and standard deviation over space of the channels of a fixed network with random filters.

    Three levels of 3 x 3 convolutions (8, 16 and 24 channels, leaky rectifiers, halved between levels by means
    of 2 x 2 cells), weights from a fixed seed. Each channel is shifted and scaled to mean zero and variance one
    on red noise of unit variance, by constants that are part of the network. With the mean and standard
    deviation of the field itself, 98 features. They see texture, amplitude and skewness at scales up to some
    ten cells; not where in the domain something lies.

    Args:
        fields: ``(n, H, W)`` float32, of order one, sides of at least 8.

    Raises:
        SkyweaveError: smaller fields.

    Reference: Naeem et al. (2020), arXiv 2002.09797, on random embeddings for fields unlike photographs.
    """
    if min(fields.shape[-2:]) < SMALLEST:
        raise SkyweaveError(
            f"fields of {tuple(fields.shape[-2:])} cells; random-convolutions needs {SMALLEST} a side"
        )
    channels = _network_outputs(fields, _network())
    parts = [fields[:, None], *channels]
    means = [part.mean(dim=(-2, -1)) for part in parts]
    spreads = [part.std(dim=(-2, -1), correction=0) for part in parts]
    return torch.cat([*means, *spreads], dim=1)


def spectral_moments(fields: Tensor) -> Tensor:
    """Logarithm of the radially averaged power at 8 scales, the mean, and seven quantiles: 16 features.

    The scales lie evenly in the logarithm of the wavenumber, from the longest side to two cells (see
    `skyweave.verify.rapsd`). Quantiles: 1, 10, 25, 50, 75, 90, 99 %.

    Args:
        fields: ``(n, H, W)``, sides of at least 4.

    Raises:
        SkyweaveError: smaller fields.
    """
    if min(fields.shape[-2:]) < 4:
        raise SkyweaveError(f"fields of {tuple(fields.shape[-2:])} cells; spectral-moments needs 4 a side")
    x = fields.double()
    # Power that is only rounding counts as nothing, yet has a logarithm.
    power = rapsd(x)[:, 1:].clamp(min=1e-12).log()
    place = torch.logspace(0, math.log10(power.shape[1]), BANDS, dtype=torch.float64) - 1
    bands = _at(power, place)
    ordered = x.flatten(1).sort(dim=1).values
    levels = _at(ordered, torch.tensor(QUANTILES, dtype=x.dtype) * (ordered.shape[1] - 1))
    return torch.cat([bands, ordered.mean(dim=1, keepdim=True), levels], dim=1)


def _at(rows: Tensor, places: Tensor) -> Tensor:
    """Rows ``(n, m)`` at fractional places 0 to m - 1, linearly between neighbours."""
    low = places.floor().long().clamp(0, rows.shape[1] - 2)
    along = (places - low).clamp(0, 1)
    return rows[:, low] * (1 - along) + rows[:, low + 1] * along


EXTRACTORS: dict[str, Extractor] = {
    "random-convolutions": random_convolutions,
    "spectral-moments": spectral_moments,
}


# ---- the random network

Level = tuple[Tensor, Tensor, Tensor]  # filters, shift and scale of the channels


@cache
def _network() -> tuple[Level, ...]:
    """Filters, and the constants that normalise their channels on red noise."""
    generator = torch.Generator().manual_seed(20_20)
    noise = torch.randn(16, 64, 64, generator=generator)
    down, across = torch.fft.fftfreq(64)[:, None], torch.fft.rfftfreq(64)[None]
    red = torch.fft.irfft2(torch.fft.rfft2(noise) * torch.hypot(down, across).clamp(min=1 / 64) ** -1.5)
    red = (red - red.mean()) / red.std()
    levels: list[Level] = []
    before = 1
    for width in CHANNELS:
        filters = torch.randn(width, before, 3, 3, generator=generator)
        filters = filters / filters.flatten(1).norm(dim=1)[:, None, None, None]
        plain = (filters, torch.zeros(width), torch.ones(width))
        response = _network_outputs(red, (*levels, plain))[-1]
        shift, scale = response.mean(dim=(0, 2, 3)), response.std(dim=(0, 2, 3))
        levels.append((filters, shift, scale))
        before = width
    return tuple(levels)


def _network_outputs(fields: Tensor, levels: tuple[Level, ...]) -> list[Tensor]:
    """Normalised channels of every level, ``(n, channels, H / 2^l, W / 2^l)``."""
    x, outputs = fields[:, None], []
    for depth, (filters, shift, scale) in enumerate(levels):
        if depth:
            x = functional.avg_pool2d(x, 2)
        x = functional.conv2d(functional.pad(x, (1, 1, 1, 1), mode="replicate"), filters.to(x))
        x = functional.leaky_relu(x, 0.2)
        x = (x - shift.to(x)[:, None, None]) / scale.to(x)[:, None, None]
        outputs.append(x)
    return outputs


# ---- plumbing


def _extractor(extractor: str | Extractor) -> Extractor:
    if callable(extractor):
        return extractor
    if extractor not in EXTRACTORS:
        raise SkyweaveError(
            f"no extractor is called {extractor!r}{did_you_mean(extractor, list(EXTRACTORS))}; there are "
            f"{', '.join(EXTRACTORS)}, or give a function from (n, H, W) to (n, F)"
        )
    return EXTRACTORS[extractor]


def _in_batches(extract: Extractor, fields: Tensor) -> Tensor:
    rows = []
    with torch.no_grad():
        for part in fields.float().split(BATCH):
            out = double(extract(part))
            if out.ndim != 2 or len(out) != len(part):
                raise SkyweaveError(
                    f"the extractor made features of shape {tuple(out.shape)} from {len(part)} fields; "
                    "expected one row for each"
                )
            rows.append(out)
    return torch.cat(rows)


def _per_sequence(extract: Extractor, fields: Tensor) -> Tensor:
    return _in_batches(extract, fields.flatten(0, 1)).unflatten(0, fields.shape[:2]).mean(dim=1)
