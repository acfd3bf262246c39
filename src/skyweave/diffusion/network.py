"""A fully convolutional U-Net of the DDPM++ (SongUNet) family for fields on latitude and longitude, or windows of them.

A window of frames is a volume whose depth is time: resampling reduces space only, every convolution also sees the
frame before and the frame after (`VolumeConv`), and attention spans space and time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

MOST_LEVELS = 12

MOST_WEIGHTS = 4_000_000_000
"""Of a network: 16 GB of single precision."""

LIMITS: dict[str, tuple[int, int]] = {
    "base": (2, 4096),
    "multipliers": (1, 256),
    "blocks": (1, 64),
    "attention": (0, MOST_LEVELS - 1),
    "embedding": (1, 64),
    "window": (1, 1023),
}
"""Least and greatest number of each kind: what is beyond is a mistake or a damaged file, found before allocation."""


def _check_count(name: str, value: object, low: int, high: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ValueError(f"{name} {value!r:.40}: a whole number from {low} to {high}")


@dataclass(frozen=True)
class Architecture:
    """Everything that determines the shape of a `UNet`.

    Args:
        base: channels at the finest level.
        multipliers: channels of each level in units of `base`, finest first.
        blocks: residual blocks per level in the encoder (one more in the decoder).
        attention: levels with self-attention (0 is the finest).
        dropout: probability inside residual blocks.
        norm: "group" (statistics over the whole domain) or "cell" (over the channels of each cell,
            so that an output depends on a neighbourhood alone).
        embedding: width of the noise embedding in units of `base`.
        window: frames ``w = 2k + 1`` that are denoised together.
        masked: takes a mask of what is observed beside every state channel (see `skyweave.prior.corruption`).

    Raises:
        ValueError: a number beyond `LIMITS`, or a network of more than `MOST_WEIGHTS` weights.
    """

    base: int
    multipliers: tuple[int, ...]
    blocks: int
    attention: tuple[int, ...] = ()
    dropout: float = 0.0
    norm: str = "group"
    embedding: int = 4
    window: int = 1
    masked: bool = False

    def __post_init__(self) -> None:
        counts = {
            "base": self.base,
            "blocks": self.blocks,
            "embedding": self.embedding,
            "window": self.window,
        }
        for name, count in counts.items():
            _check_count(name, count, *LIMITS[name])
        for name, values in (("multipliers", self.multipliers), ("attention", self.attention)):
            if not isinstance(values, tuple) or len(values) > MOST_LEVELS:
                raise ValueError(f"{name} {values!r:.80}: at most {MOST_LEVELS} levels")
            for value in values:
                _check_count(name, value, *LIMITS[name])
        if not self.multipliers:
            raise ValueError("multipliers: at least one level")
        if self.attention and max(self.attention) >= self.levels:
            raise ValueError(f"attention {self.attention}: there are {self.levels} levels, 0 is the finest")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout {self.dropout!r:.40}: 0 or more, below 1")
        if self.norm not in ("group", "cell"):
            raise ValueError(f"norm {self.norm!r:.40} is not one of 'group', 'cell'")
        if not isinstance(self.masked, bool):
            raise ValueError(f"masked {self.masked!r:.40}: true or false")
        if self.weights > MOST_WEIGHTS:
            raise ValueError(
                f"base {self.base}, multipliers {self.multipliers} and {self.blocks} blocks make a network of about "
                f"{self.weights:.1e} weights; at most {MOST_WEIGHTS:.0e}"
            )

    @property
    def weights(self) -> int:
        """About how many weights there are: those of the 3 x 3 convolutions."""
        return sum(9 * (4 * self.blocks + 5) * (self.base * m) ** 2 for m in self.multipliers)

    @property
    def levels(self) -> int:
        return len(self.multipliers)

    @property
    def stride(self) -> int:
        """Cells per cell of the coarsest level."""
        return 2 ** (self.levels - 1)

    def to_dict(self) -> dict[str, Any]:
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Architecture:
        fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**fields)


def attention_levels(sizes: Sequence[Sequence[int]], patch: tuple[int, int], levels: int) -> tuple[int, ...]:
    """Levels of a U-Net whose feature maps have the given (height, width) when it is fed `patch`.

    Raises:
        ValueError: a size is not that of any level.
    """
    maps = [(patch[0] // 2**k, patch[1] // 2**k) for k in range(levels)]
    for size in sizes:
        if tuple(size) not in maps:
            raise ValueError(f"attention at {tuple(size)}: feature maps of a {patch} patch are {maps}")
    return tuple(sorted(maps.index((size[0], size[1])) for size in sizes))


class NoiseEmbedding(nn.Module):
    """Sines and cosines of c_noise at geometrically spaced frequencies, then two dense layers."""

    frequencies: Tensor

    def __init__(self, features: int, width: int, highest: float = 32.0) -> None:
        super().__init__()
        half = features // 2
        frequencies = torch.logspace(math.log10(0.5), math.log10(highest), half)
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.dense0 = nn.Linear(features, width)
        self.dense1 = nn.Linear(width, width)

    def forward(self, c_noise: Tensor) -> Tensor:
        angles = c_noise[:, None].float() * self.frequencies
        waves = torch.cat([angles.cos(), angles.sin()], dim=1)
        return F.silu(self.dense1(F.silu(self.dense0(waves))))


class Conv(nn.Conv2d):
    """Convolution with zeros outside the domain, but circular in longitude where that is periodic."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int = 3, gain: float = 1.0) -> None:
        super().__init__(channels_in, channels_out, kernel, padding=kernel // 2)
        with torch.no_grad():
            self.weight.mul_(gain)
            if self.bias is not None:
                self.bias.mul_(gain)

    def forward(self, x: Tensor, periodic: bool = False, frames: int = 1) -> Tensor:  # type: ignore[override]
        if not periodic or self.kernel_size[0] == 1:
            return super().forward(x)
        pad = self.kernel_size[0] // 2
        wrapped = torch.cat([x[..., -pad:], x, x[..., :pad]], dim=-1)
        return F.conv2d(wrapped, self.weight, self.bias, padding=(pad, 0))


class VolumeConv(nn.Module):
    """A convolution over (time, lat, lon) whose kernel is 3 x 3 in its own frame and 1 x 1 in the two beside it.

    A full 3 x 3 x 3 kernel costs three times one frame's; this one a fifth more than it, and depth makes up for the
    rest. Frames beyond the ends of the window are zero.
    """

    def __init__(self, channels_in: int, channels_out: int, gain: float = 1.0) -> None:
        super().__init__()
        self.within = Conv(channels_in, channels_out, gain=gain)
        self.beside = Conv(2 * channels_in, channels_out, kernel=1, gain=gain)

    def forward(self, x: Tensor, periodic: bool = False, frames: int = 1) -> Tensor:
        out = self.within(x, periodic)
        before, after = self.beside.weight.chunk(2, dim=1)
        # What each frame gives to the next and to the one before, then shifted: cheaper than shifting its input.
        given = F.conv2d(x, torch.cat([before, after])).unflatten(0, (-1, frames))
        half = out.shape[1]
        volume = out.unflatten(0, (-1, frames))
        volume[:, 1:] += given[:, :-1, :half]
        volume[:, :-1] += given[:, 1:, half:]
        assert self.beside.bias is not None
        return out + self.beside.bias[:, None, None].to(out.dtype)


def make_conv(
    architecture: Architecture, channels_in: int, channels_out: int, gain: float = 1.0
) -> nn.Module:
    """The 3 x 3 convolution of single frames, or that of windows."""
    kind = VolumeConv if architecture.window > 1 else Conv
    return kind(channels_in, channels_out, gain=gain)


class CellNorm(nn.Module):
    """Normalisation over the channels of each cell, so that no statistic reaches across the domain."""

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        # Channels are the contiguous axis of a channels-last tensor, so these permutes cost nothing.
        y = F.layer_norm(x.permute(0, 2, 3, 1), (x.shape[1],), self.weight, self.bias, self.eps)
        return y.permute(0, 3, 1, 2)


def make_norm(kind: str, channels: int) -> nn.Module:
    """Normalisation layer by name: "group" or "cell" (see `Architecture`)."""
    if kind == "cell":
        return CellNorm(channels)
    if kind != "group":
        raise ValueError(f"norm {kind!r} is not one of 'group', 'cell'")
    groups = max(g for g in range(1, min(32, max(channels // 4, 1)) + 1) if channels % g == 0)
    return nn.GroupNorm(groups, channels, eps=1e-6)


class Attention(nn.Module):
    """Single-head self-attention over all cells of a feature map, of all frames of a window, added to its input."""

    def __init__(self, channels: int, norm: str) -> None:
        super().__init__()
        self.norm = make_norm(norm, channels)
        self.qkv = Conv(channels, 3 * channels, kernel=1)
        self.project = Conv(channels, channels, kernel=1, gain=0.0)

    def forward(self, x: Tensor, frames: int = 1) -> Tensor:
        b, c, h, w = x.shape
        qkv = self.qkv(self.norm(x)).reshape(b // frames, frames, 3, c, h * w)
        tokens = qkv.permute(2, 0, 1, 4, 3).reshape(3, b // frames, 1, frames * h * w, c)
        q, k, v = tokens.unbind(0)
        y = F.scaled_dot_product_attention(q.contiguous(), k.contiguous(), v.contiguous())
        y = y.reshape(b, h * w, c).transpose(-1, -2).reshape(b, c, h, w)
        return x + self.project(y)


class Block(nn.Module):
    """Residual block with adaptive scale and shift by the noise embedding, and optional resampling by two.

    ``y = (skip(x) + conv1(dropout(silu((1 + a) norm1(conv0(silu(norm0(x)))) + b)))) / sqrt(2)``.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        embedding: int,
        architecture: Architecture,
        *,
        resample: str | None = None,
        attention: bool = False,
    ) -> None:
        super().__init__()
        self.resample = resample
        self.dropout = architecture.dropout
        self.norm0 = make_norm(architecture.norm, channels_in)
        self.conv0 = make_conv(architecture, channels_in, channels_out)
        self.affine = nn.Linear(embedding, 2 * channels_out)
        self.norm1 = make_norm(architecture.norm, channels_out)
        self.conv1 = make_conv(architecture, channels_out, channels_out, gain=1e-5)
        self.skip = Conv(channels_in, channels_out, kernel=1) if channels_in != channels_out else None
        self.attention = Attention(channels_out, architecture.norm) if attention else None

    def _resampled(self, x: Tensor) -> Tensor:
        if self.resample == "down":
            return F.avg_pool2d(x, 2)
        if self.resample == "up":
            return F.interpolate(x, scale_factor=2, mode="nearest")
        return x

    def forward(self, x: Tensor, embedding: Tensor, periodic: bool, frames: int = 1) -> Tensor:
        scale, shift = self.affine(embedding)[..., None, None].chunk(2, dim=1)
        y = self.conv0(self._resampled(F.silu(self.norm0(x))), periodic, frames)
        y = F.silu(torch.addcmul(shift.to(y.dtype), self.norm1(y), (1 + scale).to(y.dtype)))
        y = self.conv1(F.dropout(y, self.dropout, self.training), periodic, frames)
        x = self._resampled(x)
        y = (y + (x if self.skip is None else self.skip(x))) * math.sqrt(0.5)
        return y if self.attention is None else self.attention(y, frames) * math.sqrt(0.5)


class UNet(nn.Module):
    """U-Net for fields of any size: (B, channels_in, H, W), c_noise (B,) -> (B, channels_out, H, W).

    Windows come as ``B = windows * frames`` fields, the frames of a window next to one another.

    Longitude is circular where the call says `periodic`; everything else outside the domain is zero. A
    size that the strides do not divide is padded inside (wrapped on periodic longitudes, else reflected) and
    cropped.

    Reference: Song et al. (2021), https://arxiv.org/abs/2011.13456, DDPM++; Karras et al. (2022), Appendix F.
    """

    def __init__(self, channels_in: int, channels_out: int, architecture: Architecture) -> None:
        super().__init__()
        a = self.architecture = architecture
        width = a.embedding * a.base
        self.embedding = NoiseEmbedding(2 * (a.base // 2), width)
        self.first = Conv(channels_in, a.base * a.multipliers[0])

        channels = a.base * a.multipliers[0]
        skips = [channels]
        encoder: list[Block] = []
        for level, multiplier in enumerate(a.multipliers):
            if level:
                encoder.append(Block(channels, channels, width, a, resample="down"))
                skips.append(channels)
            for _ in range(a.blocks):
                block = Block(channels, a.base * multiplier, width, a, attention=level in a.attention)
                encoder.append(block)
                channels = a.base * multiplier
                skips.append(channels)
        self.encoder = nn.ModuleList(encoder)

        coarsest = a.levels - 1
        self.middle = nn.ModuleList(
            [
                Block(channels, channels, width, a, attention=coarsest in a.attention),
                Block(channels, channels, width, a),
            ]
        )

        decoder: list[Block] = []
        self._takes_skip: list[bool] = []
        for level, multiplier in reversed(list(enumerate(a.multipliers))):
            if level < coarsest:
                decoder.append(Block(channels, channels, width, a, resample="up"))
                self._takes_skip.append(False)
            for index in range(a.blocks + 1):
                last = index == a.blocks
                block = Block(
                    channels + skips.pop(),
                    a.base * multiplier,
                    width,
                    a,
                    attention=last and level in a.attention,
                )
                decoder.append(block)
                self._takes_skip.append(True)
                channels = a.base * multiplier
        self.decoder = nn.ModuleList(decoder)
        self.last_norm = make_norm(a.norm, channels)
        self.last = Conv(channels, channels_out, gain=0.0)

    def forward(self, x: Tensor, c_noise: Tensor, *, periodic: bool = False, frames: int = 1) -> Tensor:
        height, width = x.shape[-2:]
        x, (top, left), periodic = pad_to_multiple(x, self.architecture.stride, periodic)
        embedding = self.embedding(c_noise)
        x = self.first(x.contiguous(memory_format=torch.channels_last), periodic)
        skips = [x]
        for block in self.encoder:
            x = block(x, embedding, periodic, frames)
            skips.append(x)
        for block in self.middle:
            x = block(x, embedding, periodic, frames)
        for block, takes_skip in zip(self.decoder, self._takes_skip, strict=True):
            x = torch.cat([x, skips.pop()], dim=1) if takes_skip else x
            x = block(x, embedding, periodic, frames)
        x = self.last(F.silu(self.last_norm(x)), periodic)
        return x[..., top : top + height, left : left + width].contiguous()


def pad_to_multiple(x: Tensor, stride: int, periodic: bool) -> tuple[Tensor, tuple[int, int], bool]:
    """Pad the last two axes so that `stride` divides them.

    Latitude and non-periodic longitude are reflected (replicated where the domain is too small).
    Periodic longitudes that the stride does not divide are wrapped on both sides, eight coarse cells or more;
    the padded domain is then no longer periodic, for its first and last columns are not neighbours.

    Returns:
        The padded tensor, (rows, columns) added before the first, and whether convolutions may still wrap.
    """
    height, width = x.shape[-2:]
    rows = -height % stride
    columns = -width % stride
    left = columns // 2
    if columns and periodic:
        halo = min(8 * stride, width)
        left = halo
        total = halo + (-(width + halo) % stride) + halo // stride * stride
        index = torch.arange(-halo, width + total - halo, device=x.device) % width
        x = x[..., index]
        columns, periodic = 0, False
    top = rows // 2
    if rows or columns:
        pads = (left if columns else 0, columns - left if columns else 0, top, rows - top)
        small = rows - top >= height or columns - columns // 2 >= width
        x = F.pad(x, pads, mode="replicate" if small else "reflect")
    return x, (top, left), periodic
