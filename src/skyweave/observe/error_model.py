"""The error of one source, as it is stated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from pydantic import ConfigDict

from skyweave.errors import SkyweaveError
from skyweave.keywords import STRICT

__all__ = ["Correlation", "ErrorModel", "error_model"]

Correlation = Literal["exponential", "gaspari-cohn"]


@dataclass(frozen=True)
class ErrorModel:
    r"""Error of one source, in the units in which its observations are given.

    .. math:: \sigma^2 = \sigma_{abs}^2 + (\epsilon |y|)^2 + \sigma_{rep}^2

    Args:
        absolute: standard deviation of the instrument's error, units of the observation; an error given per
            row or per cell replaces it.
        relative: fraction of the observed value, without unit.
        representativeness: standard deviation of what the observation sees and the grid cannot, units of the
            observation.
        correlation_length_km: distance over which errors of one source, variable and time are correlated
            (km); ``None`` for independent errors.
        correlation: ``"exponential"`` or ``"gaspari-cohn"``.

    Raises:
        SkyweaveError: for a negative or non-finite number, or an unknown correlation.
    """

    absolute: float = 0.0
    relative: float = 0.0
    representativeness: float = 0.0
    correlation_length_km: float | None = None
    correlation: Correlation = "exponential"

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    def __post_init__(self) -> None:
        for name in ("absolute", "relative", "representativeness"):
            value = getattr(self, name)
            if not np.isfinite(value) or value < 0:
                raise SkyweaveError(
                    f"observation error: {name} is {value}, it must be a number of zero or more"
                )
        length = self.correlation_length_km
        if length is not None and not (np.isfinite(length) and length > 0):
            raise SkyweaveError(
                f"observation error: correlation_length_km is {length}, it must be positive or None"
            )
        if self.correlation not in ("exponential", "gaspari-cohn"):
            raise SkyweaveError(
                f"observation error: correlation is {self.correlation!r}, "
                "known are 'exponential' and 'gaspari-cohn'"
            )

    @property
    def is_zero(self) -> bool:
        """True when the model alone gives no observation a positive error."""
        return self.absolute == self.relative == self.representativeness == 0

    def measurement_variance(self, value: np.ndarray, absolute: np.ndarray | None = None) -> np.ndarray:
        """Variance without representativeness, ``absolute^2 + (relative |value|)^2``, units squared.

        Args:
            value: observed values, any shape.
            absolute: errors per value that replace ``absolute``; NaN where there is none.
        """
        sigma = np.full(np.shape(value), float(self.absolute))
        if absolute is not None:
            sigma = np.where(np.isnan(absolute), sigma, absolute)
        if self.relative == 0:
            return sigma**2
        return sigma**2 + (self.relative * np.abs(value)) ** 2

    def variance(self, value: np.ndarray, absolute: np.ndarray | None = None) -> np.ndarray:
        """Full variance of each value, units squared."""
        return self.measurement_variance(value, absolute) + self.representativeness**2


def error_model(error: ErrorModel | float) -> ErrorModel:
    """A number as an error model: an absolute standard deviation."""
    return error if isinstance(error, ErrorModel) else ErrorModel(absolute=float(error))
