"""No leakage: days that are not for training touch no fitted number and no training tensor; the rules of the days."""

import numpy as np
import pytest
import torch
import xarray as xr

from downscale_cases import OVERLAP, make_record, two_datasets
from skyweave.config import parse_config
from skyweave.downscale.config import DownscaleConfig, SplitConfig
from skyweave.downscale.data.calendar import season_of
from skyweave.downscale.data.examples import PatchExamples, WindowExamples, fitting_pairs
from skyweave.downscale.data.samples import Calendar, Samples, Scaler
from skyweave.downscale.data.splits import season_start, split_days
from skyweave.downscale.data.task import prepare_task
from skyweave.downscale.models.target_form import Channels, TargetForm
from skyweave.downscale.prediction.stitching import day_tiles
from skyweave.errors import SkyweaveError

LAGS = 4
SEASONS = ["DJF", "MAM", "JJA", "SON"]
DAY = np.timedelta64(1, "D")


def config(**given):
    return parse_config(
        {
            "coarse": {"paths": "c.nc", "variables": "AOD"},
            "fine": {"paths": "f.nc", "variables": "AOD"},
            "lags": LAGS,
            **given,
        },
        DownscaleConfig,
    )


def fitted_numbers(task):
    """Everything that is fitted before a network is trained, and everything a network is trained on."""
    samples, split = task.samples, task.split
    channels = Channels.of(samples.sample(split.training[:1]))
    form = TargetForm("departure", channels.fine, channels.coarse)
    form.fit(fitting_pairs(samples, split.training, most=10_000))
    unit = TargetForm("unit", channels.fine, channels.coarse)
    unit.fit(fitting_pairs(samples, split.training, most=10_000))
    tiling = day_tiles(samples.shape, (16, 16), 8)
    tensors = [form.weights, form.offset, form.scale, unit.offset, unit.scale]
    for days in (split.training, split.train_validation):
        batch = vars(PatchExamples(samples, days, tiling).batch(np.arange(0, len(days) * len(tiling), 7)))
        tensors += batch.values()
    for days in (split.pretraining, split.pretrain_validation):
        batch = WindowExamples(samples, days, tiling).batch(np.arange(0, len(days) * len(tiling), 29))
        tensors += [batch.lags, batch.target]
    return samples.scaler.to_dict(), samples.calendar.to_dict(), tensors


@pytest.mark.parametrize(("season", "garbage"), [("JJA", 1e6), ("DJF", 1e-9), ("all", 1e6)])
def test_no_validation_or_test_day_touches_a_fitted_number_or_a_training_tensor(season, garbage):
    coarse, fine = two_datasets()
    clean = prepare_task(config(), "all", season, make_record(coarse, fine))
    reserved = np.concatenate([clean.split.validation, clean.split.test])
    days = clean.record.days[reserved]
    assert len(reserved) > 20
    spoilt = []
    for ds in (coarse, fine):
        bad = ds.copy(deep=True)
        bad.AOD.values[np.isin(bad.time.values, days)] *= garbage
        spoilt.append(bad)
    other = prepare_task(config(), "all", season, make_record(*spoilt))
    for key, value in vars(clean.split).items():
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(value, getattr(other.split, key))
    ours, theirs = fitted_numbers(clean), fitted_numbers(other)
    assert ours[:2] == theirs[:2]
    for a, b in zip(ours[2], theirs[2], strict=True):
        assert torch.equal(a, b)
    # The test can see a difference: one garbage training day changes the numbers.
    bad = fine.copy(deep=True)
    bad.AOD.values[np.isin(bad.time.values, clean.record.days[clean.split.training[:1]])] *= garbage
    assert fitted_numbers(prepare_task(config(), "all", season, make_record(coarse, bad)))[0] != ours[0]


@pytest.mark.parametrize("season", [*SEASONS, "all"])
def test_the_days_are_in_temporal_order_in_their_season_and_nowhere_twice(season):
    record = make_record()
    split = split_days(record, season, LAGS)
    training = np.sort(np.concatenate([split.training, split.train_validation]))
    ordered = np.concatenate([training, split.validation, split.test])
    assert (np.diff(ordered) > 0).all()
    days = record.days[ordered]
    if season != "all":
        assert (season_of(days) == SEASONS.index(season)).all()
    first, last = (np.datetime64(d) for d in OVERLAP)
    assert days.min() >= first
    assert days.max() <= last
    total = len(ordered)
    assert len(training) == round(0.8 * total)
    assert abs(len(split.validation) - 0.1 * total) <= 1
    assert abs(len(split.train_validation) - 0.2 * len(training)) <= 8
    # The encoder's days come from the whole coarse record, and their windows avoid what is reserved.
    encoder = np.concatenate([split.pretraining, split.pretrain_validation])
    assert record.days[encoder].min() < first
    assert record.days[encoder].max() > last
    window = encoder[:, None] + np.arange(-LAGS, 1)
    assert not np.isin(window, np.concatenate([split.validation, split.test])).any()
    assert not np.isin(split.pretraining, split.pretrain_validation).any()
    # No training sample has a reserved day among its inputs.
    assert (training.max() < split.validation.min()) or not len(split.validation)


def test_seasons_divide_the_overlap_except_for_the_first_lags():
    record = make_record()
    splits = [split_days(record, season, LAGS) for season in SEASONS]
    counts = [
        sum(len(getattr(s, k)) for k in ("training", "train_validation", "validation", "test"))
        for s in splits
    ]
    assert sum(counts) == len(np.arange(*OVERLAP, dtype="datetime64[D]")) + 1 - LAGS
    summer = splits[2]
    assert summer.skipped[0].reason == "missing fine days among their lags"
    assert len(summer.skipped[0].days) == LAGS
    assert "2005-06-01" in summer.describe("JJA")


def test_december_begins_the_winter_of_the_next_year():
    days = np.array(["2005-12-01", "2006-02-28", "2006-12-31"], "datetime64[ns]")
    expected = np.array(["2005-12-01", "2005-12-01", "2006-12-01"], "datetime64[D]")
    np.testing.assert_array_equal(season_start(days, "DJF"), expected)
    np.testing.assert_array_equal(
        season_start(np.array(["2006-08-31"], "datetime64[ns]"), "JJA"), np.datetime64("2006-06-01")
    )


def test_the_buffer_bounds_how_far_lags_reach_before_a_season():
    record = make_record()
    whole = split_days(record, "MAM", LAGS)
    tight = split_days(record, "MAM", LAGS, SplitConfig(buffer_days=LAGS - 1 + 1))
    np.testing.assert_array_equal(whole.training, tight.training)
    with pytest.raises(SkyweaveError, match="further than the buffer of 2 days"):
        split_days(record, "MAM", LAGS, SplitConfig(buffer_days=2))


def with_gap(ds, days, cells=slice(None)):
    out = ds.copy(deep=True)
    out.AOD.values[np.isin(out.time.values, np.array(days, "datetime64[ns]")), cells] = np.nan
    return out


def test_a_missing_fine_day_is_skipped_as_a_target_and_in_windows_and_named():
    coarse, fine = two_datasets()
    record = make_record(coarse, with_gap(fine, ["2006-03-20"]))
    split = split_days(record, "MAM", LAGS)
    gone = record.index(["2006-03-20"])[0]
    everything = np.concatenate([split.training, split.train_validation, split.validation, split.test])
    assert not np.isin(gone + np.arange(LAGS + 1), everything).any()
    assert np.isin([gone - 1, gone + LAGS + 1], everything).all()
    lags = next(s for s in split.skipped if s.reason == "missing fine days among their lags")
    np.testing.assert_array_equal(lags.days, record.days[gone + 1 : gone + 1 + LAGS])
    absent = make_record(coarse, fine.sel(time=fine.time != np.datetime64("2006-03-20")))
    np.testing.assert_array_equal(split_days(absent, "MAM", LAGS).training, split.training)
    for told in (split, split_days(absent, "MAM", LAGS)):
        first = told.skipped[0]
        assert first.reason == "no fine field at all"
        np.testing.assert_array_equal(first.days, np.array(["2006-03-20"], "datetime64[ns]"))
    whole = split_days(make_record(), "MAM", LAGS)
    assert not whole.skipped or whole.skipped[0].reason != "no fine field at all"


def test_short_gaps_are_filled_from_the_past_alone():
    coarse, fine = two_datasets()
    gone = ["2006-03-20", "2006-03-21"]
    record = make_record(coarse, with_gap(fine, gone, slice(3, 9)))
    clean = make_record(coarse, fine)
    split = split_days(record, "MAM", LAGS, SplitConfig(gaps="fill", fill_days=2))
    everything = np.concatenate([split.training, split.train_validation])
    day = int(record.index(["2006-03-22"])[0])
    assert np.isin([day - 2, day - 1, day, day + 1], everything).all()
    calendar = Calendar.fit(record.days[split.training])
    scaler = Scaler.fit(clean, split.training)
    filled = Samples(record, scaler, calendar, LAGS, fill_days=2).sample([day])
    true = Samples(clean, scaler, calendar, LAGS).sample([day])
    last = true.lags[0, -3, 0, 3:9]
    for back in (-1, -2):
        assert torch.equal(filled.lags[0, back, 0, 3:9], last)
        assert torch.equal(filled.lags[0, back, 0, 9:], true.lags[0, back, 0, 9:])
    # A target is never filled.
    assert filled.target.isfinite().all()
    on_gap = Samples(record, scaler, calendar, LAGS, fill_days=2).sample([day - 1]).target
    assert on_gap[0, 0, 3:9].isnan().all()
    assert on_gap[0, 0, 9:].isfinite().all()
    np.testing.assert_array_equal(split.filled[0].days, record.days[[day - 2, day - 1]])
    assert "filled, missing cells among lags" in split.describe()
    assert "filled" not in split_days(clean, "MAM", LAGS, SplitConfig(gaps="fill")).describe()
    # A longer gap than the rule allows is skipped.
    short = split_days(record, "MAM", LAGS, SplitConfig(gaps="fill", fill_days=1))
    assert any(s.reason.endswith("too long to fill") for s in short.skipped)


def test_missing_coarse_days_are_skipped_for_both_networks():
    coarse, fine = two_datasets()
    record = make_record(with_gap(coarse, ["2006-04-10", "2004-04-10"]), fine)
    split = split_days(record, "MAM", LAGS)
    for date, days in (("2006-04-10", split.training), ("2004-04-10", split.pretraining)):
        gone = record.index([date])[0]
        assert not np.isin(gone + np.arange(LAGS + 1), days).any()
    reasons = {s.reason: len(s.days) for s in split.skipped}
    assert reasons["missing coarse days among their inputs"] == LAGS + 1


def test_periods_restrict_targets_and_pretraining():
    record = make_record()
    split = split_days(record, "all", LAGS, overlap=("2006-01", "2006-06"), pretrain=("2003", "2004"))
    days = record.days[np.concatenate([split.training, split.test])]
    assert days.min() >= np.datetime64("2006-01-01")
    assert days.max() <= np.datetime64("2006-06-30")
    assert record.days[split.pretraining].max() < np.datetime64("2005-01-01")


def test_too_few_days_are_refused_with_what_there_is():
    coarse, fine = two_datasets()
    record = make_record(coarse, fine.sel(time=slice("2006-03-01", "2006-04-30")))
    with pytest.raises(SkyweaveError, match=r"JJA: 0 days can be targets .* from 2006-03-01 to 2006-04-30"):
        split_days(record, "JJA", LAGS)
    with pytest.raises(SkyweaveError, match=r"least_days"):
        split_days(record, "MAM", LAGS, SplitConfig(least_days=60))


def test_single_days_watch_the_training_when_asked_for():
    record = make_record()
    split = split_days(record, "all", LAGS, SplitConfig(block=1))
    share = len(split.train_validation) / (len(split.training) + len(split.train_validation))
    assert share == pytest.approx(0.2, abs=0.002)
    again = split_days(record, "all", LAGS, SplitConfig(block=1))
    np.testing.assert_array_equal(split.training, again.training)
    other = split_days(record, "all", LAGS, SplitConfig(block=1, seed=1))
    assert not np.array_equal(split.training, other.training)


def test_a_day_may_be_three_hours():
    rng = np.random.default_rng(0)
    times = np.arange("2014-06-01T01:30", "2014-06-20T01:30", np.timedelta64(3, "h"), dtype="datetime64[ns]")
    coarse, fine = two_datasets()
    c = xr.Dataset(
        {"AOD": (("time", "lat", "lon"), rng.random((len(times), 9, 10)) + 0.1)},
        {"time": times, "lat": coarse.lat, "lon": coarse.lon},
    )
    f = xr.Dataset(
        {"AOD": (("time", "lat", "lon"), rng.random((len(times), 24, 32)) + 0.1)},
        {"time": times, "lat": fine.lat, "lon": fine.lon},
    )
    record = make_record(c, f, step="native")
    assert record.step == np.timedelta64(3, "h")
    split = split_days(record, "all", LAGS)
    calendar = Calendar.fit(record.days[split.training], step=record.step)
    assert "hour_sine" in calendar.names
    sample = Samples(record, Scaler.fit(record, split.training), calendar, LAGS).sample(split.training[:2])
    assert sample.calendar.shape == (2, len(calendar.names))
    assert sample.lags.shape == (2, LAGS, 1, 24, 32)
