"""Moments: sums that merge exactly."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis import Moments
from analysis.stats.moments import centre
from experiments import AnalysisError

amounts = st.lists(st.floats(-1e6, 1e6).map(lambda x: round(x, 2)), min_size=2, max_size=30)


@given(amounts, st.integers(0, 30))
def test_any_split_merges_to_the_whole(values: list[float], cut: int) -> None:
    """Added up in two parts, or at once: the same (Chan, Golub, LeVeque 1983)."""
    whole = Moments.from_values(values)
    parts = Moments.from_values(values[:cut]) + Moments.from_values(values[cut:])
    assert parts.n == whole.n
    assert parts.means == pytest.approx(whole.means, abs=1e-7)
    assert parts.scatter == pytest.approx(whole.scatter, rel=1e-9, abs=1e-3)


@given(st.lists(st.tuples(st.integers(-1000, 1000), st.integers(1, 9)), min_size=2, max_size=30))
def test_sums_and_values_agree(pairs: list[tuple[int, int]]) -> None:
    """from_sums is from_values, for a ratio as for a mean."""
    x, y = np.array(pairs, float).T
    sums = Moments.from_sums(len(x), x.sum(), (x * x).sum(), y.sum(), (y * y).sum(), (x * y).sum())
    values = Moments.from_values(x, y)
    assert sums.value == pytest.approx(values.value)
    assert sums.std_error == pytest.approx(values.std_error, abs=1e-9)
    assert Moments.from_sums(len(x), x.sum(), (x * x).sum()).std_error == pytest.approx(x.std(ddof=1) / len(x) ** 0.5)


def test_the_variance_of_a_ratio() -> None:
    """Means 5 and 4, variances 3 and 2, covariance 1: .2265625 before the division by n (STATISTICS.md)."""
    n = 1001
    covariance = np.array([[3.0, 1.0], [1.0, 2.0]])
    ratio = Moments(n, np.array([5.0, 4.0]), covariance * (n - 1))
    assert ratio.value == 1.25
    assert ratio.variance == pytest.approx(0.2265625 / n)


def test_shifted_amounts_do_not_cancel() -> None:
    """A variance of 1 beside a mean of 10^9 survives being added up around a centre."""
    values = 1e9 + np.array([-1.0, 0.0, 1.0] * 100)
    c = centre(float(values.mean()))
    around = values - c
    found = Moments.from_centred_sums(300, np.array([around.sum()]), np.array([[(around**2).sum()]]), [c])
    assert found.scatter[0, 0] == pytest.approx(200)
    assert found.value == 1e9


def test_zeros_are_visitors_who_bought_nothing() -> None:
    """Merged in, they count as units."""
    found = Moments.from_values([10.0, 20.0]) + Moments.zeros(8, 1)
    assert (found.n, found.value) == (10, 3.0)
    assert found.std_error == pytest.approx(np.std([10, 20] + [0] * 8, ddof=1) / 10**0.5)


def test_what_has_no_value_is_none() -> None:
    """No units, one unit, no denominator: None, never a plausible number."""
    assert Moments.zeros(0, 1).value is None
    assert (Moments.from_values([3.0]).value, Moments.from_values([3.0]).std_error) == (3.0, None)
    assert Moments.zeros(9, 2).value is None
    assert Moments.zeros(9, 2).variance is None
    assert (Moments.zeros(0, 1) + Moments.zeros(0, 1)).n == 0


@pytest.mark.parametrize(
    "make",
    [
        lambda: Moments.from_values([1.0, float("nan")]),
        lambda: Moments.from_values([1.0, 2.0], [1.0]),
        lambda: Moments.from_values([[1.0, 2.0]]),  # type: ignore[list-item]
        lambda: Moments.from_sums(2, float("inf"), 1.0),
        lambda: Moments.from_sums(-1, 0.0, 0.0),
        lambda: Moments.from_sums(2, 10.0, 1.0),
        lambda: Moments.from_sums(2, 1.0, 1.0, 2.0),
        lambda: Moments.from_values([1.0]) + Moments.from_values([1.0], [1.0]),
    ],
)
def test_sums_that_cannot_be_are_refused(make: object) -> None:
    """Never a number from broken sums."""
    with pytest.raises(AnalysisError, match="wanted"):
        make()  # type: ignore[operator]
