"""Segment's ecommerce events (v2) as `TrackedEvent`."""

from collections.abc import Mapping
from typing import Any

from server.ingest.payloads import mapping, objects, text_property
from server.ingest.tracking.event import Kind, TrackedEvent, TrackedProduct, fingerprint

KINDS: Mapping[str, Kind] = {
    "promotion viewed": "impression",
    "promotion clicked": "click",
    "product added": "add_to_cart",
    "order completed": "order",
    "order refunded": "refund",
    "order cancelled": "cancellation",
}


def read_segment(message: Mapping[str, Any]) -> TrackedEvent | None:
    """Return what a message says; None for a message that means nothing here, such as a page view."""
    kind = KINDS.get(str(message.get("event")).strip().lower())
    if kind is None or message.get("type", "track") != "track":
        return None
    properties = mapping(message.get("properties"))
    return TrackedEvent(
        kind=kind,
        event_id=message.get("messageId") or fingerprint(message),
        visitor_id=message.get("anonymousId"),
        customer_id=message.get("userId"),
        at=message.get("timestamp") or message.get("originalTimestamp"),
        experiment=properties.get("promotion_id"),
        variant=properties.get("creative"),
        placement=properties.get("position"),
        product_id=properties.get("product_id"),
        price=properties.get("price"),
        quantity=properties.get("quantity"),
        currency=properties.get("currency"),
        order_id=properties.get("order_id"),
        net=_first_value(properties, "revenue", "subtotal"),
        total=properties.get("total"),
        discount=properties.get("discount"),
        shipping=properties.get("shipping"),
        tax=properties.get("tax"),
        refund_id=properties.get("refund_id"),
        products=[_product(product) for product in objects(properties.get("products"))],
    )


def _product(product: Mapping[str, Any]) -> TrackedProduct:
    return TrackedProduct(
        product_id=product.get("product_id"),
        sku=product.get("sku"),
        price=product.get("price"),
        quantity=product.get("quantity"),
        experiment=product.get("promotion_id"),
        variant=product.get("creative"),
        offer=text_property(dict(product), "name", "crosslift_offer"),
    )


def _first_value(properties: Mapping[str, Any], *names: str) -> object:
    return next((properties[name] for name in names if properties.get(name) is not None), None)
