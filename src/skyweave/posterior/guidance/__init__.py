"""Guidance methods: each turns a problem, a prior and observations, into the denoiser of its posterior.

A method is one file with one class and one line in `GUIDANCE`. All are called with ``(problem, **options)`` and are
denoisers themselves.
"""

from __future__ import annotations

from collections.abc import Callable

from skyweave.posterior.guidance.base import Guidance
from skyweave.posterior.guidance.covariance import CovarianceGuidance
from skyweave.posterior.guidance.dps import DPSGuidance
from skyweave.posterior.guidance.mmps import MMPSGuidance
from skyweave.posterior.guidance.multimodal import MultimodalGuidance
from skyweave.posterior.guidance.pigdm import PiGDMGuidance
from skyweave.posterior.guidance.sda import SDAGuidance

GUIDANCE: dict[str, Callable[..., Guidance]] = {
    "covariance": CovarianceGuidance,
    "mmps": MMPSGuidance,
    "sda": SDAGuidance,
    "multimodal": MultimodalGuidance,
    "pigdm": PiGDMGuidance,
    "dps": DPSGuidance,
}

__all__ = [
    "GUIDANCE",
    "CovarianceGuidance",
    "DPSGuidance",
    "Guidance",
    "MMPSGuidance",
    "MultimodalGuidance",
    "PiGDMGuidance",
    "SDAGuidance",
]
