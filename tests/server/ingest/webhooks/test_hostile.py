"""Money and shapes that nobody expects: no float on the way, and no fault of ours whatever stands where."""

import copy
import json
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from events import open_store
from events.parser import RecordParser
from experiments import RequestError
from experiments.declarations.model import OrderRules
from experiments.money import convert, to_minor
from server.ingest.payloads import read_json
from server.ingest.webhooks.routes import UNEXPECTED
from server.ingest.webhooks.shopify import SHOPIFY, read_shopify
from server.ingest.webhooks.signing import add_secret
from server.ingest.webhooks.woocommerce import read_woocommerce
from tests.server.ingest.webhooks.conftest import MakeShop, WebShop, line, order, refund, refunded
from tests.server.ingest.webhooks.test_woocommerce import woo_line, woo_order

NOW = 1_777_636_800_000
RATES = {"EUR": Decimal("1.0845"), "JPY": Decimal("0.0064"), "KWD": Decimal("3.27")}
READER = RecordParser("USD", "UTC", lambda: NOW, rates=RATES)
CENTS = st.integers(0, 10**9)
PIECES = st.integers(1, 50)


def text(cents: int) -> str:
    return f"{cents // 100}.{cents % 100:02d}"


def no_floats(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(no_floats, value.values()))
    return all(map(no_floats, value)) if isinstance(value, list) else not isinstance(value, float)


@given(st.lists(st.tuples(CENTS, PIECES, st.integers(0, 100)), min_size=1, max_size=8), st.data())
def test_shopifys_amounts_are_exact(lines: list[tuple[int, int, int]], data: st.DataObject) -> None:
    """As text or as numbers of JSON, every cent arrives: of prices, allocations and refunds."""
    told, backs, gross, discount, given_back = [], [], 0, 0, 0
    for number, (cents, pieces, percent) in enumerate(lines, 1):
        off, back = cents * pieces * percent // 100, data.draw(st.integers(0, cents))
        as_number = data.draw(st.booleans())
        told.append(line(number, "P", pieces, discount_allocations=[{"amount": "D"}]))
        told[-1]["price"], told[-1]["discount_allocations"][0]["amount"] = (
            (Raw(text(cents)), Raw(text(off))) if as_number else (text(cents), text(off))
        )
        backs.append({**refunded(number, 0), "subtotal": Raw(text(back))})
        gross, discount, given_back = gross + cents * pieces, discount + off, given_back + back
    content = dumps(order(line_items=told, refunds=[refund(1, *backs)]))
    body = read_json(content)
    assert no_floats(body)
    fields, _ = read_shopify("orders/create", body, OrderRules(), "USD")
    assert no_floats(fields)
    read = READER.order(fields)
    assert (read.gross_minor, read.discount_minor, read.refunded_minor) == (gross, discount, given_back)
    assert sum(one.gross_minor for one in read.lines) == gross


@given(st.lists(st.tuples(CENTS, CENTS), min_size=1, max_size=8))
def test_woocommerces_amounts_are_exact(lines: list[tuple[int, int]]) -> None:
    """A line's discount is what its total is below its subtotal."""
    told = [woo_line(number, text(max(two)), text(min(two))) for number, two in enumerate(lines, 1)]
    (fields,) = read_woocommerce("", read_json(dumps(woo_order(line_items=told))), OrderRules(), "USD")
    read = READER.order(fields)
    assert read.gross_minor - read.discount_minor == sum(map(min, lines))


@given(st.decimals(0, 10**9, places=3), st.sampled_from(["USD", *RATES]))
def test_other_currencies_are_converted_exactly(amount: Decimal, currency: str) -> None:
    """By whole numbers: within half a minor unit of the rate, to the last digit."""
    (fields,) = read_woocommerce(
        "", woo_order(currency=currency, line_items=[woo_line(1, str(amount), str(amount))]), OrderRules(), "USD"
    )
    read = READER.order(fields)
    exact = Decimal(to_minor(amount, currency)) * RATES.get(currency, 1)
    exact *= {"JPY": Decimal(100), "KWD": Decimal("0.1")}.get(currency, Decimal(1))  # to cents from yen and from fils
    assert abs(read.gross_minor - exact) <= Decimal("0.5")
    assert (read.currency, read.lines[0].gross_minor) == ("USD", read.gross_minor)


def test_a_rate_of_many_digits_loses_none() -> None:
    """Beyond the 28 digits that Decimal keeps by default."""
    assert convert(10**15, "USD", Decimal("123456789.123456789012"), "USD") == 123456789123456789012000
    assert convert(-25, "USD", Decimal("0.1"), "USD") == -2  # half to even
    with pytest.raises(RequestError, match="converted amounts must be at most"):
        RecordParser("USD", "UTC", lambda: NOW, rates={"EUR": Decimal(10**8)}).order(
            {"order_id": "1", "ordered_at_ms": NOW, "gross_minor": 10**14, "currency": "EUR"}
        )


class Raw(str):
    """Text that stands in JSON as it is, without quotes."""

    __slots__ = ()


def dumps(value: Any) -> str:
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(key)}:{dumps(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(dumps, value)) + "]"
    return json.dumps(value)


ANYTHING: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False)
    | st.text(max_size=20)
    | st.sampled_from(["", "0", "-1.00", "USD", "EUR", "1e400", "\ud800", "2026-04-30T10:00:00Z", True, 0]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=4,
)
FULL_LINE = line(
    11,
    "10.00",
    2,
    current_quantity=1,
    gift_card=False,
    tip=None,
    tax_lines=[{"price": "1.00", "rate": 0.1}],
    discount_allocations=[{"amount": "1.00", "amount_set": {"shop_money": {"amount": "1.00"}}}],
    price_set={"shop_money": {"amount": "10.00", "currency_code": "USD"}},
    properties=[{"name": "_crosslift_offer", "value": "ab:offer"}],
)
FULL_REFUND = refund(
    1,
    {**refunded(11, 10.0, total_tax=1.0), "line_item": FULL_LINE},
    paid=["11.00"],
    order_adjustments=[{"kind": "refund_discrepancy", "amount": "-1.00", "tax_amount": "0.00"}],
)
BODIES = {
    "orders/create": order(
        taxes_included=True,
        line_items=[FULL_LINE],
        refunds=[FULL_REFUND],
        shipping_lines=[{"price": "5.00", "tax_lines": [{"price": "0.50"}]}],
        subtotal_price="19.00",
        total_discounts="3.00",
        tags="a, b",
        company={"id": 1},
        cancelled_at=None,
    ),
    "refunds/create": FULL_REFUND,
    "orders/delete": {"id": 7},
    "order.updated": woo_order(
        fee_lines=[{"total": "1.00"}], refunds=[{"id": 1, "total": "-1.00"}], line_items=[woo_line(1, "2.00", "1.00")]
    ),
}


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inner:
        yield from places(one, (*path, key))


def replaced(value: Any, path: tuple[Any, ...], by: Any) -> Any:
    if not path:
        return by
    changed = copy.copy(value)
    changed[path[0]] = replaced(value[path[0]], path[1:], by)
    return changed


@pytest.fixture
def fuzzed(make_shop: MakeShop, tmp_path: Path) -> Iterator[WebShop]:
    with closing(open_store(f"sqlite:///{tmp_path / 'fuzzed.db'}")) as store:
        add_secret(store, SHOPIFY, "demo", "hush")
        yield make_shop(more="orders: {exclude_tags: [staff], rates: {EUR: 1.5}}\n", into=store)


@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.data())
def test_no_body_is_a_fault_of_ours(fuzzed: WebShop, data: st.DataObject) -> None:
    """Anything in the place of any part of any payload: 200, taken or held with its reason."""
    topic = data.draw(st.sampled_from(sorted(BODIES)))
    body: Any = BODIES[topic]
    for _ in range(data.draw(st.integers(1, 3))):
        body = replaced(body, data.draw(st.sampled_from(list(places(body)))), data.draw(ANYTHING))
    post = fuzzed.woocommerce if topic.startswith("order.") else fuzzed.shopify
    answer = post(body, topic)
    assert answer.status_code == 200
    told = answer.get_json()
    assert UNEXPECTED not in {one["error"] for one in told["rejected"]}
    assert bool(told["rejected"]) != bool(told["accepted"] + told["duplicates"])
