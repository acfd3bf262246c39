"""What was observed: grids and point tables, each with its error, weight and rules of matching."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr

from skyweave.errors import SkyweaveError
from skyweave.io.valid_time import with_valid_time
from skyweave.observe.error_model import ErrorModel, error_model
from skyweave.observe.rules import GRID_OPERATORS, GridRules, ReportRules, SoundingRules
from skyweave.observe.sounding_report import SoundingReport

__all__ = [
    "GRID_OPERATORS", "ErrorModel", "GridObservation", "Observation", "PointObservation", "SoundingObservation",
    "StateObservation",
]  # fmt: skip

POINT_COLUMNS = ("time", "lat", "lon", "variable", "value", "error")


@dataclass(frozen=True, eq=False)
class GridObservation(GridRules):
    """Observations on a latitude-longitude grid; NaN where nothing was seen.

    Args:
        data: (time,) lat, lon, any order; lazily loaded, only the times that match.
        error: standard deviation in the units of ``data``, or a full error model.
        variable: name in the prior's state; the name of ``data`` by default.
        weight: ``lambda_m`` of the source; its error covariance is divided by it.
        name: of the source, in reports; the variable by default.
        time_window: an observation is used when it lies at most this far from an analysis time: a
            pandas-like duration ("90min"), or a number where times are numbers. Half the analysis step by
            default, for a single analysis time nothing but the time itself.
        time: ``"nearest"``: matched to the nearest analysis time; ``"interpolate"``: to the state interpolated
            linearly between the two analysis times around it, within ``time_window`` of one of them where that
            is given.
        operator: ``"auto"``, or one of

            - ``"mask"``: the state's own cells,
            - ``"block-mean"``: plain mean of s x s cells,
            - ``"mean"``: conservative area mean over the observed cell,
            - ``"aggregate"``: the observation, averaged by area over the state's (coarser) cells,
            - ``"bilinear"``: the state at the centres of the observed cells,
            - ``"bicubic"``, ``"bicubic-antialias"``: bicubic downsampling onto the observed grid.
        min_coverage: an observed cell is dropped when less than this fraction of its area is in the domain.
        min_filled: for ``"aggregate"``: a state cell is observed when at least this fraction of its area is.
        valid_range: (low, high) in the units of ``data``; values outside are dropped; ``None`` for open.
        units: of ``data``, where its attribute ``units`` is missing or wrong.
        error_field: an error per cell with the shape of ``data``, which replaces ``error.absolute``.
        bias: ``"estimate"``: estimate a constant bias from innovations, and remove it where it is significant.
        bias_predictors: let the bias vary linearly with these as well: ``"latitude"``, or coordinates of ``data``
            along time (a lead time), latitude or longitude.
        notes: what was assumed in reading the data, for the report.

    Raises:
        SkyweaveError: for an unknown operator, a weight that is not positive, an error of zero.
    """

    data: xr.DataArray
    error: ErrorModel | float | None = None
    variable: str | None = None
    error_field: xr.DataArray | None = None
    notes: tuple[str, ...] = ()
    model: ErrorModel = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.data, xr.DataArray):
            raise SkyweaveError(
                f"a GridObservation takes an xarray.DataArray, not {type(self.data).__name__}; "
                "of a Dataset take one variable: GridObservation(ds['name'], ...)"
            )
        for own in ("data", "error_field"):
            if getattr(self, own) is not None:
                object.__setattr__(self, own, with_valid_time(getattr(self, own), self.name or "observation"))
        variable = self.variable or self.data.name
        if variable is None:
            raise SkyweaveError(
                "a GridObservation without a name: pass variable='...' (its name in the prior)"
            )
        object.__setattr__(self, "variable", str(variable))
        super().__post_init__()
        label = self.label
        if self.error is None and self.error_field is None:
            raise SkyweaveError(
                f"observation {label!r} has no error: state `error: 0.1` (a standard deviation in its units) or "
                "`error_variable: NAME` (a field of the file) at the source in the configuration, or "
                f"--grid {label}=0.1 at the command line; in Python pass "
                "error=0.1, error=ErrorModel(absolute=..., relative=..., representativeness=...), or error_field=..."
            )
        model = error_model(0.0 if self.error is None else self.error)
        if model.is_zero and self.error_field is None:
            raise SkyweaveError(f"observation {label!r}: its error is zero, it must be positive")
        if self.error_field is not None and set(self.error_field.dims) != set(self.data.dims):
            raise SkyweaveError(
                f"observation {label!r}: error_field has dimensions {tuple(self.error_field.dims)}, "
                f"the data have {tuple(self.data.dims)}"
            )
        object.__setattr__(self, "model", model)

    @property
    def label(self) -> str:
        """Name of the source in reports."""
        return self.name or str(self.variable)

    def renamed(self, name: str) -> GridObservation:
        return replace(self, name=name)


@dataclass(frozen=True, eq=False)
class PointObservation(ReportRules):
    """Observations at points: stations, soundings, ships, retrieval footprints as a table.

    Args:
        table: columns ``time, lat, lon, variable, value`` and, optionally, ``error`` (a standard deviation per
            row, which replaces ``error.absolute`` where it is given) and ``units``; any other table that
            `skyweave.io.read_stations` understands, or a path of what `skyweave.io.read_reports` does. ``time`` may be
            absent for a single analysis time.
        error: standard deviation in the units of the values, an error model, or one per variable.
        weight: ``lambda_m`` of the source; its error covariance is divided by it.
        name: of the source, in reports.
        interpolation: of the state to the points, ``"bilinear"`` or ``"bicubic"``.
        time_window: as in `GridObservation`.
        time: as in `GridObservation`.
        superob: average the reports of one cell, variable and time; see `skyweave.observe.match.superob`.
        thin: keep one report per cell (``"cell"``, the nearest to its centre), or none nearer to another than a
            distance in km.
        valid_range: (low, high) in the units of the values, or one per variable.
        units: of the values, or one per variable; a column ``units`` wins; the prior's by default.
        variable: name of all values where the table has no column ``variable``.
        bias: ``"estimate"``: estimate a constant bias of each variable from innovations, and remove it where it is
            significant.
        bias_predictors: let it vary linearly with these as well: ``"latitude"``, or columns of numbers (a scan angle).
        level_tolerance: a report aloft (column ``pressure``, hPa) is taken at a level of the state that it is within
            this fraction of the pressure of, see `skyweave.observe.flight_levels`.
        notes: what was assumed in reading the table, for the report.
        soundings: what became of the soundings of which the table is made.
        at_levels: whether reports aloft have been brought to the state's levels.

    Raises:
        SkyweaveError: for missing columns, no error at all, or incompatible settings.
    """

    table: pd.DataFrame
    error: ErrorModel | float | Mapping[str, ErrorModel | float] | None = None
    variable: str | None = None
    notes: tuple[str, ...] = ()
    soundings: SoundingReport | None = None
    at_levels: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        label = self.label
        table = self._standard_table()
        object.__setattr__(self, "table", table)
        self.predictor_columns()
        if self.error is None and "error" not in table.columns:
            raise SkyweaveError(
                f"observation {label!r} has no errors: state `error: 0.5` (a standard deviation in the units of the "
                f"values) at the source in the configuration, --points {label}=0.5 at the command line, or add a "
                "column 'error' (one per row) to the table; in Python pass error=0.5 or "
                "error=ErrorModel(absolute=..., relative=..., representativeness=...)"
            )
        if isinstance(self.error, Mapping):
            missing = sorted(set(table["variable"].dropna().unique()) - set(self.error))
            if missing and "error" not in table.columns:
                names = ", ".join(map(str, missing))
                raise SkyweaveError(
                    f"observation {label!r} has no error for {names}: state `errors: {{{missing[0]}: 0.5}}` at the "
                    f"source in the configuration, --points {label}:{missing[0]}=COLUMN=0.5 at the command line, or "
                    f"error={{{missing[0]!r}: 0.5}} in Python"
                )
            for value in self.error.values():
                error_model(value)
        elif self.error is not None and error_model(self.error).is_zero and "error" not in table.columns:
            raise SkyweaveError(f"observation {label!r}: its error is zero, it must be positive")

    def _standard_table(self) -> pd.DataFrame:
        table: Any = self.table
        if isinstance(table, pd.DataFrame) and self.variable is not None and "variable" not in table.columns:
            table = table.assign(variable=self.variable)
        needed = {"lat", "lon", "variable", "value"}
        if isinstance(table, (str, Path)) or (
            isinstance(table, pd.DataFrame) and not needed <= set(table.columns)
        ):
            from skyweave.io.reports import read_reports
            from skyweave.io.tables import read_stations

            table = read_stations(table) if isinstance(table, pd.DataFrame) else read_reports(table)
        if not isinstance(table, pd.DataFrame):
            raise SkyweaveError(
                f"observation {self.label!r}: a PointObservation takes a pandas.DataFrame or a path, "
                f"not {type(table).__name__}"
            )
        if "error" in table.columns and bool(table["error"].isna().all()):
            attrs = table.attrs
            table = table.drop(columns="error")
            table.attrs = attrs
        return table.reset_index(drop=True)

    @property
    def label(self) -> str:
        """Name of the source in reports."""
        return self.name or "points"

    def renamed(self, name: str) -> PointObservation:
        return replace(self, name=name)

    def predictor_columns(self) -> list[tuple[str, str]]:
        """Predictors of the bias and the columns that hold them.

        Raises:
            SkyweaveError: a column is missing or not of numbers.
        """
        pairs = [(name, "lat" if name == "latitude" else name) for name in self.bias_predictors]
        for name, column in pairs:
            if column not in self.table.columns or not pd.api.types.is_numeric_dtype(self.table[column]):
                raise SkyweaveError(
                    f"observation {self.label!r}: bias predictor {name!r} is no column of numbers; the table has "
                    f"{', '.join(map(str, self.table.columns))}"
                )
        return pairs

    def model_of(self, variable: str) -> ErrorModel:
        """The error model of one variable; all zero where only the table gives errors."""
        if isinstance(self.error, Mapping):
            return error_model(self.error.get(variable, 0.0))
        return error_model(0.0 if self.error is None else self.error)

    def units_of(self, variable: str) -> str | None:
        return self.units.get(variable) if isinstance(self.units, Mapping) else self.units

    def valid_range_of(self, variable: str) -> tuple[float | None, float | None]:
        valid = self.valid_range.get(variable) if isinstance(self.valid_range, Mapping) else self.valid_range
        return valid or (None, None)


@dataclass(frozen=True, eq=False)
class SoundingObservation(SoundingRules):
    r"""Soundings, which are brought to the levels of the state when it is known.

    A value at a level ``p`` is linear in log pressure between the reported levels around it, as are the time and the
    place of the balloon; heights follow the hypsometric equation between reported heights (see
    `skyweave.observe.profiles.complete`). Nothing is extrapolated. Variables are matched by their CF standard name,
    or by names such as ``t850``, and by their level. Levels with a height and no pressure take theirs from the
    sounding's own heights and pressures.

    Args:
        soundings: table as of `skyweave.io.read_igra`, or paths of IGRA or BUFR files.
        background: fields that observations are compared with, see `skyweave.observe.background_check`.
        background_error: its standard deviation by variable, or fields of it.
        variables: which to observe: names, or the quantity of each (a CF standard name). By default every one with a
            level that soundings report. A variable without a level, if named, takes the surface level's value.
        errors: standard deviations that replace those of `skyweave.observe.sounding_errors`, by variable (in its units)
            or by quantity (K, m, m s-1, kg kg-1, 1): a number, or numbers by pressure (hPa).
        drift: every value has the time and the place of the balloon; otherwise the nominal time and the place of
            the launch.
        ascent_rate: of the balloon where no elapsed times are reported, m s-1.
        maximum_gap: greatest ratio of the pressures of the two levels around a wanted one; 1.5 lets all neighbouring
            mandatory levels pass from the ground up to 20 hPa.
        quality: checks; ``None`` makes none.
        interpolation: of the state to the points, as in `PointObservation`; weight, name, time, time_window, bias and
            bias_predictors as there.

    Raises:
        SkyweaveError: for settings that cannot be used.
    """

    soundings: Any
    background: xr.Dataset | None = None
    background_error: float | Mapping[str, float] | xr.Dataset | None = None

    @property
    def label(self) -> str:
        """Name of the source in reports."""
        return self.name or "soundings"

    def renamed(self, name: str) -> SoundingObservation:
        return replace(self, name=name)


StateObservation = GridObservation | PointObservation
"""Observations of the variables of a state."""

Observation = StateObservation | SoundingObservation
