"""What else a report reads from a store: each function is one query or a few, and returns sums."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ibis
from ibis.expr.types import Table

from analysis.queries.aggregates import (
    Cell,
    Place,
    cells_of,
    count_units,
    sum_units,
    units_by_value,
)
from analysis.queries.source import Source
from analysis.queries.unit_facts import (
    UNIT_COLUMN,
    Scope,
    alias,
    attribute_alias,
    history_alias,
    one_if,
)
from analysis.stats.moments import Moments
from events.clock import DAY_MS
from experiments.declarations.metrics import BUYER, NET, ORDERS, Column
from experiments.money import exponent

MAX_VALUES = 1000  # of an attribute; more are no segments


@dataclass(frozen=True, slots=True)
class SegmentCells:
    """
    The sums of the units of each segment of one attribute.

    Attributes:
        name: The attribute, or one of DERIVED_SEGMENTS.
        cells: By value (None for units without one), then by variant; empty with a reason.
        is_derived: Whether it is worked out from the store rather than an attribute of the exposure.
        reason: Why there are no segments.
    """

    name: str
    cells: Mapping[str | None, Mapping[str, Cell]]
    is_derived: bool = False
    reason: str | None = None


def cells_by_place(
    source: Source, scope: Scope, units: Mapping[Place, int], columns: Sequence[Column], before: Sequence[Column] = ()
) -> dict[Place, Cell]:
    """
    Add up what the units of each variant did, by epoch and by day of the exposure.

    Args:
        source, scope: The store, and which part of it.
        units: How many there are in each place; units of several variants, in whichever epochs, are in none.
        columns: Columns and flags over the window of each unit.
        before: Columns and flags over its history before the exposure.

    Returns:
        A cell for each place of `units`, its moments over `columns` and then `before`.
    """
    by = ("epoch", "day")
    terms = source.summands(scope, columns, before)
    rows = source.rows(sum_units(source.units(scope, columns, before, by), terms, by))
    active = {Place(row["variant"], int(row["epoch"]), int(row["day"])): row for row in rows}
    return cells_of(active, units, terms)


def has_attribute(source: Source, scope: Scope, name: str) -> bool:
    """Check whether any exposure carries an attribute."""
    exposures = source.exposures(scope)
    if not any(group.has_attributes for group in exposures.counts):
        return False
    units = exposures.units(scope.since)
    mentioned = units.filter(units.attributes.contains(f'"{name}"'))  # quicker than to read every attribute
    values = source.with_attributes(mentioned, [name])
    return bool(source.rows(values.filter(values[attribute_alias(name)].notnull()).select("unit_id").limit(1)))


def by_attribute(source: Source, scope: Scope, name: str, columns: Sequence[Column]) -> SegmentCells:
    """Break the variants down by an attribute of the exposure; one with too many values makes no segments."""
    column = attribute_alias(name)
    exposures = source.with_attributes(source.exposures(scope).units(scope.since), [name])
    rows = source.rows(count_units(exposures, scope.variants, [column]))
    units = units_by_value(rows, scope.variants, column)
    if len(units) > MAX_VALUES:
        return SegmentCells(name, {}, reason=f"more than {MAX_VALUES:,} values: no segments")
    return SegmentCells(name, _by_value(source, scope, columns, units, column))


def _by_value(
    source: Source, scope: Scope, columns: Sequence[Column], units: Mapping[str | None, Mapping[str, int]], column: str
) -> dict[str | None, dict[str, Cell]]:
    terms = source.summands(scope, columns)
    rows = source.rows(sum_units(source.units(scope, columns, (), [column]), terms, [column]))
    active: dict[str | None, dict[str, Any]] = {}
    for row in rows:
        active.setdefault(row[column], {})[row["variant"]] = row
    return {value: cells_of(active.get(value, {}), counts, terms) for value, counts in units.items()}


def returning(source: Source, scope: Scope, columns: Sequence[Column], units: Mapping[str, int]) -> SegmentCells | None:
    """Break the variants down into units that had bought before their exposure, and new ones; None without any of the former."""
    active = source.units(scope, columns, [ORDERS])
    marked = active.mutate(had=(active[history_alias(ORDERS)] > 0).ifelse("returning", "new"))
    terms = source.summands(scope, columns)
    rows: dict[str, dict[str, Any]] = {"returning": {}, "new": {}}
    for row in source.rows(sum_units(marked, terms, ["had"])):
        rows[row["had"]][row["variant"]] = row
    returned = {key: int(rows["returning"][key]["n"]) if key in rows["returning"] else 0 for key in scope.variants}
    if not any(returned.values()):
        return None
    new = {key: units[key] - returned[key] for key in scope.variants}
    cells: dict[str | None, Mapping[str, Cell]] = {
        "returning": cells_of(rows["returning"], returned, terms),
        "new": cells_of(rows["new"], new, terms),
    }
    return SegmentCells("returning", cells, is_derived=True)


Derive = Callable[[Source, Scope, Sequence[Column], Mapping[str, int]], SegmentCells | None]
DERIVED_SEGMENTS: Mapping[str, Derive] = {"returning": returning}


@dataclass(frozen=True, slots=True)
class Caps:
    """The values that a column is capped at, at both ends."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class CappedArms:
    """
    Moments over capped money.

    Attributes:
        columns: What the moments are over.
        moments: By variant.
        caps: Of the columns that are capped.
    """

    columns: Sequence[Column]
    moments: Mapping[str, Moments]
    caps: Mapping[Column, Caps]


def capped(
    source: Source,
    scope: Scope,
    columns: Sequence[Column],
    money: Sequence[Column],
    share: float,
    units: Mapping[str, int],
) -> CappedArms | None:
    """
    Cap columns at a percentile of the buyers of all variants together, at both ends.

    Args:
        source, scope: The store, and which part of it.
        columns: What the moments are over.
        money: Those of them that are capped.
        share: The percentile, in (0.5, 1).
        units: How many there are, by variant.

    Returns:
        None where too few bought to have such a percentile.
    """
    active = source.units(scope, list(dict.fromkeys([BUYER, *columns])))
    caps = _caps(source, active.filter(active.buyer > 0), money, share)
    if not caps:
        return None
    clipped = {
        alias(column): (active.buyer > 0).ifelse(
            ibis.greatest(ibis.least(active[alias(column)], ends.high), ends.low), active[alias(column)]
        )
        for column, ends in caps.items()
    }
    terms = source.summands(scope, columns)
    rows = {row["variant"]: row for row in source.rows(sum_units(active.mutate(**clipped), terms, []))}
    cells = cells_of(rows, units, terms)
    return CappedArms(columns, {key: cell.moments for key, cell in cells.items()}, caps)


def _caps(source: Source, buyers: Table, money: Sequence[Column], share: float) -> dict[Column, Caps]:
    """Return the values that as many buyers lie below, and above, as the percentile says."""
    caps = {}
    for column in money:
        # Prices repeat: there are far fewer values than buyers.
        values = buyers.group_by(value=buyers[alias(column)]).aggregate(n=buyers.count())
        upto = values.n.sum().over(ibis.window(order_by=values.value, following=0))
        ranked = values.select("value", "n", upto=upto, all=values.n.sum().over(ibis.window()))
        outside = (ranked["all"] * (1 - share)).floor()
        at_ends = [
            (ranked.upto > rank) & (ranked.upto - ranked.n <= rank) for rank in (outside, ranked["all"] - 1 - outside)
        ]
        rows = source.rows(ranked.filter(at_ends[0] | at_ends[1]))
        if not rows or int(int(rows[0]["all"]) * (1 - share)) < 1:
            return {}
        ends = [float(row["value"]) for row in rows]
        caps[column] = Caps(min(ends), max(ends))
    return caps


def order_values(source: Source, scope: Scope) -> dict[str, dict[int, int]]:
    """Count the counted orders of each value, by variant; values in minor units, in rising order."""
    inside = orders_inside(source, scope)
    rows = source.rows(inside.group_by("variant", "minor").aggregate(orders=inside.count()))
    values: dict[str, dict[int, int]] = {key: {} for key in scope.variants}
    for row in sorted(rows, key=lambda row: row["minor"]):
        if row["variant"] in values:
            values[row["variant"]][round(row["minor"])] = int(row["orders"])
    return values


def orders_up_to(source: Source, scope: Scope, thresholds: Mapping[str, float]) -> dict[str, Moments]:
    """Return per unit with orders how many were worth at most a threshold of its variant, over how many there were."""
    inside = orders_inside(source, scope)
    limit = ibis.cases(*((inside.variant == key, value) for key, value in thresholds.items()), else_=0.0)
    units = inside.group_by("variant", "unit_id").aggregate(
        low=one_if(inside.minor <= limit).sum(), orders=inside.count().cast("float64")
    )
    low, orders = units.low, units.orders
    rows = source.rows(
        units.group_by("variant").aggregate(
            n=units.count(),
            low=low.sum(),
            orders=orders.sum(),
            low_low=(low * low).sum(),
            orders_orders=(orders * orders).sum(),
            low_orders=(low * orders).sum(),
        )
    )
    return {
        row["variant"]: Moments.from_sums(
            int(row["n"]), row["low"], row["low_low"], row["orders"], row["orders_orders"], row["low_orders"]
        )
        for row in rows
        if row["variant"] in thresholds
    }


def orders_inside(source: Source, scope: Scope) -> Table:
    """Return the counted orders in the windows of their units: variant, unit_id and value in minor units."""
    joined = source.joined(scope, [ORDERS, NET])
    orders = joined.filter(joined.orders > 0)
    inside = orders.filter(orders.inside > 0)
    minor = (inside.net * 10.0 ** exponent(source.currency)).round().cast("int64")
    return inside.select("variant", "unit_id", minor=minor)


@dataclass(frozen=True, slots=True)
class DaySums:
    """
    Sums of a column on one day after the exposure, for the units of a variant that were exposed on one day.

    Attributes:
        exposed_on: The first millisecond of the day of the exposure.
        offset: Whole days since the exposure.
        units: Those with anything on that day.
        total, squares: The sums of their values and of the squares.
    """

    variant: str
    exposed_on: int
    offset: int
    units: int
    total: float
    squares: float


def by_days_since_exposure(source: Source, scope: Scope, column: Column) -> list[DaySums]:
    """Break a column down by the day of the exposure, and by the days since."""
    joined = source.joined(scope, [column], ["day"])
    inside = joined.filter(joined.inside > 0)
    dated = inside.mutate(offset=((inside.since_ms - inside.since_ms % DAY_MS) / DAY_MS).cast("int64"))
    units = dated.group_by("variant", "day", "offset", "unit_id").aggregate(x=dated[alias(column)].sum())
    rows = source.rows(
        units.group_by("variant", "day", "offset").aggregate(
            n=units.count(), s=units.x.sum(), q=(units.x * units.x).sum()
        )
    )
    return [
        DaySums(row["variant"], int(row["day"]), int(row["offset"]), int(row["n"]), float(row["s"]), float(row["q"]))
        for row in rows
    ]


def flag_counts(source: Source, scope: Scope, flags: Sequence[Column]) -> dict[str, dict[Column, int]]:
    """Count the units of each variant that have each flag; a variant of which nobody did anything is missing."""
    units = source.units(scope, flags)
    counts = units.group_by("variant").aggregate(**{alias(flag): units[alias(flag)].sum() for flag in flags})
    return {row["variant"]: {flag: round(row[alias(flag)]) for flag in flags} for row in source.rows(counts)}


@dataclass(frozen=True, slots=True)
class OrderCounts:
    """
    The orders of a store by what becomes of them.

    Attributes:
        known: Those that count, and have a unit.
        without_unit: Those that count, of whom nobody knows the visitor.
        unverified: Those that a browser reported, and the shop has not confirmed.
        excluded: Those that the order rules exclude, by reason.
        from_sources: Those of sources that the shop excludes, by source.
    """

    known: int = 0
    without_unit: int = 0
    unverified: int = 0
    excluded: Mapping[str, int] = field(default_factory=dict)
    from_sources: Mapping[str, int] = field(default_factory=dict)


def order_counts(source: Source, unit: str, as_of_ms: int) -> OrderCounts:
    """Count the orders placed by a time, by what becomes of them; `unit` says which of their ids is needed."""
    orders = source.placed_orders(as_of_ms)
    from_source = orders.source.isin(source.rules.exclude_sources or [""])
    nothing = ibis.literal("")
    cases = (
        (orders.excluded.notnull(), "excluded", orders.excluded.fill_null("")),
        (orders.verified != 1, "unverified", nothing),
        (from_source, "source", orders.source),
        (orders[UNIT_COLUMN[unit]].isnull(), "without_unit", nothing),
    )
    fate = ibis.cases(*((condition, name) for condition, name, _detail in cases), else_="known")
    detail = ibis.cases(*((condition, value) for condition, _name, value in cases), else_=nothing)
    counts: dict[str, dict[str, int]] = {}
    for row in source.rows(orders.group_by(fate=fate, detail=detail).aggregate(n=orders.count())):
        counts.setdefault(row["fate"], {})[row["detail"]] = int(row["n"])

    def total(name: str) -> int:
        return sum(counts.get(name, {}).values())

    return OrderCounts(
        total("known"),
        total("without_unit"),
        total("unverified"),
        dict(sorted(counts.get("excluded", {}).items())),
        dict(sorted(counts.get("source", {}).items())),
    )


@dataclass(frozen=True, slots=True)
class SoldOrders:
    """The orders that the offers of a variant sold: all of them, and those whose unit is not known."""

    orders: int
    without_unit: int


def sold_orders(source: Source, scope: Scope) -> dict[str, SoldOrders]:
    """Count the orders that offers of the experiment sold, by variant."""
    lines = source.table("order_lines")
    ours = lines.filter(lines.offer_experiment == scope.experiment, lines.offer_variant.notnull())
    named = ours.select("shop", "order_id", "offer_variant").distinct()
    orders = source.orders(scope.as_of_ms)
    joined = named.join(orders, [named.shop == orders.shop, named.order_id == orders.order_id])
    rows = source.rows(
        joined.group_by("offer_variant").aggregate(
            lost=source.unit_of(joined, scope.unit).isnull().ifelse(1, 0).sum(), n=joined.count()
        )
    )
    return {row["offer_variant"]: SoldOrders(int(row["n"]), int(row["lost"])) for row in rows}


@dataclass(frozen=True, slots=True)
class VariantPair:
    """The variants of a unit that met two experiments."""

    variant: str
    other: str


def by_other_experiment(source: Source, scope: Scope, other: Scope, column: Column) -> dict[VariantPair, Cell]:
    """Break the units of two experiments down by both of their variants."""
    mine = source.exposures(scope).units(scope.since).select("unit_id", "variant", "exposed_at_ms")
    theirs = source.exposures(other).units(other.since)
    theirs = theirs.select(other_unit="unit_id", other_variant="variant", other_at="exposed_at_ms")
    both = mine.join(theirs, mine.unit_id == theirs.other_unit)
    # Before the later of the two exposures a unit had met one experiment only.
    later = ibis.greatest(both.exposed_at_ms, both.other_at)
    both = both.select("unit_id", "variant", "other_variant", exposed_at_ms=later)
    by = "other_variant"
    counts = units_by_value(source.rows(count_units(both, scope.variants, [by])), scope.variants, by)
    units = {VariantPair(key, value): n for value, row in counts.items() if value for key, n in row.items()}
    terms = source.summands(scope, [column])
    rows = source.rows(sum_units(source.units(scope, [column], [], [by], both), terms, [by]))
    active = {VariantPair(row["variant"], row[by]): row for row in rows}
    return {pair: cell for pair, cell in cells_of(active, units, terms).items() if pair.other in other.variants}
