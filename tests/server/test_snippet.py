"""`GET /crosslift.js` and `POST /v1/page`."""

import gzip
import re

from server.snippet import SCRIPT, integrity
from tests.conftest import ROOT, WriteConfigs
from tests.server.conftest import NOW, Api

BUNDLE = """\
key: both
title: A bundle
status: running
variants:
  bundle: {weight: 1, placement: below_product, offer: {kind: bundle, products: complements, limit: 1, discount: 10%}}
  listed: {weight: 0, placement: cart, offer: {kind: bundle, products: [p2, p3], discount: 5.00}}
"""
CATALOG = """\
products:
  - {id: p1, title: One, price: 9.95, complements: [p2]}
  - {id: p2, title: Two, price: 2.00, cost: 1}
"""

UNITS = {"members": "customer_id"}


def test_the_script_is_small_and_cached(api: Api) -> None:
    """Below 8 kB packed; with an ETag that gives 304, for whoever asks."""
    packed = api.client.get("/crosslift.js", headers={"Accept-Encoding": "gzip, br"})
    assert (packed.status_code, packed.mimetype) == (200, "text/javascript")
    assert packed.headers["Content-Encoding"] == "gzip"
    assert len(packed.data) < 8000
    plain = api.client.get("/crosslift.js")
    assert gzip.decompress(packed.data) == plain.data == SCRIPT.read_bytes()
    assert "max-age" in plain.headers["Cache-Control"]
    assert plain.headers["Access-Control-Allow-Origin"] == "*"
    for response in (packed, plain):
        again = api.client.get("/crosslift.js", headers={"If-None-Match": response.headers["ETag"]})
        assert (again.status_code, again.data) == (304, b"")


def test_the_documented_hash_is_the_scripts() -> None:
    """The integrity attribute of docs/storefront.md admits the script as it stands, and no other."""
    told = re.findall(r"sha384-[A-Za-z0-9+/=]+", (ROOT / "docs" / "storefront.md").read_text(encoding="utf-8"))
    assert set(told) == {integrity(SCRIPT.read_bytes())}


def test_a_page_gets_what_it_needs(api: Api) -> None:
    """The assignments as ever, with triggers, currency, platform and the server's time; and the visitor's cookie."""
    first = api.post("/v1/page", {"context": {"device": "mobile"}})
    page = first.get_json()
    native = api.assign(page["visitor_id"], context={"device": "mobile"})
    assert page["assignments"] == {
        key: one | {"trigger": "product_page", "unit": UNITS.get(key, "visitor_id")} for key, one in native.items()
    }
    assert (page["now_ms"], page["currency"], page["platform"]) == (NOW, "USD", "custom")
    assert f"crosslift_visitor={page['visitor_id']}" in first.headers["Set-Cookie"]
    assert api.post("/v1/page", {"visitor": "x"}).status_code == 400


def test_a_bundle_is_priced(write_configs: WriteConfigs, api: Api) -> None:
    """With the product that it complements; as text, to the cent; without a price where one is not known."""
    write_configs(files={"catalog.yaml": CATALOG}, both=BUNDLE)
    declarations = api.client.application.extensions["crosslift"]
    for _ in range(3):
        declarations.reload_if_changed()
    shown = api.post("/v1/page", {"context": {"product_id": "p1"}}).get_json()["assignments"]["both"]
    assert shown["bundle"] == {
        "products": [{"id": "p1", "title": "One", "price": "9.95"}, {"id": "p2", "title": "Two", "price": "2.00"}],
        "full": "11.95",
        "price": "10.75",
        "saving": "1.20",
    }
    elsewhere = api.post("/v1/page", {"context": {"product_id": "p2"}}).get_json()["assignments"]["both"]
    assert (elsewhere["offer"], "bundle" in elsewhere) == (None, False)
