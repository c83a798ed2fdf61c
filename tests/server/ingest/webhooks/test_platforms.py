"""What holds of every platform whose webhooks are accepted, however it signs and names things."""

import hmac
from base64 import b64decode
from hashlib import sha256

import pytest

from server.ingest.webhooks.platform import Platform
from server.ingest.webhooks.registry import PLATFORMS
from server.ingest.webhooks.signing import add_secret
from tests.server.ingest.webhooks.conftest import SECRETS, MakeShop, WebShop


@pytest.fixture
def shop(make_shop: MakeShop) -> WebShop:
    return make_shop()


@pytest.fixture(params=PLATFORMS.values(), ids=list(PLATFORMS))
def platform(request: pytest.FixtureRequest) -> Platform:
    chosen: Platform = request.param
    return chosen


def test_a_signed_webhook_is_accepted_or_quarantined(shop: WebShop, platform: Platform) -> None:
    """A payload that cannot be read gets 200, and is kept with its platform, shop and topic."""
    response = shop.post(platform, {"id": 1}, "no/such.topic")
    assert (response.status_code, len(response.get_json()["rejected"])) == (200, 1)
    (row,) = shop.store.quarantined()
    assert (row.source, row.payload) == (f"{platform.name}:demo:no/such.topic", '{"id": 1}')


def test_an_unsigned_webhook_is_refused(shop: WebShop, platform: Platform) -> None:
    """No signature, a changed body, or another platform's secret: 401, and nothing is kept."""
    signature = platform.sign(SECRETS[platform.name], b"{}")
    refused = [
        shop.post(platform, {}, None, signed=""),
        shop.post(platform, b"{ }", None, signed=signature),
        shop.post(platform, {}, None, secret="another"),
        shop.post(platform, {}, None, shop="unknown"),
    ]
    assert {response.status_code for response in refused} == {401}
    assert shop.store.quarantined() == []


def test_a_deleted_order_is_excluded(shop: WebShop, platform: Platform) -> None:
    """The payload of its topic is only an id."""
    assert shop.post(platform, {"id": 7}, platform.deleted_topic).get_json()["accepted"] == 1
    assert shop.order("shop, order_id, excluded") == ("demo", "7", "deleted")


def test_a_shop_is_known_by_its_short_and_its_full_name(shop: WebShop, platform: Platform) -> None:
    """In the address and where its secret is added, in any case of letters."""
    add_secret(shop.store, platform, f"Second{platform.shop_suffix}", "hush")
    for name in ("second", "SECOND", f"second{platform.shop_suffix}"):
        assert shop.post(platform, {}, None, shop=name, secret="hush").status_code == 200


def test_the_signature_is_an_hmac_of_the_body(platform: Platform) -> None:
    """HMAC-SHA256, in the platform's encoding."""
    signature = platform.sign("secret", b"body")
    digest = bytes.fromhex(signature) if platform.encoding == "hex" else b64decode(signature, validate=True)
    assert digest == hmac.new(b"secret", b"body", sha256).digest()


def test_an_unknown_platform_is_not_found(shop: WebShop) -> None:
    """404, with the platforms that there are."""
    response = shop.client.post("/v1/webhooks/magento/demo", data=b"{}")
    assert (response.status_code, response.get_json()["detail"]) == (
        404,
        f"platform: must be one of {', '.join(PLATFORMS)}, got `magento`",
    )
