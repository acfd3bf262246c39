"""`autocast` means: where the device computes in bfloat16."""

import pytest
import torch

from skyweave.diffusion import precondition
from skyweave.diffusion.network import Architecture, UNet
from skyweave.diffusion.precision import bfloat16_pays
from skyweave.diffusion.precondition import PreconditionedNetwork


@pytest.mark.parametrize("pays", [False, True])
def test_half_precision_is_for_devices_that_have_it(monkeypatch, pays):
    torch.manual_seed(0)
    unet = UNet(1, 1, Architecture(4, (1,), 1))
    torch.nn.init.normal_(unet.last.weight)
    model = PreconditionedNetwork(unet).eval()
    monkeypatch.setattr(precondition, "bfloat16_pays", lambda kind: pays)
    x = torch.randn(2, 1, 8, 8)
    with torch.no_grad():
        single, half = (model(x, torch.tensor([1.0, 2.0]), autocast=asked) for asked in (False, True))
    assert half.dtype == single.dtype == torch.float32
    assert torch.equal(single, half) is not pays


def test_devices():
    assert bfloat16_pays("cuda")
    assert not bfloat16_pays("meta")
