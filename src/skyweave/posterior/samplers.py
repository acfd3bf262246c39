"""Samplers: each takes noisy states to clean ones with any denoiser, and knows its own error of spread.

A sampler is one file with one class and one line in `SAMPLERS`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from skyweave.diffusion.samplers import DPM2M, DPM2MSDE, Ancestral, Heun, Sampler
from skyweave.posterior.daps import DAPS

SAMPLERS: dict[str, Callable[..., Sampler]] = {
    "dpm++2m": DPM2M,
    "dpm++2m-sde": DPM2MSDE,
    "heun": Heun,
    "ancestral": Ancestral,
    "daps": DAPS,
    "daps-exact": partial(DAPS, estimate="tweedie", draw="exact", width="covariance"),
}

STEPS = {"daps": 250, "daps-exact": 32}
"""Network evaluations by default, where they are not those of the other samplers."""

__all__ = ["SAMPLERS", "STEPS"]
