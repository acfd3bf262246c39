"""A prior of positive variables as one of their logarithms, and its members back in physical units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import xarray as xr

from skyweave.errors import SkyweaveError
from skyweave.prior.storage import LearntPrior
from skyweave.state import Variable
from skyweave.transform import Log10Standardise, Standardise, StateTransform

__all__ = ["LOGARITHM", "of_logarithms", "to_physical"]

LOGARITHM = "log10_"
"""Before the name of a variable whose logarithm is meant."""


def of_logarithms(prior: LearntPrior, names: Sequence[str]) -> LearntPrior:
    """The same prior as one of the logarithms of some variables: the network sees the same numbers.

    Args:
        prior: with the transform "log10" for these variables.
        names: of the variables; their logarithms have `LOGARITHM` before the name.

    Raises:
        SkyweaveError: another transform.
    """
    variables, transforms = [], []
    for variable, transform in zip(prior.spec.variables, prior.transform.transforms, strict=True):
        if variable.name in names:
            if not isinstance(transform, Log10Standardise):
                raise SkyweaveError(
                    f"{variable.name}: the coarse law is one of logarithms, the prior's transform {transform.kind!r} "
                    "is not; fit the law with logarithmic=False, or train the prior with transform log10"
                )
            variable = Variable(f"{LOGARITHM}{variable.name}", "1")
            transform = Standardise(transform.mean, transform.std)
        variables.append(variable)
        transforms.append(transform)
    return replace(
        prior,
        spec=replace(prior.spec, variables=tuple(variables)),
        transform=StateTransform(tuple(transforms)),
    )


def to_physical(made: xr.Dataset, prior: LearntPrior, names: Sequence[str]) -> xr.Dataset:
    """Members, mean, spread and quantiles of variables whose logarithms were drawn.

    Args:
        made: by `skyweave.reconstruct` with a prior of `of_logarithms`.
        prior: the original one.
        names: as there.
    """
    out = made
    for variable in prior.spec.variables:
        if variable.name not in names:
            continue
        label = f"{LOGARITHM}{variable.name}"
        attrs = {
            k: v for k, v in vars(variable).items() if k in ("units", "standard_name", "long_name") and v
        }
        with xr.set_options(keep_attrs=True):
            members = 10 ** made[label]
            fields = {"": members, "_mean": members.mean("member"), "_spread": members.std("member", ddof=1)}
            if f"{label}_quantile" in made:
                fields["_quantile"] = 10 ** made[f"{label}_quantile"]
        out = out.drop_vars([f"{label}{end}" for end in fields if f"{label}{end}" in made])
        out = out.assign(
            {f"{variable.name}{end}": field.assign_attrs(attrs) for end, field in fields.items()}
        )
        out = out.rename(
            {str(n): str(n).replace(label, variable.name) for n in out if str(n).startswith(label)}
        )
    return out
