"""
One treatment against one control: means, shares and quantiles, each with intervals of any width.

Every comparison has an `estimate` (treatment - control), a `statistic` (the estimate in standard errors under no difference),
the statistic's `degrees_of_freedom` (infinite for a normal statistic) and, for any multiple of the standard error, an `absolute`
and a `relative` interval. Fixed-horizon, simultaneous and always-valid readings differ in the multiple only, so the p-value and
both intervals of a reading never contradict each other.

This module imports no library, so that queries can use its names without loading SciPy.
"""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["mean", "proportion", "ratio", "quantile"]
Bounds = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Undefined(Exception):
    """A statistic that has no value, with the reason."""

    reason: str
