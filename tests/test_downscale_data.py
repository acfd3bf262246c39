"""Records, scaling and samples: shapes, interpolation, zeros under logarithms, calendars, files, refusals."""

import numpy as np
import pytest
import torch
import xarray as xr

from downscale_cases import axes, make_record, two_datasets
from skyweave import regrid
from skyweave.config import parse_config
from skyweave.downscale.config import DownscaleConfig
from skyweave.downscale.data.opening import open_record, pair_records
from skyweave.downscale.data.samples import Calendar, Samples, Scaler
from skyweave.downscale.data.task import prepare_task
from skyweave.errors import SkyweaveError
from skyweave.grid import Grid
from skyweave.transform import Log10Standardise, Standardise

LAGS = 3


def make_samples(record=None, **options):
    record = record or make_record()
    days = record.index(np.arange("2005-06-10", "2005-10-01", dtype="datetime64[D]"))
    calendar = Calendar.fit(record.days[days], step=record.step)
    return Samples(record, Scaler.fit(record, days), calendar, LAGS, **options)


def test_shapes_and_contents_of_a_sample():
    coarse, fine = two_datasets(coarse_names=("U", "AOD", "T"), fine_names=("AOD", "T"))
    record = make_record(coarse, fine, shared=(1, 2))
    samples = make_samples(record)
    day = int(record.index(["2005-08-01"])[0])
    sample = samples.sample([day, day + 5], [[0, 0], [8, 16]], (16, 16))
    assert sample.lags.shape == (2, LAGS, 2, 16, 16)
    assert sample.coarse_lags.shape == (2, LAGS, 3, 16, 16)
    assert sample.driver.shape == (2, 3, 16, 16)
    assert sample.static.shape == (2, 3, 16, 16)
    assert sample.calendar.shape == (2, 8)
    assert sample.target.shape == (2, 2, 16, 16)
    # The target is the day itself, the lags those before it, oldest first.
    field = samples.scaler.fine.forward(torch.from_numpy(record.fine.read(np.arange(day - LAGS, day + 1))))
    torch.testing.assert_close(sample.lags[0], field[:LAGS, :, :16, :16])
    torch.testing.assert_close(sample.target[0], field[LAGS, :, :16, :16])
    whole = samples.sample([day + 5])
    torch.testing.assert_close(sample.target[1], whole.target[0, :, 8:24, 16:32])
    torch.testing.assert_close(sample.static[1], whole.static[0, :, 8:24, 16:32])
    window = samples.coarse_window([day + 5], [[8, 16]], (16, 16))
    torch.testing.assert_close(window.lags[0], sample.coarse_lags[1, :, [1, 2]])
    torch.testing.assert_close(window.target[0], sample.driver[1, [1, 2]])


def test_coarse_fields_are_bicubic_between_scaled_values():
    record = make_record()
    samples = make_samples(record)
    day = int(record.index(["2005-08-01"])[0])
    scaled = samples.scaler.coarse.forward(torch.from_numpy(record.coarse.read(np.array([day]))))[0, 0]
    expected = regrid.bicubic(record.coarse.grid, *record.grid.mesh(), a=-0.5) @ scaled.numpy().ravel()
    np.testing.assert_allclose(samples.sample([day]).driver[0, 0].numpy().ravel(), expected, atol=1e-5)
    # Back in physical units nothing is negative, whatever the overshoot of the kernel.
    steep = two_datasets()[0]
    steep.AOD.values[:, 4, 4] = 50.0
    physical = make_samples(make_record(steep, two_datasets()[1]))
    assert float(physical.scaler.coarse.inverse(physical.sample([day]).driver).min()) > 0


def test_a_record_too_large_for_memory_gives_the_same_samples():
    many, few = make_samples(), make_samples(make_record(memory_bytes=0), memory_bytes=0)
    day = int(many.record.index(["2005-08-01"])[0])
    where = ([day, day + 9, day], [[0, 3], [8, 16], [5, 5]], (16, 16))
    for a, b in zip(vars(many.sample(*where)).values(), vars(few.sample(*where)).values(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(many.sample([day]).driver, few.sample([day]).driver, atol=1e-5, rtol=1e-5)


def test_the_rollout_brings_its_own_lags_and_has_no_target():
    samples = make_samples()
    beyond = int(samples.record.index(["2008-02-03"])[0])
    own = torch.randn(2, LAGS, 1, 24, 32)
    sample = samples.sample([beyond, beyond + 1], lags=own)
    assert sample.lags is own
    assert sample.target.isnan().all()
    assert sample.driver.isfinite().all()
    with pytest.raises(SkyweaveError, match="fine record has missing values on 2008-01-31"):
        samples.sample([beyond])


def test_scaling_is_standard_on_training_days_and_invertible():
    record = make_record()
    days = np.arange(1000, 1200)
    scaler = Scaler.fit(record, days)
    z = scaler.fine.forward(torch.from_numpy(record.fine.read(days)))
    assert float(z.mean()) == pytest.approx(0, abs=1e-4)
    assert float(z.std()) == pytest.approx(1, abs=1e-4)
    np.testing.assert_allclose(scaler.inverse(z), record.fine.read(days), rtol=2e-5)
    assert Scaler.from_dict(scaler.to_dict()) == scaler
    mixed = Scaler.fit(record, days, {"AOD": "standardise"})
    assert isinstance(mixed.fine.transforms[0], Standardise)
    # More days than memory holds: evenly chosen ones.
    few = Scaler.fit(record, days, memory_bytes=record.fine.frame_bytes * 20)
    assert few.fine.transforms[0].mean == pytest.approx(scaler.fine.transforms[0].mean, abs=0.05)


def test_zeros_under_the_logarithm_take_the_floor_and_nothing_positive_is_refused():
    coarse, fine = two_datasets()
    fine.AOD.values[:, :5] = 0.0
    record = make_record(coarse, fine)
    days = np.arange(1000, 1100)
    transform = Scaler.fit(record, days).fine.transforms[0]
    assert isinstance(transform, Log10Standardise)
    smallest = record.fine.read(days)
    (note,) = Scaler.fit(record, days).notes
    assert note.startswith(
        f"AOD of the fine record: {(smallest == 0).sum()} of {smallest.size} training values"
    )
    assert Scaler.fit(make_record(), days).notes == ()
    assert transform.floor == pytest.approx(smallest[smallest > 0].min())
    assert Scaler.fit(record, days, floors={"AOD": 1e-3}).fine.transforms[0].floor == 1e-3
    fine.AOD.values[:, :-2] = -1.0
    mostly = make_record(coarse, fine)
    with pytest.raises(SkyweaveError, match=r"AOD of the fine record: .* are zero or less, .*to standardise"):
        Scaler.fit(mostly, days)
    assert Scaler.fit(mostly, days, floors={"AOD": 1e-3}).fine.transforms[0].floor == 1e-3
    samples = Samples(record, Scaler.fit(record, days), Calendar.fit(record.days[days]), LAGS)
    lowest = samples.sample([1050]).target[0, 0, :5]
    assert lowest.isfinite().all()
    assert float(lowest.max() - lowest.min()) == 0
    fine.AOD.values[:] = 0.0
    with pytest.raises(SkyweaveError, match=r"AOD, on the 100 training days: .*no positive training value"):
        Scaler.fit(make_record(coarse, fine), days)


def test_the_calendar_stays_within_what_training_saw_unless_told_otherwise():
    training = np.arange("2005-06-01", "2006-12-01", dtype="datetime64[D]")
    beyond = np.array(["2005-06-01", "2006-11-30", "2026-01-15"], "datetime64[D]")
    held = Calendar.fit(training)
    assert held.names[-2:] == ("days_since_start", "year")
    values = held.features(beyond)
    torch.testing.assert_close(values[:, -2:], torch.tensor([[-1.0, -1.0], [1.0, 1.0], [1.0, 1.0]]))
    on = Calendar.fit(training, hold=False).features(beyond)
    assert float(on[2, -2]) > 20
    torch.testing.assert_close(on[:2], values[:2])
    # One season at a time, and a year closes its circle.
    assert values[:, :4].sum(1).eq(1).all()
    assert values[2, 0] == 1
    whole = held.features(np.arange("2005-01-01", "2006-01-01", dtype="datetime64[D]"))
    assert float(whole[:, 4].square().mean()) == pytest.approx(0.5, abs=0.01)
    assert (whole[0, 4:6] - whole[-1, 4:6]).abs().max() < 0.03
    assert Calendar(**held.to_dict()) == held


# ---- files


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    tmp_path = tmp_path_factory.mktemp("records")
    coarse, fine = two_datasets()
    fine.to_netcdf(tmp_path / "fine.nc")
    # The coarse record as a reanalysis has it: hourly means stamped at half past, the Earth around the area.
    globe = Grid(np.arange(-89.5, 90), np.arange(-180.0, 180))
    days = coarse.time.values[:1200]
    values = np.random.default_rng(1).random((len(days), 1, 1)) * np.ones((1, *globe.shape))
    values[:, 110:119, 220:230] = coarse.AOD.values[:1200]
    short = values[870:890].astype(np.float32)
    hours = (days[870:890, None] + np.arange(30, 1440, 60).astype("timedelta64[m]")).ravel()
    wobble = 1 + 0.3 * np.sin(np.arange(24) / 24 * 2 * np.pi)
    hourly = (short[:, None] * wobble[:, None, None]).reshape(-1, *globe.shape)
    xr.Dataset(
        {"DUEXTTAU": (("time", "lat", "lon"), hourly.astype(np.float32))}, axes(globe.lat, globe.lon, hours)
    ).to_netcdf(tmp_path / "coarse.nc")
    lat, lon = np.arange(21.0, 27, 0.02), np.arange(41.0, 48, 0.02)
    dem = xr.Dataset(
        {"z": (("lat", "lon"), 100 * lat[:, None] + 0 * lon, {"units": "m"})},
        {"lat": ("lat", lat, {"units": "degrees_north"}), "lon": ("lon", lon, {"units": "degrees_east"})},
    )
    dem.to_netcdf(tmp_path / "dem.nc")
    return tmp_path, short


def settings(folder, **given):
    return parse_config(
        {
            "coarse": {"paths": str(folder / "coarse.nc"), "variables": "DUEXTTAU"},
            "fine": {"paths": str(folder / "fine.nc"), "variables": "AOD"},
            "elevation": {"path": str(folder / "dem.nc"), "variable": "z"},
            "areas": {"west": {"lat": (22, 24), "lon": (42, 44)}},
            "lags": LAGS,
            **given,
        },
        DownscaleConfig,
    )


def test_a_record_is_opened_averaged_cut_and_aligned(files):
    folder, short = files
    record = open_record(settings(folder), "west")
    assert record.grid.shape == (16, 16)
    assert len(record.days) == 20
    assert record.days[0] == np.datetime64("2005-05-20")
    np.testing.assert_allclose(record.elevation, 100 * record.grid.lat[:, None] * np.ones(16), atol=0.5)
    grid = record.coarse.grid
    assert grid.contains(*record.grid.mesh()).all()
    assert grid.shape[0] < 12
    i, j = Grid(np.arange(-89.5, 90), np.arange(-180.0, 180)).region(
        (grid.lat[0], grid.lat[-1]), (grid.lon[0], grid.lon[-1])
    )
    expected = short[:, i][:, :, j]
    np.testing.assert_allclose(record.coarse.read(np.arange(20))[:, 0], expected, rtol=1e-5)
    # Twelve days before the fine record begins.
    assert (record.fine.missing() == 1).sum() == 12
    assert (record.fine.missing() == 0).sum() == 8


def test_a_task_is_prepared_from_files(files):
    folder, _ = files
    config = settings(folder, split={"least_days": 5, "block": 1})
    task = prepare_task(config, "west", "all")
    assert len(task.split.test) >= 1
    assert task.name == "west-all"
    assert task.digest == prepare_task(config, "west", "all").digest
    assert (
        task.digest
        != prepare_task(settings(folder, split={"least_days": 5, "block": 2}), "west", "all").digest
    )


def test_refusals():
    coarse, fine = two_datasets()
    with pytest.raises(SkyweaveError, match="no day in common: the coarse one has 2003-01-01"):
        pair_records(coarse, fine.assign_coords(time=fine.time + np.timedelta64(9000, "D")))
    with pytest.raises(SkyweaveError, match="not finer than the coarse one"):
        pair_records(coarse, coarse.isel(lat=slice(2, 7), lon=slice(2, 7)))
    with pytest.raises(SkyweaveError, match="fine cells lie outside the coarse grid"):
        pair_records(coarse, fine.assign_coords(lat=fine.lat + 30))
    uneven = coarse.time + (np.arange(len(coarse.time)) ** 2).astype("timedelta64[s]")
    with pytest.raises(SkyweaveError, match="do not follow one another by an even step"):
        pair_records(coarse.assign_coords(time=uneven), fine, step="native")
    with pytest.raises(SkyweaveError, match="has no time"):
        pair_records(coarse, fine.assign(land=fine.AOD[0].drop_vars("time")))
    with pytest.raises(SkyweaveError, match="is not one of the coarse record's"):
        make_record().index(["1999-01-01"])
    samples = make_samples()
    with pytest.raises(SkyweaveError, match="has no 3 days before it"):
        samples.sample([1])
    with pytest.raises(SkyweaveError, match="lies outside"):
        samples.sample([1000], [[20, 0]], (16, 16))
    with pytest.raises(SkyweaveError, match="no training day"):
        Scaler.fit(samples.record, [])


def test_all_errors_of_a_configuration_are_told_at_once():
    with pytest.raises(SkyweaveError) as caught:
        parse_config(
            {
                "coarse": {"paths": "a.nc", "variables": "AOD"},
                "fine": {"paths": "b.nc"},
                "seasons": ["DJF", "spring"],
                "step": "5h",
                "transform": "log",
                "split": {"fractions": [0.8, 0.1, 0.2]},
                "options": {"netwrk": {}},
            },
            DownscaleConfig,
        )
    text = str(caught.value)
    for part in (
        "fine.variables: missing", "seasons.1", "divides the day", "did you mean 'log10'", "sum to 1",
        "did you mean 'network'",
    ):  # fmt: skip
        assert part in text


def test_presets_lie_under_what_is_given():
    base = {
        "coarse": {"paths": "a.nc", "variables": ["U", "aod"]},
        "fine": {"paths": "b.nc", "variables": "AOD"},
    }
    plain, paper = (
        parse_config(base, DownscaleConfig),
        parse_config({**base, "preset": "paper", "inference": {"steps": 50}}, DownscaleConfig),
    )
    assert plain.options.output == "linear"
    assert paper.options.output == "sigmoid"
    assert paper.options.training.lr == 1e-6
    assert paper.inference.stride == 2
    assert paper.inference.steps == 50
    assert plain.shared_positions == (1,)
    assert parse_config({**base, "shared": {"AOD": "U"}}, DownscaleConfig).shared_positions == (0,)
    assert list(parse_config({**base, "seasons": "four"}, DownscaleConfig).tasks()) == [
        ("all", s) for s in ("DJF", "MAM", "JJA", "SON")
    ]
    with pytest.raises(SkyweaveError, match=r"stride.* leaves gaps"):
        parse_config({**base, "stride": 20}, DownscaleConfig)
    with pytest.raises(SkyweaveError, match="each season once"):
        parse_config({**base, "seasons": ["DJF", "all"]}, DownscaleConfig)
