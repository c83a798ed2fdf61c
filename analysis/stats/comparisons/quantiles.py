"""Two quantiles: intervals from the order statistics of both variants."""

import math

from analysis.stats.comparisons import Bounds, Undefined
from analysis.stats.orders.order_statistics import Ranked


class Quantiles:
    """
    Two quantiles: the interval of their difference from those of each, without assuming that it is symmetric.

    Prices stand on few points, where a quantile jumps and its standard error means little. So each arm's own interval is taken
    as it is, and p is that of the widest interval that leaves out 0.

    Raises:
        Undefined: Neither arm varies around its quantile.

    Source: Zou and Donner (2008), Stat. Med. 27, 1693-1702, for differences; Donner and Zou (2012), Stat. Methods Med. Res. 21,
    347-359, for ratios: both by the square root of the sum of squared distances to the arms' own ends.
    """

    degrees_of_freedom = math.inf

    def __init__(self, control: Ranked, treatment: Ranked) -> None:
        self._control, self._treatment = control, treatment
        self._at_c, self._at_t = control.value, treatment.value
        self.estimate = self._at_t - self._at_c
        low, high = self.absolute(0.5)
        if low == high == self.estimate and self.absolute(3.0) == (low, high):
            raise Undefined("neither arm varies, so there is no standard error")
        self.statistic = math.copysign(self._widest(), self.estimate)

    def relative_estimate(self) -> float:
        """Return (treatment - control) / |control|."""
        if self._at_c == 0:
            raise Undefined("the control's value is 0")
        return self.estimate / abs(self._at_c)

    def absolute(self, multiple: float) -> Bounds:
        """
        Return the interval of the difference.

        Raises:
            Undefined: There are too few values for one so wide.
        """
        (low_c, high_c), (low_t, high_t) = self._ends(multiple)
        return (
            self.estimate - math.hypot(self._at_t - low_t, high_c - self._at_c),
            self.estimate + math.hypot(high_t - self._at_t, self._at_c - low_c),
        )

    def relative(self, multiple: float) -> Bounds:
        """
        Return the interval of the relative difference.

        Raises:
            Undefined: There are too few values, or the control's interval holds 0.
        """
        (low_c, high_c), (low_t, high_t) = self._ends(multiple)
        if low_c <= 0:
            raise Undefined("the control's value cannot be told from 0, so the relative interval has no ends")
        return (
            _ratio_end(self._at_t, self._at_c, self._at_t - low_t, high_c - self._at_c, -1) - 1,
            _ratio_end(self._at_t, self._at_c, high_t - self._at_t, self._at_c - low_c, 1) - 1,
        )

    def _ends(self, multiple: float) -> tuple[Bounds, Bounds]:
        ends = self._control.ends(multiple), self._treatment.ends(multiple)
        if ends[0] is None or ends[1] is None:
            raise Undefined("too few values for an interval so wide")
        return ends[0], ends[1]

    def _widest(self) -> float:
        """Return the multiple up to which the interval leaves out 0."""
        inside, outside = 0.0, 40.0
        if not self._leaves_out_0(inside):
            return 0.0
        for _ in range(50):
            multiple = (inside + outside) / 2
            inside, outside = (multiple, outside) if self._leaves_out_0(multiple) else (inside, multiple)
        return inside

    def _leaves_out_0(self, multiple: float) -> bool:
        try:
            low, high = self.absolute(multiple)
        except Undefined:
            return False
        return low > 0 or high < 0


def _ratio_end(treatment: float, control: float, up: float, across: float, sign: int) -> float:
    """Return the ratio r for which treatment - r x control lies just within the distances `up` and r x `across` of 0."""
    a, b, c = control**2 - across**2, -2 * treatment * control, treatment**2 - up**2
    root = math.sqrt(max(0.0, b * b - 4 * a * c))
    if a <= 0:
        raise Undefined("the control's value cannot be told from 0, so the relative interval has no ends")
    return (-b + sign * root) / (2 * a)
