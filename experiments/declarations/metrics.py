"""
The metrics that a declaration may name, and what each is made of: one table for schema, lint, queries and docs.

`analysis/queries/unit_facts.py` says how each column is read from a store; docs/metrics.md is written from these tables.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal["mean", "proportion", "ratio", "quantile"]
Better = Literal["higher", "lower"]
InteractionKind = Literal["impression", "click", "add_to_cart", "decline", "dismiss"]

SLOW_MOVING = "slow_moving"
QUANTILE = re.compile(r"p([1-9][0-9]?)_order_value\Z")  # p90_order_value


@dataclass(frozen=True, slots=True)
class UnitColumn:
    """
    A number that the counted orders or the interactions of a unit add up to.

    Attributes:
        name: As declarations and reports write it.
        meaning: What docs/metrics.md says of it.
        is_money: Whether it is in major units of the shop's currency.
        interaction: The kind of interaction that it is made of; None for a column of orders.
        has_history: Whether the same of the time before the exposure says something about a unit.
    """

    name: str
    meaning: str
    is_money: bool = False
    interaction: InteractionKind | None = None
    has_history: bool = False


UNIT_COLUMNS = (
    UnitColumn("orders", "counted orders", has_history=True),
    UnitColumn("units", "items in them", has_history=True),
    UnitColumn(
        "net",
        "revenue by the shop's order rules: gross less discounts and refunds unless they say otherwise",
        is_money=True,
        has_history=True,
    ),
    UnitColumn("gross", "product revenue before discounts", is_money=True, has_history=True),
    UnitColumn("discount", "discounts given", is_money=True),
    UnitColumn("refunded", "money given back", is_money=True),
    UnitColumn("shipping", "shipping charged", is_money=True),
    UnitColumn("tax", "taxes charged", is_money=True),
    UnitColumn("cost", "cost of goods; an order whose cost is not known counts 0", is_money=True),
    UnitColumn("margin", "gross less discounts, refunds and cost of goods", is_money=True, has_history=True),
    UnitColumn("discounted_orders", "orders with a discount"),
    UnitColumn("refunded_orders", "orders of which some money was given back"),
    UnitColumn("attached_orders", "orders with a line that an offer of this experiment sold"),
    UnitColumn("attached_units", "items of such lines"),
    UnitColumn("attached_revenue", "gross of such lines less their discounts and refunds", is_money=True),
    UnitColumn("impressions", "offers seen, half visible for a second", interaction="impression"),
    UnitColumn("clicks", "offers clicked", interaction="click"),
    UnitColumn("add_to_carts", "offers added to the cart", interaction="add_to_cart"),
    UnitColumn("declines", "offers declined", interaction="decline"),
    UnitColumn("dismissals", "offers closed", interaction="dismiss"),
    UnitColumn("added_quantity", "items added to the cart from offers", interaction="add_to_cart"),
    UnitColumn(
        "added_value", "value of what was added to the cart from offers", is_money=True, interaction="add_to_cart"
    ),
)
COLUMNS = tuple(column.name for column in UNIT_COLUMNS)
_COLUMN: Mapping[str, UnitColumn] = {column.name: column for column in UNIT_COLUMNS}


@dataclass(frozen=True, slots=True)
class Flag:
    """
    A property of a unit, 1 or 0, that follows from its columns.

    Attributes:
        name, meaning: As of `UnitColumn`.
        columns: The columns that it follows from.
    """

    name: str
    meaning: str
    columns: tuple[str, ...]


FLAGS: Mapping[str, Flag] = {
    flag.name: flag
    for flag in (
        Flag("buyer", "a unit with a counted order", ("orders",)),
        Flag("viewer", "a unit that saw an offer", ("impressions",)),
        Flag("adder", "a unit that added an offer to the cart", ("add_to_carts",)),
        Flag("abandoner", "an adder without a counted order", ("add_to_carts", "orders")),
    )
}
REPEATS: Mapping[str, str] = {
    "repeater": "a buyer with another order within {days} days of the first, of those followed that long",
    "followed": "a buyer whose first order is at least {days} days old",
}


@dataclass(frozen=True, slots=True)
class Column:
    """
    One number of each unit, as a metric uses it.

    Attributes:
        name: One of COLUMNS, FLAGS or REPEATS.
        tag: Count only lines of products with this tag.
        days: How long repeat buyers are followed; of REPEATS only.
        occurs: 1 for a unit of which the column is above 0, and 0 for others.
    """

    name: str
    tag: str | None = None
    days: int | None = None
    occurs: bool = False

    @property
    def is_flag(self) -> bool:
        """Whether it is a property of a unit rather than a sum."""
        return self.name in FLAGS or self.days is not None

    @property
    def is_money(self) -> bool:
        """Whether it is in major units of the shop's currency."""
        return not self.occurs and self.name in _COLUMN and _COLUMN[self.name].is_money

    @property
    def has_history(self) -> bool:
        """Whether the same of the time before the exposure says something about a unit."""
        if self.occurs or self.tag is not None:
            return False
        return self.name == "buyer" or (self.name in _COLUMN and _COLUMN[self.name].has_history)

    @property
    def interaction(self) -> InteractionKind | None:
        """The kind of interaction that it is made of; None for a column of orders."""
        return _COLUMN[self.name].interaction if self.name in _COLUMN else None

    @property
    def label(self) -> str:
        """Its name in docs and reports."""
        if self.days is not None:
            return f"{self.name}_{self.days}"
        return self.name if self.tag is None else f"{self.name}:{self.tag}"


BUYER, ORDERS, NET = Column("buyer"), Column("orders"), Column("net")


@dataclass(frozen=True, slots=True)
class Metric:
    """
    One metric over units.

    Attributes:
        name: As declarations and reports write it.
        kind: `mean` per unit, `proportion` of units, `ratio` of two sums over units, or `quantile` of order values.
        numerator, denominator: What it is made of, of each unit; no denominator stands for the units themselves.
        quantile: Of order values, in (0, 1).
        better: Whether the shop wants it higher or lower.
    """

    name: str
    kind: Kind
    numerator: Column
    denominator: Column | None = None
    quantile: float | None = None
    better: Better = "higher"

    @property
    def columns(self) -> tuple[Column, ...]:
        """The one or two columns that its moments are over."""
        return (self.numerator,) if self.denominator is None else (self.numerator, self.denominator)

    @property
    def is_money(self) -> bool:
        """Whether the value is in the shop's currency."""
        return self.numerator.is_money and not (self.denominator and self.denominator.is_money)

    @property
    def needs_costs(self) -> bool:
        """Whether it needs the cost of every order."""
        return any(column.name in ("margin", "cost") for column in self.columns)

    @property
    def daily_column(self) -> Column | None:
        """The column whose daily sums its curve since the exposure shows; None where there is none."""
        if self.numerator == BUYER:
            return ORDERS
        if self.quantile is not None or self.numerator.is_flag:
            return None
        return Column(self.numerator.name, self.numerator.tag)

    @property
    def has_history(self) -> bool:
        """Whether the orders of a unit before its exposure say something about it."""
        return self.quantile is None and all(column.has_history for column in self.columns)


def repeat_rate(days: int) -> Metric:
    """Return the share of followed buyers who buy again within some days of their first order."""
    return Metric(f"repeat_rate_{days}d", "ratio", Column("repeater", days=days), Column("followed", days=days))


CATALOGUE: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("revenue_per_visitor", "mean", NET),
        Metric("margin_per_visitor", "mean", Column("margin")),
        Metric("conversion", "proportion", BUYER),
        Metric("average_order_value", "ratio", NET, ORDERS),
        Metric("median_order_value", "quantile", NET, quantile=0.5),
        Metric("orders_per_visitor", "mean", ORDERS),
        Metric("units_per_order", "ratio", Column("units"), ORDERS),
        Metric("attach_rate", "ratio", Column("attached_orders"), ORDERS),
        Metric("accept_rate", "ratio", Column("add_to_carts"), Column("impressions")),
        Metric("decline_rate", "ratio", Column("declines"), Column("impressions"), better="lower"),
        Metric("discount_cost_per_visitor", "mean", Column("discount"), better="lower"),
        Metric("refund_rate", "ratio", Column("refunded_orders"), ORDERS, better="lower"),
        Metric("cart_abandonment", "ratio", Column("abandoner"), Column("adder"), better="lower"),
        repeat_rate(30),
        repeat_rate(60),
        repeat_rate(90),
        Metric("slow_moving_units_per_visitor", "mean", Column("units", SLOW_MOVING)),
    )
}
METRICS = tuple(CATALOGUE)


def is_metric(name: str) -> bool:
    """Check whether a name is that of a metric that every shop has."""
    return name in CATALOGUE or QUANTILE.match(name) is not None
