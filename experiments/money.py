"""Money as integers of a currency's minor unit: cents for USD, yen for JPY, fils for KWD. No float on the way."""

import re
from collections.abc import Sequence
from decimal import ROUND_HALF_EVEN, Decimal, localcontext

from experiments.errors import RequestError
from experiments.refusals import describe

# ISO 4217, the active currencies whose minor unit is not a hundredth.
_EXPONENTS = dict.fromkeys(
    [
        "BIF",
        "CLP",
        "DJF",
        "GNF",
        "ISK",
        "JPY",
        "KMF",
        "KRW",
        "PYG",
        "RWF",
        "UGX",
        "UYI",
        "VND",
        "VUV",
        "XAF",
        "XOF",
        "XPF",
    ],
    0,
) | dict.fromkeys(["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"], 3)

_SYMBOLS = {"USD": "$", "EUR": "€", "GBP": "£", "JPY": "¥", "THB": "฿", "INR": "₹", "KRW": "₩"}
_AMOUNT = re.compile(r"-?[0-9]{1,15}(?:\.[0-9]{1,10})?\Z")

MAX_MINOR = 10**15


def exponent(currency: str) -> int:
    """Return the decimal places of a currency's minor unit; 2 for USD, 0 for JPY (ISO 4217)."""
    return _EXPONENTS.get(currency, 2)


def to_minor(amount: object, currency: str) -> int:
    """
    Turn decimal text such as `19.99` into minor units, rounding half to even beyond them.

    Args:
        amount: Text, an int or a Decimal in major units. A float is refused: it is not the amount that was meant.

    Raises:
        RequestError: Not an amount, or beyond 10**15 minor units.
    """
    text = str(amount).strip()
    if isinstance(amount, (float, bool)) or not _AMOUNT.match(text):
        raise RequestError(f"found {describe(amount)}; wanted an amount as decimal text such as 19.99")
    minor = int((Decimal(text).scaleb(exponent(currency))).to_integral_value(ROUND_HALF_EVEN))
    if abs(minor) > MAX_MINOR:
        raise RequestError(f"found {text}; wanted an amount of at most {MAX_MINOR} minor units")
    return minor


def convert(minor: int, currency: str, rate: Decimal, into: str) -> int:
    """
    Turn minor units of one currency into those of another, rounding half to even once, at the end.

    Args:
        rate: What 1 of the currency is worth in the other, in major units.
    """
    with localcontext(prec=60):  # digits, so that no product is rounded before it is whole
        worth = Decimal(minor) * rate
        return int(worth.scaleb(exponent(into) - exponent(currency)).to_integral_value(ROUND_HALF_EVEN))


def share(amount: int, part: int, whole: int) -> int:
    """Return the share of an amount that falls on a part, rounded half up; 0 where there is no whole."""
    return (2 * amount * part + whole) // (2 * whole) if whole > 0 else 0


def spread(amount: int, weights: Sequence[int]) -> list[int]:
    """Split an amount in proportion to weights, to the last minor unit."""
    total, given, before = sum(weights), 0, 0
    parts = []
    for weight in weights:
        before += weight
        upto = share(amount, before, total)
        parts.append(upto - given)
        given = upto
    return parts


def format_money(minor: float, currency: str, *, signed: bool = False) -> str:
    """Write minor units for a reader: `$1,234.50`, `-€3.20`, `CHF 12.00`."""
    places = exponent(currency)
    amount = f"{abs(minor) / 10**places:,.{places}f}"
    sign = "-" if minor < 0 else "+" if signed else ""
    symbol = _SYMBOLS.get(currency)
    return f"{sign}{symbol}{amount}" if symbol else f"{sign}{currency} {amount}"
