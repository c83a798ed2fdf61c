"""Shopify's webhooks, over HTTP and into the tables; amounts were worked out by hand, as the comments say."""

import itertools
import random
from typing import Any

import pytest

from events import open_store
from tests.server.ingest.webhooks.conftest import (
    MakeShop,
    WebShop,
    line,
    needs_payloads,
    order,
    payload,
    raw,
    refund,
    refunded,
)

SUMS = "gross_minor, discount_minor, shipping_minor, tax_minor, refunded_minor, units, excluded"


@pytest.fixture
def shop(make_shop: MakeShop) -> WebShop:
    return make_shop()


@needs_payloads
@pytest.mark.parametrize(
    ("name", "currency", "sums"),
    [
        # 2 x 199.00; shipping 8.00; tax 51.74 beside the prices; one of the two came back for 199.00 and 25.87 of tax.
        ("shopify_order_partial_refund", "USD", (39800, 0, 800, 5174, 19900, 2, "test")),
        # 2 mugs at 15.00; the tip of 4.50 is a line too, and no product.
        ("shopify_order_with_tip", "CAD", (3000, 0, 1490, 0, 0, 2, "test")),
        # 99.00 + 100.00 + 100.00; total_discount says 0.00, the allocation 5.00; typed in by staff.
        ("shopify_orders_create_hkd_dis2", "HKD", (29900, 500, 1000, 0, 0, 3, "draft")),
        # 2 x 199.00, 5.00 off the second; test and cancelled, and test says more.
        ("shopify_orders_create_test_notification", "USD", (39800, 500, 1000, 0, 0, 2, "test")),
        # 600.00 and nothing else.
        ("shopify_order_rudder_1", "USD", (60000, 0, 0, 0, 0, 1, None)),
        ("shopify_order_rudder_2", "USD", (60000, 0, 0, 0, 0, 1, None)),
        # Three lines of 199.00 (its total_line_items_price says 398.00: what is sold are lines); tax 11.94; free shipping.
        ("shopify_order_docs_sample", "USD", (59700, 0, 0, 1194, 0, 3, None)),
    ],
)
def test_a_real_payload_gives_the_right_order(
    make_shop: MakeShop, name: str, currency: str, sums: tuple[Any, ...]
) -> None:
    """Posted as it was sent, twice; only its signature is computed afresh."""
    shop = make_shop(currency)
    first = shop.shopify(raw(name), "orders/create", X_Shopify_Shop_Domain="demo.myshopify.com")
    assert (first.status_code, first.get_json()["rejected"]) == (200, [])
    assert first.get_json()["accepted"] > 0
    assert shop.order(SUMS) == sums
    tables = shop.tables()
    again = shop.shopify(raw(name), "orders/updated")
    assert (again.status_code, again.get_json()["accepted"]) == (200, 0)
    assert shop.tables() == tables


@needs_payloads
def test_a_real_partial_refund_keeps_both_sums(shop: WebShop) -> None:
    """199.00 of products came back; the payment gave 224.87, which is that and 25.87 of tax: no discrepancy."""
    shop.shopify(raw("shopify_order_partial_refund"))
    query = "SELECT order_id, refund_id, refunded_minor, paid_minor, discrepancy_minor FROM refunds"
    kept = [("762815840312", "19400196152", 19900, 22487, 0)]
    assert shop.rows(query) == kept
    assert shop.lines("line_id, quantity, gross_minor, refunded_minor") == [("2435146022968", 2, 39800, 19900)]
    alone = payload("shopify_order_partial_refund")["refunds"][0]
    assert shop.shopify(alone, "refunds/create").get_json() == {"accepted": 0, "duplicates": 1, "rejected": []}
    assert shop.rows(query) == kept


@needs_payloads
def test_a_real_order_says_whose_it_is(shop: WebShop) -> None:
    """The customer's number, when it was placed, and that a shop said so."""
    shop.shopify(raw("shopify_order_rudder_1"))
    columns = "shop, order_id, unit_id, customer_id, ordered_at_ms, updated_at_ms, currency, source, verified"
    # 21:54:49 five hours behind UTC is 02:54:49 of the next day.
    known = ("demo", "5778367414385", None, "7358220173425", 1730861689000, 1730861690000, "USD", "shopify", 1)
    assert shop.order(columns) == known


@needs_payloads
@pytest.mark.parametrize("name", ["shopify_checkout_upsell_initialOrder", "shopify_checkout_upsell_firstUpsell"])
def test_what_the_upsell_page_sees_is_no_webhook(shop: WebShop, name: str) -> None:
    """It says no time, so no state of it is the newer; the upsell itself comes as orders/updated."""
    answer = shop.shopify(raw(name), "orders/edited")
    assert (answer.status_code, answer.get_json()["accepted"]) == (200, 0)
    assert shop.store.counts() | {"orders": 0, "quarantine": 1} == shop.store.counts()


@needs_payloads
def test_all_real_payloads_shuffled_and_repeated_give_the_same_tables(make_shop: MakeShop, tmp_path: Any) -> None:
    """Whatever comes first, and however often."""
    names = ["partial_refund", "rudder_1", "rudder_2", "docs_sample"]
    bodies = [raw(f"shopify_order_{name}") for name in names] + [raw("shopify_orders_create_test_notification")]
    found = []
    for seed in range(4):
        store = open_store(f"sqlite:///{tmp_path / f'{seed}.db'}")
        shop = make_shop(into=store)
        sent = bodies * 2
        random.Random(seed).shuffle(sent)
        for body in sent:
            assert shop.shopify(body).status_code == 200
        found.append(shop.tables())
        store.close()
    assert found[1:] == found[:-1]


def test_an_order_counts_for_its_visitor_and_its_offer(shop: WebShop) -> None:
    """The cart's attribute names the visitor, the line's property the offer, the catalogue the cost of what it knows."""
    offered = line(13, "9.90", properties=[{"name": "_crosslift_offer", "value": "ab:offer"}], product_id="p1")
    shop.shopify(order(line_items=[line(11, "10.00"), offered], company={"id": 5}))
    assert shop.order("unit_id, customer_id, company_id, cost_minor") == ("anna", "77", "5", None)
    columns = "line_id, product_id, sku, gross_minor, cost_minor, offer_experiment, offer_variant"
    known = [("11", "111", "SKU11", 1000, None, None, None), ("13", "p1", "SKU13", 990, 400, "ab", "offer")]
    assert shop.lines(columns) == known


@pytest.mark.parametrize(
    ("attributes", "properties"),
    [
        (None, None),
        ([], "engraving"),
        ({"__crosslift_visitor": 7}, {"_crosslift_offer": "no colon"}),
        (["__crosslift_visitor"], [["_crosslift_offer", "a:b"]]),
        ([{"name": "__crosslift_visitor", "value": "x" * 300}], [{"name": "_crosslift_offer", "value": None}]),
        ([{"name": "__crosslift_visitor", "value": "a\u0000b"}], [{"value": "a:b"}, 7, None]),
        ([{"name": None, "value": {}}], [{"name": ["_crosslift_offer"], "value": "a:b"}]),
    ],
)
def test_what_buyers_can_write_holds_no_order_up(shop: WebShop, attributes: Any, properties: Any) -> None:
    """Malformed attributes and properties are passed over; the order counts, for nobody."""
    body = order(note_attributes=attributes, line_items=[line(11, "10.00", properties=properties)])
    assert shop.shopify(body).get_json()["accepted"] == 1
    assert shop.order("unit_id, gross_minor") == (None, 1000)
    assert shop.lines("offer_experiment, offer_variant") == [(None, None)]


def test_properties_may_be_an_object(shop: WebShop) -> None:
    """As some apps write them."""
    shop.shopify(order(line_items=[line(11, "10.00", properties={"_crosslift_offer": "ab:offer"})]))
    assert shop.lines("offer_experiment, offer_variant") == [("ab", "offer")]


def test_discounts_are_what_is_allocated(shop: WebShop) -> None:
    """Two allocations of one line add up; total_discount, which says less or nothing, is only read without them."""
    allocated = line(11, "10.00", 3, discount_allocations=[{"amount": "3.34"}, {"amount": "1.00"}])
    shop.shopify(order(line_items=[allocated, line(12, "5.50", total_discount="0.50")], total_discounts="4.84"))
    assert shop.lines("line_id, gross_minor, discount_minor") == [("11", 3000, 434), ("12", 550, 50)]
    assert shop.order(SUMS) == (3550, 484, 0, 0, 0, 4, None)


def test_an_order_discount_that_no_line_has_is_spread(shop: WebShop) -> None:
    """Old payloads: 10.00 off 30.00 and 5.50, of which 2.00 were for shipping: 8.00 x 30/35.5 = 6.76, and 1.24."""
    old = [{k: v for k, v in one.items() if k != "discount_allocations"} for one in order()["line_items"]]
    shop.shopify(order(line_items=old, total_discounts="10.00", subtotal_price="27.50"))
    assert shop.lines("gross_minor, discount_minor") == [(3000, 676), (550, 124)]


def test_prices_that_include_tax_are_taken_without(shop: WebShop) -> None:
    """119.00 with 19.00 of tax; 23.80 less 2.38, with 3.42; shipping 5.95 with 0.95: net 100.00, 18.00 and 5.00."""
    lines = [
        line(11, "119.00", tax_lines=[{"price": "19.00", "rate": 0.19}]),
        line(12, "23.80", discount_allocations=[{"amount": "2.38"}], tax_lines=[{"price": "3.42", "rate": 0.19}]),
    ]
    shipping = {"price": "5.95", "tax_lines": [{"price": "0.95", "rate": 0.19}]}
    shop.shopify(order(taxes_included=True, line_items=lines, shipping_lines=[shipping], total_tax="23.37"))
    assert shop.lines("gross_minor, discount_minor") == [(10000, 0), (2000, 200)]
    assert shop.order(SUMS) == (12000, 200, 500, 2337, 0, 2, None)


def test_the_shops_money_counts_not_the_buyers(shop: WebShop) -> None:
    """A buyer who pays in euros: 10.80 dollars are what the shop books."""
    both = {"shop_money": {"amount": "10.80", "currency_code": "USD"}, "presentment_money": {"amount": "10.00"}}
    shop.shopify(order(presentment_currency="EUR", line_items=[line(11, "10.00", price_set=both)]))
    assert shop.order("gross_minor, currency") == (1080, "USD")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"test": True}, "test"),
        ({"id": 820982911946154508}, "test"),
        ({"cancelled_at": "2026-04-30T11:00:00Z"}, "cancelled"),
        ({"financial_status": "voided"}, "voided"),
        ({"financial_status": "pending"}, None),
        ({"source_name": "shopify_draft_order"}, "draft"),
        ({"source_name": "subscription_contract"}, "renewal"),
        ({"source_name": "pos"}, None),
        ({"tags": "vip, Staff "}, "tag: Staff"),
        ({"customer": {"id": 1, "tags": "staff"}}, "tag: staff"),
        ({"line_items": [line(11, "50.00", gift_card=True)]}, "gift_card"),
        ({"line_items": [line(11, "0.00")]}, None),
    ],
)
def test_what_does_not_count_keeps_its_row_and_its_reason(
    make_shop: MakeShop, change: dict[str, Any], reason: str | None
) -> None:
    """By rule; the amounts stay."""
    shop = make_shop(more="orders: {exclude_tags: [staff]}\n")
    assert shop.shopify(order(**change)).get_json()["accepted"] == 1
    gross = {"50.00": 5000, "0.00": 0}.get(change.get("line_items", [{}])[0].get("price", ""), 3550)
    assert shop.order("excluded, gross_minor") == (reason, gross)


def test_a_shop_may_count_what_others_leave_out(make_shop: MakeShop) -> None:
    """Drafts and gift cards, where staff sell by telephone, and gift cards are what is sold."""
    shop = make_shop(more="orders: {count: [draft, gift_card]}\n")
    lines = [line(11, "50.00", gift_card=True), line(12, "5.50")]
    shop.shopify(order(source_name="shopify_draft_order", line_items=lines))
    assert shop.order(SUMS) == (5550, 0, 0, 0, 0, 2, None)


def test_tips_and_gift_cards_beside_products_are_no_revenue(shop: WebShop) -> None:
    """Nor are they when they are given back; a free gift is a line like any other."""
    tip, card = line(21, "4.00", tip={"payment_method": "x"}), line(22, "25.00", gift_card=True)
    shop.shopify(order(line_items=[line(11, "10.00"), line(12, "0.00"), tip, card]))
    assert shop.order(SUMS) == (1000, 0, 0, 0, 0, 2, None)
    back = {**refunded(22, 25.0), "line_item": card}
    shop.shopify(
        refund(1, back, {**refunded(11, 10.0), "line_item": line(11, "10.00")}, paid=["35.00"]), "refunds/create"
    )
    assert shop.order("refunded_minor") == (1000,)
    assert shop.rows("SELECT refunded_minor, paid_minor, discrepancy_minor FROM refunds") == [(1000, 3500, 0)]


def test_an_upsell_after_the_purchase_is_in_the_newest_state(shop: WebShop) -> None:
    """The edit says only what it changed; orders/updated brings the whole order, whichever comes first."""
    edited = order(updated_at="2026-04-30T10:05:00Z", line_items=[*order()["line_items"], line(13, "7.00")])
    edit = {"order_edit": {"id": 5, "order_id": 1001, "line_items": {"additions": [{"id": 13, "delta": 1}]}}}
    assert shop.shopify(edited).get_json()["accepted"] == 1
    assert shop.shopify(edit, "orders/edited").get_json() == {"accepted": 0, "duplicates": 0, "rejected": []}
    assert shop.shopify(order(), "orders/create").get_json() == {"accepted": 0, "duplicates": 1, "rejected": []}
    assert shop.order("gross_minor, units") == (4250, 5)


def test_what_an_edit_removed_was_never_sold(shop: WebShop) -> None:
    """Of three at 10.00 less 3.00 one is gone by an edit: 20.00 less 2.00; of the other line nothing is left."""
    lines = [
        line(11, "10.00", 3, current_quantity=2, discount_allocations=[{"amount": "3.00"}]),
        line(12, "5.50", 1, current_quantity=0),
    ]
    shop.shopify(order(line_items=lines))
    assert shop.lines("line_id, quantity, gross_minor, discount_minor") == [("11", 2, 2000, 200)]


def test_what_was_refunded_was_sold_before(shop: WebShop) -> None:
    """A refund lowers current_quantity too: it is counted once, as refunded."""
    lines = [line(11, "10.00", 3, current_quantity=1), line(12, "5.50", 1, current_quantity=1)]
    back = refund(1, refunded(11, 10.0), paid=["10.00"])
    shop.shopify(order(line_items=lines, refunds=[back]))
    # Of three, one was refunded and one is there: the third was removed by an edit.
    assert shop.order(SUMS) == (2550, 0, 0, 0, 1000, 3, None)


def test_a_cancelled_order_keeps_what_it_was(shop: WebShop) -> None:
    """Its lines are at none now; the row still says what was cancelled."""
    lines = [line(11, "10.00", 3, current_quantity=0)]
    shop.shopify(order(line_items=lines, cancelled_at="2026-04-30T11:00:00Z"), "orders/cancelled")
    assert shop.order("gross_minor, excluded") == (3000, "cancelled")


def test_refunds_add_up_once_whichever_comes_first(make_shop: MakeShop, tmp_path: Any) -> None:
    """Two refunds, alone and in the order's states, in every order, each twice."""
    one = refund(1, {**refunded(11, 10.0), "line_item": line(11, "10.00")}, paid=["10.00"])
    two = refund(2, {**refunded(12, 5.5), "line_item": line(12, "5.50")}, paid=["4.00"])
    sent: list[tuple[Any, str]] = [
        (order(), "orders/create"),
        (one, "refunds/create"),
        (order(updated_at="2026-04-30T12:00:01Z", refunds=[one]), "orders/updated"),
        (two, "refunds/create"),
        (order(updated_at="2026-04-30T12:30:00Z", refunds=[one, two]), "orders/updated"),
    ]
    found = []
    for number, permutation in enumerate(list(itertools.permutations(sent))[::17]):
        store = open_store(f"sqlite:///{tmp_path / f'{number}.db'}")
        shop = make_shop(into=store)
        for body, topic in (*permutation, *permutation):
            assert shop.shopify(body, topic).status_code == 200
        found.append(shop.tables())
        assert shop.order("refunded_minor") == (1550,)
        # Lines say 5.50, the payment 4.00: both are kept, and that they disagree.
        columns = "SELECT refunded_minor, paid_minor, discrepancy_minor FROM refunds ORDER BY refund_id"
        assert shop.rows(columns) == [(1000, 1000, 0), (550, 400, -150)]
        store.close()
    assert found[1:] == found[:-1]


def test_a_refund_of_a_line_that_is_not_told_counts(shop: WebShop) -> None:
    """Alone and within its order alike."""
    back = refund(1, refunded(99, 3.5), paid=["3.50"])
    shop.shopify(back, "refunds/create")
    shop.shopify(order(refunds=[back]))
    assert shop.order("refunded_minor") == (350,)
    assert shop.rows("SELECT refunded_minor, discrepancy_minor FROM refunds") == [(350, 0)]


def test_a_refund_of_an_amount_is_one_of_products(shop: WebShop) -> None:
    """Without lines, Shopify writes a discrepancy below zero; a refund of shipping is none of products."""
    adjustments = [
        {"kind": "refund_discrepancy", "amount": "-6.00", "tax_amount": "0.00"},
        {"kind": "shipping_refund", "amount": "-5.00", "tax_amount": "-0.50"},
    ]
    shop.shopify(order())
    shop.shopify(refund(1, order_adjustments=adjustments, paid=["11.50"]), "refunds/create")
    assert shop.order("refunded_minor") == (600,)
    assert shop.rows("SELECT refunded_minor, paid_minor, discrepancy_minor FROM refunds") == [(600, 1150, 0)]


def test_a_refund_by_itself_tells_included_tax_by_its_rate(shop: WebShop) -> None:
    """23.80 with 3.80 of tax at 19 %: the tax is within, and 20.00 came back; the order says the same."""
    taxed = line(11, "23.80", tax_lines=[{"price": "3.80", "rate": 0.19}])
    back = {**refunded(11, 23.8, total_tax=3.8), "line_item": taxed}
    shop.shopify(refund(1, back, paid=["23.80"]), "refunds/create")
    shop.shopify(
        order(taxes_included=True, total_tax="3.80", line_items=[taxed], refunds=[refund(1, back, paid=["23.80"])])
    )
    assert shop.order("gross_minor, refunded_minor") == (2000, 2000)
    assert shop.rows("SELECT refunded_minor, paid_minor, discrepancy_minor FROM refunds") == [(2000, 2380, 0)]


def test_a_deleted_order_is_left_out(shop: WebShop) -> None:
    """Before or after the order itself; its payload is only an id."""
    shop.shopify({"id": 1001}, "orders/delete")
    assert shop.order("gross_minor, excluded") == (0, "deleted")
    shop.shopify(order(id=1002))
    for _ in range(2):
        shop.shopify({"id": 1002}, "orders/delete")
    shop.shopify(order(id=1002))
    assert shop.rows("SELECT gross_minor, excluded FROM orders WHERE order_id = '1002'") == [(3550, "deleted")]
    assert len(shop.lines("line_id")) == 2
