"""The prior's file: what is read back equals what was written, and nothing else is taken for a prior."""

import json
import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from skyweave.errors import SkyweaveError
from skyweave.grid import Grid
from skyweave.prior.conditioning import Conditioning, StaticField
from skyweave.prior.presets import find_preset
from skyweave.prior.storage import SCHEMA_VERSION, SHIPPED, LearntPrior, build_network, open_prior, save_prior
from skyweave.state import StateSpec, Variable
from skyweave.transform import Log1pQuantile, StateTransform

GRID = Grid(np.arange(0.0, 16.0), np.arange(0.0, 16.0))


def made(seed=0):
    torch.manual_seed(seed)
    preset = find_preset("tiny", base=8)
    network = build_network(1, 2, preset.architecture, 0.7).eval()
    for parameter in network.parameters():  # layers that start at zero say nothing
        torch.nn.init.normal_(parameter, std=0.1)
    surface = StaticField(GRID, np.random.default_rng(0).random(GRID.shape).astype(np.float32))
    return LearntPrior(
        StateSpec((Variable("aod", "1", bounds=(0.0, None)),), (1.0, 1.0)),
        StateTransform((Log1pQuantile(0.01, 0.9),)),
        (16, 16),
        network.requires_grad_(False),
        Conditioning(("latitude", "elevation"), {"elevation": surface}),
        {"steps": 3, "validation": {"loss": 0.5}},
        {"V.kernels": torch.randn(2, 3)},
    )


def test_what_is_read_denoises_as_what_was_written(tmp_path):
    prior, path = made(), tmp_path / "p.safetensors"
    save_prior(prior, path)
    back = open_prior(path)
    x, sigma = torch.randn(2, 1, 1, 16, 16), torch.tensor(0.5)
    torch.testing.assert_close(back.denoiser(GRID)(x, sigma), prior.denoiser(GRID)(x, sigma), rtol=0, atol=0)
    assert (back.spec, back.metadata, back.patch) == (prior.spec, prior.metadata, prior.patch)
    torch.testing.assert_close(back.transform.forward(x.abs()), prior.transform.forward(x.abs()))
    torch.testing.assert_close(back.attachments["V.kernels"], prior.attachments["V.kernels"])
    assert back.fingerprint() == prior.fingerprint()


def test_the_fingerprint_tells_priors_apart():
    prior = made()
    before = prior.fingerprint()
    with torch.no_grad():
        next(prior.network.parameters()).view(-1)[0] += 1e-3
    assert prior.fingerprint() != before


def test_half_precision_halves_the_file_and_rounds_the_weights(tmp_path):
    prior = made()
    save_prior(prior, tmp_path / "full.safetensors")
    save_prior(prior, tmp_path / "half.safetensors", half=True)
    sizes = [(tmp_path / f"{name}.safetensors").stat().st_size for name in ("full", "half")]
    assert sizes[1] < 0.6 * sizes[0]
    exact, rounded = (
        prior.network.state_dict(),
        open_prior(tmp_path / "half.safetensors").network.state_dict(),
    )
    for name, value in exact.items():
        assert rounded[name].dtype == value.dtype
        torch.testing.assert_close(rounded[name], value, rtol=5e-4, atol=1e-7)


@pytest.mark.parametrize("name", list(SHIPPED))
def test_shipped_priors_open_by_name_and_are_complete(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    prior = open_prior(name)
    assert {"validation", "calibration"} <= set(prior.metadata)
    assert prior.attachments


def test_a_prior_is_not_replaced_unasked(tmp_path):
    path = tmp_path / "p.safetensors"
    save_prior(made(), path)
    before = path.read_bytes()
    with pytest.raises(SkyweaveError, match="exists"):
        save_prior(made(1), path)
    assert path.read_bytes() == before
    save_prior(made(1), path, overwrite=True)
    assert path.read_bytes() != before


def header_of(path, **changes):
    save_prior(made(), path)
    from skyweave.prior.storage import read_tensors, write_tensors

    header, tensors = read_tensors(path, "a prior")
    write_tensors(tensors, {k: v for k, v in (header | changes).items() if v is not None}, path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema_version": SCHEMA_VERSION + 1}, "newer than this skyweave reads"),
        ({"kind": "forecast"}, "not a prior"),
        ({"architecture": None}, "incomplete or damaged"),
        ({"patch": []}, "incomplete or damaged"),
        ({"transform": [{"kind": "magic"}]}, "incomplete or damaged"),
    ],
)
def test_headers_that_are_not_a_priors_are_refused(tmp_path, changes, message):
    path = tmp_path / "p.safetensors"
    header_of(path, **changes)
    with pytest.raises(SkyweaveError, match=message) as caught:
        open_prior(path)
    assert str(path) in str(caught.value)


def test_files_that_are_not_priors_are_refused(tmp_path):
    whole = tmp_path / "p.safetensors"
    save_prior(made(), whole)
    cut, pickled, other = tmp_path / "cut", tmp_path / "pickled", tmp_path / "other"
    cut.write_bytes(whole.read_bytes()[:-100])
    pickled.write_bytes(pickle.dumps({"a": 1}))
    save_file({"a": torch.zeros(2)}, other, {"format": "pt", "note": json.dumps({})})
    for path, message in (
        (tmp_path / "none", "no such file"),
        (cut, "not a readable"),
        (pickled, "not a readable"),
        (other, "not a prior of skyweave"),
    ):
        with pytest.raises(SkyweaveError, match=message) as caught:
            open_prior(path)
        assert str(path) in str(caught.value)
