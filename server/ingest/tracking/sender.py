"""Reads tracked events into records, by the declarations that hold and by what their sender may say."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from events.records import EventRecord
from events.stores.protocol import Store
from experiments.assignment.draw import unit_of
from experiments.errors import RequestError
from experiments.money import spread
from experiments.refusals import describe
from server.assign.declarations import Live
from server.ingest.exclusions import mark_excluded
from server.ingest.payloads import Fields, amount, quantity
from server.ingest.rules import LATE_MS
from server.ingest.tracking.event import TrackedEvent, TrackedProduct
from server.ingest.tracking.ga4 import read_ga4
from server.ingest.tracking.segment import read_segment

Event = Mapping[str, Any]

VOCABULARIES: Mapping[str, Callable[[Event], TrackedEvent | None]] = {"segment": read_segment, "ga4": read_ga4}


@dataclass(frozen=True, slots=True)
class Sender:
    """
    The sender of tracked events.

    Attributes:
        live: The declarations that hold.
        store: Where orders are looked up.
        shop: Whose orders they are.
        vocabulary: `segment` or `ga4`.
        is_shop: Whether a secret key was used; a browser can claim anything.
        now_ms: When the events came.
    """

    live: Live
    store: Store
    shop: str
    vocabulary: str
    is_shop: bool
    now_ms: int

    def records(self, event: Event) -> list[EventRecord] | None:
        """
        Read an event; None for one that means nothing here.

        Raises:
            RequestError: What is wrong with the event.
        """
        tracked = VOCABULARIES[self.vocabulary](event)
        if tracked is None:
            return None
        if tracked.kind == "order":
            return [self.live.reader.order(self._order(tracked))]
        if tracked.kind in ("refund", "cancellation"):
            if not self.is_shop:
                raise RequestError(
                    f"event: must be sent with a secret key (sk_), got a {tracked.kind} with a publishable one"
                )
            if tracked.kind == "refund":
                return [self.live.reader.refund(self._refund(tracked))]
            return self._cancelled(tracked)
        return self._interaction(tracked)

    def _interaction(self, tracked: TrackedEvent) -> list[EventRecord] | None:
        experiment = self.live.configs.experiments.get(str(tracked.experiment))
        if experiment is None:  # a promotion that is no experiment
            return None
        if str(tracked.variant) not in experiment.variants:
            variants = ", ".join(experiment.variants)
            raise RequestError(f"creative: must be one of {variants}, got {describe(tracked.variant)}")
        context = {"customer_id": tracked.customer_id} if tracked.customer_id is not None else {}
        pieces = 1 if tracked.quantity is None else quantity(tracked.quantity, "quantity")
        is_in_shop_currency = tracked.currency in (None, self.live.configs.shop.currency)
        visitor_id: Any = tracked.visitor_id
        fields = {
            "event_id": tracked.event_id,
            "kind": tracked.kind,
            "experiment": experiment.key,
            "variant": str(tracked.variant),
            "unit_id": unit_of(experiment, visitor_id, context),
            "placement": tracked.placement,
            "product_id": tracked.product_id,
            "quantity": pieces,
            "value_minor": pieces * self._money(tracked.price, tracked, "price") if is_in_shop_currency else 0,
            **self._at("occurred_at", tracked),
        }
        interaction = self.live.reader.interaction(fields)
        if not self.is_shop and interaction.occurred_at_ms < self.now_ms - LATE_MS:
            raise RequestError(
                "timestamp: must be within the last 7 days, got an earlier time; send older events with a secret key"
            )
        return [interaction]

    def _order(self, tracked: TrackedEvent) -> Fields:
        lines = [self._line(number, product, tracked) for number, product in enumerate(tracked.products, 1)]
        gross = sum(line["gross_minor"] for line in lines)
        discount = self._money(tracked.discount, tracked, "discount") or sum(line["discount_minor"] for line in lines)
        shipping = self._money(tracked.shipping, tracked, "shipping")
        tax = self._money(tracked.tax, tracked, "tax")
        net = gross - discount
        if tracked.net is not None:
            net = self._money(tracked.net, tracked, "revenue")
        elif tracked.total is not None:
            net = self._money(tracked.total, tracked, "total") - shipping - tax
        elif not lines:
            raise RequestError("revenue: must be an amount, or products with a price each, got nothing")
        if gross != net + discount:
            lines = []  # they do not add up to the order, so their own amounts cannot be trusted
        elif discount and not any(line["discount_minor"] for line in lines):
            for line, part in zip(lines, spread(discount, [line["gross_minor"] for line in lines]), strict=True):
                line["discount_minor"] = part
        return {
            "shop": self.shop,
            "order_id": tracked.order_id,
            "unit_id": tracked.visitor_id,
            "customer_id": tracked.customer_id,
            "currency": tracked.currency,
            "gross_minor": net + discount,
            "discount_minor": discount,
            "shipping_minor": shipping,
            "tax_minor": tax,
            "source": self.vocabulary,
            "verified": self.is_shop or self.live.configs.shop.orders.trust_browser,
            "lines": lines or None,
            **self._at("ordered_at", tracked),
        }

    def _line(self, number: int, product: TrackedProduct, tracked: TrackedEvent) -> Fields:
        pieces = 1 if product.quantity is None else quantity(product.quantity, "products.quantity")
        off = pieces * self._money(product.price_off, tracked, "products.discount")
        line = {
            "line_id": str(number),
            "product_id": product.product_id,
            "sku": product.sku,
            "quantity": pieces,
            "gross_minor": pieces * self._money(product.price, tracked, "products.price") + off,
            "discount_minor": off,
        }
        experiment, _, offer_variant = (product.offer or "").partition(":")
        experiment, variant = experiment or str(product.experiment), offer_variant or product.variant
        if variant and experiment in self.live.configs.experiments:
            line |= {"offer_experiment": experiment, "offer_variant": variant}
        return line

    def _refund(self, tracked: TrackedEvent) -> Fields:
        """Return the fields of a refund: of the products that it names, or else of its total."""
        lines = [self._line(number, product, tracked) for number, product in enumerate(tracked.products, 1)]
        of_products = sum(line["gross_minor"] - line["discount_minor"] for line in lines)
        if not of_products and tracked.total is None:
            raise RequestError("total: must be the amount given back, or products with a price each, got nothing")
        return {
            "shop": self.shop,
            "order_id": tracked.order_id,
            "refund_id": tracked.refund_id or tracked.event_id,
            "refunded_minor": of_products or self._money(tracked.total, tracked, "total"),
            "currency": tracked.currency,
            **self._at("refunded_at", tracked),
        }

    def _cancelled(self, tracked: TrackedEvent) -> list[EventRecord]:
        order = {"shop": self.shop, "order_id": tracked.order_id, "source": self.vocabulary}
        return [mark_excluded("cancelled", {**order, **self._at("ordered_at", tracked)}, self.live, self.store)]

    def _money(self, value: object, tracked: TrackedEvent, place: str) -> int:
        return amount(value, str(tracked.currency or self.live.configs.shop.currency), place)

    def _at(self, name: str, tracked: TrackedEvent) -> Fields:
        """Return the time of an event under its column's name; an event without a time happened now."""
        at = self.now_ms if tracked.at is None else tracked.at
        return {f"{name}_ms": at} if isinstance(at, int) else {name: at}
