"""Samplers of the posterior by name.

A sampler is one file with one class and one line in `SAMPLERS`. Those of `skyweave.diffusion.samplers` take a guided
denoiser; DAPS is decoupled: it takes the problem itself, in the place of guidance.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from skyweave.diffusion.samplers import DPM2M, DPM2MSDE, Ancestral, Heun, Sampler
from skyweave.posterior.daps import DAPS

SAMPLERS: dict[str, Callable[..., Sampler | DAPS]] = {
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
