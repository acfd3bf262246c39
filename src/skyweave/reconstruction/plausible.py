"""Whether the values of a source can be in the units that they are taken to have."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from skyweave.errors import SkyweaveError
from skyweave.observe.assemble import ObservationSet
from skyweave.observe.observation import PointObservation, StateObservation
from skyweave.prior.storage import LearntPrior
from skyweave.state import Variable
from skyweave.transform import Transform
from skyweave.units import conversion

__all__ = ["FAR", "check_plausible", "usual_units"]

FAR = 8.0
"""Standard deviations from the prior's mean at which the median of a source is taken for one in other units."""

USUAL = (
    *(
        "degC",
        "degF",
        "K",
        "hPa",
        "kPa",
        "Pa",
        "inHg",
        "mmHg",
        "m s-1",
        "km/h",
        "kt",
        "mph",
        "m",
        "km",
        "dam",
        "ft",
    ),
    *(
        "mm",
        "cm",
        "in",
        "mm/day",
        "mm/h",
        "kg m-2 s-1",
        "g kg-1",
        "kg kg-1",
        "ug m-3",
        "ppmv",
        "ppbv",
        "%",
        "1",
        "1e-3",
    ),
    *("DU", "J m-2", "W m-2", "m2 s-2", "degree", "rad"),
)
"""Units that are tried when those of a source cannot be right."""


def check_plausible(observed: ObservationSet, given: Sequence[StateObservation], prior: LearntPrior) -> None:
    """Refuse a source whose values are those of another unit.

    Args:
        observed: all observations.
        given: their sources, in the order in which they were assembled.
        prior: knows what is usual.

    Raises:
        SkyweaveError: the median of a variable lies further than `FAR` standard deviations from what the prior learnt.
    """
    for number, (source, stated) in enumerate(zip(observed.sources, given, strict=True)):
        for c, variable in enumerate(prior.spec.variables):
            own = observed.value[(observed.source == number) & (observed.channel == c)]
            if not len(own):
                continue
            law = prior.transform.transforms[c]

            def away(value: float, law: Transform = law) -> float:
                return abs(float(law.forward(torch.tensor(value))))

            median = float(np.median(own))
            if not away(median) <= FAR:
                usual = float(law.inverse(torch.tensor(0.0)))
                raise SkyweaveError(
                    f"{source.name}: the median of its {variable.name} is {median:g} {variable.units}, "
                    f"{away(median):.0f} standard deviations from the prior's {usual:g} {variable.units}; "
                    f"{_remedy(stated, variable, median, away)}"
                )


def _remedy(
    source: StateObservation, variable: Variable, median: float, away: Callable[[float], float]
) -> str:
    """How the units of one variable are stated where the source has them."""
    several = False
    if isinstance(source, PointObservation):
        rows = source.table[source.table["variable"] == variable.name]
        texts = sorted({u for u in rows["units"] if isinstance(u, str) and u}) if "units" in rows else []
        if texts:
            # The column wins over what is stated for the source.
            return f"correct its units: its column 'units' (or heading) says {', '.join(texts)}"
        several = source.table["variable"].nunique() > 1
        text = source.units_of(variable.name) or ""
    else:
        text = source.units if source.units is not None else str(source.data.attrs.get("units", ""))
    scale, offset = conversion(text, variable.units, variable.name)
    fitting = usual_units((median - offset) / scale, variable, away)
    ways = []
    for unit in fitting or ["..."]:
        yaml, python = (
            (f"{{{variable.name}: {unit}}}", f"{ {variable.name: unit} }") if several else (unit, repr(unit))
        )
        ways.append(f"`units: {yaml}` at the source in the configuration, units={python} in Python")
    how = "; or ".join(ways)
    if len(fitting) > 1:
        # Which one it is only the caller knows: the nearest to the prior's mean is often not the one.
        return f"state its units; {' or '.join(fitting)} fit: {how}"
    return f"state its units: {how}" if fitting else f"state its units ({how}), or correct its values"


def usual_units(raw: float, variable: Variable, away: Callable[[float], float]) -> list[str]:
    """All usual units in which a value as it was given can be one that the prior learnt; of equal ones the first."""
    found: dict[tuple[float, float], str] = {}
    for unit in USUAL:
        try:
            law = conversion(unit, variable.units, variable.name)
        except SkyweaveError:
            continue
        if away(raw * law[0] + law[1]) <= FAR:
            found.setdefault((round(law[0], 9), round(law[1], 6)), unit)
    return list(found.values())
