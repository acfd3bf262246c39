"""Normalisations of a variable: fitted on training data only, invertible, differentiable, plain numbers."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skyweave.errors import SkyweaveError, did_you_mean

__all__ = [
    "TRANSFORMS",
    "Identity",
    "Log1pQuantile",
    "Log10Standardise",
    "Standardise",
    "StateTransform",
    "ToPhysical",
    "Transform",
    "transform_from_dict",
]

Values = NDArray[Any]

# Exponents past these would overflow single precision; a network early in training may ask for them.
_LOG10_LIMIT = 30.0
_LN_LIMIT = 70.0


class Transform(ABC):
    """An invertible map from physical ``x`` to normalised ``z``, element by element; NaN stays NaN.

    `forward` and `inverse` are exact inverses on the range stated by each transform. Tensors may have any
    shape, floating type and device; the result has the same.
    """

    kind: ClassVar[str]
    linear: ClassVar[bool]

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """``z`` of physical values ``x``."""

    @abstractmethod
    def inverse(self, z: Tensor) -> Tensor:
        """``x``, physical units, of normalised values ``z``."""

    @abstractmethod
    def derivative(self, z: Tensor) -> Tensor:
        """``dx/dz`` at ``z``, physical units; the tangent of `inverse`."""

    @classmethod
    @abstractmethod
    def fit(cls, values: Values, **options: Any) -> Self:
        """Parameters from training values in physical units; any shape, missing values (NaN) are left out.

        Raises:
            SkyweaveError: no finite value, or values that do not vary.
        """

    @property
    def affine(self) -> tuple[float, float]:
        """``(offset, scale)`` of a linear transform, ``x = offset + scale z``."""
        raise TypeError(f"{type(self).__name__} is not linear")

    def to_dict(self) -> dict[str, Any]:
        """The kind and parameters as plain numbers, for JSON; see `transform_from_dict`."""
        return {"kind": self.kind, **asdict(self)}  # type: ignore[call-overload]


@dataclass(frozen=True)
class Identity(Transform):
    """``z = x``: for data that are normalised already."""

    kind: ClassVar[str] = "identity"
    linear: ClassVar[bool] = True

    def forward(self, x: Tensor) -> Tensor:
        return x

    def inverse(self, z: Tensor) -> Tensor:
        return z

    def derivative(self, z: Tensor) -> Tensor:
        return torch.ones_like(z)

    @property
    def affine(self) -> tuple[float, float]:
        return 0.0, 1.0

    @classmethod
    def fit(cls, values: Values, **options: Any) -> Self:
        _finite(values, cls.kind)
        return cls(**options)


@dataclass(frozen=True)
class Standardise(Transform):
    r""":math:`z = (x - \mu) / s`; exact for all values.

    Args:
        mean: :math:`\mu`, physical units.
        std: :math:`s > 0`, physical units.
    """

    mean: float
    std: float
    kind: ClassVar[str] = "standardise"
    linear: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check_scale(self.std, "std", self.kind)
        _check_number(self.mean, "mean", self.kind)

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std

    def inverse(self, z: Tensor) -> Tensor:
        return z * self.std + self.mean

    def derivative(self, z: Tensor) -> Tensor:
        return torch.full_like(z, self.std)

    @property
    def affine(self) -> tuple[float, float]:
        return self.mean, self.std

    @classmethod
    def fit(cls, values: Values, **options: Any) -> Self:
        finite = _finite(values, cls.kind)
        return cls(float(finite.mean()), float(finite.std()), **options)


@dataclass(frozen=True)
class Log10Standardise(Transform):
    r""":math:`z = (\log_{10}\max(x, f) - \mu) / s`, the downscaling paper's transform (section 2.4).

    Exact for ``x >= floor``. Values below the floor, zero and negative retrievals included, are taken for the
    floor; the inverse is positive everywhere.

    Args:
        mean: :math:`\mu`, of the logarithm.
        std: :math:`s > 0`, of the logarithm.
        floor: :math:`f > 0`, physical units.
    """

    mean: float
    std: float
    floor: float
    kind: ClassVar[str] = "log10"
    linear: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _check_scale(self.std, "std", self.kind)
        _check_scale(self.floor, "floor", self.kind)
        _check_number(self.mean, "mean", self.kind)

    def forward(self, x: Tensor) -> Tensor:
        return (torch.log10(x.clamp(min=self.floor)) - self.mean) / self.std

    def inverse(self, z: Tensor) -> Tensor:
        return 10 ** (z * self.std + self.mean).clamp(-_LOG10_LIMIT, _LOG10_LIMIT)

    def derivative(self, z: Tensor) -> Tensor:
        return self.inverse(z) * (math.log(10) * self.std)

    @classmethod
    def fit(cls, values: Values, *, floor: float | None = None, **options: Any) -> Self:
        """Mean and standard deviation of the logarithm of training values.

        Args:
            values: physical units, any shape; NaN is left out.
            floor: physical units; by default the smallest positive value, but no less than 1e-4 of the median
                positive value, so that one stray retrieval near zero does not stretch the scale.
        """
        finite = _finite(values, cls.kind)
        positive = finite[finite > 0]
        if positive.size == 0:
            raise SkyweaveError("transform 'log10': no positive training value; use 'standardise'.")
        if floor is None:
            floor = float(max(positive.min(), 1e-4 * np.median(positive)))
        logarithm = np.log10(np.maximum(finite, floor))
        return cls(float(logarithm.mean()), float(logarithm.std()), float(floor), **options)


@dataclass(frozen=True)
class Log1pQuantile(Transform):
    r""":math:`z = 2\,(\ln(1 + x) - q_{01}) / (q_{99} - q_{01}) - 1`, AODDiff's transform (its section 2.2).

    The two quantiles of the training values lie at -1 and 1. Exact for ``x >= -0.999``, so slightly negative
    retrievals pass unharmed; anything lower is taken for -0.999. The inverse can be negative down to -1:
    physical bounds are applied by `skyweave.state.apply_bounds`.

    Args:
        q01: 1 % quantile of ``ln(1 + x)`` over the training values.
        q99: 99 % quantile.
    """

    q01: float
    q99: float
    kind: ClassVar[str] = "log1p-quantile"
    linear: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _check_scale(self.q99 - self.q01, "q99 - q01", self.kind)
        _check_number(self.q01, "q01", self.kind)

    def forward(self, x: Tensor) -> Tensor:
        return 2 * (torch.log1p(x.clamp(min=-0.999)) - self.q01) / (self.q99 - self.q01) - 1

    def _exponent(self, z: Tensor) -> Tensor:
        return ((z + 1) * (0.5 * (self.q99 - self.q01)) + self.q01).clamp(-_LN_LIMIT, _LN_LIMIT)

    def inverse(self, z: Tensor) -> Tensor:
        return torch.expm1(self._exponent(z))

    def derivative(self, z: Tensor) -> Tensor:
        return torch.exp(self._exponent(z)) * (0.5 * (self.q99 - self.q01))

    @classmethod
    def fit(cls, values: Values, **options: Any) -> Self:
        logarithm = np.log1p(np.maximum(_finite(values, cls.kind), -0.999))
        q01, q99 = np.quantile(logarithm, [0.01, 0.99])
        return cls(float(q01), float(q99), **options)


TRANSFORMS: dict[str, type[Transform]] = {
    cls.kind: cls for cls in (Standardise, Log10Standardise, Log1pQuantile, Identity)
}
"""Every transform by the name it has in configuration files."""


def _lookup(kind: str) -> type[Transform]:
    if kind not in TRANSFORMS:
        hint = did_you_mean(kind, list(TRANSFORMS))
        raise SkyweaveError(f"unknown transform {kind!r}{hint}; there are {', '.join(TRANSFORMS)}.")
    return TRANSFORMS[kind]


def transform_from_dict(values: dict[str, Any]) -> Transform:
    """The transform that `Transform.to_dict` described.

    Raises:
        SkyweaveError: an unknown kind, or parameters that do not belong to it.
    """
    parameters = dict(values)
    kind = str(parameters.pop("kind", ""))
    cls = _lookup(kind)
    try:
        # JSON does not tell 1 from 1.0, and whole numbers of any length are none for tensors.
        return cls(**{k: float(v) if type(v) is int else v for k, v in parameters.items()})
    except (TypeError, OverflowError) as error:
        raise SkyweaveError(
            f"transform {kind!r}: wrong parameters {sorted(parameters)} ({error})."
        ) from error


class ToPhysical(Protocol):
    """From normalised states to physical ones: a prior's transform, or one that is seen through another."""

    @property
    def linear(self) -> bool: ...

    def inverse(self, z: Tensor) -> Tensor: ...

    def derivative(self, z: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class StateTransform:
    """One transform per channel of a state.

    Args:
        transforms: ``C`` transforms, in the order of the channels.
    """

    transforms: tuple[Transform, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "transforms", tuple(self.transforms))

    @property
    def linear(self) -> bool:
        """Whether every channel is transformed linearly."""
        return all(t.linear for t in self.transforms)

    def forward(self, x: Tensor) -> Tensor:
        """Normalised state of a physical one, shape ``(..., C, H, W)``."""
        if self.linear:
            offset, scale = self._affine(x)
            return (x - offset) / scale
        return self._each(x, [t.forward for t in self.transforms])

    def inverse(self, z: Tensor) -> Tensor:
        """Physical state, in the units of each variable, of a normalised one, shape ``(..., C, H, W)``."""
        if self.linear:
            offset, scale = self._affine(z)
            return z * scale + offset
        return self._each(z, [t.inverse for t in self.transforms])

    def derivative(self, z: Tensor) -> Tensor:
        """``dx/dz`` of every value, shape ``(..., C, H, W)``, physical units."""
        if self.linear:
            self._check(z)
            return self._affine(z)[1].expand_as(z)
        return self._each(z, [t.derivative for t in self.transforms])

    def _affine(self, x: Tensor) -> tuple[Tensor, Tensor]:
        self._check(x)
        pairs = torch.tensor([t.affine for t in self.transforms], dtype=x.dtype, device=x.device)
        return pairs[:, 0, None, None], pairs[:, 1, None, None]

    def _each(self, x: Tensor, functions: list[Callable[[Tensor], Tensor]]) -> Tensor:
        self._check(x)
        return torch.stack([f(c) for f, c in zip(functions, x.unbind(-3), strict=True)], dim=-3)

    def _check(self, x: Tensor) -> None:
        if x.ndim < 3 or x.shape[-3] != len(self.transforms):
            raise ValueError(f"expected shape (..., {len(self.transforms)}, H, W), got {tuple(x.shape)}")

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and strings, for JSON."""
        return {"transforms": [t.to_dict() for t in self.transforms]}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> StateTransform:
        """The state transform that `to_dict` described."""
        return cls(tuple(transform_from_dict(v) for v in values["transforms"]))

    @classmethod
    def fit(cls, x: Values, kinds: Sequence[str]) -> StateTransform:
        """A transform of the given kind for every channel, fitted on training data.

        Args:
            x: physical units, shape ``(..., C, H, W)``, NaN where missing.
            kinds: ``C`` names out of `TRANSFORMS`.

        Raises:
            SkyweaveError: an unknown kind, or a channel that is empty or constant.
        """
        x = np.asarray(x)
        return cls(tuple(_lookup(k).fit(x[..., c, :, :]) for c, k in enumerate(kinds)))


def _finite(values: Values, kind: str) -> NDArray[np.float64]:
    array = np.asarray(values)
    finite = array[np.isfinite(array)].astype(np.float64)
    if finite.size == 0:
        raise SkyweaveError(f"transform {kind!r}: no finite value among the {array.size} training values.")
    return finite


_LARGEST = torch.finfo(torch.float32).max


def _check_scale(value: float, name: str, kind: str) -> None:
    if not 0 < value <= _LARGEST:
        raise SkyweaveError(
            f"transform {kind!r}: {name} must be positive and finite, got {value}; do the "
            "training values vary?"
        )


def _check_number(value: float, name: str, kind: str) -> None:
    if not abs(value) <= _LARGEST:
        raise SkyweaveError(f"transform {kind!r}: {name} must be finite in single precision, got {value}.")
