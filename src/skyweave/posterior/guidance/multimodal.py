"""The likelihood of the multimodal paper: constants of each source, in normalised units."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from skyweave.errors import SkyweaveError, did_you_mean
from skyweave.observe.assemble import Source, is_called
from skyweave.posterior.guidance.sda import SDAGuidance
from skyweave.posterior.problem import Problem

__all__ = ["GAMMA", "SIGMA_Y", "MultimodalGuidance"]

SIGMA_Y: Mapping[str, float] = {"grid": 1e-1, "points": 5e-4}
"""``Sigma_y`` of Section 3.4 for the coarse grid and for soundings, a variance in normalised units."""
GAMMA: Mapping[str, float] = {"grid": 5e-3, "points": 1e-5}
"""``Gamma`` of Section 3.4."""

Constant = float | str | Mapping[str, float | str]


class MultimodalGuidance(SDAGuidance):
    r"""Sum of the likelihood scores of all sources, each with its own constants and weight.

    .. math:: s_l = -\nabla_{x_\sigma} \sum_s \lambda_s
              \frac{\|y_s - M_s(D(x_\sigma, \sigma))\|^2}{\Sigma_{y,s} + \sigma^2 \Gamma_s},
              \qquad \hat x_y = \hat x + \lambda_g \, \sigma^2 s_l

    Misfits are in normalised units: those of the variable over ``J 1``, the change of an observation with a change of
    one of all normalised values, which for a standardised variable is its standard deviation. ``lambda_s`` is the
    weight that its source states.

    Args:
        sigma_y: ``Sigma_y``, a variance in normalised units: a number for all sources, or numbers by source. A key is
            the name of a source (which also stands for its numbered namesakes), or "grid" or "points" for the others
            of that kind; what is not named keeps the paper's value. "stated" takes the stated errors of a source.
        gamma: ``Gamma``, in the same ways, without "stated".
        guidance_scale: ``lambda_g``.
        half: the factor 1/2 of a Gaussian likelihood, which Eq. 13 and 14 leave out.
        clip: as in `SDAGuidance`.

    Raises:
        SkyweaveError: a key is neither a source nor a kind, or a value is not a variance.

    Reference: multimodal paper, Eq. 13, 14 and Section 3.4.
    """

    def __init__(
        self,
        problem: Problem,
        *,
        sigma_y: Constant = SIGMA_Y,
        gamma: Constant = GAMMA,
        guidance_scale: float = 1.0,
        half: bool = False,
        clip: float | None = None,
    ) -> None:
        super().__init__(problem, guidance_scale=guidance_scale, half=half, clip=clip)
        sources, n = self.observed.sources, problem.n
        source, weight = (
            torch.from_numpy(np.asarray(k)) for k in (self.observed.source, self.observed.weight)
        )
        number = source.long() if len(source) else torch.zeros(n, dtype=torch.long)
        self.weight = weight.float() if len(weight) else torch.ones(n)
        # Without sources, as in a test of the method alone, all observations are one grid's.
        own = _by_source(sigma_y, SIGMA_Y, sources, "sigma_y", stated=True) or [_single(sigma_y, SIGMA_Y)]
        growth = _by_source(gamma, GAMMA, sources, "gamma", stated=False) or [_single(gamma, GAMMA)]
        self.own, self.growth = torch.tensor(own)[number], torch.tensor(growth)[number]

    def _error(self, x_hat: Tensor, level: float) -> Tensor:
        scale2 = self.observed.operator.jvp(x_hat, torch.ones_like(x_hat)) ** 2
        own, growth, weight = (part.to(x_hat) for part in (self.own, self.growth, self.weight))
        stated = self.observed.R.diagonal.to(x_hat) * weight
        variance = torch.where(own.isnan(), stated, own * scale2)
        return (variance + level**2 * growth * scale2) / weight


def _by_source(
    given: Constant, paper: Mapping[str, float], sources: tuple[Source, ...], what: str, stated: bool
) -> list[float]:
    """A number for each source; NaN where it is the stated error that counts."""
    if not isinstance(given, Mapping):
        return [_variance(given, what, stated)] * len(sources)
    names = [s.name for s in sources]
    for key in given:
        if sources and key not in paper and not any(is_called(key, name) for name in names):
            hint = did_you_mean(key, [*names, *paper])
            raise SkyweaveError(
                f"option {what}: there is no source {key!r}{hint}; there are {', '.join(names)}, "
                f"and {' and '.join(paper)} for all of a kind"
            )
    out = []
    for source in sources:
        keys = [source.name, *[k for k in given if is_called(k, source.name)], source.kind]
        value = next((given[k] for k in keys if k in given), paper[source.kind])
        out.append(_variance(value, what, stated))
    return out


def _single(given: Constant, paper: Mapping[str, float]) -> float:
    value = given.get("grid", paper["grid"]) if isinstance(given, Mapping) else given
    return _variance(value, "constant", True)


def _variance(value: float | str, what: str, stated: bool) -> float:
    if value == "stated" and stated:
        return float("nan")
    least = "a positive variance" if stated else "zero or greater"
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if not number < float("inf") or number < 0 or (stated and number == 0):
        words = ' or "stated"' if stated else ""
        raise SkyweaveError(f"option {what}: {value!r} is not {least} in normalised units{words}")
    return number
