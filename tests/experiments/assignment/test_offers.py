"""From a declared offer to what one request is shown."""

import orjson
from hypothesis import given
from hypothesis import strategies as st

from experiments.assignment.offers import PreparedOffer, Viewing, encode_products, resolve
from experiments.declarations.model import Offer, Product

PRODUCTS = {
    key: Product.model_validate(
        {"id": key, "title": key.upper(), "price": "9.90", "cost": 4, "complements": ["b", "c", "a", "gone"]}
    )
    for key in "abc"
}


def ids(offer: dict[str, object], context: dict[str, object]) -> list[str] | None:
    shown = resolve(Offer.model_validate({"kind": "cross_sell", **offer}), PRODUCTS, context)
    return None if shown is None else [product["id"] for product in shown["products"]]


def test_complements_are_those_of_the_current_product() -> None:
    """Never the product itself, nor what is in the cart, and no more than the limit."""
    assert ids({"products": "complements"}, {"product_id": "a"}) == ["b", "c", "gone"]
    assert ids({"products": "complements", "limit": 1}, {"product_id": "a"}) == ["b"]
    assert ids({"products": "complements"}, {"product_id": "a", "cart": ["b", "gone"]}) == ["c"]


def test_an_offer_with_nothing_left_is_none() -> None:
    """No empty box on the page."""
    assert ids({"products": "complements"}, {}) is None
    assert ids({"products": "complements"}, {"product_id": "unheard-of"}) is None
    assert ids({"products": ["a"]}, {"cart": ["a"]}) is None
    assert ids({"products": ["a"]}, {"cart": "not a list", "product_id": {"odd": 1}}) == ["a"]


def test_what_is_shown_holds_nothing_private() -> None:
    """Costs and tags stay in the shop; an offer without products is shown as declared."""
    shown = resolve(Offer.model_validate({"kind": "bundle", "products": ["a", "x"], "discount": "10%"}), PRODUCTS, {})
    assert shown == {
        "kind": "bundle", "discount": "10%", "limit": 3, "decline": False,
        "products": [{"id": "a", "title": "A", "price": "9.90"}, {"id": "x"}],
    }  # fmt: skip
    assert resolve(Offer.model_validate({"kind": "chat", "headline": "Hi"}), PRODUCTS, {}) == {
        "kind": "chat", "headline": "Hi", "limit": 3, "decline": False,
    }  # fmt: skip
    assert resolve(None, PRODUCTS, {}) is None


offers = st.sampled_from(
    [
        {"kind": "cross_sell", "products": "complements", "limit": 2, "headline": "Mit “Umlaut” ü"},
        {"kind": "bundle", "products": ["a", "x", "a", "b"], "discount": "10%", "decline": True},
        {"kind": "chat", "headline": "Hi"},
    ]
)
ids_of_products = st.sampled_from(["a", "b", "c", "gone", "x", 7, None, "", ["a"]])


@given(offers, ids_of_products, st.lists(ids_of_products, max_size=4) | ids_of_products)
def test_a_prepared_offer_is_the_resolved_one(offer: dict[str, object], product_id: object, cart: object) -> None:
    """Byte for byte, whatever is viewed and whatever lies in the cart."""
    declared, context = Offer.model_validate(offer), {"product_id": product_id, "cart": cart}
    prepared = PreparedOffer(declared, PRODUCTS, encode_products(PRODUCTS))
    assert orjson.dumps(prepared.shown(Viewing.of(context))) == orjson.dumps(resolve(declared, PRODUCTS, context))
