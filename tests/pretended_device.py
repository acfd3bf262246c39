"""A device that is none: tensors on it hold their numbers, and an operation that mixes them with others is refused.

They say that they are on torch's "meta" device, and every operation on them is carried out on the CPU. What a real
device allows is allowed: copies, numbers without dimensions, indices from the CPU.
"""

from __future__ import annotations

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = torch.device("meta")
aten = torch.ops.aten
BETWEEN = {aten._to_copy.default, aten.copy_.default, aten._local_scalar_dense.default}
INDEXED = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._unsafe_index.Tensor}


class MixedDevicesError(RuntimeError):
    """Tensors of two devices in one operation."""


class There(torch.Tensor):
    """A tensor on the pretended device."""

    inner: torch.Tensor

    @staticmethod
    def __new__(cls, inner):
        strided = inner.layout == torch.strided
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            strides=inner.stride() if strided else None,
            storage_offset=inner.storage_offset() if strided else None,
            dtype=inner.dtype,
            device=DEVICE,
        )
        made.inner = inner
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl

    def __bool__(self):
        return bool(self.inner)

    def tolist(self):
        return self.inner.tolist()

    def __repr__(self):
        return f"There({self.inner!r})"

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return carried_out(func, args, kwargs or {})


def there(x):
    """Onto the pretended device."""
    return x if isinstance(x, There) else There(x.detach())


def here(x):
    """Back."""
    return x.inner if isinstance(x, There) else x


def on_cpu(device):
    return torch.device("cpu") if device is not None and torch.device(device) == DEVICE else device


def carried_out(func, args, kwargs):
    tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
    asked = kwargs.get("device")
    if func not in BETWEEN and any(isinstance(t, There) for t in tensors):
        looked_at = tree_leaves(args[0]) + tree_leaves(args[2:]) if func in INDEXED else tensors
        strays = [t for t in looked_at if isinstance(t, torch.Tensor) and not isinstance(t, There) and t.ndim]
        if strays:
            raise MixedDevicesError(
                f"{func}: a tensor {tuple(strays[0].shape)} of the CPU among those of the device"
            )
    own = {**kwargs, "device": on_cpu(asked)} if "device" in kwargs else kwargs
    plain = tree_map(here, (args, own))
    out = func(*plain[0], **plain[1])
    if func is aten.copy_.default:
        return args[0]
    if asked is not None:
        moved = torch.device(asked) == DEVICE
    else:
        moved = any(isinstance(t, There) for t in tensors)
    if not moved:
        return out
    # What is changed in place stays the tensor that it was.
    same = {id(t.inner): t for t in tensors if isinstance(t, There)}

    def wrapped(t):
        return t if not isinstance(t, torch.Tensor) else same[id(t)] if id(t) in same else There(t)

    return tree_map(wrapped, out)


class _Operations(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return carried_out(func, args, kwargs or {})


class _FromNumbers(TorchFunctionMode):
    """Tensors made of Python's numbers, which torch makes without asking the operations."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is torch.Tensor.new_tensor and isinstance(args[0], There):
            dtype = kwargs.get("dtype") or args[0].dtype
            return There(torch.tensor(args[1], dtype=dtype))
        if func in (torch.tensor, torch.as_tensor) and on_cpu(kwargs.get("device")) != kwargs.get("device"):
            return there(func(*args, **{**kwargs, "device": "cpu"}))
        return func(*args, **kwargs)


class pretended:  # noqa: N801 - used as a statement
    """Within it tensors may be on the pretended device."""

    def __enter__(self):
        self.modes, self.autocast = [_FromNumbers(), _Operations()], torch.autocast
        torch.autocast = lambda device, **settings: self.autocast(str(on_cpu(device)), **settings)
        for mode in self.modes:
            mode.__enter__()
        return DEVICE

    def __exit__(self, *error):
        torch.autocast = self.autocast
        for mode in reversed(self.modes):
            mode.__exit__(*error)
