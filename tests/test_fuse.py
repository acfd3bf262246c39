"""Forecast files fused with observations: worth what past forecasts were, and refused where they do not fit."""

import cftime
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from skyweave.cli import main
from skyweave.cycle import fuse, past_from_files, past_from_forecaster
from skyweave.emulate import FunctionForecaster, open_forecast
from skyweave.errors import SkyweaveError
from skyweave.io.regions import Regions
from skyweave.observe.observation import GridObservation
from skyweave.prior.storage import save_prior
from skyweave.state import StateSpec, Variable
from test_assimilate import GRID, LAT, LON, SPEC, prior  # noqa: F401  (the fixture is used by name)

STEP = np.timedelta64(6, "h")
LEADS = np.arange(1, 5) * STEP
FIRST = np.datetime64("2020-01-01", "ns")
MEMORY = 0.8
"""Of the world, in one step; forecasts know it."""
OPTIONS = {"members": 8, "steps": 8, "progress": False}
QUICK = {"members": 3, "steps": 4, "progress": False}


def world(frames, seed=0, first=FIRST):
    """White in space, remembering in time, about 280 K with a deviation of 4 K."""
    x = 4 * np.random.default_rng(seed).standard_normal((frames, len(LAT), len(LON)))
    for t in range(1, frames):
        x[t] = MEMORY * x[t - 1] + np.sqrt(1 - MEMORY**2) * x[t]
    return dataset(280 + x, ("time",), {"time": first + np.arange(frames) * STEP})


def dataset(values, dims, coords):
    places = {"lat": ("lat", LAT, {"units": "degrees_north"}), "lon": ("lon", LON, {"units": "degrees_east"})}
    fields = {"a": ((*dims, "lat", "lon"), np.asarray(values, np.float32), {"units": "K"})}
    return xr.Dataset(fields, coords | places)


def forecasts(truth, places, bias=1.0):
    """From some times of a record: the best there is, but for a bias."""
    start = truth.a.values[places] - 280
    values = [280 + bias + MEMORY**k * start for k in range(1, len(LEADS) + 1)]
    coords = {"init_time": truth.time.values[places], "lead_time": LEADS.astype("timedelta64[ns]")}
    return dataset(np.stack(values, 1), ("init_time", "lead_time"), coords)


TRUTH = world(130, seed=1, first=np.datetime64("2019-06-01", "ns"))
PAST = past_from_files(forecasts(TRUTH, np.arange(0, 120, 2)), TRUTH, SPEC, LEADS / np.timedelta64(1, "s"))
NOW = world(6, seed=2)
FORECAST = forecasts(NOW, np.array([0])).isel(init_time=0)


def west():
    """The western half of the domain at all times."""
    seen = NOW.a.copy()
    seen[:, :, 8:] = np.nan
    return GridObservation(seen, error=0.5, operator="mask", name="west")


def test_a_forecast_is_worth_what_past_ones_were(prior):  # noqa: F811
    made = fuse(prior, FORECAST, [west()], PAST, **OPTIONS, batch=3)
    assert made.a.dims == ("member", "time", "lat", "lon")
    assert list(made.time.values) == list(FIRST + LEADS)
    np.testing.assert_array_equal(
        made.lead_time.values.astype("timedelta64[h]"), LEADS.astype("timedelta64[h]")
    )
    east = made.a[..., 8:]
    for k in range(len(LEADS)):
        left = 4 * np.sqrt(1 - MEMORY ** (2 * (k + 1)))
        # The forecast's mean is observed as it is, so that a little less is known than could be.
        assert left * 0.85 < float(east.isel(time=k).std("member").mean()) < left * 1.2
        error = east.isel(time=k).mean("member") - NOW.a[k + 1, :, 8:]
        assert float((error**2).mean() ** 0.5) < 1.25 * left
        # The bias of one degree is gone.
        assert abs(float(error.mean())) < 0.75
    seen = made.a[..., :8].mean("member") - NOW.a[1:5, :, :8]
    assert float((seen**2).mean() ** 0.5) < 0.55
    assert set(np.unique(made.a_provenance)) == {1, 2}
    assert "explained" in made.attrs["forecast"]
    # A member is the same whatever the batch.
    again = fuse(prior, FORECAST, [west()], PAST, **OPTIONS)
    np.testing.assert_allclose(again.a, made.a, atol=2e-3)


def test_forecasts_without_skill_leave_the_observations_alone(prior):  # noqa: F811
    other = world(130, seed=5, first=TRUTH.time.values[0])
    useless = past_from_files(
        forecasts(other, np.arange(0, 120, 2)), TRUTH, SPEC, LEADS / np.timedelta64(1, "s")
    )
    made = fuse(prior, FORECAST, [], useless, **OPTIONS)
    assert float(made.a.std("member").mean()) == pytest.approx(4.0, rel=0.1)
    assert abs(float(made.a.mean()) - 280) < 0.3


def test_what_cannot_be_used_is_dropped_and_told(prior, capsys):  # noqa: F811
    broken = xr.concat(
        [FORECAST.assign_coords(lead_time=FORECAST.lead_time - LEADS[0]).isel(lead_time=[0]), FORECAST],
        "lead_time",
    )
    broken.a[2] = np.nan
    longer = xr.concat([broken, broken.isel(lead_time=[-1]).assign_coords(lead_time=[5 * STEP])], "lead_time")
    made = fuse(prior, longer, [west()], PAST, members=2, steps=4)
    told = capsys.readouterr().out
    assert len(made.time) == 3
    for line in ("0 h: the initial state", "30 h: no past forecasts", "12 h: missing values"):
        assert line in told
    # Past forecasts without a truth, or with gaps, are counted too.
    truth = TRUTH.isel(time=slice(0, 100)).copy(deep=True)
    truth.a[50, 0, 0] = np.nan
    found = past_from_files(
        forecasts(TRUTH, np.arange(0, 120, 2)), truth, SPEC, LEADS / np.timedelta64(1, "s")
    )
    assert found.dropped["no truth at their times"] == 12
    assert found.dropped["missing values"] == 2
    assert len(found.forecasts) == 46


def test_ensembles_valid_times_and_finer_grids(prior):  # noqa: F811
    shift = xr.DataArray([-1.0, 0.0, 1.0], dims="member")
    many = (FORECAST.a + shift).to_dataset(name="a")
    many.a.attrs = FORECAST.a.attrs
    by_time = FORECAST.assign_coords(time=("lead_time", FIRST + LEADS)).swap_dims(lead_time="time")
    by_time = by_time.drop_vars(["lead_time", "init_time"])
    one = fuse(prior, FORECAST, [], PAST, **QUICK)
    for other, init in ((many, None), (by_time, FIRST)):
        again = fuse(prior, other, [], PAST, init_time=init, **QUICK)
        np.testing.assert_allclose(again.a, one.a, atol=1e-2)
    coarse = {"lat": 2, "lon": 2}
    low, low_truth = (x.coarsen(coarse).mean(keep_attrs=True) for x in (FORECAST, TRUTH))
    past_low = past_from_files(
        forecasts(TRUTH, np.arange(0, 120, 2)).coarsen(coarse).mean(keep_attrs=True),
        low_truth, SPEC, LEADS / np.timedelta64(1, "s"),
    )  # fmt: skip
    made = fuse(prior, low, [], past_low, like=NOW.drop_vars("time"), **OPTIONS)
    assert made.a.shape[2:] == (12, 16)
    blocks = made.a.mean("member").coarsen(coarse).mean()
    error = (blocks - NOW.a[1:5].coarsen(coarse).mean())[0]
    assert float((error**2).mean() ** 0.5) < 1.25 * 2 * np.sqrt(1 - MEMORY**2)


def test_past_forecasts_of_a_model(prior):  # noqa: F811
    model = FunctionForecaster(lambda x, time: 280 + 0.5 * (x - 280), SPEC, GRID, 21600.0)
    found = past_from_forecaster(model, TRUTH, SPEC, [21600.0, 86400.0], 30)
    assert found.forecasts.shape[:2] == (30, 2)
    np.testing.assert_allclose(
        found.forecasts[:, 0],
        280 + 0.5 * (TRUTH.sel(time=found.times[:, 0] - STEP).a.values[:, None] - 280),
        rtol=1e-6,
    )
    with pytest.raises(SkyweaveError, match="no multiples"):
        past_from_forecaster(model, TRUTH, SPEC, [10000.0])
    other = FunctionForecaster(lambda x, time: x, StateSpec((Variable("b", "K"),)), GRID, 21600.0)
    with pytest.raises(SkyweaveError, match="steps b, the prior holds a; both must be the same"):
        past_from_forecaster(other, TRUTH, SPEC, [21600.0])


def test_a_killed_run_goes_on(prior, tmp_path, monkeypatch):  # noqa: F811
    whole = fuse(prior, FORECAST, [west()], PAST, **QUICK)
    mark = Regions.mark

    def dying(self, name, note=None):
        mark(self, name, note)
        if name.startswith("t1"):
            raise KeyboardInterrupt

    monkeypatch.setattr(Regions, "mark", dying)
    out = tmp_path / "f.zarr"
    with pytest.raises(KeyboardInterrupt):
        fuse(prior, FORECAST, [west()], PAST, **QUICK, out=out)
    monkeypatch.setattr(Regions, "mark", mark)
    with pytest.raises(SkyweaveError, match="other"):
        fuse(prior, FORECAST + 1, [west()], PAST, **QUICK, out=out)
    made = fuse(prior, FORECAST, [west()], PAST, **QUICK, out=out)
    np.testing.assert_allclose(made.a, whole.a, atol=1e-3)


def noleap(data):
    dates = [
        cftime.DatetimeNoLeap(t.year, t.month, t.day, t.hour) for t in pd.DatetimeIndex(data.time.values)
    ]
    return data.assign_coords(time=dates)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: past_from_files(forecasts(TRUTH, np.arange(9)), noleap(TRUTH), SPEC, [21600.0]),
            "on their calendar",
        ),
        (lambda: past_from_files(forecasts(TRUTH, np.arange(9)), TRUTH, SPEC, [1000.0]), "none in common"),
        (lambda: past_from_files(forecasts(TRUTH, np.arange(3)), TRUTH, SPEC, [21600.0]), "four or more"),
        (lambda: past_from_files(TRUTH, TRUTH, SPEC, [21600.0]), "no initial times"),
        (
            lambda: past_from_files(
                forecasts(TRUTH, np.arange(9)).isel(lat=slice(6)), TRUTH, SPEC, [21600.0]
            ),
            "bring one to the other's grid",
        ),
        (
            lambda: open_forecast(FORECAST.isel(lead_time=[0, 1, 3]), SPEC),
            "lead times are missing after 12 h",
        ),
        (lambda: open_forecast(FORECAST.rename(a="b"), SPEC), "a"),
        (
            lambda: open_forecast(
                noleap(NOW).drop_vars("init_time", errors="ignore"), SPEC, np.datetime64("2020-01-01")
            ),
            "noleap calendar",
        ),
        (lambda: open_forecast(NOW, SPEC), "init_time"),
    ],
)
def test_what_does_not_fit_is_refused(build, message):
    with pytest.raises(SkyweaveError, match=message):
        build()


def test_times_and_grids_that_do_not_fit_are_refused(prior):  # noqa: F811
    with pytest.raises(SkyweaveError, match="past forecasts"):
        fuse(prior, FORECAST.isel(lat=slice(8)), [], PAST, **QUICK)
    between = GridObservation(
        NOW.a.assign_coords(time=NOW.time + np.timedelta64(1, "h")),
        error=1.0,
        operator="mask",
        time="interpolate",
    )
    with pytest.raises(SkyweaveError, match="nearest"):
        fuse(prior, FORECAST, [between], PAST, **QUICK)
    with pytest.raises(SkyweaveError, match="coarser"):
        fuse(prior, FORECAST, [], PAST, like=NOW.coarsen(lat=2, lon=2).mean(), **QUICK)
    empty = FORECAST.copy(deep=True)
    empty.a[:] = np.nan
    with pytest.raises(SkyweaveError, match="4: missing values"):
        fuse(prior, empty, [], PAST, **QUICK)


def test_the_command_line(prior, tmp_path, monkeypatch, capsys):  # noqa: F811
    monkeypatch.chdir(tmp_path)
    save_prior(prior, "p.safetensors")
    for name, data in (
        ("west.nc", west().data.to_dataset()),
        ("truth.nc", TRUTH),
        ("past.nc", forecasts(TRUTH, np.arange(0, 120, 4))),
        ("now.nc", FORECAST),
        ("leap.nc", noleap(NOW)),
    ):
        data.to_netcdf(name, engine="h5netcdf")
    text = (
        "prior: p.safetensors\nmembers: 3\nsteps: 4\nout: f.zarr\nforecast: {path: now.nc}\n"
        "past: {forecasts: past.nc, truth: truth.nc}\n"
        "observations: [{grid: west.nc, variable: a, error: 0.5}]\n"
    )
    (tmp_path / "f.yaml").write_text(text)
    assert main(["fuse", "f.yaml"]) == 0
    told = capsys.readouterr().out
    assert "30, valid" in told
    assert "explained     a: 6 h 0.6" in told
    assert "wrote f.zarr" in told
    with xr.open_zarr("f.zarr") as made:
        assert dict(made.a.sizes) == {"member": 3, "time": 4, "lat": 12, "lon": 16}
        assert made.lead_time.dims == ("time",)
    assert main(["fuse", "f.yaml"]) == 2
    assert "f.zarr" in capsys.readouterr().err
    # One of several forecasts in a file, by its date.
    seen = west().data.assign_coords(time=TRUTH.time[-14:-8].values)
    seen.to_dataset().to_netcdf("then.nc", engine="h5netcdf")
    chosen = text.replace("path: now.nc", "path: past.nc, init_time: 2019-06-30").replace("f.zarr", "g.nc")
    (tmp_path / "g.yaml").write_text(chosen.replace("west.nc", "then.nc"))
    assert main(["fuse", "g.yaml"]) == 0
    with xr.open_dataset("g.nc") as made:
        assert list(made.time.values) == list(np.datetime64("2019-06-30", "ns") + LEADS)
    # The file does not say when its forecast began; the settings do.
    FORECAST.drop_vars("init_time").to_netcdf("undated.nc", engine="h5netcdf")
    began = str(FORECAST.init_time.values)[:10]
    undated = text.replace("path: now.nc", f"path: undated.nc, init_time: {began}").replace("f.zarr", "h.nc")
    (tmp_path / "h.yaml").write_text(undated)
    assert main(["fuse", "h.yaml"]) == 0
    with xr.open_dataset("h.nc") as made:
        assert list(made.time.values) == list(np.datetime64(began, "ns") + LEADS)
    capsys.readouterr()
    for old, new, message in (
        ("path: now.nc", "path: now.nc, init_time: 2030-01-01", "no forecast starts at 2030-01-01"),
        ("path: now.nc", "path: past.nc", "pass init_time"),
        (
            "{forecasts: past.nc, truth: truth.nc}",
            "{truth: truth.nc}",
            "either forecasts (a file) or emulator",
        ),
        ("path: now.nc", "path: nowhere.nc", "nowhere.nc"),
        ("path: now.nc", "path: leap.nc, init_time: 2020-01-01", "noleap calendar"),
        ("steps: 4", "stepz: 4", "steps"),
        ("variable: a, error", "variable: b, error", "b"),
    ):
        (tmp_path / "bad.yaml").write_text(text.replace(old, new).replace("f.zarr", "d.zarr"))
        assert main(["fuse", "bad.yaml"]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert "Traceback" not in error
