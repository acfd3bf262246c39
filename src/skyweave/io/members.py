"""Ensembles in files: which dimension holds the members, and what their mean is worth as an observation."""

from __future__ import annotations

import numpy as np
import xarray as xr

from skyweave.errors import SkyweaveError

__all__ = ["ensemble_mean", "find_members"]

MEMBER_NAMES = (
    "number", "member", "members", "realization", "realisation", "ensemble", "ensemble_member", "ens",
)  # fmt: skip


def find_members(field: xr.DataArray | xr.Dataset) -> str | None:
    """Name of the dimension of the members, by its standard name ``realization``, then by name, or None."""
    for dim in field.dims:
        if dim in field.coords and field[dim].attrs.get("standard_name") == "realization":
            return str(dim)
    return next((str(dim) for dim in field.dims if str(dim).lower() in MEMBER_NAMES), None)


def ensemble_mean(field: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    r"""Mean of the members, and its standard error as an estimate of the truth.

    Where the truth is a draw from the same distribution as the M members, of standard deviation s,

    .. math:: \operatorname{Var}(y - \bar x) = s^2 (1 + 1/M) .

    A cell where a member is missing is missing. Values stay lazy.

    Args:
        field: with a dimension of members, any other dimensions.

    Returns:
        ``(mean, error)``, both without that dimension, in the units of the field.

    Raises:
        SkyweaveError: no members, or a single one, which has no spread.
    """
    dim = find_members(field)
    count = field.sizes[dim] if dim is not None else 0
    if dim is None or count < 2:
        raise SkyweaveError(
            f"variable {field.name!r} has {count or 'no'} members, which have no spread; state an error, as in "
            f"--grid FILE:{field.name}=ERROR"
        )
    # Members are chunks of their own in most files; sums over them need no more than a few fields at once.
    mean = field.mean(dim, skipna=False, keep_attrs=True)
    spread = field.astype(np.float64).std(dim, ddof=1, skipna=False)
    error = (spread * np.sqrt(1 + 1 / count)).assign_attrs(units=field.attrs.get("units", ""))
    return mean, error
