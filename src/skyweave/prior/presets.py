"""Named sizes of the prior's network."""

from __future__ import annotations

from dataclasses import dataclass, replace

from skyweave.diffusion.network import Architecture
from skyweave.errors import SkyweaveError, did_you_mean


@dataclass(frozen=True)
class Preset:
    """An architecture with the noise distribution it is trained with (``ln sigma ~ N(p_mean, p_std^2)``)."""

    architecture: Architecture
    p_mean: float = -1.0
    p_std: float = 1.6
    sigma_data: float = 1.0


PRESETS: dict[str, Preset] = {
    "tiny": Preset(Architecture(base=16, multipliers=(1, 1, 2), blocks=1, norm="cell", embedding=2)),
    "small": Preset(Architecture(base=32, multipliers=(1, 1, 1, 1), blocks=1, norm="cell", embedding=2)),
    "base": Preset(Architecture(base=48, multipliers=(1, 2, 2, 2), blocks=2, attention=(3,), dropout=0.05)),
    # The multimodal paper, section 3.2: attention at 32 x 64, 16 x 32 and 8 x 16 of 128 x 256.
    "multimodal": Preset(
        Architecture(base=64, multipliers=(1, 2, 4, 8, 16), blocks=4, attention=(2, 3, 4), dropout=0.1),
        p_mean=-0.5,
        p_std=1.5,
    ),
}


def find_preset(
    name: str,
    *,
    base: int | None = None,
    multipliers: tuple[int, ...] | None = None,
    blocks: int | None = None,
    attention: tuple[int, ...] | None = None,
    dropout: float | None = None,
    norm: str | None = None,
) -> Preset:
    """The preset called `name`, with fields of its architecture replaced by those that are given; see `Architecture`.

    Raises:
        SkyweaveError: no preset has that name.
    """
    if name not in PRESETS:
        raise SkyweaveError(
            f"no preset {name!r}{did_you_mean(name, list(PRESETS))}; there are {list(PRESETS)}"
        )
    own = PRESETS[name].architecture
    architecture = replace(
        own,
        base=own.base if base is None else base,
        multipliers=own.multipliers if multipliers is None else multipliers,
        blocks=own.blocks if blocks is None else blocks,
        attention=own.attention if attention is None else attention,
        dropout=own.dropout if dropout is None else dropout,
        norm=own.norm if norm is None else norm,
    )
    return replace(PRESETS[name], architecture=architecture)
