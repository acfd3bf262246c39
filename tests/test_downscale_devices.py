"""Downscaling follows its device: run on one that refuses to mix, and compared."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import downscale_files as case
from pretended_device import DEVICE, There, pretended
from skyweave.downscale.models.registry import DOWNSCALERS
from skyweave.downscale.prediction import area_models
from skyweave.downscale.prediction.area_models import AreaModels
from skyweave.downscale.prediction.extension import predict_days, rollout_area
from skyweave.downscale.storage import open_downscaler
from skyweave.downscale.training import epochs
from skyweave.downscale.training.fitting import fit
from skyweave.evaluate.downscaling import evaluate

QUIET = {"tell": lambda text: None}
ONCE = {"epochs": 1, "steps_per_epoch": 1, "batch": 4, "validation_patches": 4, "warmup": 0}
TINY = {"network": {"base": 4, "multipliers": [1]}, "training": ONCE}


def settings(folder, **changes):
    return case.config(folder, encoder=TINY, options=TINY | {"projection": 4}, **changes)


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    config = settings(tmp_path_factory.mktemp("downscale"))
    fit(config, models=list(DOWNSCALERS), **QUIET)
    return config


def on(device, monkeypatch, module, function):
    """The device that settings ask for is this one, and what a function of the module gives is there."""
    monkeypatch.setattr(module, "usable_device", lambda name: torch.device(device))
    original, calls = vars(module)[function], []

    def watched(*args, **given):
        out = original(*args, **given)
        calls.append(out)
        held = out if isinstance(out, torch.Tensor) else next(iter(vars(out).values()))
        assert isinstance(held, There), "not on the device"
        return out

    monkeypatch.setattr(module, function, watched)
    return calls


@pytest.mark.parametrize("model", DOWNSCALERS)
def test_a_step_of_training(model, config, tmp_path, monkeypatch):
    """The encoder, its scores, the target's form and the downscaler."""
    batches = on(DEVICE, monkeypatch, epochs, "on_device")
    there = settings(tmp_path)
    with pretended():
        fit(there, models=[model], **QUIET)
    assert batches
    found, plain = (open_downscaler(c.out / "all-all" / f"{model}.safetensors") for c in (there, config))
    for key, value in plain.model.state_dict().items():
        torch.testing.assert_close(found.model.state_dict()[key], value, atol=2e-4, rtol=1e-3, msg=key)


@pytest.mark.parametrize(
    ("model", "blend"),
    [
        *((model, "steps") for model in DOWNSCALERS),
        ("ddpm", "shared"),
        ("ddpm", "patches"),
        ("latent", "shared"),
    ],
)
def test_days_and_their_scores(model, blend, config, monkeypatch):
    how = replace(config.inference, blend=blend)
    models = AreaModels(config, "all", model)
    days = models.target_days("test")[:1]

    def road():
        made = predict_days(models, days, how, progress=False)
        rolled = rollout_area(models, how, end="2005-08-11", progress=False)
        return np.concatenate([made.dust.values.ravel(), rolled.dust.values.ravel()])

    plain = road()
    drawn = on(DEVICE, monkeypatch, area_models, "predict_fields")
    with pretended():
        np.testing.assert_allclose(road(), plain, rtol=2e-3)
    assert drawn


def test_an_evaluation(config, monkeypatch):
    plain = evaluate(config, most=1)
    drawn = on(DEVICE, monkeypatch, area_models, "predict_fields")
    (notes,) = config.out.rglob("scores-ddpm-test.jsonl")
    notes.unlink()
    with pretended():
        found = evaluate(config, most=1)
    assert drawn
    for a, b in zip(found, plain, strict=True):
        assert a.ensemble == pytest.approx(b.ensemble, rel=1e-2, nan_ok=True)
