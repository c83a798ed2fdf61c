"""`POST /v1/track`, `/v1/batch` and `/mp/collect`: the addresses that Segment's and GA4's clients call."""

import json
import zlib
from base64 import b64decode
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from flask import Blueprint, Response, request

from events.records import EventRecord
from events.stores.protocol import Rejected, Store
from experiments.errors import RequestError
from experiments.refusals import describe
from server.assign.declarations import Declarations
from server.http.bodies import MAX_BODY_BYTES, MAX_EVENTS, body_too_long
from server.http.keys import KeyKind, Keyring, authorise
from server.http.metrics import Counts
from server.http.problems import Problem, json_response
from server.ingest.outcome import Outcome, Rejection
from server.ingest.payloads import read_json
from server.ingest.quarantine import Source
from server.ingest.tracking.ga4 import events_of
from server.ingest.tracking.sender import Sender


def tracking_routes(
    store: Store, declarations: Declarations, keyring: Keyring, counts: Counts, clock_ms: Callable[[], int]
) -> Blueprint:
    """Return the routes that other vendors' clients call; `?shop=` names the shop of their orders."""
    blueprint = Blueprint("tracking", __name__)

    @blueprint.post("/v1/track")
    def post_track() -> Response:
        """A message of Segment's -> {success, accepted, duplicates, ignored, rejected}; any key, as user of Basic."""
        body = _body()
        return take("segment", [body], _authorise(keyring, body))

    @blueprint.post("/v1/batch")
    def post_batch() -> Response:
        """{batch: [message, ...]} -> the same; the messages are read one by one."""
        body = _body()
        return take("segment", _list(body, "batch"), _authorise(keyring, body))

    @blueprint.post("/mp/collect")
    def post_collect() -> Response:
        """{client_id, events: [{name, params}]} as of GA4's Measurement Protocol -> the same; `?api_secret=` a key."""
        body = _body()
        _list(body, "events")
        key = request.args.get("api_secret", "")  # addresses are logged, so a secret key must come in a header
        key_kind = _authorise(keyring, {} if key.startswith("sk_") else {"writeKey": key or None})
        return take("ga4", list(events_of(body)), key_kind)

    def take(vocabulary: str, events: Iterable[Any], key_kind: KeyKind) -> Response:
        now_ms, shop = clock_ms(), request.args.get("shop", "default")
        sender = Sender(declarations.live, store, shop, vocabulary, key_kind == "secret", now_ms)
        source = Source(vocabulary, shop).to_text()
        records: list[EventRecord] = []
        rejected, unread, ignored = [], [], 0
        for index, event in enumerate(events):
            try:
                read = sender.records(event) if isinstance(event, dict) else None
            except RequestError as error:
                rejected.append(Rejection(index, str(error)))
                unread.append(Rejected(now_ms, source, str(error), json.dumps(event, default=str)))
            else:
                ignored += read is None
                records += read or []
        if key_kind == "secret" and unread:
            store.quarantine(unread)
        outcome = Outcome.of(store.write(records), rejected)
        counts.count_events(outcome.accepted, outcome.duplicates, len(rejected))
        return json_response({"success": not rejected, **outcome.to_dict(), "ignored": ignored})

    return blueprint


def _body() -> dict[str, Any]:
    content = request.get_data()
    if request.headers.get("Content-Encoding", "").lower() == "gzip":
        content = _unzip(content)
    try:
        body = read_json(content)
    except RequestError as error:
        raise Problem(400, str(error)) from None
    if not isinstance(body, dict):
        raise Problem(400, f"body: must be a JSON object, got {describe(body)}")
    return body


def _unzip(content: bytes) -> bytes:
    try:
        unzipped = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(content, MAX_BODY_BYTES + 1)
    except zlib.error:
        raise Problem(400, "body: must be gzip, as Content-Encoding says, got other bytes") from None
    if len(unzipped) > MAX_BODY_BYTES:
        raise body_too_long()
    return unzipped


def _list(body: Mapping[str, Any], name: str) -> list[Any]:
    value = body.get(name)
    if not isinstance(value, list) or len(value) > MAX_EVENTS:
        raise Problem(400, f"{name}: must be a list of at most {MAX_EVENTS:,} events, got {describe(value)}")
    return value


def _authorise(keyring: Keyring, body: Mapping[str, Any]) -> KeyKind:
    """Return the kind of the key: the user of Basic, or the body's writeKey, or sent in any way that other routes accept."""
    environ = dict(request.environ)
    scheme, _, encoded = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    key = body.get("writeKey")
    if scheme.lower() == "basic":
        try:
            key = b64decode(encoded, validate=True).decode().partition(":")[0]
        except ValueError:  # not Base64, or not text
            key = None
        del environ["HTTP_AUTHORIZATION"]
    if isinstance(key, str) and "HTTP_AUTHORIZATION" not in environ and not key.startswith("Bearer"):
        environ["HTTP_X_API_KEY"] = key
    return authorise(environ, keyring)
