"""
Bounds for a few planned readings: alpha is spent as information comes in.

They are ours: neither SciPy nor statsmodels has alpha spending. The normal tails come from `scipy.special`, since finding a bound
integrates a density at hundreds of nodes again and again.
"""

import math
from collections.abc import Sequence

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri

from analysis.stats.moments import Floats

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(200)


def spent(fraction: float, alpha: float) -> float:
    """
    Compute the two-sided error that may be spent up to a fraction of the information, as O'Brien and Fleming's bounds do.

    Source: Lan and DeMets (1983), Biometrika 70, 659-663: each side spends 2 (1 - Phi(z(alpha / 4) / sqrt(t))).
    """
    return 4 * float(ndtr(ndtri(alpha / 4) / math.sqrt(min(1.0, fraction))))


def group_sequential_bounds(fractions: Sequence[float], alpha: float) -> list[float]:
    """
    Compute the bound on |z| at each of several readings, which together err with probability alpha.

    Args:
        fractions: Of the planned information at each reading, rising, in (0, 1].
        alpha: Two-sided error, in (0, 1).

    Source: Armitage, McPherson, Rowe (1969), JRSS A 132, 235-244: the density of what has not crossed yet is integrated from
    reading to reading.

    >>> [round(bound, 4) for bound in group_sequential_bounds([0.2, 0.4, 0.6, 0.8, 1.0], 0.05)]
    [4.8769, 3.357, 2.6803, 2.2898, 2.031]
    """
    bounds: list[float] = []
    nodes, density = np.zeros(1), np.ones(1)  # of the score z sqrt(t), as a process with independent increments
    before = 0.0
    for fraction in fractions:
        step = math.sqrt(fraction - before)
        to_spend = spent(fraction, alpha) - (spent(before, alpha) if before else 0.0)
        bound = _bound(nodes, density, step, to_spend, fraction)
        bounds.append(bound)
        edge = min(bound, 12.0) * math.sqrt(fraction)
        reached = edge * _NODES
        kernel = np.exp(-(((reached[:, None] - nodes[None, :]) / step) ** 2) / 2) / (step * math.sqrt(2 * math.pi))
        nodes, density = reached, (kernel @ density) * edge * _WEIGHTS
        before = fraction
    return bounds


def _bound(nodes: Floats, density: Floats, step: float, to_spend: float, fraction: float) -> float:
    def excess(bound: float) -> float:
        edge = bound * math.sqrt(fraction)
        beyond = ndtr((nodes - edge) / step) + ndtr((-edge - nodes) / step)
        return float(beyond @ density) - to_spend

    if excess(40.0) > 0:
        return 40.0  # so little may be spent that no result reaches it
    return float(brentq(excess, 0.0, 40.0, xtol=1e-10))


def repeated_p(statistic: float, fractions: Sequence[float]) -> float:
    """
    Compute the smallest error at which the last of several readings crosses its bound.

    Source: Jennison and Turnbull (2000), Group Sequential Methods, section 9.4: repeated p-values.
    """
    low, high = 1e-9, 0.999

    def short(alpha: float) -> float:
        return group_sequential_bounds(fractions, alpha)[-1] - abs(statistic)

    if short(high) > 0:
        return 1.0
    if short(low) < 0:
        return low
    return float(brentq(short, low, high, xtol=1e-9))
