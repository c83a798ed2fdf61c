"""Where a function of one number is 0, as `scipy.optimize.brentq` finds it; importing that takes as long as most reports do."""

from collections.abc import Callable


def root(function: Callable[[float], float], low: float, high: float, tolerance: float) -> float:
    """
    Find where a function is 0 between two ends at which its signs differ.

    Args:
        function: A continuous function.
        low, high: One of them may be the root.
        tolerance: How far from the root the answer may be, beside what rounding leaves.

    Raises:
        ValueError: The signs do not differ.

    Source: Chandrupatla (1997), Adv. Eng. Software 28, 145-149: inverse quadratic interpolation wherever three points say that it
    is safe, and halves elsewhere.
    """
    a, b = high, low
    at_a, at_b = function(a), function(b)
    if at_a == 0:
        return a
    if at_b != 0 and (at_a > 0) == (at_b > 0):
        raise ValueError(f"found {at_a} and {at_b} at the ends {a} and {b}; wanted one above 0 and one below")
    part = 0.5  # of the way from a to b
    while True:
        x = a + part * (b - a)
        at_x = function(x)
        if (at_x > 0) == (at_a > 0):
            c, at_c = a, at_a
        else:
            c, at_c, b, at_b = b, at_b, a, at_a
        a, at_a = x, at_x
        best, at_best = (a, at_a) if abs(at_a) < abs(at_b) else (b, at_b)
        least = (tolerance / 2 + 4e-16 * abs(best)) / abs(b - a) if b != a else 1.0
        if at_best == 0 or least > 0.5:
            return best
        xi, phi = (a - b) / (c - b), (at_a - at_b) / (at_c - at_b)
        part = 0.5
        if phi**2 < xi and (1 - phi) ** 2 < 1 - xi:
            part = at_a / (at_b - at_a) * at_c / (at_b - at_c)
            part += (c - a) / (b - a) * at_a / (at_c - at_a) * at_b / (at_c - at_b)
        part = min(1 - least, max(least, part))
