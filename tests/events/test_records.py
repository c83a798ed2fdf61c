"""Reading events: both spellings of money and time, and clear refusals."""

from typing import Any

import pytest

from events import Reader
from experiments import RequestError

READER = Reader("USD", "Europe/Berlin")
ORDER: dict[str, Any] = {"order_id": "o1", "visitor_id": "v1", "ordered_at": "2026-05-01T12:00:00Z", "gross": "20.00"}


def test_an_order_needs_little() -> None:
    """What can be told from the rest is filled in."""
    order = READER.order(ORDER)
    assert (order.shop, order.unit_id, order.currency, order.gross_minor) == ("default", "v1", "USD", 2000)
    assert order.ordered_at_ms == order.updated_at_ms == 1777636800000
    assert (order.cost_minor, order.excluded, order.units) == (None, None, 1)


def test_both_spellings_mean_the_same() -> None:
    """Decimal text or minor units, RFC 3339 or milliseconds, visitor_id or unit_id."""
    spelled = {"order_id": "o1", "unit_id": "v1", "ordered_at_ms": 1777636800000, "gross_minor": 2000}
    assert READER.order(spelled) == READER.order(ORDER)


def test_a_time_without_an_offset_is_the_shops() -> None:
    """Noon in Berlin in May is 10:00 UTC."""
    assert READER.order({**ORDER, "ordered_at": "2026-05-01 12:00"}).ordered_at_ms == 1777629600000


def test_lines_say_what_the_order_does_not() -> None:
    """Gross, discount and units are added up from the lines where only they say them."""
    lines = [{"gross": "12.50", "discount": "2.50", "quantity": 2}, {"gross_minor": 700, "line_id": "x"}]
    order = READER.order({"order_id": "o", "ordered_at": "2026-05-01T12:00:00Z", "lines": lines})
    assert (order.gross_minor, order.discount_minor, order.units) == (1950, 250, 3)
    assert [line.line_id for line in order.lines] == ["1", "x"]
    assert READER.order({**ORDER, "lines": lines}).gross_minor == 2000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gross": 19.99}, "gross: found 19.99; wanted an amount as decimal text"),
        ({"gross": "1,99"}, "gross: found '1,99'; wanted an amount"),
        ({"gross": None}, "gross_minor: found nothing; wanted a value"),
        ({"gross_minor": 5}, "found twice"),
        ({"visitor_id": "a", "unit_id": "b"}, "unit_id: found twice"),
        ({"ordered_at": "yesterday"}, "ordered_at: found 'yesterday'; wanted a time such as"),
        ({"ordered_at": None, "ordered_at_ms": 1777636800}, "ordered_at_ms: found 1777636800; wanted at least"),
        ({"currency": "EUR"}, "currency: found EUR; wanted USD, the shop's currency"),
        ({"currency": "usd"}, "currency: found 'usd'; wanted a currency of ISO 4217"),
        ({"order_id": ""}, "order_id: found ''; wanted at least 1 character"),
        ({"order_id": "x" * 257}, "wanted at most 256 characters"),
        ({"oder_id": "x"}, "oder_id: found 'x'; wanted no such field"),
        ({"units": -1}, "units: found -1; wanted at least 0"),
        ({"gross": "9999999999999999"}, "wanted an amount"),
        ({"lines": [{"quantity": "many"}]}, "lines.0.quantity: found 'many'; wanted a whole number"),
        ({"lines": "none"}, "lines: found 'none'; wanted a list"),
        ({"lines": ["none"]}, "lines.0: found 'none'"),
    ],
)
def test_a_wrong_field_is_named(change: dict[str, Any], message: str) -> None:
    """Field, what was found, what is wanted."""
    with pytest.raises(RequestError) as caught:
        READER.order({**ORDER, **change})
    assert message in str(caught.value)
