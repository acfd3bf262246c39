"""``skyweave downscale`` from YAML to tables and stores, and its scores by hand."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr
import yaml

import downscale_files as case
import skyweave.downscale as downscale
from skyweave.baselines.downscaling import DOWNSCALING_BASELINES
from skyweave.cli import main
from skyweave.downscale.data.task import prepare_task
from skyweave.downscale.prediction.extension import rollout_area
from skyweave.downscale.settings import merge
from skyweave.evaluate import downscaling as report
from skyweave.evaluate.downscaling import evaluate, evaluation_table
from skyweave.evaluate.rollouts import evaluate_rollout, longest_run
from skyweave.verify import crps, spread_skill_ratio


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    case.config(folder)
    path = folder / "dust.yaml"
    path.write_text(yaml.safe_dump(case.settings(folder)))
    assert main(["downscale", "fit", str(path), "--models", "ddpm", "unet"]) == 0
    return path


def test_fit_says_what_it_did_and_does_nothing_twice(file, capsys):
    assert main(["downscale", "fit", str(file)]) == 0
    out = capsys.readouterr().out
    assert "finished before" in out
    assert "of persistence" in out


def test_evaluate_prints_the_papers_table_with_baselines_beside(file, capsys):
    assert main(["downscale", "evaluate", str(file), "--models", "ddpm", "unet", "--members", "3"]) == 0
    out = capsys.readouterr().out
    assert "all, all, dust: 7 days" in out
    for word in ("R2", "RMSE", "MAE", "NSE", "KGE", "CRPS", "SSR", "coverage", "ddpm", "unet", "bicubic"):
        assert word in out, word


def test_scores_are_those_of_the_members(file):
    config = downscale.load_downscaling(file)
    (own, *_), (again, *rest) = (
        evaluate(config, settings=replace(config.inference, members=4)) for _ in range(2)
    )
    assert own == again
    assert {e.method for e in rest} == {"bicubic", "quantile-mapped", "persistence"}
    models = downscale.AreaModels(config, "all")
    from skyweave.downscale.prediction.extension import area_days, predict_days

    days = area_days(models, "test")
    how = replace(config.inference, members=4)
    members = torch.from_numpy(predict_days(models, days, how, progress=False).dust.values).double()
    truth = torch.from_numpy(models.record.fine.read(days)[:, 0]).double()
    assert own.ensemble["crps"] == pytest.approx(float(crps(members, truth)), rel=1e-4)
    assert own.ensemble["ssr"] == pytest.approx(float(spread_skill_ratio(members, truth)), rel=1e-4)
    errors = (members.mean(0) - truth).square().mean((1, 2)).sqrt()
    assert own.daily["rmse"] == pytest.approx(
        (float(errors.mean()), float(errors.std(correction=0))), rel=1e-4
    )
    line = evaluation_table([own], digits=4).splitlines()[-1]
    assert f"{own.daily['rmse'][0]:.4f}({own.daily['rmse'][1]:.4f})" in line


def test_an_interrupted_evaluation_goes_on_with_the_next_day(file, monkeypatch):
    config = downscale.load_downscaling(file)
    five, six = (replace(config.inference, members=2, seed=seed) for seed in (5, 6))
    whole = evaluate(config, settings=five)
    original, calls = report._day, []

    def counted(*args):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return original(*args)

    monkeypatch.setattr(report, "_day", counted)
    with pytest.raises(KeyboardInterrupt):
        evaluate(config, settings=six, baselines=())
    calls.clear()
    monkeypatch.setattr(report, "_day", lambda *a: calls.append(1) or original(*a))
    evaluate(config, settings=six, baselines=())
    assert len(calls) == 4, "three of seven days were known"
    scores = next(config.out.rglob("scores-ddpm-test.jsonl"))
    assert len([json.loads(line) for line in scores.read_text().splitlines()]) == 8
    assert whole[0].ensemble["crps"] == evaluate(config, settings=five)[0].ensemble["crps"]


def test_predict_and_rollout_write_stores(file, capsys):
    words = ["--members", "2", "--steps", "3"]
    assert main(["downscale", "predict", str(file), "--days", "2005-08-01", "2005-08-03", *words]) == 0
    assert main(["downscale", "rollout", str(file), "--end", "2005-08-14", *words]) == 0
    paths = [line.removeprefix("wrote ") for line in capsys.readouterr().out.splitlines()]
    assert [xr.open_zarr(p).sizes["time"] for p in paths] == [3, 5]
    assert np.isfinite(xr.open_zarr(paths[1]).dust_mean).all()
    assert main(["downscale", "rollout", str(file), "--end", "2005-08-14", *words]) == 2
    assert "exists already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "words", "expected"),
    [
        ({"options": {"trainng": {}}}, ["fit"], "did you mean 'training'"),
        ({"model": "dpm"}, ["fit"], "did you mean 'ddpm'"),
        ({"out": "nowhere"}, ["evaluate"], "skyweave downscale fit"),
        ({}, ["evaluate", "--days", "2005"], "expected test, validation"),
        ({}, ["predict", "--sampler", "euler"], "sampler"),
        ({"lags": 65}, ["fit", "--models", "unet"], "days can be targets"),
    ],
)
def test_what_cannot_be_used_is_said(file, tmp_path, capsys, changes, words, expected):
    path = tmp_path / "changed.yaml"
    path.write_text(yaml.safe_dump(merge(case.settings(file.parent), changes)))
    assert main(["downscale", words[0], str(path), *words[1:]]) == 2
    assert expected in capsys.readouterr().err


def test_names_of_the_package():
    assert set(downscale.__all__) <= set(dir(downscale))
    for name in downscale.__all__:
        assert getattr(downscale, name) is not None
    with pytest.raises(AttributeError, match="fitt"):
        _ = downscale.fitt


def test_a_rollout_over_test_days_is_scored_by_distance_from_the_last_true_day(file, capsys):
    config = downscale.load_downscaling(file)
    how = replace(config.inference, members=3)
    rows = evaluate_rollout(config, settings=how)
    task = prepare_task(config, "all", "all")
    days = longest_run(task.split.test)
    assert [r["steps"] for r in rows if r["method"] == "ddpm"] == [(1, 1), (2, 3), (4, 7)][: len(rows) // 3]
    models = downscale.AreaModels(config, "all")
    made = rollout_area(
        models, how, start=str(task.record.days[days[0]])[:10], end="2005-08-09", progress=False
    )
    truth = torch.from_numpy(task.record.fine.read(days)[:, 0]).double()
    members = torch.from_numpy(made.dust.values[:, : len(days)]).double()
    first = {r["method"]: r for r in rows if r["steps"] == (1, 1)}
    assert first["ddpm"]["crps"] == pytest.approx(float(crps(members[:, :1], truth[:1])), rel=1e-4)
    one = evaluate(config, settings=how, most=len(task.split.test))[0]
    assert one.level == 0.5
    assert "coverage of 50%" in one.row()
    bicubic = DOWNSCALING_BASELINES["bicubic"](task.samples, task.split.training)
    error = torch.from_numpy(bicubic(days[:1]).numpy()[0, 0]).double() - truth[0]
    assert first["bicubic"]["rmse"] == pytest.approx(float(error.square().mean().sqrt()), rel=1e-4)
    assert np.isnan(first["bicubic"]["ssr"])
    assert main(["downscale", "evaluate", str(file), "--rollout", "--members", "2"]) == 0
    out = capsys.readouterr().out
    assert "days after" in out
    assert "RMSE bicubic" in out
    assert main(["downscale", "evaluate", str(file), "--days", "2005-06-01", "2005-06-09"]) == 2


def test_info_tells_what_a_downscaler_and_its_encoder_are(file, capsys):
    config = downscale.load_downscaling(file)
    folder = config.out / "all-all"
    assert main(["info", str(folder / "ddpm.safetensors")]) == 0
    out = capsys.readouterr().out
    for word in ("downscaler ddpm of dust", "all, all", "12 x 16", "epochs", "encoder R2", "persistence"):
        assert word in out, word
    (encoder,) = folder.glob("encoder-*.safetensors")
    assert main(["info", str(encoder)]) == 0
    assert "transfer encoder unet of 2 days" in capsys.readouterr().out
