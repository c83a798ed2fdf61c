"""Money between decimal text and minor units."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments import RequestError
from experiments.money import format_money, to_minor


@pytest.mark.parametrize(
    ("amount", "currency", "minor"),
    [
        ("19.99", "USD", 1999), ("19.9", "EUR", 1990), ("0", "USD", 0), ("-3.20", "EUR", -320), (" 5 ", "USD", 500), (7, "USD", 700),
        ("1200", "JPY", 1200), ("1.234", "KWD", 1234), ("29.990000", "USD", 2999), ("0.005", "USD", 0), ("0.015", "USD", 2),
        (Decimal("1.10"), "USD", 110),
    ],
)  # fmt: skip
def test_decimal_text_becomes_minor_units(amount: object, currency: str, minor: int) -> None:
    """By the currency's own exponent, half to even beyond it."""
    assert to_minor(amount, currency) == minor


@pytest.mark.parametrize(
    "amount", ["", "abc", "1,50", "1.2.3", "1e5", "NaN", "inf", 1.5, True, None, [], "9" * 16, "٣"]
)
def test_what_is_no_amount_is_refused(amount: object) -> None:
    """Floats too: 0.1 + 0.2 is not what anybody paid."""
    with pytest.raises(RequestError, match="wanted an amount"):
        to_minor(amount, "USD")


@given(st.integers(-(10**12), 10**12))
def test_minor_units_survive_text(minor: int) -> None:
    """Every amount of cents comes back from its decimal text."""
    assert to_minor(str(Decimal(minor).scaleb(-2)), "USD") == minor


def test_money_is_written_for_readers() -> None:
    """Sign, symbol or code, and the currency's own places."""
    assert [format_money(-123450, "USD"), format_money(5, "JPY", signed=True), format_money(1234, "CHF")] == [
        "-$1,234.50", "+¥5", "CHF 12.34",
    ]  # fmt: skip
