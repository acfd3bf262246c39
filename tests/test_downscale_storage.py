"""Files of encoders and downscalers: the same answers after a round trip, and refusals of everything else."""

import pytest
import torch

from skyweave.downscale.models.encoder import ENCODERS, TransferEncoder
from skyweave.downscale.models.registry import DOWNSCALERS
from skyweave.downscale.storage import (
    TrainedDownscaler,
    open_downscaler,
    open_encoder,
    save_downscaler,
    save_encoder,
)
from skyweave.errors import SkyweaveError
from test_downscale_models import FEW, SMALL, make, make_sample, train


@pytest.mark.parametrize("name", DOWNSCALERS)
@pytest.mark.parametrize("features", ["transferred", "lags"])
def test_a_downscaler_read_back_gives_the_same_members(name, features, tmp_path):
    sample = make_sample(fine=2, coarse=2)
    model = train(make(name, sample, (1, 0), features=features, coarse_lags=True), sample, 2)
    before = TrainedDownscaler(model, (8, 12), {"area": "x", "days": [1, 2]})
    save_downscaler(before, tmp_path / "m.safetensors")
    after = open_downscaler(tmp_path / "m.safetensors")
    assert after.metadata == before.metadata
    assert after.patch == (8, 12)
    assert after.fingerprint() == before.fingerprint()
    assert not any(p.requires_grad for p in after.model.parameters())
    ours = after.model.predict(sample, members=2, sampling=FEW)
    assert torch.equal(ours, model.predict(sample, members=2, sampling=FEW))


@pytest.mark.parametrize("kind", ENCODERS)
def test_an_encoder_read_back_is_frozen_and_the_same(kind, tmp_path):
    encoder = TransferEncoder(kind, 3, 2, SMALL.architecture(), "last")
    days = torch.randn(1, 3, 2, 8, 8)
    save_encoder(encoder, tmp_path / "e.safetensors", {"mae": 0.1})
    again, metadata = open_encoder(tmp_path / "e.safetensors")
    assert metadata == {"mae": 0.1}
    assert not any(p.requires_grad for p in again.parameters())
    assert torch.equal(again.features(days), encoder.features(days))


def test_refusals(tmp_path):
    sample = make_sample()
    path = tmp_path / "m.safetensors"
    with pytest.raises(SkyweaveError, match="no such file"):
        open_downscaler(path)
    save_encoder(TransferEncoder("unet", 2, 1, SMALL.architecture()), tmp_path / "e.safetensors", {})
    with pytest.raises(SkyweaveError, match=r"not a downscaler \(kind 'transfer encoder'\)"):
        open_downscaler(tmp_path / "e.safetensors")
    save_downscaler(TrainedDownscaler(make("unet", sample), (8, 12)), path)
    with pytest.raises(SkyweaveError, match="not a transfer encoder"):
        open_encoder(path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(SkyweaveError, match="safetensors"):
        open_downscaler(path)
