"""One ecommerce event of any vocabulary, before its values are validated."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Literal

Kind = Literal["impression", "click", "add_to_cart", "order", "refund", "cancellation"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackedProduct:
    """
    A product of an event.

    Attributes:
        price_off: The discount of one piece, where `price` is after it.
        offer: `experiment:variant`, where the product carries the property `crosslift_offer`.
    """

    product_id: object
    price: object
    quantity: object
    experiment: object
    variant: object
    offer: str | None
    sku: object = None
    price_off: object = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackedEvent:
    """
    An event; None where the sender says nothing.

    Attributes:
        at: Milliseconds UTC, or text.
        net: The order's product revenue, without tax and shipping.
        total: What was paid in all, or given back.
    """

    kind: Kind
    event_id: object
    visitor_id: object
    customer_id: object
    at: object
    experiment: object
    variant: object
    placement: object
    product_id: object
    price: object
    quantity: object
    currency: object
    order_id: object
    net: object
    total: object
    shipping: object
    tax: object
    products: Sequence[TrackedProduct]
    discount: object = None
    refund_id: object = None


def fingerprint(event: Mapping[str, Any]) -> str:
    """Return an id for an event that has none: the same when the event is sent again."""
    return sha256(json.dumps(event, sort_keys=True, default=str).encode()).hexdigest()[:32]
