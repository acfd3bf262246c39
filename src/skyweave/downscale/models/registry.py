"""The registry of downscalers: one file and one line each."""

from __future__ import annotations

from skyweave.downscale.models.ddpm import DiffusionDownscaler
from skyweave.downscale.models.downscaler import Downscaler
from skyweave.downscale.models.encoder import TransferEncoder
from skyweave.downscale.models.latent import LatentDownscaler
from skyweave.downscale.models.target_form import Channels
from skyweave.downscale.models.unet import UNetDownscaler
from skyweave.downscale.models.vae import VAEDownscaler
from skyweave.downscale.models.vdm_like import VDMLike
from skyweave.downscale.settings import ModelSection
from skyweave.errors import SkyweaveError, did_you_mean

__all__ = ["DOWNSCALERS", "build_downscaler", "find_downscaler"]

DOWNSCALERS: dict[str, type[Downscaler]] = {
    "ddpm": DiffusionDownscaler,
    "latent": LatentDownscaler,
    "unet": UNetDownscaler,
    "vae": VAEDownscaler,
    "vdm-like": VDMLike,
}


def find_downscaler(name: str) -> type[Downscaler]:
    """The class of that name.

    Raises:
        SkyweaveError: there is none.
    """
    if name not in DOWNSCALERS:
        raise SkyweaveError(
            f"no downscaler {name!r}{did_you_mean(name, list(DOWNSCALERS))}; there are {', '.join(DOWNSCALERS)}"
        )
    return DOWNSCALERS[name]


def build_downscaler(
    name: str, channels: Channels, config: ModelSection, encoder: TransferEncoder | None = None
) -> Downscaler:
    """A downscaler with random weights; see `Downscaler` for what is raised."""
    return find_downscaler(name)(channels, config, encoder)
