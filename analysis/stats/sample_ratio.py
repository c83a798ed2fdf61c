"""Do counts match declared weights, or each other? Chi-square, exact and always-valid tests."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.special import gammaln

from analysis.stats.distributions import chi_square_tail

ANYTIME_PRIOR = 1000.0  # how many units' worth of belief the anytime form puts on the declared weights

Counts = Mapping[str, int]
Weights = Mapping[str, float]


def ratio_p(units: Counts, weights: Weights) -> float | None:
    """Give the p of units against weights; None where there are too few units or arms."""
    total_weight = sum(weight for weight in weights.values() if weight > 0)
    shares = {key: weight / total_weight for key, weight in weights.items() if weight > 0}
    total = sum(units.get(key, 0) for key in shares)
    small = [key for key in shares if shares[key] * total < 5]
    cells = [(units.get(key, 0), shares[key] * total) for key in shares if key not in small]
    rest = (sum(units.get(key, 0) for key in small), sum(shares[key] for key in small) * total)
    if len(shares) < 2 or not cells:
        return None
    if rest[1] >= 5:
        return _chi_square([*cells, rest])
    if not small:
        return _chi_square(cells)
    if total < 20:
        return None
    from scipy.stats import binomtest  # a second to import, and seldom wanted

    exact = float(binomtest(rest[0], total, min(1.0, rest[1] / total)).pvalue)
    return min(1.0, 2 * min(exact, _chi_square(cells))) if len(cells) > 1 else exact


def _chi_square(cells: Sequence[tuple[int, float]]) -> float:
    observed, expected = zip(*cells, strict=True)
    scale = sum(observed) / sum(expected)
    statistic = sum((seen - one * scale) ** 2 / (one * scale) for seen, one in cells)
    return chi_square_tail(statistic, len(cells) - 1)


def anytime_ratio_p(days: Sequence[tuple[Counts, Weights]]) -> float:
    """
    Give the smallest p up to now of a test of the weights that may be read every day.

    ln BF = ln B(a + c) - ln B(a) - sum c ln theta with a = k theta, for every set of weights of its own; p = min(1, 1 / BF).
    Source: Lindon and Malek (2022), NeurIPS, Anytime-valid inference for multinomial count data.
    """
    seen: dict[tuple[float, ...], np.ndarray[Any, np.dtype[np.float64]]] = {}
    smallest = 1.0
    for units, weights in days:
        taking = {key: weight for key, weight in weights.items() if weight > 0}
        if len(taking) < 2:
            continue
        shares = tuple(weight / sum(taking.values()) for weight in taking.values())
        counts = np.array([units.get(key, 0) for key in taking], float)
        seen[shares] = seen[shares] + counts if shares in seen else counts
        smallest = min(smallest, math.exp(-max(0.0, sum(_log_bayes(c, np.array(theta)) for theta, c in seen.items()))))
    return smallest


def _log_bayes(counts: Any, theta: Any) -> float:
    prior = ANYTIME_PRIOR * theta
    log_beta = gammaln(prior + counts).sum() - gammaln((prior + counts).sum()) - gammaln(prior).sum()
    return float(log_beta + gammaln(prior.sum()) - counts @ np.log(theta))


def independence_p(table: Sequence[tuple[int, int]]) -> float | None:
    """
    Compute the p of Pearson's chi-square test that all rows have the same share, with Yates's correction for two rows.

    Args:
        table: Shape (rows, 2): counts with a property, and without it.

    Returns:
        None with fewer than two rows, or where all or none have the property.
    """
    counts = np.array(table, float)
    if len(counts) < 2 or not counts.any(axis=0).all():
        return None
    expected = np.outer(counts.sum(axis=1), counts.sum(axis=0)) / counts.sum()
    distance = np.abs(counts - expected)
    if len(counts) == 2:
        distance -= np.minimum(0.5, distance)
    return chi_square_tail(float((distance**2 / expected).sum()), len(counts) - 1)
