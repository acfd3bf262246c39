"""What a shallow-water world is made of: its constants, and the variables of its states."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from skyweave.errors import SkyweaveError
from skyweave.state import Variable

__all__ = ["SHALLOW_WATER_VARIABLES", "ShallowWaterConfig"]

SHALLOW_WATER_VARIABLES = {
    "u": Variable("u", "m s-1", "eastward_wind", "eastward wind"),
    "v": Variable("v", "m s-1", "northward_wind", "northward wind"),
    "h": Variable("h", "m", "geopotential_height", "height of the free surface"),
    "vorticity": Variable("vorticity", "s-1", "atmosphere_relative_vorticity", "relative vorticity"),
}
"""What a state of shallow water may hold; u, v and h determine it."""


@dataclass(frozen=True)
class ShallowWaterConfig:
    r"""The constants of a shallow-water world.

    Wind and height are relaxed to a zonal jet in each hemisphere, in balance. Eddies of some scales grow by
    themselves in middle latitudes, in the place of baroclinic instability, which one layer does not have; a weak
    random source of vorticity stirs them. Quadratic drag and hyperdiffusion take the energy away. With the defaults
    the eddies have some 200 m2 s-2, winds stay within 70 m s-1, and errors of a perfect model double in two days.
    Without `relaxation`, `growth`, `stirring`, `drag_length` and `diffusion` (see `unforced`) the equations are those
    of Williamson et al. (1992).

    Args:
        shape: ``(H, W)`` of the Gaussian grid; the truncation is the largest without aliasing, T21 for 32 x 64.
        time_step: between frames, s.
        substep: of the numerics, s, at most; by default 1800 s at 32 rows, and as much less as there are more.
        mean_height: of the layer, m; it sets the radius of deformation.
        jet_speed: of the two jets that the flow is relaxed to, m s-1.
        jet_latitude: of their cores, degrees.
        jet_width: their half width, degrees.
        relaxation: days; ``inf`` for none.
        stirring: standard deviation of the random vorticity source, s-1 per day, constant over a frame and
            independent between frames; 0 for none.
        growth: days in which eddies grow by a factor e where they grow fastest; ``inf`` for none.
        eddy_degrees: first and last degree of the spherical harmonics that grow and are stirred.
        drag_length: quadratic drag is the wind times its speed over this length, km; ``inf`` for none.
        diffusion: hours in which the smallest scale decays by a factor e; ``inf`` for none.
        diffusion_order: power of the Laplacian.
        rotation: of the planet, s-1.
        seed: of the initial eddies and of the stirring.
    """

    shape: tuple[int, int] = (32, 64)
    time_step: float = 21600.0
    substep: float | None = None
    mean_height: float = 6000.0
    jet_speed: float = 40.0
    jet_latitude: float = 42.0
    jet_width: float = 15.0
    relaxation: float = 8.0
    growth: float = 1.0
    stirring: float = 3e-6
    eddy_degrees: tuple[int, int] = (8, 14)
    drag_length: float = 7000.0
    diffusion: float = 12.0
    diffusion_order: int = 4
    rotation: float = 7.292e-5
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", (int(self.shape[0]), int(self.shape[1])))
        object.__setattr__(self, "eddy_degrees", tuple(self.eddy_degrees))
        rows, columns = self.shape
        if rows < 8 or rows > 2048 or columns != 2 * rows:
            raise SkyweaveError(
                f"shallow water on {rows} x {columns} cells: give twice as many columns as rows, 8 x 16 to 2048 x 4096"
            )
        for name in (
            "time_step", "mean_height", "jet_width", "relaxation", "growth", "drag_length", "diffusion",
        ):  # fmt: skip
            if not getattr(self, name) > 0:
                raise SkyweaveError(f"shallow water: {name} is {getattr(self, name)}, it must be positive")
        if self.stirring < 0 or not 1 <= self.eddy_degrees[0] <= self.eddy_degrees[1]:
            raise SkyweaveError(
                f"shallow water: stirring {self.stirring} s-1 per day at degrees {self.eddy_degrees}; give a rate "
                "of zero or more and two degrees in order"
            )

    @classmethod
    def unforced(cls, **constants: Any) -> ShallowWaterConfig:
        """Constants of the equations alone, without forcing and without any loss."""
        inf = float("inf")
        free: dict[str, Any] = {name: inf for name in ("relaxation", "growth", "drag_length", "diffusion")}
        return cls(**(free | {"stirring": 0.0} | constants))
