"""
Shopify: its headers, and its payloads as fields of orders and refunds; docs/shopify.md says what is read from where.

Amounts are in the shop's currency, not the buyer's; those of products are without tax, whether or not its prices include tax.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

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
    objects,
    offer_fields,
    quantity,
    required_objects,
    text_property,
)
from server.ingest.webhooks.platform import Payload, Platform

TEST_NOTIFICATION = "820982911946154508"  # the order of the admin's `Send test notification`
UNPAID = ("voided", "expired")


def read_shopify(topic: str, body: Payload, rules: OrderRules, currency: str) -> list[Fields]:
    """
    Return the orders and refunds of a webhook; a refund has a `refund_id`.

    Args:
        topic: As the header says; empty where it says nothing.
        body: The payload.
        rules: Which orders are excluded.
        currency: The shop's, for payloads that name none.

    Raises:
        RequestError: The payload is neither an order nor a refund.
    """
    if topic and not topic.startswith(("orders/", "refunds/")):
        raise RequestError(f"topic: must be orders/... or refunds/create, got {describe(topic)}")
    if "order_edit" in body:  # it says what changed; the new state comes as orders/updated
        return []
    if "order" in body or "refund" in body:
        body = mapping(body.get("order") or body.get("refund"))
    if "line_items" in body:
        return _order(body, rules, str(body.get("currency") or currency))
    if "order_id" in body:
        return [_standalone_refund(body, rules, currency)]
    raise RequestError("body: must be an order with line_items or a refund with an order_id, got neither")


def _order(body: Payload, rules: OrderRules, currency: str) -> list[Fields]:
    tax_inside = body.get("taxes_included") is True
    sold = [line for line in required_objects(body, "line_items") if not _is_tip(line)]
    products = [line for line in sold if _is_product(line, rules)]  # a gift card is money for a later purchase
    only_gift_cards = bool(sold) and not products
    lines = [_Line.read(line, currency, tax_inside) for line in products or sold]
    skipped = {str(line.get("id")) for line in objects(body["line_items"])} - {line.line_id for line in lines}
    refunds = [_refund(refund, currency, tax_inside, skipped) for refund in objects(body.get("refunds"))]
    if not body.get("cancelled_at"):
        for line in lines:
            line.remove_edited(sum(refund.quantities.get(line.line_id, 0) for refund in refunds))
    _spread_order_discount(body, lines, currency)
    if tax_inside:
        _take_out_tax(body, lines, currency)
    source = str(body.get("source_name") or "shopify")[:256]
    order = {
        "order_id": body.get("id"),
        "unit_id": text_property(body.get("note_attributes"), "name", "crosslift_visitor"),
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
    for tags in (body.get("tags"), mapping(body.get("customer")).get("tags")):
        yield from (tag for tag in tags if isinstance(tag, str)) if isinstance(tags, list) else str(tags).split(",")


@dataclass
class _Line:
    """One line of an order, while its amounts are computed."""

    line_id: str
    payload: Payload
    quantity: int
    gross_minor: int
    discount_minor: int
    tax_minor: int = 0

    @classmethod
    def read(cls, line: Payload, currency: str, tax_inside: bool) -> "_Line":
        if line.get("price") is None and not line.get("price_set"):
            raise RequestError(
                f"line_items: must have a price each, got line {describe(line.get('id'))} without a price"
            )
        pieces = quantity(line.get("quantity"), "line_items.quantity")
        allocations = objects(line.get("discount_allocations"))
        allocated = sum(_money(allocation, "amount", currency) for allocation in allocations)
        return cls(
            str(line.get("id")),
            line,
            pieces,
            pieces * _money(line, "price", currency),
            allocated or _money(line, "total_discount", currency),
            _taxes(line, currency) if tax_inside else 0,
        )

    def remove_edited(self, refunded: int) -> None:
        """Remove the pieces that an edit took off: they are neither in the order now nor among its refunds."""
        current = self.payload.get("current_quantity")
        if current is None:
            return
        left = min(self.quantity, quantity(current, "line_items.current_quantity") + refunded)
        self.gross_minor = share(self.gross_minor, left, self.quantity)
        self.discount_minor = share(self.discount_minor, left, self.quantity)
        self.tax_minor = share(self.tax_minor, left, self.quantity)
        self.quantity = left

    def fields(self, refunds: Sequence["_Refund"]) -> Fields:
        return {
            "line_id": self.payload.get("id"),
            "product_id": self.payload.get("product_id"),
            "sku": self.payload.get("sku"),
            "quantity": self.quantity,
            "gross_minor": self.gross_minor,
            "discount_minor": self.discount_minor,
            "refunded_minor": sum(refund.by_line.get(self.line_id, 0) for refund in refunds),
            **offer_fields(self.payload.get("properties"), "name"),
        }


def _spread_order_discount(body: Payload, lines: Sequence[_Line], currency: str) -> None:
    """Spread an order's discount over its lines where the payload, an old one, does not allocate it."""
    if any("discount_allocations" in line.payload for line in lines):
        return
    worth = [line.gross_minor - line.discount_minor for line in lines]
    left = min(_money(body, "total_discounts", currency) - sum(line.discount_minor for line in lines), sum(worth))
    if body.get("subtotal_price") is not None:  # a discount of shipping does not lower it
        left = min(left, sum(worth) - _money(body, "subtotal_price", currency))
    if left > 0:
        for line, part in zip(lines, spread(left, worth), strict=True):
            line.discount_minor += part


def _take_out_tax(body: Payload, lines: Sequence[_Line], currency: str) -> None:
    """Subtract the tax from prices that include it."""
    paid = [line.gross_minor - line.discount_minor for line in lines]
    if not any(line.tax_minor for line in lines):  # the payload says only the tax of the whole order
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
            _money(line, "discounted_price" if "discounted_price" in line else "price", currency)
            for line in objects(body.get("shipping_lines"))
        )
    return total - _shipping_tax(body, currency) if tax_inside else total


def _shipping_tax(body: Payload, currency: str) -> int:
    return sum(_taxes(line, currency) for line in objects(body.get("shipping_lines")))


@dataclass
class _Refund:
    """
    One refund, while its amounts are computed.

    Attributes:
        payload: As it came.
        product_minor: The amount to subtract from product revenue, without tax.
        expected_minor: The total that lines, tax and shipping add up to.
        paid_minor: The total that payments gave back; None without payments, or in another currency.
        by_line, quantities: The products' amounts and pieces, by line.
    """

    payload: Payload
    product_minor: int = 0
    expected_minor: int = 0
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
            "discrepancy_minor": None if self.paid_minor is None else self.paid_minor - self.expected_minor,
        }


def _standalone_refund(body: Payload, rules: OrderRules, default_currency: str) -> Fields:
    """Read a refund that came by itself: its order's currency and tax must be inferred."""
    lines = objects(body.get("refund_line_items"))
    sets = [mapping(mapping(line.get("subtotal_set")).get("shop_money")) for line in lines]
    amounts = [*sets, *objects(body.get("transactions"))]
    codes = (str(money.get("currency_code") or money.get("currency")) for money in amounts if money)
    currency = next(codes, default_currency)
    skipped = {
        str(line.get("line_item_id")) for line in lines if not _is_product(mapping(line.get("line_item")), rules)
    }
    return _refund(body, currency, _is_tax_inside(lines, currency), skipped).fields(body.get("order_id"), currency)


def _refund(body: Payload, currency: str, tax_inside: bool, skipped: set[str]) -> _Refund:
    refund = _Refund(body)
    for line in objects(body.get("refund_line_items")):
        line_id = str(line.get("line_item_id"))
        subtotal, tax = _money(line, "subtotal", currency), _money(line, "total_tax", currency)
        refund.expected_minor += subtotal if tax_inside else subtotal + tax
        if line_id not in skipped:
            product = subtotal - tax if tax_inside else subtotal
            refund.product_minor += product
            refund.by_line[line_id] = refund.by_line.get(line_id, 0) + product
            pieces = quantity(line.get("quantity"), "refund_line_items.quantity")
            refund.quantities[line_id] = refund.quantities.get(line_id, 0) + pieces
    for adjustment in objects(body.get("order_adjustments")):  # below 0 where more is given back
        value = _money(adjustment, "amount", currency)
        refund.expected_minor -= value + _money(adjustment, "tax_amount", currency)
        if adjustment.get("kind") == "refund_discrepancy":
            refund.product_minor -= value
    refund.product_minor = max(0, refund.product_minor)
    payments = [payment for payment in objects(body.get("transactions")) if _is_paid_back(payment)]
    if payments and all(payment.get("currency", currency) == currency for payment in payments):
        refund.paid_minor = sum(_money(payment, "amount", currency) for payment in payments)
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
    """Infer from tax rates whether subtotals include their tax, which only the order states."""
    for line in lines:
        rates = [tax_line.get("rate") for tax_line in objects(mapping(line.get("line_item")).get("tax_lines"))]
        rate = sum((Decimal(each) for each in rates if isinstance(each, (int, Decimal))), Decimal(0))
        subtotal, tax = (Decimal(_money(line, name, currency)) for name in ("subtotal", "total_tax"))
        if 0 < rate < 10 and tax:
            on_top, inside = subtotal * rate, subtotal * rate / (1 + rate)
            return abs(tax - inside) < abs(tax - on_top)
    return False


def _taxes(line: Payload, currency: str) -> int:
    return sum(_money(tax_line, "price", currency) for tax_line in objects(line.get("tax_lines")))


def _money(holder: Payload, name: str, currency: str) -> int:
    """Read an amount in the shop's currency; `NAME_set` has it besides the amount in the buyer's."""
    in_shop_currency = mapping(mapping(holder.get(f"{name}_set")).get("shop_money")).get("amount")
    return amount(holder.get(name) if in_shop_currency is None else in_shop_currency, currency, name)


SHOPIFY = Platform(
    name="shopify",
    signature_header="X-Shopify-Hmac-Sha256",
    encoding="base64",
    topic_header="X-Shopify-Topic",
    deleted_topic="orders/delete",
    read=read_shopify,
    shop_header="X-Shopify-Shop-Domain",
    shop_suffix=".myshopify.com",
)
