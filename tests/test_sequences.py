"""Reconstructions of sequences with a prior of windows: segments, batches, samplers, times that do not fit."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

import skyweave
from skyweave.covariance.by_noise_level import ErrorCovarianceModel
from skyweave.diffusion.network import Architecture
from skyweave.errors import SkyweaveError
from skyweave.prior.storage import LearntPrior, build_network
from skyweave.reconstruction import plan, run
from skyweave.state import StateSpec, Variable
from skyweave.transform import Standardise, StateTransform

LAT, LON = np.arange(10.0, 22.0), np.arange(20.0, 34.0)
PHI = 0.8


class Smoother(torch.nn.Module):
    """A denoiser by hand: Gaussian regression of each cell on its window, for an AR(1) in time."""

    masked = False

    def forward(self, x, sigma, conditioning=None, *, mask=None, periodic=False, autocast=False):
        w = x.shape[1]
        lag = (torch.arange(w)[:, None] - torch.arange(w)[None]).abs()
        K = PHI**lag
        gain = K @ torch.linalg.inv(K + float(sigma[0]) ** 2 * torch.eye(w))
        return torch.einsum("ts,bschw->btchw", gain, x)


def make_prior():
    torch.manual_seed(0)
    network = build_network(1, 0, Architecture(8, (1, 1), 1, norm="cell", window=5), 1.0)
    network.forward = Smoother().forward
    levels = torch.logspace(-2, 2, 9, dtype=torch.float64)
    lag = torch.arange(12, dtype=torch.float64)
    kernels = []
    for level in levels:
        # White in space; in time the error of regression on a long record, by its spectrum.
        power = torch.fft.rfft(torch.cat([PHI ** torch.arange(33.0), PHI ** torch.arange(31, 0, -1.0)])).real
        error = torch.fft.irfft(power * level**2 / (power + level**2), n=64)[: len(lag)]
        kernel = torch.zeros(len(lag), 1, 1, 8, 8)
        kernel[:, 0, 0, 0, 0] = error / (level**2 / (1 + level**2))
        kernels.append(kernel)
    model = ErrorCovarianceModel(levels, torch.stack(kernels))
    return LearntPrior(
        StateSpec((Variable("a", "K"),), (1.0, 1.0), window=5, time_step=3600.0),
        StateTransform((Standardise(280.0, 5.0),)),
        (8, 8),
        network,
        attachments=model.to_tensors(),
    )


def truth(frames=30):
    rng = np.random.default_rng(0)
    z = np.empty((frames, len(LAT), len(LON)))
    z[0] = rng.normal(size=z.shape[1:])
    for t in range(1, frames):
        z[t] = PHI * z[t - 1] + np.sqrt(1 - PHI**2) * rng.normal(size=z.shape[1:])
    time = pd.date_range("2020-01-01", periods=frames, freq="1h")
    lat = ("lat", LAT, {"units": "degrees_north"})
    lon = ("lon", LON, {"units": "degrees_east"})
    field = xr.DataArray(
        280 + 5 * z, {"time": time, "lat": lat, "lon": lon}, ("time", "lat", "lon"), name="a"
    )
    return field.assign_attrs(units="K")


def observed(field, every=1):
    hidden = np.random.default_rng(1).random(field.shape) < 0.5
    hidden[np.arange(len(field)) % every != 0] = True
    return skyweave.GridObservation(field.where(~hidden), error=0.5, operator="mask")


def reconstruct(field, every=1, **options):
    options = {"members": 6, "progress": False, "steps": 12} | options
    return skyweave.reconstruct(make_prior(), observed(field, every), like=field, **options)


def test_observations_of_one_hour_inform_the_next():
    field = truth()
    out = reconstruct(field, every=3, members=16)
    alone = float(np.sqrt(((field - 280) ** 2).mean()))
    error = np.sqrt(((out.a_mean - field) ** 2).mean(("lat", "lon")))
    # Exact regression at one and two steps from an observation in half of the cells leaves far less than sigma.
    assert float(error[3:-3].mean()) < 0.9 * alone
    assert float(error[1::3].mean()) < alone
    spread = float(np.sqrt((out.a_spread**2).mean()))
    assert spread / float(np.sqrt((error**2).mean())) == pytest.approx(1, abs=0.12)


def test_segments_leave_no_seams(monkeypatch):
    field = truth()
    whole = reconstruct(field).a
    monkeypatch.setattr(plan, "SEGMENT", 10)
    parts = reconstruct(field).a
    # The same members, but for what frames beyond the overlap could say, and what solvers leave.
    apart = np.sqrt(((parts - whole) ** 2).mean(("member", "lat", "lon")))
    assert float(apart.max()) < 0.05 * float(whole.std("member").mean())


def test_a_member_does_not_depend_on_its_batch():
    field = truth(12)
    np.testing.assert_allclose(reconstruct(field, batch=2).a, reconstruct(field, batch=6).a, atol=2e-2)


def test_killed_and_resumed_equals_uninterrupted(tmp_path, monkeypatch):
    field = truth(20)
    monkeypatch.setattr(plan, "SEGMENT", 5)
    work, calls = run.Reconstruction.work, []

    def dies(self, unit, step):
        calls.append(unit)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return work(self, unit, step)

    monkeypatch.setattr(run.Reconstruction, "work", dies)
    with pytest.raises(KeyboardInterrupt):
        reconstruct(field, out=tmp_path / "a.zarr", batch=3)
    monkeypatch.setattr(run.Reconstruction, "work", work)
    resumed = reconstruct(field, out=tmp_path / "a.zarr", batch=3)
    np.testing.assert_array_equal(resumed.a, reconstruct(field, batch=3).a)


@pytest.mark.parametrize("sampler", ["daps", "daps-exact", "dpm++2m"])
def test_samplers_fit_what_was_observed(sampler):
    field = truth(8)
    options = {"steps": 40, "options": {"langevin_steps": 50}} if sampler == "daps" else {}
    out = reconstruct(field, sampler=sampler, **options)
    seen = np.isfinite(observed(field).data)
    error = float(np.sqrt(((out.a_mean - field) ** 2).where(seen).mean()))
    assert error < 1.0


def test_samples_of_the_prior_have_its_spread_and_memory(tmp_path):
    options = {"members": 12, "progress": False, "out": tmp_path / "s.zarr"}
    out = skyweave.sample(make_prior(), truth(24), **options).a
    z = (out - 280) / 5
    assert float(z.std()) == pytest.approx(1, abs=0.05)
    lagged = float((z[:, 1:].values * z[:, :-1].values).mean() / (z**2).mean())
    assert lagged == pytest.approx(PHI, abs=0.06)


def test_times_that_no_window_fits_are_refused():
    with pytest.raises(SkyweaveError, match="windows of 5 frames, and 3"):
        reconstruct(truth(3))
    uneven = truth(12).isel(time=[0, 1, 2, 4, 5, 6, 7, 8])
    with pytest.raises(SkyweaveError, match="equally spaced"):
        reconstruct(uneven)
    with pytest.raises(SkyweaveError, match="7200 s apart, the prior was trained on steps of 3600 s"):
        reconstruct(truth(20)[::2])


def test_values_that_must_be_in_other_units_are_refused():
    field = truth(8)
    celsius = skyweave.GridObservation(
        (field - 273.15).assign_attrs(units="K"), error=0.5, operator="mask", name="sat"
    )
    with pytest.raises(SkyweaveError, match=r"sat: the median of its a is .* state its units") as caught:
        skyweave.reconstruct(make_prior(), celsius, like=field, progress=False)
    assert "`units: degC` at the source in the configuration, units='degC' in Python" in str(caught.value)
    # 7 is a usual temperature in both; which one is meant only the caller knows.
    assert "state its units; degC or degF fit" in str(caught.value)
    told = replace(celsius, units="degC")
    assert skyweave.plan(make_prior(), told, like=field) is not None


def test_the_units_of_a_table_are_stated_where_it_has_them():
    field = truth(8)
    columns = {
        "time": field.time.values[0],
        "lat": float(field.lat[1]),
        "lon": float(field.lon[1]),
        "value": 7.0,
    }
    rows = pd.DataFrame([columns | {"variable": name} for name in ("a", "b")])

    def message(table, **settings) -> str:
        given = skyweave.PointObservation(table, 0.5, name="stations", **settings)
        with pytest.raises(SkyweaveError, match="stations: the median of its a is") as caught:
            skyweave.plan(make_prior(), given, like=field)
        return str(caught.value)

    assert "units={'a': 'degC'} in Python" in message(rows)
    assert "`units: {a: degC}` at the source" in message(rows)
    assert "`units: degC` at the source" in message(rows[:1])
    assert "its column 'units' (or heading) says K" in message(rows.assign(units="K"))
    # 300 degC is 573 K, which was 300 K; no unit makes a million.
    assert "`units: K`" in message(rows[:1].assign(value=300.0), units="degC")
    assert "or correct its values" in message(rows[:1].assign(value=1e6))
    skyweave.plan(make_prior(), skyweave.PointObservation(rows, 0.5, units={"a": "degC"}), like=field)


@pytest.mark.parametrize(("wrong", "message"), [({"seed": -1}, "seed = -1"), ({"stride": 0}, "stride = 0")])
def test_settings_that_make_no_sense_are_refused(wrong, message):
    with pytest.raises(SkyweaveError, match=message):
        reconstruct(truth(8), **wrong)


def test_numbers_of_numpy_are_settings_too():
    made = reconstruct(truth(6), steps=np.int64(4), members=2)
    assert made.attrs["method"].count("steps") == 1
