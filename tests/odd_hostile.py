"""Hostile files: headers, weights and configurations that no run of ours writes; see `odd_cases`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from odd_cases import Refused, odd
from skyweave.cli.settings import settings_from
from skyweave.diffusion.network import Architecture
from skyweave.prior.storage import LearntPrior, build_network, open_prior, save_prior
from skyweave.state import StateSpec, Variable
from skyweave.transform import Standardise, StateTransform


def prior_file(folder: Path) -> Path:
    """A tiny prior of one variable."""
    network = build_network(1, 0, Architecture(4, (1, 2), 1, norm="cell"), 1.0)
    transform = StateTransform((Standardise(280.0, 10.0),))
    path = folder / "p.safetensors"
    spec = StateSpec((Variable("t2m", "K"),), (1.0, 1.0))
    save_prior(LearntPrior(spec, transform, (8, 8), network), path, overwrite=True)
    return path


def edited(path: Path, edit: Callable[[dict[str, Any]], None]) -> Path:
    """The file with another header of ours, its tensors untouched."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    outer = json.loads(data[8 : 8 + length])
    own = json.loads(outer["__metadata__"]["skyweave"])
    edit(own)
    outer["__metadata__"]["skyweave"] = json.dumps(own)
    header = json.dumps(outer).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + data[8 + length :])
    return path


def with_value(path: Path, tensor: str, value: float) -> Path:
    """The file with the first number of a tensor of single precision replaced."""
    data = bytearray(path.read_bytes())
    length = int.from_bytes(data[:8], "little")
    start = 8 + length + json.loads(data[8 : 8 + length])[tensor]["data_offsets"][0]
    data[start : start + 4] = np.float32(value).tobytes()
    path.write_bytes(data)
    return path


def header_case(what: str, edit: Callable[[dict[str, Any]], Any], *words: str) -> None:
    """A prior whose header was edited, and the words of its refusal."""

    @odd("file", f"prior: {what}", Refused("p.safetensors", *words))
    def _read(folder: Path) -> Any:
        return open_prior(edited(prior_file(folder), edit))


header_case("2**70 residual blocks", lambda h: h["architecture"].update(blocks=2**70), "architecture.blocks")
header_case("a million channels", lambda h: h["architecture"].update(base=1_000_000), "architecture.base")
header_case(
    "more levels than its file has weights",
    lambda h: h["architecture"].update(multipliers=[1] * 12),
    "damaged",
)
header_case("another width than its weights", lambda h: h["architecture"].update(base=8), "has shape")
header_case("sigma_data of NaN", lambda h: h.update(sigma_data=float("nan")), "sigma_data")
header_case("sigma_data of zero", lambda h: h.update(sigma_data=0.0), "sigma_data")
header_case(
    "a scale of zero", lambda h: h["transform"]["transforms"][0].update(std=0.0), "std must be positive"
)
header_case("a mean of NaN", lambda h: h["transform"]["transforms"][0].update(mean=float("nan")), "mean")
header_case(
    "a mean of forty digits",
    lambda h: h["transform"]["transforms"][0].update(mean=10**40),
    "finite in single precision",
)
header_case(
    "two transforms for a variable",
    lambda h: h["transform"]["transforms"].append({"kind": "identity"}),
    "1 variables, 2",
)


@odd("file", "prior: a weight of NaN", Refused("network.network.first.weight", "not finite in 1 of"))
def _nan_weight(folder: Path) -> Any:
    return open_prior(with_value(prior_file(folder), "network.network.first.weight", float("nan")))


@odd("file", "prior: the length of its header beyond its end", Refused("p.safetensors", "a header of"))
def _long_header(folder: Path) -> Any:
    path = prior_file(folder)
    path.write_bytes((2**62).to_bytes(8, "little") + path.read_bytes()[8:])
    return open_prior(path)


@odd("file", "prior: a covariance of infinity", Refused("attachment.covariance.kernels", "not finite"))
def _infinite_covariance(folder: Path) -> Any:
    path = prior_file(folder)
    prior = open_prior(path)
    prior.attachments = {
        "covariance.kernels": torch.ones(2, 1, 1, 5, 8),
        "covariance.levels": torch.tensor([0.1, 1.0]),
    }
    save_prior(prior, path, overwrite=True)
    return open_prior(with_value(path, "attachment.covariance.kernels", float("inf")))


def yaml_case(what: str, text: str, *words: str) -> None:
    """A configuration of a reconstruction, and the words of its refusal."""

    @odd("file", f"YAML: {what}", Refused("c.yaml", *words))
    def _read(folder: Path) -> Any:
        (folder / "c.yaml").write_text(text)
        return settings_from(folder / "c.yaml", None)


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
yaml_case("an alias of what it stands in", "prior: &p [*p]\n", "contains itself")
yaml_case("a mapping that contains itself", "prior: p\nregion: &r {lat: *r}\n", "contains itself")
yaml_case("aliases that stand for 400 million values", BOMB, "aliases written out")
yaml_case("3,000 levels", "prior: " + "[" * 3000 + "]" * 3000, "levels")
yaml_case("a key twice", "prior: a\nprior: b\n", "'prior' stands twice")
yaml_case("a tag that runs a command", "prior: !!python/object/apply:os.system [ls]\n", "not valid YAML")
yaml_case("a NUL in a path", 'prior: "a\\0b"\n', "NUL")
yaml_case("a list as key", "? [a, b]\n: 1\n", "a key that is a list")
yaml_case("a thousand million members", "prior: p\nmembers: 1000000000\n", "members", "10000")
yaml_case("one and a half members", "prior: p\nmembers: 1.5\n", "members")
