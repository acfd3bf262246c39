"""The command line: light to start, exact about what is wrong, quiet about tracebacks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from skyweave.cli import COMMANDS, main
from skyweave.cli.flags import Flags
from skyweave.cli.settings import GridSource, PointSource, settings_from
from skyweave.errors import SkyweaveError

HEAVY = ("torch", "xarray", "numpy", "scipy", "pandas", "dask", "matplotlib", "zarr", "pydantic", "yaml")


def loaded_after(code: str) -> set[str]:
    """The heavy packages that a fresh interpreter has imported after `code`."""
    script = f"import sys\n{code}\nprint('LOADED', *(set(sys.modules) & set({HEAVY!r})))"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(run.stdout.splitlines()[-1].split()[1:])


def test_importing_skyweave_imports_nothing_heavy():
    assert loaded_after("import skyweave; dir(skyweave)") == set()
    assert "numpy" in loaded_after("import skyweave; skyweave.Grid")  # the probe sees what is there


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_imports_nothing_heavy(command):
    words = [command, "--help"] if command else ["--help"]
    assert loaded_after(f"from skyweave.cli import main; assert main({words}) == 0") == set()


def test_help_names_every_command(capsys):
    assert main([]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in COMMANDS)


def test_version(capsys):
    import skyweave

    assert main(["--version"]) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert first.split() == ["skyweave", skyweave.__version__]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["reconstrct"], "reconstruct"),
        (["reconstruct", "--member", "3"], "--members"),
        (["reconstruct", "--members", "many"], "many"),
        (["reconstruct"], "prior: missing"),
        (["train"], "CONFIG"),
        (["train", "absent.yaml"], "absent.yaml"),
        (["info", "absent.safetensors"], "absent.safetensors"),
        (["check", "--prior", "p", "--grid", "obs.nc"], "PATH:VARIABLE"),
        (["reconstruct", "--prior", "p.safetensors", "--points", "s.csv"], "--out"),
    ],
)
def test_a_mistake_is_one_line_on_stderr_and_status_2(words, expected, capsys):
    assert main(words) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("error: ")
    assert expected in shown.err
    assert "Traceback" not in shown.err


def test_all_mistakes_of_a_configuration_are_reported_at_once(tmp_path: Path, capsys):
    config = tmp_path / "run.yaml"
    config.write_text(
        "prior: p.safetensors\nmember: 3\nmethod: covarance\nout: x.zarr\n"
        "observations:\n  - {grid: a.nc, variable: t2m, eror: 1}\n  - {points: s.csv, weight: -1}\n"
    )
    assert main(["check", str(config)]) == 2
    shown = capsys.readouterr().err
    for expected in ("'members'", "'covariance'", "'error'", "weight"):
        assert expected in shown


def test_ctrl_c_ends_with_130(monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("skyweave.cli.settings.settings_from", interrupted)
    assert main(["check", "--prior", "p"]) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_a_defect_keeps_its_traceback(monkeypatch):
    def defective(*_):
        raise ZeroDivisionError

    monkeypatch.setattr("skyweave.cli.settings.settings_from", defective)
    with pytest.raises(ZeroDivisionError):
        main(["check", "--prior", "p"])


def test_flags_alone_make_the_settings():
    flags = Flags(
        prior="p.safetensors",
        grid=["a.nc:t2m=0.5", "https://host/b.zarr?x=1:u10=0.05+10%", "c.nc:v10"],
        points=["s.csv", "t.csv=10%"],
        members=4,
        out=Path("x.zarr"),
    )
    settings = settings_from(None, flags)
    first, second, third, fourth, fifth = settings.observations
    assert isinstance(first, GridSource)
    assert (first.grid, first.variable, first.error.absolute) == ("a.nc", "t2m", 0.5)
    assert isinstance(second, GridSource)
    assert (second.grid, second.variable) == ("https://host/b.zarr?x=1", "u10")
    assert (second.error.absolute, second.error.relative) == (0.05, 0.1)
    assert third.error is None
    assert isinstance(fourth, PointSource)
    assert fourth.error is None
    assert fifth.error.relative == 0.1
    assert (settings.members, settings.seed, settings.overwrite) == (4, 0, False)


def test_a_flag_wins_over_the_yaml(tmp_path: Path):
    config = tmp_path / "run.yaml"
    config.write_text("prior: p\nmembers: 8\nseed: 3\nobservations: [{points: s.csv}]\n")
    settings = settings_from(config, Flags(members=2))
    assert (settings.members, settings.seed) == (2, 3)
    assert settings.observations[0].points == "s.csv"
    assert settings_from(config, Flags(points=["other.csv"])).observations[0].points == "other.csv"


@pytest.mark.parametrize("text", ["abc", "1+2", "10%+5%", "-1", "1+"])
def test_an_error_of_another_form_is_refused(text):
    with pytest.raises(SkyweaveError, match="error"):
        settings_from(None, Flags(prior="p", points=[f"s.csv={text}"]))


def test_the_choices_are_those_of_the_library():
    from skyweave.posterior.guidance import GUIDANCE
    from skyweave.posterior.samplers import SAMPLERS as KNOWN
    from skyweave.reconstruction.settings import METHODS, SAMPLERS

    assert set(METHODS) == set(GUIDANCE)
    assert set(SAMPLERS) == {*KNOWN, "dps"}  # the last stands for a guidance method


@pytest.fixture(scope="module")
def demo_cases():
    from importlib.resources import files

    from skyweave.cli.demo_cases import make_cases
    from skyweave.grid import Grid
    from skyweave.io.read import open_fields

    path = str(files("skyweave") / "data" / "era5_sample.nc")
    region = {"lat": (20.0, 83.0), "lon": (-60.0, 35.0)}
    truth = open_fields(path, region=region, time="2026-03-31T23").load()
    grid = Grid.from_dataset(truth)
    return truth, grid, make_cases(truth, grid, seed=1)


def test_the_demo_observes_the_truth_with_the_stated_errors(demo_cases):
    from skyweave.cli.demo_cases import CLOUD_COVER, COARSE, ERRORS, STATIONS
    from skyweave.regrid import bilinear

    truth, grid, (coarse, stations, gaps, together) = demo_cases
    assert min(grid.shape) >= 64
    for name, error in ERRORS.items():
        field = truth[name].values[0].astype(float)
        blocks = field.reshape(grid.shape[0] // COARSE, COARSE, -1, COARSE).mean((1, 3))
        misfits = [(coarse.coarse[name] - blocks).ravel()]
        lat, lon, values = stations.scattered(name, grid)
        assert len(values) == STATIONS
        misfits.append(values - bilinear(grid, lat, lon) @ field.ravel())
        seen = gaps.gaps[name]
        assert abs(float(np.isnan(seen).mean()) - CLOUD_COVER) < 0.01
        misfits.append((seen - field)[np.isfinite(seen)])
        for misfit in misfits:
            assert abs(misfit.std() / error - 1) < 5 / np.sqrt(2 * len(misfit))
            assert abs(misfit.mean()) < 5 * error / np.sqrt(len(misfit))
        assert len(together.scattered(name, grid)[2]) == sum(len(misfit) for misfit in misfits)


def test_stations_of_the_demo_lie_inside_and_off_the_grid_points(demo_cases):
    _, grid, (_, stations, _, _) = demo_cases
    lat, lon = stations.points["lat"], stations.points["lon"]
    assert grid.contains(lat, lon).all()
    assert (np.abs(lat - lat.round()) > 1e-6).all()


def test_the_demo_refuses_a_folder_in_use(tmp_path: Path, capsys):
    (tmp_path / "mine.txt").write_text("keep")
    assert main(["demo", "--out", str(tmp_path)]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main(["demo", "--members", "1", "--out", str(tmp_path / "new")]) == 2
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.slow
def test_the_demo_writes_everything_it_promises(tmp_path: Path, capsys):
    assert main(["demo", "--members", "4", "--out", str(tmp_path / "demo")]) == 0
    shown = capsys.readouterr().out
    for expected in ("skyweave", "bicubic", "inverse distance", "optimal interpolation", "coverage90"):
        assert expected in shown
    written = {p.name for p in (tmp_path / "demo").iterdir()}
    for case in ("coarse", "stations", "gaps", "all"):
        assert {f"{case}.zarr", f"{case}_t2m.png", f"{case}_msl.png"} <= written
    assert {"scores.csv", "scores.md", "scores_t2m.png", "spectra_t2m.png", "calibration_t2m.png"} <= written
