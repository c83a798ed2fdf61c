"""
What exposed units did, as expressions over the store's tables: one row per order or interaction, then one per unit.

Orders and interactions become facts of one shape: whose, when, and how much of every column that is asked for. Joined to the
exposures, each fact falls into its unit's window, or into the history before the exposure, or nowhere.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ibis
import ibis.expr.datatypes as dt
from ibis import _
from ibis.expr.types import Table

from analysis.metrics import INTERACTIONS
from experiments.declarations.model import OrderRules
from experiments.money import exponent

DAY_MS = 86_400_000
HISTORY_DAYS = 90  # how far back a unit's own orders are a covariate
UNIT_COLUMN = {"visitor_id": "unit_id", "customer_id": "customer_id", "company_id": "company_id"}

_FLAGS = ("buyer", "viewer", "adder", "abandoner")
_MADE_OF = {
    "buyer": ("orders",),
    "viewer": ("impressions",),
    "adder": ("add_to_carts",),
    "abandoner": ("add_to_carts", "orders"),
}


@dataclass(frozen=True, slots=True)
class Asked:
    """
    What of an experiment is asked for.

    Attributes:
        experiment: Its key.
        variants: The keys of its arms.
        unit: `visitor_id`, `customer_id` or `company_id`.
        window_days: Days after its exposure in which a unit's orders count.
        since: The first epoch that is read.
        as_of_ms: Later exposures and orders do not exist yet.
        tagged: The products that carry each tag.
    """

    experiment: str
    variants: Sequence[str]
    unit: str
    window_days: int
    since: int
    as_of_ms: int
    tagged: Mapping[str, Sequence[str]] = field(default_factory=dict)


def one_if(condition: Any) -> Any:
    """Give 1.0 where a condition holds, else 0.0; not every engine casts truth to numbers."""
    return condition.ifelse(1.0, 0.0)


def base_columns(columns: Sequence[str]) -> list[str]:
    """Give the columns of facts that columns and flags of units are made of; `orders` always."""
    found = ["orders"]
    for name in columns:
        plain = name.removeprefix("any ")
        found += _MADE_OF.get(plain, () if plain.startswith(("repeater_", "followed_")) else (plain,))
    return list(dict.fromkeys(found))


def order_facts(
    orders: Table, lines: Table, rules: OrderRules, currency: str, asked: Asked, base: Sequence[str]
) -> Table:
    """Give every counted order as a fact; money in major units."""
    if any(name.startswith("attached_") or ":" in name for name in base):
        sold = _sold(lines, asked, base)
        orders = orders.left_join(sold, (orders.shop == sold.of_shop) & (orders.order_id == sold.of_order))
    scale = 10.0 ** -exponent(currency)
    values = {name: _order_value(orders, name, rules, scale) for name in base}
    unit = orders[UNIT_COLUMN[asked.unit]]
    whose = orders.filter(unit.notnull())
    return _fact(whose, unit, whose.ordered_at_ms, one_if(whose.cost_minor.notnull()), values)


def _fact(table: Table, unit: Any, at_ms: Any, costed: Any, values: Mapping[str, Any]) -> Table:
    """Give facts of one shape: a union wants equal types, and one side may be told never to be null."""
    numbers = {name: value.cast(dt.float64) for name, value in {"costed": costed, **values}.items()}
    return table.select(fact_unit=unit.cast(dt.string), at_ms=at_ms.cast(dt.int64), **numbers)


def interaction_facts(interactions: Table, currency: str, asked: Asked, base: Sequence[str]) -> Table:
    """Give every interaction with the experiment's offers as a fact."""
    scale = 10.0 ** -exponent(currency)
    own = interactions.filter(
        interactions.experiment == asked.experiment, interactions.occurred_at_ms <= asked.as_of_ms
    )
    weights = {"added_quantity": own.quantity.cast("float64"), "added_value": own.value_minor.cast("float64") * scale}
    values = {
        name: one_if(own.kind == INTERACTIONS[name]) * weights.get(name, ibis.literal(1.0))
        if name in INTERACTIONS
        else ibis.literal(0.0)
        for name in base
    }
    return _fact(own, own.unit_id, own.occurred_at_ms, ibis.literal(0.0), values)


def per_unit(joined: Table, keys: Sequence[str], asked: Asked, columns: Sequence[str], before: Sequence[str]) -> Table:
    """
    Add facts up per unit.

    Args:
        joined: See `placed`.
        keys: `unit_id`, `variant`, and whatever else is to be kept of a unit.
        asked: The window.
        columns: Columns and flags over the window.
        before: Columns and flags over the history before the exposure; they are named `before NAME`.

    Returns:
        One row per unit with any fact, in the window or before.
    """
    repeats = sorted({int(name.rpartition("_")[2]) for name in columns if name.startswith(("repeater_", "followed_"))})
    joined = _with_first(joined) if repeats else joined.filter((joined.inside + joined.before) > 0)
    sums = {f"in {name}": (joined[name] * joined.inside).sum() for name in base_columns(columns)}
    sums |= {f"pre {name}": (joined[name] * joined.before).sum() for name in (base_columns(before) if before else [])}
    sums["costed"] = (joined.costed * joined.inside).sum()
    units = joined.group_by(*keys).aggregate(**sums, **_repeats(joined, repeats, asked))
    values = {name: _unit_value(units, name, "in") for name in columns}
    values |= {f"before {name}": _unit_value(units, name, "pre") for name in before}
    return units.select(*keys, all_orders=units["in orders"], all_costed=units.costed, **values)


def placed(facts: Table, exposures: Table, asked: Asked) -> Table:
    """Join facts to exposures, and say of each whether it is `inside` the unit's window or `before` its exposure, as 1 or 0."""
    # A cross join, and then which: SQLite keeps to this order of the two, and so looks up the exposures of the few facts.
    both = facts.cross_join(exposures)
    joined = both.filter(both.fact_unit == both.unit_id)
    # Orders often come in whole seconds: one of the exposure's own second is not one before it.
    start = joined.exposed_at_ms - joined.exposed_at_ms % 1000
    inside = (joined.at_ms >= start) & (joined.at_ms < joined.exposed_at_ms + asked.window_days * DAY_MS)
    before = (joined.at_ms < start) & (joined.at_ms >= start - HISTORY_DAYS * DAY_MS)
    told = joined.mutate(inside=one_if(inside), before=one_if(before), since_ms=joined.at_ms - start)
    return told.drop("fact_unit", "exposed_at_ms")


def _sold(lines: Table, asked: Asked, base: Sequence[str]) -> Table:
    """Add up the lines of each order: what our offer sold, and what carries a tag."""
    ours = lines.offer_experiment.fill_null("") == asked.experiment
    sums: dict[str, Any] = {
        "attached": ours.ifelse(1, 0).max(),
        "attached_units": ours.ifelse(lines.quantity, 0).sum(),
        "attached_minor": ours.ifelse(lines.gross_minor - lines.discount_minor - lines.refunded_minor, 0).sum(),
    }
    for name in base:
        column, _colon, tag = name.partition(":")
        if tag:
            carries = lines.product_id.isin(list(asked.tagged.get(tag, [])) or [""])
            value = {"units": lines.quantity, "gross": lines.gross_minor, "orders": 1}[column]
            sums[name] = carries.ifelse(value, 0).max() if column == "orders" else carries.ifelse(value, 0).sum()
    return lines.group_by(of_shop=lines.shop, of_order=lines.order_id).aggregate(**sums)


def _order_value(orders: Table, name: str, rules: OrderRules, scale: float) -> Any:
    if ":" in name:
        value = orders[name].fill_null(0).cast("float64")
        return value * scale if name.startswith("gross:") else value
    product = orders.gross_minor - orders.discount_minor
    counts = {
        "orders": lambda: ibis.literal(1.0),
        "units": lambda: orders.units,
        "discounted_orders": lambda: one_if(orders.discount_minor > 0),
        "refunded_orders": lambda: one_if(orders.refunded_minor > 0),
        "attached_orders": lambda: orders.attached.fill_null(0),
        "attached_units": lambda: orders.attached_units.fill_null(0),
    }
    money = {
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
    if name in money:
        return money[name]().cast("float64") * scale
    return counts.get(name, lambda: ibis.literal(0.0))().cast("float64")  # interactions are 0 in orders


def net_minor(orders: Table, rules: OrderRules) -> Any:
    """Give an order's revenue by the shop's rules, in minor units."""
    revenue = orders.gross_minor - orders.discount_minor
    if rules.takes_refunds_off:
        revenue -= orders.refunded_minor
    if rules.tax:
        revenue += orders.tax_minor
    return revenue + orders.shipping_minor if rules.shipping else revenue


def _with_first(joined: Table) -> Table:
    """Note of every unit when its first order in the window was; facts after it may be repeats."""
    at = ((joined.inside > 0) & (joined.orders > 0)).ifelse(joined.at_ms, ibis.null("int64"))
    return joined.mutate(first_ms=at.min().over(ibis.window(group_by=[joined.unit_id, joined.variant])))


def _repeats(joined: Table, repeats: Sequence[int], asked: Asked) -> dict[str, Any]:
    sums = {}
    for days in repeats:
        followed = joined.first_ms.fill_null(asked.as_of_ms) + days * DAY_MS <= asked.as_of_ms
        again = (
            (joined.orders > 0) & (joined.at_ms > joined.first_ms) & (joined.at_ms <= joined.first_ms + days * DAY_MS)
        )
        sums[f"in followed_{days}"] = one_if(followed).max()
        sums[f"in repeater_{days}"] = one_if(followed & again.fill_null(False)).max()
    return sums


def _unit_value(units: Table, name: str, when: str) -> Any:
    """Give a column or flag of a unit from the sums over its facts."""
    if name.startswith("any "):
        return one_if(units[f"{when} {name.removeprefix('any ')}"] > 0)
    if name not in _FLAGS:
        return units[f"{when} {name}"]
    did = {column: units[f"{when} {column}"] > 0 for column in _MADE_OF[name]}
    flag = {
        "buyer": lambda: did["orders"],
        "viewer": lambda: did["impressions"],
        "adder": lambda: did["add_to_carts"],
        "abandoner": lambda: did["add_to_carts"] & ~did["orders"],
    }[name]()
    return one_if(flag)


def kept_exposures(seen: Table) -> Table:
    """Give what a unit is known by: itself, its variant, epoch, exposure and its day, and attributes."""
    day = _.exposed_at_ms - _.exposed_at_ms % DAY_MS
    return seen.select("unit_id", "variant", "epoch", "exposed_at_ms", "attributes", day=day)
