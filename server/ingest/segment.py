"""Segment's ecommerce events (v2), in the words that `server.ingest.tracking` has for every vocabulary."""

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from server.ingest.payloads import Fields, mapping, named, objects

Message = Mapping[str, Any]

KINDS = {
    "promotion viewed": "impression",
    "promotion clicked": "click",
    "product added": "add_to_cart",
    "order completed": "order",
    "order refunded": "refund",
    "order cancelled": "cancellation",
}


def read_segment(message: Message) -> Fields | None:
    """Give what a message says; None for what is no event of ours, such as a page view or a started checkout."""
    kind = KINDS.get(str(message.get("event")).strip().lower())
    if kind is None or message.get("type", "track") != "track":
        return None
    told = mapping(message.get("properties"))
    products = objects(told.get("products"))
    return {
        "kind": kind,
        "event_id": message.get("messageId") or fingerprint(message),
        "visitor_id": message.get("anonymousId"),
        "customer_id": message.get("userId"),
        "at": message.get("timestamp") or message.get("originalTimestamp"),
        "experiment": told.get("promotion_id"),
        "variant": told.get("creative"),
        "placement": told.get("position"),
        "product_id": told.get("product_id"),
        "price": told.get("price"),
        "quantity": told.get("quantity"),
        "currency": told.get("currency"),
        "order_id": told.get("order_id"),
        "net": _first(told, "revenue", "subtotal"),
        "total": told.get("total"),
        "discount": told.get("discount"),
        "shipping": told.get("shipping"),
        "tax": told.get("tax"),
        "refund_id": told.get("refund_id"),
        "products": [_product(product) for product in products],
    }


def _product(product: Mapping[str, Any]) -> Fields:
    return {
        "product_id": product.get("product_id"),
        "sku": product.get("sku"),
        "price": product.get("price"),
        "quantity": product.get("quantity"),
        "experiment": product.get("promotion_id"),
        "variant": product.get("creative"),
        "offer": named(dict(product), "name", "crosslift_offer"),
    }


def _first(told: Mapping[str, Any], *names: str) -> Any:
    return next((told[name] for name in names if told.get(name) is not None), None)


def fingerprint(event: Mapping[str, Any]) -> str:
    """Give an id to an event that has none: the same when it comes again."""
    return sha256(json.dumps(event, sort_keys=True, default=str).encode()).hexdigest()[:32]
