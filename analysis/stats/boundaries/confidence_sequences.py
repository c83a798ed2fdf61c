"""
Intervals that hold at every number of units at once, so a result may be read on any day.

They are ours: neither SciPy nor statsmodels has confidence sequences.

Source: Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas, arXiv 2103.06476, asymptotic confidence sequences.
"""

import math


def anytime_scale(alpha: float, planned_units: float) -> float:
    """Compute rho, which makes a confidence sequence narrowest at the planned number of units; fixed before the start."""
    return math.sqrt((-2 * math.log(alpha) + math.log(1 - 2 * math.log(alpha))) / planned_units)


def anytime_multiple(units: int, alpha: float, scale: float) -> float:
    """Compute the multiple of the standard error that holds at every number of units at once."""
    spread = units * scale**2
    return math.sqrt(2 * (spread + 1) / spread * math.log(math.sqrt(spread + 1) / alpha))


def anytime_p(statistic: float, units: int, scale: float) -> float:
    """Compute the always-valid p-value of one comparison; the inverse of `anytime_multiple`."""
    spread = units * scale**2
    return min(1.0, math.sqrt(spread + 1) * math.exp(-spread * statistic**2 / (2 * (spread + 1))))
