"""Whether units are spread over the variants as the weights declare, and orders as each other."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, chi2_contingency, chisquare, dirichlet_multinomial, multinomial

from analysis.stats.moments import Floats

ANYTIME_PRIOR = 1000.0  # how many units' worth of belief the anytime form puts on the declared weights
MIN_EXPECTED = 5  # units; a variant of which fewer are expected does not follow the chi-square distribution
MIN_EXACT = 20  # units in all, for the binomial test

Counts = Mapping[str, int]
Weights = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class _Cell:
    observed: int
    expected: float


def ratio_p(units: Counts, weights: Weights) -> float | None:
    """
    Compute the p-value of units against weights, by Pearson's chi-square.

    Variants of which fewer than 5 units are expected are counted as one; where these are too few together, they are compared with
    the rest by the exact binomial test.

    Args:
        units: By variant.
        weights: By variant; a variant of weight 0 leaves the degrees of freedom.

    Returns:
        None with fewer than two variants or too few units.
    """
    shares = _shares(weights)
    total = sum(units.get(key, 0) for key in shares)
    cells = [_Cell(units.get(key, 0), share * total) for key, share in shares.items()]
    large = [cell for cell in cells if cell.expected >= MIN_EXPECTED]
    small = [cell for cell in cells if cell.expected < MIN_EXPECTED]
    rest = _Cell(sum(cell.observed for cell in small), sum(cell.expected for cell in small))
    if len(shares) < 2 or not large:
        return None
    if not small or rest.expected >= MIN_EXPECTED:
        return _chi_square([*large, rest] if small else large)
    if total < MIN_EXACT:
        return None
    exact = float(binomtest(rest.observed, total, min(1.0, rest.expected / total)).pvalue)
    comparable = len(large) > 1 and any(cell.observed for cell in large)
    return min(1.0, 2 * min(exact, _chi_square(large))) if comparable else exact


def _shares(weights: Weights) -> dict[str, float]:
    positive = {key: weight for key, weight in weights.items() if weight > 0}
    return {key: weight / sum(positive.values()) for key, weight in positive.items()}


def _chi_square(cells: Sequence[_Cell]) -> float:
    observed = np.array([cell.observed for cell in cells], float)
    expected = np.array([cell.expected for cell in cells])
    return float(chisquare(observed, expected * (observed.sum() / expected.sum())).pvalue)


def anytime_ratio_p(days: Sequence[tuple[Counts, Weights]]) -> float:
    """
    Compute the smallest p-value up to now of a test of the weights that may be read every day.

    The Bayes factor is Dirichlet-multinomial with a = k theta over multinomial with theta, for every set of weights of its own;
    p = min(1, 1 / BF).

    Args:
        days: Units and weights by variant of each day, in order.

    Source: Lindon and Malek (2022), NeurIPS, Anytime-valid inference for multinomial count data.
    """
    seen: dict[tuple[float, ...], NDArray[np.int64]] = {}
    smallest = 1.0
    for units, weights in days:
        shares = _shares(weights)
        if len(shares) < 2:
            continue
        theta = tuple(shares.values())
        counts = np.array([units.get(key, 0) for key in shares])
        seen[theta] = seen[theta] + counts if theta in seen else counts
        log_factor = sum(_log_bayes_factor(total, np.array(shares)) for shares, total in seen.items())
        smallest = min(smallest, math.exp(-max(0.0, log_factor)))
    return smallest


def _log_bayes_factor(counts: NDArray[np.int64], theta: Floats) -> float:
    n = counts.sum()
    return float(dirichlet_multinomial.logpmf(counts, ANYTIME_PRIOR * theta, n) - multinomial.logpmf(counts, n, theta))


def independence_p(table: Sequence[tuple[int, int]]) -> float | None:
    """
    Compute the p-value of all variants having the same share, by Pearson's chi-square with Yates's correction for two variants.

    Args:
        table: Counts with and without the property, one row a variant.

    Returns:
        None with fewer than two variants, or where no count or every count has the property.
    """
    counts = np.array(table, float)
    if len(counts) < 2 or not counts.any(axis=0).all():
        return None
    return float(chi2_contingency(counts).pvalue)
