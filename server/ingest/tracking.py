"""`POST /v1/track`, `/v1/batch` and `/mp/collect`: what Segment's and GA4's clients send, as interactions, orders and refunds."""

import json
import zlib
from base64 import b64decode
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, Response, request

from events.records import EventRecord
from events.stores.protocol import Rejected, Store
from experiments.assignment.draw import unit_of
from experiments.errors import RequestError
from experiments.money import spread
from experiments.refusals import describe
from server.assign.declarations import Declarations, Live
from server.assign.hot_routes import too_long
from server.http.bodies import MAX_BODY_BYTES, MAX_EVENTS
from server.http.keys import KeyKind, Keyring, authorise
from server.http.metrics import Counts
from server.http.problems import Problem, json_reply
from server.ingest.collector import LATE_MS
from server.ingest.ga4 import events_of, read_ga4
from server.ingest.payloads import Fields, amount, quantity, read_json
from server.ingest.segment import read_segment
from server.ingest.webhooks.records import mark_excluded

Event = Mapping[str, Any]

READERS: Mapping[str, Callable[[Event], Fields | None]] = {"segment": read_segment, "ga4": read_ga4}


@dataclass(frozen=True)
class Sender:
    """
    Who sends, and when.

    Attributes:
        live: The declarations that hold.
        store: Where orders are looked up.
        shop: Whose orders they are.
        vocabulary: `segment` or `ga4`.
        is_shop: Whether a secret key vouches for what is said; a browser can say anything.
        now_ms: When it came.
    """

    live: Live
    store: Store
    shop: str
    vocabulary: str
    is_shop: bool
    now_ms: int

    def records(self, event: Event) -> list[EventRecord] | None:
        """
        Read an event; None for what means nothing here.

        Raises:
            RequestError: It means something, and is wrong.
        """
        told = READERS[self.vocabulary](event)
        if told is None:
            return None
        if told["at"] is None:
            told["at"] = self.now_ms
        if told["kind"] == "order":
            return [self.live.reader.order(self._order(told))]
        if told["kind"] in ("refund", "cancellation"):
            if not self.is_shop:
                raise RequestError(f"event: found a {told['kind']} with a publishable key; wanted a secret one (sk_)")
            return [self.live.reader.refund(self._refund(told))] if told["kind"] == "refund" else self._cancelled(told)
        return self._interaction(told)

    def _interaction(self, told: Fields) -> list[EventRecord] | None:
        experiment = self.live.configs.experiments.get(str(told["experiment"]))
        if experiment is None:  # a promotion of the shop's own
            return None
        if str(told["variant"]) not in experiment.variants:
            wanted = f"wanted one of {', '.join(experiment.variants)}"
            raise RequestError(f"creative: found {describe(told['variant'])}; {wanted}")
        known = {"customer_id": told["customer_id"]} if told["customer_id"] is not None else {}
        pieces = 1 if told["quantity"] is None else quantity(told["quantity"], "quantity")
        in_shops_money = told["currency"] in (None, self.live.configs.shop.currency)
        fields = {
            "event_id": told["event_id"],
            "kind": told["kind"],
            "experiment": experiment.key,
            "variant": str(told["variant"]),
            "unit_id": unit_of(experiment, told["visitor_id"], known),
            "placement": told["placement"],
            "product_id": told["product_id"],
            "quantity": pieces,
            "value_minor": pieces * self._money(told["price"], told, "price") if in_shops_money else 0,
            **_at("occurred_at", told["at"]),
        }
        interaction = self.live.reader.interaction(fields)
        if not self.is_shop and interaction.occurred_at_ms < self.now_ms - LATE_MS:
            raise RequestError("timestamp: found a time more than 7 days ago; wanted a later one, or a secret key")
        return [interaction]

    def _order(self, told: Fields) -> Fields:
        lines = [self._line(number, product, told) for number, product in enumerate(told["products"], 1)]
        gross = sum(line["gross_minor"] for line in lines)
        discount = self._money(told.get("discount"), told, "discount") or sum(line["discount_minor"] for line in lines)
        shipping, tax = (self._money(told[name], told, name) for name in ("shipping", "tax"))
        net = gross - discount
        if told["net"] is not None:
            net = self._money(told["net"], told, "revenue")
        elif told["total"] is not None:
            net = self._money(told["total"], told, "total") - shipping - tax
        elif not lines:
            raise RequestError("revenue: found nothing; wanted an amount, or products that have one each")
        if gross != net + discount:
            lines = []  # they do not add up to the order: what they say of it cannot be trusted
        elif discount and not any(line["discount_minor"] for line in lines):
            for line, part in zip(lines, spread(discount, [line["gross_minor"] for line in lines]), strict=True):
                line["discount_minor"] = part
        return {
            "shop": self.shop,
            "order_id": told["order_id"],
            "unit_id": told["visitor_id"],
            "customer_id": told["customer_id"],
            "currency": told["currency"],
            "gross_minor": net + discount,
            "discount_minor": discount,
            "shipping_minor": shipping,
            "tax_minor": tax,
            "source": self.vocabulary,
            "verified": self.is_shop or self.live.configs.shop.orders.trust_browser,
            "lines": lines or None,
            **_at("ordered_at", told["at"]),
        }

    def _line(self, number: int, product: Fields, told: Fields) -> Fields:
        pieces = 1 if product["quantity"] is None else quantity(product["quantity"], "products.quantity")
        off = pieces * self._money(product.get("price_off"), told, "products.discount")
        line = {
            "line_id": str(number),
            "product_id": product["product_id"],
            "sku": product.get("sku"),
            "quantity": pieces,
            "gross_minor": pieces * self._money(product["price"], told, "products.price") + off,
            "discount_minor": off,
        }
        experiment, _, variant = (product["offer"] or "").partition(":")
        experiment, variant = experiment or str(product["experiment"]), variant or product["variant"]
        if variant and experiment in self.live.configs.experiments:
            line |= {"offer_experiment": experiment, "offer_variant": variant}
        return line

    def _refund(self, told: Fields) -> Fields:
        """Read a refund: of the products that it names, or else of the sum."""
        lines = [self._line(number, product, told) for number, product in enumerate(told["products"], 1)]
        of_products = sum(line["gross_minor"] - line["discount_minor"] for line in lines)
        if not of_products and told["total"] is None:
            raise RequestError("total: found nothing; wanted what was given back, or products with a price")
        return {
            "shop": self.shop,
            "order_id": told["order_id"],
            "refund_id": told.get("refund_id") or told["event_id"],
            "refunded_minor": of_products or self._money(told["total"], told, "total"),
            "currency": told["currency"],
            **_at("refunded_at", told["at"]),
        }

    def _cancelled(self, told: Fields) -> list[EventRecord]:
        order = {"shop": self.shop, "order_id": told["order_id"], "source": self.vocabulary}
        return [mark_excluded("cancelled", {**order, **_at("ordered_at", told["at"])}, self.live, self.store)]

    def _money(self, value: object, told: Fields, place: str) -> int:
        return amount(value, str(told["currency"] or self.live.configs.shop.currency), place)


def _at(name: str, value: object) -> Fields:
    return {f"{name}_ms": value} if isinstance(value, int) else {name: value}


def tracked(
    store: Store, declarations: Declarations, keyring: Keyring, counts: Counts, clock_ms: Callable[[], int]
) -> Blueprint:
    """Give the routes that the clients of others call; `?shop=` says whose orders they send."""
    blueprint = Blueprint("tracked", __name__)

    @blueprint.post("/v1/track")
    def post_track() -> Response:
        """One message of Segment's -> {success, accepted, duplicates, ignored, rejected}; any key, as user of Basic."""
        body = _body()
        return take("segment", [body], _authorised(keyring, body))

    @blueprint.post("/v1/batch")
    def post_batch() -> Response:
        """{batch: [message, ...]} -> the same; the messages are read one by one."""
        body = _body()
        return take("segment", _list(body, "batch"), _authorised(keyring, body))

    @blueprint.post("/mp/collect")
    def post_collect() -> Response:
        """{client_id, events: [{name, params}]} as of GA4's Measurement Protocol -> the same; `?api_secret=` a key."""
        body = _body()
        _list(body, "events")
        told = request.args.get("api_secret", "")  # addresses are logged: a secret key comes in a header
        kind = _authorised(keyring, {} if told.startswith("sk_") else {"writeKey": told or None})
        return take("ga4", list(events_of(body)), kind)

    def take(vocabulary: str, events: Iterable[Any], kind: KeyKind) -> Response:
        now, shop = clock_ms(), request.args.get("shop", "default")
        sender = Sender(declarations.live, store, shop, vocabulary, kind == "secret", now)
        records: list[EventRecord] = []
        rejected, held, ignored = [], [], 0
        for index, event in enumerate(events):
            try:
                read = sender.records(event) if isinstance(event, dict) else None
            except RequestError as error:
                rejected.append({"index": index, "error": str(error)})
                held.append(Rejected(now, f"{vocabulary}:{shop}"[:256], str(error), json.dumps(event, default=str)))
            else:
                ignored += read is None
                records += read or []
        if kind == "secret" and held:
            store.quarantine(held)
        fresh = store.write(records)
        answer = {"accepted": sum(fresh), "duplicates": len(fresh) - sum(fresh), "rejected": rejected}
        counts.collected(answer)
        reply = json_reply({"success": not rejected, **answer, "ignored": ignored})
        return Response(reply.body, reply.status, reply.headers)

    return blueprint


def _body() -> dict[str, Any]:
    content = request.get_data()
    if request.headers.get("Content-Encoding", "").lower() == "gzip":
        content = _unzipped(content)
    try:
        body = read_json(content)
    except RequestError as error:
        raise Problem(400, str(error)) from None
    if not isinstance(body, dict):
        raise Problem(400, f"body: found {describe(body)}; wanted a JSON object")
    return body


def _unzipped(content: bytes) -> bytes:
    try:
        unzipped = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(content, MAX_BODY_BYTES + 1)
    except zlib.error:
        raise Problem(400, "body: found bytes that are not gzip; wanted what Content-Encoding says") from None
    if len(unzipped) > MAX_BODY_BYTES:
        raise too_long()
    return unzipped


def _list(body: Mapping[str, Any], name: str) -> list[Any]:
    value = body.get(name)
    if not isinstance(value, list) or len(value) > MAX_EVENTS:
        raise Problem(400, f"{name}: found {describe(value)}; wanted a list of at most {MAX_EVENTS:,}")
    return value


def _authorised(keyring: Keyring, body: Mapping[str, Any]) -> KeyKind:
    """Tell what the key allows: the user of Basic, or the body's writeKey, or any way that other routes take."""
    environ = dict(request.environ)
    scheme, _, encoded = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    told = body.get("writeKey")
    if scheme.lower() == "basic":
        try:
            told = b64decode(encoded, validate=True).decode().partition(":")[0]
        except ValueError:  # no Base64, or no text in it
            told = None
        del environ["HTTP_AUTHORIZATION"]
    if isinstance(told, str) and "HTTP_AUTHORIZATION" not in environ and not told.startswith("Bearer"):
        environ["HTTP_X_API_KEY"] = told
    return authorise(environ, keyring)
