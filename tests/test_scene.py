"""A prior knows its place: scenes it cannot know are told, refused, or met with more spread."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr

import skyweave
from scene_cases import CARD, MEAN, STD, place, seen_at, white_prior
from skyweave.errors import SkyweaveError
from skyweave.observe.observation import GridObservation, PointObservation
from skyweave.prior.knowledge import Knowledge
from skyweave.reconstruction.opening import open_reconstruction
from skyweave.reconstruction.settings import Settings
from skyweave.sources.widening import DOUBT, REACHES, WidenedTransform, local_scale
from skyweave.transform import Log1pQuantile, Standardise, StateTransform


def kinds(scene):
    return {conflict.kind for conflict in scene.conflicts}


def test_a_scene_like_the_training_data_is_no_conflict():
    like = place(times=2)
    scene = skyweave.scene(white_prior(), GridObservation(seen_at(like), error=0.5), like=like)
    assert scene.conflicts == ()
    assert {kind for kind, _ in scene.compared} == {"domain", "season", "values", "innovations"}


def test_another_place_season_and_hour_are_told():
    like = place(start="2020-07-10T03", lat=np.arange(-10.0, 6.0))
    far = skyweave.scene(white_prior(), GridObservation(seen_at(like), error=0.5), like=like)
    assert {"domain", "season"} <= kinds(far)
    assert "hour" not in kinds(far)  # 03 UTC lies between hours that were trained on
    assert "100% of the cells" in str(far)
    assert "month 7; the prior was trained on month 1, 2" in str(far)
    noon = white_prior(replace(CARD, hours={12: 0.5, 13: 0.5}))
    night = skyweave.scene(noon, GridObservation(seen_at(place()), error=0.5), like=place())
    assert "0 UTC; the prior was trained on 12, 13 UTC" in str(night)
    # March lies next to February: told, but no conflict.
    spring = place(start="2020-03-01")
    near = skyweave.scene(white_prior(), GridObservation(seen_at(spring), error=0.5), like=spring)
    assert "season" not in kinds(near)
    assert "month 3; the prior was trained on month 1, 2" in str(near)


def test_the_domain_may_cross_the_date_line_or_close_the_circle():
    across = replace(CARD, lon=(170.0, 200.0))
    assert across.inside([45, 45, 45], [175, -165, 0]).tolist() == [True, True, False]
    assert replace(CARD, periodic=True).inside([45, 70], [123, 123]).tolist() == [True, False]


def test_values_in_the_tail_are_told_with_their_share_and_place():
    like = place()
    seen = seen_at(like, share=1.0)
    plume = {"lat": slice(50, 47), "lon": slice(355, 359)}
    seen.loc[plume] = 25.0
    inside = seen.sel(plume).size
    scene = skyweave.scene(white_prior(), GridObservation(seen, error=0.5), like=like)
    text = next(c.text for c in scene.conflicts if c.kind == "values")
    assert f"{inside} of {seen.size} ({inside / seen.size:.1%}) in the tail, {inside} beyond all" in text
    assert "mostly at 47 to 50 N, 355 to 359 E (100% of those there)" in text
    assert "innovations" in kinds(scene)


def test_one_odd_report_is_told_but_no_conflict():
    like = place()
    seen = seen_at(like, share=1.0)
    seen[0, 3, 3] = 25.0
    scene = skyweave.scene(white_prior(), GridObservation(seen, error=0.5), like=like)
    assert "values" not in kinds(scene)
    assert "1 of 288" in str(scene)


def test_chi_square_of_innovations_is_that_of_the_formula():
    like = place()
    seen = seen_at(like, deviation=3 * STD)
    scene = skyweave.scene(white_prior(), GridObservation(seen, error=1.0), like=like)
    value = seen.values[np.isfinite(seen.values)]
    # White noise: the innovations are independent, of variance STD^2 + 1.
    expected = float(((value - MEAN) ** 2).mean() / (STD**2 + 1.0))
    text = next(c.text for c in scene.conflicts if c.text.startswith("overall"))
    assert f"chi-square / n {expected:.2f} of {len(value)}" in text


def test_what_validation_gave_moves_the_limit():
    like = place()
    seen = GridObservation(seen_at(like, deviation=2 * STD), error=1.0)
    loose = white_prior(replace(CARD, innovations={"mask": (1.0, 8.0, 9.0)}))
    assert "innovations" not in kinds(skyweave.scene(loose, seen, like=like))


def test_sources_are_judged_apart():
    import pandas as pd

    like = place()
    good = GridObservation(seen_at(like), error=0.5)
    rng = np.random.default_rng(1)
    table = pd.DataFrame(
        {
            "time": like.time.values[0],
            "lat": rng.uniform(41, 54, 30),
            "lon": rng.uniform(353, 368, 30),
            "variable": "a",
            "value": MEAN + 4.5 * STD * np.where(np.arange(30) % 2, 1, -1),
        }
    )
    odd = PointObservation(table, error=0.5, name="stations")
    scene = skyweave.scene(white_prior(), [good, odd], like=like)
    told = [c.text for c in scene.conflicts if c.kind == "innovations"]
    assert any(text.startswith("stations (a)") for text in told)
    assert not any(text.startswith("a (a)") for text in told)


def test_a_prior_without_a_card_is_judged_by_its_innovations():
    like = place()
    scene = skyweave.scene(white_prior(None), GridObservation(seen_at(like, 4 * STD), error=0.5), like=like)
    assert "skyweave calibrate" in str(scene)
    assert kinds(scene) == {"innovations"}


def test_refuse_stops_before_anything_is_computed(tmp_path):
    like = place()
    odd = GridObservation(seen_at(like, 5 * STD), error=0.5)
    with pytest.raises(SkyweaveError, match=r"may not know this scene(.|\n)*on_conflict='widen'"):
        skyweave.reconstruct(white_prior(), odd, like=like, on_conflict="refuse", out=tmp_path / "o.zarr")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(SkyweaveError, match=r"on_conflict = 'wide' \(did you mean 'widen'\?\)"):
        skyweave.reconstruct(white_prior(), odd, like=like, on_conflict="wide")


def test_warn_says_so_and_keeps_it_in_the_output():
    like = place()
    odd = GridObservation(seen_at(like, 5 * STD), error=0.5)
    with pytest.warns(UserWarning, match="may not know this scene"):
        out = skyweave.reconstruct(white_prior(), odd, like=like, members=4, progress=False)
    assert json.loads(out.attrs["scene"])["conflicts"]
    assert out.attrs["on_conflict"] == "warn"


def test_widening_changes_nothing_where_the_prior_knows_the_scene():
    like = place()
    seen = GridObservation(seen_at(like), error=0.5)
    plain = skyweave.reconstruct(white_prior(), seen, like=like, members=4, progress=False)
    wide = skyweave.reconstruct(
        white_prior(), seen, like=like, members=4, progress=False, on_conflict="widen"
    )
    np.testing.assert_array_equal(plain.a, wide.a)
    assert "widening" not in wide.attrs


def widened_job(deviation=4 * STD, times=1, members=200, lat=None):
    like = place(times, lat=lat)
    seen = seen_at(like, deviation)
    settings = Settings(members=members, on_conflict="widen")
    return open_reconstruction(white_prior(), [GridObservation(seen, error=1.0)], settings, like=like), seen


def test_the_local_scale_is_that_of_the_formula():
    job, seen = widened_job()
    centre = torch.zeros(1, 1, 16, 18)
    found = local_scale(job.observed.segment(0, 1), job.background(0, 1), centre, periodic=False)[0, 0]
    i, j = np.nonzero(np.isfinite(seen.values[0]))
    d2, b = (seen.values[0, i, j] - MEAN) ** 2, STD**2
    ratio = np.ones((16, 18))
    for reach in REACHES:
        for p in range(16):
            for q in range(18):
                # A Gaussian cut off at four standard deviations along either axis, as sums to one on the whole plane.
                far = int(4 * reach + 0.5)
                total = np.exp(-0.5 * (np.arange(-far, far + 1) / reach) ** 2).sum()
                near = (abs(i - p) <= far) & (abs(j - q) <= far)
                k = np.exp(-0.5 * ((i - p) ** 2 + (j - q) ** 2) / reach**2)[near] / total**2
                belief = DOUBT * b / (2 * np.pi * reach**2)
                ratio[p, q] = max(
                    1.0,
                    (belief * ratio[p, q] + (k * (d2[near] - 1.0)).sum()) / (belief + k.sum() * b),
                )
    np.testing.assert_allclose(found, np.sqrt(ratio), rtol=1e-4)
    assert 3 < np.median(found) < 5  # four times the deviation that the prior knows


def test_the_posterior_is_that_of_the_widened_prior():
    job, seen = widened_job()
    out = skyweave.reconstruct(
        white_prior(), GridObservation(seen, error=1.0), like=place(), members=200, progress=False,
        on_conflict="widen",
    )  # fmt: skip
    variance = (STD * job.widening(0, 1).scale[0, 0]) ** 2
    at = np.isfinite(seen.values[0])
    gain = variance / (variance + 1.0)
    mean = MEAN + gain * (seen.values[0] - MEAN)
    spread = np.sqrt(variance * (1 - gain))
    assert np.abs(out.a_mean.values[0] - mean)[at].mean() < 1.2 * spread[at].mean() / np.sqrt(200)
    assert out.a_spread.values[0][at].mean() == pytest.approx(spread[at].mean(), rel=0.05)
    assert out.a_spread.values[0][~at].mean() == pytest.approx(np.sqrt(variance[~at]).mean(), rel=0.06)
    told = json.loads(out.attrs["widening"])
    assert told["largest"] == pytest.approx(job.widening(0, 1).scale.max(), rel=1e-3)


def test_what_was_left_out_lies_within_the_ensemble_as_often_as_it_should():
    job, seen = widened_job(lat=np.arange(60.0, 20.0, -1.0))
    made = job.widening(0, 1)
    alone = local_scale(
        job.observed.segment(0, 1), job.background(0, 1), torch.zeros(1, 1, 40, 18), periodic=False
    )
    # White noise is as wide as its innovations say, so that nothing is left to correct but for chance.
    assert made.left_out > 20
    assert np.exp(np.log(made.scale / alone).mean()) == pytest.approx(1.0, abs=0.4)


def test_a_widened_run_that_was_killed_goes_on_as_if_it_had_not_been(tmp_path, monkeypatch):
    from skyweave.io.regions import Regions

    like = place(times=2)
    seen = GridObservation(seen_at(like, 4 * STD), error=1.0)
    call = {"like": like, "members": 6, "batch": 2, "on_conflict": "widen", "progress": False}
    whole = skyweave.reconstruct(white_prior(), seen, out=tmp_path / "whole.zarr", **call)
    mark, count = Regions.mark, []

    def dying(self, name, note=None):
        count.append(name)
        if len(count) == 3:
            raise KeyboardInterrupt
        mark(self, name, note)

    monkeypatch.setattr(Regions, "mark", dying)
    with pytest.raises(KeyboardInterrupt):
        skyweave.reconstruct(white_prior(), seen, out=tmp_path / "parts.zarr", **call)
    monkeypatch.setattr(Regions, "mark", mark)
    parts = skyweave.reconstruct(white_prior(), seen, out=tmp_path / "parts.zarr", **call)
    xr.testing.assert_equal(whole, parts)
    for key in ("clipped_values", "residuals", "widening", "scene"):
        assert parts.attrs[key] == whole.attrs[key]
    monkeypatch.setattr(Regions, "mark", dying)
    count.clear()
    with pytest.raises(KeyboardInterrupt):
        skyweave.reconstruct(white_prior(), seen, out=tmp_path / "third.zarr", **call)
    monkeypatch.setattr(Regions, "mark", mark)
    with pytest.raises(SkyweaveError, match="other settings"):
        skyweave.reconstruct(
            white_prior(), seen, out=tmp_path / "third.zarr", **call | {"on_conflict": "warn"}
        )


@pytest.mark.parametrize("law", [Standardise(0.1, 0.1), Log1pQuantile(0.0, 0.5)])
def test_the_derivative_of_a_widened_transform_is_that_of_autograd(law):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 1, 1, 4, 5, generator=generator, dtype=torch.float64)
    scale = 1 + torch.rand(1, 1, 4, 5, generator=generator, dtype=torch.float64)
    centre = torch.randn(1, 1, 4, 5, generator=generator, dtype=torch.float64)
    made = WidenedTransform(StateTransform((law,)), scale, centre)
    slope = torch.autograd.functional.jacobian(lambda v: made.inverse(v).sum(), x)
    torch.testing.assert_close(made.derivative(x), slope)
    torch.testing.assert_close(
        made.inverse(centre[None].expand_as(x)), made.base.inverse(centre[None].expand_as(x))
    )


def test_residuals_are_those_of_the_mean_in_stated_errors():
    like = place(times=2)
    seen = seen_at(like)
    seen[0, 2, 2] = 16.5
    out = skyweave.reconstruct(
        white_prior(), GridObservation(seen, error=0.5, name="s"), like=like, members=8, progress=False
    )
    at = np.isfinite(seen.values)
    z = (seen.values - out.a_mean.values)[at] / 0.5
    told = json.loads(out.attrs["residuals"])["s: a"]
    assert told["n"] == at.sum()
    assert told["rms"] == pytest.approx(np.sqrt((z**2).mean()), rel=1e-3)
    assert told["mean"] == pytest.approx(z.mean(), abs=1e-3)
    assert told["beyond_3"] == pytest.approx((abs(z) > 3).mean(), abs=1e-5)


@pytest.mark.parametrize("kind", ["memory", "store"])
def test_cells_where_prior_and_data_disagree_have_a_flag_of_their_own(kind, tmp_path):
    like = place(times=2)
    seen = seen_at(like)
    seen[1, 4, 4] = 10 + 40 * STD  # the gain of a unit error leaves eight of it
    out = skyweave.reconstruct(
        white_prior(), GridObservation(seen, error=1.0), like=like, members=8, progress=False,
        out=None if kind == "memory" else tmp_path / "o.zarr",
    )  # fmt: skip
    flags = out.a_provenance.values
    assert out.a_provenance.attrs["flag_meanings"].split()[4] == "conflict"
    assert flags[1, 4, 4] == 4
    assert (flags == 4).sum() == 1
    z = np.abs(seen.values - out.a_mean.values) > 3
    np.testing.assert_array_equal(flags == 4, z)
    assert json.loads(out.attrs["clipped_values"]) == {"a": 0}


def test_the_output_describes_the_callers_data_and_never_the_training_data(tmp_path):
    like = place()
    out = skyweave.reconstruct(
        white_prior(), GridObservation(seen_at(like), error=0.5), like=like, members=2, progress=False
    )
    assert out.a.attrs["long_name"] == "what the caller calls it"
    told = json.dumps({k: str(v) for k, v in out.attrs.items()}) + str({n: v.attrs for n, v in out.items()})
    assert "training files said" not in told


def test_a_card_survives_json_and_a_damaged_one_is_told():
    again = Knowledge.from_dict(json.loads(json.dumps(CARD.to_dict())))
    assert again == CARD
    with pytest.raises(SkyweaveError, match="card is damaged"):
        Knowledge.from_dict({"lat": [0, 1]})
