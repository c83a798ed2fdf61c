"""
GA4's ecommerce events as `TrackedEvent`.

A price is what is paid for a piece, after its discount; `value` is what the items cost together, without tax and shipping.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from server.ingest.payloads import Fields, mapping, objects, text_property
from server.ingest.tracking.event import Kind, TrackedEvent, TrackedProduct, fingerprint

KINDS: Mapping[str, Kind] = {
    "view_promotion": "impression",
    "select_promotion": "click",
    "add_to_cart": "add_to_cart",
    "purchase": "order",
    "refund": "refund",
}


def events_of(body: Mapping[str, Any]) -> Iterator[Fields]:
    """Return the events of a body, each with what the body says of all of them."""
    common = {name: body[name] for name in ("client_id", "user_id", "timestamp_micros") if name in body}
    for event in objects(body.get("events")):
        yield {**common, **event}


def read_ga4(event: Mapping[str, Any]) -> TrackedEvent | None:
    """Return what an event says; None for an event that means nothing here, such as a page view."""
    kind = KINDS.get(str(event.get("name")))
    if kind is None:
        return None
    params = mapping(event.get("params"))
    items = objects(params.get("items"))
    first: Mapping[str, Any] = items[0] if items else {}
    micros = event.get("timestamp_micros")
    return TrackedEvent(
        kind=kind,
        event_id=fingerprint(event),
        visitor_id=event.get("client_id"),
        customer_id=event.get("user_id"),
        at=int(str(micros)) // 1000 if str(micros).isdecimal() else None,
        experiment=params.get("promotion_id") or first.get("promotion_id"),
        variant=params.get("creative_name") or first.get("creative_name"),
        placement=params.get("creative_slot") or first.get("creative_slot"),
        product_id=first.get("item_id"),
        price=first.get("price"),
        quantity=first.get("quantity"),
        currency=params.get("currency"),
        order_id=params.get("transaction_id"),
        net=params.get("value"),
        total=params.get("value"),
        shipping=params.get("shipping"),
        tax=params.get("tax"),
        products=[_item(item) for item in items],
    )


def _item(item: Mapping[str, Any]) -> TrackedProduct:
    return TrackedProduct(
        product_id=item.get("item_id"),
        price=item.get("price"),
        price_off=item.get("discount"),
        quantity=item.get("quantity"),
        experiment=item.get("promotion_id"),
        variant=item.get("creative_name"),
        offer=text_property(dict(item), "name", "crosslift_offer"),
    )
