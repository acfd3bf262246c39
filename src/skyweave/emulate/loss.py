"""What an emulator is trained to make small: the error of its steps, and lost or surplus power at small scales."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from skyweave.emulate.config import LossConfig
from skyweave.emulate.networks import Integrator
from skyweave.emulate.spherical import SphericalTransform, is_global
from skyweave.grid import Grid

__all__ = ["ForecastLoss"]


class ForecastLoss(nn.Module):
    r"""Mean square error of the steps of a rollout, with a penalty on amplitudes.

    .. math:: L = \frac1n \sum_{k=1}^n \left[ \sum_i w_i \left(\frac{\hat z_k - z_k}{s}\right)_i^2
              + \lambda \sum_{|\mathbf m| \ge m_c} \left(|\hat a_{\mathbf m}| - |a_{\mathbf m}|\right)^2 \right]

    with :math:`s` the deviation of the increments, :math:`w` the cells' areas, and :math:`a` the coefficients of the
    scaled increments: spherical harmonics of degree :math:`m_c` or more on global grids, two-dimensional Fourier
    modes elsewhere. A squared error alone is least for a field without what cannot be predicted, small scales
    first; their loss, or an excess that nothing takes away, then grows from step to step.

    Args:
        grid: of the states.
        config: weights.

    Reference: the spectral regularisation of Guan et al. (2024), https://arxiv.org/abs/2405.16297, which compares the
    amplitudes of increments beyond a wavenumber; theirs are of Fourier transforms along latitude circles.
    """

    weights: Tensor

    def __init__(self, grid: Grid, config: LossConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer(
            "weights", torch.from_numpy(grid.area / grid.area.mean()).float(), persistent=False
        )
        self.transform = SphericalTransform(grid) if is_global(grid) else None
        rows, columns = grid.shape
        mode = torch.hypot(torch.fft.fftfreq(rows)[:, None], torch.fft.rfftfreq(columns)[None])
        self.register_buffer("small", mode >= 0.5 * config.spectral_from, persistent=False)

    def scaled_error(self, module: Integrator, forecast: Tensor, truth: Tensor) -> Tensor:
        """Area-weighted mean square of ``(forecast - truth) / s`` over what is there, by example ``(B,)``."""
        error = (forecast - truth) / module.deviation[:, None, None]
        present = error.isfinite()
        w = self.weights * present
        return (error.masked_fill(~present, 0.0) ** 2 * w).flatten(1).sum(1) / w.flatten(1).sum(1).clamp(
            min=1e-9
        )

    def forward(self, module: Integrator, fields: Tensor, forcing: Tensor, rollout: int) -> Tensor:
        """The loss of a batch of windows.

        Args:
            module: the integrator.
            fields: ``(B, w, C, H, W)``, normalised, NaN where missing.
            forcing: ``(B, w, K, H, W)``.
            rollout: steps, less than `w`.
        """
        total = fields.new_zeros(())
        before = z = fields[:, 0]
        for k in range(1, rollout + 1):
            z = module(z, forcing[:, k - 1])
            total = total + self.scaled_error(module, z, fields[:, k]).mean()
            if self.config.spectral:
                scale = module.deviation[:, None, None]
                ours, true = (
                    ((x - start) / scale).nan_to_num()
                    for x, start in ((z, before), (fields[:, k], fields[:, k - 1]))
                )
                total = total + self.config.spectral * self.amplitude_error(ours, true)
            before = z
        return total / rollout

    def amplitude_error(self, ours: Tensor, true: Tensor) -> Tensor:
        """Sum over small scales of squared differences of amplitudes, in the units of a mean square of the fields."""
        a, b = self._amplitudes(ours), self._amplitudes(true)
        return (a - b).square().sum() / (ours.shape[0] * ours.shape[1])

    def _amplitudes(self, x: Tensor) -> Tensor:
        """Amplitudes whose squares, over all scales, would add up to the mean squares of the fields."""
        tiny = torch.finfo(x.dtype).tiny
        if self.transform is not None:
            waves = self.transform(x)
            first = int(self.config.spectral_from * self.transform.degrees)
            power = waves.square().sum(2)[..., first:]
            sides = power.new_full((len(power), 1, 1), 2.0)
            sides[0] = 1.0
            return (power * sides / (4 * torch.pi) + tiny).sqrt()
        rows, columns = x.shape[-2:]
        power = torch.fft.rfft2(x, norm="forward").abs().square()
        sides = power.new_full((power.shape[-1],), 2.0)
        sides[0] = 1.0
        if columns % 2 == 0:
            sides[-1] = 1.0
        return ((power * sides)[..., self.small] + tiny).sqrt()
