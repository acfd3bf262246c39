"""Soundings on the command line: settings, counts, and an ensemble, with a tiny untrained prior."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

from prior_cases import white_network
from skyweave.cli import main
from skyweave.cli.flags import Flags
from skyweave.cli.inputs import input_paths, open_inputs
from skyweave.cli.settings import settings_from
from skyweave.covariance.by_noise_level import estimate_error_covariance
from skyweave.errors import SkyweaveError
from skyweave.observe.soundings import at_levels_of, on_levels
from skyweave.prior.storage import LearntPrior, open_prior, save_prior
from skyweave.state import StateSpec, Variable
from skyweave.thermodynamics import standard_height, standard_temperature
from skyweave.transform import Standardise, StateTransform

TIMES = pd.date_range("2015-06-15", periods=2, freq="12h")
P = np.array([1000, 925, 850, 700, 500, 400, 300])


def igra_text(days: range, lat: int = 520000) -> str:
    """Soundings at 00 and 12 UTC with all mandatory levels up to 300 hPa, in the format of the archive."""
    lines = []
    for day in days:
        for hour, release in (("00", "2331"), ("12", "1131")):
            lines.append(
                f"#XXM00012345 2015 06 {day:02d} {hour} {release} {len(P):4d} ncdc-gts {'':8} {lat:7d} {40000:8d}"
            )
            for p, z, t in zip(P, standard_height(P), standard_temperature(P), strict=True):
                celsius = round((t - 273.15) * 10)
                lines.append(f"10 -9999 {p * 100:6d} {round(z):5d} {celsius:5d} -9999    50   270   100 ")
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("soundings")
    torch.manual_seed(0)
    spec = StateSpec(
        (
            Variable("t850", "K", standard_name="air_temperature", level=850),
            Variable("u500", "m s-1", standard_name="eastward_wind", level=500),
            Variable("msl", "hPa", standard_name="air_pressure_at_mean_sea_level"),
        ),
        (1.0, 1.0),
    )
    transform = StateTransform((Standardise(280.0, 10.0), Standardise(5.0, 10.0), Standardise(1010.0, 10.0)))
    network = white_network(3)
    states = torch.randn(8, 3, 16, 16)
    covariance = estimate_error_covariance(lambda x, sigma, _: x / (1 + sigma**2), [(states, states)])
    save_prior(
        LearntPrior(spec, transform, (16, 16), network, metadata={}, attachments=covariance.to_tensors()),
        path / "p.safetensors",
    )
    coords = {
        "time": TIMES,
        "lat": ("lat", np.arange(60.0, 44, -1), {"units": "degrees_north"}),
        "lon": ("lon", np.arange(-8.0, 16), {"units": "degrees_east"}),
    }
    zero = np.zeros((2, 16, 24), np.float32)
    dims = ("time", "lat", "lon")
    fields = {
        "t850": (dims, zero + 281.65, {"units": "K"}),
        "u500": (dims, zero + 9.0, {"units": "m s-1"}),
        "msl": (dims, zero + 1013, {"units": "hPa"}),
    }
    xr.Dataset(fields, coords).to_netcdf(path / "like.nc", engine="h5netcdf")
    (path / "XXM00012345-data.txt").write_text(igra_text(range(1, 30)))
    return path


def test_a_flag_opens_soundings_at_the_prior_levels_near_the_wanted_times(folder, monkeypatch):
    monkeypatch.chdir(folder)
    flags = Flags(prior="p.safetensors", soundings=["XXM00012345-data.txt"], like="like.nc")
    settings = settings_from(None, flags)
    assert input_paths(settings) == ["p.safetensors", "like.nc", "XXM00012345-data.txt"]
    inputs = open_inputs(settings)
    (sounding,) = inputs.observations
    assert sounding.label == "XXM00012345-data.txt"
    source, report = at_levels_of(sounding, open_prior("p.safetensors").spec)
    assert source.label == "XXM00012345-data.txt"
    assert set(source.table["variable"]) == {"t850", "u500"}
    # From a day before the first time to a day after the last one, not the month of the file.
    assert report.soundings == 6
    assert (
        np.abs(
            source.table.loc[source.table["variable"] == "t850", "value"] - standard_temperature(850.0)
        ).max()
        < 0.1
    )


def test_a_yaml_states_everything_about_soundings(folder, monkeypatch, tmp_path):
    monkeypatch.chdir(folder)
    config = tmp_path / "run.yaml"
    config.write_text(
        "prior: p.safetensors\nlike: like.nc\n"
        "observations:\n"
        "  - {grid: like.nc, variable: msl, error: 1}\n"
        "  - soundings: [XXM00012345-data.txt]\n"
        "    name: igra\n"
        "    variables: {t850: air_temperature}\n"
        "    errors: {air_temperature: {1000: 2.0, 500: 2.0}}\n"
        "    drift: false\n"
        "    time_window: 3h\n"
        "    weight: 2\n"
        "    interpolation: bicubic\n"
        "    background: {path: like.nc, error: {t850: 1.5}}\n"
        "    quality: {superadiabatic: null, shear: [30, 0.1], departure: 5}\n"
    )
    inputs = open_inputs(settings_from(config, None))
    source, report = at_levels_of(inputs.observations[1], open_prior("p.safetensors").spec)
    assert (source.label, source.weight, source.interpolation) == ("igra", 2.0, "bicubic")
    assert set(source.table["variable"]) == {"t850"}
    assert (source.table["error"] == 2.0).all()
    assert set(source.table["time"].dt.hour) == {0, 12}
    # Compared with the background within 3 h of its two times, not at the other four launches.
    assert report.not_compared == 4


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{soundings: a.txt, drfit: false}", "drfit"),
        ("{soundings: a.txt, maximum_gap: 0.5}", "maximum_gap"),
        ("{soundings: a.txt, errors: {t850: -1}}", "errors"),
        ("{soundings: a.txt, quality: {shear: [1]}}", "shear"),
        ("{soundings: absent.txt}", "absent.txt"),
        ("{soundings: like.nc}", "is not an IGRA file"),
        ("{soundings: XXM00012345-data.txt, variables: [t85]}", "did you mean 't850'"),
        ("{soundings: XXM00012345-data.txt, variables: [msl]}", "no known quantity"),
    ],
)
def test_mistakes_are_named(folder, monkeypatch, tmp_path, text, expected):
    monkeypatch.chdir(folder)
    config = tmp_path / "run.yaml"
    config.write_text(f"prior: p.safetensors\nlike: like.nc\nobservations: [{text}]\n")
    with pytest.raises(SkyweaveError, match=expected):
        on_levels(open_inputs(settings_from(config, None)).observations, open_prior("p.safetensors").spec)


def test_check_reports_the_counts_and_reconstruct_uses_them(folder, monkeypatch, tmp_path, capsys):
    for name in ("p.safetensors", "like.nc", "XXM00012345-data.txt"):
        (tmp_path / name).symlink_to(folder / name)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.yaml").write_text(
        "prior: p.safetensors\nlike: like.nc\nmembers: 2\nsteps: 4\nout: o.nc\n"
        "observations: [{soundings: XXM00012345-data.txt, time_window: 3h}]\n"
    )
    assert main(["check", "run.yaml"]) == 0
    shown = capsys.readouterr().out
    for expected in (
        "6 soundings, 42 levels",
        "at levels that the state lacks",
        "t850",
        "2 members x 2 times",
    ):
        assert expected in shown
    # Two launches of the six are within 3 h of a time of the target.
    assert "8 outside time window" in shown
    assert not (tmp_path / "o.nc").exists()
    assert main(["reconstruct", "run.yaml"]) == 0
    assert "6 soundings" in capsys.readouterr().out
    with xr.open_dataset("o.nc") as fields:
        near = fields.t850.sel(lat=52, lon=4)
        assert float(np.abs(near - standard_temperature(850.0)).max()) < 4


def _edited(first: int, text: str) -> str:
    """Soundings whose levels have `text` from a column on."""
    lines = igra_text(range(14, 17)).splitlines()
    edited = [x if x.startswith("#") else x[:first] + text + x[first + len(text) :] for x in lines]
    return "\n".join(edited) + "\n"


@pytest.mark.parametrize(
    ("text", "status", "told"),
    [
        (_edited(0, "79"), 0, "42 unknown level types"),
        (_edited(27, "X"), 0, "42 unknown flags"),
        (igra_text(range(14, 17)) * 2, 0, "6 duplicate launches"),
        (_edited(22, " 9990"), 0, "42 impossible values of temperature"),
        (_edited(40, "  999  9990"), 0, "42 impossible values of wind direction"),
        (_edited(9, "-50000"), 2, "42 unknown codes of pressure"),
        (_edited(9, "abcdef"), 2, "where the pressure should be"),
        (igra_text(range(14, 17), lat=-300000), 2, "a grid (like, --like) that reaches the observations"),
        (igra_text(range(14, 17), lat=-999999), 2, "6 soundings without a position"),
        (igra_text(range(14, 17))[:-120], 2, "it is truncated"),
        (igra_text(range(25, 29)), 2, "no sounding with a time and a position between 2015-06-14"),
        (igra_text(range(14, 17)), 0, "at levels that the state lacks: 36 air_temperature"),
    ],
)
def test_bad_soundings_are_counted_or_refused_in_one_message(folder, tmp_path, capsys, text, status, told):
    (tmp_path / "bad-data.txt").write_text(text)
    words = ["--prior", str(folder / "p.safetensors"), "--like", str(folder / "like.nc")]
    assert main(["check", *words, "--soundings", str(tmp_path / "bad-data.txt")]) == status
    out, err = capsys.readouterr()
    assert told in (err if status else out)
    assert "Traceback" not in err
