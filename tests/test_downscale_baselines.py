"""Baselines of downscaling: exact where they must be, fitted on training days alone."""

import numpy as np
import pytest
import torch
import xarray as xr

from downscale_cases import make_record, two_datasets
from skyweave import regrid
from skyweave.baselines.downscaling import DOWNSCALING_BASELINES, Bicubic, Persistence, QuantileMapped
from skyweave.downscale.data.opening import pair_records
from skyweave.downscale.data.samples import Calendar, Samples, Scaler
from skyweave.downscale.data.splits import split_days
from skyweave.errors import SkyweaveError
from skyweave.grid import Grid


def make_samples(record, split, kinds="log10"):
    calendar = Calendar.fit(record.days[split.training])
    return Samples(record, Scaler.fit(record, split.training, kinds), calendar, 2)


@pytest.fixture(scope="module")
def plain():
    record = make_record()
    split = split_days(record, "all", 2)
    return make_samples(record, split), split


def test_bicubic_is_that_of_the_logarithm(plain):
    samples, split = plain
    record = samples.record
    found = Bicubic(samples)(split.test[:3])
    coarse = np.log10(record.coarse.read(split.test[:3])[:, 0])
    weights = regrid.bicubic(record.coarse.grid, *record.grid.mesh(), a=-0.5)
    expected = 10 ** (coarse.reshape(3, -1) @ weights.T).reshape(3, 1, 24, 32)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    np.testing.assert_allclose(
        Bicubic(samples)(np.arange(100, 230))[129], Bicubic(samples)([229])[0], rtol=1e-5
    )


@pytest.mark.parametrize("local", [True, False])
def test_a_monotone_distortion_is_undone(local):
    """Where the fine record is a monotone function of the interpolated coarse one, quantile mapping finds it."""
    coarse, fine = two_datasets()
    record = pair_records(coarse, fine)
    inside = np.flatnonzero(record.fine.positions >= 0)
    smooth = record.interpolate(np.log10(record.coarse.read(inside))[:, 0])
    factor = np.linspace(0.5, 2, 24 * 32).reshape(24, 32) if local else 1.3
    values = (3 * 10 ** (factor * smooth)).astype(np.float32)
    record = pair_records(coarse, xr.Dataset({"AOD": (fine.AOD.dims, values)}, fine.coords))
    split = split_days(record, "all", 2)
    mapped = QuantileMapped(make_samples(record, split), split.training, local=local, levels=200)
    found, truth = mapped(split.test)[:, 0].numpy(), record.fine.read(split.test)[:, 0]
    assert np.median(np.abs(np.log10(found / truth))) < 0.01
    plain = Bicubic(make_samples(record, split))(split.test)[:, 0].numpy()
    assert np.median(np.abs(np.log10(plain / truth))) > 0.2


def test_mapped_training_days_have_the_fine_distribution_and_extremes_go_on(plain):
    samples, split = plain
    mapped = QuantileMapped(samples, split.training)
    days = split.training
    ranks = [0.1, 0.5, 0.9]
    truth = np.quantile(samples.record.fine.read(days)[:, 0], ranks, axis=0)
    np.testing.assert_allclose(np.quantile(mapped(days)[:, 0], ranks, axis=0), truth, rtol=0.12)
    # Beyond the outermost quantile a value keeps its distance to it: the logarithm's difference is kept.
    z = mapped.bicubic.scaled(days)
    high = z.max(0).values
    shift = mapped.target[..., -1] - mapped.source[..., -1]
    expected = samples.scaler.inverse((high + shift)[None])
    highest = int(z[:, 0, 0, 0].argmax())
    torch.testing.assert_close(mapped(days[[highest]])[0, 0, 0, 0], expected[0, 0, 0, 0])


def test_no_day_but_training_ones_is_fitted():
    coarse, fine = two_datasets()
    record = make_record(coarse, fine)
    split = split_days(record, "all", 2)
    other = [ds.copy(deep=True) for ds in (coarse, fine)]
    for ds in other:
        training = np.isin(ds.time.values, record.days[split.training])
        ds.AOD.values[~training] *= 100
    spoilt = QuantileMapped(make_samples(make_record(*other), split), split.training)
    clean = QuantileMapped(make_samples(record, split), split.training)
    assert torch.equal(spoilt.target, clean.target)
    assert torch.equal(spoilt.source, clean.source)


def test_persistence_is_the_day_before(plain):
    samples, split = plain
    found = Persistence(samples)(split.test)
    np.testing.assert_array_equal(found, samples.record.fine.read(split.test - 1))
    assert Persistence(samples)([5]).isnan().all()


@pytest.mark.parametrize("name", DOWNSCALING_BASELINES)
def test_all_give_physical_fields_on_the_fine_grid(plain, name):
    samples, split = plain
    found = DOWNSCALING_BASELINES[name](samples, split.training)(split.test[:2])
    assert found.shape == (2, 1, *Grid.from_dataset(two_datasets()[1]).shape)
    assert float(found.min()) > 0


def test_too_few_days(plain):
    with pytest.raises(SkyweaveError, match="ten training days"):
        QuantileMapped(plain[0], np.arange(900, 905))
