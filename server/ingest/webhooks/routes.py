"""The route of webhooks: a right signature is required, and what is signed is stored, whether it can be read or not."""

import logging
from collections.abc import Callable

from flask import Blueprint, Response, request

from events.records import EventRecord
from events.stores.protocol import Rejected, Store
from experiments.errors import RequestError, StoreError
from experiments.refusals import describe
from server.assign.declarations import Declarations, Live
from server.http.bodies import body_too_long
from server.http.metrics import Counts
from server.http.problems import Problem, json_response
from server.ingest.outcome import Outcome, Rejection
from server.ingest.quarantine import Source
from server.ingest.webhooks.platform import Platform, Webhook
from server.ingest.webhooks.records import records_of
from server.ingest.webhooks.registry import PLATFORMS
from server.ingest.webhooks.signing import Secrets

MAX_WEBHOOK_BYTES = 8 << 20  # an order of hundreds of lines takes a few
MAX_DRAINED_BYTES = 64 << 20
UNEXPECTED = "an unexpected error; the server's log has the details"

log = logging.getLogger("crosslift")


def webhook_routes(store: Store, declarations: Declarations, counts: Counts, clock_ms: Callable[[], int]) -> Blueprint:
    """Return the route that platforms call."""
    blueprint = Blueprint("webhooks", __name__)
    secrets = Secrets(store)

    @blueprint.post("/v1/webhooks/<platform>/<shop>")
    def post_webhook(platform: str, shop: str) -> Response:
        """A platform's payload, signed -> {accepted, duplicates, rejected}: 200 even if it cannot be read; a ping -> {}."""
        sender = PLATFORMS.get(platform)
        if sender is None:
            raise Problem(404, f"platform: must be one of {', '.join(PLATFORMS)}, got {describe(platform)}")
        content = _read_content()
        if sender.is_ping(content):
            return json_response({})
        _verify(secrets, sender, shop, content)
        topic = request.headers.get(sender.topic_header, "")[:100]
        return take(Webhook(sender, shop, topic, content, clock_ms()))

    def take(webhook: Webhook) -> Response:
        records, error = _read(webhook, declarations.live, store)
        is_new = store.write(records)
        if error:
            source = Source(webhook.platform.name, webhook.shop, webhook.topic).to_text()
            payload = webhook.content.decode(errors="replace")
            store.quarantine([Rejected(webhook.received_at_ms, source, error, payload)])
        outcome = Outcome.of(is_new, [Rejection(0, error)] if error else [])
        counts.count_events(outcome.accepted, outcome.duplicates, len(outcome.rejected))
        return json_response(outcome.to_dict())

    return blueprint


def _read(webhook: Webhook, live: Live, store: Store) -> tuple[list[EventRecord], str]:
    """Return a webhook's records, or why there are none."""
    try:
        return records_of(webhook, live, store), ""
    except RequestError as error:
        return [], str(error)
    except StoreError:
        raise
    except Exception:  # a fault of ours: the payload is kept until it is mended
        log.exception("a webhook of %s %s cannot be read", webhook.platform.name, webhook.shop)
        return [], UNEXPECTED


def _read_content() -> bytes:
    """Read the body; one that is too long is read to its end, or the sender would see a broken connection, not the 413."""
    if (request.content_length or 0) > MAX_WEBHOOK_BYTES:
        left = min(request.content_length or 0, MAX_DRAINED_BYTES)
        while left > 0 and (chunk := request.environ["wsgi.input"].read(min(left, 1 << 16))):
            left -= len(chunk)
        raise body_too_long(MAX_WEBHOOK_BYTES)
    request.max_content_length = MAX_WEBHOOK_BYTES
    return request.get_data()


def _verify(secrets: Secrets, platform: Platform, shop: str, content: bytes) -> None:
    """
    Check that the shop in the address signed the body.

    Raises:
        Problem: 401, in the same words whether the shop is unknown or the signature wrong.
    """
    if not secrets.is_signed(platform, shop, content, request.headers.get(platform.signature_header, "")):
        detail = "must be the HMAC-SHA256 of the body by a secret of this shop, got none, or a wrong one"
        raise Problem(401, f"signature: {detail}; `crosslift webhooks add` stores the secret")
    if platform.shop_header:
        sent = request.headers.get(platform.shop_header, shop)
        if platform.shop_name(sent) != platform.shop_name(shop):
            raise Problem(401, f"{platform.shop_header}: must be {shop}, as in the address, got another shop")
