"""How wide an interval must be: for one comparison, and for all of several comparisons with one control at once."""

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import ndtr

from analysis.stats.distributions import normal_quantile, normal_tail, t_quantile, t_tail
from analysis.stats.roots import root

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(400)
_NODES, _WEIGHTS = 9 * _NODES, 9 * _WEIGHTS  # the normal density beyond 9 is below 1e-17
_DENSITY = _WEIGHTS * np.exp(-(_NODES**2) / 2) / math.sqrt(2 * math.pi)


def own_p(statistic: float, degrees_of_freedom: float) -> float:
    """Give the two-sided p of one comparison's statistic."""
    return 2 * t_tail(abs(statistic), degrees_of_freedom)


def own_multiple(degrees_of_freedom: float, confidence: float) -> float:
    """Give the multiple of the standard error for one comparison at a fixed horizon."""
    return t_quantile((1 - confidence) / 2, degrees_of_freedom)


def as_normal(statistic: float, degrees_of_freedom: float) -> float:
    """Give the normal quantile of the same two-sided p as a t statistic."""
    return normal_quantile(t_tail(abs(statistic), degrees_of_freedom))


def dunnett_p(normal: float, own: float, loadings: Sequence[float]) -> float:
    """
    Give the chance that any of several comparisons with one control is this far out when none differs.

    Args:
        normal: The comparison's statistic as a normal quantile, at least 0.
        own: Its own two-sided p; the family's lies between this and this times the comparisons.
        loadings: Shape (k,), see `loading`.

    Source: Dunnett (1955), JASA 50, 1096-1121; the shared control makes the correlations products of loadings, so the
    multivariate normal integral is one-dimensional.
    """
    if len(loadings) == 1:
        return own
    return min(max(1 - _all_within(normal, loadings), own), len(loadings) * own, 1.0)


def dunnett_normal(confidence: float, loadings: Sequence[float]) -> float:
    """Give the normal quantile that all of several comparisons stay within with the given confidence."""
    single = normal_quantile((1 - confidence) / 2)
    if len(loadings) == 1:
        return single
    return root(lambda q: _all_within(q, loadings) - confidence, single - 1e-6, single + 5, 1e-12)


def from_normal(normal: float, degrees_of_freedom: float) -> float:
    """Give the t quantile of the same tail as a normal one."""
    return t_quantile(normal_tail(normal), degrees_of_freedom)


def loading(control_variance: float, treatment_variance: float) -> float:
    """
    Give a comparison's share in what the common control adds to all of them: corr(i, j) = loading_i x loading_j.

    An arm that does not vary has 1, where the integral has a step that no fixed nodes resolve; the cap errs on the
    wide side, by 2% for two such arms and 5% for ten.
    """
    if not control_variance:
        return 0.0
    return min(0.998, math.sqrt(control_variance / (control_variance + treatment_variance)))


def _all_within(q: float, loadings: Sequence[float]) -> float:
    inside = np.ones_like(_NODES)
    for one in loadings:
        spread = math.sqrt(1 - one**2)
        inside *= ndtr((q - one * _NODES) / spread) - ndtr((-q - one * _NODES) / spread)
    return float(_DENSITY @ inside)
