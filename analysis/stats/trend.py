"""A straight line through estimates of different variance."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.stats.distributions import normal_tail


@dataclass(frozen=True, slots=True)
class Line:
    """The weighted least squares line of a curve, and the two-sided p-value of no slope."""

    slope: float
    intercept: float
    p_value: float


def fit_line(at: Sequence[float], values: Sequence[float], variances: Sequence[float]) -> Line:
    """Fit a line by weighted least squares; shapes (n,), n >= 2, with known variances above 0."""
    x, y, variance = (np.array(column, float) for column in (at, values, variances))
    weight = 1 / variance
    centre = (weight @ x) / weight.sum()
    spread = weight @ (x - centre) ** 2
    slope = float(weight @ ((x - centre) * y) / spread)
    intercept = float((weight @ y) / weight.sum() - slope * centre)
    return Line(slope, intercept, 2 * normal_tail(abs(slope * math.sqrt(spread))))
