"""Cross-origin requests, for the origins that `shop.yaml` lists and no others."""

from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING

from server.http.problems import Problem, error_reply

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

# What browsers call; routes that move money, or show it, are for servers.
PATHS = ("/v1/assignments", "/v1/events", "/v1/identify", "/v1/page", "/ofrep/")
_PREFLIGHT = [
    ("Access-Control-Allow-Methods", "POST"),
    ("Access-Control-Allow-Headers", "Authorization, Content-Type, If-None-Match, X-API-Key"),
    ("Access-Control-Max-Age", "7200"),
]


class Cors:
    """
    Lets pages of allowed origins read responses, with the visitor's cookie; a WSGI middleware.

    Args:
        app: The app behind it.
        origins: Returns the allowed origins; called for every request from another origin, since they can be reloaded.
    """

    def __init__(self, app: "WSGIApplication", origins: Callable[[], Collection[str]]) -> None:
        self._app = app
        self._origins = origins

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Answer a preflight request, or add the headers that let the page read the response."""
        origin = environ.get("HTTP_ORIGIN")
        if origin is None or not environ["PATH_INFO"].startswith(PATHS):
            return self._app(environ, start_response)
        is_allowed = origin in self._origins()
        own = [("Vary", "Origin")]
        if is_allowed:
            own += [
                ("Access-Control-Allow-Origin", origin),
                ("Access-Control-Allow-Credentials", "true"),
                ("Access-Control-Expose-Headers", "ETag, Retry-After"),
            ]
        if environ["REQUEST_METHOD"] == "OPTIONS" and "HTTP_ACCESS_CONTROL_REQUEST_METHOD" in environ:
            if is_allowed:
                start_response("204 No Content", [*own, *_PREFLIGHT])
                return []
            detail = f"origin: must be one that shop.yaml lists under origins, got {origin[:100]!r}"
            refusal = error_reply(Problem(403, detail))
            start_response(refusal.status_line, [*refusal.headers, *own])
            return [refusal.body]
        return self._app(environ, lambda status, headers, *rest: start_response(status, [*headers, *own], *rest))
