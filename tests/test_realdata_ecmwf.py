"""GRIB and BUFR as they come: what is read, used and dropped."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

pytest.importorskip("eccodes")

from skyweave import PointObservation
from skyweave.errors import SkyweaveError
from skyweave.io import open_fields
from skyweave.io.bufr import read_bufr
from skyweave.io.bufr_soundings import read_bufr_soundings
from skyweave.io.cells import cells_as_points
from skyweave.observe.flight_levels import at_state_levels
from skyweave.observe.soundings import sounding_observations
from skyweave.state import StateSpec, Variable

pytestmark = pytest.mark.realdata

DATA = Path(os.environ.get("SKYWEAVE_DATA", Path(__file__).parents[2] / "shared/data"))
SAMPLES, NETWORKS = DATA / "grib-samples", DATA / "bufr-networks"
UPPER = StateSpec(
    tuple(
        Variable(f"{name}{p}", units, standard_name=standard, level=float(p))
        for name, units, standard in (("t", "K", "air_temperature"), ("z", "m2 s-2", "geopotential"))
        for p in (850, 500)
    )
)


def test_grib_and_its_twin_in_netcdf_agree():
    folder = DATA / "era5-ensemble-zt-2017-01"
    grib = open_fields(folder / "era5-levels-members.grib").rename(valid_time="time")
    with xr.open_dataset(folder / "era5_ensemble_z_t_850_500.nc") as twin:
        for name in ("z", "t"):
            right = twin[name].transpose(*grib[name].dims).values
            np.testing.assert_allclose(grib[name].values, right, rtol=1e-6)


@pytest.mark.parametrize(
    ("file", "name", "members", "times"),
    [("z500_ens.grib", "z@500", 51, ["2012-09-24T00"]),
     ("wgust_ens.grib", "fg10_6", 50, ["2018-11-23T00", "2018-11-23T06", "2018-11-23T12"])],
)  # fmt: skip
def test_ensembles_have_their_members_and_valid_times(file, name, members, times):
    field = open_fields(SAMPLES / file, name)[name]
    assert field.sizes["number"] == members
    assert np.datetime_as_string(field["valid_time"].values, "h").tolist() == times


@pytest.mark.parametrize(
    ("file", "word"),
    [("O32_global.grib2", "reduced_gg"), ("healpix_H8.grib2", "healpix"), ("t_year_missing.grib", "its date is"),
     ("rotated_N32_subarea.grib", "reduced_rotated_gg")],
)  # fmt: skip
def test_what_is_no_grid_or_has_no_date_is_refused(file, word):
    with pytest.raises(SkyweaveError, match=word):
        open_fields(SAMPLES / file)


def test_fields_of_one_name_have_names_of_their_own():
    names = set(open_fields(SAMPLES / "optical-cams.grib").data_vars)
    assert names == {f"aod_{kind}_{nm}nm" for kind in ("aer_total", "aer_sm") for nm in (550, 800)}
    assert set(open_fields(SAMPLES / "chem-cams.grib").data_vars) == {
        f"mass_mixrat_{c}" for c in ("CO", "HCHO", "O3")
    }


@pytest.mark.parametrize(
    ("file", "cells"),
    [("O32_global.grib2", 5248), ("healpix_H8.grib2", 3072), ("rotated_N32_subarea.grib", 225)],
)
def test_cells_of_other_grids_are_reports(file, cells):
    assert len(cells_as_points(SAMPLES / file)) == cells


def test_a_network_of_stations():
    table = read_bufr(NETWORKS / "perf_synop.bufr")
    counts = table["variable"].value_counts().to_dict()
    assert counts == {
        "t2m": 7802, "d2m": 7691, "u10": 7610, "v10": 7610, "sp": 6648, "msl": 6314, "tp6h": 4284, "tp12h": 904,
        "tp24h": 474, "tp1h": 79, "tp3h": 24,
    }  # fmt: skip
    assert table.attrs["dropped"] == {"report without a position": 1, "missing value": 5241}


def test_a_network_of_soundings():
    table = read_bufr_soundings(NETWORKS / "temp.bufr")
    assert table.attrs["counts"] == {
        "soundings": 419, "soundings without a position": 1, "levels": 25862, "levels without a value": 29
    }  # fmt: skip
    assert (table["temperature"].notna().sum(), table["u"].notna().sum()) == (18709, 13665)
    _, report = sounding_observations(table, UPPER)
    assert {v.name: v.used for v in report.variables} == {"t850": 398, "t500": 413, "z850": 414, "z500": 409}


def test_a_high_resolution_ascent_has_its_displacements():
    table = read_bufr_soundings(NETWORKS / "temp_hires.bufr")
    assert len(table) == 449
    assert table["drift_lat"].notna().all()


@pytest.mark.parametrize(
    ("file", "reports", "used"),
    [("perf_aircraft.bufr", 6693, {"t500": 119, "t850": 306}), ("aircraft_mrar_compressed.bufr", 186, None)],
)
def test_aircraft(file, reports, used):
    table = read_bufr(NETWORKS / file)
    assert (table["variable"] == "t").sum() == reports
    found, _ = at_state_levels(table, UPPER)
    counts = found["variable"].value_counts().to_dict()
    if used is not None:
        assert {k: counts[k] for k in used} == used
        assert (found["reason"] == "between levels").sum() == reports - sum(used.values())
    PointObservation(found, error=1.0)
