"""The DDIM sampler: big steps along the same path that the DDPM takes in small ones."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from skyweave.diffusion.samplers.linear import LinearSampler, Step

__all__ = ["DDIM"]


@dataclass(frozen=True)
class DDIM(LinearSampler):
    r"""Moves along the estimated noise; ``eta`` of the posterior's own noise is drawn afresh.

    .. math:: x_{i+1} = D_i + \sqrt{\sigma_{i+1}^2 - s_i^2}\; \frac{x_i - D_i}{\sigma_i} + s_i n_i, \qquad
              s_i = \eta\, \sigma_{i+1} \sqrt{1 - \sigma_{i+1}^2 / \sigma_i^2}

    With ``eta = 1`` a step has the mean and the variance of the ancestral one.

    Args:
        eta: 0 is deterministic, 1 as stochastic as the DDPM.

    Reference: Song et al. 2021, https://arxiv.org/abs/2010.02502, Eq. 12 and 16, in the EDM convention.
    """

    eta: float = 0.0

    def step(self, sigmas: Tensor, i: int) -> Step:
        here, there = float(sigmas[i]), float(sigmas[i + 1])
        fresh = self.eta * there * (1 - (there / here) ** 2) ** 0.5
        keep = (there**2 - fresh**2) ** 0.5 / here
        return keep, 1 - keep, 0.0, fresh
