"""Numbers as a reader wants them: sensible digits, a true minus, percent and percentage points told apart."""

import math

from experiments.money import exponent, format_money

NONE = "–"
MINUS = "−"


def share(value: float | None) -> str:
    """Write a lift: `+8.2%`, `−0.4%`, `+120%`."""
    if value is None:
        return NONE
    if value >= 100:
        return ">+9999%"
    digits = 0 if abs(value) >= 1 else 1
    text = f"{value:+.{digits}%}"
    return text[1:] if float(text[:-1]) == 0 else _signed(text)


def share_range(low: float | None, high: float | None) -> str:
    """Write an interval of lifts: `+2.1% to +14.6%`."""
    return NONE if low is None or high is None else f"{share(low)} to {share(high)}"


def tick(value: float) -> str:
    """Write a lift at an axis, without digits that say nothing: `+20%`, `0%`, `−2.5%`."""
    return "0%" if abs(value) < 1e-9 else _signed(f"{value * 100:+.4g}%")


def points(value: float | None) -> str:
    """Write a difference of shares in percentage points: `+0.31 pp`."""
    return NONE if value is None else _signed(f"{value * 100:+.2f}") + " pp"


def money(value: float, currency: str, *, signed: bool = False, scale: float | None = None) -> str:
    """
    Write an amount in major units.

    Args:
        value: The amount.
        currency: Its decimals are shown, more where two digits would be lost: `$12.50`, `$0.012`.
        signed: Write a plus too.
        scale: An amount whose number of digits is used too, such as the wider end of an interval.
    """
    places, size = exponent(currency), abs(value if scale is None else scale)
    if 0 < size < 10:
        places = min(6, max(places, 1 - math.floor(math.log10(size))))
    if places == exponent(currency):
        text = format_money(abs(value) * 10**places, currency)
    else:
        symbol = format_money(0, currency).rstrip("0.")
        text = f"{symbol}{abs(value):.{places}f}"
    sign = MINUS if value < 0 else "+" if signed else ""
    return sign + text


def round_money(value: float, currency: str) -> str:
    """Write a large amount with its sign and without decimals: `+$12,345`."""
    text = format_money(abs(round(value)) * 10 ** exponent(currency), currency)
    whole = text.removesuffix("." + "0" * exponent(currency)) if exponent(currency) else text
    return (MINUS if value < 0 else "+") + whole


def number(value: float, *, signed: bool = False) -> str:
    """Write a plain number: `0.0312`, `1.204`, `12,345`."""
    size = abs(value)
    digits = 0 if size >= 10_000 else 4
    sign = "+" if signed else ""
    return _signed(f"{value:{sign},.{digits}f}")


def p(value: float | None) -> str:
    """Write a p: `.0312`, `<.0001`."""
    if value is None:
        return NONE
    if value < 0.0001:
        return "<.0001"
    return ">.999" if value > 0.999 else f"{value:.4f}".removeprefix("0")


def level(confidence: float) -> str:
    """Write a confidence: `95%`."""
    return f"{confidence * 100:.4g}%"


def _signed(text: str) -> str:
    return text.replace("-", MINUS)
