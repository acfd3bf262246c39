"""What was observed: grids and point tables, each with its error, weight and rules of matching."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import xarray as xr

from skyweave.errors import SkyweaveError, did_you_mean
from skyweave.io.valid_time import with_valid_time
from skyweave.observe.errors import ErrorModel

__all__ = ["GRID_OPERATORS", "ErrorModel", "GridObservation", "Observation", "PointObservation"]

GRID_OPERATORS = (
    "auto",
    "mask",
    "block-mean",
    "mean",
    "aggregate",
    "bilinear",
    "bicubic",
    "bicubic-antialias",
)
POINT_COLUMNS = ("time", "lat", "lon", "variable", "value", "error")

TimeRule = Literal["nearest", "interpolate"]
Window = str | float | np.timedelta64 | pd.Timedelta | None


def error_model(error: ErrorModel | float) -> ErrorModel:
    """A number as an error model: an absolute standard deviation."""
    return error if isinstance(error, ErrorModel) else ErrorModel(absolute=float(error))


def _check_common(name: str, weight: float, time: str, valid: Any, bias: str | None) -> None:
    if bias not in (None, "estimate"):
        raise SkyweaveError(
            f"observation {name!r}: bias={bias!r}, it is 'estimate' or None; subtract a known bias from the values"
        )
    if not np.isfinite(weight) or weight <= 0:
        raise SkyweaveError(f"observation {name!r}: weight is {weight}, it must be positive")
    if time not in ("nearest", "interpolate"):
        raise SkyweaveError(f"observation {name!r}: time={time!r}, known are 'nearest' and 'interpolate'")
    for low, high in [valid] if isinstance(valid, tuple) else list((valid or {}).values()):
        if low is not None and high is not None and low > high:
            raise SkyweaveError(f"observation {name!r}: valid_range ({low}, {high}) is empty")


@dataclass(frozen=True, eq=False)
class GridObservation:
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
    weight: float = 1.0
    name: str | None = None
    time_window: Window = None
    time: TimeRule = "nearest"
    operator: str = "auto"
    min_coverage: float = 0.999
    min_filled: float = 0.5
    valid_range: tuple[float | None, float | None] | None = None
    units: str | None = None
    error_field: xr.DataArray | None = None
    bias: str | None = None
    bias_predictors: tuple[str, ...] = ()
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
        object.__setattr__(self, "bias_predictors", tuple(self.bias_predictors))
        label = self.label
        _check_common(label, self.weight, self.time, self.valid_range, self.bias)
        if self.operator not in GRID_OPERATORS:
            hint = did_you_mean(self.operator, GRID_OPERATORS)
            raise SkyweaveError(
                f"observation {label!r}: operator {self.operator!r} is not known{hint}; "
                f"known are {', '.join(GRID_OPERATORS)}"
            )
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
class PointObservation:
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
        notes: what was assumed in reading the table, for the report.

    Raises:
        SkyweaveError: for missing columns, no error at all, or incompatible settings.
    """

    table: pd.DataFrame
    error: ErrorModel | float | Mapping[str, ErrorModel | float] | None = None
    weight: float = 1.0
    name: str | None = None
    interpolation: str = "bilinear"
    time_window: Window = None
    time: TimeRule = "nearest"
    superob: bool = False
    thin: str | float | None = None
    valid_range: (
        tuple[float | None, float | None] | Mapping[str, tuple[float | None, float | None]] | None
    ) = None
    units: str | Mapping[str, str] | None = None
    variable: str | None = None
    bias: str | None = None
    bias_predictors: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "bias_predictors", tuple(self.bias_predictors))
        label = self.label
        _check_common(label, self.weight, self.time, self.valid_range, self.bias)
        if self.interpolation not in ("bilinear", "bicubic"):
            raise SkyweaveError(
                f"observation {label!r}: interpolation {self.interpolation!r}, known are 'bilinear' and 'bicubic'"
            )
        if self.superob and self.thin is not None:
            raise SkyweaveError(f"observation {label!r}: superob and thin exclude one another, choose one")
        if (
            self.thin is not None
            and self.thin != "cell"
            and not (_is_number(self.thin) and float(self.thin) > 0)
        ):
            raise SkyweaveError(f"observation {label!r}: thin={self.thin!r}, give 'cell' or a distance in km")
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


Observation = GridObservation | PointObservation


def _is_number(value: Any) -> bool:
    try:
        return bool(np.isfinite(float(value)))
    except (TypeError, ValueError):
        return False
