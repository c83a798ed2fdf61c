"""Two shares of units: the score test and the intervals that invert it."""

import math
from collections.abc import Callable

from scipy.optimize import brentq
from statsmodels.stats.proportion import proportions_ztest

from analysis.stats.comparisons import Bounds, Undefined
from analysis.stats.moments import Moments


class Proportions:
    """
    Two shares of units: the score test, and the intervals that invert it.

    The statistic is statsmodels' pooled z (the chi-square test without correction). Both inversions are ours.
    The difference follows Mee (1984) with the restricted estimates of Miettinen and Nurminen (1985), since statsmodels'
    inversion has a wrong coefficient (its issue 10269).
    The ratio follows Koopman (1984), since statsmodels' closed form is wrong or fails where no unit or every unit of a
    variant converts, such as 22 of 22 against 1 of 39; elsewhere both agree.

    Raises:
        Undefined: A variant has no units, or all units of both variants are alike.
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
        self.statistic = float(proportions_ztest([self.x1, self.x0], [self.n1, self.n0])[0])

    def relative_estimate(self) -> float:
        """Return (treatment - control) / control."""
        if self.x0 == 0:
            raise Undefined("no unit of the control counts")
        return self.estimate / self.p0

    def absolute(self, multiple: float) -> Bounds:
        """Return the differences whose score statistic stays within a multiple."""
        return (
            _crossing(lambda d: self._difference_score(d) - multiple, -1.0, self.estimate),
            _crossing(lambda d: self._difference_score(d) + multiple, self.estimate, 1.0),
        )

    def relative(self, multiple: float) -> Bounds:
        """Return the ratios, less 1, whose score statistic stays within a multiple."""
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
    return float(brentq(lambda x: _bounded(function(x)), low, high, xtol=1e-14))


def _bounded(number: float) -> float:
    return min(1e9, max(-1e9, number))
