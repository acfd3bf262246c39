"""Samplers: each takes noisy states to clean ones with any denoiser, and knows its own error of spread.

A sampler is one file with one class and one line in `SAMPLERS`.
"""

from __future__ import annotations

from collections.abc import Callable

from skyweave.posterior.samplers.ancestral import Ancestral
from skyweave.posterior.samplers.base import NOISE_OFFSET, Sampler
from skyweave.posterior.samplers.dpm2m import DPM2M
from skyweave.posterior.samplers.dpm2m_sde import DPM2MSDE
from skyweave.posterior.samplers.heun import Heun

SAMPLERS: dict[str, Callable[..., Sampler]] = {
    "dpm++2m": DPM2M,
    "dpm++2m-sde": DPM2MSDE,
    "heun": Heun,
    "ancestral": Ancestral,
}

__all__ = ["DPM2M", "DPM2MSDE", "NOISE_OFFSET", "SAMPLERS", "Ancestral", "Heun", "Sampler"]
