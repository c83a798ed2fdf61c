"""Exposure tokens: what the server assigned, signed, so that an exposure need not be believed or derived again."""

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from hashlib import sha256

import orjson

from experiments.errors import RequestError

LIFETIME_S = 86_400
_MAC_BYTES = 16


@dataclass(frozen=True, slots=True)
class Claim:
    """What a token vouches for."""

    experiment: str
    variant: str
    unit_id: str
    epoch: int


class Signer:
    """Signs and verifies tokens with one secret, HMAC-SHA256 cut to 128 bits (RFC 2104, section 5)."""

    def __init__(self, secret: str) -> None:
        self._key = secret.encode()

    def sign(self, claim: Claim, now_s: int) -> str:
        """Give the token: base64url of `[experiment, variant, unit, epoch, expires_s]`, a dot, base64url of the MAC."""
        body = _encode(orjson.dumps([claim.experiment, claim.variant, claim.unit_id, claim.epoch, now_s + LIFETIME_S]))
        return f"{body}.{self._mac(body, 'exposure:')}"

    def verify(self, token: str, at_s: int) -> Claim:
        """
        Give what a token vouches for.

        Args:
            token: As `sign` gave it.
            at_s: When the exposure was; its delivery may be later than the token's end.

        Raises:
            RequestError: It is not ours, was changed, or had expired by then.
        """
        body, _, mac = token.partition(".")
        if not token.isascii() or not hmac.compare_digest(mac, self._mac(body, "exposure:")):
            raise RequestError("exposure_token: found a token with a wrong signature; wanted one from /v1/assignments")
        experiment, variant, unit_id, epoch, expires = orjson.loads(_decode(body))
        if expires < at_s:
            raise RequestError(
                "exposure_token: found one that had expired; wanted one of the 24 hours before the exposure"
            )
        return Claim(experiment, variant, unit_id, epoch)

    def sign_preview(self, experiment: str, variant: str, expires_s: int) -> str:
        """Give the token of a preview link: base64url of `[experiment, variant, expires_s]`, a dot, base64url of the MAC."""
        body = _encode(orjson.dumps([experiment, variant, expires_s]))
        return f"{body}.{self._mac(body, 'preview:')}"

    def verify_preview(self, token: str, now_s: int) -> tuple[str, str]:
        """
        Give the experiment and variant of a preview token.

        Raises:
            RequestError: It is not ours, was changed, or has expired.
        """
        body, _, mac = token.partition(".")
        if not token.isascii() or not hmac.compare_digest(mac, self._mac(body, "preview:")):
            raise RequestError("preview: found a token with a wrong signature; wanted one from `crosslift preview`")
        experiment, variant, expires = orjson.loads(_decode(body))
        if expires < now_s:
            raise RequestError("preview: found an expired token; wanted a new one from `crosslift preview`")
        return experiment, variant

    def _mac(self, body: str, use: str) -> str:
        return _encode(hmac.digest(self._key, (use + body).encode(), sha256)[:_MAC_BYTES])


def _decode(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _encode(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()
