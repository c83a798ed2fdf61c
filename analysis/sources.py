"""
Asks the store for sums, never for rows, through Ibis.

Units are counted out of exposures alone; only the few buyers are joined to their orders, and added up per unit, and then per
variant. Visitors who bought nothing are zeros that nobody needs to read: they are merged in as `Moments.zeros`.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ibis
import numpy as np
from ibis.expr.types import Table

from analysis.engine import fetch
from analysis.moments import Moments, centre
from experiments.declaration import Experiment
from experiments.errors import AnalysisError, StoreError
from experiments.money import exponent

COLUMNS = ("buyer", "orders", "net", "margin")
_ORDER_COLUMN = {"visitor_id": "unit_id", "customer_id": "customer_id", "company_id": "company_id"}
DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Epoch:
    """One stored declaration of an experiment."""

    number: int
    declared: Experiment


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


class Source:
    """Reads one store within one snapshot."""

    def __init__(self, backend: Any, currency: str) -> None:
        self._backend = backend
        self._currency = currency

    def epochs(self, key: str) -> list[Epoch]:
        """Give the epochs of an experiment, the oldest first."""
        table = self._table("epochs")
        rows = self._rows(table.filter(table.experiment == key).order_by("epoch"))
        return [Epoch(int(row["epoch"]), Experiment.model_validate(json.loads(row["declaration"]))) for row in rows]

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

    def repeated(self, key: str, epochs: Sequence[int] | None, as_of_ms: int) -> int:
        """Count the units that were exposed to more than one variant."""
        units = self._repeated(self._exposures(key, epochs, as_of_ms))
        return int(self._rows(units.aggregate(n=units.count()))[0]["n"])

    def arms(self, experiment: Experiment, epochs: Sequence[int] | None, as_of_ms: int) -> dict[str, Arm]:
        """
        Give every declared variant's sums; units of several variants are in none.

        Args:
            experiment: Names the variants, the unit and the window.
            epochs: The epochs whose exposures are read; None for all.
            as_of_ms: Later exposures and orders do not exist yet.
        """
        exposures = self._exposures(experiment.key, epochs, as_of_ms)
        if self.repeated(experiment.key, None, as_of_ms):
            repeated = self._repeated(self._exposures(experiment.key, None, as_of_ms))
            exposures = exposures.filter(exposures.unit_id.notin(repeated.unit_id))
        units = self._units(exposures, list(experiment.variants))
        buyers = self._buyers(exposures, experiment, as_of_ms)
        centres = self._centres(as_of_ms)
        found = {row["variant"]: row for row in self._rows(_centred_sums(buyers, centres))}
        return {key: _arm(units[key], found.get(key), centres) for key in experiment.variants}

    def _table(self, name: str) -> Table:
        table: Table = self._backend.table(name)
        return table

    def _rows(self, expression: Any) -> list[dict[str, Any]]:
        return fetch(self._backend, expression)

    def _exposures(self, key: str, epochs: Sequence[int] | None, as_of_ms: int) -> Table:
        table = self._table("exposures")
        found = table.filter(table.experiment == key, table.exposed_at_ms <= as_of_ms, table.bot == 0)
        return found if epochs is None else found.filter(found.epoch.isin(list(epochs)))

    def _repeated(self, exposures: Table) -> Table:
        grouped = exposures.group_by("unit_id").aggregate(variants=exposures.count())
        return grouped.filter(grouped.variants > 1).select("unit_id")

    def _orders(self, as_of_ms: int) -> Table:
        table = self._table("orders")
        return table.filter(table.excluded.isnull(), table.ordered_at_ms <= as_of_ms)

    def _units(self, exposures: Table, variants: list[str]) -> dict[str, int]:
        # Sums of comparisons, not GROUP BY: grouping on text sorts every exposure.
        counts = {f"v{index}": (exposures.variant == key).sum() for index, key in enumerate(variants)}
        row = self._rows(exposures.aggregate(**counts))[0]
        return {key: int(row[f"v{index}"] or 0) for index, key in enumerate(variants)}

    def _buyers(self, exposures: Table, experiment: Experiment, as_of_ms: int) -> Table:
        unit = _ORDER_COLUMN[experiment.unit]
        orders = self._orders(as_of_ms)
        scale = 10.0 ** -exponent(self._currency)
        net = (orders.gross_minor - orders.discount_minor - orders.refunded_minor).cast("float64") * scale
        cost = orders.cost_minor.cast("float64") * scale
        priced = orders.filter(orders[unit].notnull()).select(
            buyer_id=orders[unit], ordered_at_ms=orders.ordered_at_ms, net=net, margin=net - cost
        )
        window_ms = experiment.plan.window * DAY_MS
        joined = priced.join(
            exposures.select("unit_id", "variant", "exposed_at_ms"), priced.buyer_id == exposures.unit_id
        )
        inside = joined.filter(
            joined.ordered_at_ms >= joined.exposed_at_ms, joined.ordered_at_ms < joined.exposed_at_ms + window_ms
        )
        return inside.group_by("variant", "unit_id").aggregate(
            orders=inside.count(), net=inside.net.sum(), margin=inside.margin.sum(), costed=inside.margin.count()
        )

    def _centres(self, as_of_ms: int) -> dict[str, float]:
        """Give a typical value of each column to subtract before squaring: raw squares of like amounts cancel."""
        orders = self._orders(as_of_ms)
        scale = 10.0 ** -exponent(self._currency)
        net = (orders.gross_minor - orders.discount_minor - orders.refunded_minor).cast("float64") * scale
        row = self._rows(
            orders.aggregate(net=net.mean(), margin=(net - orders.cost_minor.cast("float64") * scale).mean())
        )[0]
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
            sums[f"p_{first}_{second}"] = (columns[first] * columns[second]).sum()
    return buyers.group_by("variant").aggregate(**sums)


def _arm(units: int, row: Mapping[str, Any] | None, centres: Mapping[str, float]) -> Arm:
    if row is None:
        return Arm(units, 0, Moments.zeros(units, len(COLUMNS)), 0, 0)
    n = int(row["n"])
    sums = np.array([row[f"s_{name}"] for name in COLUMNS], float)
    products = np.empty((len(COLUMNS), len(COLUMNS)))
    for i, first in enumerate(COLUMNS):
        for j, second in enumerate(COLUMNS[i:], i):
            products[i, j] = products[j, i] = row[f"p_{first}_{second}"]
    bought = Moments(n, sums / n, products - np.outer(sums, sums) / n).shifted([centres[name] for name in COLUMNS])
    return Arm(units, n, bought + Moments.zeros(units - n, len(COLUMNS)), int(row["costed"]), int(row["all_orders"]))


@contextmanager
def open_source(url: str, currency: str) -> Iterator[Source]:
    """
    Open a store for reading, all of it as of one moment.

    Args:
        url: `sqlite:///FILE`.
        currency: The shop's.

    Raises:
        StoreError: There is no store at the URL.
    """
    if not url.startswith("sqlite:///"):
        raise StoreError(f"--store: found {url!r}; wanted sqlite:///FILE")
    path = Path(url.removeprefix("sqlite:///"))
    if not path.is_file():
        raise StoreError(f"--store: found no file {path}; wanted a store that events were written to")
    backend = ibis.sqlite.connect(path)
    try:
        missing = {"exposures", "orders", "epochs"} - set(backend.list_tables())
        if missing:
            raise StoreError(
                f"--store: found no tables {', '.join(sorted(missing))} in {path}; wanted a crosslift store"
            )
        backend.con.execute("BEGIN")
        yield Source(backend, currency)
    finally:
        backend.disconnect()


def pick(moments: Moments, columns: Sequence[str]) -> Moments:
    """
    Give the moments of one or two of an arm's columns.

    Raises:
        AnalysisError: No such column.
    """
    if not set(columns) <= set(COLUMNS):
        raise AnalysisError(f"found the columns {', '.join(columns)}; wanted some of {', '.join(COLUMNS)}")
    at = [COLUMNS.index(name) for name in columns]
    return Moments(moments.n, moments.means[at], moments.scatter[np.ix_(at, at)])
