"""Tuning: grids of settings, scores against truth, what is kept and resumed, and the command."""

import json
import math

import numpy as np
import pytest
import torch
import xarray as xr
import yaml

from skyweave.cli import main
from skyweave.errors import SkyweaveError
from skyweave.evaluate import best, expand, score_fields, search, table_of, tune, with_values
from skyweave.evaluate.score import truth_like
from skyweave.observe.observation import GridObservation
from skyweave.prior.storage import save_prior
from skyweave.verify import crps, rmse
from source_cases import STD, white_prior, white_truth, write

# ---- settings


def test_a_grid_is_every_combination_the_last_key_fastest():
    found = expand({"a": [1, 2], "b.c": ["x", "y"]})
    assert found == [{"a": 1, "b.c": "x"}, {"a": 1, "b.c": "y"}, {"a": 2, "b.c": "x"}, {"a": 2, "b.c": "y"}]
    for wrong in ({}, {"a": []}, {"a": 3}, {"a": "text"}, {"a": [1, 1]}):
        with pytest.raises(SkyweaveError, match="grid"):
            expand(wrong)


def test_dotted_keys_reach_mappings_lists_names_and_sources():
    config = {"observations": [{"name": "LR", "weight": 1}, {"name": "LR"}, {"name": "IGRA"}], "steps": 4}
    out = with_values(config, {"observations.LR.weight": 2, "options.gamma.LR": 0.1, "steps": 8})
    assert [o.get("weight") for o in out["observations"]] == [2, 2, None]
    assert out["options"] == {"gamma": {"LR": 0.1}}
    assert out["steps"] == 8
    assert config["observations"][0]["weight"] == 1  # the original stays
    assert with_values(config, {"observations.2.weight": 5})["observations"][2]["weight"] == 5
    both = with_values(config, {"options.a, options.b": 3})
    assert both["options"] == {"a": 3, "b": 3}
    source = GridObservation(white_truth(1), 1.0, name="x")
    changed = with_values({"observations": [source]}, {"observations.x.error": 0.5})["observations"][0]
    assert changed.model.absolute == 0.5
    for key, word in (
        ("observations.LRR.weight", "did you mean 'LR'"),
        ("observations.7.weight", "numbers 0 to 2"),
        ("steps.inside", "has no parts"),
    ):
        with pytest.raises(SkyweaveError, match=word):
            with_values(config, {key: 1})
    with pytest.raises(SkyweaveError, match="did you mean 'weight'"):
        with_values({"observations": [source]}, {"observations.x.wieght": 1})


# ---- scores


def ensemble(truth, members=6, spread=1.0, seed=0):
    rng = np.random.default_rng(seed)
    values = truth.values[None] + spread * rng.standard_normal((members, *truth.shape))
    return xr.Dataset({"a": (("member", *truth.dims), values.astype(np.float32))}, truth.coords)


def test_scores_are_those_of_verify_and_areas_count():
    truth = white_truth(3)
    fields = ensemble(truth)
    card = score_fields(fields, truth.to_dataset(), {"a": STD})
    from skyweave.grid import Grid

    x, y = torch.from_numpy(fields.a.values), torch.from_numpy(truth.values)
    area = torch.as_tensor(Grid.from_dataset(truth).area)
    assert card.variables["a"]["crps"] == pytest.approx(float(crps(x, y, weights=area)))
    assert card.variables["a"]["rmse"] == pytest.approx(float(rmse(x.double().mean(0), y, weights=area)))
    assert card.overall["crps"] == pytest.approx(card.variables["a"]["crps"] / STD)
    assert card.overall["ssr"] == pytest.approx(card.variables["a"]["ssr"])
    assert card.diverged == 0


def test_members_that_diverge_are_counted():
    truth = white_truth(2)
    fields = ensemble(truth, members=4)
    fields.a[1, 0] = np.nan
    fields.a[2, 1, 3, 3] = np.inf
    fields.a[3] += 3.5 * STD
    card = score_fields(fields, truth.to_dataset(), {"a": STD})
    assert card.diverged == 4 / 8
    assert "rmse" not in card.to_dict()["overall"]  # not a number
    near = ensemble(truth, members=4)
    near.a[3] += 2.5 * STD
    assert score_fields(near, truth.to_dataset(), {"a": STD}).diverged == 0


def test_truth_is_brought_to_the_fields_cells_and_times():
    truth = white_truth(4)
    fields = truth.isel(time=[1, 3], lat=slice(12, 4, -1), lon=slice(2, 9)).to_dataset()
    out = truth_like(truth.to_dataset(), fields, ["a"])
    np.testing.assert_array_equal(out.a.values, fields.a.values)
    moved = fields.assign_coords(lat=fields.lat + 0.4)
    later = fields.assign_coords(time=fields.time + np.timedelta64(1, "h"))
    for wrong, word in ((moved, "regrid it first"), (later, "2 of 2 times are missing")):
        with pytest.raises(SkyweaveError, match=word):
            truth_like(truth.to_dataset(), wrong, ["a"])
    with pytest.raises(SkyweaveError, match="no variable 'b'"):
        truth_like(truth.to_dataset(), fields, ["b"])


# ---- the search


def noisy_source(truth, error=1.0, stated=1.0, seed=4):
    noise = error * np.random.default_rng(seed).standard_normal(truth.shape)
    return GridObservation((truth + noise).assign_attrs(units="K"), stated, name="x")


def test_the_right_weight_scores_best():
    """White noise of known error: lambda = (stated / true)^2 is best, and the scores are those of a plain run."""
    truth = white_truth(3)
    grid = {"observations.x.weight": [1 / 16, 1 / 4, 1.0, 4.0]}
    call = {"like": truth, "members": 24, "steps": 8, "progress": False}
    found = tune(white_prior(), noisy_source(truth, 2.0, 1.0), truth.to_dataset(), grid, **call)
    assert best(found).setting == {"observations.x.weight": 1 / 4}
    text = table_of(found, "a")
    assert text.count("\n") == 5
    assert "observations.x.weight" in text
    assert "0 %" in text


def test_a_search_resumes_and_refuses_other_data(tmp_path, capsys):
    truth, out = white_truth(2), tmp_path / "scores" / "tune.jsonl"
    source, call = noisy_source(truth), {"like": truth, "members": 4, "steps": 6, "out": out}
    grid = {"observations.x.weight": [0.5, 1.0]}
    first = tune(white_prior(), source, truth.to_dataset(), grid, **call)
    assert len(out.read_text().splitlines()) == 2
    capsys.readouterr()
    # A kill in the middle of a line costs that line.
    whole = out.read_text()
    out.write_text(whole[: len(whole) - 20])
    again = tune(white_prior(), source, truth.to_dataset(), grid, **call)
    shown = capsys.readouterr().out
    assert shown.count("done before") == 1
    assert [r.card.overall for r in again] == [r.card.overall for r in first]
    # The grid may grow.
    grid["observations.x.weight"].append(2.0)
    assert len(tune(white_prior(), source, truth.to_dataset(), grid, **call)) == 3
    assert capsys.readouterr().out.count("done before") == 2
    for change in ({"members": 5}, {"seed": 1}, {"weights": "innovations"}):
        with pytest.raises(SkyweaveError, match="other data or settings"):
            tune(white_prior(), source, truth.to_dataset(), grid, **(call | change))
    with pytest.raises(SkyweaveError, match="other data or settings"):
        tune(white_prior(), source, truth.to_dataset() + 1.0, grid, **call)
    with pytest.raises(SkyweaveError, match="other data or settings"):
        tune(white_prior(), noisy_source(truth, 1.1), truth.to_dataset(), grid, **call)
    begun = tune(white_prior(), source, truth.to_dataset(), {"seed": [1]}, overwrite=True, **call)
    assert len(out.read_text().splitlines()) == len(begun) == 1
    out.write_text("no scores\n" + whole)
    with pytest.raises(SkyweaveError, match="line 1 is no result"):
        tune(white_prior(), source, truth.to_dataset(), grid, **call)


def test_diverged_settings_are_never_best():
    truth = white_truth(1)

    def run(setting):
        fields = ensemble(truth, spread=setting["spread"])
        if setting["spread"] == 0.1:
            fields.a[0] = np.nan
        return fields

    found = search(run, expand({"spread": [0.1, 0.5, 2.0]}), truth.to_dataset(), {"a": STD}, identity="x")
    assert best(found).setting["spread"] == 0.5
    assert math.isnan(found[0].card.overall["crps"])
    assert "17 %" in table_of(found)


def test_nothing_runs_where_a_key_is_wrong(monkeypatch):
    monkeypatch.setattr("skyweave.evaluate.tuning.reconstruct", lambda *a, **k: pytest.fail("it ran"))
    truth = white_truth(1)
    call = {"like": truth, "progress": False}
    for grid, how, word in (
        ({"observations.y.weight": [1.0]}, {}, "nothing is called 'y'"),
        ({"seed": [1]}, {"variable": "b"}, "no variable 'b'"),
    ):
        with pytest.raises(SkyweaveError, match=word):
            tune(white_prior(), noisy_source(truth), truth.to_dataset(), grid, **call, **how)


# ---- the command


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("tune")
    truth = white_truth(2)
    save_prior(white_prior(), path / "p.safetensors")
    write(truth, path / "truth.nc")
    noisy = noisy_source(truth, 2.0).data
    write(noisy, path / "obs.nc")
    source = {"grid": str(path / "obs.nc"), "variable": "a", "error": 1.0, "name": "x"}
    base = {"prior": str(path / "p.safetensors"), "observations": [source], "members": 8, "steps": 6}
    (path / "run.yaml").write_text(yaml.safe_dump(base))
    return path


def configured(folder, name="tune.yaml", **changes):
    settings = {
        "reconstruct": str(folder / "run.yaml"),
        "truth": str(folder / "truth.nc"),
        "grid": {"observations.x.weight": [0.25, 4.0], "method": ["covariance", "sda"]},
        "out": str(folder / "tune.jsonl"),
        "best": str(folder / "best.yaml"),
    }
    (folder / name).write_text(yaml.safe_dump(settings | changes))
    return str(folder / name)


def test_the_command_prints_a_table_keeps_its_scores_and_writes_the_best(folder, capsys):
    assert main(["tune", configured(folder)]) == 0
    shown = capsys.readouterr().out
    assert shown.count("| 0.25") == 2
    for word in ("rmse", "crps", "ssr", "coverage90", "diverged", "RMSE and CRPS in K", "best: "):
        assert word in shown
    lines = [json.loads(line) for line in (folder / "tune.jsonl").read_text().splitlines()]
    assert len(lines) == 4
    assert lines[0]["setting"] == {"observations.x.weight": 0.25, "method": "covariance"}
    chosen = yaml.safe_load((folder / "best.yaml").read_text())
    assert set(chosen) == {"method", "observations"}
    assert chosen["observations"][0]["weight"] == 0.25
    # What is written is a part of a reconstruction's configuration.
    merged = yaml.safe_load((folder / "run.yaml").read_text()) | chosen
    (folder / "merged.yaml").write_text(yaml.safe_dump(merged))
    assert main(["check", str(folder / "merged.yaml")]) == 0
    capsys.readouterr()
    assert main(["tune", configured(folder)]) == 0
    assert capsys.readouterr().out.count("done before") == 4


def test_the_command_refuses_scores_of_other_settings(folder, capsys):
    out = {"out": str(folder / "other.jsonl"), "grid": {"seed": [1]}}
    assert main(["tune", configured(folder, **out)]) == 0
    base = yaml.safe_load((folder / "run.yaml").read_text())
    assert main(["tune", configured(folder, reconstruct=base | {"members": 9}, **out)]) == 2
    assert "other data or settings" in capsys.readouterr().err
    assert main(["tune", configured(folder, reconstruct=base | {"members": 9}, **out), "--overwrite"]) == 0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"grid": {}}, ["grid"]),
        ({"gird": {"seed": [1]}}, ["did you mean 'grid'"]),
        ({"grid": {"membrs": [2], "observations.y.weight": [1]}}, ["nothing is called 'y'"]),
        ({"grid": {"membrs": [2, 3]}}, ["membrs: 2", "membrs: 3", "did you mean 'members'"]),
        ({"grid": {"method": ["covarance"]}}, ["did you mean 'covariance'"]),
        ({"truth": "absent.nc"}, ["absent.nc"]),
        ({"variable": "b"}, ["no variable 'b'"]),
        ({"reconstruct": "absent.yaml"}, ["absent.yaml"]),
    ],
)
def test_mistakes_are_one_message_and_status_2(folder, capsys, changes, words):
    assert main(["tune", configured(folder, "wrong.yaml", **changes)]) == 2
    shown = capsys.readouterr()
    assert "Traceback" not in shown.err
    for word in words:
        assert word in shown.err


@pytest.mark.parametrize("name", ["run.yaml", "tune.yaml"])
def test_innovations_are_told_without_truth(folder, capsys, name):
    configured(folder)
    assert main(["tune", "--innovations", str(folder / name)]) == 0
    shown = capsys.readouterr().out
    for word in (
        "stated error",
        "estimated error",
        "weight",
        "bias",
        "significant",
        "units",
        "errors by leave-out",
    ):
        assert word in shown
    row = next(line for line in shown.splitlines() if line.startswith("| x"))
    assert row.split("|")[3].strip() == "K"
    estimated = float(row.split("|")[6])
    assert estimated == pytest.approx(2.0, rel=0.15)


def test_weights_from_innovations_and_biases_are_keys_of_the_yaml(folder, capsys):
    base = yaml.safe_load((folder / "run.yaml").read_text())
    write(noisy_source(white_truth(2), 2.0, seed=7).data, folder / "second.nc")
    second = base["observations"][0] | {"grid": str(folder / "second.nc"), "name": "y"}
    second |= {"bias": "estimate", "bias_predictors": ["latitude"]}
    wanted = {"weights": "innovations", "anchor": ["x"], "innovations": {"method": "likelihood", "times": 2}}
    config = base | wanted | {"observations": [*base["observations"], second], "out": str(folder / "out.nc")}
    (folder / "weighted.yaml").write_text(yaml.safe_dump(config))
    assert main(["reconstruct", str(folder / "weighted.yaml")]) == 0
    shown = capsys.readouterr().out
    assert "weight of a from innovations" in shown
    assert "per latitude" in shown
    with xr.open_dataset(folder / "out.nc", engine="h5netcdf") as out:
        used = json.loads(out.attrs["source_estimates"])
    assert [one["source"] for one in used] == ["x", "y"]
    assert set(used[1]["slopes"]) == {"latitude"}
    (folder / "wrong.yaml").write_text(
        yaml.safe_dump(config | {"weights": "innovation", "innovations": {"metod": "x"}, "anchor": 3})
    )
    assert main(["reconstruct", str(folder / "wrong.yaml")]) == 2
    told = capsys.readouterr().err
    for word in ("weights", "did you mean 'method'", "anchor"):
        assert word in told
