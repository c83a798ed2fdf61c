"""
The secrets that shops sign their webhooks with.

A signature needs the secret itself, so the store keeps it as it is; no command shows it again. A shop may have several, so that a
new one works before the old one goes.
"""

import hmac
import logging
import threading
import time
from base64 import b64encode
from collections.abc import Callable
from hashlib import sha256

from events.stores.protocol import Store
from experiments.errors import RequestError, StoreError
from experiments.refusals import describe

PLATFORMS = ("shopify", "woocommerce")
PREFIX = "webhook:"
REFRESH_S = 2.0

log = logging.getLogger("crosslift")


def name_of(platform: str, shop: str, secret: str) -> str:
    """Give the name under which a secret is kept; its end, six digits of a hash, tells a shop's secrets apart."""
    return f"{_prefix(platform, shop)}:{sha256(secret.encode()).hexdigest()[:6]}"


def _prefix(platform: str, shop: str) -> str:
    return f"{PREFIX}{platform}:{shop.lower().removesuffix('.myshopify.com')}"


def add_secret(store: Store, platform: str, shop: str, secret: str) -> str:
    """
    Keep a secret; give the hint by which it is listed.

    Raises:
        RequestError: The shop's name or the secret cannot be one.
    """
    if not shop or len(shop) > 256 or not shop.isprintable() or set("/: ") & set(shop):
        raise RequestError(f"SHOP: found {describe(shop)}; wanted a name as in the webhook's address, without / and :")
    if not secret or not secret.isprintable():
        raise RequestError(
            "secret: found nothing, or text that cannot be one; wanted what the shop signs webhooks with"
        )
    name = name_of(platform, shop, secret)
    store.secret(name, secret)
    return name.rsplit(":", 1)[1]


def listed(store: Store) -> list[tuple[str, str, str]]:
    """Give (platform, shop, hint) of every secret."""
    found = []
    for name in store.secrets(PREFIX):
        platform, _, rest = name.removeprefix(PREFIX).partition(":")
        shop, _, hint = rest.rpartition(":")
        found.append((platform, shop, hint))
    return found


def signature(secret: str, content: bytes) -> bytes:
    """Give the signature of a body: Base64 of its HMAC-SHA256."""
    return b64encode(hmac.new(secret.encode(), content, sha256).digest())


class Secrets:
    """Knows the store's secrets; new and removed ones take effect within two seconds."""

    def __init__(self, store: Store, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._monotonic = monotonic
        self._known: dict[str, str] | None = None
        self._read_at = -REFRESH_S
        self._lock = threading.Lock()

    def signed(self, platform: str, shop: str, content: bytes, sent: str) -> bool:
        """Tell whether a body carries the signature of one of the shop's secrets."""
        given = sent.strip().encode("utf-8", "replace")
        if self._matches(platform, shop, content, given, REFRESH_S):
            return True
        return self._matches(platform, shop, content, given, 0.1)  # a secret may be newer than what is known

    def _matches(self, platform: str, shop: str, content: bytes, given: bytes, oldest_s: float) -> bool:
        with self._lock:
            if self._known is None or self._monotonic() - self._read_at >= oldest_s:
                self._refresh()
            prefix = _prefix(platform, shop)
            known = self._known or {}
            secrets = [secret for name, secret in known.items() if name.rpartition(":")[0] == prefix]
        # A shop that is not known takes as long as one whose signature is wrong.
        compared = [hmac.compare_digest(signature(secret, content), given) for secret in secrets or [""]]
        return bool(secrets) and any(compared)

    def _refresh(self) -> None:
        self._read_at = self._monotonic()
        try:
            self._known = self._store.secrets(PREFIX)
        except StoreError as error:
            if self._known is None:  # nobody can be told from anybody: the shop is to try again
                raise
            log.error("webhooks' secrets cannot be read; those known so far serve on: %s", error)
