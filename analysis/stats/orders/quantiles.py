"""Quantiles of order values, with intervals from order statistics: no bootstrap."""

import math
from collections.abc import Mapping

from scipy.stats import norm

from analysis.stats.comparisons import Undefined
from analysis.stats.moments import Moments
from analysis.stats.orders.order_statistics import Ranked, rank_of

Z = float(norm.isf(0.025))


def clustered(values: Mapping[int, int], share: float, below: Moments | None) -> Moments:
    """
    Return the moments of an arm's quantile, in the values' unit.

    Args:
        values: How often each order value occurs, in rising order.
        share: Which quantile, in (0, 1).
        below: Per unit, orders at most the quantile over all orders; None where every unit has one value.

    Raises:
        Undefined: There are too few orders.

    A visitor's orders are alike, so the share below varies more than that of independent orders, by the ratio of its clustered
    variance to its independent one. Source: Deng, Knoblich, Lu (2018); Liu, Deng et al., arXiv 2401.14549.
    """
    n = sum(values.values())
    return arm(Ranked(n, share, 1.0 if below is None else cluster_factor(below, n), rank_of(values)))


def arm(ranked: Ranked) -> Moments:
    """
    Return the moments that a quantile is compared by: its value, the error that its interval says, and the order statistics.

    Raises:
        Undefined: There are too few values: n <= z^2 max(q / (1 - q), (1 - q) / q).
    """
    q = ranked.share
    ends = ranked.ends(Z)
    if ranked.n <= Z**2 * max(q / (1 - q), (1 - q) / q) or ends is None:
        raise Undefined(f"{ranked.n} values are too few for the interval of a quantile")
    low, high = ends
    return Moments.of_estimate(ranked.n, ranked.value, ((high - low) / (2 * Z)) ** 2, ranked)


def scaled(one: Moments, unit: float) -> Moments:
    """Return a quantile's moments in another unit, such as major instead of minor."""
    ranked = one.ranked
    if ranked is None:
        return Moments.of_estimate(one.n, (one.value or 0.0) / unit, (one.variance or 0.0) / unit**2)
    at = ranked.at
    again = Ranked(ranked.n, ranked.share, ranked.factor, lambda rank: at(rank) / unit)
    return Moments.of_estimate(one.n, again.value, (one.variance or 0.0) / unit**2, again)


def cluster_factor(below: Moments, n: int) -> float:
    """Return how much more a share of n orders varies than if they were independent; 1 where it cannot vary."""
    if below.variance is None or below.value is None or not 0 < below.value < 1:
        return 1.0
    return max(1e-9, below.variance / (below.value * (1 - below.value) / n))


def reach(n: int, share: float, multiple: float) -> tuple[int, int]:
    """Return the first and the last rank, from 1, that intervals up to a multiple of the standard error look at."""
    step = multiple * math.sqrt(n * share * (1 - share)) + 2
    return max(1, math.floor(n * share - step)), min(n, math.ceil(n * share + step))
