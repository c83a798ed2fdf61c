"""Reads a signed webhook into records."""

from events.records import EventRecord
from events.stores.protocol import Store
from experiments.errors import RequestError
from experiments.refusals import describe
from server.assign.declarations import Live
from server.ingest.exclusions import mark_excluded
from server.ingest.payloads import read_json
from server.ingest.webhooks.platform import Webhook


def records_of(webhook: Webhook, live: Live, store: Store) -> list[EventRecord]:
    """
    Read a webhook's orders and refunds.

    Args:
        webhook: The webhook.
        live: Whose currency, costs and rules hold.
        store: Where an order that was deleted is looked up.

    Raises:
        RequestError: The payload cannot be read.
    """
    body = read_json(webhook.content)
    if not isinstance(body, dict):
        raise RequestError(f"body: must be a JSON object, got {describe(body)}")
    if webhook.topic == webhook.platform.deleted_topic:
        deleted = {"shop": webhook.shop, "order_id": body.get("id"), "ordered_at_ms": webhook.received_at_ms}
        return [mark_excluded("deleted", deleted, live, store)]
    shop = live.configs.shop
    rows = [
        {"shop": webhook.shop, **row} for row in webhook.platform.read(webhook.topic, body, shop.orders, shop.currency)
    ]
    return [live.reader.refund(row) if "refund_id" in row else live.reader.order(row) for row in rows]
