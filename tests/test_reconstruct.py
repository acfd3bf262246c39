"""The whole road with a prior that is known: an untrained network is the exact denoiser of white noise."""

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

from prior_cases import white_network
from skyweave.covariance.by_noise_level import ErrorCovarianceModel, default_levels
from skyweave.errors import SkyweaveError
from skyweave.io.regions import Regions
from skyweave.observe.observation import GridObservation, PointObservation
from skyweave.posterior.sample import Method
from skyweave.posterior.samplers import SAMPLERS
from skyweave.prior.storage import LearntPrior
from skyweave.reconstruction.reconstruct import plan, reconstruct
from skyweave.reconstruction.settings import Settings
from skyweave.state import StateSpec, Variable
from skyweave.transform import Standardise, StateTransform

MEAN, STD = 10.0, 2.0


@pytest.fixture(scope="module")
def prior():
    """``D(x, sigma) = x / (1 + sigma^2)``: the last layer of an untrained network is zero."""
    variables = (Variable("a", "K", "air_temperature", bounds=(4.0, None)), Variable("b", "m s-1"))
    spec = StateSpec(variables, resolution=(1.0, 1.0))
    transform = StateTransform((Standardise(MEAN, STD), Standardise(0.0, 1.0)))
    network = white_network(2)
    levels = default_levels()
    kernels = torch.zeros(len(levels), 2, 2, 8, 8)
    kernels[:, 0, 0, 0, 0] = kernels[:, 1, 1, 0, 0] = 1
    attachments = ErrorCovarianceModel(levels, kernels).to_tensors()
    return LearntPrior(spec, transform, (16, 16), network, attachments=attachments)


def test_the_device_is_found_or_refused_before_anything_is_opened():
    assert Settings(device="auto").device in ("cpu", "cuda")
    with pytest.raises(SkyweaveError, match=r"device cdua \(did you mean 'cuda'\?\); there are auto"):
        Settings(device="cdua")


def target(times=2, lat=None, lon=None):
    lat = np.arange(55.0, 39.0, -1.0) if lat is None else lat
    lon = np.arange(352.0, 370.0) % 360 if lon is None else lon
    time = pd.date_range("2020-01-01", periods=times, freq="6h")
    return xr.Dataset(
        coords={
            "valid_time": ("valid_time", time, {"standard_name": "time"}),
            "latitude": ("latitude", lat, {"units": "degrees_north"}),
            "longitude": ("longitude", lon, {"units": "degrees_east"}),
        }
    )


def gappy(like, fraction=0.5, seed=0, name="a"):
    rng = np.random.default_rng(seed)
    shape = tuple(like.sizes[d] for d in ("valid_time", "latitude", "longitude"))
    values = np.maximum(rng.normal(MEAN, STD, shape), 4.5)  # below the bound of 4 they would be dropped
    values[rng.random(shape) < fraction] = np.nan
    return xr.DataArray(
        values, like.coords, ("valid_time", "latitude", "longitude"), name=name, attrs={"units": "K"}
    )


def test_posterior_of_white_noise_in_closed_form(prior):
    like = target()
    seen = gappy(like)
    out = reconstruct(prior, GridObservation(seen, error=1.0), like=like, members=200, progress=False)
    gain = STD**2 / (STD**2 + 1.0)
    at = np.isfinite(seen.values)
    expected = MEAN + gain * (seen.values - MEAN)
    spread = np.sqrt(STD**2 * (1 - gain))
    # The sampler's own error of spread is known in closed form, for each posterior variance.
    own = lambda variance: float(  # noqa: E731
        SAMPLERS[Method().sampler]().gain(
            torch.tensor([variance], dtype=torch.float64), Method().schedule().sigmas()
        )
    )
    # The lower bound of 4 clips few members; away from it means have an error of spread / sqrt(200).
    clear = at & (expected > 7)
    assert np.abs(out.a_mean.values - expected)[clear].mean() < 1.2 * spread / np.sqrt(200)
    assert out.a_spread.values[clear].mean() == pytest.approx(spread * own(1 - gain), rel=0.02)
    assert out.a_spread.values[~at].mean() == pytest.approx(STD * own(1.0), rel=0.02)
    assert out.b_spread.values.mean() == pytest.approx(own(1.0), rel=0.02)
    assert float(out.a.min()) >= 4.0


def test_output_is_labelled_and_keeps_the_coordinates(prior):
    like = target()
    out = reconstruct(prior, [GridObservation(gappy(like), error=1.0)], like=like, members=4, progress=False)
    for name in like.coords:
        assert out[name].identical(like[name])
        assert out[name].values.tobytes() == like[name].values.tobytes()
    assert out.a.dims == ("member", "valid_time", "latitude", "longitude")
    assert set(out.data_vars) == {
        f"{v}{suffix}" for v in "ab" for suffix in ("", "_mean", "_spread", "_quantile", "_provenance")
    }
    assert out.a.attrs["units"] == "K"
    np.testing.assert_allclose(out.a_mean, out.a.mean("member"), rtol=1e-5)
    np.testing.assert_allclose(out.a_spread, out.a.std("member", ddof=1), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(out.a_quantile.sel(quantile=0.5), out.a.median("member"), rtol=1e-5)
    for key in ("observations", "method", "seed", "prior", "source"):
        assert key in out.attrs


def test_provenance_tells_observed_from_filled(prior):
    like = target(times=1)
    seen = gappy(like, fraction=0.5)
    out = reconstruct(prior, GridObservation(seen, error=1.0), like=like, members=2, progress=False)
    flags = out.a_provenance.values
    assert (flags[np.isfinite(seen.values)] == 1).all()
    assert not (flags[np.isnan(seen.values)] == 1).any()
    # Nothing of b was observed.
    assert set(np.unique(out.b_provenance)) == {3}


def test_members_do_not_depend_on_batch_or_segment(prior):
    like = target(times=3)
    observed = GridObservation(gappy(like), error=0.5)
    whole = reconstruct(prior, observed, like=like, members=6, progress=False)
    parts = reconstruct(prior, observed, like=like, members=6, batch=2, progress=False)
    xr.testing.assert_allclose(whole.a, parts.a, rtol=1e-4, atol=1e-3)
    late = like.isel(valid_time=[2])
    alone = reconstruct(prior, observed, like=late, members=6, progress=False)
    xr.testing.assert_allclose(whole.a.isel(valid_time=[2]), alone.a, rtol=1e-4, atol=1e-3)
    other = reconstruct(prior, observed, like=like, members=6, seed=1, progress=False)
    assert float(abs(other.b - whole.b).max()) > 0.5


def test_store_holds_what_memory_holds(prior, tmp_path):
    like = target()
    call = {"like": like, "members": 5, "batch": 2, "progress": False}
    observed = GridObservation(gappy(like), error=0.5)
    memory = reconstruct(prior, observed, **call)
    for name in ("out.zarr", "out.nc"):
        reconstruct(prior, observed, out=tmp_path / name, **call)
        opened = xr.open_dataset(tmp_path / name, engine="zarr" if name.endswith("zarr") else "h5netcdf")
        for field in memory.data_vars:
            np.testing.assert_array_equal(opened[field].values, memory[field].values)
        assert opened.attrs["seed"] == 0


def test_killed_and_resumed_equals_uninterrupted(prior, tmp_path, monkeypatch):
    like = target(times=3)
    observed = GridObservation(gappy(like), error=0.5)
    call = {"like": like, "members": 4, "batch": 2, "progress": False}
    path = tmp_path / "out.zarr"
    mark, written = Regions.mark, []

    def dying(self, unit, note=None):
        if "summary" not in unit:
            if len(written) == 3:
                raise KeyboardInterrupt
            written.append(unit)
        mark(self, unit, note)

    monkeypatch.setattr(Regions, "mark", dying)
    with pytest.raises(KeyboardInterrupt):
        reconstruct(prior, observed, out=path, **call)
    assert not path.exists()
    with pytest.raises(SkyweaveError, match="other settings"):
        reconstruct(prior, observed, out=path, **{**call, "members": 6})
    again = []
    monkeypatch.setattr(Regions, "mark", lambda self, u, note=None: (again.append(u), mark(self, u, note)))
    resumed = reconstruct(prior, observed, out=path, **call)
    again = [unit for unit in again if "summary" not in unit]
    assert len(again) == 3
    assert not set(again) & set(written)
    monkeypatch.setattr(Regions, "mark", mark)
    whole = reconstruct(prior, observed, **call)
    for field in whole.data_vars:
        np.testing.assert_array_equal(resumed[field].values, whole[field].values)


def test_existing_output_is_refused_before_anything_is_computed(prior, tmp_path):
    path = tmp_path / "out.zarr"
    path.mkdir()
    (path / "zarr.json").write_text("{}")
    with pytest.raises(SkyweaveError, match="exists"):
        reconstruct(None, [], out=path)


def test_masked_cells_stay_missing_and_their_observations_are_dropped(prior):
    like = target(times=1)
    mask = np.ones((16, 18), bool)
    mask[:, :5] = False
    seen = gappy(like, fraction=0.0)
    out = reconstruct(
        prior, GridObservation(seen, error=1.0), like=like, members=2, domain_mask=mask, progress=False
    )
    assert np.isnan(out.a.values[..., ~mask]).all()
    assert np.isfinite(out.a.values[..., mask]).all()
    assert (out.a_provenance.values[:, ~mask] == 0).all()
    assert "masked cells" in out.attrs["observations"]


def test_several_sources_of_several_kinds_work_together(prior):
    like = target(times=1)
    table = pd.DataFrame(
        {
            "time": like.valid_time.values[0],
            "lat": [45.3, 50.1],
            "lon": [-5.2, 4.4],
            "variable": "b",
            "value": [3.0, -3.0],
        }
    )
    coarse = gappy(like, 0.0).coarsen(latitude=2, longitude=2).mean()
    sources = [
        GridObservation(coarse, error=0.3, operator="block-mean", name="coarse"),
        PointObservation(table, error=0.2, name="stations"),
    ]
    out = reconstruct(prior, sources, like=like, members=40, progress=False)
    near = out.b_mean.sel(latitude=50, longitude=4).item()
    assert near < -0.5
    means = out.a.coarsen(latitude=2, longitude=2).mean()
    # The members carry the observation error and not more than it in their block means.
    assert float(np.sqrt(((means - coarse) ** 2).mean())) < 0.6
    assert "coarse" in out.attrs["observations"]
    assert "stations" in out.attrs["observations"]


def test_all_that_values_depend_on_is_in_the_digest_and_the_batch_is_not(prior):
    like = target(times=1)
    masks = np.ones((2, 16, 18), bool)
    masks[0, :, :5] = masks[1, :, -5:] = False  # as many cells of either

    def digest(**call):
        return plan(prior, GridObservation(gappy(like, 0.0), error=0.5), like=like, members=4, **call).digest

    found = [
        digest(),
        digest(autocast=True),
        digest(domain_mask=masks[0]),
        digest(domain_mask=masks[1]),
        digest(seed=1),
    ]
    assert len(set(found)) == len(found)
    assert digest(batch=2) == digest(batch=3) == digest()


def test_plan_counts_without_computing(prior):
    like = target(times=3)
    calls = {"like": like, "members": 10, "batch": 4}
    made = plan(prior, GridObservation(gappy(like), error=0.5), **calls)
    assert len(made.units) == 9
    assert made.evaluations == 16
    assert "480 in all" in str(made)
    assert made.peak_bytes > 0


def test_target_comes_from_the_first_grid_of_the_right_resolution(prior):
    like = target(times=2)
    out = reconstruct(prior, GridObservation(gappy(like), error=0.5), members=2, progress=False)
    assert out.sizes["valid_time"] == 2
    coarse = gappy(like, 0.0).coarsen(latitude=2, longitude=2).mean()
    with pytest.raises(SkyweaveError, match="no target grid"):
        reconstruct(prior, GridObservation(coarse, error=0.5), members=2, progress=False)


def test_a_target_of_another_resolution_is_refused(prior):
    like = target(lat=np.arange(40.0, 50.0, 0.5), lon=np.arange(0.0, 10.0, 0.5))
    with pytest.raises(SkyweaveError, match="resolution"):
        reconstruct(prior, GridObservation(gappy(like), error=0.5), like=like, members=2, progress=False)


def test_a_prior_without_covariance_says_what_to_do(prior):
    bare = LearntPrior(prior.spec, prior.transform, prior.patch, prior.network)
    like = target()
    with pytest.raises(SkyweaveError, match="calibrate"):
        reconstruct(bare, GridObservation(gappy(like), error=0.5), like=like, members=2, progress=False)


def test_recalibration_scales_the_spread_about_the_mean(prior):
    calibrated = LearntPrior(
        prior.spec,
        prior.transform,
        prior.patch,
        prior.network,
        metadata={"calibration": {"spread_factor": 1.5}},
        attachments=prior.attachments,
    )
    like = target(times=1)
    call = {"like": like, "members": 6, "batch": 2, "progress": False}
    observed = GridObservation(gappy(like), error=0.5)
    plain = reconstruct(calibrated, observed, **call)
    wide = reconstruct(calibrated, observed, recalibrate=True, **call)
    np.testing.assert_allclose(wide.b_mean, plain.b_mean, atol=1e-3)
    np.testing.assert_allclose(wide.b_spread, 1.5 * plain.b_spread, rtol=1e-3, atol=1e-3)
    assert wide.attrs["recalibration_factor"] == 1.5
    with pytest.raises(SkyweaveError, match="recalibration"):
        reconstruct(prior, observed, recalibrate=True, **call)


def test_tiles_give_the_same_fields(prior):
    like = target(times=1)
    observed = GridObservation(gappy(like), error=0.5)
    whole = reconstruct(prior, observed, like=like, members=3, progress=False)
    tiled = reconstruct(prior, observed, like=like, members=3, tile=(8, 10), progress=False)
    # The denoiser of white noise is local, so here tiles change nothing at all.
    xr.testing.assert_allclose(whole.a, tiled.a, rtol=1e-4, atol=1e-3)


def test_a_method_can_be_given_whole(prior):
    like = target(times=1)
    method = Method(guidance="sda", sampler="heun", steps=9, start="noise", sigma_max=20)
    out = reconstruct(
        prior, GridObservation(gappy(like), error=0.5), like=like, members=2, method=method, progress=False
    )
    assert "heun" in out.attrs["method"]
    with pytest.raises(SkyweaveError, match="mmps"):
        reconstruct(prior, GridObservation(gappy(like), error=0.5), like=like, method="mmsp", progress=False)
