"""Forecasters that need no training run, and the adapters: exact where the answer is known, clear where it is not."""

from __future__ import annotations

import datetime
from collections import OrderedDict

import cftime
import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

from emulate_cases import SPEC, drifting, global_grid
from skyweave.emulate import (
    FORECASTERS,
    Climatology,
    Earth2StudioForecaster,
    Forecaster,
    FunctionForecaster,
    Persistence,
    check_fits,
    fit_forecaster,
    later,
    open_forecast,
)
from skyweave.emulate.forecaster import Erring, Random, Stored, seconds_of
from skyweave.errors import SkyweaveError
from skyweave.grid import Grid
from skyweave.state import StateSpec, Variable, to_tensor

GRID = Grid(np.array([40.0, 50.0, 60.0]), np.array([0.0, 10.0, 20.0, 30.0]))
ONE = StateSpec((Variable("t", "K"),))
SIX = 21600.0
START = np.datetime64("2020-01-01", "ns")


def dataset(values: np.ndarray, hours: float = 6.0, grid: Grid = GRID, name: str = "t") -> xr.Dataset:
    time = START + (np.arange(len(values)) * hours * 3600).astype("timedelta64[s]")
    coords = {"time": time, "lat": grid.lat, "lon": grid.lon}
    return xr.Dataset({name: (("time", "lat", "lon"), values, {"units": "K"})}, coords)


@pytest.fixture(scope="module")
def world() -> xr.Dataset:
    return drifting(120)


# ---- what all of them share


@pytest.mark.parametrize("name", ["persistence", "climatology", "linear"])
def test_each_is_a_forecaster_and_steps_members_alone_as_together(world, name):
    model = fit_forecaster(name, world, SPEC)
    assert isinstance(model, Forecaster)
    assert name in FORECASTERS
    assert model.time_step == SIX
    states = to_tensor(world.isel(time=[3, 50, 70]), SPEC)
    kept = states.clone()
    when = np.datetime64("2001-02-01", "ns")
    together = model.step(states, when)
    assert together.shape == states.shape
    assert together.dtype == states.dtype
    torch.testing.assert_close(model.step(states[1:2], when, members=[1]), together[1:2])
    torch.testing.assert_close(states, kept, rtol=0, atol=0)  # what was given is left alone
    with pytest.raises(SkyweaveError, match=r"\(member, 2, 12, 24\).*t, q"):
        model.step(states[:, :1], when)


def test_an_unknown_forecaster_is_named_with_what_there_is(world):
    with pytest.raises(SkyweaveError, match="did you mean 'persistence'"):
        fit_forecaster("persistance", world, SPEC)


def test_times_go_on_in_their_own_calendar():
    assert later(START, 3600) == START + np.timedelta64(1, "h")
    leap = cftime.datetime(2020, 2, 28, 18, calendar="noleap")
    assert later(leap, SIX) == cftime.datetime(2020, 3, 1, calendar="noleap")
    assert later(10.0, 5.0) == 15.0
    assert later(None, 5.0) is None
    assert seconds_of(START) == 1577836800
    assert seconds_of(None) == 0


# ---- the simple ones


def test_climatology_recovers_a_known_cycle_and_its_phase():
    hours = np.arange(0, 24 * 400, 6.0)
    year, day = 2 * np.pi * (hours / 24 % 366) / 365.25, 2 * np.pi * hours / 24
    cycle = 280 + 10 * np.cos(year) + 3 * np.sin(day) * (1 + 0.5 * np.sin(year))
    values = np.broadcast_to(cycle[:, None, None], (len(hours), *GRID.shape)).astype(np.float32)
    model = fit_forecaster("climatology", dataset(values[: 24 * 60]), ONE)
    assert isinstance(model, Climatology)
    assert model.harmonics == (2, 1)
    k = 24 * 15 + 3
    step = model.step(torch.zeros(2, 1, *GRID.shape), START + np.timedelta64(int(hours[k - 1]), "h"))
    assert float((step - float(cycle[k])).abs().max()) < 0.02
    with pytest.raises(SkyweaveError, match="none was given"):
        model.step(torch.zeros(1, 1, *GRID.shape), None)


def test_climatology_of_a_short_record_is_its_mean():
    values = np.random.default_rng(0).standard_normal((10, *GRID.shape)).astype(np.float32)
    model = fit_forecaster("climatology", dataset(values, hours=24), ONE)
    np.testing.assert_allclose(
        model.step(torch.zeros(1, 1, *GRID.shape), None)[0, 0], values.mean(0), atol=1e-6
    )


def test_gaps_that_come_and_go_are_refused_and_those_that_stay_are_kept():
    values = np.random.default_rng(0).standard_normal((30, *GRID.shape)).astype(np.float32)
    values[:, 1, 2] = np.nan
    model = fit_forecaster("linear", dataset(values), ONE, components=3)
    after = model.step(torch.from_numpy(values[5:6, None]), START)
    assert bool(after.isnan()[0, 0, 1, 2])
    assert int(after.isnan().sum()) == 1
    values[4, 0, 0] = np.nan
    with pytest.raises(SkyweaveError, match="t: values are missing here and there"):
        fit_forecaster("climatology", dataset(values), ONE)


def test_the_linear_model_finds_the_propagator_of_a_linear_world():
    rng = np.random.default_rng(1)
    turn = 0.9 * np.array([[np.cos(0.5), -np.sin(0.5)], [np.sin(0.5), np.cos(0.5)]])
    patterns, _ = np.linalg.qr(rng.standard_normal((GRID.size, 2)))
    z = np.zeros((4000, 2))
    for k in range(1, len(z)):
        z[k] = turn @ z[k - 1] + rng.standard_normal(2)
    values = (z @ patterns.T).reshape(-1, *GRID.shape).astype(np.float32)
    model = fit_forecaster("linear", dataset(values, hours=24), ONE, components=2, ridge=0.0)
    states = torch.from_numpy(values[100:140, None])
    expected = (z[100:140] @ turn.T @ patterns.T).reshape(-1, *GRID.shape)
    error = (model.step(states, START)[:, 0].numpy() - expected).std() / values.std()
    assert error < 0.04


@pytest.mark.parametrize("whole", [2048, 8])
def test_a_linear_model_fitted_twice_forecasts_the_same_whatever_was_drawn_before(world, monkeypatch, whole):
    monkeypatch.setattr("skyweave.emulate.linear.WHOLE", whole)
    state = to_tensor(world, SPEC)[:2]
    stepped = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        model = fit_forecaster("linear", world, SPEC, components=5, noise=True)
        stepped.append(model.step(state, world.time.values[0]))
    torch.testing.assert_close(*stepped, rtol=0, atol=0)


def test_the_linear_models_noise_has_the_covariance_of_its_residual(world):
    model = fit_forecaster("linear", world, SPEC, components=5, noise=True, seed=3)
    quiet = fit_forecaster("linear", world, SPEC, components=5)
    state = to_tensor(world.isel(time=[7]), SPEC).expand(600, -1, -1, -1)
    drawn = (model.step(state, START) - quiet.step(state, START)).double()
    z = (drawn / model.scale[:, None, None] * model.weight[:, None]).flatten(1) @ model.eofs
    wanted = model.residual @ model.residual.T
    got = z.T @ z / len(z)
    assert float((got - wanted).norm() / wanted.norm()) < 0.15
    again = model.step(state[:1], START, members=[5])
    torch.testing.assert_close(again, model.step(state[:9], START)[5:6])  # by member, not by batch


def test_any_function_is_a_forecaster():
    model = FunctionForecaster(lambda x, time: x + 1, ONE, GRID, SIX)
    assert isinstance(model, Forecaster)
    assert float(model.step(torch.zeros(2, 1, *GRID.shape), START).mean()) == 1
    wrong = FunctionForecaster(lambda x, time: x[:, :, 0], ONE, GRID, SIX)
    with pytest.raises(SkyweaveError, match=r"returned \(2, 1, 4\)"):
        wrong.step(torch.zeros(2, 1, *GRID.shape), START)


def test_a_forecaster_of_other_variables_units_or_grid_is_refused():
    model = Persistence(SPEC, global_grid(), SIX)
    check_fits(model, SPEC, global_grid())
    with pytest.raises(SkyweaveError, match=r"steps t, q, the prior holds t, p; both must be"):
        check_fits(model, StateSpec((Variable("t", "K"), Variable("p", "Pa"))), what="prior")
    with pytest.raises(SkyweaveError, match="t: the forecaster has it in 'K', the state in 'degC'"):
        check_fits(model, StateSpec((Variable("t", "degC"), Variable("q", "g kg-1"))))
    with pytest.raises(SkyweaveError, match="grid"):
        check_fits(model, SPEC, GRID)


def test_seasons_of_one_calendar_are_not_asked_for_dates_of_another():
    times = pd.date_range("2001-01-01", periods=400, freq="D")
    values = np.random.default_rng(0).standard_normal((400, *GRID.shape)).astype(np.float32)
    data = dataset(values, hours=24).assign_coords(time=times)
    other = cftime.datetime(2003, 2, 30, calendar="360_day")
    for name in ("climatology", "linear"):
        model = fit_forecaster(name, data, ONE)
        model.step(torch.zeros(1, 1, *GRID.shape), np.datetime64("2003-02-28"))
        with pytest.raises(
            SkyweaveError, match=r"dates of the standard calendar, and 2003-.* is of the 360_day one"
        ):
            model.step(torch.zeros(1, 1, *GRID.shape), other)


# ---- files


def forecast_file(**changes: object) -> xr.Dataset:
    """Two forecasts of three members; values tell start, lead and member apart."""
    leads = np.arange(0, 30, 6)
    values = np.zeros((2, len(leads), 3, *GRID.shape), np.float32)
    values += np.arange(2)[:, None, None, None, None] * 100 + leads[None, :, None, None, None]
    values += 0.1 * np.arange(3)[None, None, :, None, None]
    ds = xr.Dataset(
        {"t": (("init_time", "lead_time", "member", "lat", "lon"), values, {"units": "K"})},
        {
            "init_time": START + np.array([0, 24]).astype("timedelta64[h]"),
            "lead_time": leads.astype("timedelta64[h]").astype("timedelta64[ns]"),
            "member": np.arange(3),
            "lat": GRID.lat,
            "lon": GRID.lon,
        },
    )
    return ds.assign(changes)


def test_a_file_of_forecasts_is_looked_up():
    model = open_forecast(forecast_file(), ONE, START + np.timedelta64(24, "h"), GRID)
    assert isinstance(model, Forecaster)
    assert model.time_step == SIX
    state = torch.zeros(2, 1, *GRID.shape)
    after = model.step(state, START + np.timedelta64(30, "h"), members=[2, 0])
    np.testing.assert_allclose(after[:, 0, 0, 0], [112.2, 112.0], atol=1e-4)


def test_leads_may_be_hours_units_others_of_their_kind_and_members_absent(tmp_path):
    ds = forecast_file().isel(init_time=0, member=0, drop=True)
    ds["t"] = ds.t - 273.15
    ds.t.attrs["units"] = "degC"
    ds = ds.assign_coords(step=("lead_time", np.arange(0, 30, 6), {"units": "hours"})).swap_dims(
        lead_time="step"
    )
    ds.drop_vars("lead_time").to_netcdf(tmp_path / "forecast.nc")
    model = open_forecast(tmp_path / "forecast.nc", ONE, START)
    after = model.step(torch.zeros(2, 1, *GRID.shape), START)
    np.testing.assert_allclose(after[:, 0, 0, 0], [6, 6], atol=1e-3)


@pytest.mark.parametrize("calendar", ["standard", "proleptic_gregorian"])
def test_dates_of_cftime_and_of_numpy_meet_where_their_calendar_is_the_same(calendar):
    begin = cftime.datetime(2020, 1, 1, calendar=calendar)
    later_on = np.array([begin + datetime.timedelta(hours=6 * k) for k in range(5)])
    numpy = forecast_file().isel(init_time=[0])
    other = numpy.drop_vars("init_time").assign_coords(init_time=("init_time", [begin]))
    state = torch.zeros(1, 1, *GRID.shape)
    for data in (numpy, other, numpy.assign_coords(valid_time=("lead_time", later_on))):
        for wanted in (None, START, begin, str(START)):
            model = open_forecast(data, ONE, wanted)
            for time in (START, begin):
                assert model.step(state, time)[0, 0, 0, 0] == pytest.approx(6)


def test_an_initial_time_may_be_text():
    ds = forecast_file().isel(init_time=0, drop=True)
    valid = START + np.arange(0, 30, 6).astype("timedelta64[h]")
    for data in (ds, ds.assign_coords(time=("lead_time", valid))):
        model = open_forecast(data, ONE, str(START))
        assert model.step(torch.zeros(1, 1, *GRID.shape), START)[0, 0, 0, 0] == pytest.approx(6)


def test_what_a_file_of_forecasts_cannot_answer_is_said():
    ds = forecast_file()
    state = torch.zeros(1, 1, *GRID.shape)
    with pytest.raises(SkyweaveError, match="no variable 'q'"):
        open_forecast(ds, SPEC)
    with pytest.raises(SkyweaveError, match=r"holds 2 forecasts.*pass init_time"):
        open_forecast(ds, ONE)
    with pytest.raises(SkyweaveError, match="no forecast starts at 2020-01-05"):
        open_forecast(ds, ONE, np.datetime64("2020-01-05"))
    with pytest.raises(
        SkyweaveError, match="standard calendar, the initial time asked for of the 360_day one"
    ):
        open_forecast(ds, ONE, cftime.datetime(2020, 1, 1, calendar="360_day"))
    with pytest.raises(SkyweaveError, match="lead times are missing after 6 h"):
        open_forecast(ds.isel(lead_time=[0, 1, 3, 4]), ONE, START)
    with pytest.raises(SkyweaveError, match="regrid"):
        open_forecast(ds, ONE, START, global_grid())
    with pytest.raises(SkyweaveError, match="no dimension of lead times"):
        open_forecast(dataset(np.zeros((3, *GRID.shape))), ONE)
    model = open_forecast(ds, ONE, START)
    with pytest.raises(SkyweaveError, match=r"30 h after its start.*0, 6, 12, 18, 24 h"):
        model.step(state, START + np.timedelta64(24, "h"))
    with pytest.raises(SkyweaveError, match="no member 7; it has 0 to 2"):
        model.step(state, START, members=[7])
    with pytest.raises(SkyweaveError, match="noleap"):
        model.step(state, cftime.datetime(2020, 1, 1, calendar="noleap"))
    with pytest.raises(SkyweaveError, match="has none"):
        model.step(state, None)


# ---- earth2studio


class Drift:
    """A prognostic model as earth2studio's: ordered coordinates in, tensor and coordinates out, a step of 6 hours."""

    def __init__(self, variables: tuple[str, ...] = ("q700", "t2m"), history: int = 1) -> None:
        self.variables, self.history = variables, history
        self.seen: list[OrderedDict] = []

    def input_coords(self) -> OrderedDict:
        leads = np.array([-6 * k for k in reversed(range(self.history))]).astype("timedelta64[h]")
        grid = global_grid()
        return OrderedDict(
            batch=np.empty(0), time=np.empty(0), lead_time=leads, variable=np.array(self.variables), lat=grid.lat,
            lon=grid.lon,
        )  # fmt: skip

    def output_coords(self, coords: OrderedDict) -> OrderedDict:
        return OrderedDict(coords, lead_time=coords["lead_time"][-1:] + np.timedelta64(6, "h"))

    def __call__(self, x: torch.Tensor, coords: OrderedDict) -> tuple[torch.Tensor, OrderedDict]:
        assert [len(v) for v in coords.values()] == list(x.shape)
        self.seen.append(coords)
        return x.roll(1, -1), self.output_coords(coords)


def test_a_model_of_earth2studio_is_stepped_by_its_interface():
    inner = Drift()
    model = Earth2StudioForecaster(inner, SPEC, {"t": "t2m", "q": "q700"})
    assert isinstance(model, Forecaster)
    assert model.time_step == SIX
    assert model.grid.same_as(global_grid())
    state = torch.randn(3, 2, 12, 24)
    torch.testing.assert_close(model.step(state, START), state.roll(1, -1))
    coords = inner.seen[0]
    assert list(coords) == ["ensemble", "time", "lead_time", "variable", "lat", "lon"]
    assert coords["time"][0] == START


@pytest.mark.parametrize(
    ("model", "names", "message"),
    [
        (Drift(), None, "no variable 't'.*q700, t2m"),
        (Drift(("q700", "t2m", "msl")), {"t": "t2m", "q": "q700"}, "also needs msl"),
        (Drift(history=2), {"t": "t2m", "q": "q700"}, "2 frames"),
        (torch.nn.Identity(), None, "not a prognostic model"),
    ],
    ids=["names", "more", "history", "other"],
)
def test_a_model_that_does_not_fit_is_refused(model, names, message):
    with pytest.raises(SkyweaveError, match=message):
        Earth2StudioForecaster(model, SPEC, names)


def test_the_linear_models_residual_is_that_of_times_it_has_not_seen():
    rng = np.random.default_rng(5)
    values = rng.standard_normal((160, *GRID.shape)).astype(
        np.float32
    )  # nothing to be learnt: residual = the state
    count = 60
    model = fit_forecaster("linear", dataset(values[:130], hours=24), ONE, components=count, ridge=1e-3)
    told = float(model.residual.square().sum())
    z = torch.from_numpy(values[130:]).double() / model.scale
    z = (z * model.weight[:, None]).flatten(1) @ model.eofs
    found = float((z[1:] - z[:-1] @ model.propagator.T).square().sum(1).mean())
    assert told == pytest.approx(found, rel=0.15)
    assert told > 1.15 * z.shape[1] * float(
        z.var()
    )  # in sample it would be smaller than the state's variance


def test_the_linear_models_noise_grows_in_its_season():
    rng = np.random.default_rng(6)
    day = np.arange(3 * 365)
    size = np.sqrt(1 + 0.6 * np.cos(2 * np.pi * day / 365.25))  # largest in January
    values = (size[:, None, None] * rng.standard_normal((len(day), *GRID.shape))).astype(np.float32)
    model = fit_forecaster("linear", dataset(values, hours=24), ONE, components=4, noise=True)
    times = np.array(["2001-01-01", "2001-07-01"], dtype="datetime64[ns]")
    winter, summer = model.amplitude(times).tolist()
    assert winter / summer == pytest.approx(2.0, rel=0.2)


def test_valid_times_beside_lead_times_must_agree_with_the_initial_time():
    ds = forecast_file().isel(init_time=0, drop=True)
    start = np.datetime64("2009-01-01T00", "ns")
    valid = start + ds.lead_time.values.astype("timedelta64[ns]")
    open_forecast(ds.assign_coords(valid_time=("lead_time", valid)), ONE, start)
    with pytest.raises(SkyweaveError, match=r"valid_time ends at 2009-01-02T.*; is the initial time right"):
        open_forecast(ds.assign_coords(valid_time=("lead_time", valid)), ONE, start + np.timedelta64(1, "D"))
    hours = ds.lead_time.values / np.timedelta64(1, "h")
    noleap = [
        cftime.datetime(2009, 1, 1, calendar="noleap") + pd.Timedelta(hours=h).to_pytimedelta() for h in hours
    ]
    with pytest.raises(
        SkyweaveError, match=r"valid_time is of the noleap calendar, the initial time .* standard"
    ):
        open_forecast(ds.assign_coords(valid_time=("lead_time", noleap)), ONE, start)


def test_the_registry_is_full_and_what_a_forecaster_draws_is_in_its_name(world):
    assert list(FORECASTERS) == ["persistence", "climatology", "linear"]
    drawn = fit_forecaster("linear", world, SPEC, components=5, noise=True)
    assert isinstance(drawn, Random)
    assert not isinstance(fit_forecaster("persistence", world, SPEC), Random | Stored | Erring)
