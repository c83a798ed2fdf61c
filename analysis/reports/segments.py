"""What explains a result: order values, the funnel, segments, other experiments."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from analysis.queries import breakdowns
from analysis.queries.source import Source
from analysis.queries.study import FUNNEL, Study
from analysis.queries.unit_facts import Asked
from analysis.stats.comparisons import Kind, Undefined
from analysis.stats.heterogeneity import Breakdown, break_down, correct_interactions, interact, split
from analysis.stats.moments import Moments
from analysis.stats.orders.order_values import Values
from analysis.stats.orders.quantiles import clustered, quantile, scaled
from experiments.money import exponent


@dataclass(frozen=True, slots=True)
class Segment:
    """One attribute's breakdown as the report shows it, and its units by value and variant."""

    metric: str
    breakdown: Breakdown
    units: dict[str, dict[str, int]]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {"metric": self.metric, **self.breakdown.to_dict()}


def quantile_arms(
    source: Source, asked: Asked, values: Mapping[str, Values], share: float
) -> tuple[dict[str, Moments], str | None]:
    """
    Give a quantile of the order values of every arm, in major units; and why it has no error, where it has none.

    Args:
        source, asked: The store, and what of it.
        values: What `breakdowns.order_values` gave of it.
        share: Which quantile, in (0, 1).
    """
    unit = 10.0 ** exponent(source.currency)
    reason = None
    try:
        at = {key: quantile(found, share) for key, found in values.items()}
    except Undefined as undefined:
        return {}, undefined.reason
    below = breakdowns.below(source, asked, at)
    arms = {}
    for key, found in values.items():
        try:
            minor = clustered(found, share, below.get(key))
        except Undefined as undefined:  # the value can be had, its error not
            reason = f"{key}: {undefined.reason}"
            minor = Moments.of_estimate(sum(found.values()), at[key], 0.0)
        arms[key] = scaled(minor, unit)
    return arms, reason


def funnel(source: Source, study: Study) -> dict[str, dict[str, int]]:
    """Count the units that were exposed, saw, clicked, added, declined and bought; without interactions only the ends."""
    steps = FUNNEL if source.holds("interactions") else {"bought": "buyer"}
    arms = study.arms
    rows = source.rows(breakdowns.count_units(source.units(study.asked, list(steps.values())), steps))
    done = {row["variant"]: row for row in rows}
    found = {}
    for key, cell in arms.items():
        row = done.get(key, dict.fromkeys(steps, 0))
        found[key] = {"exposed": cell.moments.n, **{step: round(row[step]) for step in steps}}
    return found


def segments(source: Source, study: Study, kind: Kind) -> dict[str, Segment]:
    """Break the primary metric down by the declared attributes, as far as exposures carry them."""
    metric = study.metrics[study.experiment.metrics.primary]
    found: dict[str, Segment] = {}
    if metric.quantile is not None or (metric.needs_costs and study.uncosted):
        return found
    for name in study.segments:
        cells = _cells_by(source, study, name, metric.columns)
        if cells is None:
            continue
        if isinstance(cells, str):
            found[name] = Segment(metric.name, Breakdown.without(cells), {})
            continue
        by = split(cells, study.asked.variants)
        units = {value: {key: arm.n for key, arm in arms.items()} for value, arms in by.items()}
        shown = break_down(by, kind, study.active, study.experiment.plan.confidence)
        found[name] = Segment(metric.name, shown, units)
    told = correct_interactions({name: one.breakdown for name, one in found.items()})
    return {name: replace(one, breakdown=told[name]) for name, one in found.items()}


def _cells_by(
    source: Source, study: Study, name: str, columns: tuple[str, ...]
) -> dict[tuple[str, str | None], Moments] | str | None:
    """Give the cells of an attribute, None where no unit has it, or why there are none; of the newest set of weights."""
    asked = study.newest
    if name == "returning":
        units = {key: cell.moments.n for key, cell in study.merge(study.newest_cells).items()}
        told = breakdowns.returning(source, asked, columns, units)
        if not any(cell.moments.n for (_key, value), cell in told.items() if value == "returning"):
            return None
        return {place: cell.moments for place, cell in told.items()}
    sizes = source.units_by(asked, name)
    if len({value for _key, value in sizes}) > breakdowns.MAX_VALUES:
        return f"more than {breakdowns.MAX_VALUES:,} values: no segments"
    cells = source.cells(asked, sizes, columns, (), (name,))
    return {(place[0], place[1]): cell.moments for place, cell in cells.items()}


def interactions(source: Source, study: Study, others: Mapping[str, Asked]) -> dict[str, Any]:
    """Ask whether other experiments change this one's effect on revenue per visitor."""
    found = {}
    for other, asked in others.items():
        cells = breakdowns.together(source, study.newest, asked, "net")
        moments = {place: cell.moments for place, cell in cells.items()}
        found[other] = {"metric": "revenue_per_visitor"} | interact(
            moments, [study.control, *study.active], list(asked.variants), study.experiment.plan.confidence
        ).to_dict()
    return found
