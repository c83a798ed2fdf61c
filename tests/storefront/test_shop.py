"""The demo shop without a browser: it works without JavaScript and without crosslift, and believes no browser's prices."""

import socket
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

from events import open_store
from experiments import load
from storefront.cart import order_event, priced
from storefront.shop import create_shop
from storefront.upstream import Upstream
from tests.conftest import ROOT, Server

Serve = Callable[..., Server]
CONFIGS = load(ROOT / "configs")
LINE = {"id": "filters-100", "quantity": 1, "offer": "product-page-placement:below", "bundle": None}
BUNDLE = "bundle-vs-separate:bundle"


def nobody() -> str:
    """Return an address where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return f"http://127.0.0.1:{free.getsockname()[1]}"


@pytest.fixture
def shop() -> FlaskClient:
    return create_shop(CONFIGS, nobody(), {"publishable": "pk_x", "secret": "sk_x"}).test_client()


def add(shop: FlaskClient, *ids: str, **properties: str) -> int:
    items = [{"id": one, "quantity": 1, "properties": properties} for one in ids]
    return shop.post("/cart/add.js", json={"items": items}).status_code


def test_it_sells_without_javascript_and_without_crosslift(shop: FlaskClient) -> None:
    """By forms alone, while the server is away."""
    assert shop.get("/").status_code == shop.get("/products/kettle-swan").status_code == 200
    assert shop.get("/products/nothing").status_code == 404
    added = shop.post("/cart/add", data={"id": "kettle-swan"}, follow_redirects=True)
    assert "$59.00" in added.text
    bought = shop.post("/checkout", follow_redirects=True)
    assert "Thank you" in bought.text
    assert "It is empty" in shop.get("/cart").text
    assert shop.post("/v1/page", json={}).status_code == 502


@pytest.mark.parametrize(
    "body",
    [None, 7, [], {}, {"items": []}, {"items": 7}, {"items": [7]}, {"items": [{"id": "nothing"}]}, {"items": [{"id": "kettle-swan", "quantity": 0}]},
     {"items": [{"id": "kettle-swan", "quantity": True}]}, {"items": [{"id": "kettle-swan", "quantity": "1"}]}, {"items": [{"id": "kettle-swan"}] * 31}],
    ids=repr,
)  # fmt: skip
def test_what_cannot_be_added_is_refused(shop: FlaskClient, body: Any) -> None:
    """422, with what is wanted, and nothing is added."""
    refused = shop.post("/cart/add.js", json=body)
    assert (refused.status_code, "wanted" in refused.get_json()["description"]) == (422, True)
    assert shop.post("/cart/update.js", json=body).status_code == 200
    assert "It is empty" in shop.get("/cart").text


def test_a_bundle_is_a_bundle_by_its_declaration(shop: FlaskClient) -> None:
    """Whole, at the declared discount; half of one, or one that nobody declared, at the full price."""
    add(shop, "kettle-swan", "filters-100", _crosslift_bundle=BUNDLE)
    assert "$60.21" in shop.get("/cart").text
    shop.post("/cart/remove", data={"line": 1})
    assert "$59.00" in shop.get("/cart").text
    for forged in ("bundle-vs-separate:separate", "bundle-vs-separate:free", "nothing:bundle", "x" * 500):
        other = create_shop(CONFIGS, nobody(), {"publishable": "pk_x", "secret": "sk_x"}).test_client()
        assert add(other, "kettle-swan", "filters-100", _crosslift_bundle=forged) == 200
        assert "$66.90" in other.get("/cart").text


def test_orders_are_matched_and_none_is_lost(serve: Serve, store_url: str) -> None:
    """The cart's attribute names the visitor; what a server could not take goes along with the next order."""
    server = serve(ROOT / "configs")
    upstream = Upstream(f"http://127.0.0.1:{server.port}", "sk_wrong")
    first, second = (
        order_event(priced(CONFIGS, [LINE]), order_id, "anna", 1_777_636_800_000) for order_id in ("1", "2")
    )
    upstream.send([first])
    store = open_store(store_url)
    assert store.counts()["orders"] == 0
    upstream._secret = server.keys["secret"]  # as if the key had been put right
    upstream.send([second])
    assert store.counts()["orders"] == 2
    store.close()
