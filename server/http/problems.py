"""Answers as JSON, and errors as RFC 9457 problem JSON."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import orjson

from experiments.errors import RequestError, StoreBusy, StoreError

log = logging.getLogger("crosslift")

_LINES = {status.value: f"{status.value} {status.phrase}" for status in HTTPStatus}


class Problem(RequestError):
    """
    A request that is answered with an error.

    Attributes:
        status: HTTP status.
        errors: What was wrong, one by one, where there are several.
        headers: To send along.
    """

    def __init__(
        self, status: int, detail: str, errors: list[str] | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.errors = errors or []
        self.headers = headers or {}

    def to_dict(self) -> dict[str, Any]:
        """Give the problem's JSON values."""
        shown: dict[str, Any] = {"type": "about:blank", "title": HTTPStatus(self.status).phrase, "status": self.status}
        shown["detail"] = str(self)
        return shown | {"errors": self.errors} if self.errors else shown


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, as WSGI wants it."""

    status: int
    body: bytes
    headers: list[tuple[str, str]]

    @property
    def status_line(self) -> str:
        """Give the status with its phrase."""
        return _LINES[self.status]


def json_reply(value: Any, status: int = 200, headers: Sequence[tuple[str, str]] = ()) -> Reply:
    """Answer with JSON that nobody may cache."""
    body = orjson.dumps(value)
    own = [("Content-Type", "application/json"), ("Content-Length", str(len(body))), ("Cache-Control", "no-store")]
    return Reply(status, body, [*own, *headers])


def reply_to(error: Exception) -> Reply:
    """Answer an error; one that is nobody's fault but ours is in the log."""
    problem = error if isinstance(error, Problem) else _problem_of(error)
    body = orjson.dumps(problem.to_dict())
    own = [("Content-Type", "application/problem+json"), ("Content-Length", str(len(body)))]
    return Reply(problem.status, body, [*own, *problem.headers.items()])


def _problem_of(error: Exception) -> Problem:
    if isinstance(error, StoreBusy):
        log.warning("too busy: %s", error)
        return Problem(503, "too much waits to be written; nothing of this request was kept", headers=_SOON)
    if isinstance(error, StoreError):
        log.error("the store failed: %s", error)
        return Problem(503, "the store cannot be reached; nothing of this request was kept", headers=_SOON)
    log.error("a request failed", exc_info=error)
    return Problem(500, "an unexpected fault; it is in the server's log")


_SOON = {"Retry-After": "1"}
