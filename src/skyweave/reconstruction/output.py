"""The answer: members, mean, spread, quantiles and provenance, labelled and with its history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dask.array as da
import numpy as np
import torch
import xarray as xr

from skyweave.finite import check_channels
from skyweave.reconstruction.output_grid import Target
from skyweave.state import StateSpec, apply_bounds, attributes
from skyweave.transform import ToPhysical

__all__ = ["PROVENANCE", "provenance", "summarise", "template", "to_physical"]

PROVENANCE = ("left_missing", "observed", "filled", "extrapolated", "conflict")
"""Meanings of the flags 0 to 4; the last are observed cells whose observations the result contradicts."""


def to_physical(
    x: torch.Tensor, transform: ToPhysical, spec: StateSpec
) -> tuple[torch.Tensor, dict[str, int]]:
    """Normalised states in physical units within the variables' bounds, and how many values were clipped.

    Raises:
        NotFiniteError: NaN or infinite values, which bounds would hide; with the variables.
    """
    check_channels(x, spec.names, "the state, in normalised units,")
    physical = transform.inverse(x)
    check_channels(physical, spec.names, "the state in physical units")
    return apply_bounds(physical, spec)


def template(
    spec: StateSpec,
    target: Target,
    members: int,
    quantiles: Sequence[float],
    attrs: Mapping[str, Any],
    names: Mapping[str, str] | None = None,
) -> xr.Dataset:
    """The output without its values: every variable, coordinate and attribute.

    Long names are those of the caller's data in `names`, by variable, or follow from the standard name: what the files
    that the prior was trained on said of theirs need not be true of these.
    """
    dims = target.dims
    sizes = (target.count, *target.grid.shape)
    coords: dict[str, Any] = {"member": ("member", np.arange(members), {"long_name": "ensemble member"})}
    if quantiles:
        coords["quantile"] = (
            "quantile",
            np.asarray(quantiles, dtype=np.float64),
            {"long_name": "probability"},
        )
    coords |= target.coords
    fields: dict[str, Any] = {}
    for v in spec.variables:
        label = (names or {}).get(v.name) or v.standard_name.replace("_", " ") or v.name
        fields[v.name] = _empty(("member", *dims), (members, *sizes), attributes(v) | {"long_name": label})
        for suffix, text, method in (
            ("mean", "ensemble mean", "member: mean"),
            ("spread", "ensemble standard deviation", "member: standard_deviation"),
        ):
            own = {**attributes(v), "long_name": f"{label}, {text}", "cell_methods": method}
            fields[f"{v.name}_{suffix}"] = _empty(dims, sizes, own)
        if quantiles:
            own = attributes(v) | {"long_name": f"{label}, ensemble quantiles"}
            fields[f"{v.name}_quantile"] = _empty(("quantile", *dims), (len(quantiles), *sizes), own)
        flags = {
            "long_name": f"{label}, where its values come from",
            "flag_values": np.arange(len(PROVENANCE), dtype=np.int8),
            "flag_meanings": " ".join(PROVENANCE),
        }
        fields[f"{v.name}_provenance"] = (dims, da.zeros(sizes, dtype=np.int8), flags)
    return xr.Dataset(fields, coords=coords, attrs=dict(attrs))


def _empty(dims: tuple[str, ...], sizes: tuple[int, ...], attrs: Mapping[str, Any]) -> tuple[Any, ...]:
    return dims, da.zeros(sizes, dtype=np.float32), dict(attrs)


def summarise(members: np.ndarray, quantiles: Sequence[float]) -> dict[str, np.ndarray]:
    """Mean, standard deviation (divisor M - 1) and quantiles over the first axis, NaN where members are."""
    spread = members.std(axis=0, ddof=1) if len(members) > 1 else np.zeros_like(members[0])
    out = {"mean": members.mean(axis=0), "spread": spread}
    if len(quantiles):
        out["quantile"] = np.quantile(members, quantiles, axis=0).astype(np.float32)
    return out


def provenance(
    shape: tuple[int, int, int],
    observed: np.ndarray | None,
    support: np.ndarray | None,
    domain_mask: np.ndarray | None,
) -> np.ndarray:
    """Flags of one variable: observed cells, filled ones, extrapolated ones, those left missing.

    Args:
        observed: cells that a grid or point observation touches directly, ``(T, H, W)``.
        support: cells within reach of observations of this variable, their convex neighbourhood in time and space;
            the others are extrapolated.
        domain_mask: true where values are wanted, ``(H, W)``.
    """
    flags = np.full(shape, PROVENANCE.index("extrapolated"), dtype=np.int8)
    if support is not None:
        flags[support] = PROVENANCE.index("filled")
    if observed is not None:
        flags[observed] = PROVENANCE.index("observed")
    if domain_mask is not None:
        flags[:, ~domain_mask] = PROVENANCE.index("left_missing")
    return flags
