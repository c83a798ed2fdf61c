"""Exposure tokens, as they have been from the first."""

import hmac
from base64 import urlsafe_b64encode

from hypothesis import given
from hypothesis import strategies as st

from experiments.assignment.tokens import Claim, Signer


def test_a_token_is_pinned() -> None:
    """Tokens that are out stay valid in every version of crosslift."""
    token = (
        "WyJwcm9kdWN0LXBhZ2UtcGxhY2VtZW50IiwiYmVsb3ciLCIwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMCIsMywxNzkwMDg2NDAwXQ"
        ".4BFgFUHrGPP1HA7njYqaLA"
    )
    claim = Claim("product-page-placement", "below", "0" * 32, 3)
    assert Signer("0" * 64).sign(claim, 1_790_000_000) == token
    assert Signer("0" * 64).verify(token, 1_790_000_000) == claim


@given(st.text(st.characters(codec="utf-8"), max_size=80), st.text(st.characters(codec="utf-8"), max_size=300))
def test_the_signature_is_hmac(secret: str, unit_id: str) -> None:
    """HMAC-SHA256 as the standard library gives it, for keys and messages of any length."""
    body, _, mac = Signer(secret).sign(Claim("e", "v", unit_id, 1), 1).partition(".")
    whole = hmac.digest(secret.encode(), f"exposure:{body}".encode(), "sha256")
    assert mac == urlsafe_b64encode(whole[:16]).rstrip(b"=").decode()
