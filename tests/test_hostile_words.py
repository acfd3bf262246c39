"""Bad values at the command line: one error that names the flag or the key, exit status 2, at once, nothing written."""

from __future__ import annotations

import numpy as np
import pytest
import yaml

from skyweave.cli import main
from test_bad_input import folder  # noqa: F401

P, GOOD = "{d}/prior.safetensors", "{d}/good.nc"
SAMPLE = ["sample", P, "--like", GOOD, "--out", "{o}/o.zarr"]
RUN = ["reconstruct", "--prior", P, "--grid", "{d}/good.nc:t2m=1", "--out"]
FORECAST = [
    "emulate",
    "forecast",
    "{d}/absent.safetensors",
    "--initial",
    GOOD,
    "--steps",
    "3",
    "--out",
    "{o}/o.nc",
]
SCORE = ["emulate", "score", "{d}/absent.safetensors", "--data", GOOD]
FRACTION = ["--members", "1.5"]

CASES = {
    "members of one and a half": ([*SAMPLE, *FRACTION], ["--members", "1.5"]),
    "members, forecast": ([*FORECAST, *FRACTION], ["--members", "1.5"]),
    "members, reconstruct": ([*RUN, "{o}/o.zarr", *FRACTION], ["--members", "1.5"]),
    "the prior by its flag": (["sample", "--prior", *SAMPLE[1:], "--members", "1.5"], ["--members", "1.5"]),
    "members without end": ([*SAMPLE, "--members", "1000000000"], ["members", "at most 10,000"]),
    "members without end, reconstruct": ([*RUN, "{o}/o.zarr", "--members", "1000000000"], ["members", "10000"]),
    "frames without end": ([*SAMPLE, "--frames", "1000000000"], ["frames", "at most 1,000,000"]),
    "steps without end": ([*SAMPLE, "--steps", "1000000000"], ["steps", "at most 10,000"]),
    "steps without end, reconstruct": ([*RUN, "{o}/o.zarr", "--steps", "1000000000"], ["steps", "10000"]),
    "forecast steps without end": ([*FORECAST[:5], "--steps", "1000000000", *FORECAST[7:]], ["--steps", "100,000"]),
    "a result that no memory holds": (
        # A batch of all members: as many units as frames.
        [*SAMPLE[:-1], "{o}/o.nc", *(w for n in ("members", "frames", "batch") for w in (f"--{n}", "10000"))],
        ["GB", ".zarr"],
    ),
    "frames of zero": ([*SAMPLE, "--frames", "0"], ["frames", "at least one"]),
    "a year that nanoseconds lack": ([*SAMPLE, "--frames", "3", "--start", "9999-01-01"], ["9999", "2261"]),
    "perturb nan": ([*FORECAST, "--perturb", "nan"], ["--perturb", "nan"]),
    "noise below zero": (
        [*FORECAST[:2], "{o}/e.safetensors", *FORECAST[3:], "--stochastic", "--noise", "-1"], ["noise"],
    ),
    "leads below zero": ([*SCORE, "--leads", "-1"], ["--leads"]),
    "most of zero": (["downscale", "evaluate", "{o}/downscale.yaml", "--most", "0"], ["--most"]),
    "jobs of zero": (["downscale", "fit", "{o}/downscale.yaml", "--jobs", "0"], ["--jobs"]),
    "resolution": (["regrid", GOOD, "--out", "{o}/o.nc", "--resolution", "0.0001"], ["resolution", "cells"]),
    "resolution without end": (["regrid", GOOD, "--out", "{o}/o.nc", "--resolution", "inf"], ["--resolution"]),
    "a picture of no kind": ([*SAMPLE, "--figure", "{o}/fig.xyz"], ["fig.xyz", ".png"]),
    "a NUL in a name": (["info", "a\0b"], ["unable to convert", "FILE"]),
    "a name too long": (["info", "{o}/" + "x" * 300 + ".nc"], ["too long"]),
    **{
        f"output {name:.20}": ([*RUN, "{o}/" + name], words)
        for name, words in {
            "o.txt": ["o.txt", ".zarr"],
            "o.NC": ["o.NC", "small letters"],
            "o.zarr.zip": ["o.zarr.zip", ".zarr"],
            "x" * 250 + ".nc": ["253 bytes"],
        }.items()
    },
}  # fmt: skip


def line_of(words, d, o):
    return [w.replace("{d}", str(d)).replace("{o}", str(o)) for w in words]


@pytest.mark.parametrize("name", CASES)
def test_a_bad_value_is_one_error(folder, tmp_path, capsys, name):  # noqa: F811
    words, told = CASES[name]
    if "--noise" in words:
        emulator_file(tmp_path / "e.safetensors")
    before = sorted(tmp_path.iterdir())
    assert main(line_of(words, folder, tmp_path)) == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error
    for word in told:
        assert word in error, (word, error)
    assert sorted(tmp_path.iterdir()) == before


def emulator_file(path):
    import torch

    from skyweave.emulate.config import NetworkConfig
    from skyweave.emulate.emulator import Emulator, save_emulator
    from skyweave.emulate.networks import build_integrator
    from skyweave.emulate.simple import Climatology
    from skyweave.grid import Grid
    from skyweave.prior.conditioning import Conditioning
    from skyweave.state import StateSpec, Variable
    from skyweave.transform import Standardise, StateTransform

    spec, grid = StateSpec((Variable("t2m", "K"),)), Grid(np.arange(40.0, 56.0), np.arange(0.0, 16.0))
    settings = NetworkConfig(width=4, layers=1, multipliers=(1, 2))
    step = build_integrator(grid, 1, 0, settings, (torch.zeros(1), torch.ones(1))).eval()
    climate = Climatology(spec, grid, 21600.0, (0, 0), torch.zeros(1, 1, 16, 16), "standard")
    made = Emulator(
        spec=spec, grid=grid, time_step=21600.0, transform=StateTransform((Standardise(280.0, 10.0),)), integrator=step,
        settings=settings, conditioning=Conditioning(), climatology=climate, residuals=torch.zeros(2, 1, 16, 16),
    )  # fmt: skip
    save_emulator(made, path)
    return made


SOURCE = {"grid": "{d}/good.nc", "variable": "t2m", "error": 1}
BASE = {"prior": "{d}/prior.safetensors", "observations": [SOURCE], "out": "{o}/o.zarr"}
TRAIN = {
    "data": {"paths": "{d}/good.nc", "variables": ["t2m"]},
    "split": {"train": ["2020-01-01", "2020-01-01"], "validate": ["2020-01-02", "2020-01-02"]},
    "out": "{o}/run",
    "network": {"preset": "tiny"},
}
DOWN = {"coarse": {"paths": "a.nc", "variables": "AOD"}, "fine": {"paths": "b.nc", "variables": "AOD"}}
POINTS = {"points": "{d}/no_errors.csv", "error": 1}

YAML = {
    "sigma_max": ("reconstruct", BASE | {"options": {"sigma_max": "abc"}}, ["sigma_max", "abc"]),
    "sigma_min": ("reconstruct", BASE | {"options": {"sigma_min": -1}}, ["sigma_min"]),
    "sigmas in the wrong order": ("reconstruct", BASE | {"options": {"sigma_min": 50.0}}, ["sigma_min", "below"]),
    "churn": ("reconstruct", BASE | {"sampler": "heun", "options": {"churn": float("nan")}}, ["churn"]),
    "members": ("reconstruct", BASE | {"members": 1.5}, ["members"]),
    "steps": ("reconstruct", BASE | {"steps": 10**9}, ["steps"]),
    "patch": ("train", TRAIN | {"patch": [1, 1]}, ["patch"]),
    "base": ("train", TRAIN | {"network": {"preset": "tiny", "base": 1_000_000}}, ["network.base"]),
    "weights": ("train", TRAIN | {"network": {"base": 4096, "multipliers": [8, 8, 8]}}, ["weights"]),
    "blocks": ("train", TRAIN | {"network": {"blocks": 10**6}}, ["network.blocks"]),
    "transform": ("train", TRAIN | {"transform": {"t2m": "log11"}}, ["log11", "log10"]),
    "cycle options": (
        "cycle",
        BASE | {"model": {"fitted": {"name": "linear", "data": "{d}/good.nc", "options": {"foo": 1}}}},
        ["foo"],
    ),
    "cycle shape": ("cycle", BASE | {"model": {"shallow_water": {"shape": "abc"}}}, ["shape", "abc"]),
    "cycle shape too large": ("cycle", BASE | {"model": {"shallow_water": {"shape": [90000, 180000]}}}, ["90000"]),
    "downscale base": ("downscale fit", DOWN | {"encoder": {"network": {"base": 10**6}}}, ["encoder.network.base"]),
    "downscale patch": ("downscale fit", DOWN | {"patch": 10**6}, ["patch"]),
    "NUL": ("reconstruct", BASE | {"prior": "a\0b"}, ["NUL"]),
    "time_format": (
        "reconstruct", BASE | {"observations": [POINTS | {"time_format": "%Q%"}], "like": "{d}/good.nc"}, ["%Q%"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", YAML)
def test_a_bad_value_in_a_file_is_one_error(folder, tmp_path, capsys, name):  # noqa: F811
    command, values, told = YAML[name]
    text = yaml.safe_dump(values).replace("{d}", str(folder)).replace("{o}", str(tmp_path))
    (tmp_path / "c.yaml").write_text(text)
    assert main([*command.split(), str(tmp_path / "c.yaml")]) == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error
    for word in told:
        assert word in error, (word, error)
    assert [p.name for p in tmp_path.iterdir()] == ["c.yaml"]
