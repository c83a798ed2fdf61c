"""The routes of webhooks: a signature opens them, and what is signed is kept, understood or not."""

import logging
import re
from collections.abc import Callable, Mapping
from typing import Any

from flask import Blueprint, Response, request

from events.records import EventRecord
from events.stores.protocol import Rejected, Store
from experiments.errors import RequestError, StoreError
from server.assign.declarations import Declarations, Live
from server.assign.hot_routes import too_long
from server.http.metrics import Counts
from server.http.problems import Problem, json_reply
from server.ingest.webhooks.records import records_of
from server.ingest.webhooks.signing import Secrets

MAX_WEBHOOK_BYTES = 8 << 20  # an order of hundreds of lines fills a few
MAX_DRAINED_BYTES = 64 << 20
UNEXPECTED = "an unexpected fault; it is in the server's log"
_PING = re.compile(rb"webhook_id=[0-9]{1,20}\Z")  # WooCommerce's, when a webhook is made: unsigned


log = logging.getLogger("crosslift")


def webhooks(store: Store, declarations: Declarations, counts: Counts, clock_ms: Callable[[], int]) -> Blueprint:
    """Give the routes that platforms call."""
    blueprint = Blueprint("webhooks", __name__)
    secrets = Secrets(store)

    @blueprint.post("/v1/webhooks/shopify/<shop>")
    def post_shopify(shop: str) -> Response:
        """Shopify's payload, signed -> {accepted, duplicates, rejected}: 200 whether or not it is understood."""
        content = _content()
        _verify(secrets, "shopify", shop, content, request.headers.get("X-Shopify-Hmac-Sha256", ""))
        domain = request.headers.get("X-Shopify-Shop-Domain", shop).lower()
        if domain not in (shop.lower(), f"{shop.lower()}.myshopify.com"):
            raise Problem(401, f"X-Shopify-Shop-Domain: found another shop; wanted {shop}, as the address says")
        return take(f"shopify:{shop}:{_topic('X-Shopify-Topic')}", content)

    @blueprint.post("/v1/webhooks/woocommerce/<shop>")
    def post_woocommerce(shop: str) -> Response:
        """WooCommerce's payload, signed -> {accepted, duplicates, rejected}; its ping, which is not signed -> {}."""
        content = _content()
        if _PING.match(content):
            return _json({})
        _verify(secrets, "woocommerce", shop, content, request.headers.get("X-WC-Webhook-Signature", ""))
        return take(f"woocommerce:{shop}:{_topic('X-WC-Webhook-Topic')}", content)

    def take(source: str, content: bytes) -> Response:
        now = clock_ms()
        records, reason = _read(source, content, declarations.live, store, now)
        fresh = store.write(records)
        if reason:
            store.quarantine([Rejected(now, source, reason, content.decode(errors="replace"))])
        rejected = [{"index": 0, "error": reason}] if reason else []
        answer = {"accepted": sum(fresh), "duplicates": len(fresh) - sum(fresh), "rejected": rejected}
        counts.collected(answer)
        return _json(answer)

    return blueprint


def _read(source: str, content: bytes, live: Live, store: Store, now_ms: int) -> tuple[list[EventRecord], str]:
    """Give a webhook's records, or why there are none."""
    try:
        return records_of(source, content, live, store, now_ms), ""
    except RequestError as error:
        return [], str(error)
    except StoreError:
        raise
    except Exception:  # a fault of ours: what the shop said is kept until it is mended
        log.exception("a webhook of %s cannot be read", source)
        return [], UNEXPECTED


def _content() -> bytes:
    """Read the body; one that is too long is read to its end, or the sender would see no answer, but a broken connection."""
    if (request.content_length or 0) > MAX_WEBHOOK_BYTES:
        left = min(request.content_length or 0, MAX_DRAINED_BYTES)
        while left > 0 and (chunk := request.environ["wsgi.input"].read(min(left, 1 << 16))):
            left -= len(chunk)
        raise too_long(MAX_WEBHOOK_BYTES)
    request.max_content_length = MAX_WEBHOOK_BYTES
    return request.get_data()


def _verify(secrets: Secrets, platform: str, shop: str, content: bytes, sent: str) -> None:
    if not secrets.signed(platform, shop, content, sent):
        wanted = "wanted the Base64 HMAC-SHA256 of the body by a secret of this shop"
        raise Problem(401, f"signature: found none, or one that is not right; {wanted}")


def _topic(header: str) -> str:
    return request.headers.get(header, "")[:100]


def _json(value: Mapping[str, Any]) -> Response:
    reply = json_reply(value)
    return Response(reply.body, reply.status, reply.headers)
