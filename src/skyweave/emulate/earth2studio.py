"""An adapter for the prognostic models of earth2studio, by their interface alone."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from skyweave.emulate.forecaster import check_state
from skyweave.errors import SkyweaveError, did_you_mean
from skyweave.grid import Grid
from skyweave.state import StateSpec

__all__ = ["Earth2StudioForecaster"]


@runtime_checkable
class Prognostic(Protocol):
    """The interface of a prognostic model."""

    def __call__(self, x: Tensor, coords: Any) -> tuple[Tensor, Any]: ...

    def input_coords(self) -> Any: ...

    def output_coords(self, coords: Any) -> Any: ...


class Earth2StudioForecaster:
    """A model that is called as ``model(x, coords) -> (x, coords)`` and states its ``input_coords()``.

    That is the prognostic interface of earth2studio's releases: ordered dictionaries of coordinates, tensors with a
    dimension for each. Its variables are the state's; a model that needs several past frames cannot be stepped from
    one state and is refused.

    Args:
        model: as above.
        spec: variables in the model's own units; all that it steps, in any order.
        names: the model's name of a variable, where the two differ, as in ``{"t2m": "t2m", "z": "z500"}``.

    Raises:
        SkyweaveError: a model of another interface, of several past frames, or of other variables.
    """

    def __init__(self, model: Any, spec: StateSpec, names: Mapping[str, str] | None = None) -> None:
        coords = model.input_coords() if isinstance(model, Prognostic) else None
        needed = ("variable", "lat", "lon", "lead_time")
        if not isinstance(coords, Mapping) or any(k not in coords for k in needed):
            raise SkyweaveError(
                f"{type(model).__name__}: not a prognostic model of earth2studio's releases; expected a call "
                f"model(x, coords) and input_coords() with {', '.join(needed)}"
            )
        self.model, self.spec, self._coords = model, spec, coords
        if len(coords["lead_time"]) != 1:
            raise SkyweaveError(
                f"{type(model).__name__}: takes {len(coords['lead_time'])} frames, one after another; a forecaster "
                "here steps from one state"
            )
        theirs = [str(v) for v in coords["variable"]]
        mine = [dict(names or {}).get(n, n) for n in spec.names]
        for name in mine:
            if name not in theirs:
                raise SkyweaveError(
                    f"{type(model).__name__}: has no variable {name!r}{did_you_mean(name, theirs)}; it has "
                    f"{', '.join(theirs)}"
                )
        left = [v for v in theirs if v not in mine]
        if left:
            raise SkyweaveError(
                f"{type(model).__name__}: also needs {', '.join(left)}, which the state does not have"
            )
        self._order = [mine.index(v) for v in theirs]
        self.grid = Grid(np.asarray(coords["lat"], float), np.asarray(coords["lon"], float))
        self.time_step = self._step_length()

    def _step_length(self) -> float:
        out = self.model.output_coords(self.model.input_coords())
        lead = np.asarray(out["lead_time"])
        return float(lead[-1] / np.timedelta64(1, "s"))

    def _inputs(self, time: Any, members: int) -> OrderedDict[str, Any]:
        """Coordinates of an input: members and time first, then as the model has them."""
        when = np.datetime64("NaT") if time is None else np.datetime64(time, "ns")
        own = OrderedDict((k, v) for k, v in self._coords.items() if k not in ("batch", "time"))
        return OrderedDict([("ensemble", np.arange(members)), ("time", np.array([when])), *own.items()])

    @torch.no_grad()
    def step(self, state: Tensor, time: Any, members: Sequence[int] | None = None) -> Tensor:
        """The state one time step later; see `Forecaster`.

        Raises:
            SkyweaveError: another shape, a time that is no date of the standard calendar, or variables that the
                model took but did not give back.
        """
        check_state(state, self.spec, self.grid, type(self.model).__name__)
        if time is not None and not isinstance(time, np.datetime64):
            raise SkyweaveError(
                f"{type(self.model).__name__}: needs dates of the standard calendar, found {type(time).__name__} {time}"
            )
        coords = self._inputs(time, len(state))
        x = state[:, self._order][:, None, None].float()
        y, given = self.model(x, coords)
        variables = [str(v) for v in given["variable"]]
        theirs = [str(v) for v in self._coords["variable"]]
        lost = [v for v in theirs if v not in variables]
        if lost:
            raise SkyweaveError(
                f"{type(self.model).__name__}: does not forecast {', '.join(lost)}, which it needs to go on"
            )
        y = y.reshape(len(state), -1, len(variables), *self.grid.shape)[:, -1]
        back = torch.empty_like(state)
        for place, channel in enumerate(self._order):
            back[:, channel] = y[:, variables.index(theirs[place])].to(state)
        return back
