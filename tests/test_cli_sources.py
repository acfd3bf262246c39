"""Sources as flags and YAML name them: paths with odd letters, columns by other names, AERONET, GOES, swaths."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from odd_reports import AOD550, aeronet
from skyweave.cli.inputs import input_paths, open_inputs
from skyweave.cli.settings import settings_from
from skyweave.cli.source_flags import grid_flag, points_flag
from skyweave.errors import SkyweaveError
from skyweave.io import read_swaths
from skyweave.io.swath import bin_to_grid


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("x.csv", {"points": "x.csv"}),
        ("x.csv=0.5", {"points": "x.csv", "error": "0.5"}),
        ("x.csv:t2m=T2", {"points": "x.csv", "variables": {"t2m": "T2"}}),
        ("x.csv:t2m=T2=0.5", {"points": "x.csv", "variables": {"t2m": "T2"}, "errors": {"t2m": "0.5"}}),
        (
            "x.csv:t2m=0.5,msl=P=10%",
            {
                "points": "x.csv",
                "variables": {"t2m": "t2m", "msl": "P"},
                "errors": {"t2m": "0.5", "msl": "10%"},
            },
        ),
        (r"C:\a\x.csv", {"points": r"C:\a\x.csv"}),
        (r"C:\a\x.csv=0.5", {"points": r"C:\a\x.csv", "error": "0.5"}),
        (r"C:\a\x.csv:t2m=T", {"points": r"C:\a\x.csv", "variables": {"t2m": "T"}}),
        ("year=2020/x.csv", {"points": "year=2020/x.csv"}),
        ("year=2020/x.csv=0.5", {"points": "year=2020/x.csv", "error": "0.5"}),
        ("https://h:80/x.csv?a=1&b=2", {"points": "https://h:80/x.csv?a=1&b=2"}),
        ("https://h/x.csv?a=1&b=2=0.5", {"points": "https://h/x.csv?a=1&b=2", "error": "0.5"}),
        (
            "s3://b/x.csv:t2m=T=1",
            {"points": "s3://b/x.csv", "variables": {"t2m": "T"}, "errors": {"t2m": "1"}},
        ),
    ],
)
def test_flags_of_reports(text, right):
    assert points_flag(text) == right


@pytest.mark.parametrize("name", ["a=0.5", "a:t2m=T2", "a=b.csv"])
def test_what_exists_is_a_path(tmp_path: Path, name: str):
    (tmp_path / name).write_text("x")
    assert points_flag(str(tmp_path / name)) == {"points": str(tmp_path / name)}


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("o.nc:T2=0.5", {"grid": "o.nc", "variable": "T2", "error": "0.5"}),
        ("o.nc:t2m=T2=0.5", {"grid": "o.nc", "of": "t2m", "variable": "T2", "error": "0.5"}),
        ("o.nc:t2m=T2", {"grid": "o.nc", "of": "t2m", "variable": "T2"}),
        (r"C:\o.nc:T2=5%", {"grid": r"C:\o.nc", "variable": "T2", "error": "5%"}),
    ],
)
def test_flags_of_grids(text, right):
    assert grid_flag(text) == right


@pytest.mark.parametrize("text", ["o.nc", r"C:\o.nc", "https://h/o.nc", "o.nc:a=b=c=d"])
def test_grids_without_a_variable_are_refused(text):
    with pytest.raises(SkyweaveError, match="PATH:NAME=VARIABLE"):
        grid_flag(text)


def swath(path: Path, stamp: str | None, seed: int) -> tuple[np.ndarray, ...]:
    """A level-2 file of 20 by 30 pixels with a flag; returns values, flags and places."""
    rng = np.random.default_rng(seed)
    lat, lon = np.meshgrid(np.linspace(40.1, 43.9, 20), np.linspace(0.1, 5.9, 30), indexing="ij")
    value, flag = rng.uniform(0, 1, lat.shape), rng.integers(0, 4, lat.shape)
    attrs = {} if stamp is None else {"time_coverage_start": stamp, "time_coverage_end": stamp}
    xr.Dataset(
        {"aod": (("y", "x"), value, {"units": "1"}), "QA": (("y", "x"), flag)},
        {"latitude": (("y", "x"), lat), "longitude": (("y", "x"), lon)},
        attrs,
    ).to_netcdf(path, engine="h5netcdf")
    return value, flag, lat, lon


def settings(tmp_path: Path, source: str):
    if not (tmp_path / "like.nc").exists():
        axes = {"lat": np.arange(40.5, 44), "lon": np.arange(0.5, 6)}
        target = xr.Dataset({"aod": (("lat", "lon"), np.zeros((4, 6)))}, axes)
        target.to_netcdf(tmp_path / "like.nc", engine="h5netcdf")
    config = tmp_path / "run.yaml"
    config.write_text(f"prior: aod\nlike: {tmp_path}/like.nc\nobservations: [{{{source}}}]\n")
    return settings_from(config, None)


def test_swaths_are_screened_and_averaged_onto_the_target(tmp_path: Path):
    pixels = [swath(tmp_path / f"{k}.nc", f"2020-06-0{k}T10:00:00Z", k) for k in (2, 1)]
    inputs = open_inputs(
        settings(
            tmp_path, f"swath: '{tmp_path}/?.nc', variable: aod, of: AOD, quality: {{QA: [2, 3]}}, error: 0.1"
        )
    )
    (found,) = inputs.observations
    assert found.variable == "AOD"
    assert list(pd.DatetimeIndex(found.data["time"].values)) == list(
        pd.to_datetime(["2020-06-01T10", "2020-06-02T10"])
    )
    from skyweave.grid import Grid

    grid = Grid(np.arange(40.5, 44), np.arange(0.5, 6))
    for step, (value, flag, lat, lon) in enumerate(reversed(pixels)):
        right = bin_to_grid(np.where(flag >= 2, value, np.nan), lat, lon, grid, minimum_share=0.2)
        np.testing.assert_allclose(found.data[step].values, right, rtol=1e-5)


def test_swaths_without_a_time_or_with_one_twice_are_refused(tmp_path: Path):
    from skyweave.grid import Grid

    grid = Grid(np.arange(40.5, 44), np.arange(0.5, 6))
    swath(tmp_path / "a.nc", None, 0)
    assert "time" not in read_swaths(tmp_path / "a.nc", "aod", grid).dims
    swath(tmp_path / "b.nc", "2020-06-01T10:00:00Z", 1)
    swath(tmp_path / "c.nc", "2020-06-01T10:00:00Z", 1)
    with pytest.raises(SkyweaveError, match="no time of the swath"):
        read_swaths([tmp_path / "b.nc", tmp_path / "a.nc"], "aod", grid)
    with pytest.raises(SkyweaveError, match="two have the time 2020-06-01 10:00"):
        read_swaths([tmp_path / "b.nc", tmp_path / "c.nc"], "aod", grid)
    with pytest.raises(SkyweaveError, match=r"no variable 'qa' for quality.*QA"):
        read_swaths(tmp_path / "b.nc", "aod", grid, quality={"qa": (0, 1)})


def test_aeronet_is_a_source_by_key_and_by_flag(tmp_path: Path):
    path = tmp_path / "a.lev20"
    path.write_text(aeronet("All Points", ["09:05:00", "09:15:00", "12:00:01"]))
    config = settings(
        tmp_path, f"aeronet: {path}, of: aod, minimum_level: 2.0, window: 30min, minimum_count: 1"
    )
    assert input_paths(config)[-1] == str(path)
    (source,) = open_inputs(config).observations
    assert set(source.table["variable"]) == {"aod"}
    np.testing.assert_allclose(source.table["value"], AOD550, rtol=1e-4)
    (plain,) = open_inputs(settings(tmp_path, f"points: {path}, error: 0.02")).observations
    assert "left out by the reader: 1 too few in the window" in plain.table.attrs["notes"]
    assert set(plain.table["error"]) == {0.01}


def test_keys_of_tables_are_passed_on(tmp_path: Path):
    (tmp_path / "t.csv").write_text("d;h;lat;lon;T (°C)\n01/06/2020;8;50,5;7,1;13,5\n")
    config = settings(
        tmp_path,
        f"points: {tmp_path}/t.csv, variables: {{t2m: T}}, columns: {{time: [d, h]}}, time_format: '%d/%m/%Y', "
        "time_zone: '+02:00', decimal: ',', missing: [-9], errors: {t2m: 0.5}",
    )
    (source,) = open_inputs(config).observations
    report = source.table.iloc[0]
    assert (report["variable"], report["value"], report["units"]) == ("t2m", 13.5, "°C")
    assert report["time"] == pd.Timestamp("2020-06-01T06:00")
    with pytest.raises(SkyweaveError, match="quotation marks"):
        settings(tmp_path, "points: t.csv, time_zone: +10:00, error: 1")


def test_errors_by_variable_and_one_for_the_rest(tmp_path: Path):
    (tmp_path / "t.csv").write_text("time,lat,lon,a,b\n2020-06-01,50,7,1,2\n")
    (source,) = open_inputs(
        settings(tmp_path, f"points: {tmp_path}/t.csv, errors: {{a: 1}}, error: 3")
    ).observations
    assert (source.model_of("a").absolute, source.model_of("b").absolute) == (1, 3)
    with pytest.raises(SkyweaveError, match=r"no error for b: .*--points .*b=COLUMN=0\.5"):
        open_inputs(settings(tmp_path, f"points: {tmp_path}/t.csv, errors: {{a: 1}}"))
