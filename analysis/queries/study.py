"""Everything that a report needs to know of one experiment, read once from a store into one object."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from analysis.metrics import columns_of, metrics_of
from analysis.queries import breakdowns
from analysis.queries.aggregates import Cell, Place, merge_by_variant
from analysis.queries.breakdowns import CappedArms, DaySums, OrderCounts, SegmentCells, SoldOrders, VariantPair
from analysis.queries.exposure_cache import store_update
from analysis.queries.exposure_counts import bots_by_variant, undeclared, units_by_place
from analysis.queries.source import Epoch, Source, open_source
from analysis.queries.unit_facts import Scope
from analysis.stats.comparisons import Undefined
from analysis.stats.moments import Moments
from analysis.stats.orders.order_statistics import quantile
from experiments.declarations.loading import Configs
from experiments.declarations.metrics import BUYER, NET, ORDERS, Column, Metric
from experiments.declarations.model import Experiment, declared_dict
from experiments.errors import AnalysisError

FACTORS = (BUYER, ORDERS, NET)  # of the decomposition
FUNNEL: Mapping[str, Column] = {
    "seen": Column("viewer"),
    "clicked": Column("clicks", occurs=True),
    "added": Column("adder"),
    "declined": Column("declines", occurs=True),
    "bought": BUYER,
}


@dataclass(frozen=True, slots=True)
class ExposureSummary:
    """
    What is known of the exposures besides how many units each variant had.

    Attributes:
        undeclared: Exposures of variants that are not declared.
        of_several_variants: Units that saw several variants, and so count in none.
        bots: Exposures that are marked as those of bots, by variant.
        earlier: Exposures of epochs that are not read, since variants meant something else then.
    """

    undeclared: int
    of_several_variants: int
    bots: Mapping[str, int]
    earlier: int


@dataclass(frozen=True, slots=True)
class OtherExperiment:
    """The units that met this and another experiment, by their variants in both; the other's variants, its control first."""

    key: str
    variants: Sequence[str]
    cells: Mapping[VariantPair, Cell]


@dataclass(frozen=True)
class Study:
    """
    All that a report reads of one experiment; nothing in it can reach the store.

    Attributes:
        experiment: As it is declared now: its metrics and its plan.
        currency: The shop's.
        scope: Which part of the store was read.
        epochs: Those that were read, the oldest first.
        declared: The declaration of the newest epoch.
        weights: Declared weights by variant, of all epochs together.
        metrics: Those of the report, by name.
        columns, before: What the moments of the cells are over.
        cells: Sums by variant, epoch and day of the exposure.
        is_simulated: Whether made-up shoppers took part.
        exposures, orders, sold: What is known of exposures and orders besides the sums.
        order_values: How many orders of each value the newest set of weights had, by variant; in minor units.
        orders_up_to: By quantile and variant: per unit, orders at most the quantile over all orders.
        capped: Sums over capped money; None where nothing is capped.
        segments: Sums of the primary metric's columns by segment, of the newest set of weights.
        daily_sums: Of the primary metric's column, by days since the exposure.
        funnel: Units that took each step of FUNNEL, by variant; steps that no event tells of are missing.
        others: The experiments that were asked about too.
    """

    experiment: Experiment
    currency: str
    scope: Scope
    epochs: Sequence[Epoch]
    declared: Mapping[str, Any]
    weights: Mapping[str, float]
    metrics: Mapping[str, Metric]
    columns: Sequence[Column]
    before: Sequence[Column]
    cells: Mapping[Place, Cell]
    exposures: ExposureSummary
    is_simulated: bool = False
    orders: OrderCounts = field(default_factory=OrderCounts)
    sold: Mapping[str, SoldOrders] = field(default_factory=dict)
    order_values: Mapping[str, Mapping[int, int]] = field(default_factory=dict)
    orders_up_to: Mapping[float, Mapping[str, Moments]] = field(default_factory=dict)
    capped: CappedArms | None = None
    segments: Sequence[SegmentCells] = ()
    daily_sums: Sequence[DaySums] = ()
    funnel: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    others: Sequence[OtherExperiment] = ()

    @property
    def variants(self) -> Sequence[str]:
        """The keys of all variants, the control first."""
        return self.scope.variants

    @property
    def control(self) -> str:
        """The key of the first variant."""
        return self.scope.variants[0]

    @property
    def active(self) -> list[str]:
        """The variants that are compared with the control: one of weight 0 has its figures, and no lift."""
        return [key for key in self.variants[1:] if self.weights[key] > 0]

    @property
    def primary(self) -> Metric:
        """The metric that decides."""
        return self.metrics[self.experiment.metrics.primary]

    @cached_property
    def arms(self) -> dict[str, Cell]:
        """The sums of every variant, whatever the epoch."""
        return self.merge(self.cells)

    @cached_property
    def strata(self) -> list[dict[str, Cell]]:
        """The sums of every variant for each set of weights; there is one unless weights were changed."""
        parts: dict[int, dict[Place, Cell]] = {}
        for place, cell in self.cells.items():
            parts.setdefault(self.stratum(place.epoch), {})[place] = cell
        return [self.merge(parts[number]) for number in sorted(parts)] or [self.merge({})]

    def stratum(self, epoch: int) -> int:
        """Return the number of the set of weights that an epoch had."""
        sets = [known.weights for known in self.epochs]
        weights = next((known.weights for known in self.epochs if known.number == epoch), self.weights)
        return next((index for index, known in enumerate(sets) if known == weights), len(sets))

    def merge(self, cells: Mapping[Place, Cell]) -> dict[str, Cell]:
        """Merge cells by variant."""
        return merge_by_variant(cells, self.variants, len(self.columns) + len(self.before))

    def pick(self, moments: Moments, columns: Sequence[Column], before: Sequence[Column] = ()) -> Moments:
        """Return the moments of some columns, and of some of the history as covariates."""
        at = [self.columns.index(column) for column in columns]
        at += [len(self.columns) + self.before.index(column) for column in before]
        return moments.pick(at, len(before))

    @property
    def uncosted(self) -> int:
        """How many counted orders have no known cost."""
        return sum(arm.orders - arm.costed for arm in self.arms.values())

    @property
    def splittable(self) -> Metric | None:
        """The primary metric, where it can be broken down: quantiles do not add up, and margins need every cost."""
        metric = self.primary
        return None if metric.quantile is not None or (metric.needs_costs and self.uncosted) else metric

    @property
    def newest(self) -> Scope:
        """What is read where sums cannot be combined over sets of weights: the epochs that have the newest set."""
        since = self.scope.since
        for epoch, following in zip(self.epochs, self.epochs[1:], strict=False):
            if following.weights != epoch.weights:
                since = following.number
        return replace(self.scope, since=since)

    @property
    def newest_cells(self) -> dict[Place, Cell]:
        """The cells of what `newest` reads."""
        since = self.newest.since
        return {place: cell for place, cell in self.cells.items() if place.epoch >= since}

    @property
    def plan_changed(self) -> bool:
        """Whether what decides is declared otherwise than when the first of the epochs began."""
        if not self.epochs:
            return False
        before, now = self.epochs[0].declared, declared_dict(self.experiment)
        plan, metrics = before.get("plan", {}), before.get("metrics", {})
        # Only what was declared then: what a later version has added is no change of the merchant's.
        return any(now["plan"].get(name) != value for name, value in plan.items()) or any(
            now["metrics"].get(name) != metrics[name] for name in ("primary", "guardrails") if name in metrics
        )


def read_study(
    url: str,
    configs: Configs,
    experiment: Experiment,
    as_of_ms: int,
    others: Sequence[Experiment] = (),
    when_open: Callable[[], None] = lambda: None,
) -> Study:
    """
    Read everything that a report on an experiment needs.

    Args:
        url: Of the store.
        configs: The shop's declarations.
        experiment: Which one.
        as_of_ms: Later exposures and orders are not read.
        others: Experiments whose units are compared too.
        when_open: Called once the store is open: to begin what can run while the engine works.

    Raises:
        StoreError: There is no store at the URL.
        AnalysisError: The store's orders are in several currencies.
    """
    with open_source(url, configs.shop) as source:
        when_open()
        foreign = source.foreign_currencies(as_of_ms)
        if foreign:
            raise AnalysisError(
                f"orders: all must be in {configs.shop.currency}, the currency of shop.yaml, "
                f"but some are in {', '.join(foreign)}"
            )
        study = _read_cells(source, configs, experiment, as_of_ms)
        study = _read_breakdowns(source, study)
        study = replace(study, others=[_read_other(source, configs, study, other) for other in others])
        update = source.exposures(study.scope).cache_update()
    if update is not None:
        store_update(url, update)
    return study


def read_scope(
    source: Source, configs: Configs, experiment: Experiment, as_of_ms: int
) -> tuple[Scope, list[Epoch], Mapping[str, Any]]:
    """Return which part of a store is read for an experiment, its epochs, and its declaration in the newest of them."""
    epochs = source.epochs(experiment.key, as_of_ms)
    declared = epochs[-1].declared if epochs else declared_dict(experiment)
    since = epochs[0].number if epochs else 1
    tagged: dict[str, list[str]] = {}
    for product in configs.products.values():
        for tag in product.tags:
            tagged.setdefault(tag, []).append(product.id)
    variants = list(declared["variants"])
    scope = Scope(experiment.key, variants, declared["unit"], experiment.plan.window, since, as_of_ms, tagged)
    return scope, epochs, declared


def _read_cells(source: Source, configs: Configs, experiment: Experiment, as_of_ms: int) -> Study:
    scope, epochs, declared = read_scope(source, configs, experiment, as_of_ms)
    metrics = metrics_of(experiment)
    columns = list(dict.fromkeys([*columns_of(metrics.values()), *FACTORS]))
    before = list(dict.fromkeys([BUYER, *columns_of(metric for metric in metrics.values() if metric.has_history)]))
    steps = FUNNEL.values() if source.has_rows("interactions") else ()
    attributes = [name for name in experiment.metrics.segments if name not in breakdowns.DERIVED_SEGMENTS]
    source.prepare(scope, list(dict.fromkeys([*columns, BUYER, *steps])), [*before, ORDERS], attributes)
    exposures = source.exposures(scope)
    units = units_by_place(exposures.counts, scope.since)
    cells = breakdowns.cells_by_place(source, scope, units, columns, before)
    newest = {key: float(variant["weight"]) for key, variant in declared["variants"].items()}
    weights = _effective_weights(epochs, cells, newest)
    summary = ExposureSummary(
        undeclared(exposures.counts, scope.since),
        exposures.units_of_several_variants(scope.since),
        bots_by_variant(exposures.logged_counts, scope.since),
        exposures.earlier(scope.since),
    )
    return Study(
        experiment, source.currency, scope, epochs, declared, weights, metrics, columns, before, cells, summary
    )


def _effective_weights(
    epochs: Sequence[Epoch], cells: Mapping[Place, Cell], newest: Mapping[str, float]
) -> dict[str, float]:
    """Return the weights that all units together should show: those of each epoch, by its share of the units."""
    if all(epoch.weights == newest for epoch in epochs):
        return dict(newest)
    expected = dict.fromkeys(newest, 0.0)
    for epoch in epochs:
        units = sum(cell.moments.n for place, cell in cells.items() if place.epoch == epoch.number)
        for key, weight in epoch.weights.items():
            expected[key] += units * weight / sum(epoch.weights.values())
    return expected if any(expected.values()) else dict(newest)


def _read_breakdowns(source: Source, study: Study) -> Study:
    values = breakdowns.order_values(source, study.newest)
    metric = study.splittable
    column = None if metric is None else metric.daily_column
    return replace(
        study,
        order_values=values,
        orders=breakdowns.order_counts(source, study.scope.unit, study.scope.as_of_ms),
        orders_up_to=_orders_up_to(source, study, values),
        capped=_capped(source, study),
        segments=_segments(source, study, metric),
        daily_sums=[] if column is None else breakdowns.by_days_since_exposure(source, study.newest, column),
        sold=breakdowns.sold_orders(source, study.scope),
        funnel=_funnel(source, study),
        is_simulated=source.is_simulated(study.scope.experiment),
    )


def _orders_up_to(
    source: Source, study: Study, values: Mapping[str, Mapping[int, int]]
) -> dict[float, dict[str, Moments]]:
    """Read how the orders below each quantile vary between units; a quantile that some variant lacks is missing."""
    shares = {metric.quantile for metric in study.metrics.values() if metric.quantile is not None}
    moments = {}
    for share in sorted(shares):
        with suppress(Undefined):
            thresholds = {key: quantile(counts, share) for key, counts in values.items()}
            moments[share] = breakdowns.orders_up_to(source, study.newest, thresholds)
    return moments


def _capped(source: Source, study: Study) -> CappedArms | None:
    """Read the sums over capped money; None where nothing is to be capped."""
    metrics = [metric for metric in study.metrics.values() if metric.is_money and metric.quantile is None]
    share = study.experiment.plan.cap
    if share is None or not metrics or len(study.strata) > 1:
        return None
    columns, money = columns_of(metrics), list(dict.fromkeys(metric.numerator for metric in metrics))
    units = {key: cell.moments.n for key, cell in study.arms.items()}
    return breakdowns.capped(source, study.scope, columns, money, share, units)


def _segments(source: Source, study: Study, metric: Metric | None) -> list[SegmentCells]:
    """Break the primary metric down by the declared segments that the store knows."""
    if metric is None:
        return []
    scope, segments = study.newest, []
    for name in study.experiment.metrics.segments:
        if name in breakdowns.DERIVED_SEGMENTS:
            units = {key: cell.moments.n for key, cell in study.merge(study.newest_cells).items()}
            derived = breakdowns.DERIVED_SEGMENTS[name](source, scope, metric.columns, units)
            segments += [] if derived is None else [derived]
        elif breakdowns.has_attribute(source, study.scope, name):
            segments.append(breakdowns.by_attribute(source, scope, name, metric.columns))
    return segments


def _funnel(source: Source, study: Study) -> dict[str, dict[str, int]]:
    """Count the units of each variant that took each step; without interactions only those who bought."""
    steps = FUNNEL if source.has_rows("interactions") else {"bought": BUYER}
    counts = breakdowns.flag_counts(source, study.scope, list(steps.values()))
    return {
        key: {step: counts[key][flag] if key in counts else 0 for step, flag in steps.items()} for key in study.variants
    }


def _read_other(source: Source, configs: Configs, study: Study, other: Experiment) -> OtherExperiment:
    scope, _epochs, _declared = read_scope(source, configs, other, study.scope.as_of_ms)
    cells = breakdowns.by_other_experiment(source, study.newest, scope, NET)
    return OtherExperiment(other.key, scope.variants, cells)
