"""
One treatment against one control, as a function of how wide the interval is to be.

A comparison knows its `estimate` (treatment - control), its `statistic` (the estimate in standard errors, as they are when
there is no difference), that statistic's `degrees_of_freedom` (infinite for a normal one) and, for any multiple of the standard
error, the `absolute` and the `relative` interval. Fixed-horizon, simultaneous and always-valid readings differ only in
that multiple, so within each of them p and both intervals cannot contradict each other.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from analysis.stats.moments import Moments
from analysis.stats.orders.order_statistics import Ranked
from analysis.stats.roots import root

Kind = Literal["mean", "proportion", "ratio", "quantile"]
Bounds = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Undefined(Exception):
    """A statistic that cannot be had, and why."""

    reason: str


class Means:
    """
    Two means or ratios of sums: Welch for the difference, Fieller for the relative difference.

    Raises:
        Undefined: An arm has less than 2 units, no denominator, or neither arm varies.
    """

    def __init__(self, control: Moments, treatment: Moments) -> None:
        for name, arm in (("control", control), ("variant", treatment)):
            if arm.n < 2:
                raise Undefined(f"the {name} has {arm.n} units; at least 2 are needed")
            if arm.value is None or arm.variance is None:
                raise Undefined(f"the {name}'s denominator is 0")
        self.control, self.treatment = control, treatment
        self._mean_c, self._mean_t = _known(control.value), _known(treatment.value)
        self._var_c, self._var_t = _known(control.variance), _known(treatment.variance)
        variance = self._var_c + self._var_t
        # What rounding leaves of equal values is not variation.
        if variance <= (1e-12 * max(abs(self._mean_c), abs(self._mean_t))) ** 2:
            raise Undefined("neither arm varies, so there is no standard error")
        self._std_error = math.sqrt(variance)
        self.estimate = self._mean_t - self._mean_c
        self.statistic = self.estimate / self._std_error
        share = self._var_c / variance
        parts = share**2 / (control.n - 1) + (1 - share) ** 2 / (treatment.n - 1)
        self.degrees_of_freedom = 1 / parts  # Welch (1947), Satterthwaite (1946)

    def relative_estimate(self) -> float:
        """Give (treatment - control) / |control|."""
        if self._mean_c == 0:
            raise Undefined("the control's value is 0")
        return self.estimate / abs(self._mean_c)

    def absolute(self, multiple: float) -> Bounds:
        """Give the difference plus and minus a multiple of its standard error."""
        half = multiple * self._std_error
        return self.estimate - half, self.estimate + half

    def relative(self, multiple: float) -> Bounds:
        """
        Give the interval of the relative difference.

        Raises:
            Undefined: The control's mean is not told from 0 at this width, so the interval has no ends.

        Source: Fieller (1954), JRSS B 16, 175-185.
        """
        if self._mean_c == 0:
            raise Undefined("the control's value is 0")
        ratio = self._mean_t / self._mean_c
        g = multiple**2 * self._var_c / self._mean_c**2
        if g >= 1:
            raise Undefined("the control's value cannot be told from 0, so the relative interval has no ends")
        root = math.sqrt(max(0.0, ratio**2 * self._var_c + (1 - g) * self._var_t))
        half = multiple / abs(self._mean_c) * root
        low, high = (ratio - half) / (1 - g) - 1, (ratio + half) / (1 - g) - 1
        return (low, high) if self._mean_c > 0 else (-high, -low)


class Proportions:
    """
    Two shares of units: the score test and the intervals that are its inversions.

    p is that of the pooled z test (the chi-square test without correction). The difference follows Mee (1984) with the
    restricted estimates of Miettinen and Nurminen (1985), the ratio Koopman (1984). statsmodels' own inversion for a
    difference has a wrong coefficient (its issue 10269), hence these.

    Raises:
        Undefined: An arm has no units, or all units of both arms are alike.
    """

    degrees_of_freedom = math.inf

    def __init__(self, control: Moments, treatment: Moments) -> None:
        self.n0, self.n1 = control.n, treatment.n
        for name, units in (("control", self.n0), ("variant", self.n1)):
            if units < 1:
                raise Undefined(f"the {name} has no units")
        self.x0, self.x1 = round(control.numerator), round(treatment.numerator)
        pooled = (self.x0 + self.x1) / (self.n0 + self.n1)
        if pooled in (0, 1):
            raise Undefined(
                f"{'no' if pooled == 0 else 'every'} unit of either arm counts, so there is no standard error"
            )
        self.p0, self.p1 = self.x0 / self.n0, self.x1 / self.n1
        self.estimate = self.p1 - self.p0
        self.statistic = self.estimate / math.sqrt(pooled * (1 - pooled) * (1 / self.n0 + 1 / self.n1))

    def relative_estimate(self) -> float:
        """Give (treatment - control) / control."""
        if self.x0 == 0:
            raise Undefined("no unit of the control counts")
        return self.estimate / self.p0

    def absolute(self, multiple: float) -> Bounds:
        """Give the differences whose score statistic stays within a multiple."""
        return (
            _crossing(lambda d: self._difference_score(d) - multiple, -1.0, self.estimate),
            _crossing(lambda d: self._difference_score(d) + multiple, self.estimate, 1.0),
        )

    def relative(self, multiple: float) -> Bounds:
        """Give the ratios, less 1, whose score statistic stays within a multiple."""
        if self.x0 == 0:
            raise Undefined("no unit of the control counts")
        ratio = self.p1 / self.p0
        top = max(2.0, 2 * ratio)
        while self._ratio_score(top) > -multiple:
            top *= 2
            if top > 1e12:
                raise Undefined("the control's share cannot be told from 0, so the relative interval has no ends")
        low = _crossing(lambda r: self._ratio_score(r) - multiple, 0.0, ratio) if self.x1 else 0.0
        return low - 1, _crossing(lambda r: self._ratio_score(r) + multiple, ratio, top) - 1

    def _difference_score(self, difference: float) -> float:
        """Standardise under p1 - p0 = difference; Miettinen and Nurminen (1985), Stat. Med. 4, 213-226, equation 8."""
        n, x = self.n0 + self.n1, self.x0 + self.x1
        b = (self.n1 + 2 * self.n0) * difference - n - x
        c = (self.n0 * difference - n - 2 * self.x0) * difference + x
        d = self.x0 * difference * (1 - difference)
        q = b**3 / (3 * n) ** 3 - b * c / (6 * n**2) + d / (2 * n)
        p = math.copysign(math.sqrt(max(0.0, b**2 / (3 * n) ** 2 - c / (3 * n))), q)
        angle = (math.pi + math.acos(min(1.0, max(-1.0, q / p**3 if p else 0.0)))) / 3
        share0 = min(1.0, max(0.0, 2 * p * math.cos(angle) - b / (3 * n)))
        share1 = min(1.0, max(0.0, share0 + difference))
        variance = share1 * (1 - share1) / self.n1 + share0 * (1 - share0) / self.n0
        return _standardised(self.estimate - difference, variance)

    def _ratio_score(self, ratio: float) -> float:
        """Standardise under p1 = ratio x p0; Koopman (1984), Biometrics 40, 513-517."""
        a = (self.n0 + self.n1) * ratio
        b = -(ratio * (self.n1 + self.x0) + self.x1 + self.n0)
        c = self.x0 + self.x1
        share0 = 2 * c / (-b + math.sqrt(max(0.0, b * b - 4 * a * c)))  # the smaller root, without cancellation
        share1 = min(1.0, share0 * ratio)
        variance = share1 * (1 - share1) / self.n1 + ratio**2 * share0 * (1 - share0) / self.n0
        return _standardised(self.p1 - ratio * self.p0, variance)


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
        """Give (treatment - control) / |control|."""
        if self._at_c == 0:
            raise Undefined("the control's value is 0")
        return self.estimate / abs(self._at_c)

    def absolute(self, multiple: float) -> Bounds:
        """
        Give the interval of the difference.

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
        Give the interval of the relative difference.

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
        found = self._control.ends(multiple), self._treatment.ends(multiple)
        if found[0] is None or found[1] is None:
            raise Undefined("too few values for an interval so wide")
        return found[0], found[1]

    def _widest(self) -> float:
        """Give the multiple up to which the interval leaves out 0."""
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


Comparison = Means | Proportions | Quantiles


def _ratio_end(treatment: float, control: float, up: float, across: float, sign: int) -> float:
    """Give the ratio r for which treatment - r x control lies just within the distances `up` and r x `across` of 0."""
    a, b, c = control**2 - across**2, -2 * treatment * control, treatment**2 - up**2
    root = math.sqrt(max(0.0, b * b - 4 * a * c))
    if a <= 0:
        raise Undefined("the control's value cannot be told from 0, so the relative interval has no ends")
    return (-b + sign * root) / (2 * a)


def _known(number: float | None) -> float:
    if number is None:
        raise Undefined("the arm has no value")
    return number


def _standardised(distance: float, variance: float) -> float:
    if variance <= 0:
        return math.copysign(math.inf, distance) if distance else 0.0
    return distance / math.sqrt(variance)


def _crossing(function: Callable[[float], float], low: float, high: float) -> float:
    """Find where a falling function passes 0; the end at which it does not."""
    at_low, at_high = _bounded(function(low)), _bounded(function(high))
    if at_low <= 0:
        return low
    if at_high >= 0:
        return high
    return root(lambda x: _bounded(function(x)), low, high, 1e-14)


def _bounded(number: float) -> float:
    return min(1e9, max(-1e9, number))
