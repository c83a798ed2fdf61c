"""
Asks the store for sums, never for rows, through Ibis.

Units are counted out of exposures alone; only the few that did something are joined to what they did, and added up per unit,
and then per variant. Visitors who bought nothing are zeros that nobody needs to read: they are merged in as `Moments.zeros`.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ibis
from ibis import _
from ibis.expr.types import Table

from analysis.metrics import INTERACTIONS
from analysis.queries.aggregates import Cell, Place, cells_of, centres_of, counted, merged, summed, units_by_place
from analysis.queries.engines.connections import begin_snapshot, connected, json_text
from analysis.queries.engines.session import Reader, union_of
from analysis.queries.exposure_counts import units_by_day
from analysis.queries.exposures import Exposures
from analysis.queries.unit_facts import (
    UNIT_COLUMN,
    Asked,
    base_columns,
    interaction_facts,
    kept_exposures,
    net_minor,
    order_facts,
    per_unit,
    placed,
)
from experiments.declarations.model import Shop, material
from experiments.errors import StoreError
from experiments.money import exponent

_MEANING = ("unit", "trigger", "salt")


@dataclass(frozen=True, slots=True)
class Epoch:
    """One stored declaration of an experiment, as plain JSON values."""

    number: int
    declared: Mapping[str, Any]

    @property
    def weights(self) -> dict[str, float]:
        """The declared weight of every variant."""
        return {key: float(one["weight"]) for key, one in self.declared["variants"].items()}

    def comparable(self, other: "Epoch") -> bool:
        """Whether arms mean the same in both, though their weights may differ."""
        mine, theirs = (one.meaning() for one in (self, other))
        return mine == theirs  # as text: the order of the arms means something, and 1 is not true

    def meaning(self) -> str:
        """Give as text what an arm's units met."""
        arms = {key: {**arm, "weight": None} for key, arm in self.declared["variants"].items()}
        return json.dumps([arms, *(self.declared.get(part) for part in _MEANING)])


class Source(Reader):
    """Reads one store by a shop's rules."""

    def __init__(self, backend: Any, shop: Shop) -> None:
        super().__init__(backend)
        self.currency = shop.currency
        self.rules = shop.orders
        self._exposed: dict[tuple[Any, ...], Exposures] = {}
        self._means: dict[int, dict[str, float | None]] = {}
        self._prepared: dict[str, tuple[Table, Table]] = {}

    def epochs(self, key: str, as_of_ms: int) -> list[Epoch]:
        """
        Give the newest epochs of an experiment in which its arms mean the same, the oldest of them first.

        Across changed weights arms are compared within epochs only, across changed offers not at all. Where none had been
        declared by then (the exposures were imported later), all that are known count.
        """
        table = self.table("epochs")
        rows = self.rows(table.filter(table.experiment == key).order_by("epoch"))
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
        exposures = self.table("exposures")
        found = exposures.filter(
            exposures.experiment == key, exposures.unit_id >= "simulated-", exposures.unit_id < "simulated."
        )
        return bool(self.rows(found.select("unit_id").limit(1)))

    def foreign_currencies(self, as_of_ms: int) -> list[str]:
        """Give the currencies of counted orders that are not the shop's."""
        orders = self.orders(as_of_ms)
        return [
            str(row["currency"])
            for row in self.rows(orders.filter(orders.currency != self.currency).select("currency").distinct())
        ]

    def order_counts(self, unit: str, as_of_ms: int) -> dict[str, int]:
        """Give the orders by what becomes of them: `known`, `without_unit`, `unverified`, and `excluded: REASON`."""
        placed = self._placed(as_of_ms)
        fate = ibis.cases(
            (placed.excluded.notnull(), ibis.literal("excluded: ") + placed.excluded.fill_null("")),
            (placed.verified != 1, "unverified"),
            (placed.source.isin(self.rules.exclude_sources or [""]), ibis.literal("source: ") + placed.source),
            (placed[UNIT_COLUMN[unit]].isnull(), "without_unit"),
            else_="known",
        )
        return {row["fate"]: int(row["n"]) for row in self.rows(placed.group_by(fate=fate).aggregate(n=placed.count()))}

    def traffic(self, as_of_ms: int) -> dict[str, tuple[int, int, int]]:
        """Give every experiment's exposures: how many, and the times of the first and the last."""
        table = self.table("exposures")
        seen = table.filter(table.exposed_at_ms <= as_of_ms, table.bot == 0)
        at = seen.exposed_at_ms
        rows = self.rows(seen.group_by("experiment").aggregate(n=seen.count(), first=at.min(), last=at.max()))
        return {row["experiment"]: (int(row["n"]), int(row["first"]), int(row["last"])) for row in rows}

    def exposed(self, asked: Asked) -> Exposures:
        """Give who was exposed to an experiment."""
        key = (asked.experiment, asked.as_of_ms, *asked.variants)
        if key not in self._exposed:
            self._exposed[key] = Exposures(self, asked.experiment, asked.variants, asked.as_of_ms)
        return self._exposed[key]

    def units_by_day(self, asked: Asked) -> tuple[dict[Place, int], int]:
        """Count the units of every variant by epoch and day, and the exposures that name a variant that is not declared."""
        return units_by_day(self.exposed(asked).tally, asked.since)

    def cells(
        self, asked: Asked, units: Mapping[Place, int], columns: Sequence[str], before: Sequence[str], by: Sequence[str]
    ) -> dict[Place, Cell]:
        """
        Give the sums of every variant; units of several variants, in whichever epochs, are in none.

        Args:
            asked: The experiment.
            units: How many there are in every place: `units_by_day`, or `units_by`.
            columns: Columns and flags over each unit's window; see analysis/metrics.py.
            before: Columns and flags over its history before the exposure.
            by: What the cells are broken down by: `epoch`, `day` (of the exposure), or an attribute of it.

        Returns:
            The cells by variant and place, their moments over `columns` and then `before`.
        """
        names = [*columns, *(f"before {name}" for name in before)]
        centres = centres_of([*columns, *before], self.typical(asked.as_of_ms))
        rows = self.rows(summed(self.units(asked, columns, before, by), names, centres, by))
        return cells_of(rows, units, centres, by)

    def units_by(self, asked: Asked, name: str) -> dict[Place, int]:
        """Count the units of every variant by an attribute of their exposures."""
        exposures = self.attributed(self.exposed(asked).units(asked.since), [name])
        return units_by_place(self.rows(counted(exposures, asked.variants, [name])), asked.variants, [name])[0]

    def arms(self, asked: Asked, columns: Sequence[str], before: Sequence[str] = ()) -> dict[str, Cell]:
        """Give the sums of every variant, not broken down."""
        units, _strays = self.units_by_day(asked)
        cells = self.cells(asked, units, columns, before, ("epoch", "day"))
        return merged(cells, asked.variants, len(columns) + len(before))

    def attributed(self, table: Table, names: Sequence[str]) -> Table:
        """Put attributes of the exposure in the place of the column that holds them all."""
        return table.mutate(**{name: json_text(self._backend, table.attributes, name) for name in names}).drop(
            "attributes"
        )

    def prepare(self, asked: Asked, columns: Sequence[str], before: Sequence[str], attributes: Sequence[str]) -> None:
        """
        Join what units did to their exposures, and add it up per unit, once, into temporary tables for later questions.

        Args:
            asked: The experiment.
            columns: Columns and flags over each unit's window that will be asked for.
            before: Those over its history.
            attributes: Of the exposure, that will be broken down by.
        """
        self.exposed(asked).begin_to_count()
        joined = self._joined_afresh(asked, [*columns, *before], attributes)
        if not any(name.startswith("followed_") for name in columns):  # repeats look beyond the window
            joined = joined.filter((joined.inside + joined.before) > 0)
        facts = self.temporary(joined)
        keys = ["unit_id", "variant", "epoch", "day", *attributes]
        self._prepared[asked.experiment] = facts, self.temporary(per_unit(facts, keys, asked, columns, before))

    def joined(self, asked: Asked, columns: Sequence[str], by: Sequence[str] = ()) -> Table:
        """Give facts with the exposures that they belong to: as prepared, or joined afresh where that lacks a column."""
        if asked.experiment in self._prepared:
            known = self._prepared[asked.experiment][0]
            if {*base_columns(columns), *by} <= set(known.columns):
                return known.filter(known.epoch >= asked.since) if asked.since > 1 else known
        return self._joined_afresh(asked, columns, [name for name in by if name not in ("epoch", "day")])

    def _joined_afresh(self, asked: Asked, columns: Sequence[str], attributes: Sequence[str]) -> Table:
        facts, parts = self.shallow(self.facts(asked, columns)), self.exposed(asked).parts(asked.since)
        # Each part by itself: engines that join by look-ups cannot look up a union.
        return self.attributed(union_of([placed(facts, kept_exposures(one), asked) for one in parts]), attributes)

    def units(
        self,
        asked: Asked,
        columns: Sequence[str],
        before: Sequence[str] = (),
        by: Sequence[str] = (),
        exposures: Table | None = None,
    ) -> Table:
        """Give one row for each unit that did anything, in its window or before; of exposures of one's own, if given."""
        named = [*columns, *before]
        if exposures is not None:
            joined = placed(self.facts(asked, named), exposures, asked)
            return per_unit(joined, ["unit_id", "variant", *by], asked, columns, before)
        if asked.experiment in self._prepared:
            known = self._prepared[asked.experiment][1]
            if {*columns, *by, *(f"before {name}" for name in before)} <= set(known.columns):
                return known.filter(known.epoch >= asked.since) if asked.since > 1 else known
        return per_unit(self.joined(asked, named, by), ["unit_id", "variant", *by], asked, columns, before)

    def facts(self, asked: Asked, columns: Sequence[str]) -> Table:
        """Give orders, and interactions where columns are made of them, as facts."""
        base = base_columns(columns)
        orders, lines = self.orders(asked.as_of_ms), self.table("order_lines")
        facts = order_facts(orders, lines, self.rules, self.currency, asked, base)
        if not set(base) & set(INTERACTIONS):
            return facts
        named = self.as_units(self.table("interactions"))
        return ibis.union(facts, interaction_facts(named, self.currency, asked, base), distinct=False)

    def _placed(self, as_of_ms: int) -> Table:
        """Give the orders placed by a time, each with the unit that its visitor or customer is, as far as that is known."""
        table = self.table("orders")
        placed = table.filter(table.ordered_at_ms <= as_of_ms)
        if self.holds("identities"):  # an express checkout loses the visitor, not the customer
            known = self.table("identities").select(
                known_=_.customer_id, known_unit_=_.unit_id, known_company_=_.company_id
            )
            joined = placed.left_join(known, placed.customer_id == known.known_)
            unit, company = (
                joined.unit_id.coalesce(joined.known_unit_),
                joined.company_id.coalesce(joined.known_company_),
            )
            placed = joined.mutate(unit_id=unit, company_id=company).drop("known_", "known_unit_", "known_company_")
        return self.as_units(placed)

    def unit_of(self, orders: Table, unit: str) -> Any:
        """Give the column of orders that names the unit."""
        return orders[UNIT_COLUMN[unit]]

    def orders(self, as_of_ms: int) -> Table:
        """Give the orders that count."""
        placed = self._placed(as_of_ms)
        counted = placed.filter(placed.excluded.isnull(), placed.verified == 1)
        refused = self.rules.exclude_sources
        return counted.filter(counted.source.notin(refused)) if refused else counted

    def typical(self, as_of_ms: int) -> dict[str, float | None]:
        """Give the mean of an order's amounts, where it can be had."""
        if as_of_ms in self._means:
            return self._means[as_of_ms]
        orders = self.orders(as_of_ms)
        scale = 10.0 ** -exponent(self.currency)
        product = orders.gross_minor - orders.discount_minor
        means = {
            "net": net_minor(orders, self.rules),
            "gross": orders.gross_minor,
            "cost": orders.cost_minor,
            "margin": product - orders.refunded_minor - orders.cost_minor,
        }
        row = self.rows(orders.aggregate(**{name: (one.cast("float64") * scale).mean() for name, one in means.items()}))
        self._means[as_of_ms] = row[0]
        return self._means[as_of_ms]


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
    with connected(url) as (backend, shown):
        wanted = {"exposures", "interactions", "orders", "order_lines", "epochs", "aliases", "identities"}
        source = Source(backend, shop)
        missing = wanted - source.tables
        if missing:
            raise StoreError(
                f"--store: found no tables {', '.join(sorted(missing))} in {shown}; wanted a crosslift store"
            )
        source.beside = begin_snapshot(backend)
        try:
            yield source
        finally:
            if source.beside is not None:
                source.beside.close()
