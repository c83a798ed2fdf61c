"""The statistics agree with the routines of SciPy and statsmodels that they call, or replace."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.meta_analysis import combine_effects
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import confint_proportions_2indep

from analysis.stats.boundaries.multiplicity import as_normal, corrected, from_normal, own_multiple, own_p
from analysis.stats.comparisons.means import Means
from analysis.stats.comparisons.proportions import Proportions
from analysis.stats.heterogeneity import break_down, fit_line, interact
from analysis.stats.moments import Moments
from analysis.stats.sample_ratio import anytime_ratio_p, independence_p, ratio_p

SAME = 1e-12
DEGREES = [1.0, 1.5, 3.7, 30.0, 99.5, 1e4, 1e7, math.inf]


@pytest.mark.parametrize("degrees", DEGREES)
@pytest.mark.parametrize("statistic", [-37.0, -1.96, 0.0, 0.3, 1.96, 8.0, 30.0])
def test_tails_and_quantiles_are_those_of_scipy(statistic: float, degrees: float) -> None:
    """The special functions give what the distribution objects give, infinite degrees of freedom included."""
    p_value = own_p(statistic, degrees)
    assert p_value == pytest.approx(2 * stats.t.sf(abs(statistic), degrees), rel=SAME, abs=0)
    assert as_normal(statistic, degrees) == pytest.approx(stats.norm.isf(p_value / 2), rel=1e-9, abs=1e-9)
    tail = stats.norm.sf(abs(statistic))
    assert from_normal(abs(statistic), degrees) == pytest.approx(stats.t.isf(tail, degrees), rel=SAME, abs=SAME)
    assert own_multiple(degrees, 0.95) == pytest.approx(stats.t.isf(0.025, degrees), rel=SAME)


@pytest.mark.parametrize(("n", "m"), [(2, 2), (2, 900), (30, 7), (5000, 4000)])
def test_a_difference_of_means_is_the_welch_test_of_scipy(n: int, m: int) -> None:
    """SciPy's routine returns no degrees of freedom, which every interval needs, so the statistic and they are ours."""
    dice = np.random.default_rng(n)
    control, treatment = dice.normal(5, 2, n), dice.normal(6, 3, m)
    comparison = Means(Moments.from_values(control), Moments.from_values(treatment))
    expected = stats.ttest_ind_from_stats(
        treatment.mean(), treatment.std(ddof=1), m, control.mean(), control.std(ddof=1), n, equal_var=False
    )
    assert comparison.statistic == pytest.approx(expected.statistic, rel=1e-9)
    assert own_p(comparison.statistic, comparison.degrees_of_freedom) == pytest.approx(expected.pvalue, rel=1e-9)


def test_the_ratio_interval_of_statsmodels_is_wrong_where_every_unit_converts() -> None:
    """So Koopman's interval is ours: at statsmodels' lower end the score is 4.53, not 5."""
    control, treatment = Moments.from_sums(39, 1, 1), Moments.from_sums(22, 22, 22)
    comparison = Proportions(control, treatment)
    theirs = confint_proportions_2indep(
        22, 22, 1, 39, method="score", compare="ratio", correction=False, alpha=2 * stats.norm.sf(5)
    )
    low, high = comparison.relative(5)
    assert high == pytest.approx(theirs[1] - 1, rel=1e-6)
    assert low == pytest.approx(1.2021290024, rel=1e-9)
    assert theirs[0] - 1 > 1.6


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_corrected_p_values_are_those_of_statsmodels(p_values: list[float]) -> None:
    """Holm's and Benjamini and Hochberg's; a missing p-value changes no other."""
    missing = corrected([None, *p_values, math.nan], "holm")
    assert missing == [None, *corrected(p_values, "holm"), None]
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


def test_two_segments_without_an_error_have_no_interaction() -> None:
    """Nothing is tested, and the reason says why."""
    flat = {name: dict.fromkeys(("none", "offer"), Moments.from_values([2.0, 2.0])) for name in ("new", "returning")}
    test = break_down(flat, "mean", ["offer"], 0.95).interaction["offer"]
    assert test.to_dict() == {
        "p_value": None,
        "reason": "fewer than two segments have a standard error",
        "corrected_p_value": None,
    }


def test_effects_of_two_experiments_are_differences_of_differences() -> None:
    """Normal intervals and Wald's chi-square by hand; a cell in which nobody bought takes part."""
    dice = np.random.default_rng(6)
    cells = {(a, b): Moments.from_values(dice.normal(5, 1, 50)) for a in "xyz" for b in "uv"}
    cells["x", "u"] = Moments.zeros(50, 1)
    found = interact(cells, ["x", "y", "z"], ["u", "v"], 0.9)
    values = {pair: moments.value or 0.0 for pair, moments in cells.items()}
    variances = {pair: moments.variance or 0.0 for pair, moments in cells.items()}
    contrasts = np.array([[(pair == (a, "v")) - (pair == (a, "u")) - (pair == ("x", "v")) + (pair == ("x", "u"))
                           for pair in cells] for a in "yz"], float)  # fmt: skip
    effects = contrasts @ list(values.values())
    covariance = contrasts @ np.diag(list(variances.values())) @ contrasts.T
    assert found.p_value == pytest.approx(stats.chi2.sf(effects @ np.linalg.inv(covariance) @ effects, 2), rel=1e-9)
    for index, key in enumerate("yz"):
        half = stats.norm.isf(0.05) * math.sqrt(covariance[index, index])
        effect = found.effects[key]["v"]
        assert (effect.low, effect.estimate, effect.high) == pytest.approx(
            (effects[index] - half, effects[index], effects[index] + half), rel=1e-9
        )


def test_a_line_is_that_of_least_squares_with_known_variances() -> None:
    """Slope, intercept and the normal test of the slope by hand."""
    x, y, variances = np.arange(6.0), np.array([3.0, 2.5, 2.6, 1.0, 1.2, 0.1]), np.array([1, 2, 1, 3, 1, 2.0])
    weights = 1 / variances
    centre = weights @ x / weights.sum()
    spread = weights @ (x - centre) ** 2
    slope = weights @ ((x - centre) * y) / spread
    line = fit_line(x.tolist(), y.tolist(), variances.tolist())
    assert line.slope == pytest.approx(slope, rel=1e-9)
    assert line.intercept == pytest.approx(weights @ y / weights.sum() - slope * centre, rel=1e-9)
    assert line.p_value == pytest.approx(2 * stats.norm.sf(abs(slope) * math.sqrt(spread)), rel=1e-9)


def test_the_anytime_sample_ratio_follows_its_formula() -> None:
    """Ln BF = ln B(a + c) - ln B(a) - sum c ln theta with a = 1000 theta (STATISTICS.md); the smallest p-value stays."""
    theta, counts = np.array([0.25, 0.75]), np.array([400, 900])
    a = 1000 * theta

    def log_beta(x: np.ndarray) -> float:
        return sum(math.lgamma(one) for one in x) - math.lgamma(x.sum())

    log_factor = log_beta(a + counts) - log_beta(a) - counts @ np.log(theta)
    day = ({"x": 400, "y": 900}, {"x": 1.0, "y": 3.0, "z": 0.0})
    assert anytime_ratio_p([day]) == pytest.approx(math.exp(-log_factor), rel=1e-9)
    assert anytime_ratio_p([day, ({"x": 0, "y": 300}, day[1])]) == anytime_ratio_p([day])


def test_a_sample_ratio_whose_large_variants_have_no_units_is_exact() -> None:
    """All units went to the variant of which fewest were expected: the binomial test alone decides."""
    found = ratio_p({"a": 0, "b": 0, "c": 30}, {"a": 50, "b": 50, "c": 1})
    assert found == pytest.approx(stats.binomtest(30, 30, 1 / 101).pvalue)


@pytest.mark.parametrize("table", [[], [(3, 4)], [(0, 10), (0, 20)], [(10, 0), (20, 0)]])
def test_a_table_without_variation_is_not_tested(table: list[tuple[int, int]]) -> None:
    """Fewer than two variants, or no count or every count with the property."""
    assert independence_p(table) is None


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
    table = [(count, 100 + index - count) for index, count in enumerate(lost)]
    assert independence_p(table) == pytest.approx(stats.chi2_contingency(table).pvalue, rel=1e-10)
