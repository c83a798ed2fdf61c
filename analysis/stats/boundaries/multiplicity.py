"""
How wide an interval must be for several comparisons at once, and how p-values are corrected for their number.

Tails and quantiles come from `scipy.special`: the distribution objects of `scipy.stats` call the same functions, but check their
arguments for 60 microseconds first, and a report asks thousands of times.
"""

import gc
import math
from collections.abc import Sequence

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri, stdtr, stdtrit
from statsmodels.stats.multitest import multipletests

from analysis.stats.comparisons.readings import Method

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(400)
_NODES, _WEIGHTS = 9 * _NODES, 9 * _WEIGHTS  # the normal density beyond 9 is below 1e-17
_DENSITY = _WEIGHTS * np.exp(-(_NODES**2) / 2) / math.sqrt(2 * math.pi)
_METHODS = {"holm": "holm", "benjamini_hochberg": "fdr_bh"}


def corrected(p_values: Sequence[float | None], method: Method) -> list[float | None]:
    """
    Correct p-values for their number.

    None stays None and does not count; so does NaN, which statsmodels would spread to every p-value.

    Source: Holm (1979), Scand. J. Stat. 6, 65-70, controls the probability of any false alarm; Benjamini and Hochberg (1995),
    JRSS B 57, 289-300, the share of false alarms among the alarms.
    """
    places = [place for place, p in enumerate(p_values) if p is not None and not math.isnan(p)]
    results: list[float | None] = [None] * len(p_values)
    if places:
        adjusted = _multipletests([p_values[place] or 0.0 for place in places], _METHODS[method])
        for place, p in zip(places, adjusted, strict=True):
            results[place] = p
    return results


def _multipletests(p_values: list[float], method: str) -> list[float]:
    """
    Correct p-values by statsmodels, without the full garbage collection of every object that it makes with each call.

    Objects that are frozen are not visited: 0.1 seconds with a report in memory become 0.1 milliseconds.
    """
    gc.freeze()
    try:
        return [float(p) for p in multipletests(p_values, method=method)[1]]
    finally:
        gc.unfreeze()


def own_p(statistic: float, degrees_of_freedom: float) -> float:
    """Compute the two-sided p-value of one comparison's statistic."""
    return 2 * float(stdtr(degrees_of_freedom, -abs(statistic)))


def own_multiple(degrees_of_freedom: float, confidence: float) -> float:
    """Compute the multiple of the standard error for one comparison at a fixed horizon."""
    return -float(stdtrit(degrees_of_freedom, (1 - confidence) / 2))


def as_normal(statistic: float, degrees_of_freedom: float) -> float:
    """Compute the normal quantile with the two-sided p-value of a t statistic."""
    return -float(ndtri(stdtr(degrees_of_freedom, -abs(statistic))))


def from_normal(normal: float, degrees_of_freedom: float) -> float:
    """Compute the t quantile with the tail of a normal quantile."""
    return -float(stdtrit(degrees_of_freedom, float(ndtr(-normal))))


def dunnett_p(normal: float, own: float, loadings: Sequence[float]) -> float:
    """
    Compute the probability that any of several comparisons with one control is this far from 0 when none differs.

    Args:
        normal: The comparison's statistic as a normal quantile, at least 0.
        own: Its own two-sided p-value; the family's lies between this and this times the comparisons.
        loadings: Shape (k,), see `loading`.

    It is ours, since `scipy.stats.dunnett` takes all values, not sums, and pools the variances.

    Source: Dunnett (1955), JASA 50, 1096-1121; the shared control makes the correlations products of loadings, so the
    multivariate normal integral has one dimension.
    """
    if len(loadings) == 1:
        return own
    return min(max(1 - _all_within(normal, loadings), own), len(loadings) * own, 1.0)


def dunnett_normal(confidence: float, loadings: Sequence[float]) -> float:
    """Compute the normal quantile that all of several comparisons stay within with the given confidence."""
    single = -float(ndtri((1 - confidence) / 2))
    if len(loadings) == 1:
        return single
    return float(brentq(lambda q: _all_within(q, loadings) - confidence, single - 1e-6, single + 5, xtol=1e-12))


def loading(control_variance: float, treatment_variance: float) -> float:
    """
    Compute a comparison's share in what the common control adds to all of them: corr(i, j) = loading_i x loading_j.

    A variant that does not vary has 1, where the integral has a step that no fixed nodes resolve; the cap errs on the wide side,
    by 2% for two such variants and 5% for ten.
    """
    if not control_variance:
        return 0.0
    return min(0.998, math.sqrt(control_variance / (control_variance + treatment_variance)))


def _all_within(q: float, loadings: Sequence[float]) -> float:
    inside = np.ones_like(_NODES)
    for weight in loadings:
        spread = math.sqrt(1 - weight**2)
        inside *= ndtr((q - weight * _NODES) / spread) - ndtr((-q - weight * _NODES) / spread)
    return float(_DENSITY @ inside)
