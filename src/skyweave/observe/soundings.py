"""From soundings to observations of a state's variables: interpolated, checked, each with its time and place."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from skyweave.errors import SkyweaveError, did_you_mean
from skyweave.keywords import takes
from skyweave.observe.background_check import BackgroundError, background_departure
from skyweave.observe.flight_levels import at_state_levels
from skyweave.observe.observation import (
    Observation,
    PointObservation,
    SoundingObservation,
    StateObservation,
)
from skyweave.observe.profiles import launch_time
from skyweave.observe.quantities import QUANTITIES, quantity_of
from skyweave.observe.rules import SoundingRules, SourceRules
from skyweave.observe.sounding_checks import QualityControl
from skyweave.observe.sounding_errors import Errors, checked_errors, overriding_error, sounding_error
from skyweave.observe.sounding_report import SoundingReport, VariableReport
from skyweave.observe.sounding_values import Ledger, at_level, at_surface, completed_profiles, prepared
from skyweave.state import StateSpec, Variable
from skyweave.units import conversion

__all__ = ["QualityControl", "SoundingReport", "at_levels_of", "on_levels", "sounding_observations"]

DEPARTURE = "too far from the background"

Paths = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]


@takes(SoundingRules)
def sounding_observations(
    soundings: pd.DataFrame | Paths,
    spec: StateSpec,
    *,
    background: xr.Dataset | None = None,
    background_error: BackgroundError = None,
    **rules: Any,
) -> tuple[PointObservation, SoundingReport]:
    """Observations of the variables of a state by radiosondes, and what became of every level.

    Args:
        soundings, background, background_error, rules: as in `SoundingObservation`.
        spec: the state; levels in hPa.
    """
    return at_levels_of(SoundingObservation(soundings, background, background_error, **rules), spec)


def at_levels_of(source: SoundingObservation, spec: StateSpec) -> tuple[PointObservation, SoundingReport]:
    """Soundings as observations of a state's variables.

    Returns:
        The observations, whose table also has columns station, level (hPa) and sounding, and the report.

    Raises:
        SkyweaveError: a variable that soundings cannot observe, unusable settings, or no observation left (with
            the counts).
    """
    soundings, name, quality, background = source.soundings, source.label, source.quality, source.background
    if not isinstance(soundings, pd.DataFrame):
        from skyweave.io.bufr_soundings import read_soundings

        soundings = read_soundings(soundings)
    wanted = _mapped(spec, source.variables, name)
    given = checked_errors(source.errors, spec.names)
    ledger = Ledger()
    raw = prepared(soundings, name)
    levels = sorted({float(v.level) for v, _ in wanted if v.level is not None}, reverse=True)
    profiles = completed_profiles(raw, levels, quality, source.ascent_rate, ledger)
    parts = [_observed(v, q, profiles, source.maximum_gap, given, source.drift) for v, q in wanted]
    table = pd.concat([part for part, _ in parts], ignore_index=True)
    reports = [report for _, report in parts]
    not_compared = None
    if background is not None and quality is not None and quality.departure is not None and len(table):
        away = background_departure(table, spec, background, source.background_error, source.time_window)
        not_compared = int(np.isnan(away).sum())
        far = np.abs(away) > quality.departure
        reports = [_less(r, int((far & (table["variable"] == r.name)).sum())) for r in reports]
        table = table[~far].reset_index(drop=True)
    report = SoundingReport(
        name=name,
        soundings=int(raw["sounding"].nunique()),
        levels=len(raw),
        read=dict(soundings.attrs.get("counts", {})),
        values=ledger.values,
        rejected=ledger.rejected,
        wind_only=ledger.wind_only,
        no_pressure=ledger.no_pressure,
        assumed_release=ledger.assumed,
        unused=_unused(raw, wanted),
        variables=tuple(reports),
        not_compared=not_compared,
    )
    if table.empty:
        raise SkyweaveError(f"{name}: no observation is left\n{report}")
    shared = {own.name: getattr(source, own.name) for own in fields(SourceRules)} | {"name": name}
    made = PointObservation(table, interpolation=source.interpolation, soundings=report, **shared)
    return made, report


def on_levels(observations: Iterable[Observation], spec: StateSpec) -> list[StateObservation]:
    """Soundings, and reports aloft, at the levels of the state; other observations as they are."""
    out: list[StateObservation] = []
    for source in observations:
        if isinstance(source, SoundingObservation):
            out.append(at_levels_of(source, spec)[0])
        elif isinstance(source, PointObservation) and "pressure" in source.table and not source.at_levels:
            attrs = source.table.attrs
            table, told = at_state_levels(source.table, spec, source.level_tolerance)
            table.attrs = attrs
            out.append(replace(source, table=table, notes=(*source.notes, *told), at_levels=True))
        else:
            out.append(source)
    return out


def _mapped(
    spec: StateSpec, variables: Sequence[str] | Mapping[str, str | None] | None, name: str
) -> list[tuple[Variable, str]]:
    """Variables to observe, each with its quantity."""
    if variables is None:
        found = [(v, q) for v in spec.variables if v.level is not None and (q := quantity_of(v)) is not None]
        if not found:
            raise SkyweaveError(
                f"{name}: none of the variables {', '.join(spec.names)} has a pressure level and is a quantity that "
                f"soundings report ({', '.join(QUANTITIES)}); {_naming(spec)}; a variable at the surface may be named, "
                "and takes the surface level's value"
            )
        return found
    out = []
    stated = variables if isinstance(variables, Mapping) else dict.fromkeys(variables)
    for own, quantity in stated.items():
        variable = spec.variables[spec.channel(own)]
        quantity = quantity or quantity_of(variable)
        if quantity not in QUANTITIES:
            hint = did_you_mean(quantity, tuple(QUANTITIES)) if quantity else ""
            raise SkyweaveError(
                f"{name}: variable {own!r} is {quantity or 'of no known quantity'}{hint}; soundings report "
                f"{', '.join(QUANTITIES)}"
            )
        out.append((variable, quantity))
    if not out:
        raise SkyweaveError(f"{name}: no variable was named")
    return out


def _naming(spec: StateSpec) -> str:
    """How variables are named with their quantities, by an example of the state's own."""
    # A height in metres, as in t2m, hides the quantity from a variable's name.
    guesses = ((v.name, quantity_of(replace(v, name=v.name.removesuffix("m")))) for v in spec.variables)
    own, quantity = next(((v, q) for v, q in guesses if q), (spec.names[0], "QUANTITY"))
    return (
        f"name what they observe with its quantity, as in `variables: {{{own}: {quantity}}}` at the source in the "
        f"configuration (the flag --soundings cannot), or variables={ {own: quantity} } in Python"
    )


def _observed(
    variable: Variable,
    quantity: str,
    profiles: pd.DataFrame,
    maximum_gap: float,
    errors: Errors,
    moving: bool,
) -> tuple[pd.DataFrame, VariableReport]:
    """Observations of one variable, and why the other soundings have none."""
    own = QUANTITIES[quantity]
    soundings = int(profiles["sounding"].iloc[-1]) + 1
    if variable.level is None:
        rows, value, dropped = at_surface(own.column, profiles, soundings)
    else:
        rows, value, dropped = at_level(own.column, profiles, float(variable.level), maximum_gap)
    at = profiles.iloc[rows]
    p = at["pressure"].to_numpy()
    scale, offset = conversion(own.units, variable.units, f"soundings, variable {variable.name!r}")
    sigma = overriding_error(errors, variable.name, p)
    if sigma is None:
        sigma = overriding_error(errors, quantity, p)
        sigma = sounding_error(quantity, p, at["full_temperature"].to_numpy()) if sigma is None else sigma
        sigma = sigma * scale
    launched, _ = launch_time(at)
    flown = (at["since"].to_numpy() * 1e9).astype("m8[ns]")
    table = pd.DataFrame(
        {
            "time": launched + flown if moving else at["time"].to_numpy(),
            "lat": at["at_lat" if moving else "lat"].to_numpy(),
            "lon": (at["at_lon" if moving else "lon"].to_numpy() + 180) % 360 - 180,
            "variable": variable.name,
            "value": value * own.scale * scale + offset,
            "error": sigma,
            "units": variable.units,
            "station": at["station"].to_numpy(),
            "level": p,
            "sounding": at["sounding"].to_numpy(),
        }
    )
    span = (float(np.min(sigma)), float(np.max(sigma))) if len(sigma) else None
    return table, VariableReport(
        variable.name, quantity, variable.level, soundings, len(table), dropped, span
    )


def _less(report: VariableReport, far: int) -> VariableReport:
    dropped = {**report.dropped, DEPARTURE: far} if far else report.dropped
    return replace(report, used=report.used - far, dropped=dropped)


def _unused(raw: pd.DataFrame, wanted: list[tuple[Variable, str]]) -> dict[str, dict[float, int]]:
    """Values at mandatory levels that are not levels of the state, by quantity and pressure."""
    mandatory = raw[(raw["level_type"] == 1) & raw["pressure"].notna()]
    used: dict[str, set[float]] = {}
    for variable, quantity in wanted:
        used.setdefault(QUANTITIES[quantity].column, set()).add(float(variable.level or 0))
    out = {}
    for quantity, own in QUANTITIES.items():
        if own.column in used and quantity in {q for _, q in wanted}:
            left = mandatory[mandatory[own.column].notna() & ~mandatory["pressure"].isin(used[own.column])]
            counts = Counter(float(p) for p in left["pressure"])
            if counts:
                out[quantity] = dict(counts)
    return out
