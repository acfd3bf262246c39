"""Flags of quality in gridded fields: applied where the caller says how, told where he does not."""

from __future__ import annotations

import numpy as np
import xarray as xr

from skyweave.errors import SkyweaveError
from skyweave.io.flags import Quality, limits_of, meaning_words

__all__ = ["screened"]


def screened(ds: xr.Dataset, name: str, quality: Quality, where: str) -> tuple[xr.Dataset, tuple[str, ...]]:
    """A dataset in which a field is missing where its flags are not among those kept; stays lazy.

    Args:
        ds: from `skyweave.io.open_fields`, with the fields of flags.
        name: of the field.
        quality: as for `skyweave.io.flags`; cells without a flag are missing.
        where: file, for messages.

    Returns:
        The dataset, and what is to be told.

    Raises:
        SkyweaveError: flags along other dimensions than the field's, or limits that do not fit them.
    """
    field, notes = ds[name], []
    for flag, how in quality.items():
        told = f"{where}: {flag!r}"
        if not set(ds[flag].dims) <= set(field.dims):
            raise SkyweaveError(
                f"{told} ({', '.join(map(str, ds[flag].dims))}) does not lie along {name!r} "
                f"({', '.join(map(str, field.dims))}), so it cannot screen it"
            )
        wanted = meaning_words(ds[flag], how, told)
        texts = [wanted] if isinstance(wanted, str) else [w for w in np.ravel(np.asarray(wanted, object))]
        if all(isinstance(text, str) for text in texts):
            good = ds[flag].isin(_numbers(texts, told))
        else:
            low, high = limits_of(wanted, told)
            good = (ds[flag] >= low) & (ds[flag] <= high)
        field = field.where(good)
        notes.append(f"cells kept by quality: {flag} {how}")
    return ds.assign({name: field.transpose(*ds[name].dims)}), tuple(notes)


def _numbers(texts: list[object], where: str) -> list[float]:
    try:
        return [float(str(text)) for text in texts]
    except ValueError:
        raise SkyweaveError(
            f"{where}: its flags are numbers without meanings; name those kept as in ['0', '1']"
        ) from None
