"""Corruption-aware training: the loss sees what was observed, the network what is left of it."""

import pytest
import torch
from pydantic import ValidationError

from skyweave.diffusion.loss import denoising_errors, loss_weight
from skyweave.prior.corruption import GAPS, CorruptionConfig, extra_mask


class Recorder(torch.nn.Module):
    """A masked model that remembers its arguments and returns a constant."""

    masked = True

    def forward(self, x, sigma, conditioning=None, *, mask=None, periodic=False, autocast=False):
        self.mask = mask
        return torch.full_like(x, 0.5)


def gappy(seed=0, shape=(6, 5, 2, 16, 16)):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(shape, generator=generator)
    hidden = torch.rand((*shape[:2], 1, *shape[3:]), generator=generator) < 0.3
    return x.masked_fill(hidden.expand(shape), torch.nan)


def test_the_loss_is_the_weighted_square_over_observed_cells():
    x, model = gappy(), Recorder()
    left = torch.rand(x.shape, generator=torch.Generator().manual_seed(2)) < 0.6
    sigma = torch.tensor([0.1, 0.3, 1.0, 2.0, 5.0, 0.02])
    errors = denoising_errors(model, x, sigma, torch.randn(x.shape), given=left, sigma_data=0.8)
    for n in range(len(x)):
        A = torch.isfinite(x[n])
        weight = torch.where(A & left[n], loss_weight(sigma[n], 0.8), 1 / 0.8**2)
        expected = (weight * (0.5 - x[n]) ** 2)[A].mean()
        torch.testing.assert_close(errors[n], expected)
    assert bool((model.mask == torch.isfinite(x) & left).all())


def test_values_under_the_gaps_have_no_say():
    x = gappy()
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    sigma = torch.ones(len(x))
    first = denoising_errors(Recorder(), x, sigma, noise)
    assert torch.isfinite(first).all()
    nothing = torch.full_like(x, torch.nan)
    assert float(denoising_errors(Recorder(), nothing, sigma, noise).abs().max()) == 0


@pytest.mark.parametrize("kind", list(GAPS))
def test_masks_hide_the_share_asked_for_and_all_variables_alike(kind):
    config = CorruptionConfig(empty=0.0, fraction=(0.4, 0.4), kinds=(kind,))
    x = gappy(shape=(40, 5, 2, 16, 16))
    left = extra_mask(x, config, torch.Generator().manual_seed(0))
    assert left.shape == x.shape
    assert bool((left[:, :, 0] == left[:, :, 1]).all())
    hidden = 1 - float(left.float().mean())
    assert hidden == pytest.approx(0.3 if kind == "gaps" else 0.4, abs=0.03)


def test_some_samples_keep_everything():
    left = extra_mask(
        gappy(shape=(400, 1, 1, 8, 8)), CorruptionConfig(empty=0.3), torch.Generator().manual_seed(0)
    )
    assert float(left.flatten(1).all(1).float().mean()) == pytest.approx(0.3, abs=0.07)


def test_masks_depend_on_the_generator_alone():
    x = gappy()
    one, two = (extra_mask(x, CorruptionConfig(), torch.Generator().manual_seed(7)) for _ in range(2))
    assert bool((one == two).all())


def test_clouds_are_clustered_and_persist():
    x = torch.zeros(30, 5, 1, 32, 32)
    config = CorruptionConfig(empty=0.0, fraction=(0.5, 0.5), kinds=("clouds",))
    left = extra_mask(x, config, torch.Generator().manual_seed(0)).float()
    beside = (left[..., 1:] == left[..., :-1]).float().mean()
    later = (left[:, 1:] == left[:, :-1]).float().mean()
    assert float(beside) > 0.8
    assert float(later) > 0.7


@pytest.mark.parametrize(
    "bad", [{"fraction": (0.6, 0.1)}, {"fraction": (0.1, 1.0)}, {"kinds": ()}, {"empty": 2}]
)
def test_configurations_that_make_no_sense_are_refused(bad):
    with pytest.raises(ValidationError):
        CorruptionConfig(**bad)
