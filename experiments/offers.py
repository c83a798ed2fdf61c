"""From an offer as declared to the offer that one request is shown."""

from collections.abc import Mapping
from typing import Any

from experiments.audience import Context
from experiments.declaration import Offer, Product


def resolve(offer: Offer | None, products: Mapping[str, Product], context: Context) -> dict[str, Any] | None:
    """
    Fill in the products of an offer for the visitor's current product.

    Args:
        offer: The offer as declared.
        products: The catalogue by id.
        context: `product_id` is what the visitor looks at, `cart` the list of product ids already in the cart.

    Returns:
        The offer as JSON values; its products never hold the current product or what is in the cart, and are at most
        `limit`. A listed product that the catalogue does not have keeps its bare id. None where there is no offer, or
        where an offer of products has none left to show.
    """
    if offer is None:
        return None
    shown = offer.model_dump(mode="json", exclude_none=True)
    if offer.products is None:
        return shown
    current = _text(context.get("product_id"))
    cart = context.get("cart")
    avoid = {current, *(map(_text, cart) if isinstance(cart, list) else ())}
    complements = products[current].complements if current in products else []
    ids = complements if offer.products == "complements" else offer.products
    chosen = [one for one in dict.fromkeys(ids) if one not in avoid][: offer.limit]
    shown["products"] = [_shown(products[one]) if one in products else {"id": one} for one in chosen]
    return shown if chosen else None


def _text(value: object) -> str:
    return str(value) if isinstance(value, (str, int)) else ""


def _shown(product: Product) -> dict[str, Any]:
    """Leave out what is no visitor's business: cost, tags, complements."""
    return product.model_dump(mode="json", include={"id", "title", "price", "url", "image"}, exclude_defaults=True)
