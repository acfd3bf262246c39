"""The extra mask of corruption-aware training: gaps drawn as real ones look, over those that the data have."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from pydantic import Field, field_validator
from torch import Tensor

from skyweave.config import Section

__all__ = ["GAPS", "CorruptionConfig", "extra_mask", "moving_clouds"]

Kind = Literal["gaps", "clouds", "pixels", "frames"]


class CorruptionConfig(Section):
    """How much is hidden from the network beyond what the data lack.

    Args:
        empty: probability that a sample keeps all that was observed. When sampling, the mask is all ones, so the
            network has to meet that case in training.
        fraction: least and largest share of cells hidden, where a kind lets it be chosen.
        kinds: of masks, drawn with equal probability: "gaps" of another sample of the data, moving "clouds",
            independent "pixels", whole "frames" of a window.
    """

    empty: float = Field(default=0.3, ge=0, le=1)
    fraction: tuple[float, float] = (0.1, 0.6)
    kinds: tuple[Kind, ...] = ("gaps", "clouds", "pixels", "frames")

    @field_validator("fraction")
    @classmethod
    def _ordered(cls, pair: tuple[float, float]) -> tuple[float, float]:
        if not 0 <= pair[0] <= pair[1] < 1:
            raise ValueError(f"fraction {list(pair)}: two shares of cells, the smaller one first, below 1")
        return pair

    @field_validator("kinds")
    @classmethod
    def _some(cls, kinds: tuple[Kind, ...]) -> tuple[Kind, ...]:
        if not kinds:
            raise ValueError("kinds: at least one")
        return kinds


def extra_mask(fields: Tensor, config: CorruptionConfig, generator: torch.Generator) -> Tensor:
    """The mask ``B`` of a batch: true where a cell is left to the network, like `fields`.

    All variables of a sample share one mask.

    Args:
        fields: windows (B, T, C, h, w) or fields (B, C, h, w), NaN where missing.
        config: see `CorruptionConfig`.
        generator: of everything random in it.

    Reference: AODDiff, Section 3.2; after Daras et al. (2023), Ambient Diffusion, Section 4.
    """
    windows = fields if fields.ndim == 5 else fields[:, None]
    size, frames, _, height, width = windows.shape
    seen = torch.isfinite(windows).any(2)
    kinds = [k for k in config.kinds if k != "frames" or frames > 1] or ["pixels"]
    left = torch.ones(size, frames, height, width, dtype=torch.bool)
    for n in range(size):
        empty, kind, share = torch.rand(3, generator=generator).tolist()
        if empty < config.empty:
            continue
        fraction = config.fraction[0] + (config.fraction[1] - config.fraction[0]) * share
        name = kinds[int(kind * len(kinds))]
        other = seen[int(torch.randint(size, (1,), generator=generator))]
        if name == "gaps" and bool(other.all()):
            name = "clouds"  # data without gaps have none to lend
        left[n] = GAPS[name](other, fraction, generator)
    left = left[:, :, None].expand_as(windows)
    return left if fields.ndim == 5 else left[:, 0]


def _gaps(other: Tensor, fraction: float, generator: torch.Generator) -> Tensor:
    """The gaps of another sample, flipped in space at random."""
    flips = [axis for axis in (-2, -1) if float(torch.rand(1, generator=generator)) < 0.5]
    return other.flip(flips) if flips else other


def _clouds(other: Tensor, fraction: float, generator: torch.Generator) -> Tensor:
    return moving_clouds(other.shape[0], other.shape[1], other.shape[2], fraction, generator)


def moving_clouds(
    frames: int, height: int, width: int, fraction: float, generator: torch.Generator, memory: float = 12.0
) -> Tensor:
    r"""Masks ``(T, h, w)`` of clouds that evolve: a red random field, hidden above its own quantile.

    The spectrum in space falls as ``k^{-1.6}`` in amplitude; in time each wavenumber forgets within ``tau``,

    .. math:: a(k, f) = \frac{k^{-1.6}}{1 + (2 \pi f \tau_k)^2}, \qquad \tau_k = \mathrm{memory} / \sqrt{k},

    so that small clouds live shortly.

    Args:
        frames, height, width: of the masks.
        fraction: of the cells that is hidden, over all frames.
        generator: of the white noise.
        memory: frames that the largest clouds last.

    Returns:
        True where a cell is seen.
    """
    long = frames + 4 * math.ceil(memory) if frames > 1 else 1
    spectrum = torch.fft.rfftn(torch.randn(long, 2 * height, 2 * width, generator=generator))
    ky = torch.fft.fftfreq(2 * height)[:, None] * 2 * height
    kx = torch.fft.rfftfreq(2 * width)[None, :] * 2 * width
    wave = torch.sqrt(ky**2 + kx**2).clamp_min(1.0)
    frequency = torch.fft.fftfreq(long)[:, None, None]
    amplitude = wave**-1.6 / (1 + (2 * math.pi * frequency * memory / wave.sqrt()) ** 2)
    field = torch.fft.irfftn(spectrum * amplitude, s=(long, 2 * height, 2 * width))
    field = field[:frames, :height, :width]
    kept = max(1, math.ceil((1 - fraction) * field.numel()))
    return field <= field.flatten().kthvalue(kept).values


def _pixels(other: Tensor, fraction: float, generator: torch.Generator) -> Tensor:
    return torch.rand(other.shape, generator=generator) >= fraction


def _frames(other: Tensor, fraction: float, generator: torch.Generator) -> Tensor:
    """Whole frames hidden, at least one left."""
    count = min(len(other) - 1, max(1, round(fraction * len(other))))
    hidden = torch.randperm(len(other), generator=generator)[:count]
    left = torch.ones_like(other)
    left[hidden] = False
    return left


GAPS: dict[str, Callable[[Tensor, float, torch.Generator], Tensor]] = {
    "gaps": _gaps,
    "clouds": _clouds,
    "pixels": _pixels,
    "frames": _frames,
}
"""Kinds of masks by name; each takes what another sample shows (T, h, w), a fraction and a generator."""
