"""What the demo shop asks the crosslift server, over HTTP; a server that is away costs the shop nothing but its answers."""

import http.client
import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

TIMEOUT_S = 5.0
_ON = ("Accept-Encoding", "Content-Type", "Cookie", "If-None-Match")
_BACK = ("Cache-Control", "Content-Encoding", "Content-Type", "ETag", "Retry-After", "Set-Cookie", "Vary")

log = logging.getLogger("crosslift.shop")


class Upstream:
    """A crosslift server, and the shop's secret key for it."""

    def __init__(self, server: str, secret: str) -> None:
        self._address = urlsplit(server).netloc
        self._secret = secret
        self._unsent: list[Mapping[str, Any]] = []

    def pass_on(
        self, method: str, path: str, body: bytes, headers: Mapping[str, str]
    ) -> tuple[int, bytes, list[tuple[str, str]]]:
        """Pass a browser's request on, so that the visitor's cookie is the shop's own; 502 when nobody answers."""
        sent = {name: headers[name] for name in _ON if name in headers}
        try:
            return self._request(method, path, body or None, sent)
        except (OSError, http.client.HTTPException) as error:
            log.warning("crosslift does not answer: %s", error)
            return 502, b"", []

    def send(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Send events with the secret key; what could not be delivered goes along with the next ones."""
        self._unsent += events
        headers = {"Authorization": f"Bearer {self._secret}", "Content-Type": "application/json"}
        try:
            status, body, _ = self._request(
                "POST", "/v1/events", json.dumps({"events": self._unsent}).encode(), headers
            )
        except (OSError, http.client.HTTPException) as error:
            log.warning("%d events wait for crosslift: %s", len(self._unsent), error)
            return
        if status == 202:
            self._unsent = []
        else:
            log.warning("%d events wait for crosslift: %d %s", len(self._unsent), status, body[:300])

    def identify(self, customer_id: str, cookie: str) -> list[tuple[str, str]]:
        """Tell that the visitor of a cookie is a customer; give the cookie to set."""
        headers = {"Authorization": f"Bearer {self._secret}", "Cookie": cookie}
        body = json.dumps({"customer_id": customer_id}).encode()
        try:
            _, _, back = self._request("POST", "/v1/identify", body, headers)
        except (OSError, http.client.HTTPException) as error:
            log.warning("crosslift does not answer: %s", error)
            return []
        return [(name, value) for name, value in back if name == "Set-Cookie"]

    def _request(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> tuple[int, bytes, list[tuple[str, str]]]:
        connection = http.client.HTTPConnection(self._address, timeout=TIMEOUT_S)
        try:
            connection.request(method, path, body, dict(headers))
            answer = connection.getresponse()
            back = [
                (name, value) for name, value in answer.getheaders() if name.title() in {one.title() for one in _BACK}
            ]
            return answer.status, answer.read(), back
        finally:
            connection.close()
