"""
GA4's ecommerce events, in the words that `server.ingest.tracking` has for every vocabulary.

A price is what is paid for a piece, after its discount, and `value` what the items cost together, without tax and shipping.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from server.ingest.payloads import Fields, mapping, named, objects
from server.ingest.segment import fingerprint

KINDS = {
    "view_promotion": "impression",
    "select_promotion": "click",
    "add_to_cart": "add_to_cart",
    "purchase": "order",
    "refund": "refund",
}


def events_of(body: Mapping[str, Any]) -> Iterator[Fields]:
    """Give the events of a body, each with what the body says of all of them."""
    common = {name: body[name] for name in ("client_id", "user_id", "timestamp_micros") if name in body}
    for event in objects(body.get("events")):
        yield {**common, **event}


def read_ga4(event: Mapping[str, Any]) -> Fields | None:
    """Give what an event says; None for what is no event of ours, such as a page view."""
    kind = KINDS.get(str(event.get("name")))
    if kind is None:
        return None
    told = mapping(event.get("params"))
    items = objects(told.get("items"))
    first = items[0] if items else {}
    micros = event.get("timestamp_micros")
    return {
        "kind": kind,
        "event_id": fingerprint(event),
        "visitor_id": event.get("client_id"),
        "customer_id": event.get("user_id"),
        "at": int(str(micros)) // 1000 if str(micros).isdecimal() else None,
        "experiment": told.get("promotion_id") or first.get("promotion_id"),
        "variant": told.get("creative_name") or first.get("creative_name"),
        "placement": told.get("creative_slot") or first.get("creative_slot"),
        "product_id": first.get("item_id"),
        "price": first.get("price"),
        "quantity": first.get("quantity"),
        "currency": told.get("currency"),
        "order_id": told.get("transaction_id"),
        "net": told.get("value"),
        "total": told.get("value"),
        "shipping": told.get("shipping"),
        "tax": told.get("tax"),
        "products": [_item(item) for item in items],
    }


def _item(item: Mapping[str, Any]) -> Fields:
    return {
        "product_id": item.get("item_id"),
        "price": item.get("price"),
        "price_off": item.get("discount"),
        "quantity": item.get("quantity"),
        "experiment": item.get("promotion_id"),
        "variant": item.get("creative_name"),
        "offer": named(dict(item), "name", "crosslift_offer"),
    }
