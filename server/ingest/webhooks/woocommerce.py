"""What WooCommerce's webhooks say, as fields of orders; docs/woocommerce.md says what is read from where."""

from collections.abc import Iterable, Mapping
from typing import Any

from events.order_rules import excluded, reason_of_source
from experiments.declarations.model import OrderRules
from experiments.errors import RequestError
from experiments.money import share
from experiments.refusals import describe
from server.ingest.payloads import (
    Fields,
    amount,
    identity,
    named,
    needed_objects,
    objects,
    offer,
    quantity,
)

COUNTED = ("processing", "completed")

Payload = Mapping[str, Any]


def read_woocommerce(topic: str, body: Payload, rules: OrderRules, currency: str) -> list[Fields]:
    """
    Give the order of a webhook.

    Args:
        topic: As the header says; empty where it says nothing.
        body: The payload.
        rules: Which orders are left out.
        currency: The shop's, for payloads that name none.

    Raises:
        RequestError: The payload is no order.
    """
    if topic and not topic.startswith("order."):
        raise RequestError(f"topic: found {describe(topic)}; wanted one of order.created, order.updated, order.deleted")
    if "line_items" not in body:
        raise RequestError("body: found no line_items; wanted an order")
    return [_order(body, rules, str(body.get("currency") or currency))]


def _order(body: Payload, rules: OrderRules, currency: str) -> Fields:
    lines = [_line(line, currency) for line in needed_objects(body, "line_items")]
    gross = sum(line["gross_minor"] for line in lines)
    discount = sum(line["discount_minor"] for line in lines)
    fees = (_money(fee, "total", currency) for fee in objects(body.get("fee_lines")))
    discount += sum(
        -fee for fee in fees if fee < 0
    )  # a fee below zero is how plugins give discounts; others are no products
    net = gross - discount
    given_back = sum(abs(_money(refund, "total", currency)) for refund in objects(body.get("refunds")))
    source = str(body.get("created_via") or "")
    order = {
        "order_id": body.get("id"),
        "unit_id": named(body.get("meta_data"), "key", "crosslift_visitor"),
        "customer_id": identity(body.get("customer_id")),
        "ordered_at": _time(body, "date_created"),
        "updated_at": _time(body, "date_modified"),
        "currency": body.get("currency"),
        "gross_minor": gross,
        "discount_minor": discount,
        "shipping_minor": _money(body, "shipping_total", currency),
        "tax_minor": _money(body, "total_tax", currency),
        # Refunds are told with tax and shipping: the products' part is in proportion.
        "refunded_minor": max(0, min(net, share(given_back, net, _money(body, "total", currency)))),
        "source": "woocommerce",
        "excluded": excluded(rules, _reasons(body, source)),
        "lines": lines,
    }
    return order if lines else order | {"units": 0}


def _reasons(body: Payload, source: str) -> Iterable[str | None]:
    status = str(body.get("status") or "no status").removeprefix("wc-")[:256]
    yield None if status in COUNTED else status
    renews = any(one.get("key") == "_subscription_renewal" for one in objects(body.get("meta_data")))
    yield "renewal" if renews else reason_of_source(source)
    yield "staff" if source == "admin" else None


def _line(line: Payload, currency: str) -> Fields:
    net = _money(line, "total", currency)
    gross = net if line.get("subtotal") is None else _money(line, "subtotal", currency)
    return {
        "line_id": line.get("id"),
        "product_id": identity(line.get("product_id")),
        "sku": line.get("sku"),
        "quantity": quantity(line.get("quantity"), "line_items.quantity"),
        "gross_minor": gross,
        "discount_minor": gross - net,
        **offer(line.get("meta_data"), "key"),
    }


def _time(body: Payload, name: str) -> str | None:
    """Read a time, which is UTC under its `_gmt` name and the shop's own otherwise; neither says its offset."""
    universal = body.get(f"{name}_gmt")
    if isinstance(universal, str) and universal:
        return universal if universal.endswith("Z") or "+" in universal else f"{universal}Z"
    return body.get(name)


def _money(holder: Payload, name: str, currency: str) -> int:
    return amount(holder.get(name), currency, name)
