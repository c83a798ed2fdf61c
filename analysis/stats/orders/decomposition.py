"""Why revenue per visitor changed: more buyers, more orders per buyer, or larger orders."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import norm

from analysis.stats.moments import Floats, Moments

# Derivatives of each factor's logarithm by those of buyers, orders and revenue per visitor; the factors add up to the first.
FACTORS: Mapping[str, tuple[int, int, int]] = {
    "revenue_per_visitor": (0, 0, 1),
    "conversion": (1, 0, 0),
    "orders_per_buyer": (-1, 1, 0),
    "average_order_value": (0, -1, 1),
}
NO_REVENUE = "an arm has no orders, or no revenue above 0"


@dataclass(frozen=True, slots=True)
class LogLift:
    """
    The change of one factor.

    Attributes:
        log_lift: Logarithm of variant over control; None with a reason.
        low, high: Its interval.
    """

    log_lift: float | None
    low: float | None
    high: float | None
    reason: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        values: dict[str, Any] = {"log_lift": self.log_lift, "low": self.low, "high": self.high}
        return values if self.reason is None else values | {"reason": self.reason}


@dataclass(frozen=True, slots=True)
class Decomposition:
    """The change of revenue per visitor and of its factors, by their names in `FACTORS`."""

    factors: Mapping[str, LogLift]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {name: factor.to_dict() for name, factor in self.factors.items()}


def decompose(control: Moments, treatment: Moments, confidence: float) -> Decomposition:
    """
    Split the lift in revenue per visitor into the lifts of its factors, with one covariance matrix for all of them.

    Args:
        control, treatment: Moments over buyer, orders and revenue of each unit, in this order.
        confidence: Coverage of each interval, in (0, 1).
    """
    if any(arm.n < 2 or (arm.means <= 0).any() for arm in (control, treatment)):
        return Decomposition(dict.fromkeys(FACTORS, LogLift(None, None, None, NO_REVENUE)))
    z = float(norm.isf((1 - confidence) / 2))
    logs = np.log(treatment.means) - np.log(control.means)
    covariance = _log_covariance(control) + _log_covariance(treatment)
    factors = {}
    for name, derivatives in FACTORS.items():
        gradient = np.array(derivatives, float)
        lift = float(gradient @ logs)
        half = z * math.sqrt(max(0.0, float(gradient @ covariance @ gradient)))
        factors[name] = LogLift(lift, lift - half, lift + half)
    return Decomposition(factors)


def _log_covariance(arm: Moments) -> Floats:
    """Compute the covariance of the logarithms of a variant's means."""
    scale = np.outer(arm.means, arm.means)
    return np.asarray(arm.scatter / (arm.n - 1) / arm.n / scale)
