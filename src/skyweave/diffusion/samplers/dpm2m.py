"""DPM-Solver++(2M), a second-order multistep exponential solver of one evaluation a step, and its stochastic form."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from skyweave.diffusion.samplers.linear import LinearSampler, Step

__all__ = ["DPM2M", "DPM2MSDE"]


@dataclass(frozen=True)
class DPM2M(LinearSampler):
    r"""DPM-Solver++(2M) in the EDM convention.

    With ``h_i = log(sigma_i / sigma_{i+1})`` and ``r = h_{i-1} / h_i``,

    .. math:: \tilde D = D_i + \tfrac{1}{2r}(D_i - D_{i-1}), \qquad
              x_{i+1} = e^{-h_i} x_i + (1 - e^{-h_i}) \tilde D,

    first order at the first step.

    Reference: Lu et al. 2022, "DPM-Solver++", https://arxiv.org/abs/2211.01095, Algorithm 2.
    """

    def step(self, sigmas: Tensor, i: int) -> Step:
        decay, extrapolation = _coefficients(sigmas, i)
        return decay, (1 - decay) * (1 + extrapolation), -(1 - decay) * extrapolation, 0.0


@dataclass(frozen=True)
class DPM2MSDE(LinearSampler):
    r"""SDE-DPM-Solver++(2M) in the EDM convention: fresh noise at every step forgets earlier errors.

    With ``h_i = log(sigma_i / sigma_{i+1})`` and ``\tilde D`` as in DPM-Solver++(2M),

    .. math:: x_{i+1} = e^{-2h_i} x_i + (1 - e^{-2h_i}) \tilde D + \sigma_{i+1} \sqrt{1 - e^{-2h_i}}\, n_i .

    Reference: Lu et al. 2022, "DPM-Solver++", https://arxiv.org/abs/2211.01095, Appendix (SDE-DPM-Solver++(2M)).
    """

    def step(self, sigmas: Tensor, i: int) -> Step:
        decay, extrapolation = _coefficients(sigmas, i)
        pull = 1 - decay**2
        return decay**2, pull * (1 + extrapolation), -pull * extrapolation, float(sigmas[i + 1]) * pull**0.5


def _coefficients(sigmas: Tensor, i: int) -> tuple[float, float]:
    """``e^{-h_i}`` and ``1 / (2 r)``; the latter is zero at the first step."""
    decay = float(sigmas[i + 1] / sigmas[i])
    if i == 0:
        return decay, 0.0
    h, h_last = torch.log(sigmas[i] / sigmas[i + 1]), torch.log(sigmas[i - 1] / sigmas[i])
    return decay, float(h / (2 * h_last))
