"""
The hot routes, as a WSGI middleware in front of the Flask app.

A Flask view costs far more than a plain WSGI callable, and a busy shop sends little besides assignments and events.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from server.assign.page import PAGE, arrange_page, page_values
from server.assign.service import Assigned, AssignmentService
from server.http.bodies import AssignmentsBody, PageBody, read_body, read_content
from server.http.cookies import Visitor, read_visitor
from server.http.keys import Keyring, authorise
from server.http.metrics import Counts
from server.http.problems import Problem, Reply, error_reply, json_reply

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

Handler = Callable[[dict[str, Any]], Reply]  # of a POST request


class HotRoutes:
    """Answers the requests that it has a handler for, and passes all others to the app."""

    def __init__(self, app: "WSGIApplication", handlers: Mapping[str, Handler]) -> None:
        self._app = app
        self._handlers = handlers

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Answer a request."""
        handler = self._handlers.get(environ["PATH_INFO"])
        if handler is None:
            return self._app(environ, start_response)
        try:
            if environ["REQUEST_METHOD"] != "POST":
                detail = f"method: must be POST for {environ['PATH_INFO']}, got {environ['REQUEST_METHOD'][:20]}"
                raise Problem(405, detail, headers={"Allow": "POST"})
            reply = handler(environ)
        except Exception as error:  # noqa: BLE001  whatever it is, the client gets a response
            reply = error_reply(error)
        start_response(reply.status_line, reply.headers)
        return [reply.body]


@dataclass(frozen=True, slots=True)
class AssignmentRoutes:
    """`POST /v1/assignments` and `POST /v1/page`: authorise, read, assign, encode, reply."""

    keyring: Keyring
    service: AssignmentService
    counts: Counts
    clock_ms: Callable[[], int]

    def handlers(self) -> dict[str, Handler]:
        """Return the handler of each address."""
        return {"/v1/assignments": self.post_assignments, "/v1/page": self.post_page}

    def post_assignments(self, environ: dict[str, Any]) -> Reply:
        """{visitor_id?, context?, experiments?, expose?, preview?} -> {visitor_id, assignments}; any key."""
        authorise(environ, self.keyring)
        body = read_body(AssignmentsBody, read_content(environ))
        visitor = read_visitor(environ, body.visitor_id, self.clock_ms())
        assigned = self.service.assign(visitor.visitor_id, body)
        answers = self.service.encode(assigned)
        return self._reply({"visitor_id": visitor.visitor_id, "assignments": answers}, assigned, visitor)

    def post_page(self, environ: dict[str, Any]) -> Reply:
        """{visitor_id?, context?, preview?} -> {visitor_id, now_ms, currency, platform, assignments}; any key."""
        authorise(environ, self.keyring)
        body = read_body(PageBody, read_content(environ))
        visitor, now_ms = read_visitor(environ, body.visitor_id, self.clock_ms()), self.clock_ms()
        every = AssignmentsBody.model_construct(context=body.context, preview=body.preview)
        assigned = arrange_page(self.service.assign(visitor.visitor_id, every))
        answers = self.service.encode(assigned, PAGE)
        return self._reply(page_values(assigned, answers, now_ms), assigned, visitor)

    def _reply(self, values: dict[str, Any], assigned: Assigned, visitor: Visitor) -> Reply:
        """Count the assignments, and return the reply; a new visitor gets the cookie."""
        self.counts.count_assignments(assigned.reasons())
        return json_reply(values, headers=visitor.headers)
