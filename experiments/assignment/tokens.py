"""Exposure tokens: what the server assigned, signed, so that an exposure need not be believed or derived again."""

import hmac
from base64 import urlsafe_b64decode
from binascii import b2a_base64
from hashlib import sha256
from typing import Any, NamedTuple

import orjson

from experiments.errors import RequestError

LIFETIME_S = 86_400
_MAC_BYTES = 16
_BLOCK_BYTES = 64  # of SHA-256
_URL_SAFE = bytes.maketrans(b"+/", b"-_")


class Claim(NamedTuple):
    """What a token vouches for."""

    experiment: str
    variant: str
    unit_id: str
    epoch: int


class _Mac:
    """
    Gives HMAC-SHA256 (RFC 2104), cut to 128 bits (its section 5), of messages that begin alike.

    The key and the common beginning are hashed once, which `hmac` would do again for every message.
    """

    def __init__(self, key: bytes, beginning: bytes) -> None:
        block = (sha256(key).digest() if len(key) > _BLOCK_BYTES else key).ljust(_BLOCK_BYTES, b"\0")
        self._inner = sha256(bytes(byte ^ 0x36 for byte in block) + beginning).copy
        self._outer = sha256(bytes(byte ^ 0x5C for byte in block)).copy

    def of(self, rest: bytes) -> bytes:
        """Return it as base64url."""
        inner, outer = self._inner(), self._outer()
        inner.update(rest)
        outer.update(inner.digest())
        return b2a_base64(outer.digest()[:_MAC_BYTES], newline=False).translate(_URL_SAFE, b"=")

    def sign(self, told: tuple[Any, ...]) -> str:
        """Return a token that says so: base64url (RFC 4648, section 5) of the JSON without padding, a dot, and of its MAC."""
        body = b2a_base64(orjson.dumps(told), newline=False).translate(_URL_SAFE, b"=")
        return (body + b"." + self.of(body)).decode()


class Signer:
    """Signs and verifies tokens with one secret."""

    def __init__(self, secret: str) -> None:
        self._exposure = _Mac(secret.encode(), b"exposure:")
        self._preview = _Mac(secret.encode(), b"preview:")

    def sign(self, claim: tuple[str, str, str, int], now_s: int) -> str:
        """
        Return the token: base64url of `[experiment, variant, unit, epoch, expires_s]`, a dot, base64url of the MAC.

        Args:
            claim: A `Claim`, or its values.
            now_s: The time, in seconds UTC.
        """
        return self._exposure.sign((*claim, now_s + LIFETIME_S))

    def verify(self, token: str, at_s: int) -> Claim:
        """
        Return what a token vouches for.

        Args:
            token: As `sign` gave it.
            at_s: When the exposure was; its delivery may be later than the token's end.

        Raises:
            RequestError: It is not ours, was changed, or had expired by then.
        """
        body, _, mac = token.partition(".")
        if not token.isascii() or not hmac.compare_digest(mac.encode(), self._exposure.of(body.encode())):
            raise RequestError("exposure_token: found a token with a wrong signature; wanted one from /v1/assignments")
        experiment, variant, unit_id, epoch, expires = orjson.loads(_decode(body))
        if expires < at_s:
            raise RequestError(
                "exposure_token: found one that had expired; wanted one of the 24 hours before the exposure"
            )
        return Claim(experiment, variant, unit_id, epoch)

    def sign_preview(self, experiment: str, variant: str, expires_s: int) -> str:
        """Return the token of a preview link: base64url of `[experiment, variant, expires_s]`, a dot, base64url of the MAC."""
        return self._preview.sign((experiment, variant, expires_s))

    def verify_preview(self, token: str, now_s: int) -> tuple[str, str]:
        """
        Return the experiment and variant of a preview token.

        Raises:
            RequestError: It is not ours, was changed, or has expired.
        """
        body, _, mac = token.partition(".")
        if not token.isascii() or not hmac.compare_digest(mac.encode(), self._preview.of(body.encode())):
            raise RequestError("preview: found a token with a wrong signature; wanted one from `crosslift preview`")
        experiment, variant, expires = orjson.loads(_decode(body))
        if expires < now_s:
            raise RequestError("preview: found an expired token; wanted a new one from `crosslift preview`")
        return experiment, variant


def _decode(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
