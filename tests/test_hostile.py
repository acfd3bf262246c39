"""Hostile files and numbers that are none: refused, or the run ends with the place named and nothing called written."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))

import fuzz
from mutators import mutant

from odd_hostile import edited, prior_file
from skyweave import reconstruct, sample
from skyweave.cli import main
from skyweave.covariance.by_noise_level import ErrorCovarianceModel, default_levels
from skyweave.cycle.run import Cycler
from skyweave.diffusion.precondition import PreconditionedNetwork
from skyweave.errors import SkyweaveError
from skyweave.finite import NotFiniteError, check_channels
from skyweave.io.tensors import read_tensors, write_tensors
from skyweave.learn.checkpoint import Progress, load_checkpoint, save_checkpoint
from skyweave.limits import MOST, check_counts
from skyweave.posterior.calibration import calibrate
from skyweave.posterior.preconditioner import cholesky
from skyweave.prior.storage import open_prior, save_prior
from skyweave.yaml_file import read_yaml
from test_bad_input import field
from test_hostile_words import emulator_file


def covariance(value=1.0):
    levels = default_levels()
    kernels = torch.zeros(len(levels), 1, 1, 8, 8)
    kernels[:, 0, 0, 0, 0] = 1
    kernels[:, 0, 0, 0, 1] = kernels[:, 0, 0, 0, -1] = 0.2 * value
    return ErrorCovarianceModel(levels, kernels).to_tensors()


@pytest.fixture
def prior(tmp_path):
    made = open_prior(prior_file(tmp_path))
    made.attachments = covariance()
    return made


def observed():
    from skyweave.observe.errors import ErrorModel
    from skyweave.observe.observation import GridObservation

    return GridObservation(field()["t2m"] if hasattr(field(), "data_vars") else field(), ErrorModel(1.0))


# ---- a run


@pytest.mark.parametrize("suffix", [".zarr", ".nc"])
def test_weights_that_overflow_end_the_run_with_the_place(prior, tmp_path, capsys, suffix):
    """Finite weights, as a file may hold them, whose output is not."""
    prior.network.network.last.weight.data.fill_(3e38)
    path = tmp_path / "large.safetensors"
    save_prior(prior, path)
    field().to_netcdf(tmp_path / "good.nc")
    out = tmp_path / f"o{suffix}"
    words = ["reconstruct", "--prior", str(path), "--grid", f"{tmp_path}/good.nc:t2m=1", "--out", str(out)]
    assert main([*words, "--members", "2", "--steps", "6"]) == 2
    told = capsys.readouterr()
    assert "is not finite at sigma = " in told.err
    assert "t2m" in told.err
    assert "wrote" not in told.out
    assert not out.exists()


def test_a_weight_of_nan_in_memory(prior):
    prior.network.network.last.bias.data.fill_(float("nan"))
    said = r"output of the prior's network is not finite at sigma = .*t2m"
    with pytest.raises(NotFiniteError, match=said) as told:
        sample(prior, field(), members=2, steps=6, progress=False)
    assert told.value.status == 2


def test_a_network_in_training_leaves_it_to_the_loss():
    class Nothing(torch.nn.Module):
        def forward(self, x, c, periodic=False):
            return x * float("nan")

    network = PreconditionedNetwork(Nothing()).train()
    assert network(torch.ones(1, 1, 2, 2), torch.ones(1)).isnan().all()
    with pytest.raises(NotFiniteError, match=r"sigma = 1: 4 of 4 values of channel 0"):
        network.eval()(torch.ones(1, 1, 2, 2), torch.ones(1))


@pytest.mark.parametrize("value", [float("nan"), 0.0, -1.0, float("inf")])
def test_a_deviation_of_data_that_is_none(value):
    with pytest.raises(SkyweaveError, match="sigma_data"):
        PreconditionedNetwork(torch.nn.Identity(), value)


def test_a_covariance_of_nan_ends_at_once(prior):
    prior.attachments["covariance.kernels"][0, 0, 0, 0, 0] = float("nan")
    with pytest.raises(SkyweaveError, match=r"covariance\.kernels"):
        reconstruct(prior, observed(), members=2, steps=6, progress=False)


def test_factors_of_what_is_no_covariance():
    eye = torch.eye(4, dtype=torch.float64).repeat(2, 1, 1)
    assert torch.equal(cholesky(eye), eye)
    slightly = eye.clone()
    slightly[0, 0, 0] = -1e-9
    assert cholesky(slightly).isfinite().all()
    for value, words in (
        (float("nan"), "not finite"),
        (float("inf"), "not finite"),
        (-50.0, "not positive definite"),
    ):
        bad = eye.clone()
        bad[1, 0, 0] = value
        with pytest.raises(SkyweaveError, match=words):
            cholesky(bad)
    with pytest.raises(SkyweaveError, match="not positive definite"):
        cholesky(torch.zeros(3, 3, dtype=torch.float64))


def test_an_emulator_names_variable_and_time(tmp_path):
    emulator = emulator_file(tmp_path / "e.safetensors")
    emulator.integrator.mean.fill_(float("inf"))
    state = torch.full((2, 1, 16, 16), 280.0)
    state[:, :, 3, 3] = float("nan")  # what is missing stays missing, and is not counted
    with pytest.raises(NotFiniteError, match=r"one step after 2020-01-01.*510 of 512 values of t2m"):
        emulator.step(state, np.datetime64("2020-01-01"))


def test_a_cycle_names_the_time_of_a_forecast_that_ran_away():
    cycler = object.__new__(Cycler)
    cycler.identities, cycler.times = [0, 1], np.array(["2020-01-01", "2020-01-02"], "datetime64[D]")
    cycler.settings = type("S", (), {"inflation": 1.0})()
    cycler.spec = type("S", (), {"names": ("a",)})()
    cycler.forecast = lambda members, k: members * float("inf")
    with pytest.raises(NotFiniteError, match=r"the forecast is not finite at 2020-01-02: 6 of 6 values of a"):
        next(cycler.run(torch.ones(3, 1, 1, 2), first=1))


class Patches:
    """Validation patches of one value, some of them none."""

    whole_circle = False

    def __init__(self, value):
        self.fields = torch.randn(4, 1, 8, 8)
        self.fields[0] = value

    def batch(self, index):
        return type("Batch", (), {"fields": self.fields, "conditioning": torch.zeros(4, 0, 8, 8)})()


def test_calibration_asks_whether_validation_days_are_finite(prior):
    with pytest.raises(SkyweaveError, match=r"t2m: 256 values of the validation data are infinite"):
        calibrate(prior, Patches(float("inf")))
    empty = Patches(0.0)
    empty.fields[:] = float("nan")
    with pytest.raises(SkyweaveError, match="t2m: missing at all places"):
        calibrate(prior, empty)


def test_counts():
    check_counts(members=MOST["members"], steps=None)
    for value in (0, -1, MOST["members"] + 1, 1.5, True):
        with pytest.raises(SkyweaveError, match="members"):
            check_counts(members=value)


def test_channels_are_named_by_place():
    fields = torch.ones(2, 3, 4, 4)
    fields[1, 2, 0, 0] = float("inf")
    with pytest.raises(NotFiniteError, match=r"^x is not finite at noon: 1 of 32 values of c$"):
        check_channels(fields, ("a", "b", "c"), "x", where="at noon")
    check_channels(fields, ("a", "b", "c"), "x", missing=fields.isinf())


# ---- files


def test_numbers_that_are_none_are_not_written(tmp_path):
    path = tmp_path / "t.safetensors"
    write_tensors({"w": torch.ones(2), "static.z": torch.tensor([1.0, float("nan")])}, {}, path)
    before = path.read_bytes()
    for tensors in ({"w": torch.tensor([1.0, float("nan")])}, {"static.z": torch.tensor([float("inf")])}):
        with pytest.raises(SkyweaveError, match=r"not finite in 1 of .*nothing was written"):
            write_tensors(tensors, {}, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_name_twice_in_a_header(tmp_path):
    path = prior_file(tmp_path)
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = b'{"__metadata__":{},' + data[9 : 8 + length]
    path.write_bytes(len(header).to_bytes(8, "little") + header + data[8 + length :])
    with pytest.raises(SkyweaveError, match="stands twice"):
        read_tensors(path, "a prior")


def test_a_deep_header(tmp_path):
    nested = []
    for _ in range(900):
        nested = [nested]
    with pytest.raises(SkyweaveError, match=r"p\.safetensors"):
        open_prior(edited(prior_file(tmp_path), lambda h: h.update(patch=nested)))


def test_a_checkpoint_of_another_network(tmp_path):
    module = torch.nn.Linear(3, 2)
    optimiser = torch.optim.Adam(module.parameters())
    module(torch.ones(1, 3)).sum().backward()
    optimiser.step()
    state = module.state_dict()
    save_checkpoint(tmp_path / "c.safetensors", Progress(1), {}, state, state, None, optimiser)
    saved = load_checkpoint(tmp_path / "c.safetensors")
    same = torch.nn.Linear(3, 2)
    saved.restore(same, torch.optim.Adam(same.parameters()))
    assert torch.equal(same.weight, module.weight)
    other = torch.nn.Linear(4, 2)
    with pytest.raises(SkyweaveError, match=r"c\.safetensors.*weight has shape \(2, 3\)"):
        saved.restore(other, torch.optim.Adam(other.parameters()))


def test_dates_stay_text_and_merges_work(tmp_path):
    (tmp_path / "a.yaml").write_text("a: &a {k: 2020-01-01, l: [1, 2.5, true, null]}\nb: {<<: *a, l: x}\n")
    assert read_yaml(tmp_path / "a.yaml")["b"] == {"k": "2020-01-01", "l": "x"}


def test_a_configuration_of_megabytes_is_none(tmp_path):
    (tmp_path / "a.yaml").write_text("a: " + "x" * 2**21)
    with pytest.raises(SkyweaveError, match="no configuration"):
        read_yaml(tmp_path / "a.yaml")


# ---- odd inputs of every reader, a few


@pytest.mark.parametrize(
    ("name", "count"),
    [("yaml", 250), ("checkpoint", 300), ("prior", 120), ("emulator", 120), ("downscaler", 80)],
)
def test_mutants_are_refused_or_read(name, count, tmp_path):
    """Always the same few of those that ``benchmarks/fuzz.py`` tries by the thousand."""
    target = fuzz.TARGETS[name]
    seeds = fuzz.make_seeds(target)
    for number in range(count):
        folder = tmp_path / str(number)
        folder.mkdir()
        told = fuzz.one(target, mutant(random.Random(f"1:{name}:{number}"), seeds), folder)
        assert told["what"] != "crash", (number, told)
