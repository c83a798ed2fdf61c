"""
What Shopify's webhooks say, as fields of orders and refunds; docs/shopify.md says what is read from where.

Amounts are the shop's money, not the buyer's; those of products without tax, whether or not the shop's prices include it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from events.order_rules import excluded, reason_of_source
from experiments.declarations.model import OrderRules
from experiments.errors import RequestError
from experiments.money import share, spread
from experiments.refusals import describe
from server.ingest.payloads import (
    Fields,
    amount,
    identity,
    mapping,
    named,
    needed_objects,
    objects,
    offer,
    quantity,
)

TEST_NOTIFICATION = "820982911946154508"  # the order that the admin's `Send test notification` makes up
UNPAID = ("voided", "expired")

Payload = Mapping[str, Any]


def read_shopify(topic: str, body: Payload, rules: OrderRules, currency: str) -> list[Fields]:
    """
    Give the orders and refunds of a webhook; a refund has a `refund_id`.

    Args:
        topic: As the header says; empty where it says nothing.
        body: The payload.
        rules: Which orders are left out.
        currency: The shop's, for payloads that name none.

    Raises:
        RequestError: The payload is none of those that are understood.
    """
    if topic and not topic.startswith(("orders/", "refunds/")):
        raise RequestError(f"topic: found {describe(topic)}; wanted one of orders/... or refunds/create")
    if "order_edit" in body:  # says what was changed, not what the order is now: that comes as orders/updated
        return []
    if "order" in body or "refund" in body:
        body = mapping(body.get("order") or body.get("refund"))
    if "line_items" in body:
        return _order(body, rules, str(body.get("currency") or currency))
    if "order_id" in body:
        return [_separate_refund(body, rules, currency)]
    raise RequestError("body: found neither line_items nor an order_id; wanted an order or a refund")


def _order(body: Payload, rules: OrderRules, currency: str) -> list[Fields]:
    tax_inside = body.get("taxes_included") is True
    bought = [line for line in needed_objects(body, "line_items") if not _is_tip(line)]
    products = [line for line in bought if _is_product(line, rules)]  # a gift card is money for a later purchase
    only_gift_cards = bool(bought) and not products
    lines = [_Line.read(line, currency, tax_inside) for line in products or bought]
    passed_over = {str(line.get("id")) for line in objects(body["line_items"])} - {line.line_id for line in lines}
    refunds = [_refund(refund, currency, tax_inside, passed_over) for refund in objects(body.get("refunds"))]
    if not body.get("cancelled_at"):
        for line in lines:
            line.remove_edited(sum(refund.quantities.get(line.line_id, 0) for refund in refunds))
    _spread_order_discount(body, lines, currency)
    if tax_inside:
        _take_out_tax(body, lines, currency)
    source = str(body.get("source_name") or "shopify")[:256]
    order = {
        "order_id": body.get("id"),
        "unit_id": named(body.get("note_attributes"), "name", "crosslift_visitor"),
        "customer_id": identity(mapping(body.get("customer")).get("id")),
        "company_id": identity(mapping(body.get("company")).get("id")),
        "ordered_at": body.get("created_at"),
        "updated_at": body.get("updated_at"),
        "currency": body.get("currency"),
        "shipping_minor": _shipping(body, currency, tax_inside),
        "tax_minor": _money(body, "total_tax", currency),
        "refunded_minor": sum(refund.product_minor for refund in refunds),
        "source": source,
        "excluded": excluded(rules, _reasons(body, source, only_gift_cards), _tags(body)),
        "lines": [line.fields(refunds) for line in lines if line.quantity],
    }
    if not order["lines"]:
        order |= {"gross_minor": 0, "units": 0}
    return [order, *(refund.fields(body.get("id"), body.get("currency")) for refund in refunds)]


def _reasons(body: Payload, source: str, only_gift_cards: bool) -> Iterable[str | None]:
    status = body.get("financial_status")
    yield "test" if body.get("test") is True or str(body.get("id")) == TEST_NOTIFICATION else None
    yield "cancelled" if body.get("cancelled_at") else None
    yield str(status) if status in UNPAID else None
    yield reason_of_source(source)
    yield "gift_card" if only_gift_cards else None


def _tags(body: Payload) -> Iterable[str]:
    for told in (body.get("tags"), mapping(body.get("customer")).get("tags")):
        yield from (tag for tag in told if isinstance(tag, str)) if isinstance(told, list) else str(told).split(",")


@dataclass
class _Line:
    """One line of an order, while its amounts are worked out."""

    line_id: str
    payload: Payload
    quantity: int
    gross_minor: int
    discount_minor: int
    tax_minor: int = 0

    @classmethod
    def read(cls, line: Payload, currency: str, tax_inside: bool) -> "_Line":
        if line.get("price") is None and not line.get("price_set"):
            raise RequestError(f"line_items: found a line {describe(line.get('id'))} without a price; wanted one")
        bought = quantity(line.get("quantity"), "line_items.quantity")
        allocated = sum(_money(one, "amount", currency) for one in objects(line.get("discount_allocations")))
        return cls(
            str(line.get("id")),
            line,
            bought,
            bought * _money(line, "price", currency),
            allocated or _money(line, "total_discount", currency),
            _taxes(line, currency) if tax_inside else 0,
        )

    def remove_edited(self, refunded: int) -> None:
        """Take off pieces that an edit removed: neither there now, nor among the refunds."""
        current = self.payload.get("current_quantity")
        if current is None:
            return
        kept = min(self.quantity, quantity(current, "line_items.current_quantity") + refunded)
        self.gross_minor = share(self.gross_minor, kept, self.quantity)
        self.discount_minor = share(self.discount_minor, kept, self.quantity)
        self.tax_minor = share(self.tax_minor, kept, self.quantity)
        self.quantity = kept

    def fields(self, refunds: Sequence["_Refund"]) -> Fields:
        return {
            "line_id": self.payload.get("id"),
            "product_id": self.payload.get("product_id"),
            "sku": self.payload.get("sku"),
            "quantity": self.quantity,
            "gross_minor": self.gross_minor,
            "discount_minor": self.discount_minor,
            "refunded_minor": sum(refund.by_line.get(self.line_id, 0) for refund in refunds),
            **offer(self.payload.get("properties"), "name"),
        }


def _spread_order_discount(body: Payload, lines: Sequence[_Line], currency: str) -> None:
    """Put a discount that no line has yet on the lines: old payloads allocate none."""
    if any("discount_allocations" in line.payload for line in lines):
        return
    worth = [line.gross_minor - line.discount_minor for line in lines]
    left = min(_money(body, "total_discounts", currency) - sum(line.discount_minor for line in lines), sum(worth))
    if body.get("subtotal_price") is not None:  # which a discount of shipping has not lowered
        left = min(left, sum(worth) - _money(body, "subtotal_price", currency))
    if left > 0:
        for line, part in zip(lines, spread(left, worth), strict=True):
            line.discount_minor += part


def _take_out_tax(body: Payload, lines: Sequence[_Line], currency: str) -> None:
    """Take the tax out of prices that include it."""
    paid = [line.gross_minor - line.discount_minor for line in lines]
    if not any(line.tax_minor for line in lines):  # taxes are told of the whole order only
        of_products = _money(body, "total_tax", currency) - _shipping_tax(body, currency)
        for line, tax in zip(lines, spread(max(0, of_products), paid), strict=True):
            line.tax_minor = tax
    for line, before in zip(lines, paid, strict=True):
        after = before - line.tax_minor
        if before > 0 and line.tax_minor:
            line.gross_minor = share(line.gross_minor, after, before)
            line.discount_minor = line.gross_minor - after


def _shipping(body: Payload, currency: str, tax_inside: bool) -> int:
    if body.get("total_shipping_price_set"):
        total = _money(body, "total_shipping_price", currency)
    else:
        total = sum(
            _money(one, "discounted_price" if "discounted_price" in one else "price", currency)
            for one in objects(body.get("shipping_lines"))
        )
    return total - _shipping_tax(body, currency) if tax_inside else total


def _shipping_tax(body: Payload, currency: str) -> int:
    return sum(_taxes(one, currency) for one in objects(body.get("shipping_lines")))


@dataclass
class _Refund:
    """
    One refund, while it is worked out.

    Attributes:
        payload: As it came.
        product_minor: What comes off the revenue of products, without tax.
        told_minor: What lines, tax and shipping say was given back in all.
        paid_minor: What payments gave back; None where there was none, or in another currency.
        by_line, quantities: Products' money and pieces, by line.
    """

    payload: Payload
    product_minor: int = 0
    told_minor: int = 0
    paid_minor: int | None = None
    by_line: dict[str, int] = field(default_factory=dict)
    quantities: dict[str, int] = field(default_factory=dict)

    def fields(self, order_id: object, currency: object) -> Fields:
        return {
            "order_id": order_id,
            "refund_id": self.payload.get("id"),
            "refunded_at": self.payload.get("processed_at") or self.payload.get("created_at"),
            "currency": currency,
            "refunded_minor": self.product_minor,
            "paid_minor": self.paid_minor,
            "discrepancy_minor": None if self.paid_minor is None else self.paid_minor - self.told_minor,
        }


def _separate_refund(body: Payload, rules: OrderRules, otherwise: str) -> Fields:
    """Read a refund that came by itself, and does not say what its order does."""
    lines = objects(body.get("refund_line_items"))
    sets = [mapping(mapping(line.get("subtotal_set")).get("shop_money")) for line in lines]
    told = [*sets, *objects(body.get("transactions"))]
    currency = next((str(one.get("currency_code") or one.get("currency")) for one in told if one), otherwise)
    passed_over = {
        str(line.get("line_item_id")) for line in lines if not _is_product(mapping(line.get("line_item")), rules)
    }
    return _refund(body, currency, _is_tax_inside(lines, currency), passed_over).fields(body.get("order_id"), currency)


def _refund(body: Payload, currency: str, tax_inside: bool, passed_over: set[str]) -> _Refund:
    refund = _Refund(body)
    for line in objects(body.get("refund_line_items")):
        line_id = str(line.get("line_item_id"))
        subtotal, tax = _money(line, "subtotal", currency), _money(line, "total_tax", currency)
        refund.told_minor += subtotal if tax_inside else subtotal + tax
        if line_id not in passed_over:
            product = subtotal - tax if tax_inside else subtotal
            refund.product_minor += product
            refund.by_line[line_id] = refund.by_line.get(line_id, 0) + product
            pieces = quantity(line.get("quantity"), "refund_line_items.quantity")
            refund.quantities[line_id] = refund.quantities.get(line_id, 0) + pieces
    for adjustment in objects(body.get("order_adjustments")):  # below zero where more is given back
        value = _money(adjustment, "amount", currency)
        refund.told_minor -= value + _money(adjustment, "tax_amount", currency)
        if adjustment.get("kind") == "refund_discrepancy":
            refund.product_minor -= value
    refund.product_minor = max(0, refund.product_minor)
    paid = [one for one in objects(body.get("transactions")) if _is_paid_back(one)]
    if paid and all(one.get("currency", currency) == currency for one in paid):
        refund.paid_minor = sum(_money(one, "amount", currency) for one in paid)
    return refund


def _is_product(line: Payload, rules: OrderRules) -> bool:
    return not _is_tip(line) and (not _is_gift_card(line) or "gift_card" in rules.count)


def _is_tip(line: Payload) -> bool:
    if line.get("tip") or line.get("tip_payment_gateway"):
        return True
    return line.get("title") == "Tip" and not line.get("product_id") and not line.get("requires_shipping")


def _is_gift_card(line: Payload) -> bool:
    return line.get("gift_card") is True


def _is_paid_back(transaction: Payload) -> bool:
    return transaction.get("kind") == "refund" and transaction.get("status") == "success"


def _is_tax_inside(lines: Sequence[Payload], currency: str) -> bool:
    """Tell from rates whether subtotals include their tax, which only the order says outright."""
    for line in lines:
        rates = [one.get("rate") for one in objects(mapping(line.get("line_item")).get("tax_lines"))]
        rate = sum((Decimal(one) for one in rates if isinstance(one, (int, Decimal))), Decimal(0))
        subtotal, tax = (Decimal(_money(line, name, currency)) for name in ("subtotal", "total_tax"))
        if 0 < rate < 10 and tax:
            beside, within = subtotal * rate, subtotal * rate / (1 + rate)
            return abs(tax - within) < abs(tax - beside)
    return False


def _taxes(line: Payload, currency: str) -> int:
    return sum(_money(one, "price", currency) for one in objects(line.get("tax_lines")))


def _money(holder: Payload, name: str, currency: str) -> int:
    """Read an amount in the shop's money; `NAME_set` says it beside the buyer's."""
    of_shop = mapping(mapping(holder.get(f"{name}_set")).get("shop_money")).get("amount")
    return amount(holder.get(name) if of_shop is None else of_shop, currency, name)
