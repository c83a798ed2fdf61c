"""The origin of an event in quarantine, as the store keeps it."""

import pytest

from server.ingest.quarantine import Source


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (Source("events"), "events"),
        (Source("segment", "default"), "segment:default"),
        (Source("ga4", "a:b"), "ga4:a%3Ab"),
        (Source("shopify", "demo", "orders/create"), "shopify:demo:orders/create"),
        (Source("woocommerce", "demo", "a:b"), "woocommerce:demo:a:b"),
        (Source("woocommerce", "demo"), "woocommerce:demo"),
    ],
)
def test_a_source_is_read_as_it_was_written(source: Source, text: str) -> None:
    """Whatever the shop and the topic contain."""
    assert source.to_text() == text
    assert Source.parse(text) == source
