"""Why revenue per visitor moved: more buyers, more orders of each, or dearer orders."""

import math
from collections.abc import Mapping
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


def decompose(control: Moments, treatments: Mapping[str, Moments], confidence: float) -> dict[str, dict[str, Any]]:
    """
    Split the lift in revenue per visitor into the lifts of its factors, with one covariance for all of them.

    Args:
        control, treatments: Moments over buyer, orders and revenue of each unit, in this order.
        confidence: Coverage of each interval.

    Returns:
        By variant and part the difference of logarithms `log_lift` with its interval; the three parts add up to the first.
        None with a reason where an arm has no orders, or no revenue above 0.
    """
    return {key: _parts(control, arm, confidence) for key, arm in treatments.items()}


def _parts(control: Moments, treatment: Moments, confidence: float) -> dict[str, Any]:
    if any(arm.n < 2 or (arm.means <= 0).any() for arm in (control, treatment)):
        blank = {"log_lift": None, "low": None, "high": None, "reason": "an arm has no orders, or no revenue above 0"}
        return dict.fromkeys(PARTS, blank)
    z = normal_quantile((1 - confidence) / 2)
    logs = np.log(treatment.means) - np.log(control.means)
    covariance = _relative(control) + _relative(treatment)
    found = {}
    for name, part in PARTS.items():
        gradient = np.array(part, float)
        lift, half = float(gradient @ logs), z * math.sqrt(max(0.0, float(gradient @ covariance @ gradient)))
        found[name] = {"log_lift": lift, "low": lift - half, "high": lift + half}
    return found


def _relative(arm: Moments) -> Floats:
    """Give the covariance of the logarithms of an arm's means."""
    scale = np.outer(arm.means, arm.means)
    return np.asarray(arm.scatter / (arm.n - 1) / arm.n / scale)
