"""Cross-origin requests, for the origins that `shop.yaml` lists and no others."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from server.assign.declarations import Declarations
from server.http.problems import Problem, reply_to

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

# What browsers ask; what moves money, and what tells of it, is for servers.
PATHS = ("/v1/assignments", "/v1/events", "/v1/identify", "/v1/page", "/ofrep/")
_PREFLIGHT = [
    ("Access-Control-Allow-Methods", "POST"),
    ("Access-Control-Allow-Headers", "Authorization, Content-Type, If-None-Match, X-API-Key"),
    ("Access-Control-Max-Age", "7200"),
]


class Cors:
    """Lets the pages of listed origins read answers, with the visitor's cookie; a WSGI middleware."""

    def __init__(self, app: "WSGIApplication", declarations: Declarations) -> None:
        self._app = app
        self._declarations = declarations

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Answer a preflight, or add what lets the page read the answer."""
        origin = environ.get("HTTP_ORIGIN")
        if origin is None or not environ["PATH_INFO"].startswith(PATHS):
            return self._app(environ, start_response)
        listed = origin in self._declarations.live.configs.shop.origins
        own = [("Vary", "Origin")]
        if listed:
            own += [
                ("Access-Control-Allow-Origin", origin),
                ("Access-Control-Allow-Credentials", "true"),
                ("Access-Control-Expose-Headers", "ETag, Retry-After"),
            ]
        if environ["REQUEST_METHOD"] == "OPTIONS" and "HTTP_ACCESS_CONTROL_REQUEST_METHOD" in environ:
            if listed:
                start_response("204 No Content", [*own, *_PREFLIGHT])
                return []
            refusal = reply_to(Problem(403, f"origin: found {origin[:100]!r}; wanted one that shop.yaml lists"))
            start_response(refusal.status_line, [*refusal.headers, *own])
            return [refusal.body]
        return self._app(environ, lambda status, headers, *rest: start_response(status, [*headers, *own], *rest))
