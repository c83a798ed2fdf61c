"""Parsing events: both spellings of money and time, and clear refusals."""

from decimal import Decimal
from typing import Any

import pytest

from events import RecordParser
from experiments import RequestError

PARSER = RecordParser("USD", "Europe/Berlin")
ORDER: dict[str, Any] = {"order_id": "o1", "visitor_id": "v1", "ordered_at": "2026-05-01T12:00:00Z", "gross": "20.00"}


def test_an_order_needs_little() -> None:
    """The rest is filled in."""
    order = PARSER.order(ORDER)
    assert (order.shop, order.unit_id, order.currency, order.gross_minor) == ("default", "v1", "USD", 2000)
    assert order.ordered_at_ms == order.updated_at_ms == 1777636800000
    assert (order.cost_minor, order.excluded, order.units) == (None, None, 1)


def test_both_spellings_mean_the_same() -> None:
    """Decimal text or minor units, RFC 3339 or milliseconds, visitor_id or unit_id."""
    spelled = {"order_id": "o1", "unit_id": "v1", "ordered_at_ms": 1777636800000, "gross_minor": 2000}
    assert PARSER.order(spelled) == PARSER.order(ORDER)


def test_empty_is_as_good_as_absent() -> None:
    """An empty reason leaves no order out."""
    order = PARSER.order({**ORDER, "excluded": "", "customer_id": "", "visitor_id": None})
    assert (order.excluded, order.customer_id, order.unit_id) == (None, None, None)


def test_ids_are_trimmed_text() -> None:
    """Numbers are the text that they are; white space around is none of it."""
    order = PARSER.order({**ORDER, "order_id": 12345678901234567890, "visitor_id": " v1 "})
    assert (order.order_id, order.unit_id) == ("12345678901234567890", "v1")


def test_a_time_without_an_offset_is_the_shops() -> None:
    """Noon in Berlin in May is 10:00 UTC."""
    assert PARSER.order({**ORDER, "ordered_at": "2026-05-01 12:00"}).ordered_at_ms == 1777629600000


def test_lines_say_what_the_order_does_not() -> None:
    """Gross, discount and units are added up from the lines where only they say them."""
    lines = [
        {"gross": "12.50", "discount": "2.50", "quantity": 2, "cost": "4"},
        {
            "gross_minor": 700,
            "discount_minor": "100",
            "refunded": "7",
            "quantity": "3",
            "line_id": "x",
            "cost_minor": 50,
        },
    ]
    order = PARSER.order({"order_id": "o", "ordered_at": "2026-05-01T12:00:00Z", "lines": lines})
    assert (order.gross_minor, order.discount_minor, order.refunded_minor, order.units) == (1950, 350, 700, 5)
    assert order.cost_minor == 450
    assert PARSER.order({**ORDER, "gross": None, "lines": [*lines, {"gross": "1"}]}).cost_minor is None
    assert [line.line_id for line in order.lines] == ["1", "x"]
    assert PARSER.order({**ORDER, "lines": lines}).gross_minor == 2000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gross": 19.99}, "gross: found `19.99`; wanted an amount as decimal text"),
        ({"gross": "1,99"}, "gross: found `1,99`; wanted an amount"),
        (
            {"gross": None},
            "gross: must be an amount such as 19.99, or the sum of lines that have one each, got nothing",
        ),
        ({"gross_minor": 5}, "gross_minor: must have one spelling, got two"),
        ({"gross": None, "gross_minor": True}, "gross_minor: found `true`; wanted a whole number"),
        ({"gross": None, "gross_minor": "10.00"}, "gross_minor: found `10.00`; wanted a whole number"),
        ({"gross": None, "gross_minor": "1_000"}, "gross_minor: found `1_000`; wanted a whole number"),
        ({"visitor_id": "a", "unit_id": "b"}, "unit_id: must have one spelling, got two"),
        ({"ordered_at": "yesterday"}, "ordered_at: must be a time such as 2026-05-01T12:00:00Z, got `yesterday`"),
        ({"ordered_at": None}, "ordered_at: must be a time such as 2026-05-01T12:00:00Z, got nothing"),
        ({"ordered_at": "2099-01-01"}, "ordered_at: may be at most five minutes in the future, got `2099-01-01`"),
        ({"updated_at": "2099-01-01"}, "updated_at: may be at most five minutes in the future"),
        (
            {"ordered_at": None, "ordered_at_ms": 1777636800},
            "ordered_at_ms: found `1777636800`; wanted a number of at least 946684800000",
        ),
        ({"currency": "EUR"}, "currency: must be USD, the shop's, or one of orders.rates in shop.yaml, got EUR"),
        ({"currency": "usd"}, "currency: found `usd`; wanted a currency of ISO 4217"),
        ({"order_id": " "}, "order_id: found ``; wanted at least 1 characters"),
        ({"order_id": 1.5e22}, "order_id: found `1.5e+22`; wanted text"),
        ({"order_id": "a\x00b"}, "wanted printable text"),
        ({"order_id": "x" * 257}, "wanted at most 256 characters"),
        ({"oder_id": "x"}, "oder_id: found `x`; wanted no such field"),
        ({"units": -1}, "units: found `-1`; wanted a number of at least 0"),
        ({"gross": "9999999999999999"}, "wanted an amount"),
        ({"lines": [{"quantity": "many", "gross": "1"}]}, "lines.1: quantity: found `many`; wanted a whole number"),
        ({"lines": [{}]}, "lines.1: gross: must be an amount such as 19.99"),
        (
            {"lines": [{"gross": "1"}, {"gross": "1", "line_id": "1"}]},
            "lines: each line_id must be unique, got a line_id twice",
        ),
        ({"lines": "none"}, "lines: found `none`; wanted a list"),
        ({"lines": ["none"]}, "lines.1: must be an object, got `none`"),
        ({"lines": [{"gross": "1"}] * 1001}, "wanted at most 1000 of them"),
    ],
)
def test_a_wrong_field_is_named(change: dict[str, Any], message: str) -> None:
    """With what it must be, and what it was."""
    with pytest.raises(RequestError) as caught:
        PARSER.order({**ORDER, **change})
    assert message in str(caught.value)


def test_another_currency_is_converted_by_its_rate() -> None:
    """Yen have no cents, dinars have mils; a cost of the catalogue is the shop's money already."""
    rates = {"JPY": Decimal("0.0064"), "KWD": Decimal("3.25")}
    parser = RecordParser("USD", "UTC", costs_minor={"p1": 400, "SKU9": 50}, rates=rates)
    lines = [
        {"line_id": "a", "product_id": "p1", "quantity": 2, "gross": "2500", "cost": None},
        {"line_id": "b", "sku": "SKU9", "gross_minor": 1000, "discount": "100"},
    ]
    without_gross = {name: value for name, value in ORDER.items() if name != "gross"}
    order = parser.order({**without_gross, "currency": "JPY", "lines": lines, "shipping": "500"})
    # 2,500 yen are 16.00 dollars, 1,000 are 6.40, 100 are 0.64, 500 are 3.20.
    assert [(line.gross_minor, line.discount_minor, line.cost_minor) for line in order.lines] == [
        (1600, 0, 800),
        (640, 64, 50),
    ]
    assert (order.currency, order.gross_minor, order.discount_minor, order.shipping_minor) == ("USD", 2240, 64, 320)
    assert (order.cost_minor, order.units) == (850, 3)
    refund = {"order_id": "o1", "refund_id": "r1", "refunded_at": "2026-05-01T12:00:00Z", "refunded": "1.234"}
    assert parser.refund({**refund, "currency": "KWD"}).refunded_minor == 401  # 4.0105 dollars
    with pytest.raises(RequestError, match=r"currency: must be USD, .*, got EUR"):
        parser.order({**ORDER, "currency": "EUR"})
