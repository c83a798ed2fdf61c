"""All platforms whose webhooks are accepted."""

from collections.abc import Mapping

from server.ingest.webhooks.platform import Platform
from server.ingest.webhooks.shopify import SHOPIFY
from server.ingest.webhooks.woocommerce import WOOCOMMERCE

PLATFORMS: Mapping[str, Platform] = {platform.name: platform for platform in (SHOPIFY, WOOCOMMERCE)}
