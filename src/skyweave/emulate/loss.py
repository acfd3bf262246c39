"""What an emulator is trained to make small: the error of its steps, and lost or surplus power at small scales."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from skyweave.emulate.config import LossConfig
from skyweave.emulate.networks import Integrator
from skyweave.emulate.spherical import SphericalTransform, is_global
from skyweave.grid import Grid

__all__ = ["ForecastLoss"]


FLOOR = 1e-6
"""Power of a ring of wavenumbers that counts as none, over the variance of the training data."""


class ForecastLoss(nn.Module):
    r"""Mean square error of the steps of a rollout, with a penalty on the power of small scales.

    .. math:: L = \frac1n \sum_{k=1}^n \left[ \sum_i w_i \left(\frac{\hat z_k - z_k}{s}\right)_i^2 + \lambda\,
              \overline{\frac{\left(\hat P_m^{1/2} - P_m^{1/2}\right)^2}{\langle P_m\rangle}}^{\,m \ge m_c} \right]

    with :math:`s` the deviation of the increments, :math:`w` the cells' areas, and :math:`P_m` the power of a state in
    a ring of wavenumbers: degree `m` of the spherical harmonics on global grids, two-dimensional Fourier modes
    elsewhere (Hann windowed where the domain has edges). A squared error alone is least for a field without what
    cannot be predicted, and hardly sees small scales: what a step adds to them or takes away grows from step to step.

    Args:
        grid: of the states.
        config: weights.

    Reference: the spectral regularisation of Guan et al. (2024), https://arxiv.org/abs/2405.16297, which compares the
    amplitudes of increments beyond a wavenumber. Here they are those of states, each ring over its own power.
    """

    weights: Tensor
    window: Tensor
    ring: Tensor
    sides: Tensor

    def __init__(self, grid: Grid, config: LossConfig) -> None:
        super().__init__()
        self.config = config
        rows, columns = grid.shape
        self.register_buffer(
            "weights", torch.from_numpy(grid.area / grid.area.mean()).float(), persistent=False
        )
        self.transform = SphericalTransform(grid, int(0.9 * rows)) if is_global(grid) else None
        longest = max(rows, columns)
        wave = torch.hypot(torch.fft.fftfreq(rows)[:, None], torch.fft.rfftfreq(columns)[None])
        ring = (longest * wave).round().long()
        across = torch.ones(columns) if grid.periodic else torch.hann_window(columns + 2)[1:-1]
        window = torch.hann_window(rows + 2)[1:-1, None] * across
        sides = torch.full((columns // 2 + 1,), 2.0)
        sides[0] = 1.0
        if columns % 2 == 0:
            sides[-1] = 1.0
        for name, value in (
            ("window", window / window.square().mean().sqrt()),
            ("ring", ring),
            ("sides", sides),
        ):
            self.register_buffer(name, value, persistent=False)
        self.rings = self.transform.degrees if self.transform is not None else longest // 2 + 1

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
        z = fields[:, 0]
        for k in range(1, rollout + 1):
            z = module(z, forcing[:, k - 1])
            total = total + self.scaled_error(module, z, fields[:, k]).mean()
            if self.config.spectral:
                total = total + self.config.spectral * self.spectral_error(
                    z.nan_to_num(), fields[:, k].nan_to_num()
                )
        return total / rollout

    def spectral_error(self, ours: Tensor, true: Tensor) -> Tensor:
        """The penalty of a batch of states ``(B, C, H, W)``, without unit."""
        first = int(self.config.spectral_from * self.rings)
        a, b = ((self.ring_power(x)[..., first:] + FLOOR).sqrt() for x in (ours, true))
        return ((a - b) ** 2 / b.square().mean(0)).mean()

    def ring_power(self, x: Tensor) -> Tensor:
        """Power by ring ``(B, C, R)`` of fields ``(B, C, H, W)``; over all rings it adds up to their mean square."""
        if self.transform is not None:
            power = self.transform(x).square().sum(2)
            sides = power.new_full((len(power), 1, 1), 2.0)
            sides[0] = 1.0
            return ((power * sides).sum(0) / (4 * torch.pi)).unflatten(0, x.shape[:2])
        power = torch.fft.rfft2(x * self.window, norm="forward").abs().square() * self.sides
        rings = power.new_zeros(*x.shape[:2], int(self.ring.max()) + 1)
        return rings.index_add(-1, self.ring.flatten(), power.flatten(2))[..., : self.rings]
