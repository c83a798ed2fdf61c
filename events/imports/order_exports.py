"""
Reads the order exports of Shopify and WooCommerce, recognised by their headers, into the fields of orders and refunds.

Amounts in these files include tax where the shop's prices do, and refunds always do: the part without tax and shipping is taken
in proportion. docs/importing.md says which columns are read.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from experiments.errors import RequestError
from experiments.money import share, spread, to_minor
from experiments.refusals import describe

Row = Mapping[str, str]
Fields = dict[str, Any]

_COUNTED = ("processing", "completed")  # WooCommerce's statuses of orders that were paid for
_UNPAID = ("voided", "expired")  # Shopify's statuses of orders that were never paid for


@dataclass(frozen=True)
class OrderExport:
    """
    One kind of file.

    Attributes:
        name: Its name in messages.
        needs: Columns that it has, in lower case.
        one_of: Columns of which it has at least one; empty where `needs` is enough.
        key: The column whose value the rows of one order share.
        read: Converts an order's rows into the fields of an order, or of a refund where they have a `refund_id`.
    """

    name: str
    needs: frozenset[str]
    one_of: frozenset[str]
    key: str
    read: Callable[[Sequence[Row], str], Fields]


def recognise(header: Iterable[str]) -> OrderExport | None:
    """Return whose export a file is; None for our own columns, and for anything else."""
    names = {name.strip().lower() for name in header}
    for export in EXPORTS:
        if export.needs <= names and (not export.one_of or export.one_of & names):
            return export
    return None


def _shopify(rows: Sequence[Row], currency: str) -> Fields:
    first = rows[0]
    if not first.get("total") or not first.get("subtotal"):
        raise RequestError("Total, Subtotal: an order's first row must have both, got a row without")
    money = _Money(currency, first)
    subtotal, shipping, taxes, total = (money.of(name) for name in ("subtotal", "shipping", "taxes", "total"))
    tax_inside = total < subtotal + shipping + taxes  # prices include tax: it is not added again
    product_tax = share(taxes, subtotal, subtotal + shipping) if tax_inside else 0
    net = subtotal - product_tax
    lines = [_shopify_line(row, money) for row in rows if row.get("lineitem quantity")]
    discount = sum(line["gross_minor"] for line in lines) - subtotal
    if discount < 0:  # the order was edited later: only its sums are right
        lines, discount = [], money.of("discount amount")
    lines = _without_tax(_discounted(lines, discount), subtotal, product_tax)
    if product_tax:
        discount = share(discount, net, subtotal)
    status = first.get("financial status", "").lower()
    return {
        "order_id": first.get("id") or first["name"],
        "unit_id": _visitor(first) or _note(first.get("note attributes", ""), "__crosslift_visitor"),
        "ordered_at": _time(first["created at"]),
        "updated_at": max(_time(first[name]) for name in ("created at", "paid at", "cancelled at") if first.get(name)),
        "currency": first.get("currency"),
        "gross_minor": net + discount,
        "discount_minor": discount,
        "units": sum(line["quantity"] for line in lines) or None,
        "shipping_minor": shipping - (taxes - product_tax if tax_inside else 0),
        "tax_minor": taxes,
        "refunded_minor": min(net, share(money.of("refunded amount"), net, total)),
        "source": first.get("source") or "shopify",
        "excluded": "cancelled" if first.get("cancelled at") else (status if status in _UNPAID else None),
        "lines": lines or None,
    }


def _shopify_line(row: Row, money: "_Money") -> Fields:
    quantity = _quantity(row["lineitem quantity"])
    sku = row.get("lineitem sku", "")
    gross = quantity * money.read(row.get("lineitem price", ""), "Lineitem price")
    discount = money.read(row.get("lineitem discount", ""), "Lineitem discount")
    return {"product_id": sku, "sku": sku, "quantity": quantity, "gross_minor": gross, "discount_minor": discount}


def _woocommerce(rows: Sequence[Row], currency: str) -> Fields:
    """Read an order of the extensions by SkyVerge and WebToffee: a row for each order, or for each item."""
    first = rows[0]
    money = _Money(currency, first)
    total, tax, shipping, fees = (
        money.of(name) for name in ("order_total", "tax_total", "shipping_total", "fee_total")
    )
    net = total - tax - shipping - fees
    lines = _woocommerce_lines(rows, money)
    if lines and abs(sum(line["gross_minor"] - line["discount_minor"] for line in lines) - net) > len(lines):
        lines = []  # they do not add up to the order, and are not reliable
    refunded = sum(line["refunded_minor"] for line in lines)
    if not refunded:
        paid_back = money.of("refunded_total") or sum(
            abs(money.read(amount, "refund_items")) for amount in _values_of(first.get("refund_items", ""), "amount")
        )
        refunded = min(net, share(paid_back, net, total))
    customer = first.get("customer_id") or first.get("customer_user") or ""
    ordered_at = _time(first.get("date") or first.get("order_date") or "")
    return {
        "order_id": first["order_id"],
        "unit_id": _visitor(first),
        "customer_id": customer if customer != "0" else None,
        "ordered_at": ordered_at,
        "currency": first.get("order_currency"),
        "gross_minor": net + money.of("discount_total"),
        "discount_minor": money.of("discount_total"),
        "shipping_minor": shipping,
        "tax_minor": tax,
        "refunded_minor": refunded,
        "source": "woocommerce",
        "excluded": _status(first.get("status", "")),
        "lines": lines or None,
    }


def _woocommerce_lines(rows: Sequence[Row], money: "_Money") -> list[Fields]:
    if "item_quantity" in rows[0]:
        items = [{name.removeprefix("item_"): value for name, value in row.items()} for row in rows]
    else:
        cells = [rows[0].get("line_items", "")]
        cells += [value for name, value in rows[0].items() if re.fullmatch(r"line_item_\d+", name)]
        items = [_pairs(text) for cell in cells for text in _parts(cell)]
    return [_woocommerce_line(item, money) for item in items if item.get("quantity")]


def _woocommerce_line(item: Mapping[str, str], money: "_Money") -> Fields:
    net = money.read(item.get("total", ""), "total")
    gross = money.read(item.get("subtotal") or item.get("sub_total") or item.get("total", ""), "subtotal")
    return {
        "product_id": item.get("product_id") or item.get("sku", ""),
        "sku": item.get("sku", ""),
        "quantity": _quantity(item["quantity"]),
        "gross_minor": gross,
        "discount_minor": gross - net,
        "refunded_minor": abs(money.read(item.get("refunded", ""), "refunded")),
    }


def _algolplus(rows: Sequence[Row], currency: str) -> Fields:
    """Read an order of Advanced Order Export, a row for each item; refunded lines are not in it."""
    first = rows[0]
    money = _Money(currency, first)
    total, tax, shipping = (
        money.of(name) for name in ("order total amount", "order total tax amount", "order shipping amount")
    )
    net = total - tax - shipping
    return {
        "order_id": first["order number"],
        "unit_id": _visitor(first),
        "ordered_at": _time(first["order date"]),
        "gross_minor": net + money.of("cart discount amount"),
        "discount_minor": money.of("cart discount amount"),
        "shipping_minor": shipping,
        "tax_minor": tax,
        "refunded_minor": min(net, share(abs(money.of("order refund amount")), net, total)),
        "units": sum(_quantity(row.get("quantity (- refund)") or row.get("quantity") or "0") for row in rows) or None,
        "source": "woocommerce",
        "excluded": _status(first["order status"]),
    }


def _analytics(rows: Sequence[Row], currency: str) -> Fields:
    """Read a row of WooCommerce's analytics, which has net sales only; a refund is a row of its own, below zero."""
    row = rows[0]
    money = _Money(currency, row)
    net = money.of("net sales") if "net sales" in row else money.of("n. revenue")
    at = _time(row["date"])
    if net < 0:
        return {"order_id": row["order #"], "refund_id": f"{at} {net}", "refunded_at": at, "refunded_minor": -net}
    return {
        "order_id": row["order #"],
        "unit_id": _visitor(row),
        "ordered_at": at,
        "gross_minor": net,
        "units": _quantity(row.get("items sold", "") or "0") or None,
        "source": "woocommerce",
        "excluded": _status(row["status"]),
    }


EXPORTS = (
    OrderExport(
        "Shopify's order export",
        frozenset({"name", "financial status", "created at", "lineitem quantity", "lineitem price"}),
        frozenset(),
        "name",
        _shopify,
    ),
    OrderExport(
        "WooCommerce's order export",
        frozenset({"order_id", "order_total", "status"}),
        frozenset({"date", "order_date"}),
        "order_id",
        _woocommerce,
    ),
    OrderExport(
        "WooCommerce's advanced order export",
        frozenset({"order number", "order status", "order date", "order total amount"}),
        frozenset(),
        "order number",
        _algolplus,
    ),
    OrderExport(
        "WooCommerce's analytics export",
        frozenset({"date", "order #", "status", "items sold"}),
        frozenset({"net sales", "n. revenue"}),
        "",
        _analytics,
    ),
)


class _Money:
    """Reads amounts of one row in minor units; an empty cell is 0."""

    def __init__(self, currency: str, row: Row) -> None:
        self._currency = row.get("currency") or row.get("order_currency") or currency
        self._row = row

    def of(self, name: str) -> int:
        return self.read(self._row.get(name, ""), name)

    def read(self, text: str, name: str) -> int:
        try:
            return to_minor(text or "0", self._currency)
        except RequestError as error:
            raise RequestError(f"{name}: {error}") from None


def _discounted(lines: list[Fields], discount: int) -> list[Fields]:
    """Spread the rest of the order's discount over the lines, in proportion to their remaining prices."""
    left = discount - sum(line["discount_minor"] for line in lines)
    prices = [line["gross_minor"] - line["discount_minor"] for line in lines]
    return [
        {**line, "discount_minor": line["discount_minor"] + part}
        for line, part in zip(lines, spread(left, prices), strict=True)
    ]


def _without_tax(lines: list[Fields], taxed: int, tax: int) -> list[Fields]:
    """Subtract the tax from lines that include it, in proportion to their prices."""
    if not tax:
        return lines
    before_tax = [line["gross_minor"] for line in lines]
    discount = share(sum(line["discount_minor"] for line in lines), taxed - tax, taxed)
    gross = spread(taxed - tax + discount, before_tax)
    net = spread(taxed - tax, [line["gross_minor"] - line["discount_minor"] for line in lines])
    return [
        {**line, "gross_minor": before, "discount_minor": before - after}
        for line, before, after in zip(lines, gross, net, strict=True)
    ]


def _quantity(text: str) -> int:
    try:
        number = float(text)
    except ValueError:
        number = -1
    if not 0 <= number <= 1_000_000 or number != int(number):
        raise RequestError(f"quantity: must be a whole number, got {describe(text)}")
    return int(number)


def _time(text: str) -> str:
    return re.sub(r" (?=[-+]\d\d:?\d\d$)| UTC$", "", text.strip())


def _visitor(row: Row) -> str | None:
    """Return the visitor id of a column such as `meta:__crosslift_visitor`."""
    return next((value for name, value in row.items() if name.endswith("crosslift_visitor") and value), None)


def _note(notes: str, key: str) -> str | None:
    pairs = (line.partition(": ") for line in notes.splitlines())
    return next((value.strip() for name, _, value in pairs if name.strip() == key), None)


def _status(status: str) -> str | None:
    name = status.lower().removeprefix("wc-").replace(" ", "-")
    return None if name in _COUNTED else name or "no status"


def _parts(cell: str) -> list[str]:
    """Split `name:A|quantity:1;name:B|quantity:2` where an item begins; a name may contain `;`."""
    return [part for part in re.split(r";(?=(?:id|name):)", cell) if part]


def _pairs(text: str) -> dict[str, str]:
    return {name: value for name, _, value in (pair.partition(":") for pair in text.split("|"))}


def _values_of(cell: str, name: str) -> list[str]:
    return [pairs[name] for part in re.split(r";", cell) if name in (pairs := _pairs(part))]
