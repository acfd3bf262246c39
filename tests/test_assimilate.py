"""The labelled cycled run: what it writes, continues and refuses, with a prior of white noise and a simple model."""

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

from skyweave.cli import main
from skyweave.covariance.by_noise_level import ErrorCovarianceModel, default_levels
from skyweave.cycle import CycleSettings, assimilate
from skyweave.cycle.record import CycleRecord
from skyweave.errors import SkyweaveError
from skyweave.grid import Grid
from skyweave.observe.errors import ErrorModel
from skyweave.observe.observation import GridObservation, PointObservation
from skyweave.posterior.sample import Method
from skyweave.prior.presets import find_preset
from skyweave.prior.storage import LearntPrior, build_network, save_prior
from skyweave.state import StateSpec, Variable
from skyweave.transform import Standardise, StateTransform

LAT, LON = np.arange(-6.0, 6.0), np.arange(0.0, 16.0)
GRID = Grid(LAT, LON)
TIMES = pd.date_range("2020-01-01", periods=5, freq="6h")
SPEC = StateSpec((Variable("a", "K"),), (1.0, 1.0))
SETTINGS = CycleSettings(members=8, method=Method(steps=8))


class Halve:
    """Forgets half of the departure from 280 K in each step."""

    def __init__(self, grid=GRID, spec=SPEC, time_step=21600.0):
        self.grid, self.spec, self.time_step, self.asked = grid, spec, time_step, []

    def step(self, state, time):
        self.asked.append(time)
        return 280 + 0.5 * (state - 280)


@pytest.fixture(scope="module")
def prior():
    network = build_network(1, 0, find_preset("tiny").architecture, 1.0).eval().requires_grad_(False)
    levels = default_levels()
    kernels = torch.zeros(len(levels), 1, 1, 8, 8)
    kernels[:, 0, 0, 0, 0] = 1
    attachments = ErrorCovarianceModel(levels, kernels).to_tensors()
    return LearntPrior(
        SPEC, StateTransform((Standardise(280.0, 4.0),)), (16, 16), network, attachments=attachments
    )


OWN = {"a": ErrorModel(absolute=4 * np.sqrt(0.75))}
"""The error of the model with which the climate stays what it is."""


def field(times=TIMES, seed=0):
    """A world that halves and is stirred."""
    values = 4 * np.random.default_rng(seed).standard_normal((len(times), len(LAT), len(LON)))
    for t in range(1, len(times)):
        values[t] = 0.5 * values[t - 1] + np.sqrt(0.75) * values[t]
    values += 280
    lat, lon = ("lat", LAT, {"units": "degrees_north"}), ("lon", LON, {"units": "degrees_east"})
    coords = {"time": times, "lat": lat, "lon": lon}
    return xr.DataArray(values, coords, ("time", "lat", "lon"), name="a", attrs={"units": "K"})


def half(observed=slice(None)):
    """The western half of the domain, at some of the times."""
    array = field()
    array[:, :, 8:] = np.nan
    return GridObservation(array[observed], error=0.5, operator="mask", name="west")


def run(prior, model=None, observations=None, **options):
    options = {"settings": SETTINGS, "times": TIMES, "progress": False} | options
    model, observations = model or Halve(), half() if observations is None else observations
    return assimilate(prior, model, observations, **options)


def test_analyses_fit_what_was_observed_and_forecasts_are_the_models(prior):
    model = Halve()
    made = run(prior, model, model_error=OWN)
    assert made.a.dims == ("member", "time", "lat", "lon")
    west = made.a[..., :8].mean("member") - field()[..., :8]
    assert float(np.sqrt((west**2).mean())) < 0.5
    # White noise: what was not observed is the climate at first, and half a step's memory of it then.
    assert float(made.a[:, 0, :, 8:].std("member").mean()) == pytest.approx(4.0, rel=0.15)
    assert float(
        (made.a_forecast[:, 1:] - (280 + 0.5 * (made.a[:, :-1].values - 280))).std()
    ) == pytest.approx(4 * np.sqrt(0.75), rel=0.1)
    assert float(made.innovation_rms[1:].mean()) == pytest.approx(1.0, abs=0.15)
    assert bool(made.a_forecast[:, 0].isnull().all())
    assert [np.datetime64(t) for t in model.asked] == list(TIMES[:-1].to_numpy())
    assert made.innovation_rms.dims == ("time", "source")
    assert made.source.attrs["flag_meanings"] == "west"
    np.testing.assert_array_equal(made.lat, LAT)
    assert made.a.attrs["units"] == "K"


def test_times_without_observations_are_forecast_only(prior):
    made = run(prior, observations=half(slice(0, 3)), model_error=OWN)
    spread = made.a[..., :8].std("member").mean(("lat", "lon"))
    expected = float(made.a_forecast[:, 3, :, :8].std("member").mean())
    assert float(spread[3]) == pytest.approx(expected, rel=0.3)


@pytest.mark.parametrize(("initial", "name"), [(False, "c.zarr"), (True, "c.zarr"), (False, "c.nc")])
def test_a_killed_run_continues_as_if_it_had_not_been(prior, tmp_path, monkeypatch, initial, name):
    members = xr.Dataset({"a": field(TIMES[:1]).isel(time=0, drop=True).expand_dims(member=8).copy()})
    members["a"].values[:] += np.random.default_rng(1).standard_normal(members["a"].shape)
    options = {"initial": members} if initial else {}
    whole = run(prior, **options)
    put = CycleRecord.put

    def dying(self, cycle):
        if cycle.index == 3:
            raise KeyboardInterrupt
        put(self, cycle)

    monkeypatch.setattr(CycleRecord, "put", dying)
    with pytest.raises(KeyboardInterrupt):
        run(prior, out=tmp_path / name, **options)
    monkeypatch.setattr(CycleRecord, "put", put)
    model = Halve()
    made = run(prior, model, out=tmp_path / name, **options)
    assert len(model.asked) == 2
    np.testing.assert_allclose(made.a_forecast[:, 1:], 280 + 0.5 * (made.a[:, :-1] - 280), atol=1e-4)
    xr.testing.assert_equal(made.compute(), whole)
    if initial:
        np.testing.assert_allclose(made.a[:, 0], members["a"], rtol=1e-6)


def test_a_continued_run_with_other_settings_is_refused(prior, tmp_path, monkeypatch):
    put = CycleRecord.put

    def dying(self, cycle):
        put(self, cycle)
        raise KeyboardInterrupt

    monkeypatch.setattr(CycleRecord, "put", dying)
    with pytest.raises(KeyboardInterrupt):
        run(prior, out=tmp_path / "c.zarr")
    other = CycleSettings(members=8, method=Method(steps=9))
    with pytest.raises(SkyweaveError, match="other settings"):
        run(prior, out=tmp_path / "c.zarr", settings=other)


def test_the_models_own_error_is_added(prior):
    errors = {"a": ErrorModel(absolute=2.0, correlation_length_km=300.0)}
    noise = (run(prior, model_error=errors).a_forecast - 280)[:, 1:] - 0.5 * (
        run(prior, model_error=errors).a[:, :-1] - 280
    ).assign_coords(time=TIMES[1:])
    assert float(noise.std()) == pytest.approx(2.0, rel=0.15)
    neighbours = float((noise[..., 1:].values * noise[..., :-1].values).mean() / noise.var())
    assert neighbours == pytest.approx(np.exp(-111.2 / 300), abs=0.1)


def test_a_model_on_a_coarser_grid(prior):
    coarse = Grid(LAT.reshape(-1, 2).mean(1), LON.reshape(-1, 2).mean(1))
    made = run(prior, Halve(coarse, StateSpec((Variable("a", "K"),), (2.0, 2.0))), like=GRID)
    assert made.a_forecast.dims == ("member", "time", "forecast_lat", "forecast_lon")
    means = made.a.values.reshape(8, 5, 6, 2, 8, 2).mean((3, 5))
    np.testing.assert_allclose(made.a_forecast[:, 1:], 280 + 0.5 * (means[:, :-1] - 280), atol=0.02)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"model": Halve(spec=StateSpec((Variable("b", "K"),), (1.0, 1.0)))},
            r"the model \(Halve\) steps b, the prior \(in memory\) describes a",
        ),
        (
            {"model": Halve(spec=StateSpec((Variable("a", "degC"),), (1.0, 1.0)))},
            "in 'degC', the prior in 'K'",
        ),
        (
            {"times": pd.date_range("2020-01-01", periods=5, freq="3h")},
            "2020-01-01T00:00 and 2020-01-01T03:00 are 3 h apart",
        ),
        ({"times": TIMES[:1]}, "two times or more"),
        (
            {"like": Grid(LAT, LON), "model": Halve(Grid(LAT[::2] / 4, LON[::2] / 4))},
            "coarser than the model's",
        ),
        ({"model_error": {"b": ErrorModel(1.0)}}, "model error: none for a"),
        ({"initial": xr.Dataset({"b": field()})}, "no a; found b"),
        ({"initial": field(TIMES[:1]).to_dataset()}, "0 of them, 8 are needed"),
        ({"out": "c.txt"}, "cannot tell the format"),
    ],
)
def test_what_does_not_fit_is_refused(prior, change, message):
    with pytest.raises(SkyweaveError, match=message):
        run(prior, **change)


def test_nothing_to_begin_with_is_refused(prior):
    table = pd.DataFrame({"time": TIMES[2:3], "lat": [0.5], "lon": [3.0], "variable": "a", "value": [280.0]})
    with pytest.raises(SkyweaveError, match="nothing is observed at the first time"):
        run(prior, observations=PointObservation(table, error=1.0))


def test_the_command_line(prior, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    save_prior(prior, "p.safetensors")
    half().data.to_dataset().to_netcdf("west.nc", engine="h5netcdf")
    field().to_dataset().to_netcdf("record.nc", engine="h5netcdf")
    text = (
        "prior: p.safetensors\nmembers: 4\nsteps: 8\nlike: record.nc\nout: c.zarr\n"
        "model: {fitted: {name: persistence, data: record.nc}}\n"
        "model_error: {a: {absolute: 3.0}}\n"
        "observations: [{grid: west.nc, variable: a, error: 0.5}]\n"
    )
    (tmp_path / "c.yaml").write_text(text)
    assert main(["cycle", "c.yaml"]) == 0
    assert "wrote c.zarr" in capsys.readouterr().out
    with xr.open_zarr("c.zarr") as made:
        assert dict(made.a.sizes) == {"member": 4, "time": 5, "lat": 12, "lon": 16}
    assert main(["cycle", "c.yaml"]) == 2
    assert "c.zarr" in capsys.readouterr().err
    for old, new, message in (
        ("{fitted: {name: persistence, data: record.nc}}", "{}", "one of emulator, fitted, shallow_water"),
        ("name: persistence", "name: persistance", "persistence"),
        ("members: 4", "members: 2", "members"),
        ("steps: 8", "stepz: 8", "steps"),
    ):
        (tmp_path / "bad.yaml").write_text(text.replace(old, new).replace("c.zarr", "d.zarr"))
        assert main(["cycle", "bad.yaml"]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert "Traceback" not in error


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"update": "afresh", "refine_steps": 8}, "'afresh' has no use for refine_steps"),
        ({"information": "stated", "local": False}, "'stated' has no use for local"),
    ],
)
def test_settings_that_nothing_would_use_are_refused(given, message):
    with pytest.raises(SkyweaveError, match=message):
        CycleSettings(**given)
