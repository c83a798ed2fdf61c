"""Compares the store's orders with the shop's own export, and names the likely cause of every difference."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from events.clock import DAY_MS
from events.imports.csv import read_orders
from events.records import Order, Refund
from events.stores.protocol import Store
from events.stores.record_rows import stored_orders
from experiments.declarations.loading import Configs
from experiments.declarations.model import OrderRules
from experiments.errors import RequestError

AMOUNTS = ("gross", "discounts", "refunds", "net")
_SHOPS = "SELECT DISTINCT shop FROM orders ORDER BY shop"
_DISCREPANCIES = (
    "SELECT order_id, sum(discrepancy_minor) FROM refunds WHERE shop = ? AND discrepancy_minor <> 0 GROUP BY order_id"
)


@dataclass(frozen=True)
class Sums:
    """The sums of the counted orders of one side, in minor units."""

    orders: int
    gross: int
    discounts: int
    refunds: int

    @property
    def net(self) -> int:
        """Return gross minus discounts and refunds."""
        return self.gross - self.discounts - self.refunds

    def to_dict(self) -> dict[str, int]:
        """Return the sums by name."""
        return {"orders": self.orders} | {name: getattr(self, name) for name in AMOUNTS}


@dataclass(frozen=True)
class Difference:
    """
    One order that differs between the two sides.

    Attributes:
        order_id: The order.
        what: `missing` in the store, `unknown` to the export, `counted` on one side only, or the amounts that differ.
        export, store: The net revenue of each side; None where it has no such order, or does not count it.
        cause: The likely cause, and what to do.
    """

    order_id: str
    what: str
    export: int | None
    store: int | None
    cause: str


@dataclass(frozen=True)
class Reconciliation:
    """The sums of both sides for a period, in days of the shop's time zone, and all differences."""

    shop: str
    currency: str
    since: date
    until: date
    export: Sums
    store: Sums
    differences: Sequence[Difference]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values; amounts are minor units."""
        return {
            "shop": self.shop,
            "currency": self.currency,
            "since": self.since.isoformat(),
            "until": self.until.isoformat(),
            "export": self.export.to_dict(),
            "store": self.store.to_dict(),
            "differences": [vars(difference) for difference in self.differences],
        }


def reconcile(
    path: Path, store: Store, configs: Configs, shop: str = "", since: date | None = None, until: date | None = None
) -> Reconciliation:
    """
    Compare an export with the store, order by order.

    Args:
        path: The shop's own export, or a file of our own columns.
        store: The orders of the shop's webhooks, events and imports.
        configs: The shop's currency, time zone and order rules.
        shop: The shop whose orders are compared; may be empty where the store has orders of one shop only.
        since, until: First and last day; by default those of the file's first and last order.

    Raises:
        BadRows, RequestError: The file cannot be read, or has no order of the period, or the shop is not known.
    """
    with store.snapshot() as fetch:
        chosen = _chosen(shop, [str(row[0]) for row in fetch(_SHOPS)])
        zone = ZoneInfo(configs.shop.time_zone)
        exported = _exported(path, configs, chosen)
        days = [datetime.fromtimestamp(order.ordered_at_ms / 1000, zone).date() for order in exported.values()]
        if not days:
            raise RequestError(f"{path}: must have orders, got none")
        first, last = since or min(days), until or max(days)
        since_ms, until_ms = _start_ms(first, zone), _start_ms(last + timedelta(days=1), zone)
        theirs = {key: order for key, order in exported.items() if since_ms <= order.ordered_at_ms < until_ms}
        # An order that has different days on the two sides is still the same order.
        around = stored_orders(fetch, chosen, since_ms - 2 * DAY_MS, until_ms + 2 * DAY_MS)
        ours = {
            order.order_id: order
            for order in around
            if since_ms <= order.ordered_at_ms < until_ms or order.order_id in theirs
        }
        discrepancies = {str(key): int(total) for key, total in fetch(_DISCREPANCIES, chosen)}
    compared = _Compared(
        theirs, ours, configs.shop.orders, discrepancies, _quarantine_reasons(store, set(theirs) - set(ours))
    )
    rules = configs.shop.orders
    return Reconciliation(
        chosen,
        configs.shop.currency,
        first,
        last,
        _sums(theirs, rules),
        _sums(ours, rules),
        list(compared.differences()),
    )


def _chosen(shop: str, known: Sequence[str]) -> str:
    if shop in known or (not shop and len(known) == 1):
        return shop or known[0]
    raise RequestError(
        f"--shop: must be a shop with orders ({', '.join(known) or 'none has any'}), got {shop or 'none'}"
    )


def _exported(path: Path, configs: Configs, shop: str) -> dict[str, Order]:
    """Return a file's orders by id, with the refunds that have rows of their own."""
    records = read_orders(path, configs, shop).records
    orders = {record.order_id: record for record in records if isinstance(record, Order)}
    for refund in records:
        if isinstance(refund, Refund) and refund.order_id in orders:
            order = orders[refund.order_id]
            refunded = {"refunded_minor": order.refunded_minor + refund.refunded_minor}
            orders[refund.order_id] = order.model_copy(update=refunded)
    return orders


def _start_ms(day: date, zone: ZoneInfo) -> int:
    return round(datetime.combine(day, time(), zone).timestamp() * 1000)


def _quarantine_reasons(store: Store, missing: set[str]) -> dict[str, str]:
    """Return why orders are in quarantine, by order."""
    reasons: dict[str, str] = {}
    for row in store.quarantined() if missing else ():
        reasons |= dict.fromkeys(missing & set(re.findall(r"[\w.-]+", row.payload)), row.reason)
    return reasons


def _left_out(order: Order, rules: OrderRules) -> str | None:
    if order.excluded:
        return order.excluded
    if not order.verified:
        return "unverified"
    return f"source: {order.source}" if order.source in rules.exclude_sources else None


def _sums(orders: Mapping[str, Order], rules: OrderRules) -> Sums:
    counted = [order for order in orders.values() if _left_out(order, rules) is None]
    return Sums(
        len(counted),
        sum(order.gross_minor for order in counted),
        sum(order.discount_minor for order in counted),
        sum(order.refunded_minor for order in counted),
    )


def _net(order: Order) -> int:
    return order.gross_minor - order.discount_minor - order.refunded_minor


@dataclass(frozen=True)
class _Compared:
    """The orders of both sides by id, and the known reasons for differences."""

    theirs: Mapping[str, Order]
    ours: Mapping[str, Order]
    rules: OrderRules
    discrepancies: Mapping[str, int]
    quarantined: Mapping[str, str]

    def differences(self) -> Iterator[Difference]:
        for key in sorted(self.theirs.keys() | self.ours.keys()):
            theirs, ours = self.theirs.get(key), self.ours.get(key)
            exported = _left_out(theirs, self.rules) if theirs else None
            stored = _left_out(ours, self.rules) if ours else None
            if ours is None and theirs is not None:
                if exported is None:
                    yield Difference(key, "missing", _net(theirs), None, self._why_missing(key))
            elif theirs is None and ours is not None:
                if stored is None:
                    cause = "deleted in the shop, placed through another channel, or excluded by the export's filters"
                    yield Difference(key, "unknown", None, _net(ours), cause)
            elif theirs is not None and ours is not None:
                if (exported is None) != (stored is None):
                    yield self._counted_once(key, theirs, ours, exported, stored)
                elif exported is None:
                    yield from self._amounts(key, theirs, ours)

    def _why_missing(self, key: str) -> str:
        if key in self.quarantined:
            return f"in quarantine: {self.quarantined[key]}; fix that, then run `crosslift quarantine replay`"
        return (
            "never received: older than the shop's connection, or a webhook was lost; `crosslift import orders` adds it"
        )

    def _counted_once(
        self, key: str, theirs: Order, ours: Order, exported: str | None, stored: str | None
    ) -> Difference:
        if stored is not None:
            return Difference(key, "counted", _net(theirs), None, f"not counted in the store: {stored}")
        cause = f"{exported} in the shop, but not in the store: a webhook was lost, or has not arrived yet"
        return Difference(key, "counted", None, _net(ours), cause)

    def _amounts(self, key: str, theirs: Order, ours: Order) -> Iterator[Difference]:
        pairs = {
            "gross": (theirs.gross_minor, ours.gross_minor),
            "discounts": (theirs.discount_minor, ours.discount_minor),
            "refunds": (theirs.refunded_minor, ours.refunded_minor),
        }
        unequal = [name for name, (there, here) in pairs.items() if there != here]
        if unequal:
            yield Difference(key, ", ".join(unequal), _net(theirs), _net(ours), self._why(key, theirs, ours))

    def _why(self, key: str, theirs: Order, ours: Order) -> str:
        if key in self.discrepancies:
            return "a refund's payments and lines differ: the store counts lines, the export payments"
        off = max(abs(theirs.gross_minor - ours.gross_minor), abs(theirs.discount_minor - ours.discount_minor))
        refunds = theirs.refunded_minor - ours.refunded_minor
        if max(off, abs(refunds)) <= max(1, theirs.units, ours.units):
            return "rounding: a tax or a refund was divided between products and the rest"
        if off == 0:
            if refunds < 0:
                return "refunded after the export was made, or refunded by lines where the export has a proportion"
            return (
                "a refund is missing in the store: a webhook was lost, or shipping and tax were refunded in proportion"
            )
        if theirs.gross_minor - theirs.discount_minor == ours.gross_minor - ours.discount_minor:
            return "the same net before refunds: one side has subtracted a discount from its prices already"
        if theirs.units > ours.units:
            return "lines that are not products (gift cards, tips), or that were removed after the export was made"
        return "edited after the purchase: one side is older"
