"""Quantiles of order values, with intervals from order statistics: no bootstrap."""

import math
from collections.abc import Mapping

from scipy.stats import norm

from analysis.comparison import Undefined
from analysis.moments import Moments

Z = float(norm.isf(0.025))


def quantile(values: Mapping[int, int], share: float) -> int:
    """
    Give a quantile of counted values: the smallest one that at least this share of all does not exceed.

    Args:
        values: How often each value occurs, in rising order of the values.
        share: In (0, 1).

    Raises:
        Undefined: There are none.
    """
    n = sum(values.values())
    if not n:
        raise Undefined("no counted orders")
    return _at(values, math.ceil(share * n - 1e-9))


def ranks(n: int, share: float) -> tuple[int, int, int]:
    """
    Give the ranks, from 1, of the order statistics below, at and above a quantile of n independent values.

    Raises:
        Undefined: There are too few values for an interval.

    Source: Deng, Knoblich, Lu (2018), KDD, section 4: ranks n (q -+ z sqrt(q (1 - q) / n)).
    """
    if n <= Z**2 * max(share / (1 - share), (1 - share) / share):
        raise Undefined(f"{n} values are too few for the interval of a quantile")
    step = Z * math.sqrt(n * share * (1 - share))
    low, high = max(1, math.floor(n * share - step)), min(n, math.ceil(n * share + step) + 1)
    return low, math.ceil(share * n - 1e-9), high


def error(low: float, high: float) -> float:
    """Give the standard error of a quantile from the order statistics below and above it."""
    return (high - low) / (2 * Z)


def clustered(values: Mapping[int, int], share: float, below: Moments | None) -> Moments:
    """
    Give the moments of an arm's quantile, in the values' unit.

    Args:
        values: How often each order value occurs, in rising order.
        share: Which quantile, in (0, 1).
        below: Per unit, orders at most the quantile over all orders; None where every unit has one value.

    Raises:
        Undefined: There are too few orders.

    A visitor's orders are alike, so the variance is that of independent orders times the ratio of the clustered variance of the
    share below to its independent one. Source: Deng, Knoblich, Lu (2018); Liu, Deng et al., arXiv 2401.14549.
    """
    n = sum(values.values())
    low, middle, high = ranks(n, share)
    variance = error(_at(values, low), _at(values, high)) ** 2
    factor = 1.0 if below is None else cluster_factor(below, n)
    return Moments.of_estimate(n, float(_at(values, middle)), variance * factor)


def cluster_factor(below: Moments, n: int) -> float:
    """Give how much more a share of n orders varies than if they were independent; 1 where it cannot vary."""
    if below.variance is None or below.value is None or not 0 < below.value < 1:
        return 1.0
    return below.variance / (below.value * (1 - below.value) / n)


def _at(values: Mapping[int, int], rank: int) -> int:
    """Give the value of a rank, from 1."""
    seen = 0
    last = 0
    for value, count in values.items():
        seen += count
        last = value
        if seen >= rank:
            break
    return last
