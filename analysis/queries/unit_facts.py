"""
What exposed units did, as expressions over the store's tables: one row per order or interaction, then one row per unit.

Orders and interactions become facts of one shape: whose, when, and how much of each column. Joined to the exposures, each fact
falls into the window of its unit, or into the history before the exposure, or nowhere.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ibis
import ibis.expr.datatypes as dt
from ibis import _
from ibis.expr.types import Table

from events.clock import DAY_MS
from experiments.declarations.metrics import FLAGS, ORDERS, Column
from experiments.declarations.model import OrderRules
from experiments.money import exponent

HISTORY_DAYS = 90  # how far back a unit's own orders are a covariate
UNIT_COLUMN = {"visitor_id": "unit_id", "customer_id": "customer_id", "company_id": "company_id"}


@dataclass(frozen=True, slots=True)
class Scope:
    """
    Which part of a store a report reads.

    Attributes:
        experiment: The key of the experiment.
        variants: The keys of its variants, the control first.
        unit: `visitor_id`, `customer_id` or `company_id`.
        window_days: Days after its exposure in which the orders of a unit count.
        since: The first epoch that is read.
        as_of_ms: Later exposures and orders are not read.
        tagged: The products that carry each tag.
    """

    experiment: str
    variants: Sequence[str]
    unit: str
    window_days: int
    since: int
    as_of_ms: int
    tagged: Mapping[str, Sequence[str]] = field(default_factory=dict)


def alias(column: Column) -> str:
    """Return the name of a column in a query; tags are a merchant's own text, so their digest stands for them."""
    name = column.label if column.tag is None else f"{column.name}_{_digest(column.tag)}"
    return f"any_{name}" if column.occurs else name


def history_alias(column: Column) -> str:
    """Return the name in a query of a column over the time before the exposure."""
    return f"before_{alias(column)}"


def attribute_alias(name: str) -> str:
    """Return the name in a query of an attribute of the exposure, which may be called like any column."""
    return f"attribute_{_digest(name)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def one_if(condition: Any) -> Any:
    """Return 1.0 where a condition holds, else 0.0; not every engine casts booleans to numbers."""
    return condition.ifelse(1.0, 0.0)


def base_columns(columns: Iterable[Column]) -> list[Column]:
    """Return the columns of facts that columns and flags of units are made of; `orders` always."""
    base = [ORDERS]
    for column in columns:
        if column.name in FLAGS:
            base += [Column(name) for name in FLAGS[column.name].columns]
        elif column.days is None:
            base.append(Column(column.name, column.tag))
    return list(dict.fromkeys(base))


def order_facts(
    orders: Table, lines: Table, rules: OrderRules, currency: str, scope: Scope, base: Sequence[Column]
) -> Table:
    """Return every counted order as a fact; money in major units."""
    if any(column.tag is not None or column.name.startswith("attached_") for column in base):
        sold = _sold(lines, scope, base)
        orders = orders.left_join(sold, (orders.shop == sold.of_shop) & (orders.order_id == sold.of_order))
    scale = 10.0 ** -exponent(currency)
    values = {alias(column): _order_value(orders, column, rules, scale) for column in base}
    unit = orders[UNIT_COLUMN[scope.unit]]
    with_unit = orders.filter(unit.notnull())
    return _facts(with_unit, unit, with_unit.ordered_at_ms, one_if(with_unit.cost_minor.notnull()), values)


def _facts(table: Table, unit: Any, at_ms: Any, costed: Any, values: Mapping[str, Any]) -> Table:
    """Return facts of one shape: a union needs equal types, and one side may be known never to be null."""
    numbers = {name: value.cast(dt.float64) for name, value in {"costed": costed, **values}.items()}
    return table.select(fact_unit=unit.cast(dt.string), at_ms=at_ms.cast(dt.int64), **numbers)


def interaction_facts(interactions: Table, currency: str, scope: Scope, base: Sequence[Column]) -> Table:
    """Return every interaction with the experiment's offers as a fact."""
    scale = 10.0 ** -exponent(currency)
    own = interactions.filter(
        interactions.experiment == scope.experiment, interactions.occurred_at_ms <= scope.as_of_ms
    )
    weights = {"added_quantity": own.quantity.cast("float64"), "added_value": own.value_minor.cast("float64") * scale}
    values = {
        alias(column): ibis.literal(0.0)
        if column.interaction is None
        else one_if(own.kind == column.interaction) * weights.get(column.name, ibis.literal(1.0))
        for column in base
    }
    return _facts(own, own.unit_id, own.occurred_at_ms, ibis.literal(0.0), values)


def per_unit(
    joined: Table, keys: Sequence[str], scope: Scope, columns: Sequence[Column], before: Sequence[Column]
) -> Table:
    """
    Add facts up per unit.

    Args:
        joined: See `join_exposures`.
        keys: `unit_id`, `variant`, and whatever else is kept of a unit.
        scope: The experiment.
        columns: Columns and flags over the window.
        before: Columns and flags over the history before the exposure.

    Returns:
        One row per unit with any fact, in the window or before; columns are called as `alias` and `history_alias` say.
    """
    followed_days = sorted({column.days for column in columns if column.days is not None})
    joined = _with_first_order(joined) if followed_days else joined.filter((joined.inside + joined.before) > 0)
    sums = {f"in_{alias(column)}": (joined[alias(column)] * joined.inside).sum() for column in base_columns(columns)}
    for column in base_columns(before) if before else []:
        sums[f"pre_{alias(column)}"] = (joined[alias(column)] * joined.before).sum()
    sums["costed"] = (joined.costed * joined.inside).sum()
    units = joined.group_by(*keys).aggregate(**sums, **_repeats(joined, followed_days, scope))
    values = {alias(column): _unit_value(units, column, "in") for column in columns}
    values |= {history_alias(column): _unit_value(units, column, "pre") for column in before}
    return units.select(*keys, all_orders=units.in_orders, all_costed=units.costed, **values)


def join_exposures(facts: Table, exposures: Table, scope: Scope) -> Table:
    """Join facts to exposures, and mark each as `inside` the unit's window or `before` its exposure, with 1 or 0."""
    # A cross join, and then which: SQLite keeps to this order of the two, and so looks up the exposures of the few facts.
    pairs = facts.cross_join(exposures)
    joined = pairs.filter(pairs.fact_unit == pairs.unit_id)
    # Orders often come in whole seconds: one of the exposure's own second is not one before it.
    start = joined.exposed_at_ms - joined.exposed_at_ms % 1000
    inside = (joined.at_ms >= start) & (joined.at_ms < joined.exposed_at_ms + scope.window_days * DAY_MS)
    before = (joined.at_ms < start) & (joined.at_ms >= start - HISTORY_DAYS * DAY_MS)
    marked = joined.mutate(inside=one_if(inside), before=one_if(before), since_ms=joined.at_ms - start)
    return marked.drop("fact_unit", "exposed_at_ms")


def exposure_columns(exposures: Table) -> Table:
    """Return what a unit is known by: itself, its variant, epoch, exposure and its day, and attributes."""
    day = _.exposed_at_ms - _.exposed_at_ms % DAY_MS
    return exposures.select("unit_id", "variant", "epoch", "exposed_at_ms", "attributes", day=day)


def net_minor(orders: Table, rules: OrderRules) -> Any:
    """Return the revenue of an order by the shop's rules, in minor units."""
    revenue = orders.gross_minor - orders.discount_minor
    if rules.takes_refunds_off:
        revenue -= orders.refunded_minor
    if rules.tax:
        revenue += orders.tax_minor
    return revenue + orders.shipping_minor if rules.shipping else revenue


def _sold(lines: Table, scope: Scope, base: Sequence[Column]) -> Table:
    """Add up the lines of each order: what an offer of the experiment sold, and what carries a tag."""
    ours = lines.offer_experiment.fill_null("") == scope.experiment
    sums: dict[str, Any] = {
        "attached": ours.ifelse(1, 0).max(),
        "attached_units": ours.ifelse(lines.quantity, 0).sum(),
        "attached_minor": ours.ifelse(lines.gross_minor - lines.discount_minor - lines.refunded_minor, 0).sum(),
    }
    for column in base:
        if column.tag is None:
            continue
        tagged = lines.product_id.isin(list(scope.tagged.get(column.tag, [])) or [""])
        value = tagged.ifelse({"units": lines.quantity, "gross": lines.gross_minor, "orders": 1}[column.name], 0)
        sums[f"sold_{alias(column)}"] = value.max() if column.name == "orders" else value.sum()
    return lines.group_by(of_shop=lines.shop, of_order=lines.order_id).aggregate(**sums)


def _order_value(orders: Table, column: Column, rules: OrderRules, scale: float) -> Any:
    """Return what an order adds to a column of its unit."""
    if column.tag is not None:
        value = orders[f"sold_{alias(column)}"].fill_null(0).cast("float64")
        return value * scale if column.is_money else value
    product = orders.gross_minor - orders.discount_minor
    values = {
        "orders": lambda: ibis.literal(1.0),
        "units": lambda: orders.units,
        "discounted_orders": lambda: one_if(orders.discount_minor > 0),
        "refunded_orders": lambda: one_if(orders.refunded_minor > 0),
        "attached_orders": lambda: orders.attached.fill_null(0),
        "attached_units": lambda: orders.attached_units.fill_null(0),
        "net": lambda: net_minor(orders, rules),
        "gross": lambda: orders.gross_minor,
        "discount": lambda: orders.discount_minor,
        "refunded": lambda: orders.refunded_minor,
        "shipping": lambda: orders.shipping_minor,
        "tax": lambda: orders.tax_minor,
        "cost": lambda: orders.cost_minor.fill_null(0),
        "margin": lambda: (product - orders.refunded_minor - orders.cost_minor).fill_null(0),
        "attached_revenue": lambda: orders.attached_minor.fill_null(0),
    }
    value = ibis.literal(0.0) if column.interaction else values[column.name]()
    return value.cast("float64") * scale if column.is_money and not column.interaction else value.cast("float64")


def _with_first_order(joined: Table) -> Table:
    """Add the time of each unit's first order in the window; facts after it may be repeats."""
    at = ((joined.inside > 0) & (joined.orders > 0)).ifelse(joined.at_ms, ibis.null("int64"))
    return joined.mutate(first_ms=at.min().over(ibis.window(group_by=[joined.unit_id, joined.variant])))


def _repeats(joined: Table, followed_days: Sequence[int], scope: Scope) -> dict[str, Any]:
    sums = {}
    for days in followed_days:
        followed = joined.first_ms.fill_null(scope.as_of_ms) + days * DAY_MS <= scope.as_of_ms
        again = (
            (joined.orders > 0) & (joined.at_ms > joined.first_ms) & (joined.at_ms <= joined.first_ms + days * DAY_MS)
        )
        sums[f"in_followed_{days}"] = one_if(followed).max()
        sums[f"in_repeater_{days}"] = one_if(followed & again.fill_null(False)).max()
    return sums


def _unit_value(units: Table, column: Column, period: str) -> Any:
    """Return a column or flag of a unit from the sums over its facts; `period` is `in` or `pre`."""
    if column.occurs:
        return one_if(units[f"{period}_{alias(Column(column.name, column.tag))}"] > 0)
    if column.name not in FLAGS:
        return units[f"{period}_{alias(column)}"]
    did = {name: units[f"{period}_{name}"] > 0 for name in FLAGS[column.name].columns}
    flag = did["add_to_carts"] & ~did["orders"] if column.name == "abandoner" else next(iter(did.values()))
    return one_if(flag)
