"""WooCommerce: its headers, and its payloads as fields of orders; docs/woocommerce.md says what is read from where."""

import re
from collections.abc import Iterable

from events.order_rules import excluded, reason_of_source
from experiments.declarations.model import OrderRules
from experiments.errors import RequestError
from experiments.money import share
from experiments.refusals import describe
from server.ingest.payloads import (
    Fields,
    amount,
    identity,
    objects,
    offer_fields,
    quantity,
    required_objects,
    text_property,
)
from server.ingest.webhooks.platform import Payload, Platform

COUNTED = ("processing", "completed")

_PING = re.compile(rb"webhook_id=[0-9]{1,20}\Z")  # sent unsigned when a webhook is saved


def read_woocommerce(topic: str, body: Payload, rules: OrderRules, currency: str) -> list[Fields]:
    """
    Return the order of a webhook.

    Args:
        topic: As the header says; empty where it says nothing.
        body: The payload.
        rules: Which orders are excluded.
        currency: The shop's, for payloads that name none.

    Raises:
        RequestError: The payload is not an order.
    """
    if topic and not topic.startswith("order."):
        raise RequestError(f"topic: must be order.created, order.updated or order.deleted, got {describe(topic)}")
    if "line_items" not in body:
        raise RequestError("body: must be an order, got an object without line_items")
    return [_order(body, rules, str(body.get("currency") or currency))]


def _order(body: Payload, rules: OrderRules, currency: str) -> Fields:
    lines = [_line(line, currency) for line in required_objects(body, "line_items")]
    gross = sum(line["gross_minor"] for line in lines)
    discount = sum(line["discount_minor"] for line in lines)
    fees = (_money(fee, "total", currency) for fee in objects(body.get("fee_lines")))
    discount += sum(
        -fee for fee in fees if fee < 0
    )  # plugins write a discount as a fee below 0; other fees are no products
    net = gross - discount
    refunded = sum(abs(_money(refund, "total", currency)) for refund in objects(body.get("refunds")))
    source = str(body.get("created_via") or "")
    order = {
        "order_id": body.get("id"),
        "unit_id": text_property(body.get("meta_data"), "key", "crosslift_visitor"),
        "customer_id": identity(body.get("customer_id")),
        "ordered_at": _time(body, "date_created"),
        "updated_at": _time(body, "date_modified"),
        "currency": body.get("currency"),
        "gross_minor": gross,
        "discount_minor": discount,
        "shipping_minor": _money(body, "shipping_total", currency),
        "tax_minor": _money(body, "total_tax", currency),
        # Refunds include tax and shipping: the products' part is in proportion.
        "refunded_minor": max(0, min(net, share(refunded, net, _money(body, "total", currency)))),
        "source": "woocommerce",
        "excluded": excluded(rules, _reasons(body, source)),
        "lines": lines,
    }
    return order if lines else order | {"units": 0}


def _reasons(body: Payload, source: str) -> Iterable[str | None]:
    status = str(body.get("status") or "no status").removeprefix("wc-")[:256]
    yield None if status in COUNTED else status
    renews = any(meta.get("key") == "_subscription_renewal" for meta in objects(body.get("meta_data")))
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
        **offer_fields(line.get("meta_data"), "key"),
    }


def _time(body: Payload, name: str) -> str | None:
    """Return a time: UTC under its `_gmt` name, the shop's local time otherwise; neither states its offset."""
    utc = body.get(f"{name}_gmt")
    if isinstance(utc, str) and utc:
        return utc if utc.endswith("Z") or "+" in utc else f"{utc}Z"
    return body.get(name)


def _money(holder: Payload, name: str, currency: str) -> int:
    return amount(holder.get(name), currency, name)


WOOCOMMERCE = Platform(
    name="woocommerce",
    signature_header="X-WC-Webhook-Signature",
    encoding="base64",
    topic_header="X-WC-Webhook-Topic",
    deleted_topic="order.deleted",
    read=read_woocommerce,
    is_ping=lambda content: _PING.match(content) is not None,
)
