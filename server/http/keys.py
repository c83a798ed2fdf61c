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
    """Give what the store keeps of a key."""
    return sha256(key.encode()).hexdigest()


def create_key(store: Store, kind: KeyKind, now_ms: int) -> str:
    """Make a key and keep its digest; the key itself is shown this once."""
    key = PREFIXES[kind] + secrets.token_urlsafe(24)
    store.add_key(digest(key), kind, key[:9], now_ms)
    return key


class Keyring:
    """
    Knows the store's keys; new and revoked ones take effect within two seconds.

    With `per_second`, each key may make so many requests a second, and a second's worth of them at once: a token bucket.
    """

    def __init__(
        self, store: Store, monotonic: Callable[[], float] = time.monotonic, per_second: float | None = None
    ) -> None:
        self._store = store
        self._monotonic = monotonic
        self._per_second = per_second
        self._buckets: dict[str, tuple[float, float]] = {}  # what is left of a key's requests, and when that was so
        self._kinds: dict[str, KeyKind] = {}
        self._read_at = -REFRESH_S
        self._lock = threading.Lock()

    def kind(self, key: str) -> KeyKind | None:
        """Tell what a key is for; None for a key that is not ours, or revoked."""
        hashed = digest(key)
        with self._lock:  # who comes while the keys are read waits for them, rather than being told of the old ones
            age = self._monotonic() - self._read_at
            if age >= REFRESH_S or (hashed not in self._kinds and age >= 0.1):
                self._refresh()
        return self._kinds.get(hashed)

    def wait_s(self, key: str) -> float:
        """Take one request of a key's rate; give the seconds until there is one again, 0 where there was."""
        if self._per_second is None:
            return 0.0
        with self._lock:
            now, most = self._monotonic(), max(self._per_second, 1.0)
            left, at = self._buckets.get(key, (most, now))
            left = min(most, left + (now - at) * self._per_second)
            taken = left >= 1
            self._buckets[key] = (left - taken, now)
        return 0.0 if taken else (1 - left) / self._per_second

    def _refresh(self) -> None:
        self._read_at = self._monotonic()
        try:
            rows = self._store.keys()
        except StoreError as error:
            log.error("keys cannot be read; those known so far serve on: %s", error)
            return
        self._kinds = {row.digest: row.kind for row in rows if row.revoked_at_ms is None}


def authorise(environ: Mapping[str, Any], keyring: Keyring) -> KeyKind:
    """
    Tell what the key of a WSGI request allows.

    Raises:
        Problem: 401 without a key of ours; a secret key in the address is not taken, since addresses are logged. 429 for a
            key that asks too often.
    """
    scheme, _, bearer = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    key = (bearer.strip() if scheme.lower() == "bearer" else scheme) or environ.get("HTTP_X_API_KEY", "")
    if not key and environ.get("QUERY_STRING"):
        key = parse_qs(environ["QUERY_STRING"]).get("key", [""])[0]
        if key.startswith("sk_"):
            raise _unauthorised("a secret key in the address")
    kind = keyring.kind(key) if key else None
    if kind is None:
        raise _unauthorised("a key that is not known, or revoked" if key else "no key")
    wait_s = keyring.wait_s(key)
    if wait_s:
        headers = {"Retry-After": str(math.ceil(wait_s))}
        raise Problem(429, "key: found more requests than a key may make; wanted fewer a second", headers=headers)
    return kind


def _unauthorised(found: str) -> Problem:
    headers = {"WWW-Authenticate": 'Bearer realm="crosslift"'}
    return Problem(401, f"key: found {found}; wanted Authorization: Bearer pk_... or sk_...", headers=headers)
