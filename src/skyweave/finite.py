"""Numbers that are none: the error that ends a run where a network, a model or a covariance gives them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from skyweave.errors import SkyweaveError

__all__ = ["NotFiniteError", "check_channels", "check_tensor"]


class NotFiniteError(SkyweaveError):
    """NaN or an infinite number where none can be; the message names the place."""


def check_tensor(value: Tensor, what: str) -> None:
    """Refuse a tensor with NaN or infinite numbers.

    Raises:
        NotFiniteError: "`what` is not finite", with how many values of how many.
    """
    if not bool(torch.isfinite(value).all()):
        wrong = int((~torch.isfinite(value)).sum())
        raise NotFiniteError(f"{what} is not finite in {wrong} of {value.numel()} values")


def check_channels(
    fields: Tensor, names: Sequence[str], what: str, *, missing: Tensor | None = None, where: str = ""
) -> None:
    """Refuse fields ``(..., C, H, W)`` with NaN or infinite numbers, naming the variables.

    Args:
        fields: of any leading shape.
        names: of the ``C`` channels; their numbers where there are fewer names.
        what: the fields are, such as "the output of the network".
        missing: true where values may be missing, like `fields`.
        where: added to the message, such as "at sigma = 2".

    Raises:
        NotFiniteError: with variables, counts and place.
    """
    right = torch.isfinite(fields) if missing is None else torch.isfinite(fields) | missing
    if bool(right.all()):
        return
    counts = (~right).movedim(-3, 0).flatten(1).sum(1).tolist()
    each = fields.numel() // fields.shape[-3]
    labels = names if len(names) == len(counts) else [f"channel {c}" for c in range(len(counts))]
    told = ", ".join(f"{n} of {each} values of {label}" for label, n in zip(labels, counts, strict=True) if n)
    raise NotFiniteError(f"{what} is not finite{f' {where}' if where else ''}: {told}")
