"""Reading and writing: CF grids, station tables, whole outputs and resumable stores."""

from skyweave.io.aeronet import read_aeronet
from skyweave.io.axes import find_level, find_time
from skyweave.io.daily import StepCoverage, step_means
from skyweave.io.describe import FieldsReport, describe, time_report
from skyweave.io.elevation import elevation_on
from skyweave.io.g5nr import open_g5nr
from skyweave.io.goes import read_goes_aod
from skyweave.io.igra import read_igra, read_station_list
from skyweave.io.read import check_not_empty, check_single_fields, open_fields
from skyweave.io.reports import read_reports
from skyweave.io.select import select_region, select_time
from skyweave.io.swath import bin_to_grid, grid_swath
from skyweave.io.swath_files import read_swaths
from skyweave.io.tables import read_stations
from skyweave.io.write import (
    check_output,
    create_store,
    discard_partial,
    done_units,
    finish_store,
    mark_done,
    partial_store,
    write,
    write_region,
)

__all__ = [
    "FieldsReport",
    "StepCoverage",
    "bin_to_grid",
    "check_not_empty",
    "check_output",
    "check_single_fields",
    "create_store",
    "describe",
    "discard_partial",
    "done_units",
    "elevation_on",
    "find_level",
    "find_time",
    "finish_store",
    "grid_swath",
    "mark_done",
    "open_fields",
    "open_g5nr",
    "partial_store",
    "read_aeronet",
    "read_goes_aod",
    "read_igra",
    "read_reports",
    "read_station_list",
    "read_stations",
    "read_swaths",
    "select_region",
    "select_time",
    "step_means",
    "time_report",
    "write",
    "write_region",
]
