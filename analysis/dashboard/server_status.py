"""What a running `crosslift serve` says of itself: events it rejected, and declarations that it does not serve."""

import http.client
import json
import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

TIMEOUT_S = 1.0
_EVENTS = re.compile(r'^crosslift_events_total\{outcome="(\w+)"\} ([0-9.e+]+)$', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Serving:
    """
    A server's state.

    Attributes:
        events: Events since it was started, by outcome: accepted, duplicate, rejected.
        reload_error: Why changed declarations are not served.
        fault: Why the server cannot be asked.
    """

    events: dict[str, int] = field(default_factory=dict)
    reload_error: str | None = None
    fault: str | None = None


def ask(address: str) -> Serving:
    """Ask a server at `http://HOST:PORT`."""
    try:
        ready = json.loads(_get(address, "/readyz"))
        metrics = _get(address, "/metrics").decode()
    except (OSError, ValueError, http.client.HTTPException) as error:
        return Serving(fault=f"{address} cannot be asked: {error}")
    return Serving({outcome: int(float(n)) for outcome, n in _EVENTS.findall(metrics)}, ready.get("reload_error"))


def _get(address: str, path: str) -> bytes:
    parts = urlsplit(address)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", path)
        return connection.getresponse().read(1_000_000)
    finally:
        connection.close()
