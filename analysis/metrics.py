"""What each metric is made of: columns that a unit's counted orders and interactions add up to."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from analysis.stats.comparisons import Kind
from experiments.declarations.metrics import QUANTILE
from experiments.declarations.model import CustomMetric, Experiment
from experiments.errors import AnalysisError

SLOW_MOVING = "slow_moving"

# What the declared columns are, per unit; money is in major units of the shop's currency.
COLUMN_MEANINGS: Mapping[str, str] = {
    "orders": "counted orders",
    "units": "items in them",
    "net": "revenue by the shop's order rules: gross less discounts and refunds unless they say otherwise",
    "gross": "product revenue before discounts",
    "discount": "discounts given",
    "refunded": "money given back",
    "shipping": "shipping charged",
    "tax": "taxes charged",
    "cost": "cost of goods; an order whose cost is not known counts 0",
    "margin": "gross less discounts, refunds and cost of goods",
    "discounted_orders": "orders with a discount",
    "refunded_orders": "orders of which some money was given back",
    "attached_orders": "orders with a line that an offer of this experiment sold",
    "attached_units": "items of such lines",
    "attached_revenue": "gross of such lines less their discounts and refunds",
    "impressions": "offers seen, half visible for a second",
    "clicks": "offers clicked",
    "add_to_carts": "offers added to the cart",
    "declines": "offers declined",
    "dismissals": "offers closed",
    "added_quantity": "items added to the cart from offers",
    "added_value": "value of what was added to the cart from offers",
}
# Made of those per unit, each 0 or 1.
FLAG_MEANINGS: Mapping[str, str] = {
    "buyer": "a unit with a counted order",
    "viewer": "a unit that saw an offer",
    "adder": "a unit that added an offer to the cart",
    "abandoner": "an adder without a counted order",
    "repeater_30": "a buyer with another order within 30 days of the first, of those followed that long",
    "followed_30": "a buyer whose first order is at least 30 days old",
    "repeater_60": "as repeater_30, of 60 days",
    "followed_60": "as followed_30, of 60 days",
    "repeater_90": "as repeater_30, of 90 days",
    "followed_90": "as followed_30, of 90 days",
}
MONEY = ("net", "gross", "discount", "refunded", "shipping", "tax", "cost", "margin", "attached_revenue", "added_value")
INTERACTIONS = {
    "impressions": "impression",
    "clicks": "click",
    "add_to_carts": "add_to_cart",
    "declines": "decline",
    "dismissals": "dismiss",
    "added_quantity": "add_to_cart",
    "added_value": "add_to_cart",
}


@dataclass(frozen=True, slots=True)
class Metric:
    """
    One metric over units.

    Attributes:
        name: As declarations and reports write it.
        kind: `mean` per unit, `proportion` of units, `ratio` of two sums over units, or `quantile` of order values.
        numerator, denominator: Columns or flags of a unit; `COLUMN:TAG` counts lines of products that carry a tag only.
        quantile: Of order values, in (0, 1).
        better: Whether the shop wants it higher or lower.
    """

    name: str
    kind: Kind
    numerator: str
    denominator: str | None = None
    quantile: float | None = None
    better: Literal["higher", "lower"] = "higher"

    @property
    def columns(self) -> tuple[str, ...]:
        """The one or two columns that its moments are over."""
        return (self.numerator,) if self.denominator is None else (self.numerator, self.denominator)

    @property
    def is_money(self) -> bool:
        """Whether the value is in the shop's currency."""
        return _is_money(self.numerator) and not (self.denominator and _is_money(self.denominator))

    @property
    def needs_costs(self) -> bool:
        """Whether it can be had only where the cost of every order is known."""
        return any(name.removeprefix("any ") in ("margin", "cost") for name in self.columns)

    @property
    def by_day(self) -> str | None:
        """The column whose daily sums its curve since the exposure is of; None where there is none."""
        column = {"buyer": "orders"}.get(self.numerator, self.numerator.removeprefix("any "))
        return None if self.quantile is not None or column in FLAG_MEANINGS else column

    @property
    def by_history(self) -> bool:
        """Whether a unit's orders before its exposure say something about it."""
        return self.quantile is None and all(name in _WITH_HISTORY for name in self.columns)


_WITH_HISTORY = ("buyer", "orders", "units", "net", "gross", "margin")

CATALOGUE: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("revenue_per_visitor", "mean", "net"),
        Metric("margin_per_visitor", "mean", "margin"),
        Metric("conversion", "proportion", "buyer"),
        Metric("average_order_value", "ratio", "net", "orders"),
        Metric("median_order_value", "quantile", "net", quantile=0.5),
        Metric("orders_per_visitor", "mean", "orders"),
        Metric("units_per_order", "ratio", "units", "orders"),
        Metric("attach_rate", "ratio", "attached_orders", "orders"),
        Metric("accept_rate", "ratio", "add_to_carts", "impressions"),
        Metric("decline_rate", "ratio", "declines", "impressions", better="lower"),
        Metric("discount_cost_per_visitor", "mean", "discount", better="lower"),
        Metric("refund_rate", "ratio", "refunded_orders", "orders", better="lower"),
        Metric("cart_abandonment", "ratio", "abandoner", "adder", better="lower"),
        Metric("repeat_rate_30d", "ratio", "repeater_30", "followed_30"),
        Metric("repeat_rate_60d", "ratio", "repeater_60", "followed_60"),
        Metric("repeat_rate_90d", "ratio", "repeater_90", "followed_90"),
        Metric("slow_moving_units_per_visitor", "mean", f"units:{SLOW_MOVING}"),
    )
}


def metric_of(name: str, custom: Mapping[str, CustomMetric]) -> Metric:
    """
    Give a metric by its name.

    Raises:
        AnalysisError: There is none.
    """
    if name in CATALOGUE:
        return CATALOGUE[name]
    quantile = QUANTILE.match(name)
    if quantile:
        return Metric(name, "quantile", "net", quantile=int(quantile[1]) / 100)
    if name not in custom:
        raise AnalysisError(f"found no metric {name!r}; wanted one of {', '.join((*CATALOGUE, *custom))}")
    own = custom[name]
    numerator = f"{own.of}:{own.tag}" if own.tag else own.of
    if own.kind == "proportion":
        return Metric(name, "proportion", f"any {numerator}", better=own.better)
    return Metric(name, own.kind, numerator, own.per, better=own.better)


def metrics_of(experiment: Experiment) -> dict[str, Metric]:
    """Give the metrics of a report: those that are declared, and the three that every report shows."""
    declared = experiment.metrics
    names = dict.fromkeys([declared.primary, *declared.secondary, *declared.guardrails])
    names |= dict.fromkeys(["conversion", "average_order_value", "revenue_per_visitor"])
    return {name: metric_of(name, declared.custom) for name in names}


def columns_of(metrics: Iterable[Metric]) -> list[str]:
    """Give the columns that metrics are made of, each once."""
    return list(dict.fromkeys(column for metric in metrics if metric.quantile is None for column in metric.columns))


def _is_money(column: str) -> bool:
    return column.partition(":")[0] in MONEY


def definitions() -> str:
    """Write the tables of docs/metrics.md."""
    kinds = {"mean": "mean per unit", "proportion": "share of units", "ratio": "ratio of sums", "quantile": "quantile"}
    lines = ["| metric | kind | numerator | denominator | better |", "|---|---|---|---|---|"]
    for metric in CATALOGUE.values():
        below = "every exposed unit" if metric.denominator is None else f"`{metric.denominator}`"
        if metric.quantile is not None:
            below = "every counted order"
        above = f"`{metric.numerator}`"
        lines.append(f"| `{metric.name}` | {kinds[metric.kind]} | {above} | {below} | {metric.better} |")
    lines += ["", "| column | of a unit |", "|---|---|"]
    lines += [f"| `{name}` | {meaning} |" for name, meaning in {**COLUMN_MEANINGS, **FLAG_MEANINGS}.items()]
    return "\n".join(lines)
