"""What else is asked of a store for one report: each function is one query, and gives sums."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import ibis
import numpy as np
from ibis.expr.types import Table

from analysis.queries.aggregates import Cell, cells_of, centres_of, counted, summed, units_by_place
from analysis.queries.source import Source
from analysis.queries.unit_facts import DAY_MS, Asked, one_if
from analysis.stats.moments import Moments
from experiments.money import exponent

MAX_VALUES = 1000  # of an attribute; more are no segments


def returning(
    source: Source, asked: Asked, columns: Sequence[str], units: Mapping[str, int]
) -> dict[tuple[str, str], Cell]:
    """Break the arms down into units that had bought before their exposure, and new ones."""
    active = source.units(asked, columns, ["orders"])
    told = active.mutate(had=(active["before orders"] > 0).ifelse("returning", "new"))
    centres = centres_of(columns, source.typical(asked.as_of_ms))
    rows = source.rows(summed(told, columns, centres, ["had"]))
    back = {row["variant"]: int(row["n"]) for row in rows if row["had"] == "returning"}
    sizes = {(key, "returning"): back.get(key, 0) for key in asked.variants}
    sizes |= {(key, "new"): units[key] - back.get(key, 0) for key in asked.variants}
    return {(place[0], place[1]): cell for place, cell in cells_of(rows, sizes, centres, ["had"]).items()}


def has_attribute(source: Source, asked: Asked, name: str) -> bool:
    """Tell whether any exposure carries an attribute."""
    exposed = source.exposed(asked)
    if not any(group.told for group in exposed.tally):
        return False
    seen = exposed.units(asked.since)
    named = seen.filter(seen.attributes.contains(f'"{name}"'))  # quicker than to read every attribute
    told = source.attributed(named, [name])
    return bool(source.rows(told.filter(told[name].notnull()).select("unit_id").limit(1)))


def capped(
    source: Source, asked: Asked, columns: Sequence[str], money: Sequence[str], share: float, sizes: Mapping[str, int]
) -> tuple[dict[str, Moments], dict[str, tuple[float, float]]]:
    """
    Cap columns at a percentile of the buyers of all arms together, at both ends.

    Args:
        source, asked: The store, and what of it.
        columns: What the moments are over.
        money: Those of them that are capped.
        share: The percentile, in (0.5, 1).
        sizes: Units by variant.

    Returns:
        The arms' moments, and each column's two caps; none where too few bought to have such a percentile.
    """
    units = source.units(asked, list(dict.fromkeys(["buyer", *columns])))
    ends = _ends(source, units.filter(units.buyer > 0), money, share)
    if not ends:
        return {}, {}
    clipped = {
        name: (units.buyer > 0).ifelse(ibis.greatest(ibis.least(units[name], high), low), units[name])
        for name, (low, high) in ends.items()
    }
    centres = centres_of(columns, source.typical(asked.as_of_ms))
    rows = source.rows(summed(units.mutate(**clipped), columns, centres, []))
    cells = cells_of(rows, {(key,): n for key, n in sizes.items()}, centres, [])
    return {place[0]: cell.moments for place, cell in cells.items()}, ends


def _ends(source: Source, bought: Table, money: Sequence[str], share: float) -> dict[str, tuple[float, float]]:
    """Give the values that as many buyers lie below, and above, as the percentile says."""
    found = {}
    for name in money:
        values = bought.group_by(value=bought[name]).aggregate(n=bought.count())  # prices repeat: far fewer than buyers
        upto = values.n.sum().over(ibis.window(order_by=values.value, following=0))
        told = values.select("value", "n", upto=upto, all=values.n.sum().over(ibis.window()))
        outside = (told["all"] * (1 - share)).floor()
        at_ends = [(told.upto > rank) & (told.upto - told.n <= rank) for rank in (outside, told["all"] - 1 - outside)]
        rows = source.rows(told.filter(at_ends[0] | at_ends[1]))
        if not rows or int(int(rows[0]["all"]) * (1 - share)) < 1:
            return {}
        ends = [float(row["value"]) for row in rows]
        found[name] = (min(ends), max(ends))
    return found


def order_values(source: Source, asked: Asked) -> dict[str, dict[int, int]]:
    """Give how many counted orders had each value, by variant; values in minor units."""
    inside = orders_inside(source, asked)
    rows = source.rows(inside.group_by("variant", "minor").aggregate(orders=inside.count()))
    found: dict[str, dict[int, int]] = {key: {} for key in asked.variants}
    for row in sorted(rows, key=lambda row: row["minor"]):
        if row["variant"] in found:
            found[row["variant"]][round(row["minor"])] = int(row["orders"])
    return found


def below(source: Source, asked: Asked, thresholds: Mapping[str, float]) -> dict[str, Moments]:
    """Give per unit with orders how many were worth at most its arm's threshold, and how many there were, as a ratio."""
    inside = orders_inside(source, asked)
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


def orders_inside(source: Source, asked: Asked) -> Table:
    """Give the counted orders in their units' windows: variant, unit_id and value in minor units."""
    joined = source.joined(asked, ["orders", "net"])
    joined = joined.filter(joined.orders > 0)
    kept = joined.filter(joined.inside > 0)
    return kept.select("variant", "unit_id", minor=(kept.net * 10.0 ** exponent(source.currency)).round().cast("int64"))


@dataclass(frozen=True, slots=True)
class Since:
    """Sums of a column on one day after the exposure, for the units exposed on one day."""

    variant: str
    day: int
    offset: int
    n: int
    total: float
    squares: float


def by_days_since(source: Source, asked: Asked, column: str) -> list[Since]:
    """Break a column down by the day of the exposure, and by the days since."""
    joined = source.joined(asked, [column], ["day"])
    inside = joined.filter(joined.inside > 0)
    told = inside.mutate(offset=((inside.since_ms - inside.since_ms % DAY_MS) / DAY_MS).cast("int64"))
    units = told.group_by("variant", "day", "offset", "unit_id").aggregate(x=told[column].sum())
    rows = source.rows(
        units.group_by("variant", "day", "offset").aggregate(
            n=units.count(), s=units.x.sum(), q=(units.x * units.x).sum()
        )
    )
    return [
        Since(row["variant"], int(row["day"]), int(row["offset"]), int(row["n"]), float(row["s"]), float(row["q"]))
        for row in rows
    ]


def count_units(units: Table, steps: Mapping[str, str]) -> Table:
    """Count the units of each variant that took each step; `steps` names the flag of each."""
    return units.group_by("variant").aggregate(**{step: units[flag].sum() for step, flag in steps.items()})


def sold_without_unit(source: Source, asked: Asked) -> dict[str, tuple[int, int]]:
    """Count the orders that our offers sold, by variant: those whose unit is not known, and all."""
    lines = source.table("order_lines")
    ours = lines.filter(lines.offer_experiment == asked.experiment, lines.offer_variant.notnull())
    named = ours.select("shop", "order_id", "offer_variant").distinct()
    orders = source.orders(asked.as_of_ms)
    joined = named.join(orders, [named.shop == orders.shop, named.order_id == orders.order_id])
    rows = source.rows(
        joined.group_by("offer_variant").aggregate(
            lost=source.unit_of(joined, asked.unit).isnull().ifelse(1, 0).sum(), n=joined.count()
        )
    )
    return {row["offer_variant"]: (int(row["lost"]), int(row["n"])) for row in rows}


def together(source: Source, asked: Asked, other: Asked, column: str) -> dict[tuple[str, str], Cell]:
    """Break the units of two experiments down by both of their variants."""
    mine = source.exposed(asked).units(asked.since).select("unit_id", "variant", "exposed_at_ms")
    theirs = source.exposed(other).units(other.since)
    theirs = theirs.select(other_unit="unit_id", other_variant="variant", other_at="exposed_at_ms")
    both = mine.join(theirs, mine.unit_id == theirs.other_unit)
    # Before the later of the two exposures a unit had met one experiment only.
    later = ibis.greatest(both.exposed_at_ms, both.other_at)
    both = both.select("unit_id", "variant", "other_variant", exposed_at_ms=later)
    by = ["other_variant"]
    counts, _strays = units_by_place(source.rows(counted(both, asked.variants, by)), asked.variants, by)
    centres = centres_of([column], source.typical(asked.as_of_ms))
    active = source.units(asked, [column], [], by, both)
    cells = cells_of(source.rows(summed(active, [column], centres, by)), counts, centres, by)
    return {(place[0], place[1]): cell for place, cell in cells.items() if place[1] in other.variants}


def daily(parts: Sequence[Since], units: int) -> Moments:
    """Give the moments over `units` units of what some of them had on one day; all others had nothing."""
    sums = np.array([sum(part.total for part in parts)])
    squares = np.array([[sum(part.squares for part in parts)]])
    return Moments.from_centred_sums(units, sums, squares, [0.0])
