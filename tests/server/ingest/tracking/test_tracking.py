"""Segment's and GA4's events: the funnel, orders and refunds, from their real shapes and a real client."""

import base64
import gzip
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from segment.analytics.client import Client
from werkzeug.test import TestResponse

from events import Store, open_store
from server.ingest.tracking.ga4 import KINDS as GA4_KINDS
from server.ingest.tracking.segment import KINDS as SEGMENT_KINDS
from tests.conftest import Server, WriteConfigs
from tests.server.conftest import NOW, Api
from tests.server.ingest.webhooks.conftest import needs_payloads, payload, raw

AT = "2026-05-01T11:59:00.000Z"  # a minute before NOW


def basic(key: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{key}:".encode()).decode()}


def track(api: Api, event: str, key: str | None = None, **properties: Any) -> TestResponse:
    message = {"event": event, "messageId": f"m-{event}", "anonymousId": "anna", "timestamp": AT}
    body = message | {"properties": properties}
    return api.client.post("/v1/track", json=body, headers=basic(key or api.secret))


def counted(answer: TestResponse) -> tuple[int, int, int, int]:
    assert answer.status_code == 200, answer.text
    told = answer.get_json()
    return told["accepted"], told["duplicates"], told["ignored"], len(told["rejected"])


def rows(store: Store, query: str) -> list[tuple[Any, ...]]:
    with store.snapshot() as fetch:
        return list(fetch(query))


ORDER = "order_id, unit_id, gross_minor, discount_minor, shipping_minor, tax_minor, refunded_minor, verified, excluded"


@needs_payloads
def test_segments_own_examples(api: Api, store: Store) -> None:
    """19.00 + 2 x 3.00 less 2.50 is 22.50, shipping 3 and tax 2 beside; the refund names both products: 25.00."""
    order = payload("segment_order_completed") | {"anonymousId": "anna", "messageId": "m1"}
    refund = payload("segment_order_refunded") | {"messageId": "m2"}
    added = payload("segment_product_added") | {"anonymousId": "anna", "messageId": "m3"}
    body = {"batch": [refund, order, added, order]}
    answer = api.client.post("/v1/batch", data=json.dumps(body), headers=basic(api.secret))
    assert counted(answer) == (2, 1, 1, 0)  # the product that was added was nobody's promotion
    known = ("50314b8e9bcf000000000000", "anna", 2500, 250, 300, 200, 2500, 1, None)
    assert rows(store, f"SELECT {ORDER} FROM orders") == [known]
    lines = rows(
        store, "SELECT product_id, sku, quantity, gross_minor, discount_minor FROM order_lines ORDER BY line_id"
    )
    # 2.50 spread over 19.00 and 6.00.
    known_lines = [
        ("507f1f77bcf86cd799439011", "45790-32", 1, 1900, 190),
        ("505bd76785ebb509fc183733", "46493-32", 2, 600, 60),
    ]
    assert lines == known_lines


@needs_payloads
def test_a_file_as_it_is_can_be_tracked(api: Api, store: Store) -> None:
    """Numbers of JSON are read as they are written; a message without an id is told when it comes again."""
    for expected in ((1, 0, 0, 0), (0, 1, 0, 0)):
        answer = api.client.post("/v1/track", data=raw("segment_order_completed"), headers=basic(api.secret))
        assert counted(answer) == expected


def test_the_funnel_is_mapped(api: Api, store: Store) -> None:
    """A promotion is an experiment, its creative the variant, its position the placement."""
    promotion = {"promotion_id": "ab", "creative": "offer", "position": "below_product"}
    assert counted(track(api, "Promotion Viewed", api.publishable, **promotion)) == (1, 0, 0, 0)
    assert counted(track(api, "Promotion Clicked", **promotion)) == (1, 0, 0, 0)
    assert counted(track(api, "Product Added", product_id="p1", price=9.9, quantity=2, **promotion)) == (1, 0, 0, 0)
    assert counted(track(api, "Product Added", product_id="p1", price=9.9, quantity=2, **promotion)) == (0, 1, 0, 0)
    assert counted(track(api, "Checkout Started", order_id="1")) == (0, 0, 1, 0)
    assert counted(track(api, "Promotion Viewed", promotion_id="summer-banner", creative="red")) == (0, 0, 1, 0)
    assert counted(track(api, "Promotion Viewed", promotion_id="ab", creative="red")) == (0, 0, 0, 1)
    columns = "kind, experiment, variant, unit_id, placement, product_id, quantity, value_minor, occurred_at_ms"
    at = NOW - 60_000
    assert rows(store, f"SELECT {columns} FROM interactions ORDER BY kind DESC") == [
        ("impression", "ab", "offer", "anna", "below_product", "", 1, 0, at),
        ("click", "ab", "offer", "anna", "below_product", "", 1, 0, at),
        ("add_to_cart", "ab", "offer", "anna", "below_product", "p1", 2, 1980, at),
    ]


def test_a_unit_that_is_a_customer_is_the_user(api: Api, store: Store) -> None:
    """For an experiment that randomises customers."""
    message = {"event": "Promotion Viewed", "anonymousId": "anna", "userId": 77, "messageId": "m"}
    promotion = {"promotion_id": "members", "creative": "offer"}
    answer = api.client.post("/v1/track", json=message | {"properties": promotion}, headers=basic(api.publishable))
    assert counted(answer) == (1, 0, 0, 0)
    assert rows(store, "SELECT unit_id FROM interactions") == [("77",)]


def test_a_browser_can_say_anything(api: Api, store: Store) -> None:
    """Its orders are unverified until the shop says so, never change what the shop said, and it refunds nothing."""
    forged = {"order_id": "1", "revenue": 1_000_000, "products": []}
    assert counted(track(api, "Order Completed", api.publishable, **forged)) == (1, 0, 0, 0)
    assert rows(store, f"SELECT {ORDER} FROM orders") == [("1", "anna", 100_000_000, 0, 0, 0, 0, 0, None)]
    shop = {"type": "order", "order_id": "1", "visitor_id": "anna", "ordered_at_ms": NOW - 3_600_000, "gross": "10.00"}
    assert api.events(shop, key=api.secret)["accepted"] == 1  # older, and yet it is what holds
    assert counted(track(api, "Order Completed", api.publishable, **forged)) == (0, 1, 0, 0)
    for event in ("Order Refunded", "Order Cancelled"):
        assert counted(track(api, event, api.publishable, order_id="1", total=10)) == (0, 0, 0, 1)
    assert rows(store, f"SELECT {ORDER} FROM orders") == [("1", "anna", 1000, 0, 0, 0, 0, 1, None)]
    assert store.counts()["quarantine"] == 0


def test_a_merchant_may_trust_browsers(api: Api, store: Store, configs: Path) -> None:
    """If shop.yaml says so."""
    (configs / "shop.yaml").write_text("orders: {trust_browser: true}\n")
    api.client.application.extensions["crosslift"].reload_if_changed()
    api.client.application.extensions["crosslift"].reload_if_changed()
    track(api, "Order Completed", api.publishable, order_id="1", revenue="10.00")
    assert rows(store, "SELECT verified FROM orders") == [(1,)]


def test_a_cancelled_order_keeps_its_amounts(api: Api, store: Store) -> None:
    """Segment's event says only which; whichever comes first."""
    for number, events in enumerate((("Order Completed", "Order Cancelled"), ("Order Cancelled", "Order Completed"))):
        for event in events:
            track(api, event, order_id=str(number), **({"revenue": "10.00"} if event == "Order Completed" else {}))
    assert rows(store, "SELECT gross_minor, excluded FROM orders ORDER BY order_id") == [
        (1000, "cancelled"),
        (0, "cancelled"),
    ]


@pytest.mark.parametrize(
    ("properties", "sums"),
    [
        ({"revenue": "20.00", "discount": 5, "tax": 1, "shipping": 2}, (2500, 500, 200, 100)),
        ({"subtotal": 20, "discount": 5}, (2500, 500, 0, 0)),
        ({"total": 23.99, "tax": 1.5, "shipping": 2.49}, (2000, 0, 249, 150)),
        ({"products": [{"price": 6.65, "quantity": 3}, {"price": "0.05"}], "discount": 2}, (2000, 200, 0, 0)),
    ],
)
def test_revenue_is_without_shipping_and_tax(
    api: Api, store: Store, properties: dict[str, Any], sums: tuple[int, ...]
) -> None:
    """From whichever of its names an order has it under."""
    assert counted(track(api, "Order Completed", order_id="1", **properties)) == (1, 0, 0, 0)
    assert rows(store, "SELECT gross_minor, discount_minor, shipping_minor, tax_minor FROM orders") == [sums]


def ga4(api: Api, *events: dict[str, Any], key: str = "") -> TestResponse:
    body = {"client_id": "anna", "timestamp_micros": (NOW - 60_000) * 1000, "events": list(events)}
    return api.client.post("/mp/collect", json=body, headers={"Authorization": f"Bearer {key or api.secret}"})


def test_ga4s_events_are_mapped(api: Api, store: Store) -> None:
    """A purchase's value is what its items cost after their discounts: 9.00 + 2 x 3.00, 1.00 off the first."""
    promotion = {"promotion_id": "ab", "promotion_name": "x", "creative_name": "offer", "creative_slot": "sidebar"}
    items = [
        {"item_id": "p1", "price": 9.0, "discount": 1.0, "quantity": 1, "promotion_id": "ab", "creative_name": "offer"},
        {"item_id": "p2", "price": 3.0, "quantity": 2},
    ]
    purchase = {"transaction_id": "T1", "value": 15.0, "currency": "USD", "tax": 1.2, "shipping": 4, "items": items}
    events = [
        {"name": "view_promotion", "params": promotion},
        {"name": "select_promotion", "params": {"items": [promotion]}},
        {"name": "add_to_cart", "params": {"value": 9, "items": items[:1]}},
        {"name": "begin_checkout", "params": {"items": items}},
        {"name": "page_view", "params": {}},
        {"name": "purchase", "params": purchase},
        {
            "name": "refund",
            "params": {"transaction_id": "T1", "value": 3.0, "items": items[1:] and [items[1] | {"quantity": 1}]},
        },
    ]
    assert counted(ga4(api, *events)) == (5, 0, 2, 0)
    assert counted(ga4(api, *reversed(events))) == (0, 5, 2, 0)
    known = ("T1", "anna", 1600, 100, 400, 120, 300, 1, None)
    assert rows(store, f"SELECT {ORDER} FROM orders") == [known]
    lines = "SELECT product_id, gross_minor, discount_minor, offer_experiment, offer_variant FROM order_lines"
    assert sorted(rows(store, lines)) == [("p1", 1000, 100, "ab", "offer"), ("p2", 600, 0, None, None)]
    kinds = rows(store, "SELECT kind, variant, placement FROM interactions ORDER BY kind")
    assert kinds == [("add_to_cart", "offer", ""), ("click", "offer", "sidebar"), ("impression", "offer", "sidebar")]


def test_what_a_shop_sends_and_is_wrong_is_held(
    api: Api, store: Store, configs: Path, run: Callable[..., Result], store_url: str
) -> None:
    """And taken once it can be, of either vocabulary."""
    euros: dict[str, Any] = {"order_id": "1", "revenue": 10.5, "currency": "EUR"}
    assert counted(track(api, "Order Completed", api.secret, **euros)) == (0, 0, 0, 1)
    assert (
        counted(ga4(api, {"name": "purchase", "params": {"transaction_id": "T2", "value": 1.25, "currency": "EUR"}}))[3]
        == 1
    )
    (configs / "shop.yaml").write_text("orders: {rates: {EUR: 2}}\n")
    options = ("--configs", configs, "--store", store_url)
    assert run("quarantine", "replay", *options).output == "2 accepted, 0 still refused.\n"
    assert rows(store, "SELECT order_id, gross_minor, source FROM orders ORDER BY 1") == [
        ("1", 2100, "segment"),
        ("T2", 250, "ga4"),
    ]


def test_keys_come_as_the_clients_send_them(api: Api) -> None:
    """As the user of Basic, in the body, in a header, in the address unless it is secret."""
    page = {"type": "page", "anonymousId": "anna"}

    def status(path: str = "/v1/track", headers: dict[str, str] | None = None, **body: Any) -> int:
        return api.client.post(path, json=page | body, headers=headers or {}).status_code

    assert status(headers=basic(api.publishable)) == 200
    assert status(writeKey=api.publishable) == 200
    assert status(headers={"X-API-Key": api.secret}) == 200
    assert status(f"/v1/track?key={api.publishable}") == 200
    assert status(f"/mp/collect?measurement_id=G-1&api_secret={api.publishable}", events=[]) == 200
    assert status(f"/mp/collect?api_secret={api.secret}", events=[]) == 401
    assert [status(), status(writeKey=7), status(writeKey="x"), status(headers=basic("x"))] == [401] * 4
    assert status(headers={"Authorization": "Basic %%%"}) == 401
    assert status(headers={"Authorization": "Basic /w=="}) == 401
    assert status(headers=basic("wrong"), writeKey=api.publishable) == 401


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"[]", 400),
        (b'{"batch": 7}', 400),
        (b'{"batch": [' + b",".join([b"{}"] * 1001) + b"]}", 400),
        (b"[" * 100_000, 400),
        (b" " * (2 << 20), 413),
        (b'{"batch": [1, null, [], {"event": {}}, {"event": "Order Completed", "properties": []}]}', 200),
        (b'{"batch": [{"event": "Order Completed", "properties": {"order_id": {}, "revenue": 1e99}}]}', 200),
        (
            b'{"batch": [{"event": "Order Completed", "timestamp": [1], "properties": {"order_id": 1, "revenue": 1}}]}',
            200,
        ),
        (b'{"batch": [{"event": "Order Refunded", "properties": {"order_id": 1, "total": -5}}]}', 200),
        (
            b'{"batch": [{"event": "Promotion Viewed", "properties": {"promotion_id": "ab", "creative": ["offer"]}}]}',
            200,
        ),
        (
            b'{"batch": [{"event": "Product Added", "properties": {"promotion_id": "ab", "creative": "offer", "quantity": -1}}]}',
            200,
        ),
    ],
)
def test_no_body_is_a_fault_of_ours(api: Api, store: Store, body: bytes, status: int) -> None:
    """Whatever it holds; nothing of it is stored."""
    for key in (api.publishable, api.secret):
        assert api.client.post("/v1/batch", data=body, headers=basic(key)).status_code == status
    assert store.counts() | {"orders": 0, "interactions": 0, "refunds": 0} == store.counts()


ANYTHING: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=9)
    | st.just("\ud800"),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=3,
)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.sampled_from([*SEGMENT_KINDS, *GA4_KINDS]), st.data())
def test_nothing_in_an_event_is_a_fault_of_ours(api: Api, event: str, data: st.DataObject) -> None:
    """Anything may stand anywhere."""
    names = ("promotion_id", "creative", "position", "price", "quantity", "currency", "order_id", "revenue", "total")
    told: dict[str, Any] = {"promotion_id": "ab", "creative": "offer", "order_id": "1", "revenue": 5, "currency": "USD"}
    told |= {"creative_name": "offer", "transaction_id": "1", "value": 5}
    told |= {"products": [{name: data.draw(ANYTHING) for name in ("product_id", "price", "quantity", "discount")}]}
    told |= {"items": told["products"]}
    told |= {data.draw(st.sampled_from((*names, "products", "items"))): data.draw(ANYTHING)}
    message = {"event": event, "name": event, "properties": told, "params": told, "timestamp": data.draw(ANYTHING)}
    message |= {
        "anonymousId": data.draw(ANYTHING),
        "messageId": data.draw(ANYTHING),
        "timestamp_micros": data.draw(ANYTHING),
    }
    for path, body in (("/v1/track", message), ("/mp/collect", {"client_id": "anna", "events": [message]})):
        for key in (api.publishable, api.secret):
            assert api.client.post(path, data=json.dumps(body), headers={"X-API-Key": key}).status_code == 200


def test_bodies_may_be_compressed(api: Api) -> None:
    """But do not unfold without end."""
    headers = basic(api.secret) | {"Content-Encoding": "gzip"}
    order = {"event": "Order Completed", "messageId": "m", "properties": {"order_id": "1", "revenue": "1.00"}}
    sent = gzip.compress(json.dumps({"batch": [order]}).encode())
    assert counted(api.client.post("/v1/batch", data=sent, headers=headers)) == (1, 0, 0, 0)
    bomb = zlib.compressobj(9, wbits=31)
    content = bomb.compress(b" " * (100 << 20)) + bomb.flush()
    assert api.client.post("/v1/batch", data=content, headers=headers).status_code == 413
    assert api.client.post("/v1/batch", data=b"not gzip", headers=headers).status_code == 400


@pytest.mark.parametrize("zipped", [False, True])
def test_the_real_client_delivers(
    serve: Callable[..., Server], write_configs: WriteConfigs, store_url: str, zipped: bool
) -> None:
    """segment-analytics-python, pointed at our server: a funnel, an order and its refund, once each."""
    server = serve(write_configs())
    failures: list[Any] = []
    client = Client(
        server.keys["secret"],
        host=f"http://127.0.0.1:{server.port}",
        gzip=zipped,
        max_retries=0,
        on_error=lambda error, _: failures.append(error),
    )
    promotion = {"promotion_id": "ab", "creative": "offer", "name": "x", "position": "below_product"}
    products = [{"product_id": "p1", "price": 19.99, "quantity": 2, "promotion_id": "ab", "creative": "offer"}]
    order = {"order_id": "S1", "revenue": 35.98, "discount": 4.0, "currency": "USD", "products": products}
    client.identify("77", {"plan": "x"}, anonymous_id="anna")
    client.track("77", "Promotion Viewed", promotion, anonymous_id="anna")
    client.track("77", "Promotion Clicked", promotion, anonymous_id="anna")
    client.track("77", "Order Completed", order, anonymous_id="anna")
    client.track("77", "Order Refunded", {"order_id": "S1", "total": 5.25}, anonymous_id="anna")
    client.flush()
    client.join()
    assert failures == []
    store = open_store(store_url)
    known = ("S1", "anna", 3998, 400, 0, 0, 525, 1, None)
    assert rows(store, f"SELECT {ORDER} FROM orders") == [known]
    assert [row[0] for row in rows(store, "SELECT kind FROM interactions ORDER BY 1")] == ["click", "impression"]
    assert rows(store, "SELECT customer_id, source FROM orders") == [("77", "segment")]
    store.close()
