"""The demo shop's cart: lines that say which offer they came from, and bundles that are priced by the declarations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from experiments.assignment.offers import saving_minor
from experiments.declarations.loading import Configs
from experiments.declarations.model import Product
from experiments.errors import RequestError
from experiments.money import to_minor
from experiments.refusals import describe

MAX_LINES = 30
MAX_QUANTITY = 20


@dataclass(frozen=True)
class Line:
    """One product in the cart; `offer` and `bundle` are `experiment:variant`, as crosslift.js puts them there."""

    product: Product
    quantity: int
    offer: str | None
    bundle: str | None
    gross_minor: int
    discount_minor: int = 0


def read_items(configs: Configs, body: object) -> list[dict[str, Any]]:
    """
    Read what is to be added, in the shape of Shopify's `/cart/add.js`.

    Raises:
        RequestError: Not in that shape, or no product of the catalogue.
    """
    items = body.get("items") if isinstance(body, dict) else None
    if not isinstance(items, list) or not 0 < len(items) <= MAX_LINES:
        raise RequestError(f"items: found {describe(items)}; wanted a list of things to add")
    return [_item(configs, one) for one in items]


def _item(configs: Configs, one: object) -> dict[str, Any]:
    fields = one if isinstance(one, dict) else {}
    product_id, quantity = str(fields.get("id", "")), fields.get("quantity", 1)
    if product_id not in configs.products:
        raise RequestError(f"id: found {describe(product_id)}; wanted a product of the catalogue")
    if type(quantity) is not int or not 0 < quantity <= MAX_QUANTITY:
        raise RequestError(f"quantity: found {describe(quantity)}; wanted 1 to {MAX_QUANTITY}")
    properties = fields.get("properties")
    told = properties if isinstance(properties, dict) else {}
    marks = {name: told.get(f"_crosslift_{name}") for name in ("offer", "bundle")}
    return {"id": product_id, "quantity": quantity} | {
        name: mark if isinstance(mark, str) and len(mark) <= 200 else None for name, mark in marks.items()
    }


def added(cart: Sequence[Mapping[str, Any]], items: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the cart with items added; the same thing from the same offer is one line."""
    lines = [dict(line) for line in cart]
    for item in items:
        same = next((line for line in lines if {**line, "quantity": 0} == {**item, "quantity": 0}), None)
        if same is None:
            lines.append(dict(item))
        else:
            same["quantity"] = min(same["quantity"] + item["quantity"], MAX_QUANTITY)
    return lines[:MAX_LINES]


def priced(configs: Configs, cart: Sequence[Mapping[str, Any]]) -> list[Line]:
    """Price the cart: a bundle's discount is that of its variant's declaration, while at least two of it are there."""
    currency = configs.shop.currency
    lines = []
    for one in cart:
        product = configs.products[one["id"]]
        gross = to_minor(product.price, currency) * one["quantity"]
        together = len({other["id"] for other in cart if one["bundle"] and other["bundle"] == one["bundle"]}) > 1
        off = _discount(configs, one["bundle"]) if together else None
        discount = saving_minor(off, gross, currency) if off and off.endswith("%") else 0
        lines.append(Line(product, one["quantity"], one["offer"], one["bundle"], gross, discount))
    return lines


def _discount(configs: Configs, bundle: str) -> str | None:
    key, _, variant = bundle.partition(":")
    experiment = configs.experiments.get(key)
    declared = experiment.variants.get(variant) if experiment else None
    return declared.offer.discount if declared and declared.offer and declared.offer.kind == "bundle" else None


def order_event(lines: Sequence[Line], order_id: str, visitor_id: str | None, at_ms: int) -> dict[str, Any]:
    """Return the order as `POST /v1/events` takes it."""
    told = []
    for line in lines:
        experiment, _, variant = (line.offer or "").partition(":")
        told.append(
            {
                "product_id": line.product.id,
                "quantity": line.quantity,
                "gross_minor": line.gross_minor,
                "discount_minor": line.discount_minor,
                "offer_experiment": experiment or None,
                "offer_variant": variant or None,
                "bundle_id": line.bundle,
            }
        )
    return {
        "type": "order",
        "order_id": order_id,
        "visitor_id": visitor_id,
        "ordered_at_ms": at_ms,
        "source": "demo shop",
        "lines": told,
    }
