"""
One variant's order statistics around a quantile: the interval of the quantile, for any multiple of the standard error.

They are ours: statsmodels' `DescrStatsW.quantile` does not average the two middle values, and knows no clusters of orders.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import accumulate

from analysis.stats.comparisons import Undefined


@dataclass(frozen=True, slots=True, eq=False)
class Ranked:
    """
    Sorted values, as far as they are needed.

    Attributes:
        n: How many values there are.
        share: Which quantile, in (0, 1).
        factor: How much more the share below varies than if the values were independent.
        at: Gives the value of a rank, from 1 to n.
    """

    n: int
    share: float
    factor: float
    at: Callable[[int], float]

    @property
    def value(self) -> float:
        """The quantile; between two values their mean, as the median of an even number is (Hyndman and Fan 1996, type 2)."""
        return sum(map(self.at, middle(self.n, self.share))) / 2

    def ends(self, multiple: float) -> tuple[float, float] | None:
        """
        Return the order statistics that a multiple of the standard error lies between; None where there are too few values.

        Source: Deng, Knoblich, Lu (2018), KDD, section 4: ranks n (q -+ z sqrt(q (1 - q) / n)). They multiply the variance of
        independent values by the factor afterwards; taking the ranks that much further apart (Woodruff 1952, JASA 47, 635-646)
        is the same for many values, and holds its level better for few hundred.
        """
        step = multiple * math.sqrt(self.n * self.share * (1 - self.share) * self.factor)
        low, high = self.n * self.share + 0.5 - step, self.n * self.share + 0.5 + step
        return None if low < 1 or high > self.n else (self._between(low), self._between(high))

    def _between(self, rank: float) -> float:
        below = math.floor(rank)
        part = rank - below
        return self.at(below) if not part else (1 - part) * self.at(below) + part * self.at(below + 1)


def middle(n: int, share: float) -> tuple[int, int]:
    """Return the ranks, from 1, of the two values whose mean is the quantile: mostly one."""
    at = share * n
    whole = round(at)
    if abs(at - whole) < 1e-9 * n:
        return max(1, whole), min(n, whole + 1)
    return math.ceil(at), math.ceil(at)


def rank_of(values: Mapping[int, int]) -> Callable[[int], float]:
    """Return a function of a rank, from 1, of counted values in rising order."""
    known, seen = list(values), list(accumulate(values.values()))
    return lambda rank: float(known[bisect_left(seen, rank)])


def quantile(values: Mapping[int, int], share: float) -> float:
    """
    Return a quantile of counted values.

    Args:
        values: How often each value occurs, in rising order of the values.
        share: In (0, 1).

    Raises:
        Undefined: There are none.
    """
    n = sum(values.values())
    if not n:
        raise Undefined("no counted orders")
    return Ranked(n, share, 1.0, rank_of(values)).value
