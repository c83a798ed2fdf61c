"""Two means or ratios of sums: Welch's test and Fieller's interval."""

import math

from analysis.stats.comparisons import Bounds, Undefined
from analysis.stats.moments import Moments


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
        """Return (treatment - control) / |control|."""
        if self._mean_c == 0:
            raise Undefined("the control's value is 0")
        return self.estimate / abs(self._mean_c)

    def absolute(self, multiple: float) -> Bounds:
        """Return the difference plus and minus a multiple of its standard error."""
        half = multiple * self._std_error
        return self.estimate - half, self.estimate + half

    def relative(self, multiple: float) -> Bounds:
        """
        Return the interval of the relative difference.

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


def _known(number: float | None) -> float:
    if number is None:
        raise Undefined("the arm has no value")
    return number
