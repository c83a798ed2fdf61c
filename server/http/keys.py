"""API keys: `pk_` for what a browser may send, `sk_` for what moves money. The store keeps only their SHA-256."""

import logging
import math
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any, Literal
from urllib.parse import parse_qs

from events.stores.protocol import Store
from experiments.errors import StoreError
from server.http.problems import Problem

KeyKind = Literal["publishable", "secret"]

PREFIXES: dict[KeyKind, str] = {"publishable": "pk_", "secret": "sk_"}
REFRESH_S = 2.0

log = logging.getLogger("crosslift")


def digest(key: str) -> str:
    """Return what the store keeps of a key."""
    return sha256(key.encode()).hexdigest()


def create_key(store: Store, kind: KeyKind, now_ms: int) -> str:
    """Create a key and store its digest; the key itself cannot be read again."""
    key = PREFIXES[kind] + secrets.token_urlsafe(24)
    store.add_key(digest(key), kind, key[:9], now_ms)
    return key


class Keyring:
    """
    The store's keys in memory; new and revoked keys take effect within two seconds.

    With `per_second`, a token bucket limits each key to that many requests a second, and to one second's requests at once.
    """

    def __init__(
        self, store: Store, monotonic: Callable[[], float] = time.monotonic, per_second: float | None = None
    ) -> None:
        self._store = store
        self._monotonic = monotonic
        self._per_second = per_second
        self._buckets: dict[str, tuple[float, float]] = {}  # requests left of a key, and when that was
        self._kinds: dict[str, KeyKind] = {}
        self._read_at = -REFRESH_S
        self._lock = threading.Lock()

    def kind(self, key: str) -> KeyKind | None:
        """Return the kind of a key; None for a key that is unknown or revoked."""
        hashed = digest(key)
        with self._lock:  # a request that comes during a refresh waits for the new keys
            age = self._monotonic() - self._read_at
            if age >= REFRESH_S or (hashed not in self._kinds and age >= 0.1):
                self._refresh()
        return self._kinds.get(hashed)

    def wait_s(self, key: str) -> float:
        """Count one request of a key; return the seconds to wait until it is allowed, 0 where it is allowed now."""
        if self._per_second is None:
            return 0.0
        with self._lock:
            now, capacity = self._monotonic(), max(self._per_second, 1.0)
            left, at = self._buckets.get(key, (capacity, now))
            left = min(capacity, left + (now - at) * self._per_second)
            is_allowed = left >= 1
            self._buckets[key] = (left - is_allowed, now)
        return 0.0 if is_allowed else (1 - left) / self._per_second

    def _refresh(self) -> None:
        self._read_at = self._monotonic()
        try:
            rows = self._store.keys()
        except StoreError as error:
            log.error("keys cannot be read; the keys in memory stay valid: %s", error)
            return
        self._kinds = {row.digest: row.kind for row in rows if row.revoked_at_ms is None}


def authorise(environ: Mapping[str, Any], keyring: Keyring) -> KeyKind:
    """
    Return the kind of a WSGI request's key.

    Raises:
        Problem: 401 without a valid key, or with a secret key in the address, since addresses are logged. 429 for a key that
            exceeds its rate limit.
    """
    scheme, _, bearer = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    key = (bearer.strip() if scheme.lower() == "bearer" else scheme) or environ.get("HTTP_X_API_KEY", "")
    if not key and environ.get("QUERY_STRING"):
        key = parse_qs(environ["QUERY_STRING"]).get("key", [""])[0]
        if key.startswith("sk_"):
            raise _unauthorised("a secret key in the address, which logs would show")
    kind = keyring.kind(key) if key else None
    if kind is None:
        raise _unauthorised("a key that is unknown or revoked" if key else "no key")
    wait_s = keyring.wait_s(key)
    if wait_s:
        headers = {"Retry-After": str(math.ceil(wait_s))}
        raise Problem(
            429, "key: must stay below its rate limit, got too many requests; wait and retry", headers=headers
        )
    return kind


def _unauthorised(got: str) -> Problem:
    headers = {"WWW-Authenticate": 'Bearer realm="crosslift"'}
    return Problem(401, f"key: must be sent as Authorization: Bearer pk_... or sk_..., got {got}", headers=headers)


def require_secret(kind: KeyKind) -> None:
    """
    Check that a request was sent with a secret key.

    Raises:
        Problem: 403 for a publishable key.
    """
    if kind != "secret":
        raise Problem(403, "key: must be a secret key (sk_), got a publishable one")
