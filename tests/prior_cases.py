"""Networks that tests of priors share."""

from __future__ import annotations

from skyweave.diffusion.precondition import PreconditionedNetwork
from skyweave.prior.presets import find_preset
from skyweave.prior.storage import build_network

SMALLEST = {"preset": "tiny", "base": 4, "multipliers": [1], "blocks": 1}
"""Settings of the smallest network there is, for tests whose law holds of any."""


def white_network(channels: int, conditioning: int = 0) -> PreconditionedNetwork:
    """An untrained network, ``D(x, sigma) = x / (1 + sigma^2)``: its last layer is zero, whatever its size."""
    architecture = find_preset("tiny", base=4, multipliers=(1,)).architecture
    return build_network(channels, conditioning, architecture, 1.0).eval().requires_grad_(False)
