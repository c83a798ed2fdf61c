"""What a shop platform is to the webhooks: its headers, its signature, its topics, and the reader of its payloads."""

import hmac
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Literal

from experiments.declarations.model import OrderRules
from server.ingest.payloads import Fields

Payload = Mapping[str, Any]

# Topic, payload, the shop's order rules and its currency -> fields of orders, and of refunds, which have a `refund_id`.
Read = Callable[[str, Payload, OrderRules, str], list[Fields]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """
    A shop platform that sends webhooks.

    Attributes:
        name: As in the address, in commands and in the quarantine.
        signature_header: Carries the HMAC-SHA256 of the body.
        encoding: How the signature is written.
        topic_header: Carries the topic.
        deleted_topic: The topic whose payload is only the id of an order.
        read: Reads a payload of any other topic.
        shop_header: Names the sending shop; empty where no header does.
        shop_suffix: Ends the shop's full name, and may be left out of the address.
        is_ping: Recognises the unsigned body by which the platform tests the address.
    """

    name: str
    signature_header: str
    encoding: Literal["base64", "hex"]
    topic_header: str
    deleted_topic: str
    read: Read
    shop_header: str = ""
    shop_suffix: str = ""
    is_ping: Callable[[bytes], bool] = lambda _: False

    def shop_name(self, shop: str) -> str:
        """Return the name under which a shop's secrets are stored, however its address writes it."""
        return shop.lower().removesuffix(self.shop_suffix)

    def sign(self, secret: str, content: bytes) -> str:
        """Return the signature of a body."""
        digest = hmac.new(secret.encode(), content, sha256).digest()
        return digest.hex() if self.encoding == "hex" else b64encode(digest).decode()


@dataclass(frozen=True, slots=True)
class Webhook:
    """
    One webhook whose signature was right.

    Attributes:
        platform: Who sent it.
        shop: As the address names it.
        topic: As the header says; empty where it says nothing.
        content: The body.
        received_at_ms: When it came.
    """

    platform: Platform
    shop: str
    topic: str
    content: bytes
    received_at_ms: int
