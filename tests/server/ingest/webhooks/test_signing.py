"""Whose webhooks are taken: signatures, secrets, and what is done with what cannot be understood."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import crosslift
from events import Store
from server.ingest.webhooks.routes import MAX_WEBHOOK_BYTES
from server.ingest.webhooks.shopify import SHOPIFY
from server.ingest.webhooks.signing import REFRESH_S, Secrets, add_secret
from tests.conftest import Server, WriteConfigs
from tests.server.ingest.webhooks.conftest import SECRETS, MakeShop, WebShop, line, order

NOTHING = {"orders": 0, "order_lines": 0, "refunds": 0, "quarantine": 0}


@pytest.fixture
def shop(make_shop: MakeShop) -> WebShop:
    return make_shop()


def test_the_signature_is_shopifys() -> None:
    """The vendor's own example."""
    assert SHOPIFY.sign("secret", b'{"id":1}') == "A971iWIMgT8Zj9A9eWfikrFj7wQ16/Qwcc4OlRl2PLc="


def test_what_is_not_signed_by_the_shop_is_refused(shop: WebShop) -> None:
    """A wrong signature, none, a changed byte, another shop: 401 in the same words, and nothing is stored."""
    content = json.dumps(order()).encode()
    right = SHOPIFY.sign("hush", content)
    add_secret(shop.store, SHOPIFY, "other", "theirs")
    refused = [
        shop.shopify(content, secret="wrong"),
        shop.shopify(content, signed=""),
        shop.shopify(content, signed="ÿ"),
        shop.shopify(content, signed=right.lower()),
        shop.shopify(content[:-1] + b" ", signed=right),
        shop.shopify(content + b"\n", signed=right),
        shop.shopify(content, shop="unknown"),
        shop.shopify(content, shop="other", signed=right),
        shop.shopify(content, shop="unknown", secret=" "),
        shop.shopify(content, secret=SECRETS["woocommerce"]),
        shop.woocommerce(content, secret="hush"),
        shop.woocommerce(content, signed=""),
    ]
    assert {answer.status_code for answer in refused} == {401}
    assert len({answer.data for answer in refused}) == 1
    assert b"hush" not in refused[0].data
    assert shop.store.counts() | NOTHING == shop.store.counts()


def test_a_webhook_of_another_shop_with_the_same_app_is_refused(shop: WebShop) -> None:
    """The header is not signed, but a webhook that was pointed at the wrong address says so."""
    assert shop.shopify(order(), X_Shopify_Shop_Domain="elsewhere.myshopify.com").status_code == 401
    assert shop.store.counts() | NOTHING == shop.store.counts()
    assert shop.shopify(order(), X_Shopify_Shop_Domain="Demo.myshopify.com").status_code == 200


def test_a_shop_may_be_named_by_its_domain(shop: WebShop) -> None:
    """In the address, or when its secret is added."""
    add_secret(shop.store, SHOPIFY, "Second.myshopify.com", "hush")
    domain = {"X_Shopify_Shop_Domain": "demo.myshopify.com"}
    assert shop.shopify(order(), shop="demo.myshopify.com", **domain).status_code == 200
    assert shop.shopify(order(), shop="second", X_Shopify_Shop_Domain="second.myshopify.com").status_code == 200
    assert shop.rows("SELECT shop FROM orders ORDER BY 1") == [("demo.myshopify.com",), ("second",)]


def test_secrets_rotate(shop: WebShop, run: Callable[..., Result], store_url: str) -> None:
    """A second one works beside the first, until the first is removed; none is ever shown."""
    added = CliRunner().invoke(
        crosslift.cli, ["webhooks", "add", "shopify", "demo", "--store", store_url], input="new\n"
    )
    assert (added.exit_code, "/v1/webhooks/shopify/demo" in added.output) == (0, True)
    assert [shop.shopify(order(), secret=secret).status_code for secret in ("hush", "new", "gone")] == [200, 200, 401]
    listed = run("webhooks", "list", "--store", store_url, "--format", "json")
    known = json.loads(listed.output)["webhooks"]
    assert [(one["platform"], one["shop"]) for one in known] == [("shopify", "demo")] * 2 + [("woocommerce", "demo")]
    text = run("webhooks", "list", "--store", store_url).output + added.output + listed.output
    assert not {"hush", "new"} & set(text.replace('"', " ").split())
    for one in known[:2]:
        run("webhooks", "remove", "shopify", "demo", one["hint"], "--store", store_url)
    assert run("webhooks", "remove", "shopify", "demo", "123456", "--store", store_url).exit_code == 2
    now = [0.0]
    secrets = Secrets(shop.store, lambda: now[0])
    for secret in ("hush", "new"):
        assert not secrets.is_signed(SHOPIFY, "demo", b"{}", SHOPIFY.sign(secret, b"{}"))
    empty = CliRunner().invoke(crosslift.cli, ["webhooks", "add", "shopify", "demo", "--store", store_url], input="\n")
    assert empty.exception is not None


def test_secrets_take_effect_within_two_seconds(store: Store) -> None:
    """A new one when it is first used, one that was removed after that time."""
    now = [0.0]
    secrets = Secrets(store, lambda: now[0])
    sent = SHOPIFY.sign("hush", b"{}")
    assert not secrets.is_signed(SHOPIFY, "demo", b"{}", sent)
    hint = add_secret(store, SHOPIFY, "demo", "hush")
    now[0] += 0.1
    assert secrets.is_signed(SHOPIFY, "demo", b"{}", sent)
    store.remove_secret(f"webhook:shopify:demo:{hint}")
    now[0] += REFRESH_S
    assert not secrets.is_signed(SHOPIFY, "demo", b"{}", sent)


def test_without_the_store_the_shop_is_to_try_again(shop: WebShop) -> None:
    """503, not 401: WooCommerce and Shopify would give a webhook up that is refused."""

    def rename(before: str, after: str) -> None:
        with shop.store._transaction() as execute:  # type: ignore[attr-defined]
            execute(f"ALTER TABLE {before} RENAME TO {after}")

    rename("secrets", "away")
    assert shop.shopify(order()).status_code == 503
    rename("away", "secrets")
    rename("orders", "gone")
    assert shop.shopify(order()).status_code == 503
    rename("gone", "orders")
    rename("secrets", "away")
    assert [shop.shopify(order()).status_code for _ in range(2)] == [200, 200]  # what is known serves on


def test_the_webhook_need_not_say_its_topic(shop: WebShop) -> None:
    """What it is shows in it."""
    assert shop.shopify(order(), topic=None).get_json()["accepted"] == 1


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff\xfe\x00", "not JSON"),
        (b'{"id": NaN}', "NaN is not a JSON number"),
        (b"[" * 100_000, "not JSON"),
        (b"1" * 10_000, "not JSON"),
        (b"[]", "a list of 0"),
        (b"null", "got nothing"),
        (b"{}", "line_items or a refund with an order_id"),
        (b'{"id": 1}', "line_items or a refund with an order_id"),
        ({"order": 7}, "line_items or a refund with an order_id"),
        (order(id=None), "order_id: found nothing"),
        (order(created_at=None), "ordered_at: must be a time"),
        (order(created_at="yesterday"), "ordered_at: must be a time such as 2026-05-01T12:00:00Z, got `yesterday`"),
        (order(created_at="2031-01-01T00:00:00Z"), "in the future"),
        (order(currency="EUR"), "currency: must be USD, the shop's, or one of orders.rates in shop.yaml, got EUR"),
        (order(currency="XXQ"), "currency: must be USD, the shop's, or one of orders.rates in shop.yaml, got XXQ"),
        (order(currency=["USD"]), "currency"),
        (order(line_items={}), "line_items: must be a list of objects, got an empty mapping"),
        (order(line_items=[1]), "line_items: must be a list of objects, got a list of 1"),
        (
            order(line_items=[line(11, "10.00", -1)]),
            "line_items.quantity: must be a whole number from 0 to 1000000, got `-1`",
        ),
        (
            order(line_items=[line(11, "10.00") | {"quantity": 1.5}]),
            "line_items.quantity: must be a whole number from 0 to 1000000, got `1.5`",
        ),
        (order(line_items=[line(11, "10.00") | {"quantity": 10**400}]), "line_items.quantity"),
        (order(line_items=[line(11, "1e5")]), "price: found `1e5`"),
        (order(line_items=[line(11, "0." + "9" * 4000)]), "price: found"),
        (order(line_items=[line(11, "9" * 30)]), "price: found"),
        (order(line_items=[line(11, "999999999999999")]), "price: found"),
        (order(line_items=[{**line(11, "1"), "price": [1]}]), "price: found a list of 1"),
        (order(line_items=[{**line(11, "1"), "price": None}]), "without a price"),
        (order(line_items=[line(11, "10.00"), line(11, "10.00")]), "a line_id twice"),
        (order(line_items=[line(one, "1.00") for one in range(1, 1100)]), "at most 1000"),
        (order(line_items=[{**line(11, "1"), "id": {"a": 1}}]), "line_id: found a mapping"),
        (order(total_tax="x"), "total_tax: found `x`"),
        (order(refunds=[{"id": 1}]), "refunded_at"),
        (
            {"order_id": 1, "id": 2, "created_at": "2026-04-30T12:00:00Z", "refund_line_items": [{"subtotal": "x"}]},
            "subtotal",
        ),
    ],
)
def test_what_is_signed_and_not_understood_is_kept(shop: WebShop, body: Any, reason: str) -> None:
    """200, since sending it again would not help; whole, once, with its reason, and nothing half-applied."""
    for _ in range(2):
        answer = shop.shopify(body, "orders/create")
        assert (answer.status_code, answer.get_json()["accepted"]) == (200, 0)
    (row,) = shop.store.quarantined()
    source, kept = row.source, row.reason
    assert (source, reason in kept) == ("shopify:demo:orders/create", True), kept
    assert shop.store.counts() | {**NOTHING, "quarantine": 1} == shop.store.counts()


def test_other_topics_are_kept_too(shop: WebShop) -> None:
    """A draft has lines like an order, and is none."""
    shop.shopify(order(), "draft_orders/create")
    shop.woocommerce({"line_items": []}, "product.updated")
    assert [row.reason for row in shop.store.quarantined()] == [
        "topic: must be orders/... or refunds/create, got `draft_orders/create`",
        "topic: must be order.created, order.updated or order.deleted, got `product.updated`",
    ]


def test_what_was_held_is_taken_once_it_can_be(
    make_shop: MakeShop, store: Store, run: Callable[..., Result], store_url: str, tmp_path: Path
) -> None:
    """An order in euros waits until a rate is declared: 10.00 at 1.0845 are 10.85."""
    shop = make_shop()
    shop.shopify(order(currency="EUR", line_items=[line(11, "10.00")]), "orders/create")
    options = ("--configs", tmp_path / "configs", "--store", store_url)
    assert run("quarantine", "replay", *options).exit_code == 1
    make_shop(more="orders: {rates: {EUR: 1.0845}}\n")
    assert run("quarantine", "replay", *options).output == "1 accepted, 0 still refused.\n"
    # 1084.5 is rounded half to even.
    assert shop.order("gross_minor, currency, shop") == (1084, "USD", "demo")
    assert store.quarantined() == []


def test_bodies_may_be_long_but_not_endless(shop: WebShop) -> None:
    """An order of 500 lines fills more than other bodies may; 10 MB are refused as such."""
    lines = [line(one, "1.00", padding="x" * 3000) for one in range(1, 501)]
    assert shop.shopify(order(line_items=lines)).get_json()["accepted"] == 1
    assert shop.order("gross_minor, units") == (50000, 500)
    assert shop.shopify(b" " * (MAX_WEBHOOK_BYTES + 1)).status_code == 413
    million = b'{"id": 1, "line_items": [' + b",".join([b"{}"] * 1_000_000) + b"]}"
    assert shop.shopify(million).status_code == 200
    assert len(shop.store.quarantined()) == 1


def test_over_a_socket(serve: Callable[..., Server], write_configs: WriteConfigs, store_url: str) -> None:
    """With several workers, a secret that was added while they run; hostile bodies get an answer each."""
    server = serve(write_configs(), "--workers", "2")
    added = CliRunner().invoke(
        crosslift.cli, ["webhooks", "add", "shopify", "demo", "--store", store_url], input="hush"
    )
    assert added.exit_code == 0
    path, topic = "/v1/webhooks/shopify/demo", {"X-Shopify-Topic": "orders/create"}

    def post(content: bytes) -> int:
        told = topic | {"x-shopify-hmac-sha256": SHOPIFY.sign("hush", content)}
        return server.request("POST", path, content, headers=told).status

    for number in range(20):
        assert post(json.dumps(order(id=number + 1)).encode()) == 200
    assert [post(b"\x00" * 100), post(b"[" * 200_000), post(b"")] == [200, 200, 200]
    assert post(b" " * (9 << 20)) == 413
    assert server.request("POST", path, b"{}", headers=topic).status == 401
    assert server.request("GET", path).status == 405
    assert server.request("POST", "/v1/webhooks/magento/demo", b"{}").status == 404
