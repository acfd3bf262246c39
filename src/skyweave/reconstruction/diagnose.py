"""What innovations say of the sources of a reconstruction, before it is made."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from skyweave.grid import Grid
from skyweave.keywords import settings_of, takes
from skyweave.observe.assemble import ObservationSet, is_called
from skyweave.observe.observation import Observation
from skyweave.prior.storage import LearntPrior
from skyweave.reconstruction.opening import open_reconstruction
from skyweave.reconstruction.settings import Settings
from skyweave.sources.estimates import SourceEstimates, estimate_sources

__all__ = ["diagnose_sources"]


@takes(Settings)
def diagnose_sources(
    prior: LearntPrior | str | Path,
    observations: Sequence[Observation] | Observation,
    *,
    like: xr.Dataset | xr.DataArray | Grid | None = None,
    times: Sequence[object] | np.ndarray | None = None,
    settings: Settings | None = None,
    **changes: Any,
) -> SourceEstimates:
    """Errors, weights and biases of all sources from innovations, without truth; nothing is changed.

    Biases are those of the sources that ask for it, and with ``anchor`` of all but the anchors, against the others;
    where none asks and no anchor is named, those of all sources against the prior's climatology, whose standard
    errors are wide. Errors are estimated without the significant ones of the sources that ask.

    Args:
        prior, observations, like, times, settings, changes: as in `skyweave.reconstruct`; ``anchor`` and
            ``innovations`` are among the settings.

    Returns:
        Estimates; ``table(estimates.rows())`` of `skyweave.verify` prints them.

    Raises:
        SkyweaveError: inputs that do not fit one another, no usable observation.
    """
    chosen = settings_of(Settings, settings, changes, "diagnose_sources")
    made = open_reconstruction(prior, observations, chosen, like=like, times=times, whole=True)
    assert isinstance(made.observed, ObservationSet)
    given = list(observations) if isinstance(observations, Sequence) else [observations]
    names = [s.name for s in made.observed.sources]
    asking = {k for k, o in enumerate(given) if o.bias == "estimate"}
    held = {k for k, n in enumerate(names) for a in chosen.anchor or () if is_called(a, n)}
    wanted = set(range(len(given))) - held if chosen.anchor or not asking else asking
    return estimate_sources(
        made.observed,
        made.background,
        window=made.prior.spec.window,
        biases={k: given[k].bias_predictors for k in sorted(wanted)},
        removable=asking,
        anchor=chosen.anchor,
        how=chosen.estimation,
        seed=chosen.seed,
        identities=made.target.identities(),
        batch=made.plan.at_once or made.plan.batch,
        device=chosen.device,
    )
