"""Records as rows, the same in every SQL: their values, and which of two rows with one key stays."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from operator import attrgetter
from typing import Any

import orjson

from events.records import Exposure, Interaction, Order, OrderLine, Refund
from events.stores.protocol import Fetch, Store
from events.stores.tables import EXPOSURES, INTERACTIONS, ORDER_LINES, ORDERS, REFUNDS, Table

Row = tuple[Any, ...]

FORGOTTEN = "forgotten-"  # begins the pseudonyms of visitors who were forgotten

_encode = json.JSONEncoder(ensure_ascii=False).encode


def attributes_text(attributes: Mapping[str, Any]) -> str:
    """Return the text that stores hold of an exposure's attributes."""
    return _encode(attributes) if attributes else "{}"


def assignments(columns: Iterable[str]) -> str:
    """Return the assignments of an upsert."""
    return ", ".join(f"{name} = excluded.{name}" for name in columns)


def _compared(table: Table, sign: str, *terms: str) -> str:
    """Return the comparison of a new row with the stored one; `{}` in a term stands for the row."""
    new, stored = (", ".join(term.format(side) for term in terms) for side in ("excluded", table.name))
    return f"({new}) {sign} ({stored})"


@dataclass(frozen=True, slots=True, eq=False)  # hashed on the hot path, by identity
class RecordTable:
    """
    How records of one class are written.

    Attributes:
        table: Where to.
        columns: The columns of a row's values; the key's come first.
        row: Returns a record's values.
        wins: The condition under which a row replaces the stored row with its key.
        changes: The assignments that replace it.
        updates_count: Whether a replaced row counts as new.
    """

    table: Table
    columns: tuple[str, ...]
    row: Callable[[Any], Row]
    wins: str
    changes: str
    updates_count: bool

    def key_of(self, row: Row) -> Row:
        """Return the key of a row."""
        return row[: self.table.key_size]


def _columns(table: Table, *last: str, without: Sequence[str] = ()) -> tuple[str, ...]:
    """Return a table's columns, with some moved to the end and some left out."""
    return (*(name for name in table.names if name not in (*last, *without)), *last)


_exposure_values = attrgetter(*_columns(EXPOSURES, without=("attributes", "bot")))


def _exposure_row(record: Exposure) -> Row:
    return (*_exposure_values(record), attributes_text(record.attributes), int(record.bot))


# Of an order as it is written: refunded_minor is computed from what the order states and from its refunds.
_COMPUTED = ("verified", "stated_refunded_minor", "digest")
_ORDER_VALUES = _columns(ORDERS, without=(*_COMPUTED, "refunded_minor"))
_order_values = attrgetter(*_ORDER_VALUES)


def _order_row(order: Order) -> Row:
    """Return an order's values; equal states have equal digests, whatever a later version adds to the class."""
    fields = order.model_dump(exclude_defaults=True, exclude={"shop", "order_id", "updated_at_ms"})
    digest = sha256(orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)).hexdigest()[:32]
    return (*_order_values(order), int(order.verified), order.refunded_minor, digest)


# An order that comes again must not bring back the ids of a person who was forgotten.
_IS_FORGOTTEN = " OR ".join(
    f"substr(coalesce(orders.{name}, ''), 1, {len(FORGOTTEN)}) = '{FORGOTTEN}'" for name in ORDERS.person
)
_PROTECTED = (*ORDERS.person, "digest")
_ORDER_CHANGES = ", ".join(
    [
        *(f"{name} = CASE WHEN {_IS_FORGOTTEN} THEN orders.{name} ELSE excluded.{name} END" for name in _PROTECTED),
        assignments(name for name in ORDERS.values if name not in _PROTECTED),
    ]
)

RECORD_TABLES: Mapping[type, RecordTable] = {
    Exposure: RecordTable(
        EXPOSURES,
        _columns(EXPOSURES, "attributes", "bot"),
        _exposure_row,
        _compared(EXPOSURES, "<", "{}.exposed_at_ms", "{}.epoch", "{}.attributes", "{}.bot"),
        assignments(EXPOSURES.values),
        updates_count=False,
    ),
    Interaction: RecordTable(
        INTERACTIONS,
        INTERACTIONS.names,
        attrgetter(*INTERACTIONS.names),
        f"substr(interactions.unit_id, 1, {len(FORGOTTEN)}) <> '{FORGOTTEN}' AND "
        + _compared(
            INTERACTIONS,
            "<",
            "{}.occurred_at_ms",
            *(f"{{}}.{name}" for name in INTERACTIONS.values if name != "occurred_at_ms"),
        ),
        assignments(INTERACTIONS.values),
        updates_count=False,
    ),
    # A browser's state never replaces the shop's. Else the newest state wins; of two that are as new the one with more refunded,
    # then one that is left out (cancelled), then any, but the same one whichever came first.
    Order: RecordTable(
        ORDERS,
        (*_ORDER_VALUES, *_COMPUTED),
        _order_row,
        _compared(
            ORDERS,
            ">",
            "{}.verified",
            "{}.updated_at_ms",
            "{}.stated_refunded_minor",
            "{}.excluded IS NOT NULL",
            "{}.digest",
        ),
        _ORDER_CHANGES,
        updates_count=True,
    ),
    Refund: RecordTable(
        REFUNDS,
        REFUNDS.names,
        attrgetter(*REFUNDS.names),
        _compared(
            REFUNDS,
            ">",
            "{}.refunded_at_ms",
            "{}.refunded_minor",
            "{}.currency",
            "coalesce({}.paid_minor, -1)",
            "coalesce({}.discrepancy_minor, 0)",
        ),
        assignments(REFUNDS.values),
        updates_count=True,
    ),
}

_LINE_VALUES = tuple(OrderLine.model_fields)
LINE_COLUMNS = ("shop", "order_id", *_LINE_VALUES)
_line_values = attrgetter(*_LINE_VALUES)


def line_rows(order: Order) -> list[Row]:
    """Return the values of LINE_COLUMNS for every line of an order."""
    return [(order.shop, order.order_id, *_line_values(line)) for line in order.lines]


_ORDER_FIELDS = tuple(name for name in Order.model_fields if name not in ("lines", "refunded_minor"))
_SELECT_LINES = (
    f"SELECT {', '.join(_LINE_VALUES)} FROM {ORDER_LINES.name} WHERE shop = ? AND order_id = ? ORDER BY line_id"  # noqa: S608
)


def stored_order(store: Store, shop: str, order_id: str) -> Order | None:
    """Return an order with its lines, as it was last stated; None where the store has none."""
    with store.snapshot() as fetch:
        orders = list(_orders(fetch, "stated_refunded_minor", "order_id = ?", shop, order_id))
        if not orders:
            return None
        lines = [_named_line(row) for row in fetch(_SELECT_LINES, shop, order_id)]
    return orders[0].model_copy(update={"lines": lines})


def stored_orders(fetch: Fetch, shop: str, since_ms: int, until_ms: int) -> Iterator[Order]:
    """Return a shop's orders placed from one time to before another, without lines, all refunds included."""
    yield from _orders(fetch, "refunded_minor", "ordered_at_ms >= ? AND ordered_at_ms < ?", shop, since_ms, until_ms)


def _named_line(row: Row) -> OrderLine:
    return OrderLine.model_validate(dict(zip(_LINE_VALUES, row, strict=True)))


def _orders(fetch: Fetch, refunded: str, condition: str, shop: str, *values: object) -> Iterator[Order]:
    query = f"SELECT {', '.join(_ORDER_FIELDS)}, {refunded} FROM orders WHERE shop = ? AND {condition}"  # noqa: S608
    for row in fetch(query, shop, *values):
        fields = dict(zip((*_ORDER_FIELDS, "refunded_minor"), row, strict=True))
        yield Order.model_validate({**fields, "verified": bool(fields["verified"])})
