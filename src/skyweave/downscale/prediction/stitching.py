"""Whole days from patches: halo and Hann taper, members from one noise field, the same whatever the batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from skyweave.downscale.models.downscaler import Domain, Downscaler, Noise, OnePatch, PatchFunction
from skyweave.downscale.models.target_form import SampleLike
from skyweave.downscale.settings import InferenceSection
from skyweave.errors import SkyweaveError
from skyweave.stitch import Tile, add_patch, blend_weights, extract, tiles

__all__ = ["PatchNoise", "SharedNoise", "StitchedDomain", "day_tiles", "predict_fields", "taper"]

_STREAMS = 1 << 32
"""Step numbers that belong to one patch, where patches are drawn by themselves."""


def day_tiles(shape: tuple[int, int], patch: tuple[int, int], stride: int, factor: int = 1) -> list[Tile]:
    """Patches that cover a day, at most `stride` cells apart, the first and last ones on the border.

    Args:
        shape: ``(H, W)`` of the day.
        patch: ``(h, w)``.
        stride: cells.
        factor: patches begin at multiples of it.

    Raises:
        SkyweaveError: the day is smaller than a patch, the stride larger, or they are no multiples of the factor.
    """
    if shape[0] < patch[0] or shape[1] < patch[1]:
        raise SkyweaveError(f"a field of {shape} cells is smaller than the patches of {patch} cells")
    if not 1 <= stride <= min(patch):
        raise SkyweaveError(f"stride {stride} of patches of {patch} cells; choose 1 to {min(patch)}")
    if factor == 1:
        return tiles(shape, patch, (patch[0] - stride, patch[1] - stride))
    if any(size % factor for size in (*shape, *patch, stride)):
        raise SkyweaveError(
            f"a field of {shape} cells in patches of {patch}, {stride} apart, does not divide into cells of "
            f"{factor} x {factor}, in which this model samples; choose multiples of {factor}"
        )
    small = day_tiles(
        (shape[0] // factor, shape[1] // factor), (patch[0] // factor, patch[1] // factor), stride // factor
    )
    return [Tile(_finer(t.i, factor), _finer(t.j, factor), t.border) for t in small]


def _finer(index: NDArray[np.int64], factor: int) -> NDArray[np.int64]:
    return (index[:, None] * factor + np.arange(factor)).ravel()


def _coarser(tile: Tile, factor: int) -> Tile:
    return Tile(tile.i[::factor] // factor, tile.j[::factor] // factor, tile.border)


def taper(tiling: Sequence[Tile], shape: tuple[int, int], window: str, halo: int) -> Tensor:
    r"""Share of each patch in each of its cells; the shares of a cell sum to one everywhere.

    - ``"hann"``: halo dropped, Hann window sampled at half steps, no taper towards the border of the field.
    - ``"paper"``: halo dropped, Eq. 5-9 as published; that window is zero along the border of the field, so what it
      leaves empty there (the outermost rows and columns) is filled with the shares of ``"hann"``.
    - ``"flat"``: the plain average of all patches.
    - ``"nearest"``: each cell from the patch whose centre is nearest, the first of several.

    Args:
        tiling: P patches of one size.
        shape: ``(H, W)``.
        window: one of the four.
        halo: cells; not for the last two.

    Returns:
        ``(P, h, w)``, float64.

    Reference: downscaling paper, section 2.4, Eq. 4-9.
    """
    if window == "hann":
        return blend_weights(tiling, shape, halo=halo)
    if window == "paper":
        shares = blend_weights(tiling, shape, window="paper", halo=halo)
        whole = blend_weights(tiling, shape, halo=halo)
        total = _total(tiling, shape, shares)
        empty = torch.stack([extract(total, tile) for tile in tiling]) < 0.5
        return torch.where(empty, whole, shares)
    if window == "flat":
        shares = torch.ones(len(tiling), *tiling[0].shape, dtype=torch.float64)
        total = _total(tiling, shape, shares)
        return shares / torch.stack([extract(total, tile) for tile in tiling])
    distance = np.full(shape, np.inf)
    owner = np.full(shape, -1)
    for number, tile in enumerate(tiling):
        rows, columns = tile.i - tile.i.mean(), tile.j - tile.j.mean()
        own = np.maximum(np.abs(rows)[:, None], np.abs(columns)[None, :])
        at = np.ix_(tile.i, tile.j)
        nearer = own < distance[at]
        distance[at] = np.where(nearer, own, distance[at])
        owner[at] = np.where(nearer, number, owner[at])
    mine = [torch.from_numpy(owner[np.ix_(tile.i, tile.j)] == n) for n, tile in enumerate(tiling)]
    return torch.stack(mine).double()


def _total(tiling: Sequence[Tile], shape: tuple[int, int], shares: Tensor) -> Tensor:
    total = torch.zeros(shape, dtype=torch.float64)
    for tile, share in zip(tiling, shares, strict=True):
        add_patch(total, torch.ones_like(share), tile, share)
    return total


class StitchedDomain(Domain):
    r"""A field on which a function of patches is evaluated patch by patch, and blended at once.

    .. math:: \hat Y = \frac{\sum_i W_i \tilde Y_i}{\sum_i W_i} \quad\text{(Eq. 7-9)}

    Sums are in double precision, so that the batches and the order of the patches leave no trace.

    Args:
        known: what the network is given on each patch, ``(P, B, K, h, w)``.
        tiling: the P patches.
        shares: of `taper`, ``(P, h, w)``.
        shape: ``(H, W)`` of the field.
        batch: patches (of all members) that pass the network at once.
    """

    def __init__(
        self, known: Tensor, tiling: Sequence[Tile], shares: Tensor, shape: tuple[int, int], batch: int
    ) -> None:
        self.known, self.tiling, self.shares = known, tiling, shares
        self.shape, self.batch = shape, batch

    def __call__(self, function: PatchFunction, fields: Tensor, *, given: int = 1, made: int = 1) -> Tensor:
        members, days = fields.shape[:2]
        at_once = max(1, self.batch // (members * days))
        sources, targets = ([_coarser(t, f) for t in self.tiling] for f in (given, made))
        # The shares of a coarser cell's parts are alike in all patches, so their mean is its share.
        shares = self.shares if made == 1 else F.avg_pool2d(self.shares[:, None], made)[:, 0]
        total: Tensor | None = None
        for start in range(0, len(self.tiling), at_once):
            part = range(start, min(start + at_once, len(self.tiling)))
            cut = torch.stack([extract(fields, sources[n]) for n in part])
            known = self.known[part.start : part.stop, None].expand(-1, members, -1, -1, -1, -1)
            out = function(cut.flatten(0, 2), known.flatten(0, 2))
            out = out.unflatten(0, (len(part), members, days))
            if total is None:
                shape = (members, days, out.shape[3], self.shape[0] // made, self.shape[1] // made)
                total = torch.zeros(shape, dtype=torch.float64, device=out.device)
            for n, patch in zip(part, out, strict=True):
                add_patch(total, patch, targets[n], shares[n])
        assert total is not None
        return total.to(fields.dtype)


@dataclass(frozen=True)
class PatchNoise:
    """Noise of patches that are drawn by themselves: addressed by the number of the patch as well.

    Args:
        noise: of members and days.
        patches: numbers of the patches, which become part of the batch: ``(M, P * B, ...)``.
    """

    noise: Noise
    patches: Sequence[int]

    @property
    def members(self) -> Sequence[int]:
        return self.noise.members

    @property
    def times(self) -> Sequence[int]:
        return [time for _ in self.patches for time in self.noise.times]

    def normal(self, step: int, shape: Sequence[int]) -> Tensor:
        return torch.cat([self.noise.normal(step + (n + 1) * _STREAMS, shape) for n in self.patches], dim=1)


@dataclass(frozen=True)
class SharedNoise:
    """Noise of patches that are drawn by themselves, each from its part of the one field of a member and day.

    Args:
        noise: of members and days.
        tiling: the patches, which become part of the batch: ``(M, P * B, ...)``.
        shape: ``(H, W)`` of the field.
    """

    noise: Noise
    tiling: Sequence[Tile]
    shape: tuple[int, int]

    @property
    def members(self) -> Sequence[int]:
        return self.noise.members

    @property
    def times(self) -> Sequence[int]:
        return [time for _ in self.tiling for time in self.noise.times]

    def normal(self, step: int, shape: Sequence[int]) -> Tensor:
        # A model that samples in coarser cells asks for noise of these.
        factor = self.tiling[0].shape[0] // shape[-2]
        field = self.noise.normal(step, (*shape[:-2], self.shape[0] // factor, self.shape[1] // factor))
        return torch.cat([extract(field, _coarser(tile, factor)) for tile in self.tiling], dim=1)


@dataclass(frozen=True)
class _Cut:
    """A sample cut out of another one."""

    lags: Tensor
    coarse_lags: Tensor
    driver: Tensor
    static: Tensor
    calendar: Tensor


def cut(sample: SampleLike, parts: Sequence[Tile]) -> _Cut:
    """Patches of a sample of whole days; the batch becomes ``(P * B)``, the days of a patch next to one another."""
    maps = (sample.lags, sample.coarse_lags, sample.driver, sample.static)
    lags, coarse_lags, driver, static = (torch.cat([extract(x, tile) for tile in parts]) for x in maps)
    return _Cut(lags, coarse_lags, driver, static, sample.calendar.repeat(len(parts), 1))


@torch.no_grad()
def predict_fields(
    model: Downscaler,
    sample: SampleLike,
    noise: Noise,
    settings: InferenceSection,
    patch: tuple[int, int],
) -> Tensor:
    """Members of whole fine days.

    With ``blend = "steps"`` there is one field of noise for a member and day, and every evaluation of the network is
    blended before the sampler goes on, so that each patch learns through its neighbours what their drivers say. With
    ``"shared"`` each patch is drawn to the end by itself, from its part of that field, and the draws are averaged:
    they are nearly the same where patches overlap, and members keep the variance of single patches. With
    ``"patches"`` each patch has noise of its own, as in the paper: where n patches overlap the average leaves about
    1/n of the variance that they do not agree on.

    Args:
        model: in evaluation mode.
        sample: whole days, batch of B; `lags` may differ between members by passing one member a batch entry.
        noise: of M members and B days.
        settings: stride, halo, window, blend, sampler, steps, batch.
        patch: ``(h, w)`` that the model was trained on.

    Returns:
        Scaled fields ``(B, M, C, H, W)``.

    Raises:
        SkyweaveError: fields smaller than a patch, a stride or a halo that leaves cells uncovered.

    Reference: downscaling paper, section 2.4, Eq. 4-9.
    """
    model.eval()
    shape = (int(sample.driver.shape[-2]), int(sample.driver.shape[-1]))
    tiling = day_tiles(shape, patch, settings.stride, model.factor)
    shares = taper(tiling, shape, "nearest" if model.nearest else settings.window, settings.halo)
    if settings.blend != "steps" or model.nearest:
        drawn = _patches_apart(model, sample, noise, settings, tiling, shares, shape)
    else:
        days = len(sample.driver)
        at_once = max(1, settings.batch // days)
        known = [
            model.known(cut(sample, tiling[n : n + at_once])).unflatten(0, (-1, days))
            for n in range(0, len(tiling), at_once)
        ]
        domain = StitchedDomain(torch.cat(known), tiling, shares, shape, settings.batch)
        drawn = model.draw(domain, noise, settings)
    return model.target_form.inverse(drawn.transpose(0, 1), sample)


def _patches_apart(
    model: Downscaler,
    sample: SampleLike,
    noise: Noise,
    settings: InferenceSection,
    tiling: Sequence[Tile],
    shares: Tensor,
    shape: tuple[int, int],
) -> Tensor:
    members, days = len(noise.members), len(noise.times)
    total = torch.zeros(members, days, model.channels.fine, *shape, dtype=torch.float64)
    at_once = max(1, settings.batch // (members * days))
    for start in range(0, len(tiling), at_once):
        part = range(start, min(start + at_once, len(tiling)))
        cells = [tiling[n] for n in part]
        # A model that takes each cell from one patch has noise without places.
        shared = settings.blend == "shared" and not model.nearest
        own = SharedNoise(noise, cells, shape) if shared else PatchNoise(noise, part)
        drawn = model.draw(OnePatch(model.known(cut(sample, cells))), own, settings)
        drawn = drawn.unflatten(1, (len(part), days))
        total = total.to(drawn.device)
        for place, n in enumerate(part):
            add_patch(total, drawn[:, place], tiling[n], shares[n])
    return total.to(sample.driver.dtype)
