"""Less variance from what was known before: covariates and strata, held against regressions."""

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.meta_analysis import combine_effects

from analysis import Moments, lift
from analysis.stats.comparisons import Undefined
from analysis.stats.covariates import adjusted, stratified
from analysis.stats.lift import compare


def _units(seed: int, n: int, effect: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    dice = np.random.default_rng(seed)
    before = dice.exponential(20, n) * (dice.random(n) < 0.4)
    return before, 0.8 * before + dice.normal(10, 5, n) + effect


def test_a_mean_adjusted_is_ancova() -> None:
    """One slope for both arms, pooled within them: the coefficient of an OLS of Y on arm and covariate."""
    (x0, y0), (x1, y1) = _units(1, 900), _units(2, 1100, 1.0)
    found = lift(Moments.from_values(y0, covariates=x0), Moments.from_values(y1, covariates=x1))
    design = sm.add_constant(np.column_stack([np.r_[np.zeros(900), np.ones(1100)], np.r_[x0, x1]]))
    fit = sm.OLS(np.r_[y0, y1], design).fit(cov_type="HC2")
    assert found.adjusted is not None
    assert found.adjusted.lift.absolute.estimate == pytest.approx(fit.params[1], rel=1e-9)
    low, high = found.adjusted.lift.absolute.low, found.adjusted.lift.absolute.high
    assert low is not None
    assert high is not None
    assert (high - low) / 2 == pytest.approx(1.96 * fit.bse[1], rel=5e-3)
    assert found.adjusted.variance_saved is not None
    assert found.adjusted.variance_saved > 0.8
    assert found.absolute == lift(Moments.from_values(y0), Moments.from_values(y1)).absolute


def test_a_ratio_adjusted_follows_its_gradient() -> None:
    """Var = grad' Lambda grad / n with grad = (1/dY, -mY/dY^2, -theta/dX, theta mX/dX^2): STATISTICS.md."""
    dice = np.random.default_rng(3)
    arms = {}
    data = {}
    for key in ("c", "t"):
        orders_before, orders = dice.poisson(1.5, 800), dice.poisson(1.2, 800)
        taste = dice.normal(20, 6, 800)
        data[key] = (taste * orders + dice.normal(0, 5, 800) * orders, orders, taste * orders_before, orders_before)
        arms[key] = Moments.from_values(*(column.astype(float) for column in data[key]))
    found = adjusted(arms)
    gradients = {}
    for key, columns in data.items():
        m = np.mean(columns, axis=1)
        gradients[key] = (np.array([1 / m[1], -m[0] / m[1] ** 2, 0, 0]), np.array([0, 0, 1 / m[3], -m[2] / m[3] ** 2]))
    lin = {key: (own @ np.array(data[key]), pre @ np.array(data[key])) for key, (own, pre) in gradients.items()}
    theta = sum(np.cov(*one)[0, 1] for one in lin.values()) / sum(one[1].var(ddof=1) for one in lin.values())
    pooled = sum(data[key][2].sum() for key in data) / sum(data[key][3].sum() for key in data)
    for key, columns in data.items():
        gradient = gradients[key][0] - theta * gradients[key][1]
        own, before = columns[0].sum() / columns[1].sum(), columns[2].sum() / columns[3].sum()
        assert found[key].value == pytest.approx(own - theta * (before - pooled), rel=1e-9)
        assert found[key].variance == pytest.approx(gradient @ np.cov(columns) @ gradient / 800, rel=1e-9)
    assert (found["c"].variance or 1) < (arms["c"].without_covariates().variance or 0)


@pytest.mark.parametrize("value", [0.0, 7.5])
def test_a_covariate_that_says_nothing_has_a_reason(value: float) -> None:
    """Nobody bought before, or everybody the same."""
    arm = Moments.from_values([1.0, 2.0, 5.0], covariates=[value] * 3)
    found = lift(arm, arm).adjusted
    assert found is not None
    assert found.variance_saved is None
    assert "before its exposure" in (found.lift.reason or "")
    with pytest.raises(Undefined):
        adjusted({"a": Moments.from_values([1.0, 2.0])})


def test_strata_agree_with_combined_effects() -> None:
    """Differences within strata, weighted by their units."""
    dice = np.random.default_rng(4)
    shares = [(400, 100), (300, 700), (50, 50)]
    strata = [
        {"c": Moments.from_values(dice.normal(level, 2, a)), "t": Moments.from_values(dice.normal(level + 1, 2, b))}
        for (a, b), level in zip(shares, (10, 50, 20), strict=True)
    ]
    arms = stratified(strata)
    found = compare("mean", arms["c"], {"t": arms["t"]})["t"]
    effects = np.array([(one["t"].value or 0) - (one["c"].value or 0) for one in strata])
    variances = np.array([(one["t"].variance or 0) + (one["c"].variance or 0) for one in strata])
    weights = np.array([sum(pair) for pair in shares], float)
    assert found.absolute.estimate == pytest.approx(np.average(effects, weights=weights))
    error = np.sqrt(((weights / weights.sum()) ** 2 * variances).sum())
    assert (arms["t"].variance or 0) + (arms["c"].variance or 0) == pytest.approx(error**2)
    optimal = combine_effects(effects, variances)
    assert found.absolute.estimate == pytest.approx(optimal.mean_effect_fe, abs=3 * optimal.sd_eff_w_fe)
    naive = sum(one["t"].numerator for one in strata) / 850 - sum(one["c"].numerator for one in strata) / 750
    assert abs(naive - 1) > 5  # what pooling across changed weights would say


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.floats(-100, 100), st.floats(0, 100)), min_size=6, max_size=40), st.integers(2, 38))
def test_moments_with_covariates_merge(pairs: list[tuple[float, float]], cut: int) -> None:
    """Any split gives the whole."""
    y, x = (np.array(column) for column in zip(*pairs, strict=True))
    cut = min(cut, len(y) - 1)
    whole = Moments.from_values(y, covariates=x)
    parts = Moments.from_values(y[:cut], covariates=x[:cut]) + Moments.from_values(y[cut:], covariates=x[cut:])
    assert parts.covariates == whole.covariates == 1
    np.testing.assert_allclose(parts.scatter, whole.scatter, rtol=1e-9, atol=1e-6)


def test_adjustment_is_never_biased() -> None:
    """300 experiments with a true effect of 1: the adjusted intervals hold it, and are narrower."""
    held, narrower = 0, 0
    for seed in range(300):
        (x0, y0), (x1, y1) = _units(2 * seed, 200), _units(2 * seed + 1, 200, 1.0)
        found = lift(Moments.from_values(y0, covariates=x0), Moments.from_values(y1, covariates=x1))
        assert found.adjusted is not None
        low, high = found.adjusted.lift.absolute.low or 0, found.adjusted.lift.absolute.high or 0
        held += low <= 1 <= high
        narrower += high - low < (found.absolute.high or 0) - (found.absolute.low or 0)
    assert 0.915 <= held / 300 <= 0.98
    assert narrower == 300
