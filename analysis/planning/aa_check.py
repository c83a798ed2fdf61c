"""A/A tests on the shop's own data: how often each metric raises a false alarm."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from analysis.metrics import columns_of, metrics_of
from analysis.queries import breakdowns
from analysis.queries.exposure_counts import undeclared, units_by_place
from analysis.queries.source import Source, open_source
from analysis.queries.study import read_scope
from analysis.queries.unit_facts import Scope, alias
from analysis.stats.boundaries import multiplicity
from analysis.stats.comparisons import Undefined
from analysis.stats.comparisons.means import Means
from analysis.stats.comparisons.proportions import Proportions
from analysis.stats.comparisons.quantiles import Quantiles
from analysis.stats.moments import Floats, Moments
from analysis.stats.orders.order_statistics import Ranked
from analysis.stats.orders.quantiles import cluster_factor
from events.clock import now_ms
from experiments.declarations.loading import load
from experiments.declarations.metrics import Column, Metric
from experiments.errors import AnalysisError

ALPHA = 0.05
BATCH = 50  # tests whose splits are held in memory at once
MAX_ACTIVE = 2_000_000


@dataclass(frozen=True, slots=True)
class ErrorRate:
    """
    The false alarms of one metric.

    Attributes:
        tests: A/A tests with a p-value; 0 with a reason.
        alarms: Of those, with p below 5%.
        expected: The range of the rate in 99.9% of runs where the true rate is 5%; None without tests.
    """

    metric: str
    tests: int
    alarms: int
    expected: tuple[float, float] | None
    reason: str | None = None

    @property
    def rate(self) -> float | None:
        """The share of false alarms."""
        return self.alarms / self.tests if self.tests else None

    @property
    def sound(self) -> bool | None:
        """
        Whether the rate is within random variation of 5%, or below; None without tests.

        Fewer alarms are no fault: with few distinct prices, a quantile cannot have exactly 5%, and has less.
        """
        return None if self.rate is None or not self.expected else self.rate <= self.expected[1]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        values: dict[str, Any] = {
            "metric": self.metric,
            "tests": self.tests,
            "alarms": self.alarms,
            "rate": self.rate,
            "sound": self.sound,
            "expected": self.expected,
        }
        return values if self.reason is None else values | {"reason": self.reason}


def aa_check(
    key: str,
    store: str = "sqlite:///crosslift.db",
    configs: str | Path = "configs",
    tests: int = 1000,
    seed: int = 1,
    as_of_ms: int | None = None,
    progress: Callable[[int], object] | None = None,
) -> list[ErrorRate]:
    """
    Split the units of an experiment into two random halves many times, and count false alarms.

    The halves do not differ, so a sound metric raises an alarm in 5% of the tests. The units of all variants are pooled.

    Args:
        key: The experiment whose units and metrics are used.
        store: URL of the store.
        configs: Folder of the declarations.
        tests: How many splits.
        seed: The same seed gives the same splits.
        as_of_ms: Read nothing later; now by default.
        progress: Called with the number of finished tests.

    Only active units are read into memory. The others are zeros; each half gets a random number of them.

    Raises:
        AnalysisError: Too few or too many units.
    """
    loaded = load(configs)
    metrics = metrics_of(loaded.experiment(key))
    with open_source(store, loaded.shop) as source:
        experiment = loaded.experiment(key)
        scope, _epochs, _declared = read_scope(source, loaded, experiment, now_ms() if as_of_ms is None else as_of_ms)
        values, units, columns = _read(source, scope, metrics)
        orders = _orders(source, scope) if any(metric.quantile is not None for metric in metrics.values()) else None
    if units < 4:
        raise AnalysisError(f"{key}: must have at least 4 units to split, got {units}")
    return split_and_test(metrics, values, units, columns, tests, seed, orders, progress)


@dataclass(frozen=True, slots=True)
class Orders:
    """Order values in rising order, and the index of each order's unit."""

    values: Floats
    units: NDArray[np.intp]

    def quantile(self, is_member: NDArray[np.bool_], share: float) -> Ranked:
        """Return the order statistics of the orders of some units; `is_member` has shape (units,)."""
        at = np.flatnonzero(is_member[self.units])
        if not len(at):
            raise Undefined("a half without orders")
        sorted_values = self.values[at]
        plain = Ranked(len(at), share, 1.0, lambda rank: float(sorted_values[rank - 1]))
        orders = np.bincount(self.units[at], minlength=len(is_member))[is_member].astype(float)
        under = np.bincount(self.units[at[sorted_values <= plain.value]], minlength=len(is_member))[is_member].astype(
            float
        )
        factor = cluster_factor(Moments.from_values(under, orders), len(at))
        return Ranked(len(at), share, factor, plain.at)


def _orders(source: Source, scope: Scope) -> Orders:
    orders = breakdowns.orders_inside(source, scope)
    rows = source.rows(orders.select("unit_id", "minor"))
    indices = {unit: index for index, unit in enumerate(sorted({row["unit_id"] for row in rows}))}
    rows.sort(key=lambda row: row["minor"])
    return Orders(
        np.array([row["minor"] for row in rows], float), np.array([indices[row["unit_id"]] for row in rows], np.intp)
    )


def _read(source: Source, scope: Scope, metrics: Mapping[str, Metric]) -> tuple[Floats, int, list[Column]]:
    columns = columns_of(metrics.values())
    counts = source.exposures(scope).counts
    units = sum(units_by_place(counts, scope.since).values()) + undeclared(counts, scope.since)
    active = source.units(scope, columns)
    rows = source.rows(
        active.select(**{f"c{index}": active[alias(column)] for index, column in enumerate(columns)}).limit(
            MAX_ACTIVE + 1
        )
    )
    if len(rows) > MAX_ACTIVE:
        raise AnalysisError(
            f"{scope.experiment}: must have at most {MAX_ACTIVE:,} active units; use an earlier --as-of"
        )
    values = np.array([[float(row[f"c{index}"]) for index in range(len(columns))] for row in rows])
    return values.reshape(len(rows), len(columns)), units, columns


def split_and_test(
    metrics: Mapping[str, Metric],
    values: Floats,
    units: int,
    columns: Sequence[Column],
    tests: int,
    seed: int,
    orders: Orders | None = None,
    progress: Callable[[int], object] | None = None,
) -> list[ErrorRate]:
    """
    Run A/A tests over units in memory.

    Args:
        metrics: By name.
        values: Shape (active units, columns).
        units: The number of all units.
        columns: The meaning of the columns of values.
        orders: Needed for quantile metrics.
        tests, seed, progress: See `aa_check`.
    """
    random = np.random.default_rng(seed)
    k = len(columns)
    centres = values.mean(axis=0) if len(values) else np.zeros(k)
    centred = values - centres
    pairs = [(i, j) for i in range(k) for j in range(i, k)]
    products = np.stack([centred[:, i] * centred[:, j] for i, j in pairs], axis=1) if k else np.zeros((len(values), 0))
    totals, all_products = centred.sum(axis=0), products.sum(axis=0)
    alarms, tested = dict.fromkeys(metrics, 0), dict.fromkeys(metrics, 0)
    for start in range(0, tests, BATCH):
        size = min(BATCH, tests - start)
        halves = random.integers(0, 2, size=(size, len(values)), dtype=np.int8).astype(np.float64)
        idle = random.binomial(units - len(values), 0.5, size=size)
        counts, sums, crosses = halves.sum(axis=1), halves @ centred, halves @ products
        for test in range(size):
            first = _half(int(counts[test]), int(idle[test]), sums[test], crosses[test], centres, pairs)
            second = _half(
                len(values) - int(counts[test]), units - len(values) - int(idle[test]),
                totals - sums[test], all_products - crosses[test], centres, pairs,
            )  # fmt: skip
            for name, metric in metrics.items():
                if metric.quantile is None:
                    p_value = _p(metric, first, second, columns)
                else:
                    p_value = _quantile_p(orders, metric.quantile, random)
                if p_value is not None:
                    tested[name] += 1
                    alarms[name] += p_value < ALPHA
        if progress:
            progress(start + size)
    return [_rate(name, tested[name], alarms[name]) for name in metrics]


def _half(
    active: int, idle: int, sums: Floats, crosses: Floats, centres: Floats, pairs: Sequence[tuple[int, int]]
) -> Moments:
    k = len(centres)
    matrix = np.zeros((k, k))
    for (i, j), product in zip(pairs, crosses, strict=True):
        matrix[i, j] = matrix[j, i] = product
    return Moments.from_centred_sums(active, sums, matrix, centres) + Moments.zeros(idle, k)


def _quantile_p(orders: Orders | None, share: float, random: np.random.Generator) -> float | None:
    if orders is None or not len(orders.values):
        return None
    half = random.integers(0, 2, size=int(orders.units.max()) + 1, dtype=np.int8).astype(bool)
    try:
        comparison = Quantiles(orders.quantile(half, share), orders.quantile(~half, share))
    except Undefined:
        return None
    return multiplicity.own_p(comparison.statistic, comparison.degrees_of_freedom)


def _p(metric: Metric, first: Moments, second: Moments, columns: Sequence[Column]) -> float | None:
    at = [columns.index(column) for column in metric.columns]
    try:
        kind = Proportions if metric.kind == "proportion" else Means
        comparison = kind(first.pick(at), second.pick(at))
    except Undefined:
        return None
    return multiplicity.own_p(comparison.statistic, comparison.degrees_of_freedom)


def _rate(name: str, tests: int, alarms: int) -> ErrorRate:
    if not tests:
        return ErrorRate(name, 0, 0, None, "the metric has no values to compare")
    low, high = (float(binom.ppf(tail, tests, ALPHA)) / tests for tail in (0.0005, 0.9995))
    return ErrorRate(name, tests, int(alarms), (low, high))
