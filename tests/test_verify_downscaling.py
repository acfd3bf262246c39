"""Diagnostics of downscaling against closed forms and against scipy, scores, statsmodels and gstools."""

import gstools as gs
import numpy as np
import pytest
import scores.continuous as sc
import xarray as xr
from scipy.stats import wasserstein_distance
from statsmodels.tsa.stattools import acf, pacf

from skyweave.errors import SkyweaveError
from skyweave.grid import Grid, great_circle
from skyweave.verify.daily import DAILY_SCORES, daily_scores, kling_gupta, mean_and_deviation, summarise
from skyweave.verify.domain import domain_similarity, wasserstein_days, wasserstein_pooled
from skyweave.verify.memory import area_mean, lag_scores, series_memory
from skyweave.verify.seams import seam_jump_ratio
from skyweave.verify.variograms import FieldVariogram, Spherical, field_variogram, fit_spherical, random_pairs

RNG = np.random.default_rng(0)
GRID = Grid(20 + 0.25 * np.arange(24), 40 + 0.25 * np.arange(32))


def aod(days=6, shape=(12, 16), seed=0):
    return 0.2 * np.exp(0.6 * np.random.default_rng(seed).standard_normal((days, *shape)))


# ---- Wasserstein


def test_daily_distances_are_those_of_scipy_on_normalised_logarithms():
    x, y = aod(), 1.3 * aod(seed=1)
    y[2, :3] = np.nan
    found = wasserstein_days(x, y)
    for day in range(len(x)):
        known = np.isfinite(y[day])
        p, q = np.log10(x[day][known]), np.log10(y[day][known])
        low, high = min(p.min(), q.min()), max(p.max(), q.max())
        expected = wasserstein_distance((p - low) / (high - low), (q - low) / (high - low))
        assert found[day] == pytest.approx(expected, rel=1e-10)


def test_a_factor_is_a_shift_of_the_logarithm():
    """Multiplying by 10^a shifts log10 by a; the bounds widen by a, and the distance is a over them."""
    x = aod()
    shift = 0.4
    span = np.log10(x).max(axis=(1, 2)) - np.log10(x).min(axis=(1, 2))
    np.testing.assert_allclose(wasserstein_days(x, x * 10**shift), shift / (span + shift), rtol=1e-10)
    logs = np.log10(x)
    pooled = wasserstein_pooled(x, x * 10**shift, bins=20_000)
    assert pooled == pytest.approx(shift / (logs.max() - logs.min() + shift), rel=1e-3)


def test_the_pooled_distance_approaches_the_exact_one_and_takes_records_of_any_size():
    x, y = aod(20), 1.5 * aod(7, (5, 9), seed=1)
    p, q = np.log10(x).ravel(), np.log10(y).ravel()
    low, high = min(p.min(), q.min()), max(p.max(), q.max())
    exact = wasserstein_distance((p - low) / (high - low), (q - low) / (high - low))
    assert wasserstein_pooled(x, y, bins=5000) == pytest.approx(exact, rel=1e-2)
    assert wasserstein_pooled(x, x) == 0
    assert wasserstein_pooled(x, y) == pytest.approx(wasserstein_pooled(y, x))
    similar = domain_similarity(x[:7], 2 * x[:7], all_coarse=x)
    row = similar.row()
    assert row["daily_p10"] <= row["daily_mean"] <= row["daily_p90"]
    assert row["days"] == 7
    zero = x.copy()
    zero[:, 0, 0] = 0.0
    assert np.isfinite(wasserstein_days(zero, x)).all()
    with pytest.raises(SkyweaveError, match="must be positive"):
        wasserstein_days(x, x, epsilon=0)
    with pytest.raises(SkyweaveError, match="need two records"):
        wasserstein_days(x, y)
    assert np.isnan(wasserstein_days(np.full((1, 2, 2), np.nan), aod(1, (2, 2)))[0])


# ---- daily scores


def labelled(values):
    return xr.DataArray(values, dims=("time", "lat", "lon"))


def test_daily_scores_are_those_of_the_scores_package():
    y = aod()
    f = 0.8 * y + 0.05 + 0.03 * RNG.standard_normal(y.shape)
    y[1, :2] = np.nan
    found = daily_scores(f, y)
    assert set(found) == set(DAILY_SCORES)
    a, b, by_day = labelled(f), labelled(y), {"preserve_dims": ["time"]}
    for key, expected in {
        "mae": sc.mae(a, b, **by_day),
        "rmse": sc.rmse(a, b, **by_day),
        "nse": sc.nse(a, b, preserve_dims=["time"]),
        "kge": sc.kge(a, b, preserve_dims=["time"]),
        "r2": sc.correlation.pearsonr(a, b, preserve_dims=["time"]) ** 2,
        "bias": sc.mean_error(a, b, **by_day),
    }.items():
        np.testing.assert_allclose(found[key], expected, rtol=1e-9, err_msg=key)
    floor = np.nanmin(y)
    la, lb = (np.log10(part.clip(min=floor)) for part in (a, b))
    np.testing.assert_allclose(found["kge_log10"], sc.kge(la, lb, preserve_dims=["time"]), rtol=1e-9)
    np.testing.assert_allclose(found["nse_log10"], sc.nse(la, lb, preserve_dims=["time"]), rtol=1e-9)
    assert kling_gupta(f[0], y[0]) == pytest.approx(float(found["kge"][0]))


def test_perfect_scaled_and_shifted_predictions():
    y = aod()
    perfect = daily_scores(y, y)
    for key in ("r2", "nse", "kge", "kge_log10"):
        np.testing.assert_allclose(perfect[key], 1)
    double = daily_scores(2 * y, y)
    np.testing.assert_allclose(double["r2"], 1)
    np.testing.assert_allclose(double["kge"], 1 - np.sqrt(2))  # beta = gamma = 2
    shifted = daily_scores(y + 0.1, y)
    np.testing.assert_allclose(shifted["nse"], 1 - 0.01 / y.var(axis=(1, 2)))
    np.testing.assert_allclose(shifted["bias"], 0.1)
    # NSE and the squared correlation are different scores.
    assert (shifted["r2"] - shifted["nse"]).min() > 0.01


def test_undefined_scores_are_missing_and_do_not_spoil_the_summary():
    y = aod(4)
    f = y.copy()
    y[0] = 0.3
    y[1] = np.nan
    found = daily_scores(f, y)
    assert np.isnan(found["r2"][0])
    assert np.isnan(found["nse"][0])
    assert np.isfinite(found["mae"][0])
    assert np.isnan(found["mae"][1])
    summary = mean_and_deviation(found)
    assert summary["r2"] == pytest.approx((1.0, 0.0))
    assert summarise(found, ["r2", "mae"])["r2"] == "1.00(0.00)"
    below = daily_scores(f - 5, f - 5)
    assert "kge_log10" not in below
    with pytest.raises(SkyweaveError, match="daily scores need"):
        daily_scores(y[0], y[0])


def test_the_summary_is_mean_and_deviation_over_days():
    y, f = aod(9), aod(9, seed=4)
    found = daily_scores(f, y)
    assert mean_and_deviation(found)["rmse"] == pytest.approx((found["rmse"].mean(), found["rmse"].std()))


# ---- semivariograms


def gaussian_fields(length_km, nugget, days, seed=0):
    """Fields of unit variance with exactly a spherical variogram on the small plane of the grid, and white noise."""
    lat, lon = (part.ravel() for part in GRID.mesh())
    away = great_circle(lat[:, None], lon[:, None], lat[None], lon[None])
    model = Spherical(0.0, 1.0, length_km)
    values, vectors = np.linalg.eigh(1.0 - model(away))
    root = vectors * np.sqrt(np.clip(values, 0, None))
    rng = np.random.default_rng(seed)
    white = rng.standard_normal((days, len(lat)))
    return (white @ root.T + np.sqrt(nugget) * rng.standard_normal(white.shape)).reshape(days, *GRID.shape)


def test_pairs_are_uniform_over_those_within_reach():
    grid = Grid(np.array([0.0, 1.0, 2.0]), np.array([10.0, 11.0, 12.0, 13.0]))
    first, second, away = random_pairs(grid, 60_000, 230.0)
    assert (first != second).all()
    lat, lon = (part.ravel() for part in grid.mesh())
    np.testing.assert_allclose(away, great_circle(lat[first], lon[first], lat[second], lon[second]))
    every = great_circle(lat[:, None], lon[:, None], lat[None], lon[None])
    allowed = (every <= 230) & (every > 0)
    number = np.zeros((12, 12))
    np.add.at(number, (first, second), 1)
    assert (number[~allowed] == 0).all()
    expected = 60_000 / allowed.sum()
    chi2 = ((number[allowed] - expected) ** 2 / expected).sum()
    assert abs(chi2 - allowed.sum()) < 5 * np.sqrt(2 * allowed.sum())
    globe = Grid(np.arange(-88.0, 89, 4), np.arange(0.0, 360, 4))
    assert random_pairs(globe, 5000, 600.0)[2].max() <= 600
    with pytest.raises(SkyweaveError, match="no two cells"):
        random_pairs(grid, 10, 5.0)


def test_the_empirical_variogram_is_that_of_all_pairs_and_of_gstools():
    grid, fields = GRID.isel(slice(12), slice(16)), gaussian_fields(300, 0.0, 3)[:, :12, :16]
    fields[0, :2] = np.nan
    found = field_variogram(fields, grid, pairs=60_000, reach=300, bins=10)
    assert found.pairs.sum() == 60_000
    assert found.daily.shape == (3, 10)
    lat, lon = (part.ravel() for part in grid.mesh())
    edges = np.linspace(0, 300, 11)
    _, expected = gs.vario_estimate((lat, lon), fields[1].ravel(), edges, latlon=True, geo_scale=gs.KM_SCALE)
    np.testing.assert_allclose(found.daily[1], expected, rtol=0.12)
    assert np.abs(found.daily[1] / expected - 1).mean() < 0.03
    np.testing.assert_allclose(found.gamma, np.nanmean(found.daily, axis=0))


def test_spherical_parameters_are_recovered():
    truth = Spherical(0.2, 1.2, 250.0)
    h = np.linspace(10, 600, 30)
    exact = fit_spherical(FieldVariogram(h, 7.0 * truth(h), np.full(30, 1000), truth(h)[None]))
    assert (exact.nugget, exact.sill, exact.range) == pytest.approx((1.4, 8.4, 250.0), rel=1e-3)
    assert exact.r2 == pytest.approx(1, abs=1e-6)
    found = fit_spherical(field_variogram(gaussian_fields(250.0, 0.2, 60), GRID))
    assert found.nugget == pytest.approx(0.2, abs=0.07)
    assert found.sill == pytest.approx(1.2, rel=0.1)
    assert found.range == pytest.approx(250, rel=0.12)
    # A field without an end to its scales says so by a range beyond what was looked at.
    assert fit_spherical(FieldVariogram(h, h / 600, np.full(30, 1), h[None])).range > 600


def test_coarser_fields_vary_less_at_short_distances():
    fine = gaussian_fields(250.0, 0.0, 20)
    smooth = fine.reshape(20, 6, 4, 8, 4).mean((2, 4)).repeat(4, axis=1).repeat(4, axis=2)
    a, b = (field_variogram(f, GRID, bins=12) for f in (fine, smooth))
    assert (b.gamma[:2] < 0.85 * a.gamma[:2]).all()


def test_refused_variograms():
    with pytest.raises(SkyweaveError, match="expected"):
        field_variogram(np.zeros((2, 3, 4)), GRID)
    with pytest.raises(SkyweaveError, match="fields that vary"):
        fit_spherical(field_variogram(np.zeros((2, *GRID.shape)), GRID))
    with pytest.raises(SkyweaveError, match="no pair of cells"):
        field_variogram(np.full((2, *GRID.shape), np.nan), GRID)


# ---- memory


def ar1(count, phi, seed=0):
    rng = np.random.default_rng(seed)
    z = np.empty(count)
    z[0] = rng.standard_normal()
    for t in range(1, count):
        z[t] = phi * z[t - 1] + np.sqrt(1 - phi**2) * rng.standard_normal()
    return z


def test_memory_is_that_of_statsmodels_and_of_an_autoregression():
    z = ar1(20_000, 0.7)
    found = series_memory(z, 10)
    np.testing.assert_allclose(found.acf, acf(z, nlags=10, fft=False))
    np.testing.assert_allclose(found.pacf, pacf(z, nlags=10, method="ldb"), atol=1e-12)
    np.testing.assert_allclose(found.acf, 0.7 ** np.arange(11), atol=0.04)
    assert found.pacf[1] == pytest.approx(0.7, abs=0.02)
    assert np.abs(found.pacf[2:]).max() < 3 * found.noise


def test_seasons_of_several_years_are_not_one_series():
    """A value that alternates daily has correlations of one and minus one; gluing Julys together breaks its rhythm."""
    days = np.arange("1960-01-01", "1999-01-01", dtype="datetime64[D]")
    month = days.astype("datetime64[M]")
    july = days[(month.astype(int) % 12 == 6) & ((days - month).astype(int) < 30)]
    alternating = (-1.0) ** july.astype(int) + 0.1 * RNG.standard_normal(len(july))
    known = series_memory(alternating, 12, july)
    np.testing.assert_allclose(known.acf[1:], (-1.0) ** np.arange(1, 13) / 1.01, atol=0.01)
    glued = series_memory(alternating, 12)
    assert glued.acf[1] > -0.97
    z = ar1(len(days), 0.5, seed=2)[np.isin(days, july)]
    found = series_memory(z, 15, july)
    assert np.abs(found.acf - 0.5 ** np.arange(16)).max() < 0.12
    assert found.pacf[1] == pytest.approx(0.5, abs=0.08)
    with pytest.raises(SkyweaveError, match="need at least 32"):
        series_memory(z[:20])
    with pytest.raises(SkyweaveError, match="does not vary"):
        series_memory(np.ones(100))


def test_partial_autocorrelations_end_where_gaps_leave_no_correlation():
    """Two seasons, whose averages of products over the pairs of each lag are those of no series."""
    days = np.concatenate([np.arange(40), 365 + np.arange(40)]).astype("datetime64[D]")
    z = np.tile(np.cos(2 * np.pi * np.arange(40) / 13), 2) * np.linspace(1, 3, 80)
    found = series_memory(z, 30, days)
    assert np.isfinite(found.acf).all()
    ends = int(np.argmax(np.isnan(found.pacf)))
    assert 2 < ends < 31
    assert np.isnan(found.pacf[ends:]).all()
    assert np.nanmax(np.abs(found.pacf)) <= 1 + 1e-9


def test_lag_scores_of_fields_that_are_autoregressive_in_every_cell():
    """Unit variance and correlation phi^l: the squared difference is 2 (1 - phi^l), R2 one less that."""
    phi, shape = 0.8, (40, 50)
    rng = np.random.default_rng(0)
    z = [rng.standard_normal(shape)]
    for _ in range(300):
        z.append(phi * z[-1] + np.sqrt(1 - phi**2) * rng.standard_normal(shape))
    found = lag_scores(np.array(z), 5)
    expected = 2 * (1 - phi ** np.arange(1, 6))
    np.testing.assert_allclose(found.rmse, np.sqrt(expected), rtol=0.02)
    np.testing.assert_allclose(found.r2, 1 - expected, atol=0.02)
    assert found.days.tolist() == [300, 299, 298, 297, 296]


def test_lag_scores_across_gaps_count_true_distances_only():
    z = np.arange(6.0)[:, None, None] + np.random.default_rng(0).standard_normal((3, 4))
    days = np.array(
        ["2005-08-30", "2005-08-31", "2005-09-01", "2006-06-01", "2006-06-02", "2006-06-03"], "datetime64[D]"
    )
    found = lag_scores(z, 2, days)
    assert found.days.tolist() == [4, 2]
    np.testing.assert_allclose(found.rmse, [1, 2])
    with pytest.raises(SkyweaveError, match="3 apart"):
        lag_scores(z, 3, days)


def test_seams_show_by_their_jumps():
    """A smooth field with steps of height h at every eighth row: white noise of jumps elsewhere is known."""
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((20, 64, 64))
    seams = list(range(8, 64, 8))
    assert seam_jump_ratio(noise, seams, seams) == pytest.approx(1, abs=0.02)
    # The jump of white noise has variance (1 + 9 + 9 + 1) / 4 = 5; a step adds its square.
    height = 3.0
    steps = noise + height * (np.arange(64) // 8 % 2)[:, None]
    assert seam_jump_ratio(steps, seams) == pytest.approx(np.sqrt((5 + height**2) / 5), rel=0.02)
    y, x = np.mgrid[:64, :64] / 10.0
    curved = y**2 - x * y + 1e-3 * noise[0]
    assert seam_jump_ratio(curved, seams, seams) == pytest.approx(1, abs=0.1)
    gappy = steps.copy()
    gappy[:, :, :5] = np.nan
    assert np.isfinite(seam_jump_ratio(gappy, seams))
    with pytest.raises(SkyweaveError, match="some of both"):
        seam_jump_ratio(noise, [0, 64])


def test_area_means_leave_gaps_out():
    z = np.array([[[1.0, np.nan], [3.0, 5.0]], [[np.nan, np.nan], [np.nan, np.nan]]])
    np.testing.assert_allclose(area_mean(z), [3.0, np.nan])
    np.testing.assert_allclose(area_mean(z, [[1, 1], [1, 2]])[0], (1 + 3 + 10) / 4)
