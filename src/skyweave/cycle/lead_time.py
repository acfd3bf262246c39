r"""What a forecast is worth by lead time and scale, so that its error as a source grows as the forecast's does.

Hindcasts tell what is left of a forecast at each lead time and scale: the regression of the truth on the forecast and
what it leaves unexplained, per wavenumber,

.. math:: m = \mu + G_\ell\,(x_f - \mu - b_\ell), \qquad
          P_\ell = \mathrm{diag}(q)\, C^{1/2} p_\ell\, C^{1/2}\, \mathrm{diag}(q), \qquad
          p_\ell = \hat C^{-1/2} \hat P_\ell\, \hat C^{-1/2},

with the climate ``N(\mu, C)`` of the prior. The residual's covariance is kept relative to that of the same truths,
estimated in the same way, so that sampling noise, windows and edges cancel: a forecast without skill has ``p = 1``,
``G = 0``, and adds nothing to the prior.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import scipy.sparse as sp
import torch
from torch import Tensor

from skyweave.covariance.stationary import StationaryCovariance
from skyweave.covariance.torus import blocks, hermitian, modes
from skyweave.cycle.climate import torus_size
from skyweave.cycle.ensemble import local_deviation
from skyweave.cycle.forecast import GaussianForecast, as_source
from skyweave.cycle.spectra import SmoothedSpectra, filtered, relative, root
from skyweave.errors import SkyweaveError

__all__ = ["LeadTimeSkill"]

MOST = 0.98
"""Share of the climate's variance that is left of a forecast, up to which its amplitude is made the climate's."""

LEAST = 1e-6
"""Least power of a scale, in units of the truths' own, that is divided by."""


@dataclass(frozen=True, eq=False)
class LeadTimeSkill:
    """What forecasts of each lead time are worth, by scale; made by `fit`.

    Args:
        gain: ``G`` of each variable, ``(L, C, ky, kx)``, complex: a forecast may be in the wrong place.
        residual: ``p``, blocks ``(L, C, C, ky, kx)``, complex.
        bias: ``b``, ``(L, C, h, w)``, normalised units.
        deviation: ``q``, ``(L, C, h, w)``: where forecasts are worse than elsewhere, and where better.
        explained: share of the truth's variance that the regression explains, ``(L, C)``; for hindcasts that the
            regression was not fitted to.
        padded: size of the torus of the wavenumbers.
    """

    gain: Tensor
    residual: Tensor
    bias: Tensor
    deviation: Tensor
    explained: Tensor
    padded: tuple[int, int]

    @property
    def leads(self) -> int:
        return len(self.gain)

    @classmethod
    def fit(
        cls,
        forecasts: Tensor,
        truths: Tensor,
        *,
        climate_mean: Tensor | None = None,
        periodic: tuple[bool, bool] = (False, False),
        padded: tuple[int, int] | None = None,
        smoothing: float = 0.7,
        folds: int = 5,
        local: bool = True,
    ) -> LeadTimeSkill:
        r"""Skill from hindcasts of data that the prior and the model were not trained on.

        Spectra are averaged over hindcasts and smoothed over wavenumbers: their lag covariances are tapered by a
        Gaussian. Before, they are divided by the power of the truths, so that a steep spectrum does not leak. The
        residuals of each stretch of hindcasts are those of the regression fitted to the others, so that ``P`` holds
        what the regression is uncertain by.

        Args:
            forecasts: ``(N, L, C, h, w)``, normalised units; of ensembles their means. Neighbours among the ``N`` may
                depend on one another.
            truths: the same shape, valid at the same times.
            climate_mean: ``mu``, broadcastable to them, as the prior has it; the mean of the truths by default.
            periodic: whether latitudes and longitudes are circles.
            padded: torus of the climate's covariance, where forecasts are on the prior's grid.
            smoothing: standard deviation of the smoothing, in cycles per domain.
            folds: stretches of hindcasts.
            local: whether the residual's standard deviation varies in space.

        Raises:
            SkyweaveError: too few hindcasts, shapes that differ, missing values.

        Reference: DelSole and Tippett 2007, doi 10.1029/2006RG000202: what a forecast is worth beyond the climate.
        """
        _check(forecasts, truths, folds)
        N, L, C, h, w = forecasts.shape
        own = padded or torus_size((h, w), periodic)
        mu = truths.mean((0, 1)) if climate_mean is None else climate_mean
        mu = torch.as_tensor(mu, dtype=truths.dtype).expand_as(truths)
        spectra = SmoothedSpectra((h, w), own, periodic, smoothing)
        anomalies = (truths[:, i] - mu[:, i] for i in range(L))
        power = torch.stack([spectra.transform(a).abs().square().mean(0) for a in anomalies]).mean(0)
        power = power.clamp_min(LEAST**2 * float(power.mean()))
        stretches = torch.arange(N).tensor_split(folds)
        rows = []
        for i in range(L):
            t, f = (a[:, i] - mu[:, i] for a in (truths, forecasts))
            t_hat, f_hat = (spectra.transform(a) / power.sqrt() for a in (t, f))
            residual = torch.empty_like(t)
            for held in stretches:
                rest = torch.ones(N, dtype=torch.bool)
                rest[held] = False
                bias, gain = _regression(t[rest], f[rest], t_hat[rest], f_hat[rest], spectra, power)
                residual[held] = t[held] - filtered(f[held] - bias, gain, own)
            bias, gain = _regression(t, f, t_hat, f_hat, spectra, power)
            q = torch.ones(C, h, w, dtype=t.dtype)
            if local:
                q = (local_deviation(residual, periodic) / local_deviation(t, periodic)).to(t.dtype)
            r_hat = spectra.transform(residual / q) / power.sqrt()
            p = relative(spectra.covariance(r_hat, r_hat), spectra.covariance(t_hat, t_hat), power)
            explained = 1 - residual.square().mean((0, 2, 3)) / t.square().mean((0, 2, 3)).clamp_min(1e-30)
            rows.append((gain, p, bias, q, explained))
        gain, p, bias, q, explained = (torch.stack(part) for part in zip(*rows, strict=True))
        return cls(
            gain.to(torch.complex64), p.to(torch.complex64), bias.float(), q.float(), explained.float(), own
        )

    def predictive(
        self,
        forecast: Tensor,
        lead: int,
        climate: StationaryCovariance,
        climate_mean: Tensor | float = 0.0,
    ) -> tuple[Tensor, StationaryCovariance]:
        """The distribution ``N(m, P)`` of the state given a forecast and the climate.

        Args:
            forecast: ``x_f``, ``(C, h, w)``, normalised units.
            lead: place of its lead time among those of the skill.
            climate: ``C`` on the forecast's grid, on the torus of the skill.
            climate_mean: ``mu``, broadcastable to ``forecast``.

        Raises:
            SkyweaveError: a lead time or a grid that the skill does not have, missing values.
        """
        if not 0 <= lead < self.leads:
            raise SkyweaveError(f"lead time number {lead}: the skill of {self.leads} is known, from 0 on")
        if forecast.shape != self.bias.shape[1:] or climate.shape[1:] != forecast.shape:
            raise SkyweaveError(
                f"forecast {tuple(forecast.shape)} and climate {climate.shape[1:]}: the skill is that of forecasts "
                f"{tuple(self.bias.shape[1:])} (variables, latitudes, longitudes)"
            )
        if climate.padded != self.padded:
            raise SkyweaveError(
                f"the climate's covariance lives on a torus of {climate.padded}, the skill on {self.padded}; fit it "
                f"with padded={climate.padded}"
            )
        if not bool(torch.isfinite(forecast).all()):
            raise SkyweaveError(f"the forecast of lead time number {lead} has missing values")
        anomaly = (forecast - climate_mean - self.bias[lead])[None].float()
        mean = climate_mean + filtered(anomaly, self.gain[lead], self.padded)[0]
        half = root(hermitian(modes(climate.spectrum)))
        P = blocks(half @ hermitian(modes(self.residual[lead])) @ half, climate.spectrum)
        scale = self.deviation[lead][None, None]
        return mean.to(forecast.dtype), StationaryCovariance(P, climate.shape, climate.torus, scale)

    def source(
        self,
        forecast: Tensor,
        lead: int,
        climate: StationaryCovariance,
        climate_mean: Tensor | float = 0.0,
        aggregate: sp.csr_array | None = None,
        extrapolate: bool = True,
    ) -> GaussianForecast:
        r"""What a forecast adds to a prior of that climate; see `predictive` and `skyweave.cycle.forecast.as_source`.

        With `extrapolate` prior times source is ``N(m, P)``, exactly where the prior is Gaussian. Without, what is
        observed is no farther from the climate than its states are, ``z = \mu + (1 - p)^{-1/2} (m - \mu)`` in place of
        ``\mu + (1 - p)^{-1} (m - \mu)``: a learnt prior is asked for no states that it has never seen.
        """
        mean, spread = self.predictive(forecast, lead, climate, climate_mean)
        made = as_source(mean, spread, climate, climate_mean, aggregate, extrapolate=extrapolate)
        if extrapolate:
            return made
        share = self.residual[lead].real.diagonal(dim1=0, dim2=1).permute(2, 0, 1)
        factor = (1 - share).clamp(1 - MOST, 1.0) ** -0.5
        z = filtered((mean - climate_mean)[None].float(), factor, self.padded)[0]
        return replace(made, mean=climate_mean + z.to(mean.dtype))

    def to_tensors(self) -> dict[str, Tensor]:
        """Real tensors, for safetensors."""
        out = {"lead_time.padded": torch.tensor(self.padded)}
        for name, value in vars(self).items():
            if name != "padded":
                real = torch.view_as_real(value) if value.is_complex() else value
                out[f"lead_time.{name}"] = real.contiguous()
        return out

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> LeadTimeSkill | None:
        """What `to_tensors` gave, or ``None`` where there is none."""
        if "lead_time.gain" not in tensors:
            return None
        own = {f.name: tensors[f"lead_time.{f.name}"] for f in fields(cls)}
        height, width = own.pop("padded").tolist()
        for name in ("gain", "residual"):
            own[name] = torch.view_as_complex(own[name].contiguous())
        return cls(**own, padded=(height, width))


def _regression(
    t: Tensor, f: Tensor, t_hat: Tensor, f_hat: Tensor, spectra: SmoothedSpectra, power: Tensor
) -> tuple[Tensor, Tensor]:
    """Bias ``(C, h, w)`` and gain ``(C, ky, kx)``."""
    bias = _shrunk(f - t)
    centred = f_hat - spectra.transform(bias[None]) / power.sqrt()
    cross = spectra.smooth((t_hat * centred.conj()).mean(0))
    own = spectra.smooth(centred.abs().square().mean(0).to(cross.dtype)).real
    return bias, cross / own.clamp_min(LEAST)


def _shrunk(difference: Tensor) -> Tensor:
    """Mean over hindcasts of each cell, drawn to that of the domain by what sampling alone makes cells differ."""
    mean = difference.mean(0)
    noise = (difference.var(0) / len(difference)).mean((-2, -1), keepdim=True)
    common = mean.mean((-2, -1), keepdim=True)
    seen = (mean - common).square().mean((-2, -1), keepdim=True)
    weight = (1 - noise / seen.clamp_min(1e-30)).clamp(0, 1)
    return common + weight * (mean - common)


def _check(forecasts: Tensor, truths: Tensor, folds: int) -> None:
    if forecasts.ndim != 5 or forecasts.shape != truths.shape:
        raise SkyweaveError(
            f"hindcasts: forecasts {tuple(forecasts.shape)} and truths {tuple(truths.shape)} must both be "
            "(hindcast, lead time, variable, latitude, longitude)"
        )
    if not 2 <= folds <= len(forecasts) // 2:
        raise SkyweaveError(
            f"{len(forecasts)} hindcasts in {folds} stretches: give two hindcasts or more to each, in two stretches "
            "or more"
        )
    for name, values in (("forecasts", forecasts), ("truths", truths)):
        if not bool(torch.isfinite(values).all()):
            bad = int((~torch.isfinite(values)).flatten(2).any(2).sum())
            raise SkyweaveError(
                f"hindcasts: {bad} of the {name} have missing values; leave these hindcasts out"
            )
