"""A shop that posts signed webhooks of any platform to an app on a real store, and the tables that they fill."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from events import Store
from server import create_app
from server.ingest.webhooks.platform import Platform
from server.ingest.webhooks.registry import PLATFORMS
from server.ingest.webhooks.shopify import SHOPIFY
from server.ingest.webhooks.signing import add_secret
from server.ingest.webhooks.woocommerce import WOOCOMMERCE
from tests.conftest import DATA, WriteConfigs
from tests.server.conftest import CATALOG, EXPERIMENTS, NOW

SECRETS = {name: "hush" if name == "shopify" else f"{name}-hush" for name in PLATFORMS}
WEBHOOKS = DATA / "webhooks"

needs_payloads = pytest.mark.skipif(
    not WEBHOOKS.is_dir(), reason="shared/data/webhooks, where the real payloads are, is not there"
)


def payload(name: str) -> Any:
    return json.loads((WEBHOOKS / f"{name}.json").read_text(encoding="utf-8"), parse_float=str)


def raw(name: str) -> bytes:
    return (WEBHOOKS / f"{name}.json").read_bytes()


@dataclass
class WebShop:
    """A shop on some platform, and the app that it posts to."""

    client: FlaskClient
    store: Store
    now_ms: int = NOW

    def shopify(self, body: Any, topic: str | None = "orders/updated", **options: Any) -> TestResponse:
        return self.post(SHOPIFY, body, topic, **options)

    def woocommerce(self, body: Any, topic: str | None = "order.updated", **options: Any) -> TestResponse:
        return self.post(WOOCOMMERCE, body, topic, **options)

    def post(
        self,
        platform: Platform,
        body: Any,
        topic: str | None,
        *,
        shop: str = "demo",
        secret: str | None = None,
        signed: str | None = None,
        **more: str,
    ) -> TestResponse:
        """Post a webhook; `signed` replaces the right signature, `more` are further headers."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        right = platform.sign(secret or SECRETS[platform.name], content)
        headers = {platform.topic_header: topic, platform.signature_header: right if signed is None else signed}
        headers |= {name.replace("_", "-"): value for name, value in more.items()}
        return self.client.post(
            f"/v1/webhooks/{platform.name}/{shop}",
            data=content,
            headers={name: value for name, value in headers.items() if value},
        )

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with self.store.snapshot() as fetch:
            return list(fetch(query))

    def order(self, columns: str) -> tuple[Any, ...]:
        """Return columns of the only order."""
        (row,) = self.rows(f"SELECT {columns} FROM orders")
        return row

    def lines(self, columns: str) -> list[tuple[Any, ...]]:
        return self.rows(f"SELECT {columns} FROM order_lines ORDER BY line_id")

    def tables(self) -> list[list[tuple[Any, ...]]]:
        """Return all rows that webhooks write."""
        return [sorted(self.rows(f"SELECT * FROM {table}"), key=repr) for table in ("orders", "order_lines", "refunds")]


MakeShop = Callable[..., WebShop]


@pytest.fixture
def make_shop(write_configs: WriteConfigs, store: Store) -> MakeShop:
    """Create an app for a shop of a currency, with further lines of its shop.yaml."""

    def make(currency: str = "USD", more: str = "", folder: str = "configs", into: Store | None = None) -> WebShop:
        files = {"catalog.yaml": CATALOG, "shop.yaml": f"currency: {currency}\ntime_zone: Europe/Berlin\n{more}"}
        configs: Path = write_configs(folder, files, **EXPERIMENTS)
        target = into or store
        for name, secret in SECRETS.items():
            add_secret(target, PLATFORMS[name], "demo", secret)
        shop = WebShop(None, target)  # type: ignore[arg-type]
        shop.client = create_app(configs, target, lambda: shop.now_ms).test_client()
        return shop

    return make


def order(**changes: Any) -> dict[str, Any]:
    """Return a small Shopify order: two lines, 3 x 10.00 and 1 x 5.50."""
    told = {
        "id": 1001,
        "created_at": "2026-04-30T10:00:00Z",
        "updated_at": "2026-04-30T10:00:00Z",
        "currency": "USD",
        "financial_status": "paid",
        "source_name": "web",
        "taxes_included": False,
        "test": False,
        "total_tax": "0.00",
        "customer": {"id": 77},
        "note_attributes": [{"name": "__crosslift_visitor", "value": "anna"}],
        "line_items": [line(11, "10.00", 3), line(12, "5.50", 1)],
        "refunds": [],
    }
    return told | changes


def line(line_id: int, price: str, quantity: int = 1, **changes: Any) -> dict[str, Any]:
    told = {"id": line_id, "product_id": line_id + 100, "sku": f"SKU{line_id}", "quantity": quantity, "price": price}
    return told | {"total_discount": "0.00", "discount_allocations": [], "properties": []} | changes


def refund(refund_id: int, *lines: dict[str, Any], paid: Sequence[str] = (), **changes: Any) -> dict[str, Any]:
    told = {
        "id": refund_id,
        "order_id": 1001,
        "created_at": "2026-04-30T12:00:00Z",
        "processed_at": "2026-04-30T12:00:00Z",
        "refund_line_items": list(lines),
        "order_adjustments": [],
        "transactions": [
            {"kind": "refund", "status": "success", "amount": amount, "currency": "USD"} for amount in paid
        ],
    }
    return told | changes


def refunded(line_id: int, subtotal: float, quantity: int = 1, total_tax: float = 0.0) -> dict[str, Any]:
    return {"line_item_id": line_id, "quantity": quantity, "subtotal": subtotal, "total_tax": total_tax}
