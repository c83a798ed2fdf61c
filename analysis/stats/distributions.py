"""
Tails and quantiles of the normal, t and chi-square distributions, by SciPy's special functions.

They are those that `scipy.stats` calls itself; importing that takes a second, which every report would wait for.
"""

from scipy.special import chdtrc, ndtr, ndtri, stdtr, stdtrit


def normal_tail(z: float) -> float:
    """Give the chance that a standard normal number is above z."""
    return float(ndtr(-z))


def normal_quantile(tail: float) -> float:
    """Give what a standard normal number is above with the given chance."""
    return -float(ndtri(tail))


def t_tail(x: float, degrees_of_freedom: float) -> float:
    """Give the chance that Student's t is above x; with infinite degrees of freedom it is normal."""
    return float(stdtr(degrees_of_freedom, -x))


def t_quantile(tail: float, degrees_of_freedom: float) -> float:
    """Give what Student's t is above with the given chance."""
    return -float(stdtrit(degrees_of_freedom, tail))


def chi_square_tail(x: float, degrees_of_freedom: float) -> float:
    """Give the chance that a chi-square number is above x."""
    return float(chdtrc(degrees_of_freedom, x))
