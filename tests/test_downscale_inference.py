"""Days put together from patches: no trace of batches, no empty borders, members that keep their variance."""

import pytest
import torch

from skyweave.diffusion.noise import NoiseStream
from skyweave.downscale.models.downscaler import OnePatch
from skyweave.downscale.models.registry import DOWNSCALERS, build_downscaler
from skyweave.downscale.models.target_form import Channels
from skyweave.downscale.prediction import stitching as inference
from skyweave.downscale.prediction.stitching import StitchedDomain, day_tiles, predict_fields, taper
from skyweave.downscale.settings import InferenceSection, ModelSection, NetworkSection
from skyweave.errors import SkyweaveError
from skyweave.stitch import stitch
from test_downscale_models import make, make_sample

SHAPE, PATCH = (22, 30), (8, 8)
WINDOWS = [("hann", 2), ("paper", 1), ("flat", 0), ("nearest", 0), ("paper", 0)]


@pytest.mark.parametrize(("window", "halo"), WINDOWS)
@pytest.mark.parametrize("stride", [2, 3])
def test_a_constant_stitches_to_itself_corners_included(window, halo, stride):
    tiling = day_tiles(SHAPE, PATCH, stride)
    shares = taper(tiling, SHAPE, window, halo)
    known = torch.zeros(len(tiling), 1, 1, *PATCH)
    domain = StitchedDomain(known, tiling, shares, SHAPE, 7)
    out = domain(lambda fields, known: torch.full_like(fields, 4.25), torch.zeros(2, 1, 1, *SHAPE))
    torch.testing.assert_close(out, torch.full_like(out, 4.25))
    assert (shares >= 0).all()


def test_the_papers_window_is_as_published_inside_the_border():
    tiling = day_tiles(SHAPE, PATCH, 2)
    torch.manual_seed(0)
    patches = torch.randn(len(tiling), *PATCH, dtype=torch.float64)
    published = stitch(patches, tiling, SHAPE, window="paper", halo=1)
    shares = taper(tiling, SHAPE, "paper", 1)
    ours = torch.zeros(SHAPE, dtype=torch.float64)
    for tile, share, patch in zip(tiling, shares, patches, strict=True):
        inference.add_patch(ours, patch, tile, share)
    torch.testing.assert_close(ours[1:-1, 1:-1], published[1:-1, 1:-1])
    assert (published[0] == 0).all()
    assert (ours[0] != 0).all()


@pytest.mark.parametrize("name", DOWNSCALERS)
@pytest.mark.parametrize("blend", ["steps", "shared", "patches"])
def test_any_batch_and_any_order_give_the_same_day(name, blend, monkeypatch):
    shape = (14, 18)
    sample = make_sample(batch=2, size=shape)
    model = make(name, sample)
    # Weights that are not zero anywhere.
    with torch.no_grad():
        for p in model.trainable():
            p.add_(0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    noise = NoiseStream(5, range(3), [10, 11])
    stride = 3 if model.factor == 1 else 4

    def run(batch):
        settings = InferenceSection(stride=stride, halo=1, blend=blend, steps=3, batch=batch)
        return predict_fields(model, sample, noise, settings, PATCH)

    whole = run(10_000)
    assert whole.shape == (2, 3, 1, *shape)
    torch.testing.assert_close(run(5), whole, atol=2e-5, rtol=1e-4)
    if blend == "steps":
        monkeypatch.setattr(inference, "day_tiles", lambda *a: day_tiles(*a)[::-1])
        if name != "vdm-like":
            torch.testing.assert_close(run(17), whole, atol=2e-5, rtol=1e-4)
    one_day = make_sample(batch=2, size=shape)
    for key, value in vars(one_day).items():
        setattr(one_day, key, value[1:])
    monkeypatch.undo()
    alone = predict_fields(
        model,
        one_day,
        NoiseStream(5, [2], [11]),
        InferenceSection(stride=stride, halo=1, blend=blend, steps=3),
        PATCH,
    )
    torch.testing.assert_close(alone[0, 0], whole[1, 2], atol=2e-5, rtol=1e-4)


def test_coarser_cells_are_blended_where_they_lie():
    """A function that halves or doubles the resolution, patch by patch, is the same function of the whole field."""
    torch.manual_seed(0)
    tiling = day_tiles(SHAPE, PATCH, 4, factor=2)
    assert all(t.i[0] % 2 == 0 and t.j[0] % 2 == 0 for t in tiling)
    assert {int(i) for t in tiling for i in t.i} == set(range(SHAPE[0]))
    shares = taper(tiling, SHAPE, "hann", 1)
    domain = StitchedDomain(torch.zeros(len(tiling), 1, 1, *PATCH), tiling, shares, SHAPE, 5)
    field = torch.randn(2, 1, 3, *SHAPE)

    def halved(x, known=None):
        return torch.nn.functional.avg_pool2d(x, 2)

    def doubled(x, known=None):
        return torch.nn.functional.interpolate(x, scale_factor=2)

    small = halved(field.flatten(0, 1)).unflatten(0, (2, 1))
    torch.testing.assert_close(domain(halved, field, made=2), small)
    torch.testing.assert_close(
        domain(doubled, small, given=2), doubled(small.flatten(0, 1)).unflatten(0, (2, 1))
    )
    torch.testing.assert_close(domain(lambda x, known: 2 * x, small, given=2, made=2), 2 * small)


class ExactDenoiser(torch.nn.Module):
    """The denoiser of a Gaussian field of unit variance and squared-exponential correlation, on one patch."""

    def __init__(self, size, length):
        super().__init__()
        i, j = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
        p = torch.stack([i.flatten(), j.flatten()], 1).double()
        K = torch.exp(-((p[:, None] - p[None]) ** 2).sum(-1) / (2 * length**2))
        values, self.vectors = torch.linalg.eigh(K)
        self.values = values.clamp_min(0)

    def forward(self, x, sigma, known):
        gain = self.values / (self.values + float(sigma[0]) ** 2)
        return (x.flatten(1) @ ((self.vectors * gain) @ self.vectors.T).float()).reshape(x.shape)


def test_members_from_one_noise_field_keep_their_variance_and_averages_lose_it():
    size, members = 16, 48
    sample = make_sample(batch=1, size=(40, 48))
    config = ModelSection(
        features="none", target="standard", network=NetworkSection(base=4, multipliers=(1,))
    )
    model = build_downscaler("ddpm", Channels.of(sample), config)
    model.denoiser = ExactDenoiser(size, 2.0)
    settings = {"sampler": "dpm++2m", "steps": 24}
    many = NoiseStream(0, range(40 * members), [0])
    patch = torch.zeros(1, 1, size, size)
    single = model.draw(OnePatch(patch), many, InferenceSection(**settings)).square().mean()
    ratio = {}
    for blend in ("steps", "shared", "patches"):
        how = InferenceSection(stride=4, halo=2, blend=blend, **settings)
        drawn = predict_fields(model, sample, NoiseStream(1, range(members), [0]), how, (size, size))
        ratio[blend] = float(drawn.square().mean() / single)
    assert ratio["steps"] == pytest.approx(1, abs=0.02)
    assert ratio["shared"] == pytest.approx(1, abs=0.02)
    assert ratio["patches"] < 0.6


def test_members_are_smooth_across_patches_only_with_one_noise_field():
    """Neighbours in one field of noise agree, so the jump between two cells is that of a single patch."""
    size = 16
    sample = make_sample(batch=1, size=(32, 32))
    config = ModelSection(
        features="none", target="standard", network=NetworkSection(base=4, multipliers=(1,))
    )
    model = build_downscaler("ddpm", Channels.of(sample), config)
    model.denoiser = ExactDenoiser(size, 3.0)
    noise = NoiseStream(0, range(30), [0])
    how = InferenceSection(stride=8, halo=2, steps=16, sampler="dpm++2m")
    jumps = predict_fields(model, sample, noise, how, (size, size)).diff(dim=-1).square().mean((0, 1, 2, 3))
    inside = jumps.median()
    assert float((jumps / inside).sqrt().max()) < 1.3
    model.__class__.nearest = True
    try:
        apart = (
            predict_fields(model, sample, noise, how, (size, size)).diff(dim=-1).square().mean((0, 1, 2, 3))
        )
    finally:
        model.__class__.nearest = False
    assert float((apart / apart.median()).sqrt().max()) > 2


def test_refusals():
    sample = make_sample(batch=1, size=(6, 30))
    model = make("unet", sample)
    noise = NoiseStream(0, [0], [0])
    with pytest.raises(SkyweaveError, match="smaller than the patches"):
        predict_fields(model, sample, noise, InferenceSection(), PATCH)
    with pytest.raises(SkyweaveError, match="choose 1 to 8"):
        day_tiles(SHAPE, PATCH, 9)
    latent = make("latent", sample)
    with pytest.raises(SkyweaveError, match="choose multiples of 2"):
        predict_fields(
            latent, make_sample(batch=1, size=(9, 30)), noise, InferenceSection(stride=4, halo=1), PATCH
        )
    with pytest.raises(SkyweaveError, match="uncovered"):
        predict_fields(
            model, make_sample(batch=1, size=SHAPE), noise, InferenceSection(stride=8, halo=2), PATCH
        )
