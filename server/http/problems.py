"""Responses as JSON, and errors as RFC 9457 problem JSON."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import orjson
from flask import Response

from experiments.errors import RequestError, StoreBusy, StoreError

log = logging.getLogger("crosslift")

_STATUS_LINES = {status.value: f"{status.value} {status.phrase}" for status in HTTPStatus}

Headers = Sequence[tuple[str, str]]


class Problem(RequestError):
    """
    A request that is answered with an error.

    Attributes:
        status: HTTP status.
        errors: Every fault, where there are several.
        headers: Headers of the response.
    """

    def __init__(
        self, status: int, detail: str, errors: list[str] | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.errors = errors or []
        self.headers = headers or {}

    def to_dict(self) -> dict[str, Any]:
        """Return the problem as JSON values."""
        values: dict[str, Any] = {"type": "about:blank", "title": HTTPStatus(self.status).phrase, "status": self.status}
        values["detail"] = str(self)
        return values | {"errors": self.errors} if self.errors else values


@dataclass(frozen=True, slots=True)
class Reply:
    """A response that knows neither WSGI nor Flask."""

    status: int
    body: bytes
    headers: list[tuple[str, str]]

    @property
    def status_line(self) -> str:
        """Return the status with its phrase."""
        return _STATUS_LINES[self.status]

    def to_flask(self) -> Response:
        """Return the reply as a Flask view returns it."""
        return Response(self.body, self.status, self.headers)


def json_reply(value: Any, status: int = 200, headers: Headers = ()) -> Reply:
    """Return a reply of JSON that must not be cached."""
    body = orjson.dumps(value)
    own = [("Content-Type", "application/json"), ("Content-Length", str(len(body))), ("Cache-Control", "no-store")]
    return Reply(status, body, [*own, *headers])


def json_response(value: Any, status: int = 200, headers: Headers = ()) -> Response:
    """Return the same as a Flask response."""
    return json_reply(value, status, headers).to_flask()


def error_reply(error: Exception) -> Reply:
    """Return the reply to an error; an unexpected one is logged."""
    problem = error if isinstance(error, Problem) else _problem_of(error)
    body = orjson.dumps(problem.to_dict())
    own = [("Content-Type", "application/problem+json"), ("Content-Length", str(len(body)))]
    return Reply(problem.status, body, [*own, *problem.headers.items()])


def _problem_of(error: Exception) -> Problem:
    retry = {"Retry-After": "1"}
    if isinstance(error, StoreBusy):
        log.warning("the queue of writes is full: %s", error)
        return Problem(
            503, "store: too many writes are waiting; nothing of this request was stored, send it again", headers=retry
        )
    if isinstance(error, StoreError):
        log.error("the store failed: %s", error)
        return Problem(
            503, "store: cannot be reached; nothing of this request was stored, send it again", headers=retry
        )
    log.error("a request failed", exc_info=error)
    return Problem(500, "an unexpected error; the server's log has the details")
