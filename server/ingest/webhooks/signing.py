"""
The secrets that shops sign their webhooks with.

A signature needs the secret itself, so the store keeps it as it is; no command shows it again. A shop may have several, so that a
new one works before the old one is removed.
"""

import hmac
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

from events.stores.protocol import Store
from experiments.errors import RequestError, StoreError
from experiments.refusals import describe
from server.ingest.webhooks.platform import Platform

REFRESH_S = 2.0

_PREFIX = "webhook:"

log = logging.getLogger("crosslift")


@dataclass(frozen=True, slots=True)
class SecretName:
    """
    The name under which a secret is stored: `webhook:platform:shop:hint`, written and parsed here only.

    Attributes:
        platform: The platform's name.
        shop: The shop, as `Platform.shop_name` writes it.
        hint: Six digits of the secret's hash, which distinguish a shop's secrets.
    """

    platform: str
    shop: str
    hint: str

    @classmethod
    def of(cls, platform: Platform, shop: str, secret: str) -> "SecretName":
        """Return the name of a secret."""
        return cls(platform.name, platform.shop_name(shop), sha256(secret.encode()).hexdigest()[:6])

    @classmethod
    def parse(cls, text: str) -> "SecretName":
        """Read the stored name."""
        platform, _, rest = text.removeprefix(_PREFIX).partition(":")
        shop, _, hint = rest.rpartition(":")
        return cls(platform, shop, hint)

    def to_text(self) -> str:
        """Return the name as it is stored."""
        return f"{_PREFIX}{self.platform}:{self.shop}:{self.hint}"


def add_secret(store: Store, platform: Platform, shop: str, secret: str) -> str:
    """
    Store a secret, and return the hint by which it is listed.

    Raises:
        RequestError: The shop's name or the secret is not valid.
    """
    if not shop or len(shop) > 256 or not shop.isprintable() or set("/: ") & set(shop):
        raise RequestError(f"SHOP: must be the name in the webhook's address, without / and :, got {describe(shop)}")
    if not secret or not secret.isprintable():
        raise RequestError(
            "secret: must be the text that the shop signs webhooks with, got nothing or unprintable text"
        )
    name = SecretName.of(platform, shop, secret)
    store.secret(name.to_text(), secret)
    return name.hint


def list_secrets(store: Store) -> list[SecretName]:
    """Return the name of every secret."""
    return [SecretName.parse(text) for text in store.secrets(_PREFIX)]


class Secrets:
    """The store's secrets in memory; new and removed ones take effect within two seconds."""

    def __init__(self, store: Store, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._monotonic = monotonic
        self._by_name: dict[SecretName, str] | None = None
        self._read_at = -REFRESH_S
        self._lock = threading.Lock()

    def is_signed(self, platform: Platform, shop: str, content: bytes, signature: str) -> bool:
        """Check whether a signature is that of a body by one of the shop's secrets."""
        if self._matches(platform, shop, content, signature, REFRESH_S):
            return True
        return self._matches(platform, shop, content, signature, 0.1)  # the secret may have been added just now

    def _matches(self, platform: Platform, shop: str, content: bytes, signature: str, max_age_s: float) -> bool:
        sent = signature.strip().encode("utf-8", "replace")
        with self._lock:
            if self._by_name is None or self._monotonic() - self._read_at >= max_age_s:
                self._refresh()
            by_name, shop_name = self._by_name or {}, platform.shop_name(shop)
            secrets = [
                secret for name, secret in by_name.items() if (name.platform, name.shop) == (platform.name, shop_name)
            ]
        # An unknown shop takes as long as a wrong signature, so that timing does not list the shops.
        matches = [hmac.compare_digest(platform.sign(secret, content).encode(), sent) for secret in secrets or [""]]
        return bool(secrets) and any(matches)

    def _refresh(self) -> None:
        self._read_at = self._monotonic()
        try:
            stored = self._store.secrets(_PREFIX)
        except StoreError as error:
            if self._by_name is None:  # no signature can be checked: the platform is to send the webhook again
                raise
            log.error("secrets of webhooks cannot be read; the secrets in memory stay valid: %s", error)
        else:
            self._by_name = {SecretName.parse(text): secret for text, secret in stored.items()}
