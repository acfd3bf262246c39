"""What the scores of sets and sequences are given: tensors, arrays or labelled arrays, computed in double."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["double"]


def double(values: Any) -> Tensor:
    """A float64 tensor of a tensor, or of anything that NumPy can read, without history of gradients."""
    if isinstance(values, Tensor):
        return values.detach().double()
    return torch.from_numpy(np.array(values, dtype=np.float64))
