"""From an offer as declared to the offer that one request is shown."""

from collections.abc import Mapping
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

from experiments.audience import Context
from experiments.declaration import Offer, Product
from experiments.money import exponent, to_minor


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


def price_bundle(
    offer: Mapping[str, Any], products: Mapping[str, Product], context: Context, currency: str
) -> dict[str, Any] | None:
    """
    Price a bundle for the visitor's current product, which is part of it if the bundle is of its complements.

    Args:
        offer: A bundle, as `resolve` gave it.
        products: The catalogue by id.
        context: As `resolve` takes it.
        currency: The shop's.

    Returns:
        The bundle's products, the current one first, and their `full` price, `price` and `saving` as decimal text; None where
        a price is not known.
    """
    ids = [one["id"] for one in offer["products"]]
    current = _text(context.get("product_id"))
    if current in products and set(ids) & set(products[current].complements):
        ids.insert(0, current)
    if not all(one in products for one in ids):
        return None
    full = sum(to_minor(products[one].price, currency) for one in ids)
    saving = min(saving_minor(offer.get("discount"), full, currency), full)
    amounts = {"full": full, "price": full - saving, "saving": saving}
    places = -exponent(currency)
    return {"products": [_shown(products[one]) for one in ids]} | {
        name: str(Decimal(minor).scaleb(places)) for name, minor in amounts.items()
    }


def saving_minor(discount: str | None, full_minor: int, currency: str) -> int:
    """Give what a discount, such as `10%` or `5.00`, takes off an amount; half a minor unit goes to the even one."""
    if discount is None:
        return 0
    if not discount.endswith("%"):
        return to_minor(discount, currency)
    return int((full_minor * Decimal(discount[:-1]) / 100).to_integral_value(ROUND_HALF_EVEN))


def _text(value: object) -> str:
    return str(value) if isinstance(value, (str, int)) else ""


def _shown(product: Product) -> dict[str, Any]:
    """Leave out what is no visitor's business: cost, tags, complements."""
    return product.model_dump(mode="json", include={"id", "title", "price", "url", "image"}, exclude_defaults=True)
