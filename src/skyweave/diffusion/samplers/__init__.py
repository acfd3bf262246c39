"""Samplers: each takes noisy states to clean ones with any denoiser, and knows its own error of spread.

Most are a `LinearSampler`: four numbers a step.
"""

from __future__ import annotations

from skyweave.diffusion.samplers.ancestral import Ancestral
from skyweave.diffusion.samplers.base import NOISE_OFFSET, Progress, Sampler
from skyweave.diffusion.samplers.ddim import DDIM
from skyweave.diffusion.samplers.dpm2m import DPM2M, DPM2MSDE
from skyweave.diffusion.samplers.heun import Heun
from skyweave.diffusion.samplers.linear import LinearSampler

__all__ = [
    "DDIM", "DPM2M", "DPM2MSDE", "NOISE_OFFSET", "Ancestral", "Heun", "LinearSampler", "Progress", "Sampler",
]  # fmt: skip
