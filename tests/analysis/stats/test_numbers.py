"""What stands in for SciPy's and statsmodels' slow imports gives the very same numbers."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.optimize import brentq
from statsmodels.stats.meta_analysis import combine_effects
from statsmodels.stats.multitest import multipletests

from analysis.reports.trust_checks import unmatched_orders
from analysis.stats.boundaries.corrections import corrected
from analysis.stats.distributions import chi_square_tail, normal_quantile, normal_tail, t_quantile, t_tail
from analysis.stats.heterogeneity import break_down
from analysis.stats.moments import Moments
from analysis.stats.roots import root
from analysis.stats.sample_ratio import ratio_p

SAME = 1e-12
TAILS = [1e-300, 1e-20, 1e-9, 0.001, 0.025, 0.3, 0.5, 0.975, 1 - 1e-9]
DEGREES = [1.0, 1.5, 3.7, 30.0, 99.5, 1e4, 1e7, math.inf]


@pytest.mark.parametrize("z", [-38.0, -8.0, -1.96, 0.0, 0.3, 1.96, 8.0, 38.0])
def test_normal_tails_are_those_of_scipy(z: float) -> None:
    """The chance above z."""
    assert normal_tail(z) == pytest.approx(stats.norm.sf(z), rel=SAME, abs=0)


@pytest.mark.parametrize("tail", TAILS)
def test_quantiles_are_those_of_scipy(tail: float) -> None:
    """What the normal and Student's t are above with a given chance."""
    assert normal_quantile(tail) == pytest.approx(stats.norm.isf(tail), rel=SAME, abs=0)
    for degrees in DEGREES:
        assert t_quantile(tail, degrees) == pytest.approx(stats.t.isf(tail, degrees), rel=SAME, abs=0)


@pytest.mark.parametrize("x", [-40.0, -1.0, 0.0, 0.1, 1.96, 8.0, 40.0, 1e4])
def test_t_and_chi_square_tails_are_those_of_scipy(x: float) -> None:
    """The chance above x."""
    for degrees in DEGREES:
        assert t_tail(x, degrees) == pytest.approx(stats.t.sf(x, degrees), rel=SAME, abs=0)
    for count in (1, 2, 5, 50):
        assert chi_square_tail(max(0.0, x), count) == pytest.approx(stats.chi2.sf(max(0.0, x), count), rel=SAME, abs=0)


@pytest.mark.parametrize(
    ("function", "low", "high"),
    [
        (lambda x: math.cos(x) - x, 0.0, 1.0),
        (lambda x: x**3 - 1e-9, -1.0, 1.0),
        (lambda x: 1e-12 - math.exp(-x), 0.0, 40.0),
        (lambda x: math.tanh(500 * (x - 0.123)), -1.0, 1.0),
        (lambda x: max(-1e9, min(1e9, 1 / (0.7 - x) - 3)), 0.0, 0.7 - 1e-12),
        (lambda x: x, 0.0, 1.0),
        (lambda x: 1 - x, 0.0, 1.0),
    ],
    ids=["smooth", "flat", "small", "steep", "bounded", "the low end", "the high end"],
)
def test_a_root_is_the_one_that_brent_finds(function: Callable[[float], float], low: float, high: float) -> None:
    """Within the tolerance, in no more than 60 steps, which halving takes."""
    asked = []
    found = root(lambda x: asked.append(x) or function(x), low, high, 1e-14)  # type: ignore[func-returns-value]
    assert found == pytest.approx(brentq(function, low, high, xtol=1e-14, rtol=1e-13), rel=SAME, abs=1e-13)
    assert len(asked) <= 60


def test_a_root_wants_ends_of_different_signs() -> None:
    """Anything else has no answer that could be trusted."""
    with pytest.raises(ValueError, match=r"found 2\.0 and 1\.0 at the ends 1\.0 and 0\.0"):
        root(lambda x: x + 1, 0.0, 1.0, 1e-9)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_corrected_p_are_those_of_statsmodels(p_values: list[float]) -> None:
    """Holm's and Benjamini and Hochberg's."""
    assert corrected(p_values, "holm") == pytest.approx(multipletests(p_values, method="holm")[1], rel=SAME)
    told = corrected(p_values, "benjamini_hochberg")
    assert told == pytest.approx(multipletests(p_values, method="fdr_bh")[1], rel=SAME)


def test_segments_are_held_together_as_statsmodels_does() -> None:
    """Cochran's Q over the segments' differences."""
    dice = np.random.default_rng(5)
    by = {
        name: {
            key: Moments.from_values(dice.normal(10 + shift * (key == "offer"), 3, 400)) for key in ("none", "offer")
        }
        for name, shift in (("new", 0.1), ("returning", 0.9), ("vip", 0.4))
    }
    effects = np.array([arms["offer"].means[0] - arms["none"].means[0] for arms in by.values()])
    variances = np.array([sum(arm.variance or 0.0 for arm in arms.values()) for arms in by.values()])
    found = break_down(by, "mean", ["offer"], 0.95).interaction["offer"].p_value
    assert found == pytest.approx(combine_effects(effects, variances).test_homogeneity().pvalue, rel=SAME)


@pytest.mark.parametrize("counts", [[500, 540], [500, 540, 471], [5000, 5200, 4900, 5101]])
def test_the_sample_ratio_is_held_by_the_chi_square_test(counts: list[int]) -> None:
    """Against SciPy's, with weights that are not equal."""
    weights = {f"v{index}": 1 + index / 10 for index in range(len(counts))}
    expected = np.array(list(weights.values())) / sum(weights.values()) * sum(counts)
    found = ratio_p(dict(zip(weights, counts, strict=True)), weights)
    assert found == pytest.approx(stats.chisquare(counts, expected).pvalue, rel=1e-10)


@pytest.mark.parametrize("lost", [[30, 35], [1, 0], [12, 12], [30, 35, 20], [0, 3, 1, 4]])
def test_lost_orders_are_held_by_the_chi_square_test(lost: list[int]) -> None:
    """Against SciPy's contingency table; with Yates's correction for two variants."""
    sold = {f"v{index}": (count, 100 + index) for index, count in enumerate(lost)}
    table = [[count, n - count] for count, n in sold.values()]
    found = unmatched_orders(sum(lost), 1000, sold).p_value
    assert found == pytest.approx(stats.chi2_contingency(table).pvalue, rel=1e-10)
