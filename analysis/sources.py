"""
Asks the store for sums, never for rows, through Ibis.

Units are counted out of exposures alone; only the few buyers are joined to their orders, and added up per unit, and then per
variant. Visitors who bought nothing are zeros that nobody needs to read: they are merged in as `Moments.zeros`.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ibis
import numpy as np
from ibis import _
from ibis.expr.types import Table

from analysis.engine import begin_snapshot, connect, fetch
from analysis.moments import Moments, centre
from experiments.declaration import Shop, material
from experiments.errors import StoreError
from experiments.money import exponent

COLUMNS = ("buyer", "orders", "net", "margin")
_ORDER_COLUMN = {"visitor_id": "unit_id", "customer_id": "customer_id", "company_id": "company_id"}
_MEANING = ("variants", "unit", "trigger", "salt")
DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Epoch:
    """One stored declaration of an experiment, as plain JSON values."""

    number: int
    declared: Mapping[str, Any]

    def comparable(self, other: "Epoch") -> bool:
        """Whether arms mean the same in both, so that their units may be added up."""
        mine, theirs = (json.dumps([one.declared.get(part) for part in _MEANING]) for one in (self, other))
        return mine == theirs  # as text: the order of the arms means something, and 1 is not true


@dataclass(frozen=True, slots=True)
class Arm:
    """
    What the store holds of one variant.

    Attributes:
        units: Exposed units.
        buyers: Units with a counted order in their window.
        moments: Over all units, of COLUMNS in their order.
        costed_orders, orders: Counted orders whose cost is known, and all.
    """

    units: int
    buyers: int
    moments: Moments
    costed_orders: int
    orders: int


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
    """

    experiment: str
    variants: Sequence[str]
    unit: str
    window_days: int
    since: int
    as_of_ms: int


class Source:
    """Reads one store within one snapshot."""

    def __init__(self, backend: Any, shop: Shop) -> None:
        self._backend = backend
        self._currency = shop.currency
        self._rules = shop.orders
        self._linked: dict[str, bool] = {}

    def epochs(self, key: str, as_of_ms: int) -> list[Epoch]:
        """
        Give the newest epochs of an experiment in which its arms mean the same, the oldest of them first.

        Across changed weights or offers arms are never pooled. Where none had been declared by then (the exposures were
        imported later), all that are known count.
        """
        table = self._table("epochs")
        rows = self._rows(table.filter(table.experiment == key).order_by("epoch"))
        known = [row for row in rows if row["declared_at_ms"] <= as_of_ms] or rows
        kept: list[Epoch] = []
        for row in reversed(known):
            declared = json.loads(row["declaration"])
            epoch = Epoch(int(row["epoch"]), {**declared, "variants": material(declared)["variants"]})
            if kept and not epoch.comparable(kept[0]):
                break
            kept.insert(0, epoch)
        return kept

    def is_simulated(self, key: str) -> bool:
        """Tell whether made-up shoppers took part."""
        exposures = self._table("exposures")
        found = exposures.filter(
            exposures.experiment == key, exposures.unit_id >= "simulated-", exposures.unit_id < "simulated."
        )
        return bool(self._rows(found.select("unit_id").limit(1)))

    def foreign_currencies(self, as_of_ms: int) -> list[str]:
        """Give the currencies of counted orders that are not the shop's."""
        orders = self._orders(as_of_ms)
        return [
            str(row["currency"])
            for row in self._rows(orders.filter(orders.currency != self._currency).select("currency").distinct())
        ]

    def order_counts(self, unit: str, as_of_ms: int) -> dict[str, int]:
        """Give the orders by what becomes of them: `known`, `without_unit`, `unverified`, and `excluded: REASON`."""
        placed = self._placed(as_of_ms)
        fate = ibis.cases(
            (placed.excluded.notnull(), ibis.literal("excluded: ") + placed.excluded.fill_null("")),
            (placed.verified != 1, "unverified"),
            (placed.source.isin(self._rules.exclude_sources or [""]), ibis.literal("source: ") + placed.source),
            (placed[_ORDER_COLUMN[unit]].isnull(), "without_unit"),
            else_="known",
        )
        return {
            row["fate"]: int(row["n"]) for row in self._rows(placed.group_by(fate=fate).aggregate(n=placed.count()))
        }

    def traffic(self, as_of_ms: int) -> dict[str, tuple[int, int, int]]:
        """Give every experiment's exposures: how many, and the times of the first and the last."""
        table = self._table("exposures")
        seen = table.filter(table.exposed_at_ms <= as_of_ms, table.bot == 0)
        at = seen.exposed_at_ms
        rows = self._rows(seen.group_by("experiment").aggregate(n=seen.count(), first=at.min(), last=at.max()))
        return {row["experiment"]: (int(row["n"]), int(row["first"]), int(row["last"])) for row in rows}

    def repeated(self, key: str, since: int, as_of_ms: int) -> int:
        """Count the units that were exposed to more than one variant since an epoch."""
        units = self._repeated(self._exposures(key, since, as_of_ms))
        return int(self._rows(units.aggregate(n=units.count()))[0]["n"])

    def earlier(self, key: str, since: int, as_of_ms: int) -> int:
        """Count the exposures of the epochs before one."""
        exposures = self._exposures(key, 0, as_of_ms)
        before = exposures.filter(exposures.epoch < since)
        return int(self._rows(before.aggregate(n=before.count()))[0]["n"])

    def arms(self, asked: "Asked") -> tuple[dict[str, Arm], int]:
        """
        Give every variant's sums; units of several variants, in whichever epochs, are in none.

        Returns:
            The arms by variant, and how many exposures name a variant that is not declared.
        """
        exposures = self._exposures(asked.experiment, asked.since, asked.as_of_ms)
        if self.repeated(asked.experiment, 0, asked.as_of_ms):
            repeated = self._repeated(self._exposures(asked.experiment, 0, asked.as_of_ms))
            exposures = exposures.filter(exposures.unit_id.notin(repeated.unit_id))
        units, strays = self._units(exposures, asked.variants)
        centres = self._centres(asked.as_of_ms)
        found = {row["variant"]: row for row in self._rows(_centred_sums(self._buyers(exposures, asked), centres))}
        return {key: _arm(units[key], found.get(key), centres) for key in asked.variants}, strays

    def _table(self, name: str) -> Table:
        table: Table = self._backend.table(name)
        return table

    def _rows(self, expression: Any) -> list[dict[str, Any]]:
        return fetch(self._backend, expression)

    def _exposures(self, key: str, since: int, as_of_ms: int) -> Table:
        table = self._table("exposures")
        found = table.filter(table.experiment == key, table.exposed_at_ms <= as_of_ms, table.bot == 0)
        seen = found.select("unit_id", "variant", "epoch", "exposed_at_ms")
        if self._holds("aliases"):  # devices of one customer are one unit, and its earliest exposure counts
            one = self._as_units(seen, "unit_id")
            seen = one.group_by("unit_id", "variant").aggregate(
                epoch=one.epoch.min(), exposed_at_ms=one.exposed_at_ms.min()
            )
        return seen.filter(seen.epoch >= since) if since > 1 else seen

    def _holds(self, name: str) -> bool:
        """Tell whether a table has rows; most stores link nobody, and need no joins for it."""
        if name not in self._linked:
            self._linked[name] = bool(self._rows(self._table(name).limit(1)))
        return self._linked[name]

    def _as_units(self, table: Table, column: str) -> Table:
        """Put the unit that a visitor is an alias of into a column that names visitors."""
        aliases = self._table("aliases").select(alias_of_=_.visitor_id, alias_unit_=_.unit_id)
        joined = table.left_join(aliases, table[column] == aliases.alias_of_)
        return joined.mutate(**{column: joined.alias_unit_.coalesce(joined[column])}).drop("alias_of_", "alias_unit_")

    def _repeated(self, exposures: Table) -> Table:
        grouped = exposures.group_by("unit_id").aggregate(variants=exposures.count())
        return grouped.filter(grouped.variants > 1).select("unit_id")

    def _placed(self, as_of_ms: int) -> Table:
        """Give the orders placed by a time, each with the unit that its visitor or customer is, as far as that is known."""
        table = self._table("orders")
        placed = table.filter(table.ordered_at_ms <= as_of_ms)
        if self._holds("identities"):  # an express checkout loses the visitor, not the customer
            known = self._table("identities").select(
                known_=_.customer_id, known_unit_=_.unit_id, known_company_=_.company_id
            )
            joined = placed.left_join(known, placed.customer_id == known.known_)
            unit, company = (
                joined.unit_id.coalesce(joined.known_unit_),
                joined.company_id.coalesce(joined.known_company_),
            )
            placed = joined.mutate(unit_id=unit, company_id=company).drop("known_", "known_unit_", "known_company_")
        return self._as_units(placed, "unit_id") if self._holds("aliases") else placed

    def _orders(self, as_of_ms: int) -> Table:
        placed = self._placed(as_of_ms)
        counted = placed.filter(placed.excluded.isnull(), placed.verified == 1)
        refused = self._rules.exclude_sources
        return counted.filter(counted.source.notin(refused)) if refused else counted

    def _money(self, orders: Table) -> tuple[Any, Any]:
        """Give an order's revenue by the shop's rules, and its margin: net product revenue less cost; in major units."""
        scale = 10.0 ** -exponent(self._currency)
        product = orders.gross_minor - orders.discount_minor
        revenue = product
        if self._rules.takes_refunds_off:
            revenue -= orders.refunded_minor
        if self._rules.tax:
            revenue += orders.tax_minor
        if self._rules.shipping:
            revenue += orders.shipping_minor
        margin = product - orders.refunded_minor - orders.cost_minor
        return revenue.cast("float64") * scale, margin.cast("float64") * scale

    def _units(self, exposures: Table, variants: Sequence[str]) -> tuple[dict[str, int], int]:
        # Sums of comparisons, not GROUP BY: grouping on text sorts every exposure.
        counts = {f"v{index}": (exposures.variant == key).sum() for index, key in enumerate(variants)}
        row = self._rows(exposures.aggregate(total=exposures.count(), **counts))[0]
        units = {key: int(row[f"v{index}"] or 0) for index, key in enumerate(variants)}
        return units, int(row["total"]) - sum(units.values())

    def _buyers(self, exposures: Table, asked: "Asked") -> Table:
        unit = _ORDER_COLUMN[asked.unit]
        orders = self._orders(asked.as_of_ms)
        net, margin = self._money(orders)
        priced = orders.filter(orders[unit].notnull()).select(
            buyer_id=orders[unit], ordered_at_ms=orders.ordered_at_ms, net=net, margin=margin
        )
        window_ms = asked.window_days * DAY_MS
        joined = priced.join(
            exposures.select("unit_id", "variant", "exposed_at_ms"), priced.buyer_id == exposures.unit_id
        )
        inside = joined.filter(
            # Orders often come in whole seconds: one of the exposure's own second is not one before it.
            joined.ordered_at_ms >= joined.exposed_at_ms - joined.exposed_at_ms % 1000,
            joined.ordered_at_ms < joined.exposed_at_ms + window_ms,
        )
        return inside.group_by("variant", "unit_id").aggregate(
            orders=inside.count(), net=inside.net.sum(), margin=inside.margin.sum(), costed=inside.margin.count()
        )

    def _centres(self, as_of_ms: int) -> dict[str, float]:
        """Give a typical value of each column to subtract before squaring: raw squares of like amounts cancel."""
        orders = self._orders(as_of_ms)
        net, margin = self._money(orders)
        row = self._rows(orders.aggregate(net=net.mean(), margin=margin.mean()))[0]
        return {"buyer": 1.0, "orders": 1.0, "net": centre(row["net"]), "margin": centre(row["margin"])}


def _centred_sums(buyers: Table, centres: Mapping[str, float]) -> Table:
    columns = {
        "buyer": buyers.orders * 0.0,  # 1 for every buyer, less its centre of 1
        "orders": buyers.orders.cast("float64") - centres["orders"],
        "net": buyers.net - centres["net"],
        "margin": buyers.margin.fill_null(0.0) - centres["margin"],
    }
    sums: dict[str, Any] = {"n": buyers.count(), "all_orders": buyers.orders.sum(), "costed": buyers.costed.sum()}
    for i, first in enumerate(COLUMNS):
        sums[f"s_{first}"] = columns[first].sum()
        for second in COLUMNS[i:]:
            sums[_product(first, second)] = (columns[first] * columns[second]).sum()
    return buyers.group_by("variant").aggregate(**sums)


def _arm(units: int, row: Mapping[str, Any] | None, centres: Mapping[str, float]) -> Arm:
    if row is None:
        return Arm(units, 0, Moments.zeros(units, len(COLUMNS)), 0, 0)
    n = int(row["n"])
    sums = np.array([row[f"s_{name}"] for name in COLUMNS], float)
    products = np.array([[row[_product(first, second)] for second in COLUMNS] for first in COLUMNS], float)
    bought = Moments.from_centred_sums(n, sums, products, [centres[name] for name in COLUMNS])
    return Arm(units, n, bought + Moments.zeros(units - n, len(COLUMNS)), int(row["costed"]), int(row["all_orders"]))


def _product(first: str, second: str) -> str:
    return f"p_{'_'.join(sorted((first, second), key=COLUMNS.index))}"


@contextmanager
def open_source(url: str, shop: Shop) -> Iterator[Source]:
    """
    Open a store for reading, all of it as of one moment.

    Args:
        url: `sqlite:///FILE` or `postgresql://...`.
        shop: Its currency and order rules.

    Raises:
        StoreError: There is no store at the URL.
    """
    backend, shown = connect(url)
    try:
        missing = {"exposures", "orders", "epochs", "aliases", "identities"} - set(backend.list_tables())
        if missing:
            raise StoreError(
                f"--store: found no tables {', '.join(sorted(missing))} in {shown}; wanted a crosslift store"
            )
        begin_snapshot(backend)
        yield Source(backend, shop)
    finally:
        backend.disconnect()
