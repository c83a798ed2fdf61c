"""From an offer as declared to the offer that one request is shown."""

from collections.abc import Mapping, Sequence
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any, NamedTuple

import orjson

from experiments.declarations.conditions import Context
from experiments.declarations.model import Offer, Product
from experiments.money import exponent, to_minor

Products = Mapping[str, Product]


class Viewing(NamedTuple):
    """
    What a visitor looks at.

    Attributes:
        current: The id of the product; empty for none.
        avoid: What is not to be offered: that product, and what is in the cart.
    """

    current: str
    avoid: frozenset[str]

    @classmethod
    def of(cls, context: Context) -> "Viewing":
        """Read `product_id` and `cart`, a list of product ids, from a request's context."""
        current, cart = _text(context.get("product_id")), context.get("cart")
        return cls(current, frozenset((current, *map(_text, cart)) if isinstance(cart, list) else (current,)))


def chosen(offer: Offer, products: Products, viewing: Viewing) -> list[str]:
    """Return the ids of the products that an offer of products shows."""
    if offer.products == "complements":
        ids = products[viewing.current].complements if viewing.current in products else []
    else:
        ids = offer.products or []
    return [one for one in dict.fromkeys(ids) if one not in viewing.avoid][: offer.limit]


def resolve(offer: Offer | None, products: Products, context: Context) -> dict[str, Any] | None:
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
    ids = chosen(offer, products, Viewing.of(context))
    shown["products"] = [_shown(products[one]) if one in products else {"id": one} for one in ids]
    return shown if ids else None


class PreparedOffer:
    """An offer that is resolved over and over again: encoded as JSON as far as no request can change it."""

    def __init__(self, offer: Offer, products: Products, encoded: Mapping[str, orjson.Fragment]) -> None:
        self.offer = offer
        self._products = products
        self._encoded = encoded
        self._listed = frozenset(offer.products if isinstance(offer.products, list) else ())
        self._is_relative = offer.products == "complements" or offer.kind == "bundle"
        usual = resolve(offer, products, {})
        self._usual = None if usual is None else orjson.Fragment(encode(usual))
        self._declared = offer.model_dump(mode="json", exclude_none=True)

    def varies(self, viewing: Viewing) -> bool:
        """Check whether what it shows, or its price as a bundle, may depend on this viewing."""
        return self._is_relative or not self._listed.isdisjoint(viewing.avoid)

    def ids(self, viewing: Viewing) -> list[str]:
        """Return the ids of the products that it shows."""
        return chosen(self.offer, self._products, viewing)

    def shown(self, viewing: Viewing) -> orjson.Fragment | dict[str, Any] | None:
        """Return what `resolve` gives, in parts that orjson encodes to the same."""
        if self.offer.products != "complements" and self._listed.isdisjoint(viewing.avoid):
            return self._usual
        ids = self.ids(viewing)
        return self._declared | {"products": [self._encoded.get(one) or {"id": one} for one in ids]} if ids else None


def encode(value: dict[str, Any]) -> bytes:
    """Encode once what many answers hold; as a copy, since what orjson gives keeps all the room that it was written in."""
    return bytes(memoryview(orjson.dumps(value)))


def encode_products(products: Products) -> dict[str, orjson.Fragment]:
    """Return each product of a catalogue as offers show it, for `PreparedOffer`."""
    return {key: orjson.Fragment(encode(_shown(product))) for key, product in products.items()}


def price_bundle(
    offer: Offer, ids: Sequence[str], products: Products, current: str, currency: str
) -> dict[str, Any] | None:
    """
    Price a bundle for the visitor's current product, which is part of it if the bundle is of its complements.

    Args:
        offer: A bundle.
        ids: The products that it shows.
        products: The catalogue by id.
        current: The id of the product that the visitor looks at.
        currency: The shop's.

    Returns:
        The bundle's products, the current one first, and their `full` price, `price` and `saving` as decimal text; None where
        a price is not known.
    """
    if current in products and set(ids) & set(products[current].complements):
        ids = [current, *ids]
    if not all(one in products for one in ids):
        return None
    full = sum(to_minor(products[one].price, currency) for one in ids)
    saving = min(saving_minor(offer.discount, full, currency), full)
    amounts = {"full": full, "price": full - saving, "saving": saving}
    places = -exponent(currency)
    return {"products": [_shown(products[one]) for one in ids]} | {
        name: str(Decimal(minor).scaleb(places)) for name, minor in amounts.items()
    }


def saving_minor(discount: str | None, full_minor: int, currency: str) -> int:
    """Return what a discount, such as `10%` or `5.00`, takes off an amount; half a minor unit goes to the even one."""
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


NOTHING_VIEWED = Viewing.of({})
