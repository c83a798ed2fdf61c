"""What a signed webhook becomes: records, or a reason why not."""

from collections.abc import Callable, Mapping
from typing import Any

from events.records import EventRecord, Order
from events.stores.protocol import Store
from events.stores.record_rows import stored_order
from experiments.declarations.model import OrderRules
from experiments.errors import RequestError
from experiments.refusals import describe
from server.assign.declarations import Live
from server.ingest.payloads import Fields, read_json
from server.ingest.webhooks.shopify import read_shopify
from server.ingest.webhooks.woocommerce import read_woocommerce

Read = Callable[[str, Mapping[str, Any], OrderRules, str], list[Fields]]

READERS: Mapping[str, Read] = {"shopify": read_shopify, "woocommerce": read_woocommerce}
DELETED = ("orders/delete", "order.deleted")  # their payload is an id, and nothing else


def records_of(source: str, content: bytes | str, live: Live, store: Store, received_at_ms: int) -> list[EventRecord]:
    """
    Read a webhook's orders and refunds.

    Args:
        source: `platform:shop:topic`, as the quarantine keeps it.
        content: The body.
        live: Whose currency, costs and rules hold.
        store: Where an order that was deleted is looked up.
        received_at_ms: When it came.

    Raises:
        RequestError: It cannot be understood, or not be taken.
    """
    platform, shop, topic = source.split(":", 2)
    body = read_json(content)
    if not isinstance(body, dict):
        raise RequestError(f"body: found {describe(body)}; wanted a JSON object")
    if topic in DELETED:
        gone = {"shop": shop, "order_id": body.get("id"), "ordered_at_ms": received_at_ms}
        return [mark_excluded("deleted", gone, live, store)]
    found = READERS[platform](topic, body, live.configs.shop.orders, live.configs.shop.currency)
    return [
        live.reader.refund({"shop": shop, **one}) if "refund_id" in one else live.reader.order({"shop": shop, **one})
        for one in found
    ]


def mark_excluded(reason: str, fields: Mapping[str, Any], live: Live, store: Store) -> Order:
    """
    Leave an order out of which no more is said than that it is gone.

    An order that is not known yet gets a row without amounts, which says so to what comes late.

    Args:
        reason: Why it is left out.
        fields: The order's shop and id, and when it was left out as `ordered_at` or `ordered_at_ms`.
        live: Whose rules hold.
        store: Where the order may be.

    Raises:
        RequestError: The fields are wrong.
    """
    never = live.reader.order({**fields, "gross_minor": 0, "units": 0, "excluded": reason})
    known = stored_order(store, never.shop, never.order_id)
    if known is None:
        return never
    if known.excluded == reason:
        return known
    later = max(known.updated_at_ms, never.updated_at_ms)
    return known.model_copy(update={"excluded": reason, "updated_at_ms": later})
