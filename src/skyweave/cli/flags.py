"""The flags that ``skyweave reconstruct`` and ``skyweave check`` share."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

__all__ = ["Flags"]

Repeated = Parameter(consume_multiple=False)


@Parameter(name="*")
@dataclass(frozen=True)
class Flags:
    """Settings given on the command line; what is None was not given.

    Attributes
    ----------
    prior
        Prior file, as `skyweave train` writes it.
    grid
        Gridded source PATH:VARIABLE[=ERROR], as in obs.nc:t2m=0.5, or obs.nc:t2m=T2=0.5 where T2 is its name in the
        file; may be given again.
    points
        Reports PATH[=ERROR], as in stations.csv=0.5, or stations.csv:t2m=T2=0.5,msl=P=100 to take columns by other
        names: a table, .xlsx, AERONET, BUFR, NetCDF of stations, or cells of a file; may be given again.
    soundings
        Radiosondes, IGRA or BUFR: files PATH, or a folder of IGRA files; may be given again.
    like
        File whose grid, and times if it has them, the fields take; the first gridded source by default.
    out
        Output, .zarr or .nc.
    members
        Size of the ensemble (16).
    seed
        Seed of the noise (0); a member is the same field whatever the batch.
    method
        Guidance: covariance (default), mmps, sda, multimodal (the paper's whole sampler), pigdm or dps.
    sampler
        dpm++2m, dpm++2m-sde (default), heun, ancestral; daps, daps-exact or dps as in AODDiff.
    steps
        Noise levels, and so network evaluations per member with most samplers.
    batch
        Members at once; by default as many as memory allows.
    autocast
        Run the network in bfloat16.
    device
        cpu (default), cuda or auto.
    weights
        stated (default), or innovations: errors of the sources are estimated, see docs/sources.md.
    on_conflict
        Where the prior cannot know the scene: warn (default), refuse, or widen its spread, see docs/scenes.md.
    recalibrate
        Apply the spread correction that is stored with the prior.
    overwrite
        Replace an output that exists.
    """

    prior: str | None = None
    grid: Annotated[list[str] | None, Repeated] = None
    points: Annotated[list[str] | None, Repeated] = None
    soundings: Annotated[list[str] | None, Repeated] = None
    like: str | None = None
    out: Path | None = None
    members: int | None = None
    seed: int | None = None
    method: str | None = None
    sampler: str | None = None
    steps: int | None = None
    batch: int | None = None
    autocast: bool | None = None
    device: str | None = None
    weights: str | None = None
    on_conflict: str | None = None
    recalibrate: bool | None = None
    overwrite: bool | None = None

    def given(self) -> dict[str, Any]:
        """The flags by name, unset ones as None."""
        return asdict(self)
