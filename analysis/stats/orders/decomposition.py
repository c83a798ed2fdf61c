"""Why revenue per visitor moved: more buyers, more orders of each, or dearer orders."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.stats.distributions import normal_quantile
from analysis.stats.moments import Floats, Moments

# Derivatives of each part's logarithm by the logarithms of buyers, orders and revenue per visitor: they add up.
PARTS: Mapping[str, tuple[int, int, int]] = {
    "revenue_per_visitor": (0, 0, 1),
    "conversion": (1, 0, 0),
    "orders_per_buyer": (-1, 1, 0),
    "average_order_value": (0, -1, 1),
}


@dataclass(frozen=True, slots=True)
class LogLift:
    """The difference of logarithms of one factor with its interval; None with a reason."""

    log_lift: float | None
    low: float | None
    high: float | None
    reason: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON values of the report."""
        values: dict[str, Any] = {"log_lift": self.log_lift, "low": self.low, "high": self.high}
        return values if self.reason is None else values | {"reason": self.reason}


def decompose(control: Moments, treatments: Mapping[str, Moments], confidence: float) -> dict[str, dict[str, LogLift]]:
    """
    Split the lift in revenue per visitor into the lifts of its factors, with one covariance for all of them.

    Args:
        control, treatments: Moments over buyer, orders and revenue of each unit, in this order.
        confidence: Coverage of each interval.

    Returns:
        By variant and part; the last three parts add up to the first.
    """
    return {key: _parts(control, arm, confidence) for key, arm in treatments.items()}


def _parts(control: Moments, treatment: Moments, confidence: float) -> dict[str, LogLift]:
    if any(arm.n < 2 or (arm.means <= 0).any() for arm in (control, treatment)):
        return dict.fromkeys(PARTS, LogLift(None, None, None, "an arm has no orders, or no revenue above 0"))
    z = normal_quantile((1 - confidence) / 2)
    logs = np.log(treatment.means) - np.log(control.means)
    covariance = _relative(control) + _relative(treatment)
    parts = {}
    for name, exponents in PARTS.items():
        gradient = np.array(exponents, float)
        lift, half = float(gradient @ logs), z * math.sqrt(max(0.0, float(gradient @ covariance @ gradient)))
        parts[name] = LogLift(lift, lift - half, lift + half)
    return parts


def _relative(arm: Moments) -> Floats:
    """Give the covariance of the logarithms of an arm's means."""
    scale = np.outer(arm.means, arm.means)
    return np.asarray(arm.scatter / (arm.n - 1) / arm.n / scale)
