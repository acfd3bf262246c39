"""YAML into settings: dates, paths alone, and what is said of wrong ones."""

from typing import Annotated

import pytest
from pydantic import BaseModel, ConfigDict, Field

from skyweave.cli.fuse_settings import FuseConfig
from skyweave.cli.settings import ReconstructConfig
from skyweave.config import load_config, parse_config
from skyweave.errors import SkyweaveError, did_you_mean

FUSE = """
prior: prior.safetensors
forecast: {forecast}
past: {{forecasts: past.nc, truth: truth.nc, period: [{period}]}}
out: fused.nc
"""


class Inner(BaseModel):
    path: str
    period: tuple[str, str] | None = None


class Outer(BaseModel):
    model_config = ConfigDict(extra="forbid")
    inner: Inner
    many: list[Inner] = []


@pytest.mark.parametrize("quote", ["", "'"])
def test_dates_are_read_with_quotes_and_without(tmp_path, quote):
    path = tmp_path / "fuse.yaml"
    period = ", ".join(f"{quote}{day}{quote}" for day in ("2008-01-01", "2008-12-31"))
    given = f"{{path: f.nc, init_time: {quote}2009-01-01{quote}}}"
    path.write_text(FUSE.format(forecast=given, period=period))
    made = load_config(path, FuseConfig)
    assert made.past.period == ("2008-01-01", "2008-12-31")
    assert f"{made.forecast.init_time:%Y-%m-%d %H}" == "2009-01-01 00"


def test_a_forecast_may_be_a_path_alone_and_a_year_a_date(tmp_path):
    path = tmp_path / "fuse.yaml"
    path.write_text(FUSE.format(forecast="f.nc", period="2008, 2009-06"))
    made = load_config(path, FuseConfig)
    assert made.forecast.path == "f.nc"
    assert made.past.period == ("2008", "2009-06")


def test_a_value_in_place_of_keys_is_told_which_keys_there_are():
    with pytest.raises(SkyweaveError) as caught:
        parse_config({"inner": "a.nc", "many": [3], "mani": 1}, Outer, "x.yaml")
    told = str(caught.value)
    assert told.startswith("x.yaml: 3 errors")
    assert "inner: expected a mapping of keys (path, period), found 'a.nc'" in told
    assert "many.0: expected a mapping of keys (path, period), found 3" in told
    assert "mani: unknown key (did you mean 'many'?)" in told


class Widths(BaseModel):
    errors: dict[str, Annotated[float, Field(gt=0)] | dict[float, float]] = {}


def test_a_union_is_told_by_its_key_and_the_branch_that_fits():
    with pytest.raises(SkyweaveError) as caught:
        parse_config({"errors": {"t": -2}}, Widths, "x.yaml")
    assert str(caught.value) == "x.yaml: 1 error\n  errors.t: Input should be greater than 0 (found -2)"


@pytest.mark.parametrize(
    ("word", "known", "hint"),
    [
        ("membrs", ["members", "method"], "members"),
        ("dppm", ["ddpm", "unet"], "ddpm"),
        ("aseed", ["seed"], "seed"),
        ("forecast", ["autocast"], None),
        ("past", ["update"], None),
        ("nofile.nc", ["fc_noleap.nc"], None),
    ],
)
def test_hints_are_of_words_that_begin_alike_or_are_nearly_the_same(word, known, hint):
    assert did_you_mean(word, known) == (f" (did you mean {hint!r}?)" if hint else "")


def test_misspelt_keys_of_a_source_have_a_hint():
    with pytest.raises(SkyweaveError, match=r"time_windw: unknown key \(did you mean 'time_window'\?\)"):
        parse_config({"prior": "p", "observations": [{"soundings": "x", "time_windw": 3}]}, ReconstructConfig)
