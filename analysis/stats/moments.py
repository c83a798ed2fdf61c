"""One arm of one metric, as the few sums that everything else is computed from; they merge exactly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.stats.orders.order_statistics import Ranked
from experiments.errors import AnalysisError

Floats = NDArray[np.float64]


def centre(mean: float | None) -> float:
    """
    Return a constant near a mean, to subtract before values are squared and added up.

    It has 26 binary digits, so that subtracting it from whole numbers, and adding it back n times, loses nothing.

    Raises:
        AnalysisError: The mean is beyond all numbers.
    """
    if mean is not None and not math.isfinite(mean):
        raise AnalysisError("found values too large to add up; wanted numbers below 1e150")
    fraction, exponent = math.frexp(mean or 0.0)
    return math.ldexp(round(fraction * 2**26), exponent - 26)


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """
    Count, means and centred cross-products of a numerator and, for a ratio, of its denominator; then of covariates.

    Attributes:
        n: Units, not orders.
        means: Shape (k,): numerator, then denominator; k = 1 for a plain mean, 2 for a ratio of sums. Sources keep the
            moments of all their columns together (k > 2), of which a metric picks one or two.
        scatter: Shape (k, k): sums over units of products of deviations from the means.
        covariates: How many of the last columns are of the time before the exposure: 0, 1 for a mean, 2 for a ratio.
        ranked: A quantile's order statistics, by which it is compared; None for means and ratios.

    >>> whole = Moments.from_values([1.0, 2.0, 3.0, 4.0])
    >>> parts = Moments.from_values([1.0, 2.0]) + Moments.from_values([3.0, 4.0])
    >>> whole.value == parts.value, round(whole.std_error, 6) == round(parts.std_error, 6)
    (True, True)
    """

    n: int
    means: Floats
    scatter: Floats
    covariates: int = 0
    ranked: Ranked | None = None

    @classmethod
    def from_sums(
        cls,
        n: int,
        total: float,
        total_squares: float,
        denominator_total: float | None = None,
        denominator_total_squares: float | None = None,
        cross_total: float | None = None,
    ) -> Moments:
        """
        Build moments from plain sums over units.

        Args:
            n: Number of units, at least 0.
            total: Sum of the numerator.
            total_squares: Sum of its squares.
            denominator_total: For a ratio, sum of the denominator.
            denominator_total_squares: For a ratio, sum of its squares.
            cross_total: For a ratio, sum of numerator x denominator.

        Raises:
            AnalysisError: A sum is not finite, negative squares, or only some of a ratio's three sums are given.
        """
        ratio = (denominator_total, denominator_total_squares, cross_total)
        if n < 0 or not all(math.isfinite(one) for one in (total, total_squares, *ratio) if one is not None):
            raise AnalysisError(f"Moments: found n = {n} and sums {(total, total_squares, *ratio)}; wanted finite sums")
        if denominator_total is None or denominator_total_squares is None or cross_total is None:
            if ratio != (None, None, None):
                raise AnalysisError(
                    "Moments: found some sums of a denominator; wanted its total, squares and cross total"
                )
            sums, products = np.array([total], float), np.array([[total_squares]], float)
        else:
            sums = np.array([total, denominator_total], float)
            products = np.array([[total_squares, cross_total], [cross_total, denominator_total_squares]], float)
        return cls.from_centred_sums(n, sums, products, np.zeros(len(sums)))

    @classmethod
    def from_centred_sums(cls, n: int, sums: Floats, products: Floats, centres: Sequence[float] | Floats) -> Moments:
        """
        Build moments from sums of values less a constant: raw sums of squares of like amounts cancel.

        Args:
            n: Number of units.
            sums: Shape (k,): sums of (value - centre).
            products: Shape (k, k): sums of products of those.
            centres: Shape (k,): what was subtracted.

        Raises:
            AnalysisError: The sums are not finite, or cannot be of the same units.
        """
        if n == 0:
            return cls.zeros(0, len(sums))
        if not (np.isfinite(sums).all() and np.isfinite(products).all()):
            raise AnalysisError("found values too large to square and add up; wanted numbers below 1e150")
        scatter = products - np.outer(sums, sums) / n
        squares = np.diag(products)
        if (np.diag(scatter) < -1e-9 * squares).any():
            raise AnalysisError(
                f"Moments: found sums of squares below (sum)^2 / n, with n = {n}; wanted sums of the same units"
            )
        np.fill_diagonal(scatter, np.where(np.diag(scatter) > 1e-13 * squares, np.diag(scatter), 0))
        return cls(n, sums / n + np.asarray(centres, float), scatter)

    @classmethod
    def from_values(
        cls,
        values: Sequence[float] | Floats,
        denominators: Sequence[float] | Floats | None = None,
        covariates: Sequence[float] | Floats | None = None,
        covariate_denominators: Sequence[float] | Floats | None = None,
    ) -> Moments:
        """
        Build moments from one value a unit.

        Args:
            values: Shape (n_units,).
            denominators: Shape (n_units,), for a ratio of sums.
            covariates: Shape (n_units,), what was known of each unit before its exposure.
            covariate_denominators: Shape (n_units,), where the covariate is a ratio of sums too.

        Raises:
            AnalysisError: A value is not finite, the columns are not equally long, or a divisor stands without its numerator.
        """
        if covariates is None and covariate_denominators is not None:
            raise AnalysisError("Moments: found denominators of a covariate without the covariate; wanted both")
        arrays = [values, denominators, covariates, covariate_denominators]
        columns = [np.asarray(column, float) for column in arrays if column is not None]
        if len({column.shape for column in columns}) > 1 or columns[0].ndim != 1:
            raise AnalysisError(f"Moments: found shapes {[c.shape for c in columns]}; wanted one value a unit in each")
        data = np.stack(columns)
        if not np.isfinite(data).all():
            raise AnalysisError(
                f"Moments: found {(~np.isfinite(data)).sum()} values that are not finite; wanted numbers"
            )
        n = data.shape[1]
        means = data.mean(axis=1) if n else np.zeros(len(data))
        deviations = data - means[:, None]
        known_before = sum(column is not None for column in arrays[2:])
        return cls(n, means, deviations @ deviations.T, known_before)

    @classmethod
    def of_estimate(cls, n: int, value: float, variance: float, ranked: Ranked | None = None) -> Moments:
        """Return the moments of a mean over n units that has this value, and this variance as an estimate."""
        return cls(n, np.array([value]), np.array([[variance * n * (n - 1)]]), ranked=ranked)

    @classmethod
    def zeros(cls, n: int, k: int) -> Moments:
        """Return the moments of n units whose k columns are all 0: visitors who bought nothing."""
        return cls(n, np.zeros(k), np.zeros((k, k)))

    def pick(self, at: Sequence[int], covariates: int = 0) -> Moments:
        """Return the moments of some of the columns, by their positions; the last ones may be covariates."""
        return Moments(self.n, self.means[list(at)], self.scatter[np.ix_(at, at)], covariates)

    def without_covariates(self) -> Moments:
        """Return the moments of the metric alone."""
        return self.pick(range(len(self.means) - self.covariates)) if self.covariates else self

    def __add__(self, other: Moments) -> Moments:
        """Merge with the moments of other units (Chan, Golub, LeVeque 1983, Am. Stat. 37, 242-247)."""
        if self.means.shape != other.means.shape or self.covariates != other.covariates:
            raise AnalysisError(
                f"Moments: found {len(self.means)} and {len(other.means)} columns; wanted as many in both"
            )
        n = self.n + other.n
        if n == 0:
            return self
        step = other.means - self.means
        scatter = self.scatter + other.scatter + np.outer(step, step) * (self.n * other.n / n)
        return Moments(n, self.means + step * (other.n / n), scatter, self.covariates)

    @property
    def is_ratio(self) -> bool:
        """Whether there is a denominator besides the units."""
        return len(self.means) - self.covariates == 2

    @property
    def numerator(self) -> float:
        """The numerator's total over all units."""
        return float(self.n * self.means[0])

    @property
    def denominator(self) -> float:
        """The denominator's total over all units; the units themselves for a plain mean."""
        return float(self.n * self.means[1]) if self.is_ratio else float(self.n)

    @property
    def value(self) -> float | None:
        """The mean, or the ratio of sums; None without units or with a denominator of 0."""
        if self.n == 0 or (self.is_ratio and self.means[1] == 0):
            return None
        return float(self.means[0] / self.means[1]) if self.is_ratio else float(self.means[0])

    @property
    def variance(self) -> float | None:
        """
        The variance of `value` as an estimate; None below 2 units or with a denominator of 0.

        For a ratio by the delta method: (s2x - 2 R sxy + R^2 s2y) / (n y^2). Source: Deng, Knoblich, Lu (2018), KDD.
        """
        ratio = self.value
        if self.n < 2 or ratio is None:
            return None
        covariance = self.scatter / (self.n - 1)
        if not self.is_ratio:
            return float(covariance[0, 0] / self.n)
        terms = np.array([covariance[0, 0], -2 * ratio * covariance[0, 1], ratio**2 * covariance[1, 1]])
        if terms.sum() <= 1e-12 * np.abs(terms).sum():
            return 0.0  # numerators in proportion to their denominators: what is left of the terms is rounding
        return float(terms.sum() / self.means[1] ** 2 / self.n)

    @property
    def std_error(self) -> float | None:
        """The standard error of `value`; None where `variance` is."""
        return None if self.variance is None else math.sqrt(self.variance)
