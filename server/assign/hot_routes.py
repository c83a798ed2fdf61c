"""
The hot routes, as a WSGI middleware in front of the Flask app.

A Flask view costs far more than a plain WSGI callable; assignments, for pages too, and events are all that a busy shop sends.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from events.clock import now_ms
from server.assign.page import page_answer
from server.assign.service import Assignments, mint_visitor_id
from server.http.bodies import MAX_BODY_BYTES, AssignmentsBody, EventsBody, PageBody, read_body
from server.http.cookies import cookie_visitor, set_cookie
from server.http.keys import Keyring, authorise
from server.http.metrics import Counts
from server.http.problems import Problem, Reply, json_reply, reply_to
from server.ingest.collector import Collector

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


class HotPath:
    """Answers `POST /v1/assignments`, `/v1/page` and `/v1/events`, and passes everything else on."""

    def __init__(
        self,
        app: "WSGIApplication",
        keyring: Keyring,
        assignments: Assignments,
        collector: Collector,
        counts: Counts,
        clock_ms: Callable[[], int] = now_ms,
    ) -> None:
        self._app = app
        self._keyring = keyring
        self._assignments = assignments
        self._collector = collector
        self._counts = counts
        self._clock_ms = clock_ms
        self._routes: dict[str, Callable[[dict[str, Any]], Reply]] = {
            "/v1/assignments": self._post_assignments,
            "/v1/page": self._post_page,
            "/v1/events": self._post_events,
        }

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Answer a request."""
        route = self._routes.get(environ["PATH_INFO"])
        if route is None:
            return self._app(environ, start_response)
        try:
            if environ["REQUEST_METHOD"] != "POST":
                found = f"{environ['REQUEST_METHOD'][:20]} {environ['PATH_INFO']}"
                raise Problem(405, f"found {found}; wanted POST", headers={"Allow": "POST"})
            reply = route(environ)
        except Exception as error:  # noqa: BLE001  whatever it is, the client gets an answer
            reply = reply_to(error)
        start_response(reply.status_line, reply.headers)
        return [reply.body]

    def _post_assignments(self, environ: dict[str, Any]) -> Reply:
        """{visitor_id?, context?, experiments?, expose?, preview?} -> {visitor_id, assignments}; any key."""
        authorise(environ, self._keyring)
        body = read_body(AssignmentsBody, _content(environ))
        known = body.visitor_id or cookie_visitor(environ)
        visitor_id = known or mint_visitor_id(self._clock_ms())
        answer = self._assignments.answer(body, visitor_id)
        self._counts.assigned(answer.reasons())
        told = {"visitor_id": visitor_id, "assignments": answer.shown()}
        return json_reply(told, headers=() if known else (("Set-Cookie", set_cookie(visitor_id)),))

    def _post_page(self, environ: dict[str, Any]) -> Reply:
        """{visitor_id?, context?, preview?} -> {visitor_id, now_ms, currency, platform, assignments}; any key."""
        authorise(environ, self._keyring)
        body = read_body(PageBody, _content(environ))
        known = body.visitor_id or cookie_visitor(environ)
        visitor_id, now = known or mint_visitor_id(self._clock_ms()), self._clock_ms()
        answer = self._assignments.answer(
            AssignmentsBody.model_construct(context=body.context, preview=body.preview), visitor_id
        )
        self._counts.assigned(answer.reasons())
        return json_reply(page_answer(answer, now), headers=() if known else (("Set-Cookie", set_cookie(visitor_id)),))

    def _post_events(self, environ: dict[str, Any]) -> Reply:
        """{events: [...]} -> 202 {accepted, duplicates, rejected}; orders and refunds only with a secret key."""
        kind = authorise(environ, self._keyring)
        body = read_body(EventsBody, _content(environ))
        answer = self._collector.answer(body, kind, durable=_is_durable(environ))
        self._counts.collected(answer)
        return json_reply(answer, 202)


def _is_durable(environ: dict[str, Any]) -> bool:
    query = environ.get("QUERY_STRING")
    levels = parse_qs(query, keep_blank_values=True).get("durability", ["disk"]) if query else ["disk"]
    if levels not in (["disk"], ["os"]):
        raise Problem(400, f"durability: found {', '.join(levels)[:40]!r}; wanted disk or os")
    return levels == ["disk"]


def _content(environ: dict[str, Any]) -> bytes:
    """
    Read the body.

    Raises:
        Problem: 413 for one that is too long, 400 for one that ends early.
    """
    told = environ.get("CONTENT_LENGTH") or ""
    length = int(told) if told.isdecimal() else MAX_BODY_BYTES + 1  # sent in chunks
    if told.isdecimal() and length > MAX_BODY_BYTES:
        raise too_long()
    content: bytes = environ["wsgi.input"].read(length)
    if len(content) > MAX_BODY_BYTES:
        raise too_long()
    if told.isdecimal() and len(content) < length:
        raise Problem(400, f"body: found {len(content):,} bytes; wanted {length:,}, as Content-Length says")
    return content


def too_long(most: int = MAX_BODY_BYTES) -> Problem:
    """Give the refusal of a body that is too long."""
    return Problem(413, f"body: found more than {most:,} bytes; wanted fewer")
