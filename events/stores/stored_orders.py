"""Orders as the store holds them, read back as records."""

from collections.abc import Iterator

from events.records import Order, OrderLine
from events.stores.protocol import Fetch, Store
from events.stores.sql_store import LINE, ORDER

_LINES = f"SELECT {', '.join(LINE[2:])} FROM order_lines WHERE shop = ? AND order_id = ? ORDER BY line_id"  # noqa: S608


def stored_order(store: Store, shop: str, order_id: str) -> Order | None:
    """Give an order with its lines, as it was last stated; None where the store has none."""
    with store.snapshot() as fetch:
        found = list(_orders(fetch, "stated_refunded_minor", "order_id = ?", shop, order_id))
        if not found:
            return None
        lines = [
            OrderLine.model_validate(dict(zip(LINE[2:], row, strict=True))) for row in fetch(_LINES, shop, order_id)
        ]
    return found[0].model_copy(update={"lines": lines})


def stored_orders(fetch: Fetch, shop: str, since_ms: int, until_ms: int) -> Iterator[Order]:
    """Give a shop's orders placed from one time to before another, without lines, all refunds counted in."""
    yield from _orders(fetch, "refunded_minor", "ordered_at_ms >= ? AND ordered_at_ms < ?", shop, since_ms, until_ms)


def _orders(fetch: Fetch, refunded: str, condition: str, shop: str, *values: object) -> Iterator[Order]:
    query = f"SELECT {', '.join(ORDER)}, {refunded} FROM orders WHERE shop = ? AND {condition}"  # noqa: S608
    for row in fetch(query, shop, *values):
        told = dict(zip((*ORDER, "refunded_minor"), row, strict=True))
        yield Order.model_validate({**told, "verified": bool(told["verified"])})
