"""Errors as RFC 9457 problem JSON."""

from http import HTTPStatus
from typing import Any

from experiments.errors import RequestError


class Problem(RequestError):
    """
    A request that is answered with an error.

    Attributes:
        status: HTTP status.
        errors: What was wrong, one by one, where there are several.
        headers: To send along.
    """

    def __init__(
        self, status: int, detail: str, errors: list[str] | None = None, headers: dict[str, str] | None = None
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
