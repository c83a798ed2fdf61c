"""
Reads sums from a store, never rows, through Ibis.

Units are counted from exposures alone; only the few that did something are joined to what they did, and added up per unit, and
then per variant. Visitors who bought nothing are zeros that no query needs to read: `Moments.zeros` stands for them.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ibis
from ibis import _
from ibis.expr.types import Table

from analysis.queries.aggregates import Summands, summands
from analysis.queries.engines.connections import connected
from analysis.queries.engines.dialects import Dialect
from analysis.queries.engines.session import Session, union_of
from analysis.queries.exposures import Exposures
from analysis.queries.unit_facts import (
    UNIT_COLUMN,
    Scope,
    alias,
    attribute_alias,
    base_columns,
    exposure_columns,
    history_alias,
    interaction_facts,
    join_exposures,
    net_minor,
    order_facts,
    per_unit,
)
from events.stores.urls import parse_store_url
from experiments.declarations.metrics import Column
from experiments.declarations.model import Shop, material
from experiments.errors import StoreError
from experiments.money import exponent

_MEANING = ("unit", "trigger", "salt")
_TABLES = {"exposures", "interactions", "orders", "order_lines", "epochs", "aliases", "identities"}


@dataclass(frozen=True, slots=True)
class Epoch:
    """One stored declaration of an experiment, as plain JSON values."""

    number: int
    declared: Mapping[str, Any]

    @property
    def weights(self) -> dict[str, float]:
        """The declared weight of every variant."""
        return {key: float(variant["weight"]) for key, variant in self.declared["variants"].items()}

    def is_comparable(self, other: "Epoch") -> bool:
        """Whether variants mean the same in both, though their weights may differ."""
        return self.meaning() == other.meaning()  # as text: the order of variants matters, and 1 is not true

    def meaning(self) -> str:
        """Return as text what the units of a variant met."""
        variants = {key: {**variant, "weight": None} for key, variant in self.declared["variants"].items()}
        return json.dumps([variants, *(self.declared.get(part) for part in _MEANING)])


@dataclass(frozen=True, slots=True)
class Traffic:
    """The exposures of an experiment: how many there are, and the times of the first and the last."""

    exposures: int
    first_ms: int
    last_ms: int


@dataclass(frozen=True, slots=True)
class _Prepared:
    """Temporary tables of what units did: joined to their exposures, and added up per unit."""

    facts: Table
    units: Table


class Source(Session):
    """Reads one store by the rules of a shop."""

    def __init__(self, dialect: Dialect, shop: Shop) -> None:
        super().__init__(dialect)
        self.currency = shop.currency
        self.rules = shop.orders
        self._exposures: dict[tuple[Any, ...], Exposures] = {}
        self._typical: dict[int, dict[Column, float | None]] = {}
        self._prepared: dict[str, _Prepared] = {}

    def epochs(self, key: str, as_of_ms: int) -> list[Epoch]:
        """
        Return the newest epochs of an experiment in which its variants mean the same, the oldest of them first.

        Across changed weights variants are compared within epochs only, across changed offers not at all. Where none had been
        declared by then (the exposures were imported later), all that are known count.
        """
        table = self.table("epochs")
        rows = self.rows(table.filter(table.experiment == key).order_by("epoch"))
        known = [row for row in rows if row["declared_at_ms"] <= as_of_ms] or rows
        epochs: list[Epoch] = []
        for row in reversed(known):
            declared = json.loads(row["declaration"])
            epoch = Epoch(int(row["epoch"]), {**declared, "variants": material(declared)["variants"]})
            if epochs and not epoch.is_comparable(epochs[0]):
                break
            epochs.insert(0, epoch)
        return epochs

    def is_simulated(self, key: str) -> bool:
        """Check whether made-up shoppers took part."""
        exposures = self.table("exposures")
        simulated = exposures.filter(
            exposures.experiment == key, exposures.unit_id >= "simulated-", exposures.unit_id < "simulated."
        )
        return bool(self.rows(simulated.select("unit_id").limit(1)))

    def foreign_currencies(self, as_of_ms: int) -> list[str]:
        """Return the currencies of counted orders that are not the shop's."""
        orders = self.orders(as_of_ms)
        return [
            str(row["currency"])
            for row in self.rows(orders.filter(orders.currency != self.currency).select("currency").distinct())
        ]

    def traffic(self, as_of_ms: int) -> dict[str, Traffic]:
        """Count the exposures of every experiment, bots left out."""
        table = self.table("exposures")
        people = table.filter(table.exposed_at_ms <= as_of_ms, table.bot == 0)
        at = people.exposed_at_ms
        rows = self.rows(people.group_by("experiment").aggregate(n=people.count(), first=at.min(), last=at.max()))
        return {row["experiment"]: Traffic(int(row["n"]), int(row["first"]), int(row["last"])) for row in rows}

    def exposures(self, scope: Scope) -> Exposures:
        """Return who was exposed to an experiment."""
        key = (scope.experiment, scope.as_of_ms, *scope.variants)
        if key not in self._exposures:
            self._exposures[key] = Exposures(self, scope.experiment, scope.variants, scope.as_of_ms)
        return self._exposures[key]

    def with_attributes(self, table: Table, names: Sequence[str]) -> Table:
        """Replace the column of all attributes of the exposure by a column for each of some attributes."""
        columns = {attribute_alias(name): self.dialect.json_text(table.attributes, name) for name in names}
        return table.mutate(**columns).drop("attributes")

    def prepare(
        self, scope: Scope, columns: Sequence[Column], before: Sequence[Column], attributes: Sequence[str]
    ) -> None:
        """
        Join what units did to their exposures, and add it up per unit, once, into temporary tables for later queries.

        Args:
            scope: The experiment.
            columns: Columns and flags over each unit's window that will be read.
            before: Those over its history.
            attributes: Of the exposure, that will be broken down by.
        """
        self.exposures(scope).begin_to_count()
        joined = self._join(scope, [*columns, *before], attributes)
        if not any(column.days for column in columns):  # repeats look beyond the window
            joined = joined.filter((joined.inside + joined.before) > 0)
        facts = self.temporary(joined)
        keys = ["unit_id", "variant", "epoch", "day", *map(attribute_alias, attributes)]
        units = self.temporary(per_unit(facts, keys, scope, columns, before))
        self._prepared[scope.experiment] = _Prepared(facts, units)

    def joined(self, scope: Scope, columns: Sequence[Column], by: Sequence[str] = ()) -> Table:
        """Return facts with the exposures that they belong to: as prepared, or joined anew where that lacks a column."""
        if scope.experiment in self._prepared:
            facts = self._prepared[scope.experiment].facts
            if {*map(alias, base_columns(columns)), *by} <= set(facts.columns):
                return facts.filter(facts.epoch >= scope.since) if scope.since > 1 else facts
        return self._join(scope, columns, ())

    def _join(self, scope: Scope, columns: Sequence[Column], attributes: Sequence[str]) -> Table:
        facts, parts = self.shallow(self.facts(scope, columns)), self.exposures(scope).parts(scope.since)
        # Each part by itself: engines that join by look-ups cannot look up a union.
        joined = union_of([join_exposures(facts, exposure_columns(part), scope) for part in parts])
        return self.with_attributes(joined, attributes)

    def units(
        self,
        scope: Scope,
        columns: Sequence[Column],
        before: Sequence[Column] = (),
        by: Sequence[str] = (),
        exposures: Table | None = None,
    ) -> Table:
        """
        Return one row for each unit that did anything, in its window or before.

        Args:
            scope: The experiment.
            columns, before: Columns and flags over the window, and over the history.
            by: Further columns of the exposure that are kept: `epoch`, `day`, or the alias of an attribute that was prepared.
            exposures: The exposures of the units, where they are not those of the experiment.
        """
        if exposures is not None:
            joined = join_exposures(self.facts(scope, [*columns, *before]), exposures, scope)
            return per_unit(joined, ["unit_id", "variant", *by], scope, columns, before)
        if scope.experiment in self._prepared:
            units = self._prepared[scope.experiment].units
            if {*map(alias, columns), *by, *map(history_alias, before)} <= set(units.columns):
                return units.filter(units.epoch >= scope.since) if scope.since > 1 else units
        return per_unit(
            self.joined(scope, [*columns, *before], by), ["unit_id", "variant", *by], scope, columns, before
        )

    def facts(self, scope: Scope, columns: Sequence[Column]) -> Table:
        """Return orders, and interactions where columns are made of them, as facts."""
        base = base_columns(columns)
        orders, lines = self.orders(scope.as_of_ms), self.table("order_lines")
        facts = order_facts(orders, lines, self.rules, self.currency, scope, base)
        if not any(column.interaction for column in base):
            return facts
        interactions = self.as_units(self.table("interactions"))
        return ibis.union(facts, interaction_facts(interactions, self.currency, scope, base), distinct=False)

    def placed_orders(self, as_of_ms: int) -> Table:
        """Return the orders placed by a time, each with the unit of its visitor or customer, as far as that is known."""
        table = self.table("orders")
        orders = table.filter(table.ordered_at_ms <= as_of_ms)
        if self.has_rows("identities"):  # an express checkout loses the visitor, not the customer
            known = self.table("identities").select(
                known_=_.customer_id, known_unit_=_.unit_id, known_company_=_.company_id
            )
            joined = orders.left_join(known, orders.customer_id == known.known_)
            unit, company = (
                joined.unit_id.coalesce(joined.known_unit_),
                joined.company_id.coalesce(joined.known_company_),
            )
            orders = joined.mutate(unit_id=unit, company_id=company).drop("known_", "known_unit_", "known_company_")
        return self.as_units(orders)

    def unit_of(self, orders: Table, unit: str) -> Any:
        """Return the column of orders that names the unit."""
        return orders[UNIT_COLUMN[unit]]

    def orders(self, as_of_ms: int) -> Table:
        """Return the orders that count."""
        placed = self.placed_orders(as_of_ms)
        counted = placed.filter(placed.excluded.isnull(), placed.verified == 1)
        excluded = self.rules.exclude_sources
        return counted.filter(counted.source.notin(excluded)) if excluded else counted

    def summands(self, scope: Scope, columns: Sequence[Column], before: Sequence[Column] = ()) -> Summands:
        """Return what is added up over units, with a typical value of each money column."""
        return summands(columns, before, self._typical_values(scope.as_of_ms))

    def _typical_values(self, as_of_ms: int) -> dict[Column, float | None]:
        """Return the mean of an order's amounts, where there is one."""
        if as_of_ms not in self._typical:
            orders = self.orders(as_of_ms)
            scale = 10.0 ** -exponent(self.currency)
            product = orders.gross_minor - orders.discount_minor
            amounts = {
                "net": net_minor(orders, self.rules),
                "gross": orders.gross_minor,
                "cost": orders.cost_minor,
                "margin": product - orders.refunded_minor - orders.cost_minor,
            }
            means = {name: (amount.cast("float64") * scale).mean() for name, amount in amounts.items()}
            row = self.rows(orders.aggregate(**means))[0]
            self._typical[as_of_ms] = {Column(name): row[name] for name in amounts}
        return self._typical[as_of_ms]


@contextmanager
def open_source(url: str, shop: Shop) -> Iterator[Source]:
    """
    Open a store for reading, all of it as of one moment.

    Args:
        url: `sqlite:///FILE`, `postgresql://...`, `parquet:DIR`, `spark://HOST:PORT?lake=DIR`, or another that Ibis knows.
        shop: Its currency and order rules.

    Raises:
        StoreError: There is no store at the URL.
    """
    with connected(url) as dialect:
        source = Source(dialect, shop)
        missing = _TABLES - source.tables
        if missing:
            raise StoreError(
                f"--store: {parse_store_url(url).label} must be a crosslift store, but has no tables {', '.join(sorted(missing))}"
            )
        source.second = dialect.begin_snapshot()
        try:
            yield source
        finally:
            if source.second is not None:
                source.second.close()
