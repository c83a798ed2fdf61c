"""The status of a running `crosslift serve`: rejected events, and declarations that it does not serve."""

import http.client
import json
import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from analysis.dashboard import messages

TIMEOUT_S = 1.0
_EVENTS = re.compile(r'^crosslift_events_total\{outcome="(\w+)"\} ([0-9.e+]+)$', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """
    The status of a server.

    Attributes:
        events: Events since its start, by outcome: accepted, duplicate, rejected.
        reload_error: Why changed declarations are not served.
        fault: Why the status could not be read.
    """

    events: dict[str, int] = field(default_factory=dict)
    reload_error: str | None = None
    fault: str | None = None


def read_server_status(address: str) -> ServerStatus:
    """Read the status of a server at `http://HOST:PORT`."""
    try:
        readiness = json.loads(_get(address, "/readyz"))
        metrics = _get(address, "/metrics").decode()
    except (OSError, ValueError, http.client.HTTPException) as error:
        return ServerStatus(fault=messages.SERVER_UNREACHABLE.format(address=address, error=error))
    events = {outcome: int(float(n)) for outcome, n in _EVENTS.findall(metrics)}
    return ServerStatus(events, readiness.get("reload_error"))


def _get(address: str, path: str) -> bytes:
    parts = urlsplit(address)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", path)
        return connection.getresponse().read(1_000_000)
    finally:
        connection.close()
