"""Lifts: reference values with their source, agreement with other computations, and no contradictions."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.optimize import brentq

from analysis import Lift, Moments, lift
from analysis.stats.boundaries.confidence_sequences import anytime_multiple, anytime_p, anytime_scale
from analysis.stats.boundaries.multiplicity import dunnett_normal
from analysis.stats.comparisons import Kind
from analysis.stats.comparisons.proportions import Proportions
from analysis.stats.comparisons.readings import Reading
from analysis.stats.lift import compare
from experiments import AnalysisError


def close(found: float | None, expected: float, *, rel: float | None = None, abs: float | None = None) -> bool:  # noqa: A002
    return found is not None and bool(found == pytest.approx(expected, rel=rel, abs=abs))


def share(successes: int, units: int) -> Moments:
    return Moments.from_sums(units, successes, successes)


def proportion(control: Moments, treatment: Moments) -> Lift:
    return compare("proportion", control, {"t": treatment}, planned_units=1000)["t"]


def test_reference_means() -> None:
    """STATISTICS.md, reference A."""
    found = lift(Moments.from_sums(3407, 1396.87, 52377.9767), Moments.from_sums(3461, 2422.7, 134698.29))
    assert found.absolute.estimate == pytest.approx(0.29, abs=5e-6)
    assert close(found.absolute.low, 0.04538, abs=5e-6)
    assert close(found.absolute.high, 0.53462, abs=5e-6)
    assert found.p_value == pytest.approx(0.02016, abs=5e-6)
    relative = found.relative
    assert close(relative.estimate, 0.70732, abs=5e-6)
    assert close(relative.low, 0.09406, abs=5e-6)
    assert close(relative.high, 1.70869, abs=5e-6)


def test_reference_proportions() -> None:
    """19/53 against 13/47: chi-square without correction .3809097 (STATISTICS.md)."""
    assert proportion(share(13, 47), share(19, 53)).p_value == pytest.approx(0.3809097, abs=5e-8)


def test_proportions_agree_with_chi_square() -> None:
    """The score test is Pearson's chi-square without correction."""
    table = np.array([[30, 170], [50, 160]])
    found = proportion(share(30, 200), share(50, 210)).p_value
    assert found == pytest.approx(stats.chi2_contingency(table, correction=False).pvalue, rel=1e-12)


@pytest.mark.parametrize(
    ("x0", "n0", "x1", "n1"), [(13, 47, 19, 53), (1, 20, 7, 25), (0, 30, 4, 31), (122, 21306, 267, 21307), (5, 5, 2, 6)]
)
def test_score_intervals_agree_with_brute_force(x0: int, n0: int, x1: int, n1: int) -> None:
    """The restricted likelihood maximised numerically, and the score inverted: the same ends as the closed forms."""

    def score(difference: float) -> float:
        low, high = max(0.0, -difference), min(1.0, 1 - difference)

        def slope(p: float) -> float:
            q, e = p + difference, 1e-300
            return x0 / max(p, e) - (n0 - x0) / max(1 - p, e) + x1 / max(q, e) - (n1 - x1) / max(1 - q, e)

        edge = 1e-13
        p0 = (
            low
            if slope(low + edge) <= 0
            else high
            if slope(high - edge) >= 0
            else brentq(slope, low + edge, high - edge, xtol=1e-15)
        )
        variance = (p0 + difference) * (1 - p0 - difference) / n1 + p0 * (1 - p0) / n0
        return float((x1 / n1 - x0 / n0 - difference) / math.sqrt(max(variance, 1e-300)))

    low, high = Proportions(share(x0, n0), share(x1, n1)).absolute(1.959963984540054)
    for end, expected in ((low, 1.959963984540054), (high, -1.959963984540054)):
        assert abs(end) == 1 or score(end) == pytest.approx(expected, abs=1e-5)


def test_ratio_of_shares_agrees_with_statsmodels() -> None:
    """Koopman's interval, which statsmodels inverts too (its bug is in the difference only)."""
    from statsmodels.stats.proportion import confint_proportions_2indep

    expected = confint_proportions_2indep(267, 21307, 122, 21306, method="score", compare="ratio", correction=False)
    found = proportion(share(122, 21306), share(267, 21307)).relative
    assert close(found.low, expected[0] - 1, rel=1e-6)
    assert close(found.high, expected[1] - 1, rel=1e-6)


def test_moments_and_score_agree_at_large_n() -> None:
    """With many units and many successes the two roads give the same."""
    control, treatment = share(100_000, 1_000_000), share(101_000, 1_000_000)
    by_score, by_moments = proportion(control, treatment), lift(control, treatment)
    assert by_score.p_value == pytest.approx(by_moments.p_value, rel=1e-3)
    assert by_score.relative.low == pytest.approx(by_moments.relative.low, rel=1e-3)


def test_welch_agrees_with_scipy_and_ols() -> None:
    """Scipy's unequal-variance t test, and OLS on two arms with HC2 errors."""
    dice = np.random.default_rng(3)
    a, b = dice.lognormal(1, 1, 80), dice.lognormal(1.2, 1.3, 60)
    found = lift(Moments.from_values(a), Moments.from_values(b))
    expected = stats.ttest_ind(b, a, equal_var=False)
    interval = expected.confidence_interval()
    assert found.p_value == pytest.approx(expected.pvalue, rel=1e-10)
    assert close(found.absolute.low, interval.low)
    assert close(found.absolute.high, interval.high)
    design = sm.add_constant(np.r_[np.zeros(80), np.ones(60)])
    error = sm.OLS(np.r_[a, b], design).fit(cov_type="HC2").bse[1]
    assert error == pytest.approx(math.hypot(*(Moments.from_values(x).std_error or 0 for x in (a, b))))


def test_order_value_agrees_with_clustered_ols() -> None:
    """Order-level OLS clustered by unit, without correction, is the delta method up to n / (n - 1)."""
    dice = np.random.default_rng(4)
    orders = dice.poisson(1.5, 400)
    values = [dice.lognormal(3, 0.5, count) * dice.lognormal(0, 0.5) for count in orders]
    units = np.repeat(np.arange(400), orders)
    flat = np.concatenate(values)
    model = sm.OLS(flat, np.ones(len(flat))).fit(
        cov_type="cluster", cov_kwds={"groups": units, "use_correction": False}
    )
    found = Moments.from_values([float(one.sum()) for one in values], orders.astype(float))
    assert found.value == pytest.approx(flat.mean())
    assert found.std_error == pytest.approx(model.bse[0] * math.sqrt(400 / 399))


def test_dunnett_agrees_with_scipy() -> None:
    """Scipy integrates the multivariate t by simulation and pools variances: equal to three digits at 2,000 a group."""
    dice = np.random.default_rng(5)
    groups = [dice.normal(0.06 * (index == 1), 1, 2000) for index in range(5)]
    expected = stats.dunnett(*groups[1:], control=groups[0], rng=np.random.default_rng(1))
    arms = {str(index): Moments.from_values(group) for index, group in enumerate(groups)}
    found = compare("mean", arms.pop("0"), arms)
    ends = expected.confidence_interval()
    lows, highs = np.atleast_1d(ends.low), np.atleast_1d(ends.high)
    for index, one in enumerate(found.values()):
        assert one.simultaneous.p_value == pytest.approx(expected.pvalue[index], abs=0.01)
        assert one.simultaneous.absolute.low == pytest.approx(lows[index], abs=2e-3)
        assert one.simultaneous.absolute.high == pytest.approx(highs[index], abs=2e-3)


def test_dunnett_tables() -> None:
    """Two-sided 5% points for infinitely many degrees of freedom and equal arms: 2.21, 2.35, 2.44, 2.51 (Dunnett 1964, table II)."""
    loading = math.sqrt(0.5)
    found = [round(dunnett_normal(0.95, [loading] * count), 2) for count in (2, 3, 4, 5)]
    assert found == [2.21, 2.35, 2.44, 2.51]


def test_anytime_formula() -> None:
    """Half-width and p as arXiv 2103.06476 has them, worked out by hand for N = 1000, N* = 1000, a = .05."""
    a, n = 0.05, 1000
    scale = anytime_scale(a, n)
    assert scale == pytest.approx(math.sqrt((-2 * math.log(a) + math.log(1 - 2 * math.log(a))) / n))
    spread = n * scale**2
    half = math.sqrt(n) * math.sqrt(2 * (spread + 1) / (n * spread) * math.log(math.sqrt(spread + 1) / a))
    assert anytime_multiple(n, a, scale) == pytest.approx(half)
    assert anytime_p(half, n, scale) == pytest.approx(a)


def test_relative_interval_without_ends_says_so() -> None:
    """A control that is not told from 0 has no relative interval; the estimate and the difference stay."""
    found = lift(Moments.from_values([-3.0, 4.0, 2.0, -2.0]), Moments.from_values([8.0, 9.0, 10.0, 9.0]))
    assert found.relative.estimate is not None
    assert (found.relative.low, found.relative.high) == (None, None)
    assert "cannot be told from 0" in str(found.relative.reason)
    assert found.p_value is not None


def test_a_negative_control_keeps_the_sign_right() -> None:
    """From -10 to -5 is a gain of half."""
    before, after = np.random.default_rng(0).normal(-10, 1, 500), np.random.default_rng(1).normal(-5, 1, 500)
    relative = lift(Moments.from_values(before), Moments.from_values(after)).relative
    assert all(close(one, 0.5, abs=0.02) for one in (relative.estimate, relative.low, relative.high))
    assert (relative.low or 0) < (relative.estimate or 0) < (relative.high or 0)


def agrees(reading: Reading, confidence: float) -> None:
    """Hold p and both intervals against each other."""
    if reading.p_value is None:
        assert reading.reason
        return
    alpha = 1 - confidence
    if abs(reading.p_value - alpha) < 1e-9:
        return  # on the very edge rounding decides
    for interval in (reading.absolute, reading.relative):
        if interval.low is None or interval.high is None:
            assert interval.reason
            continue
        assert interval.estimate is not None
        assert interval.low <= interval.estimate + 1e-12
        assert interval.high >= interval.estimate - 1e-12
        assert (reading.p_value < alpha) == (interval.low > 0 or interval.high < 0)


values = st.lists(st.floats(-50, 100).map(lambda x: round(x, 1)), min_size=3, max_size=40)


def arms_of(kind: Kind, columns: list[list[float]]) -> list[Moments]:
    if kind == "proportion":
        return [Moments.from_values([float(x > 20) for x in column]) for column in columns]
    if kind == "ratio":
        return [Moments.from_values(column, [1 + abs(x) % 3 for x in column]) for column in columns]
    return [Moments.from_values(column) for column in columns]


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from(["mean", "ratio", "proportion"]),
    st.lists(values, min_size=2, max_size=4),
    st.sampled_from([0.8, 0.95, 0.99]),
)
def test_p_and_intervals_never_contradict(kind: Kind, columns: list[list[float]], confidence: float) -> None:
    """Alone, simultaneously, and at any time: p < alpha exactly when both intervals exclude no difference."""
    arms = arms_of(kind, [column * 40 for column in columns])
    found = compare(
        kind, arms[0], {str(index): arm for index, arm in enumerate(arms[1:])}, confidence, planned_units=500
    )
    for one in found.values():
        for reading in (one, one.simultaneous, one.anytime):
            agrees(reading, confidence)
        if one.p_value is not None and one.simultaneous.p_value is not None:
            assert one.simultaneous.p_value >= one.p_value * (1 - 1e-9)


@settings(max_examples=100, deadline=None)
@given(values, values, st.floats(0.1, 1000))
def test_scaling_and_swapping(first: list[float], second: list[float], factor: float) -> None:
    """Another currency scales the difference and leaves the relative lift; swapped arms mirror the difference."""
    a, b = Moments.from_values(first), Moments.from_values(second)
    found = lift(a, b)
    assume(found.p_value is not None)
    scaled = lift(Moments.from_values(np.array(first) * factor), Moments.from_values(np.array(second) * factor))
    swapped = lift(b, a)
    assert scaled.p_value == pytest.approx(found.p_value, rel=1e-6, abs=1e-12)
    assert scaled.absolute.low == pytest.approx((found.absolute.low or 0) * factor, rel=1e-6, abs=1e-6 * factor)
    if found.relative.low is not None and scaled.relative.low is not None:
        assert scaled.relative.low == pytest.approx(found.relative.low, rel=1e-4, abs=1e-6)
    assert swapped.p_value == pytest.approx(found.p_value)
    assert swapped.absolute.low == pytest.approx(-(found.absolute.high or 0), abs=1e-9)


def numbers(value: Any) -> list[float]:
    """Return every number in nested JSON values."""
    if isinstance(value, dict):
        return [number for one in value.values() for number in numbers(one)]
    return [value] if isinstance(value, float) else []


@pytest.mark.parametrize("kind", ["mean", "proportion"])
@pytest.mark.parametrize(
    "columns", [([], [1.0, 0.0]), ([1.0], [0.0, 1.0]), ([0.0] * 9, [0.0] * 9), ([1.0] * 9, [1.0] * 9), ([0.0] * 9, [1.0] * 9), ([], [])]
)  # fmt: skip
def test_degenerate_arms_have_reasons(kind: Kind, columns: tuple[list[float], list[float]]) -> None:
    """No unit, one unit, nobody, everybody: null with a reason, never NaN, never a made-up p."""
    found = compare(kind, Moments.from_values(columns[0]), {"t": Moments.from_values(columns[1])}, planned_units=100)[
        "t"
    ].to_dict()
    assert all(math.isfinite(number) for number in numbers(found))
    for reading in (found, found["simultaneous"], found["anytime"]):
        assert reading["p_value"] is not None or reading["reason"]
        for part in ("absolute", "relative"):
            assert None not in reading[part].values() or reading[part]["reason"]


def test_equal_values_that_rounding_blurs_do_not_vary() -> None:
    """0.1 added up a thousand times leaves a variance of rounding; it is not evidence."""
    found = lift(Moments.from_values([0.1] * 1000), Moments.from_values([0.3 - 0.2] * 1000))
    assert found.p_value is None
    assert "neither arm varies" in str(found.reason)


def test_wrong_use_is_refused() -> None:
    """A confidence that is no share; a ratio against a mean."""
    mean, ratio = Moments.from_values([1.0, 2.0]), Moments.from_values([1.0, 2.0], [1.0, 1.0])
    with pytest.raises(AnalysisError, match="confidence == 95, must be in"):
        lift(mean, mean, confidence=95)
    with pytest.raises(AnalysisError, match="one kind"):
        lift(mean, ratio)


def rejects(make: Callable[[np.random.Generator], Moments], runs: int) -> float:
    """Return the share of A/A experiments in which no difference is rejected at 5%."""
    dice = np.random.default_rng(20260501)
    return sum((lift(make(dice), make(dice)).p_value or 1) < 0.05 for _ in range(runs)) / runs


def repeat_buyers(dice: np.random.Generator) -> Moments:
    """1,500 visitors, 30% buy, most of them more than once, each around a taste of their own."""
    orders = np.where(dice.random(1500) < 0.3, 1 + dice.geometric(0.5, 1500), 0)
    taste = dice.lognormal(3, 0.6, 1500)
    spread = np.sqrt(np.maximum(orders, 1)) * 0.3 * taste
    return Moments.from_values(
        np.where(orders, taste * orders + spread * dice.normal(size=1500), 0), orders.astype(float)
    )


def test_average_order_value_keeps_its_error_rate_with_repeat_buyers() -> None:
    """2,000 seeded A/A experiments: 5% +- 1, where a test over orders would reject far oftener."""
    assert 0.04 <= rejects(repeat_buyers, 2000) <= 0.06
