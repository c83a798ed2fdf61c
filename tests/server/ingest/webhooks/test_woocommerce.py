"""WooCommerce's webhooks, over HTTP and into the tables; amounts were worked out by hand, as the comments say."""

import itertools
from typing import Any

import pytest

from events import open_store
from tests.server.ingest.webhooks.conftest import MakeShop, WebShop, needs_payloads, raw

SUMS = "gross_minor, discount_minor, shipping_minor, tax_minor, refunded_minor, units, excluded"


@pytest.fixture
def shop(make_shop: MakeShop) -> WebShop:
    return make_shop()


def woo_order(**changes: Any) -> dict[str, Any]:
    """Return an order of 2 x 10.00 less 2.00 in all, shipping 5.00, tax 1.80 and 0.50."""
    told = {
        "id": 501,
        "status": "processing",
        "currency": "USD",
        "created_via": "checkout",
        "date_created_gmt": "2026-04-30T10:00:00",
        "date_modified_gmt": "2026-04-30T10:00:05",
        "prices_include_tax": False,
        "discount_total": "2.00",
        "shipping_total": "5.00",
        "cart_tax": "1.80",
        "total_tax": "2.30",
        "total": "25.30",
        "customer_id": 0,
        "meta_data": [{"id": 1, "key": "_crosslift_visitor", "value": "anna"}],
        "line_items": [woo_line(1, "20.00", "18.00", 2)],
        "fee_lines": [],
        "refunds": [],
    }
    return told | changes


def woo_line(line_id: int, subtotal: str, total: str, quantity: int = 1, **changes: Any) -> dict[str, Any]:
    told = {"id": line_id, "product_id": 93, "sku": "", "quantity": quantity, "subtotal": subtotal, "total": total}
    return told | {"price": 9.99, "meta_data": []} | changes


@needs_payloads
@pytest.mark.parametrize(
    ("name", "sums", "known"),
    [
        # 6.00 + 12.00; shipping 10.00 and tax 1.35 beside: 29.35. 19:28:02 and 19:28:08 UTC.
        ("woocommerce_order_docs_1", (1800, 0, 1000, 135, 0, 3, None), ("727", None, 1490210882000, 1490210888000)),
        # 0.00 + 544.50 + 1006.50; two fees of 5.00 are no products; shipping 58.73, tax 108.58: 1728.31.
        ("woocommerce_webhook_fees_tax", (155100, 0, 5873, 10858, 0, 95, None), ("1131", "14", None, None)),
    ],
)
def test_a_real_payload_gives_the_right_order(
    shop: WebShop, name: str, sums: tuple[Any, ...], known: tuple[Any, ...]
) -> None:
    """Posted as it was sent, twice; only its signature is computed afresh."""
    assert shop.woocommerce(raw(name), "order.created").get_json() == {"accepted": 1, "duplicates": 0, "rejected": []}
    assert shop.order(SUMS) == sums
    told = shop.order("order_id, customer_id, ordered_at_ms, updated_at_ms")
    assert told[:2] == known[:2]
    assert known[2] is None or told == known
    assert shop.order("gross_minor") == (sum(row[0] for row in shop.lines("gross_minor")),)
    tables = shop.tables()
    assert shop.woocommerce(raw(name)).get_json() == {"accepted": 0, "duplicates": 1, "rejected": []}
    assert shop.tables() == tables


def test_an_order_counts_for_its_visitor_and_its_offer(shop: WebShop) -> None:
    """From the order's and the line's meta data; a guest is no customer; a discount is what totals are below subtotals."""
    meta = [{"key": "size", "value": {"a": 1}}, {"key": "_crosslift_offer", "value": "ab:offer"}]
    shop.woocommerce(woo_order(line_items=[woo_line(1, "20.00", "18.00", 2, meta_data=meta, product_id=0, sku="p1")]))
    assert shop.order("unit_id, customer_id, cost_minor, source, shop") == ("anna", None, 800, "woocommerce", "demo")
    columns = "line_id, product_id, sku, quantity, gross_minor, discount_minor, offer_experiment, offer_variant"
    assert shop.lines(columns) == [("1", "", "p1", 2, 2000, 200, "ab", "offer")]
    assert shop.order(SUMS) == (2000, 200, 500, 230, 0, 2, None)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"status": "completed"}, None),
        ({"status": "wc-completed"}, None),
        ({"status": "pending"}, "pending"),
        ({"status": "on-hold"}, "on-hold"),
        ({"status": "cancelled"}, "cancelled"),
        ({"status": "failed"}, "failed"),
        ({"status": "refunded"}, "refunded"),
        ({"status": "trash"}, "trash"),
        ({"status": "shipped"}, None),  # a status of the shop's own, which shop.yaml counts
        ({"status": None}, "no status"),
        ({"created_via": "subscription"}, "renewal"),
        ({"meta_data": [{"key": "_subscription_renewal", "value": "7"}]}, "renewal"),
        ({"created_via": "admin"}, "staff"),
    ],
)
def test_what_does_not_count_keeps_its_row_and_its_reason(
    make_shop: MakeShop, change: dict[str, Any], reason: str | None
) -> None:
    """Processing and completed count, and what the shop declares."""
    shop = make_shop(more="orders: {count: [shipped]}\n")
    shop.woocommerce(woo_order(**change))
    assert shop.order("excluded, gross_minor") == (reason, 2000)


def test_refunds_are_below_zero_and_with_tax(shop: WebShop) -> None:
    """Two of 12.65 in all of an order of 25.30, of which 18.00 is for products: half of that."""
    refunds = [{"id": 7, "reason": "", "total": "-10.65"}, {"id": 8, "total": "-2.00"}]
    shop.woocommerce(woo_order(refunds=refunds))
    assert shop.order("refunded_minor") == (900,)
    shop.woocommerce(woo_order(refunds=[{"id": 7, "total": "-25.30"}], date_modified_gmt="2026-04-30T11:00:00"))
    assert shop.order("refunded_minor") == (1800,)


def test_a_fee_below_zero_is_a_discount(shop: WebShop) -> None:
    """As plugins write them; a fee above is no product."""
    shop.woocommerce(woo_order(fee_lines=[{"id": 1, "total": "-3.00"}, {"id": 2, "total": "4.00"}], total="26.30"))
    assert shop.order("gross_minor, discount_minor") == (2000, 500)


def test_whatever_comes_first_the_newest_state_wins(make_shop: MakeShop, tmp_path: Any) -> None:
    """order.updated fires over and over."""
    states = [
        woo_order(status="pending"),
        woo_order(date_modified_gmt="2026-04-30T10:00:09"),
        woo_order(
            status="completed", date_modified_gmt="2026-05-01T09:00:00", line_items=[woo_line(1, "20.00", "17.00", 2)]
        ),
    ]
    found = []
    for number, permutation in enumerate(itertools.permutations(states)):
        store = open_store(f"sqlite:///{tmp_path / f'{number}.db'}")
        shop = make_shop(into=store)
        for body in (*permutation, *permutation):
            assert shop.woocommerce(body).status_code == 200
        found.append(shop.tables())
        assert shop.order("discount_minor, excluded") == (300, None)
        store.close()
    assert found[1:] == found[:-1]


def test_the_ping_gets_an_answer(shop: WebShop) -> None:
    """It comes unsigned, as a form, when the webhook is made; nothing else does without a signature."""
    path = "/v1/webhooks/woocommerce/demo"
    assert shop.client.post(path, data={"webhook_id": "5"}).status_code == 200
    assert shop.client.post(path, data={"webhook_id": "5", "more": "1"}).status_code == 401
    assert shop.client.post(path, data={"webhook_id": "five"}).status_code == 401


def test_a_deleted_order_is_left_out(shop: WebShop) -> None:
    """Its payload is only an id; a state that comes late does not bring it back."""
    shop.woocommerce(woo_order())
    assert shop.woocommerce({"id": 501}, "order.deleted").get_json()["accepted"] == 1
    shop.woocommerce(woo_order())
    assert shop.order("gross_minor, excluded") == (2000, "deleted")
    assert len(shop.lines("line_id")) == 1


def test_a_time_without_its_zone_is_the_shops(shop: WebShop) -> None:
    """Very old payloads have no time in UTC: 12:00 in Berlin in April is 10:00."""
    body = woo_order(date_created="2026-04-30T12:00:00", date_modified="2026-04-30T12:00:05")
    shop.woocommerce({name: value for name, value in body.items() if not name.endswith("_gmt")})
    shop.woocommerce(woo_order(id=502))
    assert len(set(shop.rows("SELECT ordered_at_ms, updated_at_ms FROM orders"))) == 1


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"id": 5}, "without line_items"),
        (woo_order(line_items=[woo_line(1, "a", "b")]), "total: found `b`"),
        (
            woo_order(line_items=[woo_line(1, "1", "1", -2)]),
            "line_items.quantity: must be a whole number from 0 to 1000000, got `-2`",
        ),
        (woo_order(total=1e300), "total: found"),
        (woo_order(currency="EUR"), "currency: must be USD, the shop's, or one of orders.rates in shop.yaml, got EUR"),
        (woo_order(date_created_gmt=7), "ordered_at"),
    ],
)
def test_what_is_signed_and_not_understood_is_kept(shop: WebShop, body: Any, reason: str) -> None:
    """WooCommerce gives a webhook up after five refusals: it gets none."""
    answer = shop.woocommerce(body)
    assert (answer.status_code, answer.get_json()["accepted"]) == (200, 0)
    (row,) = shop.store.quarantined()
    source, kept = row.source, row.reason
    assert (source, reason in kept) == ("woocommerce:demo:order.updated", True), kept
