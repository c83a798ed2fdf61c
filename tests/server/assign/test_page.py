"""`GET /crosslift.js` and `POST /v1/page`."""

import gzip
import re

from events import Store
from experiments.assignment.tokens import Signer
from server import create_app
from server.assign.page import SCRIPT, integrity
from server.http.keys import create_key
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


LAYERED = """\
key: {key}
title: {key}
status: running
layer: {{name: page, from: {start}, to: {end}}}
variants:
  {control}
  shown: {{weight: {weight}, placement: below_product, offer: {{kind: cross_sell, products: [p1]}}}}
"""


def test_a_layer_belongs_to_one_experiment(write_configs: WriteConfigs, store: Store) -> None:
    """Its others show nothing, not even a control that has an offer; whoever is in none of them sees the shop as it is."""
    offer = "other: {placement: below_product, offer: {kind: cross_sell, products: [p2]}}"
    configs = write_configs(
        files={"catalog.yaml": CATALOG},
        first=LAYERED.format(key="first", start="40%", end="80%", control=offer, weight=1),
        second=LAYERED.format(key="second", start="0%", end="40%", control="none: {placement: none}", weight=0),
    )
    api = Api(create_app(configs, store, lambda: NOW).test_client(), create_key(store, "publishable", 1), "")
    seen = set()
    for number in range(60):
        page = api.post("/v1/page", {"visitor_id": f"v{number}"}).get_json()["assignments"]
        reasons = (page["first"]["reason"], page["second"]["reason"])
        seen.add(reasons)
        assert page["second"]["offer"] is None
        assert (page["first"]["offer"] is None) == (reasons == ("layer", "assigned"))
        assert next(iter(page)) == ("second" if reasons[1] == "assigned" else "first")
    assert seen == {("assigned", "layer"), ("layer", "assigned"), ("layer", "layer")}


def test_beside_a_preview_nothing_is_exposed(write_configs: WriteConfigs, store: Store) -> None:
    """It has its layer to itself, and comes first."""
    control = "none: {placement: none}"
    configs = write_configs(
        files={"catalog.yaml": CATALOG},
        first=LAYERED.format(key="first", start="0%", end="100%", control=control, weight=1e9),
        second=LAYERED.format(key="second", start="0%", end="100%", control=control, weight=1),
        third=LAYERED.format(key="third", start="0%", end="100%", control=control, weight=1e9).replace("page", "cart"),
    )
    api = Api(create_app(configs, store, lambda: NOW).test_client(), create_key(store, "publishable", 1), "")
    token = Signer(store.secret("signing", "")).sign_preview("second", "none", NOW)
    page = api.post("/v1/page", {"visitor_id": "v", "preview": token}).get_json()["assignments"]
    assert {key: one["exposure_token"] for key, one in page.items()} == {"second": None, "first": None, "third": None}
    assert [(key, one["offer"] is not None) for key, one in page.items()] == [
        ("second", False),
        ("first", False),
        ("third", True),
    ]
